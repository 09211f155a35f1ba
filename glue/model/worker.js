// The worker's side of link.js: one engine with its models and their sessions, calls by name,
// pieces as events. Calls come by postMessage (a File can come no other way), everything back goes
// over the channel. Where an application brings its own copy of this script (`workerUrl`), worker
// threads run it, too.
import { sender } from '../core/channel.js';
import { HyperionError } from '../core/errors.js';
import { isOrder, obey, starter } from '../core/help.js';
import { leaveThreadsToOwner } from '../core/threads.js';
import { builtin } from '../core/host.js';
import * as implementation from '../generated/sha256.js';
import { late } from '../source/hash.js';
import { Reader } from '../source/reader.js';
import { openSources } from '../source/index.js';
import { Engine } from './engine.js';
import { readingOf } from './options.js';

/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {{id: number, signal: AbortSignal, send: (event: unknown) => void}} Call */

late.sha256 = () => implementation; // a worker that bundlers make of this loads nothing later

/** @type {Engine | null} */
let engine = null;
/** @type {() => void} */
let isCreated = () => {};
/** @type {Promise<void>} there is an engine; whoever fails to make one ends this worker */
const created = new Promise(resolve => (isCreated = resolve));
/** @type {Map<number, Model>} by the number of the call that opened them */
const models = new Map();
/**
 * @type {Map<number, {session: Session, model: Model}>} by the number of the call that made them
 */
const sessions = new Map();
/**
 * @type {WeakMap<Model, {call: Call, stop: AbortController}>} who hears of a model's loading, and
 *   what ends it
 */
const loadings = new WeakMap();
/** @type {Map<number, AbortController>} */
const running = new Map();

const port = /** @type {any} */ (starter.web ?? starter.node);
/** @type {(message: unknown) => void} over a lane, once the first message has brought one */
let send = message => port.postMessage(message);

const reader = new Reader(ask => send({ ask }));
/** As engines take them. @param {any} told @returns {any} */
const sourceOf = told =>
  Array.isArray(told) ? told.map(sourceOf) : told ? reader.source(told) : told;

/** @template T @param {T | null | undefined} one @param {string} what @returns {T} */
function known(one, what) {
  if (!one) throw new HyperionError('HYP_E_STATE', `the ${what} is closed`);
  return one;
}

/**
 * The pieces of an answer as events; what it took is the call's value, or stands with its error.
 * @param {Answer} answer
 * @param {Call} call
 */
async function tell(answer, call) {
  try {
    for await (const piece of answer) call.send({ piece });
    return answer.usage;
  } catch (error) {
    throw Object.assign(/** @type {Error} */ (error), { usage: answer.usage });
  }
}

const progressTo = (/** @type {Call} */ call) => (/** @type {unknown} */ progress) =>
  call.send({ progress });

/**
 * Opens a model in the engine. Where that is just being made, the file is asked for meanwhile.
 * @param {any} source @param {any} options @param {boolean} alone
 * @returns {Promise<Model>}
 */
async function openModel(source, options, alone) {
  if (engine || options.draft) {
    await created;
    return /** @type {any} */ (known(engine, 'engine')).open(source, options, alone);
  }
  const reading = readingOf(options);
  const asked = openSources(source, reading);
  asked.catch(() => {}); // said below
  await created;
  const files = await asked;
  const rest = Object.entries(options).filter(([name]) => name === 'signal' || !(name in reading));
  try {
    return await /** @type {any} */ (known(engine, 'engine')).open(
      files,
      Object.fromEntries(rest),
      alone,
    );
  } catch (error) {
    for (const file of files) Promise.resolve(file.close()).catch(() => {});
    throw error;
  }
}

/** @type {Record<string, (call: Call, ...args: any[]) => Promise<unknown>>} */
const ofEngine = {
  async create({ signal }, options) {
    engine = await Engine.create({ ...options, signal });
    isCreated();
  },
  async open(call, source, options, alone) {
    // With `progressive` what is told of loading goes on beyond this call: see `loaded`.
    const stop = new AbortController();
    const loading = { call, stop };
    call.signal.addEventListener('abort', () => stop.abort());
    const model = await openModel(
      sourceOf(source),
      {
        ...options,
        draft: sourceOf(options.draft),
        signal: stop.signal,
        onProgress: (/** @type {unknown} */ progress) => loading.call.send({ progress }),
      },
      alone,
    );
    models.set(call.id, model);
    loadings.set(model, loading);
    return model.facts;
  },
  inspect: (call, source, options) =>
    known(engine, 'engine').inspect(sourceOf(source), {
      ...options,
      signal: call.signal,
      onProgress: progressTo(call),
    }),
  quantize: (call, source, format, options) =>
    known(engine, 'engine').quantize(sourceOf(source), format, bytes => call.send({ bytes }), {
      ...options,
      imatrix: sourceOf(options.imatrix),
      signal: call.signal,
      onProgress: progressTo(call),
    }),
  stats: () => known(engine, 'engine').stats(),
};

