// Running texts of a model: what a session of the core is to the glue, and what it is to the user.
import { checkTokens, optionsJson, refuse, shown } from '../core/check.js';
import { asyncDispose } from '../core/dispose.js';
import { HyperionError } from '../core/errors.js';
import { throwIfAborted } from '../core/signal.js';
import { CallKind, Finish as FINISH, Text } from '../generated/interface.js';
import { OPTIONS } from '../generated/options.js';
import { Answering, answerOf } from './answer.js';
import { checkGenerate, checkResume, named, purposeOf, sessionJson } from './options.js';
import { parts } from './parts.js';

/** @typedef {import('./chat.js').Message} Message */

/** @typedef {import('./options.js').SessionOptions} SessionOptions */
/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./options.js').ChatOptions} ChatOptions */
/** @typedef {import('./options.js').ResumeOptions} ResumeOptions */

/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {import('./answer.js').Finish} Finish */
/** @typedef {import('./answer.js').Percentiles} Percentiles */
/** @typedef {import('./answer.js').Piece} Piece */
/** @typedef {import('./answer.js').Usage} Usage */
/**
 * @typedef {{name: string, layer: number, ms: number, bytes: number, macs: number, beganMs: number,
 *   lastMs: number}} Operation since the session was made: time, bytes of weights or of the cache,
 *   multiply-adds; `beganMs`, `lastMs`: of the last step. `layer` -1: none
 */
/**
 * @typedef {{context: number, used: number, latencyMs: Percentiles, operations: Operation[]}}
 *   SessionStats `used`: tokens of its text. `latencyMs`: of computing its last 1024 tokens.
 *   `operations`: with the option `profile`
 */

/**
 * What a model's file says of it.
 * @typedef {object} Facts
 * @property {string} architecture as `llama`
 * @property {string} [name]
 * @property {string} [chatTemplate] without it `chat` is refused
 * @property {number} context tokens that it was made for
 * @property {number} dim width of its hidden states, and of embeddings
 * @property {number} layers
 * @property {number} heads
 * @property {number} kvHeads
 * @property {number} vocab how many tokens it knows
 * @property {number} parameters
 * @property {number} weightBytes
 * @property {number} bos token that begins a text; -1: none
 * @property {number} eos token that ends one; -1: none
 * @property {boolean} addsBos does a prompt begin with it?
 */
/**
 * What a session needs of its model.
 * @typedef {object} ModelHandle
 * @property {import('../core/core.js').Core} core
 * @property {number} pointer
 * @property {number} draft 0: none
 * @property {number[]} sources that its weights are read from, the draft model's too
 * @property {Facts} facts
 * @property {() => void} check throws when the model is closed
 * @property {() => boolean} makeRoom lets go of what nobody uses; false: there is nothing
 */

const LATENCIES = 1024;

/** @type {Finish[]} */
const FINISHES = [];
for (const [name, value] of Object.entries(FINISH))
  FINISHES[value] = /** @type {Finish} */ (name === 'NONE' ? '' : name.toLowerCase());

/** The flags of a text. @param {boolean} addSpecial @param {boolean} parseSpecial */
const flagsOf = (addSpecial, parseSpecial) =>
  (addSpecial ? Text.ADD_SPECIAL : 0) | (parseSpecial ? Text.PARSE_SPECIAL : 0);

/**
 * @param {ModelHandle} model
 * @param {string} text
 * @param {{addSpecial?: boolean, parseSpecial?: boolean}} [options]
 * @returns {number[]}
 */
export function tokenize({ core, pointer, check }, text, { addSpecial, parseSpecial } = {}) {
  check();
  core.run(
    'model_tokenize',
    pointer,
    core.inputText(text),
    flagsOf(addSpecial ?? true, parseSpecial ?? false),
  );
  return core.resultTokens();
}

/**
 * @param {ModelHandle} model
 * @param {ArrayLike<number>} tokens
 * @param {{parseSpecial?: boolean}} [options]
 * @returns {string}
 */
export function detokenize({ core, pointer, check }, tokens, { parseSpecial = false } = {}) {
  check();
  core.run('model_detokenize', pointer, core.inputTokens(tokens), flagsOf(false, parseSpecial));
  return core.resultText();
}

/**
 * What is to be continued, as tokens.
 * @param {ModelHandle} model
 * @param {string | ArrayLike<number>} prompt
 * @param {{addSpecial?: boolean, parseSpecial?: boolean}} options of a text
 * @returns {ArrayLike<number>}
 */
