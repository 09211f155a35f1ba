// Lanes in JavaScript: the two ends of docs/LANES.md over a SharedArrayBuffer (or, within one
// thread, an ArrayBuffer). What C holds in a struct is here a word of the layout by name. Views
// into the buffer are given out, no copies.

/**
 * @typedef {{name: string, sent: number, received: number, dropped: number, corrupted: number,
 *   lost: number, usedBytes: number, capacityBytes: number}} LaneStats
 */
/**
 * @typedef {{sequence: number, type: number, time: number, payload: Uint8Array, grant: number}}
 *   Capsule `payload` is a view, valid until the release; `time` in milliseconds of the sender's
 *   clock
 */

const MAGIC = 0x4e414c48;
const VERSION = 1;
// Words of 32 bits.
const W = {
  magic: 0,
  version: 1,
  capacity: 2,
  slots: 3,
  checksum: 4,
  high: 5,
  low: 6,
  write: 16,
  last: 17,
  producer: 18,
  sent: 19,
  open: 20,
  dropped: 21,
  feedbackDropped: 22,
  producerLost: 23,
  read: 32,
  consumer: 33,
  received: 34,
  corrupted: 35,
  lost: 36,
  dataSleeper: 48,
  dataWord: 49,
  roomSleeper: 50,
  roomWord: 51,
  closed: 52,
  states: 64,
};
const FREE = 0;
const READY = 1;
const CONSUMING = 2;
const FEEDBACK = 3;
// bytes of a capsule's header: bytes, type, sequence, checksum, time (8 bytes, nanoseconds), grant,
// reserved
const HEADER = 32;
const LATENCY_MS = 0.001; // that a batch may delay a byte
const WAIT_MS = 2; // a sleeper looks by itself that often
/** What the consumer's word `dataSleeper` asks the producer to do. */
const NOTIFY = 1;
const BELL = 2; // ring a bell, where the consumer's thread must not wait

export const Verdict = { ACCEPTED: 0, CORRUPTED: 1, THROTTLED: 2, SKIPPED: 3, LOST: 4 };

const up = (/** @type {number} */ n, /** @type {number} */ to) => Math.ceil(n / to) * to;

/**
 * A moment within a spin, so that looking for the other side's index does not slow that side down.
 * @type {() => void}
 */
export const pause =
  /** @type {any} */ (Atomics).pause?.bind(Atomics) ??
  (() => {
    for (let i = 0; i < 60; i++) spun = (spun + i) | 0;
  });
let spun = 0;

/** @type {Uint32Array[]} */
let tables = [];
/** CRC-32C of `bytes`. @param {Uint8Array} bytes */
export function crc32c(bytes) {
  if (!tables.length) {
    tables = Array.from({ length: 4 }, () => new Uint32Array(256));
    for (let i = 0; i < 256; i++) {
      let c = i;
      for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
      tables[0][i] = c;
    }
    for (let t = 1; t < 4; t++)
      for (let i = 0; i < 256; i++)
        tables[t][i] = (tables[t - 1][i] >>> 8) ^ tables[0][tables[t - 1][i] & 255];
  }
  const [t0, t1, t2, t3] = tables;
  let crc = -1;
  let i = 0;
  for (const end = bytes.length - 3; i < end; i += 4) {
    crc ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    crc = t3[crc & 255] ^ t2[(crc >>> 8) & 255] ^ t1[(crc >>> 16) & 255] ^ t0[crc >>> 24];
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]) & 255];
  return ~crc >>> 0;
}

/**
 * A new, empty lane.
 * @param {{capacity?: number, slots?: number, checksum?: boolean, shared?: boolean}} [options]
 *   capacity in bytes (64 KiB); slots: capsules under way at most (256)
 * @returns {SharedArrayBuffer | ArrayBuffer}
 */
