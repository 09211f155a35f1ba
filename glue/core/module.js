// The module that becomes an instance: which build it is, where it lies, how it is compiled.
import { artefactFile, bestArtefact } from './detect.js';
import { HyperionError } from './errors.js';
import { builtin, placeOf } from './host.js';
import { artefactAt } from './places.js';

/** @typedef {import('./detect.js').Artefact} Artefact */
/** @typedef {import('./places.js').WasmSource} WasmSource */

const KEPT = 4; // as many as there are artefacts
/**
 * @type {Map<string, WebAssembly.Module>} by their addresses, for the next engine: a module is
 *   compiled once, and Chromium never gives back what it has compiled while it was fetched
 */
const modules = new Map();

/**
 * The artefact for this host, by feature detection, and where it lies.
 * @param {'auto' | Artefact} artefact
 * @param {boolean} threads
 * @param {string | URL} [folder] where copies of the package's artefacts lie
 * @returns {{artefact: Artefact, source: WasmSource | Promise<WasmSource>}}
 */
export function locate(artefact, threads, folder) {
  const best = artefact === 'auto' ? bestArtefact() : artefact;
  if (!best)
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      'this host has no WebAssembly SIMD: use a newer browser or runtime',
    );
  const file = artefactFile(best, threads);
  if (folder === undefined) return { artefact: best, source: artefactAt(file) };
  const top = String(placeOf(folder) ?? folder);
  return { artefact: best, source: new URL(file, top.endsWith('/') ? top : `${top}/`) };
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
  const url = placeOf(/** @type {string | URL} */ (source));
  if (!url)
    throw new HyperionError(
      'HYP_E_ARGUMENT',
      `'${source}' is relative, and this host has no address to resolve it by`,
    );
  const kept = modules.get(url.href);
  if (kept) return kept;
  const module = await load(url, signal);
  const [oldest] = modules.keys();
  if (modules.size >= KEPT) modules.delete(oldest);
  modules.set(url.href, module);
  return module;
}

/** @param {URL} url @param {AbortSignal} [signal] @returns {Promise<WebAssembly.Module>} */
async function load(url, signal) {
  const fs = url.protocol === 'file:' ? builtin('node:fs') : undefined;
  if (fs) return WebAssembly.compile(await fs.promises.readFile(url));
  return compiled(await fetch(url, { signal }));
}

/** @param {Response} response */
async function compiled(response) {
  const type = response.headers.get('content-type') ?? '';
  const page = type.startsWith('text/html'); // what some servers answer for what is not there
  if (!response.ok || page)
    throw new HyperionError(
      'HYP_E_HOST',
      `the engine's module could not be fetched: ${response.url || 'its server'} answered ${page ? 'with a page' : response.status}; say by wasmUrl where it is, or import from hyperion-runtime/inline`,
    );
  return type.startsWith('application/wasm') && WebAssembly.compileStreaming
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}