export function promptTokens(model, prompt, options) {
  if (typeof prompt === 'string') return tokenize(model, prompt, options);
  const first = /** @type {any} */ (Array.isArray(prompt) ? prompt[0] : prompt);
  if (first && typeof first === 'object' && 'role' in first)
    refuse('generate takes a text or tokens, and these are messages: use chat');
  return Int32Array.from(checkTokens(prompt));
}

/** @param {unknown} messages */
function checkMessages(messages) {
  if (!Array.isArray(messages))
    return refuse(
      `messages must be an array of {role, content}, not ${shown(messages)}: use generate to continue a text`,
    );
  if (!messages.length) refuse('a conversation needs at least one message');
  for (const message of messages) {
    if (typeof message?.role !== 'string')
      refuse(`a message must be {role, content}, not ${shown(message)}`);
    const { role, content } = message;
    // a call of a tool may say nothing
    if (content === undefined || content === null || typeof content === 'string') continue;
    if (!Array.isArray(content))
      refuse(
        `the content of a message (${role}) must be a text or an array of parts, not ${shown(content)}`,
      );
    for (const part of content) {
      if (part?.type !== 'text')
        throw new HyperionError(
          'HYP_E_UNSUPPORTED',
          `a message (${role}) has a part of type ${shown(part?.type)}: this model reads parts of type 'text' only`,
        );
      if (typeof part.text !== 'string')
        refuse(`the text of a message's part must be a text, not ${shown(part.text)}`);
    }
  }
}

/**
 * A conversation as the tokens of a prompt, by the model's own template.
 * @param {ModelHandle} model
 * @param {Message[]} messages
 * @param {ChatOptions} options
 * @returns {Promise<number[]>}
 */
export async function chatTokens(model, messages, { variables, tools, signal }) {
  checkMessages(messages);
  if (tools !== undefined && tools !== null && !Array.isArray(tools))
    refuse(`tools must be an array, not ${shown(tools)}`);
  if (!parts.chat)
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      'hyperion-runtime/slim has no chat: import from hyperion-runtime',
    );
  const { renderChat } = await parts.chat();
  model.check(); // it may have been closed meanwhile
  const { bos, eos, addsBos, chatTemplate } = model.facts;
  const special = (/** @type {number} */ token) =>
    token >= 0 ? detokenize(model, [token], { parseSpecial: true }) : '';
  const bosToken = special(bos);
  const text = renderChat(chatTemplate, messages, {
    bosToken,
    eosToken: special(eos),
    variables: variables ?? undefined,
    tools: tools ?? undefined,
    signal: signal ?? undefined,
  });
  const addSpecial = addsBos && !(bosToken && text.startsWith(bosToken));
  return tokenize(model, text, { addSpecial, parseSpecial: true });
}

export const stillUnderWay = () =>
  new HyperionError(
    'HYP_E_STATE',
    "the session's last answer is still under way: wait for its end, or use another session",
  );

/** By nearest rank. @param {number[]} values @returns {Percentiles} */
function percentiles(values) {
  const sorted = values.slice().sort((a, b) => a - b);
  const at = (/** @type {number} */ percent) =>
    sorted[Math.ceil((sorted.length * percent) / 100) - 1] ?? 0;
  return { p50: at(50), p90: at(90), p95: at(95), p99: at(99) };
}

/** A session of the core, used by one caller at a time: its owner sees to that by `busy`. */
export class Sequence {
  #model;
  /** its address; 0: destroyed */
  pointer = 0;
  busy = false;
  /** when it was given back last, in the order of such events */
  used = 0;

  /**
   * @param {ModelHandle} model
   * @param {number} purpose
   * @param {(core: import('../core/core.js').Core) => void} create whose result is the new session
   */
  constructor(model, purpose, create) {
    this.#model = model;
    this.purpose = purpose;
    const { core } = model;
    try {
      create(core);
    } catch (error) {
      if (/** @type {HyperionError} */ (error).code !== 'HYP_E_NOMEM' || !model.makeRoom())
        throw error;
      create(core);
    }
    this.pointer = core.resultPointer;
  }

  /**
   * Throws HYP_E_NOMEM when there is no memory for it, also after the model has made room.
   * @param {ModelHandle} model @param {SessionOptions} options @param {number} purpose
   */
  static create(model, options, purpose) {
    const config = { ...options, purpose: OPTIONS.session.purpose.choices[purpose] };
    const create = (/** @type {import('../core/core.js').Core} */ core) => {
      const bytes = core.inputText(sessionJson(config));
      core.run('session_create', model.pointer, model.draft, bytes);
    };
    return new Sequence(model, purpose, create);
  }

