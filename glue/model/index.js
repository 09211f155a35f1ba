// Hyperion: quantized language models wherever WebAssembly runs.
import { Engine, openModel } from './engine.js';
import { RemoteEngine, workerByDefault } from './remote.js';

export { HyperionError } from '../core/errors.js';
export { bestArtefact } from '../core/detect.js';
export { bench, calibrate, inspect, perplexity, quantize } from './engine.js';

/** @typedef {import('./options.js').EngineOptions} EngineOptions */
/** @typedef {import('./options.js').OpenOptions} OpenOptions */
/** @typedef {import('./engine.js').EngineStats} EngineStats */
/** @typedef {import('./options.js').ModelOptions} ModelOptions */
/** @typedef {import('./model.js').Stats} Stats */
/** @typedef {import('./session.js').Facts} Facts */
/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./options.js').SessionOptions} SessionOptions */
/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./session.js').Answer} Answer */
/** @typedef {import('./session.js').Piece} Piece */
/** @typedef {import('./session.js').Usage} Usage */
/** @typedef {import('../source/index.js').Source} Source */
/** @typedef {import('../source/index.js').ByteSource} ByteSource */
/** @typedef {import('./chat.js').Message} Message */

/** @param {boolean | 'auto' | undefined} worker */
const inWorker = (worker = 'auto') => (worker === 'auto' ? workerByDefault() : worker);

/**
 * An engine for several models, which share its memory limit and its thread.
 *
 *     const engine = await createEngine({ memory: '2GB' });
 *     const [small, large] = await Promise.all([engine.open('small.gguf'),
 *     engine.open('large.gguf')]);
 *
 * @param {EngineOptions} [options]
 * @returns {Promise<Engine | RemoteEngine>} the same interface, in this thread or in a worker
 */
export async function createEngine(options = {}) {
  return inWorker(options.worker) ? RemoteEngine.create(options) : Engine.create(options);
}

/**
 * Opens a GGUF model, in an engine of its own.
 *
 *     const model = await open('story.gguf');
 *     for await (const { text } of model.generate('Once upon a time')) show(text);
 *
 * @param {Source | Source[]} source a URL or path, a File or Blob, bytes, a stream, or your own
 *   {size, read}; an array: the parts of a split model
 * @param {OpenOptions} [options]
 * @returns {Promise<Model | import('./remote.js').RemoteModel>} the same interface, in this thread
 *   or in a worker
 */
export async function open(source, options = {}) {
  return inWorker(options.worker)
    ? RemoteEngine.openAlone(source, options)
    : openModel(source, options);
}
