// A model as an isolate reads it: by parts, a few of which it holds, in rooms that it uses again,
// each asked for anew. A response that one request has begun to read is of no use to another, and
// what is left to the collector of garbage counts as the isolate's memory.
import { refuse } from '../core/check.js';
import { HyperionError } from '../core/errors.js';

/** @typedef {import('../core/core.js').ByteSource} ByteSource */
/** @typedef {import('../source/index.js').Source} Source */
/**
 * As R2 has them, and whatever answers alike.
 * @typedef {object} Bucket
 * @property {(key: string, options: {range: {offset: number, length: number}}) => Promise<any>} get
 *   {size, etag?, arrayBuffer}: `size` of the whole; null when there is nothing by that key
 */
/** @typedef {{fetch: (url: string, options?: any) => Promise<any>}} Service as a binding of one */
/**
 * @typedef {Source | {bucket: Bucket, key: string} | {service: Service, url: string | URL}}
 *   EdgeSource
 */
/**
 * @typedef {{size: number, version: string, body: ReadableStream<Uint8Array>}} Part
 */
/** @typedef {(offset: number, count: number) => Promise<Part>} Get */

const FIRST_BYTES = 256 << 10; // asked for where reading begins anew; doubled as it goes on
const HELD = 4; // parts
const AHEAD = 2; // parts on their way, at most, for one more to be asked for
const TRIES = 4;
const PAUSE_MS = 100; // before the second try; doubled for each further one

const pause = (/** @type {number} */ ms) => new Promise(resolve => setTimeout(resolve, ms));

/** Another try may succeed. */
class Passing extends Error {}

/** @param {Bucket} bucket @param {string} key @returns {Get} */
const ofBucket = (bucket, key) => async (offset, length) => {
  const object = await bucket.get(key, { range: { offset, length } });
  if (!object) throw new HyperionError('HYP_E_IO', `the bucket has no object '${key}'`);
  const body = object.body ?? new Response(await object.arrayBuffer()).body;
  return { size: object.size, version: object.etag ?? '', body };
};

/** @param {Service} service @param {string} url @returns {Get} */
const ofService = (service, url) => async (offset, count) => {
  const range = `bytes=${offset}-${offset + count - 1}`;
  const response = await service.fetch(url, { headers: { range } });
  const { status, headers } = response;
  if (status !== 206) {
    await response.body?.cancel();
    if (status === 429 || status >= 500) throw new Passing(`${url} answered ${status}`);
    throw new HyperionError(
      'HYP_E_IO',
      status === 200
        ? `${url} gives no parts of files: a server that answers Range requests is wanted`
        : `${url} answered ${status}`,
    );
  }
  const total = /\/(\d+)\s*$/.exec(headers.get('content-range') ?? '');
  if (!total) throw new HyperionError('HYP_E_IO', `${url} does not tell how large it is`);
  const version = headers.get('etag') ?? headers.get('last-modified') ?? '';
  return { size: Number(total[1]), version, body: response.body };
};

/**
 * The first bytes of a stream, in `room`, which is given back as an array of its own: an isolate
 * that left as much garbage as it reads would be over its limit.
 * @param {ReadableStream<Uint8Array>} body @param {ArrayBuffer} room @param {number} count
 * @returns {Promise<Uint8Array>} fewer than `count` where there are no more
 */
async function filled(body, room, count) {
  let got = 0;
  let buffer = room;
  let reader;
  try {
    reader = body.getReader({ mode: 'byob' });
  } catch {
    // no stream of bytes: each part comes in an array of its own
    const parts = body.getReader();
    const out = new Uint8Array(buffer);
    while (got < count) {
      const { value, done } = await parts.read();
      if (done) break;
      out.set(value.subarray(0, count - got), got);
      got += value.length;
    }
    parts.cancel().catch(() => {});
    return out.subarray(0, Math.min(got, count));
  }
  while (got < count) {
    const { value, done } = await reader.read(new Uint8Array(buffer, got, count - got));
    if (value) buffer = /** @type {ArrayBuffer} */ (value.buffer);
    if (done || !value) break;
    got += value.length;
  }
  reader.cancel().catch(() => {});
  return new Uint8Array(buffer, 0, got);
}

/** How parts of `model` are asked for; null: it is another kind of source. @returns {Get | null} */
function getterOf(/** @type {any} */ model) {
  if (typeof model === 'string' || model instanceof URL) {
    const url = String(model);
    if (!/^https?:/.test(url)) return null;
    return ofService({ fetch: (place, options) => fetch(place, options) }, url);
  }
  if (typeof model?.bucket?.get === 'function') {
    if (typeof model.key !== 'string') refuse("a model in a bucket is {bucket, key: 'name'}");
    return ofBucket(model.bucket, model.key);
  }
  if (typeof model?.service?.fetch === 'function') {
    if (!model.url) refuse('a model of a service is {service, url}');
    return ofService(model.service, String(model.url));
  }
  return null;
}

