// What the requests of an isolate share: one engine with its model, opened by the first that needs
// it. Each request drives the engine for itself while it waits, and holds what it has begun by
// `waitUntil`: none of them may wait for what another one's context alone would bring.
import { Core } from '../core/core.js';
import { Engine } from '../model/engine.js';
import { memoryBytes } from '../model/options.js';
import { rangesOf } from './ranges.js';

/** @typedef {import('../model/model.js').Model} Model */
/**
 * A request's place in its host.
 * @typedef {object} Host
 * @property {any} env bindings
 * @property {(promise: Promise<unknown>) => void} hold it goes on when the answer is given
 */
/** @typedef {{core: Core, model: Model, whole: boolean}} Ready `whole`: all of it has come */
/**
 * @typedef {object} Opening
 * @property {Promise<Core>} core
 * @property {Promise<Ready>} ready
 * @property {number} seen when the request that opens it was last there
 */

const DEAD_MS = 20_000; // of silence, after which a request that opens the model is given up
const NAP_MS = 250;

/**
 * A promise that another request may resolve: this one has a timer of its own meanwhile, so that
 * the host sees it is not stuck.
 * @template T
 * @param {Promise<T>} promise @param {() => boolean} [stale] give up: then it is null
 * @returns {Promise<T | null>}
 */
async function own(promise, stale = () => false) {
  let over = false;
  const end = () => void (over = true);
  promise.then(end, end);
  while (!over && !stale()) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const nap = new Promise(resolve => (timer = setTimeout(resolve, NAP_MS)));
    await Promise.race([promise, nap]).finally(() => clearTimeout(timer));
  }
  return over ? promise : null;
}

/** Not of heads that a Q8_0 cache has no blocks for. @param {Model} model */
async function hasSessions(model) {
  try {
    await (await model.session()).close();
    return true;
  } catch (error) {
    return /** @type {any} */ (error).code !== 'HYP_E_UNSUPPORTED';
  }
}

export class Isolate {
  #options;
  /** @type {Opening | null} */
  #opening = null;
  /** @type {Host | null} whose turn it is: what the engine reads is read for it */
  #present = null;
  /** @type {import('../model/progress.js').LoadProgress | null} */
  progress = null;
  /** @type {Ready | null} */
  #ready = null;

  /**
   * @param {{wasm: any, model: any, memory: string | number, window: number, engine:
   *   import('../core/core.js').CoreOptions, session: import('../model/options.js').ModelOptions}}
   *   options engine, session: further ones of theirs
   */
  constructor(options) {
    this.#options = options;
  }

  /** What is open, without opening it. */
  get now() {
    if (this.#ready?.core.ended) this.#forget();
    return this.#ready;
  }

  get opening() {
    return this.#opening !== null && !this.#ready;
  }

  #forget() {
    this.#opening = this.#ready = this.progress = null;
  }

  /**
   * Runs the engine until `promise` settles, in this request's context.
   * @template T
   * @param {Core} core @param {Host} host @param {Promise<T>} promise @returns {Promise<T>}
   */
  drive(core, host, promise) {
    const driving = core.drive(promise, () => void (this.#present = host));
    host.hold(driving.catch(() => {}));
    return driving;
  }

  /**
   * Some of the model has not come, and will not: the next request opens it anew. Answers under way
   * hear of it by themselves.
   * @param {Ready} ready
   */
  unreadable(ready) {
    if (ready.whole || this.#ready !== ready) return;
    this.#forget();
    ready.core.close();
  }

  /** The model, which the first request opens. @param {Host} host @returns {Promise<Ready>} */
  async ready(host) {
    for (;;) {
      if (this.now) return /** @type {Ready} */ (this.now);
      const first = !this.#opening;
      const opening = (this.#opening ??= this.#begin(host));
      const stale = () => {
        if (first) opening.seen = Date.now();
        return Date.now() - opening.seen > DEAD_MS;
      };
      const core = await own(opening.core, stale);
      const driven = core && this.drive(core, host, opening.ready);
      driven?.catch(() => {}); // given up
      const ready = driven && (await own(driven, stale));
      if (ready) return ready;
      if (this.#opening !== opening) continue; // another has given it up already
      this.#forget();
      opening.core.then(
        core => core.close(),
        () => {},
      );
    }
  }

  /** @param {Host} host @returns {Opening} */
  #begin(host) {
    const { wasm, memory, engine } = this.#options;
    this.#present = host;
    const core = (async () =>
      Core.create({
        ...engine,
        memoryBytes: memoryBytes(memory),
        threads: 1,
        driven: true,
        wasm: await (typeof wasm === 'function' ? wasm(host.env) : wasm),
      }))();
    const ready = (async () => {
      try {
        const opened = await core;
        const model = await this.#open(opened, host);
        const loading = this.drive(opened, host, model.loaded);
        loading.then(
          () => void (ready.whole = true),
          () => this.unreadable(ready),
        );
        /** @type {Ready} */
        const ready = { core: opened, model, whole: false };
        return (this.#ready = ready);
      } catch (error) {
        this.#forget(); // the next request tries again
        throw error;
      }
    })();
    ready.catch(() => {}); // who waits for it hears of it
    host.hold(ready.catch(() => {}));
    return { core, ready, seen: Date.now() };
  }

  /** @param {Core} core @param {Host} host */
  async #open(core, host) {
    const { model, memory, window, session } = this.#options;
    try {
      const given = typeof model === 'function' ? await model(host.env) : model;
      const hold = (/** @type {Promise<unknown>} */ promise) => this.#present?.hold(promise);
      const source = await rangesOf(given, { window, hold });
      const onProgress = (/** @type {any} */ progress) => void (this.progress = progress);
      const options = { ...session, progressive: true, onProgress };
      const engine = new Engine(core, memoryBytes(memory));
      if (options.cache) return await engine.open(source, options);
      const opened = await engine.open(source, { ...options, cache: 'q8_0' });
      if (await hasSessions(opened)) return opened;
      await opened.close();
      return await engine.open(source, { ...options, cache: 'f16' });
    } catch (error) {
      await core.close();
      throw error;
    }
  }
}
