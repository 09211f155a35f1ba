// What options may be, in one place: each is refused by its name and its range before the engine hears of it.
import { HyperionError } from './errors.js';
import { Pooling, Purpose } from './generated/interface.js';

/** @typedef {{least: number, most: number, whole?: boolean}} Range */

const BYTES_MOST = 2 ** 32 - 1; // a limit at or above what 32 bits address never binds
const BIASES_MOST = 256;
const STOPS_MOST = 16;
const STOP_BYTES_MOST = 256;

/** @type {Record<string, Range>} */
const OPEN = {
  context: { least: 1, most: 2 ** 24, whole: true },
  batch: { least: 1, most: 4096, whole: true },
  lookup: { least: 0, most: 7, whole: true },
};
/** @type {Record<string, Range>} */
const GENERATE = {
  maxTokens: { least: 0, most: Number.MAX_SAFE_INTEGER, whole: true },
  seed: { least: 0, most: Number.MAX_SAFE_INTEGER, whole: true },
  temperature: { least: 0, most: 100 },
  topK: { least: 0, most: 2 ** 31 - 1, whole: true },
  topP: { least: 0, most: 1 },
  minP: { least: 0, most: 1 },
  typicalP: { least: 0, most: 1 },
  repeatPenalty: { least: 0, most: 10 },
  frequencyPenalty: { least: -10, most: 10 },
  presencePenalty: { least: -10, most: 10 },
  penaltyLast: { least: 0, most: 65536, whole: true },
  mirostat: { least: 0, most: 100 },
  mirostatEta: { least: 0, most: 1 },
};
const CACHES = ['f16', 'q8_0'];
const POLICIES = ['intent', 'round-robin'];
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

/** @param {any} options @param {Record<string, Range>} ranges */
function checkRanges(options, ranges) {
  for (const [name, { least, most, whole }] of Object.entries(ranges)) {
    const value = options[name] ?? undefined;
    if (value === undefined) continue;
    if (
      typeof value === 'number' &&
      value >= least &&
      value <= most &&
      (!whole || Number.isInteger(value))
    )
      continue;
    refuse(
      `${name} must be a ${whole ? 'whole ' : ''}number from ${least} to ${most}, not ${shown(value)}`,
    );
  }
}

/** @param {string} name @param {unknown} value @param {string[]} among */
function checkChoice(name, value, among) {
  if (value !== undefined && value !== null && !among.includes(/** @type {string} */ (value)))
    refuse(`${shown(value)} is no ${name}: ${among.slice(0, -1).join(', ')} or ${among.at(-1)}`);
}

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

/** @param {unknown} memory @returns {number} 0: no limit */
export function memoryBytes(memory) {
  if (memory === undefined || memory === null || memory === 0) return 0;
  if (typeof memory === 'number' && memory >= 1 && Number.isFinite(memory))
    return Math.min(Math.floor(memory), BYTES_MOST);
  const match =
    typeof memory === 'string' && /^\s*(\d+(?:\.\d+)?)\s*([kmg]?)i?b?\s*$/i.exec(memory);
  if (!match)
    return refuse(
      `${shown(memory)} is no amount of memory: write 96MB or 2GB, or leave it out for no limit`,
    );
  const unit = { '': 1, k: 1e3, m: 1e6, g: 1e9 }[
    /** @type {'' | 'k' | 'm' | 'g'} */ (match[2].toLowerCase())
  ];
  return Math.min(Math.floor(Number(match[1]) * unit), BYTES_MOST);
}

/** @param {unknown} threads */
export function checkThreads(threads = 'auto') {
  const count = /** @type {number} */ (threads);
  if (threads !== 'auto' && !(Number.isInteger(count) && count >= 1 && count <= 16))
    refuse(`threads must be 'auto' or a number from 1 to 16, not ${shown(threads)}`);
}

/** @param {import('./engine.js').EngineOptions} options */
export function checkEngine(options) {
  checkChoice('policy', options.policy, POLICIES);
  memoryBytes(options.memory);
  checkThreads(options.threads);
  checkSignal(options.signal);
}

/** @param {import('./model.js').ModelOptions} options */
export function checkModel(options) {
  checkRanges(options, OPEN);
  checkChoice('cache format', options.cache, CACHES);
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
export function purposeOf(purpose = 'interactive') {
  if (typeof purpose !== 'string' || !Object.hasOwn(PURPOSES, purpose))
    refuse(`${shown(purpose)} is no purpose: interactive, batch or background`);
  return PURPOSES[/** @type {keyof typeof PURPOSES} */ (purpose)];
}

/** @param {unknown} pooling @returns {number} as the engine counts them */
export function poolingOf(pooling = 'mean') {
  if (typeof pooling !== 'string' || !Object.hasOwn(POOLINGS, pooling))
    refuse(`${shown(pooling)} is no pooling: mean, cls or last`);
  return POOLINGS[/** @type {keyof typeof POOLINGS} */ (pooling)];
}

/** @param {import('./session.js').GenerateOptions} options */
export function checkGenerate(options) {
  checkRanges(options, GENERATE);
  purposeOf(options.purpose);
  const { stop = [], logitBias = {} } = options;
  if (!Array.isArray(stop)) refuse(`stop must be an array of texts, not ${shown(stop)}`);
  if (stop.length > STOPS_MOST)
    refuse(`${stop.length} stop texts given; at most ${STOPS_MOST} are possible`);
  for (const text of stop) {
    if (typeof text !== 'string') refuse(`a stop text must be a text, not ${shown(text)}`);
    const bytes = new TextEncoder().encode(text).length;
    if (bytes < 1 || bytes > STOP_BYTES_MOST)
      refuse(`a stop text must have 1 to ${STOP_BYTES_MOST} bytes, not ${bytes}`);
  }
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

/** Whole numbers; whether they are in the vocabulary is for the engine to say. @param {unknown} tokens @returns {ArrayLike<number>} */
export function checkTokens(tokens) {
  const all = /** @type {ArrayLike<number>} */ (tokens);
  if (typeof all !== 'object' || !all || !Number.isSafeInteger(all.length))
    refuse(`tokens must be an array of numbers, not ${shown(tokens)}`);
  for (let i = 0; i < all.length; i++)
    if (typeof all[i] !== 'number' || all[i] !== (all[i] | 0))
      refuse(`${shown(all[i])} is no token: tokens are whole numbers within the vocabulary`);
  return all;
}
