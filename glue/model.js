// A model in this thread: the C core's handles as objects. The worker and the page's proxy speak the same interface.
import { Core } from './core.js';
import { HyperionError } from './errors.js';
import { openSource, shardsOf } from './sources.js';

/** @typedef {import('./sources.js').Source} Source */
/** @typedef {import('./chat.js').Message} Message */

/**
 * @typedef {object} OpenOptions
 * @property {number | string} [memory] limit for weights, caches and buffers: bytes, or as '96MB'
 * @property {number} [context] tokens of prompt and answer together; the model's own, at most 2048, when left out
 * @property {'f16' | 'q8_0'} [cache] format of the KV cache
 * @property {number} [batch] prompt tokens computed at once
 * @property {boolean} [profile] time each operation
 * @property {number} [lookup] tokens guessed ahead from the text itself and checked in one step, 7 at most: the same answer, sooner where it repeats; none when left out
 * @property {Source | Source[]} [draft] a smaller model of the same vocabulary that guesses ahead (`lookup` tokens, 4 when left out): the same answer, sooner where it is right
 * @property {'intent' | 'round-robin'} [policy] how the engine divides its thread among answers under way
 * @property {'auto' | import('./detect.js').Artefact} [artefact]
 * @property {'auto' | number} [threads] that compute; `auto` is one for each processor where the host shares memory between workers (in a page: with COOP and COEP headers)
 * @property {import('./core.js').WasmSource} [wasm] the module, where the host can not fetch or compile it
 * @property {boolean | 'auto'} [worker] run the engine in a worker of its own; `auto`: in a page
 * @property {(progress: {loaded: number, total: number}) => void} [onProgress]
 * @property {AbortSignal} [signal] stops the loading
 */

/**
 * @typedef {object} GenerateOptions
 * @property {number} [maxTokens] 256 when left out
 * @property {number} [temperature] 0.7 when left out; 0 always takes the likeliest token
 * @property {number} [topK]
 * @property {number} [topP]
 * @property {number} [minP]
 * @property {number} [typicalP]
 * @property {number} [repeatPenalty]
 * @property {number} [frequencyPenalty]
 * @property {number} [presencePenalty]
 * @property {number} [penaltyLast] tokens that the penalties look back; 64 when left out
 * @property {number} [mirostat] target surprise in bits
 * @property {number} [mirostatEta]
 * @property {Record<number, number>} [logitBias] by token
 * @property {number} [seed] the same seed gives the same text on every platform; random when left out
 * @property {string[]} [stop] texts that end the answer and are not part of it
 * @property {boolean} [specials] read special tokens in the prompt
 * @property {'interactive' | 'batch' | 'background'} [purpose] what the answer is for: with others under way, interactive ones get the most of the engine
 * @property {AbortSignal} [signal]
 */

/** @typedef {'' | 'length' | 'end' | 'stop' | 'context'} Finish */
/** @typedef {{text: string, token: number, finish: Finish}} Piece `finish` is set on the last one */
/** @typedef {{architecture: string, name?: string, chatTemplate?: string, context: number, dim: number, layers: number, heads: number, kvHeads: number, vocab: number, parameters: number, weightBytes: number, bos: number, eos: number, addsBos: boolean}} Facts */
/** @typedef {{usedBytes: number, peakBytes: number, limitBytes: number, linearMemoryBytes: number, blocks: number, blockBytes: number}} MemoryStats `blocks`: lent by the slab */
/** @typedef {{count: number, present: number, stages: number, tiles: number, helped: number, repeated: number}} ThreadStats `count`: threads that compute, the engine's included; `present`: helpers that have come; `helped`: tiles that they computed; `repeated`: tiles computed again because a helper lost its processor */
/** @typedef {{policy: string, count: number, ready: number, waiting: number, switches: number, stackBytes: number}} FiberStats */
/** @typedef {{pages: number, kept: number, resident: number, frames: number, wholeBytes: number, capacityBytes: number, residentBytes: number, pins: number, hits: number, fills: number, filledBytes: number, evictions: number}} Residency of the weights' pages: `kept` have a place for good, the others share `frames` */
/** @typedef {{artefact: string, kernels: string, memory: MemoryStats, fibers: FiberStats, threads: ThreadStats, weights: Residency, lanes: import('./lane.js').LaneStats[], promptTokens: number, reusedTokens: number, answerTokens: number, tokensTogether: number, tokensGuessed: number, tokensGuessedRight: number, promptTokensPerSecond: number, answerTokensPerSecond: number, context: number, used: number, latencyMs: {p50: number, p90: number, p95: number, p99: number}, operations: Operation[]}} Stats `operations`: of a session's steps, with the option `profile` */
/** @typedef {{name: string, layer: number, ms: number, bytes: number, macs: number, beganMs: number, lastMs: number}} Operation since the model was opened: time, bytes of weights or of the cache, multiply-adds; `beganMs`, `lastMs`: of the last step. `layer` -1: none */
/** @typedef {{gbPerSecond: number, gmacPerSecond: number}} Peaks */

