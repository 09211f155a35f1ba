// The glue's side of the C interface: every enum of the public header, every status, and the
// signature of every export of the module.

export const output = 'glue/generated/interface.js';

const HEADER = 'src/hyperion/hyperion.h';
const STATUS = 'src/hyperion/status.def';

/** @param {string} text C without its comments */
const withoutComments = text => text.replace(/\/\/.*$/gm, '').replace(/\/\*[^]*?\*\//g, '');
const camel = (/** @type {string} */ name) =>
  name.replace(/(^|_)([a-z])/g, (_, __, letter) => letter.toUpperCase());

/** What the names of an enum begin with, all of them. @param {string[]} names */
function prefixOf(names) {
  let prefix = names[0].slice(0, names[0].lastIndexOf('_') + 1);
  while (!names.every(name => name.startsWith(prefix)))
    prefix = prefix.slice(0, prefix.lastIndexOf('_', prefix.length - 2) + 1);
  return prefix;
}

/**
 * The enums of a header: `hyp_call_kind` is CallKind, its HYP_CALL_NEXT is CallKind.NEXT; an enum
 * without a name is called what its names begin with. Single constants are no enum.
 * @param {string} header @returns {Map<string, Record<string, number>>}
 */
export function enumsOf(header) {
  const enums = new Map();
  for (const [, tag, body] of withoutComments(header).matchAll(/\benum\s*(\w*)\s*\{([^}]*)\}/g)) {
    const members = body
      .split(',')
      .map(one => one.trim())
      .filter(one => one && !one.startsWith('#'));
    if (members.length < 2) continue;
    const names = members.map(one => /^\w+/.exec(one)?.[0] ?? '');
    const prefix = prefixOf(names);
    const title = camel(
      tag ? tag.replace(/^hyp_/, '') : prefix.replace(/^HYP_|_$/g, '').toLowerCase(),
    );
    if (!title) continue; // limits, which have nothing in common
    let value = -1;
    const values = members.map((one, i) => {
      const [, written] = one.split('=').map(part => part.trim());
      value = written === undefined ? value + 1 : Number(written);
      if (!Number.isInteger(value))
        throw new Error(`${names[i]} = ${written} is no number: ${HEADER}`);
      return [names[i].slice(prefix.length), value];
    });
    enums.set(title, Object.fromEntries(values));
  }
  return enums;
}

/** @param {string} list status.def */
export const statusesOf = list =>
  Object.fromEntries(
    [...list.matchAll(/^HYP_STATUS\((\w+), (-?\d+),/gm)].map(([, name, value]) => [
      name.replace(/^E_/, ''),
      Number(value),
    ]),
  );

/**
 * The exports that a C file declares, with their parameters. A pointer is an address, and so a
 * number like every other scalar.
 * @param {string} source
 * @returns {{name: string, parameters: string[], result: 'void' | 'number'}[]}
 */
export function exportsOf(source) {
  const declaration = /\bEXPORT\((\w+)\)\s*([^(){};]*?)\b(\w+)\s*\(([^)]*)\)/g;
  const found = [...withoutComments(source).matchAll(declaration)];
  return found.map(([, name, type, own, list]) => {
    if (own !== name) throw new Error(`${own} is exported as ${name}`);
    const parameters = list
      .split(',')
      .map(one => /(\w+)\s*$/.exec(one.trim())?.[1] ?? '')
      .filter(one => one && one !== 'void');
    return { name, parameters, result: type.trim() === 'void' ? 'void' : 'number' };
  });
}

/** @param {{read: (path: string) => string, list: (folder: string) => string[]}} repository */
export function generate({ read, list }) {
  const files = list('wasm').filter(file => /^exports.*\.c$/.test(file));
  const enums = new Map([['Status', statusesOf(read(STATUS))], ...enumsOf(read(HEADER))]);
  const declared = files.flatMap(file => exportsOf(read(`wasm/${file}`)));
  const exported = [
    ...declared.sort((a, b) => (a.name < b.name ? -1 : 1)),
    { name: 'read_done', parameters: ['ticket', 'status'], result: 'void' }, // the port's own
  ];
  const lines = [
    `// Made from ${HEADER} and wasm/exports*.c by tools/generate.mjs: not to be edited.`,
    '',
    '/**',
    ' * The exports of the module: addresses, flags and numbers.',
    ' * @typedef {object} Exports',
    ...exported.map(
      ({ name, parameters, result }) =>
        ` * @property {(${parameters.map(one => `${one}: number`).join(', ')}) => ${result}} ${name}`,
    ),
    ' */',
  ];
  for (const [title, members] of enums) {
    lines.push('', `export const ${title} = /** @type {const} */ ({`);
    for (const [name, value] of Object.entries(members)) lines.push(`  ${name}: ${value},`);
    lines.push('});');
  }
  return `${lines.join('\n')}\n`;
}
