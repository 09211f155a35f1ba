// What the package's entries have in common: models and engines, in this thread or in a worker.
import { refuse, shown } from '../core/check.js';
import { late } from '../source/hash.js';
import { here } from './here.js';
import { openaiOf } from './openai.js';
import { named } from './options.js';
import { parts } from './parts.js';
import { RemoteEngine, workerByDefault } from './remote.js';

export { HyperionError } from '../core/errors.js';
export { bestArtefact } from '../core/detect.js';
export { cache } from '../source/store/cache.js';

/** @typedef {import('./options.js').EngineOptions} EngineOptions */
/** @typedef {import('./options.js').OpenOptions} OpenOptions */
/** @typedef {import('./engine.js').EngineStats} EngineStats */
/** @typedef {import('./options.js').ModelOptions} ModelOptions */
/** @typedef {import('./model.js').Stats} Stats */
/** @typedef {import('./session.js').Facts} Facts */
/** @typedef {import('./interface.js').Engine} Engine */
/** @typedef {import('./interface.js').Model} Model */
/** @typedef {import('./interface.js').Session} Session */
/** @typedef {import('./options.js').SessionOptions} SessionOptions */
/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./options.js').ChatOptions} ChatOptions */
/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {import('./answer.js').Piece} Piece */
/** @typedef {import('./answer.js').Usage} Usage */
/** @typedef {import('./answer.js').Whole} Whole */
/** @typedef {import('../source/index.js').Source} Source */
/** @typedef {import('../source/index.js').ByteSource} ByteSource */
/** @typedef {import('../source/store/option.js').CachedFile} CachedFile */
/** @typedef {import('../source/store/cache.js').ModelCache} ModelCache */
/** @typedef {import('./chat.js').Message} Message */

parts.openai = openaiOf;
late.sha256 ??= () => import('../generated/sha256.js');

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
 * @returns {Promise<Engine>} in this thread or in a worker
 */
export async function createEngine(options) {
  const told = named('createEngine', options);
  if (inWorker(told)) return RemoteEngine.create(told);
  const { Engine: LocalEngine } = await here.engine();
  return LocalEngine.create(told);
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
 * @returns {Promise<Model>} in this thread or in a worker
 */
export async function open(source, options) {
  const told = named('open', options);
  if (inWorker(told)) return RemoteEngine.openAlone(source, told);
  const { openModel } = await here.engine();
  return openModel(source, told);
}

/**
 * One of the functions of an engine that is made for it, in this thread.
 * @template {'bench' | 'calibrate' | 'inspect' | 'perplexity' | 'quantize'} K
 * @param {K} name
 * @returns {typeof import('./engine.js')[K]}
 */
const alone = name =>
  /** @type {any} */ (
    async (/** @type {any[]} */ ...args) =>
      /** @type {any} */ ((await here.engine())[name])(...args)
  );

/** Metadata and tensors of a GGUF file. */
export const inspect = alone('inspect');
/** Writes a model with its float matrices in another format, or pruned. */
export const quantize = alone('quantize');
/** Measures on texts what each column of a model's matrices counts for. */
export const calibrate = alone('calibrate');
/** How well a model predicts texts, each for itself. */
export const perplexity = alone('perplexity');
/** Measures prompt and answer speed of a model. */
export const bench = alone('bench');
