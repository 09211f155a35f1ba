// The suites: C tests natively, under sanitizers and model checkers, on ARM64 (qemu) and in wasm;
// the glue, the hosts, the types; schedules from seeds; every benchmark. Two at a time.
// usage: run.mjs              all but the long ones
//        run.mjs quick        the inner loop, under four minutes
//        run.mjs NAME…        those whose name contains one of these
//        run.mjs --long [NAME…]   the long ones, for hours
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeOracleModels } from './tools/models.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const built = (preset, program) => join(root, 'build', preset, program);
const node = (...args) => [process.execPath, ['--test', '--test-reporter=tap', ...args]];
const ctest = (preset, ...more) => [
  'ctest',
  ['--test-dir', join(root, 'build', preset), '--output-on-failure', '-j1', ...more],
];
const fuzz = (name, seconds, most, ...corpora) => [
  built('native-asan', name),
  [
    `-max_total_time=${seconds}`,
    `-max_len=${most}`,
    '-rss_limit_mb=2000',
    '-timeout=20',
    '-artifact_prefix=build/',
    ...corpora,
  ],
];
/** Schedules from so many seeds; a failing one is reproduced by `build/PRESET/sim SEED..SEED`. */
const sim = (preset, seeds) => [built(preset, 'sim'), [String(seeds)]];
const files = dir =>
  (existsSync(join(root, dir)) ? readdirSync(join(root, dir)) : [])
    .filter(f => f.endsWith('.test.mjs'))
    .map(f => `${dir}/${f}`);
// The package as its users install it; which file of tests/consumers, by how its name begins.
const consumers = prefix => {
  const chosen = files('tests/consumers').filter(f => f.startsWith(`tests/consumers/${prefix}`));
  return { run: node(...chosen), skip: !chosen.length };
};
const types = [join(root, 'node_modules/.bin/tsc'), ['-p', join(root, 'tests/types')]];
const format = [process.execPath, [join(root, 'tools/format.mjs'), '--check']];
// What does not turn on threads, and takes long, is left to the suite of this machine's processors.
const THREADED_GLUE = [
  '--test-name-pattern=^(?!.*(quantize in wasm|calibrate, and|both command lines))',
  ...files('tests/glue').filter(
    f => !/(structure|oracle|chat|docs|sources|cache|pull|edge|serve)\.test/.test(f),
  ),
];
const THREADED = ['-R', '^test_(session|pool|fiber)$'];
const OPENS = 'tests/hosts/opens.test.mjs';
const GLUE_SIM = files('tests/sim');
const OPTION_CORPORA = ['build/corpus_options', 'tests/fuzz/corpus_options'].map(dir =>
  join(root, dir),
);
const JOURNAL_CORPORA = ['build/corpus_journal', 'tests/fuzz/corpus_journal'].map(dir =>
  join(root, dir),
);
const STATE_CORPORA = ['build/corpus_state', 'tests/fuzz/corpus_state'].map(dir => join(root, dir));
const CORPORA = [join(root, 'build/corpus'), join(root, 'tests/fuzz/corpus')];

