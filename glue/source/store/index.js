// The cache as its users see it: where it is, what is in it.
import { refuse, shown } from '../../core/check.js';
import { HyperionError } from '../../core/errors.js';
import { builtin } from '../../core/host.js';
import { defaultFolder, directory } from './directory.js';
import { opfs } from './opfs.js';
import * as kept from './store.js';

/** @typedef {import('./journal.js').Head} Head */
/** @typedef {import('./store.js').Place} Place */
/**
 * Where a cache is, and what it may take: `true`, the host's usual place (the origin's private file
 * system, or `XDG_CACHE_HOME/hyperion`); a folder, in Node, Deno and Bun; `limit`, as '4GB', for
 * the whole cache, in which other files give way; `pin`: this file gives way to none.
 * @typedef {boolean | string | {folder?: string, limit?: string | number, pin?: boolean}}
 *   CacheOption
 */
/**
 * A file of the cache.
 * @typedef {object} CachedFile
 * @property {string} name by which it was opened
 * @property {string} version
 * @property {number} size in bytes
 * @property {number} cached how many of them are there
 * @property {boolean} complete it can be opened without a network
 * @property {boolean} pinned
 * @property {boolean} encrypted
 * @property {Date} used last
 */

/** @type {Record<string, number>} */
const UNITS = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };

/** @param {unknown} limit @returns {number} */
function limitOf(limit) {
  if (limit === undefined || limit === null) return Infinity;
  if (typeof limit === 'number' && limit >= 0) return limit;
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*$/i.exec(String(limit));
  if (typeof limit !== 'string' || !match)
    return refuse(`the cache's limit must be an amount, as '4GB', not ${shown(limit)}`);
  return Number(match[1]) * UNITS[match[2].toLowerCase()];
}

/**
 * What a cache option says; refused when it says nothing that is possible.
 * @param {unknown} option
 * @returns {{folder?: string, limit: number, pin: boolean} | null} null: no cache
 */
export function cacheOf(option) {
  if (option === undefined || option === null || option === false) return null;
  if (option === true) return { limit: Infinity, pin: false };
  if (typeof option === 'string' && option) return { folder: option, limit: Infinity, pin: false };
  if (typeof option !== 'object' || !option)
    return refuse(
      `cache must be true, false, a folder or {folder, limit, pin}, not ${shown(option)}`,
    );
  for (const key of Object.keys(option))
    if (!['folder', 'limit', 'pin'].includes(key))
      refuse(`a cache has no option '${key}'; it takes folder, limit and pin`);
  const { folder, limit, pin } = /** @type {any} */ (option);
  if (folder !== undefined && (typeof folder !== 'string' || !folder))
    refuse(`the cache's folder must be a path, not ${shown(folder)}`);
  return { folder, limit: limitOf(limit), pin: Boolean(pin) };
}

/**
 * @param {string} [folder] the host's usual place when left out
 * @returns {Promise<Place | null>} null: this host has none, or denies it
 */
async function placeOf(folder) {
  if (builtin('node:fs')) {
    const path = folder ?? defaultFolder();
    return path ? directory(path) : null;
  }
  if (folder !== undefined)
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      `this host has no folders: its cache is one place, 'cache: true'`,
    );
  return opfs();
}

/**
 * The chunks of a file in a cache.
 * @param {unknown} option of the cache
 * @param {Head} head
 * @param {{manifest?: string, hashes?: string[]}} [more]
 * @returns {Promise<kept.FileStore | null>} null: there is no cache, or it is denied
 */
export async function openStore(option, head, more) {
  const cache = cacheOf(option);
  const place = cache && (await placeOf(cache.folder));
  // What can not be told from what comes after it is not kept.
  if (!place || !head.version) return null;
  const { limit, pin } = /** @type {NonNullable<typeof cache>} */ (cache);
  return kept.FileStore.open(place, head, { limit, pin, ...more });
}

/**
 * What a cache has of a file, of the version that was used last.
 * @param {unknown} option of the cache
 * @param {string} name
 * @param {(head: Head) => boolean} [fits]
 * @returns {Promise<{head: Head, begun: boolean, complete: boolean, manifest: string} | null>}
 *   `begun`: its first chunk is there; `manifest`: its text, or ''
 */
