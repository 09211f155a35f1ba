// The JavaScript interface on each artefact that this Node compiles, in the thread and in a worker.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { readFileSync, readdirSync, writeFileSync, mkdtempSync, rmSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createPageServer } from '../../tools/serve.mjs';
import { bestArtefact, calibrate, HyperionError, inspect, open, quantize } from 'hyperion-runtime';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const bytes = readFileSync(STORY);
const artefacts = bestArtefact() === 'relaxed' ? ['simd', 'relaxed'] : ['simd'];
/** What was said; what it took, which is another each time, is in `answer.usage`. */
const collect = async (answer, out = []) => {
  for await (const { usage, ...piece } of answer) {
    assert.equal(Boolean(usage), Boolean(piece.finish));
    out.push(piece);
  }
  return out;
};
const text = pieces => pieces.map(p => p.text).join('');
const rejects = (promise, code, message) =>
  assert.rejects(
    promise,
    error =>
      ((error instanceof HyperionError ? error.code : error.name) === code &&
        (!message || message.test(error.message))) ||
      assert.fail(`${error.code}: ${error.message}`),
  );

test('a module that the caller brings, as bytes', async () => {
  const told = [];
  for (const options of [{}, { worker: false }, { worker: true }]) {
    const brought = 'worker' in options;
    const wasm = brought ? readFileSync(join(root, 'dist/hyperion.wasm')) : undefined;
    const model = await open(STORY, { ...options, wasm });
    told.push(text(await collect(model.generate('Once upon a time', { maxTokens: 20, seed: 3 }))));
    assert.equal((await model.stats()).artefact === 'custom', brought);
    await model.close();
  }
  assert.deepEqual(told, Array(3).fill(told[0]));
});