  /**
   * One that goes on where another was saved, with its options but for those given.
   * @param {ModelHandle} model @param {Uint8Array} state @param {SessionOptions} options
   */
  static restore(model, state, options) {
    const purpose = purposeOf();
    const config = { ...options, purpose: OPTIONS.session.purpose.choices[purpose] };
    const json = new TextEncoder().encode(sessionJson(config));
    const create = (/** @type {import('../core/core.js').Core} */ core) => {
      core.input(json, state);
      core.run('session_restore', model.pointer, model.draft, json.length, state.length);
    };
    return new Sequence(model, purpose, create);
  }

  /** One that has the same text, without computing it anew. HYP_E_STATE: a call is under way. */
  fork() {
    void this.#core;
    const create = (/** @type {import('../core/core.js').Core} */ core) =>
      core.run('session_fork', this.pointer);
    return new Sequence(this.#model, this.purpose, create);
  }

  /** @returns {Uint8Array} its state: text, cache, and the answer under way */
  save() {
    const core = this.#core;
    return core.written(this.pointer, () => core.run('session_save', this.pointer));
  }

  /** Pieces that nobody has got come again. @param {Piece[]} pieces */
  unread(pieces) {
    const core = this.#core;
    const numbers = pieces.flatMap(({ token, finish }) => [
      token,
      Math.max(FINISHES.indexOf(finish), 0), // the core knows nothing of 'length'
    ]);
    core.inputTokens(
      numbers,
      pieces.map(({ text }) => text),
    );
    core.run('session_unread', this.pointer, pieces.length);
  }

  /** Its text so far. @returns {number[]} */
  tokens() {
    const core = this.#core;
    core.run('session_tokens', this.pointer);
    return core.resultTokens();
  }

  /** The core, while this session is in it. */
  get #core() {
    this.#model.check();
    if (!this.pointer) throw new HyperionError('HYP_E_STATE', 'the session is closed');
    return this.#model.core;
  }

  /** How many of the input's `count` tokens its text begins with; -1: it has none. */
  common(/** @type {number} */ count) {
    return this.#core.call('session_common', this.pointer, count);
  }

  /** @param {number} purpose */
  setPurpose(purpose) {
    if (this.purpose === purpose) return;
    this.#core.call('session_set_purpose', this.pointer, purpose);
    this.purpose = purpose;
  }

  /**
   * Continues a text, piece by piece.
   * @param {ArrayLike<number>} tokens
   * @param {GenerateOptions} options
   * @param {(usage: Usage) => void} record
   * @returns {AsyncGenerator<Piece, void, void>}
   */
  generate(tokens, options, record) {
    return this.#tell(options, record, () => this.#begin(tokens, options));
  }

