// An engine in a worker, its models and their sessions, with the interface of those in this thread.
// Calls go by postMessage; results and the pieces of an answer come over a lane where memory can be
// shared.
import { Receiver } from '../core/channel.js';
import { HyperionError } from '../core/errors.js';
import { cancelled, throwIfAborted } from '../core/signal.js';
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
/** @typedef {import('./session.js').Piece} Piece */
/** @typedef {import('./session.js').Usage} Usage */
/** @typedef {import('./chat.js').Message} Message */
/**
 * @typedef {{model?: number, session?: number}} Target whom a call asks, by the number of the call
 *   that made it; the engine when left out
 */

/** In a page: yes, so that it stays responsive. */
export const workerByDefault = () =>
  typeof window === 'object' && typeof document === 'object' && typeof Worker === 'function';

/**
 * @typedef {{post: (message: unknown) => void, listen: (take: (message: any) => void, fail: (error:
 *   Error) => void) => void, end: () => void}} Port
 */

const LEAVE_MS = 2000; // how long a worker may take to leave

/** @returns {Promise<Port>} */
async function startWorker() {
  const url = new URL('./worker.js', import.meta.url);
  if (typeof Worker === 'function') {
    const worker = new Worker(new URL('./worker.js', import.meta.url), {
      type: 'module',
      name: 'hyperion',
    });
    return {
      post: message => worker.postMessage(message),
      listen: (take, fail) => {
        worker.onmessage = event => take(event.data);
        worker.onerror = event => fail(new Error(event.message || 'it could not be started'));
        worker.onmessageerror = () => fail(new Error('what it said could not be read'));
      },
      end: () => worker.terminate(),
    };
  }
  const threads = await import('node:worker_threads');
  const worker = new threads.Worker(url);
  const gone = new Promise(resolve => worker.on('exit', resolve));
  const ready = new Promise(resolve => worker.once('message', resolve));
  return {
    post: message => worker.postMessage(message),
    listen: (take, fail) =>
      void worker
        .on('message', take)
        .on('error', fail)
        .on('messageerror', fail)
        .on('exit', code => fail(new Error(`it has ended, with code ${code}`))),
    end: async () => {
      // It is asked to go, because a thread that is ended while it loads, or starts others, leaves
      // files open.
      await Promise.race([ready, gone]);
      worker.postMessage({ end: true });
      const limit = setTimeout(() => worker.terminate(), LEAVE_MS);
      await gone;
      clearTimeout(limit);
    },
  };
}

/** An URL that means the same in the worker. @param {any} one @returns {any} */
function absolute(one) {
  if (Array.isArray(one)) return one.map(absolute);
  if (one instanceof URL) return one.href;
  const base = typeof location === 'object' ? location.href : undefined;
  return typeof one === 'string' && base ? new URL(one, base).href : one;
}

const closed = (/** @type {string} */ what) =>
  new HyperionError('HYP_E_STATE', `the ${what} is closed`);

/** The worker, as what asks it sees it. */
class Link {
  /** @type {Port} */
  #port;
  #receiver;
  #next = 1;
  /** @type {HyperionError | null} why every call is refused */
  ending = null;
  /** @type {Promise<void> | null} */
  #closing = null;
  /** @type {Map<number, {take: (message: any) => void, fail: (error: unknown) => void}>} */
  #calls = new Map();

  /** @param {Port} port */
  constructor(port) {
    this.#port = port;
    const fail = (/** @type {unknown} */ cause) =>
      this.#stop(
        new HyperionError(
          'HYP_E_HOST',
          `the engine's worker failed: ${/** @type {Error} */ (cause)?.message ?? cause}`,
          { cause },
        ),
      );
    this.#receiver = new Receiver(message => this.#calls.get(message.id)?.take(message), fail);
    port.listen(message => this.#receiver.posted(message), fail);
  }

  static async start() {
    const port = await startWorker().catch(cause => {
      throw new HyperionError(
        'HYP_E_HOST',
        `the engine's worker could not be started: ${cause.message}`,
        { cause },
      );
    });
    return new Link(port);
  }

