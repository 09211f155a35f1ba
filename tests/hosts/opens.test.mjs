// Openings and closings, many in one process or page, with some that fail and some that are
// aborted: nothing stays behind.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import puppeteer from 'puppeteer-core';
import { createPageServer } from '../../tools/serve.mjs';
import { BROWSERS } from '../tools/browsers.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = join(root, 'tests/hosts/opens_main.mjs');
const FLAT = 1.2;
const WARM = 5; // readings, of ten openings each
const HANGS_MS = 280000;
const THREADS = '3'; // of any machine, so that there are worker threads
const mb = list => list.map(bytes => Math.round(bytes / 1e6)).join(' ');
const median = list => [...list].sort((a, b) => a - b)[list.length >> 1];

/**
 * Are readings of resident memory flat? The memory of a worker that has ended comes back some time
 * later, more or less of it: there they are held against their median.
 */
function isFlat(resident, where) {
  const late = resident.slice(WARM);
  const level = where === 'worker' ? median(late) : Math.min(...late);
  return Math.max(...late) <= FLAT * level;
}

/** What opens_main.mjs tells of a process. */
async function told(command, args) {
  const env = { ...process.env, HYP_PROCESSORS: THREADS, DENO_NO_UPDATE_CHECK: '1' };
  const { stdout } = await promisify(execFile)(command, args, { cwd: root, env });
  return JSON.parse(stdout);
}
const inNode = (...args) => told(process.execPath, ['--expose-gc', MAIN, ...args]);
const inDeno = (...args) =>
  told(join(root, 'node_modules/.bin/deno'), [
    'run',
    '--allow-all', // to look at its own process
    '--no-remote',
    '--v8-flags=--expose-gc',
    MAIN,
    ...args,
  ]);

for (const where of ['thread', 'worker'])
  test(`Node, 200 openings in a ${where}`, { timeout: HANGS_MS }, async t => {
    const { before, after, listeners, resident } = await inNode('200', where, 'collect');
    t.diagnostic(`MB resident: ${mb(resident)}`);
    assert.deepEqual(after, before);
    assert.equal(listeners, 0);
    assert.ok(isFlat(resident, where), mb(resident));
  });

test('Node does not wait for its memory to fill before it lets go of what is closed', async t => {
  const { peak, end } = await inNode('60', 'thread', 'leave');
  t.diagnostic(`MB resident at most: ${mb([peak])}, in the end: ${mb([end])}`);
  assert.ok(peak < 1.9 * end, mb([peak, end]));
});

for (const [where, openings] of [
  ['thread', 100],
  ['worker', 100],
])
  test(`Deno, ${openings} openings in a ${where}`, { timeout: HANGS_MS }, async t => {
    const tale = await inDeno(String(openings), where, 'collect');
    const { before, after, listeners, resident } = tale;
    t.diagnostic(`MB resident: ${mb(resident)}`);
    // Deno has threads and files of its own that come and go.
    assert.ok(after.threads <= before.threads + 4, `${after.threads} threads`);
    assert.ok(after.files <= before.files + 16, `${after.files} files`);
    assert.equal(listeners, 0);
    assert.ok(isFlat(resident, where), mb(resident));
  });

describe('Chromium, 50 openings', () => {
  const server = createPageServer().listen(0, '127.0.0.1');
  let browser;
  before(async () => {
    browser = await puppeteer.launch({ headless: true, ...BROWSERS.chromium });
  });
  after(async () => {
    await browser.close();
    server.closeAllConnections();
    server.close();
  });

  /** The process of the only page: its workers, and what is resident after a collection. */
  async function processOf(page) {
    const session = await browser.target().createCDPSession();
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    const own = await page.createCDPSession();
    const ids = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id);
    const threadsOf = id =>
      readdirSync(`/proc/${id}/task`).flatMap(task => {
        try {
          return [readFileSync(`/proc/${id}/task/${task}/comm`, 'utf8').trim()];
        } catch {
          return []; // it has ended meanwhile
        }
      });
    const residentOf = id => Number(readFileSync(`/proc/${id}/statm`, 'utf8').split(' ')[1]) * 4096;
    return {
      workers: () => ids.flatMap(threadsOf).filter(name => /^DedicatedWorker/.test(name)).length,
      async resident() {
        await own.send('HeapProfiler.collectGarbage');
        return Math.max(...ids.map(residentOf)); // the others belong to no page
      },
    };
  }

  for (const worker of [true, false])
    test(worker ? 'in a worker' : 'in the page', { timeout: HANGS_MS }, async t => {
      const page = await browser.newPage();
      page.setDefaultTimeout(60000);
      await page.goto(`http://127.0.0.1:${server.address().port}/`);
      const openings = (count, options) =>
        page.evaluate(
          async (times, given) => {
            const { open } = await import('/glue/model/index.js');
            // A page keeps what it has fetched as long as it likes: here it fetches once.
            globalThis.story ??= new Uint8Array(
              await (await fetch('/models/story.gguf')).arrayBuffer(),
            );
            let pieces = 0;
            for (let i = 0; i < times; i++) {
              const model = await open(globalThis.story, given);
              for await (const { text } of model.generate('Once', { maxTokens: 3 }))
                pieces += text !== undefined;
              await model.close();
              if (i % 5) continue;
              const controller = new AbortController();
              const aborted = open(globalThis.story, { ...given, signal: controller.signal });
              setTimeout(() => controller.abort(), i);
              await aborted.then(
                opened => opened.close(),
                () => {},
              );
              await open(globalThis.story.slice(0, 5000), given).then(
                () => pieces--,
                () => {},
              );
            }
            return pieces;
          },
          count,
          options,
        );
      const options = { worker, threads: Number(THREADS) };
      await openings(5, options);
      const { workers, resident } = await processOf(page);
      const readings = [];
      for (let i = 0; i < 5; i++) {
        assert.ok((await openings(10, options)) >= 10);
        // What has been ended is gone soon.
        for (let tries = 0; workers() && tries < 100; tries++)
          await new Promise(resolve => setTimeout(resolve, 50));
        assert.equal(workers(), 0, 'workers stay');
        readings.push(await resident());
      }
      t.diagnostic(`MB resident: ${mb(readings)}`);
      assert.ok(Math.max(...readings) <= FLAT * Math.min(...readings), mb(readings));
      await page.close();
    });
});

// A worker's own worker hung in one of some hundred openings there: they are the page's now.
test('Firefox, 40 openings with worker threads', { timeout: HANGS_MS }, async () => {
  const server = createPageServer().listen(0, '127.0.0.1');
  const browser = await puppeteer.launch({ headless: true, ...BROWSERS.firefox });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const told = await page.evaluate(async threads => {
      const { open } = await import('/glue/model/index.js');
      const story = new Uint8Array(await (await fetch('/models/story.gguf')).arrayBuffer());
      const texts = new Set();
      let come = 0;
      for (let i = 0; i < 40; i++) {
        const model = await open(story, { threads });
        const { text } = await model.complete('Once', { maxTokens: 8, temperature: 0 });
        texts.add(text);
        for (let turn = 0; !come && turn < 100; turn++) {
          come = (await model.stats()).threads.present;
          await new Promise(resolve => setTimeout(resolve, 50));
        }
        await model.close();
      }
      return { texts: texts.size, come };
    }, Number(THREADS));
    assert.equal(told.texts, 1);
    assert.ok(told.come > 0, 'no worker thread has ever come');
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
});
