// Reads the declarations that tsc writes: what a file declares, with its comments, and where a name
// comes from.
import { dirname, join, normalize } from 'node:path';

/**
 * @typedef {{description: string, params: Map<string, string>, returns: string, internal: boolean}}
 *   Doc
 */
/** @typedef {{doc: Doc, text: string}} Statement */
/** @typedef {'function' | 'class' | 'type' | 'const'} Kind */
/**
 * @typedef {{kind: Kind, name: string, file: string, doc: Doc, body: string, type: string}}
 *   Declaration `body`: between the braces of a class or interface; `type`: of what has one, of a
 *   function its parameters and result
 */
/**
 * @typedef {object} File
 * @property {string} file its path
 * @property {Map<string, Declaration>} declarations
 * @property {Map<string, [string, string]>} links names that stand for those of other files
 * @property {string[]} exports
 * @property {string[]} everything files all of whose exports are exported
 */

const CLOSES = { '{': '}', '(': ')', '[': ']' };

/**
 * Where the bracket that opens at `at` closes.
 * @param {string} text @param {number} at
 */
export function closing(text, at) {
  const open = /** @type {'{' | '(' | '['} */ (text[at]);
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    if (text[i] === open) depth++;
    else if (text[i] === CLOSES[open] && --depth === 0) return i;
  }
  throw new Error(`${open} is never closed: ${text.slice(at, at + 60)}`);
}

/** Parts of a text between separators outside of all brackets. @param {string} text */
export function split(text, /** @type {string} */ separator) {
  const parts = [''];
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if ('{([<'.includes(c)) depth++;
    if ('})]'.includes(c) || (c === '>' && text[i - 1] !== '=')) depth--;
    if (c === separator && depth === 0) parts.push('');
    else parts[parts.length - 1] += c;
  }
  return parts.map(part => part.trim()).filter(Boolean);
}

/** What a comment says, its paragraphs on a line each. @param {string} text */
function prose(text) {
  return text
    .split(/\n\s*\n/)
    .map(part => (/^ {4}/.test(part) ? part : part.trim().replace(/\s*\n\s*/g, ' ')))
    .join('\n\n')
    .trim();
}

/** @param {string} comment with its stars @returns {Doc} */
export function docOf(comment) {
  const text = comment
    .replace(/^\/\*\*|\*\/$/g, '')
    .replace(/^[ \t]*\* ?/gm, '')
    .replace(/^\n+/, '');
  const [head, ...tags] = text.split(
    /(?:^|\s)@(?=(?:param|returns?|typedef|type|internal|private|template|throws|readonly|implements|overload|property|see|satisfies|this|deprecated|extends)\b)/,
  );
  const doc = { description: prose(head), params: new Map(), returns: '', internal: false };
  for (const tag of tags) {
    const name = /** @type {string[]} */ (/^\w+/.exec(tag))[0];
    if (name === 'internal' || name === 'private') doc.internal = true;
    let rest = tag.slice(name.length).trim();
    if (rest.startsWith('{')) rest = rest.slice(closing(rest, 0) + 1).trim();
    if (name === 'param') {
      const [, param, meaning] = /** @type {string[]} */ (
        /^\[?([\w.$]+)[^\s\]]*\]?\s*-?\s*([^]*)$/.exec(rest) ?? ['', '', '']
      );
      if (prose(meaning)) doc.params.set(param, prose(meaning));
    }
    if (name === 'returns' || name === 'return') doc.returns = prose(rest);
  }
  return doc;
}

/** The statements of a block. @param {string} text @returns {Statement[]} */
export function statements(text) {
  /** @type {Statement[]} */
  const found = [];
  let comment = '';
  let i = 0;
  while (i < text.length) {
    if (/\s/.test(text[i])) {
      i++;
      continue;
    }
    if (text.startsWith('//', i)) {
      i = text.indexOf('\n', i);
      if (i < 0) break;
      continue;
    }
    if (text.startsWith('/*', i)) {
      const end = text.indexOf('*/', i) + 2;
      if (text.startsWith('/**', i)) comment = text.slice(i, end);
      i = end;
      continue;
    }
    const start = i;
    const block = /^(?:export )?(?:default )?(?:declare )?(?:abstract )?(?:class|interface) /.test(
      text.slice(i, i + 60),
    );
    for (; i < text.length && text[i] !== ';'; i++) {
      if (text.startsWith('/*', i)) i = text.indexOf('*/', i) + 1;
      else if (text[i] in CLOSES) {
        const opened = text[i];
        i = closingSkippingComments(text, i);
        if (block && opened === '{') break;
      }
    }
    i++;
    found.push({ doc: docOf(comment), text: text.slice(start, i).replace(/;$/, '').trim() });
    comment = '';
  }
  return found;
}

/** As `closing`, where comments may hold brackets. @param {string} text @param {number} at */
function closingSkippingComments(text, at) {
  const blank = text.replace(/\/\*[^]*?\*\//g, all => ' '.repeat(all.length));
  return closing(blank, at);
}

/** @param {string} file its path @param {string} text of the declarations @returns {File} */
export function parse(file, text) {
  /** @type {Map<string, Declaration>} */
  const declarations = new Map();
  /** @type {Map<string, [string, string]>} */
  const links = new Map();
  /** @type {string[]} */
  const exports = [];
  /** @type {string[]} */
  const everything = [];
  const beside = (/** @type {string} */ path) =>
    normalize(join(dirname(file), path)).replace(/\.js$/, '.d.ts');
  const add = (
    /** @type {Kind} */ kind,
    /** @type {string} */ name,
    /** @type {Doc} */ doc,
    more,
  ) => {
    declarations.set(name, { kind, name, file, doc, body: '', type: '', ...more });
  };
  for (const { doc, text: one } of statements(text)) {
    const exported = one.startsWith('export ');
    const plain = one
      .replace(/^export /, '')
      .replace(/^declare /, '')
      .replace(/^type \{/, '{');
    let m;
    if ((m = /^\* from ['"]([^'"]+)['"]$/.exec(plain))) {
      everything.push(beside(m[1]));
      continue;
    }
    if ((m = /^(?:import )?(?:type )?\{([^}]*)\}(?: from ['"]([^'"]+)['"])?$/s.exec(plain))) {
      for (const pair of split(m[1], ',')) {
        const [name, as = name] = pair.replace(/^type /, '').split(/ as /);
        if (m[2]) links.set(as, [beside(m[2]), name]);
        else if (as !== name) links.set(as, [file, name]);
        if (exported) exports.push(as);
      }
      continue;
    }
    if ((m = /^(?:abstract )?(class|interface) (\w+)[^{]*\{([^]*)\}$/.exec(plain)))
      add('class', m[2], doc, { body: m[3] });
    else if (
      (m =
        /^(?:type (?=\w+ =)|const (?=\w+: typeof ))(\w+)(?: =|: typeof) import\(['"]([^'"]+)['"]\)\.(\w+)$/.exec(
          plain,
        ))
    )
      links.set(m[1], [beside(m[2]), m[3]]);
    else if ((m = /^type (\w+)(?:<[^=]*>)? = ([^]*)$/.exec(plain)))
      add('type', m[1], doc, { type: m[2] });
    else if ((m = /^function (\w+)([^]*)$/.exec(plain))) add('function', m[1], doc, { type: m[2] });
    else if ((m = /^(?:const|let) (\w+): ([^]*)$/.exec(plain)))
      add('const', m[1], doc, { type: m[2] });
    else continue;
    if (exported) exports.push(m[1] === 'class' || m[1] === 'interface' ? m[2] : m[1]);
  }
  return { file, declarations, links, exports, everything };
}
