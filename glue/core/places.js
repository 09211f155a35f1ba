// Where the package's own files lie. Bundlers look for these expressions, letter by letter: a
// literal path and `import.meta.url` within `new URL`, within `new Worker` where it is a script.

/**
 * @typedef {WebAssembly.Module | BufferSource | Response | Promise<Response> | URL | string}
 *   WasmSource a compiled module, its bytes, or where it is
 */
/** @typedef {keyof typeof PLACES} ArtefactFile */

const PLACES = {
  'hyperion.wasm': () => new URL('../../dist/hyperion.wasm', import.meta.url),
  'hyperion-relaxed.wasm': () => new URL('../../dist/hyperion-relaxed.wasm', import.meta.url),
  'hyperion-mt.wasm': () => new URL('../../dist/hyperion-mt.wasm', import.meta.url),
  'hyperion-mt-simd.wasm': () => new URL('../../dist/hyperion-mt-simd.wasm', import.meta.url),
};

/**
 * The module of that name.
 * @param {ArtefactFile} file
 * @returns {WasmSource | Promise<WasmSource>}
 */
export const artefactAt = file => PLACES[file]();

/** A worker thread of the engine. @returns {Worker} */
export const newThread = () =>
  new Worker(new URL('./thread.js', import.meta.url), { type: 'module', name: 'hyperion-thread' });
