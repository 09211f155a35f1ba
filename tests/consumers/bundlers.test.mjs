// The package in pages: applications that bundlers build, a few lines as a new user writes them,
// without a word of configuration about Hyperion; pages without bundler. All opened in Chromium,
// with shared memory and without. What is built is kept until the package or the project changes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import {
  CHAT_OPTIONS,
  ISOLATED,
  MESSAGES,
  MODEL,
  OPTIONS,
  PACKAGE,
  PROMPT,
  bin,
  chatModel,
  consumer,
  packed,
  page,
  project,
  replies,
  serve,
  succeed,
  view,
  writes,
} from './kit.mjs';

/** What the user writes. @param {string} [from] @param {object} [options] */
const app = (from = PACKAGE, options = {}) => `
import { open } from '${from}';

async function main() {
  const options = ${JSON.stringify(options)};
  const model = await open('story.gguf', options);
  let story = '';
  for await (const { text } of model.generate(${JSON.stringify(PROMPT)}, ${JSON.stringify(OPTIONS)}))
    story += text;
  let { threads, artefact } = await model.stats();
  while (threads.count > 1 && !threads.present && !threads.trouble) {
    await new Promise(resolve => setTimeout(resolve, 20));
    ({ threads } = await model.stats());
  }
  await model.close();
  const chatty = await open('chat.gguf', options);
  let reply = '';
  for await (const { text } of chatty.chat(${JSON.stringify(MESSAGES)}, ${JSON.stringify(CHAT_OPTIONS)}))
    reply += text;
  await chatty.close();
  return { story, reply, threads, artefact };
}

main().then(
  result => (globalThis.result = result),
  error => (globalThis.result = { error: String(error.stack ?? error) }),
);
`;
const APP = app();
const models = (folder = '') => ({
  [`${folder}story.gguf`]: { copy: MODEL },
  [`${folder}chat.gguf`]: { copy: chatModel() },
});
const html = (script = '/main.js', type = 'module') =>
  `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>story</title><script type="${type}" src="${script}"></script>\n`;

/**
 * Looks at what a page has done.
 * @param {Awaited<ReturnType<typeof page>>} shown @param {boolean} shared may threads share memory?
 */
async function check(shown, shared) {
  try {
    const result = await shown.result();
    assert.deepEqual([result.story, result.reply], [await writes(), await replies()]);
    assert.deepEqual(shown.missing ?? [], []);
    assert.deepEqual(shown.problems, []);
    assert.equal(result.threads.present > 0, shared && availableParallelism() > 1);
    assert.match(result.threads.trouble, shared ? /^$/ : /cross-origin isolated/);
  } finally {
    await shown.close();
  }
}

/** Opens what a bundler has made, without shared memory and with it. */
async function tell(folder, { headers = {}, ...options } = {}) {
  for (const shared of [false, true]) {
    const all = { ...headers, ...(shared ? ISOLATED : {}) };
    await check(await page(folder, { ...options, headers: all }), shared);
  }
}

/** A page of Next's app router: the same lines, once the page is there. */
const NEXT = {
  'next.config.mjs': "export default { output: 'export' };\n",
  'app/layout.js':
    'export default ({ children }) => <html lang="en"><body>{children}</body></html>;\n',
  'app/main.js': APP.replace(/main\(\)\.then[^]*/, 'export { main };\n'),
  'app/page.js': `'use client';
import { useEffect, useState } from 'react';
import { main } from './main.js';

export default function Page() {
  const [story, show] = useState('');
  useEffect(() => {
    main().then(
      result => (show(result.story), (globalThis.result = result)),
      error => (globalThis.result = { error: String(error.stack ?? error) }),
    );
  }, []);
  return <p>{story}</p>;
}
`,
  ...models('public/'),
};
const next = version => ({
  files: NEXT,
  dependencies: { next: version, react: '19.3.1', 'react-dom': '19.3.1' },
  run: ['next', 'build'],
  out: 'out',
});
const vite = version => ({
  files: { 'index.html': html(), 'main.js': APP, ...models('public/') },
  dependencies: { vite: version },
  run: ['vite', 'build', '--logLevel', 'warn'],
});

