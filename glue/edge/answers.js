// Answers for requests: whole or as events, ended with their reader, and handed on by their state
// where one request is not to make the whole of one.
import { checkFunction } from '../core/check.js';
import { answerOf } from '../model/answer.js';
import { openaiOf } from '../model/openai.js';
import { events, problem } from './http.js';
import { base64, ofBase64, packed, unpacked } from './state.js';

/** @typedef {import('../model/answer.js').Answer} Answer */
/** @typedef {import('../model/session.js').Session} Session */
/** @typedef {import('./isolate.js').Host} Host */
/** @typedef {import('./isolate.js').Isolate} Isolate */
/** @typedef {import('./state.js').Left} Left */
/** @typedef {import('./state.js').States} States */
/**
 * What a request wants of its answer.
 * @typedef {object} Wanted
 * @property {'chat' | 'text'} kind
 * @property {boolean} state handed back where the answer is not over
 * @property {number} tokens at most, in this request and those that go on with it
 * @property {Left | null} left of an earlier request
 */

const WITHOUT_END = 2 ** 32 - 1;
const LEGACY_TOKENS = 16; // of completions without max_tokens
const PLACEHOLDER = { chat: { messages: [{ role: 'user', content: '' }] }, text: { prompt: '' } };

/**
 * The first `most` tokens of an answer. What is held back for a stop text stays in the session.
 * @param {Answer} answer @param {number} most @param {() => void} sliced called where it goes on
 * @returns {Answer}
 */
const firstOf = (answer, most, sliced) =>
  answerOf(async function* (record) {
    let made = 0;
    try {
      for (;;) {
        const { value: piece, done } = await answer.next();
        if (done) return;
        if (piece.finish) record(/** @type {any} */ (answer.usage ?? piece.usage));
        if (piece.finish || ++made < most) yield piece;
        if (piece.finish) return;
        if (made < most) continue;
        await answer.return();
        sliced();
        if (answer.usage) record(answer.usage);
        yield { ...piece, finish: 'length' };
        return;
      }
    } finally {
      await answer.return();
    }
  });

export class Answers {
  #isolate;
  #options;
  /** under way */
  count = 0;

  /**
   * @param {Isolate} isolate
   * @param {{answers: number, maxTokens: number, sliceTokens: number, stateSeconds: number,
   *   states?: States | ((env: any) => States)}} options
   */
  constructor(isolate, options) {
    this.#isolate = isolate;
    this.#options = options;
  }

