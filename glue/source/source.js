// What a source is: what callers may give, and what the core reads of it.

/** @typedef {import('../core/core.js').ByteSource} ByteSource */
/**
 * @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView | ReadableStream<Uint8Array> |
 *   Response | ByteSource} Source
 */

/**
 * A source that is closed once, and asked for nothing after that: what its descriptor names by then
 * may be another's file.
 * @param {ByteSource} source @returns {ByteSource}
 */
export function closing(source) {
  let open = true;
  return {
    size: source.size,
    read(offset, count) {
      if (!open) throw new Error('the source has been closed: open the model anew');
      return source.read(offset, count);
    },
    close() {
      if (!open) return;
      open = false;
      return source.close?.();
    },
  };
}
