// The examples, each as whoever copies it runs it: with the packed package, by the name of it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ISOLATED,
  MODEL,
  PACKAGE,
  NotRun,
  bin,
  consumer,
  page,
  project,
  root,
  serve,
  succeed,
  view,
} from './kit.mjs';

const EXAMPLES = join(root, 'examples');
const { version, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const STORY = /^(Once upon a time)?.{40}/s;
const PAGES = {
  '@sveltejs/vite-plugin-svelte': '7.3.1',
  '@vitejs/plugin-react': '6.3.0',
  react: '19.3.1',
  'react-dom': '19.3.1',
  svelte: '5.57.3',
  vite: '8.3.8',
};
const BUN = '1.4.5';
const NEXT = { next: '16.4.6', react: '19.3.1', 'react-dom': '19.3.1' };

function* filesBelow(path) {
  if (!statSync(path).isDirectory()) return void (yield path);
  for (const name of readdirSync(path)) {
    const made = ['node_modules', 'public', 'dist', 'out', '.next'].includes(name);
    if (!made) yield* filesBelow(join(path, name));
  }
}

/** The files of an example, but its package.json. @param {string} name @param {string} [below] */
const filesOf = (name, below = '') =>
  Object.fromEntries(
    [...filesBelow(join(EXAMPLES, name))]
      .map(file => [join(below, relative(join(EXAMPLES, name), file)), { copy: file }])
      .filter(([path]) => !path.endsWith('package.json')),
  );
const aboutOf = name => JSON.parse(readFileSync(join(EXAMPLES, name, 'package.json'), 'utf8'));

const freePort = () =>
  new Promise(resolve => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });

/** What a server that a command starts answers. */
const answerOf = (folder, command, args, url, env) =>
  serving(folder, command, args, url, env, async (response, log) => ({
    status: response.status,
    text: await response.text(),
    log: log(),
  }));

/** Does `act` with the first answer of a server that a command starts, while it runs. */
async function serving(folder, command, args, url, env, act) {
  const server = spawn(command, args, {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // with what it starts itself
  });
  let log = '';
  for (const output of [server.stdout, server.stderr]) output.on('data', data => (log += data));
  try {
    for (let i = 0; i < 300 && server.exitCode === null; i++) {
      const response = await fetch(url).catch(() => null);
      if (response) return await act(response, () => log);
      await sleep(100);
    }
    throw new Error(`no answer from ${url}: ${log}`);
  } finally {
    try {
      process.kill(-server.pid);
    } catch {
      // has ended by itself
    }
  }
}