const EDGES = 1;
const SPECIALS = 2;
/** @type {Finish[]} */
const FINISH = ['', 'end', 'stop', 'context'];
const POOLING = { mean: 0, cls: 1, last: 2 };
const CALL = { prefill: 0, next: 1, embed: 2, score: 3 }; // hyp_call_kind
const PURPOSE = { interactive: 0, batch: 2, background: 3 }; // hyp_purpose

/** @param {number | string | undefined} memory */
function memoryBytes(memory) {
  if (memory === undefined || memory === 0) return 0;
  if (typeof memory === 'number' && memory > 0) return memory;
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmg]?)i?b?\s*$/i.exec(String(memory));
  if (!match) throw new HyperionError('HYP_E_ARGUMENT', `'${memory}' is no amount of memory: write 96MB or 2GB`);
  return Math.floor(Number(match[1]) * { '': 1, k: 1e3, m: 1e6, g: 1e9 }[/** @type {'' | 'k' | 'm' | 'g'} */ (match[2].toLowerCase())]);
}

/** @param {AbortSignal | undefined} signal */
const throwIfAborted = signal => {
  if (signal?.aborted) throw new HyperionError('HYP_E_CANCELLED', 'cancelled', { cause: signal.reason });
};

/**
 * Reads a model's files with a core of their own: under the options' memory limit, with progress, ended by the signal.
 * @template T
 * @param {Source | Source[]} source @param {OpenOptions} options
 * @param {(core: Core, sources: import('./sources.js').ByteSource[], release: () => Promise<void>) => Promise<T>} act a model takes the sources over, and releases them
 * @returns {Promise<T>}
 */
async function reading(source, { memory, artefact, threads, wasm, policy, onProgress, signal }, act) {
  throwIfAborted(signal);
  const core = await Core.create({ memoryBytes: memoryBytes(memory), artefact, threads, wasm });
  if (policy) {
    core.inputText(policy);
    core.run('engine_set_policy', core.engine);
  }
  core.onProgress = (loaded, total) => (onProgress?.({ loaded, total }), !signal?.aborted);
  /** @type {import('./sources.js').ByteSource[]} */
  const sources = [];
  const release = async () => {
    for (const one of sources.splice(0)) await one.close?.();
  };
  try {
    for (const one of shardsOf(source)) sources.push(await openSource(one, signal));
    const result = await act(core, sources, release);
    if (!(result instanceof Model)) await release();
    return result;
  } catch (error) {
    await release();
    throwIfAborted(signal);
    throw error;
  } finally {
    core.onProgress = null;
  }
}

/**
 * Opens a model in this thread.
 * @param {Source | Source[]} source the file, or the parts of a split model in order
 * @param {OpenOptions} [options]
 */
export function openModel(source, options = {}) {
  const { draft, context = 0 } = options;
  return reading(source, options, async (core, sources, release) => {
    await core.runJob('model_open', sources, context);
    const pointer = core.resultPointer;
    let guesses = 0;
    if (draft) {
      const own = sources.length;
      for (const one of shardsOf(draft)) sources.push(await openSource(one, options.signal));
      await core.runJob('model_open', sources.slice(own), context);
      guesses = core.resultPointer;
      core.call('model_dismiss', guesses); // its helpers: it is small
    }
    const model = new Model(core, pointer, guesses, options, release);
    if (model.keeps()) await release(); // nothing will be read again
    return model;
  });
}

/**
 * Metadata and tensors of a GGUF file.
 * @param {Source | Source[]} source @param {OpenOptions} [options]
 */
export function inspect(source, options = {}) {
  return reading(source, { ...options, threads: 1 }, async (core, sources) => {
    await core.runJob('inspect', sources);
    return core.resultJson();
  });
}

