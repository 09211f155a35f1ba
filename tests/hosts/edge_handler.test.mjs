// The handler of hyperion-runtime/edge on the real hosts that it is for: workerd and Deno.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { open } from 'hyperion-runtime';
import { createHandler } from 'hyperion-runtime/edge';
import { eventsOf, root, serveParts } from '../tools/edge.mjs';
import { startWorkerd } from '../tools/workerd.mjs';
import { makeShape } from '../tools/models.mjs';

const STORY = join(root, 'models/story.gguf');
const dir = mkdtempSync(join(tmpdir(), 'hyperion-edge-hosts-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const PROMPTS = ['Once upon a time', 'Tom had a dog'];
const want = [];
let sampled = '';
before(async () => {
  const story = await open(STORY, { worker: false, threads: 1, cache: 'q8_0' });
  for (const prompt of PROMPTS)
    want.push((await story.complete(prompt, { maxTokens: 12, temperature: 0 })).text);
  const how = { maxTokens: 18, temperature: 0.8, seed: 7 };
  sampled = (await story.complete(PROMPTS[0], how)).text;
  await story.close();
});

const post = (url, body, more = {}) =>
  fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify(body), ...more });
const plain = (prompt, more = {}) => ({ prompt, max_tokens: 12, temperature: 0, ...more });
const textOf = events => events.map(event => event.choices?.[0]?.text ?? '').join('');
/** Asks until what another has left is over. */
async function free(url, body) {
  for (;;) {
    const response = await post(url, body);
    if (response.status !== 429) return response;
    await response.text();
    await sleep(20);
  }
}

/** Two at once, one of them as a stream, and a third that is refused. */
async function together(url) {
  const [whole, stream] = await Promise.all([
    post(url, plain(PROMPTS[0])).then(async response => {
      assert.equal(response.status, 200, await response.clone().text());
      return response.json();
    }),
    post(url, plain(PROMPTS[1], { stream: true })).then(eventsOf),
  ]);
  assert.equal(whole.choices[0].text, want[0]);
  assert.equal(stream.at(-1), '[DONE]');
  assert.equal(textOf(stream), want[1]);
}

/** A reader that goes away leaves nothing behind. */
async function left(url) {
  const response = await post(url, plain(PROMPTS[0], { max_tokens: 400, stream: true }));
  const reader = response.body.getReader();
  await reader.read();
  await reader.cancel();
  for (const prompt of PROMPTS) {
    const answer = await (await free(url, plain(prompt))).json();
    assert.equal(answer.choices[0].text, want[PROMPTS.indexOf(prompt)]);
  }
  let health;
  do health = await (await fetch(`${url}/health`)).json();
  while (health.answering > 0);
}

let parts; // of the model, for workerd
let workerd;
let deno; // where it serves

describe('workerd', () => {
  before(async () => {
    parts = await serveParts(STORY, { delay: 20 });
    workerd = await startWorkerd(dir, {
      main: 'tests/hosts/edge_workerd.mjs',
      modules: { 'hyperion.wasm': 'dist/hyperion-relaxed.wasm' },
      services: { MODELS: parts.host },
    });
  });

  test('nothing is opened before it is asked for', async () => {
    const { status } = await (await fetch(`${workerd.url}/health`)).json();
    assert.deepEqual([status, parts.asked.count], ['idle', 0]);
  });

  test('who opens the model may go away: another gets its answer', async () => {
    const gone = new AbortController();
    const first = post(workerd.url, plain(PROMPTS[0]), { signal: gone.signal });
    first.catch(() => {});
    while (!parts.asked.count) await sleep(5);
    const second = free(workerd.url, plain(PROMPTS[0]));
    await sleep(10);
    gone.abort();
    const response = await second;
    const answer = await response.json();
    assert.equal(response.status, 200, JSON.stringify(answer));
    assert.equal(answer.choices[0].text, want[0]);
    assert.ok(parts.asked.bytes < parts.size * 1.2, 'it was read once');
  });

  test('requests share the engine', () => together(workerd.url));
  test('a reader goes away', () => left(workerd.url));

  test('others have their turn while it computes', async () => {
    let pings = 0;
    let over = false;
    const pinging = (async () => {
      while (!over) pings += (await (await fetch(`${workerd.url}/ping`)).text()) === 'pong';
    })();
    const prompt = 'It was a dark and stormy night, and the rain fell in torrents. '.repeat(10);
    const response = await free(workerd.url, plain(prompt, { max_tokens: 40 }));
    assert.equal(response.status, 200, await response.text());
    over = true;
    await pinging;
    assert.ok(pings > 5, `${pings} answers in between`);
  });

  test('too little memory is an answer with figures', async () => {
    const response = await post(`${workerd.url}/small`, plain(PROMPTS[0]));
    const { error } = await response.json();
    assert.deepEqual([response.status, error.code], [503, 'out_of_memory'], error.message);
    assert.match(error.message, /\d/);
  });

  test('nothing was said on the console', () => assert.equal(workerd.log(), ''));
});

