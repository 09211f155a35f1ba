// What a source is: what callers may give, and what the core reads of it.
import { HyperionError } from '../core/errors.js';

/** @typedef {import('../core/core.js').ByteSource} ByteSource */
/**
 * @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView | ReadableStream<Uint8Array> |
 *   Response | ByteSource} Source
 */

/** Bytes are not those that they should be. */
export class WrongBytes extends HyperionError {
  /** @param {string} message @param {{cause?: unknown}} [options] */
  constructor(message, options) {
    super('HYP_E_FORMAT', message, options);
  }
}

const CLOSE_MS = 2000; // how long a caller's own source may take to close

/**
 * A source that is closed once, and asked for nothing after that: what its descriptor names by then
 * may be another's file. Its `close` always succeeds, whatever the caller's own does.
 * @param {ByteSource} source @returns {ByteSource & {close: () => Promise<void>}}
 */
export function closing(source) {
  let open = true;
  return {
    size: source.size,
    read(offset, count) {
      if (!open) throw new Error('the source has been closed: open the model anew');
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