for (const artefact of artefacts)
  for (const worker of [false, true])
    describe(`${artefact}${worker ? ' in a worker' : ''}`, () => {
      let model;
      before(async () => (model = await open(STORY, { artefact, worker })));
      after(() => model.close());

      test('tells a story, the same for the same seed', async () => {
        const pieces = await collect(
          model.generate('Once upon a time', { seed: 1, temperature: 0.8 }),
        );
        assert.ok(text(pieces).length > 200);
        assert.equal(pieces.at(-1).finish, 'end');
        assert.equal(
          text(await collect(model.generate('Once upon a time', { seed: 1, temperature: 0.8 }))),
          text(pieces),
        );
        assert.notEqual(
          text(await collect(model.generate('Once upon a time', { seed: 2, temperature: 0.8 }))),
          text(pieces),
        );
        const stats = await model.stats();
        assert.ok(stats.memory.usedBytes > 2e6 && stats.artefact === artefact);
      });

      test('tokenizes and back', async () => {
        for (const t of ['Hello there, little fox.', ' two  spaces', 'Zoë €5 😀\n', ''])
          assert.equal(await model.detokenize(await model.tokenize(t)), t);
        assert.equal((await model.tokenize('a'))[0], 1);
        assert.notEqual((await model.tokenize('a', { addSpecial: false }))[0], 1);
      });

      test('ends at a stop text, at a length, on a signal', async () => {
        const whole = text(
          await collect(model.generate('Once upon a time', { temperature: 0, maxTokens: 40 })),
        );
        const stop = whole.slice(30, 36);
        const stopped = await collect(
          model.generate('Once upon a time', { temperature: 0, maxTokens: 40, stop: [stop] }),
        );
        assert.equal(text(stopped), whole.slice(0, whole.indexOf(stop)));
        assert.equal(stopped.at(-1).finish, 'stop');
        // NUL is a character like any other: it neither ends a stop text nor divides it into two
        assert.equal(
          text(
            await collect(
              model.generate('Once upon a time', {
                temperature: 0,
                maxTokens: 40,
                stop: [`${stop}\0${stop}`],
              }),
            ),
          ),
          whole,
        );
        const zeros = await collect(
          model.generate('Once', { logitBias: { 3: 1e6 }, maxTokens: 8, stop: ['x\0', '\0\0\0'] }),
        );
        assert.deepEqual([text(zeros), zeros.at(-1).finish, zeros.length], ['', 'stop', 3]);
        assert.equal(
          (await collect(model.generate('Once', { maxTokens: 3 }))).at(-1).finish,
          'length',
        );
        const controller = new AbortController();
        let seen = 0;
        await rejects(
          (async () => {
            for await (const p of model.generate('Once upon a time', {
              signal: controller.signal,
              logitBias: { 2: -1e6 },
            }))
              if (p && ++seen === 5) controller.abort();
          })(),
          'AbortError',
        );
        await rejects(collect(model.generate('x', { signal: AbortSignal.abort() })), 'AbortError');
        // it goes on after that
        assert.ok((await collect(model.generate('Once', { maxTokens: 2 }))).length <= 2);
      });

      test('breaking off an answer leaves the model usable', async () => {
        for await (const p of model.generate('Once upon a time')) if (p) break;
        assert.equal(
          text(
            await collect(model.generate('Once upon a time', { temperature: 0, maxTokens: 10 })),
          ),
          text(
            await collect(model.generate('Once upon a time', { temperature: 0, maxTokens: 10 })),
          ),
        );
      });

      test('answers side by side are the answers alone', async () => {
        const ask = prompt =>
          collect(model.generate(prompt, { seed: 4, maxTokens: 30 })).then(text);
        const alone = [
          await ask('A little dog'),
          await ask('The brave bear'),
          await ask('Once upon'),
        ];
        assert.deepEqual(
          await Promise.all(['A little dog', 'The brave bear', 'Once upon'].map(ask)),
          alone,
        );
      });

      test('an interactive answer goes before a background one, which does not stand still', async () => {
        const order = [];
        const tell = async purpose => {
          for await (const piece of model.generate('Once upon a time', {
            purpose,
            temperature: 1.2,
            seed: 3,
            maxTokens: 100,
          }))
            (void piece, order.push(purpose));
        };
        await Promise.all([tell('background'), tell('interactive')]);
        const meanwhile = order
          .slice(0, order.lastIndexOf('interactive'))
          .filter(p => p === 'background').length;
        assert.ok(
          meanwhile >= 2 && meanwhile <= 20,
          `${meanwhile} background tokens during 100 interactive ones; the weights are 1 and 16`,
        );
        await rejects(
          collect(model.generate('x', { purpose: 'leisure' })),
          'HYP_E_ARGUMENT',
          /interactive, batch or background/,
        );
      });

      test('embeds', async () => {
        const [a, b, c] = await Promise.all(
          ['The cat was happy.', 'The cat was very happy.', 'A ladder at home'].map(t =>
            model.embed(t),
          ),
        );
        const dot = (x, y) => x.reduce((s, v, i) => s + v * y[i], 0);
        assert.ok(Math.abs(dot(a, a) - 1) < 1e-5 && dot(a, b) > dot(a, c));
        await rejects(model.embed('x', { pooling: 'max' }), 'HYP_E_ARGUMENT', /mean, cls or last/);
      });

      test('scores: log-probabilities sum to one', async () => {
        let sum = 0;
        let positions = 0;
        await model.score([1, 500, 600], (p, values) => {
          positions = p + 1;
          sum = values.reduce((s, v) => s + Math.exp(v), 0);
        });
        assert.equal(positions, 3);
        assert.ok(Math.abs(sum - 1) < 1e-4);
      });

      test('says what is wrong', async () => {
        await rejects(
          collect(model.generate('x', { temperature: -1 })),
          'HYP_E_ARGUMENT',
          /temperature/,
        );
        await rejects(collect(model.generate([99999])), 'HYP_E_ARGUMENT', /vocabulary/);
        await rejects(collect(model.generate([])), 'HYP_E_ARGUMENT');
        await rejects(
          collect(model.generate('x', { stop: Array(17).fill('y') })),
          'HYP_E_ARGUMENT',
          /17 stop texts/,
        );
        await rejects(collect(model.generate(Array(600).fill(5))), 'HYP_E_CONTEXT', /context/);
        await rejects(
          collect(model.chat([{ role: 'user', content: 'hi' }])),
          'HYP_E_UNSUPPORTED',
          /chat template/,
        );
      });
    });

