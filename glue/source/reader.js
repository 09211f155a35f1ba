// The worker's end of carry.js: sources that it reads through the thread that has them.

/** @typedef {import('./source.js').Source} Source */
/** @typedef {import('./carry.js').Ask} Ask */
/** @typedef {import('./carry.js').Reply} Reply */

export class Reader {
  #ask;
  /** @type {Map<number, (reply: Reply) => void>} */
  #waiting = new Map();
  #next = 1;

  /** @param {(ask: Partial<Ask>) => void} ask */
  constructor(ask) {
    this.#ask = ask;
  }

  /** @param {Reply} reply */
  replied(reply) {
    this.#waiting.get(reply.reply)?.(reply);
    this.#waiting.delete(reply.reply);
  }

  /** A source as `openSource` takes it. @param {any} told @returns {Source} */
  source(told) {
    if ('plain' in told) return told.plain;
    if (told.body)
      return told.headers ? new Response(told.body, { headers: told.headers }) : told.body;
    const { own: source, size, sequential } = told;
    return {
      size,
      sequential,
      read: (offset, count) =>
        new Promise((resolve, reject) => {
          const ticket = this.#next++;
          this.#waiting.set(ticket, ({ data, error }) =>
            error
              ? reject(Object.assign(new Error(error.message), { name: error.name }))
              : resolve(/** @type {any} */ (data)),
          );
          this.#ask({ source, ticket, offset, count });
        }),
      close: () => this.#ask({ source, close: true }),
    };
  }
}
