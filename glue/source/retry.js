// What goes wrong on the way and may go right the next time: when to try again.
import { cancelled } from '../core/signal.js';
import { unreadable } from './source.js';

/** @typedef {import('./source.js').Patience} Patience */

/** @type {Patience} */
export const PATIENCE = { tries: 8, baseMs: 200, mostMs: 60000, stallMs: 20000 };

/** For a question whose answer is not needed: what it is about is there. */
export const HASTY = { patience: { tries: 1, stallMs: 5000 } };

/** Something that may go right the next time. */
export class Passing extends Error {
  /**
   * @param {string} message
   * @param {{cause?: unknown, answered?: boolean, waitMs?: number}} [more] answered: by a server
   */
  constructor(message, { cause, answered = false, waitMs = 0 } = {}) {
    super(message, { cause });
    this.answered = answered;
    this.waitMs = waitMs;
  }
}

/** Was nobody there to be asked? @param {any} error */
export const isUnreachable = error => error?.cause instanceof Passing;

/**
 * Resolves after a time, rejects when the signal comes; then no timer is left.
 * @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>}
 */
export const sleep = (ms, signal) =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled(signal));
    const stop = () => {
      clearTimeout(timer);
      reject(cancelled(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop);
  });

/**
 * Waits before one more try: exponential back-off with full jitter, or as long as a server asks.
 * @param {number} tries that have brought nothing so far, 1 or more
 * @param {Passing} error of the last
 * @param {Patience} patience
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>} rejects with the error when there have been enough
 */
export async function backOff(tries, error, patience, signal) {
  const { baseMs, mostMs } = patience;
  if (tries >= patience.tries || error.waitMs > mostMs) throw error;
  const most = Math.min(mostMs, baseMs * 2 ** (tries - 1));
  await sleep(error.waitMs + Math.random() * most, signal);
}

/**
 * @typedef {object} Trying
 * @property {number} [most] tries in a row that bring not even an answer
 * @property {() => number} progress grows with what has been brought
 * @property {Patience} patience
 * @property {AbortSignal} [signal]
 * @property {(error: Passing) => string} why what it was, for the last of many
 */

/**
 * Tries until it goes well, or can not.
 * @template T @param {Trying} how @param {() => Promise<T>} act @returns {Promise<T>}
 */
export async function trying({ most = Infinity, progress, patience, signal, why }, act) {
  for (let tries = 0; ;) {
    const before = progress();
    try {
      return await act();
    } catch (error) {
      if (signal?.aborted) throw cancelled(signal);
      if (!(error instanceof Passing)) throw error;
      tries = progress() > before ? 1 : tries + 1;
      const { waitMs } = error;
      const limit = error.answered ? Infinity : most;
      const limits = { ...patience, tries: Math.min(patience.tries, limit) };
      await backOff(tries, error, limits, signal).catch(cause => {
        if (signal?.aborted) throw cancelled(signal);
        const long =
          waitMs > patience.mostMs
            ? `; it asks to wait for ${Math.ceil(waitMs / 1000)} seconds`
            : '';
        throw unreadable(why(error) + long, cause);
      });
    }
  }
}

/**
 * A request, whose every step is given up when nothing comes, or when the signal does.
 * @template {{body?: ReadableStream<Uint8Array> | null}} T
 * @typedef {object} Exchange
 * @property {T} answer
 * @property {() => Promise<Uint8Array | null>} read the next of its bytes; null: there are no more
 * @property {(signal: AbortSignal | undefined) => void} follow another signal from now on
 * @property {() => void} end lets go of it, read or not
 */

/**
 * @template {{body?: ReadableStream<Uint8Array> | null}} T
 * @param {(signal: AbortSignal) => Promise<T>} ask @param {number} stallMs
 * @param {AbortSignal} [signal]
 * @returns {Promise<Exchange<T>>}
 */
export async function exchange(ask, stallMs, signal) {
  const stop = new AbortController();
  /** @type {(reason: unknown) => void} */
  let reject = () => {};
  stop.signal.addEventListener('abort', () => reject(stop.signal.reason));
  const abort = () => stop.abort(cancelled(signal));
  const follow = (/** @type {AbortSignal | undefined} */ next) => {
    signal?.removeEventListener('abort', abort);
    signal = next;
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
  };
  follow(signal);
  /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
  let reader;
  const end = () => {
    signal?.removeEventListener('abort', abort);
    stop.abort();
    reader?.cancel().catch(() => {});
  };
  /** @template R @param {() => Promise<R>} act @returns {Promise<R>} */
  const timed = act => {
    const stalled = () => stop.abort(new Passing(`nothing has come for ${stallMs / 1000} seconds`));
    const timer = setTimeout(stalled, stallMs);
    return new Promise((resolve, fail) => {
      reject = fail;
      if (stop.signal.aborted) return fail(stop.signal.reason);
      act().then(resolve, fail);
    })
      .catch(cause => {
        if (signal?.aborted) throw cancelled(signal);
        if (cause instanceof Passing) throw cause;
        const { message = cause } = cause?.cause ?? cause ?? {};
        throw new Passing(String(message), { cause });
      })
      .finally(() => clearTimeout(timer));
  };
  try {
    const answer = await timed(() => ask(stop.signal));
    reader = answer?.body?.getReader();
    const read = () =>
      timed(async () => {
        const { value, done } = (await reader?.read()) ?? { done: true };
        return done ? null : /** @type {Uint8Array} */ (value);
      });
    return { answer, read, follow, end };
  } catch (error) {
    end();
    throw error;
  }
}

/**
 * At most so many bytes in a second, of all who ask.
 * @param {number} rate @returns {(bytes: number, signal: AbortSignal) => Promise<void> | undefined}
 */
export function paceOf(rate) {
  let free = 0; // when the bytes so far are paid for
  return (bytes, signal) => {
    const now = performance.now();
    free = Math.max(free, now) + (bytes * 1000) / rate;
    return free - now > 2 ? sleep(free - now, signal) : undefined;
  };
}