describe('sources', () => {
  const first = async (source, options) => {
    const model = await open(source, options);
    const answer = text(
      await collect(model.generate('Once upon a time', { temperature: 0, maxTokens: 12 })),
    );
    await model.close();
    return answer;
  };
  let want;
  let server;
  let base;
  before(async () => {
    want = await first(STORY);
    server = createServer((request, response) => {
      if (request.url === '/missing.gguf') return response.writeHead(404).end();
      if (request.url === '/short.gguf')
        return response
          .writeHead(200, { 'content-length': bytes.length })
          .end(bytes.subarray(0, 1 << 20), () => request.destroy());
      const size = request.url === '/chunked.gguf' ? {} : { 'content-length': bytes.length };
      response.writeHead(200, size);
      let at = 0; // in pieces of odd sizes
      const push = () => {
        while (at < bytes.length) {
          const n = 7777 + (at % 12345);
          if (!response.write(bytes.subarray(at, (at += n)))) return response.once('drain', push);
        }
        response.end();
      };
      push();
    }).listen(0, '127.0.0.1');
    await new Promise(resolve => server.once('listening', resolve));
    base = `http://127.0.0.1:${server.address().port}`;
  });
  after(() => (server.closeAllConnections(), server.close()));

  test('path, file URL, Blob, ArrayBuffer, view, stream, Response, own reader', async () => {
    const { pathToFileURL } = await import('node:url');
    assert.equal(await first(pathToFileURL(STORY)), want);
    assert.equal(await first(new Blob([bytes])), want);
    assert.equal(
      await first(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)),
      want,
    );
    assert.equal(await first(bytes), want);
    assert.equal(await first(new Blob([bytes]).stream()), want);
    assert.equal(
      await first(new Response(bytes, { headers: { 'content-length': String(bytes.length) } })),
      want,
    );
    assert.equal(
      await first({ size: bytes.length, read: (o, n) => bytes.subarray(o, o + n) }),
      want,
    );
    assert.equal(
      await first({
        size: bytes.length,
        read: async (o, n) => (await new Promise(r => setImmediate(r)), bytes.subarray(o, o + n)),
      }),
      want,
    );
  });

  test('URL with a size and without, with progress', async () => {
    const seen = [];
    assert.equal(await first(`${base}/story.gguf`, { onProgress: p => seen.push(p) }), want);
    assert.ok(
      seen.length > 5 &&
        seen.at(-1).loaded === seen.at(-1).total &&
        seen.every((p, i) => i === 0 || p.loaded >= seen[i - 1].loaded),
    );
    assert.equal(await first(`${base}/chunked.gguf`), want);
    assert.equal(await first(`${base}/story.gguf`, { worker: true }), want);
  });

  test('what goes wrong is named', async () => {
    await rejects(open(`${base}/missing.gguf`), 'HYP_E_IO', /404/);
    await rejects(open(`${base}/short.gguf`), 'HYP_E_IO');
    await rejects(open(join(root, 'no-such-model.gguf')), 'HYP_E_IO', /no-such-model/);
    await rejects(open(bytes.subarray(0, 1000)), 'HYP_E_FORMAT', /incomplete/);
    await rejects(open(new Uint8Array(5000)), 'HYP_E_FORMAT', /GGUF/);
    await rejects(open({}), 'HYP_E_ARGUMENT');
    await rejects(
      open({
        size: bytes.length,
        read: () => {
          throw new Error('the disk is on fire');
        },
      }),
      'HYP_E_IO',
      /on fire/,
    );
    await rejects(
      open({ size: bytes.length, read: async () => new Uint8Array(3) }),
      'HYP_E_IO',
      /3 of/,
    );
    await rejects(open(STORY, { memory: '2MB' }), 'HYP_E_NOMEM', /memory limit/);
    await rejects(open(STORY, { memory: 'lots' }), 'HYP_E_ARGUMENT', /96MB/);
    await rejects(open(STORY, { signal: AbortSignal.abort() }), 'AbortError');
  });

  test('loading stops on a signal, in the thread and in a worker', async () => {
    for (const worker of [false, true]) {
      const controller = new AbortController();
      await rejects(
        open(`${base}/story.gguf`, {
          worker,
          signal: controller.signal,
          onProgress: () => controller.abort(),
        }),
        'AbortError',
      );
    }
  });

  test('a memory limit holds', async () => {
    const model = await open(STORY, { memory: '8MB' });
    await collect(model.generate('Once upon a time', { maxTokens: 50 }));
    const { memory } = await model.stats();
    assert.ok(memory.peakBytes <= 8e6 && memory.linearMemoryBytes < 12e6, JSON.stringify(memory));
    await model.close();
    await rejects(collect(model.generate('x')), 'HYP_E_STATE', /closed/);
  });
});

