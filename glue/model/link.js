// A worker as those see it that ask something of it: calls by number, and what comes back. Calls go
// by postMessage; results and the pieces of an answer come over a lane where memory can be shared.
import { Receiver } from '../core/channel.js';
import { HyperionError } from '../core/errors.js';
import { cancelled, throwIfAborted } from '../core/signal.js';
import { answerOf } from './session.js';

/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./session.js').Answer} Answer */
/** @typedef {import('./session.js').Piece} Piece */
/** @typedef {import('./session.js').Usage} Usage */
/**
 * @typedef {{model?: number, session?: number}} Target whom a call asks, by the number of the call
 *   that made it; the engine when left out
 */

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

export const closed = (/** @type {string} */ what) =>
  new HyperionError('HYP_E_STATE', `the ${what} is closed`);

/** The worker, as what asks it sees it. */
export class Link {
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