/** @type {Record<string, (model: Model, call: Call, ...args: any[]) => Promise<unknown>>} */
const ofModel = {
  generate: (model, call, prompt, options) =>
    tell(model.generate(prompt, { ...options, signal: call.signal }), call),
  chat: (model, call, messages, options) =>
    tell(model.chat(messages, { ...options, signal: call.signal }), call),
  async session(model, { id, signal }, options) {
    sessions.set(id, { session: await model.session({ ...options, signal }), model });
  },
  async restore(model, { id, signal }, state, options) {
    sessions.set(id, { session: await model.restore(state, { ...options, signal }), model });
  },
  score: (model, { signal, send }, tokens) =>
    model.score(
      tokens,
      (position, values) => send({ score: { position, values: values.slice() } }),
      { signal },
    ),
  tokenize: (model, _, text, options) => model.tokenize(text, options),
  detokenize: (model, _, tokens, options) => model.detokenize(tokens, options),
  async embed(model, { signal }, text, options) {
    const vectors = await model.embed(text, { ...options, signal });
    if (!Array.isArray(vectors)) return vectors;
    // One array, which is what a message takes.
    const values = new Float32Array(vectors.reduce((sum, vector) => sum + vector.length, 0));
    vectors.reduce((at, vector) => {
      values.set(vector, at);
      return at + vector.length;
    }, 0);
    return { values, count: vectors.length };
  },
  async loaded(model, call) {
    const loading = loadings.get(model);
    if (loading) {
      loading.call = call;
      call.signal.addEventListener('abort', () => loading.stop.abort());
    }
    await model.loaded;
  },
  heat: model => model.heat(),
  stats: model => model.stats(),
  measure: model => model.measure(),
  close: model => model.close(),
};

/** @type {Record<string, (session: Session, call: Call, ...args: any[]) => Promise<unknown>>} */
const ofSession = {
  async fork(session, { id }) {
    const model = [...sessions.values()].find(one => one.session === session)?.model;
    const fork = await session.fork();
    sessions.set(id, { session: fork, model: known(model, 'model') });
  },
  generate: (session, call, prompt, options) =>
    tell(session.generate(prompt, { ...options, signal: call.signal }), call),
  chat: (session, call, messages, options) =>
    tell(session.chat(messages, { ...options, signal: call.signal }), call),
  resume: (session, call, _, options) =>
    tell(session.resume({ ...options, signal: call.signal }), call),
  save: session => session.save(),
  unread: (session, _, pieces) => session.unread(pieces),
  tokens: session => session.tokens(),
  stats: session => session.stats(),
  resetProfile: session => session.resetProfile(),
  close: session => session.close(),
};

/** Ends what is under way, and this worker. */
async function leave() {
  for (const controller of running.values()) controller.abort();
  while (running.size) await new Promise(resolve => setTimeout(resolve));
  await engine?.close();
  if (starter.web) port.postMessage({ left: true });
  else builtin('node:process')?.exit();
}

/**
 * @typedef {object} Message
 * @property {number} id of the call
 * @property {boolean} [cancel] the call ends soon
 * @property {boolean} [end] all of it
 * @property {number} [model] that is asked, by the call that opened it
 * @property {number} [session] that is asked; neither: the engine
 * @property {string} method
 * @property {unknown[]} args
 * @property {SharedArrayBuffer} [lane]
 * @property {number} [reply] to a read that this worker has asked for
 * @property {number} [thread] that this worker has asked for, or what became of it
 */

/** @param {Message} message @param {Call} call @returns {Promise<unknown>} */
async function perform({ model, session, method, args }, call) {
  if (session !== undefined) {
    const one = known(sessions.get(session), 'session').session;
    if (method === 'close') sessions.delete(session);
    return ofSession[method](one, call, ...args);
  }
  if (model !== undefined) {
    const one = known(models.get(model), 'model');
    if (method === 'close') {
      models.delete(model);
      for (const [id, own] of sessions) if (own.model === one) sessions.delete(id);
    }
    return ofModel[method](one, call, ...args);
  }
  return ofEngine[method](call, ...args);
}

/** @param {Message} message */
async function take(message) {
  const { id, cancel, end, lane, reply, thread } = message;
  if (reply) return reader.replied(/** @type {any} */ (message));
  if (thread) return heardOfThread(/** @type {any} */ (message));
  if (end) return leave();
  if (lane) send = sender(lane, message => port.postMessage(message));
  if (cancel) return running.get(id)?.abort();
  const controller = new AbortController();
  running.set(id, controller);
  try {
    const { signal } = controller;
    const value = await perform(message, { id, signal, send: event => send({ id, event }) });
    send({ id, value });
  } catch (error) {
    const { message = String(error), usage = null } = /** @type {any} */ (error);
    const code = error instanceof HyperionError ? error.code : 'HYP_E_HOST';
    send({ id, error: { code, message }, usage });
  } finally {
    running.delete(id);
  }
}

/** @type {Map<number, {here: (trouble?: Error) => void, fail: (error: Error) => void}>} */
const threads = new Map();
/** @param {{thread: number, trouble?: string, came: boolean}} message */
function heardOfThread({ thread, trouble, came }) {
  const { here, fail } = /** @type {any} */ (threads.get(thread));
  const error = trouble === undefined ? undefined : new Error(trouble);
  if (came && error) fail(error);
  else here(error);
}
/** @type {import('../core/threads.js').StartThread} */
function startByOwner(order, here, fail) {
  const thread = threads.size + 1;
  threads.set(thread, { here, fail });
  port.postMessage({ thread, order });
  return () => {}; // it ends with this worker
}
if (starter.web) leaveThreadsToOwner(builtin('node:process') ? undefined : startByOwner);
port.postMessage({ bell: true }); // loaded
const hear = (/** @type {any} */ message) => (isOrder(message) ? obey(message) : take(message));
if (starter.web) port.onmessage = (/** @type {MessageEvent} */ event) => hear(event.data);
else port.on('message', hear);
