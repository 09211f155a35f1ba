// Hyperion in an edge isolate, or wherever a function takes a Request and gives a Response: routes
// as OpenAI's, over one engine that an isolate's requests share. Nothing is done at the top level,
// nothing is compiled from bytes where a module is given, and no timer or worker is left behind.
import { refuse, shown } from '../core/check.js';
import * as chat from '../model/chat.js';
import { openaiOf } from '../model/openai.js';
import { memoryBytes } from '../model/options.js';
import { parts } from '../model/parts.js';
import { Answers } from './answers.js';
import { events, jsonOf, problem, refusal } from './http.js';
import { Isolate } from './isolate.js';

export { HyperionError } from '../core/errors.js';

parts.chat = () => chat;

/** @typedef {import('./ranges.js').EdgeSource} EdgeSource */
/** @typedef {import('./ranges.js').Bucket} Bucket */
/** @typedef {import('./ranges.js').Service} Service */
/** @typedef {import('./state.js').States} States */
/** @typedef {import('./isolate.js').Host} Host */
/** @typedef {import('../core/places.js').WasmSource} WasmSource */
/**
 * @typedef {object} HandlerOptions
 * @property {EdgeSource | ((env: any) => EdgeSource | Promise<EdgeSource>)} model where its bytes
 *   are: {bucket, key}, {service, url}, a URL whose server answers Range requests, bytes, or
 *   {size, read}; or what gives that for the host's bindings
 * @property {WasmSource | ((env: any) => WasmSource | Promise<WasmSource>)} [wasm] the module:
 *   compiled where the host compiles nothing itself; the package's own when left out
 * @property {string | number} [memory] limit for all that the engine holds; '96MB' when left out
 * @property {number} [context] tokens of prompt and answer together; 512 when left out
 * @property {'f16' | 'q8_0'} [cache] format of the KV cache; when left out q8_0, where
 *   the model's heads allow it
 * @property {number} [batch] prompt tokens computed at once; 32 when left out
 * @property {number} [stepWork] million multiply-adds between two pauses; 10 when left out
 * @property {number} [answers] under way at once; further requests are refused with 429; 2 when
 *   left out
 * @property {number} [maxTokens] of an answer, whatever is asked for; 1024 when left out
 * @property {number} [sliceTokens] of an answer for each request: what is left of it goes on by its
 *   state in the next one
 * @property {States | ((env: any) => States)} [states] keeps states; without it they are handed out
 *   themselves, in base64, to those who ask for them
 * @property {number} [stateSeconds] that a state is kept; 3600 when left out
 * @property {string | number} [bodyLimit] of a request; '1MB' when left out, or '16MB' where states
 *   come with requests
 * @property {string | number} [window] bytes of the model asked for at once; '1MB' when left out
 * @property {boolean | string | string[]} [cors] origins whose pages may ask; true: all
 * @property {string} [base] path before the routes, as '/ai'
 */
/**
 * What the host gives beside a request; both may be missing.
 * @typedef {{waitUntil?: (promise: Promise<any>) => void}} HostContext
 */

const BATCH = 32; // prompt tokens at once: their workspace is small
const USUAL = {
  memory: '96MB',
  context: 512,
  batch: BATCH,
  stepWork: 10,
  answers: 2,
  maxTokens: 1024,
  sliceTokens: 0,
  stateSeconds: 3600,
  window: '1MB',
  base: '',
};
const OWN = [...Object.keys(USUAL), 'model', 'wasm', 'cache', 'states', 'bodyLimit', 'cors'];

/** @param {any} given @returns {any} */
function optionsOf(given) {
  if (typeof given !== 'object' || !given)
    refuse(`createHandler's options must be an object, not ${shown(given)}`);
  for (const name of Object.keys(given))
    if (!OWN.includes(name)) refuse(`createHandler has no option '${name}'`);
  if (given.model === undefined || given.model === null)
    refuse("createHandler needs a model: {bucket, key}, a URL, or a function of the host's env");
  /** @type {any} */
  const options = { ...USUAL };
  for (const [name, value] of Object.entries(given))
    if (value !== undefined && value !== null) options[name] = value;
  for (const name of ['context', 'batch', 'answers', 'maxTokens', 'stateSeconds'])
    if (!Number.isSafeInteger(options[name]) || options[name] < 1)
      refuse(`${name} must be a whole number from 1 on, not ${shown(options[name])}`);
  for (const name of ['stepWork', 'sliceTokens'])
    if (!(options[name] >= 0 && options[name] < 2 ** 31))
      refuse(`${name} must be a number from 0 on, not ${shown(options[name])}`);
  const { states, bodyLimit } = options;
  options.bodyLimit = memoryBytes(bodyLimit ?? (states ? '1MB' : '16MB'), 'bodyLimit');
  options.window = memoryBytes(options.window, 'window');
  memoryBytes(options.memory);
  return options;
}

