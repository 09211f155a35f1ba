// Engines with several models, jobs side by side, sessions of one's own, and what an answer says
// that it took; in this thread and in a worker.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HyperionError, createEngine, inspect, open, quantize } from 'hyperion-runtime';
import { makeSimModels } from '../tools/models.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const [F16, Q8] = makeSimModels(join(root, 'build/models'));
const bytes = readFileSync(STORY);

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
  for (const deadline = performance.now() + HANG_MS; !(await condition()); await turn())
    assert.ok(performance.now() < deadline, what);
};
const rejects = (promise, code, message = /./) =>
  assert.rejects(
    within(promise),
    error =>
      ((error instanceof HyperionError ? error.code : error.name) === code &&
        message.test(error.message)) ||
      assert.fail(`${error.code}: ${error.stack}`),
  );
const GREEDY = { temperature: 0, maxTokens: 8 };
const collect = async (answer, out = []) => {
  for await (const piece of answer) out.push(piece);
  return out;
};
/** The tokens of an answer. */
const said = async answer => (await within(collect(answer))).map(piece => piece.token);
const PROMPT = [1, 5, 6, 7, 5, 6, 7, 5, 6];
const CONTEXT = { context: 64 };

/** What each model answers alone. */
const alone = new Map();
const want = async (path, prompt = PROMPT, options = GREEDY) => {
  const key = JSON.stringify([path, prompt, options]);
  if (!alone.has(key)) {
    const model = await open(path, { ...CONTEXT, threads: 1, worker: false });
    alone.set(key, await said(model.generate(prompt, options)));
    await model.close();
  }
  return alone.get(key);
};

/** What is still open in the end, because a test has failed. */
const opened = [];
after(() => Promise.all(opened.map(one => one.close())));
const later = one => (opened.push(one), one);
const engineOf = async options => later(await createEngine(options));

/** A source whose reads wait until they are let go. */
function gated(data) {
  const self = {
    size: data.length,
    reads: 0,
    closed: 0,
    open: () => {},
    read: async (offset, count) => {
      self.reads++;
      await self.gate;
      return data.subarray(offset, offset + count);
    },
    close: () => void self.closed++,
  };
  self.gate = new Promise(resolve => (self.open = resolve));
  return self;
}

