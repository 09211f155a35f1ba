// The page in real browsers: loads the story model, writes, stops, refuses. Screenshots go to
// build/screenshots.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';
import { BROWSERS } from '../tools/browsers.mjs';
import { createPageServer } from '../../tools/serve.mjs';
import { startHub } from '../tools/hub_server.mjs';
import { makeShape } from '../tools/models.mjs';
import { startRangeServer } from '../tools/range_server.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const shots = join(root, 'build/screenshots');
mkdirSync(shots, { recursive: true });

/** The page on a port of its own, and so with nothing kept. */
async function servePage() {
  const server = createPageServer().listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  return {
    base: `http://127.0.0.1:${server.address().port}/`,
    async close() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
const { base, close } = await servePage();
after(close);
const STORY = readFileSync(join(root, 'models/story.gguf'));
const CHUNK = 1 << 20;

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
      await visit();
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
    /** Waits until the page's state has been like this, in this order, since `act` began. */
    const states = async (patterns, act) => {
      const since = await page.evaluate(() => globalThis.states.length);
      await act();
      await page.waitForFunction(
        (from, sources) => {
          let at = 0;
          for (const said of globalThis.states.slice(from))
            if (new RegExp(sources[at]).test(said)) at++;
          return at >= sources.length;
        },
        {},
        since,
        patterns.map(pattern => pattern.source),
      );
    };
    const ready = () =>
      page.waitForFunction(() => document.getElementById('state').textContent === 'ready');
    const loads = act => states([/^loading/, /^ready$/], act);
    const ends = act => states([/^writing$/, /tokens?, /], act);
    /** What was answered last, with the text that it goes on from. */
    const answered = () => page.$$eval('.turn .text', all => all.at(-1).textContent);
    /** Says `text` from now on to whatever is asked for. */
    const write = async text => {
      await page.$eval(
        '#prompt',
        (e, value) => {
          e.value = value;
          e.dispatchEvent(new Event('input'));
        },
        text,
      );
      await ends(() => page.click('#run'));
    };
    /** The page anew, which says whatever its state has been. */
    const visit = async (address = base) => {
      await page.goto(address);
      await page.waitForFunction(() => !document.body.inert);
      await page.evaluate(() => {
        const state = document.getElementById('state');
        globalThis.states = [state.textContent];
        new MutationObserver(all => {
          for (const { addedNodes } of all)
            for (const { data } of addedNodes) globalThis.states.push(data);
        }).observe(state, { childList: true });
      });
    };

    test('loads the story model and writes', async () => {
      await loads(() => page.click('#use-story'));
      assert.match(await textOf('model-name'), /llama · 5\.0 M parameters/);
      await page.$eval('#seed', e => (e.value = '3'));
      await ends(() => page.click('#run'));
      assert.match(await answered(), /^Once upon a time.{150}/s);
      assert.match(await textOf('rate'), /^\d+ tokens\/s$/);
      assert.match(await textOf('memory'), / MB$/);
      await page.screenshot({ path: join(shots, `${name}-desktop-light.png`), fullPage: true });
    });

    test('shows pages, fibers and lanes; under a memory limit the same story from fewer pages', async () => {
      const told = await answered();
      await page.$eval('#inside', e => (e.open = true));
      await page.waitForFunction(() =>
        /\d+ of \d+ weight pages/.test(document.getElementById('inside-text').textContent),
      );
      assert.match(
        await textOf('inside-text'),
        /^(\d+) of \1 weight pages in memory \(all.*1 fiber, \d+ switches.*lane worker to page: \d+ capsules/,
      );
      await page.$eval('#limit', e => (e.value = '6'));
      await loads(() => page.click('#use-story'));
      await ends(() => page.click('#run'));
      await page.waitForFunction(() =>
        /read so far/.test(document.getElementById('inside-text').textContent),
      );
      assert.equal(await answered(), told);
      assert.equal((await page.$$('.turn')).length, 2);
      assert.ok(await page.$eval('#pages', e => e.height > 20));
      await page.screenshot({ path: join(shots, `${name}-inside-light.png`), fullPage: true });
      await page.$eval('#limit', e => (e.value = ''));
      await page.$eval('#inside', e => (e.open = false));
    });

    const byKeyboard = async () => {
      await page.keyboard.down('Control');
      await page.keyboard.press('Enter');
      await page.keyboard.up('Control');
      await page.keyboard.press('Escape');
    };

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
      await states([/tokens?, /], byKeyboard);
      assert.match(await textOf('state'), /stopped|finished/);
      assert.equal(await page.$eval('#run', e => e.ariaDisabled), 'false');
    });

    test('a file that is no model is refused with a reason, and the page goes on', async () => {
      const input = await page.$('#file');
      await input.uploadFile(join(root, 'package.json'));
      await page.waitForFunction(() => !document.getElementById('error').hidden);
      assert.match(await textOf('error'), /GGUF/);
      // the one that was open still is
      assert.match(await textOf('model-title'), /Hyperion Story/);
      await page.focus('#prompt');
      await states([/tokens?, /], byKeyboard);
      assert.equal(await page.$eval('#error', e => e.hidden), true);
      // twice the same file
      for (let i = 0; i < 2; i++)
        await loads(() => input.uploadFile(join(root, 'models/story.gguf')));
    });

    test('every control is reached by keyboard and named', async () => {
      const unnamed = await page.$$eval('button, input, textarea, select, summary', all =>
        all
          .filter(e => e.type !== 'hidden')
          .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label')))
          .map(e => e.id),
      );
      assert.deepEqual(unnamed, []);
      await page.$eval('#sampling', e => (e.open = true));
      await page.focus('#use-story');
      const reached = new Set();
      for (let i = 0; i < 30; i++) {
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
      await page.$eval('#sampling', e => (e.open = false));
      await ends(() => page.click('#run'));
      await page.screenshot({ path: join(shots, `${name}-desktop-dark.png`), fullPage: true });
      for (const [width, height] of [
        [320, 568],
        [360, 640],
        [390, 844],
      ]) {
        if (!(await resize(width, height))) return;
        assert.ok(
          await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
          'the page scrolls sideways on a phone',
        );
        if (width < 390) await page.click('#talk-new'); // the last one is looked at below
        await ends(() => page.click('#run'));
        const [seen, end] = await page.$eval('.turn:last-child .text', e => {
          const [text, log, form] = [e, '#answer', '#composer'].map(one =>
            (typeof one === 'string' ? document.querySelector(one) : one).getBoundingClientRect(),
          );
          return [Math.min(text.bottom, form.top) - Math.max(text.top, log.top), form.bottom];
        });
        assert.ok(seen > 100 && end <= height, `${width}: ${seen} of the answer are seen`);
        await page.click('#panel');
        await page.waitForSelector('#use-story', { visible: true });
        await page.click('#panel');
        await page.waitForSelector('#use-story', { hidden: true });
      }
      await page.screenshot({ path: join(shots, `${name}-phone-dark.png`), fullPage: true });
      if (name === 'chromium') {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
        await page.screenshot({ path: join(shots, `${name}-phone-light.png`), fullPage: true });
      }
    });

    test('conversations survive a reload, and so does the model', async () => {
      await resize(1200, 900);
      await visit(); // the last model was a file, which has to be chosen anew
      await loads(() => page.click('#use-story'));
      const before = await page.$$eval('#talks option', all => all.length);
      await page.click('#talk-new');
      await write('One day, a fox');
      const told = await answered();
      await visit();
      await ready();
      assert.equal(await answered(), told);
      assert.match(await page.$eval('#talks', e => e.selectedOptions[0].text), /^One day, a fox/);
      assert.equal(await page.$$eval('#talks option', all => all.length), before + 1);
      await page.click('#talk-forget');
      await page.click('#ask-yes');
      await page.waitForFunction(
        count => document.querySelectorAll('#talks option').length === count,
        {},
        before,
      );
      assert.notEqual(await answered(), told);
    });

    test('what is typed wrongly is said, and nothing is lost', async () => {
      await page.$eval('#maxTokens', e => (e.value = '-3'));
      await page.click('#run');
      await page.waitForFunction(() => !document.getElementById('error').hidden);
      assert.match(await textOf('error'), /Tokens at most/);
      await page.click('#error-close');
      await page.$eval('#maxTokens', e => (e.value = '32'));
      for (const [typed, said] of [
        ['nonsense', /neither an address .* nor a name/],
        ['http://127.0.0.1:9/model.gguf', /127\.0\.0\.1:9/],
      ]) {
        await page.$eval('#url', (e, value) => (e.value = value), typed);
        await page.$eval('#url-form', e => e.requestSubmit());
        await page.waitForFunction(() => !document.getElementById('error').hidden);
        assert.match(await textOf('error'), said);
        await page.click('#error-close');
      }
      await ready();
      await visit();
      await ready(); // and not the address that failed
      await write('Once upon a time');
      // dragging a text is no file
      assert.equal(
        await page.evaluate(() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.setData('text/plain', 'words');
          dispatchEvent(new DragEvent('dragenter', { dataTransfer }));
          return document.getElementById('drop').hidden;
        }),
        true,
      );
    });

    test('names of the hub, as they are typed and pasted', async () => {
      const read = await page.evaluate(async () => {
        const { meant } = await import('./hub.js');
        return [
          'hf:owner/repo',
          'owner/repo:Q4_K_M',
          'hf:owner/repo.GGUF/a/b.gguf',
          'hf:owner/repo@v1.0/b.gguf',
          'https://huggingface.co/owner/repo',
          'https://huggingface.co/owner/repo/blob/main/b%20c.gguf?x=1',
          'https://example.org/b.gguf',
          '/models/story.gguf',
        ].map(meant);
      });
      const hub = (repo, file = '', quant = '', revision = 'main') => ({
        ...{ kind: 'hub', repo, revision, file, quant },
      });
      assert.deepEqual(read, [
        hub('owner/repo'),
        hub('owner/repo', '', 'Q4_K_M'),
        hub('owner/repo.GGUF', 'a/b.gguf'),
        hub('owner/repo', 'b.gguf', '', 'v1.0'),
        hub('owner/repo'),
        hub('owner/repo', 'b c.gguf'),
        { kind: 'address', url: 'https://example.org/b.gguf' },
        { kind: 'address', url: `${base}models/story.gguf` },
      ]);
    });

    /** In a page of its own, which has nothing kept, and may lose its network. */
    const elsewhere = async act => {
      const before = page;
      const server = await servePage();
      const broken = [];
      page = await browser.newPage();
      page.setDefaultTimeout(60000);
      page.on('pageerror', error => broken.push(error.message));
      try {
        await resize(1200, 900);
        await visit(server.base);
        await act(server);
        assert.deepEqual(broken, []);
      } finally {
        await page.close();
        page = before;
        await server.close();
      }
    };
    const set = (id, value, event = 'change') =>
      page.$eval(
        `#${id}`,
        (e, v, type) => {
          e.value = v;
          e.dispatchEvent(new Event(type));
        },
        value,
        event,
      );
    /** Types a name or an address, and sends it. */
    const lookUp = async text => {
      await page.$eval('#url', (e, v) => (e.value = v), text);
      await page.$eval('#url-form', e => e.requestSubmit());
    };
    const press = (list, word) =>
      page.$eval(
        `#${list}`,
        (e, w) => [...e.querySelectorAll('button')].find(b => b.textContent === w).click(),
        word,
      );
    const cached = pattern =>
      page.waitForFunction(
        source => new RegExp(source).test(document.getElementById('cached').textContent),
        {},
        pattern.source,
      );

    test('once visited it is there without a network: page, engine and model', () =>
      elsewhere(async ({ base: own, close: cut }) => {
        await loads(() => page.click('#use-story'));
        await cached(/Story.*works offline/);
        await page.waitForFunction(async () => {
          const kept = await (await caches.open('hyperion-page-1')).keys();
          return (
            kept.some(({ url }) => /worker_chat\.js$/.test(url)) &&
            kept.some(({ url }) => /\.wasm$/.test(url))
          );
        });
        await write('Once upon a time');
        const manifest = await page.evaluate(async () => {
          const { href } = document.querySelector('link[rel=manifest]');
          const { icons, display } = await (await fetch(href)).json();
          const found = await Promise.all(icons.map(({ src }) => fetch(src)));
          return [display, ...found.map(({ status }) => status)];
        });
        assert.deepEqual(manifest, ['standalone', 200, 200, 200]);
        await cut();
        await visit(own);
        await ready();
        await page.$eval('#seed', e => (e.value = '3'));
        await write('One day,');
        assert.match(await answered(), /^One day,.{40}/s);
        assert.equal(await page.evaluate(() => crossOriginIsolated), true);
      }));

    test('a file of the hub: its size and whether it fits before a byte is fetched; then it is kept', async () => {
      const hub = await startHub();
      hub.put('owner/tales', { 'tales-q4_0.gguf': STORY, 'README.md': Buffer.from('tales') });
      try {
        await elsewhere(async ({ base: own }) => {
          await set('endpoint', hub.endpoint);
          await lookUp('owner/other');
          await page.waitForFunction(() => !document.getElementById('error').hidden);
          assert.match(await textOf('error-text'), /owner\/other/);
          await lookUp(`owner/tales`);
          await page.waitForSelector('#found button');
          assert.match(await textOf('found'), /^tales-q4_0\.gguf2\.8 MBfits this device/);
          assert.equal(hub.objects.log.length, 0);
          assert.equal(await page.$eval('#error', e => e.hidden), true);
          await loads(() => press('found', 'Load'));
          await cached(/tales-q4_0\.gguf.*works offline/);
          await write('Once upon a time');
          assert.match(await answered(), /^Once upon a time.{20}/s);
          await hub.close();
          await visit(own);
          await ready();
          await press('cached', 'Delete');
          await page.waitForFunction(() => !document.getElementById('cached').textContent);
        });
      } finally {
        await hub.close().catch(() => {});
      }
    });

    test('a prompt is read while the model comes: its answer follows the last byte', async () => {
      const path = makeShape('stories15m', 'q4_0', join(root, 'build/stories15m-q4_0.gguf'));
      const file = readFileSync(path);
      const files = await startRangeServer({ '/model.gguf': file });
      let release = () => {};
      const held = new Promise(resolve => (release = resolve));
      // The last bytes of the file wait, in whichever answer they are.
      files.route = ({ headers }, response) => {
        let at = Number(/^bytes=(\d+)-/.exec(headers.range ?? '')?.[1] ?? 0);
        const write = response.write.bind(response);
        response.write = part => {
          at += part.length;
          if (at < file.length - CHUNK / 2) return write(part);
          held.then(() => {
            write(part);
            response.emit('drain');
          });
          return false;
        };
        return false;
      };
      try {
        await elsewhere(async () => {
          for (const [id, value] of [
            ['seed', '3'],
            ['maxTokens', '12'],
          ])
            await set(id, value);
          await lookUp(`${files.origin}/model.gguf`);
          await page.waitForSelector('#layers .ready');
          await page.waitForSelector('#run[aria-disabled=false]');
          await states([/^reads layer [2-6] of 6$/], () => page.click('#run'));
          await page.waitForFunction(() => document.querySelectorAll('#layers .ready').length > 2);
          assert.equal(await page.$eval('#load', e => e.hidden), false);
          assert.ok((await page.$eval('#load-bar', e => e.value)) < 1);
          assert.equal(await answered(), 'Once upon a time');
          await states([/tokens?, length/], release);
          await page.waitForFunction(() => document.getElementById('load').hidden);
          const told = await answered();
          assert.ok(told.length > 20, told);
          await ends(() => page.click('#run'));
          assert.equal(await answered(), told);
        });
      } finally {
        release();
        await files.close();
      }
    });

    test('a download goes on after a reload, as fast as the slider says', async () => {
      const file = readFileSync(makeShape('quick', 'q4_0', join(root, 'build/quick-q4_0.gguf')));
      const held = file.length - CHUNK;
      const files = await startRangeServer({ '/model.gguf': file });
      let fault = ({ method }) => (method === 'GET' ? { stall: held } : {});
      files.fault = asked => fault(asked);
      try {
        await elsewhere(async ({ base: own }) => {
          await page.evaluate(() => (globalThis.begun = performance.now()));
          await set('throttle', '4'); // 5 MB/s
          await lookUp(`${files.origin}/model.gguf`);
          await page.waitForFunction(() => document.getElementById('load-bar').value > 0.6);
          const passed = await page.evaluate(() => performance.now() - globalThis.begun);
          assert.ok(passed > (0.6 * file.length) / 5e3 / 2, `${passed} ms`);
          assert.match(await textOf('load-text'), /^[\d.]+ MB of 3\.\d MB/);
          await page.waitForFunction(async () => {
            const { cache } = await import('/glue/model/index.js');
            const [one] = await cache.list();
            return one?.cached >= 2 * 2 ** 20;
          });
          const sent = files.bytesSent;
          fault = () => ({});
          await visit(own);
          assert.equal(await page.$eval('#throttle', e => e.value), '4');
          await ready();
          await cached(/model\.gguf3\.8 MB.*works offline/);
          assert.ok(files.bytesSent - sent < file.length, `${files.bytesSent - sent} bytes again`);
        });
      } finally {
        await files.close();
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
        problems.filter(
          p => !/favicon|127\.0\.0\.1:9\b|ERR_(UNSAFE_PORT|CONNECTION_REFUSED)/.test(p),
        ),
        [],
      ));
  });
