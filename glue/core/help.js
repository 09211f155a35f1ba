// What a worker thread does: the engine's module over the same memory, within one call that lasts
// as long as the engine wants its help.
import { builtin } from './host.js';

/**
 * @typedef {object} Order
 * @property {WebAssembly.Module} module @property {WebAssembly.Memory} memory
 * @property {number} run @property {number} context @property {number} stack of the thread
 */

const scope = /** @type {any} */ (globalThis);
const inPage = typeof scope.self === 'object' && typeof scope.self.postMessage === 'function';

/** Who has started this worker: a page or worker of the web, or a thread of Node. */
export const starter = inPage
  ? { web: scope.self, node: null }
  : { web: null, node: builtin('node:worker_threads')?.parentPort };

/** Does a message ask for a thread? @param {any} message @returns {message is Order} */
export const isOrder = message => typeof message?.stack === 'number';

/** @param {Order} order */
async function help({ module, memory, run, context, stack }) {
  const refuse = () => {
    throw new Error('a worker thread computes only');
  };
  const imports = { env: { memory }, hyp: /** @type {any} */ ({ now: () => performance.now() }) };
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module))
    if (from === 'hyp' && kind === 'function') imports.hyp[name] ??= refuse;
  const instance = await WebAssembly.instantiate(module, imports);
  // what fails from now on leaves the engine's memory in an unknown state
  (starter.web ?? starter.node).postMessage('here');
  /** @type {any} */ (instance.exports).thread_main(run, context, stack);
  starter.web?.close(); // elsewhere it ends when nothing is listened to
}

/** @param {Order} order */
export const obey = order =>
  help(order).catch(error => {
    setTimeout(() => {
      throw error; // where the host tells it to whoever started this worker
    });
  });
