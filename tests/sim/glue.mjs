// A simulation of schedules through the glue: from one seed a host with models in this thread and
// in workers, in engines of their own or together in one, memory limits, threads, policies, drafts,
// look-ups, cache formats, slow and failing sources and such that never answer, servers that break
// off, are busy or know no parts, and callers who do several things at once, keep sessions and fork
// them, inspect and quantize meanwhile, throw from their callbacks, at once or later, break off,
// abort for reasons of their own and close in the middle. Oracle: each answer, vector and score
// equals that of the same call alone in a fresh engine, to the bit; every refusal is one that can
// be, with a message, and every abort rejects with its reason; nothing hangs; when all is closed no
// descriptor, worker, source or answer of a server is left.
// usage: glue.mjs [--seeds A..B | N] [--seconds S] [--verbose]
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import threads from 'node:worker_threads';
import { HyperionError, createEngine, inspect, open, quantize } from 'hyperion-runtime';
import { PATIENCE } from '../../glue/source/retry.js';
import { makeSimModels } from '../tools/models.mjs';
import { Random } from '../tools/random.mjs';
import { startRangeServer } from '../tools/range_server.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const SEED_MS = 60000; // a seed takes a tenth of a second: one that takes longer hangs
// of the event loop, between the aborts that end what waits for a source that never answers
const STUCK_TURNS = 40;
const READS = 4; // as src/nn/weights.h has them

const turn = () => new Promise(resolve => setImmediate(resolve));
const turns = async n => {
  for (let i = 0; i < n; i++) await turn();
};

/** Workers that live. */
const workers = new Set();
const RealWorker = threads.Worker;
threads.Worker = class extends RealWorker {
  constructor(url, options) {
    super(url, options);
    workers.add(this);
    this.on('exit', () => workers.delete(this));
  }
};
syncBuiltinESMExports();
/** What is open, by number. */
const descriptors = () =>
  new Map(
    readdirSync('/proc/self/fd').flatMap(fd => {
      try {
        return [[fd, readlinkSync(`/proc/self/fd/${fd}`)]];
      } catch {
        return []; // the one that lists them
      }
    }),
  );

// ---- What there is to ask, and what it gives alone

const MODELS = makeSimModels(join(root, 'build/models'));
const STORY = join(root, 'models/story.gguf');
const DRAFT = MODELS.at(-1);
const bytesOf = new Map();
const load = path => bytesOf.get(path) ?? bytesOf.set(path, readFileSync(path)).get(path);

// A server for all seeds. What goes wrong with an answer is told by its address, and by how often
// that has been asked for.
PATIENCE.baseMs = 1; // of this thread; workers wait as users' do
const server = await startRangeServer();
server.unref();
const asked = new Map();
server.fault = ({ query }) => {
  const times = (asked.get(query) ?? 0) + 1;
  asked.set(query, times);
  const [how, seed] = query.split('-');
  if (how === 'cut' && times % 2) return { cut: (Number(seed) * times * 7919) % 200000 };
  if (how === 'busy' && times % 3 === 1) return { status: 503 };
  return how === 'whole' ? { whole: true } : null;
};

const modules = new Map();
/** One compiled module for all engines. @param {boolean} shared */
const moduleOf = async shared => {
  const file = shared ? 'hyperion-mt-simd.wasm' : 'hyperion.wasm';
  if (!modules.has(file))
    modules.set(file, await WebAssembly.compile(readFileSync(join(root, 'dist', file))));
  return modules.get(file);
};

const PROMPTS = [
  [1, 5, 6, 7, 5, 6, 7, 5, 6],
  [1, 5, 6, 7, 5, 6, 9],
  [1, 40],
  [1, 300, 17, 90, 33, 12, 250, 8, 61, 77, 5, 4],
  [1],
  'one fox and an owl',
  'a',
];
const SAMPLINGS = [
  { temperature: 0 },
  { temperature: 1, seed: 1 },
  { temperature: 1, seed: 2, topK: 20, topP: 0.9 },
  { temperature: 0, repeatPenalty: 1.3 },
  { temperature: 0.7, mirostat: 3, seed: 3 },
  { temperature: 0, dryMultiplier: 2, dryPenaltyLast: 20 },
  { temperature: 1, xtcProbability: 0.5, xtcThreshold: 0.01, seed: 4 },
];
const STOPS = [[], [], ['a', 'zz'], ['e']];
const LENGTHS = [0, 3, 11, 24];
const SCORED = [[1, 5, 6, 7, 8], [1, 300, 17, 90, 33, 12, 250, 8, 61, 77, 5, 4], [9]];
const TEXTS = ['one fox and an owl', 'a', 'the rain'];
const POOLINGS = ['mean', 'cls', 'last'];
const TALKS = [
  [{ role: 'user', content: 'one fox and an owl' }],
  [{ role: 'user', content: [{ type: 'text', text: 'the rain' }] }],
  [
    { role: 'system', content: 'a' },
    { role: 'user', content: 'b' },
  ],
];
/** With a callback that may throw. */
const CALLING = ['score', 'complete', 'chatComplete', 'quantize'];

