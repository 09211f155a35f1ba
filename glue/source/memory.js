// Bytes that the host holds: arrays, blobs, files that a user has chosen.
import { HyperionError } from '../core/errors.js';
import { unreadable } from './source.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./source.js').Transport} Transport */

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
    read: async (offset, count) => {
      try {
        return new Uint8Array(await blob.slice(offset, offset + count).arrayBuffer());
      } catch (cause) {
        const { name = 'the file' } = /** @type {{name?: string}} */ (blob);
        throw unreadable(
          `${name} can not be read; has it been changed or removed since it was chosen? ${/** @type {Error} */ (cause).message}`,
          cause,
        );
      }
    },
  };
}

/** @param {import('./source.js').FileHandle} handle @returns {Promise<ByteSource>} */
export async function ofHandle(handle) {
  try {
    return ofBlob(await handle.getFile());
  } catch (cause) {
    throw unreadable(
      `${handle.name} can not be opened: ${/** @type {Error} */ (cause).message}`,
      cause,
    );
  }
}

/**
 * A file of the origin's private file system.
 * @param {string} path
 * @returns {Promise<ByteSource>}
 */
export async function ofPrivateFile(path) {
  const { storage } = globalThis.navigator ?? {};
  if (!storage?.getDirectory)
    throw new HyperionError('HYP_E_UNSUPPORTED', `opfs:${path}: this host has no such files`);
  try {
    const folders = path.split('/').filter(Boolean);
    const name = folders.pop() ?? '';
    let folder = await storage.getDirectory();
    for (const one of folders) folder = await folder.getDirectoryHandle(one);
    return await ofHandle(await folder.getFileHandle(name));
  } catch (cause) {
    throw unreadable(`can not open opfs:${path}: ${/** @type {Error} */ (cause).message}`, cause);
  }
}

const PART_BYTES = 2 ** 20;

/**
 * What can be read anywhere at little cost, as a transport.
 * @param {ByteSource} source @param {string} name
 * @returns {Transport}
 */
export function transportOf({ size, read, close }, name) {
  return {
    name,
    size,
    version: '',
    ranged: true,
    parallel: 2,
    async feed(offset, count, take, signal) {
      for (let at = offset; at < offset + count; at += PART_BYTES) {
        signal?.throwIfAborted();
        await take(await read(at, Math.min(PART_BYTES, offset + count - at)));
      }
    },
    close,
  };
}
