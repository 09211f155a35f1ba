// A model in this thread: the C core's handles as objects. The worker and the page's proxy speak the same interface.
import { Core } from './core.js';
import { HyperionError } from './errors.js';
import {
  checkGenerate,
  checkOpen,
  checkTokens,
  memoryBytes,
  poolingOf,
  purposeOf,
  throwIfAborted,
} from './options.js';
import { openSource, shardsOf } from './sources.js';

/** @typedef {import('./sources.js').Source} Source */
/** @typedef {import('./chat.js').Message} Message */

/**
 * @typedef {object} OpenOptions
 * @property {number | string} [memory] limit for weights, caches and buffers: bytes, or as '96MB'
 * @property {number} [context] tokens of prompt and answer together, 2^24 at most; the model's own, at most 2048, when left out
 * @property {'f16' | 'q8_0'} [cache] format of the KV cache
 * @property {number} [batch] prompt tokens computed at once, 4096 at most
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
/** @typedef {{count: number, present: number, loops: number, tiles: number, byWorkers: number, repeated: number}} ThreadStats `count`: threads that compute, the engine's included; `present`: workers that have come; `byWorkers`: tiles that they computed; `repeated`: tiles computed again because a worker lost its processor */
/** @typedef {{policy: string, count: number, ready: number, waiting: number, switches: number, stackBytes: number}} FiberStats */
/** @typedef {{pages: number, resident: number, present: number, frames: number, wholeBytes: number, capacityBytes: number, presentBytes: number, pins: number, hits: number, fills: number, filledBytes: number, evictions: number}} Residency of the weights' pages: `resident` have a place for good, the others share `frames` */
/** @typedef {{artefact: string, kernels: string, memory: MemoryStats, fibers: FiberStats, threads: ThreadStats, weights: Residency, lanes: import('./lane.js').LaneStats[], promptTokens: number, reusedTokens: number, answerTokens: number, tokensBatched: number, tokensDrafted: number, tokensAccepted: number, promptTokensPerSecond: number, answerTokensPerSecond: number, context: number, used: number, latencyMs: {p50: number, p90: number, p95: number, p99: number}, operations: Operation[]}} Stats `operations`: of a session's steps, with the option `profile` */
/** @typedef {{name: string, layer: number, ms: number, bytes: number, macs: number, beganMs: number, lastMs: number}} Operation since the model was opened: time, bytes of weights or of the cache, multiply-adds; `beganMs`, `lastMs`: of the last step. `layer` -1: none */
/** @typedef {{gbPerSecond: number, gmacPerSecond: number}} Peaks */

const EDGES = 1;
const SPECIALS = 2;
/** @type {Finish[]} */
const FINISH = ['', 'end', 'stop', 'context'];
const CALL = { prefill: 0, next: 1, embed: 2, score: 3 }; // hyp_call_kind

/**
 * Reads a model's files with a core of their own: under the options' memory limit, with progress, ended by the signal.
 * @template T
 * @param {Source | Source[]} source @param {OpenOptions} options
 * @param {(core: Core, sources: import('./sources.js').ByteSource[], release: () => Promise<void>) => Promise<T>} act a model takes core and sources over, and releases them
 * @returns {Promise<T>}
 */
async function reading(source, options, act) {
  checkOpen(options);
  const { artefact, threads, wasm, policy, onProgress, signal } = options;
  throwIfAborted(signal);
  /** @type {Core | null} */
  let core = null;
  /** @type {import('./sources.js').ByteSource[]} */
  const sources = [];
  const release = async () => {
    await Promise.all(sources.splice(0).map(async one => one.close?.()));
  };
  /** @type {T | null} */
  let result = null;
  try {
    core = await Core.create({
      memoryBytes: memoryBytes(options.memory),
      artefact,
      threads,
      wasm,
      signal,
    });
    if (policy) {
      core.inputText(policy);
      core.run('engine_set_policy', core.engine);
    }
    core.onProgress = (loaded, total) => (onProgress?.({ loaded, total }), !signal?.aborted);
    for (const one of shardsOf(source)) sources.push(await openSource(one, signal));
    const made = await act(core, sources, release);
    throwIfAborted(signal);
    return (result = made);
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  } finally {
    if (result instanceof Model) /** @type {Core} */ (core).onProgress = null;
    else {
      const closed = release(); // not waited for: a source's own `close` may never end
      closed.catch(() => {});
      await core?.close();
    }
  }
}

/**
 * Opens a model in this thread.
 * @param {Source | Source[]} source the file, or the parts of a split model in order
 * @param {OpenOptions} [options]
 */
