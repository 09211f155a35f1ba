// The glue's options: the rows of options.def as a table to check by, and the types that its
// interface is documented with.

export const output = 'glue/generated/options.js';

const TABLE = 'src/hyperion/options.def';
const HEADER = 'src/hyperion/hyperion.h';

/**
 * @typedef {object} Row
 * @property {string} scope in small letters
 * @property {string} type 'FLAG', 'U32' ...
 * @property {string[]} choices names of a CHOICE's values, from 0
 * @property {string} field in C
 * @property {number} least @property {number} most @property {number} usual
 * @property {string} where @property {string} letter '': none
 * @property {string} name on command lines @property {string} key in JSON and JavaScript
 * @property {string} metavar @property {string} help @property {string} doc
 */

/** The arguments between a row's parentheses. @param {string} text */
function split(text) {
  const parts = [''];
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[^]/g)) {
    if (token === '(') depth++;
    if (token === ')') depth--;
    if (token === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += token;
  }
  return parts.map(part => part.trim());
}

/** C's adjacent string literals as one text. @param {string} literal */
export const textOf = literal =>
  [...literal.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, part]) => JSON.parse(`"${part}"`)).join('');

/** What an enumerator of the header is. @param {string} header @param {string} name */
function enumerator(header, name) {
  const written = new RegExp(`\\b${name} = (\\d+)(?: << (\\d+))?\\b`).exec(header);
  if (!written) throw new Error(`${TABLE}: ${name} is no number, and none of ${HEADER}`);
  return Number(written[1]) * 2 ** Number(written[2] ?? 0);
}

export const camel = (/** @type {string} */ name) =>
  name.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());

/**
 * The rows of options.def, in order.
 * @param {string} table
 * @param {string} header hyperion.h
 * @returns {Row[]}
 */
export function rowsOf(table, header) {
  const row =
    /^HYP_([A-Z]+)_OPTION\(((?:"(?:[^"\\\n]|\\.)*"|\((?:"[^"\n]*"|[^()"])*\)|[^()"])*)\)$/gm;
  const found = [...table.matchAll(row)];
  if (found.length !== table.match(/^HYP_/gm)?.length)
    throw new Error(`${TABLE}: a row of another form`);
  return found.map(([, scope, all]) => {
    const parts = split(all);
    if (parts.length !== 11) throw new Error(`${TABLE}: ${parts.length} columns: ${parts[1]}`);
    const [kind, field, least, most, usual, where, letter, name, metavar, help, doc] = parts;
    const [, type, choices] = /** @type {string[]} */ (/^(\w+)(?:\(\w+,(.*)\))?$/.exec(kind));
    const number = (/** @type {string} */ text) =>
      /^[-\d]/.test(text) ? Number(text) : enumerator(header, text);
    return {
      scope: scope.toLowerCase(),
      type,
      choices: choices ? textOf(choices).split('|') : [],
      field,
      least: number(least),
      most: number(most),
      usual: number(usual),
      where,
      letter: letter === '0' ? '' : letter[1],
      name: textOf(name),
      key: camel(textOf(name)),
      metavar: textOf(metavar),
      help: textOf(help),
      doc: textOf(doc) || textOf(help),
    };
  });
}

const quote = (/** @type {string} */ text) => `'${text.replace(/['\\]/g, '\\$&')}'`;

/** How JavaScript's types say it. @param {Row} row */
function typeOf({ type, choices }) {
  if (type === 'CHOICE') return choices.map(quote).join(' | ');
  if (type === 'FLAG') return 'boolean';
  if (type === 'TEXTS') return 'string[]';
  return type === 'BYTES' ? 'number | string' : 'number';
}

/** What the types say of a row: its meaning, range and default. @param {Row} row */
function described({ type, choices, least, most, usual, doc }) {
  const parts = [doc];
  if (type === 'U32' || type === 'U64') parts.push(`a whole number from ${least} to ${most}`);
  if (type === 'F32') parts.push(`from ${least} to ${most}`);
  if (type === 'CHOICE') parts.push(`${choices[usual]} when left out`);
  else if (usual) parts.push(`${usual} when left out`);
  return parts.join('; ');
}

/** @param {{read: (path: string) => string}} repository */
export function generate({ read }) {
  const rows = rowsOf(read(TABLE), read(HEADER));
  const scopes = [...new Set(rows.map(row => row.scope))];
  const lines = [`// Made from ${TABLE} by tools/generate.mjs: not to be edited.`, ''];
  for (const scope of scopes) {
    const shown = rows.filter(row => row.scope === scope && row.where !== 'INTERNAL');
    if (!shown.length) continue;
    lines.push('/**', ` * @typedef {object} ${scope[0].toUpperCase()}${scope.slice(1)}Options`);
    for (const row of shown)
      lines.push(` * @property {${typeOf(row)}} [${row.key}] ${described(row)}`);
    lines.push(' */', '');
  }
  lines.push(
    '/**',
    ' * @typedef {object} Option',
    " * @property {'flag' | 'u32' | 'u64' | 'bytes' | 'f32' | 'choice' | 'texts'} type",
    " * @property {'everywhere' | 'library' | 'internal'} where",
    ' * @property {number} least @property {number} most @property {number} usual',
    ' * @property {string[]} choices',
    ' */',
    '',
    '/**',
    ' * By scope, then by the key in JSON; what command lines say of them is in commands.js.',
    ' * @type {Record<string, Record<string, Option>>}',
    ' */',
    'export const OPTIONS = {',
  );
  for (const scope of scopes) {
    lines.push(`  ${scope}: {`);
    for (const row of rows.filter(one => one.scope === scope)) {
      const { key, least, most, usual, choices } = row;
      const type = row.type.toLowerCase();
      const where = row.where.toLowerCase();
      const option = { type, where, least, most, usual, choices };
      const members = Object.entries(option).map(
        ([member, value]) => `${member}: ${JSON.stringify(value)}`,
      );
      lines.push(`    ${key}: { ${members.join(', ')} },`);
    }
    lines.push('  },');
  }
  lines.push('};');
  return `${lines.join('\n')}\n`;
}
