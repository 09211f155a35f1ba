// An engine in this thread: one instance of the core with its memory limit and its scheduler, for
// any number of models.
import { checkFunction, optionsJson } from '../core/check.js';
import { Core } from '../core/core.js';
import { asyncDispose } from '../core/dispose.js';
import { HyperionError } from '../core/errors.js';
import { throwIfAborted } from '../core/signal.js';
import { openSources } from '../source/index.js';
import { storesSettled } from '../source/store/store.js';
import { Model } from './model.js';
import { loadProgress } from './progress.js';
import {
  checkEngine,
  checkModel,
  checkOpen,
  memoryBytes,
  checkReading,
  named,
  optionsOf,
  readingOf,
} from './options.js';

/** @typedef {import('../source/index.js').Source} Source */
/** @typedef {import('./options.js').EngineOptions} EngineOptions */
/** @typedef {import('./options.js').ModelOptions} ModelOptions */
/** @typedef {import('./options.js').OpenOptions} OpenOptions */
/** @typedef {import('./options.js').ReadOptions} ReadOptions */

/** @typedef {{onScored?: (progress: import('./model.js').Done) => unknown}} ScoredOptions */

/**
 * @typedef {{artefact: string, kernels: string, memory: import('../core/core.js').MemoryStats,
 *   fibers: import('../core/core.js').FiberStats, models:
 *   number, lanes: import('../core/lane.js').LaneStats[]}} EngineStats `models`: that are open
 */

/** Of engine.open, for measurements: nothing is read ahead of its use. */
export const NO_AHEAD = Symbol('no ahead');

/** `onProgress` as the core calls it. @param {ReadOptions['onProgress']} onProgress */
const progressTo = onProgress => (/** @type {number} */ loaded, /** @type {number} */ total) =>
  onProgress?.({ loaded, total });

/**
 * Loads models; when one fails, the others end with it. Settles when all have ended.
 * @param {number[]} models
 * @param {(model: number, stop: AbortSignal) => Promise<void>} load
 * @param {AbortSignal} stop
 */
async function both(models, load, stop) {
  const ending = new AbortController();
  const end = () => ending.abort(stop.reason);
  stop.addEventListener('abort', end);
  if (stop.aborted) end();
  const fail = (/** @type {unknown} */ error) => ending.abort(error);
  const all = models.map(async one => load(one, ending.signal));
  for (const one of all) one.catch(fail);
  await Promise.allSettled(all);
  stop.removeEventListener('abort', end);
  await Promise.all(all);
}

export class Engine {
  #core;
  #limit;
  /** @type {Set<Model>} */
  #models = new Set();
  /** @type {Promise<void> | null} */
  #closing = null;

  /** @param {Core} core @param {number} limit of memory, in bytes; 0: none */
  constructor(core, limit) {
    this.#core = core;
    this.#limit = limit;
  }

  /** @param {EngineOptions} [given] @returns {Promise<Engine>} */
  static async create(given) {
    const options = named('createEngine', given);
    checkEngine(options);
    const { artefact, threads, wasm, wasmUrl, workerUrl, policy, stepWork, signal } = options;
    throwIfAborted(signal);
    const limit = memoryBytes(options.memory);
    /** @type {Core | null} */
    let core = null;
    try {
      core = await Core.create({
        memoryBytes: limit,
        artefact,
        threads,
        policy,
        stepWork,
        wasm,
        wasmUrl,
        workerUrl,
        signal,
      });
      throwIfAborted(signal);
      return new Engine(core, limit);
    } catch (error) {
      await core?.close();
      throwIfAborted(signal);
      throw error;
    }
  }

  /**
   * Not within a callback of the engine, whose memory must not move, and which can not be entered
   * again.
   */
  async #ready() {
    await null;
    if (this.#closing) throw new HyperionError('HYP_E_STATE', 'the engine is closed');
    return this.#core;
  }

