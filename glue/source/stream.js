// Streams: read whole, or once from front to back.
import { HyperionError } from '../core/errors.js';
import { cancelled } from '../core/signal.js';
import { ofMemory } from './memory.js';
import { checkUnread, unreadable } from './source.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./source.js').Transport} Transport */

/** @param {ReadableStream<Uint8Array>} stream */
function readerOf(stream) {
  checkUnread(stream);
  return stream.getReader();
}

/**
 * The parts of a stream, until its end or the signal's.
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader
 * @param {(bytes: Uint8Array) => void | Promise<void>} take
 * @param {AbortSignal} [signal]
 */
async function pour(reader, take, signal) {
  const stop = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener('abort', stop);
  if (signal?.aborted) stop();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (signal?.aborted) throw cancelled(signal);
      if (done) return;
      await take(value);
    }
  } catch (cause) {
    if (signal?.aborted) throw cancelled(signal);
    if (cause instanceof HyperionError) throw cause;
    throw unreadable(
      `the stream could not be read: ${/** @type {Error} */ (cause)?.message ?? cause}`,
      cause,
    );
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * The whole of a stream, or as much as there is when the signal comes.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {AbortSignal} [signal]
 * @returns {Promise<ByteSource>}
 */
export async function ofWholeStream(stream, signal) {
  /** @type {any[]} */
  const parts = [];
  await pour(readerOf(stream), bytes => void parts.push(bytes), signal);
  return ofMemory(await new Blob(parts).arrayBuffer());
}

/**
 * A stream of known size, which is read once from front to back.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {number} size
 * @param {string} name
 * @returns {Transport}
 */
function ofStream(stream, size, name) {
  const reader = readerOf(stream);
  return {
    name,
    size,
    version: '',
    ranged: false,
    async feed(_, count, take, signal) {
      let left = count;
      await pour(
        reader,
        bytes => {
          const part = bytes.subarray(0, left);
          left -= part.length;
          return take(part);
        },
        signal,
      );
      if (left) throw unreadable(`the stream ended after ${count - left} of ${count} bytes`);
    },
    // nobody waits for a stream that may never answer
    close: () => void reader.cancel().catch(() => {}),
  };
}

/**
 * The body of a response that is fine.
 * @param {Response} response @param {string} name @param {AbortSignal} [signal]
 * @returns {Promise<Transport | ByteSource>} a source, where the whole had to arrive first
 */
export async function ofResponse(response, name, signal) {
  const encoded = response.headers.get('content-encoding');
  const length = Number(response.headers.get('content-length'));
  // Without a size, or with one of the encoded bytes, the whole has to arrive first.
  if (!response.body) return ofMemory(await response.arrayBuffer());
  if (!length || (encoded && encoded !== 'identity')) return ofWholeStream(response.body, signal);
  return ofStream(response.body, length, name);
}