export async function findCached(option, name, fits = () => true) {
  const cache = cacheOf(option);
  try {
    const place = cache && (await placeOf(cache.folder));
    if (!place) return null;
    const all = (await kept.files(place)).filter(({ head }) => head.name === name && fits(head));
    const file = all.find(kept.isComplete) ?? all[0];
    if (!file) return null;
    const { head, journal } = file;
    const manifest = await kept.keptManifest(place, head);
    const begun = journal.chunks.has(0);
    return { head, begun, complete: kept.isComplete(file), manifest };
  } catch (error) {
    if (error instanceof HyperionError) throw error;
    return null; // what can not be read is not there
  }
}

/**
 * The files that a cache has as a whole.
 * @param {unknown} option of the cache
 * @returns {Promise<Head[]>}
 */
export async function completeFiles(option) {
  const cache = cacheOf(option);
  try {
    const place = cache && (await placeOf(cache.folder));
    return place ? (await kept.files(place)).filter(kept.isComplete).map(({ head }) => head) : [];
  } catch (error) {
    if (error instanceof HyperionError) throw error;
    return [];
  }
}

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

  async #place() {
    const place = await placeOf(this.#folder);
    if (place) return place;
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      'this host has no place for a cache, or denies it',
    );
  }

  /** @param {Place} place @param {string} name */
  async #named(place, name) {
    const all = await kept.files(place);
    const found = all.filter(({ head }) => head.name === name);
    if (found.length) return { all, found };
    throw new HyperionError('HYP_E_ARGUMENT', `the cache at ${place.where} has no file '${name}'`);
  }

  /** What is in it, the file that was used last first. @returns {Promise<CachedFile[]>} */
  async list() {
    return (await kept.files(await this.#place())).map(file => {
      const { head, journal, used } = file;
      return {
        name: head.name,
        version: head.version,
        size: head.size,
        cached: kept.bytesPresent(file),
        complete: kept.isComplete(file),
        pinned: journal.pinned,
        encrypted: Boolean(head.sealed),
        used: new Date(used),
      };
    });
  }

  /**
   * Removes a file, in all its versions.
   * @param {string} name
   * @returns {Promise<number>} bytes that are free now
   */
  async remove(name) {
    const place = await this.#place();
    let { all, found } = await this.#named(place, name);
    const before = kept.bytesTaken(all);
    for (const file of found) {
      await kept.removeFile(place, file, all);
      all = all.filter(one => one !== file);
    }
    await kept.sweep(place);
    return before - kept.bytesTaken(all);
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
    const place = await this.#place();
    const files =
      name === undefined ? await kept.files(place) : (await this.#named(place, name)).found;
    const total = files.reduce((sum, file) => sum + file.head.size, 0);
    let done = 0;
    const results = [];
    for (const file of files) {
      const { damaged, missing } = await kept.verifyFile(place, file, bytes => {
        done += bytes;
        onProgress?.({ done, total });
      });
      const { name: of, version } = file.head;
      results.push({ name: of, version, chunks: file.journal.chunks.size, damaged, missing });
    }
    await kept.sweep(place);
    onProgress?.({ done: total, total });
    return results;
  }

  /**
   * A file that is pinned stays when room is made for others.
   * @param {string} name @param {boolean} [pinned]
   */
  async pin(name, pinned = true) {
    const place = await this.#place();
    for (const file of (await this.#named(place, name)).found)
      await kept.pinFile(place, file, pinned);
  }

  /**
   * @returns {Promise<{where: string, files: number, bytes: number, quota?: number, persisted?:
   *   boolean}>} `quota`: what the origin may take in all; `persisted`: the browser does not evict
   *   it
   */
  async usage() {
    const place = await this.#place();
    const all = await kept.files(place);
    const storage = builtin('node:fs') ? undefined : globalThis.navigator?.storage;
    const { quota } = (await storage?.estimate?.()) ?? {};
    const persisted = await storage?.persisted?.();
    return { where: place.where, files: all.length, bytes: kept.bytesTaken(all), quota, persisted };
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
