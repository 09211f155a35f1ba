// What the caller hands in and what it takes back: sources, visitors, signals, closing. Whatever
// they do, the call that they belong to ends, with a clear error, and everything else goes on.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import threads from 'node:worker_threads';
import { HyperionError, calibrate, inspect, open, quantize } from 'hyperion-runtime';
import { Core } from 'hyperion-runtime/core';
import { openSource } from '../../glue/source/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const bytes = readFileSync(STORY);
const dir = mkdtempSync(join(tmpdir(), 'hyperion-callbacks-'));
after(() => rmSync(dir, { recursive: true }));

const HANG_MS = 60000; // nothing here takes a second: who waits longer waits for ever
/** @template T @param {Promise<T>} promise @returns {Promise<T>} */
const within = promise => {
  let timer;
  const limit = new Promise(
    (_, reject) => (timer = setTimeout(() => reject(new Error('it hangs')), HANG_MS)),
  );
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
};
const turn = () => new Promise(resolve => setImmediate(resolve));
const until = async (condition, what) => {
  for (const deadline = performance.now() + HANG_MS; !condition(); await turn())
    assert.ok(performance.now() < deadline, what);
};
const collect = async (pieces, out = []) => {
  for await (const p of pieces) out.push(p);
  return out;
};
const GREEDY = { temperature: 0, maxTokens: 8 };
const tell = async (model, prompt, options = {}) =>
  (await within(collect(model.generate(prompt, { ...GREEDY, ...options }))))
    .map(p => p.text)
    .join('');
const rejects = (promise, code, message = /./) =>
  assert.rejects(
    within(promise),
    error =>
      ((error instanceof HyperionError ? error.code : error.name) === code &&
        message.test(error.message)) ||
      assert.fail(`${error.code}: ${error.stack}`),
  );
/** The very error that a callback threw. */
const rejectsWith = (promise, own) =>
  assert.rejects(within(promise), error => error === own || assert.fail(error));
const PROMPTS = ['Once upon a time', 'Tom had a dog', 'Lily was sad'];
// all weights fit beside one session, not beside three
const TIGHT = { memory: 5.4e6, context: 64, batch: 8 };
const files = () => readdirSync('/proc/self/fd').length;

/**
 * Every worker that is started, so that a test can look after or end it. `broken`: their start
 * fails.
 */
const started = [];
let broken = null;
const RealWorker = threads.Worker;
threads.Worker = class extends RealWorker {
  constructor(url, options) {
    if (broken === 'constructor') throw new Error('no more threads');
    super(broken === 'module' ? new URL('missing.js', pathToFileURL(dir + '/')) : url, options);
    const one = { worker: this, heard: false, ended: false };
    started.push(one);
    this.on('message', () => (one.heard = true));
    this.on('exit', () => (one.ended = true));
  }
};
syncBuiltinESMExports();
const workersEnd = () => until(() => started.every(one => one.ended), 'a worker lives on');

let whole;
const alone = async () => {
  if (!whole) {
    const model = await open(STORY, { context: 64, threads: 1 });
    whole = [];
    for (const prompt of PROMPTS) whole.push(await tell(model, prompt));
    await model.close();
  }
  return whole;
};
/** A source in memory that can be told to hang, to fail, or to give something else. */
function source() {
  const self = {
    size: bytes.length,
    closed: 0,
    hanging: false,
    waiting: 0,
    read(offset, count) {
      if (!self.hanging) return bytes.subarray(offset, offset + count);
      self.waiting++;
      return new Promise(() => {});
    },
    close: () => void self.closed++,
  };
  return self;
}

