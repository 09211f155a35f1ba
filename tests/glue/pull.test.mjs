// Models on their way through checks and caches, by the command lines and by `open`: killed, twice
// at once, with wrong bytes, without a network.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { open } from 'hyperion-runtime';
import { openSource } from '../../glue/source/index.js';
import { ModelCache } from '../../glue/source/store/cache.js';
import { openStore } from '../../glue/source/store/index.js';
import { chunkLine, headLine, readJournal } from '../../glue/source/store/journal.js';
import { startHub } from '../tools/hub_server.mjs';
import { startRangeServer } from '../tools/range_server.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const NATIVE = [join(root, 'build/native/hyperion')];
const SCRIPT = [process.execPath, join(root, 'glue/cli/main.js')];
const HANG_MS = 60000;
const MIB = 2 ** 20;

const dir = fs.mkdtempSync(join(tmpdir(), 'hyperion-pull-'));
let server;
let folder; // of the cache
let folders = 0;
before(async () => {
  server = await startRangeServer();
});
beforeEach(() => {
  folder = join(dir, String(folders++));
  process.env.HYPERION_CACHE = folder;
  server.fault = () => null;
  server.rate = Infinity;
  server.log.length = 0;
});
after(async () => {
  await server.close();
  fs.rmSync(dir, { recursive: true });
});

/**
 * Runs a command to its end; `each` gets the process as soon as it runs.
 * @param {string[]} command
 * @param {(child: import('node:child_process').ChildProcess) => void} [each]
 * @returns {Promise<{code: number, stdout: string, stderr: string}>}
 */
const run = (command, each) =>
  new Promise((resolve, reject) => {
    const child = spawn(command[0], command.slice(1), { timeout: HANG_MS, killSignal: 'SIGKILL' });
    const [out, err] = [[], []];
    child.stdout.on('data', data => out.push(data));
    child.stderr.on('data', data => err.push(data));
    child.stdin.end();
    child.on('error', reject).on('close', (code, signal) =>
      resolve({
        code: code ?? 128 + constants.signals[signal],
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      }),
    );
    each?.(child);
  });
const script = (...args) => run([...SCRIPT, ...args]);
const native = (...args) => run([...NATIVE, ...args]);
const ok = result => assert.deepEqual([result.code, result.stderr], [0, ''], result.stderr);
/** Serves bytes, and says where. */
const served = (path, bytes) => {
  server.put(path, bytes);
  return server.origin + path;
};
/** The journals of the cache. */
const journals = () =>
  (fs.existsSync(join(folder, 'v1/files')) ? fs.readdirSync(join(folder, 'v1/files')) : []).map(
    id => readJournal(fs.readFileSync(join(folder, 'v1/files', id), 'utf8')),
  );
const bytesAsked = () =>
  server.log.map(({ range }) => /bytes=(\d+)-(\d+)/.exec(range).slice(1).map(Number));
/** What the cache gives of a file, without a network. */
async function readCached(url, options) {
  const down = { fetch: () => Promise.reject(new TypeError('no network')) };
  const source = await openSource(url, { fileCache: true, ...down, ...options });
  const bytes = await source.read(0, source.size);
  await source.close();
  return Buffer.from(bytes);
}

