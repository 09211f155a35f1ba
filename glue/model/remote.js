// An engine in a worker, its models and their sessions, with the interface of those in this thread.
import { cancelled, throwIfAborted } from '../core/signal.js';
import { Link, closed } from './link.js';
import { checkEngine, checkModel, checkOpen } from './options.js';
import { answerOf, stillUnderWay } from './session.js';

/** @typedef {import('../source/index.js').Source} Source */
/** @typedef {import('./options.js').EngineOptions} EngineOptions */
/** @typedef {import('./options.js').OpenOptions} OpenOptions */
/** @typedef {import('./options.js').ReadOptions} ReadOptions */
/** @typedef {import('./options.js').ModelOptions} ModelOptions */
/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./options.js').SessionOptions} SessionOptions */
/** @typedef {import('./session.js').Answer} Answer */
/** @typedef {import('./chat.js').Message} Message */
/** @typedef {import('./link.js').Target} Target */

/** In a page: yes, so that it stays responsive. */
export const workerByDefault = () =>
  typeof window === 'object' && typeof document === 'object' && typeof Worker === 'function';

/** An URL that means the same in the worker. @param {any} one @returns {any} */
function absolute(one) {
  if (Array.isArray(one)) return one.map(absolute);
  if (one instanceof URL) return one.href;
  const base = typeof location === 'object' ? location.href : undefined;
  return typeof one === 'string' && base ? new URL(one, base).href : one;
}