describe('sources', () => {
  test('stay open as long as a memory limit may send pages away; without one they are let go', async () => {
    const want = await alone();
    const kept = source();
    const model = await open(kept, TIGHT);
    assert.equal(model.residency().resident, model.residency().pages);
    assert.equal(kept.closed, 0);
    assert.deepEqual(await Promise.all(PROMPTS.map(prompt => tell(model, prompt))), want);
    assert.ok(model.residency().evictions > 0);
    await model.close();
    assert.equal(kept.closed, 1);
    const free = source();
    const unlimited = await open(free, { context: 64 });
    assert.equal(free.closed, 1);
    await unlimited.close();
    assert.equal(free.closed, 1);
  });

  test('a file under a memory limit is read from its own descriptor, and given back', async () => {
    const want = await alone();
    const before = files();
    const model = await open(STORY, TIGHT);
    const others = Array.from({ length: 8 }, () => openSync(fileURLToPath(import.meta.url)));
    assert.deepEqual(await Promise.all(PROMPTS.map(prompt => tell(model, prompt))), want);
    others.forEach(fd => closeSync(fd));
    await model.close();
    assert.equal(files(), before);
  });

  test('refuse once closed, whatever has their number then', async () => {
    const one = await openSource(STORY);
    one.close();
    const other = openSync(fileURLToPath(import.meta.url));
    try {
      assert.throws(() => one.read(0, 16), /has been closed/);
      one.close(); // closes nothing of another's
      assert.doesNotThrow(() => readdirSync(`/proc/self/fd/..`) && readFileSync(other));
    } finally {
      closeSync(other);
    }
  });

  test('a file that is overwritten while it is open is noticed; one that is replaced is not this one', async () => {
    const path = join(dir, 'changing.gguf');
    cpSync(STORY, path);
    const options = { memory: '4MB', context: 64, batch: 8 };
    const model = await open(path, options);
    cpSync(STORY, `${path}.new`);
    renameSync(`${path}.new`, path);
    assert.equal(await tell(model, PROMPTS[0]), (await alone())[0]);
    await model.close();
    const second = await open(path, options);
    writeFileSync(
      path,
      bytes.map(byte => byte ^ 1),
    );
    utimesSync(path, 1e9, 1e9); // not the moment of opening, however coarse the clock
    await rejects(tell(second, PROMPTS[1]), 'HYP_E_IO', /has changed since it was opened/);
    await second.close();
  });

  test('what is no file is refused at once', async () => {
    const pipe = join(dir, 'pipe.gguf');
    execFileSync('mkfifo', [pipe]);
    await rejects(open(pipe), 'HYP_E_IO', /pipe\.gguf.*not a regular file/);
    await rejects(open(dir), 'HYP_E_IO', /not a regular file/);
  });

  test('that give something else than bytes are named', async () => {
    const detached = new Uint8Array(64);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    const given = [
      [undefined, /undefined/],
      [null, /null/],
      [42, /42/],
      ['text', /text/],
      [new Uint8Array(3), /3 of/],
      [detached, /detached/],
      [new Float32Array(9), /Float32Array of 36 bytes/],
      [new ArrayBuffer(9), /ArrayBuffer/],
      [{}, /Object/],
    ];
    for (const [data, what] of given)
      for (const read of [() => data, async () => data])
        await rejects(open({ size: bytes.length, read }), 'HYP_E_IO', what);
    await rejects(
      open({ size: bytes.length, read: () => ({ then: (_, fail) => fail(new Error('no luck')) }) }),
      'HYP_E_IO',
      /no luck/,
    );
    await rejects(open({ size: -1, read: () => null }), 'HYP_E_ARGUMENT');
    const stream = new Blob([bytes]).stream();
    stream.getReader();
    await rejects(open(stream), 'HYP_E_ARGUMENT', /read already/);
    await rejects(
      open({ size: bytes.length, read: () => null }, { worker: true }),
      'HYP_E_IO',
      /null where a Uint8Array/,
    );
    // What can neither be cloned nor read is named.
    await rejects(open({ size: () => 5 }, { worker: true }), 'HYP_E_ARGUMENT', /worker: false/);
  });

  test('one promise for two reads fills the one that is still wanted', async () => {
    const want = await alone();
    let release = null; // while it is set, reads wait for it
    let gate = null;
    const promises = new Map();
    const read = (offset, count) => {
      if (!gate) return bytes.subarray(offset, offset + count);
      const key = `${offset} ${count}`;
      if (!promises.has(key))
        promises.set(
          key,
          gate.then(() => bytes.subarray(offset, offset + count)),
        );
      return promises.get(key);
    };
    const model = await within(open({ size: bytes.length, read }, { ...TIGHT, memory: '4MB' }));
    for (let round = 0; round < 6; round++) {
      promises.clear();
      gate = new Promise(resolve => (release = resolve));
      const stop = new AbortController();
      const first = tell(model, PROMPTS[0], { signal: stop.signal });
      const ended = rejects(first, 'AbortError');
      await until(() => promises.size, 'no read');
      stop.abort();
      await ended;
      const second = Promise.all([tell(model, PROMPTS[1]), tell(model, PROMPTS[2])]);
      for (let i = 0; i < round * 4; i++) await turn();
      gate = null;
      release();
      assert.deepEqual(await second, want.slice(1));
    }
    await model.close();
  });
});