  /** Every call is refused from now on, those under way too. @param {HyperionError} why */
  #stop(why) {
    if (this.ending) return;
    this.ending = why;
    this.#receiver.close();
    for (const call of [...this.#calls.values()]) call.fail(why);
  }

  /**
   * @param {Target} target @param {string} method @param {unknown[]} args
   * @param {{signal?: AbortSignal, onEvent?: (event: any) => void, begun?: (id: number) => void,
   *   ended?: (message: any) => void}} [more]
   *   onEvent: what it throws ends the call. begun: the call's number. ended: its last message
   * @returns {Promise<any>}
   */
  async call(target, method, args, { signal, onEvent, begun, ended } = {}) {
    throwIfAborted(signal);
    if (this.ending) throw this.ending;
    const id = this.#next++;
    begun?.(id);
    const cancel = () => {
      if (!this.ending) this.#port.post({ id, cancel: true });
    };
    try {
      return await new Promise((resolve, reject) => {
        this.#calls.set(id, {
          take: message => {
            if ('event' in message) {
              try {
                onEvent?.(message.event);
              } catch (error) {
                this.#calls.delete(id); // what the worker says of it from now on is of no interest
                cancel();
                reject(error);
              }
              return;
            }
            ended?.(message);
            if (signal?.aborted) reject(cancelled(signal));
            else if (message.error)
              reject(new HyperionError(message.error.code, message.error.message));
            else resolve(message.value);
          },
          fail: reject,
        });
        signal?.addEventListener('abort', cancel);
        try {
          const lane = id === 1 ? this.#receiver.lane : undefined;
          this.#port.post({ ...target, id, method, args, lane });
        } catch (cause) {
          reject(
            new HyperionError(
              'HYP_E_ARGUMENT',
              `this can not be handed to the engine's worker: ${/** @type {Error} */ (cause).message}; open the model with worker: false`,
              { cause },
            ),
          );
        }
      });
    } finally {
      this.#calls.delete(id);
      signal?.removeEventListener('abort', cancel);
    }
  }

  /**
   * The pieces of an answer.
   * @param {Target} target @param {() => void} check throws when the target is closed
   * @param {string} method
   * @param {unknown} first
   * @param {GenerateOptions} options
   * @returns {Answer}
   */
  answer(target, check, method, first, options) {
    return answerOf(record => this.stream(target, check, method, first, options, record));
  }

  /**
   * @param {Target} target
   * @param {() => void} check
   * @param {string} method
   * @param {unknown} first
   * @param {GenerateOptions} options
   * @param {(usage: Usage) => void} record
   * @returns {AsyncGenerator<Piece, void, void>}
   */
  async *stream(target, check, method, first, { signal, ...options }, record) {
    throwIfAborted(signal);
    check();
    const stop = new AbortController();
    const abort = () => stop.abort(signal?.reason);
    signal?.addEventListener('abort', abort);
    /** @type {Piece[]} */
    const pieces = [];
    let wake = () => {};
    let over = false;
    const call = this.call(target, method, [first, options], {
      signal: stop.signal,
      onEvent: ({ piece }) => {
        pieces.push(piece);
        wake();
      },
      ended: ({ value, usage = value }) => usage && record(usage),
    }).finally(() => {
      over = true;
      wake();
    });
    call.catch(() => {}); // awaited below, after the pieces that came before the failure
    try {
      for (;;) {
        while (pieces.length) {
          check();
          yield /** @type {Piece} */ (pieces.shift());
          throwIfAborted(signal);
        }
        if (over) break;
        await new Promise(resolve => (wake = () => resolve(undefined)));
      }
      await call;
    } finally {
      signal?.removeEventListener('abort', abort);
      // The caller broke off. The next call finds the session free.
      stop.abort();
      await call.catch(() => {});
    }
  }

  lanes() {
    return this.#receiver.stats();
  }

  /** Ends the worker. @param {string} what is closed with it @returns {Promise<void>} */
  close(what) {
    return (this.#closing ??= this.#close(closed(what)));
  }

  /** @param {HyperionError} why */
  async #close(why) {
    this.#stop(why);
    this.ending = why;
    await this.#port.end();
  }
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