/**
 * A model's source for an isolate. Its reads are held by the request that makes them.
 * @param {EdgeSource} model
 * @param {{window: number, hold: (promise: Promise<unknown>) => void}} options window: bytes asked
 *   for at once, at most; four of them are held. hold: called with what has to go on when the
 *   request that has begun it is over
 * @returns {Promise<Source>}
 */
export async function rangesOf(model, { window, hold }) {
  const getter = getterOf(model);
  if (!getter) return /** @type {Source} */ (model);
  const get = getter;
  let size = Infinity;
  let version = '';

  /** @type {ArrayBuffer[]} of `window` bytes, that nobody reads */
  const rooms = [];

  /** @param {number} offset @param {number} count at most `window` */
  async function part(offset, count) {
    for (let tries = 1; ; tries++) {
      try {
        const { body, ...now } = await get(offset, count);
        if (size === Infinity) ({ size, version } = now);
        if (now.size !== size || now.version !== version)
          throw new HyperionError('HYP_E_IO', 'the model has changed since it was opened');
        const wanted = Math.min(count, size - offset);
        const bytes = await filled(body, rooms.pop() ?? new ArrayBuffer(window), wanted);
        if (bytes.length === wanted) return bytes;
        throw new Passing(`the model's bytes from ${offset} on came short`);
      } catch (error) {
        if (error instanceof HyperionError) throw error;
        const why = `the model can not be read: ${/** @type {Error} */ (error)?.message ?? error}`;
        if (tries === TRIES) throw new HyperionError('HYP_E_IO', why, { cause: error });
        await pause(PAUSE_MS * 2 ** (tries - 1));
      }
    }
  }

  /**
   * Bytes `start` to `end - 1`, for which `readers` wait; `here` when they have come.
   * @typedef {{start: number, end: number, bytes: Promise<Uint8Array>, here: Uint8Array | null,
   *   readers: number}} Held
   */
  /** @type {Held[]} the latest last */
  let held = [];
  let step = 0; // bytes asked for last
  /** Its room is for another, once those who have it have copied theirs. @param {Held} one */
  const give = async one => {
    held = held.filter(other => other !== one);
    if (one.readers) return; // the last of them gives it
    const bytes = await one.bytes.catch(() => null);
    await pause(0);
    if (bytes && !one.readers && rooms.length < HELD)
      rooms.push(/** @type {ArrayBuffer} */ (bytes.buffer));
  };
  /** @param {number} start @param {number} count at most `window` */
  function ask(start, count) {
    const end = Math.min(start + count, size);
    /** @type {Held} */
    const one = { start, end, bytes: part(start, end - start), here: null, readers: 0 };
    const known = one.bytes.then(
      bytes => void (one.here = bytes),
      () => void (held = held.filter(other => other !== one)),
    );
    hold(known);
    held.push(one);
    if (held.length > HELD) give(held[0]);
    return one;
  }

  const head = ask(0, Math.min(FIRST_BYTES, window));
  await head.bytes;
  head.end = Math.min(head.end, size);

  /** The part with byte `at`, which is asked for where none is held. @param {number} at */
  function partWith(at, /** @type {number} */ end) {
    const one = held.find(h => h.start <= at && at < h.end);
    if (one) return one;
    step = held.some(h => h.end === at) ? step * 2 : FIRST_BYTES;
    step = Math.min(Math.max(step, end - at), window);
    const next = Math.min(...held.filter(h => h.start > at).map(h => h.start));
    return ask(at, Math.min(step, next - at));
  }

  /** @param {number} offset @param {number} end */
  async function gathered(offset, end) {
    /** @type {Held[]} */
    const parts = [];
    for (let at = offset; at < end; at = parts[parts.length - 1].end) {
      const one = partWith(at, end);
      one.readers++;
      parts.push(one);
    }
    const last = parts[parts.length - 1];
    // who reads on, and has done so for a while, wants what comes next
    if (step >= window && last === held[held.length - 1] && last.end < size) {
      if (held.filter(h => !h.here).length < AHEAD) partWith(last.end, last.end + 1);
    }
    /** @type {Uint8Array | null} */
    let out = null;
    try {
      for (const one of parts) {
        const from = Math.max(offset, one.start);
        const bytes = (await one.bytes).subarray(
          from - one.start,
          Math.min(end, one.end) - one.start,
        );
        if (bytes.length === end - offset) return bytes;
        out ??= new Uint8Array(end - offset);
        out.set(bytes, from - offset);
      }
    } finally {
      for (const one of parts) {
        one.readers--;
        if (!one.readers && !held.includes(one)) give(one);
      }
    }
    return out ?? new Uint8Array(0);
  }

  return {
    size,
    read(offset, count) {
      const one = held.find(h => h.here && h.start <= offset && offset + count <= h.end);
      if (!one?.here) return gathered(offset, offset + count);
      return one.here.subarray(offset - one.start, offset + count - one.start);
    },
  };
}
