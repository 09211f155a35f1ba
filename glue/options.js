// What may be asked for. What generated/options.js has is refused as C refuses it, by name and
// range, before the engine hears of it; the rest of what JavaScript takes is checked here: signals,
// callbacks, texts, tokens.
import { HyperionError } from './errors.js';
import { Pooling, Purpose } from './generated/interface.js';
import { OPTIONS } from './generated/options.js';

/** @typedef {import('./generated/options.js').Option} Option */
/** @typedef {keyof typeof OPTIONS} Scope */

const BYTES_MOST = 2 ** 32 - 1; // a limit at or above what 32 bits address never binds
const BIASES_MOST = 256;
const STOPS_MOST = 16;
// A deadline needs its time, which only the C interface takes.
const PURPOSES = {
  interactive: Purpose.INTERACTIVE,
  batch: Purpose.BATCH,
  background: Purpose.BACKGROUND,
};
const POOLINGS = { mean: Pooling.MEAN, cls: Pooling.CLS, last: Pooling.LAST };

/** @param {string} message @returns {never} */
function refuse(message) {
  throw new HyperionError('HYP_E_ARGUMENT', message);
}

/** How a value reads in a message. @param {unknown} value */
const shown = value =>
  typeof value === 'string'
    ? `'${value}'`
    : typeof value === 'object'
      ? Object.prototype.toString.call(value)
      : String(value);

/** 'a, b or c' @param {string[]} names */
const listed = names =>
  [names.slice(0, -1).join(', '), ...names.slice(-1)].filter(Boolean).join(' or ');

/**
 * The number that a name stands for.
 * @template {Record<string, number>} T
 * @param {string} key @param {unknown} value @param {T} numbers @returns {number}
 */
function numberOf(key, value, numbers) {
  if (typeof value !== 'string' || !Object.hasOwn(numbers, value))
    return refuse(`${key} must be ${listed(Object.keys(numbers))}, not ${shown(value)}`);
  return numbers[value];
}

/** @param {string} key @param {unknown} value @param {Option} option */
function checkOption(key, value, { type, least, most, choices }) {
  const must = (/** @type {string} */ be) => refuse(`${key} must be ${be}, not ${shown(value)}`);
  const whole = type === 'u32' || type === 'u64';
  if (type === 'flag') {
    if (typeof value !== 'boolean') must('true or false');
  } else if (type === 'choice') {
    if (!choices.includes(/** @type {string} */ (value))) must(listed(choices));
  } else if (type === 'bytes') memoryBytes(value, key);
  else if (type === 'texts') checkTexts(key, value, most);
  else if (
    typeof value !== 'number' ||
    !(value >= least && value <= most) ||
    (whole && !Number.isInteger(value))
  )
    must(`a ${whole ? 'whole ' : ''}number from ${least} to ${most}`);
}

/** @param {string} key @param {unknown} texts @param {number} most bytes of one */
function checkTexts(key, texts, most) {
  if (!Array.isArray(texts)) return refuse(`${key} must be an array of texts, not ${shown(texts)}`);
  if (texts.length > STOPS_MOST)
    refuse(`${texts.length} ${key} texts given; at most ${STOPS_MOST} are possible`);
  for (const text of texts) {
    if (typeof text !== 'string') refuse(`a ${key} text must be a text, not ${shown(text)}`);
    const bytes = new TextEncoder().encode(text).length;
    if (bytes < 1 || bytes > most)
      refuse(`a ${key} text must have 1 to ${most} bytes, not ${bytes}`);
  }
}

/**
 * Those of a scope. What is undefined or null is left out.
 * @param {Scope} scope
 * @param {any} options
 */
function checkScope(scope, options) {
  for (const [key, option] of Object.entries(OPTIONS[scope])) {
    const value = options[key] ?? undefined;
    if (value !== undefined) checkOption(key, value, option);
  }
}

/**
 * Those of a scope, as the core takes them.
 * @param {Scope} scope
 * @param {any} options
 * @returns {string} JSON
 */
