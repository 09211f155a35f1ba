// A model as a client of OpenAI's interface has it: what is written for `openai.chat.completions`
// runs with `model.openai` in its place. Requests and answers have the shapes of its public
// reference; what a local model can not do is refused by name.
import { checkFunction, shown } from '../core/check.js';
import { HyperionError } from '../core/errors.js';
import { OPTIONS } from '../generated/options.js';

/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {import('./answer.js').Piece} Piece */
/** @typedef {import('./answer.js').Usage} Usage */
/** @typedef {import('./chat.js').Message} Message */
/**
 * @typedef {object} Served what a client needs of its model
 * @property {{name?: string, architecture: string, dim: number}} facts
 * @property {import('./answer.js').Answering['generate']} generate
 * @property {import('./answer.js').Answering['chat']} chat
 * @property {(text: string, options: {signal: AbortSignal}) => Promise<number[]>} tokenize
 * @property {(texts: string[], options: {signal: AbortSignal}) => Promise<Float32Array[]>} embed
 */
/**
 * @typedef {{signal?: AbortSignal | null, [more: string]: unknown}} RequestOptions others do
 *   nothing
 */
/** @typedef {'stop' | 'length'} FinishReason */
/**
 * @typedef {{prompt_tokens: number, completion_tokens: number, total_tokens: number,
 *   prompt_tokens_details: {cached_tokens: number}}} CompletionUsage
 */
/**
 * @typedef {object} Sampled what both kinds of completions take; what is null is left out
 * @property {string} [model] any name: there is one model
 * @property {boolean | null} [stream]
 * @property {{include_usage?: boolean, include_obfuscation?: boolean} | null} [stream_options]
 * @property {number | null} [temperature] 1 when left out
 * @property {number | null} [top_p]
 * @property {number | null} [max_tokens]
 * @property {string | string[] | null} [stop]
 * @property {number | null} [seed]
 * @property {1 | null} [n]
 * @property {number | null} [presence_penalty]
 * @property {number | null} [frequency_penalty]
 * @property {Record<string, number> | null} [logit_bias]
 * @property {number | null} [top_k] and the other options of sampling, spelt like that
 * @property {number | null} [min_p]
 * @property {number | null} [repeat_penalty]
 * @property {string} [user] does nothing
 */
/**
 * @typedef {Sampled & {messages: any[], max_completion_tokens?: number | null, tools?: any[],
 *   tool_choice?: 'none' | 'auto' | null, parallel_tool_calls?: boolean, response_format?: {type:
 *   'text'} | null,
 *   logprobs?: false | null, metadata?: any, store?: boolean | null, service_tier?: string | null}}
 *   ChatRequest
 */
/**
 * @typedef {Sampled & {prompt: string | string[] | number[] | number[][], echo?: false | null,
 *   best_of?: 1 | null, logprobs?: null, suffix?: null}} CompletionRequest
 */
/**
 * @typedef {{input: string | string[], model?: string, encoding_format?: 'float' | 'base64',
 *   dimensions?: number, user?: string}} EmbeddingRequest
 */
/**
 * @typedef {{id: string, object: 'chat.completion', created: number, model: string, choices:
 *   {index: number, message: {role: 'assistant', content: string, refusal: null}, logprobs: null,
 *   finish_reason: FinishReason}[], usage: CompletionUsage}} ChatCompletion
 */
/**
 * @typedef {{id: string, object: 'chat.completion.chunk', created: number, model: string, choices:
 *   {index: number, delta: {role?: 'assistant', content?: string, refusal?: null}, logprobs: null,
 *   finish_reason: FinishReason | null}[], usage?: CompletionUsage | null}} ChatCompletionChunk
 */
/**
 * @typedef {{id: string, object: 'text_completion', created: number, model: string, choices:
 *   {index: number, text: string, logprobs: null, finish_reason: FinishReason}[], usage?:
 *   CompletionUsage}} Completion in a stream with `finish_reason` null but on the last of a choice
 */
/**
 * @typedef {{object: 'list', data: {object: 'embedding', index: number, embedding: number[]}[],
 *   model: string, usage: {prompt_tokens: number, total_tokens: number}}} Embeddings
 */
/** @typedef {{id: string, object: 'model', created: number, owned_by: string}} ModelEntry */

const WITHOUT_END = 2 ** 32 - 1; // an answer without max_tokens ends by itself, or with the context
const LEGACY_TOKENS = 16; // of completions.create without max_tokens

// ---- Errors