/**
 * What each is asked for is what its documentation begins with. `files` and exact `dependencies`
 * of the project, the command that builds it, the folder that it builds (dist); `after`: files
 * that are put there then.
 */
const BUNDLERS = {
  vite6: { name: 'Vite 6', ...vite('6.4.6'), develops: true },
  vite7: { name: 'Vite 7', ...vite('7.3.8'), develops: true },
  vite8: { name: 'Vite 8', ...vite('8.3.8'), develops: true },
  webpack5: {
    name: 'webpack 5',
    files: { 'src/index.js': APP },
    dependencies: { webpack: '5.112.2', 'webpack-cli': '7.3.1' },
    run: ['webpack', '--mode', 'production'],
    after: { 'index.html': html('main.js', 'text/javascript') },
  },
  next15: { name: 'Next 15', ...next('15.5.29') },
  next16: { name: 'Next 16', ...next('16.4.6') },
  parcel: {
    name: 'Parcel 2',
    files: { 'index.html': html('main.js'), 'main.js': APP },
    dependencies: { parcel: '2.16.4' },
    run: ['parcel', 'build', 'index.html', '--no-source-maps'],
  },
  esbuild: {
    name: 'esbuild',
    files: { 'main.js': APP },
    dependencies: { esbuild: '0.28.2' },
    run: ['esbuild', 'main.js', '--bundle', '--minify', '--outdir=dist'],
    after: { 'index.html': html('main.js', 'text/javascript') },
  },
  rollup: {
    name: 'Rollup 4',
    files: { 'main.js': APP },
    dependencies: { rollup: '4.68.7', '@rollup/plugin-node-resolve': '16.0.3' },
    run: ['rollup', 'main.js', '--file', 'dist/main.js', '--plugin', 'node-resolve', '--silent'],
    after: { 'index.html': html('main.js') },
  },
};
/** Where bundlers keep what they think will not change as long as a package has its version. */
const CACHES = ['.next', '.parcel-cache', 'node_modules/.vite', 'node_modules/.cache'];
const env = { NEXT_TELEMETRY_DISABLED: '1', CI: '1' };

/** Puts files into a folder. @param {string} folder @param {typeof NEXT} files */
function put(folder, files) {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    if (content.copy) copyFileSync(content.copy, join(folder, path));
    else writeFileSync(join(folder, path), content);
  }
}

const projectOf = key => project(key, BUNDLERS[key].files, BUNDLERS[key].dependencies);

/**
 * Builds a project, unless the package and the project are what they were when it was built last.
 * @param {string} key of BUNDLERS @param {string[]} [more] arguments @param {string} [out]
 * @returns {Promise<string>} the folder that has been built
 */
async function built(key, more = [], out = BUNDLERS[key].out ?? 'dist') {
  const { files, dependencies, run, after = models() } = BUNDLERS[key];
  const folder = await projectOf(key);
  const parts = [await packed(), files, dependencies, run, more, after];
  const wanted = createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  const mark = join(folder, 'node_modules', `.built-${out}`);
  if (existsSync(mark) && readFileSync(mark, 'utf8') === wanted) return join(folder, out);
  for (const old of [...CACHES, mark, out])
    rmSync(join(folder, old), { recursive: true, force: true });
  const [command, ...args] = run;
  await succeed(folder, bin(folder, command), [...args, ...more], { env, timeout: 290_000 });
  put(join(folder, out), { ...after, ...models() });
  writeFileSync(mark, wanted);
  return join(folder, out);
}

/**
 * Vite's development server.
 * @param {string} folder @returns {Promise<{url: string, end: () => void}>}
 */
