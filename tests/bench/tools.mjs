// What the benchmarks share.
import { execFile, execFileSync } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { makeShape } from '../tools/models.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url));
/**
 * A quick run shows that a benchmark works: little is measured, nothing is written, and a peer that
 * is not installed is left out.
 */
export const quick = Boolean(process.env.HYP_QUICK);
export const PEERS = join(root, 'tests/peers');
export const hasPeer = name => existsSync(join(PEERS, 'node_modules', name));

export const median = list => [...list].sort((a, b) => a - b)[list.length >> 1];
export const onPath = name =>
  process.env.PATH.split(delimiter).some(dir => existsSync(join(dir, name)));

/** Builds targets of a preset that tests do not need. */
export function build(preset, ...targets) {
  const env = {
    EMSCRIPTEN_ROOT: '/usr/share/emscripten',
    ...process.env,
    ...(preset === 'emscripten' && { NODE_PATH: '/usr/share/nodejs' }),
  };
  // In a quick run only once: a suite that begins while this writes its folder anew would find no
  // tests. In a full one a peer may be new.
  const cache = join(root, 'build', preset, 'CMakeCache.txt');
  const configured =
    existsSync(cache) &&
    (preset !== 'native' || readFileSync(cache, 'utf8').includes('HYP_BENCH:BOOL=ON'));
  const benches = preset === 'native' ? ['-DHYP_BENCH=ON', '-DCMAKE_CXX_COMPILER=clang++-19'] : [];
  if (!quick || !configured)
    execFileSync('cmake', ['--preset', preset, ...benches], {
      cwd: root,
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  execFileSync('cmake', ['--build', join(root, 'build', preset), '-j2', '--target', ...targets], {
    cwd: root,
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** A model of a published shape, or of a small one in a quick run; returns its path. */
export function shape(name, type) {
  const taken = quick ? 'quick' : name;
  return makeShape(taken, type, join(root, `build/${taken}-${type}.gguf`));
}

/** Runs a program that prints one line of JSON. */
export async function json(command, args = [], options = {}) {
  const { stdout } = await promisify(execFile)(command, args, {
    cwd: root,
    maxBuffer: 1 << 24,
    ...options,
  });
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

/** Medians of each number in a list of records. */
export const medians = records =>
  Object.fromEntries(
    Object.keys(records[0])
      .filter(k => typeof records[0][k] === 'number')
      .map(k => [k, median(records.map(r => r[k]))]),
  );