/** Why something is aborted: what the platform says, or the caller's own. */
const reasonOf = (random, about) => random.of([undefined, about, new Error(about), 0]);

/** @type {Map<string, Promise<any>>} */
const oracles = new Map();
/** The same call in a fresh engine: one thread, no limit, nothing drafted. */
function alone(path, { context, cache }, kind, what) {
  const key = JSON.stringify([path, context, cache, kind, what]);
  if (!oracles.has(key)) {
    const ask = async () => {
      const own = { inspect, quantize };
      if (kind in own) return perform(own, kind, what, {});
      const model = await open(path, {
        wasm: await moduleOf(false),
        threads: 1,
        context,
        cache,
        worker: false,
      });
      const result = await perform(model, kind, what, {});
      await model.close();
      return result;
    };
    oracles.set(key, ask());
  }
  return oracles.get(key);
}

/** Does what is asked; `each` is called in every callback, and after every piece. */
async function perform(model, kind, what, { signal, purpose, each = () => {} }) {
  switch (kind) {
    case 'generate': {
      const told = [];
      const answer = model.generate(what.prompt, {
        append: what.append,
        ...what.sampling,
        stop: what.stop,
        maxTokens: what.maxTokens,
        purpose,
        signal,
      });
      for await (const { usage, ...piece } of answer) {
        if (Boolean(usage) !== Boolean(piece.finish))
          throw new Error(`usage ${usage} with finish '${piece.finish}'`);
        told.push(piece);
        if (each(told) === 'break') return { told, broken: true };
      }
      return { told };
    }
    case 'score': {
      const rows = [];
      await model.score(
        what.tokens,
        (position, values) => {
          if (position !== rows.length)
            throw new Error(`position ${position} after ${rows.length - 1}`);
          rows.push(Buffer.from(values.slice().buffer).toString('base64'));
          return each(rows);
        },
        { signal },
      );
      return { rows };
    }
    case 'inspect':
      return { facts: await model.inspect(what.path, { signal }) };
    case 'quantize': {
      const parts = [];
      const write = data => {
        parts.push(data);
        return each(parts);
      };
      await model.quantize(what.path, what.format, write, { signal });
      return { file: Buffer.concat(parts).toString('base64') };
    }
    case 'complete':
    case 'chatComplete': {
      const told = [];
      const first = kind === 'complete' ? what.prompt : what.messages;
      const { text, finish, usage } = await model[kind](first, {
        append: what.append,
        ...what.sampling,
        stop: what.stop,
        maxTokens: what.maxTokens,
        purpose,
        signal,
        onPiece: ({ usage: _, ...piece }) => {
          told.push(piece);
          return each(told);
        },
      });
      const { promptTokens, reusedTokens, answerTokens } = usage;
      if (told.map(piece => piece.text).join('') !== text)
        throw new Error(`'${text}' is not what its pieces are: ${JSON.stringify(told)}`);
      return { told, text, finish, answerTokens, promptTokens: promptTokens + reusedTokens };
    }
    case 'embeds': {
      const vectors = await model.embed(what.texts, { pooling: what.pooling, signal });
      return { vectors: vectors.map(vector => Array.from(vector)) };
    }
    case 'embed':
      return {
        vector: Array.from(await model.embed(what.text, { pooling: what.pooling, signal })),
      };
    default:
      return { tokens: await model.tokenize(what.text, { signal }) };
  }
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// ---- A seed

class Broken extends Error {}

class Host {
  /** @param {number} seed @param {(line: string) => void} say */
  constructor(seed, say) {
    this.random = new Random(seed * 2654435761);
    this.say = say;
    /** @type {Set<{what: string, stop: AbortController | null}>} */
    this.underway = new Set();
    /** @type {any} an engine of several models; null: each has its own */
    this.shared = null;
    this.stuck = 0; // reads that never answer
    this.over = false;
  }

  fail(message) {
    throw new Broken(message);
  }

  /** A source for `path`, and what may come of it. */
  source(path, guest, inWorker) {
    const random = this.random.fork();
    const own = ['own', 'own', 'slow', 'slow', 'slow', 'failing', 'stuck'];
    const near = ['path', 'bytes', 'blob', inWorker ? 'stream' : 'path'];
    const kind = random.of([...near, 'served', ...own]);
    guest.kinds.push(kind);
    const data = load(path);
    if (kind === 'stream') {
      const stream = new Blob([data]).stream();
      return random.chance(50) ? stream : new Response(stream);
    }
    if (kind === 'path') return path;
    if (kind === 'served') {
      const place = `/${path.split('/').at(-1)}`;
      server.put(place, data);
      return `${server.origin}${place}?${random.of(['fine', 'cut', 'busy', 'whole'])}-${random.draw()}`;
    }
    if (kind === 'bytes') return new Uint8Array(data);
    if (kind === 'blob') return new Blob([data]);
    if (kind === 'failing') guest.fails = true;
    const first =
      kind === 'failing' || kind === 'stuck' ? 1 + random.below(random.of([6, 60, 400])) : Infinity;
    const last = first + random.of([1, 3]);
    const wrong = random.of(['throw', 'reject', 'undefined', 'short', 'late']);
    const state = { reads: 0, closed: 0 };
    guest.sources.push(state);
    return {
      size: data.length,
      read: (offset, count) => {
        if (state.closed) this.problem ??= new Broken('a source is read after it was closed');
        const out = data.subarray(offset, offset + count);
        const reads = ++state.reads;
        if (!guest.calm && reads >= first && reads < last) {
          if (kind === 'stuck') return (this.stuck++, new Promise(() => {}));
          if (wrong === 'throw') throw new Error('the disk is gone');
          if (wrong === 'reject') return Promise.reject(new Error('the disk is gone'));
          if (wrong === 'undefined') return Promise.resolve(undefined);
          if (wrong === 'short') return Promise.resolve(out.subarray(1));
          return turns(3).then(() => Promise.reject(new Error('the disk is gone')));
        }
        if (kind === 'own' || guest.calm) return out;
        const wait = random.below(5);
        return wait ? turns(wait).then(() => out) : Promise.resolve(out);
      },
      close: () => {
        state.closed++;
      },
    };
  }

  /** An engine's options. @param {number} limit of memory, where there is one */
  async engineOptions(random, limit, inWorker) {
    const count = random.chance(25) ? 2 : 1;
    return {
      wasm: await moduleOf(count > 1),
      threads: count,
      policy: random.of(['intent', 'round-robin']),
      memory: random.chance(60) ? limit : undefined,
      worker: inWorker,
    };
  }

  modelOptions(random) {
    return {
      context: random.of([24, 64]),
      batch: random.of([1, 5, 8, 16]),
      cache: random.of(['f16', 'f16', 'q8_0']),
      lookup: random.chance(30) ? 1 + random.below(7) : undefined,
      profile: random.chance(10),
      progressive: random.chance(30),
    };
  }

  /** What a model needs, or a little less, or more. */
  limitOf(random, path) {
    return path === STORY
      ? 4.2e6 + random.below(3e6)
      : 1.6e6 + random.below(random.of([1.2e6, 2.4e6]));
  }

  /** An engine for several guests. @param {number} count */
  async share(count) {
    const random = this.random.fork();
    const limit = count * (0.8e6 + random.below(2.4e6));
    const options = await this.engineOptions(random, limit, random.chance(12));
    const { wasm, ...told } = options;
    this.say(`an engine for ${count} models ${JSON.stringify(told)}`);
    this.shared = { engine: await createEngine(options), options, guests: [], most: 0 };
    if (random.chance(12))
      this.later(random.below(200), () => {
        this.say('the engine is closed');
        for (const guest of this.shared.guests) guest.closing = true;
        this.shared.closing = true;
        this.shared.engine.close();
      });
  }

  /** May it have failed like that? */
  judge(error, { what, guest, stop, own, wrong }) {
    if (error instanceof Broken) throw error;
    const reason =
      own && error === own.thrown ? 'its own error' : this.refusal(error, guest, stop, wrong);
    if (!reason) this.fail(`${what}: ${error?.stack ?? error}`);
    this.say(`${what}: ${reason}`);
  }

  refusal(error, guest, stop, wrong) {
    if (stop?.signal.aborted && error === stop.signal.reason) return 'aborted';
    if (!(error instanceof HyperionError) || error.message.length < 6) return '';
    const can =
      (error.code === 'HYP_E_STATE' && guest.closing && /closed/.test(error.message)) ||
      (error.code === 'HYP_E_NOMEM' && guest.options.memory) ||
      (error.code === 'HYP_E_IO' &&
        guest.fails &&
        (!guest.calm || guest.unloaded) &&
        /the disk is gone|undefined where|gave \d+ of/.test(error.message)) ||
      (error.code === 'HYP_E_CANCELLED' && guest.unloaded) ||
      (error.code === 'HYP_E_ARGUMENT' && wrong);
    return can ? error.code : '';
  }

  /** Waits for what may be aborted when it hangs on a stuck source. */
  async under(what, stop, act) {
    const entry = { what, stop };
    this.underway.add(entry);
    try {
      return await act();
    } finally {
      this.underway.delete(entry);
    }
  }

  async guest(index) {
    const random = this.random.fork();
    const { shared } = this;
    const inWorker = shared ? shared.options.worker : random.chance(12);
    const path = random.chance(4) ? STORY : random.of(MODELS.slice(0, -1));
    const guest = {
      index,
      path,
      kinds: [],
      sources: [],
      fails: false,
      closing: Boolean(shared?.closing),
      calm: false,
      unloaded: false, // its weights were still coming, and have not all come
      options: /** @type {any} */ ({}),
      model: null,
      most: 0,
      running: 0,
      sessions: 0,
    };
    shared?.guests.push(guest);
    const limit = this.limitOf(random, path);
    const ofEngine = shared ? shared.options : await this.engineOptions(random, limit, inWorker);
    const ofModel = this.modelOptions(random);
    guest.options = { ...ofEngine, ...ofModel };
    const source = this.source(path, guest, inWorker);
    const draft =
      path !== STORY && random.chance(20)
        ? this.source(random.chance(70) ? DRAFT : path, guest, inWorker)
        : undefined;
    if (draft && ofEngine.memory && !shared) guest.options.memory = ofEngine.memory += 0.4e6;
    guest.draft = draft;
    const { wasm, ...told } = guest.options;
    const what = `model ${index} (${path.split('/').at(-1)} from ${guest.kinds.join(' and ')})`;
    this.say(`${what} ${JSON.stringify(told)}`);
    const stop = random.chance(12) || guest.kinds.includes('stuck') ? new AbortController() : null;
    const own = random.chance(6) ? { thrown: null } : null;
    let calls = random.below(20);
    const later = random.chance(30);
    const onProgress = () => {
      if (!own || calls-- !== 0) return;
      own.thrown = new Error('no display');
      if (later) return Promise.reject(own.thrown);
      throw own.thrown;
    };
    if (stop && !guest.kinds.includes('stuck'))
      this.later(random.below(12), () => stop.abort(reasonOf(random, 'no more')));
    try {
      guest.model = await this.under(what, stop, () => {
        const asked = { ...ofModel, draft, onProgress, signal: stop?.signal };
        return shared ? shared.engine.open(source, asked) : open(source, { ...ofEngine, ...asked });
      });
      if (own?.thrown && !ofModel.progressive)
        this.fail(`${what}: opened, although onProgress has thrown`);
      if (stop?.signal.aborted && !inWorker) this.say(`${what}: open, just before the abort`);
    } catch (error) {
      this.judge(error, { what: `opening ${what}`, guest, stop, own });
    }
    if (!guest.model) this.checkClosed(guest, what);
    else if (ofModel.progressive) this.loads(guest, what, stop, own);
    return guest;
  }

  /** Weights that come while calls are made, or do not. */
  async loads(guest, what, stop, own) {
    try {
      await this.under(`loading ${what}`, stop, () => guest.model.loaded);
      if (own?.thrown) this.fail(`${what}: loaded, although onProgress has thrown`);
      this.say(`${what}: loaded`);
    } catch (error) {
      guest.unloaded = true;
      try {
        this.judge(error, { what: `loading ${what}`, guest, stop, own });
      } catch (problem) {
        this.problem ??= problem;
      }
    }
  }

  later(n, act) {
    turns(n).then(() => {
      if (!this.over) act();
    });
  }

  request(random, guest, kind = '') {
    kind ||= random.of([
      'generate',
      'generate',
      'generate',
      'complete',
      guest.path === STORY ? 'complete' : 'chatComplete', // which has no template
      'score',
      'embed',
      'embeds',
      'tokenize',
    ]);
    const answer = () => ({
      sampling: random.of(SAMPLINGS),
      stop: random.of(STOPS),
      maxTokens: random.of(LENGTHS),
    });
    const what = {
      generate: () => ({ prompt: random.of(PROMPTS), ...answer() }),
      complete: () => ({ prompt: random.of(PROMPTS), ...answer() }),
      chatComplete: () => ({ messages: random.of(TALKS), ...answer() }),
      score: () => ({ tokens: random.of(SCORED) }),
      embed: () => ({ text: random.of(TEXTS), pooling: random.of(POOLINGS) }),
      embeds: () => ({
        texts: Array.from({ length: random.below(4) }, () => random.of(TEXTS)),
        pooling: random.of(POOLINGS),
      }),
      tokenize: () => ({ text: random.of(TEXTS) }),
    }[kind]();
    return { kind, what };
  }

  /** Has the engine of several models do a job meanwhile. */
  job(guest, random) {
    const path = random.of(MODELS.slice(0, -1));
    const kind = random.of(['inspect', 'quantize']);
    const what = kind === 'inspect' ? { path } : { path, format: random.of(['q8_0', 'q4_0']) };
    return this.ask(guest, random, { kind, what, of: this.shared.engine });
  }

  /**
   * A text of one's own, with a fork perhaps: it goes on from what it has, and is what the whole of
   * it would be alone.
   */
  async talk(guest, random, session = null, rounds = 1 + random.below(3)) {
    const what = `model ${guest.index}: a session`;
    guest.sessions++;
    try {
      session ??= await guest.model.session();
      for (; rounds > 0; rounds--) {
        const text = await session.tokens();
        const more = text.length ? [1 + random.below(60), 5] : random.of(PROMPTS.slice(0, 5));
        const whole = [...text, ...more];
        if (whole.length >= guest.options.context) break;
        const kind = random.of(['generate', 'generate', 'complete']);
        const request = this.request(random, guest, kind);
        await this.ask(guest, random, {
          kind,
          what: { ...request.what, prompt: whole },
          of: session,
          asked: text.length && random.chance(70) ? { prompt: more, append: true } : {},
        });
        const told = await session.tokens();
        if (!same(told.slice(0, whole.length), whole) && !same(told, text))
          this.fail(`${what} has ${told}, asked for ${whole}`);
        if (random.chance(25)) {
          const fork = await session.fork();
          if (!same(await fork.tokens(), told)) this.fail(`${what}: its fork has another text`);
          await Promise.all([
            this.talk(guest, random.fork(), fork, rounds - 1),
            this.talk(guest, random.fork(), session, rounds - 1),
          ]);
          break;
        }
      }
    } catch (error) {
      this.judge(error, { what, guest });
    } finally {
      // One that is left open would keep its memory: only where there is enough.
      if (guest.options.memory || random.chance(70)) await session?.close();
    }
  }

  /** An answer that is broken off again and again, and goes on, perhaps from a saved state. */
  async wander(guest, random) {
    const { what } = this.request(random, guest, 'generate');
    const about = `model ${guest.index}: an answer that wanders, ${JSON.stringify(what)}`;
    const want = await alone(guest.path, guest.options, 'generate', what);
    const told = [];
    let session;
    guest.sessions += 2; // for a moment
    try {
      const { prompt, sampling, stop, maxTokens } = what;
      session = await guest.model.session();
      let answer = session.generate(prompt, { ...sampling, stop, maxTokens });
      for (;;) {
        const most = told.length + 1 + random.below(5);
        for await (const { usage, ...piece } of answer) {
          told.push(piece);
          if (told.length >= most) break;
        }
        if (!told.length || told.at(-1).finish || told.length >= maxTokens) break;
        await turns(random.below(4));
        if (random.chance(60)) {
          const next = await guest.model.restore(await session.save());
          await session.close();
          session = next;
        }
        answer = session.resume({ maxTokens: maxTokens - told.length });
      }
      if (!same(told, want.told))
        this.fail(`${about}:\n  ${JSON.stringify(told)}\n  alone:\n  ${JSON.stringify(want.told)}`);
      this.say(`${about}: right`);
    } catch (error) {
      this.judge(error, { what: about, guest });
    } finally {
      await session?.close();
    }
  }

  /**
   * Asks for one thing, perhaps breaking it off, and checks what came.
   * @param {any} guest @param {Random} random
   * @param {{kind: string, what: any, of?: any, asked?: any}} [request] of: the session or engine
   *   that is asked; asked: what is said in place of a part of `what`
   */
  async ask(
    guest,
    random,
    { kind, what, of = guest.model, asked = {} } = this.request(random, guest),
  ) {
    const about = `model ${guest.index}: ${kind} ${JSON.stringify({ ...what, ...asked })}`;
    const stuck = guest.kinds.includes('stuck') && !guest.calm;
    const wrong = !guest.calm && random.chance(3);
    const request = wrong
      ? {
          ...what,
          ...asked,
          sampling: { temperature: -1 },
          pooling: 'max',
          text: 7,
          texts: [7],
          tokens: [1.5],
          path: 7,
          messages: 7,
        }
      : { ...what, ...asked };
    const stop = stuck || (!guest.calm && random.chance(20)) ? new AbortController() : null;
    const calling = !guest.calm && CALLING.includes(kind);
    const own = calling && random.chance(25) ? { thrown: null, later: random.chance(40) } : null;
    const reason = reasonOf(random, about);
    const breaks =
      !guest.calm && kind === 'generate' && random.chance(15) ? 1 + random.below(6) : 0;
    const after = random.below(10);
    const byTurns = stop && !stuck && random.chance(50);
    if (byTurns) this.later(random.below(30), () => stop.abort(reason));
    const seen = [];
    const each = all => {
      if (kind === 'generate') seen.push(all.at(-1).token);
      if (own && !own.thrown && all.length > after % (what.tokens?.length ?? 4)) {
        own.thrown = new Error('I have seen enough');
        if (!own.later) throw own.thrown;
        return turns(after).then(() => Promise.reject(own.thrown));
      }
      if (stop && !stuck && !byTurns && all.length > after) stop.abort(reason);
      return breaks && all.length >= breaks ? 'break' : '';
    };
    const purpose = random.of(['interactive', 'interactive', 'batch', 'background']);
    guest.running++;
    guest.most = Math.max(guest.most, guest.running);
    let result;
    try {
      result = await this.under(about, stop, () =>
        perform(of, kind, request, { signal: stop?.signal, purpose, each }),
      );
    } catch (error) {
      if (guest.calm && error.code === 'HYP_E_NOMEM') return { about, kind, what, refused: error };
      this.judge(error, { what: about, guest, stop, own, wrong });
    } finally {
      guest.running--;
    }
    if (wrong) {
      if (result) this.fail(`${about}: wrong options were taken`);
      return {};
    }
    if (own?.thrown && result) this.fail(`${about}: done, although its callback has thrown`);
    const want = await alone(guest.path, guest.options, kind, what);
    if (result && !result.broken && !same(result, want))
      this.fail(
        `${about}, purpose ${purpose}:\n  ${JSON.stringify(result).slice(0, 600)}\n  alone:\n  ${JSON.stringify(want).slice(0, 600)}`,
      );
    if (
      kind === 'generate' &&
      !same(
        seen,
        want.told.slice(0, seen.length).map(p => p.token),
      )
    )
      this.fail(`${about}: its beginning is ${seen}, alone ${want.told.map(p => p.token)}`);
    if (result) this.say(`${about}: right`);
    return {};
  }

  async look(guest) {
    try {
      const { memory, weights, fibers } = await guest.model.stats();
      const { limitBytes, usedBytes, peakBytes } = memory;
      if (limitBytes && (usedBytes > limitBytes || peakBytes > limitBytes))
        this.fail(`${usedBytes} bytes, at most ${peakBytes}, under a limit of ${limitBytes}`);
      if (weights.kept > weights.pages || weights.resident > weights.pages)
        this.fail(`weights: ${JSON.stringify(weights)}`);
      const here = this.shared ? this.shared.guests : [guest];
      // Its calls, its sessions, and the job that opens it.
      const most = here.reduce((sum, one) => sum + one.most + one.sessions, 0);
      const jobs = this.shared ? here.length + this.shared.most : 0;
      const readers = 2 * READS * here.length; // of models that load, each with its draft
      if (fibers.count > most + jobs + readers)
        this.fail(
          `${fibers.count} fibers, and never more than ${most} calls, ${jobs} jobs and ${readers} readers`,
        );
      const heat = await guest.model.heat();
      if (heat.length !== weights.pages)
        this.fail(`heat of ${heat.length} pages, of ${weights.pages}`);
    } catch (error) {
      this.judge(error, { what: `model ${guest.index}: stats`, guest });
    }
  }

  /** What was read was closed, once. */
  checkClosed(guest, what) {
    const wrong = guest.sources.find(s => s.closed > 1 || (s.reads > 0 && s.closed === 0));
    if (wrong)
      this.fail(
        `${what}: a source was read ${wrong.reads} times, and closed ${wrong.closed} times`,
      );
  }

  async close(guest) {
    guest.closing = true;
    await guest.model.close();
    this.checkClosed(guest, `model ${guest.index}`);
  }

  async caller(guest, random) {
    for (let left = 1 + random.below(3); left > 0; left--) {
      await turns(random.below(8));
      if (random.chance(15)) await this.look(guest);
      else if (random.chance(20)) await this.talk(guest, random);
      else if (!guest.kinds.includes('stuck') && random.chance(15))
        await this.wander(guest, random);
      else if (this.shared && random.chance(8)) {
        this.shared.most++;
        await this.job(guest, random);
      } else if (random.chance(2)) await this.close(guest);
      else await this.ask(guest, random);
    }
  }

  /** Aborts, one after the other, what may hang on sources that never answer. */
  async janitor() {
    for (let quiet = 0; !this.over; quiet++) {
      await turn();
      if (this.stuck && quiet >= STUCK_TURNS) {
        quiet = 0;
        for (const entry of this.underway)
          if (entry.stop && !entry.stop.signal.aborted) {
            this.say(`aborted: ${entry.what}`);
            entry.stop.abort('it takes too long');
            break;
          }
      }
    }
  }

  async run() {
    const { random } = this;
    const janitor = this.janitor();
    const decoys = [];
    try {
      const count = random.of([1, 1, 1, 2, 3]);
      if (random.chance(count > 1 ? 60 : 10)) await this.share(count);
      /** @type {Promise<void>[]} */
      const all = [];
      for (let i = 0; i < count; i++) {
        const callers = Array.from({ length: 1 + random.below(random.of([3, 6])) }, () =>
          random.fork(),
        );
        all.push(
          this.guest(i).then(async guest => {
            // What was given back is soon another file's.
            for (let k = 0; k < 2; k++) decoys.push(openSync(DRAFT));
            if (!guest.model) return;
            await Promise.all(callers.map(caller => this.caller(guest, caller)));
            await this.end(guest);
          }),
        );
        all[i].catch(() => {}); // looked at below
        if (random.chance(50)) await turns(random.below(20));
      }
      const results = await Promise.allSettled(all);
      for (const { reason } of /** @type {any[]} */ (results)) if (reason) throw reason;
      if (this.shared) {
        if (!this.shared.closing) {
          const { models } = await this.shared.engine.stats();
          if (models) this.fail(`${models} models are open when all are closed`);
        }
        await this.shared.engine.close();
        for (const guest of this.shared.guests) this.checkClosed(guest, `model ${guest.index}`);
      }
      if (this.problem) throw this.problem;
    } finally {
      this.over = true;
      await janitor;
      decoys.forEach(fd => closeSync(fd));
    }
  }

  /** With nothing under way and nothing going wrong any more, everything is as it was at first. */
  async end(guest) {
    const random = this.random.fork();
    if (!guest.closing) {
      guest.calm = true; // nothing goes wrong any more
      for (let i = 0; i < 2; i++) {
        const { refused, kind, what, about } = await this.ask(guest, random);
        if (refused) await this.checkRefused(guest, refused, kind, what, about);
      }
      await this.look(guest);
    }
    await this.close(guest);
    await guest.model.close();
    try {
      await guest.model.embed('a');
      this.fail(`model ${guest.index} answers after it was closed`);
    } catch (error) {
      this.judge(error, { what: `model ${guest.index}: after its end`, guest });
    }
  }

  /** Memory is refused with nothing under way: then a fresh engine refuses it as well. */
  async checkRefused(guest, refused, kind, what, about) {
    if (this.shared) return this.say(`${about}: no memory, which others have`);
    const fresh = await open(guest.path, {
      ...guest.options,
      worker: false,
      draft: guest.draft && DRAFT,
    });
    try {
      await perform(fresh, kind, what, {});
    } catch (error) {
      if (error.code === 'HYP_E_NOMEM') return this.say(`${about}: no memory, nor alone`);
      throw error;
    } finally {
      await fresh.close();
    }
    this.fail(
      `${about}: refused with nothing under way, and granted in a fresh engine: ${refused.message}`,
    );
  }
}

/**
 * One seed from beginning to end; throws what it finds, with the seed and the plan.
 * @param {number} seed @param {{verbose?: boolean}} [options]
 */
export async function simulate(seed, { verbose = false } = {}) {
  const trail = [];
  const say = line => {
    trail.push(line);
    if (verbose) console.log(`  ${line}`);
  };
  const before = descriptors();
  const host = new Host(seed, say);
  let watchdog;
  /** @type {(error: unknown) => void} */
  let lost = () => {}; // an error that reached nobody
  const late = new Promise((_, reject) => {
    lost = error => reject(new Broken(`lost: ${/** @type {Error} */ (error)?.stack ?? error}`));
    watchdog = setTimeout(
      () =>
        reject(
          new Broken(`it hangs in ${[...host.underway].map(e => e.what).join('; ') || 'nothing'}`),
        ),
      SEED_MS,
    );
  });
  process.on('unhandledRejection', lost).on('uncaughtException', lost);
  try {
    await Promise.race([host.run(), late]);
    // Node opens /dev/null for itself when it first compiles a module, and keeps connections on
    // which nothing is under way.
    const more = () =>
      [...descriptors()]
        .filter(([fd, name]) => !before.has(fd) && !/^(\/dev\/null|socket:.*)$/.test(name))
        .map(([, name]) => name);
    const left = () => workers.size || server.underway || more().length;
    for (let i = 0; i < 10000 && left(); i++) await turn();
    if (server.underway) throw new Broken(`${server.underway} answers are under way`);
    if (workers.size) throw new Broken(`${workers.size} workers live on`);
    if (more().length) throw new Broken(`descriptors of ${more()} are open`);
  } catch (error) {
    throw new Error(
      `seed ${seed}: ${error instanceof Broken ? error.message : error?.stack}\n${trail
        .slice(-60)
        .map(line => `  ${line}`)
        .join('\n')}\nagain: node tests/sim/glue.mjs --seeds ${seed}..${seed} --verbose`,
    );
  } finally {
    clearTimeout(watchdog);
    process.off('unhandledRejection', lost).off('uncaughtException', lost);
  }
}

/**
 * @param {number} first
 * @param {number} last
 * @param {{seconds?: number, verbose?: boolean}} [options]
 * @returns {Promise<number>} how many seeds ran
 */
export async function simulateAll(first, last, { seconds = Infinity, verbose = false } = {}) {
  const start = performance.now();
  let seed = first;
  for (; seed <= last && performance.now() - start < seconds * 1000; seed++) {
    await simulate(seed, { verbose });
    if (oracles.size > 5000) oracles.clear();
  }
  return seed - first;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { parseArgs } = await import('node:util');
  const { values, positionals } = parseArgs({
    options: {
      seeds: { type: 'string' },
      seconds: { type: 'string' },
      verbose: { type: 'boolean' },
    },
    allowPositionals: true,
  });
  const [from, to] = (values.seeds ?? positionals[0] ?? '150').split('..').map(Number);
  const [first, last] = to === undefined ? (values.seeds ? [from, from] : [1, from]) : [from, to];
  if (!(first >= 0 && last >= first)) {
    console.error('usage: glue.mjs [N | --seeds A..B] [--seconds S] [--verbose]');
    process.exit(2);
  }
  const start = performance.now();
  try {
    const count = await simulateAll(first, last, {
      seconds: Number(values.seconds ?? Infinity),
      verbose: values.verbose,
    });
    console.log(
      `${count} seeds, all right, ${Math.round((count * 60000) / (performance.now() - start))} a minute`,
    );
    process.exit(0);
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
