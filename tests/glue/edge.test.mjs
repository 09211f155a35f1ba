// The handler for edge isolates, in Node: routes, refusals, streams, and the one engine that all
// requests share. tests/hosts has it on the hosts that it is for.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { open } from 'hyperion-runtime';
import { createHandler } from 'hyperion-runtime/edge';
import { eventsOf, serveParts } from '../tools/edge.mjs';
import { makeShape, tinyModel } from '../tools/models.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const bytes = readFileSync(STORY);
const module = new WebAssembly.Module(readFileSync(join(root, 'dist/hyperion.wasm')));
const dir = mkdtempSync(join(tmpdir(), 'hyperion-edge-'));
after(() => rmSync(dir, { recursive: true }));

const PROMPT = 'Once upon a time';
const COMPLETIONS = '/v1/completions';
const story = await open(bytes, { worker: false, threads: 1, cache: 'q8_0' });
after(() => story.close());
const told = async (prompt, maxTokens) =>
  (await story.complete(prompt, { maxTokens, temperature: 0 })).text;

const request = (path, body, more = {}) =>
  new Request(`http://edge${path}`, {
    ...(body !== undefined && {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
    ...more,
  });
/** @returns {Promise<[number, any]>} */
const ask = async (handler, ...of) => {
  const response = await handler(request(...of));
  return [response.status, await response.json()];
};
const refused = async (handler, status, code, ...of) => {
  const [got, { error }] = await ask(handler, ...of);
  assert.deepEqual([got, error.code], [status, code], error.message);
  assert.ok(error.message && error.type);
  return error;
};
const plain = (max_tokens, more = {}) => ({ prompt: PROMPT, max_tokens, temperature: 0, ...more });

/** A bucket as R2's, over bytes. */
function bucketOf(data, { key = 'story.gguf', failing = () => false } = {}) {
  const asked = [];
  return {
    asked,
    async get(name, { range: { offset, length } }) {
      if (failing(asked.length)) {
        asked.push('failed');
        throw new Error('the bucket stumbled');
      }
      asked.push([offset, length]);
      if (name !== key) return null;
      const part = data.subarray(offset, offset + length);
      const { body } = new Response(part);
      return { size: data.length, etag: '1', body, arrayBuffer: async () => part.slice().buffer };
    },
  };
}

test('routes: models, health, completions and chats as OpenAI has them', async () => {
  const handler = createHandler({ model: bytes, wasm: module, memory: '32MB' });
  assert.deepEqual(await ask(handler, '/health'), [
    200,
    { status: 'idle', answering: 0, loading: null },
  ]);
  const [, models] = await ask(handler, '/v1/models');
  assert.equal(models.object, 'list');
  assert.equal(models.data[0].id, story.facts.name);
  const [status, whole] = await ask(handler, COMPLETIONS, plain(8));
  assert.equal(status, 200);
  assert.equal(whole.object, 'text_completion');
  assert.equal(whole.choices[0].text, await told(PROMPT, 8));
  assert.deepEqual([whole.choices[0].finish_reason, whole.usage.completion_tokens], ['length', 8]);
  const [, health] = await ask(handler, '/health');
  assert.equal(health.status, 'ready');
  assert.ok(health.memory.linearMemoryBytes < 32e6);
  await refused(handler, 400, 'unsupported_value', '/v1/chat/completions', {
    messages: [{ role: 'user', content: 'hi' }],
  });

  const chatting = tinyModel(join(dir, 'tiny.gguf'), [
    ['tokenizer.chat_template', 'str', "{% for m in messages %}{{ m['content'] }}{% endfor %}"],
  ]);
  const chat = createHandler({ model: readFileSync(chatting), context: 64 });
  const [code, answer] = await ask(chat, '/v1/chat/completions', {
    messages: [{ role: 'user', content: 'hi' }],
    max_tokens: 4,
  });
  assert.equal(code, 200, JSON.stringify(answer));
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.choices[0].message.role, 'assistant');
});

test('a model whose heads fit no Q8_0 cache gets another', async () => {
  const odd = makeShape('stories15m', 'q4_0', join(root, 'build/stories15m-q4_0.gguf'));
  const body = { prompt: 'dog', max_tokens: 2 };
  const [status, answer] = await ask(
    createHandler({ model: readFileSync(odd) }),
    COMPLETIONS,
    body,
  );
  assert.equal(status, 200, JSON.stringify(answer));
  const wanted = createHandler({ model: readFileSync(odd), cache: 'q8_0' });
  await refused(wanted, 400, 'unsupported_value', COMPLETIONS, body);
});

test('answers as server-sent events, with usage and an end', async () => {
  const handler = createHandler({ model: bytes });
  const body = plain(6, { stream: true, stream_options: { include_usage: true } });
  const response = await handler(request(COMPLETIONS, body));
  assert.match(response.headers.get('content-type'), /^text\/event-stream/);
  const events = await eventsOf(response);
  assert.equal(events.pop(), '[DONE]');
  assert.equal(events.pop().usage.completion_tokens, 6);
  assert.equal(events.map(e => e.choices[0].text).join(''), await told(PROMPT, 6));
  assert.equal(events.at(-1).choices[0].finish_reason, 'length');
});

test('what is refused, and how', async () => {
  const handler = createHandler({
    model: bytes,
    bodyLimit: 1000,
    context: 64,
    base: '/ai',
    cors: ['http://a'],
  });
  await refused(handler, 404, 'not_found', '/nothing');
  await refused(handler, 404, 'not_found', '/v1/models');
  await refused(handler, 404, 'not_found', '/ai/constructor');
  await refused(handler, 405, 'method_not_allowed', `/ai${COMPLETIONS}`);
  const wrong = await handler(request('/ai/v1/models', '{}'));
  assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'GET']);
  await refused(handler, 400, 'invalid_json', `/ai${COMPLETIONS}`, '{');
  await refused(handler, 400, 'invalid_type', `/ai${COMPLETIONS}`, '[]');
  await refused(handler, 400, 'unknown_parameter', `/ai${COMPLETIONS}`, { prompt: 'a', what: 1 });
  await refused(handler, 400, 'context_length_exceeded', `/ai${COMPLETIONS}`, {
    prompt: 'a '.repeat(300),
  });
  const large = { prompt: 'a'.repeat(2000) };
  await refused(handler, 413, 'request_too_large', `/ai${COMPLETIONS}`, large);
  const unsized = new ReadableStream({
    pull: controller => controller.enqueue(new Uint8Array(300)),
  });
  const streamed = { method: 'POST', body: unsized, duplex: 'half' };
  await refused(handler, 413, 'request_too_large', `/ai${COMPLETIONS}`, undefined, streamed);
  const origin = { headers: { origin: 'http://a' } };
  const options = await handler(
    request(`/ai${COMPLETIONS}`, undefined, { method: 'OPTIONS', ...origin }),
  );
  assert.equal(options.status, 204);
  assert.equal(options.headers.get('access-control-allow-origin'), 'http://a');
  const other = await handler(
    request('/ai/health', undefined, { headers: { origin: 'http://b' } }),
  );
  assert.equal(other.headers.get('access-control-allow-origin'), null);
  assert.throws(() => createHandler({}), /needs a model/);
  assert.throws(() => createHandler({ model: bytes, memroy: 1 }), /memroy/);
  assert.throws(() => createHandler({ model: bytes, answers: 0 }), /answers/);
});

