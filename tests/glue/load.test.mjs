// Progressive opening: answers while the weights come, in this thread and in a worker; sources that
// stall or fail, aborts and closing meanwhile.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createEngine, open } from '../../glue/model/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bytes = readFileSync(join(root, 'models/story.gguf'));
const PROMPT = 'Once upon a time there was a little girl who';
const ANSWER = { temperature: 0, maxTokens: 12 };

/** @type {unknown[]} */
const unhandled = [];
process.on('unhandledRejection', error => unhandled.push(error));
after(() => assert.deepEqual(unhandled, []));

/**
 * A source whose reads are served later, in another order than asked for.
 * @param {{after?: number, sequential?: boolean}} [how] after: reads that are served; the next ones
 *   stall until `go`, or `fail`
 */
function slowSource({ after: served = Infinity, sequential } = {}) {
  let stalled = served < Infinity;
  /** @type {(() => void)[]} */
  const waiting = [];
  /** @type {Error | null} */
  let failure = null;
  const source = {
    size: bytes.length,
    sequential,
    reads: 0,
    atOnce: 0,
    most: 0,
    closed: 0,
    get waiting() {
      return waiting.length;
    },
    go() {
      stalled = false;
      for (const one of waiting.splice(0)) one();
    },
    fail(/** @type {Error} */ error) {
      failure = error;
      source.go();
    },
    async read(/** @type {number} */ offset, /** @type {number} */ count) {
      source.reads++;
      source.most = Math.max(source.most, ++source.atOnce);
      if (stalled && source.reads > served)
        await new Promise(resolve => waiting.push(() => resolve(undefined)));
      for (let turns = source.reads % 3; turns > 0; turns--)
        await new Promise(resolve => setImmediate(resolve));
      source.atOnce--;
      if (failure) throw failure;
      return new Uint8Array(bytes.subarray(offset, offset + count));
    },
    close() {
      source.closed++;
    },
  };
  return source;
}

/** Waits for a state. @param {() => boolean} here */
async function until(here) {
  for (let i = 0; !here(); i++) {
    assert.ok(i < 20000, 'it does not come');
    await new Promise(resolve => setTimeout(resolve, 1));
  }
}

/** @param {Promise<unknown>} promise @param {string} code @param {RegExp} [text] */
const rejects = (promise, code, text = /./) =>
  assert.rejects(promise, (/** @type {any} */ error) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  });

const whole = await open(bytes, { worker: false, context: 64 });
const want = (await whole.complete(PROMPT, ANSWER)).text;
await whole.loaded;
await whole.close();