describe('sessions', () => {
  test('an idle one is lent for any purpose', async () => {
    const model = await open(STORY, { context: 64 });
    for (const purpose of ['batch', 'interactive', 'background'])
      await tell(model, PROMPTS[0], { purpose });
    await model.embed('hello');
    assert.equal((await model.stats()).fibers.count, 1);
    await model.close();
  });

  test('the one that knows most of the text goes on with it', async () => {
    const model = await open(STORY, { context: 64 });
    const [a, b] = await Promise.all(
      PROMPTS.slice(0, 2).map(async prompt => [
        ...(await model.tokenize(prompt)),
        ...(await collect(model.generate(prompt, GREEDY))).map(p => p.token),
      ]),
    );
    for (const text of [a, b, a]) {
      const answer = model.generate(text, { ...GREEDY, maxTokens: 1 });
      await collect(answer);
      assert.equal(answer.usage.reusedTokens, text.length - 1);
    }
    await model.close();
  });

  test('under a memory limit idle ones make room: for another purpose, and for weights', async () => {
    const want = await alone();
    for (let memory = 3.3e6; memory <= 4.2e6; memory += 0.1e6) {
      const model = await open(STORY, { memory, context: 64, batch: 8 });
      const answers = await Promise.allSettled(
        PROMPTS.map(prompt => tell(model, prompt, { purpose: 'batch' })),
      );
      for (const [i, { value, reason }] of answers.entries())
        assert.ok(
          reason ? reason.code === 'HYP_E_NOMEM' : value === want[i],
          `${memory}: ${reason}`,
        );
      assert.equal(await tell(model, PROMPTS[0]), want[0]);
      assert.equal((await model.stats()).fibers.count, 1);
      await model.close();
    }
  });

  test('a calibration finds room where an idle session had it', async () => {
    let measured = 0;
    await calibrate(STORY, ['Once upon a time, there was a little fox.'], () => measured++, {
      memory: '6MB',
      context: 64,
      batch: 8,
    });
    assert.ok(measured > 0);
  });
});