export const optionsJson = (scope, options) =>
  JSON.stringify(Object.fromEntries(Object.keys(OPTIONS[scope]).map(key => [key, options[key]])));

/** @param {unknown} signal */
export function checkSignal(signal) {
  const it = /** @type {any} */ (signal);
  if (
    it &&
    (typeof it !== 'object' ||
      typeof it.aborted !== 'boolean' ||
      typeof it.addEventListener !== 'function')
  )
    refuse(`signal must be an AbortSignal, not ${shown(signal)}`);
}

/** @param {AbortSignal | undefined} signal */
export const cancelled = signal =>
  new HyperionError('HYP_E_CANCELLED', 'cancelled', { cause: signal?.reason });

/** @param {AbortSignal | undefined} signal */
export function throwIfAborted(signal) {
  checkSignal(signal);
  if (signal?.aborted) throw cancelled(signal);
}

/** @param {unknown} memory @param {string} [key] of the option @returns {number} 0: no limit */
export function memoryBytes(memory, key = 'memory') {
  if (memory === undefined || memory === null || memory === 0) return 0;
  if (typeof memory === 'number' && memory >= 1 && Number.isFinite(memory))
    return Math.min(Math.floor(memory), BYTES_MOST);
  const match =
    typeof memory === 'string' && /^\s*(\d+(?:\.\d+)?)\s*([kmg]?)i?b?\s*$/i.exec(memory);
  if (!match)
    return refuse(`${key} must be an amount of memory, as 96MB or 2GB, not ${shown(memory)}`);
  const unit = { '': 1, k: 1e3, m: 1e6, g: 1e9 }[
    /** @type {'' | 'k' | 'm' | 'g'} */ (match[2].toLowerCase())
  ];
  return Math.min(Math.floor(Number(match[1]) * unit), BYTES_MOST);
}

/** @param {unknown} threads */
export function checkThreads(threads = 'auto') {
  const { least, most } = OPTIONS.engine.threads;
  const count = /** @type {number} */ (threads);
  if (threads !== 'auto' && !(Number.isInteger(count) && count >= least && count <= most))
    refuse(
      `threads must be 'auto' or a whole number from ${least} to ${most}, not ${shown(threads)}`,
    );
}

/** @param {import('./engine.js').EngineOptions} options */
export function checkEngine({ threads, ...options }) {
  checkThreads(threads);
  checkScope('engine', options);
  checkSignal(options.signal);
}

/** @param {import('./model.js').ModelOptions} options */
export function checkModel(options) {
  checkScope('session', options);
  const { onProgress } = options;
  if (onProgress && typeof onProgress !== 'function')
    refuse(`onProgress must be a function, not ${shown(onProgress)}`);
  checkSignal(options.signal);
}

/** @param {import('./engine.js').OpenOptions} options */
export function checkOpen(options) {
  checkModel(options);
  checkEngine(options);
}

/** @param {unknown} purpose @returns {number} as the engine counts them */
export const purposeOf = (purpose = 'interactive') => numberOf('purpose', purpose, PURPOSES);

/** @param {unknown} pooling @returns {number} as the engine counts them */
export const poolingOf = (pooling = 'mean') => numberOf('pooling', pooling, POOLINGS);

/** @param {import('./session.js').GenerateOptions} options */
export function checkGenerate(options) {
  checkScope('sampling', options);
  checkScope('answer', options);
  purposeOf(options.purpose);
  const { logitBias = {} } = options;
  const biases = Object.entries(logitBias);
  if (biases.length > BIASES_MOST)
    refuse(`logitBias for ${biases.length} tokens given; at most ${BIASES_MOST} are possible`);
  for (const [token, bias] of biases) {
    checkTokens([Number(token)]);
    if (!(typeof bias === 'number' && Math.abs(bias) <= 1e9))
      refuse(`logitBias must be numbers from -1e9 to 1e9, not ${shown(bias)}`);
  }
  checkSignal(options.signal);
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
