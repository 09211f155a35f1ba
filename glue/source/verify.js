// Verifiers: chunks are held against what a manifest says before a byte of them is used.
import { refuse, shown } from '../core/check.js';
import { HyperionError } from '../core/errors.js';
import { hasher, sha256, sha256OfText } from './hash.js';
import { manifestText } from './manifest.js';
import { WrongBytes } from './source.js';

/** @typedef {import('./manifest.js').Manifest} Manifest */
/** @typedef {import('./store/store.js').FileStore} FileStore */
/**
 * @typedef {object} Verifier
 * @property {number} size plain bytes in all
 * @property {number} chunkBytes plain bytes of a chunk; the last is shorter
 * @property {(index: number) => {offset: number, count: number}} place where the transport has it
 * @property {(index: number, bytes: Uint8Array) => Promise<Uint8Array>} check plain bytes,
 *   verified; rejects with WrongBytes
 * @property {number} transportSize bytes that the transport must have in all
 * @property {import('./store/journal.js').Head} head of the file in a cache
 * @property {string} text the manifest, to be kept with it
 * @property {string[]} hashes of all chunks, as a cache has them
 */

const TAG_BYTES = 16;
const KEY_BYTES = 32;

const text = new TextEncoder();

/**
 * The key of one encrypted file: derived from the caller's by the file's own random salt. Since no
 * two files share a key, a nonce that counts the chunks never repeats.
 * @param {CryptoKey | Uint8Array | ArrayBuffer} key 32 bytes, or a CryptoKey for HKDF
 * @param {string} salt in hex
 * @returns {Promise<CryptoKey>}
 */
export async function fileKey(key, salt) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle)
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      'this page can not decrypt: serve it over https, or from localhost',
    );
  const given = /** @type {any} */ (key);
  /** @type {CryptoKey} */
  let master;
  if (given instanceof ArrayBuffer || ArrayBuffer.isView(given)) {
    if (given.byteLength !== KEY_BYTES)
      refuse(`a key has ${KEY_BYTES} bytes, not ${given.byteLength}`);
    master = await subtle.importKey('raw', /** @type {any} */ (given), 'HKDF', false, [
      'deriveKey',
    ]);
  } else if (given?.algorithm?.name === 'HKDF') master = given;
  else
    return refuse(
      `key must be ${KEY_BYTES} bytes, or a CryptoKey for HKDF with 'deriveKey' (crypto.subtle.importKey('raw', bytes, 'HKDF', false, ['deriveKey'])), not ${shown(key)}`,
    );
  const saltBytes = Uint8Array.from(salt.match(/../g) ?? [], pair => parseInt(pair, 16));
  return subtle.deriveKey(
    { name: 'HKDF', hash: 'SHA-256', salt: saltBytes, info: text.encode('hyperion chunks 1') },
    master,
    { name: 'AES-GCM', length: 256 },
    false,
    ['encrypt', 'decrypt'],
  );
}

/**
 * How chunk `index` is encrypted: the nonce is its index, and what is authenticated with it is
 * where it belongs, so that it stands for no other chunk, and for none of another file.
 * @param {{name: string, size: number, chunkBytes: number}} file
 * @param {number} index
 */
export function cipherOf({ name, size, chunkBytes }, index) {
  const iv = new Uint8Array(12);
  new DataView(iv.buffer).setBigUint64(4, BigInt(index));
  return {
    name: 'AES-GCM',
    iv,
    additionalData: text.encode(`${index}\n${size}\n${chunkBytes}\n${name}`),
    tagLength: 8 * TAG_BYTES,
  };
}

/**
 * @param {Manifest} manifest as readManifest gives it
 * @param {string} name of the file, for messages and as the cache has it
 * @param {CryptoKey | Uint8Array | ArrayBuffer} [key] where it is encrypted
 * @returns {Promise<Verifier>}
 */
