// Prefill and decode of llama.cpp (node-llama-cpp, CPU, one thread) at lengths of context.
// usage: llamacpp_context.mjs [--flash] MODEL ANSWER LENGTH…   --flash: with its flash attention
// Prints one JSON line: tokens per second of each length, in two lists.
import { getLlama } from 'node-llama-cpp';

const argv = process.argv.slice(2);
const flashAttention = argv[0] === '--flash';
const [path, answer, ...rest] = argv.slice(flashAttention ? 1 : 0);
const lengths = rest.map(Number);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
const context = await model.createContext({
  contextSize: Math.max(...lengths) + Number(answer) + 16,
  batchSize: 512,
  threads: 1,
  flashAttention,
});
const sequence = context.getSequence();

/** @param {number} length @param {number} run */
async function measure(length, run) {
  await sequence.clearHistory();
  const tokens = Array.from({ length }, (_, i) => 300 + ((i * 31 + run * 977) % 20000));
  let start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(tokens);
  const prefill = (length * 1000) / (performance.now() - start);
  let made = 0;
  start = performance.now();
  // yieldEogToken: random weights end a text at any time; the measurement goes on
  for await (const token of sequence.evaluate([301], { temperature: 0, yieldEogToken: true }))
    if (token !== undefined && ++made === Number(answer)) break;
  return { prefill, decode: (made * 1000) / (performance.now() - start) };
}

await measure(lengths[0], 0); // to warm up
const rates = [];
for (const [i, length] of lengths.entries()) rates.push(await measure(length, i + 1));
console.log(
  JSON.stringify({ prefill: rates.map(r => r.prefill), decode: rates.map(r => r.decode) }),
);
process.exit(0);
