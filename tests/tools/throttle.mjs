// A line of a given speed that all connections of a server share, for what depends on how fast
// bytes come.
import { setTimeout as sleep } from 'node:timers/promises';

const PACKET_BYTES = 65536;
const LATE_MS = 10; // that the line makes up for, when this process was not called in time

/** A line: packets one after the other, each delivered when its last byte would be. */
export class Line {
  #perMs;
  #free = 0; // when the line has sent what it was given, in ms
  /** @type {Promise<void>} */
  #last = Promise.resolve();
  sent = 0; // bytes

  /** @param {number} bytesPerSecond Infinity: no limit */
  constructor(bytesPerSecond) {
    this.#perMs = bytesPerSecond / 1000;
  }

  /**
   * Resolves when `bytes` have gone through, after those that came before.
   * @param {number} bytes
   */
  carry(bytes) {
    const turn = this.#last.then(async () => {
      this.#free = Math.max(this.#free, performance.now() - LATE_MS * Number(this.sent > 0));
      this.#free += bytes / this.#perMs;
      this.sent += bytes;
      const wait = this.#free - performance.now();
      if (wait > 0) await sleep(wait);
    });
    this.#last = turn;
    return turn;
  }

  /**
   * Ends an answer with `body`, as fast as the line and the reader allow.
   * @param {import('node:http').ServerResponse} response
   * @param {Uint8Array} body
   */
  async send(response, body) {
    for (let at = 0; at < body.length; at += PACKET_BYTES) {
      const packet = body.subarray(at, at + PACKET_BYTES);
      await this.carry(packet.length);
      if (response.destroyed) return;
      if (!response.write(packet))
        await new Promise(resolve => {
          const go = () => {
            response.off('drain', go);
            response.off('close', go);
            resolve(undefined);
          };
          response.on('drain', go);
          response.on('close', go);
        });
      if (response.destroyed) return;
    }
    response.end();
  }
}
