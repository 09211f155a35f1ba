// What stands between a transport and its readers: who checks the bytes, and who keeps them.
import { refuse } from '../core/check.js';
import { CHUNK_BYTES, readManifest } from './manifest.js';
import { isUnreachable } from './retry.js';
import { WrongBytes, unreadable } from './source.js';
import { findCached, openStore } from './store/index.js';
import { sealedStore, verifierOf, wholeCheck } from './verify.js';

/** @typedef {import('./source.js').Transport} Transport */
/** @typedef {import('./chunks.js').Layers} Layers */
/** @typedef {import('./source.js').SourceOptions} SourceOptions */
/** @typedef {import('./verify.js').Verifier} Verifier */
/** @typedef {import('./store/journal.js').Head} Head */

/**
 * What a cache has of a file, as the options want it: by a manifest or without one.
 * @param {string} name '': it has none that leads to it again
 * @param {SourceOptions} options
 */
export async function cachedOf(name, { fileCache, manifest }) {
  if (!name || !fileCache) return null;
  const fits = (/** @type {Head} */ head) =>
    head.version.startsWith('manifest ') === Boolean(manifest);
  return findCached(fileCache, name, fits);
}

/**
 * The verifier that the options `manifest` and `key` ask for.
 * @param {SourceOptions} options @param {string} name of the file
 * @param {() => Promise<string>} fetched the manifest's text, where the option says where it is
 * @param {string} kept its text in the cache, for when nobody is there to be asked; '': none
 * @returns {Promise<Verifier | null>}
 */
export async function verifierFor({ manifest, key }, name, fetched, kept) {
  if (!manifest) {
    if (key) refuse('a key is for chunks that a manifest describes: give the option `manifest`');
    return null;
  }
  const given =
    typeof manifest === 'object' && !(manifest instanceof URL)
      ? manifest
      : await fetched().catch(error => {
          if (kept && isUnreachable(error)) return kept;
          throw error;
        });
  return verifierOf(readManifest(given, `the manifest of ${name}`), name, key);
}

/**
 * @param {Transport} transport @param {Verifier | null} verify @param {SourceOptions} options
 * @param {number} window bytes of chunks in memory
 * @returns {Promise<Pick<Layers, 'verify' | 'store' | 'watch'>>}
 */
export async function layersOf(transport, verify, { fileCache, onStore }, window) {
  const { name, size, version, sha256 } = transport;
  if (verify && size !== verify.transportSize)
    throw new WrongBytes(
      `${name} has ${size} bytes, its manifest is of a file of ${verify.transportSize}: one of them is not the right one`,
    );
  const head = verify?.head ?? { name, version, size, chunkBytes: CHUNK_BYTES };
  const more = verify ? { manifest: verify.text, hashes: verify.hashes } : undefined;
  const kept = await openStore(fileCache, head, more);
  onStore?.(name, kept);
  if (kept && verify && head.sealed) await checkKey(kept, verify);
  const store = kept && verify && head.sealed ? sealedStore(kept, verify) : kept;
  const check = !verify && sha256 && store?.whole !== sha256;
  const watch = check ? wholeCheck({ name, sha256, size, store, window }) : undefined;
  return { verify, store, watch };
}

/**
 * Says of a wrong key that it is one, also where no server could be asked for what can not be
 * decrypted.
 * @param {import('./store/store.js').FileStore} store @param {Verifier} verify
 */
async function checkKey(store, verify) {
  const bytes = await store.get(0);
  if (!bytes) return;
  await verify.check(0, bytes).catch(cause => {
    throw new WrongBytes(`${verify.head.name}, chunk 0 in the cache: ${cause.message}`, { cause });
  });
}

/**
 * A file that is in the cache as a whole: its server is asked only when a chunk turns out to be
 * damaged.
 * @param {Head} head @param {() => Promise<any>} open the server's @returns {Transport}
 */
export function lazily({ name, version, size, sealed }, open) {
  /** @type {Promise<Transport> | null} */
  let opened = null;
  const opening = async () => {
    const transport = await open();
    const same = version.startsWith('manifest ') || sealed || transport.version === version;
    if (transport.feed && transport.size === size && same) return transport;
    await transport.close?.();
    throw unreadable(
      `a part of ${name} in the cache is damaged, and the file on the server is another one now: open it anew`,
    );
  };
  return {
    name,
    version,
    size,
    ranged: true,
    async feed(offset, count, take, signal) {
      opened ??= opening().catch(error => {
        opened = null;
        throw error;
      });
      const transport = await opened;
      if (transport.ranged) return transport.feed(offset, count, take, signal);
      let at = 0; // of the whole, which is all that there is to be had
      await transport.feed(
        0,
        size,
        bytes => {
          const part = bytes.subarray(Math.max(0, offset - at), Math.max(0, offset + count - at));
          at += bytes.length;
          return part.length ? take(part) : undefined;
        },
        signal,
      );
    },
    close: () =>
      opened?.then(
        transport => transport.close?.(),
        () => {},
      ),
  };
}
