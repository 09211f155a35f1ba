// The core as a program of WASI, in Node's host of it: it tells what every other host tells.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { open } from 'hyperion-runtime';

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
const STORY = join(root, 'models/story.gguf');

/** The example, as its reader runs it. */
const hello = model =>
  run(process.execPath, [
    '--no-warnings',
    join(root, 'examples/wasi/main.mjs'),
    join(root, 'build/wasm/hello.wasm'),
    model,
  ]);

test('a program of WASI tells a story', async () => {
  await run('cmake', ['--preset', 'wasm'], { cwd: root });
  await run('cmake', ['--build', 'build/wasm', '-j2', '--target', 'hello_wasi'], { cwd: root });
  const { stdout } = await hello(STORY);
  const story = await open(STORY, { worker: false, threads: 1 });
  const prompt = 'Once upon a time';
  const { text } = await story.complete(prompt, { temperature: 0.7, seed: 7, maxTokens: 5000 });
  await story.close();
  assert.equal(stdout, `${prompt}${text}\n`);

  const dir = mkdtempSync(join(tmpdir(), 'hyperion-wasi-'));
  try {
    await assert.rejects(hello(join(dir, 'none.gguf')), /can not open/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
