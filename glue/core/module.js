// The module that becomes an instance: which build it is, where it lies, how it is compiled.
import { artefactFile, bestArtefact } from './detect.js';
import { HyperionError } from './errors.js';

/** @typedef {import('./detect.js').Artefact} Artefact */
/**
 * @typedef {WebAssembly.Module | BufferSource | Response | Promise<Response> | URL | string}
 *   WasmSource a compiled module, its bytes, or where it is
 */

/**
 * Where the package's own artefact lies, by feature detection.
 * @param {'auto' | Artefact} artefact
 * @param {boolean} threads
 * @returns {{artefact: Artefact, url: URL}}
 */
export function locate(artefact, threads) {
  const best = artefact === 'auto' ? bestArtefact() : artefact;
  if (!best)
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      'this host has no WebAssembly SIMD: use a newer browser or runtime',
    );
  return {
    artefact: best,
    url: new URL(`../../dist/${artefactFile(best, threads)}`, import.meta.url),
  };
}

/**
 * The module to instantiate.
 * @param {WasmSource} given
 * @param {AbortSignal} [signal]
 * @returns {Promise<WebAssembly.Module>}
 */
export async function compile(given, signal) {
  const source = await given;
  if (source instanceof WebAssembly.Module) return source;
  if (ArrayBuffer.isView(source) || source instanceof ArrayBuffer)
    return WebAssembly.compile(/** @type {BufferSource} */ (source));
  if (typeof Response === 'function' && source instanceof Response) return compiled(source);
  const glue = new URL('..', import.meta.url); // where a relative place is seen from
  const url = new URL(/** @type {string | URL} */ (source), glue);
  if (url.protocol === 'file:') {
    const fs = await import('node:fs/promises');
    return WebAssembly.compile(await fs.readFile(url));
  }
  return compiled(await fetch(url, { signal }));
}

/** @param {Response} response */
async function compiled(response) {
  if (!response.ok)
    throw new HyperionError(
      'HYP_E_HOST',
      `the engine's module could not be fetched: ${response.url || 'its server'} answered ${response.status}`,
    );
  const typed = response.headers.get('content-type')?.startsWith('application/wasm');
  return typed && WebAssembly.compileStreaming
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}