async function develop(folder) {
  const vite = spawn(bin(folder, 'vite'), ['--force', '--host', '127.0.0.1', '--port', '0'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', NODE_ENV: undefined },
  });
  let said = '';
  const url = await new Promise((resolve, reject) => {
    const hear = data => {
      said += data;
      const [found] = /http:\/\/127\.0\.0\.1:\d+\//.exec(said) ?? [];
      if (found) resolve(found);
    };
    vite.stdout.on('data', hear);
    vite.stderr.on('data', hear);
    vite.on('exit', code => reject(new Error(`vite has ended with ${code}: ${said}`)));
  });
  return { url, end: () => vite.kill() };
}

for (const [key, { name, develops }] of Object.entries(BUNDLERS)) {
  consumer(name, async () => tell(await built(key)));
  if (develops)
    consumer(`${name}, its development server`, async () => {
      const server = await develop(await projectOf(key));
      try {
        await check(await view(server.url), false);
      } finally {
        server.end();
      }
    });
}

// As README.md names it, and tools/serve.mjs sends it.
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src data:";

consumer('a policy without blob and data addresses; a base path', async () => {
  const base = '/below/here/';
  const out = await built('vite8', ['--outDir', 'dist-below', '--base', base], 'dist-below');
  await tell(out, { base, headers: { 'content-security-policy': POLICY } });
});

const GLUE = `/node_modules/${PACKAGE}/glue/model`;
const CDN = `/node_modules/${PACKAGE}/dist/hyperion.min.js`;

consumer('a page without bundler', async () => {
  const folder = await project('page', {
    'index.html': `<!doctype html><script type="importmap">{"imports":{"${PACKAGE}":".${GLUE}/index.js"}}</script>
<script type="module" src="main.js"></script>`,
    'main.js': APP,
    'cdn.html': html('cdn.js'),
    'cdn.js': app(`.${CDN}`),
    'slim.html': html('slim.js'),
    'slim.js': app(`.${GLUE}/slim.js`).replace(
      /let reply = '';[^]*?messages.*$/m,
      'let reply = story; await model.chat([]).next().catch(error => (reply += error.code));',
    ),
    ...models(),
  });
  const headers = { 'content-security-policy': POLICY };
  for (const options of [{}, { base: '/below/here/' }]) await tell(folder, options);
  await tell(folder, { path: 'cdn.html', headers });
});

consumer('scripts of another origin', async () => {
  const folder = await project('page', {});
  const files = await serve(folder, {
    headers: {
      'access-control-allow-origin': '*',
      'cross-origin-resource-policy': 'cross-origin',
      'cross-origin-embedder-policy': 'require-corp',
    },
  });
  try {
    for (const [name, path] of Object.entries({ glue: `${GLUE}/index.js`, cdn: CDN })) {
      const own = await project(`origin-${name}`, {
        'index.html': html('main.js'),
        'main.js': app(files.origin + path),
        ...models(),
      });
      await tell(own);
    }
    assert.deepEqual(files.missing, []);
  } finally {
    files.close();
  }
});

consumer('scripts and artefacts in places of their own', async () => {
  const from = join(await projectOf('esbuild'), 'node_modules', PACKAGE, 'dist');
  const artefacts = ['hyperion-relaxed.wasm', 'hyperion-mt.wasm'];
  const folder = await project(
    'places',
    {
      'main.js': app(`${PACKAGE}/slim`, { workerUrl: 'scripts/worker.js', wasmUrl: './artefacts' }),
      'worker.js': `import '${PACKAGE}/worker';`,
      'dist/index.html': html('main.js'),
      ...models('dist/'),
    },
    BUNDLERS.esbuild.dependencies,
  );
  for (const [file, out] of Object.entries({ main: 'dist', worker: 'dist/scripts' })) {
    const args = [`${file}.js`, '--bundle', `--outdir=${out}`, '--format=esm'];
    await succeed(folder, bin(folder, 'esbuild'), args);
  }
  put(
    join(folder, 'dist/artefacts'),
    Object.fromEntries(artefacts.map(file => [file, { copy: join(from, file) }])),
  );
  await tell(join(folder, 'dist'));
});