describe('killed', () => {
  test('at any file operation: what was kept stays, and the rest comes', async () => {
    const chunkBytes = 4096;
    const head = { name: 'x', version: 'v', size: 11 * chunkBytes + 5, chunkBytes };
    const child = (where, number) =>
      run([
        process.execPath,
        join(root, 'tests/tools/killed_store.mjs'),
        where,
        JSON.stringify(head),
        '7',
        String(number),
      ]);
    const whole = await child(join(folder, 'whole'), 1e9);
    const operations = Number(/done (\d+)/.exec(whole.stdout)[1]);
    assert.ok(operations > 60, whole.stdout + whole.stderr);
    const points = Array.from({ length: 26 }, (_, i) => 1 + Math.floor((i * operations) / 26));
    let killed = 0; // which operations there are depends on who was first
    const tried = async point => {
      const where = join(folder, String(point));
      const { code, stdout } = await child(where, point);
      assert.ok(code === 137 || /done/.test(stdout), `${code}: ${stdout}`);
      killed += code === 137 ? 1 : 0;
      const said = stdout.split('\n').filter(line => /^\d+$/.test(line));
      const store = await openStore({ folder: where }, head);
      for (const index of said)
        assert.ok(
          (await store.get(Number(index)))?.every(byte => byte === 7 + Number(index)),
          `${point}: ${index}`,
        );
      for (let index = 0; index < 12; index++) {
        const bytes = await store.get(index);
        const right = new Uint8Array(index < 11 ? chunkBytes : 5).fill(7 + index);
        if (bytes) assert.deepEqual(bytes, right);
        else await store.put(index, right);
      }
      await store.close();
      assert.equal(store.error, undefined);
      const [checked] = await new ModelCache(where).verify();
      assert.deepEqual([checked.chunks, checked.damaged, checked.missing], [12, [], []]);
    };
    const left = [...points];
    const lane = async () => {
      for (let next; (next = left.shift()) !== undefined;) await tried(next);
    };
    await Promise.all([lane(), lane()]);
    assert.ok(killed >= 20, `${killed}`);
  });

  test('while it pulls, again and again: nothing that was kept is fetched again', async () => {
    const bytes = randomBytes(14 * MIB + 77);
    const url = served('/big.gguf', bytes);
    server.rate = 80;
    let kills = 0;
    for (; kills < 12; kills++) {
      const kept = new Set(journals().flatMap(({ chunks }) => [...chunks.keys()]));
      if (kept.size >= 13) break;
      server.log.length = 0;
      const limit = server.bytesSent + (1 + Math.random() * 2) * MIB;
      const result = await run([...SCRIPT, 'pull', url, '-q'], child => {
        const watch = setInterval(() => server.bytesSent >= limit && child.kill('SIGKILL'), 1);
        child.on('exit', () => clearInterval(watch));
      });
      assert.equal(result.code, 137, result.stderr);
      for (const [from, to] of bytesAsked())
        for (let index = Math.ceil(from / MIB); to > 0 && index <= to / MIB; index++)
          assert.ok(!kept.has(index), `chunk ${index} was there, and has been fetched again`);
      const now = new Set(journals().flatMap(({ chunks }) => [...chunks.keys()]));
      for (const index of kept) assert.ok(now.has(index), `chunk ${index} was lost`);
    }
    assert.ok(kills >= 3, `${kills}`);
    const kept = journals()[0].chunks.size;
    const before = server.bytesSent;
    const last = await script('pull', url, '--json');
    ok(last);
    assert.equal(JSON.parse(last.stdout).bytes, bytes.length);
    assert.ok(server.bytesSent - before <= bytes.length - (kept - 1) * MIB + 1);
    assert.ok((await readCached(url)).equals(bytes));
    const checked = await script('cache', 'verify', '--json');
    ok(checked);
    const [{ chunks, damaged, missing }] = JSON.parse(checked.stdout).files;
    assert.deepEqual([chunks, damaged, missing], [15, [], []]);
  });

  test('two processes at once pull the same file, and another one with the same chunks', async () => {
    const bytes = randomBytes(6 * MIB + 1);
    const url = served('/two.gguf', bytes);
    const other = served('/three.gguf', bytes.subarray(0, 5 * MIB));
    server.rate = 60;
    (await Promise.all([url, url, other].map(one => script('pull', one, '-q')))).forEach(ok);
    for (const line of [script, native]) {
      const { stdout } = await line('cache', 'verify', '--json');
      for (const { damaged, missing } of JSON.parse(stdout).files)
        assert.deepEqual([damaged, missing], [[], []]);
    }
    assert.ok((await readCached(url)).equals(bytes));
    assert.equal((await new ModelCache().usage()).bytes, bytes.length);
  });
});

