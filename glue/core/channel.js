// Messages from the engine's worker to the page: over a lane where memory can be shared, else by
// postMessage. Both ends have one interface. A message is JSON, with one typed array beside it
// where the value is or holds one: [bytes of JSON, JSON, padding, bytes of the array].
import { LaneConsumer, LaneProducer, createLane, describeLane } from './lane.js';

const LANE_BYTES = 1 << 20;
const WHOLE = 1; // a capsule that ends a message
const PART = 2; // one that another follows
const WORKER = 1; // owners of the lane's ends
const PAGE = 2;
/** @type {Record<string, any>} */
const ARRAYS = { Float32Array, Uint8Array };

/** May this thread share memory with its workers? */
export const canShare = () =>
  typeof SharedArrayBuffer === 'function' &&
  /** @type {any} */ (globalThis).crossOriginIsolated !== false;
const waitsAsync = () =>
  // Node does not stay alive for it
  typeof (/** @type {any} */ (Atomics).waitAsync) === 'function' && typeof process === 'undefined';

/** @param {unknown} message @returns {Uint8Array} */
function encode(message) {
  /** @type {any} */
  let array = null;
  const json = new TextEncoder().encode(
    JSON.stringify(message, (_, value) => {
      if (!ArrayBuffer.isView(value)) return value;
      array = value;
      return { $array: value.constructor.name };
    }),
  );
  const at = (4 + json.length + 7) & ~7;
  const out = new Uint8Array(at + (array?.byteLength ?? 0));
  new Uint32Array(out.buffer, 0, 1)[0] = json.length;
  out.set(json, 4);
  if (array) out.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at);
  return out;
}

/** @param {Uint8Array} bytes of its own buffer */
function decode(bytes) {
  const [length] = new Uint32Array(bytes.buffer, 0, 1);
  const at = (4 + length + 7) & ~7;
  return JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)), (_, value) =>
    value && ARRAYS[value.$array] ? new ARRAYS[value.$array](bytes.slice(at).buffer) : value,
  );
}

/**
 * The worker's end.
 * @param {SharedArrayBuffer | undefined} lane
 * @param {(message: unknown) => void} post the host's own way
 * @returns {(message: unknown) => void}
 */
export function sender(lane, post) {
  if (!lane) return post;
  const producer = new LaneProducer(lane, WORKER, { ring: () => post({ bell: true }) });
  return message => {
    const bytes = encode(message);
    for (let at = 0; at < bytes.length;) {
      const count = Math.min(bytes.length - at, producer.most);
      const room = producer.beginBlocking(count);
      if (!room) return; // closed: nobody listens any more
      room.set(bytes.subarray(at, at + count));
      at += count;
      producer.send(at < bytes.length ? PART : WHOLE, count);
    }
  };
}

/** The page's end: hands every message to `take`, in order. */
export class Receiver {
  /** @type {SharedArrayBuffer | undefined} */
  lane = undefined;
  /** @type {LaneConsumer | undefined} */
  #consumer = undefined;
  #open = true;
  #take;

  /**
   * @param {(message: any) => void} take throws nothing
   * @param {(error: unknown) => void} fail nothing more will come
   */
  constructor(take, fail) {
    this.#take = take;
    if (!canShare()) return;
    this.lane = /** @type {SharedArrayBuffer} */ (
      createLane({ capacity: LANE_BYTES, slots: 1024 })
    );
    this.#consumer = new LaneConsumer(this.lane, PAGE);
    this.#drain(this.#consumer).catch(fail);
  }

  /** @param {LaneConsumer} consumer */
  async #drain(consumer) {
    /** @type {Uint8Array[]} */
    let parts = [];
    while (this.#open) {
      const capsule = consumer.receive();
      if (!capsule) {
        await consumer.arrived(!waitsAsync());
        continue;
      }
      parts.push(capsule.payload.slice());
      consumer.accept(capsule);
      if (capsule.type === PART) continue;
      const whole =
        parts.length === 1
          ? parts[0]
          : new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
      if (parts.length > 1) parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
      parts = [];
      this.#take(decode(whole));
    }
  }

  /** A message that came by postMessage. @param {any} message */
  posted(message) {
    if (message.bell) this.#consumer?.rung();
    else this.#take(message);
  }

  /** @returns {import('./lane.js').LaneStats[]} */
  stats() {
    return this.lane ? [describeLane(this.lane, 'worker to page')] : [];
  }

  close() {
    this.#open = false;
    this.#consumer?.close();
    this.#consumer?.rung();
  }
}
