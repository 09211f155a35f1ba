// What the browser tests do with a cache's store, on a page's thread and in a worker.
import { cache } from '../../glue/source/store/cache.js';
import { openStore } from '../../glue/source/store/index.js';

/** A chunk of that index, as everybody who makes it has it. */
const chunk = (index, bytes) => new Uint8Array(bytes).fill(index + 1);

const ACTS = {
  /** Puts chunks, reads them back, and says how many were right, and how long both took. */
  async fill({ name, chunks, chunkBytes = 2 ** 20, option = true }) {
    const head = { name, version: 'v', size: chunks * chunkBytes, chunkBytes };
    const store = await openStore(option, head);
    if (!store) return { refused: true };
    const each = async act => {
      let next = 0;
      const lane = async () => {
        while (next < chunks) await act(next++);
      };
      await Promise.all([lane(), lane(), lane(), lane()]);
    };
    let start = performance.now();
    const before = store.present();
    await each(index => store.put(index, chunk(index, chunkBytes)));
    await store.settled();
    const writeMs = performance.now() - start;
    start = performance.now();
    let right = 0;
    await each(async index => {
      const bytes = await store.get(index);
      right += bytes?.length === chunkBytes && bytes[chunkBytes >> 1] === index + 1 ? 1 : 0;
    });
    const readMs = performance.now() - start;
    await store.close();
    return { before, right, writeMs, readMs, error: store.error && String(store.error) };
  },
  list: () => cache.list(),
  verify: () => cache.verify(),
  usage: () => cache.usage(),
  remove: ({ name }) => cache.remove(name),
  pin: ({ name, pinned }) => cache.pin(name, pinned),
  /** As a browser evicts what an origin keeps. */
  async evict() {
    const root = await navigator.storage.getDirectory();
    await root.removeEntry('hyperion', { recursive: true });
  },
};

export const act = (name, options) => ACTS[name](options);

if (typeof document === 'undefined')
  onmessage = async ({ data: [name, options] }) => {
    try {
      postMessage({ result: await act(name, options) });
    } catch (error) {
      postMessage({ failed: `${error.name}: ${error.message}` });
    }
  };
