// What callers rely on, in the thread and in a worker alike: options are checked by name, aborts
// and callbacks reject as the platform does, sources of every kind cross into the worker, whole
// answers, many vectors.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { HyperionError, createEngine, inspect, open, quantize } from 'hyperion-runtime';
import { tinyModel } from '../tools/models.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const bytes = readFileSync(STORY);
const dir = mkdtempSync(join(tmpdir(), 'hyperion-interface-'));
after(() => rmSync(dir, { recursive: true }));

const HANG_MS = 60000;
/** @template T @param {Promise<T>} promise @returns {Promise<T>} */
const within = promise => {
  let timer;
  const limit = new Promise(
    (_, reject) => (timer = setTimeout(() => reject(new Error('it hangs')), HANG_MS)),
  );
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
};
const collect = async (pieces, out = []) => {
  for await (const p of pieces) out.push(p);
  return out;
};
const GREEDY = { temperature: 0, maxTokens: 8 };
const PROMPT = 'Once upon a time';
const tell = async (model, options = {}) =>
  (await within(collect(model.generate(PROMPT, { ...GREEDY, ...options }))))
    .map(p => p.text)
    .join('');
const rejects = (promise, code, message = /./) =>
  assert.rejects(
    within(promise),
    error =>
      (error instanceof HyperionError && error.code === code && message.test(error.message)) ||
      assert.fail(`${error.code}: ${error.stack}`),
  );
const rejectsWith = (promise, own) =>
  assert.rejects(within(promise), error => error === own || assert.fail(error));

// Reads its messages as parts when they are lists, knows tools, and shows what it was given.
const PARTS =
  "{% if tools %}T:{{ tools | tojson }};{% endif %}{% for m in messages %}{{ m['role'] }}:{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endif %};{% endfor %}";
const PLAIN = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + ';' }}{% endfor %}";
const SAYS = "{% for m in messages %}{{ raise_exception(m['content'] | string) }}{% endfor %}";
const ofTemplate = (name, template) =>
  tinyModel(join(dir, `${name}.gguf`), [['tokenizer.chat_template', 'str', template]]);

