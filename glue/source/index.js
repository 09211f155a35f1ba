// Byte sources: what `open` accepts, made into exact ranges of bytes.
import { HyperionError } from '../core/errors.js';
import { throwIfAborted } from '../core/signal.js';
import { ofFile } from './file.js';
import { ofBlob, ofMemory } from './memory.js';
import { closing } from './source.js';
import { ofWholeStream } from './stream.js';
import { ofResponse, ofUrl, resolve } from './url.js';

export { shardsOf } from './shards.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./source.js').Source} Source */

/**
 * @param {Source} source
 * @param {AbortSignal} [signal]
 * @returns {Promise<ByteSource>}
 */
export async function openSource(source, signal) {
  throwIfAborted(signal);
  return closing(await rangesOf(source, signal));
}

/** @param {Source} source @param {AbortSignal} [signal] @returns {Promise<ByteSource>} */
async function rangesOf(source, signal) {
  if (typeof source === 'string' || source instanceof URL) {
    const url = resolve(source);
    if (url.protocol === 'file:') return ofFile(url);
    return ofUrl(url, signal);
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return ofMemory(source);
  if (typeof Blob === 'function' && source instanceof Blob) return ofBlob(source);
  if (typeof Response === 'function' && source instanceof Response)
    return ofResponse(source, source.url || 'the response', signal);
  if (typeof ReadableStream === 'function' && source instanceof ReadableStream)
    return ofWholeStream(source, signal);
  const own = /** @type {ByteSource} */ (source);
  if (own && typeof own.read === 'function' && Number.isSafeInteger(own.size) && own.size >= 0)
    return own;
  throw new HyperionError(
    'HYP_E_ARGUMENT',
    'a model is a URL, a path, a Blob, an ArrayBuffer, a ReadableStream, a Response or {size, read}',
  );
}
