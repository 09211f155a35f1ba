// Memories that threads share, and how hosts come to give them back.

const WASM_PAGE_BYTES = 65536;
const URGE_BYTES = 64 << 20; // dropped at once, it makes V8 collect garbage

/** Bytes of a memory that threads may share; 0: of one that they do not. */
export const sharedBytes = (/** @type {WebAssembly.Memory | null | undefined} */ memory) =>
  memory && Object.prototype.toString.call(memory.buffer) === '[object SharedArrayBuffer]'
    ? memory.buffer.byteLength
    : 0;

/**
 * Tells the collector of garbage about a shared memory that nobody holds any more. V8 does not
 * count such memories, and keeps those of dozens of closed engines until something else makes it
 * look. It counts a memory of one thread: one of the same size, whose pages are never touched, is
 * dropped beside it.
 * @param {number} bytes
 */
export function urgeCollection(bytes) {
  const initial = Math.ceil(Math.min(bytes, URGE_BYTES) / WASM_PAGE_BYTES);
  try {
    void new WebAssembly.Memory({ initial, maximum: initial });
  } catch {
    // no address space: the host collects garbage by itself then
  }
}
