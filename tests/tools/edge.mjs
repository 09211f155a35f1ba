// Hosts for the handler of glue/edge: real workerd with a worker and what it imports, and a server
// that gives parts of a file, as a bucket does.
import { spawn } from 'node:child_process';
import { openSync, readFileSync, readSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const bin = name => join(root, 'node_modules/.bin', name);
const HOST = '127.0.0.1';
let started = 0;

/**
 * Parts of a file over loopback HTTP. `delay`: ms before each answer; `asked`: how often, and for
 * how many bytes.
 * @param {string} path @param {{delay?: number}} [options]
 */
export async function serveParts(path, { delay = 0 } = {}) {
  const size = statSync(path).size;
  const file = openSync(path, 'r');
  const asked = { count: 0, bytes: 0 };
  const server = createServer(async (request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (!range) return void response.writeHead(400).end();
    const start = Number(range[1]);
    const end = Math.min(Number(range[2]) + 1, size);
    const bytes = Buffer.alloc(end - start);
    readSync(file, bytes, 0, bytes.length, start);
    asked.count++;
    asked.bytes += bytes.length;
    if (delay) await sleep(delay);
    const headers = {
      'content-range': `bytes ${start}-${end - 1}/${size}`,
      'content-length': bytes.length,
      etag: '"1"',
    };
    response.writeHead(206, headers).end(bytes);
  });
  await new Promise(resolve => server.listen(0, HOST, () => resolve(undefined)));
  const { port } = server.address();
  const close = () => (server.closeAllConnections(), server.close());
  return { host: `${HOST}:${port}`, url: `http://${HOST}:${port}/model.gguf`, size, asked, close };
}

/** What an application's bundle would hold: the glue without the command line. */
export const glueFiles = () =>
  ['core', 'source', 'model', 'edge', 'generated'].flatMap(folder =>
    readdirSync(join(root, 'glue', folder), { recursive: true })
      .filter(name => name.endsWith('.js'))
      .map(name => `glue/${folder}/${name}`),
  );

/** A line of /proc/PID/status in MB. @param {number} pid @param {string} name */
function statusMb(pid, name) {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm');
  return (Number(line.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024) / 1e6;
}

/**
 * Real workerd with a worker. It ends with `close`.
 * @param {string} folder for its configuration
 * @param {{main: string, modules?: Record<string, string>, services?: Record<string, string>,
 *   flags?: string[], inspect?: boolean}} options main: the worker's script; modules: artefacts and
 *   data by the names that it imports them by; services: addresses by the names of its bindings;
 *   flags: of compatibility; inspect: with its inspector, at `inspector`
 */
export async function startWorkerd(
  folder,
  { main, modules = {}, services = {}, flags = [], inspect = false },
) {
  const embed = path => `embed ${JSON.stringify(join(root, path))}`;
  const module = (name, path) =>
    path.endsWith('.wasm')
      ? `(name = "${name}", wasm = ${embed(path)}),`
      : path.endsWith('.js') || path.endsWith('.mjs')
        ? `(name = "${name}", esModule = ${embed(path)}),`
        : `(name = "${name}", data = ${embed(path)}),`;
  const all = [
    module('worker', main),
    ...glueFiles().map(path => module(path, path)),
    ...Object.entries(modules).map(([name, path]) => module(name, path)),
  ];
  const external = Object.entries(services).map(
    ([name, address]) =>
      `(name = "${name.toLowerCase()}", external = (address = "${address}", http = ())),`,
  );
  const bindings = Object.keys(services).map(
    name => `(name = "${name}", service = "${name.toLowerCase()}"),`,
  );
  const config = join(folder, `workerd-${++started}.capnp`);
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main), ${external.join(' ')}],
  sockets = [(name = "http", address = "${HOST}:0", http = (), service = "main")],
);
const main :Workerd.Worker = (
  compatibilityDate = "2026-10-01",
  compatibilityFlags = [${flags.map(flag => JSON.stringify(flag)).join(', ')}],
  bindings = [${bindings.join(' ')}],
  modules = [
    ${all.join('\n    ')}
  ],
);
`,
  );
  const inspector = inspect ? [`--inspector-addr=${HOST}:0`] : [];
  const child = spawn(
    createRequire(import.meta.url)('workerd').default,
    ['serve', '--import-path=/', '--control-fd=3', ...inspector, config],
    {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    },
  );
  let log = '';
  for (const output of [child.stdout, child.stderr]) output.on('data', data => (log += data));
  let told = '';
  const port = await new Promise((resolve, reject) => {
    child.stdio[3].on('data', data => {
      told += data;
      const [, port] = /"socket":"http","port":(\d+)/.exec(told) ?? [];
      if (port) resolve(Number(port));
    });
    child.once('close', () => reject(new Error(`workerd does not listen: ${log}`)));
    child.once('error', reject);
  });
  const { pid } = child;
  return {
    url: `http://${HOST}:${port}`,
    inspector: `${HOST}:${/"listen-inspector","port":(\d+)/.exec(told)?.[1]}`,
    close: () => child.kill('SIGKILL'), // it waits for open connections otherwise
    log: () => log,
    /** Memory of the process, MB, now and at most. */
    memory: () => ({ rss: statusMb(pid, 'VmRSS'), peak: statusMb(pid, 'VmHWM') }),
    /** Time that its thread, which runs the isolate, has had a processor, ms. */
    cpuMs: () => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6,
  };
}

/**
 * What comes of an answer as server-sent events, up to its end.
 * @param {Response} response
 * @param {(event: any) => void} [seen] as each comes
 */
export async function eventsOf(response, seen = () => {}) {
  const all = [];
  let text = '';
  for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
    text += bytes;
    const lines = text.split('\n\n');
    text = lines.pop();
    for (const line of lines) {
      const data = line.replace(/^data: /, '');
      all.push(data === '[DONE]' ? data : JSON.parse(data));
      seen(all.at(-1));
    }
  }
  return all;
}
