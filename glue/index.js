// Hyperion: quantized language models wherever WebAssembly runs.
import { openModel } from './model.js';
import { RemoteModel, workerByDefault } from './remote.js';

export { HyperionError } from './errors.js';
export { bestArtefact } from './detect.js';
export { calibrate, inspect, quantize } from './model.js';

/** @typedef {import('./model.js').OpenOptions} OpenOptions */
/** @typedef {import('./model.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./model.js').Piece} Piece */
/** @typedef {import('./model.js').Stats} Stats */
/** @typedef {import('./model.js').Facts} Facts */
/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./sources.js').Source} Source */
/** @typedef {import('./sources.js').ByteSource} ByteSource */
/** @typedef {import('./chat.js').Message} Message */

/**
 * Opens a GGUF model.
 *
 *     const model = await open('story.gguf');
 *     for await (const { text } of model.generate('Once upon a time')) show(text);
 *
 * @param {Source | Source[]} source a URL or path, a File or Blob, bytes, a stream, or your own {size, read}; an array: the parts of a split model
 * @param {OpenOptions} [options]
 * @returns {Promise<Model | RemoteModel>} the same interface, in this thread or in a worker
 */
export async function open(source, options = {}) {
  const { worker = 'auto' } = options;
  return (worker === 'auto' ? workerByDefault() : worker)
    ? RemoteModel.open(source, options)
    : openModel(source, options);
}