  /**
   * Goes on with the answer that was broken off.
   * @param {ResumeOptions} options
   * @param {(usage: Usage) => void} record
   * @returns {AsyncGenerator<Piece, void, void>}
   */
  resume(options, record) {
    return this.#tell(options, record, () => {
      if (!this.#core.call('session_answering', this.pointer))
        throw new HyperionError(
          'HYP_E_STATE',
          'the session has no answer to go on with: none was begun, or it has ended; generate with append continues its text',
        );
    });
  }

  /**
   * @param {ResumeOptions} options
   * @param {(usage: Usage) => void} record
   * @param {() => void} begin
   * @returns {AsyncGenerator<Piece, void, void>}
   */
  async *#tell(options, record, begin) {
    const maxTokens = options.maxTokens ?? OPTIONS.answer.maxTokens.usual;
    const signal = options.signal ?? undefined;
    const { sources } = this.#model;
    const { pointer } = this;
    /** @type {number[]} */
    const latencies = [];
    let begun = false;
    const usage = () => this.#usage(latencies);
    try {
      begin();
      begun = true;
      do await this.#core.runCall(pointer, CallKind.PREFILL, sources, { signal });
      while (this.#core.call('session_left', pointer) > 0);
      for (let made = 0; made < maxTokens; made++) {
        const asked = performance.now();
        let late = false;
        try {
          const call = { signal, late: () => void (late = true) };
          await this.#core.runCall(pointer, CallKind.NEXT, sources, call);
        } catch (error) {
          if (late && this.#lives) this.unread([this.#piece()]);
          throw error;
        }
        // the first is the prompt's
        if (made) latencies[(made - 1) % LATENCIES] = performance.now() - asked;
        const core = this.#core;
        const piece = this.#piece();
        if (!piece.finish && made + 1 === maxTokens) {
          core.run('session_flush', pointer);
          piece.text += core.resultText();
          piece.finish = 'length';
        }
        if (piece.finish) piece.usage = usage();
        yield piece;
        if (piece.finish) return;
        throwIfAborted(signal);
      }
    } finally {
      await null; // a callback of the engine may have broken the answer off
      if (begun && this.#lives) record(usage());
    }
  }

  /** Neither it nor its model is closed, nor has the engine failed. */
  get #lives() {
    return this.pointer !== 0 && !this.#model.core.ended;
  }

  /** That the last call has made. @returns {Piece} */
  #piece() {
    const core = this.#core;
    core.run('session_text', this.pointer);
    return {
      text: core.resultText(),
      token: core.call('session_token', this.pointer),
      finish: FINISHES[core.call('session_finish', this.pointer)],
    };
  }

  /** @param {ArrayLike<number>} tokens @param {GenerateOptions} options */
  #begin(tokens, options) {
    const core = this.#core;
    const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
    const bytes = core.inputText(optionsJson('sampling', { ...options, seed }));
    core.run('sampling_set', this.pointer, bytes);
    for (const [token, bias] of Object.entries(options.logitBias ?? {}))
      core.run('sampling_bias', Number(token), bias);
    const stop = typeof options.stop === 'string' ? [options.stop] : (options.stop ?? []);
    core.run('session_begin', this.pointer, core.inputTokens(tokens, stop), stop.length);
  }

  /** @param {number[]} latencies @returns {Usage} of the answer that was begun last */
  #usage(latencies) {
    const { core } = this.#model;
    core.run('session_usage', this.pointer);
    const usage = core.resultJson();
    const rate = (/** @type {number} */ tokens, /** @type {number} */ ms) =>
      ms > 0 ? (tokens * 1000) / ms : 0;
    return {
      ...usage,
      promptTokensPerSecond: rate(usage.promptTokens, usage.promptMs),
      answerTokensPerSecond: rate(usage.answerTokens, usage.answerMs),
      latencyMs: percentiles(latencies),
    };
  }

  /**
   * @param {ArrayLike<number>} tokens
   * @param {number} pooling
   * @param {AbortSignal} [signal]
   * @returns {Promise<Float32Array>}
   */
  async embed(tokens, pooling, signal) {
    const core = this.#core;
    const count = core.inputTokens(tokens);
    const { sources } = this.#model;
    await core.runCall(this.pointer, CallKind.EMBED, sources, { count, pooling, signal });
    this.#core.run('session_vector', this.pointer);
    return core.resultFloats();
  }

  /**
   * @param {ArrayLike<number>} tokens
   * @param {import('../core/core.js').Callbacks['visit']} visit
   * @param {AbortSignal} [signal]
   */
  async score(tokens, visit, signal) {
    const core = this.#core;
    const count = core.inputTokens(tokens);
    const { sources, facts } = this.#model;
    const callbacks = { visit, vocab: facts.vocab };
    await core.runCall(this.pointer, CallKind.SCORE, sources, { count, signal, callbacks });
  }

  /** @returns {SessionStats} */
  stats() {
    const core = this.#core;
    core.run('session_stats', this.pointer);
    return core.resultJson();
  }

  resetProfile() {
    this.#core.call('session_reset_profile', this.pointer);
  }

  /**
   * Ends the call under way with `error`; resolves when it may be destroyed.
   * @param {unknown} error
   */
  end(error) {
    return this.pointer ? this.#model.core.endCall(this.pointer, error) : Promise.resolve();
  }

  /** Not while a call is under way. */
  destroy() {
    if (this.#lives) this.#model.core.call('session_destroy', this.pointer);
    this.pointer = 0;
  }
}

/**
 * A text of one's own in a model: what has been computed of it is kept until the session is closed.
 */
export class Session extends Answering {
  /** @type {'session.complete'} */
  static completes = 'session.complete';
  #model;
  #sequence;
  #events;
  /** @type {Promise<void> | null} */
  #closing = null;

  /**
   * @param {ModelHandle} model @param {Sequence} sequence
   * @param {{forked: (sequence: Sequence) => Session, closed: (session: Session) => void}} events
   *   that its model hears of
   */
  constructor(model, sequence, events) {
    super();
    this.#model = model;
    this.#sequence = sequence;
    this.#events = events;
  }

