// Artefacts and scripts that are texts of a script.

/** The artefact that stands for another: one with threads runs without them as well. */
const INSTEAD = {
  'hyperion-relaxed.wasm': 'hyperion-mt.wasm',
  'hyperion-mt-simd.wasm': 'hyperion.wasm',
};

/**
 * @param {Record<string, string>} artefacts in gzip and Base64, by their files
 * @param {string} file
 * @returns {Promise<ArrayBuffer>}
 */
export function unpacked(artefacts, file) {
  const packed = atob(artefacts[file] ?? artefacts[INSTEAD[file]]);
  const bytes = Uint8Array.from(packed, one => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

/**
 * @param {string} text of the script @param {string} name
 * @param {Record<string, unknown>} [given] what it finds in its scope
 */
export function newWorkerOf(text, name, given = {}) {
  const head = Object.entries(given).map(([key, value]) => `self.${key}=${JSON.stringify(value)};`);
  const url = URL.createObjectURL(new Blob([...head, text], { type: 'text/javascript' }));
  const worker = new Worker(url, { name });
  // Its script has been read by the time that it says something, or fails.
  const free = () => URL.revokeObjectURL(url);
  worker.addEventListener('message', free, { once: true });
  worker.addEventListener('error', free, { once: true });
  return worker;
}
