// A model in a worker, with the interface of one in this thread. Calls go by postMessage; results and the pieces of an answer come over a
// lane where memory can be shared.
import { Receiver } from './channel.js';
import { HyperionError } from './errors.js';
import { cancelled, checkOpen, throwIfAborted } from './options.js';

/** @typedef {import('./sources.js').Source} Source */
/** @typedef {import('./model.js').OpenOptions} OpenOptions */
/** @typedef {import('./model.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./model.js').Piece} Piece */

/** In a page: yes, so that it stays responsive. */
export const workerByDefault = () =>
  typeof window === 'object' && typeof document === 'object' && typeof Worker === 'function';

/** @typedef {{post: (message: unknown) => void, listen: (take: (message: any) => void, fail: (error: Error) => void) => void, end: () => void}} Port */

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
      // It is asked to go, because a thread that is ended while it loads, or starts others, leaves files open.
      await Promise.race([ready, gone]);
      worker.postMessage({ end: true });
      const patience = setTimeout(() => worker.terminate(), LEAVE_MS);
      await gone;
      clearTimeout(patience);
    },
  };
}

export class RemoteModel {
  /** @type {Port} */
  #port;
  #receiver;
  #next = 1;
  /** @type {HyperionError | null} why every call is refused */
  #ending = null;
  /** @type {Promise<void> | null} */
  #closing = null;
  /** @type {Map<number, {take: (message: any) => void, fail: (error: unknown) => void}>} */
  #calls = new Map();
  /** @type {import('./model.js').Facts} */
  facts = /** @type {any} */ (null);

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

  /** Every call is refused from now on, those under way too. @param {HyperionError} why */
  #stop(why) {
    if (this.#ending) return;
    this.#ending = why;
    this.#receiver.close();
    for (const call of [...this.#calls.values()]) call.fail(why);
  }

  /** @param {Source | Source[]} source @param {OpenOptions} options @returns {Promise<RemoteModel>} */
  static async open(source, { onProgress, signal, worker, ...options }) {
    checkOpen({ onProgress, signal, ...options });
    throwIfAborted(signal);
    const port = await startWorker().catch(cause => {
      throw new HyperionError(
        'HYP_E_HOST',
        `the engine's worker could not be started: ${cause.message}`,
        { cause },
      );
    });
    const model = new RemoteModel(port);
    const base = typeof location === 'object' ? location.href : undefined;
    const absolute = (/** @type {any} */ one) =>
      one instanceof URL
        ? one.href
        : typeof one === 'string' && base
          ? new URL(one, base).href
          : one;
    /** @type {(value?: unknown) => void} */
    let abort = () => {};
    try {
      const places = (/** @type {any} */ from) =>
        Array.isArray(from) ? from.map(absolute) : absolute(from);
      const args = [
        places(source),
        { ...options, draft: places(options.draft), wasm: absolute(options.wasm) },
      ];
      const opened = model.#call('open', args, undefined, progress => onProgress?.(progress));
      // An abort ends the worker, and so needs no answer from it.
      const aborted = new Promise((_, reject) => (abort = () => reject(cancelled(signal))));
      signal?.addEventListener('abort', abort);
      if (signal?.aborted) abort();
      model.facts = await Promise.race([opened, aborted]);
      throwIfAborted(signal);
      return model;
    } catch (error) {
      await model.close();
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /**
   * @param {string} method @param {unknown[]} args @param {AbortSignal} [signal]
   * @param {(value: any) => void} [onEvent] what it throws ends the call
   * @returns {Promise<any>}
   */
  async #call(method, args, signal, onEvent) {
    throwIfAborted(signal);
    if (this.#ending) throw this.#ending;
    const id = this.#next++;
    const cancel = () => {
      if (!this.#ending) this.#port.post({ id, cancel: true });
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
            } else if (signal?.aborted) reject(cancelled(signal));
            else if (message.error)
              reject(new HyperionError(message.error.code, message.error.message));
            else resolve(message.value);
          },
          fail: reject,
        });
        signal?.addEventListener('abort', cancel);
        try {
          this.#port.post({ id, method, args, ...(id === 1 && { lane: this.#receiver.lane }) });
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

  /** @param {string} method @param {unknown} first @param {GenerateOptions} options @returns {AsyncGenerator<Piece, void, void>} */
  async *#stream(method, first, { signal, ...options }) {
    throwIfAborted(signal);
    const stop = new AbortController();
    const abort = () => stop.abort(signal?.reason);
    signal?.addEventListener('abort', abort);
    /** @type {Piece[]} */
    const pieces = [];
    let wake = () => {};
    let ended = false;
    const call = this.#call(
      method,
      [first, options],
      stop.signal,
      piece => (pieces.push(piece), wake()),
    ).finally(() => ((ended = true), wake()));
    call.catch(() => {}); // awaited below, after the pieces that came before the failure
    try {
      for (;;) {
        while (pieces.length) {
          if (this.#closing) throw this.#ending;
          yield /** @type {Piece} */ (pieces.shift());
          throwIfAborted(signal);
        }
        if (ended) break;
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

  /** @param {string} text @param {{edges?: boolean, specials?: boolean, signal?: AbortSignal}} [options] @returns {Promise<number[]>} */
  tokenize(text, { signal, ...options } = {}) {
    return this.#call('tokenize', [text, options], signal);
  }

  /** @param {ArrayLike<number>} tokens @param {{specials?: boolean, signal?: AbortSignal}} [options] @returns {Promise<string>} */
  detokenize(tokens, { signal, ...options } = {}) {
    return this.#call('detokenize', [tokens, options], signal);
  }

  /** @param {string | ArrayLike<number>} prompt @param {GenerateOptions} [options] @returns {AsyncGenerator<Piece, void, void>} */
  generate(prompt, options = {}) {
    return this.#stream('generate', prompt, options);
  }

  /** @param {import('./chat.js').Message[]} messages @param {GenerateOptions & {variables?: Record<string, unknown>}} [options] @returns {AsyncGenerator<Piece, void, void>} */
  chat(messages, options = {}) {
    return this.#stream('chat', messages, options);
  }

  /** @param {string} text @param {{pooling?: 'mean' | 'cls' | 'last', signal?: AbortSignal}} [options] @returns {Promise<Float32Array>} */
  embed(text, { signal, ...options } = {}) {
    return this.#call('embed', [text, options], signal);
  }

  /**
   * @param {ArrayLike<number>} tokens @param {(position: number, logProbabilities: Float32Array) => void} visit @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>}
   */
  score(tokens, visit, { signal } = {}) {
    return this.#call('score', [tokens], signal, ({ position, values }) => visit(position, values));
  }

  /** @returns {Promise<import('./model.js').Stats>} */
  async stats() {
    return { ...(await this.#call('stats', [])), lanes: this.#receiver.stats() };
  }

  /** @returns {Promise<Uint8Array>} */
  heat() {
    return this.#call('heat', []);
  }

  /** @returns {Promise<import('./model.js').Peaks>} */
  measure() {
    return this.#call('measure', []);
  }

  /** @returns {Promise<void>} */
  forget() {
    return this.#call('forget', []);
  }

  /** Ends the worker. @returns {Promise<void>} */
  close() {
    return (this.#closing ??= this.#close());
  }

  async #close() {
    this.#stop(new HyperionError('HYP_E_STATE', 'the model is closed'));
    this.#ending = new HyperionError('HYP_E_STATE', 'the model is closed');
    await this.#port.end();
  }
}
