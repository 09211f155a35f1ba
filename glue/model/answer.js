// Answers: piece by piece as they are made, or whole.
import { checkFunction } from '../core/check.js';
import { named } from './options.js';

/** @typedef {import('./chat.js').Message} Message */
/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./options.js').ChatOptions} ChatOptions */

/**
 * Why an answer ended. `end`: the model has finished; `length`: there were `maxTokens`; `stop`: a
 * stop text came; `context`: the context is full. Empty while it goes on.
 * @typedef {'' | 'length' | 'end' | 'stop' | 'context'} Finish
 */
/**
 * A step of an answer.
 * @typedef {object} Piece
 * @property {string} text whole characters; empty when more tokens are needed to make one, or when
 *   what has come may still become a stop text
 * @property {number} token that the model has chosen
 * @property {Finish} finish set on the last piece
 * @property {Usage} [usage] what the answer took, on the last piece
 */
/** @typedef {{p50: number, p90: number, p95: number, p99: number}} Percentiles */
/**
 * What an answer took.
 * @typedef {object} Usage
 * @property {number} promptTokens computed for the prompt; `reusedTokens` more of it were known
 * @property {number} reusedTokens
 * @property {number} answerTokens
 * @property {number} batchedTokens of the answer's, computed in one step with other answers' tokens
 * @property {number} draftedTokens
 * @property {number} acceptedTokens
 * @property {number} contextShifts how often older text was dropped for room
 * @property {number} readBytes of weights, that had to be read for it because they do not stay in
 *   memory
 * @property {number} promptMs of computing
 * @property {number} answerMs
 * @property {number} promptTokensPerSecond
 * @property {number} answerTokensPerSecond
 * @property {Percentiles} latencyMs from one token to the next, as the caller waited for it: the
 *   answer's last 1024
 */
/**
 * @typedef {AsyncGenerator<Piece, void, void> & {readonly usage: Usage | null}} Answer `usage` is
 *   set when the answer has ended, also when it was broken off
 */
/**
 * @typedef {object} WholeOptions
 * @property {(piece: Piece) => unknown} [onPiece] gets each piece of the answer as it is made; what
 *   it throws ends the answer
 */
/**
 * @typedef {Pick<Usage, 'promptTokens' | 'reusedTokens' | 'answerTokens' | 'batchedTokens' |
 *   'draftedTokens' | 'acceptedTokens' | 'contextShifts' | 'readBytes'>} Tokens
 */
/** @typedef {Omit<Usage, keyof Tokens>} Timings */
/**
 * A whole answer.
 * @typedef {object} Whole
 * @property {string} text
 * @property {Exclude<Finish, ''>} finish why it ended
 * @property {Tokens} usage how many tokens it took, and what of the weights was read for it
 * @property {Timings} timings how long they took
 */

/**
 * An answer: the pieces that `tell` makes, with the usage that it records.
 * @param {(record: (usage: Usage) => void) => AsyncGenerator<Piece, void, void>} tell
 * @returns {Answer}
 */
export function answerOf(tell) {
  /** @type {Usage | null} */
  let usage = null;
  const pieces = tell(told => (usage = told));
  return /** @type {Answer} */ (
    Object.defineProperty(pieces, 'usage', { get: () => usage, enumerable: true })
  );
}

/** @type {Tokens} */
const NO_TOKENS = {
  promptTokens: 0,
  reusedTokens: 0,
  answerTokens: 0,
  batchedTokens: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
  contextShifts: 0,
  readBytes: 0,
};

/**
 * The whole of an answer, to its end.
 * @param {Answer} answer @param {WholeOptions['onPiece']} [onPiece]
 * @returns {Promise<Whole>}
 */
async function wholeOf(answer, onPiece) {
  let text = '';
  /** @type {Exclude<Finish, ''>} */
  let finish = 'length'; // of an answer that was to have no tokens
  for await (const piece of answer) {
    text += piece.text;
    if (piece.finish) finish = piece.finish;
    await onPiece?.(piece);
  }
  const usage = { ...NO_TOKENS };
  const timings = /** @type {any} */ ({});
  for (const [name, value] of Object.entries(answer.usage ?? {}))
    /** @type {any} */ (name in usage ? usage : timings)[name] = value;
  return { text, finish, usage, timings };
}

/** @param {unknown} onPiece */
function checkOnPiece(onPiece) {
  if (onPiece !== undefined && onPiece !== null) checkFunction('onPiece', onPiece);
}

/** What answers: a model or a session, in this thread or in a worker. */
export class Answering {
  /** Whose options `complete` takes. @type {'complete' | 'session.complete'} */
  static completes = 'complete';

  /**
   * @param {string | ArrayLike<number>} prompt @param {GenerateOptions} [options]
   * @returns {Answer}
   */
  generate(prompt, options) {
    throw new TypeError(`generates nothing: ${prompt}, ${options}`);
  }

  /** @param {Message[]} messages @param {ChatOptions} [options] @returns {Answer} */
  chat(messages, options) {
    throw new TypeError(`does not chat: ${messages}, ${options}`);
  }

  /**
   * The whole continuation of a text (or tokens).
   * @param {string | ArrayLike<number>} prompt
   * @param {GenerateOptions & WholeOptions & {append?: boolean}} [options] append: of a session
   * @returns {Promise<Whole>}
   */
  async complete(prompt, options) {
    const { completes } = /** @type {typeof Answering} */ (this.constructor);
    const { onPiece, ...told } = named(completes, options);
    checkOnPiece(onPiece);
    return wholeOf(this.generate(prompt, told), onPiece);
  }

  /**
   * The whole answer to a conversation, rendered by the model's own chat template.
   * @param {Message[]} messages
   * @param {ChatOptions & WholeOptions} [options]
   * @returns {Promise<Whole>}
   */
  async chatComplete(messages, options) {
    const { onPiece, ...told } = named('chatComplete', options);
    checkOnPiece(onPiece);
    return wholeOf(this.chat(messages, told), onPiece);
  }
}
