// One answer that wanders: begun natively, it goes on in Node, in workerd, in Deno, natively again
// and so on, each from the state that the one before has saved. Its text is that of an answer that
// stayed where it was.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { open } from 'hyperion-runtime';
import { startWorkerd } from '../tools/workerd.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bin = name => join(root, 'node_modules/.bin', name);
const STORY = join(root, 'models/story.gguf');
const dir = mkdtempSync(join(tmpdir(), 'hyperion-state-'));
after(() => rmSync(dir, { recursive: true }));
const execute = promisify(execFile);

const startHere = () =>
  startWorkerd(dir, {
    main: 'tests/hosts/state_main.mjs',
    modules: { 'hyperion.wasm': 'dist/hyperion.wasm', 'story.gguf': 'models/story.gguf' },
  });

for (const cache of ['f16', 'q8_0'])
  test(`an answer that wanders through every host, ${cache}`, async () => {
    const file = join(dir, `${cache}.state`);
    const native = async (...args) => {
      const { stdout } = await execute(join(root, 'build/native/hyperion'), [
        ...['run', STORY, ...args, '-q'],
        ...['--save-state', file],
      ]);
      return stdout.replace(/\n$/, '');
    };
    const sampling = { seed: 3, temperature: 0.9, repeatPenalty: 1.1, mirostat: 4 };
    const model = await open(STORY, { worker: false, cache, context: 200 });
    let want = 'One day';
    for await (const piece of model.generate(want, { ...sampling, maxTokens: 80 }))
      want += piece.text;
    const workerd = await startHere();
    const hosts = {
      native: tokens => native('--state', file, '-n', String(tokens)),
      async Node(tokens) {
        const session = await model.restore(readFileSync(file));
        let text = '';
        let made = 0;
        for await (const piece of session.resume({ maxTokens: tokens + 1 })) {
          text += piece.text;
          if (++made === tokens) break;
        }
        writeFileSync(file, await session.save());
        await session.close();
        return text;
      },
      async workerd(tokens) {
        const body = readFileSync(file);
        const response = await fetch(`${workerd.url}/?tokens=${tokens}`, { method: 'POST', body });
        if (!response.ok) assert.fail(await response.text());
        writeFileSync(file, new Uint8Array(await response.arrayBuffer()));
        return decodeURIComponent(response.headers.get('X-Text'));
      },
      async Deno(tokens) {
        const script = join(root, 'tests/hosts/state_deno.mjs');
        const { stdout } = await execute(
          bin('deno'),
          ['run', '-A', '--no-remote', script, file, String(tokens)],
          { env: { ...process.env, DENO_DIR: dir, DENO_NO_UPDATE_CHECK: '1' }, timeout: 60000 },
        );
        return JSON.parse(stdout).text;
      },
    };
    try {
      const begun = ['-n', '7', '-s', '3', '-t', '0.9', '--repeat-penalty', '1.1'];
      const kind = ['--mirostat', '4', '--cache', cache, '-c', '200'];
      let told = await native('One day', ...begun, ...kind);
      const way = ['Node', 'workerd', 'Deno', 'workerd', 'native', 'Deno', 'Node', 'native'];
      for (const [i, host] of way.entries()) {
        told += await hosts[host](3 + i);
        assert.ok(want.startsWith(told), `after ${host}: '${told}', not '${want}'`);
      }
      told += await hosts.workerd(80 - 7 - way.reduce((sum, _, i) => sum + 3 + i, 0));
      assert.ok(
        want.startsWith(told) && want.length - told.length < 16,
        `'${told}', not '${want}'`,
      );
    } finally {
      workerd.close();
      await model.close();
    }
  });
