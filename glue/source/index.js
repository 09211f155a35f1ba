// Byte sources: what `open` accepts, made into exact ranges of bytes.
import { HyperionError } from '../core/errors.js';
import { throwIfAborted } from '../core/signal.js';
import { ofBucket } from './bucket.js';
import { chunked } from './chunks.js';
import { ofFile } from './file.js';
import { fileOfPage, isOnHub, ofHub, onHub } from './hub.js';
import { layersOf } from './layers.js';
import { ofBlob, ofHandle, ofMemory, ofPrivateFile, transportOf } from './memory.js';
import { paceOf } from './retry.js';
import { shardsOf } from './shards.js';
import { closing, isInBucket, resolve } from './source.js';
import { ofResponse, ofWholeStream } from './stream.js';
import { checkResponse, ofUrl } from './url.js';

export { shardsOf };

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./source.js').Source} Source */
/** @typedef {import('./source.js').SourceOptions} SourceOptions */
/** @typedef {import('./source.js').Transport} Transport */

const WINDOW_BYTES = 32 << 20;
const WINDOW_LEAST = 4 << 20;

/** Has this host as little memory as an edge isolate? */
const isSmall = () => globalThis.navigator?.userAgent === 'Cloudflare-Workers';

/**
 * The files of a model, each to be closed by whoever has opened them.
 * @param {Source | Source[]} source one, or the parts of one that is split
 * @param {SourceOptions} [options]
 * @returns {Promise<(ByteSource & {close: () => Promise<void>})[]>}
 */
export async function openSources(source, options = {}) {
  const { signal, limitRate } = options;
  throwIfAborted(signal);
  const files = Array.isArray(source)
    ? shardsOf(source)
    : isOnHub(source)
      ? await onHub(String(source), options)
      : shardsOf(source);
  const pace = limitRate ? paceOf(limitRate) : undefined;
  const window = isSmall() ? 1 : Math.floor(WINDOW_BYTES / files.length);
  const how = { window: Math.max(WINDOW_LEAST, window), pace };
  /** @type {(ByteSource & {close: () => Promise<void>})[]} */
  const opened = [];
  try {
    for (const file of files) {
      // Of the others what comes with the opening would only wait.
      const first = opened.length ? 1 : undefined;
      opened.push(await openFile(file, { ...options, first }, how));
      throwIfAborted(signal);
    }
    return opened;
  } catch (error) {
    await Promise.all(opened.map(one => one.close()));
    throwIfAborted(signal);
    throw error;
  }
}

/**
 * One file.
 * @param {Source} source
 * @param {SourceOptions} [options]
 * @returns {Promise<ByteSource & {close: () => Promise<void>}>}
 */
export async function openSource(source, options) {
  const [opened] = await openSources([source], options);
  return opened;
}

/**
 * @param {Source | import('./hub.js').OnHub} source
 * @param {SourceOptions & {first?: number}} options
 * @param {import('./chunks.js').Layers} how
 */
async function openFile(source, options, how) {
  const opened = await ofAny(source, options);
  const { manifest } = options;
  const transport =
    'feed' in opened ? opened : manifest ? transportOf(opened, nameOf(source)) : null;
  if (!transport) return closing(/** @type {ByteSource} */ (opened));
  try {
    return closing(chunked(transport, { ...how, ...(await layersOf(transport, options)) }));
  } catch (error) {
    await transport.close?.();
    throw error;
  }
}

/** @param {any} source */
const nameOf = source =>
  String(typeof source === 'string' ? source : (source?.name ?? source?.href ?? 'the file'));

/**
 * @param {Source | import('./hub.js').OnHub} source
 * @param {SourceOptions & {first?: number}} options
 * @returns {Promise<ByteSource | Transport>} a source: one that needs no chunks
 */
async function ofAny(source, options) {
  const { signal } = options;
  if (typeof source === 'string' || source instanceof URL) {
    const url = resolve(source);
    if (url.protocol === 'file:') return ofFile(url);
    if (url.protocol === 'opfs:') return ofPrivateFile(decodeURIComponent(url.pathname));
    if (url.protocol === 'hf:') {
      const [first] = await onHub(String(source), options);
      return ofHub(first, options);
    }
    return ofUrl(fileOfPage(url, options), options);
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return ofMemory(source);
  if (typeof Blob === 'function' && source instanceof Blob) return ofBlob(source);
  if (typeof Response === 'function' && source instanceof Response) {
    const name = source.url || 'the response';
    checkResponse(source, name);
    return ofResponse(source, name, signal);
  }
  if (typeof ReadableStream === 'function' && source instanceof ReadableStream)
    return ofWholeStream(source, signal);
  if (isInBucket(source)) return ofBucket(source, options);
  if (/** @type {any} */ (source)?.place) return ofHub(/** @type {any} */ (source), options);
  if (typeof (/** @type {any} */ (source)?.getFile) === 'function')
    return ofHandle(/** @type {any} */ (source));
  const own = /** @type {ByteSource} */ (source);
  if (own && typeof own.read === 'function' && Number.isSafeInteger(own.size) && own.size >= 0)
    return own;
  throw new HyperionError(
    'HYP_E_ARGUMENT',
    'a model is a URL, a path, an hf: name, a Blob, an ArrayBuffer, a ReadableStream, a Response, a FileSystemFileHandle, {bucket, key} or {size, read}',
  );
}
