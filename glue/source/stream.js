// Streams: read whole, or once from front to back.
import { HyperionError } from '../core/errors.js';
import { cancelled } from '../core/signal.js';
import { ofMemory } from './memory.js';

/** @typedef {import('../core/core.js').ByteSource} ByteSource */

/** @param {ReadableStream<Uint8Array>} stream */
export function checkUnread(stream) {
  if (stream.locked)
    throw new HyperionError(
      'HYP_E_ARGUMENT',
      'this stream is being read already: a stream can be given once',
    );
}

/** @param {ReadableStream<Uint8Array>} stream */
function readerOf(stream) {
  checkUnread(stream);
  return stream.getReader();
}

/**
 * The whole of a stream, or as much as there is when the signal comes.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {AbortSignal} [signal]
 * @returns {Promise<ByteSource>}
 */
export async function ofWholeStream(stream, signal) {
  const reader = readerOf(stream);
  const stop = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener('abort', stop);
  if (signal?.aborted) stop();
  try {
    /** @type {any[]} */
    const parts = [];
    for (;;) {
      const { value, done } = await reader.read();
      if (signal?.aborted) throw cancelled(signal);
      if (done) break;
      parts.push(value);
    }
    return ofMemory(await new Blob(parts).arrayBuffer());
  } catch (cause) {
    if (signal?.aborted) throw cancelled(signal);
    throw new HyperionError(
      'HYP_E_IO',
      `the stream could not be read: ${/** @type {Error} */ (cause)?.message ?? cause}`,
      { cause },
    );
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * A stream that is read once from front to back. What the reader may still come back for is kept:
 * its last 4 MiB. What lies before is asked for `again`, where that is possible.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {number} size
 * @param {(offset: number, count: number) => Promise<Uint8Array>} [again]
 * @returns {ByteSource}
 */
export function ofStream(stream, size, again) {
  const KEPT = 4 << 20;
  const reader = readerOf(stream);
  /** @type {Uint8Array[]} */
  let chunks = [];
  let start = 0; // offset of the first chunk
  let end = 0;
  return {
    size,
    async read(offset, count) {
      if (offset < start && again) return again(offset, count);
      while (end < offset + count) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the stream ended after ${end} of ${size} bytes`);
        chunks.push(value);
        end += value.length;
        while (chunks.length > 1 && start + chunks[0].length <= Math.min(offset, end - KEPT))
          start += /** @type {Uint8Array} */ (chunks.shift()).length;
      }
      if (offset < start)
        throw new Error('a stream can not be read backwards: give a file, a blob or a URL');
      const out = new Uint8Array(count);
      let at = start;
      for (const chunk of chunks) {
        const from = Math.max(offset, at);
        const to = Math.min(offset + count, at + chunk.length);
        if (from < to) out.set(chunk.subarray(from - at, to - at), from - offset);
        at += chunk.length;
      }
      return out;
    },
    // nobody waits for a stream that may never answer
    close: () => void reader.cancel().catch(() => {}),
  };
}
