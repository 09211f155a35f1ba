// Requests and answers of the handler: bodies within their limit, errors as JSON, answers as
// server-sent events.
import { HyperionError } from '../core/errors.js';
import { APIError } from '../model/openai.js';

const TYPES = /** @type {Record<number, string>} */ ({ 429: 'rate_limit_error' });

/**
 * @param {number} status @param {string} code @param {string} message
 * @param {string | null} [param]
 */
export function problem(status, code, message, param = null) {
  const type = TYPES[status] ?? (status < 500 ? 'invalid_request_error' : 'server_error');
  return new APIError(status, { message, code, type, param });
}

/** What an error is over HTTP. @param {unknown} error @returns {APIError} */
export function problemOf(error) {
  if (error instanceof APIError)
    return error.status === 500 && error.cause ? problemOf(error.cause) : error;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof HyperionError ? error.code : '';
  if (code === 'HYP_E_NOMEM') return problem(503, 'out_of_memory', message);
  if (code === 'HYP_E_IO') return problem(503, 'model_unreachable', message);
  if (code === 'HYP_E_HOST' || code === 'HYP_E_STATE') return problem(503, 'unavailable', message);
  return problem(500, 'server_error', message);
}

/**
 * @param {unknown} error @param {object} [more] beside an error of 503: what there is
 * @returns {Response}
 */
export function refusal(error, more = {}) {
  const { status, error: about } = problemOf(error);
  const beside = status === 503 ? more : {};
  /** @type {Record<string, string>} */
  const headers = status === 429 || status === 503 ? { 'retry-after': '1' } : {};
  return Response.json({ error: { ...about, ...beside } }, { status, headers });
}

/**
 * The body of a request, of at most `most` bytes, as JSON.
 * @param {Request} request @param {number} most @returns {Promise<any>}
 */
export async function jsonOf(request, most) {
  const tooLarge = () =>
    problem(413, 'request_too_large', `a request must have at most ${most} bytes`);
  if (Number(request.headers.get('content-length') ?? 0) > most) throw tooLarge();
  let text = '';
  let bytes = 0;
  const decoder = new TextDecoder();
  const reader = request.body?.getReader();
  for (;;) {
    const { value, done } = reader ? await reader.read() : { value: undefined, done: true };
    if (done || !value) break;
    bytes += value.length;
    if (bytes > most) {
      await reader?.cancel().catch(() => {});
      throw tooLarge();
    }
    text += decoder.decode(value, { stream: true });
  }
  text += decoder.decode();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw problem(400, 'invalid_json', 'a body of JSON is wanted');
  }
  if (typeof body !== 'object' || !body || Array.isArray(body))
    throw problem(400, 'invalid_type', 'a request must be an object');
  return body;
}

/**
 * Server-sent events of what `next` gives, until it is done; `over` is called once, also when
 * nobody reads any more.
 * @param {() => Promise<IteratorResult<unknown, unknown>>} next
 * @param {() => void} over
 */
export function events(next, over) {
  const encoder = new TextEncoder();
  const event = (/** @type {string} */ data) => encoder.encode(`data: ${data}\n\n`);
  /** @type {ReadableStream<Uint8Array>} */
  const body = new ReadableStream(
    {
      async pull(controller) {
        try {
          const { value, done } = await next();
          if (!done) return controller.enqueue(event(JSON.stringify(value)));
          controller.enqueue(event('[DONE]'));
        } catch (error) {
          controller.enqueue(event(JSON.stringify({ error: problemOf(error).error })));
        }
        controller.close();
        over();
      },
      cancel: () => over(),
    },
    { highWaterMark: 0 }, // nothing is computed for who does not read
  );
  return new Response(body, {
    headers: { 'content-type': 'text/event-stream;charset=utf-8', 'cache-control': 'no-store' },
  });
}
