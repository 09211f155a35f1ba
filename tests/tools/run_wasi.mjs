// Runs a C test that was compiled to wasm. usage: run_wasi.mjs PROGRAM.wasm [arguments]
import { readFileSync } from 'node:fs';
import { WASI } from 'node:wasi';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const wasi = new WASI({
  version: 'preview1',
  args: ['test', ...process.argv.slice(3)],
  env: { HYP_SEED: process.env.HYP_SEED ?? '20' },
  preopens: { [root]: root },
  returnOnExit: true,
});
const module = await WebAssembly.compile(readFileSync(process.argv[2]));
/** @param {number} pointer */
const panic = pointer => {
  const bytes = new Uint8Array(instance.exports.memory.buffer, pointer);
  console.error(`hyperion: ${new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)))}`);
  process.exit(134);
};
const instance = await WebAssembly.instantiate(module, {
  ...wasi.getImportObject(),
  hyp: { read: () => -2, forget: () => {}, now: () => performance.now(), panic },
});
process.exitCode = wasi.start(instance);
