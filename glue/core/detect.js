import { builtin } from './host.js';

// A function of one SIMD instruction, i8x16.splat.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15,
  11,
]);
// Exports f: lane 0 of i32x4.relaxed_dot_i8x16_i7x16_add_s(-3, 15, 0), four products of -45.
const RELAXED = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 22, 1,
  20, 0, 65, 125, 253, 15, 65, 15, 253, 15, 65, 0, 253, 17, 253, 147, 2, 253, 27, 0, 11,
]);

/** @typedef {'simd' | 'relaxed'} Artefact */

/**
 * Does the host compute relaxed SIMD as specified? Node 20 behind its flag compiles it, and gives
 * another result until it optimises.
 */
function hasRelaxed() {
  try {
    return (
      WebAssembly.validate(RELAXED) &&
      /** @type {any} */ (new WebAssembly.Instance(new WebAssembly.Module(RELAXED)).exports).f() ===
        -180
    );
  } catch {
    return false; // a host that compiles nothing at run time
  }
}

/**
 * The best artefact that this host runs; null when it has no SIMD.
 * @returns {Artefact | null}
 */
export function bestArtefact() {
  if (typeof WebAssembly !== 'object') return null;
  return hasRelaxed() ? 'relaxed' : WebAssembly.validate(SIMD) ? 'simd' : null;
}

const MOST_THREADS = 8; // more are seldom free

/**
 * Processors that a test pretends (HYP_PROCESSORS): in Node, and in Deno where reading it is
 * allowed, which is asked first because reading would ask the user.
 */
function pretended() {
  const { Deno, process } = /** @type {any} */ (globalThis);
  const name = 'HYP_PROCESSORS';
  if (!Deno) return Number(process?.env?.[name]);
  const { state } = Deno.permissions.querySync({ name: 'env', variable: name });
  return state === 'granted' ? Number(Deno.env.get(name)) : 0;
}

/** Why memory can not be shared among threads here; empty: it can. */
export function whyNoThreads() {
  const { SharedArrayBuffer, crossOriginIsolated, Worker } = /** @type {any} */ (globalThis);
  if (typeof SharedArrayBuffer !== 'function' || crossOriginIsolated === false)
    return crossOriginIsolated === false
      ? 'the page is not cross-origin isolated: its server has to send the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp'
      : 'this host has no memory that threads share';
  if (typeof Worker !== 'function' && !builtin('node:worker_threads'))
    return 'this host has no workers';
  return '';
}

/**
 * How many threads should compute here: one for each processor; 0 where memory can not be shared,
 * or no worker be started.
 * @returns {number}
 */
export function threadsHere() {
  if (whyNoThreads()) return 0;
  const count = pretended();
  if (count >= 1) return Math.min(count, MOST_THREADS);
  const processors =
    typeof Worker === 'function'
      ? globalThis.navigator?.hardwareConcurrency
      : builtin('node:os')?.availableParallelism();
  return Math.min(processors || 1, MOST_THREADS);
}

/**
 * @param {Artefact} artefact @param {boolean} threads
 * @returns {import('./places.js').ArtefactFile}
 */
export const artefactFile = (artefact, threads) =>
  threads
    ? artefact === 'relaxed'
      ? 'hyperion-mt.wasm'
      : 'hyperion-mt-simd.wasm'
    : artefact === 'relaxed'
      ? 'hyperion-relaxed.wasm'
      : 'hyperion.wasm';