  /**
   * Opens the files of each of `groups` for `act`, which reads them by their handles. They are
   * closed when it fails, else by who calls `release`.
   * @template T
   * @param {(Source | Source[])[]} groups @param {import('./options.js').Reading} options
   * @param {(handles: number[][], release: () => Promise<void>) => Promise<T>} act
   * @returns {Promise<T>}
   */
  async #reading(groups, options, act) {
    const { signal } = options;
    throwIfAborted(signal);
    const core = await this.#ready();
    /** @type {import('../source/index.js').ByteSource[]} */
    const opened = [];
    /** @type {number[][]} */
    const handles = [];
    const release = async () => {
      core.dropSources(handles.splice(0).flat());
      await Promise.all(opened.splice(0).map(async one => one.close?.()));
    };
    try {
      for (const group of groups) {
        const sources = await openSources(group, readingOf(options));
        opened.push(...sources);
        handles.push(core.addSources(sources));
      }
      throwIfAborted(signal);
      await this.#ready();
      return await act(handles, release);
    } catch (error) {
      release().catch(() => {}); // not waited for: a source's own `close` may never end
      throwIfAborted(signal);
      throw error;
    }
  }

  /**
   * Opens a model. All models of an engine share its memory and its scheduler.
   * @param {Source | Source[]} source the file, or the parts of a split model in order
   * @param {ModelOptions} [given] @param {boolean} [alone] the engine is closed with this model
   * @returns {Promise<Model>}
   */
  async open(source, given = {}, alone = false) {
    const options = named('engine.open', given);
    checkModel(options);
    const { draft, context, progressive, promptCache, signal, onProgress } = options;
    const more = () => ({ signal, callbacks: { progress: loadProgress(onProgress) } });
    const noAhead = /** @type {any} */ (options)[NO_AHEAD];
    const config = optionsJson('model', { context, progressive, promptCache, noAhead });
    const core = this.#core;
    const read = (/** @type {number[]} */ handles) =>
      core.runJob(
        handles,
        job => core.run('job_open_model', job, core.inputText(config)),
        job => core.call('job_take_model', job),
        more(),
      );
    return this.#reading([source], options, async ([handles], release) => {
      if (this.#limit) this.makeRoom(); // texts that are only remembered
      const pointer = await read(handles);
      let guesses = 0;
      /** @type {(() => Promise<void>)[]} */
      const releases = [release];
      const sources = [...handles];
      try {
        if (draft)
          await this.#reading([draft], options, async ([own], releaseOwn) => {
            guesses = await read(own);
            // draft models run on one thread: they are too small to share
            core.call('model_stop_workers', guesses);
            sources.push(...own);
            releases.push(releaseOwn);
          });
        throwIfAborted(signal);
        const load = (/** @type {number} */ one, /** @type {AbortSignal} */ stop) =>
          core.runJob(
            sources,
            job => core.run('job_load_model', job, one),
            () => {},
            { ...more(), signal: stop },
          );
        const model = new Model(this, core, { pointer, draft: guesses, sources }, options, {
          load: progressive ? stop => both([pointer, guesses].filter(Boolean), load, stop) : null,
          loaded: () => {
            // Without a limit pages never leave, and nothing will be read again.
            // not waited for: they are not needed
            if (!this.#limit && model.keeps()) model.releaseSources();
          },
          release: async () => void (await Promise.all(releases.map(one => one()))),
          closed: () => {
            if (alone) return this.#end('the model is closed');
            this.#models.delete(model);
            return null;
          },
        });
        this.#models.add(model);
        return model;
      } catch (error) {
        if (!core.ended)
          for (const one of [guesses, pointer]) if (one) core.call('model_close', one);
        for (const one of releases) one().catch(() => {});
        throw error;
      }
    });
  }

  /**
   * Lets go of all sessions that nobody uses; false: there are none.
   * @param {number} [keep] of each model's, the latest
   */
  makeRoom(keep = 0) {
    let gone = 0;
    for (const model of this.#models) gone += model.destroyIdle(keep);
    return gone > 0;
  }

  /** Have weights had to make room? Then sessions that only remember make room for weights. */
  get crowded() {
    if (!this.#limit) return false;
    try {
      return [...this.#models].some(model => !model.keeps());
    } catch {
      return true; // not even the answer to that has found memory
    }
  }

  /**
   * Metadata and tensors of a GGUF file.
   * @param {Source | Source[]} source @param {ReadOptions} [options]
   */
  async inspect(source, options) {
    const told = named('engine.inspect', options);
    checkReading(told);
    const { signal, onProgress } = told;
    const core = this.#core;
    const callbacks = { progress: progressTo(onProgress) };
    return this.#reading([source], told, async ([handles], release) => {
      const facts = await core.runJob(
        handles,
        job => core.run('job_inspect', job),
        job => (core.run('job_text', job), core.resultJson()),
        { signal, callbacks },
      );
      release().catch(() => {});
      return facts;
    });
  }

  /**
   * Writes a model with its float matrices in another format, or pruned.
   * @param {Source | Source[]} source
   * @param {'q4_0' | 'q4_k' | 'q6_k' | 'q8_0' | 'f16' | 'f32' | string} format
   * @param {(bytes: Uint8Array) => unknown} write takes the new file from front to back
   * @param {ReadOptions & {imatrix?: Source, density?: number}} [options] imatrix: what `calibrate`
   *   has written, or an importance matrix of llama.cpp in
   *   GGUF. density: of the layers' matrices after pruning, above 0 and at most 1; with 'q4_0' only
   * @returns {Promise<void>}
   */
  async quantize(source, format, write, options) {
    const told = named('engine.quantize', options);
    const { imatrix, density = 0, signal, onProgress } = told;
    checkFunction('write', write);
    checkReading(told);
    const core = this.#core;
    const callbacks = { progress: progressTo(onProgress), write };
    const groups = imatrix ? [source, imatrix] : [source];
    return this.#reading(groups, told, async (handles, release) => {
      await core.runJob(
        handles.flat(),
        job => {
          core.inputText(format);
          core.run('job_quantize', job, density, imatrix ? 1 : 0);
        },
        () => {},
        { signal, callbacks },
      );
      release().catch(() => {});
    });
  }

  /** @returns {Promise<EngineStats>} */
  async stats() {
    const core = await this.#ready();
    const { kernels, memory, fibers } = core.stats();
    const { artefact } = core;
    return { artefact, kernels, memory, fibers, models: this.#models.size, lanes: [] };
  }

  /** Closes its models, and gives all memory back. @returns {Promise<void>} */
  close() {
    return this.#end('the engine is closed');
  }

  [asyncDispose]() {
    return this.close();
  }

  /** @param {string} why what calls under way end with, and later ones @returns {Promise<void>} */
  #end(why) {
    return (this.#closing ??= this.#close(why));
  }

  /** @param {string} why */
  async #close(why) {
    const models = [...this.#models];
    this.#models.clear();
    try {
      if (!this.#core.ended) for (const model of models) model.stopWorkers();
    } catch {
      // the engine has failed, and will not be asked again
    }
    const ended = this.#core.close(new HyperionError('HYP_E_STATE', why));
    await Promise.all([ended, storesSettled(), ...models.map(model => model.ended())]);
  }
}

/**
 * An engine for one thing.
 * @template T
 * @template {OpenOptions} O
 * @param {import('./options.js').Call} call @param {O | undefined} given
 * @param {(engine: Engine, options: O, ofModel: ModelOptions) => Promise<T>} act ofModel: those
 *   that `open` takes
 * @param {EngineOptions} [always]
 * @returns {Promise<T>}
 */
async function withEngine(call, given, act, always) {
  const options = named(call, given);
  checkOpen(options);
  const engine = await Engine.create({ ...optionsOf('createEngine', options), ...always });
  try {
    return await act(engine, options, optionsOf('engine.open', options));
  } finally {
    await engine.close();
  }
}

/**
 * Opens a model in this thread, in an engine of its own.
 * @param {Source | Source[]} source the file, or the parts of a split model in order
 * @param {OpenOptions} [given]
 */
export async function openModel(source, given) {
  const options = named('open', given);
  checkOpen(options);
  const engine = await Engine.create(optionsOf('createEngine', options));
  try {
    return await engine.open(source, optionsOf('engine.open', options), true);
  } catch (error) {
    await engine.close();
    throw error;
  }
}

const ALONE = { threads: 1 };

/**
 * As Engine.inspect, in an engine of its own.
 * @param {Source | Source[]} source
 * @param {OpenOptions} [options]
 */
export const inspect = (source, options) =>
  withEngine(
    'inspect',
    options,
    (engine, told) =>
      engine.inspect(source, /** @type {any} */ (optionsOf('engine.inspect', told))),
    ALONE,
  );

/**
 * As Engine.quantize, in an engine of its own.
 * @param {Source | Source[]} source
 * @param {string} format
 * @param {(bytes: Uint8Array) => unknown} write
 * @param {OpenOptions & {imatrix?: Source, density?: number}} [options]
 */
export const quantize = (source, format, write, options) =>
  withEngine(
    'quantize',
    options,
    (engine, told) => engine.quantize(source, format, write, optionsOf('engine.quantize', told)),
    ALONE,
  );

/**
 * Measures on texts what each column of a model's matrices counts for.
 * @param {Source | Source[]} source @param {Iterable<string>} texts
 * @param {(bytes: Uint8Array) => unknown} write takes the importance matrix, GGUF
 * @param {OpenOptions & ScoredOptions} [options] `onProgress` speaks of loading
 */
export const calibrate = (source, texts, write, options) =>
  withEngine('calibrate', options, async (engine, { signal, onScored }, ofModel) => {
    checkFunction('write', write);
    const model = await engine.open(source, ofModel);
    return model.calibrate(texts, write, { signal, onProgress: onScored });
  });

/**
 * How well a model predicts texts, each for itself.
 * @param {Source | Source[]} source @param {Iterable<string>} texts
 * @param {OpenOptions & ScoredOptions & {against?: Source | Source[]}} [options] against: another
 *   model of the same vocabulary; `onProgress` speaks of loading
 */
export const perplexity = (source, texts, options) =>
  withEngine('perplexity', options, async (engine, { against, signal, onScored }, ofModel) => {
    const model = await engine.open(source, ofModel);
    const reference = against === undefined ? undefined : await engine.open(against, ofModel);
    return model.perplexity(texts, { signal, onProgress: onScored, against: reference });
  });

/**
 * Measures prompt and answer speed of a model.
 * @param {Source | Source[]} source
 * @param {OpenOptions & import('./model.js').BenchOptions & {onRun?: (progress:
 *   import('./model.js').Done) => unknown}} [options] `onProgress` speaks of loading
 */
export const bench = (source, options) =>
  withEngine('bench', options, async (engine, told, ofModel) => {
    const start = performance.now();
    const model = await engine.open(source, ofModel);
    const loadSeconds = (performance.now() - start) / 1000;
    const figures = await model.bench({
      ...optionsOf('model.bench', told),
      onProgress: told.onRun,
    });
    const { artefact, memory } = await engine.stats();
    return { ...figures, loadSeconds, linearMemoryBytes: memory.linearMemoryBytes, artefact };
  });
