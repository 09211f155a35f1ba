// A cache of files in chunks, over any place that has files. A chunk lies under its own hash, which
// is computed anew whenever it is read: what is damaged, torn or gone is absent, and nothing worse.
// So no process has to know of another one, and one that ends at any point breaks nothing:
//
//   chunks/ab/SHA256   the bytes; written beside, synced and renamed
//   files/ID           a journal; ID is the hash of the file's name and version
//   temporary/…        what is being written; swept when it is a day old
import { isHash, sha256, sha256OfText } from '../hash.js';
import { bytesOf, chunkLine, chunksOf, headLine, readJournal } from './journal.js';

/** @typedef {import('./journal.js').Head} Head */
/** @typedef {import('./journal.js').Journal} Journal */
/** @typedef {{name: string, folder: boolean, bytes: number, modified: number}} Entry */
/**
 * A place that has files, by paths with '/'. A call rejects when the place fails.
 * @typedef {object} Place
 * @property {string} where for people
 * @property {(path: string) => Promise<Uint8Array | null>} read null: there is none
 * @property {(path: string) => Promise<number>} size -1: there is none
 * @property {(path: string, bytes: Uint8Array) => Promise<void>} write the whole, in one step
 * @property {(path: string, text: string) => Promise<void>} append makes the file where it is not
 * @property {(path: string) => Promise<void>} remove also what is not there
 * @property {(path: string) => Promise<void>} touch it is used now
 * @property {(path: string) => Promise<Entry[]>} list of a folder; empty where it is not there
 */

const STALE_MS = 24 * 3600 * 1000; // then nobody writes any more what is begun
const LIVE_MS = 60 * 1000; // a file whose journal is younger may be arriving just now
const AT_ONCE = 8;

const chunkPath = (/** @type {string} */ hash) => `chunks/${hash.slice(0, 2)}/${hash}`;
const filePath = (/** @type {string} */ id) => `files/${id}`;

/** @param {string} name @param {string} version */
export const idOf = (name, version) => sha256OfText(`${name}\n${version}`);

const isFull = (/** @type {any} */ error) =>
  error?.name === 'QuotaExceededError' || ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(error?.code);

/**
 * Acts on each, some at once.
 * @template T @param {Iterable<T>} all @param {(one: T) => Promise<void>} act
 */
