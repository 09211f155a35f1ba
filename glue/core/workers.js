// How workers are made, wherever their script lies.
import { builtin, placeOf } from './host.js';

const scope = /** @type {any} */ (globalThis);

/**
 * What `make` makes while `Constructor` stands in the place of `Worker`: bundlers understand
 * nothing but `new Worker(new URL(…))` in full, and there must be one such expression for a script,
 * or they would bundle it twice.
 * @param {() => any} make @param {any} Constructor
 */
function madeBy(make, Constructor) {
  const own = Object.getOwnPropertyDescriptor(scope, 'Worker');
  Object.defineProperty(scope, 'Worker', {
    value: Constructor,
    configurable: true,
    writable: true,
  });
  try {
    return make();
  } finally {
    if (own) Object.defineProperty(scope, 'Worker', own);
    else delete scope.Worker;
  }
}

/**
 * A worker whose script, of the page's own origin, is nothing but an import of the other one: a
 * page may not start a script of another origin, but import it.
 * @param {string | URL} url @param {WorkerOptions} [options]
 */
function importing(url, options) {
  const source = `import ${JSON.stringify(String(url))};`;
  const blob = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const worker = new scope.Worker(blob, { ...options, type: 'module' });
  // Its script has been read by the time that it says something, or fails.
  const free = () => URL.revokeObjectURL(blob);
  worker.addEventListener('message', free, { once: true });
  worker.addEventListener('error', free, { once: true });
  return worker;
}

/**
 * A worker: the host's, or a thread of Node.
 * @param {() => Worker} make holds the expression that bundlers know
 * @param {string | URL} [place] of another script, instead
 * @returns {{web: Worker, node: null} | {web: null, node: import('node:worker_threads').Worker}}
 */
export function makeWorker(make, place) {
  const given = place === undefined ? null : (placeOf(place) ?? place);
  const start = given ? () => new scope.Worker(given, { type: 'module', name: 'hyperion' }) : make;
  if (typeof scope.Worker !== 'function') {
    const threads = builtin('node:worker_threads');
    if (!threads) throw new Error('this host has no workers');
    return { web: null, node: madeBy(start, threads.Worker) };
  }
  try {
    return { web: start(), node: null };
  } catch (error) {
    if (/** @type {any} */ (error)?.name !== 'SecurityError') throw error;
    const asked = { url: '', options: {} };
    madeBy(start, function (/** @type {string} */ url, /** @type {object} */ options) {
      Object.assign(asked, { url, options });
    });
    return { web: importing(asked.url, asked.options), node: null };
  }
}