/** What each of our codes is over there. @type {Record<string, [number, string, string]>} */
const KINDS = {
  HYP_E_ARGUMENT: [400, 'invalid_value', 'invalid_request_error'],
  HYP_E_UNSUPPORTED: [400, 'unsupported_value', 'invalid_request_error'],
  HYP_E_CONTEXT: [400, 'context_length_exceeded', 'invalid_request_error'],
  HYP_E_STATE: [409, 'conflict', 'invalid_request_error'],
  HYP_E_NOMEM: [503, 'out_of_memory', 'server_error'],
};
const OTHER = /** @type {const} */ ([500, 'server_error', 'server_error']);
/** @type {Record<number, string>} */
const NAMES = {
  400: 'BadRequestError',
  404: 'NotFoundError',
  409: 'ConflictError',
};

/** As the client's own errors: `status`, `code`, `type` and `param` say what was wrong. */
export class APIError extends Error {
  headers = undefined;
  requestID = undefined;

  /**
   * @param {number} status @param {{message: string, code: string, type: string, param: string |
   *   null}} error
   * @param {unknown} [cause]
   */
  constructor(status, error, cause) {
    super(`${status} ${error.message}`, { cause });
    this.name = NAMES[status] ?? 'InternalServerError';
    this.status = status;
    this.error = error;
    this.code = error.code;
    this.type = error.type;
    this.param = error.param;
  }
}

/** @param {string} param @param {string} message @param {string} [code] @returns {never} */
function refused(param, message, code = 'unsupported_value') {
  throw new APIError(400, { message, code, type: 'invalid_request_error', param });
}

/** @param {unknown} error @param {AbortSignal} signal */
function asAPIError(error, signal) {
  if (error instanceof APIError || (signal.aborted && error === signal.reason)) return error;
  const own = error instanceof HyperionError ? error : null;
  const [status, code, type] = KINDS[own?.code ?? ''] ?? OTHER;
  const message = error instanceof Error ? error.message : String(error);
  return new APIError(status, { message, code, type, param: null }, error);
}

// ---- Requests

/** topK -> top_k @param {string} name */
const spelt = name => name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);
/** Our options of sampling by their names over there. */
const SAMPLING = new Map(Object.keys(OPTIONS.sampling).map(name => [spelt(name), name]));
const COMMON = ['model', 'stream', 'stream_options', 'max_tokens', 'stop', 'n', 'logit_bias'];
const IGNORED = ['user', 'metadata', 'store', 'service_tier', 'safety_identifier'];
const CACHING = ['prompt_cache_key', 'prompt_cache_retention', 'prompt_cache_options'];
const CHAT = ['messages', 'max_completion_tokens', 'tools', 'tool_choice', 'parallel_tool_calls'];

/**
 * @param {any} request @param {string[]} known @param {Record<string, unknown[]>} only what else
 *   there is over there, with the values that change nothing
 */
function checkRequest(request, known, only) {
  if (typeof request !== 'object' || !request)
    refused('', `a request must be an object, not ${shown(request)}`, 'invalid_type');
  const all = [...COMMON, ...IGNORED, ...CACHING, ...SAMPLING.keys(), ...known];
  for (const [name, value] of Object.entries(request)) {
    if (value === undefined || value === null || all.includes(name)) continue;
    const neutral = only[name];
    if (!neutral) refused(name, `Unknown parameter: '${name}'.`, 'unknown_parameter');
    const plain = JSON.stringify(value);
    if (!neutral.some(one => JSON.stringify(one) === plain))
      refused(name, `${name} ${plain.slice(0, 60)} is not possible with this model`);
  }
  if ((request.n ?? 1) !== 1) refused('n', 'n must be 1: ask again for another answer');
}

const CHAT_ONLY = {
  logprobs: [false],
  response_format: [{ type: 'text' }],
  modalities: [['text']],
  reasoning_effort: ['none'],
  top_logprobs: [],
  functions: [],
  function_call: ['none'],
  audio: [],
  prediction: [],
  verbosity: [],
  web_search_options: [],
  moderation: [],
};
const TEXT_ONLY = { logprobs: [], echo: [false], best_of: [1], suffix: [''] };

/**
 * Our options for a request.
 * @param {any} request @param {number} most tokens, where nothing is said
 * @param {AbortSignal} signal
 */
function optionsFor(request, most, signal) {
  /** @type {Record<string, unknown>} */
  const options = { temperature: 1, signal };
  for (const [theirs, ours] of SAMPLING)
    if (request[theirs] !== undefined && request[theirs] !== null) options[ours] = request[theirs];
  options.maxTokens = request.max_completion_tokens ?? request.max_tokens ?? most;
  if (request.stop !== undefined) options.stop = request.stop;
  if (request.logit_bias) options.logitBias = request.logit_bias;
  return options;
}