/** @param {HandlerOptions['cors']} cors @param {Request} request @returns {[string, string][]} */
function corsHeaders(cors, request) {
  if (!cors) return [];
  const origin = request.headers.get('origin') ?? '';
  if (cors !== true && ![cors].flat().includes(origin)) return [['vary', 'origin']];
  return [
    ['access-control-allow-origin', cors === true ? '*' : origin],
    ['access-control-allow-methods', 'GET, POST, OPTIONS'],
    ['access-control-allow-headers', 'authorization, content-type'],
    ['access-control-max-age', '86400'],
    ...(cors === true ? [] : [/** @type {[string, string]} */ (['vary', 'origin'])]),
  ];
}

/**
 * A function that answers requests with a model:
 *
 *     import { createHandler } from 'hyperion-runtime/edge';
 *     import wasm from 'hyperion-runtime/hyperion-relaxed.wasm';
 *     const model = env => ({ bucket: env.MODELS, key: 'smol.gguf' });
 *     export default { fetch: createHandler({ wasm, model }) };
 *
 * @param {HandlerOptions} given
 * @returns {(request: Request, env?: any, context?: HostContext) => Promise<Response>}
 */
export function createHandler(given) {
  const options = optionsOf(given);
  const { memory, window, context, cache, batch, base, cors } = options;
  const isolate = new Isolate({
    wasm: options.wasm,
    model: options.model,
    memory,
    window,
    engine: { ...(options.stepWork && { stepWork: Math.ceil(options.stepWork * 1000) }) },
    session: { context, cache, batch },
  });
  const answers = new Answers(isolate, options);

  const completions =
    (/** @type {'chat' | 'text'} */ kind) =>
    async (/** @type {Request} */ request, /** @type {Host} */ host) =>
      answers.answer(kind, await jsonOf(request, options.bodyLimit), request.signal, host);

  /** @type {Record<string, Record<string, (request: Request, host: Host) => any>>} */
  const routes = {
    '/v1/chat/completions': { POST: completions('chat') },
    '/v1/completions': { POST: completions('text') },
    '/v1/models': {
      GET: async (_, host) => {
        const { model } = await isolate.ready(host);
        const { object, data } = await openaiOf(model).models.list();
        return Response.json({ object, data });
      },
    },
    '/health': {
      GET: () => {
        const status = isolate.now ? 'ready' : isolate.opening ? 'loading' : 'idle';
        const { memory } = isolate.now?.core.stats() ?? {};
        const answering = answers.count;
        return Response.json({ status, answering, loading: isolate.progress, memory });
      },
    },
  };

  /** @param {Request} request @param {Host} host @returns {Promise<Response>} */
  async function routed(request, host) {
    const { pathname } = new URL(request.url);
    const path = pathname.startsWith(base) ? pathname.slice(base.length) : '';
    const methods = Object.hasOwn(routes, path) ? routes[path] : null;
    if (!methods) throw problem(404, 'not_found', `there is no ${pathname}`);
    if (request.method === 'OPTIONS') return new Response(null, { status: 204 });
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    if (Object.hasOwn(methods, method)) return methods[method](request, host);
    const allowed = Object.keys(methods).join(', ');
    const response = refusal(
      problem(405, 'method_not_allowed', `${pathname} takes ${allowed}, not ${request.method}`),
    );
    response.headers.set('allow', allowed);
    return response;
  }

  return async (request, env, place) => {
    /** @type {Host} */
    const host = {
      env,
      hold: promise => {
        try {
          place?.waitUntil?.(promise);
        } catch {
          // the request is over: another one goes on
        }
      },
    };
    let response;
    try {
      response = await routed(request, host);
    } catch (error) {
      response = refusal(error, { memory: isolate.now?.core.stats().memory });
    }
    for (const [name, value] of corsHeaders(cors, request)) response.headers.set(name, value);
    return response;
  };
}

/** Server-sent events, for routes of one's own. */
export { events };
