// A model in a worker, with the interface of one in this thread. Calls go by postMessage; results and the pieces of an answer come over a
// lane where memory can be shared.
import { Receiver } from './channel.js';
import { HyperionError } from './errors.js';

/** @typedef {import('./sources.js').Source} Source */
/** @typedef {import('./model.js').OpenOptions} OpenOptions */
/** @typedef {import('./model.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./model.js').Piece} Piece */

/** In a page: yes, so that it stays responsive. */
export const workerByDefault = () => typeof window === 'object' && typeof document === 'object' && typeof Worker === 'function';

/** @typedef {{post: (message: unknown) => void, listen: (take: (message: any) => void, fail: (error: Error) => void) => void, end: () => void}} Port */

/** @returns {Promise<Port>} */
async function startWorker() {
  const url = new URL('./worker.js', import.meta.url);
  if (typeof Worker === 'function') {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'hyperion' });
    return {
      post: message => worker.postMessage(message),
      listen: (take, fail) => {
        worker.onmessage = event => take(event.data);
        worker.onerror = event => fail(new Error(event.message || 'the worker could not be started'));
      },
      end: () => worker.terminate(),
    };
  }
  const threads = await import('node:worker_threads');
  const worker = new threads.Worker(url);
  return {
    post: message => worker.postMessage(message),
    listen: (take, fail) => void worker.on('message', take).on('error', fail),
    end: () => void worker.terminate(),
  };
}

export class RemoteModel {
  /** @type {Port} */
  #port;
  #receiver;
  #next = 1;
  #closed = false;
  /** @type {Map<number, {take: (message: any) => void, fail: (error: Error) => void}>} */
  #calls = new Map();
  /** @type {import('./model.js').Facts} */
  facts = /** @type {any} */ (null);

  /** @param {Port} port */
  constructor(port) {
    this.#port = port;
    this.#receiver = new Receiver(message => this.#calls.get(message.id)?.take(message));
    port.listen(
      message => this.#receiver.posted(message),
      error => {
        const failure = new HyperionError('HYP_E_HOST', `the engine's worker failed: ${error.message}`, { cause: error });
        for (const call of this.#calls.values()) call.fail(failure);
        this.#calls.clear();
      },
    );
  }

  /** @param {Source | Source[]} source @param {OpenOptions} options @returns {Promise<RemoteModel>} */
  static async open(source, { onProgress, signal, worker, ...options }) {
    if (signal?.aborted) throw new HyperionError('HYP_E_CANCELLED', 'cancelled', { cause: signal.reason });
    const model = new RemoteModel(await startWorker());
    const base = typeof location === 'object' ? location.href : undefined;
    const absolute = (/** @type {any} */ one) => (one instanceof URL ? one.href : typeof one === 'string' && base ? new URL(one, base).href : one);
    try {
      const places = (/** @type {any} */ from) => (Array.isArray(from) ? from.map(absolute) : absolute(from));
      model.facts = await model.#call('open', [places(source), { ...options, draft: places(options.draft), wasm: absolute(options.wasm) }], signal, progress => onProgress?.(progress));
      // The worker may have been done before it heard of the abort; the caller was not.
      if (signal?.aborted) throw new HyperionError('HYP_E_CANCELLED', 'cancelled', { cause: signal.reason });
      return model;
    } catch (error) {
      model.#receiver.close();
      model.#port.end();
      throw error;
    }
  }

  /**
   * @param {string} method @param {unknown[]} args @param {AbortSignal} [signal] @param {(value: any) => void} [onEvent]
   * @returns {Promise<any>}
   */
  #call(method, args, signal, onEvent) {
    if (this.#closed) return Promise.reject(new HyperionError('HYP_E_STATE', 'the model is closed'));
    const id = this.#next++;
    const abort = () => this.#port.post({ id, cancel: true });
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#calls.delete(id);
        signal?.removeEventListener('abort', abort);
      };
      this.#calls.set(id, {
        take: message => {
          if ('event' in message) return onEvent?.(message.event);
          done();
          if (message.error) reject(new HyperionError(message.error.code, message.error.message, { cause: signal?.aborted ? signal.reason : undefined }));
          else resolve(message.value);
        },
        fail: error => (done(), reject(error)),
      });
      signal?.addEventListener('abort', abort);
      this.#port.post({ id, method, args, ...(id === 1 && { lane: this.#receiver.lane }) });
      if (signal?.aborted) abort();
    });
  }

  /** @param {string} method @param {unknown} first @param {GenerateOptions} options @returns {AsyncGenerator<Piece, void, void>} */
  async *#stream(method, first, { signal, ...options }) {
    const stop = new AbortController();
    const abort = () => stop.abort(signal?.reason);
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
    /** @type {Piece[]} */
    const pieces = [];
    let wake = () => {};
    let ended = false;
    const call = this.#call(method, [first, options], stop.signal, piece => (pieces.push(piece), wake())).finally(() => ((ended = true), wake()));
    call.catch(() => {}); // awaited below, after the pieces that came before the failure
    try {
      for (;;) {
        while (pieces.length) yield /** @type {Piece} */ (pieces.shift());
        if (ended) break;
        await new Promise(resolve => (wake = () => resolve(undefined)));
      }
      await call;
    } finally {
      signal?.removeEventListener('abort', abort);
      if (!ended) stop.abort(); // the caller broke off
    }
  }

  /** @param {string} text @param {{edges?: boolean, specials?: boolean}} [options] @returns {Promise<number[]>} */
  tokenize(text, options) {
    return this.#call('tokenize', [text, options]);
  }

  /** @param {ArrayLike<number>} tokens @param {{specials?: boolean}} [options] @returns {Promise<string>} */
  detokenize(tokens, options) {
    return this.#call('detokenize', [Array.from(tokens), options]);
  }

  /** @param {string | ArrayLike<number>} prompt @param {GenerateOptions} [options] @returns {AsyncGenerator<Piece, void, void>} */
  generate(prompt, options = {}) {
    return this.#stream('generate', typeof prompt === 'string' ? prompt : Array.from(prompt), options);
  }

  /** @param {import('./chat.js').Message[]} messages @param {GenerateOptions & {variables?: Record<string, unknown>}} [options] @returns {AsyncGenerator<Piece, void, void>} */
  chat(messages, options = {}) {
    return this.#stream('chat', messages, options);
  }

  /** @param {string} text @param {{pooling?: 'mean' | 'cls' | 'last'}} [options] @returns {Promise<Float32Array>} */
  embed(text, options) {
    return this.#call('embed', [text, options]);
  }

  /** @param {ArrayLike<number>} tokens @param {(position: number, logProbabilities: Float32Array) => void} visit @returns {Promise<void>} */
  score(tokens, visit) {
    return this.#call('score', [Array.from(tokens)], undefined, ({ position, values }) => visit(position, values));
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
  async close() {
    this.#closed = true;
    this.#receiver.close();
    this.#port.end();
    const failure = new HyperionError('HYP_E_STATE', 'the model is closed');
    for (const call of this.#calls.values()) call.fail(failure);
    this.#calls.clear();
  }
}
