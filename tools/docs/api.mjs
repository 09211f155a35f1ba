// docs/API.md: the interface that the package exports, from the declarations that tsc makes of the
// glue's comments.
import { closing, docOf, parse, split, statements } from './lib/declarations.mjs';

/** @typedef {import('./lib/declarations.mjs').Declaration} Declaration */
/** @typedef {import('./lib/declarations.mjs').File} File */
/** @typedef {import('./lib/declarations.mjs').Doc} Doc */

export const output = 'docs/API.md';

// What one reads first; the rest by the alphabet.
const FIRST = ['open', 'createEngine', 'Model', 'Session', 'Engine', 'Answer', 'Piece', 'Usage'];
const INDEX = 'model/index.d.ts';
const HEAD = `# Interface

<!-- Made from the types of glue/ by \`npm run docs\`: not to be edited. -->

What \`import … from 'hyperion-runtime'\` gives. The same is in the package's \`.d.ts\` files, so that an editor shows it as you type. In all
functions an option that is left out, \`undefined\` or \`null\` has its usual value; a name or a value that is not possible is refused with
[\`HYP_E_ARGUMENT\`](ERRORS.md#hyp_e_argument).
`;

/** With a capital and a full stop. @param {string} text */
const sentence = text =>
  text && text[0].toUpperCase() + text.slice(1) + (/[.:!?]$/.test(text) ? '' : '.');

/** A cell of a table. @param {string} text */
const cell = text =>
  text
    .replace(/\|/g, '\\|')
    .replace(/\s*\n\s*/g, ' ')
    .trim();
const anchor = (/** @type {string} */ title) =>
  title
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replace(/ /g, '-');

/** A type as one reads it: without the files that names come from. @param {string} type */
const readable = type =>
  type
    .replace(/import\(["'][^"']*["']\)\.(\w+)/g, '$1')
    .replace(/\/\*\*[^]*?\*\//g, '')
    .replace(/\s+/g, ' ')
    .replace(/;\s*\}/g, ' }')
    .replace(/;/g, ',')
    .trim();

