// What stands between a transport and its readers.

/** @typedef {import('./source.js').Transport} Transport */
/** @typedef {import('./chunks.js').Layers} Layers */
/** @typedef {import('./source.js').SourceOptions} SourceOptions */

/**
 * Who checks the bytes and who keeps them, as the options `manifest`, `key` and `cache` say.
 * @param {Transport} transport @param {SourceOptions} options
 * @returns {Promise<Pick<Layers, 'verify' | 'store' | 'watch'>>}
 */
export async function layersOf(transport, options) {
  void transport;
  void options;
  return {};
}
