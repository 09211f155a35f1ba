// Runs a program of WASI, hello.c compiled for it, in Node: node main.mjs HELLO.wasm MODEL.gguf
// Other hosts of WASI run it as well: wasmtime --dir=. HELLO.wasm MODEL.gguf
import { readFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { WASI } from 'node:wasi';

const [program, model] = process.argv.slice(2);
const wasi = new WASI({
  version: 'preview1',
  args: [basename(program), `/models/${basename(model)}`],
  preopens: { '/models': dirname(resolve(model)) }, // all that it sees
  returnOnExit: true,
});
const module = await WebAssembly.compile(readFileSync(program));
process.exitCode = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
