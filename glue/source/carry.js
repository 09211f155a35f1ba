// Sources on their way to a worker. What can be cloned is; streams and the bodies of responses are
// transferred; whatever only this thread can read, it reads, when the worker asks for a part.
import { checkUnread, closing, isInBucket, resolve } from './source.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./source.js').Source} Source */
/** @typedef {import('./source.js').SourceOptions} SourceOptions */
/**
 * @typedef {{plain: unknown} | {body: ReadableStream<Uint8Array>, headers?: Record<string, string>}
 *   | {own: number, size: number, sequential?: boolean}} Told what the worker hears of a source.
 *   `headers` of a response; `own`: its number in the thread that reads it
 */
/**
 * @typedef {{source: number, ticket: number, offset: number, count: number, close?: boolean}} Ask
 */
/** @typedef {{reply: number, data?: unknown, error?: {name: string, message: string}}} Reply */

/**
 * Reads in this thread, which most do not ask of it: a page does not load what it takes.
 * @type {typeof import('./index.js').openSource}
 */
const openSource = async (...args) => (await import('./index.js')).openSource(...args);

/** Can this host transfer streams? Safari does since version 26. */
function transfersStreams() {
  try {
    const stream = new ReadableStream();
    structuredClone(stream, { transfer: [/** @type {any} */ (stream)] });
    return true;
  } catch {
    return false;
  }
}

/** @param {any} source @returns {source is ByteSource} */
const isOwn = source =>
  typeof source?.read === 'function' && Number.isSafeInteger(source.size) && source.size >= 0;

/** What a source has read, as it can be posted; bytes alone, without the rest of their buffer. */
function posted(/** @type {any} */ data) {
  if (Object.prototype.toString.call(data) !== '[object Uint8Array]') return data;
  return data.byteLength ? new Uint8Array(data) : new Uint8Array(0);
}

/** The sources of this thread that a worker reads. */
export class Carrier {
  #post;
  /** @type {Map<number, ReturnType<typeof closing>>} */
  #own = new Map();
  #next = 1;

  /** @param {(message: Reply, transfer?: Transferable[]) => void} post to the worker */
  constructor(post) {
    this.#post = post;
  }

  /**
   * @param {Source} source
   * @param {Transferable[]} transfer takes what has to be transferred
   * @param {SourceOptions} [options] for what this thread reads
   * @returns {Promise<Told>}
   */
  async carry(source, transfer, options) {
    if (typeof source === 'string' || source instanceof URL) return { plain: resolve(source).href };
    const response = typeof Response === 'function' && source instanceof Response ? source : null;
    const body = response
      ? response.body
      : typeof ReadableStream === 'function' && source instanceof ReadableStream
        ? source
        : null;
    if (response || body) {
      if (body) checkUnread(body);
      if (!body || response?.ok === false || !transfersStreams())
        return this.#carryOwn(await openSource(source, options));
      transfer.push(/** @type {any} */ (body));
      const headers = response && Object.fromEntries(response.headers);
      return headers ? { body, headers } : { body };
    }
    if (isOwn(source)) return this.#carryOwn(source);
    if (isInBucket(source)) return this.#carryOwn(await openSource(source, options));
    // says why not
    if (typeof (/** @type {any} */ (source)?.read) === 'function') await openSource(source);
    return { plain: source };
  }

  /** @param {ByteSource} source @returns {Told} */
  #carryOwn(source) {
    const own = this.#next++;
    this.#own.set(own, closing(source));
    return { own, size: source.size, sequential: source.sequential };
  }

  /** Reads for the worker, or closes. @param {Ask} ask */
  async answer({ source, ticket, offset, count, close }) {
    const one = this.#own.get(source);
    if (close) {
      this.#own.delete(source);
      return one?.close();
    }
    try {
      if (!one) throw new Error('the source has been closed: open the model anew');
      const data = posted(await one.read(offset, count));
      this.#post({ reply: ticket, data }, data?.buffer ? [data.buffer] : []);
    } catch (error) {
      const { name = 'Error', message = String(error) } = /** @type {any} */ (error) ?? {};
      this.#post({ reply: ticket, error: { name, message } });
    }
  }

  /** Closes what the worker, which is gone, has not. */
  async close() {
    const all = [...this.#own.values()];
    this.#own.clear();
    await Promise.all(all.map(one => one.close()));
  }
}