/** The arguments of a call, which templates read as an object. @param {any} call */
function parsed(call) {
  const text = call?.function?.arguments;
  if (typeof text !== 'string') return call;
  try {
    return { ...call, function: { ...call.function, arguments: JSON.parse(text) } };
  } catch {
    return call;
  }
}

/** A message as templates know it. @param {any} message @returns {Message} */
function messageOf(message) {
  if (!message || typeof message !== 'object') return message; // refused further on
  const { role, content, refusal, audio, tool_calls, ...more } = message;
  const calls = Array.isArray(tool_calls) ? { tool_calls: tool_calls.map(parsed) } : {};
  return {
    ...more,
    role: role === 'developer' ? 'system' : role,
    content: content ?? '',
    ...calls,
  };
}

/** @param {any} request */
function toolsOf({ tools, tool_choice }) {
  if (tool_choice === 'none') return undefined;
  if (tool_choice && tool_choice !== 'auto')
    refused('tool_choice', "tool_choice must be 'auto' or 'none': a call can not be forced");
  return tools?.length ? tools : undefined;
}

// ---- Answers

/** @param {string} kind */
function idOf(kind) {
  let id = '';
  while (id.length < 24) id += Math.random().toString(36).slice(2);
  return `${kind}-${id.slice(0, 24)}`;
}

const seconds = () => Math.floor(Date.now() / 1000);

/** @param {string} finish @returns {FinishReason} */
const reasonOf = finish => (finish === 'length' || finish === 'context' ? 'length' : 'stop');

/** @param {(Usage | null)[]} all @returns {CompletionUsage} */
function usageOf(all) {
  const sum = { prompt: 0, cached: 0, answer: 0 };
  for (const usage of all) {
    sum.prompt += (usage?.promptTokens ?? 0) + (usage?.reusedTokens ?? 0);
    sum.cached += usage?.reusedTokens ?? 0;
    sum.answer += usage?.answerTokens ?? 0;
  }
  return {
    prompt_tokens: sum.prompt,
    completion_tokens: sum.answer,
    total_tokens: sum.prompt + sum.answer,
    prompt_tokens_details: { cached_tokens: sum.cached },
  };
}

/**
 * What a request with `stream` gives: chunks, once, in the order of their making.
 * @template T
 */
export class Stream {
  #chunks;
  #taken = false;

  /** @param {AsyncGenerator<T, void, void>} chunks @param {AbortController} controller */
  constructor(chunks, controller) {
    this.#chunks = chunks;
    /** Its abort ends the answer, and the stream without an error. */
    this.controller = controller;
  }

  /** @returns {AsyncGenerator<T, void, void>} */
  [Symbol.asyncIterator]() {
    if (this.#taken)
      throw new Error('a consumed stream gives nothing more: ask tee() for two of them first');
    this.#taken = true;
    return this.#chunks;
  }

  /** Two streams of the same chunks. @returns {[Stream<T>, Stream<T>]} */
  tee() {
    const source = this[Symbol.asyncIterator]();
    /** @type {Promise<IteratorResult<T, void>>[][]} */
    const queues = [[], []];
    /** @param {number} own */
    async function* side(own) {
      for (;;) {
        if (!queues[own].length) {
          const next = source.next();
          next.catch(() => {});
          for (const queue of queues) queue.push(next);
        }
        const { value, done } = await /** @type {Promise<IteratorResult<T, void>>} */ (
          queues[own].shift()
        );
        if (done) return;
        yield value;
      }
    }
    return [new Stream(side(0), this.controller), new Stream(side(1), this.controller)];
  }

  /** Its chunks as lines of JSON. @returns {ReadableStream<Uint8Array>} */
  toReadableStream() {
    const chunks = this[Symbol.asyncIterator]();
    const encoder = new TextEncoder();
    return new ReadableStream({
      async pull(controller) {
        try {
          const { value, done } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(encoder.encode(`${JSON.stringify(value)}\n`));
        } catch (error) {
          controller.error(error);
        }
      },
      async cancel() {
        await chunks.return?.();
      },
    });
  }
}

/** @param {RequestOptions | null | undefined} options */
function controllerOf(options) {
  const controller = new AbortController();
  const signal = options?.signal;
  if (!signal) return { controller, release: () => {} };
  checkFunction('signal.addEventListener', signal.addEventListener);
  const abort = () => controller.abort(signal.reason);
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort);
  return { controller, release: () => signal.removeEventListener('abort', abort) };
}

