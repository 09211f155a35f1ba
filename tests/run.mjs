// The whole suite: C tests natively, under sanitizers and model checkers, on ARM64 (qemu) and in wasm; the glue, the hosts, the types. Two at a time.
// usage: run.mjs [NAME…]   only the suites whose name contains one of these
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeOracleModels } from './tools/models.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
makeOracleModels(join(root, 'build/models'));
mkdirSync(join(root, 'build/corpus'), { recursive: true });
const node = (...files) => [process.execPath, ['--test', '--test-reporter=tap', ...files.map(f => join(root, f))]];
const ctest = (preset, ...more) => ['ctest', ['--test-dir', join(root, 'build', preset), '--output-on-failure', '-j1', ...more]];
const fuzz = (name, seconds, most, ...corpora) => [join(root, 'build/native-asan', name), [`-max_total_time=${seconds}`, `-max_len=${most}`, '-rss_limit_mb=2000', '-timeout=20', '-artifact_prefix=build/', ...corpora]];
const files = dir => readdirSync(join(root, dir)).filter(f => f.endsWith('.test.mjs')).map(f => `${dir}/${f}`);

// Longest first, so that the two lanes end together.
const SUITES = {
  'C on ARM64 under qemu': ctest('native-arm64'),
  'C under ASan and UBSan': ctest('native-asan'),
  glue: node(...files('tests/glue')),
  'browsers, Deno and workerd': node(...files('tests/hosts')),
  'fuzzing of models, 20 seconds': fuzz('fuzz_model', 20, 60000, join(root, 'build/corpus'), join(root, 'tests/fuzz/corpus')),
  'fuzzing of lanes, 10 seconds': fuzz('fuzz_lane', 10, 900),
  'lanes under Relacy and SPIN': node(...files('tests/bus')),
  'threads under TSan': ctest('native-tsan', '-R', 'test_(fiber|lane|slab|pager|team)'),
  'C in wasm': ctest('wasm-tests'),
  'C natively': ctest('native'),
  types: [join(root, 'node_modules/.bin/tsc'), ['-p', join(root, 'tsconfig.json'), '--noEmit', '--emitDeclarationOnly', 'false', '--declaration', 'false']],
};

/** How many tests an output speaks of; a suite that counts none is one test itself. */
function count(output, code) {
  const ok = Number(/^# pass (\d+)/m.exec(output)?.[1] ?? 0);
  const bad = Number(/^# fail (\d+)/m.exec(output)?.[1] ?? 0);
  if (ok + bad) return [ok, Math.max(bad, code ? 1 : 0)];
  const ctests = /(\d+)% tests passed, (\d+) tests failed out of (\d+)/.exec(output);
  if (ctests) return [ctests[3] - ctests[2], Math.max(Number(ctests[2]), code ? 1 : 0)];
  return code ? [0, 1] : [1, 0];
}

const LIMIT_S = 300;
const wanted = process.argv.slice(2);
const queue = Object.entries(SUITES).filter(([name]) => !wanted.length || wanted.some(w => name.includes(w)));
let passed = 0;
let failed = 0;

async function lane() {
  for (let next; (next = queue.shift());) {
    const [name, [command, args]] = next;
    const start = performance.now();
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const limit = setTimeout(() => ((output += `\nstill running after ${LIMIT_S} s: ended\n`), child.kill('SIGKILL'), child.stdout.destroy(), child.stderr.destroy()), LIMIT_S * 1000);
    let output = '';
    child.stdout.on('data', data => (output += data));
    child.stderr.on('data', data => (output += data));
    const code = await new Promise(resolve => child.on('error', error => ((output += error.message), resolve(1))).on('close', (status, signal) => resolve(signal ? 1 : status)));
    clearTimeout(limit);
    const [good, bad] = count(output, code);
    passed += good;
    failed += bad;
    console.log(`${bad ? 'FAILED' : 'ok    '} ${name}: ${good} passed, ${bad} failed (${((performance.now() - start) / 1000).toFixed(1)} s)`);
    if (bad) console.log(output.split('\n').slice(-400).join('\n'));
  }
}

await Promise.all([lane(), lane()]);
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);
