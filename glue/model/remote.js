// An engine in a worker, its models and their sessions, with the interface of those in this thread.
import { checkFunction } from '../core/check.js';
import { asyncDispose } from '../core/dispose.js';
import { placeOf } from '../core/host.js';
import { compile } from '../core/module.js';
import { cancelled, throwIfAborted } from '../core/signal.js';
import { Answering, answerOf } from './answer.js';
import { Link, closed } from './link.js';
import { openaiOf } from './openai.js';
import {
  checkEngine,
  checkGenerate,
  checkModel,
  checkOpen,
  checkReading,
  checkResume,
  checkState,
  named,
  optionsOf,
  readingOf,
} from './options.js';
import { stillUnderWay } from './session.js';

/** @typedef {import('../source/index.js').Source} Source */
/** @typedef {import('./options.js').EngineOptions} EngineOptions */
/** @typedef {import('./options.js').OpenOptions} OpenOptions */
/** @typedef {import('./options.js').ReadOptions} ReadOptions */
/** @typedef {import('./options.js').ModelOptions} ModelOptions */
/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./options.js').ChatOptions} ChatOptions */
/** @typedef {import('./options.js').SessionOptions} SessionOptions */
/** @typedef {import('./options.js').ResumeOptions} ResumeOptions */
/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {import('./chat.js').Message} Message */
/** @typedef {import('./link.js').Target} Target */

/** In a page: yes, so that it stays responsive. */
export const workerByDefault = () =>
  typeof window === 'object' && typeof document === 'object' && typeof Worker === 'function';

/** An URL that means the same in the worker. @param {any} one @returns {any} */
const absolute = one =>
  typeof one === 'string' || one instanceof URL ? (placeOf(one)?.href ?? one) : one;

/**
 * The module as the worker takes it: compiled where only this thread can read it.
 * @param {EngineOptions} options
 */
async function moduleFor({ wasm, signal }) {
  const given = await wasm;
  if (typeof Response === 'function' && given instanceof Response) return compile(given, signal);
  return absolute(given);
}

