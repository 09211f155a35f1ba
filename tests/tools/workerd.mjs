// Real workerd with a worker and what it imports.
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const HOST = '127.0.0.1';
let started = 0;

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
 *   flags?: string[], inspect?: boolean, network?: boolean}} options
 *   main: the worker's script; modules: artefacts and data by the names that it imports them by;
 *   services: addresses by the names of its bindings; flags: of compatibility; inspect: with its
 *   inspector, at `inspector`; network: its `fetch` reaches this machine
 */
export async function startWorkerd(
  folder,
  { main, modules = {}, services = {}, flags = [], inspect = false, network = false },
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
  if (network) external.push('(name = "internet", network = (allow = ["private"])),');
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
