// What may be asked for. What generated/options.js has is refused as C refuses it, by name and
// range, before the engine hears of it; the rest of what JavaScript takes is checked here too:
// callbacks, names, biases.
import {
  checkFunction,
  checkThreads,
  checkTokens,
  optionsJson,
  refuse,
  shown,
} from '../core/check.js';
import { checkSignal } from '../core/signal.js';
import { Pooling, Purpose } from '../generated/interface.js';
import { OPTIONS } from '../generated/options.js';
import { cacheOf } from '../source/store/option.js';

/** @typedef {import('../generated/options.js').Option} Option */
/** @typedef {import('../core/check.js').Scope} Scope */
/** @typedef {import('../source/index.js').Source} Source */

/** @typedef {import('../generated/options.js').EngineOptions} EngineTable */
/** @typedef {import('../generated/options.js').ModelOptions} ModelTable */
/** @typedef {import('../generated/options.js').SessionOptions} SessionTable */
/**
 * @typedef {object} OwnSessionOptions
 * @property {boolean | {keep?: number}} [contextShift] where the context is full, the older half of
 *   what is behind its first `keep` tokens is dropped and the rest computed again, as if the prompt
 *   had been what is left; with `true`, or `keep` 0, only the token that begins a text is kept.
 *   Without it the answer ends with the finish `context`
 */
/**
 * @typedef {Omit<SessionTable, 'contextShift' | 'contextKeep'> & OwnSessionOptions} SessionOptions
 */
/**
 * @typedef {import('../generated/options.js').SamplingOptions &
 *   import('../generated/options.js').AnswerOptions} AnswerTable
 */
/** @typedef {{threads?: 'auto' | EngineTable['threads']}} ThreadOptions */

/**
 * @typedef {object} OwnEngineOptions
 * @property {'auto' | import('../core/detect.js').Artefact} [artefact] which build of the module;
 *   `auto`: the best that the host runs
 * @property {import('../core/module.js').WasmSource} [wasm] the module, where the host can not
 *   fetch or compile it
 * @property {string | URL} [wasmUrl] the folder of the package's .wasm files, or one of them, where
 *   they are not beside the package's scripts
 * @property {string | URL} [workerUrl] of a script that is `hyperion-runtime/worker`, bundled or
 *   not, in place of the package's own
 * @property {boolean | 'auto'} [worker] run the engine in a worker of its own; `auto`: in a page
 * @property {AbortSignal} [signal] stops the loading
 */
/** @typedef {Omit<EngineTable, 'threads'> & ThreadOptions & OwnEngineOptions} EngineOptions */
/**
 * @typedef {object} SourceOptions how files come, where they come from afar
 * @property {boolean | string | {folder?: string, limit?: string | number, pin?: boolean}}
 *   [fileCache] keep what has been fetched: true, in the host's usual place, or a folder; `limit`,
 *   as '4GB', for all that is kept, in which other files give way; `pin`: this one gives way to
 *   none
 * @property {boolean | string | URL | object} [manifest] with the hashes of the file's chunks, each
 *   of which is checked before it is used: true, beside the file (`.manifest.json`); its address;
 *   or itself
 * @property {CryptoKey | Uint8Array} [key] of chunks that are encrypted (AES-256-GCM): 32 bytes
 * @property {string} [token] for a hub (HF_TOKEN when left out), or for the server of an address
 * @property {string | URL} [endpoint] of the hub that `hf:` names are of; HF_ENDPOINT or
 *   https://huggingface.co when left out
 * @property {number | string} [limitRate] bytes in a second, as '5MB', that are fetched at most
 */
/**
 * @typedef {object} OwnReadOptions
 * @property {(progress: {loaded: number, total: number}) => unknown} [onProgress] bytes so far, and
 *   in all
 * @property {AbortSignal} [signal] stops it
 */
/** @typedef {SourceOptions & {signal?: AbortSignal}} Reading */
/** @typedef {OwnReadOptions & SourceOptions} ReadOptions */
/**
 * @typedef {object} OwnModelOptions
 * @property {Source | Source[]} [draft] a smaller model of the same vocabulary that guesses ahead
 *   (`lookup` tokens, 4 when left out): the same answer, sooner where it is right
 * @property {(progress: import('./progress.js').LoadProgress) => unknown} [onProgress] while the
 *   model loads; with `progressive` also after it has been opened
 * @property {AbortSignal} [signal] stops the loading
 */