for (const worker of [false, true])
  describe(`the interface${worker ? ' in a worker' : ''}`, () => {
    const options = { context: 64, worker };
    let model;
    let want;
    before(async () => {
      model = await open(STORY, options);
      want = await tell(model);
    });
    after(() => model.close());

    // ---- Options

    test('null is what is left out, a single stop text is one', async () => {
      const defaults = Object.fromEntries(
        ['maxTokens', 'stop', 'logitBias', 'purpose', 'signal', 'topK', 'parseSpecial'].map(key => [
          key,
          null,
        ]),
      );
      const pieces = await collect(model.generate(PROMPT, { ...defaults, temperature: 0 }));
      assert.ok(pieces.length > 8 && pieces.at(-1).finish);
      assert.equal(await model.tokenize('a', null).then(t => t.length), 2);
      const stop = want.slice(5, 9);
      assert.equal(await tell(model, { stop }), want.slice(0, want.indexOf(stop)));
      for (const wrong of [7, {}, ''])
        await rejects(collect(model.generate(PROMPT, { stop: wrong })), 'HYP_E_ARGUMENT', /stop/);
    });

    test('what is no number of tokens is refused, and none is an answer of none', async () => {
      for (const maxTokens of [-1, NaN, 2.5, '3', Infinity, true])
        await rejects(
          collect(model.generate(PROMPT, { maxTokens })),
          'HYP_E_ARGUMENT',
          /^maxTokens must be a whole number/,
        );
      for (const context of [-1, 0, '64'])
        await rejects(open(STORY, { ...options, context }), 'HYP_E_ARGUMENT', /^context must be/);
    });

    test('an option that there is not is refused, with the nearest that there is', async () => {
      const wrong = [
        [() => open(STORY, { ...options, contxt: 5 }), /no option 'contxt'.*'context'/],
        [() => open(STORY, { ...options, n_ctx: 5 }), /no option 'n_ctx'/],
        [() => open(STORY, { ...options, maxTokens: 5 }), /no option 'maxTokens'.*generate/],
        [() => createEngine({ worker, thread: 5 }), /no option 'thread'.*'threads'/],
        [() => createEngine({ worker, context: 5 }), /no option 'context'.*open/],
        [() => collect(model.generate(PROMPT, { maxToken: 5 })), /'maxToken'.*'maxTokens'/],
        [() => collect(model.generate(PROMPT, { max_tokens: 5 })), /'max_tokens'.*'maxTokens'/],
        [() => collect(model.generate(PROMPT, { temprature: 1 })), /'temprature'.*'temperature'/],
        [() => collect(model.generate(PROMPT, { append: true })), /'append'.*session/],
        [() => collect(model.chat([{ role: 'user', content: 'a' }], { tols: [] })), /'tools'/],
        [() => model.embed('a', { poling: 'cls' }), /'poling'.*'pooling'/],
        [() => model.tokenize('a', { addspecial: true }), /'addspecial'.*'addSpecial'/],
        [() => model.detokenize([5], { signl: true }), /'signl'.*'signal'/],
        [() => model.score([5], () => {}, { signl: true }), /'signl'.*'signal'/],
        [() => model.session({ contxt: 5 }), /'contxt'.*'context'/],
        [() => model.generate(PROMPT, 7).next(), /options must be an object, not 7/],
        [() => open(STORY, 'fast'), /options must be an object, not 'fast'/],
      ];
      for (const [act, message] of wrong) {
        if (worker && act.toString().includes("'fast'")) continue; // it does not say where
        await rejects(act(), 'HYP_E_ARGUMENT', message);
      }
      const engine = await createEngine({ worker, threads: 1 });
      await rejects(engine.open(STORY, { memory: '1GB' }), 'HYP_E_ARGUMENT', /'memory'.*createEng/);
      await rejects(engine.open(STORY, { bach: 4 }), 'HYP_E_ARGUMENT', /'bach'.*'batch'/);
      await rejects(engine.inspect(STORY, { onprogress() {} }), 'HYP_E_ARGUMENT', /'onProgress'/);
      await rejects(
        engine.quantize(STORY, 'q8_0', () => {}, { densty: 1 }),
        'HYP_E_ARGUMENT',
        /'density'/,
      );
      await engine.close();
      // What is undefined says nothing.
      assert.equal(await tell(model, { nonsense: undefined }), want);
    });

    test('messages are for chat, texts for generate, and tokens lie in the vocabulary', async () => {
      const messages = [{ role: 'user', content: 'hi' }];
      await rejects(collect(model.generate(messages)), 'HYP_E_ARGUMENT', /use chat/);
      await rejects(collect(model.generate(messages[0])), 'HYP_E_ARGUMENT', /use chat/);
      await rejects(collect(model.chat('hi')), 'HYP_E_ARGUMENT', /messages.*generate/);
      for (const wrong of [[7], [{}], [{ role: 'user', content: 7 }], [], null])
        await rejects(collect(model.chat(wrong)), 'HYP_E_ARGUMENT', /message/);
      const { vocab } = model.facts;
      assert.equal(typeof (await model.detokenize([vocab - 1])), 'string');
      for (const id of [-1, vocab, 2 ** 31 - 1])
        await rejects(model.detokenize([5, id]), 'HYP_E_ARGUMENT', /vocabulary/);
    });

    // ---- Aborts

    test('an abort rejects with the reason: an AbortError, unless the caller has another', async () => {
      const calls = {
        generate: signal =>
          collect(model.generate(PROMPT, { signal, maxTokens: 1e6, logitBias: { 2: -1e6 } })),
        complete: signal =>
          model.complete(PROMPT, { signal, maxTokens: 1e6, logitBias: { 2: -1e6 } }),
        score: signal => model.score(Array(60).fill(5), () => {}, { signal }),
        embed: signal => model.embed(Array(40).fill(PROMPT), { signal }),
        open: signal => open(STORY, { ...options, signal }),
        createEngine: signal => createEngine({ worker, signal }),
      };
      for (const [name, call] of Object.entries(calls))
        for (const early of [true, false])
          for (const reason of [undefined, new Error('enough'), 'a text', 0]) {
            const stop = new AbortController();
            if (early) stop.abort(reason);
            const under = call(stop.signal);
            under.catch(() => {});
            if (!early) stop.abort(reason);
            await assert.rejects(within(under), error => {
              assert.equal(error, stop.signal.reason, name);
              if (reason === undefined)
                assert.ok(error instanceof DOMException && error.name === 'AbortError');
              return true;
            });
          }
      await assert.rejects(within(tell(model, { signal: AbortSignal.timeout(0), maxTokens: 60 })), {
        name: 'TimeoutError',
      });
      assert.equal(await tell(model), want);
    });

    // ---- Callbacks

    test('what a callback throws, at once or later, is what its call rejects with', async () => {
      for (const own of [new Error('mine'), undefined, null, 'text']) {
        const throwing = () => {
          throw own;
        };
        const failing = async () => {
          throw own;
        };
        for (const bad of [throwing, failing]) {
          await rejectsWith(model.score([1, 5, 6], bad), own);
          await rejectsWith(open(STORY, { ...options, onProgress: bad }), own);
          await rejectsWith(model.complete(PROMPT, { ...GREEDY, onPiece: bad }), own);
          const engine = await createEngine({ worker, threads: 1 });
          await rejectsWith(engine.quantize(STORY, 'q8_0', bad), own);
          await rejectsWith(engine.open(STORY, { onProgress: bad }), own);
          await within(engine.close());
        }
        assert.equal(await tell(model), want);
      }
    });

    test('a callback that takes its time is waited for; one that never ends hinders no close', async () => {
      let done = 0;
      const engine = await createEngine({ worker, threads: 1 });
      let called = 0;
      await within(
        engine.quantize(STORY, 'q8_0', async () => {
          called++;
          await new Promise(resolve => setTimeout(resolve, 5));
          done++;
        }),
      );
      assert.ok(called > 0 && done === called);
      const stuck = engine.quantize(STORY, 'q8_0', () => new Promise(() => {}));
      const ended = rejects(stuck, 'HYP_E_STATE', /closed/);
      await new Promise(resolve => setTimeout(resolve, 200));
      await within(engine.close());
      await ended;
    });

    test('what is no function is refused', async () => {
      await rejects(model.score([1, 5]), 'HYP_E_ARGUMENT', /visit must be a function/);
      await rejects(model.score([1, 5], 'x'), 'HYP_E_ARGUMENT', /visit must be a function/);
      await rejects(open(STORY, { ...options, onProgress: 7 }), 'HYP_E_ARGUMENT', /onProgress/);
      await rejects(model.complete('a', { onPiece: 7 }), 'HYP_E_ARGUMENT', /onPiece/);
    });

    test('close succeeds, whatever a source does when it is closed', async () => {
      for (const close of [
        () => {
          throw new Error('stuck in the door');
        },
        async () => {
          throw new Error('stuck in the door');
        },
        () => new Promise(() => {}),
      ]) {
        const source = {
          size: bytes.length,
          read: (at, count) => bytes.subarray(at, at + count),
          close,
        };
        const own = await within(open(source, { ...options, memory: '8MB' }));
        assert.equal(await tell(own), want);
        await within(own.close());
        const free = await within(open(source, options)); // let go at once: nothing is read again
        await within(free.close());
      }
    });

    // ---- Sources

    test('sources of every kind', async () => {
      const make = {
        stream: () => new Blob([bytes]).stream(),
        response: () => new Response(bytes, { headers: { 'content-length': `${bytes.length}` } }),
        'response without a size': () => new Response(new Blob([bytes]).stream()),
        own: () => ({ size: bytes.length, read: (at, n) => bytes.subarray(at, at + n) }),
        'own, later': () => ({
          size: bytes.length,
          read: async (at, n) => {
            await new Promise(resolve => setImmediate(resolve));
            return bytes.subarray(at, at + n);
          },
        }),
        blob: () => new Blob([bytes]),
        bytes: () => bytes,
      };
      for (const [name, source] of Object.entries(make)) {
        const own = await within(open(source(), options));
        assert.equal(await tell(own), want, name);
        await own.close();
      }
      // Pages that come and go are asked for again.
      let reads = 0;
      let closed = 0;
      const counting = {
        size: bytes.length,
        read: (at, n) => (reads++, bytes.subarray(at, at + n)),
        close: () => void closed++,
      };
      const tight = await within(open(counting, { ...options, memory: '4MB', batch: 8 }));
      const first = reads;
      assert.equal(await tell(tight), want);
      assert.ok(reads > first);
      assert.equal(closed, 0);
      await tight.close();
      assert.equal(closed, 1);
      assert.equal(bytes.length > 1e6, true); // nothing was detached
    });

    test('streams where the host transfers none: this thread reads them', async t => {
      t.mock.method(globalThis, 'structuredClone', () => {
        throw new DOMException('streams can not be transferred', 'DataCloneError');
      });
      const sized = { headers: { 'content-length': `${bytes.length}` } };
      for (const source of [new Blob([bytes]).stream(), new Response(bytes, sized)]) {
        const own = await within(open(source, options));
        assert.equal(await tell(own), want);
        await own.close();
      }
    });

    test('sources that fail say so in their own words', async () => {
      const size = bytes.length;
      const failing = [
        [() => null, 'HYP_E_IO', /null/],
        [() => bytes.subarray(0, 3), 'HYP_E_IO', /3 of/],
        [() => () => {}, 'HYP_E_IO', /./],
        [
          () => {
            throw new Error('the disk is on fire');
          },
          'HYP_E_IO',
          /on fire/,
        ],
        [() => Promise.reject(new Error('the disk is gone')), 'HYP_E_IO', /is gone/],
      ];
      for (const [read, code, message] of failing)
        await rejects(open({ size, read }, options), code, message);
      await rejects(open(new Response('', { status: 404 }), options), 'HYP_E_IO', /404/);
      const locked = new Blob([bytes]).stream();
      locked.getReader();
      await rejects(open(locked, options), 'HYP_E_ARGUMENT', /read already/);
      await rejects(open(7, options), 'HYP_E_ARGUMENT', /a model is/);
      await rejects(open({ size: -1, read() {} }, options), 'HYP_E_ARGUMENT', /a model is/);
      const stop = new AbortController();
      const never = open(
        { size, read: () => new Promise(() => {}) },
        { ...options, signal: stop.signal },
      );
      setTimeout(() => stop.abort('enough'), 50);
      await rejectsWith(never, 'enough');
      const broken = new ReadableStream({
        pull(controller) {
          controller.error(new Error('the line is dead'));
        },
      });
      await rejects(open(broken, options), 'HYP_E_IO', /line is dead/);
    });

    test('an engine reads own sources for a draft, inspect and quantize too', async () => {
      const own = () => ({ size: bytes.length, read: (at, n) => bytes.subarray(at, at + n) });
      const engine = await createEngine({ worker, threads: 1 });
      assert.equal((await engine.inspect(own())).tensors.length > 10, true);
      const out = [];
      await engine.quantize(new Blob([bytes]).stream(), 'q8_0', data => void out.push(data));
      const again = await engine.open(new Blob(out).stream(), { context: 64 });
      assert.equal(again.facts.architecture, model.facts.architecture);
      const drafted = await engine.open(own(), { context: 64, draft: own() });
      assert.equal(await tell(drafted), want);
      await engine.close();
    });

    test('the module as a Response, as bytes, compiled', async () => {
      const file = readFileSync(join(root, 'dist/hyperion.wasm'));
      const type = { 'content-type': 'application/wasm' };
      for (const wasm of [
        new Response(file, { headers: type }),
        new Response(file),
        Promise.resolve(new Response(file)),
        file,
        new WebAssembly.Module(file),
      ]) {
        const own = await within(open(STORY, { ...options, wasm }));
        assert.equal(await tell(own), want);
        assert.equal((await own.stats()).artefact, 'custom');
        await own.close();
      }
      await rejects(
        open(STORY, { ...options, wasm: new Response('no', { status: 404 }) }),
        'HYP_E_HOST',
        /404/,
      );
    });

    // ---- Whole answers, vectors, conversations

    test('a whole answer: text, finish, usage, timings', async () => {
      const pieces = [];
      const whole = await model.complete(PROMPT, { ...GREEDY, onPiece: p => void pieces.push(p) });
      assert.deepEqual(Object.keys(whole).sort(), ['finish', 'text', 'timings', 'usage']);
      assert.equal(whole.text, want);
      assert.equal(pieces.map(p => p.text).join(''), want);
      assert.equal(whole.finish, 'length');
      assert.equal(whole.usage.answerTokens, 8);
      assert.ok(whole.usage.promptTokens + whole.usage.reusedTokens > 3);
      assert.ok(whole.timings.answerMs > 0 && whole.timings.answerTokensPerSecond > 0);
      assert.ok(!('answerMs' in whole.usage));
      const none = await model.complete(PROMPT, { maxTokens: 0 });
      assert.deepEqual([none.text, none.finish, none.usage.answerTokens], ['', 'length', 0]);
      const session = await model.session();
      assert.equal((await session.complete(PROMPT, GREEDY)).text, want);
      const more = await session.complete(' and', { ...GREEDY, append: true });
      assert.ok(more.usage.reusedTokens > 8);
      await session.close();
      await rejects(model.chatComplete([{ role: 'user', content: 'a' }]), 'HYP_E_UNSUPPORTED');
    });

    test('many texts are many vectors', async () => {
      const texts = ['The cat was happy.', 'a', 'A ladder at home', 'a'];
      const vectors = await model.embed(texts);
      assert.equal(vectors.length, 4);
      for (const [i, text] of texts.entries()) {
        assert.ok(vectors[i] instanceof Float32Array && vectors[i].length === model.facts.dim);
        assert.deepEqual(vectors[i], await model.embed(text));
      }
      assert.deepEqual(await model.embed([]), []);
      for (const wrong of [[7], [[]], 7, undefined])
        await rejects(model.embed(wrong), 'HYP_E_ARGUMENT', /text is wanted/);
      assert.deepEqual(await model.embed(['a'], { pooling: 'last' }), [
        await model.embed('a', { pooling: 'last' }),
      ]);
    });

    test('parts of a message and tools reach the template; images are refused', async () => {
      const small = { worker, threads: 1 };
      const ask = { maxTokens: 1, temperature: 0 };
      const parts = [
        { type: 'text', text: 'ab' },
        { type: 'text', text: 'cd' },
      ];
      const tokensOf = async (one, messages, more = {}) => {
        const { usage } = await one.chatComplete(messages, { ...ask, ...more });
        return usage.promptTokens + usage.reusedTokens;
      };
      const knows = await open(ofTemplate('parts', PARTS), small);
      const alone = await tokensOf(knows, [{ role: 'user', content: 'abcd' }]);
      assert.equal(await tokensOf(knows, [{ role: 'user', content: parts }]), alone);
      const tools = [{ type: 'function', function: { name: 'f' } }];
      assert.ok((await tokensOf(knows, [{ role: 'user', content: 'a' }], { tools })) > alone);
      await rejects(
        knows.chatComplete([
          { role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] },
        ]),
        'HYP_E_UNSUPPORTED',
        /image_url/,
      );
      await rejects(
        knows.chatComplete([{ role: 'user', content: 'a' }], { tools: 7 }),
        'HYP_E_ARGUMENT',
        /tools/,
      );
      await knows.close();
      // A template that reads texts only is given texts.
      const plain = await open(ofTemplate('plain', PLAIN), small);
      assert.equal(
        await tokensOf(plain, [{ role: 'user', content: parts }]),
        await tokensOf(plain, [{ role: 'user', content: 'ab\ncd' }]),
      );
      await rejects(
        plain.chatComplete([{ role: 'user', content: 'a' }], { tools }),
        'HYP_E_UNSUPPORTED',
        /tools/,
      );
      await plain.close();
      const says = await open(ofTemplate('says', SAYS), small);
      await rejects(
        says.chatComplete([{ role: 'user', content: parts }]),
        'HYP_E_ARGUMENT',
        /ab.cd/s,
      );
      await says.close();
    });
  });