export class RemoteEngine {
  #link;
  #closing = false;

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
  }

  /** @param {EngineOptions} options @returns {Promise<RemoteEngine>} */
  static async create(options) {
    checkEngine(options);
    const { signal } = options;
    throwIfAborted(signal);
    return starting(signal, async link => {
      await create(link, options);
      return new RemoteEngine(link);
    });
  }

  /**
   * A model in an engine, and a worker, of its own.
   * @param {Source | Source[]} source
   * @param {OpenOptions} options
   * @returns {Promise<RemoteModel>}
   */
  static async openAlone(source, options) {
    checkOpen(options);
    const { signal } = options;
    throwIfAborted(signal);
    return starting(signal, async link => {
      await create(link, options);
      return open(link, source, options, true);
    });
  }

  #check() {
    if (this.#closing) throw closed('engine');
  }

  /**
   * @param {string} method @param {unknown[]} args
   * @param {{signal?: AbortSignal, onEvent?: (event: any) => void}} [more]
   */
  async #call(method, args, more) {
    this.#check();
    return this.#link.call({}, method, args, more);
  }

  /**
   * @param {Source | Source[]} source
   * @param {ModelOptions} [options]
   * @returns {Promise<RemoteModel>}
   */
  async open(source, options = {}) {
    checkModel(options);
    this.#check();
    return open(this.#link, source, options, false);
  }

  /** @param {Source | Source[]} source @param {ReadOptions} [options] @returns {Promise<any>} */
  inspect(source, { signal, onProgress } = {}) {
    return this.#call('inspect', [absolute(source)], {
      signal,
      onEvent: ({ progress }) => onProgress?.(progress),
    });
  }

  /**
   * @param {Source | Source[]} source
   * @param {string} format
   * @param {(bytes: Uint8Array) => void} write
   * @param {ReadOptions & {imatrix?: Source, density?: number}} [options] @returns {Promise<void>}
   */
  quantize(source, format, write, { signal, onProgress, imatrix, density } = {}) {
    const how = { imatrix: absolute(imatrix), density };
    return this.#call('quantize', [absolute(source), format, how], {
      signal,
      onEvent: ({ progress, bytes }) => (bytes ? write(bytes) : onProgress?.(progress)),
    });
  }

  /** @returns {Promise<import('./engine.js').EngineStats>} */
  async stats() {
    return { ...(await this.#call('stats', [])), lanes: this.#link.lanes() };
  }

  /** Closes its models, and ends the worker. @returns {Promise<void>} */
  close() {
    this.#closing = true;
    return this.#link.close('engine');
  }
}

/**
 * Starts a worker for `act`; it ends when that fails or the signal comes, and so owes no answer to
 * an abort.
 * @template T
 * @param {AbortSignal | undefined} signal
 * @param {(link: Link) => Promise<T>} act
 * @returns {Promise<T>}
 */
async function starting(signal, act) {
  const link = await Link.start();
  /** @type {() => void} */
  let abort = () => {};
  try {
    /** @type {Promise<never>} */
    const aborted = new Promise((_, reject) => (abort = () => reject(cancelled(signal))));
    aborted.catch(() => {});
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
    const made = act(link);
    made.catch(() => {}); // looked at below, if nothing comes first
    const result = await Promise.race([made, aborted]);
    throwIfAborted(signal);
    return result;
  } catch (error) {
    await link.close('engine');
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * What of the options the worker is told: a signal and a callback stay here.
 * @param {OpenOptions} options
 * @returns {OpenOptions}
 */
function toldOf({ signal, onProgress, worker, wasm, draft, ...told }) {
  return told;
}

/** @param {Link} link @param {EngineOptions} options */
const create = (link, options) =>
  link.call({}, 'create', [{ ...toldOf(options), wasm: absolute(options.wasm) }]);

/**
 * @param {Link} link
 * @param {Source | Source[]} source
 * @param {ModelOptions} options
 * @param {boolean} alone the worker ends with this model
 */
async function open(link, source, options, alone) {
  const { signal, onProgress, draft } = options;
  const told = { ...toldOf(options), draft: absolute(draft) };
  let model = 0;
  try {
    const facts = await link.call({}, 'open', [absolute(source), told, alone], {
      signal,
      onEvent: ({ progress }) => onProgress?.(progress),
      begun: id => (model = id),
    });
    return new RemoteModel(link, { model }, facts, alone);
  } catch (error) {
    if (!alone) leave(link, { model });
    throw error;
  }
}

/**
 * Closes what nobody wants any more, also where it has been made meanwhile.
 * @param {Link} link
 * @param {Target} target
 */
async function leave(link, target) {
  try {
    if (!link.ending) await link.call(target, 'close', []);
  } catch {
    // it is closed, or has never been
  }
}

export class RemoteModel {
  #link;
  #target;
  #alone;
  /** @type {Promise<void> | null} */
  #closing = null;

  /**
   * @param {Link} link
   * @param {Target} target
   * @param {import('./session.js').Facts} facts
   * @param {boolean} alone the worker ends with it
   */
  constructor(link, target, facts, alone) {
    this.#link = link;
    this.#target = target;
    this.#alone = alone;
    this.facts = facts;
  }

  #check = () => {
    if (this.#closing) throw closed('model');
    if (this.#link.ending) throw this.#link.ending;
  };

  /**
   * @param {string} method @param {unknown[]} args @param {AbortSignal} [signal]
   * @param {(event: any) => void} [onEvent]
   */
  async #call(method, args, signal, onEvent) {
    throwIfAborted(signal);
    this.#check();
    return this.#link.call(this.#target, method, args, { signal, onEvent });
  }

  /**
   * @param {string} text
   * @param {{addSpecial?: boolean, parseSpecial?: boolean, signal?: AbortSignal}} [options]
   * @returns {Promise<number[]>}
   */
  tokenize(text, { signal, ...options } = {}) {
    return this.#call('tokenize', [text, options], signal);
  }

  /**
   * @param {ArrayLike<number>} tokens
   * @param {{parseSpecial?: boolean, signal?: AbortSignal}} [options]
   * @returns {Promise<string>}
   */
  detokenize(tokens, { signal, ...options } = {}) {
    return this.#call('detokenize', [tokens, options], signal);
  }

  /**
   * @param {string | ArrayLike<number>} prompt
   * @param {GenerateOptions} [options]
   * @returns {Answer}
   */
  generate(prompt, options = {}) {
    return this.#link.answer(this.#target, this.#check, 'generate', prompt, options);
  }

  /**
   * @param {Message[]} messages
   * @param {GenerateOptions & {variables?: Record<string, unknown>}} [options]
   * @returns {Answer}
   */
  chat(messages, options = {}) {
    return this.#link.answer(this.#target, this.#check, 'chat', messages, options);
  }

  /**
   * @param {SessionOptions & {signal?: AbortSignal}} [options]
   * @returns {Promise<RemoteSession>}
   */
  async session({ signal, ...options } = {}) {
    throwIfAborted(signal);
    this.#check();
    let session = 0;
    const begun = (/** @type {number} */ id) => (session = id);
    try {
      await this.#link.call(this.#target, 'session', [options], { signal, begun });
    } catch (error) {
      leave(this.#link, { session });
      throw error;
    }
    return new RemoteSession(this.#link, { session }, this.#check);
  }

  /**
   * @param {string} text
   * @param {{pooling?: 'mean' | 'cls' | 'last', signal?: AbortSignal}} [options]
   * @returns {Promise<Float32Array>}
   */
  embed(text, { signal, ...options } = {}) {
    return this.#call('embed', [text, options], signal);
  }

  /**
   * @param {ArrayLike<number>} tokens
   * @param {(position: number, logProbabilities: Float32Array) => void} visit
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>}
   */
  score(tokens, visit, { signal } = {}) {
    return this.#call('score', [tokens], signal, ({ score }) =>
      visit(score.position, score.values),
    );
  }

  /** @returns {Promise<import('./model.js').Stats>} */
  async stats() {
    return { ...(await this.#call('stats', [])), lanes: this.#link.lanes() };
  }

  /** @returns {Promise<Uint8Array>} */
  heat() {
    return this.#call('heat', []);
  }

  /** @returns {Promise<import('./model.js').Peaks>} */
  measure() {
    return this.#call('measure', []);
  }

  /**
   * Gives its memory back; ends the worker, where that was started for it.
   * @returns {Promise<void>}
   */
  close() {
    return (this.#closing ??= this.#close());
  }

  #close() {
    return this.#alone ? this.#link.close('model') : leave(this.#link, this.#target);
  }
}

export class RemoteSession {
  #link;
  #target;
  #ofModel;
  /** @type {Promise<void> | null} */
  #closing = null;
  #busy = false; // an answer is under way: the worker may be ahead of who listens to it

  /**
   * @param {Link} link
   * @param {Target} target
   * @param {() => void} check throws when its model is closed
   */
  constructor(link, target, check) {
    this.#link = link;
    this.#target = target;
    this.#ofModel = check;
  }

  #check = () => {
    this.#ofModel();
    if (this.#closing) throw closed('session');
  };

  /** @param {string} method @param {(id: number) => void} [begun] */
  async #call(method, begun) {
    this.#check();
    return this.#link.call(this.#target, method, [], { begun });
  }

  /**
   * @param {string} method
   * @param {unknown} first
   * @param {GenerateOptions} options
   * @returns {Answer}
   */
  #answer(method, first, options) {
    const self = this;
    return answerOf(async function* (record) {
      throwIfAborted(options.signal);
      self.#check();
      if (self.#busy) throw stillUnderWay();
      self.#busy = true;
      try {
        yield* self.#link.stream(self.#target, self.#check, method, first, options, record);
      } finally {
        self.#busy = false;
      }
    });
  }

  /**
   * @param {string | ArrayLike<number>} prompt
   * @param {GenerateOptions & {append?: boolean}} [options]
   * @returns {Answer}
   */
  generate(prompt, options = {}) {
    return this.#answer('generate', prompt, options);
  }

  /**
   * @param {Message[]} messages
   * @param {GenerateOptions & {variables?: Record<string, unknown>}} [options]
   * @returns {Answer}
   */
  chat(messages, options = {}) {
    return this.#answer('chat', messages, options);
  }

  /** @returns {Promise<RemoteSession>} */
  async fork() {
    let session = 0;
    await this.#call('fork', id => (session = id));
    return new RemoteSession(this.#link, { session }, this.#ofModel);
  }

  /** @returns {Promise<number[]>} */
  tokens() {
    return this.#call('tokens');
  }

  /** @returns {Promise<import('./session.js').SessionStats>} */
  stats() {
    return this.#call('stats');
  }

  /** @returns {Promise<void>} */
  resetProfile() {
    return this.#call('resetProfile');
  }

  /** @returns {Promise<void>} */
  close() {
    return (this.#closing ??= leave(this.#link, this.#target));
  }
}
