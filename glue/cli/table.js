// The verbs and options of the command line: the rows of commands.def and options.def, as
// native/cli/commands.c has them.
import { OPTION_WORDS, OWN_OPTIONS } from '../generated/commands.js';
import { OPTIONS } from '../generated/options.js';

/** @typedef {import('../generated/commands.js').Verb} Verb */
/**
 * @typedef {{scope: string, key: string, type: string, name: string, letter: string, where: string,
 *   least: number, most: number, usual: number, choices: string[], metavar: string, help: string}}
 *   Option
 */

const of = (/** @type {string} */ scope) =>
  Object.entries(OPTIONS[scope]).map(([key, row]) => ({
    ...row,
    ...OPTION_WORDS[scope][key],
    scope,
    key,
  }));

/** @type {Option[]} */
const all = [...OWN_OPTIONS, ...['answer', 'sampling', 'engine', 'model', 'session'].flatMap(of)];

/** Those of command lines, in the order of the help. */
export const options = all.filter(option => option.where === 'everywhere');

export const takesValue = (/** @type {Option} */ { type }) => type !== 'flag';

/** @param {Verb} verb @param {Option} option */
export const takesOption = (verb, { name, scope }) =>
  name === 'help' || verb.options.includes(name) || verb.options.includes(`@${scope}`);

/** What stands for an option's value in the help; '' for a flag. @param {Option} option */
export const valueName = ({ metavar, choices }) => metavar || choices.join('|');