/**
 * @typedef {ModelTable & SessionOptions & SourceOptions & OwnModelOptions} ModelOptions those of a
 *   session are what its sessions have when nothing else is said
 */

/** @typedef {EngineOptions & ModelOptions} OpenOptions */

/**
 * @typedef {object} OwnGenerateOptions
 * @property {string | string[]} [stop] texts of at most 256 bytes that end the answer and are not
 *   part of it, 16 at most
 * @property {Record<number, number>} [logitBias] added to the logits of up to 256 tokens
 * @property {'interactive' | 'batch' | 'background'} [purpose] what the answer is for: with others
 *   under way, interactive ones get the most of the engine; interactive when left out
 * @property {AbortSignal} [signal] stops the answer, which then throws the signal's reason
 */
/** @typedef {Omit<AnswerTable, 'stop'> & OwnGenerateOptions} GenerateOptions */
/**
 * @typedef {Pick<GenerateOptions, 'maxTokens' | 'purpose' | 'signal'>} ResumeOptions `maxTokens`:
 *   further ones
 */

/**
 * @typedef {object} OwnChatOptions
 * @property {Record<string, unknown>[]} [tools] that the model may call, as its template has them
 * @property {Record<string, unknown>} [variables] further ones for the template
 */
/** @typedef {GenerateOptions & OwnChatOptions} ChatOptions */

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

/** 'a, b or c' @param {string[]} names @param {string} [or] */
const listed = (names, or = 'or') =>
  [names.slice(0, -1).join(', '), ...names.slice(-1)].filter(Boolean).join(` ${or} `);

// ---- What may be asked for, by the call that takes it

/** @param {Scope[]} scopes @param {string[]} own */
const names = (scopes, ...own) => [
  ...scopes.flatMap(scope =>
    Object.entries(OPTIONS[scope])
      .filter(([, { where }]) => where !== 'internal')
      .map(([name]) => name),
  ),
  ...own,
];
const ENGINE = names(['engine'], 'artefact', 'wasm', 'wasmUrl', 'worker', 'workerUrl', 'signal');
const SOURCE = ['fileCache', 'manifest', 'key', 'token', 'endpoint', 'limitRate'];
const MODEL = names(['model', 'session'], ...SOURCE, 'draft', 'onProgress', 'signal');
const GENERATE = names(['sampling', 'answer'], 'logitBias', 'purpose', 'signal');
const CHAT = [...GENERATE, 'tools', 'variables'];
const READ = ['onProgress', 'signal'];
const READ_FILE = [...SOURCE, ...READ];
const BENCH = ['promptTokens', 'answerTokens', 'runs', 'profile', 'trace'];

/** By the call that takes them; one of a session is named where it takes more than the model's. */
const TAKEN = {
  open: [...ENGINE, ...MODEL],
  createEngine: ENGINE,
  'engine.open': MODEL,
  'engine.inspect': READ_FILE,
  'engine.quantize': [...READ_FILE, 'imatrix', 'density'],
  generate: GENERATE,
  chat: CHAT,
  complete: [...GENERATE, 'onPiece'],
  chatComplete: [...CHAT, 'onPiece'],
  'session.generate': [...GENERATE, 'append'],
  'session.complete': [...GENERATE, 'append', 'onPiece'],
  'session.resume': ['maxTokens', 'purpose', 'signal'],
  session: names(['session'], 'signal'),
  restore: names(['session'], 'signal'),
  tokenize: ['addSpecial', 'parseSpecial', 'signal'],
  detokenize: ['parseSpecial', 'signal'],
  embed: ['pooling', 'signal'],
  score: ['signal'],
  'model.bench': [...BENCH, ...READ],
  'model.perplexity': [...READ, 'against'],
  'model.calibrate': READ,
  inspect: [...ENGINE, ...MODEL],
  quantize: [...ENGINE, ...MODEL, 'imatrix', 'density'],
  calibrate: [...ENGINE, ...MODEL, 'onScored'],
  perplexity: [...ENGINE, ...MODEL, 'onScored', 'against'],
  bench: [...ENGINE, ...MODEL, ...BENCH, 'onRun'],
};
/** @typedef {keyof typeof TAKEN} Call */

