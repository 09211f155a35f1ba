#!/usr/bin/env node
// Installs what is missing, builds what is old, and then does what the command asked for. Every npm
// script comes through here.
// usage: setup.mjs [build | start | test | test:long | format | peers | bench | web] [arguments]
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
// What npm puts on the path would be found by clang and emcc, which want a wasm-opt of their own.
process.env.PATH = process.env.PATH.split(delimiter)
  .filter(dir => !dir.endsWith(join('node_modules', '.bin')))
  .join(delimiter);
const [task = 'build', ...args] = process.argv.slice(2);
const say = text => console.error(`[setup] ${text}`);
const fail = text => {
  console.error(`[setup] ${text}`);
  process.exit(1);
};

const onPath = name => process.env.PATH.split(delimiter).some(dir => existsSync(join(dir, name)));
const libraries = name =>
  existsSync(`/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/${name}`);
// Debian packages by what they are needed for, each with a sign that it is there.
const PACKAGES = {
  wasm: [
    ['clang-19', () => onPath('clang-19')],
    ['lld-19', () => onPath('wasm-ld-19')],
    ['llvm-19', () => onPath('llvm-ar-19')],
    ['cmake', () => onPath('cmake')],
    ['ninja-build', () => onPath('ninja')],
    ['wasi-libc', () => existsSync('/usr/include/wasm32-wasi/stdio.h')],
    [
      'libclang-rt-19-dev-wasm32',
      () => existsSync('/usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a'),
    ],
  ],
  native: [['libc6-dev', () => existsSync('/usr/include/stdio.h')]],
  tests: [
    ['clang-format-19', () => onPath('clang-format-19')],
    [
      'libclang-rt-19-dev',
      () =>
        existsSync('/usr/lib/llvm-19/lib/clang/19/lib/linux') ||
        existsSync('/usr/lib/llvm-19/lib/clang/19/lib/x86_64-pc-linux-gnu'),
    ],
    ['gcc-aarch64-linux-gnu', () => onPath('aarch64-linux-gnu-gcc')],
    ['libc6-dev-arm64-cross', () => existsSync('/usr/aarch64-linux-gnu/include/stdio.h')],
    ['qemu-user', () => onPath('qemu-aarch64')],
    ['chromium', () => onPath('chromium')],
    ['firefox-esr', () => onPath('firefox-esr')],
    ['git', () => onPath('git')],
    ['pkgconf', () => onPath('pkg-config')],
    ['relacy-dev', () => existsSync('/usr/include/relacy/relacy.hpp')],
    ['spin', () => onPath('spin')],
    ['libstdc++-12-dev', () => existsSync('/usr/include/c++/12/atomic')],
  ],
  bench: [
    ['libboost-context-dev', () => existsSync('/usr/include/boost/context')],
    ['libboost-dev', () => existsSync('/usr/include/boost/lockfree')],
    ['libck-dev', () => existsSync('/usr/include/ck_ring.h')],
    ['libjemalloc2', () => libraries('libjemalloc.so.2')],
    ['libtcmalloc-minimal4', () => libraries('libtcmalloc_minimal.so.4')],
  ],
};

function run(command, argv, options = {}) {
  const { status, error } = spawnSync(command, argv, { cwd: root, stdio: 'inherit', ...options });
  if (error) fail(`${command} could not be started: ${error.message}`);
  return status;
}