export function createLane({ capacity = 65536, slots = 256, checksum = true, shared = true } = {}) {
  capacity = up(capacity, 64);
  slots = Math.max(16, 2 ** Math.ceil(Math.log2(slots)));
  const bytes = 256 + slots * 4 + capacity + 64;
  const buffer = shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
  const words = new Int32Array(buffer, 0, 64);
  words[W.version] = VERSION;
  words[W.capacity] = capacity;
  words[W.slots] = slots;
  words[W.checksum] = checksum ? 1 : 0;
  words[W.high] = Math.floor(capacity / 4) * 3;
  words[W.low] = capacity / 2;
  words[W.magic] = MAGIC;
  return buffer;
}

/**
 * Numbers of a lane, as they are now.
 * @param {SharedArrayBuffer | ArrayBuffer} buffer
 * @param {string} [name]
 * @returns {LaneStats}
 */
export function describeLane(buffer, name = '') {
  const words = new Int32Array(buffer, 0, 64);
  const at = (/** @type {number} */ word) => Atomics.load(words, word) >>> 0;
  const write = at(W.write);
  const read = at(W.read);
  return {
    name,
    sent: at(W.sent),
    received: at(W.received),
    dropped: at(W.dropped),
    corrupted: at(W.corrupted),
    lost: at(W.lost) + at(W.producerLost),
    usedBytes: write >= read ? write - read : at(W.capacity) - read + write,
    capacityBytes: at(W.capacity),
  };
}

/**
 * Frees the end that a dead owner held; for whoever knows of its death.
 * @param {SharedArrayBuffer | ArrayBuffer} buffer
 * @param {number} owner
 */
export function evict(buffer, owner) {
  const words = new Int32Array(buffer, 0, 64);
  for (const end of [W.producer, W.consumer]) Atomics.compareExchange(words, end, owner, 0);
}

class End {
  /** @param {SharedArrayBuffer | ArrayBuffer} buffer @param {number} end @param {number} owner */
  constructor(buffer, end, owner) {
    this.words = new Int32Array(buffer);
    const w = this.words;
    if (
      w.length < 64 ||
      w[W.magic] !== MAGIC ||
      w[W.version] !== VERSION ||
      w[W.capacity] % 64 ||
      w[W.slots] & (w[W.slots] - 1)
    )
      throw new Error('the buffer holds no lane of this version');
    this.capacity = w[W.capacity];
    this.slots = w[W.slots];
    this.checksum = w[W.checksum] === 1;
    this.start = 256 + this.slots * 4;
    /** The ring: what reserve and read give are offsets into these. */
    this.bytes = new Uint8Array(buffer, this.start, this.capacity);
    this.int32 = new Int32Array(buffer, this.start, this.capacity >> 2);
    this.float64 = new Float64Array(buffer, this.start, this.capacity >> 3);
    if (Atomics.compareExchange(w, end, 0, owner) !== 0)
      throw new Error('another holds this end of the lane: evict it when it is dead');
    this.end = end;
  }

  /** Adds one to a word that only this side writes. @param {number} word */
  count(word) {
    Atomics.store(this.words, word, this.words[word] + 1);
  }

  /** @param {number} sequence */
  state(sequence) {
    return W.states + (sequence & (this.slots - 1));
  }

  close() {
    Atomics.store(this.words, W.closed, 1);
    for (const word of [W.dataWord, W.roomWord]) {
      Atomics.add(this.words, word, 1);
      Atomics.notify(this.words, word);
    }
  }
}

export class LaneProducer extends End {
  /**
   * @param {SharedArrayBuffer | ArrayBuffer} buffer @param {number} owner not 0
   * @param {{ring?: () => void}} [options] ring: the bell, when the consumer can not wait
   */
  constructor(buffer, owner, { ring = () => {} } = {}) {
    super(buffer, W.producer, owner);
    const w = this.words;
    this.ring = ring;
    const within = (/** @type {number} */ index) => Math.min(index >>> 0, this.capacity);
    this.write = this.published = within(Atomics.load(w, W.write));
    this.read = within(Atomics.load(w, W.read));
    this.limit = 0; // up to where nothing has to be looked at
    this.grant = 0;
    this.batch = 1;
    this.due = 0; // where the batch is full
    this.publishes = 0;
    this.adapted = 0;
    this.sequence = this.collected = Atomics.load(w, W.sent);
    this.throttled = false;
    Atomics.add(w, W.producerLost, Atomics.exchange(w, W.open, 0));
  }

