// A module of one function with one instruction each: i32x4.relaxed_dot_i8x16_i7x16_add_s, and i8x16.splat.
const RELAXED = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 1, 253, 15, 65, 2, 253, 15, 65, 3, 253, 15, 253, 147, 2, 11]);
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11]);

/** @typedef {'simd' | 'relaxed'} Artefact */

/**
 * The best artefact that this host compiles; null when it has no SIMD.
 * @returns {Artefact | null}
 */
export function bestArtefact() {
  if (typeof WebAssembly !== 'object') return null;
  return WebAssembly.validate(RELAXED) ? 'relaxed' : WebAssembly.validate(SIMD) ? 'simd' : null;
}

/** @param {Artefact} artefact */
export const artefactFile = artefact => (artefact === 'relaxed' ? 'hyperion-relaxed.wasm' : 'hyperion.wasm');