export class RemoteEngine {
  #link;
  #closing = false;

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
  }

  /** @param {EngineOptions} options @returns {Promise<RemoteEngine>} */
  static async create(options) {
    checkEngine(options);
    const { signal } = options;
    throwIfAborted(signal);
    return starting(options, async link => {
      await create(link, options);
      return new RemoteEngine(link);
    });
  }

  /**
   * A model in an engine, and a worker, of its own.
   * @param {Source | Source[]} source
   * @param {OpenOptions} options
   * @returns {Promise<RemoteModel>}
   */
  static async openAlone(source, options) {
    checkOpen(options);
    const { signal } = options;
    throwIfAborted(signal);
    return starting(options, async link => {
      // The file is on its way while the module is compiled.
      const opened = open(link, source, options, true);
      opened.catch(() => {});
      await create(link, options);
      return opened;
    });
  }

  #check() {
    if (this.#closing) throw closed('engine');
  }

  /**
   * @param {string} method @param {unknown[]} args
   * @param {{signal?: AbortSignal, onEvent?: (event: any) => unknown, transfer?: Transferable[]}}
   *   [more]
   */
  async #call(method, args, more) {
    this.#check();
    return this.#link.call({}, method, args, more);
  }

  /**
   * @param {Source | Source[]} source
   * @param {ModelOptions} [options]
   * @returns {Promise<RemoteModel>}
   */
  async open(source, options) {
    const told = named('engine.open', options);
    checkModel(told);
    this.#check();
    return open(this.#link, source, told, false);
  }

  /** @param {Source | Source[]} source @param {ReadOptions} [options] @returns {Promise<any>} */
  async inspect(source, options) {
    const told = named('engine.inspect', options);
    checkReading(told);
    const { signal, onProgress } = told;
    throwIfAborted(signal);
    this.#check();
    /** @type {Transferable[]} */
    const transfer = [];
    const file = await this.#link.carry(source, transfer, readingOf(told));
    return this.#call('inspect', [file, toldOf(told)], {
      signal,
      transfer,
      onEvent: ({ progress }) => onProgress?.(progress),
    });
  }

  /**
   * @param {Source | Source[]} source
   * @param {string} format
   * @param {(bytes: Uint8Array) => unknown} write
   * @param {ReadOptions & {imatrix?: Source, density?: number}} [options] @returns {Promise<void>}
   */
  async quantize(source, format, write, options) {
    const told = named('engine.quantize', options);
    const { signal, onProgress, imatrix } = told;
    checkFunction('write', write);
    checkReading(told);
    throwIfAborted(signal);
    this.#check();
    /** @type {Transferable[]} */
    const transfer = [];
    const reading = readingOf(told);
    const file = await this.#link.carry(source, transfer, reading);
    const how = { ...toldOf(told), imatrix: await this.#link.carry(imatrix, transfer, reading) };
    return this.#call('quantize', [file, format, how], {
      signal,
      transfer,
      onEvent: ({ progress, bytes }) => (bytes ? write(bytes) : onProgress?.(progress)),
    });
  }

  /** @returns {Promise<import('./engine.js').EngineStats>} */
  async stats() {
    return { ...(await this.#call('stats', [])), lanes: this.#link.lanes() };
  }

  /** Closes its models, and ends the worker. @returns {Promise<void>} */
  close() {
    this.#closing = true;
    return this.#link.close('engine');
  }

  [asyncDispose]() {
    return this.close();
  }
}

/**
 * Starts a worker for `act`; it ends when that fails or the signal comes, and so owes no answer to
 * an abort.
 * @template T
 * @param {EngineOptions} options
 * @param {(link: Link) => Promise<T>} act
 * @returns {Promise<T>}
 */
async function starting({ signal, workerUrl }, act) {
  const link = Link.start(workerUrl);
  /** @type {() => void} */
  let abort = () => {};
  try {
    /** @type {Promise<never>} */
    const aborted = new Promise((_, reject) => (abort = () => reject(cancelled(signal))));
    aborted.catch(() => {});
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
    const made = act(link);
    made.catch(() => {}); // looked at below, if nothing comes first
    const result = await Promise.race([made, aborted]);
    throwIfAborted(signal);
    return result;
  } catch (error) {
    await link.close('engine');
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * What of the options the worker is told: a signal and a callback stay here.
 * @param {OpenOptions} options
 * @returns {OpenOptions}
 */
function toldOf({ signal, onProgress, worker, wasm, wasmUrl, workerUrl, draft, ...told }) {
  const { endpoint, manifest } = told;
  if (endpoint) told.endpoint = absolute(endpoint);
  if (manifest && manifest !== true) told.manifest = absolute(manifest);
  return told;
}

/** @param {Link} link @param {EngineOptions} options */
async function create(link, options) {
  const told = toldOf(optionsOf('createEngine', options));
  const places = {
    wasm: await moduleFor(options),
    wasmUrl: absolute(options.wasmUrl),
    workerUrl: absolute(options.workerUrl),
  };
  return link.call({}, 'create', [{ ...told, ...places }]);
}

/**
 * @param {Link} link
 * @param {Source | Source[]} source
 * @param {ModelOptions} options
 * @param {boolean} alone the worker ends with this model
 */
async function open(link, source, options, alone) {
  const { signal, onProgress } = options;
  const told = toldOf(optionsOf('engine.open', options));
  link.keeps ||= Boolean(options.fileCache ?? /^hf:/i.test(String(source)));
  let model = 0;
  try {
    throwIfAborted(signal);
    /** @type {Transferable[]} */
    const transfer = [];
    const reading = readingOf(options);
    const file = await link.carry(source, transfer, reading);
    const draft = /** @type {any} */ (await link.carry(options.draft, transfer, reading));
    const facts = await link.call({}, 'open', [file, { ...told, draft }, alone], {
      signal,
      transfer,
      onEvent: ({ progress }) => onProgress?.(progress),
      begun: id => (model = id),
    });
    throwIfAborted(signal);
    const loaded = options.progressive
      ? link.call({ model }, 'loaded', [], {
          signal,
          onEvent: ({ progress }) => onProgress?.(progress),
        })
      : Promise.resolve();
    return new RemoteModel(link, { model }, facts, loaded, alone);
  } catch (error) {
    if (!alone && model) leave(link, { model });
    throw error;
  }
}

/**
 * Closes what nobody wants any more, also where it has been made meanwhile.
 * @param {Link} link
 * @param {Target} target
 */
async function leave(link, target) {
  try {
    if (!link.ending) await link.call(target, 'close', []);
  } catch {
    // it is closed, or has never been
  }
}

export class RemoteModel extends Answering {
  /** @type {import('./openai.js').OpenAIClient | undefined} */
  #openai;
  #link;
  #target;
  #alone;
  /** @type {Promise<void> | null} */
  #closing = null;

  /**
   * @param {Link} link
   * @param {Target} target
   * @param {import('./session.js').Facts} facts
   * @param {Promise<void>} loaded
   * @param {boolean} alone the worker ends with it
   */
  constructor(link, target, facts, loaded, alone) {
    super();
    this.loaded = loaded;
    this.loaded.catch(() => {}); // whoever does not ask hears of it by the next answer
    this.#link = link;
    this.#target = target;
    this.#alone = alone;
    this.facts = facts;
  }

  #check = () => {
    if (this.#closing) throw closed('model');
    if (this.#link.ending) throw this.#link.ending;
  };

  /**
   * @param {string} method @param {unknown[]} args @param {AbortSignal} [signal]
   * @param {(event: any) => unknown} [onEvent]
   */
  async #call(method, args, signal, onEvent) {
    throwIfAborted(signal);
    this.#check();
    return this.#link.call(this.#target, method, args, { signal, onEvent });
  }

  /**
   * @param {string} text
   * @param {{addSpecial?: boolean, parseSpecial?: boolean, signal?: AbortSignal}} [options]
   * @returns {Promise<number[]>}
   */
  async tokenize(text, options) {
    const { signal, ...told } = named('tokenize', options);
    return this.#call('tokenize', [text, told], signal);
  }

  /**
   * @param {ArrayLike<number>} tokens
   * @param {{parseSpecial?: boolean, signal?: AbortSignal}} [options]
   * @returns {Promise<string>}
   */
  async detokenize(tokens, options) {
    const { signal, ...told } = named('detokenize', options);
    return this.#call('detokenize', [tokens, told], signal);
  }

  /**
   * @param {string | ArrayLike<number>} prompt
   * @param {GenerateOptions} [options]
   * @returns {Answer}
   */
  generate(prompt, options) {
    return this.#answer('generate', prompt, options);
  }

  /**
   * @param {Message[]} messages
   * @param {ChatOptions} [options]
   * @returns {Answer}
   */
  chat(messages, options) {
    return this.#answer('chat', messages, options);
  }

  /**
   * @param {'generate' | 'chat'} method @param {unknown} first
   * @param {GenerateOptions | undefined} options
   * @returns {Answer}
   */
  #answer(method, first, options) {
    const self = this;
    return answerOf(async function* (record) {
      const told = named(method, options);
      checkGenerate(told);
      yield* self.#link.stream(self.#target, self.#check, method, first, told, record);
    });
  }

  /**
   * @param {SessionOptions & {signal?: AbortSignal}} [options]
   * @returns {Promise<RemoteSession>}
   */
  async session(options) {
    const { signal, ...told } = named('session', options);
    checkModel(told);
    return this.#session('session', [told], signal);
  }

  /**
   * @param {Uint8Array} state
   * @param {SessionOptions & {signal?: AbortSignal}} [options]
   * @returns {Promise<RemoteSession>}
   */
  async restore(state, options) {
    const { signal, ...told } = named('restore', options);
    checkState(state);
    checkModel(told);
    const own = Uint8Array.from(state);
    return this.#session('restore', [own, told], signal, [own.buffer]);
  }

  /**
   * @param {string} method @param {unknown[]} args @param {AbortSignal} [signal]
   * @param {Transferable[]} [transfer]
   */
  async #session(method, args, signal, transfer) {
    throwIfAborted(signal);
    this.#check();
    let session = 0;
    const begun = (/** @type {number} */ id) => (session = id);
    try {
      await this.#link.call(this.#target, method, args, { signal, begun, transfer });
    } catch (error) {
      leave(this.#link, { session });
      throw error;
    }
    return new RemoteSession(this.#link, { session }, this.#check);
  }

  /**
   * @template {string | string[]} T
   * @param {T} text
   * @param {{pooling?: 'mean' | 'cls' | 'last', signal?: AbortSignal}} [options]
   * @returns {Promise<T extends string ? Float32Array : Float32Array[]>}
   */
  async embed(text, options) {
    const { signal, ...told } = named('embed', options);
    const made = await this.#call('embed', [text, told], signal);
    if (!Array.isArray(text)) return made;
    const { values, count } = made;
    const width = values.length / count;
    const vectors = Array.from({ length: count }, (_, i) =>
      values.slice(i * width, (i + 1) * width),
    );
    return /** @type {any} */ (vectors);
  }

  /**
   * @param {ArrayLike<number>} tokens
   * @param {(position: number, logProbabilities: Float32Array) => unknown} visit
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>}
   */
  async score(tokens, visit, options) {
    const { signal } = named('score', options);
    checkFunction('visit', visit);
    return this.#call('score', [tokens], signal, ({ score }) =>
      visit(score.position, score.values),
    );
  }

  /** This model, to what is written for OpenAI's client. */
  get openai() {
    return (this.#openai ??= openaiOf(this));
  }

  /** @returns {Promise<import('./model.js').Stats>} */
  async stats() {
    return { ...(await this.#call('stats', [])), lanes: this.#link.lanes() };
  }

  /** @returns {Promise<Uint8Array>} */
  heat() {
    return this.#call('heat', []);
  }

  /** @returns {Promise<import('./model.js').Peaks>} */
  measure() {
    return this.#call('measure', []);
  }

  /**
   * Gives its memory back; ends the worker, where that was started for it.
   * @returns {Promise<void>}
   */
  close() {
    return (this.#closing ??= this.#close());
  }

  [asyncDispose]() {
    return this.close();
  }

  #close() {
    return this.#alone ? this.#link.close('model') : leave(this.#link, this.#target);
  }
}

export class RemoteSession extends Answering {
  /** @type {'session.complete'} */
  static completes = 'session.complete';
  #link;
  #target;
  #ofModel;
  /** @type {Promise<void> | null} */
  #closing = null;
  #busy = false; // an answer is under way: the worker may be ahead of who listens to it
  /** @type {import('./answer.js').Piece[]} of an answer that was broken off; nobody has them */
  #unread = [];

  /**
   * @param {Link} link
   * @param {Target} target
   * @param {() => void} check throws when its model is closed
   */
  constructor(link, target, check) {
    super();
    this.#link = link;
    this.#target = target;
    this.#ofModel = check;
  }

  #check = () => {
    this.#ofModel();
    if (this.#closing) throw closed('session');
  };

  /** @param {string} method @param {(id: number) => void} [begun] @param {unknown[]} [args] */
  async #call(method, begun, args = []) {
    this.#check();
    return this.#link.call(this.#target, method, args, { begun });
  }

  /** The worker hears of the pieces that nobody has got. */
  async #handBack() {
    if (!this.#unread.length) return;
    await this.#call('unread', undefined, [this.#unread]);
    this.#unread = [];
  }

  /**
   * @param {'generate' | 'chat'} method
   * @param {unknown} first
   * @param {GenerateOptions | undefined} given
   * @returns {Answer}
   */
  #answer(method, first, given) {
    const self = this;
    return answerOf(async function* (record) {
      const options = named(method === 'chat' ? 'chat' : 'session.generate', given);
      checkGenerate(options);
      yield* self.#tell(method, first, options, record);
    });
  }

  /**
   * Goes on with the answer that was broken off.
   * @param {ResumeOptions} [options]
   * @returns {Answer}
   */
  resume(options) {
    const self = this;
    return answerOf(async function* (record) {
      const told = named('session.resume', options);
      checkResume(told);
      yield* self.#tell('resume', undefined, told, record);
    });
  }

  /**
   * @param {'generate' | 'chat' | 'resume'} method
   * @param {unknown} first
   * @param {ResumeOptions} options
   * @param {(usage: import('./answer.js').Usage) => void} record
   */
  async *#tell(method, first, options, record) {
    throwIfAborted(options.signal);
    this.#check();
    if (this.#busy) throw stillUnderWay();
    this.#busy = true;
    const link = this.#link;
    const unread = (/** @type {import('./answer.js').Piece[]} */ pieces) => {
      this.#unread = pieces;
    };
    try {
      if (method === 'resume') await this.#handBack();
      yield* link.stream(this.#target, this.#check, method, first, options, record, unread);
    } finally {
      this.#busy = false;
    }
  }

  /** @returns {Promise<Uint8Array>} */
  async save() {
    this.#check();
    if (this.#busy) throw stillUnderWay();
    this.#busy = true; // until both calls are done
    try {
      await this.#handBack();
      return await this.#call('save');
    } finally {
      this.#busy = false;
    }
  }

  /**
   * @param {string | ArrayLike<number>} prompt
   * @param {GenerateOptions & {append?: boolean}} [options]
   * @returns {Answer}
   */
  generate(prompt, options) {
    return this.#answer('generate', prompt, options);
  }

  /**
   * @param {Message[]} messages
   * @param {ChatOptions} [options]
   * @returns {Answer}
   */
  chat(messages, options) {
    return this.#answer('chat', messages, options);
  }

  /** @returns {Promise<RemoteSession>} */
  async fork() {
    let session = 0;
    await this.#call('fork', id => (session = id));
    return new RemoteSession(this.#link, { session }, this.#ofModel);
  }

  /** @returns {Promise<number[]>} */
  tokens() {
    return this.#call('tokens');
  }

  /** @returns {Promise<import('./session.js').SessionStats>} */
  stats() {
    return this.#call('stats');
  }

  /** @returns {Promise<void>} */
  resetProfile() {
    return this.#call('resetProfile');
  }

  /** @returns {Promise<void>} */
  close() {
    return (this.#closing ??= leave(this.#link, this.#target));
  }

  [asyncDispose]() {
    return this.close();
  }
}
