// Manifests: what the chunks of a file must be. `model.gguf.manifest.json` is written by `hyperion
// manifest`, and read here as what it may be: anything.
import { HyperionError } from '../core/errors.js';
import { isHash } from './hash.js';
import { CHUNK_MOST, CHUNKS_MOST, SIZE_MOST } from './store/journal.js';

export const FORMAT = /** @type {const} */ ('hyperion-manifest');
export const CIPHER = /** @type {const} */ ('AES-256-GCM');
export const CHUNK_BYTES = 2 ** 20;
const CHUNK_LEAST = 64;
const NAME_MOST = 1024; // characters
const KEY_ID_MOST = 256;
export const TEXT_MOST = CHUNKS_MOST * 72 + 8192; // bytes

/**
 * @typedef {object} Encryption
 * @property {'AES-256-GCM'} cipher
 * @property {string} salt 32 random bytes in hex, by which the file's own key is derived
 * @property {string} [keyId] which key it takes; for people
 */
/**
 * What a file must be. Where it is encrypted, the hashes are those of what is kept and served: each
 * chunk's ciphertext and its tag of 16 bytes.
 * @typedef {object} Manifest
 * @property {'hyperion-manifest'} format
 * @property {1} version
 * @property {string} name of the file
 * @property {number} size of the plain file, in bytes
 * @property {number} chunkBytes of a plain chunk; the last may be shorter
 * @property {string} sha256 of the whole
 * @property {string[]} chunks the SHA-256 of each
 * @property {Encryption} [encryption]
 */

const KEYS = ['format', 'version', 'name', 'size', 'chunkBytes', 'sha256', 'chunks', 'encryption'];
const ENCRYPTION_KEYS = ['cipher', 'salt', 'keyId'];

/** @param {unknown} value @param {number} least @param {number} most */
const isWhole = (value, least, most) =>
  Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;

/** @param {unknown} value @param {number} most */
const isText = (value, most) =>
  typeof value === 'string' && value.length > 0 && value.length <= most;

/** @param {any} value @param {string[]} keys @returns {string} '': it is an object of these */
function oddKey(value, keys) {
  if (typeof value !== 'object' || !value || Array.isArray(value)) return 'that';
  return Object.keys(value).find(key => !keys.includes(key)) ?? '';
}

/** Names in a JSON text; a name that is there twice would be read once. @param {string} json */
const namesIn = json => json.match(/"(?:[^"\\]|\\.)*"\s*(?=:)/g)?.length ?? 0;

/** What is wrong with a manifest; '': nothing. @param {any} m */
function wrong(m) {
  const odd = oddKey(m, KEYS);
  if (odd === 'that') return 'it is no object';
  if (odd) return `'${odd}' is nothing that a manifest has`;
  if (m.format !== FORMAT) return `its format is not '${FORMAT}'`;
  if (m.version !== 1) return 'its version is not 1: a newer Hyperion may know it';
  if (!isText(m.name, NAME_MOST)) return 'its name is no name';
  if (!isWhole(m.size, 1, SIZE_MOST)) return 'its size is no number of bytes';
  if (!isWhole(m.chunkBytes, CHUNK_LEAST, CHUNK_MOST))
    return `its chunkBytes are not from ${CHUNK_LEAST} to ${CHUNK_MOST}`;
  if (!isHash(m.sha256)) return 'its sha256 is no hash';
  const count = Math.ceil(m.size / m.chunkBytes);
  if (!Array.isArray(m.chunks) || m.chunks.length !== count || count > CHUNKS_MOST)
    return `its chunks are not the ${count} of its size, or are more than ${CHUNKS_MOST}`;
  const bad = m.chunks.findIndex((/** @type {unknown} */ hash) => !isHash(hash));
  if (bad >= 0) return `the hash of chunk ${bad} is none`;
  return 'encryption' in m ? wrongEncryption(m.encryption) : '';
}

/** @param {any} e */
function wrongEncryption(e) {
  const odd = oddKey(e, ENCRYPTION_KEYS);
  if (odd) return `its encryption is not understood (${odd})`;
  if (e.cipher !== CIPHER) return `its cipher is not ${CIPHER}`;
  if (!isHash(e.salt)) return 'its salt is not 32 bytes in hex';
  if ('keyId' in e && !isText(e.keyId, KEY_ID_MOST)) return 'its keyId is no text';
  return '';
}

/**
 * A manifest, strictly as it must be.
 * @param {unknown} given its text, or the object itself
 * @param {string} from where it is from, for the message
 * @returns {Manifest}
 */
export function readManifest(given, from) {
  let value = given;
  let why = '';
  if (typeof given === 'string') {
    try {
      if (given.length > TEXT_MOST) throw new Error(`it is longer than ${TEXT_MOST} bytes`);
      value = JSON.parse(given);
    } catch (error) {
      why = /** @type {Error} */ (error).message;
    }
  }
  why ||= wrong(value);
  const m = /** @type {any} */ (value);
  if (!why && typeof given === 'string') {
    const names = Object.keys(m).length + Object.keys(m.encryption ?? {}).length;
    if (namesIn(given) !== names) why = 'a name is there twice';
  }
  if (!why) return m;
  throw new HyperionError('HYP_E_FORMAT', `${from} is no manifest of a model: ${why}`);
}

/** As `hyperion manifest` writes it. @param {Manifest} manifest */
export const manifestText = ({ chunks, encryption, ...m }) =>
  `${JSON.stringify({ ...m, ...(encryption && { encryption }), chunks }, null, 1)}\n`;
