// A transport's bytes as chunks: a window of them in memory, neighbours in one request, several
// requests at once and ahead of who reads, each chunk ready as soon as its last byte is there. A
// transport that is no more than a stream is read from the front as far as somebody wants it.
import { cancelled } from '../core/signal.js';
import { WrongBytes, gone, unreadable } from './source.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./source.js').Transport} Transport */
/** @typedef {import('./source.js').Verifier} Verifier */
/** @typedef {import('./source.js').ChunkStore} ChunkStore */
/**
 * @typedef {object} Layers
 * @property {Verifier | null} [verify] no chunk is given out that it has not checked
 * @property {ChunkStore | null} [store] asked before the transport, and told what that has given
 * @property {(bytes: number, signal: AbortSignal) => Promise<void> | undefined} [pace] waited for
 *   after so many bytes
 * @property {number} [window] bytes of chunks in memory at most, apart from those that somebody
 *   waits for; 32 MiB when left out
 * @property {number} [ahead] bytes that are fetched ahead of a reader at most; 0: none. What the
 *   window leaves room for when left out
 * @property {(index: number, bytes: Uint8Array) => void | Promise<void>} [watch] sees each chunk
 *   when it comes, checked, from the transport or the store; a promise holds the chunk back, what
 *   it throws ends the source
 * @property {(bytes: number) => void} [onBytes] so many have come from the transport
 */
/**
 * @typedef {object} Coming a chunk that somebody waits for, or will soon
 * @property {Promise<Uint8Array>} bytes
 * @property {(bytes: Uint8Array) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {boolean} wanted by a reader; else only ahead of one
 * @property {number} tries how often it was wrong
 */
/**
 * @typedef {{at: number, span: number, turn: number}} Head a reader's place, how far ahead of it is
 *   read, and when it was last seen
 */

export const CHUNK_BYTES = 2 ** 20;
const WINDOW_BYTES = 32 * CHUNK_BYTES;
const CHUNKS_LEAST = 12; // of a window without a verifier's chunks: small ones have small chunks
const HEADS = 3;
// A request that takes less time is followed by a larger one, one that takes more by a smaller one.
const QUICK_MS = 500;
const SLOW_MS = 1500;
const JUDGED_MS = 300; // how long requests run side by side before it is seen what that gives
const WORTH = 1.2; // times as many bytes in a second, by one more request at once
const RESTARTS = 2; // of a transport that can only be read from the front

/** @returns {Coming} */
function coming() {
  /** @type {any} */
  const one = { wanted: false, tries: 0 };
  one.bytes = new Promise((resolve, reject) => Object.assign(one, { resolve, reject }));
  one.bytes.catch(() => {}); // of a chunk that nobody waits for
  return one;
}

/**
 * @param {Transport} transport closed with the source
 * @param {Layers} [layers] the store is closed with the source, too
 * @returns {ByteSource & {close: () => Promise<void>}}
 */
export function chunked(transport, layers = {}) {
  const chunks = new Chunks(transport, layers);
  return {
    size: chunks.size,
    sequential: !transport.ranged,
    read: (offset, count) => chunks.read(offset, count),
    close: () => chunks.close(),
  };
}

class Chunks {
  #transport;
  #layers;
  #chunkBytes;
  #count; // of chunks
  #window; // chunks
  #most; // chunks ahead of a reader
  /** @type {Map<number, Uint8Array>} least lately used first */
  #held = new Map();
  /** @type {Map<number, Coming>} */
  #coming = new Map();
  /** @type {Set<number>} of those that come: what the transport has not been asked for yet */
  #missing = new Set();
  /** @type {Head[]} latest first */
  #heads = [];
  #turn = 0; // counts what readers ask for
  #asking = 0; // chunks that the store looks for
  #storing = 0; // chunks on their way into the store
  #stop = new AbortController();
  /** @type {{error: unknown} | null} why nothing can be read any more */
  #broken = null;
  /** @type {ChunkStore | null} */
  #store;

  #busy = 0; // requests, but for those that are about to end
  #lanes = 1; // requests at once
  #request; // chunks of one
  #latencyMs = 0; // until a request's first byte
  #speed = 0; // bytes in a millisecond, of all requests
  #judging = { since: 0, bytes: 0, base: 0, over: false };

  #flowing = false; // of a transport that is read from the front
  #at = 0; // the chunk that comes next
  #restarts = 0;
  #wake = () => {};
  /** @type {AbortController | null} */
  #flow = null;

