// pull: a model of a network into the cache.
import { HyperionError } from '../core/errors.js';
import { openSources } from '../source/index.js';
import { readOptions } from './model.js';
import { progressBar } from './progress.js';
import { line } from './terminal.js';

const STEP_BYTES = 4 << 20;

/** @typedef {import('../source/store/store.js').FileStore} FileStore */

/** @param {string} name @param {FileStore | null} store */
function checkKept(name, store) {
  const why = store ? store.error : 'there is no place for a cache, or its server says no version';
  if (!why && store?.isComplete()) return;
  const said = /** @type {any} */ (why)?.message ?? why ?? 'somebody has removed a part of it';
  throw new HyperionError('HYP_E_IO', `${name} could not be kept: ${said}`);
}

/** @param {any} o @param {string[]} args */
export async function pull(o, [model]) {
  if (!/^(hf|https?):/i.test(model))
    throw new HyperionError(
      'HYP_E_ARGUMENT',
      `${model} is not on a network: pull takes a URL, or hf:owner/repo/file.gguf`,
    );
  /** @type {[string, FileStore | null][]} */
  const kept = [];
  const files = await openSources(model, {
    .../** @type {any} */ (readOptions(o)),
    fileCache: { pin: Boolean(o.pin) },
    onStore: (name, store) => kept.push([name, store]),
  });
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  const present = kept.reduce((sum, [, store]) => sum + (store?.bytesPresent() ?? 0), 0);
  try {
    for (const [i, [name, store]] of kept.entries()) {
      if (!store || store.error) checkKept(name, store);
      for (let at = 0; at < files[i].size; at += STEP_BYTES) {
        const count = Math.min(STEP_BYTES, files[i].size - at);
        await files[i].read(at, count);
        if (store?.error) checkKept(name, store);
        done += count;
        if (!o.quiet && !o.json) progressBar({ what: 'pulling', done, total, bytes: true });
      }
    }
  } finally {
    await Promise.all(files.map(file => file.close()));
    await Promise.all(kept.map(([, store]) => store?.settled()));
  }
  for (const [name, store] of kept) checkKept(name, store);
  const bytes = kept.reduce((sum, [, store]) => sum + (store?.size ?? 0), 0);
  const fetched = Math.max(0, bytes - present);
  if (o.json) line(JSON.stringify({ files: kept.map(([name]) => name), bytes, fetched }));
  else if (!o.quiet)
    for (const [name, store] of kept)
      line(`${name}: ${((store?.size ?? 0) / 1e6).toFixed(2)} MB are in the cache`);
}
