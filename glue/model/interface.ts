// What `open` and `createEngine` give, in whichever thread the engine computes. The classes of this
// thread (engine.js, model.js, session.js) and those that stand for them (remote.js) have these
// members; index.js gives them out as nothing else, and so the compiler compares them.
import type { Disposable } from '../core/platform.js';
import type { Source } from '../source/index.js';
import type { Message } from './chat.js';
import type { EngineStats } from './engine.js';
import type { Peaks, Stats } from './model.js';
import type { Answer, Whole, WholeOptions } from './answer.js';
import type { OpenAIClient } from './openai.js';
import type {
  ChatOptions,
  GenerateOptions,
  ModelOptions,
  ReadOptions,
  ResumeOptions,
  SessionOptions,
} from './options.js';
import type { Facts, SessionStats } from './session.js';

/** Where several models share a memory limit and a thread. */
export interface Engine extends Disposable {
  /**
   * Opens a model. All models of an engine share its memory and its scheduler.
   * @param source the file, or the parts of a split model in order
   */
  open(source: Source | Source[], options?: ModelOptions): Promise<Model>;

  /** Metadata and tensors of a GGUF file. */
  inspect(source: Source | Source[], options?: ReadOptions): Promise<any>;

  /**
   * Writes a model with its float matrices in another format, or pruned.
   * @param format 'q4_0', 'q4_k', 'q6_k', 'q8_0', 'f16', 'f32' and others
   * @param write takes the new file from front to back
   * @param options imatrix: what `calibrate` has written, or an importance matrix of llama.cpp in
   *   GGUF. density: of the layers' matrices after pruning, above 0 and at most 1; with 'q4_0' only
   */
  quantize(
    source: Source | Source[],
    format: string,
    write: (bytes: Uint8Array) => unknown,
    options?: ReadOptions & { imatrix?: Source; density?: number },
  ): Promise<void>;

  stats(): Promise<EngineStats>;

  /** Closes its models, and gives all memory back. */
  close(): Promise<void>;
}

/** An open model. */
export interface Model extends Disposable {
  /** What its file says of it. */
  readonly facts: Facts;

  /**
   * Resolves when all weights that stay are in memory: at once, unless it was opened with
   * `progressive`. Rejects with why they will not be; so do answers then.
   */
  readonly loaded: Promise<void>;

  /** @param options addSpecial (default true): with the tokens the model expects around a text */
  tokenize(
    text: string,
    options?: { addSpecial?: boolean; parseSpecial?: boolean; signal?: AbortSignal },
  ): Promise<number[]>;

  detokenize(
    tokens: ArrayLike<number>,
    options?: { parseSpecial?: boolean; signal?: AbortSignal },
  ): Promise<string>;

  /** Continues a text (or tokens), piece by piece. */
  generate(prompt: string | ArrayLike<number>, options?: GenerateOptions): Answer;

  /**
   * Answers a conversation, rendered by the model's own chat template.
   * @param options tools: that the model may call. variables: further ones for the template
   */
  chat(messages: Message[], options?: ChatOptions): Answer;

  /** The whole continuation of a text (or tokens). */
  complete(
    prompt: string | ArrayLike<number>,
    options?: GenerateOptions & WholeOptions,
  ): Promise<Whole>;

  /** The whole answer to a conversation. */
  chatComplete(messages: Message[], options?: ChatOptions & WholeOptions): Promise<Whole>;

  /**
   * A text of one's own: what is computed of it is kept until the session is closed.
   * @param options the model's own where left out
   */
  session(options?: SessionOptions & { signal?: AbortSignal }): Promise<Session>;

  /**
   * A session that goes on where another was saved: of this model, in any engine and on any host.
   * @param state what `session.save` gave
   * @param options in place of those that it was saved with; its cache's format stays
   */
  restore(state: Uint8Array, options?: SessionOptions & { signal?: AbortSignal }): Promise<Session>;

  /** The pooled final hidden state of a text, of length 1; of several texts one each, in order. */
  embed<T extends string | string[]>(
    text: T,
    options?: { pooling?: 'mean' | 'cls' | 'last'; signal?: AbortSignal },
  ): Promise<T extends string ? Float32Array : Float32Array[]>;

  /**
   * Log-probabilities of a text.
   * @param visit gets, after each token, those of every next one (a view, valid during the call);
   *   what it throws ends the call
   */
  score(
    tokens: ArrayLike<number>,
    visit: (position: number, logProbabilities: Float32Array) => unknown,
    options?: { signal?: AbortSignal },
  ): Promise<void>;

  /** This model, to what is written for OpenAI's client: `openai.chat.completions.create(...)`. */
  readonly openai: OpenAIClient;

  /**
   * Memory, fibers, threads, residency of the weights. What an answer took stands with it, as its
   * `usage`.
   */
  stats(): Promise<Stats>;

  /**
   * A number for each page of the weights: 0 absent, else 1 to 255 by how often it is used; 64 is
   * once a pass.
   */
  heat(): Promise<Uint8Array>;

  /** What this machine reads from memory and multiplies at most, one thread; measured for a moment. */
  measure(): Promise<Peaks>;

  /** Gives its memory back. Answers under way end with an error. */
  close(): Promise<void>;
}

/**
 * A text of one's own in a model: what has been computed of it is kept until the session is closed.
 */
export interface Session extends Disposable {
  /**
   * Continues a text. What the session already knows of it is not computed again.
   * @param prompt the whole text; with `append`: what comes behind the session's
   */
  generate(
    prompt: string | ArrayLike<number>,
    options?: GenerateOptions & { append?: boolean },
  ): Answer;

  /**
   * Answers a conversation, rendered by the model's own chat template. Messages that the session
   * has seen are not computed again.
   * @param messages all of them
   * @param options tools: that the model may call. variables: further ones for the template
   */
  chat(messages: Message[], options?: ChatOptions): Answer;

  /** The whole continuation of a text (or tokens). */
  complete(
    prompt: string | ArrayLike<number>,
    options?: GenerateOptions & WholeOptions & { append?: boolean },
  ): Promise<Whole>;

  /** The whole answer to a conversation. */
  chatComplete(messages: Message[], options?: ChatOptions & WholeOptions): Promise<Whole>;

  /**
   * Goes on with the answer that was broken off, here or before the session was saved: with the
   * text and the tokens that it would have had. Fails with HYP_E_STATE where none was begun, or it
   * has ended.
   * @param options maxTokens: further ones
   */
  resume(options?: ResumeOptions): Answer;

  /**
   * Its text, what has been computed of it, and the answer that was broken off, as bytes for
   * `model.restore`. Not while an answer is under way.
   */
  save(): Promise<Uint8Array>;

  /** Its text so far: what its context holds. */
  tokens(): Promise<number[]>;

  stats(): Promise<SessionStats>;

  /** Operations and latencies of `stats` begin anew. */
  resetProfile(): Promise<void>;

  /**
   * A session with the same text, of which nothing is computed anew: what both have in common is
   * kept once. Not while a token is being computed.
   */
  fork(): Promise<Session>;

  /** Gives its memory back. An answer under way ends with an error. */
  close(): Promise<void>;
}