/** @param {{read: (path: string) => string, declarations: string}} repository */
export function generate({ read, declarations }) {
  /** @type {Map<string, File>} */
  const files = new Map();
  const fileOf = (/** @type {string} */ path) => {
    const known = files.get(path);
    if (known) return known;
    const file = parse(path, read(`${declarations}/${path}`));
    for (const one of file.declarations.values()) asFunction(one);
    for (const one of file.declarations.values()) asResult(one, file);
    for (const one of file.declarations.values())
      if (one.kind === 'type' && !one.doc.description) one.doc = described(one, read);
    files.set(path, file);
    for (const from of file.everything)
      for (const name of fileOf(from).exports) {
        if (!file.exports.includes(name)) file.exports.push(name);
        if (!file.declarations.has(name) && !file.links.has(name))
          file.links.set(name, [from, name]);
      }
    return file;
  };

  /** What a name stands for in a file. @returns {Declaration | null} */
  const resolve = (/** @type {string} */ path, /** @type {string} */ name) => {
    const file = fileOf(path);
    const link = file.links.get(name);
    return link ? resolve(...link) : (file.declarations.get(name) ?? null);
  };

  /** The declarations that a type of a file names. */
  const namedIn = (/** @type {string} */ type, /** @type {string} */ path) => {
    const plain = type.replace(/\/\*\*[^]*?\*\//g, '').replace(/'[^'\n]*'(?=\s*[|;,})\]]|$)/g, '');
    const found = new Set();
    for (const [, from, name] of type.matchAll(/import\(["']([^"']*)["']\)\.(\w+)/g))
      found.add(resolve(beside(path, from), name));
    for (const [name] of plain.replace(/import\([^)]*\)\.\w+/g, '').matchAll(/\b[A-Z]\w*/g))
      found.add(resolve(path, name));
    found.delete(null);
    return [...found];
  };

  /**
   * The members of an object type, of an intersection of such, or of Omit and the like; null: it is
   * something else.
   * @returns {Member[] | null}
   */
  const membersOf = (/** @type {string} */ type, /** @type {string} */ path) => {
    const parts = split(type, '&');
    if (parts.length > 1) {
      /** @type {Map<string, Member>} */
      const all = new Map();
      for (const part of parts) {
        const members = membersOf(part, path);
        if (!members) return null;
        for (const one of members) {
          const before = all.get(one.name);
          if (one.omitted && before) continue;
          const doc = one.doc.description ? one.doc : (before?.doc ?? one.doc);
          all.set(one.name, { ...one, doc });
        }
      }
      return [...all.values()];
    }
    const one = type.trim();
    if (one.startsWith('(') && closing(one, 0) === one.length - 1)
      return membersOf(one.slice(1, -1), path);
    if (one.startsWith('{') && closing(one, 0) === one.length - 1)
      return statements(one.slice(1, -1)).map(statement => memberOf(statement, path));
    const utility = /^(Omit|Pick|Partial|Required|Readonly)<([^]*)>$/.exec(one);
    if (utility) {
      const [of, keys = ''] = split(utility[2], ',');
      const all = membersOf(of, path);
      const quoted = [...keys.matchAll(/['"](\w+)['"]/g)].map(([, name]) => name);
      const others = [...keys.matchAll(/\bkeyof (\w+)/g)].map(([, name]) => membersOf(name, path));
      const names = [...quoted, ...others.flatMap(of => (of ?? []).map(member => member.name))];
      if (!all) return null;
      if (utility[1] === 'Omit')
        return all.map(one => (names.includes(one.name) ? { ...one, omitted: true } : one));
      if (utility[1] === 'Pick') return all.filter(member => names.includes(member.name));
      if (utility[1] === 'Partial') return all.map(member => ({ ...member, optional: true }));
      return all;
    }
    const imported = /^import\(["']([^"']*)["']\)\.(\w+)$/.exec(one);
    const named = imported
      ? resolve(beside(path, imported[1]), imported[2])
      : /^\w+$/.test(one)
        ? resolve(path, one)
        : null;
    if (named?.kind === 'class') return publicOf(named);
    return named ? membersOf(named.type, named.file) : null;
  };

  /** Those that are there: a type without `Omit` and without `Name['key']`. */
  const shownMembers = (/** @type {string} */ type, /** @type {string} */ path) =>
    membersOf(type, path)
      ?.filter(one => !one.omitted)
      .map(one => ({ ...one, type: withoutIndexes(one.type, one.file) })) ?? null;
  const withoutIndexes = (/** @type {string} */ type, /** @type {string} */ path) =>
    type.replace(/\b(\w+)\['(\w+)'\]/g, (all, name, key) => {
      const members = resolve(path, name) && membersOf(name, path);
      return members?.find(one => one.name === key)?.type ?? all;
    });

  const index = fileOf(INDEX);
  /** The exported types. @type {Set<Declaration>} */
  const exported = new Set();
  /** @type {Declaration[]} */
  const shown = [];
  const see = (/** @type {Declaration} */ one) => {
    if (shown.includes(one)) return;
    shown.push(one);
    for (const [text, path] of textsOf(one)) for (const named of namedIn(text, path)) see(named);
  };

  /** The types that stand in what is written of a declaration, with the files they are read in. */
  const textsOf = (/** @type {Declaration} */ one) => {
    if (one.kind === 'class')
      return publicOf(one).map(member => /** @type {const} */ ([member.type, one.file]));
    const members = one.kind === 'type' ? shownMembers(one.type, one.file) : null;
    if (!members) return [/** @type {const} */ ([one.type, one.file])];
    const own = membersBeside(one).map(member => /** @type {const} */ ([member.type, member.file]));
    return [...own, ...basesOf(one).map(base => /** @type {const} */ ([base.name, one.file]))];
  };

  /** The types of the package that a type is made of: what they have is said of them. */
  const basesOf = (/** @type {Declaration} */ one) =>
    split(one.type, '&')
      .flatMap(part => namedIn(part, one.file).filter(named => isName(part, named)))
      .filter(named => exported.has(named) && named.kind === 'type');
  const isName = (/** @type {string} */ part, /** @type {Declaration} */ named) =>
    part === named.name || new RegExp(`^import\\([^)]*\\)\\.${named.name}$`).test(part);
  /** Members that none of those has. */
  const membersBeside = (/** @type {Declaration} */ one) => {
    const known = new Set(
      basesOf(one).flatMap(base => (shownMembers(base.type, base.file) ?? []).map(m => m.name)),
    );
    return (shownMembers(one.type, one.file) ?? []).filter(({ name }) => !known.has(name));
  };

  for (const name of index.exports) {
    const one = resolve(INDEX, name);
    if (one) exported.add(one);
  }
  for (const name of [...FIRST, ...index.exports.slice().sort()]) {
    const one = resolve(INDEX, name);
    if (one) see(one);
    else if (!FIRST.includes(name)) throw new Error(`${name} of ${INDEX} is declared nowhere`);
  }
  const rank = (/** @type {Declaration} */ one) =>
    FIRST.includes(one.name) ? FIRST.indexOf(one.name) : FIRST.length;
  shown.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
  const links = (
    /** @type {readonly (readonly [string, string])[]} */ texts,
    /** @type {Declaration} */ but,
  ) => {
    const named = texts.flatMap(([text, path]) => namedIn(text, path)).filter(one => one !== but);
    const names = [...new Set(named.map(one => one.name))];
    return names.length
      ? `Types: ${names.map(name => `[${name}](#${anchor(name)})`).join(', ')}`
      : '';
  };

  const functions = shown.filter(one => one.kind === 'function');
  const classes = shown.filter(one => one.kind === 'class');
  const constants = shown.filter(one => one.kind === 'const');
  const types = shown.filter(one => one.kind === 'type');
  const options = types.filter(one => one.name.endsWith('Options'));
  const others = types.filter(one => !options.includes(one));
  /** @type {[string, Declaration[]][]} */
  const chapters = [
    ['Functions', functions],
    ['Objects', classes],
    ['Constants', constants],
    ['Options', options],
    ['Other types', others],
  ];

  /** @param {Declaration} one */
  const section = one => {
    const lines = [`### ${one.name}`, ''];
    if (one.kind === 'function')
      lines.push(
        ...callable(`${one.name}${one.type}`, one.doc),
        links([[one.type, one.file]], one),
      );
    else if (one.kind === 'class') {
      lines.push(one.doc.description, '');
      for (const member of publicOf(one)) {
        lines.push(`#### ${anchorless(one.name)}.${member.name}`, '');
        lines.push(...callable(member.signature, member.doc));
        lines.push(links([[member.type, one.file]], one), '');
      }
    } else {
      const bases = one.kind === 'type' ? basesOf(one).filter(base => base !== one) : [];
      const members = one.kind === 'type' ? membersBeside(one) : [];
      lines.push(sentence(one.doc.description), '');
      if (bases.length) {
        const all = bases.map(({ name }) => `[${name}](#${anchor(name)})`).join(' and of ');
        lines.push(`All of ${all}${members.length ? ', and:' : '.'}`, '');
      }
      if (members.length) {
        lines.push('| name | type | |', '|---|---|---|');
        for (const { name, optional, type, doc } of members)
          lines.push(
            `| \`${name}${optional ? '?' : ''}\` | \`${cell(readable(type))}\` | ${cell(doc.description)} |`,
          );
      } else if (!bases.length)
        lines.push(
          '```ts',
          `${one.kind} ${one.name}${one.kind === 'const' ? ':' : ' ='} ${readable(one.type)}`,
          '```',
        );
      const named = members.length ? members.map(m => /** @type {const} */ ([m.type, m.file])) : [];
      lines.push('', links(members.length || bases.length ? named : textsOf(one), one));
    }
    return lines.join('\n');
  };

  const contents = chapters
    .filter(([, all]) => all.length)
    .map(
      ([title, all]) =>
        `- **${title}**: ${all.map(({ name }) => `[${name}](#${anchor(name)})`).join(', ')}`,
    );
  const text = [
    HEAD,
    ...contents,
    '',
    ...chapters
      .filter(([, all]) => all.length)
      .flatMap(([title, all]) => [`## ${title}`, '', ...all.map(one => `${section(one)}\n`)]),
  ].join('\n');
  return `${text.replace(/\n{3,}/g, '\n\n').trim()}\n`;
}

/** A constant that is called is a function. @param {Declaration} one */
function asFunction(one) {
  if (one.kind !== 'const' || !one.type.startsWith('(')) return;
  const end = closing(one.type, 0) + 1;
  const result = /^\s*=>\s*([^]*)$/.exec(one.type.slice(end));
  if (!result) return;
  one.kind = 'function';
  one.type = `${one.type.slice(0, end)}: ${result[1]}`;
}

/** What a function of the same file returns. @param {Declaration} one @param {File} file */
function asResult(one, file) {
  const [, name = ''] = /^ReturnType<typeof (\w+)>$/.exec(one.type) ?? [];
  const made = file.declarations.get(name);
  if (made?.kind !== 'function') return;
  const from = made.type.slice(made.type.indexOf('('));
  one.type = from.slice(closing(from, 0) + 1).replace(/^\s*:\s*/, '');
}

const anchorless = (/** @type {string} */ name) => name[0].toLowerCase() + name.slice(1);

/** @param {string} path @param {string} from */
function beside(path, from) {
  return new URL(from, `file:///${path}`).pathname.slice(1).replace(/\.js$/, '.d.ts');
}

/**
 * @typedef {{name: string, signature: string, optional: boolean, type: string, doc: Doc, file:
 *   string, omitted?: boolean}} Member
 */

/** @param {{doc: Doc, text: string}} statement @param {string} file @returns {Member} */
function memberOf({ doc, text }, file) {
  const accessor = /^get /.test(text);
  const signature = text
    .replace(/^(?:readonly|static|get) /, '')
    .replace(accessor ? /\(\)/ : /^$/, '');
  const [, name, optional, rest] = /** @type {string[]} */ (
    /^(\[[\w.]+\]|['"]?[\w$-]+['"]?)(\??)\s*([^]*)$/.exec(signature) ?? ['', text, '', '']
  );
  const type = rest.startsWith(':') ? rest.slice(1).trim() : rest;
  return { name, signature, optional: Boolean(optional), type, doc, file };
}

/** What of a class others may use. @param {Declaration} one */
const publicOf = one =>
  statements(one.body)
    .filter(({ text }) => !/^(?:#|private |protected |constructor\b|set |static )/.test(text))
    .map(statement => memberOf(statement, one.file))
    .filter(({ doc }) => !doc.internal);

/** @param {string} signature @param {Doc} doc */
function callable(signature, doc) {
  const lines = ['```ts', readable(signature), '```', doc.description, ''];
  for (const [name, meaning] of doc.params) lines.push(`- \`${name}\`: ${meaning}`);
  if (doc.returns) lines.push(`- returns ${doc.returns}`);
  lines.push('');
  return lines;
}

/**
 * The comment of a type: where it is written as one line of JSDoc, tsc leaves out what it says.
 * @param {Declaration} one @param {(path: string) => string} read @returns {Doc}
 */
function described(one, read) {
  const source = read(`glue/${one.file.replace(/\.d\.ts$/, '.js')}`);
  for (const [comment] of source.matchAll(/\/\*\*[^]*?\*\//g)) {
    const text = comment.replace(/^\/\*\*|\*\/$/g, '').replace(/^[ \t]*\* ?/gm, '');
    const at = text.indexOf('@typedef {');
    if (at < 0) continue;
    const end = closing(text, at + '@typedef '.length);
    const named = /^\s*(\w+)([^]*)$/.exec(text.slice(end + 1));
    if (named?.[1] !== one.name) continue;
    const doc = docOf(`/** ${named[2].split(/\s@(?:property|template)\b/)[0]} */`);
    const before = docOf(`/** ${text.slice(0, at)} */`).description;
    return { ...doc, description: [before, doc.description].filter(Boolean).join(' ') };
  }
  return one.doc;
}