test('requests at once share one engine and its steps; more than its answers are refused', async () => {
  const handler = createHandler({ model: bytes, answers: 3 });
  const prompts = [PROMPT, 'Tom had a dog', 'It was raining'];
  const want = await Promise.all(prompts.map(prompt => told(prompt, 12)));
  const all = await Promise.all(
    [...prompts, 'one too many'].map(prompt => ask(handler, COMPLETIONS, plain(12, { prompt }))),
  );
  assert.deepEqual(
    all.map(([status]) => status),
    [200, 200, 200, 429],
  );
  assert.deepEqual(
    all.slice(0, 3).map(([, { choices }]) => choices[0].text),
    want,
  );
  const [, { answering, status }] = await ask(handler, '/health');
  assert.deepEqual([answering, status], [0, 'ready']);
});

test('a reader that goes away ends its answer, and the place is free', async () => {
  const handler = createHandler({ model: bytes, answers: 1, maxTokens: 400 });
  const stream = plain(400, { stream: true });
  const response = await handler(request(COMPLETIONS, stream));
  const reader = response.body.getReader();
  await reader.read();
  await refused(handler, 429, 'too_many_answers', COMPLETIONS, plain(1));
  await reader.cancel();
  // What was left ends within the next turns of the engine.
  const free = async (...of) => {
    for (;;) {
      const [status, body] = await ask(handler, ...of);
      if (status !== 429) return [status, body];
    }
  };
  assert.equal((await free(COMPLETIONS, plain(2)))[0], 200);
  const gone = new AbortController();
  const left = ask(handler, COMPLETIONS, plain(400), { signal: gone.signal });
  setImmediate(() => gone.abort());
  assert.deepEqual([(await left)[0], (await left)[1].error.code], [499, 'client_closed_request']);
  assert.equal((await free(COMPLETIONS, plain(2)))[0], 200);
});