/**
 * The pieces of several answers, one after the other, each with the number of its choice.
 * @param {(() => Answer)[]} asked @param {(Usage | null)[]} usages that they add to
 * @returns {AsyncGenerator<{index: number, piece: Piece}, void, void>}
 */
async function* piecesOf(asked, usages) {
  for (const [index, ask] of asked.entries()) {
    const answer = ask();
    let ended = false;
    for await (const piece of answer) {
      ended = Boolean(piece.finish);
      if (ended) usages.push(answer.usage ?? piece.usage ?? null);
      yield { index, piece };
    }
    if (ended) continue;
    usages.push(answer.usage); // it was to have no tokens
    yield { index, piece: { text: '', token: -1, finish: 'length' } };
  }
}

/**
 * Asks, and gives the whole or a stream. What is wrong with a request is known before a stream
 * begins.
 * @template W, C
 * @param {any} request @param {RequestOptions | null | undefined} given
 * @param {(signal: AbortSignal) => (() => Answer)[]} prepare
 * @param {{whole: (texts: {text: string, finish: string}[], usage: CompletionUsage) => W, first:
 *   () => C[], next: (index: number, text: string, finish: string) => C[], last: (usage:
 *   CompletionUsage) => C}} shapes
 * @returns {Promise<any>} W or a Stream of C
 */
async function create(request, given, prepare, shapes) {
  const { controller, release } = controllerOf(given);
  const { signal } = controller;
  /** @type {(Usage | null)[]} */
  const usages = [];
  try {
    const asked = prepare(signal);
    const pieces = piecesOf(asked, usages);
    if (!request.stream) {
      const texts = asked.map(() => ({ text: '', finish: 'stop' }));
      for await (const { index, piece } of pieces) {
        texts[index].text += piece.text;
        if (piece.finish) texts[index].finish = piece.finish;
      }
      release();
      return shapes.whole(texts, usageOf(usages));
    }
    let next = await pieces.next();
    const chunks = async function* () {
      try {
        yield* shapes.first();
        for (; !next.done; next = await pieces.next()) {
          const { index, piece } = next.value;
          yield* shapes.next(index, piece.text, piece.finish);
        }
        if (request.stream_options?.include_usage) yield shapes.last(usageOf(usages));
      } catch (error) {
        if (!signal.aborted) throw asAPIError(error, signal);
      } finally {
        release();
        await pieces.return();
      }
    };
    return new Stream(chunks(), controller);
  } catch (error) {
    release();
    throw asAPIError(error, signal);
  }
}