// Longest first, so that the two lanes end together.
//   run         command and arguments
//   quick       also in the inner loop
//   long        only by `npm run test:long`
//   processors  that the suite believes the machine to have (HYP_PROCESSORS)
//   busy        while it runs, other processes keep all processors busy
//   env         further variables; skip: there is nothing to run
const SUITES = {
  'C on ARM64 under qemu': { run: ctest('native-arm64') },
  'C under ASan and UBSan': { run: ctest('native-asan') },
  glue: { run: node(...files('tests/glue')), quick: true },
  'glue, as of 16 processors, all busy': {
    run: node(...THREADED_GLUE),
    processors: 16,
    busy: true,
  },
  'glue, as of 1 processor': { run: node(...THREADED_GLUE), processors: 1 },
  'benchmarks, quick': { run: node('tests/bench/quick.test.mjs') },
  'schedules, 1,000 seeds': { run: sim('native', 1000), quick: true },
  'schedules, 1,000 more, without traps': {
    run: sim('native', '1001..2000'),
    quick: true,
    env: { HYP_NO_TRAP: '1' },
  },
  'schedules: every allocation and read fails once': {
    run: sim('native', '--walk'),
    env: { HYP_NO_TRAP: '1' },
  },
  'schedules, 300 seeds under ASan and UBSan': { run: sim('native-asan', 300) },
  'schedules, 150 seeds under TSan': { run: sim('native-tsan', 150) },
  'schedules, 300 seeds, as of 16 processors, all busy': {
    run: sim('native', '2001..2300'),
    processors: 16,
    busy: true,
  },
  'schedules, 300 seeds, as of 1 processor': {
    run: sim('native', '2301..2600'),
    processors: 1,
  },
  'schedules through the glue': { run: node(...GLUE_SIM), skip: !GLUE_SIM.length },
  'the package: bundlers': consumers('bundlers'),
  'the package: hosts, TypeScript, workers': consumers('hosts'),
  'the package: examples': consumers('examples'),
  'browsers, Deno and workerd': { run: node(...files('tests/hosts').filter(f => f !== OPENS)) },
  'many openings': { run: node(OPENS) },
  'C natively, as of 16 processors, all busy': {
    run: ctest('native', ...THREADED),
    processors: 16,
    busy: true,
  },
  'C natively, as of 1 processor': { run: ctest('native', ...THREADED), processors: 1 },
  'fuzzing of models, 20 seconds': { run: fuzz('fuzz_model', 20, 60000, ...CORPORA) },
  'fuzzing of lanes, 10 seconds': { run: fuzz('fuzz_lane', 10, 900) },
  'fuzzing of options, 10 seconds': {
    run: fuzz('fuzz_options', 10, 400, ...OPTION_CORPORA),
  },
  'fuzzing of journals, 10 seconds': {
    run: fuzz('fuzz_journal', 10, 1200, ...JOURNAL_CORPORA),
  },
  'fuzzing of states, 10 seconds': { run: fuzz('fuzz_state', 10, 24000, ...STATE_CORPORA) },
  'lanes under Relacy and SPIN': { run: node(...files('tests/bus')) },
  'threads under TSan': { run: ctest('native-tsan', '-R', 'test_(fiber|lane|slab|pager|pool)') },
  'C in wasm': { run: ctest('wasm-tests') },
  'C natively': { run: ctest('native'), quick: true },
  'installed package': { run: node('tests/install/native.test.mjs'), quick: true },
  'installed package, by Emscripten': { run: node('tests/install/emscripten.test.mjs') },
  types: { run: types, quick: true },
  format: { run: format, quick: true },
  // Last: it compiles on all processors.
  'schedules: faults set on purpose are found': {
    run: [process.execPath, [join(root, 'tests/sim/mutants.mjs')]],
  },

  'schedules, 100,000 seeds': { run: sim('native', 100000), long: true },
  'schedules, 10,000 seeds under ASan and UBSan': { run: sim('native-asan', 10000), long: true },
  'schedules, 5,000 seeds under TSan': { run: sim('native-tsan', 5000), long: true },
  'schedules through the glue, many': {
    run: node(...GLUE_SIM),
    long: true,
    env: { HYP_LONG: '1' },
    skip: !GLUE_SIM.length,
  },
};
const LIMIT_S = 600; // of a suite that hangs; none takes half of it
const LONG_LIMIT_S = 12 * 3600;

