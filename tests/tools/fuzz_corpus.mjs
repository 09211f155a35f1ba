// Writes the seeds of the model fuzzer: tiny models of each architecture and tokenizer, small
// enough to be mutated well.
// usage: fuzz_corpus.mjs DIR
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { quantize } from '../../glue/model/index.js';
import { tinyModels } from './models.mjs';

const dir = process.argv[2];
mkdirSync(dir, { recursive: true });
tinyModels(dir, (base, name) => join(base, `${name}.gguf`));
const model = readFileSync(join(dir, readdirSync(dir).filter(name => name.startsWith('llama'))[0]));
for (const density of [0.5, 0.1]) {
  const parts = [];
  await quantize(model, 'q4_0', data => parts.push(data), { density });
  writeFileSync(join(dir, `pruned-${density}.gguf`), Buffer.concat(parts));
}
