// What a source is: what callers may give, and what the core reads of it. Between the two lie
// layers: a transport knows where bytes come from, chunks.js makes ranges of it, and asks a
// verifier and a store of chunks.
import { HyperionError } from '../core/errors.js';
import { placeOf } from '../core/host.js';

/** @typedef {import('../core/core.js').ByteSource} ByteSource */
/**
 * @typedef {object} Bucket as Cloudflare's R2 is one; others need no more than this
 * @property {(key: string, options: any) => Promise<any>} get with `range: {offset, length}`: an
 *   object with `size` of the whole, `etag` and a `body` (a stream) or `arrayBuffer()`; null where
 *   there is none
 * @property {(key: string) => Promise<any>} [head] the same without a body
 */
/** @typedef {{bucket: Bucket, key: string}} InBucket */
/** @typedef {{kind: string, name: string, getFile: () => Promise<File>}} FileHandle */
/**
 * @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView | ReadableStream<Uint8Array> |
 *   Response | ByteSource | FileHandle | InBucket} Source
 */

/** @typedef {(url: URL, init: any) => Promise<Response>} Fetch */
/**
 * @typedef {object} Patience
 * @property {number} tries in a row that bring nothing
 * @property {number} baseMs waited before the second at most, twice as long before each further one
 * @property {number} mostMs waited at once at most; a server that asks for more is refused
 * @property {number} stallMs without a byte, after which a request is given up
 */
/**
 * @typedef {object} SourceOptions how sources are read
 * @property {AbortSignal} [signal] ends the opening; what is open ends by `close`
 * @property {unknown} [fileCache] see store/index.js; for names on a hub true when left out
 * @property {unknown} [manifest] see layers.js
 * @property {CryptoKey | Uint8Array} [key]
 * @property {(name: string, store: import('./store/store.js').FileStore | null) => void} [onStore]
 *   hears what keeps a file; null: nothing does
 * @property {string} [token] for a hub, or for the server of an address
 * @property {string | URL} [endpoint] of a hub
 * @property {number} [limitRate] bytes in a second, of all files together
 * @property {Fetch} [fetch] in place of the host's
 * @property {Partial<Patience>} [patience]
 * @property {number} [window] bytes of each file in memory at most; by the host when left out
 * @property {number} [first] bytes to ask for with the opening, of what is not read anyway
 */

/**
 * @typedef {object} Transport
 * @property {string} name for messages and as a cache's key: a URL without credentials, `hf:…`, a
 *   path
 * @property {number} size bytes in all
 * @property {string} version changes when the bytes do (ETag, Last-Modified, hash); '' unknown
 * @property {string} [sha256] of the whole, hex, when known
 * @property {boolean} ranged can be read anywhere; false: only from the front
 * @property {Feed} feed of one that is not `ranged`: offset 0, and all of it
 * @property {boolean} [again] not `ranged`: `feed` may be called once more, when it has ended
 * @property {number} [parallel] requests at once that help; 1 when left out
 * @property {number} [first] bytes that come with the opening, worth to be asked for at first
 * @property {() => void | Promise<void>} [close]
 */
/**
 * @callback Feed hands over the bytes as they arrive, `count` of them in all, and resolves after
 *   the last. What breaks off on the way is resumed as long as that makes sense
 * @param {number} offset
 * @param {number} count
 * @param {(bytes: Uint8Array) => void | Promise<void>} take is waited for; keeps no part
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */

/**
 * @typedef {object} Verifier
 * @property {number} size plain bytes in all
 * @property {number} chunkBytes plain bytes of a chunk; the last is shorter
 * @property {(index: number) => {offset: number, count: number}} place where the transport has it
 * @property {(index: number, bytes: Uint8Array) => Promise<Uint8Array>} check plain, verified
 *   bytes; throws WrongBytes
 */

/**
 * @typedef {object} ChunkStore for one file
 * @property {number} chunkBytes
 * @property {(index: number) => Promise<Uint8Array | null>} get null: not there, or damaged
 * @property {(index: number, bytes: Uint8Array) => Promise<void>} put failing disables the store,
 *   not the read
 * @property {() => number} present chunks that it has
 * @property {() => Promise<void>} close
 */

/** Bytes are not those that they should be. */
export class WrongBytes extends HyperionError {
  /** @param {string} message @param {{cause?: unknown}} [options] */
  constructor(message, options) {
    super('HYP_E_FORMAT', message, options);
  }
}

/** @param {string} message @param {unknown} [cause] */
export const unreadable = (message, cause) =>
  new HyperionError('HYP_E_IO', message, cause === undefined ? undefined : { cause });

export const gone = () => new Error('the source has been closed: open the model anew');

/** The whole of what a transport has there. @param {Transport} transport @param {number} offset
 * @param {number} count @param {AbortSignal} [signal] @returns {Promise<Uint8Array>}
 */
export async function readAll(transport, offset, count, signal) {
  const out = new Uint8Array(count);
  let at = 0;
  await transport.feed(
    offset,
    count,
    bytes => {
      out.set(bytes, at);
      at += bytes.length;
    },
    signal,
  );
  return out;
}

/**
 * Where a relative text leads: the page's address, or the working directory.
 * @param {string | URL} place
 */
export function resolve(place) {
  const url = placeOf(place);
  if (url) return url;
  throw new HyperionError(
    'HYP_E_ARGUMENT',
    `'${place}' is relative, and this host has no address to resolve it by`,
  );
}

/** @param {ReadableStream<Uint8Array>} stream */
export function checkUnread(stream) {
  if (stream.locked)
    throw new HyperionError(
      'HYP_E_ARGUMENT',
      'this stream is being read already: a stream can be given once',
    );
}

/** @param {any} source @returns {source is InBucket} */
export const isInBucket = source =>
  typeof source?.key === 'string' && typeof source.bucket?.get === 'function';

const CLOSE_MS = 2000; // how long a caller's own source may take to close

/**
 * A source that is closed once, and asked for nothing after that: what its descriptor names by then
 * may be another's file. Its `close` always succeeds, whatever the caller's own does.
 * @param {ByteSource} source @returns {ByteSource & {close: () => Promise<void>}}
 */
export function closing(source) {
  let open = true;
  const { readInto } = source;
  return {
    size: source.size,
    sequential: source.sequential,
    readInto:
      readInto &&
      ((offset, out) => {
        if (!open) throw gone();
        return readInto(offset, out);
      }),
    read(offset, count) {
      if (!open) throw gone();
      return source.read(offset, count);
    },
    async close() {
      if (!open) return;
      open = false;
      /** @type {ReturnType<typeof setTimeout> | undefined} */
      let timer;
      try {
        const closed = /** @type {any} */ (source.close?.());
        if (typeof closed?.then !== 'function') return;
        const limit = new Promise(resolve => (timer = setTimeout(resolve, CLOSE_MS)));
        await Promise.race([closed, limit]);
      } catch {
        // it is not used any more
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
