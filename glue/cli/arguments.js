// What is accepted on the command line, and what is made of it; refused in the same words as by
// native/cli/commands.c and src/base/options.c.
import { parseArgs } from 'node:util';
import { VERBS } from '../generated/commands.js';
import { options, takesOption, takesValue } from './table.js';

/** @typedef {import('./table.js').Option} Option */
/** @typedef {import('./table.js').Verb} Verb */

export class UsageError extends Error {
  /** @param {string} message @param {Verb} [verb] whose help has more */
  constructor(message, verb) {
    super(message);
    this.verb = verb;
  }
}

/** What is said of one. @param {UsageError} error */
export const usageText = ({ message, verb }) =>
  `hyperion: ${message}\ntry 'hyperion ${verb ? `${verb.name} ` : ''}--help'\n`;

const TEXTS_MOST = 16;
const SHOWN_BYTES = 40; // of a value, in a message
/** @type {Record<string, number>} */
const UNITS = { '': 1, k: 1e3, m: 1e6, g: 1e9 };

/** @typedef {(text: string) => number} Reader NaN where the text is no such number */

/** Digits and nothing else. @type {Reader} */
const whole = text => (/^\d+$/.test(text) ? Number(text) : NaN);
/** @type {Reader} */
const real = text => (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN);
/** @type {Reader} */
function size(text) {
  const match = /^(\d+\.?\d*|\.\d+) ?(?:([kmg])i?)?b?$/i.exec(text);
  return match ? Number(match[1]) * UNITS[match[2]?.toLowerCase() ?? ''] : NaN;
}
/** @type {Record<string, Reader>} */
const READERS = { u32: whole, u64: whole, f32: real, bytes: size };

/** As JSON writes numbers, with nine digits. @param {number} value */
const shownNumber = value => String(Number.isInteger(value) ? value : Number(value.toPrecision(9)));

/** @param {string} text */
function shown(text) {
  const bytes = Buffer.from(text);
  return `'${bytes.subarray(0, SHOWN_BYTES)}${bytes.length > SHOWN_BYTES ? '...' : ''}'`;
}

/** @param {Option} option */
function wanted({ type, choices, least, most }) {
  if (type === 'choice') return `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;
  if (type === 'bytes') return 'an amount of memory, as 96MB or 2GB';
  return `a ${type === 'f32' ? '' : 'whole '}number from ${shownNumber(least)} to ${shownNumber(most)}`;
}

/**
 * The value of an option.
 * @param {Option} option
 * @param {string} text
 * @returns {string | number}
 */
function read(option, text) {
  const { type, name, choices, least, most } = option;
  if (type === 'text' || type === 'file') return text;
  if (type === 'texts') {
    const { length } = Buffer.from(text);
    if (length >= least && length <= most) return text;
    throw new UsageError(`--${name} must be a text of ${least} to ${most} bytes, not ${length}`);
  }
  if (type === 'choice' && choices.includes(text)) return text;
  const number = READERS[type]?.(text) ?? NaN;
  const exact = type === 'f32' ? Math.fround : (/** @type {number} */ value) => value;
  if (exact(number) >= exact(least) && exact(number) <= exact(most))
    return type === 'bytes' ? Math.floor(number) : number;
  throw new UsageError(`--${name} must be ${wanted(option)}, not ${shown(text)}`);
}

const byName = new Map(options.map(option => [option.name, option]));
const byLetter = new Map(options.map(option => [option.letter, option]));

/**
 * As getopt reads arguments, where a value may begin with '-': each value is joined to its option's
 * long name.
 * @param {string[]} args
 */
function spelledOut(args) {
  const out = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    const long = arg.startsWith('--') ? byName.get(arg.slice(2)) : undefined;
    if (arg === '--') return [...out, ...args.slice(i)];
    if (long && takesValue(long) && i + 1 < args.length) out.push(`${arg}=${args[++i]}`);
    else if (arg.startsWith('--') || !arg.startsWith('-') || arg === '-') out.push(arg);
    else
      for (let at = 1; at < arg.length; at++) {
        const option = byLetter.get(arg[at]);
        const rest = arg.slice(at + 1);
        if (!option || !takesValue(option)) {
          out.push(option ? `--${option.name}` : `-${arg[at]}`);
          continue;
        }
        if (rest || i + 1 < args.length) out.push(`--${option.name}=${rest || args[++i]}`);
        else out.push(`--${option.name}`); // which lacks its value
        break;
      }
  }
  return out;
}

/**
 * @param {any} values
 * @param {{rawName: string, name: string, value?: string}} token an option as it was given
 */
function take(values, { rawName, name, value }) {
  const option = rawName.startsWith('--') ? byName.get(name) : undefined;
  if (!option) throw new UsageError(`there is no option '${rawName}'`);
  if (!takesValue(option)) {
    if (value !== undefined) throw new UsageError(`--${name} takes no value`);
    values[option.key] = true;
    return;
  }
  if (value === undefined) throw new UsageError(`--${name} needs a value`);
  const given = read(option, value);
  if (option.type !== 'texts') values[option.key] = given;
  else if (values[option.key]?.length === TEXTS_MOST)
    throw new UsageError(`too many --${name}: at most ${TEXTS_MOST} are possible`);
  else (values[option.key] ??= []).push(given);
}

/** @param {Verb} verb @param {any} values @param {string[]} positionals */
function checkVerb(verb, values, positionals) {
  const { name, arguments: words, least, usage } = verb;
  const foreign = options.find(option => option.key in values && !takesOption(verb, option));
  if (foreign) throw new UsageError(`${name} takes no --${foreign.name}`, verb);
  if (positionals.length < least || positionals.length > words.length)
    throw new UsageError(`${name} takes ${usage}`, verb);
}

/**
 * @param {string[]} args
 * @returns {{verb: Verb | null, values: any, positionals: string[]}} values: of the options that
 *   are given, by their keys; positionals: without the verb
 */
export function readArguments(args) {
  const { tokens } = parseArgs({
    args: spelledOut(args),
    options: Object.fromEntries(
      options.map(option => [option.name, { type: takesValue(option) ? 'string' : 'boolean' }]),
    ),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  /** @type {any} */
  const values = {};
  /** @type {string[]} */
  const positionals = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    else if (token.kind === 'option') take(values, token);
  }
  const named = positionals.shift();
  const verb = VERBS.find(({ name }) => name === named) ?? null;
  if (values.version) return { verb, values, positionals };
  if (named !== undefined && !verb) throw new UsageError(`unknown command '${named}'`);
  if (verb && !values.help) checkVerb(verb, values, positionals);
  return { verb, values, positionals };
}
