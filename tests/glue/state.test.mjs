// Sessions that are saved and go on elsewhere: in this thread and in workers, on each artefact, and
// from one to the other; answers that are broken off at any point; contexts that shift.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bestArtefact, createEngine, open } from 'hyperion-runtime';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = readFileSync(join(root, 'models/story.gguf'));
const artefacts = bestArtefact() === 'relaxed' ? ['simd', 'relaxed'] : ['simd'];
const PROMPT = 'Once upon a time';
const SAMPLING = { seed: 7, temperature: 0.9, repeatPenalty: 1.1, stop: ['friend'] };
const MOST = 60;

const text = pieces => pieces.map(piece => piece.text).join('');
const tokens = pieces => pieces.map(piece => piece.token);
/** Pieces of an answer: `most` of them, then it is broken off. */
async function some(answer, most = Infinity) {
  const pieces = [];
  if (most === 0) return pieces;
  for await (const piece of answer) {
    pieces.push(piece);
    if (pieces.length >= most) break;
  }
  return pieces;
}
const rejects = (promise, code, message) =>
  assert.rejects(promise, error => {
    assert.equal(error.code ?? error.name, code, error.message);
    assert.match(error.message, message);
    return true;
  });

const opened = [];
/** What a test opens, and its end closes. */
async function own(promise) {
  const one = await promise;
  opened.unshift(one);
  return one;
}
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

const hosts = artefacts.flatMap(artefact =>
  [false, true].map(worker => ({
    artefact,
    worker,
    name: `${artefact}${worker ? ', worker' : ''}`,
  })),
);
const models = new Map();
let want;
before(async () => {
  for (const { name, ...options } of hosts)
    models.set(name, await open(STORY, { ...options, context: 256, threads: 1 }));
  const [model] = models.values();
  want = await some(model.generate(PROMPT, { ...SAMPLING, maxTokens: MOST }));
  assert.ok(want.length > 20);
});
after(() => Promise.all([...models.values()].map(model => model.close())));

for (const { name } of hosts)
  describe(name, () => {
    test('an answer that is broken off goes on, in the session and in others', async () => {
      for (const cut of [0, 1, 2, 5, 13]) {
        const model = models.get(name);
        const session = await model.session();
        const first = await some(session.generate(PROMPT, { ...SAMPLING, maxTokens: MOST }), cut);
        if (!cut) {
          await rejects(some(session.resume()), 'HYP_E_STATE', /no answer/);
          continue;
        }
        const state = await session.save();
        assert.ok(state instanceof Uint8Array && state.length > 1000);
        const rest = MOST - cut;
        for (const other of hosts) {
          const restored = await models.get(other.name).restore(state);
          const second = await some(restored.resume({ maxTokens: rest }));
          assert.deepEqual(tokens([...first, ...second]), tokens(want));
          assert.equal(text([...first, ...second]), text(want), `after ${cut} in ${other.name}`);
          assert.equal(second.at(-1).finish, want.at(-1).finish);
          assert.equal(second.at(-1).usage.answerTokens, want.length);
          await restored.close();
        }
        const second = await some(session.resume({ maxTokens: rest }));
        assert.equal(text([...first, ...second]), text(want), `after ${cut}, in the same session`);
        assert.deepEqual(tokens([...first, ...second]), tokens(want));
        await session.close();
      }
    });

    test('again and again, with a save between, one token at a time', async () => {
      const pieces = [];
      let state = null;
      for (let i = 0; i < 12; i++) {
        const model = models.get(hosts[i % hosts.length].name);
        const session = await own(state ? model.restore(state) : model.session());
        const answer = state
          ? session.resume({ maxTokens: 1 + (i % 3) })
          : session.generate(PROMPT, { ...SAMPLING, maxTokens: 2 });
        pieces.push(...(await some(answer)));
        state = await session.save();
      }
      assert.deepEqual(tokens(pieces), tokens(want).slice(0, pieces.length));
      assert.ok(text(want).startsWith(text(pieces).slice(0, -8)), text(pieces));
    });

    test('an abort at any moment loses nothing', async () => {
      const model = models.get(name);
      for (let turns = 0; turns < 14; turns++) {
        const session = await model.session();
        const stop = new AbortController();
        const first = [];
        const pump = async () => {
          for (let i = 0; i < turns * 3; i++) await null;
          if (turns % 2) await new Promise(resolve => setTimeout(resolve, turns / 4));
          stop.abort();
        };
        const options = { ...SAMPLING, maxTokens: MOST, signal: stop.signal };
        const listen = async () => {
          for await (const piece of session.generate(PROMPT, options)) first.push(piece);
        };
        const [over] = await Promise.allSettled([listen(), pump()]);
        if (over.status === 'rejected') assert.equal(over.reason.name, 'AbortError');
        if (over.status === 'rejected' && first.length) {
          const restored = await model.restore(await session.save());
          const rest = MOST - first.length;
          for (const one of [restored, session]) {
            const all = [...first, ...(await some(one.resume({ maxTokens: rest })))];
            assert.equal(text(all), text(want), `aborted after ${first.length}`);
            assert.deepEqual(tokens(all), tokens(want));
          }
          await restored.close();
        }
        await session.close();
      }
    });

    test('a text goes on: append, tokens, fork', async () => {
      const model = models.get(name);
      const session = await own(model.session());
      await some(session.generate(PROMPT, { temperature: 0, maxTokens: 9 }));
      const restored = await model.restore(await session.save());
      assert.deepEqual(await restored.tokens(), await session.tokens());
      const fork = await own(restored.fork());
      const more = { append: true, temperature: 0, maxTokens: 12 };
      const told = [];
      for (const one of [session, restored, fork])
        told.push(await some(one.generate(' The end.', more)));
      assert.equal(text(told[1]), text(told[0]));
      assert.equal(text(told[2]), text(told[0]));
      assert.ok(told[1].at(-1).usage.reusedTokens > 8);
      assert.deepEqual(await restored.tokens(), await session.tokens());
      await restored.close();
      await rejects(restored.save(), 'HYP_E_STATE', /closed/);
    });

    test('what can not be restored is refused with what to do', async () => {
      const model = models.get(name);
      const session = await own(model.session());
      await some(session.generate(PROMPT, { maxTokens: 30, temperature: 0 }));
      const state = await session.save();
      await rejects(model.restore(state.subarray(0, 99)), 'HYP_E_FORMAT', /damaged/);
      await rejects(model.restore(new Uint8Array(3)), 'HYP_E_FORMAT', /no state/);
      await rejects(model.restore('x'), 'HYP_E_ARGUMENT', /Uint8Array that session.save gave/);
      await rejects(model.restore(state, { context: 16 }), 'HYP_E_CONTEXT', /one of 256/);
      await rejects(model.restore(state, { cache: 'q8_0' }), 'HYP_E_ARGUMENT', /cache 'f16'/);
      await rejects(model.restore(state, { seed: 1 }), 'HYP_E_ARGUMENT', /no option 'seed'/);
      await rejects(some(session.resume({ seed: 1 })), 'HYP_E_ARGUMENT', /no option 'seed'/);
      const answer = session.generate(PROMPT, { maxTokens: 5 });
      await answer.next();
      await rejects(session.save(), 'HYP_E_STATE', /under way/);
      await rejects(some(session.resume()), 'HYP_E_STATE', /under way/);
      await answer.return();
      await session.save();
      await some(session.generate(PROMPT, { temperature: 0, stop: 'a', maxTokens: 200 }));
      await rejects(some(session.resume()), 'HYP_E_STATE', /has ended/);
    });

    test('a context shifts', async () => {
      const model = models.get(name);
      const session = await own(model.session({ context: 48, contextShift: { keep: 5 } }));
      const plain = { temperature: 0, repeatPenalty: 1.3, maxTokens: 130 };
      const told = await some(session.generate(PROMPT, plain));
      const { usage, finish } = told.at(-1);
      assert.ok(finish === 'end' || usage.contextShifts >= 3, JSON.stringify(usage));
      assert.ok((await session.tokens()).length <= 48);
      const again = await own(model.session({ context: 48, contextShift: { keep: 5 } }));
      const first = await some(again.generate(PROMPT, plain), 70);
      const restored = await model.restore(await again.save());
      const second = await some(restored.resume({ maxTokens: 60 }));
      assert.equal(text([...first, ...second]), text(told));
      const short = await own(model.session({ context: 48 }));
      assert.equal((await some(short.generate(PROMPT, plain))).at(-1).finish, 'context');
      const refused = (shift, message) =>
        rejects(model.session({ context: 48, contextShift: shift }), 'HYP_E_ARGUMENT', message);
      await refused({ keep: 47 }, /keep fewer/);
      await refused({ keep: -1 }, /keep must be a whole number/);
      await refused({ drop: 1 }, /it takes keep/);
      await refused('yes', /true or false/);
    });
  });