for (const worker of [false, true])
  describe(`an engine${worker ? ' in a worker' : ''}`, () => {
    test('opens several models at once, which answer side by side as they do alone', async () => {
      const engine = await engineOf({ worker });
      const paths = [F16, Q8, STORY];
      const models = await within(Promise.all(paths.map(path => engine.open(path, CONTEXT))));
      assert.equal((await engine.stats()).models, 3);
      const answers = models.flatMap(model => [0, 1].map(() => model.generate(PROMPT, GREEDY)));
      const all = await Promise.all(answers.map(said));
      for (const [i, path] of paths.entries())
        for (const one of all.slice(2 * i, 2 * i + 2)) assert.deepEqual(one, await want(path));
      // one of them leaves: the others go on, and it answers no more
      const under = said(models[2].generate(PROMPT, GREEDY));
      await within(models[0].close());
      assert.deepEqual(await under, await want(STORY));
      await rejects(models[0].tokenize('a'), 'HYP_E_STATE', /the model is closed/);
      assert.equal((await engine.stats()).models, 2);
      assert.deepEqual(await said(models[1].generate(PROMPT, GREEDY)), await want(Q8));
      await within(engine.close());
      for (const model of models) await rejects(model.tokenize('a'), 'HYP_E_STATE', /closed/);
      await rejects(engine.open(F16), 'HYP_E_STATE', /the engine is closed/);
      await within(Promise.all([engine.close(), models[1].close()]));
    });

    test('one memory limit holds for all its models, and what one gives back another gets', async () => {
      const limit = 6e6;
      const engine = await engineOf({ worker, memory: limit, threads: 1 });
      const one = await engine.open(STORY, { ...CONTEXT, batch: 8 });
      const other = await engine.open(F16, { ...CONTEXT, batch: 8 });
      for (let i = 0; i < 2; i++) {
        const answers = [one, other].map(model => said(model.generate(PROMPT, GREEDY)));
        assert.deepEqual(await Promise.all(answers), [await want(STORY), await want(F16)]);
        const { memory } = await one.stats();
        assert.equal(memory.limitBytes, limit);
        assert.ok(memory.peakBytes <= limit, `${memory.peakBytes}`);
      }
      // what fits once fits as often as one likes
      for (let i = 0; i < 8; i++) {
        const third = await within(engine.open(Q8, { ...CONTEXT, batch: 8 }));
        assert.deepEqual(await said(third.generate(PROMPT, GREEDY)), await want(Q8));
        await within(third.close());
      }
      const { memory } = await engine.stats();
      assert.ok(memory.peakBytes <= limit, `${memory.peakBytes}`);
      await within(engine.close());
      const small = await engineOf({ worker, memory: 2e6 });
      await rejects(small.open(STORY), 'HYP_E_NOMEM', /memory limit/);
      const fits = await small.open(F16, { ...CONTEXT, batch: 8 });
      assert.deepEqual(await said(fits.generate(PROMPT, GREEDY)), await want(F16));
      await within(small.close());
    });

    test('inspects, quantizes, opens and answers at the same time', async () => {
      const engine = await engineOf({ worker });
      const model = await engine.open(STORY, CONTEXT);
      const written = { q8_0: [], q4_0: [] };
      const seen = [];
      const [answer, facts, other, opened] = await within(
        Promise.all([
          said(model.generate(PROMPT, GREEDY)),
          engine.inspect(STORY),
          engine.inspect(F16, { onProgress: p => seen.push(p) }),
          engine.open(Q8, CONTEXT),
          ...Object.keys(written).map(format =>
            engine.quantize(F16, format, data => written[format].push(data)),
          ),
        ]),
      );
      assert.deepEqual(answer, await want(STORY));
      assert.deepEqual(facts, await inspect(STORY));
      assert.deepEqual(other, await inspect(F16));
      assert.deepEqual(await said(opened.generate(PROMPT, GREEDY)), await want(Q8));
      for (const [format, parts] of Object.entries(written)) {
        const whole = [];
        await quantize(F16, format, data => whole.push(data));
        assert.ok(Buffer.concat(parts).equals(Buffer.concat(whole)), format);
      }
      const own = new Error('the disk is full');
      const failing = engine.quantize(F16, 'q8_0', () => {
        throw own;
      });
      const beside = said(model.generate(PROMPT, GREEDY));
      await assert.rejects(within(failing), error => error === own || assert.fail(error));
      assert.deepEqual(await beside, await want(STORY));
      await rejects(
        engine.quantize(F16, 'q99', () => {}),
        'HYP_E_ARGUMENT',
        /no format/,
      );
      await within(engine.close());
    });

    test('a job that is cancelled or fails leaves the others alone', async () => {
      const engine = await engineOf({ worker });
      const stop = new AbortController();
      const reason = new Error('another one');
      const first = engine.open(STORY, {
        ...CONTEXT,
        signal: stop.signal,
        onProgress: () => stop.abort(reason),
      });
      const failing = rejects(engine.open(bytes.subarray(0, 5000)), 'HYP_E_FORMAT');
      const missing = rejects(engine.open(join(root, 'missing.gguf')), 'HYP_E_IO', /missing/);
      const second = engine.open(F16, CONTEXT);
      await assert.rejects(within(first), error => error === reason || assert.fail(error));
      await Promise.all([failing, missing]);
      const model = await within(second);
      assert.deepEqual(await said(model.generate(PROMPT, GREEDY)), await want(F16));
      assert.equal((await engine.stats()).models, 1);
      await rejects(engine.open(F16, { signal: AbortSignal.abort() }), 'AbortError');
      await rejects(engine.open(F16, { context: 0 }), 'HYP_E_ARGUMENT', /context/);
      await within(engine.close());
      await rejects(createEngine({ worker, memory: 'lots' }), 'HYP_E_ARGUMENT', /96MB/);
      await rejects(createEngine({ worker, threads: 0 }), 'HYP_E_ARGUMENT', /threads/);
      await rejects(createEngine({ worker, policy: 'chance' }), 'HYP_E_ARGUMENT', /policy/);
      await rejects(createEngine({ worker, signal: AbortSignal.abort() }), 'AbortError');
    });

    test('each answer says what it took, also beside another', async () => {
      const model = later(await open(F16, { ...CONTEXT, worker }));
      const long = model.generate(PROMPT, { ...GREEDY, maxTokens: 20 });
      const short = model.generate([1, 40], { ...GREEDY, maxTokens: 3 });
      assert.equal(long.usage, null);
      const [a, b] = await Promise.all([collect(long), collect(short)]);
      for (const [pieces, answer, prompt, tokens] of [
        [a, long, PROMPT.length, 20],
        [b, short, 2, 3],
      ]) {
        const { usage } = answer;
        assert.deepEqual(pieces.at(-1).usage, usage);
        assert.ok(pieces.slice(0, -1).every(piece => !('usage' in piece)));
        assert.equal(usage.answerTokens, tokens);
        assert.equal(usage.promptTokens + usage.reusedTokens, prompt);
        assert.equal(usage.draftedTokens, 0);
        assert.ok(usage.batchedTokens <= tokens && usage.promptMs > 0 && usage.answerMs > 0);
        assert.ok(usage.promptTokensPerSecond > 0 && usage.answerTokensPerSecond > 0);
        const { p50, p90, p95, p99 } = usage.latencyMs;
        assert.ok(p50 > 0 && p50 <= p90 && p90 <= p95 && p95 <= p99);
      }
      assert.ok(long.usage.batchedTokens > 0);
      const again = model.generate(PROMPT, GREEDY);
      await collect(again);
      assert.deepEqual(
        [again.usage.promptTokens, again.usage.reusedTokens],
        [1, PROMPT.length - 1], // the last is computed again: its logits begin the answer
      );
      assert.equal(long.usage.answerTokens, 20);
      // one that is broken off, one without a token, one that has never begun
      const broken = model.generate([1, 60, 61], GREEDY);
      for await (const piece of broken) if (piece) break;
      // a worker may be ahead of who listens to it
      const most = worker ? GREEDY.maxTokens : 1;
      const { answerTokens } = broken.usage;
      assert.ok(answerTokens >= 1 && answerTokens <= most, `${answerTokens}`);
      const none = model.generate([1, 70, 71], { ...GREEDY, maxTokens: 0 });
      assert.deepEqual(await collect(none), []);
      assert.deepEqual(
        [none.usage.promptTokens + none.usage.reusedTokens, none.usage.answerTokens],
        [3, 0],
      );
      const stop = new AbortController();
      const stopped = model.generate([1, 80], { ...GREEDY, signal: stop.signal });
      await stopped.next();
      stop.abort();
      await rejects(stopped.next(), 'AbortError');
      assert.ok(stopped.usage.answerTokens >= 1);
      assert.equal(model.generate(PROMPT).usage, null);
      for (const key of ['answerTokens', 'promptTokensPerSecond', 'latencyMs'])
        assert.ok(!(key in (await model.stats())), key);
      await model.close();
    });

    describe('sessions', () => {
      let engine;
      let model;
      before(async () => {
        engine = await engineOf({ worker });
        model = await engine.open(F16, CONTEXT);
      });
      after(() => engine.close());

      test('keep their text, and go on from it', async () => {
        const session = await model.session();
        assert.deepEqual(await session.tokens(), []);
        const first = await said(session.generate(PROMPT, GREEDY));
        assert.deepEqual(first, await want(F16));
        assert.deepEqual(await session.tokens(), [...PROMPT, ...first]);
        const { used, context } = await session.stats();
        assert.deepEqual([used, context], [PROMPT.length + first.length, 64]);
        // others do not touch it
        await said(model.generate([1, 40], GREEDY));
        const more = session.generate([9, 8], { ...GREEDY, append: true });
        const second = await said(more);
        const text = [...PROMPT, ...first, 9, 8];
        assert.deepEqual(second, await want(F16, text));
        // the last token of an answer is not computed, nor these two
        assert.equal(more.usage.reusedTokens, text.length - 3);
        assert.deepEqual(await session.tokens(), [...text, ...second]);
        const words = session.generate(' one fox', { ...GREEDY, append: true });
        await said(words);
        assert.ok(words.usage.reusedTokens >= text.length && words.usage.promptTokens < 12);
        const other = session.generate([1, 40], GREEDY);
        assert.deepEqual(await said(other), await want(F16, [1, 40]));
        await session.close();
        await session.close();
        for (const call of [
          () => session.tokens(),
          () => session.stats(),
          () => session.resetProfile(),
          () => session.fork(),
          () => collect(session.generate(PROMPT)),
        ])
          await rejects(call(), 'HYP_E_STATE', /the session is closed/);
        assert.deepEqual(await said(model.generate(PROMPT, GREEDY)), first);
      });

      test('answer one question at a time, and end what is under way when they are closed', async () => {
        const session = await model.session();
        const long = session.generate(PROMPT, { temperature: 0, maxTokens: 40 });
        await long.next();
        await rejects(collect(session.generate(PROMPT)), 'HYP_E_STATE', /still under way/);
        await rejects(collect(session.chat([])), 'HYP_E_STATE', /still under way/);
        await long.return();
        assert.deepEqual(await said(session.generate(PROMPT, GREEDY)), await want(F16));
        const under = collect(session.generate(PROMPT, { temperature: 0, maxTokens: 1000 }));
        const ended = rejects(under, 'HYP_E_STATE', /closed/);
        if (!worker) await turn(); // a worker might be done by then
        await within(session.close());
        await ended;
        await rejects(collect(session.generate(PROMPT, { temperature: -1 })), 'HYP_E_ARGUMENT');
        await rejects(collect(session.generate(PROMPT)), 'HYP_E_STATE', /closed/);
      });

      test('have options of their own', async () => {
        const small = await model.session({ context: 16, profile: true, cache: 'q8_0' });
        const pieces = await collect(small.generate(PROMPT, { temperature: 0, maxTokens: 40 }));
        assert.equal(pieces.at(-1).finish, 'context');
        const { operations, latencyMs, context } = await small.stats();
        assert.ok(operations.length > 5 && latencyMs.p50 > 0 && context === 16);
        await small.resetProfile();
        assert.equal((await small.stats()).operations.length, 0);
        await small.close();
        const drafting = await model.session({ lookup: 4 });
        assert.deepEqual(await said(drafting.generate(PROMPT, GREEDY)), await want(F16));
        await drafting.close();
        await rejects(model.session({ context: 0 }), 'HYP_E_ARGUMENT', /context/);
        await rejects(model.session({ signal: AbortSignal.abort() }), 'AbortError');
      });

      test('fork: both have the text, and go their own ways', async () => {
        const session = await model.session();
        await said(session.generate(PROMPT, GREEDY));
        const text = await session.tokens();
        const fork = await session.fork();
        assert.deepEqual(await fork.tokens(), text);
        const asked = [session, fork].map((one, i) =>
          one.generate([20 + i], { ...GREEDY, append: true }),
        );
        const answers = await Promise.all(asked.map(said));
        for (const [i, { usage }] of asked.entries()) {
          assert.deepEqual(answers[i], await want(F16, [...text, 20 + i]));
          assert.ok(usage.reusedTokens >= text.length - 1 && usage.promptTokens <= 2);
        }
        await session.close();
        const again = fork.generate(text, { ...GREEDY, maxTokens: 2 });
        assert.deepEqual(await said(again), (await want(F16, text)).slice(0, 2));
        const third = await fork.fork();
        await fork.close();
        assert.deepEqual(await said(third.generate(text, GREEDY)), await want(F16, text));
        await third.close();
      });

      test('are closed with their model', async () => {
        const own = await engine.open(Q8, CONTEXT);
        const session = await own.session();
        const begun = session.generate(PROMPT, GREEDY);
        await begun.next();
        await within(own.close());
        await rejects(begun.next(), 'HYP_E_STATE', /closed/);
        await rejects(session.tokens(), 'HYP_E_STATE', /closed/);
        await within(session.close());
        assert.deepEqual(await said(model.generate(PROMPT, GREEDY)), await want(F16));
      });
    });
  });