/** How many tests an output speaks of; a suite that counts none is one test itself. */
function count(output, code) {
  const ok = Number(/^# pass (\d+)/m.exec(output)?.[1] ?? 0);
  const bad = Number(/^# fail (\d+)/m.exec(output)?.[1] ?? 0);
  if (ok + bad + skippedIn(output).length) return [ok, Math.max(bad, code ? 1 : 0)];
  const ctests = /(\d+)% tests passed, (\d+) tests failed out of (\d+)/.exec(output);
  if (ctests) return [ctests[3] - ctests[2], Math.max(Number(ctests[2]), code ? 1 : 0)];
  return code ? [0, 1] : [1, 0];
}

/** Tests that could not be run here, each with the reason. @param {string} output */
const skippedIn = output =>
  [...output.matchAll(/^\s*ok \d+ - (.*) # SKIP *(.*)$/gm)].map(
    ([, name, reason]) => `${name}: ${reason || 'no reason given'}`,
  );

// Nothing is kept in the developer's own cache.
const cacheFolder = mkdtempSync(join(tmpdir(), 'hyperion-tests-'));
process.on('exit', () => rmSync(cacheFolder, { recursive: true, force: true }));

// Spins until it is ended, or the process that started it is gone.
const SPIN = 'const p = process.ppid; while (process.ppid === p) for (let i = 0; i < 1e8; i++);';
const neighbours = new Set();
process.on('exit', () => neighbours.forEach(n => n.kill('SIGKILL')));

/** Keeps every processor busy; returns what ends that. */
function keepBusy() {
  const mine = Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['-e', SPIN], { stdio: 'ignore' }),
  );
  for (const child of mine) neighbours.add(child);
  return () =>
    mine.forEach(child => {
      child.kill('SIGKILL');
      neighbours.delete(child);
    });
}

/** Runs a suite; gives its exit code and what it printed. */
async function play({ run: [command, args], processors, busy, long, env }) {
  const endBusy = busy ? keepBusy() : () => {};
  const pretend = processors ? { HYP_PROCESSORS: String(processors) } : {};
  const child = spawn(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, HYPERION_CACHE: cacheFolder, ...pretend, ...env },
  });
  let output = '';
  const seconds = long ? LONG_LIMIT_S : LIMIT_S;
  const limit = setTimeout(() => {
    output += `\nstill running after ${seconds} s: ended\n`;
    child.kill('SIGKILL');
    child.stdout.destroy();
    child.stderr.destroy();
  }, seconds * 1000);
  child.stdout.on('data', data => (output += data));
  child.stderr.on('data', data => (output += data));
  const code = await new Promise(resolve => {
    child.on('error', error => {
      output += error.message;
      resolve(1);
    });
    child.on('close', (status, signal) => resolve(signal ? 1 : status));
  });
  clearTimeout(limit);
  endBusy();
  return [code, output];
}

const long = process.argv[2] === '--long';
const names = process.argv.slice(long ? 3 : 2);
const inner = names[0] === 'quick';
const wanted = (name, suite) =>
  !suite.skip &&
  Boolean(suite.long) === long &&
  (inner ? suite.quick : !names.length || names.some(n => name.includes(n)));
const queue = Object.entries(SUITES).filter(([name, suite]) => wanted(name, suite));
let passed = 0;
let failed = 0;
let notRun = 0;

async function lane() {
  for (let next; (next = queue.shift());) {
    const [name, suite] = next;
    const start = performance.now();
    const [code, output] = await play(suite);
    const [good, bad] = count(output, code);
    passed += good;
    failed += bad;
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const verdict = bad ? 'FAILED' : 'ok    ';
    console.log(`${verdict} ${name}: ${good} passed, ${bad} failed (${seconds} s)`);
    for (const one of skippedIn(output)) console.log(`       not run: ${one}`);
    notRun += skippedIn(output).length;
    if (bad) console.log(output.split('\n').slice(-400).join('\n'));
  }
}

makeOracleModels(join(root, 'build/models'));
for (const dir of ['', '_options', '_journal', '_state'].map(kind => `build/corpus${kind}`))
  mkdirSync(join(root, dir), { recursive: true });
await Promise.all([lane(), lane()]);
console.log(`\n${passed} passed, ${failed} failed${notRun ? `, ${notRun} not run` : ''}`);
process.exit(failed || !passed ? 1 : 0);