test('a text that begins as another one is computed from there on', async () => {
  const engine = await own(createEngine({ threads: 1, worker: false }));
  const prompt = `${'Tom and the red kite went up the hill. '.repeat(5)}Then`;
  const reused = async model => {
    const first = await model.session();
    const told = text(await some(first.generate(prompt, { ...SAMPLING, maxTokens: 9 })));
    const second = await own(model.session());
    const pieces = await some(second.generate(prompt, { ...SAMPLING, maxTokens: 9 }));
    assert.equal(text(pieces), told);
    await first.close();
    await some(second.generate('Something else', { maxTokens: 2 }));
    await second.close();
    const third = await some(model.generate(prompt, { ...SAMPLING, maxTokens: 9 }));
    assert.equal(text(third), told);
    return [pieces.at(-1).usage.reusedTokens, third.at(-1).usage.reusedTokens];
  };
  const { length } = await (await own(engine.open(STORY))).tokenize(prompt);
  assert.deepEqual(await reused(await own(engine.open(STORY))), [length - 1, length - 1]);
  assert.deepEqual(await reused(await own(engine.open(STORY, { promptCache: 0 }))), [0, 0]);
  assert.deepEqual(await reused(await own(engine.open(STORY, { promptCache: '1KB' }))), [
    length - 1, // of a session that lives
    0,
  ]);
  await rejects(
    engine.open(STORY, { promptCache: 'all' }),
    'HYP_E_ARGUMENT',
    /promptCache must be/,
  );
});

test('with a draft model, and an 8-bit cache', async () => {
  const engine = await own(createEngine({ threads: 1, worker: false }));
  const drafting = await own(engine.open(STORY, { context: 256, draft: STORY, cache: 'q8_0' }));
  const plain = await own(engine.open(STORY, { context: 256, cache: 'q8_0' }));
  const whole = await some(plain.generate(PROMPT, { ...SAMPLING, maxTokens: MOST }));
  for (const [from, to] of [
    [drafting, plain],
    [plain, drafting],
    [drafting, drafting],
  ]) {
    const session = await own(from.session());
    const first = await some(session.generate(PROMPT, { ...SAMPLING, maxTokens: MOST }), 11);
    const restored = await own(to.restore(await session.save()));
    const second = await some(restored.resume({ maxTokens: MOST - 11 }));
    assert.equal(text([...first, ...second]), text(whole));
  }
});
