// One answer that wanders: begun natively, it goes on in Node, in workerd, in Deno, natively again
// and so on, each from the state that the one before has saved. Its text is that of an answer that
// stayed where it was.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { open } from 'hyperion-runtime';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bin = name => join(root, 'node_modules/.bin', name);
const STORY = join(root, 'models/story.gguf');
const dir = mkdtempSync(join(tmpdir(), 'hyperion-state-'));
after(() => rmSync(dir, { recursive: true }));
const execute = promisify(execFile);

const freePort = () =>
  new Promise(resolve => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });

/** Starts workerd with the worker; gives its address and what ends it. */
async function startWorkerd() {
  const port = await freePort();
  const embed = path => JSON.stringify(join(root, path));
  const files = readdirSync(join(root, 'glue'), { recursive: true })
    .map(String)
    .filter(name => name.endsWith('.js') && !name.startsWith('cli'));
  const config = join(dir, 'config.capnp');
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .main)], sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]);
const main :Workerd.Worker = (
  compatibilityDate = "2026-10-01",
  modules = [
    (name = "worker", esModule = embed ${embed('tests/hosts/state_main.mjs')}),
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
  let over = false;
  workerd.on('exit', () => (over = true));
  // the launcher and the server that it started
  const end = () => over || process.kill(-workerd.pid);
  const address = `http://127.0.0.1:${port}/`;
  for (let i = 0; i < 300 && !over; i++) {
    await new Promise(resolve => setTimeout(resolve, 100));
    const response = await fetch(address, { method: 'POST', body: 'x' }).catch(() => undefined);
    if (response) {
      assert.match(await response.text(), /no state of a session/);
      return { address, end };
    }
  }
  end();
  return assert.fail(`workerd does not answer: ${log}`);
}

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
    const { address, end } = await startWorkerd();
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
        const response = await fetch(`${address}?tokens=${tokens}`, { method: 'POST', body });
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
      end();
      await model.close();
    }
  });