/**
 * Writes a model with its float matrices in another format, or pruned.
 * @param {Source | Source[]} source @param {'q4_0' | 'q4_k' | 'q6_k' | 'q8_0' | 'f16' | 'f32' | string} format
 * @param {(bytes: Uint8Array) => void} write takes the new file from front to back
 * @param {OpenOptions & {importance?: Source, density?: number}} [options] importance: what `calibrate` has written, or an importance matrix of llama.cpp in
 *   GGUF. density: of the layers' matrices after pruning, above 0 and at most 1; with 'q4_0' only
 */
export function quantize(source, format, write, { importance, density = 0, ...options } = {}) {
  const parts = shardsOf(source);
  return reading(importance ? [...parts, importance] : source, { ...options, threads: 1 }, async (core, sources) => {
    core.onWrite = bytes => (write(bytes), true);
    core.inputText(format);
    await core.runJob('quantize', sources, density, importance ? 1 : 0);
  });
}

/**
 * Measures on texts what each column of a model's matrices counts for.
 * @param {Source | Source[]} source @param {Iterable<string>} texts
 * @param {(bytes: Uint8Array) => void} write takes the importance file, GGUF
 * @param {OpenOptions} [options] `onProgress` speaks of loading
 */
export async function calibrate(source, texts, write, options = {}) {
  const model = await openModel(source, options);
  try {
    const { context = Math.min(model.facts.context, 2048) } = options;
    for (const text of texts) {
      const tokens = await model.tokenize(text);
      for (let at = 0; at < tokens.length; at += context) {
        throwIfAborted(options.signal);
        await model.observe(tokens.slice(at, at + context));
      }
    }
    model.writeImportance(write);
  } finally {
    await model.close();
  }
}

export class Model {
  #core;
  #model;
  #options;
  /** @type {{pointer: number, busy: boolean, purpose: number}[]} */
  #sessions = [];
  #last = 0; // the session that stats speak of
  #draft;
  #closed = false;
  #observer = 0; // the session that keeps statistics
  #release;
  /** @type {Promise<unknown>} the scores, one after the other */
  #scores = Promise.resolve();
  /** @type {Facts} */
  facts;

  /** @param {Core} core @param {number} model @param {number} draft 0: none @param {OpenOptions} options @param {() => Promise<void>} release of its sources */
  constructor(core, model, draft, options, release) {
    this.#core = core;
    this.#model = model;
    this.#draft = draft;
    this.#options = options;
    this.#release = release;
    core.run('model_facts', model);
    this.facts = core.resultJson();
    core.vocab = this.facts.vocab;
  }

  #open() {
    if (this.#closed) throw new HyperionError('HYP_E_STATE', 'the model is closed');
    return this.#core;
  }

  /** A session that nobody uses; concurrent answers get one each. */
  #session(/** @type {keyof typeof PURPOSE} */ purpose = 'interactive') {
    const core = this.#open();
    if (!(purpose in PURPOSE)) throw new HyperionError('HYP_E_ARGUMENT', `'${purpose}' is no purpose: interactive, batch or background`);
    let session = this.#sessions.find(s => !s.busy && s.purpose === PURPOSE[purpose]);
    if (!session) {
      const { context = 0, batch = 0, cache = 'f16', profile = false, lookup = 0 } = this.#options;
      if (!(Number.isInteger(lookup) && lookup >= 0 && lookup <= 7)) throw new HyperionError('HYP_E_ARGUMENT', `lookup must be a number from 0 to 7, not ${lookup}`);
      if (cache !== 'f16' && cache !== 'q8_0') throw new HyperionError('HYP_E_ARGUMENT', `'${cache}' is no cache format: f16 or q8_0`);
      core.run('session_create', this.#model, context, batch, cache === 'q8_0' ? 1 : 0, profile ? 1 : 0, PURPOSE[purpose], lookup, this.#draft, 0);
      session = { pointer: core.resultPointer, busy: false, purpose: PURPOSE[purpose] };
      this.#sessions.push(session);
    }
    session.busy = true;
    this.#last = session.pointer;
    return session;
  }

  /**
   * @param {string} text
   * @param {{edges?: boolean, specials?: boolean}} [options] edges (default true): with the tokens the model expects around a text
   * @returns {Promise<number[]>}
   */
  async tokenize(text, options) {
    return this.#tokenize(text, options);
  }