/** @param {Float32Array} vector */
function base64(vector) {
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

// ---- The client

/**
 * @template R, W, C
 * @typedef {{
 *   (request: R & {stream?: false | null}, options?: RequestOptions): Promise<W>,
 *   (request: R & {stream: true}, options?: RequestOptions): Promise<Stream<C>>,
 *   (request: R, options?: RequestOptions): Promise<W | Stream<C>>}} Create
 */

/**
 * @param {Served} model
 */
export function openaiOf(model) {
  const began = seconds();
  const name = model.facts.name || model.facts.architecture;
  /** @type {ModelEntry} */
  const entry = { id: name, object: 'model', created: began, owned_by: 'hyperion' };

  /** @type {Create<ChatRequest, ChatCompletion, ChatCompletionChunk>} */
  const chat = (/** @type {any} */ request, /** @type {RequestOptions | undefined} */ given) => {
    const about = { id: idOf('chatcmpl'), created: seconds(), model: name };
    const none = request?.stream_options?.include_usage ? { usage: null } : {};
    /** @returns {ChatCompletionChunk} */
    const chunk = (/** @type {any} */ delta, /** @type {FinishReason | null} */ finish) => ({
      ...about,
      object: 'chat.completion.chunk',
      choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
      ...none,
    });
    return create(
      request ?? {},
      given,
      signal => {
        checkRequest(request, CHAT, CHAT_ONLY);
        const tools = toolsOf(request);
        const { messages } = request;
        const all = Array.isArray(messages) ? messages.map(messageOf) : messages;
        const options = optionsFor(request, WITHOUT_END, signal);
        return [() => model.chat(all, { ...options, tools })];
      },
      {
        whole: ([{ text, finish }], usage) => ({
          ...about,
          object: 'chat.completion',
          choices: [
            {
              index: 0,
              message: { role: 'assistant', content: text, refusal: null },
              logprobs: null,
              finish_reason: reasonOf(finish),
            },
          ],
          usage,
        }),
        first: () => [chunk({ role: 'assistant', content: '', refusal: null }, null)],
        next: (_, text, finish) => [
          ...(text ? [chunk({ content: text }, null)] : []),
          ...(finish ? [chunk({}, reasonOf(finish))] : []),
        ],
        last: usage => ({ ...chunk({}, null), choices: [], usage }),
      },
    );
  };

  /** @type {Create<CompletionRequest, Completion, Completion>} */
  const complete = (
    /** @type {any} */ request,
    /** @type {RequestOptions | undefined} */ given,
  ) => {
    const about = { id: idOf('cmpl'), created: seconds(), model: name };
    /** @returns {any} */
    const chunk = (/** @type {any[]} */ choices, /** @type {object} */ more = {}) => ({
      ...about,
      object: 'text_completion',
      choices,
      ...more,
    });
    const choice = (
      /** @type {number} */ index,
      /** @type {string} */ text,
      /** @type {string} */ finish,
    ) => ({ index, text, logprobs: null, finish_reason: finish ? reasonOf(finish) : null });
    return create(
      request ?? {},
      given,
      signal => {
        checkRequest(request, ['prompt'], TEXT_ONLY);
        const { prompt } = request;
        const many = Array.isArray(prompt) && typeof prompt[0] !== 'number';
        if (prompt === undefined || prompt === null || (many && !prompt.length))
          refused('prompt', 'a prompt is wanted: a text, tokens, or an array of them');
        const options = optionsFor(request, LEGACY_TOKENS, signal);
        return (many ? prompt : [prompt]).map(
          (/** @type {any} */ one) => () => model.generate(one, options),
        );
      },
      {
        whole: (texts, usage) =>
          chunk(
            texts.map(({ text, finish }, index) => choice(index, text, finish)),
            { usage },
          ),
        first: () => [],
        next: (index, text, finish) => [
          chunk(
            [choice(index, text, finish)],
            request.stream_options?.include_usage ? { usage: null } : {},
          ),
        ],
        last: usage => chunk([], { usage }),
      },
    );
  };

  /**
   * @param {EmbeddingRequest} request @param {RequestOptions} [given]
   * @returns {Promise<Embeddings>}
   */
  async function embed(request, given) {
    const { controller, release } = controllerOf(given);
    const { signal } = controller;
    try {
      const { input, encoding_format = 'float', dimensions = model.facts.dim } = request ?? {};
      const texts = /** @type {string[]} */ (Array.isArray(input) ? input : [input]);
      if (!texts.length || !texts.every(text => typeof text === 'string'))
        refused('input', 'input must be a text or an array of texts', 'invalid_type');
      if (dimensions !== model.facts.dim)
        refused('dimensions', `this model's vectors have ${model.facts.dim} dimensions`);
      if (encoding_format !== 'float' && encoding_format !== 'base64')
        refused('encoding_format', "encoding_format must be 'float' or 'base64'");
      const vectors = await model.embed(texts, { signal });
      let tokens = 0;
      for (const text of texts) tokens += (await model.tokenize(text, { signal })).length;
      const written = (/** @type {Float32Array} */ vector) =>
        /** @type {any} */ (encoding_format === 'base64' ? base64(vector) : Array.from(vector));
      return {
        object: 'list',
        data: vectors.map((vector, index) => ({
          object: 'embedding',
          index,
          embedding: written(vector),
        })),
        model: name,
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      };
    } catch (error) {
      throw asAPIError(error, signal);
    } finally {
      release();
    }
  }

  /** A page of what there is: one model. A promise that is a list at once, as there. */
  function list() {
    const items = async function* () {
      yield entry;
    };
    const page = {
      object: /** @type {const} */ ('list'),
      data: [entry],
      hasNextPage: () => false,
      getPaginatedItems: () => [entry],
      [Symbol.asyncIterator]: items,
    };
    return Object.assign(Promise.resolve(page), { [Symbol.asyncIterator]: items });
  }

  /** @param {string} id */
  async function retrieve(id) {
    if (id === name) return entry;
    const message = `The model '${id}' does not exist: this one is '${name}'`;
    const type = 'invalid_request_error';
    throw new APIError(404, { message, code: 'model_not_found', type, param: 'model' });
  }

  return {
    chat: { completions: { create: chat } },
    completions: { create: complete },
    embeddings: { create: embed },
    models: { list, retrieve },
    APIError,
  };
}

/** @typedef {ReturnType<typeof openaiOf>} OpenAIClient */