export function openModel(source, options = {}) {
  const { draft, context = 0, signal } = options;
  return reading(source, options, async (core, sources, release) => {
    await core.runJob('model_open', sources, signal, context);
    const pointer = core.resultPointer;
    let guesses = 0;
    if (draft) {
      const own = sources.length;
      for (const one of shardsOf(draft)) sources.push(await openSource(one, signal));
      await core.runJob('model_open', sources.slice(own), signal, context);
      guesses = core.resultPointer;
      core.call('model_stop_workers', guesses); // its workers: it is small
    }
    const model = new Model(core, pointer, guesses, options, release);
    // Without a limit pages never leave, and nothing will be read again.
    if (memoryBytes(options.memory) === 0 && model.keeps()) await release();
    return model;
  });
}

/**
 * Metadata and tensors of a GGUF file.
 * @param {Source | Source[]} source @param {OpenOptions} [options]
 */
export function inspect(source, options = {}) {
  return reading(source, { ...options, threads: 1 }, async (core, sources) => {
    await core.runJob('inspect', sources, options.signal);
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
  return reading(
    importance ? [...parts, importance] : source,
    { ...options, threads: 1 },
    async (core, sources) => {
      core.onWrite = bytes => (write(bytes), true);
      core.inputText(format);
      await core.runJob('quantize', sources, options.signal, density, importance ? 1 : 0);
    },
  );
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
      for (let at = 0; at < tokens.length; at += context)
        await model.observe(tokens.slice(at, at + context), options);
    }
    model.writeImportance(write);
  } finally {
    await model.close();
  }
}

/**
 * @typedef {object} Session of the engine
 * @property {number} pointer
 * @property {boolean} busy lent
 * @property {number} purpose
 * @property {number} used when it was given back last, in the order of such events
 * @property {ArrayLike<number>} prompt that it remembers, with
 * @property {number[]} answer behind it
 */

/** How many tokens of `tokens` a session need not compute again. @param {Session} session @param {ArrayLike<number>} tokens */
function sharedTokens({ prompt, answer }, tokens) {
  let n = 0;
  while (
    n < tokens.length &&
    n < prompt.length + answer.length &&
    tokens[n] === (n < prompt.length ? prompt[n] : answer[n - prompt.length])
  )
    n++;
  return n;
}

export class Model {
  #core;
  #model;
  #options;
  /** @type {Session[]} */
  #sessions = [];
  #uses = 0; // of sessions, ever
  #last = 0; // the session that stats speak of
  #draft;
  /** @type {Promise<void> | null} */
  #closing = null;
  #observer = 0; // the session that keeps statistics
  #release;
  /** @type {Facts} */
  facts;

  /** @param {Core} core @param {number} model @param {number} draft 0: none @param {OpenOptions} options @param {() => Promise<void>} release of its sources */
  constructor(core, model, draft, options, release) {
    this.#core = core;
    this.#model = model;
    this.#draft = draft;
    this.#options = options;
    this.#release = release;
    core.run('model_info', model);
    this.facts = core.resultJson();
    core.vocab = this.facts.vocab;
  }

  #open() {
    if (this.#closing) throw new HyperionError('HYP_E_STATE', 'the model is closed');
    return this.#core;
  }

