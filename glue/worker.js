// The worker's side of remote.js: one model, calls by name, pieces as events. Calls come by postMessage (a File can come no other way),
// everything back goes over the channel.
import { sender } from './channel.js';
import { HyperionError } from './errors.js';
import { openModel } from './model.js';

/** @type {import('./model.js').Model | null} */
let model = null;
/** @type {Map<number, AbortController>} */
const running = new Map();

const threads =
  typeof self === 'object' && typeof (/** @type {any} */ (self).postMessage) === 'function'
    ? null
    : await import('node:worker_threads');
const port = /** @type {any} */ (threads ? threads.parentPort : self);
/** @type {(message: unknown) => void} over a lane, once the first message has brought one */
let send = message => port.postMessage(message);

/** @type {Record<string, (id: number, signal: AbortSignal, ...args: any[]) => Promise<unknown>>} */
const methods = {
  async open(id, signal, source, options) {
    model = await openModel(source, {
      ...options,
      signal,
      onProgress: event => send({ id, event }),
    });
    return model.facts;
  },
  async generate(id, signal, prompt, options) {
    for await (const event of opened().generate(prompt, { ...options, signal }))
      send({ id, event });
  },
  async chat(id, signal, messages, options) {
    for await (const event of opened().chat(messages, { ...options, signal })) send({ id, event });
  },
  score: (id, signal, tokens) =>
    opened().score(
      tokens,
      (position, values) => send({ id, event: { position, values: values.slice() } }),
      { signal },
    ),
  tokenize: (_, __, text, options) => opened().tokenize(text, options),
  detokenize: (_, __, tokens, options) => opened().detokenize(tokens, options),
  embed: (_, signal, text, options) => opened().embed(text, { ...options, signal }),
  heat: () => opened().heat(),
  stats: () => opened().stats(),
  measure: () => opened().measure(),
  forget: () => opened().forget(),
};

function opened() {
  if (!model) throw new Error('no model is open');
  return model;
}

/** Ends what is under way, and this worker. */
async function leave() {
  for (const controller of running.values()) controller.abort();
  while (running.size) await new Promise(resolve => setTimeout(resolve));
  await model?.close();
  process.exit();
}

/** @param {{id: number, cancel?: boolean, end?: boolean, method: string, args: unknown[], lane?: SharedArrayBuffer}} message */
async function take({ id, cancel, end, method, args, lane }) {
  if (end) return leave();
  if (lane) send = sender(lane, message => port.postMessage(message));
  if (cancel) return running.get(id)?.abort();
  const controller = new AbortController();
  running.set(id, controller);
  try {
    send({ id, value: await methods[method](id, controller.signal, ...args) });
  } catch (error) {
    const { message = String(error) } = /** @type {any} */ (error);
    send({
      id,
      error: { code: error instanceof HyperionError ? error.code : 'HYP_E_HOST', message },
    });
  } finally {
    running.delete(id);
  }
}

port.postMessage({ bell: true }); // loaded
if (threads) port.on('message', take);
else port.onmessage = (/** @type {MessageEvent} */ event) => take(event.data);
