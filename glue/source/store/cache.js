// The cache as its users see it. What it takes is loaded when it is asked for the first time.
import { builtin } from '../../core/host.js';

/** @typedef {import('./option.js').CachedFile} CachedFile */

/** Where nothing may be loaded later, it is there from the beginning. */
export const late = { store: () => import('./index.js') };

/** The files that are kept in a place, for whoever looks after them. */
export class ModelCache {
  #folder;

  /** @param {string} [folder] the host's usual place when left out */
  constructor(folder) {
    this.#folder = folder;
  }

  /**
   * That of another folder.
   * @param {string} folder
   */
  at(folder) {
    return new ModelCache(folder);
  }

  /** What is in it, the file that was used last first. @returns {Promise<CachedFile[]>} */
  async list() {
    return (await late.store()).list(this.#folder);
  }

  /**
   * Removes a file, in all its versions.
   * @param {string} name
   * @returns {Promise<number>} bytes that are free now
   */
  async remove(name) {
    return (await late.store()).remove(this.#folder, name);
  }

  /**
   * Holds every chunk against its hash. What is damaged is removed, and fetched again when the file
   * is opened.
   * @param {string} [name] all files when left out
   * @param {{onProgress?: (progress: {done: number, total: number}) => unknown}} [options] bytes
   * @returns {Promise<{name: string, version: string, chunks: number, damaged: number[], missing:
   *   number[]}[]>} by file: chunks that were looked at, and the indices of those that were not as
   *   they should be
   */
  async verify(name, { onProgress } = {}) {
    return (await late.store()).verify(this.#folder, name, { onProgress });
  }

  /**
   * A file that is pinned stays when room is made for others.
   * @param {string} name @param {boolean} [pinned]
   */
  async pin(name, pinned = true) {
    await (await late.store()).pin(this.#folder, name, pinned);
  }

  /**
   * @returns {Promise<{where: string, files: number, bytes: number, quota?: number, persisted?:
   *   boolean}>} `quota`: what the origin may take in all; `persisted`: the browser does not evict
   *   it
   */
  async usage() {
    return (await late.store()).usage(this.#folder);
  }

  /**
   * Asks the browser not to evict what the origin keeps, on a page's own thread. Elsewhere nobody
   * evicts it.
   * @returns {Promise<boolean>} granted
   */
  async persist() {
    if (builtin('node:fs')) return true;
    return (await globalThis.navigator?.storage?.persist?.()) ?? false;
  }
}

/** What `open` keeps of models (option `fileCache`), in the host's usual place. */
export const cache = new ModelCache();