  /** @param {string} text @param {{edges?: boolean, specials?: boolean}} [options] */
  #tokenize(text, { edges = true, specials = false } = {}) {
    const core = this.#open();
    core.run('model_tokenize', this.#model, core.inputText(text), (edges ? EDGES : 0) | (specials ? SPECIALS : 0));
    return core.resultTokens();
  }

  /** @param {ArrayLike<number>} tokens @param {{specials?: boolean}} [options] @returns {Promise<string>} */
  async detokenize(tokens, options) {
    return this.#detokenize(tokens, options);
  }

  /** @param {ArrayLike<number>} tokens @param {{specials?: boolean}} [options] */
  #detokenize(tokens, { specials = false } = {}) {
    const core = this.#open();
    core.run('model_detokenize', this.#model, core.inputTokens(tokens), specials ? SPECIALS : 0);
    return core.resultText();
  }

  /**
   * Continues a text (or tokens), piece by piece.
   * @param {string | ArrayLike<number>} prompt
   * @param {GenerateOptions} [options]
   * @returns {AsyncGenerator<Piece, void, void>}
   */
  async *generate(prompt, options = {}) {
    const { maxTokens = 256, signal, stop = [] } = options;
    throwIfAborted(signal);
    const core = this.#open();
    const tokens = typeof prompt === 'string' ? this.#tokenize(prompt, { specials: options.specials }) : prompt;
    const session = this.#session(options.purpose);
    const { pointer } = session;
    try {
      const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
      core.call('sampling_set', options.temperature ?? 0.7, options.topK ?? 0, options.topP ?? 0, options.minP ?? 0, options.typicalP ?? 0, options.repeatPenalty ?? 0, options.frequencyPenalty ?? 0,
        options.presencePenalty ?? 0, options.penaltyLast ?? 0, options.mirostat ?? 0, options.mirostatEta ?? 0, seed);
      for (const [token, bias] of Object.entries(options.logitBias ?? {})) core.run('sampling_bias', Number(token), bias);
      core.run('session_begin', pointer, core.inputTokens(tokens, stop), stop.length);
      do {
        await core.runCall(pointer, CALL.prefill);
        throwIfAborted(signal);
      } while (core.call('session_left', pointer) > 0);
      for (let made = 0; made < maxTokens; made++) {
        await core.runCall(pointer, CALL.next);
        core.run('session_text', pointer);
        const piece = { text: core.resultText(), token: core.call('session_token', pointer), finish: FINISH[core.call('session_finish', pointer)] };
        if (!piece.finish && made + 1 === maxTokens) {
          core.run('session_flush', pointer);
          piece.text += core.resultText();
          piece.finish = 'length';
        }
        this.#last = pointer;
        yield piece;
        if (piece.finish) return;
        throwIfAborted(signal);
      }
    } finally {
      session.busy = false;
    }
  }