test('own sources of inspect and quantize, in engines of their own', async () => {
  const source = { size: bytes.length, read: (at, n) => bytes.subarray(at, at + n) };
  assert.ok((await inspect(source)).tensors.length > 10);
  await rejects(inspect(STORY, { contxt: 1 }), 'HYP_E_ARGUMENT', /contxt/);
  await rejects(
    quantize(STORY, 'q8_0', () => {}, { contxt: 1 }),
    'HYP_E_ARGUMENT',
    /contxt/,
  );
  await rejects(quantize(STORY, 'q8_0'), 'HYP_E_ARGUMENT', /write must be a function/);
});

test('a model in a worker that nobody closes does not keep Node; one that answers does', () => {
  const run = code => {
    const script = join(dir, 'script.mjs');
    writeFileSync(script, code);
    return spawnSync(process.execPath, [script], { timeout: 30000, encoding: 'utf8' });
  };
  for (const threads of [1, 2]) {
    const begin = `import { open } from ${JSON.stringify(pathToFileURL(join(root, 'glue/model/index.js')))};
      const model = await open(${JSON.stringify(STORY)}, { worker: true, context: 64, threads: ${threads} });`;
    const idle = run(`${begin} console.log('opened');`);
    assert.deepEqual([idle.status, idle.stdout], [0, 'opened\n'], idle.stderr);
    const busy = run(`${begin}
      model.complete('Once upon a time', { temperature: 0, maxTokens: 8 }).then(a => console.log(a.finish));`);
    assert.deepEqual([busy.status, busy.stdout], [0, 'length\n'], busy.stderr);
    const closing = run(`${begin} model.close().then(() => console.log('closed'));`);
    assert.deepEqual([closing.status, closing.stdout], [0, 'closed\n'], closing.stderr);
  }
});
