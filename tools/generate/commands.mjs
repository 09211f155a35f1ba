// The command line in glue/cli: its verbs and own options, as native/cli has them.
import { rowsOf, textOf } from './options.mjs';

export const output = 'glue/generated/commands.js';

const TABLE = 'native/cli/commands.def';
const OPTIONS = 'src/hyperion/options.def';
const SCRIPTS = 'native/cli/completion.def';
const HEADER = 'src/hyperion/hyperion.h';

const ROW = /^HYP_(\w+)\(((?:"(?:[^"\\]|\\.)*"|\((?:"[^"\n]*"|[^()"])*\)|[^()"])*)\)$/gm;

/**
 * The rows of one macro: names as they are, literals as texts.
 * @param {string} table @param {string} macro @returns {string[][]}
 */
function rowsNamed(table, macro) {
  const found = [...table.matchAll(ROW)].filter(([, name]) => name === macro);
  return found.map(([, , all]) => {
    const parts = all.match(/(?:"(?:[^"\\]|\\.)*"|[^,"])+/g) ?? [];
    return parts.map(part => (part.includes('"') ? textOf(part) : part.trim()));
  });
}

const constant = (/** @type {string} */ name, /** @type {unknown} */ value) =>
  `export const ${name} = ${JSON.stringify(value, null, 2)};`;

/** @param {{read: (path: string) => string}} repository */
export function generate({ read }) {
  const table = read(TABLE);
  const verbs = rowsNamed(table, 'VERB').map(([name, words, options, help, more]) => ({
    name,
    arguments: words.match(/[^[\] ]+/g) ?? [],
    least: words.split('[')[0].match(/\S+/g)?.length ?? 0,
    usage: words,
    options: options.split(' '),
    help,
    more,
  }));
  const own = [...table.matchAll(ROW)].filter(([, name]) => name === 'COMMAND_OPTION');
  const options = rowsOf(own.map(([row]) => row).join('\n'), read(HEADER)).map(row => ({
    ...row,
    type: row.type.toLowerCase(),
    where: row.where.toLowerCase(),
  }));
  const words = rowsNamed(table, 'ARGUMENT').map(([name, choices = '']) => [
    name,
    choices.split('|').filter(Boolean),
  ]);
  /** @type {Record<string, Record<string, object>>} */
  const named = {};
  for (const { scope, key, name, letter, metavar, help } of rowsOf(read(OPTIONS), read(HEADER)))
    (named[scope] ??= {})[key] = { name, letter, metavar, help };
  const [[begin, end]] = rowsNamed(table, 'HELP');
  return `${[
    `// Made from ${TABLE}, ${SCRIPTS} and ${OPTIONS} by tools/generate.mjs: not to be edited.`,
    '',
    '/** @typedef {{name: string, arguments: string[], least: number, usage: string, options: string[], help: string, more: string}} Verb */',
    '',
    '/** @type {Verb[]} */',
    constant('VERBS', verbs),
    '',
    '/**',
    ' * Of the options in options.js: the long name, the letter of the short one or none, how a value',
    ' * is written, what it is for.',
    ' * @type {Record<string, Record<string, {name: string, letter: string, metavar: string, help: string}>>}',
    ' */',
    constant('OPTION_WORDS', named),
    '',
    "/** The command line's own, with the words of each. */",
    constant('OWN_OPTIONS', options),
    '',
    '/** Choices of the arguments that are no files. @type {Record<string, string[]>} */',
    constant('ARGUMENTS', Object.fromEntries(words)),
    '',
    constant('HELP', { begin, end }),
    '',
    '/** With holes between @. @type {Record<string, string>} */',
    constant('SCRIPTS', Object.fromEntries(rowsNamed(read(SCRIPTS), 'SCRIPT'))),
  ].join('\n')}\n`;
}
