// Deno and workerd, the real ones: each loads an artefact and writes eight tokens, the same as Node
// does.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { open } from 'hyperion-runtime';
import { makeOracleModels } from '../tools/models.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bin = name => join(root, 'node_modules/.bin', name);
const dir = mkdtempSync(join(tmpdir(), 'hyperion-'));
after(() => rmSync(dir, { recursive: true }));

const model = await open(join(root, 'models/story.gguf'));
let want = '';
for await (const piece of model.generate('Once upon a time', { temperature: 0, maxTokens: 8 }))
  want += piece.text;
await model.close();

makeOracleModels(join(root, 'build/models'));

test('Deno', async () => {
  const { stdout } = await promisify(execFile)(
    bin('deno'),
    ['run', '--allow-read', '--no-remote', join(root, 'tests/hosts/deno_main.mjs')],
    { env: { ...process.env, DENO_DIR: dir, DENO_NO_UPDATE_CHECK: '1' }, timeout: 60000 },
  );
  const answer = JSON.parse(stdout);
  assert.deepEqual([answer.text, answer.tokens, answer.artefact], [want, 8, 'relaxed']);
  assert.ok(
    answer.compared > 4000 && answer.different === 0,
    `relaxed and plain SIMD differ at ${answer.different} of ${answer.compared} positions`,
  );
  assert.ok(
    answer.worst <= 1,
    `log-probabilities differ from the oracle's by ${answer.worst} of the bound`,
  );
  assert.equal(answer.threads, Math.min(availableParallelism(), 8));
  assert.ok(
    availableParallelism() === 1 || answer.byWorkers > 0,
    'no worker thread has computed anything',
  );
});

test('workerd', async () => {
  const free = await new Promise(resolve => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
  const embed = path => JSON.stringify(join(root, path));
  // What an application's bundle would hold: all but the command line.
  const files = ['core', 'source', 'model', 'generated'].flatMap(folder =>
    readdirSync(join(root, 'glue', folder), { recursive: true })
      .filter(name => name.endsWith('.js'))
      .map(name => `${folder}/${name}`),
  );
  const config = join(dir, 'config.capnp');
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .main)], sockets = [(name = "http", address = "127.0.0.1:${free}", http = (), service = "main")]);
const main :Workerd.Worker = (
  compatibilityDate = "2026-10-01",
  modules = [
    (name = "worker", esModule = embed ${embed('tests/hosts/workerd_main.mjs')}),
    ${files.map(f => `(name = "glue/${f}", esModule = embed ${embed(`glue/${f}`)}),`).join('\n    ')}
    (name = "hyperion.wasm", wasm = embed ${embed('dist/hyperion.wasm')}),
    (name = "story.gguf", data = embed ${embed('models/story.gguf')}),
  ],
);
`,
  );
  const workerd = spawn(bin('workerd'), ['serve', '--import-path=/', config], {
    stdio: ['ignore', 'inherit', 'pipe'],
    detached: true,
  });
  let log = '';
  workerd.stderr.on('data', data => (log += data));
  try {
    let response;
    for (let i = 0; i < 150 && !response; i++) {
      await new Promise(resolve => setTimeout(resolve, 100));
      response = await fetch(`http://127.0.0.1:${free}/`).catch(() => undefined);
    }
    assert.ok(response, `workerd does not answer: ${log}`);
    const body = await response.text();
    assert.equal(response.status, 200, body);
    const answer = JSON.parse(body);
    assert.deepEqual([answer.text, answer.tokens], [want, 8]);
    assert.ok(answer.memory.linearMemoryBytes < 16e6);
  } finally {
    process.kill(-workerd.pid); // the launcher and the server that it started
  }
});