test('135M parameters in an isolate of 128 MB', async t => {
  const path = makeShape('smol135m', 'q4_0', join(root, 'build/smol135m-q4_0.gguf'));
  const parts = await serveParts(path);
  let one;
  try {
    one = await startWorkerd(dir, {
      main: 'tests/bench/edge_main.mjs', // with 96 MB for the engine
      modules: { 'hyperion.wasm': 'dist/hyperion-relaxed.wasm' },
      services: { MODELS: parts.host },
    });
    const idle = one.memory().rss;
    const events = await eventsOf(await post(one.url, plain('one two three', { stream: true })));
    assert.equal(events.at(-1), '[DONE]', JSON.stringify(events));
    assert.equal(events.filter(event => event.choices?.length).length, 12);
    const { memory } = await (await fetch(`${one.url}/health`)).json();
    assert.ok(memory.linearMemoryBytes <= 97e6, JSON.stringify(memory));
    assert.ok(parts.asked.bytes < parts.size * 1.1, 'each part is read once');
    const { peak } = one.memory();
    t.diagnostic(`the process took ${(peak - idle).toFixed(0)} MB more than idle`);
    assert.ok(peak - idle < 160, `${peak - idle} MB`);
  } finally {
    one?.close();
    parts.close();
  }
});

describe('Deno', () => {
  let server;
  before(async () => {
    server = spawn(
      join(root, 'node_modules/deno/deno'), // bin's launcher would outlive a signal
      [
        'run',
        '--allow-read',
        '--allow-net',
        '--no-remote',
        join(root, 'tests/hosts/edge_deno.mjs'),
      ],
      {
        env: { ...process.env, DENO_DIR: dir, DENO_NO_UPDATE_CHECK: '1' },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let said = '';
    deno = await new Promise(resolve =>
      server.stdout.on('data', data => {
        said += data;
        if (said.includes('\n')) resolve(said.trim());
      }),
    );
  });
  after(() => server?.kill('SIGKILL'));
  test('requests share the engine', () => together(deno));
  test('a reader goes away', () => left(deno));

  test('an answer goes on from host to host', async () => {
    const handler = createHandler({ model: readFileSync(STORY), sliceTokens: 5, base: '/slices' });
    const node = {
      fetch: (url, options) => handler(new Request(url, options)),
      url: 'http://node',
    };
    const hosts = [
      { fetch, url: workerd.url },
      node,
      { fetch, url: deno },
      { fetch, url: workerd.url },
    ];
    const body = { prompt: PROMPTS[0], max_tokens: 18, temperature: 0.8, seed: 7, state: true };
    const whole = await node.fetch(`${node.url}/slices/v1/completions`, {
      method: 'POST',
      body: JSON.stringify({ ...body, state: false }),
    });
    assert.equal((await whole.json()).usage.completion_tokens, 5, 'as much as a request may have');
    let text = '';
    let state;
    const ids = new Set();
    for (const [turn, host] of hosts.entries()) {
      const stream = turn % 2 === 0;
      const asked = turn ? { resume: state, state: true } : body;
      const response = await host.fetch(`${host.url}/slices/v1/completions`, {
        method: 'POST',
        body: JSON.stringify({ ...asked, stream }),
      });
      assert.equal(response.status, 200, await response.clone().text());
      const events = stream ? await eventsOf(response) : [await response.json(), '[DONE]'];
      assert.equal(events.pop(), '[DONE]');
      for (const { id } of events) ids.add(id);
      text += textOf(events);
      ({ state } = events.at(-1));
      assert.equal(typeof state, 'string', `of turn ${turn}`);
    }
    assert.equal(ids.size, 1, 'one answer');
    assert.equal(text, sampled);
  });
});

after(() => {
  workerd?.close();
  parts?.close();
});
