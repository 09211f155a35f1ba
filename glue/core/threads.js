// How worker threads are started and ended; what they do is thread.js.
import { newThread } from './places.js';
import { makeWorker } from './workers.js';

/**
 * @callback StartThread runs the module's thread_main over the same memory in a worker; returns how
 *   to end it
 * @param {object} order
 * @param {(trouble?: Error) => void} here it has come, or never will, and why
 * @param {(error: Error) => void} fail the worker came to compute, and has died of it
 * @param {string | URL} [place] of a script that does what thread.js does
 * @returns {() => unknown}
 */

/** @type {StartThread | null} */
let byOwner = null;
let ownerEnds = false;
/**
 * This is a worker that its owner ends after its engine: worker threads go with it. Ended from here
 * as well, one that computes or sleeps would stay in Chromium for ever: it is stopped by force two
 * seconds later, by whoever has ended it, who is gone by then.
 * @param {StartThread} [start] by the owner: in pages, because Firefox may hang in a worker's
 *   `new Worker`, which waits for the page's thread on the condition that the new worker waits on
 *   as well, and only one of both is woken
 */
export function leaveThreadsToOwner(start) {
  ownerEnds = true;
  byOwner = start ?? null;
}

/** @type {StartThread} */
export const startThread = (order, here, fail, place) =>
  (byOwner ?? startHere)(order, here, fail, place);

const TAKE_MS = 1000; // how long a worker may need to take its order

/** @type {StartThread} */
function startHere(order, here, fail, place) {
  let came = false;
  const hear = (/** @type {unknown} */ word) => {
    if (word !== 'here') return;
    came = true;
    here();
  };
  const died = (/** @type {any} */ error) => {
    const cause =
      error instanceof Error
        ? error
        : new Error(error?.message || 'their script could not be loaded');
    here(cause);
    if (came) fail(cause);
  };
  const { web, node } = makeWorker(newThread, place);
  if (web) {
    // It gets its order when its script has run, and takes it before it is ended: Deno keeps the
    // memory of an order that nobody has taken for ever.
    let given = false;
    let take = () => {};
    /** @type {Promise<void>} */
    const taken = new Promise(resolve => (take = resolve));
    web.onmessage = ({ data }) => {
      if (!given) web.postMessage(order);
      else take();
      given = true;
      hear(data);
    };
    web.onerror = error => {
      died(error);
      take();
    };
    return async () => {
      if (given) {
        const limit = setTimeout(take, TAKE_MS);
        await taken;
        clearTimeout(limit);
      }
      if (!ownerEnds) web.terminate();
    };
  }
  node.on('error', died);
  const arrived = new Promise(resolve => {
    node.on('message', word => {
      hear(word);
      resolve(undefined);
    });
    node.on('exit', () => {
      here();
      resolve(undefined);
    });
  });
  node.unref();
  node.postMessage(order);
  return async () => {
    node.ref();
    await arrived; // one that is ended while it loads leaves files open
    await node.terminate();
  };
}
