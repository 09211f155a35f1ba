// A worker as those see it that ask something of it: calls by number, and what comes back. Calls go
// by postMessage; results and the pieces of an answer come over a lane where memory can be shared.
import { Receiver } from '../core/channel.js';
import { HyperionError } from '../core/errors.js';
import { sharedBytes, urgeCollection } from '../core/shared.js';
import { cancelled, throwIfAborted } from '../core/signal.js';
import { startThread } from '../core/threads.js';
import { makeWorker } from '../core/workers.js';
import { Carrier } from '../source/carry.js';
import { parts } from './parts.js';

/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {import('./answer.js').Piece} Piece */
/** @typedef {import('./answer.js').Usage} Usage */
/** @typedef {import('../source/index.js').Source} Source */
/**
 * @typedef {{model?: number, session?: number}} Target whom a call asks, by the number of the call
 *   that made it; the engine when left out
 */

/**
 * @typedef {{post: (message: unknown, transfer?: Transferable[]) => void, listen: (take: (message:
 *   any) => void, fail: (error: Error) => void) => void, hold: (on: boolean) => void, end: (keeps:
 *   boolean) => unknown}} Port `hold`: whether the process goes on as long as the worker does;
 *   `keeps`: the worker may have files to write before it goes
 */

const LEAVE_MS = 2000; // how long a worker may take to leave

/**
 * @param {string | URL} [place] of the worker's script, where it is not the package's own
 * @returns {Port}
 */
function startWorker(place) {
  const make = /** @type {() => Worker} */ (parts.newWorker);
  const { web, node } = makeWorker(make, place);
  let why =
    'its script could not be loaded; say by workerUrl where it is, or import from hyperion-runtime/inline';
  if (web)
    return {
      post: (message, transfer = []) => web.postMessage(message, transfer),
      listen: (take, fail) => {
        web.onmessage = event => {
          why = 'it has stopped';
          take(event.data);
        };
        web.onerror = event => fail(new Error(event.message || why));
        web.onmessageerror = () => fail(new Error('what it said could not be read'));
      },
      hold: on => /** @type {any} */ (web)[on ? 'ref' : 'unref']?.(), // Bun has them
      async end(keeps) {
        if (keeps) {
          const left = new Promise(resolve => {
            web.onmessage = ({ data }) => data?.left && resolve(null);
          });
          /** @type {ReturnType<typeof setTimeout> | undefined} */
          let timer;
          const limit = new Promise(resolve => (timer = setTimeout(resolve, LEAVE_MS)));
          web.postMessage({ end: true });
          await Promise.race([left, limit]);
          clearTimeout(timer);
        }
        web.terminate();
      },
    };
  const gone = new Promise(resolve => node.on('exit', resolve));
  const ready = new Promise(resolve => node.once('message', resolve));
  return {
    post: (message, transfer = []) => node.postMessage(message, /** @type {any[]} */ (transfer)),
    listen: (take, fail) =>
      void node
        .on('message', take)
        .on('error', fail)
        .on('messageerror', fail)
        .on('exit', code => fail(new Error(`it has ended, with code ${code}`))),
    hold: on => (on ? node.ref() : node.unref()),
    end: async () => {
      node.ref();
      // It is asked to go, because a thread that is ended while it loads, or starts others, leaves
      // files open.
      await Promise.race([ready, gone]);
      node.postMessage({ end: true });
      const limit = setTimeout(() => node.terminate(), LEAVE_MS);
      await gone;
      clearTimeout(limit);
    },
  };
}

export const closed = (/** @type {string} */ what) =>
  new HyperionError('HYP_E_STATE', `the ${what} is closed`);

/** The worker, as what asks it sees it. */
export class Link {
  keeps = false; // the worker may have files to write before it goes
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
  #carrier;
  /** @type {(() => unknown)[]} how to end the engine's worker threads */
  #threads = [];
  /** @type {WebAssembly.Memory | null} that they share */
  #memory = null;
  #place;

