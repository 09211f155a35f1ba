// SHA-256: of bytes that are there, and of a whole that arrives piece by piece.
import { HyperionError } from '../core/errors.js';
import { builtin } from '../core/host.js';

/** @param {ArrayBuffer | Uint8Array} bytes */
export const hex = bytes =>
  Array.from(new Uint8Array(/** @type {any} */ (bytes)), byte =>
    byte.toString(16).padStart(2, '0'),
  ).join('');

/** Does a text have the form of a hash? @param {unknown} text @returns {text is string} */
export const isHash = text => typeof text === 'string' && /^[0-9a-f]{64}$/.test(text);

/** @typedef {typeof import('../generated/sha256.js')} Implementation */
/**
 * The implementation in JavaScript, as the entries of the package bring it: a page loads it when it
 * is needed; where nothing may be loaded later, it is there from the beginning.
 * @type {{sha256: null | (() => Implementation | Promise<Implementation>)}}
 */
export const late = { sha256: null };

/** @typedef {{update: (bytes: Uint8Array) => void, hex: () => string}} Hasher */

/** A hash that takes its bytes one after the other. @returns {Promise<Hasher>} */
export async function hasher() {
  const own = builtin('node:crypto')?.createHash?.('sha256');
  if (own) return { update: bytes => void own.update(bytes), hex: () => own.digest('hex') };
  if (!late.sha256)
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      'this host can not compute SHA-256 piece by piece',
    );
  const { sha256 } = await late.sha256();
  const state = sha256.create();
  return { update: bytes => void state.update(bytes), hex: () => hex(state.digest()) };
}

/**
 * The hash of bytes, in hex; computed beside this thread where the host does so.
 * @param {Uint8Array} bytes
 * @returns {Promise<string>}
 */
export async function sha256(bytes) {
  const { subtle } = globalThis.crypto ?? {};
  if (subtle) return hex(await subtle.digest('SHA-256', /** @type {any} */ (bytes)));
  const state = await hasher(); // a page without a secure origin
  state.update(bytes);
  return state.hex();
}

/** @param {string} text */
export const sha256OfText = text => sha256(new TextEncoder().encode(text));