for (const worker of [false, true])
  describe(`callbacks${worker ? ' in a worker' : ''}`, () => {
    const options = { context: 64, worker };

    test('a visitor that throws ends its call, and nothing else', async () => {
      const model = await open(STORY, options);
      const own = new Error('I have seen enough');
      let seen = 0;
      const beside = tell(model, PROMPTS[0]);
      await rejectsWith(
        model.score([1, 5, 6, 7, 8, 9, 10, 11], position => {
          seen++;
          if (position === 2) throw own;
        }),
        own,
      );
      assert.equal(seen, 3);
      assert.equal(await beside, (await alone())[0]);
      await rejectsWith(
        model.score([1], () => {
          throw own; // at the last token
        }),
        own,
      );
      const positions = [];
      await within(model.score([1, 5, 6], position => positions.push(position)));
      assert.deepEqual(positions, [0, 1, 2]);
      assert.equal(await tell(model, PROMPTS[1]), (await alone())[1]);
      await within(model.close());
    });

    test('scores side by side go to their own visitors', async () => {
      const model = await open(STORY, options);
      const score = async tokens => {
        const rows = [];
        await within(model.score(tokens, (_, values) => rows.push(values.slice())));
        return rows;
      };
      const texts = [
        [1, 5, 6],
        [1, 7],
        [1, 5, 9, 10],
      ];
      const apart = [];
      for (const text of texts) apart.push(await score(text));
      assert.deepEqual(await Promise.all(texts.map(score)), apart);
      await model.close();
    });

    test('a throwing onProgress is what open rejects with', async () => {
      const own = new Error('no display');
      const before = files();
      await rejectsWith(
        open(STORY, {
          ...options,
          onProgress: () => {
            throw own;
          },
        }),
        own,
      );
      await workersEnd();
      assert.equal(files(), before);
    });

    test('a signal ends scores, embeddings and answers, with its reason', async () => {
      const model = await open(STORY, options);
      const text = 'Once upon a time there was a little fox. '.repeat(3);
      const calls = {
        generate: signal =>
          collect(model.generate(PROMPTS[0], { signal, maxTokens: 1e6, logitBias: { 2: -1e6 } })),
        score: signal => model.score(Array(60).fill(5), () => {}, { signal }),
        embed: signal => model.embed(text, { signal }),
        tokenize: signal => model.tokenize(text, { signal }),
      };
      for (const [name, call] of Object.entries(calls)) {
        for (const early of [true, false]) {
          const stop = new AbortController();
          const reason = new Error(`enough of ${name}`);
          if (early) stop.abort(reason);
          const under = call(stop.signal);
          under.catch(() => {});
          stop.abort(reason);
          if (name === 'tokenize' && !early) {
            await within(under).catch(() => {}); // done before it hears of it
            continue;
          }
          await assert.rejects(within(under), error => error === reason || assert.fail(error));
        }
      }
      assert.equal(await tell(model, PROMPTS[2]), (await alone())[2]);
      await model.close();
    });

    test('an answer that is broken off gives its session back; one that is never begun takes none', async () => {
      const model = await open(STORY, options);
      model.generate(PROMPTS[0]);
      assert.equal((await model.stats()).fibers.count, 0);
      for (let i = 0; i < 3; i++)
        for await (const piece of model.generate(PROMPTS[0])) if (piece) break;
      assert.equal(await tell(model, PROMPTS[0]), (await alone())[0]);
      assert.equal((await model.stats()).fibers.count, 1);
      await model.close();
    });

    test('close is for ever, and as often as one likes', async () => {
      const model = await open(STORY, options);
      const begun = model.generate(PROMPTS[0]);
      await begun.next();
      const under = [
        collect(model.generate(PROMPTS[0], { maxTokens: 50 })),
        model.embed('hello'),
        model.score([1, 5], () => {}),
      ];
      const ended = under.map(promise => rejects(promise, 'HYP_E_STATE', /closed/));
      await within(Promise.all([model.close(), model.close()]));
      await Promise.all(ended);
      await rejects(begun.next(), 'HYP_E_STATE', /closed/);
      for (const call of [
        () => model.tokenize('a'),
        () => model.embed('a'),
        () => model.stats(),
        () => model.heat(),
        () => model.score([1], () => {}),
        () => collect(model.generate('a')),
      ])
        await rejects(call(), 'HYP_E_STATE', /closed/);
      await within(model.close());
      await workersEnd();
    });

    test('options out of range are refused by name', async () => {
      const wrong = {
        context: [0, -1, 1.5, NaN, 2 ** 30, Infinity, '64'],
        batch: [0, -1, 0.5, 2 ** 26],
        lookup: [8, -1, 1.5],
        threads: [0, 17, 1.5, 'many'],
        memory: [-5, NaN, Infinity, '5XB', 'lots', true],
        cache: ['f32'],
        policy: ['chance'],
        onProgress: ['loud'],
        signal: [{}, 7],
      };
      const names = { memory: /^memory must be an amount of memory/ };
      for (const [name, values] of Object.entries(wrong))
        for (const value of values)
          await rejects(
            open(STORY, { ...options, [name]: value }),
            'HYP_E_ARGUMENT',
            names[name] ?? new RegExp(`^${name} must be`),
          );
      const model = await open(STORY, options);
      const wrongly = {
        maxTokens: [-1, 1.5, NaN, '5'],
        seed: [-1, 0.5, 2 ** 53, NaN],
        temperature: [-1, NaN, Infinity, 101],
        topK: [-1, 1.5, 2 ** 32],
        topP: [1.1, NaN],
        minP: [-0.1],
        typicalP: [2],
        repeatPenalty: [11],
        frequencyPenalty: [NaN, 11],
        presencePenalty: [-11],
        penaltyLast: [1.5, 65537],
        mirostat: [-1],
        mirostatEta: [2],
        stop: [7, Array(17).fill('y')],
        purpose: ['leisure', 'toString'],
        logitBias: [{ 5: NaN }, { 5: 'x' }],
      };
      const says = { stop: /stop/ };
      for (const [name, values] of Object.entries(wrongly))
        for (const value of values)
          await rejects(
            collect(model.generate('a', { [name]: value })),
            'HYP_E_ARGUMENT',
            says[name] ?? new RegExp(`^${name} must be`),
          );
      for (const stop of [[''], [5], ['x'.repeat(257)]])
        await rejects(collect(model.generate('a', { stop })), 'HYP_E_ARGUMENT', /stop text/);
      for (const tokens of [[1.5], [NaN], ['a'], [2 ** 32 + 5], 7, null])
        await rejects(collect(model.generate(tokens)), 'HYP_E_ARGUMENT', /token/);
      await rejects(
        model.score([1, 2.5], () => {}),
        'HYP_E_ARGUMENT',
        /2\.5 is no token/,
      );
      for (const text of [undefined, 7, {}])
        await rejects(model.tokenize(text), 'HYP_E_ARGUMENT', /text is wanted/);
      await rejects(model.embed('a', { pooling: 'toString' }), 'HYP_E_ARGUMENT', /pooling/);
      assert.equal(
        await tell(model, PROMPTS[0], { seed: 2 ** 53 - 1, topK: 0, maxTokens: 8 }),
        (await alone())[0],
      );
      await model.close();
    });

    test('an open that fails leaves no worker and no descriptor', async () => {
      const before = files();
      const draft = join(root, 'build/models/llama-q8_0.gguf');
      await rejects(
        open(STORY, { ...options, draft: join(dir, 'missing.gguf'), threads: 3 }),
        'HYP_E_IO',
        /missing/,
      );
      await rejects(
        open(STORY, { ...options, draft: fileURLToPath(import.meta.url), threads: 3 }),
        'HYP_E_FORMAT',
      );
      await rejects(
        open([STORY, draft, join(dir, 'missing.gguf')], { ...options, threads: 3 }),
        'HYP_E_IO',
      );
      await workersEnd();
      assert.equal(files(), before);
    });
  });