async function each(all, act) {
  const left = all[Symbol.iterator]();
  const lane = async () => {
    for (let next = left.next(); !next.done; next = left.next()) await act(next.value);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

/** @param {Uint8Array | null} bytes */
const textOf = bytes => new TextDecoder().decode(bytes ?? new Uint8Array(0));

// ---- What there is

/** @typedef {{id: string, head: Head, journal: Journal, used: number}} Kept a file of a cache */

/** The files of a cache, the one that was used last first. @param {Place} place */
export async function files(place) {
  /** @type {Kept[]} */
  const found = [];
  await each(await place.list('files'), async ({ name: id, modified: used }) => {
    if (!isHash(id)) return;
    const bytes = await place.read(filePath(id));
    const journal = readJournal(textOf(bytes));
    if (journal.head) found.push({ id, head: journal.head, journal, used });
    // somebody may just be making it
    else if (bytes && Date.now() - used > STALE_MS) await place.remove(filePath(id));
  });
  return found.sort((a, b) => b.used - a.used || (a.id < b.id ? -1 : 1));
}

/** Hashes that a file refers to, with the bytes of each. @param {Kept} file */
function* references({ head, journal }) {
  for (const [index, hash] of journal.chunks)
    yield /** @type {[string, number]} */ ([hash, bytesOf(head, index)]);
  if (head.manifest) yield /** @type {[string, number]} */ ([head.manifest, 0]);
}

/** What files take together; a chunk of several counts once. @param {Kept[]} all */
export function bytesTaken(all) {
  const chunks = new Map(all.flatMap(file => [...references(file)]));
  return [...chunks.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Bytes of a file that are there.
 * @param {{head: Head, journal: Pick<Journal, 'chunks'>}} file
 */
export const bytesPresent = ({ head, journal }) =>
  [...journal.chunks.keys()].reduce((sum, index) => sum + bytesOf(head, index), 0);

/** @param {Kept} file */
export const isComplete = ({ head, journal }) => journal.chunks.size === chunksOf(head);

/**
 * Removes a file, and the chunks that no other one refers to.
 * @param {Place} place @param {Kept} file @param {Kept[]} all
 */
export async function removeFile(place, file, all) {
  const others = all.filter(other => other.id !== file.id);
  const wanted = new Set(others.flatMap(other => [...references(other)].map(([hash]) => hash)));
  await place.remove(filePath(file.id)); // first: what is left of the rest is swept some day
  const hashes = new Set([...references(file)].map(([hash]) => hash));
  await each(hashes, async hash => {
    if (!wanted.has(hash)) await place.remove(chunkPath(hash));
  });
}

/** Removes what was begun long ago. @param {Place} place */
async function sweepTemporary(place) {
  for (const { name, modified } of await place.list('temporary'))
    if (Date.now() - modified > STALE_MS)
      // unless it is open somewhere
      await place.remove(`temporary/${name}`).catch(() => {});
}

/** Removes what no file refers to, and what was begun long ago. @param {Place} place */
export async function sweep(place) {
  await sweepTemporary(place);
  const wanted = new Set(
    (await files(place)).flatMap(file => [...references(file)].map(([hash]) => hash)),
  );
  for (const { name: folder } of await place.list('chunks'))
    for (const { name, modified } of await place.list(`chunks/${folder}`))
      if (!wanted.has(name) && Date.now() - modified > STALE_MS)
        await place.remove(`chunks/${folder}/${name}`);
}

/**
 * Evicts whole files, those first that were not used for longest, until `bytes` more are within
 * `limit`. False: that is not to be had.
 * @param {Place} place @param {number} bytes @param {number} limit @param {string} keep its id
 */
async function makeRoom(place, bytes, limit, keep) {
  let all = await files(place);
  while (bytesTaken(all) + bytes > limit) {
    const last = all.findLast(({ id, journal }) => id !== keep && !journal.pinned);
    if (!last) return false;
    await removeFile(place, last, all);
    all = all.filter(file => file !== last);
  }
  return true;
}

/**
 * Holds every chunk of a file against its hash. What is damaged is removed, so that it is fetched
 * again.
 * @param {Place} place @param {Kept} file @param {(bytes: number) => void} [onBytes]
 * @returns {Promise<{damaged: number[], missing: number[]}>} indices
 */
export async function verifyFile(place, { id, head, journal }, onBytes) {
  /** @type {number[]} */
  const damaged = [];
  /** @type {number[]} */
  const missing = [];
  await each(journal.chunks, async ([index, hash]) => {
    const bytes = await place.read(chunkPath(hash));
    onBytes?.(bytesOf(head, index));
    if (!bytes) missing.push(index);
    else if (bytes.length === bytesOf(head, index) && (await sha256(bytes)) === hash) return;
    else {
      damaged.push(index);
      await place.remove(chunkPath(hash));
    }
    await place.append(filePath(id), chunkLine(index, '-'));
  });
  const inOrder = (/** @type {number} */ a, /** @type {number} */ b) => a - b;
  return { damaged: damaged.sort(inOrder), missing: missing.sort(inOrder) };
}

/** @param {Place} place @param {Kept} file @param {boolean} pinned */
export const pinFile = (place, { id }, pinned) =>
  place.append(filePath(id), pinned ? 'pin\n' : 'unpin\n');

/** The manifest that is kept with a file; '': none. @param {Place} place @param {Head} head */
export async function keptManifest(place, { manifest }) {
  const bytes = manifest ? await place.read(chunkPath(manifest)) : null;
  return bytes && (await sha256(bytes)) === manifest ? textOf(bytes) : '';
}

// ---- One file

/**
 * @typedef {object} StoreOptions
 * @property {number} [limit] bytes of the whole cache; other files give way to this one
 * @property {boolean} [pin] this file gives way to none
 * @property {string} [manifest] its text, which is kept with the file
 * @property {string[]} [hashes] of all chunks, where they are known: those that are there already,
 *   from another version of the file, are taken
 */

/** @type {Set<Promise<unknown>>} what is on its way into stores of this thread */
const arriving = new Set();
const SETTLE_MS = 1500;

/** Waits until what was put is there, not for long; for a thread that will end. */
export async function storesSettled() {
  if (!arriving.size) return;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const limit = new Promise(resolve => (timer = setTimeout(resolve, SETTLE_MS)));
  await Promise.race([Promise.all(arriving), limit]);
  clearTimeout(timer);
}

/**
 * The chunks of one file. It never rejects: what the place refuses is not there, and is not kept.
 */
export class FileStore {
  /** Why nothing more is kept. @type {unknown} */
  error = undefined;
  #place;
  #id;
  #head;
  /** @type {Map<number, string>} */
  #chunks = new Map();
  #whole = '';
  #lines = '';
  /** @type {Promise<void> | null} */
  #flushing = null;
  /** @type {Set<Promise<void>>} */
  #puts = new Set();
  /** @type {Promise<boolean>} */
  #room = Promise.resolve(true);

  /** @param {Place} place @param {string} id @param {Head} head */
  constructor(place, id, head) {
    this.#place = place;
    this.#id = id;
    this.#head = head;
    this.chunkBytes = head.chunkBytes;
    this.size = head.size;
  }

  /**
   * @param {Place} place @param {Head} head @param {StoreOptions} [options]
   * @returns {Promise<FileStore | null>} null: the place gives no room
   */
  static async open(place, head, { limit = Infinity, pin = false, manifest, hashes } = {}) {
    const id = await idOf(head.name, head.version);
    const full = manifest ? { ...head, manifest: await sha256OfText(manifest) } : head;
    const store = new FileStore(place, id, full);
    try {
      await store.#begin(pin, manifest);
      if (hashes) await store.#adopt(hashes);
      await sweepTemporary(place);
      const missing = (chunksOf(head) - store.#chunks.size) * head.chunkBytes;
      if (limit < Infinity && !(await makeRoom(place, missing, limit, id)))
        store.error = new Error(`${head.name} is larger than what the cache may take`);
    } catch (error) {
      if (!store.#chunks.size) return null;
      store.error = error; // what is there can be read
    }
    return store;
  }

  /** @param {boolean} pin @param {string | undefined} manifest */
  async #begin(pin, manifest) {
    const path = filePath(this.#id);
    const journal = readJournal(textOf(await this.#place.read(path)));
    const { head } = journal;
    const same = (/** @type {keyof Head} */ key) => head?.[key] === this.#head[key];
    const fits = same('size') && same('chunkBytes') && same('sealed') && same('manifest');
    if (head && fits) {
      this.#chunks = journal.chunks;
      this.#whole = journal.whole;
    } else if (head) await this.#place.remove(path);
    if (!head || !fits) {
      if (manifest) {
        const kept = chunkPath(/** @type {string} */ (this.#head.manifest));
        await this.#place.write(kept, new TextEncoder().encode(manifest));
      }
      await this.#place.append(path, (journal.torn ? '\n' : '') + headLine(this.#head));
    } else {
      if (journal.torn) await this.#place.append(path, '\n');
      await this.#place.touch(path);
    }
    if (pin && !(journal.pinned && fits)) await this.#place.append(path, 'pin\n');
  }

  /** @param {string[]} hashes */
  async #adopt(hashes) {
    await each(hashes.entries(), async ([index, hash]) => {
      if (this.#chunks.get(index) === hash) return;
      if ((await this.#place.size(chunkPath(hash))) === bytesOf(this.#head, index))
        this.#set(index, hash);
    });
    await this.#flushing;
  }

  /** @param {number} index @param {string} hash '-': it is not there any more */
  #set(index, hash) {
    if (hash === '-') this.#chunks.delete(index);
    else this.#chunks.set(index, hash);
    this.#append(chunkLine(index, hash));
  }

  /** @param {string} lines */
  #append(lines) {
    this.#lines += lines;
    this.#flushing ??= this.#flush();
  }

  async #flush() {
    try {
      while (this.#lines) {
        const lines = this.#lines;
        this.#lines = '';
        await this.#place.append(filePath(this.#id), lines);
      }
    } catch (error) {
      this.error ??= error;
    }
    this.#flushing = null;
  }

  /** Chunks that are there, as far as is known. */
  present() {
    return this.#chunks.size;
  }

  bytesPresent() {
    return bytesPresent({ head: this.#head, journal: { chunks: this.#chunks } });
  }

  isComplete() {
    return this.#chunks.size === chunksOf(this.#head);
  }

  /** Is a chunk there, as far as is known? @param {number} index */
  has(index) {
    return this.#chunks.has(index);
  }

  /** The hash that the whole was found to have; '': not known. */
  get whole() {
    return this.#whole;
  }

  /** The whole has been found to have this hash. @param {string} hash */
  checked(hash) {
    this.#whole = hash;
    this.#append(`whole ${hash}\n`);
  }

  /**
   * @param {number} index
   * @returns {Promise<Uint8Array | null>} null: it is not there, or damaged
   */
  async get(index) {
    const hash = this.#chunks.get(index);
    if (!hash) return null;
    try {
      const bytes = await this.#place.read(chunkPath(hash));
      const sound = bytes?.length === bytesOf(this.#head, index) && (await sha256(bytes)) === hash;
      if (sound) return bytes;
      if (bytes) await this.#place.remove(chunkPath(hash));
      this.#set(index, '-');
    } catch {
      this.#chunks.delete(index); // it may be there later
    }
    return null;
  }

  /**
   * Keeps a chunk; without effect once the place has refused one.
   * @param {number} index @param {Uint8Array} bytes not to be changed until it is done
   */
  put(index, bytes) {
    const done = this.#put(index, bytes).catch(error => {
      this.error ??= error;
    });
    this.#puts.add(done);
    arriving.add(done);
    return done.finally(() => {
      this.#puts.delete(done);
      arriving.delete(done);
    });
  }

  /** @param {number} index @param {Uint8Array} bytes */
  async #put(index, bytes) {
    if (this.error) return;
    const hash = await sha256(bytes);
    const path = chunkPath(hash);
    if ((await this.#place.size(path)) !== bytes.length) await this.#write(path, bytes);
    this.#set(index, hash);
    await this.#flushing;
  }

  /** @param {string} path @param {Uint8Array} bytes */
  async #write(path, bytes) {
    for (;;)
      try {
        return await this.#place.write(path, bytes);
      } catch (error) {
        if (this.error || !isFull(error)) throw error;
        // One after the other: what one evicts is room for the next, too.
        this.#room = this.#room.then(() => this.#evictOne()).catch(() => false);
        if (!(await this.#room)) throw error;
      }
  }

  async #evictOne() {
    const all = await files(this.#place);
    const last = all.findLast(
      ({ id, journal, used }) => id !== this.#id && !journal.pinned && Date.now() - used > LIVE_MS,
    );
    if (last) await removeFile(this.#place, last, all);
    return Boolean(last);
  }

  /** Waits until all that was put is there. */
  async settled() {
    await Promise.all(this.#puts);
    while (this.#flushing) await this.#flushing;
  }

  async close() {
    await this.settled();
    if (this.error) return;
    try {
      await this.#complete();
    } catch (error) {
      this.error ??= error;
    }
  }

  /** The whole file is there: its older versions are not needed any more. */
  async #complete() {
    const all = await files(this.#place);
    if (!all.some(({ id }) => id === this.#id)) {
      // somebody has evicted it while it was read
      const lines = [...this.#chunks].map(([index, hash]) => chunkLine(index, hash));
      await this.#place.append(filePath(this.#id), `\n${headLine(this.#head)}${lines.join('')}`);
    }
    if (!this.isComplete()) return;
    const older = all.filter(
      ({ id, head, journal }) =>
        id !== this.#id && head.name === this.#head.name && !journal.pinned,
    );
    for (const file of older) await removeFile(this.#place, file, all);
  }

  /** Removes the file from the cache: it is not what it should be. */
  async drop() {
    await this.close();
    const all = await files(this.#place);
    const own = all.find(({ id }) => id === this.#id);
    this.error = new Error('the file has been dropped');
    this.#chunks.clear();
    if (own) await removeFile(this.#place, own, all).catch(() => {});
  }
}