function installPackages(groups) {
  const missing = groups
    .flatMap(g => PACKAGES[g])
    .filter(([, there]) => !there())
    .map(([name]) => name);
  if (!missing.length) return;
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  const isRoot = process.getuid?.() === 0;
  const canSudo = !isRoot && onPath('sudo') && spawnSync('sudo', ['-n', 'true']).status === 0;
  if (!onPath('apt-get') || !(isRoot || canSudo))
    fail(
      `this machine lacks: ${missing.join(' ')}\n[setup] install them and try again; on Debian 12 or Ubuntu 24.10:\n    sudo ${command}\n[setup] or use the Containerfile, which has everything`,
    );
  say(`installing Debian packages: ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...argv) =>
    isRoot
      ? run('apt-get', argv, { env, stdio: ['ignore', 'ignore', 'inherit'] })
      : run('sudo', ['-n', 'apt-get', ...argv], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  if (
    apt('update', '-qq') !== 0 ||
    apt('install', '-y', '--no-install-recommends', ...missing) !== 0
  )
    fail(`installing failed; by hand:\n    sudo apt-get update && sudo ${command}`);
}

/** npm's packages of `dir`, when its lock file has changed since they were installed. */
function installModules(dir, what) {
  const lock = readFileSync(join(dir, 'package-lock.json'));
  const stamp = createHash('sha256').update(lock).digest('hex');
  const mark = join(dir, 'node_modules/.hyperion-stamp');
  if (existsSync(mark) && readFileSync(mark, 'utf8') === stamp) return;
  say(`installing npm packages ${what}`);
  // `install` without saving takes the locked versions as `ci` does, but forgives optional packages
  // of other platforms that a registry lacks.
  if (
    run(
      'npm',
      ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'],
      { cwd: dir, stdio: ['ignore', 'ignore', 'inherit'] },
    ) !== 0
  )
    fail(`npm install failed in ${dir}`);
  writeFileSync(mark, stamp);
}

/** @param {string} preset @param {...string} targets all of them, when none is named */
async function build(preset, ...targets) {
  const dir = join(root, 'build', preset);
  // Debian's emcc looks for its own modules where another Node does not.
  const env =
    preset === 'emscripten'
      ? { EMSCRIPTEN_ROOT: '/usr/share/emscripten', NODE_PATH: '/usr/share/nodejs', ...process.env }
      : process.env;
  if (!existsSync(join(dir, 'build.ninja'))) {
    say(`configuring ${preset}`);
    if (run('cmake', ['--preset', preset], { env, stdio: ['ignore', 'ignore', 'inherit'] }) !== 0)
      fail(`cmake --preset ${preset} failed`);
  }
  // Said only when there is something to wait for.
  const announce = setTimeout(() => say(`building ${preset}`), 400);
  const child = spawn(
    'cmake',
    ['--build', dir, '-j2', ...(targets.length ? ['--target', ...targets] : [])],
    { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  child.stdout.on('data', data => (output += data));
  child.stderr.on('data', data => (output += data));
  const code = await new Promise(resolve =>
    child.on('error', () => resolve(1)).on('close', resolve),
  );
  clearTimeout(announce);
  if (code !== 0) fail(`building ${preset} failed\n${output}`);
}

const node = (file, ...argv) => run(process.execPath, [join(root, file), ...argv]);

async function prepare(...groups) {
  installPackages(groups);
  installModules(root, 'for the build and the tests');
  if (node('tools/generate.mjs') !== 0) fail('tools/generate.mjs failed');
  await build('wasm');
  if (node('tools/bundle.mjs') !== 0) fail('tools/bundle.mjs failed');
  if (groups.includes('native')) await build('native');
}

function peers() {
  installModules(
    join(root, 'tests/peers'),
    'of the peers (llama.cpp, wllama, transformers.js, tokenizers)',
  );
}

/** What the suites of tests/run.mjs run. */
async function buildAll() {
  for (const preset of ['native-asan', 'native-arm64', 'wasm-tests']) await build(preset);
  const threaded = ['fiber', 'lane', 'slab', 'pager', 'pool'].map(name => `test_${name}`);
  await build('native-tsan', ...threaded, 'sim');
  // not installed by us: Debian's brings a Node of its own
  if (onPath('emcc')) await build('emscripten');
  // Before the suites begin: two builds in one folder would meet.
  say('building the benchmarks');
  const { build: buildBench } = await import('../tests/bench/tools.mjs');
  const { PROGRAMS } = await import('../tests/bench/benches.mjs');
  buildBench('native', ...PROGRAMS, 'hyperion');
  buildBench('wasm', 'fiber_wasm');
  buildBench('wasm-tests', 'bench_sparse');
}

switch (task) {
  case 'build':
    await prepare('wasm');
    break;
  case 'start':
    await prepare('wasm');
    process.exit(
      args.length
        ? node('glue/cli/main.js', ...args)
        : node('glue/cli/main.js', 'run', 'story', 'Once upon a time', '-s', '2', '-t', '0.7'),
    );
    break;
  case 'web':
    await prepare('wasm');
    process.exit(node('tools/serve.mjs', ...args));
    break;
  case 'test':
  case 'test:long':
    await prepare('wasm', 'native', 'tests');
    await build('native', 'sim');
    // The inner loop needs no more than the host's own build.
    if (args[0] !== 'quick') await buildAll();
    process.exit(node('tests/run.mjs', ...(task === 'test:long' ? ['--long'] : []), ...args));
    break;
  case 'format':
    installPackages(['tests']);
    installModules(root, 'for the build and the tests');
    process.exit(node('tools/format.mjs', ...args));
    break;
  case 'peers':
    await prepare('wasm', 'native');
    peers();
    process.exit(node('tests/peers/run.mjs', ...args));
    break;
  case 'bench':
    if (args.includes('--quick')) {
      // What is installed will do: a quick run leaves out the peers that are not.
      await prepare('wasm', 'native', 'tests');
    } else {
      await prepare('wasm', 'native', 'tests', 'bench');
      if (
        ['decode', 'prefill', 'context', 'quantizers'].includes(args.find(a => !a.startsWith('-')))
      )
        peers();
    }
    process.exit(node('tests/bench/run.mjs', ...args));
    break;
  default:
    fail(`unknown task ${task}: build, start, test, test:long, format, peers, bench or web`);
}