describe('what never ends', () => {
  const HANGING = { memory: '4MB', context: 64, batch: 8 }; // pages come and go

  test('an abort ends loading, from a file and from memory, while it reads', async () => {
    for (const from of [STORY, bytes, new Blob([bytes])]) {
      const stop = new AbortController();
      const reason = new Error('another model');
      const slow = () => {
        setImmediate(() => stop.abort(reason)); // heard only when the event loop turns
        for (const until = performance.now() + 2; performance.now() < until;);
      };
      await assert.rejects(
        within(open(from, { context: 64, signal: stop.signal, onProgress: slow })),
        error => error === reason || assert.fail(error),
      );
    }
    await workersEnd();
  });

  test('open: a source that never answers, from its first read or later, and streams', async () => {
    for (let reads = 0; reads < 12; reads += 3) {
      let left = reads;
      const one = source();
      const read = (offset, count) => ((one.hanging = left-- <= 0), one.read(offset, count));
      const stop = new AbortController();
      const opening = open(
        { ...one, read, close: () => new Promise(() => {}) },
        { signal: stop.signal },
      );
      await until(() => one.waiting, 'no read');
      stop.abort('enough');
      await assert.rejects(within(opening), error => error === 'enough' || assert.fail(error));
    }
    for (const from of [
      new ReadableStream(),
      new Response(new ReadableStream()),
      new Response(new ReadableStream(), { headers: { 'content-length': '5000' } }),
    ]) {
      const stop = new AbortController();
      const opening = open(from, { signal: stop.signal });
      await turn();
      stop.abort();
      await rejects(opening, 'AbortError');
    }
  });

  test('inspect and quantize', async () => {
    for (const act of [
      o => inspect({ ...source(), read: () => new Promise(() => {}) }, o),
      o => quantize({ ...source(), read: () => new Promise(() => {}) }, 'q8_0', () => {}, o),
    ]) {
      const stop = new AbortController();
      const under = act({ signal: stop.signal });
      await turn();
      stop.abort();
      await rejects(under, 'AbortError');
    }
    const wide = [];
    await quantize(STORY, 'f16', data => wide.push(data));
    const stop = new AbortController();
    setImmediate(() => stop.abort());
    await rejects(
      quantize(Buffer.concat(wide), 'q4_k', () => {}, { signal: stop.signal }),
      'AbortError',
    );
    const own = new Error('the disk is full');
    await rejectsWith(
      quantize(STORY, 'f16', () => {
        throw own;
      }),
      own,
    );
  });

  test('answers, embeddings and scores that wait for a read', async () => {
    const want = await alone();
    const one = source();
    const model = await open(one, HANGING);
    const calls = [
      signal => collect(model.generate(PROMPTS[0], { ...GREEDY, signal })),
      signal => model.embed(PROMPTS[1], { signal }),
      signal => model.score([1, 5, 6], () => {}, { signal }),
    ];
    for (const call of [...calls, signal => Promise.all(calls.map(each => each(signal)))]) {
      one.hanging = true;
      one.waiting = 0;
      const stop = new AbortController();
      const under = call(stop.signal);
      under.catch(() => {});
      await until(() => one.waiting, 'no read');
      stop.abort('enough');
      await assert.rejects(within(under), error => error === 'enough' || assert.fail(error));
      one.hanging = false;
      assert.equal(await tell(model, PROMPTS[2]), want[2]);
    }
    one.hanging = true;
    const late = tell(model, PROMPTS[0]);
    for (let i = 0; i < 10; i++) await turn();
    await within(model.close());
    await rejects(late, 'HYP_E_STATE', /closed/);
  });
});

