// `model.openai` in the place of OpenAI's client: the same program, the same shapes. They are
// written down here from the public reference of the interface; where the package `openai` is
// installed, its own client reads our answers, too, over a `fetch` that this model answers.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { open } from 'hyperion-runtime';
import { tinyModel } from '../tools/models.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const dir = mkdtempSync(join(tmpdir(), 'hyperion-openai-'));
after(() => rmSync(dir, { recursive: true }));
const TEMPLATE =
  "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}{% for c in m['tool_calls'] or [] %}{{ c['function']['arguments']['city'] }}{% endfor %};{% endfor %}";

// ---- Shapes: what a value must be, field by field; a field that is not here must not be there

const integer = value => Number.isInteger(value) && value >= 0;
const text = value => typeof value === 'string';
const one =
  (...values) =>
  value =>
    values.includes(value);
const optional = shape => Object.assign(value => fits(value, shape), { optional: true });
const list = shape => value => Array.isArray(value) && value.every(item => fits(item, shape));
/** @returns {boolean} */
function fits(value, shape) {
  if (typeof shape === 'function') return shape(value);
  if (typeof value !== 'object' || value === null) return false;
  const missing = Object.keys(shape).filter(key => !(key in value) && !shape[key].optional);
  const wrong = Object.keys(value).filter(key => !shape[key] || !fits(value[key], shape[key]));
  if (missing.length || wrong.length)
    assert.fail(`missing ${missing}; wrong ${wrong} in ${JSON.stringify(value)}`);
  return true;
}
const USAGE = {
  prompt_tokens: integer,
  completion_tokens: integer,
  total_tokens: integer,
  prompt_tokens_details: { cached_tokens: integer },
};
const about = (object, prefix) => ({
  id: value => new RegExp(`^${prefix}-\\w{20,}$`).test(value),
  object: one(object),
  created: value => integer(value) && Math.abs(value - Date.now() / 1000) < 600,
  model: value => text(value) && value.length > 0,
});
const COMPLETION = {
  ...about('chat.completion', 'chatcmpl'),
  choices: list({
    index: one(0),
    message: { role: one('assistant'), content: text, refusal: one(null) },
    logprobs: one(null),
    finish_reason: one('stop', 'length'),
  }),
  usage: USAGE,
};
const CHUNK = {
  ...about('chat.completion.chunk', 'chatcmpl'),
  choices: list({
    index: one(0),
    delta: {
      role: optional(one('assistant')),
      content: optional(text),
      refusal: optional(one(null)),
    },
    logprobs: one(null),
    finish_reason: one('stop', 'length', null),
  }),
  usage: optional(value => value === null || fits(value, USAGE)),
};
const TEXT = {
  ...about('text_completion', 'cmpl'),
  choices: list({
    index: integer,
    text,
    logprobs: one(null),
    finish_reason: one('stop', 'length', null),
  }),
  usage: optional(value => value === null || fits(value, USAGE)),
};

const MESSAGES = [
  { role: 'developer', content: 'Be brief.' },
  { role: 'user', content: [{ type: 'text', text: 'ab' }] },
];
const ASK = { model: 'gpt-4o-mini', messages: MESSAGES, max_tokens: 5, seed: 3, temperature: 0 };
const collect = async (stream, out = []) => {
  for await (const one of stream) out.push(one);
  return out;
};
const fails = (promise, status, code, param, message = /./) =>
  assert.rejects(promise, error => {
    assert.ok(error instanceof Error);
    assert.deepEqual([error.status, error.code, error.param], [status, code, param], error.stack);
    assert.match(error.message, new RegExp(`^${status} `));
    assert.match(error.message, message);
    assert.equal(error.error.message, error.message.slice(4));
    return true;
  });

