// Writes the seeds of the model fuzzer: tiny models of each architecture and tokenizer, small enough to be mutated well.
// usage: fuzz_corpus.mjs DIR
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { tinyModels } from './models.mjs';

const dir = process.argv[2];
mkdirSync(dir, { recursive: true });
tinyModels(dir, (base, name) => join(base, `${name}.gguf`));