  /** @param {Transport} transport @param {Layers} layers */
  constructor(transport, layers) {
    const { verify, store = null, window = WINDOW_BYTES } = layers;
    this.#transport = transport;
    this.#layers = layers;
    this.#store = store;
    this.size = verify?.size ?? transport.size;
    this.#chunkBytes =
      verify?.chunkBytes ??
      store?.chunkBytes ??
      Math.min(CHUNK_BYTES, 2 ** Math.max(14, Math.floor(Math.log2(window / CHUNKS_LEAST))));
    this.#count = Math.ceil(this.size / this.#chunkBytes);
    this.#window = Math.max(2, Math.floor(window / this.#chunkBytes));
    const ahead = Math.floor((layers.ahead ?? Infinity) / this.#chunkBytes);
    this.#most = Math.min(ahead, (this.#window * 3) >> 2);
    this.#request = Math.max(1, Math.ceil((transport.first ?? 0) / this.#chunkBytes));
  }

  /**
   * At once where the bytes are in memory.
   * @param {number} offset @param {number} count @returns {Uint8Array | Promise<Uint8Array>}
   */
  read(offset, count) {
    if (this.#broken) throw this.#broken.error;
    if (!(offset >= 0 && count >= 0 && offset + count <= this.size))
      throw new Error(
        `bytes ${offset} to ${offset + count} were asked for, of ${this.size} that there are`,
      );
    const first = Math.floor(offset / this.#chunkBytes);
    const last = Math.floor((offset + Math.max(count, 1) - 1) / this.#chunkBytes);
    if (first !== last || !count) return this.#gather(offset, count, first, last);
    const at = offset - first * this.#chunkBytes;
    const bytes = this.#of(first);
    return bytes instanceof Uint8Array
      ? bytes.subarray(at, at + count)
      : bytes.then(all => all.subarray(at, at + count));
  }

  /**
   * @param {number} offset @param {number} count @param {number} first @param {number} last
   * @returns {Promise<Uint8Array>}
   */
  async #gather(offset, count, first, last) {
    const out = new Uint8Array(count);
    for (let index = first, at = 0; at < count; index++) {
      const bytes = await this.#of(index);
      const from = Math.max(0, offset - index * this.#chunkBytes);
      const part = bytes.subarray(from, from + count - at);
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  /** A chunk, which a reader wants now. @param {number} index */
  #of(index) {
    const bytes = this.#held.get(index);
    let one;
    if (bytes) {
      this.#held.delete(index); // it is the one used last
      this.#held.set(index, bytes);
    } else {
      if (this.#broken) throw this.#broken.error;
      one = this.#want(index);
      one.wanted = true;
    }
    this.#goOn(index);
    this.#pump();
    return bytes ?? /** @type {Coming} */ (one).bytes;
  }

  /** @param {number} index */
  #want(index) {
    let one = this.#coming.get(index);
    if (one) return one;
    one = coming();
    this.#coming.set(index, one);
    const store = this.#store;
    if (!store) {
      this.#missing.add(index);
      return one;
    }
    this.#asking++;
    const done = (/** @type {Uint8Array | null} */ bytes) => {
      this.#asking--;
      if (this.#broken) return;
      if (bytes) this.#have(index, bytes);
      else this.#missing.add(index);
      this.#pump();
    };
    store.get(index).then(done, () => done(null));
    return one;
  }

  /** A reader has come to a chunk: what follows is wanted soon. @param {number} index */
  #goOn(index) {
    const place = this.#heads.findIndex(
      ({ at, span }) => index >= at - 1 && index <= at + Math.max(span, 1),
    );
    let head;
    if (place < 0) {
      // The first bytes are a header, behind which the rest is read. Elsewhere it may be a lone
      // row that somebody looks up.
      head = { at: index, span: index ? 1 : Math.max(4, this.#request), turn: 0 };
      if (this.#heads.length === HEADS) this.#heads.pop();
    } else {
      [head] = this.#heads.splice(place, 1);
      if (index > head.at) {
        head.at = index;
        head.span *= 2;
      }
    }
    head.span = Math.min(head.span, this.#most);
    head.turn = ++this.#turn;
    this.#heads.unshift(head);
    const end = Math.min(index + head.span, this.#count - 1);
    for (let next = index + 1; next <= end && this.#coming.size < this.#most; next++)
      if (!this.#held.has(next)) this.#want(next);
  }

  /** Asks the transport for what is missing, as far as there may be requests. */
  #pump() {
    if (this.#broken || !this.#missing.size) return;
    if (!this.#transport.ranged) return void this.#stream();
    if (this.#asking) return; // its neighbours may be missing, too
    if (this.#storing > this.#window) return;
    const parallel = this.#transport.parallel ?? 1;
    while (this.#missing.size) {
      let first = -1;
      for (const index of this.#missing) {
        if (first < 0) first = index;
        if (!this.#coming.get(index)?.wanted) continue;
        first = index;
        break;
      }
      // What a reader waits for does not wait for what one may want later.
      const most = this.#coming.get(first)?.wanted ? Math.max(parallel, this.#lanes) : this.#lanes;
      if (this.#busy >= most) return;
      let last = first;
      this.#missing.delete(first);
      while (
        last + 1 - first < this.#request &&
        this.#missing.has(last + 1) &&
        this.#end(last) === this.#place(last + 1).offset
      )
        this.#missing.delete(++last);
      this.#ask(first, last);
    }
    this.#judging.since = 0; // the readers are slower than the requests
  }

  /** Where the transport has a chunk. @param {number} index */
  #place(index) {
    const { verify } = this.#layers;
    if (verify) return verify.place(index);
    const offset = index * this.#chunkBytes;
    return { offset, count: Math.min(this.#chunkBytes, this.size - offset) };
  }

  /** @param {number} index */
  #end(index) {
    const { offset, count } = this.#place(index);
    return offset + count;
  }

  /** One request. @param {number} first @param {number} last of its chunks */
  async #ask(first, last) {
    const { signal } = this.#stop;
    const begin = this.#place(first).offset;
    const total = this.#end(last) - begin;
    const started = performance.now();
    let left = total;
    let counted = true; // among those that are busy
    this.#busy++;
    const free = () => {
      if (counted) this.#busy--;
      counted = false;
    };
    const filler = this.#filler(first);
    try {
      await this.#transport.feed(
        begin,
        total,
        bytes => {
          if (left === total) this.#latencyMs = performance.now() - started;
          left -= bytes.length;
          this.#judging.bytes += bytes.length;
          filler.take(bytes);
          // The next is on its way while the last bytes of this one arrive.
          if (counted && left <= this.#speed * this.#latencyMs) {
            free();
            this.#pump();
          }
          return this.#layers.pace?.(bytes.length, signal);
        },
        signal,
      );
      if (filler.index <= last)
        throw unreadable(`${this.#transport.name} gave ${total - left} of ${total} bytes`);
      const tookMs = performance.now() - started;
      if (tookMs < QUICK_MS && last + 1 - first >= this.#request)
        this.#request = Math.min(this.#request * 2, Math.max(1, this.#window >> 2));
      else if (tookMs > SLOW_MS) this.#request = Math.max(1, this.#request >> 1);
      this.#judge();
    } catch (error) {
      this.#request = Math.max(1, this.#request >> 1);
      this.#lanes = 1;
      for (let index = filler.index; index <= last; index++) this.#fail(index, error);
    } finally {
      free();
      this.#pump();
    }
  }

  /** Is one more request at once worth it? Only known while there is always more to ask for. */
  #judge() {
    const judging = this.#judging;
    const now = performance.now();
    const tookMs = now - judging.since;
    if (judging.since && tookMs < JUDGED_MS) return;
    if (judging.since && !judging.over) {
      this.#speed = judging.bytes / tookMs;
      if (this.#speed > judging.base * WORTH) {
        judging.base = this.#speed;
        if (this.#lanes < (this.#transport.parallel ?? 1)) this.#lanes++;
        else judging.over = true;
      } else {
        judging.over = true;
        this.#lanes = Math.max(1, this.#lanes - 1);
      }
    }
    judging.since = now;
    judging.bytes = 0;
  }

  /** Makes chunks of parts as they arrive. @param {number} index of the first */
  #filler(index) {
    /** @type {Uint8Array | null} */
    let chunk = null;
    let filled = 0;
    const self = this;
    return {
      get index() {
        return index;
      },
      /** @param {Uint8Array} bytes */
      take(bytes) {
        self.#layers.onBytes?.(bytes.length);
        for (let from = 0; from < bytes.length;) {
          const { count } = self.#place(index);
          chunk ??= new Uint8Array(count);
          const part = bytes.subarray(from, from + count - filled);
          chunk.set(part, filled);
          filled += part.length;
          from += part.length;
          if (filled < count) continue;
          self.#arrived(index++, chunk);
          chunk = null;
          filled = 0;
        }
      },
    };
  }

  /** @param {number} index @param {Uint8Array} bytes as the transport has them */
  #arrived(index, bytes) {
    const { verify } = this.#layers;
    const have = (/** @type {Uint8Array} */ plain) => {
      if (this.#broken) return;
      this.#keep(index, plain);
      this.#have(index, plain);
    };
    if (!verify) return have(bytes);
    verify.check(index, bytes).then(have, error => {
      const one = this.#coming.get(index);
      if (!(error instanceof WrongBytes) || !one) return this.#fail(index, error);
      const { ranged, again } = this.#transport;
      if (!one.tries++ && (ranged || again)) {
        this.#missing.add(index);
        return this.#pump();
      }
      const { offset, count } = this.#place(index);
      const what = `chunk ${index} (bytes ${offset} to ${offset + count - 1}) of ${this.#transport.name}`;
      const tried = one.tries > 1 ? ', also when it is fetched again' : '';
      const wrong = `${what} is wrong${tried}: ${error.message}`;
      this.#fail(index, new WrongBytes(wrong, { cause: error }));
    });
  }

  /**
   * Into the store, which nobody waits for but who would ask for more than it takes.
   * @param {number} index @param {Uint8Array} bytes
   */
  #keep(index, bytes) {
    if (!this.#store) return;
    this.#storing++;
    this.#store
      .put(index, bytes)
      .catch(() => (this.#store = null))
      .finally(() => {
        this.#storing--;
        this.#wake();
        this.#pump();
      });
  }

  /** @param {number} index @param {Uint8Array} bytes plain and checked */
  #have(index, bytes) {
    let watched;
    try {
      watched = this.#layers.watch?.(index, bytes);
    } catch (error) {
      return this.#break(error);
    }
    if (!watched) return this.#give(index, bytes);
    watched.then(
      () => this.#give(index, bytes),
      error => this.#break(error),
    );
  }

  /** @param {number} index @param {Uint8Array} bytes */
  #give(index, bytes) {
    if (this.#broken) return;
    this.#held.set(index, bytes);
    this.#coming.get(index)?.resolve(bytes);
    this.#coming.delete(index);
    this.#missing.delete(index);
    this.#evict();
  }

  /** Will a reader come to it, of those that are still about? @param {number} index */
  #soon(index) {
    return this.#heads.some(
      ({ at, span, turn }) => index >= at && index <= at + span && this.#turn - turn < this.#window,
    );
  }

  /** The least lately used goes, but for those that a reader will soon come to. */
  #evict() {
    while (this.#held.size + this.#busy > this.#window && this.#held.size > 2) {
      let gone = -1;
      for (const index of this.#held.keys()) {
        if (gone < 0) gone = index;
        if (this.#soon(index)) continue;
        gone = index;
        break;
      }
      this.#held.delete(gone);
    }
  }

  /** @param {number} index @param {unknown} error */
  #fail(index, error) {
    this.#coming.get(index)?.reject(error);
    this.#coming.delete(index);
    this.#missing.delete(index);
  }

  /** @param {unknown} error what every later read throws */
  #break(error) {
    this.#broken ??= { error };
    for (const index of [...this.#coming.keys()]) this.#fail(index, error);
    this.#held.clear();
    this.#stop.abort(error);
    this.#flow?.abort(error);
    this.#wake();
  }

  // ---- A transport that is read from the front

  #behind() {
    return [...this.#missing].filter(index => index < this.#at);
  }

  /** Reads on as long as something is missing, from the front where that has gone by. */
  async #stream() {
    this.#wake();
    if (this.#behind().length) {
      if (this.#transport.again && this.#restarts < RESTARTS)
        this.#flow?.abort(); // and begins anew
      else {
        const { name, again } = this.#transport;
        const error = unreadable(
          again
            ? `${name} has been read from the front ${RESTARTS + 1} times, because its server gives no parts of files: raise the memory limit, so that the model is read only once`
            : 'a stream can not be read backwards: give a file, a blob or a URL',
        );
        for (const index of this.#behind()) this.#fail(index, error);
      }
    }
    if (this.#flowing) return;
    this.#flowing = true;
    while (this.#missing.size && !this.#broken) {
      if (this.#at) this.#restarts++;
      await this.#fromFront();
    }
    this.#flowing = false;
  }

  async #fromFront() {
    const flow = new AbortController();
    const { signal } = flow;
    const { size } = this.#transport;
    this.#flow = flow;
    this.#at = 0;
    const filler = this.#filler(0);
    let left = size;
    try {
      await this.#transport.feed(
        0,
        size,
        async bytes => {
          await this.#layers.pace?.(bytes.length, signal);
          // A part may be larger than the window.
          for (let from = 0; from < bytes.length; from += this.#chunkBytes) {
            const part = bytes.subarray(from, from + this.#chunkBytes);
            left -= part.length;
            filler.take(part);
            this.#at = filler.index;
            while (left && (!this.#missing.size || this.#storing > this.#window) && !signal.aborted)
              await new Promise(resolve => (this.#wake = () => resolve(undefined)));
            if (signal.aborted) throw cancelled(signal);
          }
        },
        signal,
      );
    } catch (error) {
      if (signal.aborted) return; // somebody wants what has gone by
      for (const index of [...this.#missing]) this.#fail(index, error);
    } finally {
      this.#flow = null;
    }
  }

  async close() {
    this.#break(gone());
    await Promise.all([this.#store?.close(), this.#transport.close?.()]);
  }
}