describe('an engine', () => {
  test('does several jobs that wait for their sources; cancelling one wakes no other', async () => {
    const engine = await engineOf({ worker: false, threads: 1 });
    const sources = [0, 1, 2].map(() => gated(bytes));
    const stop = new AbortController();
    const jobs = [
      engine.open(sources[0], { ...CONTEXT, signal: stop.signal }),
      engine.open(sources[1], CONTEXT),
      engine.inspect(sources[2]),
    ];
    jobs.forEach(job => job.catch(() => {}));
    await until(() => sources.every(one => one.reads === 1), 'not all of them have begun');
    stop.abort('enough');
    await assert.rejects(within(jobs[0]), error => error === 'enough' || assert.fail(error));
    assert.deepEqual([sources.map(one => one.reads), sources[0].closed], [[1, 1, 1], 1]);
    sources[2].open();
    assert.deepEqual(await within(jobs[2]), await inspect(STORY));
    assert.equal(sources[2].closed, 1);
    assert.equal(sources[1].reads, 1);
    sources[1].open();
    const model = await within(jobs[1]);
    assert.deepEqual(await said(model.generate(PROMPT, GREEDY)), await want(STORY));
    await within(engine.close());
    assert.equal(sources[1].closed, 1);
  });

  test('names the failure of the source that failed, of two', async () => {
    const engine = await engineOf({ worker: false });
    const failing = message => ({
      size: bytes.length,
      read: async () => {
        await turn();
        throw new Error(message);
      },
    });
    const one = rejects(engine.open(failing('the disk is gone')), 'HYP_E_IO', /the disk is gone/);
    const other = rejects(engine.open(failing('the net is down')), 'HYP_E_IO', /the net is down/);
    await Promise.all([one, other]);
    await engine.close();
  });

  test('is closed while it opens, inspects and answers', async () => {
    const engine = await engineOf({ worker: false, memory: '6MB' });
    const model = await engine.open(STORY, CONTEXT);
    const sources = [gated(bytes), gated(bytes)];
    const under = [
      engine.open(sources[0]),
      engine.inspect(sources[1]),
      collect(model.generate(PROMPT, GREEDY)),
      model.session().then(session => collect(session.generate(PROMPT, GREEDY))),
    ].map(call => rejects(call, 'HYP_E_STATE', /closed/));
    await until(() => sources.every(one => one.reads === 1), 'not all of them have begun');
    await within(engine.close());
    await Promise.all(under);
    await until(() => sources.every(one => one.closed === 1), 'a source is open');
  });

  test('a model that is closed ends what is under way in it, also where that waits for a source', async () => {
    let hanging = false;
    let reads = 0;
    const source = {
      size: bytes.length,
      read: (offset, count) =>
        hanging ? (reads++, new Promise(() => {})) : bytes.subarray(offset, offset + count),
    };
    const engine = await engineOf({ worker: false, memory: '5MB', threads: 1 });
    const paged = await engine.open(source, { ...CONTEXT, batch: 8 });
    const other = await engine.open(F16, { ...CONTEXT, batch: 8 });
    const { weights } = await paged.stats();
    assert.ok(weights.resident < weights.pages, 'all of it fits');
    hanging = true;
    const session = await paged.session();
    const under = [
      collect(paged.generate(PROMPT, GREEDY)),
      collect(session.generate(PROMPT, GREEDY)),
      paged.score(PROMPT, () => {}),
    ].map(call => rejects(call, 'HYP_E_STATE', /closed/));
    await until(() => reads > 0, 'nothing is read');
    await within(paged.close());
    await Promise.all(under);
    assert.deepEqual(await said(other.generate(PROMPT, GREEDY)), await want(F16));
    await within(engine.close());
  });
});
