// The page in real browsers: loads the story model, writes, stops, refuses. Screenshots go to
// build/screenshots.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';
import { createPageServer } from '../../tools/serve.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const shots = join(root, 'build/screenshots');
mkdirSync(shots, { recursive: true });
const where = name => execFileSync('which', [name], { encoding: 'utf8' }).trim();
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const BROWSERS = {
  chromium: { browser: 'chrome', executablePath: where('chromium'), args: FLAGS },
  firefox: { browser: 'firefox', executablePath: where('firefox-esr'), args: [] },
};

const server = createPageServer().listen(0, '127.0.0.1');
await new Promise(resolve => server.once('listening', resolve));
const base = `http://127.0.0.1:${server.address().port}/`;
after(() => (server.closeAllConnections(), server.close()));

for (const [name, options] of Object.entries(BROWSERS))
  describe(name, () => {
    let browser;
    let page;
    const problems = [];
    before(async () => {
      browser = await puppeteer.launch({ headless: true, defaultViewport: null, ...options });
      page = await browser.newPage();
      page.setDefaultTimeout(60000);
      page.on('pageerror', error => problems.push(error.message));
      page.on('console', message => message.type() === 'error' && problems.push(message.text()));
      await resize(1200, 900);
      await page.goto(base);
    });
    after(() => browser.close());

    /**
     * False where this version of the browser can not be resized by remote control (Firefox before
     * 144).
     */
    const resize = (width, height) =>
      page.setViewport({ width, height }).then(
        () => true,
        error => {
          if (!/unknown command/.test(error.message)) throw error;
          return false;
        },
      );
    const textOf = id => page.$eval(`#${id}`, e => e.textContent);
    const finished = () =>
      page.waitForFunction(() => /tokens, /.test(document.getElementById('state').textContent));

    test('loads the story model and writes', async () => {
      await page.click('#use-story');
      await page.waitForFunction(() => document.getElementById('state').textContent === 'ready');
      assert.match(await textOf('model-name'), /llama · 5\.0 M parameters/);
      await page.$eval('#seed', e => (e.value = '3'));
      await page.click('#run');
      await finished();
      assert.match(await textOf('answer'), /^Once upon a time.{150}/s);
      assert.match(await textOf('rate'), /^\d+ tokens\/s$/);
      assert.match(await textOf('memory'), / MB$/);
      await page.screenshot({ path: join(shots, `${name}-desktop-light.png`), fullPage: true });
    });

    test('shows pages, fibers and lanes; under a memory limit the same story from fewer pages', async () => {
      const told = await textOf('answer');
      await page.$eval('#inside', e => (e.open = true));
      await page.waitForFunction(() =>
        /\d+ of \d+ weight pages/.test(document.getElementById('inside-text').textContent),
      );
      assert.match(
        await textOf('inside-text'),
        /^(\d+) of \1 weight pages in memory \(all.*1 fiber, \d+ switches.*lane worker to page: \d+ capsules/,
      );
      await page.$eval('#limit', e => (e.value = '6'));
      await page.click('#use-story');
      await page.waitForFunction(() => document.getElementById('state').textContent === 'ready');
      await page.click('#run');
      await finished();
      await page.waitForFunction(() =>
        /read so far/.test(document.getElementById('inside-text').textContent),
      );
      assert.equal(await textOf('answer'), told);
      assert.ok(await page.$eval('#pages', e => e.height > 20));
      await page.screenshot({ path: join(shots, `${name}-inside-light.png`), fullPage: true });
      await page.$eval('#limit', e => (e.value = ''));
      await page.$eval('#inside', e => (e.open = false));
    });

    test('the keyboard starts and stops an answer', async () => {
      await page.$eval('#maxTokens', e => (e.value = '400'));
      for (const [id, value] of [
        ['temperature', '2'],
        ['topK', '0'],
        ['minP', '0'],
      ])
        // babble that does not end by itself
        await page.$eval(`#${id}`, (e, v) => (e.value = v), value);
      await page.focus('#prompt');
      await page.keyboard.down('Control');
      await page.keyboard.press('Enter');
      await page.keyboard.up('Control');
      await page.keyboard.press('Escape');
      await finished();
      assert.match(await textOf('state'), /stopped|finished/);
      assert.equal(await page.$eval('#run', e => e.disabled), false);
    });

    test('a file that is no model is refused with a reason, and the page goes on', async () => {
      const input = await page.$('#file');
      await input.uploadFile(join(root, 'package.json'));
      await page.waitForFunction(() => !document.getElementById('error').hidden);
      assert.match(await textOf('error'), /GGUF/);
      const model = await page.$('#file');
      await model.uploadFile(join(root, 'models/story.gguf'));
      await page.waitForFunction(() => document.getElementById('state').textContent === 'ready');
      assert.equal(await page.$eval('#error', e => e.hidden), true);
    });

    test('every control is reached by keyboard and named', async () => {
      const unnamed = await page.$$eval('button, input, textarea, summary', all =>
        all
          .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label')))
          .map(e => e.id),
      );
      assert.deepEqual(unnamed, []);
      await page.$eval('details', e => (e.open = true));
      await page.focus('#use-story');
      const reached = new Set();
      for (let i = 0; i < 24; i++) {
        await page.keyboard.press('Tab');
        reached.add(await page.evaluate(() => document.activeElement.id));
      }
      for (const id of ['file', 'url', 'prompt', 'run', 'temperature', 'topK', 'seed', 'answer'])
        assert.ok(reached.has(id), `${id} is not reached by Tab`);
    });

    test('dark, and on a phone', async () => {
      if (name === 'chromium')
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
      for (const [id, value] of [
        ['temperature', '0.7'],
        ['topK', '40'],
        ['minP', '0.02'],
      ])
        await page.$eval(`#${id}`, (e, v) => (e.value = v), value);
      await page.$eval('details', e => (e.open = false));
      await page.click('#run');
      await finished();
      await page.screenshot({ path: join(shots, `${name}-desktop-dark.png`), fullPage: true });
      if (!(await resize(390, 844))) return;
      assert.ok(
        await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
        'the page scrolls sideways on a phone',
      );
      await page.screenshot({ path: join(shots, `${name}-phone-dark.png`), fullPage: true });
      if (name === 'chromium') {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
        await page.screenshot({ path: join(shots, `${name}-phone-light.png`), fullPage: true });
      }
    });

    test("sources of every kind reach the page's worker, and what they throw comes back", async () => {
      const told = await page.evaluate(async () => {
        const { open } = await import('/glue/model/index.js');
        const place = '/models/story.gguf';
        const bytes = new Uint8Array(await (await fetch(place)).arrayBuffer());
        let closed = 0;
        const own = () => ({
          size: bytes.length,
          read: async (at, count) => bytes.subarray(at, at + count),
          close: () => void closed++,
        });
        const sources = {
          address: [place, {}],
          response: [await fetch(place), {}],
          stream: [new Blob([bytes]).stream(), {}],
          own: [own(), { memory: '8MB' }],
          module: [place, { threads: 1, wasm: fetch('/dist/hyperion.wasm') }],
        };
        const said = {};
        for (const [name, [source, options]] of Object.entries(sources)) {
          const model = await open(source, { context: 64, ...options });
          const { text } = await model.complete('Once upon a time', {
            temperature: 0,
            maxTokens: 8,
          });
          said[name] = text;
          await model.close();
        }
        const failing = { size: bytes.length, read: () => Promise.reject(new Error('no more')) };
        const failed = await open(failing).catch(error => `${error.code} ${error.message}`);
        const mine = new Error('mine');
        const model = await open(place, { context: 64 });
        const score = await model
          .score([1, 5, 6], async () => {
            throw mine;
          })
          .catch(error => error === mine);
        const stop = AbortSignal.abort();
        const aborted = await model.embed('a', { signal: stop }).catch(error => error.name);
        const many = (await model.embed(['a', 'b', 'c'])).length;
        const chunks = [];
        const ask = { prompt: 'Once upon a time', stream: true, temperature: 0, max_tokens: 8 };
        for await (const { choices } of await model.openai.completions.create(ask))
          chunks.push(choices[0].text);
        await model.close();
        return { said, closed, failed, score, aborted, many, streamed: chunks.join('') };
      });
      const texts = Object.values(told.said);
      assert.ok(texts[0].length > 8);
      assert.deepEqual(texts, Array(5).fill(texts[0]), JSON.stringify(told.said));
      assert.equal(told.streamed, texts[0]);
      assert.equal(told.closed, 1);
      assert.match(told.failed, /^HYP_E_IO .*no more/);
      assert.deepEqual([told.score, told.aborted, told.many], [true, 'AbortError', 3]);
    });

    test('nothing broke the content security policy or threw', () =>
      assert.deepEqual(
        problems.filter(p => !/favicon/.test(p)),
        [],
      ));
  });
