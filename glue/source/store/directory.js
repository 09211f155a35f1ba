// A folder of Node, Deno and Bun as the place of a cache.
import { builtin } from '../../core/host.js';

/** @typedef {import('./store.js').Place} Place */

/** A variable of the environment; '' where there is none, or it may not be read. */
function variable(/** @type {string} */ name) {
  try {
    return /** @type {any} */ (globalThis).process?.env?.[name] ?? '';
  } catch {
    return '';
  }
}

/** Where caches lie on this system; '' where that is not to be known. */
export function defaultFolder() {
  if (!builtin('node:fs')) return '';
  const own = variable('HYPERION_CACHE');
  if (own) return own;
  const home = variable('HOME') || variable('USERPROFILE');
  const { platform } = /** @type {any} */ (globalThis).process;
  const local = variable('LOCALAPPDATA');
  const root = variable('XDG_CACHE_HOME') || (platform === 'win32' && local ? local : '');
  if (root) return `${root}/hyperion`;
  if (!home) return '';
  return `${home}/${platform === 'darwin' ? 'Library/Caches' : '.cache'}/hyperion`;
}

const isMissing = (/** @type {any} */ error) =>
  error?.code === 'ENOENT' || error?.code === 'ENOTDIR';

let made = 0; // temporary files of this process

/** @param {string} folder @returns {Place} */
export function directory(folder) {
  const fs = builtin('node:fs').promises;
  const at = (/** @type {string} */ path) => `${folder}/v1/${path}`;
  const parent = (/** @type {string} */ path) => at(path).replace(/\/[^/]*$/, '');

  /**
   * Tries again with the folder made, where it is missing.
   * @template T @param {string} path @param {() => Promise<T>} act @returns {Promise<T>}
   */
  const within = async (path, act) => {
    try {
      return await act();
    } catch (error) {
      if (!isMissing(error)) throw error;
      await fs.mkdir(parent(path), { recursive: true });
      return act();
    }
  };

  /** Writes into an open file until it is on the disk, and closes it. */
  const fill = async (/** @type {any} */ file, /** @type {Uint8Array} */ bytes) => {
    try {
      await file.writeFile(bytes);
      await file.datasync();
    } finally {
      await file.close();
    }
  };

  return {
    where: folder,
    async read(path) {
      try {
        const bytes = await fs.readFile(at(path));
        return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    },
    async write(path, bytes) {
      const { pid } = /** @type {any} */ (globalThis).process;
      const beside = `temporary/${pid}-${Date.now().toString(36)}-${made++}`;
      try {
        await within(beside, async () => fill(await fs.open(at(beside), 'wx'), bytes));
        await within(path, () => fs.rename(at(beside), at(path)));
      } catch (error) {
        await fs.rm(at(beside), { force: true });
        throw error;
      }
    },
    async size(path) {
      try {
        return (await fs.stat(at(path))).size;
      } catch (error) {
        if (isMissing(error)) return -1;
        throw error;
      }
    },
    append: (path, text) =>
      within(path, async () => fill(await fs.open(at(path), 'a'), new TextEncoder().encode(text))),
    async remove(path) {
      await fs.rm(at(path), { force: true });
    },
    async touch(path) {
      const now = new Date();
      await fs.utimes(at(path), now, now);
    },
    async list(path) {
      /** @type {import('./store.js').Entry[]} */
      const found = [];
      try {
        for (const entry of await fs.readdir(at(path), { withFileTypes: true })) {
          const folder = entry.isDirectory();
          const name = `${path}/${entry.name}`;
          const facts = folder ? null : await fs.stat(at(name)).catch(() => null);
          if (!folder && !facts) continue; // it is gone
          found.push({
            name: entry.name,
            folder,
            bytes: facts?.size ?? 0,
            modified: Math.floor(facts?.mtimeMs ?? 0),
          });
        }
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
      return found;
    },
  };
}
