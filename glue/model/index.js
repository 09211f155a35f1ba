// Hyperion: quantized language models wherever WebAssembly runs.
import { refuse, shown } from '../core/check.js';
import { Engine, openModel } from './engine.js';
import { named } from './options.js';
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
/** @typedef {import('./options.js').ChatOptions} ChatOptions */
/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {import('./answer.js').Piece} Piece */
/** @typedef {import('./answer.js').Usage} Usage */
/** @typedef {import('./answer.js').Whole} Whole */
/** @typedef {import('../source/index.js').Source} Source */
/** @typedef {import('../source/index.js').ByteSource} ByteSource */
/** @typedef {import('./chat.js').Message} Message */

/** @param {{worker?: unknown}} options */
function inWorker({ worker }) {
  if (worker === undefined || worker === null || worker === 'auto') return workerByDefault();
  if (typeof worker !== 'boolean')
    refuse(`worker must be true, false or 'auto', not ${shown(worker)}`);
  return worker;
}

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
export async function createEngine(options) {
  const told = named('createEngine', options);
  return inWorker(told) ? RemoteEngine.create(told) : Engine.create(told);
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
export async function open(source, options) {
  const told = named('open', options);
  return inWorker(told) ? RemoteEngine.openAlone(source, told) : openModel(source, told);
}