for (const worker of [false, true])
  describe(`the client${worker ? ' of a model in a worker' : ''}`, () => {
    let model;
    let story;
    let openai;
    before(async () => {
      const path = tinyModel(join(dir, `tiny-${worker}.gguf`), [
        ['tokenizer.chat_template', 'str', TEMPLATE],
      ]);
      model = await open(path, { worker, threads: 1, context: 256 });
      story = await open(STORY, { worker, threads: 1, context: 128 });
      openai = model.openai;
      assert.equal(model.openai, openai);
    });
    after(async () => {
      await model.close();
      await story.close();
    });

    test('chat completions have their shape, and say what chat says', async () => {
      const made = await openai.chat.completions.create(ASK);
      assert.ok(fits(made, COMPLETION));
      const own = await model.chatComplete(
        [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'ab' },
        ],
        { maxTokens: 5, seed: 3, temperature: 0 },
      );
      assert.equal(made.choices[0].message.content, own.text);
      assert.equal(made.choices[0].finish_reason, 'length');
      assert.equal(made.usage.completion_tokens, 5);
      assert.equal(made.usage.total_tokens, made.usage.prompt_tokens + 5);
      assert.equal(made.usage.prompt_tokens, own.usage.promptTokens + own.usage.reusedTokens);
      const again = await openai.chat.completions.create({
        ...ASK,
        max_tokens: null,
        max_completion_tokens: 2,
      });
      assert.equal(again.usage.completion_tokens, 2);
    });

    test('streams are chunks of that shape, with the same text', async () => {
      const whole = await openai.chat.completions.create(ASK);
      const stream = await openai.chat.completions.create({ ...ASK, stream: true });
      assert.ok(stream.controller instanceof AbortController);
      const chunks = await collect(stream);
      for (const chunk of chunks) assert.ok(fits(chunk, CHUNK) && !('usage' in chunk));
      assert.equal(new Set(chunks.map(c => c.id)).size, 1);
      assert.deepEqual(chunks[0].choices[0].delta, {
        role: 'assistant',
        content: '',
        refusal: null,
      });
      assert.equal(
        chunks.map(c => c.choices[0]?.delta.content ?? '').join(''),
        whole.choices[0].message.content,
      );
      const last = chunks.at(-1).choices[0];
      assert.deepEqual([last.delta, last.finish_reason], [{}, 'length']);
      assert.ok(chunks.slice(0, -1).every(c => c.choices[0].finish_reason === null));
      await assert.rejects(collect(stream), /consumed stream/);
      const counted = await collect(
        await openai.chat.completions.create({
          ...ASK,
          stream: true,
          stream_options: { include_usage: true },
        }),
      );
      assert.ok(counted.every(chunk => fits(chunk, CHUNK)));
      assert.ok(counted.slice(0, -1).every(chunk => chunk.usage === null));
      assert.deepEqual(counted.at(-1).choices, []);
      assert.deepEqual(
        [counted.at(-1).usage.prompt_tokens, counted.at(-1).usage.completion_tokens],
        [whole.usage.prompt_tokens, whole.usage.completion_tokens],
      );
      const [a, b] = (await openai.chat.completions.create({ ...ASK, stream: true })).tee();
      assert.deepEqual(await collect(a), await collect(b));
      const lines = await new Response(
        (await openai.chat.completions.create({ ...ASK, stream: true })).toReadableStream(),
      ).text();
      assert.ok(
        lines
          .trim()
          .split('\n')
          .every(line => fits(JSON.parse(line), CHUNK)),
      );
    });

    test('a stream that is left or aborted leaves the model free', async () => {
      const endless = { ...ASK, max_tokens: 150, logit_bias: { 2: -100 }, stream: true };
      for await (const chunk of await openai.chat.completions.create(endless)) if (chunk) break;
      const stream = await openai.chat.completions.create(endless);
      const seen = [];
      for await (const chunk of stream) {
        seen.push(chunk);
        if (seen.length === 3) stream.controller.abort();
      }
      assert.ok(seen.length < 12);
      const stop = new AbortController();
      const aborted = openai.chat.completions.create(
        { ...endless, stream: false },
        { signal: stop.signal },
      );
      stop.abort();
      await assert.rejects(aborted, { name: 'AbortError' });
      await assert.rejects(openai.chat.completions.create(ASK, { signal: AbortSignal.abort() }), {
        name: 'AbortError',
      });
      assert.equal((await openai.chat.completions.create(ASK)).usage.completion_tokens, 5);
    });

    test('tools and calls of them reach the template', async () => {
      const count = async more =>
        (await openai.chat.completions.create({ ...ASK, ...more })).usage.prompt_tokens;
      const tools = [{ type: 'function', function: { name: 'weather', parameters: {} } }];
      const plain = await count({});
      assert.ok((await count({ tools })) > plain);
      assert.equal(await count({ tools, tool_choice: 'none' }), plain);
      assert.equal(await count({ tools: [] }), plain);
      const call = {
        id: 'a',
        type: 'function',
        function: { name: 'f', arguments: '{"city":"Xanadu"}' },
      };
      const asked = [
        { role: 'user', content: 'x' },
        { role: 'assistant', content: '' },
      ];
      const called = [asked[0], { role: 'assistant', content: null, tool_calls: [call] }];
      assert.ok((await count({ messages: called })) > (await count({ messages: asked })));
    });

    test('completions of a text, of several, as a stream', async () => {
      const { completions } = story.openai;
      const ask = { model: 'x', prompt: 'Once upon a time', max_tokens: 6, temperature: 0 };
      const made = await completions.create(ask);
      assert.ok(fits(made, TEXT) && fits(made.usage, USAGE));
      assert.equal(
        made.choices[0].text,
        (await story.complete('Once upon a time', { maxTokens: 6, temperature: 0 })).text,
      );
      assert.equal(
        (await completions.create({ ...ask, max_tokens: null })).usage.completion_tokens,
        16,
      );
      const two = await completions.create({ ...ask, prompt: ['Once upon a time', 'Tom had'] });
      assert.deepEqual(
        two.choices.map(c => c.index),
        [0, 1],
      );
      assert.equal(two.choices[0].text, made.choices[0].text);
      assert.equal(two.usage.completion_tokens, 12);
      const tokens = await story.tokenize('Once upon a time');
      assert.equal(
        (await completions.create({ ...ask, prompt: tokens })).choices[0].text,
        made.choices[0].text,
      );
      const chunks = await collect(
        await completions.create({ ...ask, stream: true, stream_options: { include_usage: true } }),
      );
      assert.ok(chunks.every(chunk => fits(chunk, TEXT)));
      assert.equal(chunks.map(c => c.choices[0]?.text ?? '').join(''), made.choices[0].text);
      assert.equal(chunks.at(-2).choices[0].finish_reason, 'length');
      assert.deepEqual(chunks.at(-1).choices, []);
      const stopped = await completions.create({ ...ask, stop: made.choices[0].text.slice(4, 7) });
      assert.equal(stopped.choices[0].finish_reason, 'stop');
    });

    test('embeddings, as numbers and in base64', async () => {
      const { embeddings } = story.openai;
      const made = await embeddings.create({ model: 'x', input: ['a cat', 'a dog'] });
      assert.ok(
        fits(made, {
          object: one('list'),
          data: list({
            object: one('embedding'),
            index: integer,
            embedding: list(Number.isFinite),
          }),
          model: text,
          usage: { prompt_tokens: integer, total_tokens: integer },
        }),
      );
      assert.deepEqual(
        made.data.map(d => d.index),
        [0, 1],
      );
      const own = await story.embed('a dog');
      assert.deepEqual(made.data[1].embedding, Array.from(own));
      const one_ = await embeddings.create({
        model: 'x',
        input: 'a dog',
        encoding_format: 'base64',
      });
      assert.deepEqual(
        new Float32Array(Uint8Array.from(Buffer.from(one_.data[0].embedding, 'base64')).buffer),
        own,
      );
      await fails(embeddings.create({ model: 'x', input: [] }), 400, 'invalid_type', 'input');
      await fails(
        embeddings.create({ model: 'x', input: 'a', dimensions: 7 }),
        400,
        'unsupported_value',
        'dimensions',
      );
    });

    test('models: one', async () => {
      const page = await openai.models.list();
      const entry = { id: text, object: one('model'), created: integer, owned_by: text };
      assert.ok(page.data.length === 1 && fits(page.data[0], entry));
      assert.deepEqual(await collect(openai.models.list()), page.data);
      const { id } = page.data[0];
      assert.equal((await openai.chat.completions.create(ASK)).model, id);
      assert.deepEqual(await openai.models.retrieve(id), page.data[0]);
      await fails(openai.models.retrieve('gpt-9'), 404, 'model_not_found', 'model');
    });

    test('what can not be is refused, with status and code', async () => {
      const ask = more => openai.chat.completions.create({ ...ASK, ...more });
      const wrong = [
        [{ n: 2 }, 'unsupported_value', 'n'],
        [{ logprobs: true }, 'unsupported_value', 'logprobs'],
        [{ top_logprobs: 3 }, 'unsupported_value', 'top_logprobs'],
        [{ response_format: { type: 'json_object' } }, 'unsupported_value', 'response_format'],
        [{ tool_choice: 'required', tools: [{}] }, 'unsupported_value', 'tool_choice'],
        [{ functions: [{}] }, 'unsupported_value', 'functions'],
        [{ temprature: 1 }, 'unknown_parameter', 'temprature'],
        [{ temperature: 200 }, 'invalid_value', null],
        [{ max_tokens: -1 }, 'invalid_value', null],
        [{ messages: 'hi' }, 'invalid_value', null],
        [{ messages: undefined }, 'invalid_value', null],
        [
          {
            messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: '' } }] }],
          },
          'unsupported_value',
          null,
        ],
        [
          { messages: [{ role: 'user', content: 'a'.repeat(3000) }] },
          'context_length_exceeded',
          null,
        ],
      ];
      for (const [more, code, param] of wrong)
        for (const stream of [false, true]) await fails(ask({ ...more, stream }), 400, code, param);
      for (const fine of [
        { n: 1, logprobs: false, response_format: { type: 'text' }, user: 'me', store: false },
        { top_k: 5, min_p: 0.1, repeat_penalty: 1.1, presence_penalty: 0.1, top_p: 0.9 },
        { n: null, stop: null, logit_bias: null, tools: null, seed: null, stream: null },
      ])
        assert.ok(fits(await ask(fine), COMPLETION));
      await fails(openai.chat.completions.create(null), 400, 'invalid_type', '');
      const other = await open(STORY, { worker, threads: 1 });
      const { openai: gone } = other;
      await fails(
        gone.chat.completions.create(ASK),
        400,
        'unsupported_value',
        null,
        /chat template/,
      );
      await other.close();
      await fails(gone.completions.create({ prompt: 'a' }), 409, 'conflict', null, /closed/);
    });
  });

