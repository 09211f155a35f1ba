// The command line's options: what is accepted, and what is made of it. The same texts as in
// native/cli.c and native/values.c.
import { parseArgs } from 'node:util';

export class UsageError extends Error {}

const UINT32_MAX = 2 ** 32 - 1;
const STOPS_MOST = 16;
/** @type {Record<string, number>} */
const UNITS = { '': 1, k: 1e3, m: 1e6, g: 1e9 };

/** @typedef {(text: string) => unknown} Reader undefined where the text is no possible value */

/** Digits and nothing else. @param {number} least @param {number} most @returns {Reader} */
const whole = (least, most) => text => {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  return value >= least && value <= most ? value : undefined;
};
/** A decimal number that single precision holds. @type {Reader} */
function real(text) {
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  return Number.isFinite(Math.fround(value)) ? value : undefined;
}
/** @type {Reader} */
function density(text) {
  const part = Math.fround(Number(real(text)));
  return part > 0 && part <= 1 ? part : undefined;
}
/** @type {Reader} */
function size(text) {
  const match = /^(\d+\.?\d*|\.\d+) ?(?:([kmg])i?)?b?$/i.exec(text);
  const unit = UNITS[match?.[2]?.toLowerCase() ?? ''];
  const bytes = match ? Number(match[1]) * unit : NaN;
  return bytes < 1e15 ? Math.floor(bytes) : undefined;
}
/** @param {...string} names @returns {Reader} */
const oneOf =
  (...names) =>
  text =>
    names.includes(text) ? text : undefined;
/** @type {Reader} */
const any = text => text;

/**
 * Those that take a value.
 * @type {Record<string, {short?: string, read: Reader, multiple?: boolean}>}
 */
const VALUES = {
  'max-tokens': { short: 'n', read: whole(0, UINT32_MAX) },
  temperature: { short: 't', read: real },
  'top-k': { short: 'k', read: whole(0, UINT32_MAX) },
  'top-p': { short: 'p', read: real },
  'min-p': { read: real },
  'typical-p': { read: real },
  'repeat-penalty': { read: real },
  'frequency-penalty': { read: real },
  'presence-penalty': { read: real },
  mirostat: { read: real },
  seed: { short: 's', read: whole(0, Number.MAX_SAFE_INTEGER) },
  stop: { read: any, multiple: true },
  context: { short: 'c', read: whole(0, UINT32_MAX) },
  threads: { read: whole(1, 16) },
  lookup: { read: whole(0, 7) },
  draft: { read: any },
  memory: { read: size },
  cache: { read: oneOf('f16', 'q8_0') },
  artefact: { read: any },
  system: { read: any },
  against: { read: any },
  imatrix: { read: any },
  density: { read: density },
  trace: { read: any },
};
/** @type {Record<string, {short?: string}>} */
const FLAGS = {
  profile: {},
  lines: {},
  'parse-special': {},
  json: {},
  quiet: { short: 'q' },
  help: { short: 'h' },
  version: {},
};

const SHORTS = Object.fromEntries(Object.entries(VALUES).map(([name, { short }]) => [short, name]));

/**
 * As getopt reads arguments, where a value may begin with '-': each value is joined to its option's
 * long name.
 * @param {string[]} args
 */
function spelledOut(args) {
  const out = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--') return [...out, ...args.slice(i)];
    if (arg.startsWith('--') && Object.hasOwn(VALUES, arg.slice(2)) && i + 1 < args.length)
      out.push(`${arg}=${args[++i]}`);
    else if (arg.startsWith('--') || !arg.startsWith('-') || arg === '-') out.push(arg);
    else
      for (let at = 1; at < arg.length; at++) {
        const name = SHORTS[arg[at]];
        const rest = arg.slice(at + 1);
        if (!name) {
          out.push(`-${arg[at]}`);
          continue;
        }
        if (rest || i + 1 < args.length) out.push(`--${name}=${rest || args[++i]}`);
        else out.push(`--${name}`); // which lacks its value
        break;
      }
  }
  return out;
}

/** @param {string[]} args @returns {{values: any, positionals: string[]}} */
export function readArguments(args) {
  /** @type {any} */
  const options = {};
  for (const [name, { multiple }] of Object.entries(VALUES))
    options[name] = { type: 'string', ...(multiple && { multiple }) };
  for (const [name, flag] of Object.entries(FLAGS)) options[name] = { type: 'boolean', ...flag };
  let parsed;
  try {
    parsed = parseArgs({ args: spelledOut(args), options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(/** @type {Error} */ (error).message);
  }
  /** @type {any} */
  const values = {};
  for (const [name, given] of Object.entries(parsed.values)) {
    const read = VALUES[name]?.read ?? (x => x);
    values[name] = Array.isArray(given) ? given : read(/** @type {any} */ (given));
    if (values[name] === undefined) throw new UsageError(`not a possible value: ${given}`);
  }
  if (values.stop?.length > STOPS_MOST) throw new UsageError('too many --stop');
  return { values, positionals: parsed.positionals };
}