  /** @param {Port} port @param {string | URL} [place] of the script of workers */
  constructor(port, place) {
    this.#port = port;
    this.#place = place;
    const fail = (/** @type {unknown} */ cause) =>
      this.#stop(
        new HyperionError(
          'HYP_E_HOST',
          `the engine's worker failed: ${/** @type {Error} */ (cause)?.message ?? cause}`,
          { cause },
        ),
      );
    this.#carrier = new Carrier((message, transfer) => {
      if (!this.ending) port.post(message, transfer);
    });
    this.#receiver = new Receiver(message => {
      if (message.ask) this.#carrier.answer(message.ask);
      else if (message.thread) this.#startThread(message);
      else this.#calls.get(message.id)?.take(message);
    }, fail);
    port.listen(message => this.#receiver.posted(message), fail);
    port.hold(false);
  }

  /** @param {string | URL} [place] of the worker's script, where it is not the package's own */
  static start(place) {
    try {
      return new Link(startWorker(place), place);
    } catch (cause) {
      throw new HyperionError(
        'HYP_E_HOST',
        `the engine's worker could not be started: ${/** @type {Error} */ (cause).message}`,
        { cause },
      );
    }
  }

  /**
   * A worker thread for the engine, which asks for it.
   * @param {{thread: number, order: {memory: WebAssembly.Memory}}} asked
   */
  #startThread({ thread, order }) {
    const tell = (/** @type {boolean} */ came) => (/** @type {Error | undefined} */ error) => {
      if (!this.ending) this.#port.post({ thread, trouble: error?.message, came });
    };
    const here = tell(false);
    this.#memory = order.memory;
    try {
      if (!this.ending) this.#threads.push(startThread(order, here, tell(true), this.#place));
    } catch (error) {
      here(/** @type {Error} */ (error));
    }
  }

  /** Every call is refused from now on, those under way too. @param {HyperionError} why */
  #stop(why) {
    if (this.ending) return;
    this.ending = why;
    this.#receiver.close();
    for (const call of [...this.#calls.values()]) call.fail(why);
    this.#carrier.close();
  }

  /**
   * Sources as the worker takes them: one, several for one that is split, or none.
   * @param {Source | Source[] | undefined} source
   * @param {Transferable[]} transfer takes what has to be transferred with them
   * @param {import('../source/index.js').SourceOptions} [options]
   * @returns {Promise<unknown>}
   */
  async carry(source, transfer, options) {
    if (source === undefined || source === null) return source;
    if (!Array.isArray(source)) return this.#carrier.carry(source, transfer, options);
    const all = [];
    for (const one of source) all.push(await this.#carrier.carry(one, transfer, options));
    return all;
  }

  /**
   * @param {Target} target @param {string} method @param {unknown[]} args
   * @param {{signal?: AbortSignal, onEvent?: (event: any) => unknown, begun?: (id: number) => void,
   *   ended?: (message: any) => void, transfer?: Transferable[]}} [more]
   *   onEvent: what it throws ends the call, and a promise of it is waited for. begun: the
   *   call's number. ended: its last message
   * @returns {Promise<any>}
   */
  async call(target, method, args, { signal, onEvent, begun, ended, transfer = [] } = {}) {
    throwIfAborted(signal);
    if (this.ending) throw this.ending;
    const id = this.#next++;
    begun?.(id);
    let over = false; // the worker has said its last of it
    /** @type {{error: unknown} | null} by onEvent: the call ends with it */
    let thrown = null;
    let settle = () => {};
    const cancel = () => {
      if (over) settle();
      else if (!this.ending) this.#port.post({ id, cancel: true });
    };
    const failed = (/** @type {unknown} */ error) => {
      thrown ??= { error };
      cancel();
    };
    /** @type {Promise<void>[]} */
    const waited = [];
    try {
      return await new Promise((resolve, reject) => {
        this.#port.hold(true); // a process whose work is done ends, though nothing was closed
        this.#calls.set(id, {
          take: message => {
            if ('event' in message) {
              if (thrown) return; // what the worker says of it from now on is of no interest
              try {
                const made = /** @type {any} */ (onEvent?.(message.event));
                if (typeof made?.then === 'function')
                  waited.push(Promise.resolve(made).then(() => {}, failed));
              } catch (error) {
                failed(error);
              }
              return;
            }
            over = true;
            ended?.(message);
            const { error, value } = message;
            settle = () => {
              if (thrown) reject(thrown.error);
              else if (signal?.aborted) reject(cancelled(signal));
              else if (error) reject(new HyperionError(error.code, error.message));
              else resolve(value);
            };
            if (!waited.length || thrown || signal?.aborted || error) settle();
            else Promise.all(waited).then(settle);
          },
          fail: why => reject(thrown ? thrown.error : why),
        });
        signal?.addEventListener('abort', cancel);
        try {
          const lane = id === 1 ? this.#receiver.lane : undefined;
          this.#port.post({ ...target, id, method, args, lane }, transfer);
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
      if (!this.#calls.size && !this.ending) this.#port.hold(false);
      signal?.removeEventListener('abort', cancel);
    }
  }

  /**
   * The pieces of an answer.
   * @param {Target} target
   * @param {() => void} check throws when the target is closed
   * @param {string} method
   * @param {unknown} first
   * @param {GenerateOptions} options
   * @param {(usage: Usage) => void} record
   * @param {(pieces: Piece[]) => void} [unread] gets those that were made, and that nobody has got
   *   because the answer was broken off
   * @returns {AsyncGenerator<Piece, void, void>}
   */
  async *stream(target, check, method, first, { signal: given, ...options }, record, unread) {
    const signal = given ?? undefined;
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
      unread?.(pieces);
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
    await Promise.all([this.#port.end(this.keeps), this.#carrier.close()]);
    await Promise.all(this.#threads.splice(0).map(async end => end()));
    const bytes = sharedBytes(this.#memory);
    this.#memory = null;
    if (bytes) urgeCollection(bytes);
  }
}
