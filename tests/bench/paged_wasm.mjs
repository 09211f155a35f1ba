// A model under a memory limit, in wasm. usage: paged_wasm.mjs MODEL LIMIT_BYTES (0: none) TOKENS.
// One line of JSON, as bench_paged.
import { open } from '../../glue/model/index.js';

const [path, limit, tokens] = process.argv.slice(2);
const model = await open(path, { memory: Number(limit), context: 256 });
const prompt = [1, 300, 301, 302, 303, 304, 305, 306];
let first;
let start;
for await (const piece of model.generate(prompt, {
  temperature: 0,
  maxTokens: Number(tokens) + 1,
})) {
  void piece;
  if (!first) ((first = (await model.stats()).weights), (start = performance.now()));
}
const seconds = (performance.now() - start) / 1000;
const { weights, memory } = await model.stats();
await model.close();
console.log(
  JSON.stringify({
    tokensPerSecond: Number(tokens) / seconds,
    linearMemoryMb: memory.linearMemoryBytes / 1e6,
    readMb: (weights.filledBytes - first.filledBytes) / Number(tokens) / 1e6,
    leastMb: (weights.wholeBytes - weights.capacityBytes) / 1e6,
  }),
);