describe('files', () => {
  const dir = mkdtempSync(join(tmpdir(), 'hyperion-'));
  after(() => rmSync(dir, { recursive: true }));

  test('weights that do not fit are read when they are used: answers stay the same, wait for themselves only, and name a failure', async () => {
    const data = readFileSync(STORY);
    let failing = false;
    let waiting = 0;
    let most = 0;
    const source = {
      size: data.length,
      async read(offset, count) {
        most = Math.max(most, ++waiting);
        await new Promise(resolve => setTimeout(resolve, 0));
        waiting--;
        if (failing) throw new Error('the disk is gone');
        return data.subarray(offset, offset + count);
      },
    };
    const whole = await open(STORY, { context: 64 });
    const prompts = ['Once upon a time', 'Tom had a dog', 'Lily was sad'];
    const options = { temperature: 0.8, seed: 5, maxTokens: 12 };
    const tell = async (model, prompt, each = () => {}) => {
      let text = '';
      for await (const piece of model.generate(prompt, options)) ((text += piece.text), each());
      return text;
    };
    const alone = [];
    for (const prompt of prompts) alone.push(await tell(whole, prompt));
    assert.equal((await whole.stats()).weights.evictions, 0);
    await whole.close();

    const model = await open(source, {
      memory: '4MB',
      context: 64,
      batch: 8,
      policy: 'round-robin',
    });
    const order = [];
    assert.deepEqual(
      await Promise.all(prompts.map((prompt, i) => tell(model, prompt, () => order.push(i)))),
      alone,
    );
    assert.ok(
      order.slice(0, 9).includes(0) &&
        order.slice(0, 9).includes(1) &&
        order.slice(0, 9).includes(2),
      `${order}`,
    );
    const { weights, memory, fibers } = await model.stats();
    assert.ok(
      weights.resident < weights.pages &&
        weights.fills > weights.pages &&
        weights.presentBytes <= weights.capacityBytes,
      JSON.stringify(weights),
    );
    assert.ok(memory.peakBytes <= 4e6 && memory.linearMemoryBytes <= 4e6 * 1.1 + 8e6);
    // idle sessions have made room for weights
    assert.deepEqual([fibers.count, fibers.policy], [1, 'round-robin']);
    const heat = await model.heat();
    assert.equal(heat.length, weights.pages);
    assert.equal(heat.filter(h => h > 0).length, weights.present);

    failing = true;
    await rejects(tell(model, prompts[0]), 'HYP_E_IO', /reading \d+ bytes.*\(the disk is gone\)/);
    failing = false;
    assert.equal(await tell(model, prompts[0]), alone[0]);
    const late = tell(model, prompts[1]);
    await new Promise(resolve => setTimeout(resolve, 3));
    await model.close(); // in the middle of a read
    await rejects(late, 'HYP_E_STATE', /closed/);
    await rejects(
      open(STORY, { memory: '1.5MB' }),
      'HYP_E_NOMEM',
      /too small for this model: \d+ MB are the least/,
    );
    assert.ok(most > 1 && most <= 4, `${most} reads at once`);
  });

  test('a URL is read again in parts, where memory is short', async () => {
    const server = createPageServer().listen(0, '127.0.0.1');
    await new Promise(resolve => server.once('listening', resolve));
    try {
      const model = await open(`http://127.0.0.1:${server.address().port}/models/story.gguf`, {
        memory: '4MB',
        context: 64,
      });
      const whole = await open(STORY, { context: 64 });
      const options = { temperature: 0, maxTokens: 6 };
      assert.deepEqual(
        await collect(model.generate('Once upon a time', options)),
        await collect(whole.generate('Once upon a time', options)),
      );
      assert.ok((await model.stats()).weights.evictions > 0);
      await model.close();
      await whole.close();
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test('helper threads compute, and the answer is the same as alone', async () => {
    const source = join(root, 'build/models/llama-q8_0.gguf');
    const prompt = Array.from({ length: 60 }, (_, i) => 3 + ((i * 37) % 500));
    const options = { temperature: 0, maxTokens: 40 };
    const alone = await open(source, { threads: 1, context: 128 });
    const want = await collect(alone.generate(prompt, options));
    assert.deepEqual(
      [(await alone.stats()).threads.count, (await alone.stats()).threads.loops],
      [1, 0],
    );
    await alone.close();
    for (const worker of [false, true]) {
      const model = await open(source, { threads: 3, context: 128, worker });
      // Helpers come, and take part, when the system lets them: these are many times what that
      // takes.
      for (let i = 0; i < 6000 && (await model.stats()).threads.present < 2; i++)
        await new Promise(resolve => setTimeout(resolve, 10));
      for (let i = 0; i < 5 || (i < 200 && !(await model.stats()).threads.byWorkers); i++)
        assert.deepEqual(
          await collect(model.generate([...prompt.slice(i), ...prompt.slice(0, i)], options)).then(
            p => (i ? want : p),
          ),
          want,
        );
      const { threads } = await model.stats();
      assert.ok(
        threads.count === 3 && threads.present === 2 && threads.loops > 0 && threads.byWorkers > 0,
        JSON.stringify(threads),
      );
      await model.close();
    }
    await rejects(open(source, { threads: 0 }), 'HYP_E_ARGUMENT', /threads must be/);
  });

  test('tokens of answers side by side are computed in common steps; guesses change nothing', async () => {
    const source = join(root, 'build/models/llama-q4_0.gguf');
    const prompts = [5, 6, 7].map(k =>
      Array.from({ length: 9 }, (_, i) => 3 + ((i * k * 31) % 500)),
    );
    const options = { temperature: 0, maxTokens: 30, logitBias: { 40: 3, 41: 3 } };
    const plain = await open(source, { context: 128 });
    const want = [];
    for (const prompt of prompts) {
      const answer = plain.generate(prompt, options);
      want.push(await collect(answer));
      assert.equal(answer.usage.batchedTokens, 0);
    }
    const abreast = prompts.map(prompt => plain.generate(prompt, options));
    assert.deepEqual(await Promise.all(abreast.map(answer => collect(answer))), want);
    for (const { usage } of abreast) assert.ok(usage.batchedTokens > 15);
    await plain.close();
    const model = await open(source, { context: 128, lookup: 5, profile: true });
    const guessing = await model.session();
    for (let i = 0; i < 3; i++) {
      const answer = guessing.generate(prompts[i], options);
      assert.deepEqual(await collect(answer), want[i]);
      const { draftedTokens, acceptedTokens } = answer.usage;
      assert.ok(draftedTokens > 0 && acceptedTokens <= draftedTokens);
    }
    const { operations, latencyMs } = await guessing.stats();
    const names = new Set(operations.map(x => x.name));
    for (const name of [
      'embed',
      'norm',
      'qkv',
      'rope',
      'attention',
      'attn_output',
      'gate_up',
      'ffn_down',
      'output',
    ])
      assert.ok(names.has(name), name);
    assert.ok(
      operations
        .filter(x => x.name === 'qkv')
        .every(x => x.bytes > 0 && x.macs > 0 && x.layer >= 0),
    );
    assert.ok(
      latencyMs.p99 > 0 && latencyMs.p50 <= latencyMs.p90 && latencyMs.p90 <= latencyMs.p99,
    );
    await guessing.resetProfile();
    assert.equal((await guessing.stats()).operations.length, 0);
    const peaks = await model.measure();
    assert.ok(peaks.gbPerSecond > 0.1 && peaks.gmacPerSecond > 0.1);
    await model.close();
    await rejects(
      open(source, { lookup: 8 }).then(model => collect(model.generate('a'))),
      'HYP_E_ARGUMENT',
      /lookup must be/,
    );
  });

  test('inspect shows metadata and tensors', async () => {
    const info = await inspect(STORY);
    assert.equal(info.metadata['general.architecture'], 'llama');
    assert.equal(info.metadata['tokenizer.ggml.tokens'].count, 2048);
    assert.ok(
      info.tensors.some(
        t => t.name === 'blk.0.attn_q.weight' && t.type === 'Q4_0' && t.shape[0] === 256,
      ),
    );
  });

  test('quantize in wasm and natively give the same bytes', async () => {
    const source = join(root, 'build/models/llama-f16.gguf');
    const parts = [];
    await quantize(source, 'q4_0', data => parts.push(data));
    const native = join(dir, 'native.gguf');
    await promisify(execFile)(join(root, 'build/native/hyperion'), [
      'quantize',
      source,
      native,
      'q4_0',
      '-q',
    ]);
    assert.ok(Buffer.concat(parts).equals(readFileSync(native)));
    const wide = join(dir, 'wide.gguf');
    for (const format of [
      'q2_k',
      'q3_k',
      'q4_k',
      'q5_k',
      'q6_k',
      'iq4_xs',
      'q5_1',
      'iq4_nl',
      'mxfp4',
      'bf16',
    ]) {
      // what it writes, it reads
      await promisify(execFile)(join(root, 'build/native/hyperion'), [
        'quantize',
        STORY,
        native,
        'f16',
        '-q',
      ]);
      await promisify(execFile)(join(root, 'build/native/hyperion'), [
        'quantize',
        native,
        wide,
        format,
        '-q',
      ]);
      const model = await open(wide);
      assert.match(
        text(await collect(model.generate('Once upon a time', { temperature: 0, maxTokens: 12 }))),
        /^[\w ,.'"!?-]+$/,
        format,
      );
      await model.close();
    }
    await rejects(
      quantize(source, 'q9_9', () => {}),
      'HYP_E_ARGUMENT',
      /q9_9/,
    );
    await rejects(
      quantize(source, 'q8_0', () => {}, { memory: '100KB' }),
      'HYP_E_NOMEM',
    );
    const controller = new AbortController();
    await rejects(
      quantize(source, 'q8_0', () => {}, {
        signal: controller.signal,
        onProgress: () => controller.abort(),
      }),
      'AbortError',
    );
    await rejects(inspect(source, { memory: '100KB' }), 'HYP_E_NOMEM');
  });

  test('calibrate, and what it is for: the same bytes in wasm and natively, and pruned models that answer alike', async () => {
    const native = (...args) =>
      promisify(execFile)(join(root, 'build/native/hyperion'), [...args, '-q']);
    const texts = [
      'Once upon a time, there was a little fox.',
      'The owl was happy, and the rain had gone away.',
    ];
    const [imatrix, wide, ours, theirs] = [
      'imatrix.gguf',
      'wide16.gguf',
      'ours.gguf',
      'theirs.gguf',
    ].map(name => join(dir, name));
    const file = parts => Buffer.concat(parts);
    let parts = [];
    await calibrate(STORY, texts, data => parts.push(data), { threads: 1 });
    const measured = file(parts);
    writeFileSync(join(dir, 'texts.txt'), texts.join('\n'));
    await native('calibrate', STORY, join(dir, 'texts.txt'), imatrix, '--lines');
    assert.ok(measured.equals(readFileSync(imatrix)));
    assert.equal((await inspect(imatrix)).metadata['general.type'], 'imatrix');
    await native('quantize', STORY, wide, 'f16');
    for (const [format, density, args] of [
      ['q4_0', 0, ['quantize', wide, theirs, 'q4_0']],
      ['q3_k', 0, ['quantize', wide, theirs, 'q3_k']],
      ['q4_0', 0.3, ['prune', wide, theirs, '--density', '0.3']],
      ['q4_0', 0.005, ['prune', wide, theirs, '--density', '0.005']],
    ]) {
      parts = [];
      await quantize(wide, format, data => parts.push(data), { imatrix: measured, density });
      await native(...args, '--imatrix', imatrix);
      assert.ok(file(parts).equals(readFileSync(theirs)), `${format} ${density}`);
    }
    for (const density of [0.3, 0.005]) {
      await native('prune', wide, ours, '--density', String(density));
      const model = await open(ours);
      const said = text(
        await collect(model.generate('Once upon a time', { temperature: 0, maxTokens: 24 })),
      );
      await model.close();
      const { stdout } = await native('run', ours, 'Once upon a time', '-t', '0', '-n', '24');
      assert.equal(`Once upon a time${said}\n`, stdout);
      assert.ok(
        (await inspect(ours)).tensors.some(t => t.type === (density === 0.3 ? 'BITMAP' : 'CSR')),
      );
    }
    await rejects(
      calibrate(STORY, [], () => {}),
      'HYP_E_ARGUMENT',
      /no text/,
    );
    await rejects(
      quantize(wide, 'q4_0', () => {}, { imatrix: STORY, density: 2 }),
      'HYP_E_ARGUMENT',
      /density/,
    );
    await rejects(
      quantize(wide, 'q4_0', () => {}, { imatrix: STORY }),
      'HYP_E_ARGUMENT',
      /says nothing of this model/,
    );
    await rejects(
      quantize(wide, 'q4_0', () => {}, { imatrix: new Uint8Array(100) }),
      'HYP_E_FORMAT',
    );
  });

  test('a draft model changes nothing but the number of steps', async () => {
    const draft = join(dir, 'draft.gguf');
    await promisify(execFile)(join(root, 'build/native/hyperion'), [
      'prune',
      STORY,
      draft,
      '--density',
      '0.6',
      '-q',
    ]);
    const tell = async options => {
      const model = await open(STORY, options);
      const answer = model.generate('Once upon a time', { temperature: 0, maxTokens: 60 });
      const said = text(await collect(answer));
      await model.close();
      return { said, usage: answer.usage };
    };
    const plain = await tell({ context: 128 });
    const limited = { draft, memory: '12MB', threads: 2 }; // more threads take more memory
    for (const options of [{ draft }, { draft, worker: true, lookup: 2 }, limited]) {
      const { said, usage } = await tell({ context: 128, ...options });
      assert.equal(said, plain.said);
      assert.ok(
        usage.acceptedTokens > 30 && usage.acceptedTokens <= usage.draftedTokens,
        JSON.stringify(options),
      );
    }
    const run = async (...command) =>
      (
        await promisify(execFile)(command[0], [
          ...command.slice(1),
          'run',
          STORY,
          'Lily',
          '-s',
          '5',
          '-n',
          '60',
          '-q',
        ])
      ).stdout;
    const [hyperion, cli] = [
      [join(root, 'build/native/hyperion')],
      [process.execPath, join(root, 'glue/cli/main.js')],
    ];
    const want = await run(...hyperion);
    for (const command of [hyperion, cli])
      assert.equal(await run(...command, '--draft', draft), want);
    await rejects(
      tell({ draft: join(root, 'build/models/llama-f16.gguf') }),
      'HYP_E_ARGUMENT',
      /vocabulary/,
    );
  });

  test('both command lines: same verbs, same answers, exit codes', async () => {
    const cli = (command, ...args) =>
      new Promise(resolve => {
        const child = execFile(
          command[0],
          [...command.slice(1), ...args],
          { timeout: 60000 },
          (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stdout, stderr }),
        );
        child.stdin.on('error', () => {}); // a command that wants no input may be gone
        child.stdin.end('Once upon a time');
      });
    const lines = [
      [join(root, 'build/native/hyperion')],
      [process.execPath, join(root, 'glue/cli/main.js')],
    ];
    const both = async (...args) => Promise.all(lines.map(l => cli(l, ...args)));
    // what writes a file
    const inTurn = async (...args) => [await cli(lines[0], ...args), await cli(lines[1], ...args)];
    const same = async (...args) => {
      const [a, b] = await (/^(quantize|prune|calibrate)$/.test(args[0]) ? inTurn : both)(...args);
      assert.equal(a.code, 0, a.stderr);
      assert.equal(b.stdout, a.stdout);
      return a.stdout;
    };
    assert.match(
      await same('run', STORY, 'Once upon a time', '-s', '3', '-q'),
      /^Once upon a time.{200}/s,
    );
    assert.match(await same('run', STORY, '-', '-q', '-t', '0', '-n', '20'), /^Once upon a time/);
    await same('tokenize', STORY, 'Hello there');
    await same('tokenize', STORY, 'Hello there', '--json');
    assert.match(await same('info', STORY), /56 tensors, 4\.95 M parameters/);
    const info = (await both('info', STORY, '--json')).map(r => JSON.parse(r.stdout));
    assert.deepEqual(info[0], info[1]);
    const lines3 = join(dir, 'text.txt');
    writeFileSync(lines3, 'Once upon a time, there was a little fox.\nThe fox was happy.\n');
    const perplexities = (await both('perplexity', STORY, lines3, '--lines', '--json')).map(r =>
      JSON.parse(r.stdout),
    );
    assert.ok(
      Math.abs(perplexities[0].perplexity - perplexities[1].perplexity) < 1e-5 &&
        perplexities[0].tokens === perplexities[1].tokens,
    );
    for (const r of await both('run', STORY, 'Once', '-n', '8', '--json'))
      assert.equal(JSON.parse(r.stdout).finish, 'length');
    for (const r of await both('bench', STORY, '--json'))
      assert.ok(JSON.parse(r.stdout).answerTokensPerSecond > 10);
    const q2 = join(dir, 'q2.gguf');
    await same('quantize', STORY, join(dir, 'f16.gguf'), 'f16');
    await same('quantize', join(dir, 'f16.gguf'), q2, 'q2_k');
    const against = (
      await both('perplexity', q2, lines3, '--lines', '--json', '--against', STORY)
    ).map(r => JSON.parse(r.stdout));
    assert.ok(
      against[0].divergence > 1e-4 &&
        Math.abs(against[0].divergence - against[1].divergence) < 1e-6 &&
        Math.abs(against[0].sameTop - against[1].sameTop) < 1e-5,
    );
    const itself = (await both('perplexity', STORY, lines3, '--json', '--against', STORY)).map(r =>
      JSON.parse(r.stdout),
    );
    for (const { divergence, sameTop } of itself)
      assert.ok(Math.abs(divergence) < 1e-9 && sameTop === 1);
    await same('perplexity', q2, lines3, '-q', '--against', STORY);
    assert.match(
      await same('calibrate', STORY, lines3, join(dir, 'i.gguf'), '--lines'),
      /i\.gguf: 0\.0\d MB/,
    );
    assert.match(
      await same(
        'prune',
        STORY,
        join(dir, 'p.gguf'),
        '--density',
        '0.2',
        '--imatrix',
        join(dir, 'i.gguf'),
      ),
      /MB/,
    );
    assert.match(await same('info', join(dir, 'p.gguf')), /blk\.0\.attn_q\.weight\s+BITMAP/);
    for (const r of await both('prune', STORY, join(dir, 'p.gguf'), '--density', '2'))
      assert.equal(r.code, 2);
    for (const r of await both('calibrate', STORY)) assert.equal(r.code, 2);
    const help = (await same('--help')).split('\n');
    assert.ok(help.some(line => /prune IN OUT/.test(line)));
    for (const r of await both('frobnicate'))
      assert.ok(r.code === 2 && /unknown command/.test(r.stderr));
    for (const r of await both('run', STORY, 'x', '-t', 'hot')) assert.equal(r.code, 2);
    for (const r of await both('info', join(dir, 'missing.gguf')))
      assert.ok(r.code === 1 && /missing\.gguf/.test(r.stderr));
    for (const r of await both('run', lines3, 'x'))
      assert.ok(r.code === 1 && /GGUF/.test(r.stderr));
    for (const r of await inTurn('quantize', STORY, join(dir, 'out.gguf'), 'q1_0'))
      assert.ok(
        r.code === 1 &&
          !existsSync(join(dir, 'out.gguf')) &&
          !existsSync(join(dir, 'out.gguf.partial')),
      );
    for (const r of await both('chat', STORY, 'hi'))
      assert.ok(r.code === 1 && /chat template/.test(r.stderr));
  });
});

describe('the package', () => {
  test(
    'npm pack gives something that Node imports from elsewhere',
    { timeout: 120000 },
    async () => {
      const dir = mkdtempSync(join(tmpdir(), 'hyperion-pack-'));
      try {
        const run = promisify(execFile);
        await run('npm', ['pack', '--ignore-scripts', '--pack-destination', dir], { cwd: root });
        const module = join(dir, 'node_modules/hyperion-runtime');
        await run('mkdir', ['-p', module]);
        await run('sh', [
          '-c',
          `tar xzf "${dir}"/hyperion-runtime-*.tgz --strip-components=1 -C "${module}"`,
        ]);
        writeFileSync(
          join(dir, 'main.mjs'),
          `import { open } from 'hyperion-runtime';
        const model = await open(new URL(import.meta.resolve('hyperion-runtime/models/story.gguf')));
        for await (const piece of model.generate('Once', { temperature: 0, maxTokens: 5 })) process.stdout.write(piece.text);
        import.meta.resolve('hyperion-runtime/hyperion.wasm'); import.meta.resolve('hyperion-runtime/worker');`,
        );
        const { stdout } = await run(process.execPath, [join(dir, 'main.mjs')], { cwd: dir });
        assert.ok(stdout.length > 5, stdout);
      } finally {
        rmSync(dir, { recursive: true });
      }
    },
  );

  test('module and glue stay within 230 KB, minified and gzipped', async () => {
    const { gzipSync } = await import('node:zlib');
    const size = file => gzipSync(readFileSync(join(root, file)), { level: 9 }).length;
    const glue = size('dist/hyperion.min.js'); // all that a page may load, in one script
    for (const artefact of ['hyperion', 'hyperion-relaxed', 'hyperion-mt', 'hyperion-mt-simd']) {
      const total = size(`dist/${artefact}.wasm`) + glue;
      assert.ok(total <= 230 * 1024, `${artefact}: ${total} bytes`);
      if (process.env.HYP_VERBOSE)
        console.log(
          artefact,
          size(`dist/${artefact}.wasm`),
          'glue with Jinja',
          glue,
          'total',
          total,
        );
    }
  });
});