for (const worker of [false, true]) {
  const options = { worker, context: 64, progressive: true };
  describe(`a model whose weights are on their way${worker ? ', in a worker' : ''}`, () => {
    test('answers, in any order of arrival, and tells how far it is', async () => {
      for (const sequential of [false, true]) {
        const source = slowSource({ after: 6, sequential });
        /** @type {import('../../glue/model/progress.js').LoadProgress[]} */
        const heard = [];
        const model = await open(source, { ...options, onProgress: p => heard.push(p) });
        assert.equal(model.facts.layers, 6);
        let loaded = false;
        const over = model.loaded.then(() => (loaded = true));
        const answer = model.complete(PROMPT, ANSWER);
        await until(() => source.waiting > 0);
        assert.ok(!loaded && source.closed === 0);
        source.go();
        assert.equal((await answer).text, want);
        await over;
        const last = /** @type {any} */ (heard.at(-1));
        assert.ok(last.loaded === last.total && last.total > 1e6, JSON.stringify(last));
        assert.deepEqual([last.layers, last.layersReady], [6, 6]);
        assert.ok(last.bytesPerSecond > 0 && last.secondsLeft === 0);
        assert.ok(heard.every((p, i) => !i || p.loaded >= heard[i - 1].loaded || !p.layers));
        assert.ok(sequential ? source.most === 1 : source.most > 1, `${source.most} at once`);
        await until(() => source.closed === 1);
        assert.equal((await model.complete(PROMPT, ANSWER)).text, want);
        await model.close();
      }
    });

    test('comes as a stream', async () => {
      const stream = new ReadableStream({
        start(controller) {
          for (let at = 0; at < bytes.length; at += 100000)
            controller.enqueue(new Uint8Array(bytes.subarray(at, at + 100000)));
          controller.close();
        },
      });
      const headers = { 'content-length': String(bytes.length) };
      const model = await open(new Response(stream, { headers }), options);
      assert.equal((await model.complete(PROMPT, ANSWER)).text, want);
      await model.loaded;
      await model.close();
    });

    test('fails with its source, and so does every answer', async () => {
      const source = slowSource({ after: 6 });
      const model = await open(source, options);
      const early = model.complete(PROMPT, ANSWER);
      early.catch(() => {});
      await until(() => source.waiting > 0);
      source.fail(new Error('the line is cut'));
      await rejects(model.loaded, 'HYP_E_IO', /reading \d+ bytes.*\(the line is cut\)/);
      await rejects(early, 'HYP_E_IO', /reading \d+ bytes.*the line is cut/);
      await rejects(model.complete(PROMPT, ANSWER), 'HYP_E_IO', /the line is cut/);
      await rejects(model.embed('a text'), 'HYP_E_IO', /the line is cut/);
      assert.ok((await model.tokenize('a text')).length > 1);
      await model.close();
      await until(() => source.closed === 1);
    });

    test('is aborted', async () => {
      const source = slowSource({ after: 6 });
      const stop = new AbortController();
      const model = await open(source, { ...options, signal: stop.signal });
      const early = model.complete(PROMPT, ANSWER);
      early.catch(() => {});
      await until(() => source.waiting > 0);
      const reason = new Error('no more');
      stop.abort(reason);
      await assert.rejects(model.loaded, reason);
      await rejects(early, 'HYP_E_CANCELLED', /loading was stopped/);
      await model.close();
      source.go();
      await until(() => source.closed === 1);
    });

    test('is closed', async () => {
      for (const alone of [true, false]) {
        const source = slowSource({ after: 6 });
        const engine = alone ? null : await createEngine({ worker });
        const { worker: where, ...ofModel } = options;
        const model = engine ? await engine.open(source, ofModel) : await open(source, options);
        const early = model.complete(PROMPT, ANSWER);
        early.catch(() => {});
        await until(() => source.waiting > 0);
        await model.close();
        await rejects(model.loaded, 'HYP_E_STATE', /closed/);
        await rejects(early, 'HYP_E_STATE', /closed/);
        await until(() => source.closed === 1);
        if (engine) assert.equal((await engine.stats()).fibers.count, 0);
        await engine?.close();
        source.go();
      }
    });

    test('hears what its onProgress throws', async () => {
      const own = new Error('no display');
      let opened = false;
      const model = await open(slowSource(), {
        ...options,
        onProgress: () => {
          if (opened) throw own;
        },
      });
      opened = true;
      await assert.rejects(model.loaded, own);
      await rejects(model.complete(PROMPT, ANSWER), 'HYP_E_CANCELLED', /loading was stopped/);
      await model.close();
    });

    test('stalls, and another model of its engine answers', async () => {
      const engine = await createEngine({ worker });
      const bad = slowSource({ after: 6 });
      const more = { context: 64, progressive: true };
      const [stalled, good] = await Promise.all([
        engine.open(bad, more),
        engine.open(slowSource(), more),
      ]);
      const late = stalled.complete(PROMPT, ANSWER);
      await until(() => bad.waiting > 0);
      assert.equal((await good.complete(PROMPT, ANSWER)).text, want);
      await good.loaded;
      bad.go();
      assert.equal((await late).text, want);
      await engine.close();
    });

    test('guesses by a draft model that is on its way, too', async () => {
      const [source, draft] = [slowSource({ after: 9 }), slowSource({ after: 9 })];
      const model = await open(source, { ...options, draft });
      const answer = model.complete(PROMPT, ANSWER);
      await until(() => source.waiting > 0 && draft.waiting > 0);
      source.go();
      draft.go();
      const { text, usage } = await answer;
      assert.equal(text, want);
      assert.ok(usage.acceptedTokens > 0);
      await model.loaded;
      await model.close();

      const [lost, cut] = [slowSource({ after: 9 }), slowSource({ after: 9 })];
      const other = await open(lost, { ...options, draft: cut });
      await until(() => lost.waiting > 0 && cut.waiting > 0);
      cut.fail(new Error('the draft is lost'));
      await rejects(other.loaded, 'HYP_E_IO', /the draft is lost/);
      await rejects(other.complete(PROMPT, ANSWER), 'HYP_E_CANCELLED');
      await other.close();
    });
  });
}
