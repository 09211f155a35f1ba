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
      handle.flush();
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

  /**
   * The folder of a path, and its last part.
   * @param {string} path @param {boolean} create
   */
  const parent = async (path, create) => {
    const parts = `${FOLDER}/${path}`.split('/');
    const name = /** @type {string} */ (parts.pop());
    let folder = root;
    for (const part of parts) folder = await folder.getDirectoryHandle(part, { create });
    return { folder, name };
  };
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

  return {
    where: 'OPFS',
    read(path) {
      const whole = () =>
        orMissing(
          file(path, false)
            .then(handle => handle.getFile())
            .then(async one => new Uint8Array(await one.arrayBuffer())),
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
        -1,
      ),
    async write(path, bytes) {
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
    },
    append: (path, text) =>
      locked(path, async () => fill(await file(path, true), new TextEncoder().encode(text), true)),
    async remove(path) {
      const { folder, name } = await orMissing(parent(path, false), { folder: null, name: '' });
      if (folder) await orMissing(folder.removeEntry(name), undefined);
    },
    touch: path =>
      locked(path, async () => fill(await file(path, false), new Uint8Array([10]), true)),
    async list(path) {
      /** @type {import('./store.js').Entry[]} */
      const found = [];
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