  /** Not within a callback of the engine. */
  async #ready() {
    await null;
    this.#model.check();
    if (this.#closing) throw new HyperionError('HYP_E_STATE', 'the session is closed');
    return this.#sequence;
  }

  /**
   * Continues a text. What the session already knows of it is not computed again.
   * @param {string | ArrayLike<number>} prompt the whole text; with `append`: what comes behind the
   *   session's
   * @param {GenerateOptions & {append?: boolean}} [options]
   * @returns {Answer}
   */
  generate(prompt, options) {
    return this.#answer('session.generate', options, (sequence, options) => {
      const before = options.append ? sequence.tokens() : [];
      const { parseSpecial } = options;
      const addSpecial = before.length === 0;
      const tokens = promptTokens(this.#model, prompt, { addSpecial, parseSpecial });
      return [...before, ...Array.from(tokens)];
    });
  }

  /**
   * Answers a conversation, rendered by the model's own chat template. Messages that the session
   * has seen are not computed again.
   * @param {Message[]} messages all of them
   * @param {ChatOptions} [options]
   * @returns {Answer}
   */
  chat(messages, options) {
    return this.#answer('chat', options, (_, options) =>
      chatTokens(this.#model, messages, options),
    );
  }

  /**
   * Goes on with the answer that was broken off, here or before the session was saved: with the
   * text and the tokens that it would have had.
   * @param {ResumeOptions} [options] maxTokens: further ones
   * @returns {Answer}
   */
  resume(options) {
    const self = this;
    return answerOf(async function* (record) {
      const told = named('session.resume', options);
      checkResume(told);
      yield* self.#tell(told, async sequence => sequence.resume(told, record));
    });
  }

  /**
   * @template {GenerateOptions} T
   * @param {'session.generate' | 'chat'} call
   * @param {T | undefined} given
   * @param {(sequence: Sequence, options: T) => number[] | Promise<number[]>} prompt
   * @returns {Answer}
   */
  #answer(call, given, prompt) {
    const self = this;
    return answerOf(async function* (record) {
      const options = named(call, given);
      checkGenerate(options);
      yield* self.#tell(options, async sequence =>
        sequence.generate(await prompt(sequence, options), options, record),
      );
    });
  }

  /**
   * @param {ResumeOptions} options
   * @param {(sequence: Sequence) => Promise<AsyncGenerator<Piece, void, void>>} answer
   * @returns {AsyncGenerator<Piece, void, void>}
   */
  async *#tell(options, answer) {
    throwIfAborted(options.signal);
    const sequence = await this.#ready();
    if (sequence.busy) throw stillUnderWay();
    sequence.busy = true;
    try {
      const pieces = await answer(sequence);
      sequence.setPurpose(purposeOf(options.purpose));
      yield* pieces;
    } finally {
      sequence.busy = false;
    }
  }

  /**
   * Its text, what has been computed of it, and the answer that was broken off, for
   * `model.restore`: in this engine or another, of any host. Not while an answer is under way.
   * @returns {Promise<Uint8Array>}
   */
  async save() {
    const sequence = await this.#ready();
    if (sequence.busy) throw stillUnderWay();
    return sequence.save();
  }

  /**
   * For what listens to a worker's session, and was behind when the answer was broken off.
   * @param {Piece[]} pieces that come again
   */
  async unread(pieces) {
    (await this.#ready()).unread(pieces);
  }

  /** Its text so far. @returns {Promise<number[]>} */
  async tokens() {
    return (await this.#ready()).tokens();
  }

  /** @returns {Promise<SessionStats>} */
  async stats() {
    return (await this.#ready()).stats();
  }

  /** Operations and latencies of `stats` begin anew. @returns {Promise<void>} */
  async resetProfile() {
    (await this.#ready()).resetProfile();
  }

  /**
   * A session with the same text, of which nothing is computed anew: what both have in common is
   * kept once. Not while a token is being computed.
   * @returns {Promise<Session>}
   */
  async fork() {
    return this.#events.forked((await this.#ready()).fork());
  }

  /** Gives its memory back. An answer under way ends with an error. @returns {Promise<void>} */
  close() {
    return (this.#closing ??= this.#close());
  }

  [asyncDispose]() {
    return this.close();
  }

  async #close() {
    await this.#sequence.end(new HyperionError('HYP_E_STATE', 'the session is closed'));
    this.#events.closed(this);
    this.#sequence.destroy();
  }
}