test('an isolate without enough memory says how much is missing, and tries again', async () => {
  const handler = createHandler({ model: bytes, memory: '600KB' });
  for (let i = 0; i < 2; i++) {
    const error = await refused(handler, 503, 'out_of_memory', COMPLETIONS, plain(1));
    assert.match(error.message, /\d/);
  }
  const crowded = createHandler({ model: bytes, memory: '5MB', context: 512, answers: 16 });
  const all = await Promise.all(
    Array.from({ length: 12 }, (_, i) =>
      ask(crowded, COMPLETIONS, plain(2, { prompt: `${PROMPT}, ${i} dogs` })),
    ),
  );
  for (const [status, { error }] of all)
    assert.ok(
      status === 200 || (status === 503 && error.code === 'out_of_memory'),
      JSON.stringify(error),
    );
  const [status, after] = await ask(crowded, COMPLETIONS, plain(2));
  assert.equal(status, 200, JSON.stringify(after));
});

test('a bucket is read in parts, each once, and may stumble', async () => {
  const want = await told(PROMPT, 4);
  const bucket = bucketOf(bytes, { failing: count => count === 2 });
  const handler = createHandler({
    model: env => ({ bucket: env.MODELS, key: 'story.gguf' }),
    window: '512KB',
  });
  const respond = async (...of) => (await handler(request(...of), { MODELS: bucket })).json();
  const { choices } = await respond(COMPLETIONS, plain(4));
  assert.equal(choices[0].text, want);
  const read = bucket.asked.filter(one => one !== 'failed');
  assert.ok(read.length < 12 && bucket.asked.length === read.length + 1, `${bucket.asked}`);
  assert.ok(read.every(([, length]) => length <= 512000));
  const sum = read.reduce((all, [, length]) => all + length, 0);
  assert.ok(sum < bytes.length * 1.1, `${sum} of ${bytes.length}`);

  // less memory than the model: its weights are read again
  const small = createHandler({
    model: { bucket: bucketOf(bytes), key: 'story.gguf' },
    memory: '3MB',
    context: 64,
    batch: 8,
    window: '256KB',
  });
  const [status, answer] = await ask(small, COMPLETIONS, plain(4));
  assert.equal(status, 200, JSON.stringify(answer));
  assert.equal(answer.choices[0].text, want);

  const missing = createHandler({ model: { bucket, key: 'none' } });
  await refused(missing, 503, 'model_unreachable', COMPLETIONS, plain(1));
  const dead = createHandler({
    model: { bucket: bucketOf(bytes, { failing: () => true }), key: 'x' },
  });
  assert.match(
    (await refused(dead, 503, 'model_unreachable', COMPLETIONS, plain(1))).message,
    /stumbled/,
  );
});