  /** As `#open`, and not within a callback of the engine, whose memory must not move, and which can not be entered again. */
  async #ready() {
    await null;
    return this.#open();
  }

  /**
   * A session that nobody uses, lent until `#giveBack`; answers side by side have one each.
   * @param {number} purpose @param {ArrayLike<number>} [tokens] that it is to continue: the one that knows the most of them is best
   */
  #session(purpose, tokens = []) {
    const core = this.#open();
    /** @type {Session | undefined} */
    let best;
    let most = [-1, 0, 0, 0];
    for (const session of this.#sessions) {
      if (session.busy) continue;
      // Next best is one that has nothing to forget.
      const worth = [
        sharedTokens(session, tokens),
        Number(!session.prompt.length),
        Number(session.purpose === purpose),
        session.used,
      ];
      const at = worth.findIndex((n, i) => n !== most[i]);
      if (worth[at] > most[at]) [best, most] = [session, worth];
    }
    if (!best) {
      best = {
        pointer: this.#create(purpose),
        busy: false,
        purpose,
        used: 0,
        prompt: [],
        answer: [],
      };
      this.#sessions.push(best);
    } else if (best.purpose !== purpose) {
      core.call('session_set_purpose', best.pointer, purpose);
      best.purpose = purpose;
    }
    best.busy = true;
    best.prompt = tokens;
    best.answer = [];
    this.#last = best.pointer;
    return best;
  }

  /** @param {number} purpose @param {boolean} [calibrate] @returns {number} a new session's address */
  #create(purpose, calibrate = false) {
    const core = this.#open();
    const { context = 0, batch = 0, cache, profile, lookup = 0 } = this.#options;
    const create = () => {
      if (calibrate) core.run('session_create', this.#model, context, 0, 0, 0, purpose, 0, 0, 1);
      else
        core.run(
          'session_create',
          this.#model,
          context,
          batch,
          cache === 'q8_0' ? 1 : 0,
          profile ? 1 : 0,
          purpose,
          lookup,
          this.#draft,
          0,
        );
      return core.resultPointer;
    };
    try {
      return create();
    } catch (error) {
      if (/** @type {HyperionError} */ (error).code !== 'HYP_E_NOMEM' || !this.#destroyIdle(0))
        throw error;
      return create();
    }
  }

  /** Frees the sessions that nobody uses but the `keep` latest; returns how many those were. @param {number} keep */
  #destroyIdle(keep) {
    const idle = this.#sessions.filter(s => !s.busy).sort((a, b) => b.used - a.used);
    const doomed = idle.slice(keep);
    this.#sessions = this.#sessions.filter(s => !doomed.includes(s));
    if (doomed.some(s => s.pointer === this.#last))
      this.#last = this.#sessions.at(-1)?.pointer ?? 0;
    for (const session of doomed) this.#core.call('session_destroy', session.pointer);
    return doomed.length;
  }

  /** @param {Session} session */
  #giveBack(session) {
    session.busy = false;
    session.used = ++this.#uses;
    if (!this.#closing && !this.#core.ended && this.#crowded()) this.#destroyIdle(1);
  }

  /** Have weights had to make room? Then sessions that only remember make room for weights. */
  #crowded() {
    if (!memoryBytes(this.#options.memory)) return false;
    try {
      return !this.keeps();
    } catch {
      return true; // not even the answer to that has found memory
    }
  }

  /**
   * @param {string} text
   * @param {{edges?: boolean, specials?: boolean, signal?: AbortSignal}} [options] edges (default true): with the tokens the model expects around a text
   * @returns {Promise<number[]>}
   */
  async tokenize(text, options = {}) {
    throwIfAborted(options.signal);
    await this.#ready();
    return this.#tokenize(text, options);
  }

  /** @param {string} text @param {{edges?: boolean, specials?: boolean}} [options] */
  #tokenize(text, { edges = true, specials = false } = {}) {
    const core = this.#open();
    core.run(
      'model_tokenize',
      this.#model,
      core.inputText(text),
      (edges ? EDGES : 0) | (specials ? SPECIALS : 0),
    );
    return core.resultTokens();
  }

  /** @param {ArrayLike<number>} tokens @param {{specials?: boolean, signal?: AbortSignal}} [options] @returns {Promise<string>} */
  async detokenize(tokens, options = {}) {
    throwIfAborted(options.signal);
    await this.#ready();
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
    checkGenerate(options);
    const { maxTokens = 256, signal, stop = [] } = options;
    throwIfAborted(signal);
    const core = await this.#ready();
    const tokens =
      typeof prompt === 'string'
        ? this.#tokenize(prompt, { specials: options.specials })
        : Int32Array.from(checkTokens(prompt));
    const session = this.#session(purposeOf(options.purpose), tokens);
    const { pointer } = session;
    try {
      const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
      core.call(
        'sampling_set',
        options.temperature ?? 0.7,
        options.topK ?? 0,
        options.topP ?? 0,
        options.minP ?? 0,
        options.typicalP ?? 0,
        options.repeatPenalty ?? 0,
        options.frequencyPenalty ?? 0,
        options.presencePenalty ?? 0,
        options.penaltyLast ?? 0,
        options.mirostat ?? 0,
        options.mirostatEta ?? 0,
        seed,
      );
      for (const [token, bias] of Object.entries(options.logitBias ?? {}))
        core.run('sampling_bias', Number(token), bias);
      core.run('session_begin', pointer, core.inputTokens(tokens, stop), stop.length);
      do await core.runCall(pointer, CALL.prefill, { signal });
      while (core.call('session_left', pointer) > 0);
      for (let made = 0; made < maxTokens; made++) {
        await core.runCall(pointer, CALL.next, { signal });
        core.run('session_text', pointer);
        const piece = {
          text: core.resultText(),
          token: core.call('session_token', pointer),
          finish: FINISH[core.call('session_finish', pointer)],
        };
        if (!piece.finish && made + 1 === maxTokens) {
          core.run('session_flush', pointer);
          piece.text += core.resultText();
          piece.finish = 'length';
        }
        if (piece.token >= 0) session.answer.push(piece.token);
        this.#last = pointer;
        yield piece;
        if (piece.finish) return;
        throwIfAborted(signal);
      }
    } finally {
      this.#giveBack(session);
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
    const text = renderChat(chatTemplate, messages, {
      bosToken,
      eosToken: eos >= 0 ? this.#detokenize([eos], { specials: true }) : '',
      variables: options.variables,
      signal: options.signal,
    });
    const edges = addsBos && !(bosToken && text.startsWith(bosToken));
    yield* this.generate(this.#tokenize(text, { edges, specials: true }), options);
  }

  /**
   * The pooled final hidden state of a text, of length 1.
   * @param {string} text @param {{pooling?: 'mean' | 'cls' | 'last', signal?: AbortSignal}} [options]
   * @returns {Promise<Float32Array>}
   */
  async embed(text, { pooling = 'mean', signal } = {}) {
    const kind = poolingOf(pooling);
    throwIfAborted(signal);
    const core = await this.#ready();
    const tokens = this.#tokenize(text);
    const session = this.#session(purposeOf());
    try {
      await core.runCall(session.pointer, CALL.embed, {
        count: core.inputTokens(tokens),
        pooling: kind,
        signal,
      });
      core.run('session_vector', session.pointer);
      return core.resultFloats();
    } finally {
      this.#giveBack(session);
    }
  }

  /**
   * Log-probabilities of a text: `visit` gets, after each token, those of every next one (a view, valid during the call). What it throws
   * ends the call.
   * @param {ArrayLike<number>} tokens @param {(position: number, logProbabilities: Float32Array) => void} visit @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>}
   */
  async score(tokens, visit, { signal } = {}) {
    throwIfAborted(signal);
    const core = await this.#ready();
    const session = this.#session(purposeOf());
    try {
      await core.runCall(session.pointer, CALL.score, {
        count: core.inputTokens(tokens),
        signal,
        visit,
      });
    } finally {
      this.#giveBack(session);
    }
  }

  /** For `calibrate`: computes a text, and notes what goes into each product. @param {ArrayLike<number>} tokens @param {{signal?: AbortSignal}} [options] */
  async observe(tokens, { signal } = {}) {
    throwIfAborted(signal);
    const core = await this.#ready();
    this.#observer ||= this.#create(purposeOf('batch'), true);
    await core.runCall(this.#observer, CALL.score, { count: core.inputTokens(tokens), signal });
  }

  /** For `calibrate`: what has been noted, as a GGUF file. @param {(bytes: Uint8Array) => void} write */
  writeImportance(write) {
    const core = this.#open();
    if (!this.#observer)
      throw new HyperionError('HYP_E_ARGUMENT', 'no text has been scored to calibrate with');
    core.onWrite = bytes => (write(bytes), true);
    core.run('session_write_imatrix', this.#observer);
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
    return [this.#model, this.#draft].every(
      model => !model || this.#residency(model).resident === this.#residency(model).pages,
    );
  }

  /** A number for each page of the weights: 0 absent, else 1 to 255 by how often it is used; 64 is once a pass. @returns {Promise<Uint8Array>} */
  async heat() {
    const core = await this.#ready();
    core.run('model_heat', this.#model);
    return core.resultBytes();
  }

  /** Speed of the last answer, memory, fibers, residency of the weights. @returns {Promise<Stats>} */
  async stats() {
    const core = await this.#ready();
    const { kernels, memory, fibers } = core.stats();
    /** @type {any} */
    let s = {
      promptTokens: 0,
      reusedTokens: 0,
      answerTokens: 0,
      tokensBatched: 0,
      tokensDrafted: 0,
      tokensAccepted: 0,
      promptMs: 0,
      answerMs: 0,
      context: 0,
      used: 0,
      latencyMs: { p50: 0, p90: 0, p95: 0, p99: 0 },
      operations: [],
    };
    if (this.#last) {
      core.run('session_stats', this.#last);
      s = core.resultJson();
    }
    const { promptMs, answerMs, ...rest } = s;
    const rate = (/** @type {number} */ tokens, /** @type {number} */ ms) =>
      ms > 0 ? (tokens * 1000) / ms : 0;
    core.run('model_workers', this.#model);
    const threads = core.resultJson();
    return {
      artefact: core.artefact,
      kernels,
      memory,
      fibers,
      threads,
      weights: this.residency(),
      lanes: [],
      ...rest,
      promptTokensPerSecond: rate(s.promptTokens, promptMs),
      answerTokensPerSecond: rate(s.answerTokens, answerMs),
    };
  }

  /** What this machine reads from memory and multiplies at most, one thread; measured for a moment. @returns {Promise<Peaks>} */
  async measure() {
    const core = await this.#ready();
    core.run('engine_measure', core.engine);
    return core.resultJson();
  }

  /** Operations and latencies of `stats` begin anew. @returns {Promise<void>} */
  async forget() {
    const core = await this.#ready();
    if (this.#last) core.call('session_reset_profile', this.#last);
  }

  /** Gives all memory back. Answers under way end with an error. @returns {Promise<void>} */
  close() {
    return (this.#closing ??= this.#close());
  }

  async #close() {
    try {
      if (!this.#core.ended) this.#core.call('model_stop_workers', this.#model);
    } catch {
      // the engine has failed, and will not be asked again
    }
    await this.#core.close();
    await this.#release();
  }
}
