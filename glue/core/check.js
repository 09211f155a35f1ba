// What the core takes: options as JSON, texts, tokens, threads. It is checked before the engine
// hears of it.
import { OPTIONS } from '../generated/options.js';
import { HyperionError } from './errors.js';

/** @typedef {keyof typeof OPTIONS} Scope */

/** @param {string} message @returns {never} */
export function refuse(message) {
  throw new HyperionError('HYP_E_ARGUMENT', message);
}

/** How a value reads in a message. @param {unknown} value */
export const shown = value =>
  typeof value === 'string'
    ? `'${value}'`
    : typeof value === 'object'
      ? Object.prototype.toString.call(value)
      : String(value);

/**
 * The options of a scope, as the core takes them.
 * @param {Scope} scope
 * @param {any} options
 * @returns {string} JSON
 */
export const optionsJson = (scope, options) =>
  JSON.stringify(Object.fromEntries(Object.keys(OPTIONS[scope]).map(key => [key, options[key]])));

/** @param {unknown} given */
export function checkThreads(given) {
  const threads = given ?? 'auto';
  const { least, most } = OPTIONS.engine.threads;
  const count = /** @type {number} */ (threads);
  if (threads !== 'auto' && !(Number.isInteger(count) && count >= least && count <= most))
    refuse(
      `threads must be 'auto' or a whole number from ${least} to ${most}, not ${shown(threads)}`,
    );
}

/** @param {string} name @param {unknown} callback */
export function checkFunction(name, callback) {
  if (typeof callback !== 'function') refuse(`${name} must be a function, not ${shown(callback)}`);
}

/** @param {unknown} text @returns {string} */
export const textOf = text =>
  typeof text === 'string' ? text : refuse(`a text is wanted, not ${shown(text)}`);

/**
 * Whole numbers; whether they are in the vocabulary is for the engine to say.
 * @param {unknown} tokens
 * @returns {ArrayLike<number>}
 */
export function checkTokens(tokens) {
  const all = /** @type {ArrayLike<number>} */ (tokens);
  if (typeof all !== 'object' || !all || !Number.isSafeInteger(all.length))
    refuse(`tokens must be an array of numbers, not ${shown(tokens)}`);
  for (let i = 0; i < all.length; i++)
    if (typeof all[i] !== 'number' || all[i] !== (all[i] | 0))
      refuse(`${shown(all[i])} is no token: tokens are whole numbers within the vocabulary`);
  return all;
}
