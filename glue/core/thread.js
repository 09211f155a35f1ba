// A worker thread: the engine's module over the same memory, within one call that lasts as long as
// the engine wants its help.

/**
 * @param {{module: WebAssembly.Module, memory: WebAssembly.Memory, run: number, context: number,
 *   stack: number}} order
 */
async function help({ module, memory, run, context, stack }) {
  const refuse = () => {
    throw new Error('a worker thread computes only');
  };
  const imports = { env: { memory }, hyp: /** @type {any} */ ({ now: () => performance.now() }) };
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module))
    if (from === 'hyp' && kind === 'function') imports.hyp[name] ??= refuse;
  const instance = await WebAssembly.instantiate(module, imports);
  tell('here'); // what fails from now on leaves the engine's memory in an unknown state
  /** @type {any} */ (instance.exports).thread_main(run, context, stack);
  if (inPage) scope.self.close(); // elsewhere it ends when nothing is listened to
}

const scope = /** @type {any} */ (globalThis);
const inPage = typeof scope.self === 'object' && typeof scope.self.postMessage === 'function';
const port = inPage ? null : (await import('node:worker_threads')).parentPort;
const tell = (/** @type {string} */ word) => (port ?? scope.self).postMessage(word);
const obey = (/** @type {any} */ order) =>
  help(order).catch(error => {
    setTimeout(() => {
      throw error; // where the host tells it to whoever started this worker
    });
  });
if (inPage) scope.self.onmessage = (/** @type {MessageEvent} */ event) => obey(event.data);
else port?.once('message', obey);
