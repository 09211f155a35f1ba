// Bytes that the host holds: arrays, blobs, files that a user has chosen.

/** @typedef {import('../core/core.js').ByteSource} ByteSource */

/** @param {ArrayBuffer | ArrayBufferView} data @returns {ByteSource} */
export function ofMemory(data) {
  const bytes =
    data instanceof ArrayBuffer
      ? new Uint8Array(data)
      : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { size: bytes.length, read: (offset, count) => bytes.subarray(offset, offset + count) };
}

/** @param {Blob} blob @returns {ByteSource} */
export function ofBlob(blob) {
  return {
    size: blob.size,
    read: async (offset, count) =>
      new Uint8Array(await blob.slice(offset, offset + count).arrayBuffer()),
  };
}
