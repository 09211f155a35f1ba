// The origin's private file system as the place of a cache: in a worker by access handles, on a
// page's own thread by streams. Who appends holds a lock that all tabs know.

/** @typedef {import('./store.js').Place} Place */

const FOLDER = 'hyperion/v1';

const isMissing = (/** @type {any} */ error) =>
  error?.name === 'NotFoundError' || error?.name === 'TypeMismatchError';

/** Waits for whoever else appends to this file. @template T */
const locked = (/** @type {string} */ path, /** @type {() => Promise<T>} */ act) => {
  const { locks } = /** @type {any} */ (navigator);
  return locks ? locks.request(`hyperion cache ${path}`, act) : act();
};

/**
 * Writes at the end of a file, or from its beginning.
 * @param {any} file @param {Uint8Array} bytes @param {boolean} append
 */
async function fill(file, bytes, append) {
  if (file.createSyncAccessHandle) {
    const handle = await file.createSyncAccessHandle();
    try {
      const start = append ? handle.getSize() : 0;
      if (!append) handle.truncate(0);
      // less is written where the quota ends
      if (handle.write(bytes, { at: start }) < bytes.length)
        throw new DOMException('only a part could be written', 'QuotaExceededError');
    } finally {
      handle.close();
    }
    return;
  }
  const stream = await file.createWritable({ keepExistingData: append });
  try {
    if (append) await stream.seek((await file.getFile()).size);
    await stream.write(bytes);
    await stream.close();
  } catch (error) {
    await stream.abort().catch(() => {});
    throw error;
  }
}

/** @returns {Promise<Place | null>} null: this host has none, or it is denied */
export async function opfs() {
  /** @type {any} */
  let root;
  try {
    root = await /** @type {any} */ (globalThis.navigator)?.storage?.getDirectory?.();
  } catch {} // a private window
  if (!root) return null;

  /** @type {Map<string, any>} folders that have been opened: each step to one takes its time */
  const folders = new Map();
  /**
   * The folder of a path, and its last part.
   * @param {string} path @param {boolean} create
   */
  const parent = async (path, create) => {
    const parts = `${FOLDER}/${path}`.split('/');
    const name = /** @type {string} */ (parts.pop());
    const place = parts.join('/');
    let folder = folders.get(place);
    if (folder) return { folder, name };
    folder = root;
    for (const part of parts) folder = await folder.getDirectoryHandle(part, { create });
    folders.set(place, folder);
    return { folder, name };
  };
  /**
   * Once more with folders as they are now, where one of those that were opened has been removed.
   * @template T @param {() => Promise<T>} act @returns {Promise<T>}
   */
  const again = act =>
    act().catch(error => {
      if (!isMissing(error) || !folders.size) throw error;
      folders.clear();
      return act();
    });
  const file = async (/** @type {string} */ path, /** @type {boolean} */ create) => {
    const { folder, name } = await parent(path, create);
    return folder.getFileHandle(name, { create });
  };
  /** @template T, E @param {Promise<T>} asked @param {E} missing @returns {Promise<T | E>} */
  const orMissing = (asked, missing) =>
    asked.catch(error => {
      if (isMissing(error)) return missing;
      throw error;
    });

  /** @param {string} path @param {Uint8Array} bytes */
  const write = async (path, bytes) => {
    const { folder, name } = await parent(path, true);
    const beside = await parent(`temporary/${crypto.randomUUID()}`, true);
    const made = await beside.folder.getFileHandle(beside.name, { create: true });
    try {
      await fill(made, bytes, false);
      if (made.move) return await made.move(folder, name);
      // As good: its bytes are held against its hash when they are read.
      await fill(await folder.getFileHandle(name, { create: true }), bytes, false);
    } catch (error) {
      await beside.folder.removeEntry(beside.name).catch(() => {});
      throw error;
    }
    await beside.folder.removeEntry(beside.name);
  };

  return {
    where: 'OPFS',
    read(path) {
      const whole = () =>
        orMissing(
          again(async () => {
            const one = await (await file(path, false)).getFile();
            return new Uint8Array(await one.arrayBuffer());
          }),
          null,
        );
      // What grows while it is read can not be read.
      return path.startsWith('files/') ? locked(path, whole) : whole();
    },
    size: path =>
      orMissing(
        file(path, false)
          .then(handle => handle.getFile())
          .then(one => one.size),
        -1, // also in a folder that has been removed: it will be written anew
      ),
    write: (path, bytes) => again(() => write(path, bytes)),
    append: (path, text) =>
      locked(path, () =>
        again(async () => fill(await file(path, true), new TextEncoder().encode(text), true)),
      ),
    async remove(path) {
      const gone = again(async () => {
        const { folder, name } = await parent(path, false);
        await folder.removeEntry(name);
      });
      await orMissing(gone, undefined);
    },
    touch: path =>
      locked(path, () =>
        again(async () => fill(await file(path, false), new Uint8Array([10]), true)),
      ),
    async list(path) {
      /** @type {import('./store.js').Entry[]} */
      const found = [];
      folders.clear();
      const { folder } = await orMissing(parent(`${path}/-`, false), { folder: null });
      if (!folder) return found;
      for await (const [name, handle] of folder.entries()) {
        const inner = handle.kind === 'directory';
        const facts = inner ? null : await handle.getFile().catch(() => null);
        if (inner || facts)
          found.push({
            name,
            folder: inner,
            bytes: facts?.size ?? 0,
            modified: facts?.lastModified ?? 0,
          });
      }
      return found;
    },
  };
}
