// The cache in real browsers: the origin's private file system from a page's thread and from
// workers, from two tabs at once, full, evicted, without a network.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';
import { BROWSERS } from '../tools/browsers.mjs';
import { startRangeServer } from '../tools/range_server.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const story = readFileSync(join(root, 'models/story.gguf'));
const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };

// The package's files and the tests' own, to a page that may have threads.
const pages = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  response.setHeader('cross-origin-opener-policy', 'same-origin');
  response.setHeader('cross-origin-embedder-policy', 'require-corp');
  if (!/^\/(glue|dist|tests\/tools)\/[\w./-]+$/.test(pathname) || pathname.includes('..')) {
    response.setHeader('content-type', 'text/html');
    return response.end('<!doctype html><title>cache</title>');
  }
  response.setHeader('content-type', TYPES[extname(pathname)] ?? 'application/octet-stream');
  response.end(readFileSync(join(root, pathname)));
}).listen(0, '127.0.0.1');
await new Promise(resolve => pages.once('listening', resolve));
const base = `http://127.0.0.1:${pages.address().port}/`;
const server = await startRangeServer({ '/story.gguf': story });
after(() => (pages.closeAllConnections(), pages.close(), server.close()));

for (const [name, options] of Object.entries(BROWSERS))
  describe(name, () => {
    let browser;
    let page;
    const newPage = async () => {
      const one = await browser.newPage();
      one.setDefaultTimeout(60000);
      await one.goto(base);
      return one;
    };
    before(async () => {
      browser = await puppeteer.launch({ headless: true, defaultViewport: null, ...options });
      page = await newPage();
    });
    after(() => browser.close());
    afterEach(async () => {
      server.fault = () => null;
      server.rate = Infinity;
      server.log.length = 0;
      await act(page, 'evict').catch(() => {}); // where there is nothing
    });

    /** On the page's own thread. */
    const act = (on, what, more) =>
      on.evaluate(
        async (what, more) => (await import('/tests/tools/store_worker.mjs')).act(what, more),
        what,
        more,
      );
    /** In a worker of the page. */
    const inWorker = (on, what, more) =>
      on.evaluate(
        (what, more) =>
          new Promise((resolve, reject) => {
            const worker = new Worker('/tests/tools/store_worker.mjs', { type: 'module' });
            worker.onerror = event => reject(new Error(event.message));
            worker.onmessage = ({ data: { result, failed } }) => {
              worker.terminate();
              if (failed) reject(new Error(failed));
              else resolve(result);
            };
            worker.postMessage([what, more]);
          }),
        what,
        more,
      );
    /** What a model says that comes from the range server. */
    const tells = (on, more = {}) =>
      on.evaluate(
        async (url, more) => {
          const { open } = await import('/glue/model/index.js');
          const model = await open(url, { context: 64, threads: 1, fileCache: true, ...more });
          const ask = { temperature: 0, maxTokens: 6 };
          const { text } = await model.complete('Once upon a time', ask);
          await model.close();
          return text;
        },
        `${server.origin}/story.gguf`,
        more,
      );
    const clean = async () => {
      for (const { damaged, missing } of await inWorker(page, 'verify'))
        assert.deepEqual([damaged, missing], [[], []]);
    };
    /** Requests for more than the question whether the file is still the same. */
    const fetched = () => server.log.filter(({ range }) => range !== 'bytes=0-0').length;

    test('chunks come back, on a page and in a worker, to whoever asks for them', async () => {
      const one = await act(page, 'fill', { name: 'page', chunks: 6 });
      assert.deepEqual([one.before, one.right, one.error], [0, 6, undefined]);
      const two = await inWorker(page, 'fill', { name: 'page', chunks: 6 });
      assert.deepEqual([two.before, two.right, two.error], [6, 6, undefined]);
      const three = await inWorker(page, 'fill', { name: 'worker', chunks: 8 });
      assert.deepEqual([three.before, three.right, three.error], [0, 8, undefined]);
      const files = await act(page, 'list');
      assert.deepEqual(files.map(({ name }) => name).sort(), ['page', 'worker']);
      assert.ok(files.every(({ complete }) => complete));
      assert.equal((await act(page, 'usage')).bytes, 8 * 2 ** 20); // they have six in common
      await act(page, 'pin', { name: 'page', pinned: true });
      assert.equal(await inWorker(page, 'remove', { name: 'worker' }), 2 * 2 ** 20);
      const [left] = await inWorker(page, 'list');
      assert.deepEqual([left.name, left.pinned, left.cached], ['page', true, 6 * 2 ** 20]);
      await clean();
    });

    test('a model opens from the cache, with no more than a question, or none', async () => {
      const want = await tells(page, { fileCache: false });
      assert.equal(await tells(page), want);
      server.log.length = 0;
      assert.equal(await tells(page), want);
      assert.deepEqual([server.log.length, fetched()], [1, 0]);
      await page.reload();
      server.fault = () => ({ cut: 0 });
      assert.equal(await tells(page), want);
      assert.equal(await tells(page, { worker: false }), want);
      await clean();
    });

    test('two tabs at once: neither disturbs the other', async () => {
      const other = await newPage();
      server.rate = 20;
      const said = await Promise.all([tells(page), tells(other), tells(other, { worker: false })]);
      assert.equal(new Set(said).size, 1);
      const stored = await Promise.all([
        inWorker(page, 'fill', { name: 'both', chunks: 20, chunkBytes: 65536 }),
        inWorker(other, 'fill', { name: 'both', chunks: 20, chunkBytes: 65536 }),
        act(other, 'fill', { name: 'both', chunks: 20, chunkBytes: 65536 }),
      ]);
      for (const { right, error } of stored) assert.deepEqual([right, error], [20, undefined]);
      const files = await act(page, 'list');
      assert.deepEqual(
        files.map(file => file.complete),
        [true, true],
      );
      await clean();
      await other.close();
    });

    test('a tab that is closed in the middle loses nothing that was kept', async () => {
      const other = await newPage();
      server.rate = 3;
      tells(other).catch(() => {}); // it goes with its tab
      const begun = async () => {
        const [file] = await act(page, 'list');
        return file?.cached >= 2 ** 20;
      };
      while (!(await begun()));
      await other.close();
      server.rate = Infinity;
      server.log.length = 0;
      await tells(page);
      const asked = server.log.map(({ range }) => Number(/=(\d+)-/.exec(range)[1]));
      assert.ok(
        asked.filter((from, i) => i > 0).every(from => from >= 2 ** 20),
        `chunks that were there were asked for: ${asked}`,
      );
      await clean();
    });

    test('evicted, while it is read too: it is fetched again', async () => {
      const want = await tells(page);
      await act(page, 'evict');
      server.log.length = 0;
      assert.equal(await tells(page), want);
      assert.ok(fetched() > 0);
      server.rate = 10;
      await act(page, 'evict');
      const told = tells(page);
      while (!(await act(page, 'list')).length);
      await act(page, 'evict').catch(() => {}); // what is just being written can not be removed
      assert.equal(await told, want);
      server.rate = Infinity;
      assert.equal(await tells(page), want);
      await clean();
    });

    if (name === 'chromium')
      test('a quota that is too small: the model runs, and nothing breaks', async () => {
        const session = await page.createCDPSession();
        const limit = quotaSize =>
          session.send('Storage.overrideQuotaForOrigin', { origin: base.slice(0, -1), quotaSize });
        const want = await tells(page, { fileCache: false });
        await limit(1500000);
        assert.equal(await tells(page), want);
        const full = await inWorker(page, 'fill', { name: 'x', chunks: 4 });
        const refused = full.refused || (full.right < 4 && /Quota/.test(full.error));
        assert.ok(refused, JSON.stringify(full));
        await session.send('Storage.overrideQuotaForOrigin', { origin: base.slice(0, -1) });
        await clean();
        assert.equal(await tells(page), want);
        await session.detach();
      });
  });
