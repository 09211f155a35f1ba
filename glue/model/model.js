// A model in this thread: what it says of texts, and the sessions that say it. The page's proxy of
// one in a worker has the same interface.
import { checkFunction, checkTokens, refuse, textOf } from '../core/check.js';
import { asyncDispose } from '../core/dispose.js';
import { HyperionError } from '../core/errors.js';
import { throwIfAborted } from '../core/signal.js';
import { Answering, answerOf } from './answer.js';
import {
  checkCallbacks,
  checkGenerate,
  checkModel,
  checkState,
  named,
  poolingOf,
  purposeOf,
  sessionJson,
} from './options.js';
import { parts } from './parts.js';
import { Sequence, Session, chatTokens, detokenize, promptTokens, tokenize } from './session.js';

/** @typedef {import('../source/index.js').Source} Source */
/** @typedef {import('./chat.js').Message} Message */
/** @typedef {import('../core/core.js').Core} Core */
/** @typedef {import('./options.js').ModelOptions} ModelOptions */
/** @typedef {import('./options.js').SessionOptions} SessionOptions */
/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./options.js').ChatOptions} ChatOptions */
/** @typedef {import('./session.js').Facts} Facts */
/** @typedef {import('./session.js').Answer} Answer */
/** @typedef {import('./session.js').ModelHandle} ModelHandle */

/**
 * What a model needs of its engine.
 * @typedef {object} EngineHandle
 * @property {boolean} crowded have weights had to make room?
 * @property {(keep?: number) => boolean} makeRoom lets go of sessions that nobody uses
 */
/**
 * @typedef {object} ThreadStats
 * @property {number} count threads that compute, the engine's included
 * @property {number} present workers that have come
 * @property {number} loops that were shared with them
 * @property {number} tiles that these had
 * @property {number} byWorkers tiles that workers computed
 * @property {number} repeated tiles computed again because a worker lost its processor
 * @property {string} trouble why no worker can start; empty: they can
 */
/**
 * @typedef {{pages: number, resident: number, present: number, frames: number, wholeBytes: number,
 *   capacityBytes: number, presentBytes: number, pins: number, hits: number, fills: number,
 *   filledBytes: number, evictions: number, wholeLimitBytes: number}} Residency of the weights'
 *   pages: `resident` have a place for good, the others share `frames`; `wholeLimitBytes`: the
 *   memory limit, about, under which all would have one, 0: they have
 */
/**
 * @typedef {{artefact: string, kernels: string, memory: import('../core/core.js').MemoryStats,
 *   fibers: import('../core/core.js').FiberStats, threads: ThreadStats, weights: Residency, lanes:
 *   import('../core/lane.js').LaneStats[]}} Stats `memory` and `fibers` are the engine's
 */
/** @typedef {{gbPerSecond: number, gmacPerSecond: number}} Peaks */
/** @typedef {{done: number, total: number}} Done in runs, or in bytes of the texts */
/** @typedef {{onProgress?: (progress: Done) => unknown, signal?: AbortSignal}} ScoringOptions */
/**
 * @typedef {{promptTokens?: number, answerTokens?: number, runs?: number, profile?: boolean,
 *   trace?: boolean}} BenchOptions 126 and 64 tokens, 5 runs when left out; `profile`: each
 *   operation and layer, too; `trace`: the last steps, as events for Perfetto
 */
/**
 * @typedef {{operations: Record<string, {usPerToken: number, gbPerSecond: number, gmacPerSecond:
 *   number}>, layersUsPerToken: number[]}} Phase
 */
/**
 * @typedef {{promptTokensPerSecond: number, answerTokensPerSecond: number, promptTokens: number,
 *   answerTokens: number, runs: number, memoryPeakBytes: number, kernels: string, threads: number,
 *   byWorkers: number, repeated: number, latencyMs: import('./session.js').Percentiles,
 *   operationMs: Record<string, number>, peaks?: Peaks, prompt?: Phase, answer?: Phase,
 *   traceEvents?: object[]}} BenchFigures speeds are medians of the runs; `byWorkers`: the part of
 *   the tiles that worker threads computed
 */
