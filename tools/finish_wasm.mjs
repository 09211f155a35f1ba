#!/usr/bin/env node
// The last step of a wasm build: Asyncify for the calls that may wait for bytes, optimisation, and the list of what a host must give.
// usage: finish_wasm.mjs IN OUT
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const [input, output] = process.argv.slice(2);
const opt = join(dirname(fileURLToPath(import.meta.url)), '../node_modules/.bin/wasm-opt');
mkdirSync(dirname(output), { recursive: true });
// What every supported host has, and relaxed SIMD for the artefact that is named after it.
const features = ['simd', 'bulk-memory', 'sign-ext', 'nontrapping-float-to-int', 'mutable-globals', ...(output.includes('relaxed') ? ['relaxed-simd'] : [])];
setFlagsFromString('--experimental-wasm-relaxed-simd'); // Node 20 compiles it only so
// Only hyp.read suspends, and no indirect call leads to it: kernels and graph stay as they are.
execFileSync(opt, [input, '-o', output, ...features.map(name => `--enable-${name}`), '--asyncify', '--pass-arg=asyncify-imports@hyp.read', '--pass-arg=asyncify-ignore-indirect', '-O3', '--strip-producers', '--strip-debug'], { stdio: 'inherit' });

const known = new Set(['read', 'now', 'progress', 'write', 'scored'].map(name => `hyp.${name}`));
const foreign = WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(output))).map(i => `${i.module}.${i.name}`).filter(name => !known.has(name));
if (foreign.length) {
  console.error(`${output} imports what no host gives: ${foreign.join(', ')}`);
  process.exit(1);
}