describe('a pulled model', () => {
  test('runs by its name in both command lines, also when its server has gone', async () => {
    const url = served('/story.gguf', fs.readFileSync(STORY));
    const options = ['Once upon a time', '-n', '12', '-t', '0', '-q'];
    const none = await native('run', url, ...options);
    assert.ok(
      none.code === 1 && /pull it first with 'npx hyperion pull/.test(none.stderr),
      none.stderr,
    );
    ok(await script('pull', url, '-q'));
    const want = (await native('run', STORY, ...options)).stdout;
    server.fault = () => ({ cut: 0 });
    const [a, b] = [await script('run', url, ...options), await native('run', url, ...options)];
    [a, b].forEach(ok);
    assert.deepEqual([a.stdout, b.stdout], [want, want]);
    const model = await open(url, { fileCache: folder, context: 64 });
    await model.close();
    const bare = await script('run', url, ...options, '--no-cache');
    assert.equal(bare.code, 1, 'with --no-cache the network is needed');
    // natively in a memory limit, where pages are read again
    const tight = await native('run', url, ...options, '--memory', '6MB');
    ok(tight);
    assert.equal(tight.stdout, want);
    // a chunk is damaged
    const hash = journals()[0].chunks.get(1);
    const chunk = join(folder, 'v1/chunks', hash.slice(0, 2), hash);
    fs.writeFileSync(chunk, fs.readFileSync(chunk).fill(1, 1000, 1010));
    const bad = await native('run', url, ...options);
    assert.ok(bad.code === 1 && /chunk 1 of .* is damaged or gone/.test(bad.stderr), bad.stderr);
    server.fault = () => null;
    ok(await script('run', url, ...options));
    ok(await native('run', url, ...options));
  });

  test('of another version is fetched anew; the older one goes when that is whole', async () => {
    const [one, two] = [randomBytes(2 * MIB), randomBytes(2 * MIB + 9)];
    const url = served('/changes.gguf', one);
    ok(await script('pull', url, '-q'));
    served('/changes.gguf', two);
    ok(await script('pull', url, '-q'));
    assert.equal((await new ModelCache().list()).length, 1);
    assert.ok((await readCached(url)).equals(two));
    assert.equal((await new ModelCache().usage()).bytes, two.length);
    // what says no version can not be kept
    server.etags = 'none';
    const { code, stderr } = await script('pull', served('/bare.gguf', one));
    server.etags = 'strong';
    assert.ok(code === 1 && /could not be kept/.test(stderr), stderr);
  });

  test('where the cache can not be written: it runs, and pull says why not', async () => {
    fs.writeFileSync(folder, 'a file is in the way');
    const url = served('/story.gguf', fs.readFileSync(STORY));
    ok(await script('run', url, 'Once', '-n', '3', '-q'));
    const { code, stderr } = await script('pull', url);
    assert.ok(code === 1 && /could not be kept/.test(stderr), stderr);
    const local = await script('pull', STORY);
    assert.ok(local.code === 1 && /not on a network/.test(local.stderr), local.stderr);
  });
});

describe('from a hub', () => {
  const bytes = randomBytes(3 * MIB + 5);
  const commit = 'c0ffee'.repeat(7).slice(0, 40);
  let hub;
  let options;
  before(async () => {
    hub = await startHub();
    hub.put('me/model', { 'm-Q4_K_M.gguf': bytes, 'm-Q8_0.gguf': randomBytes(5000) });
    hub.put('me/model', { 'm-Q4_K_M.gguf': bytes }, { revision: commit });
    options = { endpoint: hub.endpoint };
  });
  after(() => hub.close());
  const read = async (name, more) => {
    const source = await openSource(name, { ...options, ...more });
    const got = Buffer.from(await source.read(0, source.size));
    await source.close();
    return got;
  };
  const down = { fetch: () => Promise.reject(new TypeError('no network')) };

  test('files are kept when nothing else is said, and serve when the hub is not there', async () => {
    assert.ok((await read('hf:me/model')).equals(bytes));
    hub.front.log.length = hub.objects.log.length = 0;
    assert.ok((await read('hf:me/model:Q4_K_M')).equals(bytes));
    assert.deepEqual(
      [hub.front.log.length, hub.objects.log.length],
      [1, 0],
      'the hub is asked which version there is, and nobody else for anything',
    );
    for (const name of ['hf:me/model', 'hf:me/model:q4_k_m', 'hf:me/model/m-Q4_K_M.gguf'])
      assert.ok((await read(name, down)).equals(bytes), name);
    await assert.rejects(read('hf:me/model:Q8_0', down), /no network/);
    await assert.rejects(read('hf:me/model', { ...down, fileCache: false }), /no network/);
    const { stdout } = await native('cache', 'ls', '--json');
    assert.equal(JSON.parse(stdout).files[0].name, 'hf:me/model/m-Q4_K_M.gguf');
  });

  test('a commit never changes: what is there opens without a question', async () => {
    const name = `hf:me/model@${commit}`;
    assert.ok((await read(name)).equals(bytes));
    hub.front.log.length = hub.objects.log.length = 0;
    assert.ok((await read(name)).equals(bytes));
    assert.deepEqual([hub.front.log.length, hub.objects.log.length], [0, 0]);
  });

  test('bytes that have not the hash of the hub are refused, and not kept', async () => {
    hub.objects.fault = ({ range }) => {
      const [from, to] =
        /bytes=(\d+)-(\d+)/
          .exec(range ?? '')
          ?.slice(1)
          .map(Number) ?? [];
      return from <= 2 * MIB && to >= 2 * MIB ? { wrong: 2 * MIB - from } : null;
    };
    await assert.rejects(
      read('hf:me/model'),
      ({ code, message }) =>
        code === 'HYP_E_FORMAT' && /hf:me\/model\/m-Q4_K_M\.gguf has not the SHA-256/.test(message),
    );
    assert.deepEqual(await new ModelCache().list(), []);
    await assert.rejects(read('hf:me/model', { fileCache: false }), /has not the SHA-256/);
    hub.objects.fault = () => null;
    assert.ok((await read('hf:me/model')).equals(bytes));
    const before = hub.objects.log.length;
    assert.ok((await read('hf:me/model')).equals(bytes));
    assert.equal(hub.objects.log.length, before);
  });
});

