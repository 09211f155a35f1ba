// Sources in real hosts: a page and its worker in Chromium and Firefox, Deno, workerd, Node, all
// against servers that break off, are busy, know no parts, change files, want tokens.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { open } from 'hyperion-runtime';
import puppeteer from 'puppeteer-core';
import { BROWSERS } from '../tools/browsers.mjs';
import { startHub } from '../tools/hub_server.mjs';
import { startRangeServer } from '../tools/range_server.mjs';
import { startWorkerd } from '../tools/workerd.mjs';
import { tellAll } from './sources_main.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bin = name => join(root, 'node_modules/.bin', name);
const dir = mkdtempSync(join(tmpdir(), 'hyperion-sources-'));
after(() => rmSync(dir, { recursive: true }));
process.env.HYPERION_CACHE = join(dir, 'cache'); // of what comes from a hub
const HOST_MS = 120000; // each takes a few seconds

const story = readFileSync(join(root, 'models/story.gguf'));
const KINDS = ['fine', 'cut', 'whole', 'busy', 'hidden', 'redirected', 'changing'];
const server = await startRangeServer(
  Object.fromEntries(KINDS.map(kind => [`/${kind}/story.gguf`, story])),
);
let asked = 0;
server.fault = ({ path, range, method }) => {
  asked++;
  const later = range && !range.startsWith('bytes=0-');
  switch (path.split('/')[1]) {
    case 'cut':
      return asked % 2 ? { cut: 900_000 } : null;
    case 'whole':
      return { whole: true };
    case 'busy':
      return asked % 2 ? { status: 503 } : null;
    case 'hidden': // what a page of another origin may not see
      return method === 'HEAD' ? null : { headers: { 'content-range': '', etag: '' } };
    case 'redirected':
      return { redirect: '/fine/story.gguf' };
    case 'changing':
      return later ? { headers: { etag: '"another"' } } : { cut: 400_000 };
    default:
      return null;
  }
};
const hub = await startHub();
hub.put('owner/story', { 'story-Q4_0.gguf': story }, { access: 'gated' });
after(() => Promise.all([server.close(), hub.close()]));
const servers = { origin: server.origin, endpoint: hub.endpoint, token: 'hf_right' };

const model = await open(join(root, 'models/story.gguf'), { threads: 1 });
const want = (await model.complete('Once upon a time', { temperature: 0, maxTokens: 8 })).text;
await model.close();

/** @param {Record<string, string>} told @param {number} least sources */
function check({ gated, missing, changing, ...told }, least) {
  assert.ok(Object.keys(told).length >= least, Object.keys(told).join(' '));
  for (const [kind, text] of Object.entries(told)) assert.equal(text, want, kind);
  assert.match(gated, /^HYP_E_IO: hf:owner\/story.* answered 401.*gated.*`token`/);
  assert.match(missing, /^HYP_E_IO: .* answered 404/);
  assert.match(changing, /^HYP_E_IO: .*has changed on the server: open it anew/);
}

test('Node, in its thread and in a worker', { timeout: HOST_MS }, async () => {
  check(await tellAll(servers, open, {}), 12);
  check(await tellAll(servers, open, { worker: true }), 11);
});

test('Deno, which may not read the environment', { timeout: HOST_MS }, async () => {
  const main = join(dir, 'main.mjs');
  const at = path => JSON.stringify(`file://${join(root, path)}`);
  writeFileSync(
    main,
    `import { open } from ${at('glue/model/index.js')};
import { tellAll } from ${at('tests/hosts/sources_main.mjs')};
console.log(JSON.stringify(await tellAll(${JSON.stringify(servers)}, open, {})));
`,
  );
  const { stdout } = await promisify(execFile)(
    bin('deno'),
    ['run', '--allow-read', '--allow-net=127.0.0.1', '--no-remote', '--no-prompt', main],
    { env: { ...process.env, DENO_DIR: dir, DENO_NO_UPDATE_CHECK: '1' } },
  );
  check(JSON.parse(stdout), 12);
});

test('workerd', { timeout: HOST_MS }, async () => {
  const workerd = await startWorkerd(dir, {
    main: 'tests/hosts/sources_workerd.mjs',
    modules: {
      'sources_main.mjs': 'tests/hosts/sources_main.mjs',
      'hyperion.wasm': 'dist/hyperion.wasm',
    },
    network: true,
  });
  try {
    const given = encodeURIComponent(JSON.stringify(servers));
    const response = await fetch(`${workerd.url}/?servers=${given}`);
    const body = await response.text();
    assert.equal(response.status, 200, body + workerd.log());
    check(JSON.parse(body), 12);
  } finally {
    workerd.close();
  }
});

const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };
for (const [name, options] of Object.entries(BROWSERS))
  test(`${name}, in a page and in its worker`, { timeout: HOST_MS }, async () => {
    // Pages are of another origin than the models.
    const pages = await startRangeServer();
    pages.route = ({ url }, response) => {
      const { pathname } = new URL(url, 'http://localhost');
      if (pathname === '/') {
        response.setHeader('content-type', 'text/html');
        response.end('<!doctype html><title>sources</title>');
        return true;
      }
      const type = TYPES[extname(pathname)];
      if (!type) return false;
      response.setHeader('content-type', type);
      response.end(readFileSync(join(root, pathname)));
      return true;
    };
    const browser = await puppeteer.launch({ headless: true, defaultViewport: null, ...options });
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(60000);
      await page.goto(`${pages.origin}/`);
      for (const worker of [undefined, false]) {
        const told = await page.evaluate(
          async (given, inWorker) => {
            const [{ open: openHere }, { tellAll: tell }] = await Promise.all([
              import('/glue/model/index.js'),
              import('/tests/hosts/sources_main.mjs'),
            ]);
            return tell(given, openHere, { worker: inWorker });
          },
          servers,
          worker,
        );
        check(told, worker === undefined ? 14 : 13);
      }
    } finally {
      await browser.close();
      await pages.close();
    }
  });
