// Numbers that a seed gives, the same ones on every machine.

export class Random {
  #state;

  /** @param {number} seed */
  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** Of 32 bits. */
  draw() {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 to n - 1. @param {number} n */
  below(n) {
    return Math.floor((this.draw() / 2 ** 32) * n);
  }

  /** @param {number} percent */
  chance(percent) {
    return this.below(100) < percent;
  }

  /** @template T @param {T[]} values */
  of(values) {
    return values[this.below(values.length)];
  }

  fork() {
    return new Random(this.draw());
  }
}
