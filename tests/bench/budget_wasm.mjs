// A model whose weights do not all fit, in wasm, in a process of its own. usage: budget_wasm.mjs
// MODEL LIMIT_BYTES (0: none) TOKENS LATENCY_MS (0: from the file itself) AHEAD (0 or 1); without
// arguments an engine and nothing else. One line of JSON.
import { openSync, readSync, statSync } from 'node:fs';
import { Engine, NO_AHEAD } from '../../glue/model/engine.js';

const [path, limit = '0', tokens = '0', latency = '0', ahead = '1'] = process.argv.slice(2);
const CONTEXT = 256;

/** The file, each range of it after a while, however many are asked for. */
function farAway() {
  const file = openSync(path, 'r');
  return {
    size: statSync(path).size,
    async read(offset, count) {
      await new Promise(resolve => setTimeout(resolve, Number(latency)));
      const out = new Uint8Array(count);
      readSync(file, out, 0, count, offset);
      return out;
    },
  };
}

const engine = await Engine.create({ threads: 1, artefact: 'simd', memory: Number(limit) });
const record = {};
if (path) {
  const model = await engine.open(Number(latency) ? farAway() : path, {
    context: CONTEXT,
    ...(ahead === '0' && { [NO_AHEAD]: true }),
  });
  const prompt = Array.from({ length: 24 }, (_, i) => (i * 31 + 300) % model.facts.vocab);
  const told = [];
  let start = 0;
  let before = 0;
  for await (const piece of model.generate(prompt, {
    temperature: 0,
    maxTokens: Number(tokens) + 1,
  })) {
    if (!told.length) {
      start = performance.now();
      before = (await model.stats()).weights.filledBytes;
    }
    told.push(piece.token);
  }
  const seconds = (performance.now() - start) / 1000;
  const { weights, memory } = await model.stats();
  Object.assign(record, {
    told: told.join(),
    tokensPerSecond: Number(tokens) / seconds,
    msPerToken: (seconds * 1000) / Number(tokens),
    readMb: (weights.filledBytes - before) / Number(tokens) / 1e6,
    wholeBytes: weights.wholeBytes,
    capacityBytes: weights.capacityBytes,
    usedBytes: memory.usedBytes,
    wholeLimitBytes: weights.wholeLimitBytes,
  });
}
await engine.close();
console.log(JSON.stringify({ ...record, peakMb: (process.resourceUsage().maxRSS * 1024) / 1e6 }));
