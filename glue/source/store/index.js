// Caches by their places: what is in them, what is kept of a file.
import { HyperionError } from '../../core/errors.js';
import { builtin } from '../../core/host.js';
import { defaultFolder, directory } from './directory.js';
import { opfs } from './opfs.js';
import { cacheOf } from './option.js';
import * as kept from './store.js';

/** @typedef {import('./journal.js').Head} Head */
/** @typedef {import('./store.js').Place} Place */
/** @typedef {import('./option.js').CachedFile} CachedFile */

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

// ---- For whoever looks after a cache; `folder`: the host's usual place when left out

/** @param {string} [folder] */
async function placeFor(folder) {
  const place = await placeOf(folder);
  if (place) return place;
  throw new HyperionError('HYP_E_UNSUPPORTED', 'this host has no place for a cache, or denies it');
}

/** @param {Place} place @param {string} name */
async function named(place, name) {
  const all = await kept.files(place);
  const found = all.filter(({ head }) => head.name === name);
  if (found.length) return { all, found };
  throw new HyperionError('HYP_E_ARGUMENT', `the cache at ${place.where} has no file '${name}'`);
}

/** @param {string} [folder] @returns {Promise<CachedFile[]>} */
export async function list(folder) {
  return (await kept.files(await placeFor(folder))).map(file => {
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

/** @param {string | undefined} folder @param {string} name */
export async function remove(folder, name) {
  const place = await placeFor(folder);
  let { all, found } = await named(place, name);
  const before = kept.bytesTaken(all);
  for (const file of found) {
    await kept.removeFile(place, file, all);
    all = all.filter(one => one !== file);
  }
  await kept.sweep(place);
  return before - kept.bytesTaken(all);
}

/**
 * @param {string | undefined} folder @param {string | undefined} name
 * @param {{onProgress?: (progress: {done: number, total: number}) => unknown}} options
 */
export async function verify(folder, name, { onProgress }) {
  const place = await placeFor(folder);
  const found = name === undefined ? await kept.files(place) : (await named(place, name)).found;
  const total = found.reduce((sum, file) => sum + file.head.size, 0);
  let done = 0;
  const results = [];
  for (const file of found) {
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

/** @param {string | undefined} folder @param {string} name @param {boolean} pinned */
export async function pin(folder, name, pinned) {
  const place = await placeFor(folder);
  for (const file of (await named(place, name)).found) await kept.pinFile(place, file, pinned);
}

/** @param {string} [folder] */
export async function usage(folder) {
  const place = await placeFor(folder);
  const all = await kept.files(place);
  const storage = builtin('node:fs') ? undefined : globalThis.navigator?.storage;
  const { quota } = (await storage?.estimate?.()) ?? {};
  const persisted = await storage?.persisted?.();
  return { where: place.where, files: all.length, bytes: kept.bytesTaken(all), quota, persisted };
}
