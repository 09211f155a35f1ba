// How worker threads are started and ended; what they do is thread.js.

/**
 * Runs the module's thread_main over the same memory in a worker; returns how to end it.
 * @param {object} order @param {() => void} here it has come, or never will
 * @param {(error: Error) => void} fail the worker came to compute, and has died of it
 * @returns {Promise<() => unknown>}
 */
export async function startThread(order, here, fail) {
  const url = new URL('./thread.js', import.meta.url);
  let came = false;
  const arrive = () => {
    came = true;
    here();
  };
  const died = (/** @type {any} */ error) => {
    here();
    if (came) fail(error instanceof Error ? error : new Error(error?.message || 'it has stopped'));
  };
  if (typeof Worker === 'function') {
    const worker = new Worker(url, { type: 'module', name: 'hyperion worker' });
    worker.onmessage = arrive;
    worker.onerror = died;
    worker.postMessage(order);
    return () => worker.terminate();
  }
  const threads = await import('node:worker_threads');
  const worker = new threads.Worker(url);
  worker.on('error', died);
  const arrived = new Promise(resolve => {
    worker.on('message', () => resolve(arrive()));
    worker.on('exit', () => resolve(here()));
  });
  worker.unref();
  worker.postMessage(order);
  return async () => {
    worker.ref();
    await arrived; // one that is ended while it loads leaves files open
    await worker.terminate();
  };
}
