#!/usr/bin/env node
// The last step of a wasm build: Asyncify, so that a fiber can be left and resumed, then
// optimisation, then a look at what a host must give.
// usage: finish_wasm.mjs [--test | --wasi | --plain] IN OUT
//   --test   little optimisation, and a host that gives more (WASI)
//   --wasi   a program, for hosts that give what WASI has
//   --plain  without Asyncify, to measure what it costs
// Binaryen's asyncify-asserts can not be used: it also traps in the two functions that start an
// unwinding and end it on purpose.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const flags = process.argv.slice(2).filter(a => a.startsWith('--'));
const [input, output] = process.argv.slice(2).filter(a => !a.startsWith('--'));
const forTests = flags.includes('--test');
const forWasi = flags.includes('--wasi');
const opt = join(dirname(fileURLToPath(import.meta.url)), '../node_modules/.bin/wasm-opt');
mkdirSync(dirname(output), { recursive: true });
// What every supported host has; relaxed SIMD and threads for the artefacts that are named after
// them.
const threads = output.includes('-mt');
const features = [
  'simd',
  'bulk-memory',
  'sign-ext',
  'nontrapping-float-to-int',
  'mutable-globals',
  ...(/relaxed|-mt\.wasm/.test(output) ? ['relaxed-simd'] : []),
  ...(threads ? ['threads'] : []),
];
setFlagsFromString('--experimental-wasm-relaxed-simd'); // Node 20 compiles it only so
// No import suspends: fibers switch within the module. Which functions can be on the way to a
// switch, Binaryen finds by the call graph.
const asyncify = flags.includes('--plain')
  ? []
  : ['--asyncify', '--pass-arg=asyncify-ignore-imports'];
// Whoever reads the module meanwhile gets the last one whole.
execFileSync(
  opt,
  [
    input,
    '-o',
    `${output}.partial`,
    ...features.map(name => `--enable-${name}`),
    ...asyncify,
    forTests ? '-O1' : '-O3',
    '--strip-producers',
    '--strip-debug',
  ],
  { stdio: 'inherit' },
);
renameSync(`${output}.partial`, output);

if (!forTests) {
  const known = new Set(
    [
      'read',
      'forget',
      'now',
      'panic',
      'ended',
      'progress',
      'write',
      'scored',
      ...(threads ? ['thread'] : []),
    ].map(name => `hyp.${name}`),
  );
  if (threads) known.add('env.memory');
  const foreign = WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(output)))
    .map(i => `${i.module}.${i.name}`)
    .filter(name => !known.has(name) && !(forWasi && /^wasi_snapshot_preview1\./.test(name)));
  if (foreign.length && !flags.includes('--plain')) {
    console.error(`${output} imports what no host gives: ${foreign.join(', ')}`);
    process.exit(1);
  }
}
