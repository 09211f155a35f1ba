// Deno and workerd, the real ones: each loads an artefact and writes eight tokens, the same as Node
// does.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { open } from 'hyperion-runtime';
import { makeOracleModels } from '../tools/models.mjs';
import { startWorkerd } from '../tools/workerd.mjs';

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
  const workerd = await startWorkerd(dir, {
    main: 'tests/hosts/workerd_main.mjs',
    modules: { 'hyperion.wasm': 'dist/hyperion.wasm', 'story.gguf': 'models/story.gguf' },
  });
  try {
    const response = await fetch(workerd.url);
    const body = await response.text();
    assert.equal(response.status, 200, body + workerd.log());
    const answer = JSON.parse(body);
    assert.deepEqual([answer.text, answer.tokens], [want, 8]);
    assert.ok(answer.memory.linearMemoryBytes < 16e6);
  } finally {
    workerd.close();
  }
});
