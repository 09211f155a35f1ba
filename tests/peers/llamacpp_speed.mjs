// Speed of llama.cpp (node-llama-cpp, CPU) on a model. usage: llamacpp_speed.mjs MODEL THREADS
// PROMPT ANSWER RUNS; prints one JSON line
import { getLlama } from 'node-llama-cpp';

const [path, threads, prompt, answer, runs] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
const context = await model.createContext({
  contextSize: 512,
  batchSize: 512,
  threads: Number(threads),
});
const sequence = context.getSequence();
const rates = { prefill: [], decode: [] };
for (let run = -1; run < Number(runs); run++) {
  await sequence.clearHistory();
  const tokens = Array.from(
    { length: Number(prompt) },
    (_, i) => 300 + ((i * 31 + (run + 1) * 7) % 20000),
  );
  let start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(tokens);
  const prefill = performance.now() - start;
  let made = 0;
  start = performance.now();
  // yieldEogToken: random weights end a text at any time; the measurement goes on
  for await (const token of sequence.evaluate([301], { temperature: 0, yieldEogToken: true }))
    if (token !== undefined && ++made === Number(answer)) break;
  const decode = performance.now() - start;
  if (run >= 0)
    (rates.prefill.push((Number(prompt) * 1000) / prefill),
      rates.decode.push((made * 1000) / decode));
}
console.log(JSON.stringify(rates));
process.exit(0);