/** What OpenAI's server would answer, by this model. @returns {typeof fetch} */
const fetchOf = openai => async (url, init) => {
  const { pathname } = new URL(String(url));
  const body = init.body ? JSON.parse(String(init.body)) : undefined;
  const json = (value, status = 200) =>
    new Response(JSON.stringify(value), {
      status,
      headers: { 'content-type': 'application/json' },
    });
  try {
    if (pathname === '/v1/models') {
      const { object, data } = await openai.models.list();
      return json({ object, data });
    }
    const kind = {
      '/v1/chat/completions': openai.chat.completions,
      '/v1/completions': openai.completions,
      '/v1/embeddings': openai.embeddings,
    }[pathname];
    const made = await kind.create(body);
    if (!body.stream) return json(made);
    let events = '';
    for await (const chunk of made) events += `data: ${JSON.stringify(chunk)}\n\n`;
    return new Response(`${events}data: [DONE]\n\n`, {
      headers: { 'content-type': 'text/event-stream' },
    });
  } catch (error) {
    return json({ error: error.error }, error.status);
  }
};

/** A program for either client: everything that it sees, ids and times aside. */
async function program(openai) {
  const seen = [];
  const see = value =>
    seen.push(
      JSON.parse(JSON.stringify(value, (key, v) => (/^(id|created)$/.test(key) ? undefined : v))),
    );
  see(await openai.chat.completions.create(ASK));
  const stream = await openai.chat.completions.create({
    ...ASK,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) see(chunk);
  see(await openai.completions.create({ model: 'x', prompt: 'ab', temperature: 0, max_tokens: 3 }));
  see(await openai.embeddings.create({ model: 'x', input: ['ab', 'c'] }));
  see((await openai.models.list()).data);
  for await (const model of openai.models.list()) see(model);
  try {
    await openai.chat.completions.create({ ...ASK, n: 3 });
  } catch (error) {
    see([
      error.status,
      error.code,
      error.param,
      error.type,
      error.message,
      error.constructor.name !== 'Error',
    ]);
  }
  return seen;
}

test("OpenAI's own client sees the same", async t => {
  const { OpenAI } = await import('openai').catch(() => ({ OpenAI: null }));
  if (!OpenAI) return t.skip('the package openai is not installed');
  const path = tinyModel(join(dir, 'tiny.gguf'), [['tokenizer.chat_template', 'str', TEMPLATE]]);
  const model = await open(path, { worker: false, threads: 1, context: 256 });
  const theirs = new OpenAI({ apiKey: 'x', maxRetries: 0, fetch: fetchOf(model.openai) });
  await program(model.openai); // so that as much of the prompts is known to each
  assert.deepEqual(await program(model.openai), await program(theirs));
  await model.close();
});