/** How many letters have to be put in, left out or replaced. @param {string} a @param {string} b */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let k = 1; k <= b.length; k++)
      next[k] = Math.min(row[k] + 1, next[k - 1] + 1, row[k - 1] + Number(a[i - 1] !== b[k - 1]));
    row = next;
  }
  return row[b.length];
}

/** Case and underscores aside. @param {string} name */
const plain = name => name.toLowerCase().replace(/[_-]/g, '');

/** @param {string} name @param {string[]} among */
function nearest(name, among) {
  const far = (/** @type {string} */ other) => distance(plain(name), plain(other));
  const best = among.reduce((a, b) => (far(b) < far(a) ? b : a));
  return far(best) <= Math.max(1, Math.floor(name.length / 3)) ? best : '';
}

/**
 * Options whose names are checked: one that the call does not take is refused, with the nearest
 * that it takes. What is undefined says nothing.
 * @template {object} T
 * @param {Call} call @param {T | null | undefined} options @returns {T}
 */
export function named(call, options) {
  if (options === undefined || options === null) return /** @type {T} */ ({});
  if (typeof options !== 'object')
    refuse(`${call}'s options must be an object, not ${shown(options)}`);
  const taken = TAKEN[call];
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || taken.includes(name)) continue;
    const other = ['createEngine', ...Object.keys(TAKEN)].find(one =>
      TAKEN[/** @type {Call} */ (one)].includes(name),
    );
    const near = other ? '' : nearest(name, taken);
    const hint = other
      ? `: it is one of ${other}`
      : near
        ? `: did you mean '${near}'?`
        : `; it takes ${listed(taken, 'and')}`;
    refuse(`${call} has no option '${name}'${hint}`);
  }
  return options;
}

/**
 * Those of `options` that `call` takes.
 * @param {Call} call @param {object} options @returns {any}
 */
