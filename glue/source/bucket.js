// Objects of a bucket, as an edge worker has them at hand: Cloudflare's R2, and what is like it.
import { PATIENCE, exchange, trying } from './retry.js';
import { unreadable } from './source.js';

/** @typedef {import('./source.js').InBucket} InBucket */
/** @typedef {import('./source.js').Transport} Transport */

/**
 * @param {InBucket} source
 * @param {{signal?: AbortSignal, patience?: Partial<import('./source.js').Patience>}} options
 * @returns {Promise<Transport>}
 */
export async function ofBucket({ bucket, key }, { signal, patience: given }) {
  const patience = { ...PATIENCE, ...given };
  const name = `'${key}' of the bucket`;
  /** @type {(error: Error) => string} */
  const why = ({ message }) => `${name} could not be read: ${message}`;
  /** @param {() => Promise<any>} ask @param {AbortSignal} [stop] */
  const asked = async (ask, stop) => {
    const one = await exchange(ask, patience.stallMs, stop);
    if (one.answer) return one;
    one.end();
    throw unreadable(`the bucket has no '${key}'`);
  };
  const get = (/** @type {number} */ offset, /** @type {number} */ length) => async () =>
    bucket.get(key, { range: { offset, length } });
  const { size, etag = '' } = await trying(
    { patience, signal, why, progress: () => 0 },
    async () => {
      const one = await asked(bucket.head ? async () => bucket.head?.(key) : get(0, 1), signal);
      one.end();
      return one.answer;
    },
  );
  if (!size) throw unreadable(`${name} is empty`);
  return {
    name: `bucket:${key}`,
    size,
    version: etag,
    ranged: true,
    parallel: 3,
    async feed(offset, count, take, stop) {
      const end = offset + count;
      let at = offset;
      await trying({ patience, signal: stop, why, progress: () => at }, async () => {
        while (at < end) {
          const one = await asked(get(at, end - at), stop);
          const { answer } = one;
          try {
            if (answer.size !== size || (answer.etag ?? '') !== etag)
              throw unreadable(`${name} has changed: open it anew`);
            const before = at;
            for (;;) {
              const bytes = answer.body
                ? await one.read()
                : new Uint8Array(await answer.arrayBuffer());
              if (!bytes) break;
              if (bytes.length > end - at)
                throw unreadable(`${name}: more bytes came than were asked for`);
              at += bytes.length;
              await take(bytes);
              if (!answer.body) break;
            }
            if (at === before) throw unreadable(`${name}: no bytes came`);
          } finally {
            one.end();
          }
        }
      });
    },
  };
}