/**
 * @typedef {{perplexity: number | null, tokens: number, divergence?: number, sameTop?: number}}
 *   Prediction `divergence`: the mean Kullback-Leibler divergence from the reference's predictions,
 *   in nats; `sameTop`: how often the likeliest tokens agree; `perplexity` null: beyond every
 *   number
 */

const WORKER_TURNS = 500; // of the event loop, that a worker thread may take to come

export class Model extends Answering {
  /** @type {import('./openai.js').OpenAIClient | undefined} */
  #openai;
  #engine;
  #core;
  #options;
  /** @type {ModelHandle} */
  #handle;
  /** @type {Sequence[]} lent to whoever asks */
  #pool = [];
  /** @type {Map<Session, Sequence>} of the user's own */
  #sessions = new Map();
  #uses = 0; // of sequences, ever
  /** @type {Promise<void> | null} */
  #closing = null;
  #events;
  #stopLoading = new AbortController();
  /** @type {Facts} */
  facts;
  /** @type {Promise<void>} */
  loaded;

  /**
   * @param {EngineHandle} engine @param {Core} core
   * @param {{pointer: number, draft: number, sources: number[]}} own addresses of it and of its
   *   draft model, or 0; handles of their sources
   * @param {ModelOptions} options
   * @param {{load: ((stop: AbortSignal) => Promise<unknown>) | null, loaded: () => void,
   *   release: () => Promise<void>, closed: () => Promise<void> | null}} events load: waits for its
   *   weights; null: they are there. What ends with it: its sources; perhaps its engine
   */
  constructor(engine, core, own, options, events) {
    super();
    this.#engine = engine;
    this.#core = core;
    this.#options = options;
    this.#events = events;
    core.run('model_info', own.pointer);
    this.facts = core.resultJson();
    this.#handle = {
      core,
      ...own,
      facts: this.facts,
      check: () => void this.#open(),
      makeRoom: () => engine.makeRoom(),
    };
    this.loaded = this.#load();
    this.loaded.catch(() => {}); // whoever does not ask hears of it by the next answer
  }

  async #load() {
    const { load, loaded } = this.#events;
    if (load) {
      const { signal } = this.#options;
      const abort = () => this.#stopLoading.abort(signal?.reason);
      signal?.addEventListener('abort', abort);
      if (signal?.aborted) abort();
      try {
        await load(this.#stopLoading.signal);
      } finally {
        signal?.removeEventListener('abort', abort);
      }
    }
    await null; // it is being made
    if (!this.#closing) loaded();
  }

  #open() {
    if (this.#closing) throw new HyperionError('HYP_E_STATE', 'the model is closed');
    return this.#core;
  }

  /**
   * As `#open`, and not within a callback of the engine, whose memory must not move, and which can
   * not be entered again.
   */
  async #ready() {
    await null;
    return this.#open();
  }

  /**
   * A sequence that nobody uses, lent until `#giveBack`; answers side by side have one each.
   * @param {number} purpose
   * @param {ArrayLike<number>} [tokens] that it is to continue: the one that knows the most of them
   *   is best
   */
  #lend(purpose, tokens = []) {
    this.#open();
    /** @type {Sequence | undefined} */
    let best;
    let most = [-1, 0, 0, 0];
    const count = this.#core.inputTokens(tokens);
    for (const one of this.#pool) {
      if (one.busy) continue;
      const common = one.common(count);
      // Next best is one that has nothing to forget.
      const worth = [
        Math.max(common, 0),
        Number(common < 0),
        Number(one.purpose === purpose),
        one.used,
      ];
      const at = worth.findIndex((n, i) => n !== most[i]);
      if (worth[at] > most[at]) [best, most] = [one, worth];
    }
    if (!best) {
      best = Sequence.create(this.#handle, this.#options, purpose);
      this.#pool.push(best);
    } else best.setPurpose(purpose);
    best.busy = true;
    return best;
  }

  /** @param {Sequence} sequence */
  #giveBack(sequence) {
    sequence.busy = false;
    sequence.used = ++this.#uses;
    if (!this.#closing && !this.#core.ended && this.#engine.crowded) this.#engine.makeRoom(1);
  }

  /**
   * Frees the sequences that nobody uses but the `keep` latest; returns how many those were.
   * @param {number} keep
   */
  destroyIdle(keep) {
    if (this.#closing) return 0;
    const idle = this.#pool.filter(one => !one.busy).sort((a, b) => b.used - a.used);
    const doomed = idle.slice(keep);
    this.#pool = this.#pool.filter(one => !doomed.includes(one));
    for (const one of doomed) one.destroy();
    return doomed.length;
  }

  /**
   * @param {string} text
   * @param {{addSpecial?: boolean, parseSpecial?: boolean, signal?: AbortSignal}} [options]
   *   addSpecial (default true): with the tokens the model expects around a text
   * @returns {Promise<number[]>}
   */
  async tokenize(text, options) {
    const told = named('tokenize', options);
    throwIfAborted(told.signal);
    await this.#ready();
    return tokenize(this.#handle, text, told);
  }

  /**
   * @param {ArrayLike<number>} tokens
   * @param {{parseSpecial?: boolean, signal?: AbortSignal}} [options]
   * @returns {Promise<string>}
   */
  async detokenize(tokens, options) {
    const told = named('detokenize', options);
    throwIfAborted(told.signal);
    await this.#ready();
    const { vocab } = this.facts;
    const wrong = Array.from(checkTokens(tokens)).find(token => token < 0 || token >= vocab);
    if (wrong !== undefined)
      refuse(`${wrong} is no token: the vocabulary of this model goes from 0 to ${vocab - 1}`);
    return detokenize(this.#handle, tokens, told);
  }

  /**
   * Continues a text (or tokens), piece by piece.
   * @param {string | ArrayLike<number>} prompt
   * @param {GenerateOptions} [options]
   * @returns {Answer}
   */
  generate(prompt, options) {
    return this.#answer('generate', options, ({ parseSpecial }) =>
      promptTokens(this.#handle, prompt, { parseSpecial }),
    );
  }

  /**
   * Answers a conversation, rendered by the model's own chat template.
   * @param {Message[]} messages
   * @param {ChatOptions} [options]
   * @returns {Answer}
   */
  chat(messages, options) {
    return this.#answer('chat', options, told => chatTokens(this.#handle, messages, told));
  }

  /**
   * @template {GenerateOptions} T
   * @param {'generate' | 'chat'} call
   * @param {T | undefined} given
   * @param {(options: T) => ArrayLike<number> | Promise<ArrayLike<number>>} prompt
   * @returns {Answer}
   */
  #answer(call, given, prompt) {
    const self = this;
    return answerOf(async function* (record) {
      const options = named(call, given);
      checkGenerate(options);
      throwIfAborted(options.signal);
      await self.#ready();
      const tokens = await prompt(options);
      const sequence = self.#lend(purposeOf(options.purpose), tokens);
      try {
        yield* sequence.generate(tokens, options, record);
      } finally {
        self.#giveBack(sequence);
      }
    });
  }

  /**
   * A text of one's own: what is computed of it is kept until the session is closed.
   * @param {SessionOptions & {signal?: AbortSignal}} [options] the model's own where left out
   * @returns {Promise<Session>}
   */
  async session(options) {
    const told = named('session', options);
    checkModel(told);
    throwIfAborted(told.signal);
    await this.#ready();
    const all = { ...this.#options, ...told };
    return this.#sessionOf(Sequence.create(this.#handle, all, purposeOf()));
  }

  /**
   * A session that goes on where another was saved, of this model in any engine and host.
   * @param {Uint8Array} state what `session.save` gave
   * @param {SessionOptions & {signal?: AbortSignal}} [options] in place of those that it was saved
   *   with; its cache's format stays
   * @returns {Promise<Session>}
   */
  async restore(state, options) {
    const told = named('restore', options);
    checkState(state);
    checkModel(told);
    throwIfAborted(told.signal);
    await this.#ready();
    const { batch, profile } = this.#options;
    return this.#sessionOf(Sequence.restore(this.#handle, state, { batch, profile, ...told }));
  }

  /** @param {Sequence} sequence @returns {Session} */
  #sessionOf(sequence) {
    const session = new Session(this.#handle, sequence, {
      forked: fork => this.#sessionOf(fork),
      closed: one => void this.#sessions.delete(one),
    });
    this.#sessions.set(session, sequence);
    return session;
  }

  /**
   * The pooled final hidden state of a text, of length 1; of several texts one each, in order.
   * @template {string | string[]} T
   * @param {T} text
   * @param {{pooling?: 'mean' | 'cls' | 'last', signal?: AbortSignal}} [options]
   * @returns {Promise<T extends string ? Float32Array : Float32Array[]>}
   */
  async embed(text, options) {
    const { pooling, signal } = named('embed', options);
    const kind = poolingOf(pooling);
    throwIfAborted(signal);
    await this.#ready();
    const texts = /** @type {readonly string[]} */ (Array.isArray(text) ? text : [text]);
    const all = texts.map(one => tokenize(this.#handle, one));
    /** @type {Float32Array[]} */
    const vectors = [];
    const sequence = all.length ? this.#lend(purposeOf()) : null;
    try {
      for (const tokens of all) {
        throwIfAborted(signal);
        vectors.push(await /** @type {Sequence} */ (sequence).embed(tokens, kind, signal));
      }
    } finally {
      if (sequence) this.#giveBack(sequence);
    }
    return /** @type {any} */ (Array.isArray(text) ? vectors : vectors[0]);
  }

  /**
   * Log-probabilities of a text: `visit` gets, after each token, those of every next one (a view,
   * valid during the call). What it throws ends the call.
   * @param {ArrayLike<number>} tokens
   * @param {(position: number, logProbabilities: Float32Array) => unknown} visit
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>}
   */
  async score(tokens, visit, options) {
    const { signal } = named('score', options);
    checkFunction('visit', visit);
    throwIfAborted(signal);
    await this.#ready();
    const sequence = this.#lend(purposeOf());
    try {
      await sequence.score(tokens, visit, signal);
    } finally {
      this.#giveBack(sequence);
    }
  }

  /**
   * Does a job that measures this model, by sessions of its own.
   * @param {(core: Core, job: number) => void} begin @param {string[]} texts that it takes
   * @param {ScoringOptions & {write?: (bytes: Uint8Array) => unknown}} options
   */
  async #measuring(begin, texts, { onProgress, write, signal }) {
    checkCallbacks(/** @type {any} */ ({ onProgress, signal }));
    throwIfAborted(signal);
    const core = await this.#ready();
    const sessions = sessionJson({ ...this.#options, purpose: 'batch' });
    const progress = (/** @type {number} */ done, /** @type {number} */ total) =>
      onProgress?.({ done, total });
    return core.runJob(
      this.#handle.sources,
      job => {
        core.inputTokens([], [sessions, ...texts]);
        begin(core, job);
      },
      job => {
        core.run('job_text', job);
        return core.resultJson();
      },
      { signal, callbacks: { progress, write } },
    );
  }

  /**
   * Measures prompt and answer speed.
   * @param {BenchOptions & ScoringOptions} [options] @returns {Promise<BenchFigures>}
   */
  async bench(options) {
    const told = named('model.bench', options);
    const { promptTokens = 0, answerTokens = 0, runs = 0, profile = false, trace = false } = told;
    const { pointer, draft } = this.#handle;
    const tokens = /** @type {const} */ ([promptTokens, answerTokens]);
    const flags = /** @type {const} */ ([Number(profile), Number(trace)]);
    return this.#measuring(
      (core, job) => core.run('job_bench', job, pointer, draft, ...tokens, runs, ...flags),
      [],
      told,
    );
  }

  /**
   * How well this model predicts texts, each for itself.
   * @param {Iterable<string>} texts
   * @param {ScoringOptions & {against?: Model}} [options] against: another model of the same engine
   *   and vocabulary
   * @returns {Promise<Prediction>}
   */
  async perplexity(texts, options) {
    const told = named('model.perplexity', options);
    const all = [...texts].map(textOf);
    const reference = told.against ? told.against.#handle.pointer : 0;
    return this.#measuring(
      (core, job) =>
        core.run('job_perplexity', job, this.#handle.pointer, reference, all.length + 1),
      all,
      told,
    );
  }

  /**
   * Measures on texts what each column of this model's matrices counts for.
   * @param {Iterable<string>} texts
   * @param {(bytes: Uint8Array) => unknown} write takes the importance matrix, GGUF
   * @param {ScoringOptions} [options]
   * @returns {Promise<{bytes: number, tokens: number}>}
   */
  async calibrate(texts, write, options) {
    const told = named('model.calibrate', options);
    checkFunction('write', write);
    const all = [...texts].map(textOf);
    return this.#measuring(
      (core, job) => core.run('job_calibrate', job, this.#handle.pointer, all.length + 1),
      all,
      { ...told, write },
    );
  }

  /** Which of the weights are in memory. @returns {Residency} */
  residency() {
    return this.#residency(this.#handle.pointer);
  }

  #residency(/** @type {number} */ model) {
    const core = this.#open();
    core.run('model_residency', model);
    return core.resultJson();
  }

  /** Whether all weights are in memory for good, the draft model's included. */
  keeps() {
    return [this.#handle.pointer, this.#handle.draft].every(
      model => !model || this.#residency(model).resident === this.#residency(model).pages,
    );
  }

  /**
   * A number for each page of the weights: 0 absent, else 1 to 255 by how often it is used; 64 is
   * once a pass.
   * @returns {Promise<Uint8Array>}
   */
  async heat() {
    const core = await this.#ready();
    core.run('model_heat', this.#handle.pointer);
    return core.resultBytes();
  }

  /** This model, to what is written for OpenAI's client. */
  get openai() {
    const openaiOf = /** @type {NonNullable<typeof parts.openai>} */ (parts.openai);
    return (this.#openai ??= openaiOf(this));
  }

  /**
   * Memory, fibers, threads, residency of the weights. What an answer took stands with it, as its
   * `usage`.
   * @returns {Promise<Stats>}
   */
  async stats() {
    const core = await this.#ready();
    const { kernels, memory, fibers } = core.stats();
    const threads = { ...this.#threads(), trouble: core.threadTrouble };
    const weights = this.residency();
    return { artefact: core.artefact, kernels, memory, fibers, threads, weights, lanes: [] };
  }

  /** @returns {Omit<ThreadStats, 'trouble'>} */
  #threads() {
    this.#core.run('model_workers', this.#handle.pointer);
    return this.#core.resultJson();
  }

  /**
   * What this machine reads from memory and multiplies at most, one thread; measured for a moment.
   * @returns {Promise<Peaks>}
   */
  async measure() {
    const core = await this.#ready();
    core.run('engine_measure', core.engine);
    return core.resultJson();
  }

  /** For the engine, which is about to end: what is under way goes on alone. */
  stopWorkers() {
    for (const model of [this.#handle.pointer, this.#handle.draft])
      if (model) this.#core.call('model_stop_workers', model);
  }

  /** For the engine, which has ended. @returns {Promise<void>} */
  ended() {
    return (this.#closing ??= this.#events.release());
  }

  /** For the engine: nothing will be read again. */
  releaseSources() {
    return this.#events.release();
  }

  /** Gives its memory back. Answers under way end with an error. @returns {Promise<void>} */
  close() {
    return (this.#closing ??= this.#close());
  }

  [asyncDispose]() {
    return this.close();
  }

  async #close() {
    const core = this.#core;
    const engine = this.#events.closed(); // an engine that ends with it: everything is gone at once
    if (engine) await engine;
    else if (!core.ended) await this.#leave();
    this.#pool = [];
    this.#sessions.clear();
    await this.#events.release();
  }

  /** Leaves an engine that goes on. */
  async #leave() {
    const { core, pointer, draft } = this.#handle;
    const why = new HyperionError('HYP_E_STATE', 'the model is closed');
    this.#stopLoading.abort(why);
    await this.loaded.catch(() => {});
    const all = [...this.#pool, ...this.#sessions.values()];
    await Promise.all(all.map(one => one.end(why))); // then nobody's steps hold anybody's tokens
    // A worker thread that has not come yet would keep its part of the memory for ever.
    for (let i = 0; i < WORKER_TURNS && !core.ended; i++) {
      const { count, present } = this.#threads();
      if (present === count - 1 || (!core.threadsComing && i > WORKER_TURNS / 10)) break;
      await new Promise(resolve => setTimeout(resolve, 1));
    }
    for (const one of all) one.destroy();
    for (const model of [pointer, draft]) if (model && !core.ended) core.call('model_close', model);
  }
}
