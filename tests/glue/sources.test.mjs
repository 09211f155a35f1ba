// Sources of every kind, against servers that do everything wrong: each reading ends with the right
// bytes or a clear error, and nothing is left behind.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { execFile } from 'node:child_process';
import fs, { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { HyperionError, inspect, open, quantize } from 'hyperion-runtime';
import { chunked } from '../../glue/source/chunks.js';
import { openSource, openSources } from '../../glue/source/index.js';
import { shardsOf } from '../../glue/source/shards.js';
import { WrongBytes } from '../../glue/source/source.js';
import { startHub } from '../tools/hub_server.mjs';
import { Random } from '../tools/random.mjs';
import { startRangeServer } from '../tools/range_server.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const dir = mkdtempSync(join(tmpdir(), 'hyperion-sources-'));
process.env.HYPERION_CACHE = join(dir, 'cache'); // of what comes from a hub
after(() => rmSync(dir, { recursive: true }));

/** @param {number} length @param {number} [seed] */
function noise(length, seed = 1) {
  const random = new Random(seed);
  return Uint8Array.from({ length }, () => random.draw());
}

const HANG_MS = 60000; // nothing here takes a second: who waits longer waits for ever
/** @template T @param {Promise<T>} promise @returns {Promise<T>} */
const within = promise => {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it hangs')), HANG_MS);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
};
const turn = () => new Promise(resolve => setImmediate(resolve));
const until = async (condition, what) => {
  for (const deadline = performance.now() + HANG_MS; !condition(); await turn())
    assert.ok(performance.now() < deadline, what);
};
const rejects = (promise, code, message = /./) =>
  assert.rejects(within(promise), error => {
    const is = error instanceof HyperionError ? error.code : error.name;
    assert.deepEqual([is, message.test(error.message)], [code, true], error.stack);
    return true;
  });

const SIZE = 400_000;
const bytes = noise(SIZE);
const AT_ONCE = { tries: 4, baseMs: 1, mostMs: 3000, stallMs: 5000 };
/** Small chunks, 16 KiB, and no waiting. */
const SMALL = { window: 2 ** 18, patience: AT_ONCE };

/** Reads all of a source in pieces as the core does, and compares. */
async function readsRight(source, want = bytes, step = 9973) {
  assert.equal(source.size, want.length);
  for (let at = 0; at < want.length; at += step) {
    const count = Math.min(step, want.length - at);
    const got = await within(Promise.resolve(source.read(at, count)));
    if (!Buffer.from(got).equals(want.subarray(at, at + count)))
      assert.fail(`bytes ${at} to ${at + count} are others`);
  }
}
/** @param {any} source @param {any} [options] @param {Uint8Array} [want] */
async function opensRight(source, options = SMALL, want = bytes) {
  const opened = await within(openSource(source, options));
  try {
    await readsRight(opened, want);
  } finally {
    await opened.close();
  }
}

describe('chunks', () => {
  const NAME = 'the transport';
  /** A transport in memory, that counts what it is asked for. */
  function transport(more = {}) {
    const self = {
      name: NAME,
      size: SIZE,
      version: '',
      ranged: true,
      parallel: 2,
      asked: [],
      closed: 0,
      aborted: 0,
      async feed(offset, count, take, signal) {
        self.asked.push([offset, count]);
        signal.addEventListener('abort', () => self.aborted++);
        await turn();
        signal.throwIfAborted();
        for (let at = offset; at < offset + count; at += 5000)
          await take(bytes.slice(at, Math.min(at + 5000, offset + count)));
      },
      close: () => void self.closed++,
      ...more,
    };
    return self;
  }
  const CHUNK = 10_000;
  /** Chunks are XORed on the way, and have a byte more. */
  const place = index => ({ offset: index * (CHUNK + 1), count: CHUNK + 1 });
  const sealed = new Uint8Array((SIZE / CHUNK) * (CHUNK + 1));
  for (let i = 0; i < SIZE / CHUNK; i++)
    sealed.set(
      bytes.subarray(i * CHUNK, (i + 1) * CHUNK).map(byte => byte ^ 0xaa),
      place(i).offset,
    );
  const verifier = (wrong = () => false) => ({
    size: SIZE,
    chunkBytes: CHUNK,
    place,
    async check(index, given) {
      assert.equal(given.length, CHUNK + 1);
      await turn();
      if (wrong(index)) throw new WrongBytes('its hash is another');
      return given.subarray(0, CHUNK).map(byte => byte ^ 0xaa);
    },
  });
  const sealedTransport = () => {
    const one = transport({ size: sealed.length });
    one.feed = async (offset, count, take) => {
      one.asked.push([offset, count]);
      await turn();
      for (let at = offset; at < offset + count; at += 7001)
        await take(sealed.slice(at, Math.min(at + 7001, offset + count)));
    };
    return one;
  };

  test('any order, any size, several at once', async () => {
    const source = chunked(transport(), { window: 2 ** 18 });
    const random = new Random(7);
    for (let round = 0; round < 40; round++)
      await Promise.all(
        Array.from({ length: 1 + random.below(6) }, async () => {
          const offset = random.below(SIZE + 1);
          const count = random.below(Math.min(random.below(2) ? 1e3 : 1e6, SIZE - offset) + 1);
          const got = await source.read(offset, count);
          assert.ok(Buffer.from(got).equals(bytes.subarray(offset, offset + count)));
        }),
      );
    for (const [offset, count] of [
      [SIZE, 1],
      [-1, 2],
      [5, SIZE],
      [NaN, 1],
    ])
      assert.throws(() => source.read(offset, count), /were asked for/);
    await source.close();
  });

  test('readers of one chunk share one fetch, and neighbours one request', async () => {
    const one = transport({ first: 2 ** 17 });
    const source = chunked(one, { window: 2 ** 18 });
    await Promise.all([source.read(0, 10), source.read(3, 500), source.read(16300, 5000)]);
    assert.deepEqual(one.asked[0], [0, 2 ** 17]);
    assert.ok(source.read(100, 1000) instanceof Uint8Array, 'what is there is given at once');
    await readsRight(source);
    const total = one.asked.reduce((sum, [, count]) => sum + count, 0);
    assert.equal(total, SIZE, 'each byte once');
    assert.ok(one.asked.length < 14, `${one.asked.length} requests for 25 chunks`);
    await source.close();
    assert.equal(one.closed, 1);
  });

  test('a chunk is ready as soon as its last byte is, not when its request ends', async () => {
    let goOn;
    const gate = new Promise(resolve => (goOn = resolve));
    const one = transport({ first: 2 ** 17 });
    one.feed = async (offset, count, take) => {
      await take(bytes.subarray(offset, offset + 20_000));
      await gate;
      await take(bytes.subarray(offset + 20_000, offset + count));
    };
    const source = chunked(one, { window: 2 ** 18 });
    await within(Promise.resolve(source.read(0, 16384)));
    let later = false;
    const second = source.read(16384, 16384).then(() => (later = true));
    for (let i = 0; i < 10; i++) await turn();
    assert.equal(later, false);
    goOn();
    await within(second);
    await source.close();
  });

  test('no more is fetched ahead than the window holds; a lone row costs no more than its neighbour', async () => {
    const one = transport();
    const source = chunked(one, { window: 2 ** 18 });
    await source.read(0, 10);
    for (let i = 0; i < 50; i++) await turn();
    const ahead = one.asked.reduce((sum, [, count]) => sum + count, 0);
    assert.ok(ahead <= 5 * 16384, `${ahead} bytes ahead of the first`);
    one.asked.length = 0;
    await source.read(300_000, 10);
    for (let i = 0; i < 50; i++) await turn();
    assert.ok(one.asked.reduce((sum, [, count]) => sum + count, 0) <= 2 * 16384);
    await source.close();
    const none = transport();
    const alone = chunked(none, { window: 2 ** 18, ahead: 0 });
    await alone.read(0, 10);
    for (let i = 0; i < 50; i++) await turn();
    assert.deepEqual(none.asked, [[0, 16384]]);
    await alone.close();
  });

  test('a verifier gives plain bytes; what is wrong is fetched once more, then refused by name', async () => {
    const right = sealedTransport();
    const source = chunked(right, { verify: verifier(), window: 2 ** 18 });
    await readsRight(source);
    await source.close();
    const seen = new Map();
    const once = chunked(sealedTransport(), {
      verify: verifier(index => {
        seen.set(index, (seen.get(index) ?? 0) + 1);
        return index % 3 === 0 && seen.get(index) === 1;
      }),
      window: 2 ** 18,
    });
    await readsRight(once);
    await once.close();
    const never = chunked(sealedTransport(), {
      verify: verifier(index => index === 7),
      window: 2 ** 18,
    });
    await rejects(
      (async () => readsRight(never))(),
      'HYP_E_FORMAT',
      /chunk 7 \(bytes 70007 to 80007\) of the transport is wrong.*fetched again.*hash/,
    );
    assert.ok(Buffer.from(await never.read(80_000, 10)).equals(bytes.subarray(80_000, 80_010)));
    await never.close();
  });

  test('a store is asked first, told what came, and not missed when it fails', async () => {
    const kept = new Map();
    const store = {
      chunkBytes: 16384,
      failing: false,
      closed: 0,
      async get(index) {
        await turn();
        return kept.get(index) ?? null;
      },
      async put(index, given) {
        if (store.failing) throw new Error('no space left');
        kept.set(index, given.slice());
      },
      present: () => kept.size,
      close: async () => void store.closed++,
    };
    const first = transport();
    const source = chunked(first, { store, window: 2 ** 18 });
    await source.read(0, 100_000);
    await source.close();
    const had = kept.size;
    assert.ok(had >= 7 && store.closed === 1);
    const second = transport();
    store.failing = true;
    const again = chunked(second, { store, window: 2 ** 18 });
    await readsRight(again);
    assert.ok(second.asked.every(([offset]) => !kept.has(offset / 16384)));
    assert.equal(kept.size, had);
    await again.close();
    store.failing = false;
    await readsRight(chunked(transport(), { store, window: 2 ** 18 }));
    const offline = transport({ feed: () => Promise.reject(new Error('no network')) });
    await readsRight(chunked(offline, { store, window: 2 ** 18 }));
    assert.equal(offline.asked.length, 0);
  });

  test('who watches sees every chunk, and may end the source', async () => {
    const seen = new Set();
    const watched = chunked(transport(), {
      window: 2 ** 18,
      watch: index => void seen.add(index),
    });
    await readsRight(watched);
    await watched.close();
    assert.equal(seen.size, Math.ceil(SIZE / 16384));
    const own = new WrongBytes('the whole is another');
    const ended = chunked(transport(), {
      window: 2 ** 18,
      watch: async index => {
        if (index === 9) throw own;
      },
    });
    await assert.rejects(readsRight(ended), error => error === own);
    assert.throws(
      () => ended.read(0, 1),
      error => error === own,
    );
    await ended.close();
  });

  test('a failure is for those who wait; others try anew', async () => {
    let failing = true;
    const one = transport();
    const { feed } = one;
    one.feed = (...args) => (failing ? Promise.reject(new Error('not now')) : feed(...args));
    const source = chunked(one, { window: 2 ** 18 });
    await assert.rejects(within(Promise.resolve(source.read(0, 10))), /not now/);
    failing = false;
    await readsRight(source);
    await source.close();
    await assert.rejects(async () => source.read(0, 10), /closed/);
  });

  test('closing ends what is under way', async () => {
    const one = transport({ feed: () => new Promise(() => {}) });
    const { feed } = transport();
    void feed;
    const source = chunked(one, { window: 2 ** 18 });
    const reads = [source.read(0, 10), source.read(200_000, 30_000)].map(read =>
      assert.rejects(within(read), /closed/),
    );
    await turn();
    await source.close();
    await Promise.all(reads);
    assert.equal(one.closed, 1);
  });

  describe('from the front', () => {
    const stream = more => {
      const one = transport({ ranged: false, again: false, given: 0, ...more });
      one.feed = async (offset, count, take, signal) => {
        assert.deepEqual([offset, count], [0, SIZE]);
        one.asked.push([offset, count]);
        one.given = 0;
        for (; one.given < count; one.given += 5000) {
          await turn();
          signal.throwIfAborted();
          await take(bytes.slice(one.given, one.given + 5000));
        }
      };
      return one;
    };

    test('no further than somebody reads, but for what is read ahead', async () => {
      const one = stream();
      const source = chunked(one, { window: 2 ** 18 });
      assert.equal(source.sequential, true);
      await source.read(0, 10);
      for (let i = 0; i < 100; i++) await turn();
      assert.ok(one.given <= 6 * 16384, `${one.given} bytes given`);
      await readsRight(source);
      assert.equal(one.asked.length, 1);
      await source.close();
    });

    test('backwards within the window; beyond it not, or from the front once more', async () => {
      const source = chunked(stream(), { window: 2 ** 17 });
      await source.read(0, 10);
      await source.read(100_000, 50_000);
      assert.ok(
        Buffer.from(await source.read(140_000, 20)).equals(bytes.subarray(140_000, 140_020)),
      );
      await readsRight2(source, 150_000);
      await assert.rejects(within(Promise.resolve(source.read(0, 10))), /read backwards/);
      await source.close();
      const again = stream({ again: true });
      const restarted = chunked(again, { window: 2 ** 17 });
      await restarted.read(200_000, 50_000);
      await readsRight(restarted);
      assert.equal(again.asked.length, 2);
      await restarted.read(0, 10);
      assert.equal(again.asked.length, 3);
      await readsRight2(restarted, 100_000);
      await assert.rejects(
        within(Promise.resolve(restarted.read(0, 10))),
        /from the front 3 times.*raise the memory limit/,
      );
      await restarted.close();
    });

    const readsRight2 = async (source, from) => {
      const got = await source.read(from, SIZE - from);
      assert.ok(Buffer.from(got).equals(bytes.subarray(from)));
    };
  });
});

describe('addresses', () => {
  let server;
  let url;
  before(async () => {
    server = await startRangeServer({ '/file.gguf': bytes });
    url = `${server.origin}/file.gguf`;
  });
  after(() => server.close());
  afterEach(async () => {
    server.fault = () => null;
    server.route = () => false;
    server.ranges = true;
    server.etags = 'strong';
    server.rate = Infinity;
    server.put('/file.gguf', bytes);
    // What was given up may still be on its way.
    for (let i = 0; i < 3; i++) await (await fetch(`${server.origin}/none`)).text();
    await until(() => server.underway === 0, `${server.underway} answers are under way`);
    await until(() => !process.getActiveResourcesInfo().includes('Timeout'), 'a timer is left');
    server.log.length = 0;
  });
  /** What goes wrong with the next answers, one after the other. */
  const faults = (...list) => (server.fault = () => list.shift());
  /** Of all answers but the first. */
  const later = fault => (server.fault = ({ range }) => (/^bytes=0-/.test(range) ? null : fault));

  test('the first request is one for a part, and its bytes are used', async () => {
    await opensRight(url, { patience: AT_ONCE });
    assert.deepEqual(
      server.log.map(({ range }) => range),
      ['bytes=0-4194303'],
    );
    server.log.length = 0;
    await opensRight(url, { ...SMALL, first: 16384 });
    assert.ok(server.log.every(({ range }) => /^bytes=\d+-\d+$/.test(range)));
  });

  test('1,000 cuts at any byte, with parts and without', { timeout: 240000 }, async t => {
    const random = new Random(20);
    const small = noise(60_000, 3);
    server.put('/small.gguf', small);
    let cuts = 0;
    let openings = 0;
    for (; cuts < 1000; openings++) {
      server.ranges = openings % 4 > 0;
      // Fewer in a row than would be given up for.
      let row = 0;
      server.fault = () => {
        if (row > 2 || random.below(10) < 2) {
          row = 0;
          return null;
        }
        row++;
        cuts++;
        return { cut: random.below(random.below(3) ? 5000 : small.length) };
      };
      const source = await within(openSource(`${server.origin}/small.gguf`, SMALL));
      if (server.ranges && random.below(2))
        await Promise.all(
          Array.from({ length: 6 }, async () => {
            const offset = random.below(small.length);
            const count = random.below(small.length - offset) + 1;
            const got = await source.read(offset, count);
            assert.ok(Buffer.from(got).equals(small.subarray(offset, offset + count)));
          }),
        );
      else await readsRight(source, small, 4999);
      await source.close();
    }
    t.diagnostic(`${cuts} cuts, ${openings} openings`);
  });

  /** [what, how the server is made, what comes of it: right, or how it is refused] */
  const CASES = [
    ['no parts', s => (s.ranges = false)],
    [
      'no parts and no length',
      s => {
        s.ranges = false;
        s.fault = () => ({ chunked: true });
      },
    ],
    ['weak tags', s => (s.etags = 'weak')],
    ['no tags', s => (s.etags = 'none')],
    ['busy for a while', () => faults({ status: 503 }, { status: 429 }, null, { status: 500 })],
    ['busy, and says for how long', () => faults({ status: 429, headers: { 'retry-after': '0' } })],
    [
      'busy until a moment that is past',
      () => faults({ status: 503, headers: { 'retry-after': new Date(0).toUTCString() } }),
    ],
    [
      'busy for longer than one waits',
      () => faults({ status: 429, headers: { 'retry-after': '4000' } }),
      /429.*wait for 4000 seconds/,
    ],
    ['always busy', s => (s.fault = () => ({ status: 503 })), /file\.gguf answered 503/],
    ['always busy, later', () => later({ status: 503 }), /file\.gguf answered 503/],
    ['no token', s => (s.fault = () => ({ status: 401 })), /401.*`token`/],
    ['not allowed', s => (s.fault = () => ({ status: 403 })), /403.*`token`/],
    ['not there', s => (s.fault = () => ({ status: 404 })), /404.*is the address right/],
    ['gone later', () => later({ status: 404 }), /404/],
    ['silent, then not', () => faults({ stall: 0 }, { stall: 30_000 }, { stall: -1 })],
    ['always silent', s => (s.fault = () => ({ stall: -1 })), /nothing has come for 0\.2 seconds/],
    ['silent after some bytes, always', s => (s.fault = () => ({ stall: 0 })), /nothing has come/],
    ['a cut right behind the header', () => faults({ cut: 0 }, { cut: 0 })],
    ['nothing but cuts', s => (s.fault = () => ({ cut: 0 })), /could not be fetched/],
    ['shorter than it says', () => faults({ longer: -5, headers: { 'content-length': '400000' } })],
    ['shorter, and says so', s => (s.fault = () => ({ longer: -5 })), null],
    ['later parts that are shorter', () => later({ longer: -5 }), /asked for bytes/],
    ['later parts that are longer', () => later({ longer: 5 }), /asked for bytes/],
    ['longer, without a length', () => later({ longer: 5, chunked: true }), /more bytes than/],
    ['another part than was asked for, at first', () => faults({ shift: 5 })],
    ['another part than was asked for', () => later({ shift: 5 }), /asked for bytes \d+ to/],
    ['no word of which part', s => (s.fault = () => ({ headers: { 'content-range': '' } }))],
    ['nonsense for a part', () => later({ headers: { 'content-range': 'bytes ?-?' } })],
    [
      'a part of unknown size',
      s =>
        (s.fault = ({ range }) =>
          range ? { headers: { 'content-range': range.replace('=', ' ') + '/*' } } : null),
    ],
    [
      'compressed parts',
      () => later({ headers: { 'content-encoding': 'gzip' } }),
      /asked for|could not/,
    ],
    ['the whole in place of a part, once', () => faults(null, { whole: true })],
    ['the whole in place of parts, always', () => later({ whole: true }), /with the whole file/],
    ['an empty file', s => s.put('/file.gguf', new Uint8Array(0)), /is empty/],
    [
      'a redirect',
      s =>
        (s.fault = ({ path }) => (path === '/file.gguf' ? { redirect: '/elsewhere.gguf' } : null)),
    ],
    [
      'a redirect to nowhere',
      s => (s.fault = () => ({ redirect: '/file.gguf' })),
      /could not be fetched/,
    ],
  ];
  for (const [what, make, refusal] of CASES)
    test(`a server: ${what}`, async () => {
      server.put('/elsewhere.gguf', bytes);
      make(server);
      const patience = { ...AT_ONCE, stallMs: 200 };
      const reading = opensRight(url, { window: 2 ** 18, patience, first: 40_000 });
      if (refusal) await rejects(reading, 'HYP_E_IO', refusal);
      else if (refusal === null) await assert.rejects(reading);
      else await within(reading);
    });

  test('no server', async () => {
    const none = await startRangeServer();
    const { origin } = none;
    await none.close();
    await rejects(
      openSource(`${origin}/x.gguf`, SMALL),
      'HYP_E_IO',
      /x\.gguf could not be fetched: .*ECONNREFUSED/,
    );
    await rejects(openSource('gopher://x/y', SMALL), 'HYP_E_ARGUMENT', /gopher:/);
  });

  for (const [what, etags, ranges] of [
    ['by its tag', 'strong', true],
    ['by a weak tag', 'weak', true],
    ['by its size', 'none', true],
    ['from the front', 'strong', false],
  ])
    test(`a file that changes is noticed: ${what}`, async () => {
      server.etags = etags;
      server.ranges = ranges;
      const other = noise(etags === 'none' ? SIZE + 10 : SIZE, 9);
      if (!ranges) faults({ cut: 50_000 });
      const source = await openSource(url, { ...SMALL, first: 30_000 });
      server.put('/file.gguf', other);
      await rejects(readsRight(source), 'HYP_E_IO', /has changed on the server: open it anew/);
      await source.close();
      await opensRight(url, SMALL, other);
    });

  test('If-Range names the first tag', async () => {
    await opensRight(url, { ...SMALL, first: 16384 });
    const conditions = server.log.slice(1).map(({ headers }) => headers['if-range']);
    assert.ok(conditions.length && conditions.every(one => /^"\w+"$/.test(one)), `${conditions}`);
    server.log.length = 0;
    server.etags = 'weak'; // which is no condition
    await opensRight(url, { ...SMALL, first: 16384 });
    assert.ok(server.log.slice(1).every(({ headers }) => !headers['if-range']));
  });

  test('a redirect is followed once, and asked for anew when it is good no more', async () => {
    server.put('/elsewhere.gguf', bytes);
    let good = true;
    server.fault = ({ path }) =>
      path === '/file.gguf'
        ? { redirect: '/elsewhere.gguf?again' }
        : good
          ? null
          : ((good = true), { status: 403 });
    const source = await openSource(url, { ...SMALL, first: 16384 });
    await source.read(100_000, 10);
    await source.read(200_000, 10);
    const front = () => server.log.filter(({ path }) => path === '/file.gguf').length;
    assert.equal(front(), 1);
    good = false;
    await readsRight(source);
    assert.ok(front() > 1 && front() < 5); // one more by each request that was under way
    await source.close();
  });

  test('names and passwords of an address, and tokens, are for its own origin', async () => {
    const other = await startRangeServer({ '/file.gguf': bytes });
    server.fault = () => ({ redirect: `${other.origin}/file.gguf` });
    await opensRight(url, { ...SMALL, token: 'secret' });
    assert.equal(server.log[0].headers.authorization, 'Bearer secret');
    assert.ok(other.log.length && other.log.every(({ headers }) => !headers.authorization));
    server.log.length = 0;
    server.fault = () => ({ status: 404 });
    const named = url.replace('//', '//user:pass%20word@');
    await rejects(openSource(named, SMALL), 'HYP_E_IO', /^(?!.*pass).*404/);
    assert.equal(server.log[0].headers.authorization, `Basic ${btoa('user:pass word')}`);
    await other.close();
  });

  test('an abort ends an opening at any moment, with its reason; closing ends the rest', async () => {
    const reason = new Error('something else');
    for (const fault of [{ stall: -1 }, { status: 503, headers: { 'retry-after': '2' } }, null]) {
      server.fault = () => fault;
      const stop = new AbortController();
      const opening = openSource(url, { ...SMALL, signal: stop.signal });
      opening.catch(() => {});
      if (fault) await until(() => server.log.length, 'no request');
      stop.abort(reason);
      await assert.rejects(within(opening), error => error === reason || assert.fail(error));
    }
    const stop = new AbortController();
    server.fault = () => ({ stall: 20_000 });
    const source = await openSource(url, { ...SMALL, signal: stop.signal });
    await source.read(0, 100);
    stop.abort(reason); // it is open
    const late = assert.rejects(async () => source.read(300_000, 10), /closed/);
    await turn();
    await within(source.close());
    await late;
  });

  test('the last bytes before an abort are not of the next request', async () => {
    const random = new Random(5);
    for (let i = 0; i < 30; i++) {
      const source = await openSource(url, SMALL);
      const reads = Array.from({ length: 4 }, () => {
        const offset = random.below(SIZE - 1000);
        return Promise.resolve(source.read(offset, 1000)).then(
          got => assert.ok(Buffer.from(got).equals(bytes.subarray(offset, offset + 1000))),
          error => assert.match(error.message, /closed/),
        );
      });
      for (let k = random.below(6); k > 0; k--) await turn();
      await source.close();
      await within(Promise.all(reads));
    }
  });

  test('limitRate is for all files together', async () => {
    const started = performance.now();
    const parts = await openSources([url, url], { ...SMALL, limitRate: 2e6 });
    await Promise.all(parts.map(part => readsRight(part)));
    await Promise.all(parts.map(part => part.close()));
    // 800 kB at 2 MB/s, but for the last parts, which nobody waits behind
    assert.ok(performance.now() - started > 150);
  });
});

describe('a hub', () => {
  let hub;
  const FILES = {
    'README.md': new TextEncoder().encode('# a model'),
    'mmproj-model-f16.gguf': noise(3000, 1),
    'model-imatrix.gguf': noise(3000, 2),
    'model-Q8_0.gguf': noise(3000, 3),
    'model-Q4_K_M.gguf': noise(3000, 4),
    'model-UD-Q4_K_M.gguf': noise(3000, 5),
    'model.q5_k_m.gguf': noise(3000, 6),
    'Q6_K/model-Q6_K-00001-of-00002.gguf': noise(3000, 7),
    'Q6_K/model-Q6_K-00002-of-00002.gguf': noise(3000, 8),
  };
  let options;
  before(async () => {
    hub = await startHub();
    hub.put('owner/repo', FILES);
    hub.put('owner/repo', { 'model-Q4_K_M.gguf': noise(3000, 40) }, { revision: 'v2' });
    hub.put('owner/first', { 'b-Q8_0.gguf': noise(3000, 9), 'a-Q5_0.gguf': noise(3000, 10) });
    hub.put('owner/gated', { 'x-Q4_K_M.gguf': noise(3000, 11) }, { access: 'gated' });
    hub.put('owner/private', { 'x-Q4_K_M.gguf': noise(3000, 12) }, { access: 'private' });
    hub.put('owner/none', { 'README.md': FILES['README.md'] });
    options = { endpoint: hub.endpoint, patience: AT_ONCE, fileCache: false };
  });
  after(() => hub.close());
  afterEach(() => {
    hub.pageEntries = 1000;
    hub.goodFor = Infinity;
    hub.front.fault = () => null;
    hub.front.log.length = hub.objects.log.length = 0;
  });

  for (const [name, file] of [
    ['hf:owner/repo/model-Q8_0.gguf', 'model-Q8_0.gguf'],
    ['hf:owner/repo', 'model-Q4_K_M.gguf'],
    ['hf:owner/repo:Q8_0', 'model-Q8_0.gguf'],
    ['hf:owner/repo:q4_k_m', 'model-Q4_K_M.gguf'],
    ['hf:owner/repo:UD-Q4_K_M', 'model-UD-Q4_K_M.gguf'],
    ['hf:owner/repo:Q5_K_M', 'model.q5_k_m.gguf'],
    ['hf://owner/repo:Q8_0', 'model-Q8_0.gguf'],
  ])
    test(name, () => opensRight(name, options, FILES[file]));

  test('revisions, first files, split files, links to pages', async () => {
    await opensRight('hf:owner/repo@v2', options, noise(3000, 40));
    await opensRight('hf:owner/repo@v2/model-Q4_K_M.gguf', options, noise(3000, 40));
    await opensRight('hf:owner/first', options, noise(3000, 10));
    const parts = await openSources('hf:owner/repo:Q6_K', options);
    assert.equal(parts.length, 2);
    await readsRight(parts[1], FILES['Q6_K/model-Q6_K-00002-of-00002.gguf']);
    await Promise.all(parts.map(part => part.close()));
    const page = `${hub.endpoint}/owner/repo/blob/main/model-Q8_0.gguf`;
    await opensRight(page, options, FILES['model-Q8_0.gguf']);
  });

  test('lists that have several pages', async () => {
    hub.pageEntries = 2;
    await opensRight('hf:owner/repo:Q8_0', options, FILES['model-Q8_0.gguf']);
    assert.ok(hub.front.log.length > 4);
  });

  test('what is not there is said, with what is', async () => {
    const refused = (name, message) => rejects(openSource(name, options), 'HYP_E_IO', message);
    await refused('hf:owner/repo:Q2_K', /no file of Q2_K, but .*Q8_0/);
    await refused('hf:owner/repo/x.gguf', /no file x\.gguf/);
    await refused('hf:owner/nothing', /401.*no such repository.*HF_TOKEN/);
    await refused('hf:owner/repo@v9', /404.*no such revision/);
    await refused('hf:owner/none', /no GGUF file/);
    for (const name of ['hf:', 'hf:owner', 'hf:/x/y', 'hf:a b/c'])
      await rejects(openSource(name, options), 'HYP_E_ARGUMENT', /no name on a hub/);
  });

  test('tokens open what is gated or private, and go nowhere else', async () => {
    for (const name of ['hf:owner/gated', 'hf:owner/private']) {
      await rejects(openSource(name, options), 'HYP_E_IO', /401.*`token`/);
      await rejects(openSource(name, { ...options, token: 'hf_bad' }), 'HYP_E_IO', /401/);
      await opensRight(name, { ...options, token: 'hf_right' }, hubBytes(name));
    }
    await rejects(
      openSource('hf:owner/gated', { ...options, token: 'hf_other' }),
      'HYP_E_IO',
      /403.*gated.*terms/,
    );
    process.env.HF_TOKEN = 'hf_right';
    process.env.HF_ENDPOINT = `${hub.endpoint}/`;
    try {
      const own = { patience: AT_ONCE, fileCache: false };
      await opensRight('hf:owner/gated', own, hubBytes('hf:owner/gated'));
    } finally {
      delete process.env.HF_TOKEN;
      delete process.env.HF_ENDPOINT;
    }
    assert.ok(hub.objects.log.every(({ headers }) => !headers.authorization));
  });
  const hubBytes = name => Object.values(hub.repos.get(name.slice(3)).revisions.main)[0];

  test('an address that was good for a while is asked for anew; a busy hub is asked again', async () => {
    hub.put('owner/large', { 'x-Q4_0.gguf': bytes });
    hub.goodFor = 2;
    let busy = 2;
    hub.front.fault = () => (busy-- > 0 ? { status: 429 } : null);
    await opensRight('hf:owner/large', { ...options, ...SMALL, first: 20_000 });
    assert.ok(hub.front.log.length > 4);
  });

  test('what comes has the name, version and hash that a cache wants', async () => {
    const { onHub } = await import('../../glue/source/hub.js');
    const [file] = await onHub('hf:owner/repo', options);
    const hash = createHash('sha256').update(FILES['model-Q4_K_M.gguf']).digest('hex');
    assert.deepEqual(
      [file.name, file.version, file.sha256],
      ['hf:owner/repo/model-Q4_K_M.gguf', hash, hash],
    );
  });
});

describe('sources of every kind', () => {
  const path = join(dir, 'file.gguf');
  writeFileSync(path, bytes);

  /** As R2 is. */
  function bucket(objects, more = {}) {
    const of = (key, body) => {
      const whole = objects[key];
      return whole ? { size: whole.length, etag: `${whole[0]}`, ...body } : null;
    };
    return {
      gets: [],
      async get(key, { range: { offset, length } }) {
        this.gets.push([offset, length]);
        const part = objects[key]?.subarray(offset, offset + length);
        return of(key, part && { body: new Blob([part]).stream() });
      },
      head: async key => of(key),
      ...more,
    };
  }

  test('files, bytes, blobs, handles, streams, responses, own ones', async () => {
    const blob = new Blob([bytes]);
    for (const source of [
      path,
      bytes,
      bytes.buffer,
      new DataView(bytes.buffer),
      blob,
      { kind: 'file', name: 'file.gguf', getFile: async () => blob },
      blob.stream(),
      new Response(blob.stream()),
      new Response(blob.stream(), { headers: { 'content-length': String(SIZE) } }),
      { size: SIZE, read: async (offset, count) => bytes.subarray(offset, offset + count) },
    ])
      await opensRight(source);
    const lost = {
      kind: 'file',
      name: 'lost.gguf',
      getFile: () => Promise.reject(new Error('not found')),
    };
    await rejects(openSource(lost), 'HYP_E_IO', /lost\.gguf can not be opened: not found/);
    await rejects(openSource('opfs:models/x.gguf'), 'HYP_E_UNSUPPORTED', /opfs/);
    const changed = new Blob([bytes]);
    changed.slice = () => ({ arrayBuffer: () => Promise.reject(new Error('NotReadableError')) });
    await rejects((async () => opensRight(changed))(), 'HYP_E_IO', /changed or removed/);
    for (const wrong of [7, null, undefined, {}, { bucket: {}, key: 'x' }])
      await rejects(openSource(wrong), 'HYP_E_ARGUMENT', /a model is/);
  });

  test('a file that takes its time is read beside what this thread does', async () => {
    const { readSync } = fs;
    fs.readSync = (...args) => {
      for (const end = performance.now() + 2; performance.now() < end;);
      return readSync(...args);
    };
    const source = await openSource(path);
    try {
      const given = [];
      for (let at = 0; at < 200_000; at += 10_000) given.push(source.read(at, 10_000));
      const sync = given.filter(one => one instanceof Uint8Array).length;
      assert.ok(sync > 0 && sync < 4, `${sync} of ${given.length} at once`);
      const closed = source.close(); // which waits for them
      assert.ok(Buffer.concat(await Promise.all(given)).equals(bytes.subarray(0, 200_000)));
      await within(closed);
    } finally {
      fs.readSync = readSync;
    }
    const short = join(dir, 'short.gguf');
    writeFileSync(short, bytes);
    const shrinking = await openSource(short);
    await readsRight(shrinking);
    writeFileSync(short, bytes.subarray(0, 1000));
    await assert.rejects(async () => shrinking.read(500, 1000), /has changed since it was opened/);
    await shrinking.close();
  });

  test('a response that is shorter than it says', async () => {
    const short = new Response(new Blob([bytes.subarray(0, 1000)]).stream(), {
      headers: { 'content-length': String(SIZE) },
    });
    await rejects((async () => opensRight(short))(), 'HYP_E_IO', /ended after 1000 of 400000/);
    await rejects(openSource(new Response('x', { status: 500 })), 'HYP_E_IO', /500/);
  });

  test('buckets', async () => {
    const objects = { 'a/file.gguf': bytes };
    const key = 'a/file.gguf';
    await opensRight({ bucket: bucket(objects), key });
    await opensRight({ bucket: bucket(objects, { head: undefined }), key });
    const whole = {
      get: async (_, { range: { offset, length } }) => ({
        size: SIZE,
        arrayBuffer: async () => bytes.slice(offset, offset + length).buffer,
      }),
    };
    await opensRight({ bucket: whole, key });
    await rejects(openSource({ bucket: bucket({}), key }, SMALL), 'HYP_E_IO', /no 'a\/file\.gguf'/);
    const flaky = bucket(objects);
    const { get } = flaky;
    let calls = 0;
    flaky.get = async (...args) => {
      if (calls++ % 2) throw new Error('internal error (10001)');
      const object = await get.call(flaky, ...args);
      let left = 30_000;
      const cut = new TransformStream({
        transform(part, controller) {
          controller.enqueue(part.subarray(0, left));
          if ((left -= part.length) < 0) controller.error(new Error('cut'));
        },
      });
      return { ...object, body: object.body.pipeThrough(cut) };
    };
    await opensRight({ bucket: flaky, key }, { window: 2 ** 17, patience: AT_ONCE });
    const broken = bucket(objects, { get: () => Promise.reject(new Error('internal error')) });
    await rejects(
      (async () => opensRight({ bucket: broken, key }, SMALL))(),
      'HYP_E_IO',
      /could not be read: internal error/,
    );
    const changing = { [key]: bytes };
    const source = await openSource({ bucket: bucket(changing), key }, SMALL);
    await source.read(0, 10);
    changing[key] = noise(SIZE, 77);
    await rejects((async () => readsRight(source))(), 'HYP_E_IO', /has changed: open it anew/);
    await source.close();
  });

  test('the parts of a split file are found, and put in order', () => {
    const names = n => `m-0000${n}-of-00003.gguf`;
    assert.deepEqual(shardsOf(names(1)), [1, 2, 3].map(names));
    assert.deepEqual(shardsOf(names(2)), [names(2)]);
    assert.deepEqual(
      shardsOf(`https://x/${names(1)}?download=true`),
      [1, 2, 3].map(n => `https://x/${names(n)}?download=true`),
    );
    assert.deepEqual(
      shardsOf(new URL(`https://x/${names(1)}#a`)).map(String),
      [1, 2, 3].map(n => `https://x/${names(n)}#a`),
    );
    const one = bucket({});
    assert.deepEqual(
      shardsOf({ bucket: one, key: names(1) }).map(({ key }) => key),
      [1, 2, 3].map(names),
    );
    const files = [3, 1, 2].map(n => new File([bytes], names(n)));
    assert.deepEqual(
      shardsOf(files).map(({ name }) => name),
      [1, 2, 3].map(names),
    );
    assert.deepEqual(shardsOf(['b', 'a']), ['b', 'a']);
  });
});

describe('models', () => {
  const story = readFileSync(STORY);
  const GREEDY = { temperature: 0, maxTokens: 8 };
  let server;
  let hub;
  let want;
  before(async () => {
    server = await startRangeServer({ '/story.gguf': story });
    hub = await startHub();
    hub.put('owner/story', { 'story-Q4_K_M.gguf': story }, { access: 'gated' });
    const model = await open(STORY, { threads: 1 });
    want = (await model.complete('Once upon a time', GREEDY)).text;
    await model.close();
  });
  after(async () => {
    await server.close();
    await hub.close();
  });
  const tells = async (source, options) => {
    const model = await within(open(source, { threads: 1, context: 64, ...options }));
    const { text } = await within(model.complete('Once upon a time', GREEDY));
    await within(model.close());
    return text;
  };

  for (const worker of [false, true])
    test(`from servers, hubs and buckets${worker ? ', in a worker' : ''}`, async () => {
      const random = new Random(worker ? 1 : 2);
      server.fault = () => (random.below(2) ? { cut: random.below(2e6) } : null);
      const url = `${server.origin}/story.gguf`;
      assert.equal(await tells(url, { worker }), want);
      assert.equal(await tells(url, { worker, memory: '4MB', batch: 8 }), want);
      server.fault = () => null;
      server.ranges = false;
      assert.equal(await tells(url, { worker }), want);
      server.ranges = true;
      const { endpoint } = hub;
      assert.equal(await tells('hf:owner/story', { worker, endpoint, token: 'hf_right' }), want);
      await rejects(
        tells('hf:owner/story', { worker, endpoint: new URL(endpoint), fileCache: false }),
        'HYP_E_IO',
        /gated/,
      );
      const bucket = {
        get: async (_, { range: { offset, length } }) => ({
          size: story.length,
          body: new Blob([story.subarray(offset, offset + length)]).stream(),
        }),
      };
      assert.equal(await tells({ bucket, key: 'story.gguf' }, { worker }), want);
      assert.equal(await tells(url, { worker, limitRate: '50MB' }), want);
    });

  test('are inspected and quantized from there, too', async () => {
    const options = { endpoint: hub.endpoint, token: 'hf_right' };
    hub.objects.log.length = 0;
    const facts = await inspect('hf:owner/story', options);
    assert.deepEqual(facts, await inspect(STORY));
    assert.ok(hub.objects.log.length < 6);
    const [near, far] = [[], []];
    await quantize(STORY, 'q8_0', part => near.push(part));
    await quantize('hf:owner/story', 'q8_0', part => far.push(part), options);
    assert.ok(Buffer.concat(far).equals(Buffer.concat(near)));
  });

  test('the command line takes names and addresses', async () => {
    const env = { ...process.env, HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'hf_right' };
    const run = (...args) =>
      promisify(execFile)(process.execPath, [join(root, 'glue/cli/main.js'), ...args], { env });
    const facts = async model => JSON.parse((await run('info', model, '--json')).stdout);
    const local = await facts(STORY);
    assert.deepEqual(await facts('hf:owner/story'), local);
    assert.deepEqual(await facts(`${server.origin}/story.gguf`), local);
    const refused = await run('info', 'hf:owner/nothing').catch(error => error.stderr);
    assert.match(refused, /no such repository.*HYP_E_IO/);
  });

  test('options that say nothing possible are refused', async () => {
    for (const [name, value] of Object.entries({
      token: 7,
      endpoint: 'nowhere',
      limitRate: 'fast',
      manifest: 7,
      key: 'secret',
    }))
      await rejects(open(STORY, { [name]: value }), 'HYP_E_ARGUMENT', new RegExp(`^${name} must`));
  });
});