describe('a manifest', () => {
  const options = ['Once upon a time', '-n', '6', '-t', '0', '-q'];
  const at = name => join(dir, name);
  const story = fs.readFileSync(STORY);
  const want = native('run', STORY, ...options);

  test('is the same from both command lines, and its hashes are right', async () => {
    for (const chunk of [[], ['--chunk', '100000']]) {
      ok(await script('manifest', STORY, '-q', '-o', at('a.json'), ...chunk));
      ok(await native('manifest', STORY, '-q', '-o', at('b.json'), ...chunk));
      const text = fs.readFileSync(at('a.json'), 'utf8');
      assert.equal(text, fs.readFileSync(at('b.json'), 'utf8'));
      const m = JSON.parse(text);
      assert.equal(m.sha256, createHash('sha256').update(story).digest('hex'));
      assert.equal(m.chunks.length, Math.ceil(story.length / (chunk.length ? 1e5 : MIB)));
    }
  });

  test('wrong bytes are fetched again once, then refused by name', async () => {
    ok(await script('manifest', STORY, '-q', '-o', at('m.json')));
    const url = served('/story.gguf', story);
    served('/story.gguf.manifest.json', fs.readFileSync(at('m.json')));
    let times = 1;
    server.fault = ({ path, range }) => {
      const [from, to] =
        /bytes=(\d+)-(\d+)/
          .exec(range ?? '')
          ?.slice(1)
          .map(Number) ?? [];
      const place = 1.5 * MIB; // within chunk 1
      if (path === '/story.gguf' && from <= place && to >= place && times-- > 0)
        return { wrong: place - from };
    };
    const good = await script('run', url, ...options, '--manifest', 'beside');
    ok(good);
    assert.equal(good.stdout, (await want).stdout);
    times = Infinity;
    await new ModelCache().remove(url);
    const bad = await script('run', url, ...options, '--manifest', at('m.json'));
    assert.equal(bad.code, 1);
    assert.match(bad.stderr, /chunk 1 \(bytes 1048576 to 2097151\) of .*story\.gguf is wrong/);
    // of what was right a part is kept, and of what was wrong nothing
    for (const { chunks } of journals()) assert.ok(!chunks.has(1));
    // another file's
    served('/story.gguf', Buffer.concat([story, Buffer.alloc(1)]));
    const other = await script('run', url, ...options, '--manifest', at('m.json'));
    assert.match(other.stderr, /has 2846177 bytes, its manifest is of a file of 2846176/);
    // none
    const none = await script('run', served('/x.gguf', story), ...options, '--manifest', 'beside');
    assert.match(none.stderr, /x\.gguf\.manifest\.json answered 404/);
    // a local file, and what is no manifest
    ok(await script('run', STORY, ...options, '--manifest', at('m.json')));
    const odd = await script('run', STORY, ...options, '--manifest', join(root, 'package.json'));
    assert.match(odd.stderr, /is no manifest of a model: 'name'|is no manifest of a model: 'desc/);
  });

  test('encrypted: opens by its key alone, from the server and from the cache', async () => {
    fs.writeFileSync(at('key'), `${randomBytes(32).toString('hex')}\n`);
    fs.writeFileSync(at('other'), randomBytes(32));
    const sealed = ['--encrypt', at('story.enc'), '--key-file', at('key'), '--key-id', 'k1'];
    ok(await script('manifest', STORY, '-q', ...sealed));
    const refused = await native('manifest', STORY, ...sealed);
    assert.ok(refused.code === 1 && /use 'npx hyperion manifest'/.test(refused.stderr));
    const url = served('/story.enc', fs.readFileSync(at('story.enc')));
    served('/story.enc.manifest.json', fs.readFileSync(at('story.enc.manifest.json')));
    const by = (...more) => script('run', url, ...options, '--manifest', 'beside', ...more);
    for (let i = 0; i < 2; i++) {
      const good = await by('--key-file', at('key'));
      ok(good);
      assert.equal(good.stdout, (await want).stdout);
      assert.match((await by('--key-file', at('other'))).stderr, /key 'k1' is not the right one/);
      server.fault = () => ({ cut: 0 }); // the second time without a network
    }
    assert.match((await by()).stderr, /give its key 'k1'/);
    assert.match((await native('run', url, ...options)).stderr, /does not decrypt/);
    assert.match((await by('--key-file', STORY)).stderr, /is no key/);
  });
});

describe('both command lines', () => {
  const both = async (...args) => [await script(...args), await native(...args)];

  test('say the same of a cache', async () => {
    for (const [i, name] of ['hf:a/b/Ünïcode "x".gguf', 'https://h/x?y=1'].entries()) {
      const head = { name, version: `v${i}`, size: 3 * 4096 + i, chunkBytes: 4096 };
      const store = await openStore({ folder, pin: i === 1 }, head);
      for (let index = 0; index < 3 + i; index++)
        await store.put(index, randomBytes(index < 3 ? 4096 : 1));
      await store.close();
    }
    const same = async (code, ...args) => {
      const [a, b] = await both(...args);
      assert.deepEqual(a, b, args.join(' '));
      assert.equal(a.code, code, a.stderr);
      return a.stdout;
    };
    assert.match(await same(0, 'cache', 'ls'), /100 %  pinned .*https:\/\/h\/x\?y=1/);
    assert.equal(JSON.parse(await same(0, 'cache', 'ls', '--json')).files.length, 2);
    await same(0, 'cache', 'verify');
    await same(0, 'cache', 'verify', '--json');
    await same(0, 'cache', 'verify', 'https://h/x?y=1');
    await same(1, 'cache', 'verify', 'nothing');
    await same(1, 'cache', 'rm', 'nothing');
    await same(2, 'cache', 'rm');
    await same(2, 'cache', 'ls', 'x');
    await same(2, 'cache', 'polish');
    await same(0, 'cache', 'unpin', 'https://h/x?y=1', '--json');
    const hashes = journals().flatMap(({ chunks }) => [...chunks.values()]);
    const chunk = join(folder, 'v1/chunks', hashes[0].slice(0, 2), hashes[0]);
    for (const line of [script, native]) {
      const kept = fs.readFileSync(chunk);
      const again = journals()[0];
      const file = fs.readdirSync(join(folder, 'v1/files'))[0];
      fs.writeFileSync(chunk, 'x');
      const { code, stdout } = await line('cache', 'verify', again.head.name);
      assert.equal(code, 1);
      assert.match(stdout, /of \d chunks 1 damaged \(0\); they are fetched again/);
      fs.writeFileSync(chunk, kept);
      fs.appendFileSync(join(folder, 'v1/files', file), chunkLine(0, hashes[0]));
    }
    const said = [];
    for (const line of [script, native]) {
      const copy = `${folder}-copy`;
      fs.cpSync(folder, copy, { recursive: true });
      process.env.HYPERION_CACHE = copy;
      said.push((await line('cache', 'rm', 'https://h/x?y=1')).stdout);
      assert.deepEqual(
        (await new ModelCache().list()).map(({ cached }) => cached),
        [3 * 4096],
      );
      fs.rmSync(copy, { recursive: true });
      process.env.HYPERION_CACHE = folder;
    }
    assert.equal(said[0], said[1]);
    process.env.HYPERION_CACHE = join(dir, 'nothing');
    assert.match(await same(0, 'cache', 'ls'), /is empty/);
    await same(0, 'cache', 'verify', '--json');
  });

  test('read the same from damaged journals', async () => {
    const hash = i => createHash('sha256').update(String(i)).digest('hex');
    const head = { name: 'hf:a/b/c', version: 'v', size: 50000, chunkBytes: 4096 };
    const lines = Array.from({ length: 12 }, (_, i) => chunkLine(i, hash(i)));
    const text = `${headLine(head)}${lines.join('')}pin\n3 -\n`;
    fs.mkdirSync(join(folder, 'v1/files'), { recursive: true });
    for (let i = 0; i < 400; i++) {
      const bytes = Buffer.from(text);
      for (let n = Math.floor(Math.random() * 5); n > 0; n--)
        bytes[Math.floor(Math.random() * bytes.length)] = 32 + Math.floor(Math.random() * 95);
      if (i % 7 === 0) bytes[Math.floor(Math.random() * bytes.length)] = 10;
      const cut = i % 5 ? bytes : bytes.subarray(0, Math.floor(Math.random() * bytes.length));
      fs.writeFileSync(join(folder, 'v1/files', hash(i)), cut);
    }
    const [a, b] = await both('cache', 'ls', '--json');
    const [x, y] = [JSON.parse(a.stdout), JSON.parse(b.stdout)];
    assert.ok(x.files.length > 100, `${x.files.length}`);
    assert.deepEqual(x, y);
  });
});
