// What --help shows, as native/cli/help.c does.
import { HELP, VERBS } from '../generated/commands.js';
import { options, takesOption, valueName } from './table.js';

/** @typedef {import('./table.js').Option} Option */
/** @typedef {import('./table.js').Verb} Verb */

const COLUMNS = 80;
const TEXT_COLUMN = 30;

/**
 * Words in lines that begin in the column `from` and end by COLUMNS.
 * @param {string} text
 * @param {number} from
 */
function wrapped(text, from) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1];
    if (!line) lines[lines.length - 1] = word;
    else if (from + line.length + 1 + word.length > COLUMNS) lines.push(word);
    else lines[lines.length - 1] += ` ${word}`;
  }
  return lines.join(`\n${' '.repeat(from)}`);
}

/** @param {string} left @param {string} text */
const row = (left, text) =>
  `${left.length > TEXT_COLUMN - 2 ? `${left}\n${' '.repeat(TEXT_COLUMN)}` : left.padEnd(TEXT_COLUMN)}${wrapped(text, TEXT_COLUMN)}\n`;

/** @param {Option} option */
function optionRow(option) {
  const { letter, name, help, usual } = option;
  const value = valueName(option);
  return row(
    `  ${letter ? `-${letter}, ` : '    '}--${name}${value && ' '}${value}`,
    usual ? `${help} (default ${usual})` : help,
  );
}

/** @type {[string, string[]][]} */
const SECTIONS = [
  ['options', ['command']],
  ['answer', ['answer', 'sampling']],
  ['engine', ['engine', 'model', 'session']],
];

/** @param {Verb} verb */
function verbHelp(verb) {
  const { name, usage, help, more } = verb;
  const about = `${help[0].toUpperCase()}${help.slice(1)}.${more && ' '}${more}`;
  const sections = SECTIONS.map(([title, scopes]) => {
    const rows = options.filter(one => scopes.includes(one.scope) && takesOption(verb, one));
    return rows.length ? `\n${title}:\n${rows.map(optionRow).join('')}` : '';
  });
  const lines = about.split('\n').map(line => `${wrapped(line.trimEnd(), 0)}\n`);
  return `usage: hyperion ${name} ${usage} [OPTION...]\n\n${lines.join('')}${sections.join('')}`;
}

/** @param {Verb | null} verb null: of all @returns {string} */
export function helpText(verb) {
  if (verb) return verbHelp(verb);
  const verbs = VERBS.map(({ name, usage, help }) => row(`  ${name} ${usage}`, help));
  const common = options.filter(({ name }) => name === 'help' || name === 'version');
  return [
    HELP.begin,
    `\ncommands:\n${verbs.join('')}`,
    `\noptions:\n${common.map(optionRow).join('')}`,
    `\n${HELP.end}`,
  ].join('');
}