test('each example has its line, and asks for what it is tried with', () => {
  const table = readFileSync(join(EXAMPLES, 'README.md'), 'utf8');
  const tried = { ...PAGES, ...NEXT, ...devDependencies, [PACKAGE]: version };
  for (const entry of readdirSync(EXAMPLES, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const { name } = entry;
    assert.ok(table.includes(`\`${name}\``), `${name} has no line in examples/README.md`);
    if (['page', 'cmake', 'emscripten', 'wasi'].includes(name)) continue;
    const { dependencies, devDependencies: own = {} } = aboutOf(name);
    assert.ok(dependencies[PACKAGE]);
    for (const [one, wanted] of Object.entries({ ...dependencies, ...own }))
      assert.equal(wanted, `^${tried[one]}`, `${one} of ${name}`);
  }
});

consumer('node', async () => {
  const folder = await project('example-node', filesOf('node'));
  const { stdout } = await succeed(folder, process.execPath, ['main.mjs']);
  assert.match(stdout, /[a-z]{3}.*\n\d+ tokens\/s, [\d.]+ MB, (simd|relaxed)/s);
});

consumer('deno', async () => {
  const folder = await project('example-deno', filesOf('deno'));
  const { stdout } = await succeed(
    folder,
    bin(root, 'deno'),
    ['run', '--allow-all', '--no-remote', 'main.ts'],
    { env: { DENO_DIR: join(folder, '.deno'), DENO_NO_UPDATE_CHECK: '1' } },
  );
  assert.match(stdout, STORY);
});

consumer('workerd', async () => {
  const folder = await project('example-workerd', filesOf('workerd'));
  const [esbuild, ...args] = aboutOf('workerd').scripts.build.split(' ');
  await succeed(folder, bin(root, esbuild), args);
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const { status, text, log } = await answerOf(
    folder,
    bin(root, 'workerd'),
    ['serve', 'config.capnp', `--socket-addr=http=${address}`],
    `http://${address}/?prompt=${encodeURIComponent('Once upon a time')}`,
  );
  assert.equal(status, 200, text + log);
  assert.match(text, STORY);
});

/** The program of the package `bun`, which would put it in place after installing. */
function bunOf(folder) {
  const brought = join(folder, 'node_modules/@oven');
  const program = (existsSync(brought) ? readdirSync(brought) : [])
    .map(name => join(brought, name, 'bin/bun'))
    .find(existsSync);
  if (!program) throw new NotRun('there is no Bun for this machine');
  return program;
}

consumer('bun', async () => {
  const folder = await project('example-bun', filesOf('bun'), { bun: BUN });
  const program = bunOf(folder);
  const port = await freePort();
  const { status, text, log } = await answerOf(
    folder,
    program,
    ['run', 'main.ts'],
    `http://localhost:${port}/?prompt=${encodeURIComponent('Once upon a time')}`,
    { PORT: String(port) },
  );
  assert.equal(status, 200, text + log);
  assert.match(text, STORY);
});

/** Asks a server of the handler: health, a whole answer, a stream, what is not there. */
async function asked(base) {
  const of = path => new URL(path, base);
  const post = body => fetch(of('/v1/completions'), { method: 'POST', body: JSON.stringify(body) });
  assert.equal((await (await fetch(of('/health'))).json()).status, 'idle');
  const body = { prompt: 'Once upon a time', max_tokens: 30, temperature: 0 };
  const whole = await post(body);
  assert.equal(whole.status, 200, await whole.clone().text());
  const [{ text }] = (await whole.json()).choices;
  assert.match(text, STORY);
  const streamed = (await (await post({ ...body, stream: true })).text()).trim().split('\n\n');
  assert.equal(streamed.pop(), 'data: [DONE]');
  const pieces = streamed.map(line => JSON.parse(line.slice('data: '.length)).choices[0].text);
  assert.equal(pieces.join(''), text);
  assert.equal((await fetch(of('/nothing'))).status, 404);
}

/** A server of the handler that a command starts. */
async function answers(folder, command, args, env = {}) {
  const port = await freePort();
  const url = `http://localhost:${port}/health`;
  await serving(folder, command, args, url, { PORT: String(port), ...env }, () => asked(url));
}

consumer('edge-node', async () => {
  const folder = await project('example-edge-node', filesOf('edge-node'));
  await answers(folder, process.execPath, ['main.mjs']);
});

consumer('edge-deno', async () => {
  const folder = await project('example-edge-deno', filesOf('edge-deno'));
  const args = ['run', '--allow-all', '--no-remote', 'main.ts'];
  const env = { DENO_DIR: join(folder, '.deno'), DENO_NO_UPDATE_CHECK: '1' };
  await answers(folder, bin(root, 'deno'), args, env);
});

consumer('edge-bun', async () => {
  const folder = await project('example-bun', filesOf('edge-bun', 'edge'), { bun: BUN });
  await answers(folder, bunOf(folder), ['run', 'edge/main.ts']);
});

consumer('edge-workerd', async () => {
  const folder = await project('example-edge-workerd', filesOf('edge-workerd'));
  const [esbuild, ...args] = aboutOf('edge-workerd').scripts.build.split(' ');
  await succeed(folder, bin(root, esbuild), args);
  // what is for wrangler names only what is there
  const r2 = args.map(one => one.replace('worker.mjs', 'r2.mjs'));
  await succeed(folder, bin(root, esbuild), r2);
  const address = `127.0.0.1:${await freePort()}`;
  const serve = ['serve', 'config.capnp', `--socket-addr=http=${address}`];
  const url = `http://${address}/health`;
  await serving(folder, bin(root, 'workerd'), serve, url, {}, () => asked(url));
});

/** Writes and stops in the page of an example. */
async function writeAndStop({ page, problems }) {
  const story = () => page.$eval('#story', element => element.textContent);
  const enabled = id => page.waitForSelector(`#${id}:not([disabled])`, { timeout: 60_000 });
  await (await enabled('write')).click();
  await page.waitForFunction(() => document.getElementById('story').textContent.length > 60, {
    timeout: 60_000,
  });
  if (await page.$('#stop')) await page.$eval('#stop', element => element.click());
  await enabled('write');
  assert.match(await story(), STORY);
  assert.deepEqual(problems, []);
}

const pages = (more = {}) =>
  project(
    'example-pages',
    {
      ...more,
      ...filesOf('react', 'react'),
      ...filesOf('svelte', 'svelte'),
      ...filesOf('worker', 'worker'),
      'react/public/story.gguf': { copy: MODEL },
      'svelte/public/story.gguf': { copy: MODEL },
      'worker/public/story.gguf': { copy: MODEL },
    },
    PAGES,
  );

for (const name of ['react', 'svelte', 'worker'])
  consumer(name, async () => {
    const folder = await pages();
    await succeed(join(folder, name), bin(folder, 'vite'), ['build']);
    const server = await serve(join(folder, name, 'dist'), { headers: ISOLATED });
    const shown = await view(server.url);
    try {
      await writeAndStop(shown);
      assert.deepEqual(server.missing, []);
    } finally {
      await shown.close();
      server.close();
    }
  });

consumer('next', async () => {
  const files = {
    ...filesOf('next'),
    'public/story.gguf': { copy: MODEL },
    'public/favicon.ico': '', // browsers ask for it by themselves
  };
  const folder = await project('example-next', files, NEXT);
  const env = { NEXT_TELEMETRY_DISABLED: '1' };
  await succeed(folder, bin(folder, 'next'), ['build'], { env });
  const port = await freePort();
  const url = `http://localhost:${port}/`;
  await serving(folder, bin(folder, 'next'), ['start', '-p', String(port)], url, env, async () => {
    const shown = await view(url);
    try {
      await writeAndStop(shown);
      assert.ok(await shown.page.evaluate('crossOriginIsolated'));
    } finally {
      await shown.close();
    }
  });
});

consumer('page', async () => {
  const folder = await project('example-page', filesOf('page'));
  const server = await serve(folder);
  const shown = await view('about:blank');
  try {
    // The network that this machine has not: the registry's files are the package's.
    const cdn = `https://cdn.jsdelivr.net/npm/${PACKAGE}@${version}/`;
    await shown.page.setRequestInterception(true);
    shown.page.on('request', request => {
      if (!request.url().startsWith(cdn)) return request.continue();
      const path = request.url().slice(cdn.length);
      const type = path.endsWith('.js')
        ? 'text/javascript'
        : path.endsWith('.wasm')
          ? 'application/wasm'
          : 'application/octet-stream';
      return request.respond({
        headers: { 'access-control-allow-origin': '*', 'content-type': type },
        body: readFileSync(join(folder, 'node_modules', PACKAGE, path)),
      });
    });
    await shown.page.goto(server.url);
    await writeAndStop(shown);
  } finally {
    await shown.close();
    server.close();
  }
});

consumer('the content security policies of docs/BUNDLERS.md are enough', async () => {
  const table = readFileSync(join(root, 'docs/BUNDLERS.md'), 'utf8');
  const [whole, single, far] = [...table.matchAll(/^\|.*\| `(script-src .*)` \|$/gm)].map(
    ([, policy]) => policy,
  );
  const CDN = 'https://cdn.jsdelivr.net';
  const main = (from, model) => `
    import { open } from '${from}';
    async function main() {
      const model = await open('${model}', { threads: 2 });
      const { threads } = await model.stats();
      let story = '';
      for await (const { text } of model.generate('Once upon a time')) story += text;
      return { story, trouble: threads.trouble };
    }
    main().then(
      result => (globalThis.result = result),
      error => (globalThis.result = { error: String(error.stack ?? error) }),
    );`;
  const html = '<!doctype html><script type="module" src="./main.js"></script>';
  const folder = await pages({
    'policy/index.html': html,
    'policy/main.js': main(PACKAGE, '/story.gguf'),
    'policy/public/story.gguf': { copy: MODEL },
    'single/index.html': html.replace('main', 'single'),
    'single/main.js': main(PACKAGE, '/story.gguf'),
    'single/story.gguf': { copy: MODEL },
  });
  await succeed(join(folder, 'policy'), bin(folder, 'vite'), ['build']);
  const bundle = ['main.js', '--bundle', '--format=esm', '--outfile=single.js'];
  await succeed(join(folder, 'single'), bin(root, 'esbuild'), bundle);
  const cdn = await serve(join(folder, 'node_modules', PACKAGE), {
    headers: { 'access-control-allow-origin': '*' },
  });
  try {
    await pages({
      'far/index.html': html,
      'far/main.js': main(`${cdn.url}dist/hyperion.min.js`, `${cdn.url}models/story.gguf`),
    });
    for (const [path, policy] of [
      ['policy/dist', whole],
      ['single', single],
      ['far', far.replaceAll(CDN, cdn.origin)],
    ]) {
      const headers = {
        ...ISOLATED,
        'content-security-policy': `default-src 'none'; ${policy}`,
      };
      const shown = await page(join(folder, path), { headers });
      try {
        const { story, trouble } = await shown.result();
        assert.match(story, STORY);
        assert.equal(trouble, '', path);
        assert.deepEqual(shown.problems, [], path);
      } finally {
        await shown.close();
      }
    }
  } finally {
    cdn.close();
  }
});