export const optionsOf = (call, options) =>
  Object.fromEntries(Object.entries(options).filter(([name]) => TAKEN[call].includes(name)));

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
  const all = typeof texts === 'string' ? [texts] : texts;
  if (!Array.isArray(all))
    return refuse(`${key} must be a text or an array of texts, not ${shown(texts)}`);
  if (all.length > STOPS_MOST)
    refuse(`${all.length} ${key} texts given; at most ${STOPS_MOST} are possible`);
  for (const text of all) {
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

/** @param {unknown} memory @param {string} [key] of the option @returns {number} 0: no limit */
export function memoryBytes(memory, key = 'memory') {
  if (memory === undefined || memory === null || memory === 0) return 0;
  if (typeof memory === 'number' && memory >= 1 && Number.isFinite(memory))
    return Math.min(Math.floor(memory), BYTES_MOST);
  const match =
    typeof memory === 'string' && /^\s*(\d+(?:\.\d+)?)\s*([kmg]?)i?b?\s*$/i.exec(memory);
  if (!match)
    return refuse(
      `${key} must be an amount of ${key === 'limitRate' ? 'bytes a second, as 5MB' : 'memory, as 96MB or 2GB'}, not ${shown(memory)}`,
    );
  const unit = { '': 1, k: 1e3, m: 1e6, g: 1e9 }[
    /** @type {'' | 'k' | 'm' | 'g'} */ (match[2].toLowerCase())
  ];
  return Math.min(Math.floor(Number(match[1]) * unit), BYTES_MOST);
}

/** @param {EngineOptions} options */
export function checkEngine({ threads, ...options }) {
  checkThreads(threads);
  checkScope('engine', options);
  checkSignal(options.signal);
}

/**
 * Those of sessions as the table has them.
 * @param {any} options
 */
function plainShift({ contextShift, ...rest }) {
  if (contextShift === undefined || contextShift === null) return rest;
  if (typeof contextShift !== 'object') return { ...rest, contextShift };
  const { keep, ...more } = contextShift;
  const [other] = Object.keys(more);
  if (other !== undefined) refuse(`contextShift has no option '${other}'; it takes keep`);
  if (keep !== undefined && keep !== null) checkOption('keep', keep, OPTIONS.session.contextKeep);
  return { ...rest, contextShift: true, contextKeep: keep ?? 0 };
}

/** As the core takes them. @param {SessionOptions & {purpose?: string}} options */
export const sessionJson = options => optionsJson('session', plainShift(options));

/** @param {unknown} state */
export function checkState(state) {
  if (!(
    ArrayBuffer.isView(state) && /Uint8Array|Buffer/.test(Object.prototype.toString.call(state))
  ))
    refuse(`a state must be the Uint8Array that session.save gave, not ${shown(state)}`);
}

/** @param {ModelOptions} options */
export function checkModel(options) {
  checkScope('model', options);
  checkScope('session', plainShift(options));
  checkReading(options);
}

/**
 * Of a call that reads files.
 * @param {Reading & {onProgress?: unknown}} options
 */
export function checkReading(options) {
  checkCallbacks(options);
  const { token, endpoint, fileCache, manifest, key, limitRate } = options;
  cacheOf(fileCache);
  if ((token ?? '') !== `${token ?? ''}`) refuse(`token must be a text, not ${shown(token)}`);
  if (endpoint !== undefined && endpoint !== null && !URL.canParse(String(endpoint)))
    refuse(`endpoint must be the address of a hub, not ${shown(endpoint)}`);
  if (!['undefined', 'boolean', 'string', 'object'].includes(typeof manifest))
    refuse(`manifest must be true, an address or a manifest, not ${shown(manifest)}`);
  if (key !== undefined && key !== null && typeof key !== 'object')
    refuse(`key must be a CryptoKey or 32 bytes, not ${shown(key)}`);
  memoryBytes(limitRate, 'limitRate');
}

/**
 * How files are read.
 * @param {Reading} options @returns {import('../source/index.js').SourceOptions}
 */
export const readingOf = options => ({
  .../** @type {any} */ (
    Object.fromEntries(
      Object.entries(options).filter(
        ([name, value]) =>
          [...SOURCE, 'signal'].includes(name) && (value ?? undefined) !== undefined,
      ),
    )
  ),
  limitRate: memoryBytes(options.limitRate, 'limitRate'),
});

/** @param {{onProgress?: unknown, signal?: AbortSignal}} options */
export function checkCallbacks({ onProgress, signal }) {
  if (onProgress !== undefined && onProgress !== null) checkFunction('onProgress', onProgress);
  checkSignal(signal);
}

/** @param {OpenOptions} options */
export function checkOpen(options) {
  checkModel(options);
  checkEngine(options);
}

/** @param {unknown} purpose @returns {number} as the engine counts them */
export const purposeOf = (/** @type {unknown} */ purpose = null) =>
  numberOf('purpose', purpose ?? 'interactive', PURPOSES);

/** @param {unknown} pooling @returns {number} as the engine counts them */
export const poolingOf = (/** @type {unknown} */ pooling = null) =>
  numberOf('pooling', pooling ?? 'mean', POOLINGS);

/** @param {ResumeOptions} options */
export function checkResume(options) {
  checkScope('answer', options);
  purposeOf(options.purpose);
  checkSignal(options.signal);
}

/** @param {GenerateOptions} options */
export function checkGenerate(options) {
  checkScope('sampling', options);
  checkScope('answer', options);
  purposeOf(options.purpose);
  const biases = Object.entries(options.logitBias ?? {});
  if (biases.length > BIASES_MOST)
    refuse(`logitBias for ${biases.length} tokens given; at most ${BIASES_MOST} are possible`);
  for (const [token, bias] of biases) {
    checkTokens([Number(token)]);
    if (!(typeof bias === 'number' && Math.abs(bias) <= 1e9))
      refuse(`logitBias must be numbers from -1e9 to 1e9, not ${shown(bias)}`);
  }
  checkSignal(options.signal);
}