  /**
   * Where `count` contiguous bytes may be written, an offset into the ring; -1: no room now. At
   * most half the capacity.
   * @param {number} count
   */
  reserve(count) {
    return this.write + count <= this.limit ? (this.grant = this.write) : this.#reserve(count);
  }

  /** @param {number} count */
  #reserve(count) {
    for (let fresh = false; ; fresh = true) {
      // not up to `read`: a full ring would look empty
      this.limit = this.write >= this.read ? this.capacity : this.read - 1;
      if (this.write + count <= this.limit) return (this.grant = this.write);
      if (this.write >= this.read && count < this.read) {
        this.due = 0; // the commit will wrap
        return (this.grant = 0);
      }
      if (fresh) return -1;
      const read = Atomics.load(this.words, W.read) >>> 0;
      if (read > this.capacity) return -1; // damaged
      this.read = read;
    }
  }

  /**
   * The first `count` bytes of what was reserved are written; shown to the consumer with the rest
   * of their batch.
   * @param {number} count
   */
  commit(count) {
    const end = this.grant + count;
    if (end < this.due) this.write = end;
    else this.#commit(end);
  }

  /** A batch is full, or the ring wraps. @param {number} end */
  #commit(end) {
    if (this.grant !== this.write) {
      Atomics.store(this.words, W.last, this.write);
      this.limit = this.read - 1;
    }
    this.write = end;
    this.flush();
    if (++this.publishes === 64) this.#adapt();
  }

  flush() {
    if (this.published === this.write) return;
    this.published = this.write;
    this.due = this.write + this.batch;
    Atomics.store(this.words, W.write, this.write);
    const sleeper = Atomics.load(this.words, W.dataSleeper);
    if (sleeper) this.#wake(sleeper);
  }

  #wake(/** @type {number} */ sleeper) {
    Atomics.add(this.words, W.dataWord, 1);
    if (sleeper === NOTIFY) Atomics.notify(this.words, W.dataWord);
    else if (Atomics.compareExchange(this.words, W.dataSleeper, BELL, 0) === BELL) this.ring();
  }

  #adapt() {
    const now = performance.now();
    const most = this.capacity / 8;
    if (this.adapted && now > this.adapted)
      this.batch = Math.min(
        Math.max(Math.floor((this.publishes * this.batch * LATENCY_MS) / (now - this.adapted)), 1),
        most,
      );
    this.adapted = now;
    this.publishes = 0;
  }

  #used() {
    return this.write >= this.read
      ? this.write - this.read
      : this.capacity - this.read + this.write;
  }

  /** @param {number} bytes with the header */
  #hasRoom(bytes) {
    const state = Atomics.load(this.words, this.state(this.sequence)) & 0xff;
    if (state === READY || state === CONSUMING) return false;
    if (this.throttled) {
      this.read = Math.min(Atomics.load(this.words, W.read) >>> 0, this.capacity);
      if (this.#used() > this.words[W.low]) return false;
      this.throttled = false;
    }
    return this.reserve(bytes) >= 0;
  }

  /** The largest payload of a capsule. */
  get most() {
    return this.capacity / 2 - HEADER;
  }

  /**
   * Room for a payload, to be filled and sent; null: none now.
   * @param {number} bytes @returns {Uint8Array | null}
   */
  begin(bytes) {
    if (bytes > this.most)
      throw new RangeError(
        `a capsule of ${bytes} bytes is more than this lane ever holds (${this.most})`,
      );
    if (!this.#hasRoom(up(HEADER + bytes, 8))) return null;
    Atomics.store(this.words, W.open, 1);
    return this.bytes.subarray(this.grant + HEADER, this.grant + HEADER + bytes);
  }

  /**
   * As begin, waiting for room with Atomics.wait: not on a page's main thread. Null: the lane was
   * closed.
   * @param {number} bytes
   * @returns {Uint8Array | null}
   */
  beginBlocking(bytes) {
    for (;;) {
      const seen = Atomics.load(this.words, W.roomWord);
      const room = this.begin(bytes);
      if (room) return room;
      Atomics.store(this.words, W.roomSleeper, 1);
      const now = this.begin(bytes);
      if (now || Atomics.load(this.words, W.closed)) {
        Atomics.store(this.words, W.roomSleeper, 0);
        return now;
      }
      Atomics.wait(this.words, W.roomWord, seen, WAIT_MS);
      Atomics.store(this.words, W.roomSleeper, 0);
    }
  }

  /** Counts a capsule that found no room. */
  drop() {
    this.count(W.dropped);
  }

  /** Sends the first `bytes` of what was begun. @param {number} type @param {number} bytes */
  send(type, bytes) {
    const w = this.words;
    const h = this.grant >> 2;
    const grant = up(HEADER + bytes, 8);
    const ns = Math.round(performance.now() * 1e6);
    this.int32[h] = bytes;
    this.int32[h + 1] = type;
    this.int32[h + 2] = this.sequence;
    this.int32[h + 3] = this.checksum
      ? crc32c(this.bytes.subarray(this.grant + HEADER, this.grant + HEADER + bytes))
      : 0;
    this.int32[h + 4] = ns >>> 0;
    this.int32[h + 5] = Math.floor(ns / 2 ** 32);
    this.int32[h + 6] = grant;
    this.int32[h + 7] = 0;
    const state = this.state(this.sequence);
    if ((Atomics.load(w, state) & 0xff) === FEEDBACK) {
      this.count(W.feedbackDropped);
      this.collected++;
    }
    Atomics.store(w, state, READY);
    this.sequence = (this.sequence + 1) | 0;
    Atomics.store(w, W.sent, this.sequence);
    Atomics.store(w, W.open, 0);
    this.commit(grant);
    this.flush();
    if (this.#used() > w[W.high]) this.throttled = true;
  }

  /**
   * The next verdict, in order; null: none yet.
   * @returns {{sequence: number, verdict: number} | null}
   */
  feedback() {
    if (this.collected === this.sequence) return null;
    const state = this.state(this.collected);
    const word = Atomics.load(this.words, state);
    if ((word & 0xff) !== FEEDBACK) return null;
    Atomics.store(this.words, state, FREE);
    return { sequence: this.collected++, verdict: word >> 8 };
  }

  leave() {
    this.flush();
    Atomics.store(this.words, W.producer, 0);
  }
}

// after which a consumer without a bell looks by itself: nobody wakes it when it is closed, or when
// a wake is lost
const LOOK_MS = 1000;

export class LaneConsumer extends End {
  /** @param {SharedArrayBuffer | ArrayBuffer} buffer @param {number} owner not 0 */
  constructor(buffer, owner) {
    super(buffer, W.consumer, owner);
    const w = this.words;
    this.at = this.write = Math.min(Atomics.load(w, W.read) >>> 0, this.capacity);
    this.last = 0;
    this.sequence = Atomics.load(w, W.received);
    /** How many bytes `read` found, from `at`. */
    this.length = 0;
    /** @type {(() => void) | null} */
    this.bell = null;
    // What the one before was at when it died is not tried again.
    if ((Atomics.load(w, this.state(this.sequence)) & 0xff) === CONSUMING && this.read()) {
      this.count(W.lost);
      this.#done(this.int32[(this.at >> 2) + 6], Verdict.LOST);
    }
  }

  /** Looks for bytes: their count, from the offset `at` of the ring; 0: none. */
  read() {
    for (let fresh = false; ; fresh = true) {
      if (this.write < this.at) {
        if (this.at < this.last) return (this.length = this.last - this.at);
        this.at = 0;
      }
      if (this.write !== this.at) return (this.length = this.write - this.at);
      if (fresh) return (this.length = 0);
      this.write = Atomics.load(this.words, W.write);
      this.last = Atomics.load(this.words, W.last);
      // indices that can not be: damaged
      if (this.write >>> 0 > this.capacity || this.last >>> 0 > this.capacity) this.write = this.at;
    }
  }

  /** The first `count` bytes of what was read are done with. @param {number} count */
  release(count) {
    this.at += count;
    Atomics.store(this.words, W.read, this.at);
    if (Atomics.load(this.words, W.roomSleeper)) {
      Atomics.add(this.words, W.roomWord, 1);
      Atomics.notify(this.words, W.roomWord);
    }
  }

  #done(/** @type {number} */ grant, /** @type {number} */ verdict) {
    Atomics.store(this.words, this.state(this.sequence), FEEDBACK | (verdict << 8));
    this.sequence = (this.sequence + 1) | 0;
    Atomics.store(this.words, W.received, this.sequence);
    this.release(grant);
  }

  /**
   * The next capsule; null: none now. Damaged ones are counted, told to the producer, and skipped.
   * @returns {Capsule | null}
   */
  receive() {
    for (;;) {
      const bytes = this.read();
      if (!bytes) return null;
      Atomics.store(this.words, this.state(this.sequence), CONSUMING);
      const h = this.at >> 2;
      const [length, type, sequence, checksum, low, high, grant] = this.int32.subarray(h, h + 7);
      const fits =
        this.at % 8 === 0 &&
        bytes >= HEADER &&
        grant >= HEADER &&
        grant <= bytes &&
        grant % 8 === 0 &&
        length >= 0 &&
        length <= grant - HEADER &&
        sequence === this.sequence;
      const payload = fits
        ? this.bytes.subarray(this.at + HEADER, this.at + HEADER + length)
        : this.bytes.subarray(0, 0);
      if (fits && (!this.checksum || crc32c(payload) === checksum >>> 0))
        return {
          sequence: sequence >>> 0,
          type: type >>> 0,
          time: ((high >>> 0) * 2 ** 32 + (low >>> 0)) / 1e6,
          payload,
          grant,
        };
      this.count(W.corrupted);
      if (fits) this.#done(grant, Verdict.CORRUPTED);
      else {
        // Where the next one begins is not known: all that is there goes.
        Atomics.store(this.words, this.state(this.sequence), FEEDBACK | (Verdict.CORRUPTED << 8));
        this.sequence = Atomics.load(this.words, W.sent);
        Atomics.store(this.words, W.received, this.sequence);
        this.release(bytes);
      }
    }
  }

  /** @param {Capsule} capsule @param {number} [verdict] */
  accept(capsule, verdict = Verdict.ACCEPTED) {
    this.#done(capsule.grant, verdict);
  }

  get closed() {
    return Atomics.load(this.words, W.closed) !== 0;
  }

  /**
   * Sleeps until there is something to read, with Atomics.wait: not on a page's main thread. False:
   * closed and empty.
   */
  wait() {
    for (;;) {
      const seen = Atomics.load(this.words, W.dataWord);
      Atomics.store(this.words, W.dataSleeper, NOTIFY);
      const found = this.read() > 0;
      const closed = this.closed;
      if (!found && !closed) Atomics.wait(this.words, W.dataWord, seen, WAIT_MS);
      Atomics.store(this.words, W.dataSleeper, 0);
      if (found || this.read()) return true;
      if (closed) return false;
    }
  }

  /**
   * Waits without blocking: by Atomics.waitAsync, or for the bell (`rung`) that the producer's side
   * carries over.
   * @param {boolean} [bell] @returns {Promise<void>}
   */
  async arrived(bell = true) {
    const seen = Atomics.load(this.words, W.dataWord);
    /** @type {Promise<void>} */
    const rings = new Promise(resolve => (this.bell = resolve));
    Atomics.store(this.words, W.dataSleeper, bell ? BELL : NOTIFY);
    if (!this.read() && !this.closed) {
      if (bell) await rings;
      else
        await /** @type {any} */ (Atomics).waitAsync(this.words, W.dataWord, seen, LOOK_MS).value;
    }
    Atomics.store(this.words, W.dataSleeper, 0);
  }

  /** The producer's bell has been heard. */
  rung() {
    this.bell?.();
  }

  leave() {
    Atomics.store(this.words, W.consumer, 0);
  }
}