  /** @param {Host} host @returns {States | null} */
  #states(host) {
    const { states } = this.#options;
    const store = typeof states === 'function' ? states(host.env) : (states ?? null);
    if (store)
      for (const name of ['get', 'put', 'delete'])
        checkFunction(`states.${name}`, /** @type {any} */ (store)[name]);
    return store;
  }

  /**
   * @param {'chat' | 'text'} kind @param {any} body
   * @param {AbortSignal | null | undefined} signal the client's
   * @param {Host} host
   * @returns {Promise<Response>}
   */
  async answer(kind, body, signal, host) {
    const { answers } = this.#options;
    if (this.count >= answers)
      throw problem(429, 'too_many_answers', `${answers} answers are under way, which is the most`);
    this.count++;
    let free = () => {
      this.count--;
      free = () => {};
    };
    try {
      return await this.#answer(kind, body, signal, host, () => free());
    } catch (error) {
      free();
      throw error;
    }
  }

  /**
   * @param {'chat' | 'text'} kind @param {any} body
   * @param {AbortSignal | null | undefined} signal @param {Host} host @param {() => void} free
   */
  async #answer(kind, { state, resume, ...asked }, signal, host, free) {
    if (state !== undefined && state !== null && typeof state !== 'boolean')
      throw problem(400, 'invalid_type', 'state must be true or false', 'state');
    const states = this.#states(host);
    const earlier = await this.#earlier(kind, resume, states);
    const ready = await this.#isolate.ready(host);
    const { core, model } = ready;
    const { maxTokens, sliceTokens } = this.#options;
    const most = asked.max_completion_tokens ?? asked.max_tokens;
    const usual = earlier?.left.tokens || (kind === 'text' ? LEGACY_TOKENS : maxTokens);
    const tokens = Math.min(most ?? usual, maxTokens);
    const slice = Math.min(tokens, sliceTokens || tokens);
    const handsOn = state === true || (states !== null && tokens > slice);

    /** @type {Session | null} */
    let session = null;
    if (earlier) session = await this.#restored(model, earlier.state);
    else if (handsOn) session = await model.session();
    let goesOn = false;
    const own = session;
    const close = async () => {
      session = null;
      await own?.close();
    };
    const first = (/** @type {(more: {maxTokens: number}) => Answer} */ ask) =>
      handsOn && slice > 0
        ? firstOf(ask({ maxTokens: WITHOUT_END }), slice, () => (goesOn = true))
        : ask({ maxTokens: slice });
    const from = session ?? model;
    const served = /** @type {any} */ ({
      facts: model.facts,
      generate: (/** @type {any} */ prompt, /** @type {any} */ options) =>
        first(more =>
          earlier
            ? /** @type {Session} */ (own).resume({ ...more, signal: options.signal })
            : from.generate(prompt, { ...options, ...more }),
        ),
      chat: (/** @type {any} */ messages, /** @type {any} */ options) =>
        first(more =>
          earlier
            ? /** @type {Session} */ (own).resume({ ...more, signal: options.signal })
            : from.chat(messages, { ...options, ...more }),
        ),
    });
    const client = openaiOf(served);
    /** @type {(request: any, options: {signal: AbortSignal}) => Promise<any>} */
    const create = kind === 'chat' ? client.chat.completions.create : client.completions.create;
    const ended = new AbortController();
    const end = () => ended.abort(problem(499, 'client_closed_request', 'the client is gone'));
    if (signal?.aborted) end();
    signal?.addEventListener('abort', end);
    /** @template T @param {Promise<T>} promise */
    const drive = promise => this.#isolate.drive(core, host, promise);

    /** The answer's name in all its requests. @param {any} chunk */
    const named = chunk =>
      earlier ? { ...chunk, id: earlier.left.id, created: earlier.left.created } : chunk;
    /** Its state, where it is not over. @param {any} chunk of the answer */
    const handedOn = async chunk => {
      if (!goesOn || !own) {
        if (earlier && states) await states.delete(resume);
        return undefined;
      }
      const { id, created } = chunk;
      const bytes = packed({ kind, id, created, tokens: tokens - slice }, await own.save());
      if (!states) return base64(bytes);
      const name = crypto.randomUUID();
      await states.put(name, bytes, { ttl: this.#options.stateSeconds });
      if (earlier) await states.delete(resume);
      return name;
    };
    const over = async () => {
      free();
      signal?.removeEventListener('abort', end);
      await close();
    };

    try {
      const request = earlier ? { ...asked, ...PLACEHOLDER[kind] } : asked;
      const result = await drive(create({ ...request }, { signal: ended.signal }));
      if (!request.stream) {
        const whole = named(result);
        const id = await handedOn(whole);
        await over();
        return Response.json(id === undefined ? whole : { ...whole, state: id });
      }
      return this.#events(result, drive, { named, handedOn, over, end, host });
    } catch (error) {
      await over();
      const { code } = /** @type {any} */ (error)?.cause ?? {};
      if (code === 'HYP_E_IO') this.#isolate.unreadable(ready);
      throw error;
    }
  }

  /**
   * @param {import('../model/openai.js').Stream<any>} stream
   * @param {<T>(promise: Promise<T>) => Promise<T>} drive
   * @param {{named: (chunk: any) => any, handedOn: (chunk: any) => Promise<string | undefined>,
   *   over: () => Promise<void>, end: () => void, host: Host}} answer
   */
  #events(stream, drive, { named, handedOn, over, end, host }) {
    const chunks = stream[Symbol.asyncIterator]();
    /** @type {any} */
    let last = null;
    let told = false;
    const next = async () => {
      const { value, done } = told ? { value: undefined, done: true } : await drive(chunks.next());
      if (!done) return { value: (last = named(value)), done: false };
      if (told || !last) return { value: undefined, done: true };
      told = true;
      const state = await handedOn(last);
      if (state === undefined) return { value: undefined, done: true };
      const { id, object, created, model } = last;
      return { value: { id, object, created, model, choices: [], state }, done: false };
    };
    return events(next, () => {
      end();
      // The engine gives up what it computes: it has to run for that.
      const ending = drive(Promise.resolve(chunks.return()).then(over)).catch(() => {});
      host.hold(ending);
    });
  }

  /** @param {'chat' | 'text'} kind @param {any} resume @param {States | null} states */
  async #earlier(kind, resume, states) {
    if (resume === undefined || resume === null) return null;
    if (typeof resume !== 'string')
      throw problem(
        400,
        'invalid_type',
        'resume must be a text: what an answer has given as state',
        'resume',
      );
    const bytes = states ? await states.get(resume) : ofBase64(resume);
    if (!bytes)
      throw problem(404, 'state_not_found', 'there is no such state, or not any more', 'resume');
    const earlier = unpacked(
      new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength),
    );
    if (earlier.left.kind !== kind)
      throw problem(
        400,
        'invalid_state',
        'this state is of the other kind of completion',
        'resume',
      );
    return earlier;
  }

  /** @param {import('../model/model.js').Model} model @param {Uint8Array} state */
  async #restored(model, state) {
    try {
      return await model.restore(state);
    } catch (error) {
      const { code, message } = /** @type {any} */ (error);
      if (code === 'HYP_E_NOMEM' || code === 'HYP_E_HOST') throw error;
      throw problem(400, 'invalid_state', message, 'resume');
    }
  }
}