export async function verifierOf(manifest, name, key) {
  const { size, chunkBytes, chunks, encryption } = manifest;
  const needs = encryption?.keyId ? ` '${encryption.keyId}'` : '';
  if (encryption && key === undefined)
    refuse(`${name} is encrypted: give its key${needs} by the option 'key'`);
  if (!encryption && key !== undefined)
    refuse(`${name} is not encrypted: leave out the option 'key'`);
  const own = encryption && key !== undefined ? await fileKey(key, encryption.salt) : null;
  const more = own ? TAG_BYTES : 0;
  const transportSize = size + more * chunks.length;
  const place = (/** @type {number} */ index) => ({
    offset: index * (chunkBytes + more),
    count: Math.min(chunkBytes, size - index * chunkBytes) + more,
  });
  const kept = manifestText(manifest);
  return {
    size,
    chunkBytes,
    place,
    transportSize,
    head: {
      name,
      version: `manifest ${await sha256OfText(kept)}`,
      size: transportSize,
      chunkBytes: chunkBytes + more,
      ...(own && { sealed: /** @type {true} */ (true) }),
    },
    text: kept,
    hashes: chunks,
    async check(index, bytes) {
      const { count } = place(index);
      if (bytes.length !== count)
        throw new WrongBytes(`it has ${bytes.length} bytes instead of ${count}`);
      if ((await sha256(bytes)) !== chunks[index])
        throw new WrongBytes(
          `it has not the hash of the manifest. Either ${name} has been damaged or replaced, or the manifest is of another file`,
        );
      if (!own) return bytes;
      const cipher = cipherOf(manifest, index);
      const given = /** @type {any} */ (bytes);
      const plain = await crypto.subtle.decrypt(cipher, own, given).catch(cause => {
        throw new WrongBytes(
          `it can not be decrypted. Either the key${needs} is not the right one, or the manifest has been changed`,
          { cause },
        );
      });
      const result = new Uint8Array(plain);
      sealed.set(result, bytes);
      return result;
    },
  };
}

/** @type {WeakMap<Uint8Array, Uint8Array>} what chunks were decrypted from */
const sealed = new WeakMap();

/**
 * A cache's store for an encrypted file: what is kept stays encrypted, and is decrypted anew when
 * it is read.
 * @param {FileStore} store @param {Verifier} verifier @returns {FileStore}
 */
export function sealedStore(store, verifier) {
  const { get, put } = store;
  store.chunkBytes = verifier.chunkBytes;
  store.get = async index => {
    const bytes = await get.call(store, index);
    return bytes && verifier.check(index, bytes).catch(() => null);
  };
  store.put = async (index, bytes) => {
    const original = sealed.get(bytes);
    if (original) await put.call(store, index, original);
  };
  return store;
}

/**
 * What sees a file's chunks in any order, and holds the whole against its hash before the last
 * one is given out. What has gone by before it was its turn is held, as far as there is room, or
 * read from the store again; where neither can be, nothing is said.
 * @param {{name: string, sha256: string, size: number, store: FileStore | null, window: number}}
 *   file `window`: bytes that may be held
 * @returns {(index: number, bytes: Uint8Array) => Promise<void> | undefined} of the last chunk: a
 *   promise that rejects with WrongBytes
 */
export function wholeCheck({ name, sha256: wanted, size, store, window }) {
  const seen = new Set();
  /** @type {Map<number, Uint8Array>} */
  const early = new Map();
  let earlyBytes = 0;
  let next = 0;
  let hashed = 0; // bytes
  let got = 0;
  let ended = false;
  /** @type {Promise<void> | undefined} */
  let hashing;
  /** @type {import('./hash.js').Hasher | undefined} */
  let state;

  /** The next one's bytes; undefined: not yet, null: they are to be had no more. */
  const take = async () => {
    const bytes = early.get(next);
    if (bytes) {
      early.delete(next);
      earlyBytes -= bytes.length;
      return bytes;
    }
    if (!seen.has(next) || !store) return seen.has(next) ? null : undefined;
    await store.settled();
    return store.get(next);
  };
  const hashOn = async () => {
    if (ended) return;
    state ??= await hasher();
    while (hashed < size) {
      const bytes = await take();
      if (bytes === undefined) return;
      ended = bytes === null;
      if (!bytes) return early.clear();
      state.update(bytes);
      hashed += bytes.length;
      next++;
    }
    ended = true;
    if (state.hex() === wanted) return store?.checked(wanted);
    await store?.drop();
    throw new WrongBytes(
      `${name} has not the SHA-256 that it should have (${wanted}): it was damaged on the way, or has been replaced. What was cached of it is removed; open it again`,
    );
  };
  return (index, bytes) => {
    if (ended || seen.has(index)) return undefined;
    seen.add(index);
    if (index === next || earlyBytes + bytes.length <= window) {
      early.set(index, bytes);
      earlyBytes += bytes.length;
    }
    got += bytes.length;
    if (got < size && index > next && !seen.has(next)) return undefined;
    hashing = (hashing ?? Promise.resolve()).then(hashOn);
    hashing.catch(() => {}); // it is told with the last chunk
    return got < size ? undefined : hashing;
  };
}