describe('the end of an engine', () => {
  test('a trap ends every call with its reason, now and later', async () => {
    const core = await Core.create({ threads: 2 });
    const inspecting = sources =>
      core.runJob(
        core.addSources(sources),
        job => core.run('job_inspect', job),
        job => core.run('job_text', job),
      );
    const job = inspecting([{ size: 5000, read: () => new Promise(() => {}) }]);
    const ended = rejects(job, 'HYP_E_HOST', /the engine has stopped/);
    await turn();
    assert.throws(
      () => core.call('session_destroy', 2 ** 32 - 64),
      error => error.code === 'HYP_E_HOST' && /has stopped/.test(error.message),
    );
    await ended;
    await rejects(inspecting([]), 'HYP_E_HOST', /has stopped/);
    await within(core.close());
    await within(core.close());
    await workersEnd();
  });

  test('a worker that does not start, or is killed', async () => {
    for (const [how, message] of [
      ['constructor', /no more threads/],
      ['module', /worker failed/],
    ]) {
      broken = how;
      try {
        await rejects(open(STORY, { worker: true }), 'HYP_E_HOST', message);
      } finally {
        broken = null;
      }
    }
    const model = await open(STORY, { worker: true, context: 64 });
    const under = [
      collect(model.generate(PROMPTS[0], { maxTokens: 1e6, logitBias: { 2: -1e6 } })),
      model.embed('hello'),
      model.stats(),
    ].map(call => rejects(call, 'HYP_E_HOST', /worker failed/));
    started.at(-1).worker.terminate();
    await Promise.all(under);
    await rejects(model.tokenize('a'), 'HYP_E_HOST', /worker failed/);
    await rejects(collect(model.generate('a')), 'HYP_E_HOST', /worker failed/);
    await within(model.close());
    await rejects(model.tokenize('a'), 'HYP_E_STATE', /closed/);
    await workersEnd();
  });

  test('workers that do not start leave the engine to compute alone', async () => {
    broken = 'module';
    try {
      const model = await open(STORY, { context: 64, threads: 3 });
      assert.equal(await tell(model, PROMPTS[0]), (await alone())[0]);
      await model.close();
    } finally {
      broken = null;
    }
    await workersEnd();
  });
});

test('a worker that dies while it computes ends the engine', async () => {
  const before = started.length;
  const model = await open(STORY, { context: 64, threads: 2 });
  await until(() => started.length > before && started.at(-1).heard, 'no worker');
  const under = rejects(
    collect(model.generate(PROMPTS[0], { maxTokens: 50 })),
    'HYP_E_HOST',
    /worker thread.*out of luck/,
  );
  started.at(-1).worker.emit('error', new Error('out of luck'));
  await under;
  await rejects(model.embed('hello'), 'HYP_E_HOST', /out of luck/);
  await within(model.close());
});

test('a visitor may break off answers, where idle sessions make room', async () => {
  const model = await open(STORY, { memory: '4MB', context: 64, batch: 8, threads: 1 });
  const begun = PROMPTS.slice(1).map(prompt => model.generate(prompt));
  await Promise.all(begun.map(answer => answer.next()));
  const positions = [];
  const visit = position => {
    positions.push(position);
    begun.forEach(answer => answer.return());
  };
  await within(model.score([1, 5, 6], visit));
  assert.deepEqual(positions, [0, 1, 2]);
  assert.equal(await tell(model, PROMPTS[0]), (await alone())[0]);
  assert.equal((await model.stats()).fibers.count, 1);
  await model.close();
});

test('a visitor may use the model, and close it', async () => {
  const model = await open(STORY, { context: 64, threads: 1 }); // whose memory moves when it grows
  const inner = [];
  let intact = true;
  await within(
    model.score([1, 5, 6], (position, values) => {
      inner.push(
        model.tokenize('a'.repeat(1 + position * 1e6)),
        model.embed('hello'),
        tell(model, PROMPTS[0]),
      );
      intact &&= values.length === model.facts.vocab;
    }),
  );
  assert.ok(intact);
  assert.equal((await within(Promise.all(inner)))[2], (await alone())[0]);
  let closing;
  await rejects(
    model.score([1, 5, 6], () => (closing ??= model.close())),
    'HYP_E_STATE',
    /closed/,
  );
  await within(closing);
});