  /**
   * Answers a conversation, rendered by the model's own chat template.
   * @param {Message[]} messages
   * @param {GenerateOptions & {variables?: Record<string, unknown>}} [options] variables: further ones for the template
   * @returns {AsyncGenerator<Piece, void, void>}
   */
  async *chat(messages, options = {}) {
    const { renderChat } = await import('./chat.js');
    const { bos, eos, addsBos, chatTemplate } = this.facts;
    const bosToken = bos >= 0 ? this.#detokenize([bos], { specials: true }) : '';
    const text = renderChat(chatTemplate, messages, { bosToken, eosToken: eos >= 0 ? this.#detokenize([eos], { specials: true }) : '', variables: options.variables, signal: options.signal });
    const edges = addsBos && !(bosToken && text.startsWith(bosToken));
    yield* this.generate(this.#tokenize(text, { edges, specials: true }), options);
  }

  /**
   * The pooled final hidden state of a text, of length 1.
   * @param {string} text @param {{pooling?: 'mean' | 'cls' | 'last'}} [options]
   * @returns {Promise<Float32Array>}
   */
  async embed(text, { pooling = 'mean' } = {}) {
    if (!(pooling in POOLING)) throw new HyperionError('HYP_E_ARGUMENT', `'${pooling}' is no pooling: mean, cls or last`);
    const core = this.#open();
    const tokens = this.#tokenize(text);
    const session = this.#session();
    try {
      await core.runCall(session.pointer, CALL.embed, core.inputTokens(tokens), POOLING[pooling]);
      core.run('session_vector', session.pointer);
      return core.resultFloats();
    } finally {
      session.busy = false;
    }
  }

  /**
   * Log-probabilities of a text: `visit` gets, after each token, those of every next one (a view, valid during the call).
   * @param {ArrayLike<number>} tokens @param {(position: number, logProbabilities: Float32Array) => void} visit
   * @returns {Promise<void>}
   */
  score(tokens, visit) {
    const turn = this.#scores.then(() => this.#score(tokens, visit));
    this.#scores = turn.catch(() => {});
    return turn;
  }

  /** @param {ArrayLike<number>} tokens @param {(position: number, logProbabilities: Float32Array) => void} visit */
  async #score(tokens, visit) {
    const core = this.#open();
    const session = this.#session();
    core.onScored = visit;
    try {
      await core.runCall(session.pointer, CALL.score, core.inputTokens(tokens));
    } finally {
      core.onScored = null;
      session.busy = false;
    }
  }

  /** For `calibrate`: computes a text, and notes what goes into each product. @param {ArrayLike<number>} tokens */
  async observe(tokens) {
    const core = this.#open();
    if (!this.#observer) {
      core.run('session_create', this.#model, this.#options.context ?? 0, 0, 0, 0, PURPOSE.batch, 0, 0, 1);
      this.#observer = core.resultPointer;
    }
    await core.runCall(this.#observer, CALL.score, core.inputTokens(tokens));
  }

  /** For `calibrate`: what has been noted, as a GGUF file. @param {(bytes: Uint8Array) => void} write */
  writeImportance(write) {
    const core = this.#open();
    if (!this.#observer) throw new HyperionError('HYP_E_ARGUMENT', 'no text has been scored to calibrate with');
    core.onWrite = bytes => (write(bytes), true);
    core.run('session_importance', this.#observer);
  }

  /** Which of the weights are in memory. @returns {Residency} */
  residency() {
    return this.#residency(this.#model);
  }

  #residency(/** @type {number} */ model) {
    const core = this.#open();
    core.run('model_residency', model);
    return core.resultJson();
  }

  /** Whether all weights are in memory for good, the draft model's included. */
  keeps() {
    return [this.#model, this.#draft].every(model => !model || this.#residency(model).kept === this.#residency(model).pages);
  }

  /** A number for each page of the weights: 0 absent, else 1 to 255 by how often it is used; 64 is once a pass. @returns {Promise<Uint8Array>} */
  async heat() {
    const core = this.#open();
    core.run('model_heat', this.#model);
    return core.resultBytes();
  }

  /** Speed of the last answer, memory, fibers, residency of the weights. @returns {Promise<Stats>} */
  async stats() {
    const core = this.#open();
    const { kernels, memory, fibers } = core.stats();
    /** @type {any} */
    let s = { promptTokens: 0, reusedTokens: 0, answerTokens: 0, tokensTogether: 0, tokensGuessed: 0, tokensGuessedRight: 0, promptMs: 0, answerMs: 0, context: 0, used: 0, latencyMs: { p50: 0, p90: 0, p95: 0, p99: 0 }, operations: [] };
    if (this.#last) {
      core.run('session_stats', this.#last);
      s = core.resultJson();
    }
    const { promptMs, answerMs, ...rest } = s;
    const rate = (/** @type {number} */ tokens, /** @type {number} */ ms) => (ms > 0 ? (tokens * 1000) / ms : 0);
    core.run('model_helpers', this.#model);
    const threads = core.resultJson();
    return { artefact: core.artefact, kernels, memory, fibers, threads, weights: this.residency(), lanes: [], ...rest, promptTokensPerSecond: rate(s.promptTokens, promptMs), answerTokensPerSecond: rate(s.answerTokens, answerMs) };
  }

  /** What this machine reads from memory and multiplies at most, one thread; measured for a moment. @returns {Promise<Peaks>} */
  async measure() {
    const core = this.#open();
    core.run('engine_measure', core.engine);
    return core.resultJson();
  }

  /** Operations and latencies of `stats` begin anew. @returns {Promise<void>} */
  async forget() {
    if (this.#last) this.#open().call('session_forget', this.#last);
  }

  /** Gives all memory back. Answers under way end with an error. @returns {Promise<void>} */
  async close() {
    if (!this.#closed) this.#core.call('model_dismiss', this.#model);
    this.#closed = true;
    this.#core.close();
    await this.#release();
  }
}