test('a server is asked for parts, and said to be wrong where it gives none', async () => {
  const parts = await serveParts(STORY);
  const whole = createServer((_, response) => response.end(bytes));
  const address = await new Promise(resolve =>
    whole.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${whole.address().port}/`)),
  );
  try {
    const handler = createHandler({ model: parts.url });
    const [, { choices }] = await ask(handler, COMPLETIONS, plain(4));
    assert.equal(choices[0].text, await told(PROMPT, 4));
    assert.ok(parts.asked.bytes < bytes.length * 1.1);
    const wrong = createHandler({ model: address });
    const { message } = await refused(wrong, 503, 'model_unreachable', COMPLETIONS, plain(1));
    assert.match(message, /Range/);
  } finally {
    parts.close();
    whole.closeAllConnections();
    whole.close();
  }
});

test('where the clock stands still, work alone decides who has the thread', async () => {
  const { now } = performance;
  const prompt = 'It was a dark and stormy night, and the rain fell in torrents. '.repeat(8);
  const turns = async stepWork => {
    const handler = createHandler({ model: bytes, stepWork });
    await ask(handler, '/v1/models');
    let count = 0;
    let over = false;
    const turn = () => {
      count++;
      if (!over) setImmediate(turn);
    };
    setImmediate(turn);
    performance.now = () => 1000;
    try {
      const [status] = await ask(handler, COMPLETIONS, plain(1, { prompt }));
      assert.equal(status, 200);
    } finally {
      over = true;
      performance.now = now;
    }
    return count;
  };
  const [bounded, free] = [await turns(4), await turns(0)];
  assert.ok(bounded > 20 && bounded > 3 * free, `${bounded} turns, and ${free} without a bound`);
});

test('an answer goes on in the next request, by its state', async () => {
  const kept = new Map();
  const puts = [];
  const states = {
    get: async id => kept.get(id) ?? null,
    put: async (id, state, { ttl }) => {
      puts.push(ttl);
      kept.set(id, state);
    },
    delete: async id => void kept.delete(id),
  };
  const how = { temperature: 0.9, seed: 3, stop: ['zebra'] };
  const body = { prompt: PROMPT, max_tokens: 14, ...how };
  const want = await story.complete(PROMPT, { ...how, maxTokens: 14 });
  const handler = createHandler({ model: bytes, sliceTokens: 6, states, stateSeconds: 60 });
  let answer = (await ask(handler, COMPLETIONS, body))[1];
  const { id } = answer;
  let text = answer.choices[0].text;
  let requests = 1;
  for (; answer.state; requests++) {
    assert.equal(kept.size, 1);
    assert.equal(answer.choices[0].finish_reason, 'length');
    const [status, next] = await ask(handler, COMPLETIONS, { resume: answer.state });
    assert.equal(status, 200, JSON.stringify(next));
    assert.equal(next.id, id);
    text += next.choices[0].text;
    answer = next;
  }
  assert.equal(text, want.text);
  assert.deepEqual([requests, kept.size, puts], [3, 0, [60, 60]]);

  const asking = createHandler({ model: bytes });
  const [, first] = await ask(asking, COMPLETIONS, { ...body, max_tokens: 5, state: true });
  const [, second] = await ask(asking, COMPLETIONS, { resume: first.state, max_tokens: 9 });
  assert.equal(first.choices[0].text + second.choices[0].text, want.text);
  assert.equal(second.state, undefined);

  const wrong = (resume, more = {}, of = asking) => [of, COMPLETIONS, { resume, ...more }];
  const cut = first.state.slice(0, first.state.length >> 1);
  for (const [handler, ...of] of [wrong(''), wrong('!'), wrong('abcd'), wrong(cut)])
    await refused(handler, 400, 'invalid_state', ...of);
  await refused(asking, 400, 'invalid_type', COMPLETIONS, { resume: 5 });
  await refused(asking, 400, 'invalid_type', COMPLETIONS, { ...body, state: 'yes' });
  await refused(asking, 400, 'invalid_state', '/v1/chat/completions', { resume: first.state });
  await refused(handler, 404, 'state_not_found', COMPLETIONS, { resume: 'none' });
  assert.equal((await ask(asking, '/health'))[1].answering, 0);
});

test('a model that can not be read to its end is opened anew by the next request', async () => {
  let broken = true;
  const bucket = bucketOf(bytes, { failing: count => broken && count > 3 });
  const model = { bucket, key: 'story.gguf' };
  const handler = createHandler({ model, window: '256KB' });
  await refused(handler, 503, 'model_unreachable', COMPLETIONS, plain(4));
  broken = false;
  const [status, answer] = await ask(handler, COMPLETIONS, plain(4));
  assert.equal(status, 200, JSON.stringify(answer));
  assert.equal(answer.choices[0].text, await told(PROMPT, 4));
});
