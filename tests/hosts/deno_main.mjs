// Run by Deno: eight tokens from the story model; then every oracle model on every artefact, alone
// and with a worker thread: all must give the same bits and agree with llama.cpp.
import { open } from '../../glue/model/index.js';
import { fileURLToPath } from 'node:url';
import { boundOf, readGolden } from '../tools/golden.mjs';
import { ORACLE } from '../tools/models.mjs';

const model = await open(new URL('../../models/story.gguf', import.meta.url));
let text = '';
let tokens = 0;
for await (const piece of model.generate('Once upon a time', { temperature: 0, maxTokens: 8 }))
  ((text += piece.text), tokens++);
const { artefact, threads } = await model.stats();
await model.close();

let compared = 0;
let different = 0;
let worst = 0; // in units of the bound
let byWorkers = 0;
for (const shape of ORACLE)
  for (const type of shape.types) {
    const golden = readGolden(
      fileURLToPath(new URL(`../golden/${shape.name}-${type}.bin`, import.meta.url)),
    );
    const rows = [];
    for (const [build, threads] of [
      ['relaxed', 1],
      ['simd', 1],
      ['relaxed', 2],
      ['simd', 2],
    ]) {
      const one = await open(
        new URL(`../../build/models/${shape.name}-${type}.gguf`, import.meta.url),
        { artefact: build, threads, context: shape.context },
      );
      // twice: an engine may compute otherwise once it has optimised
      for (let pass = 0; pass < 2; pass++)
        await one.score(golden.tokens, (position, values) => {
          for (const [token, expected] of golden.rows[position])
            worst = Math.max(
              worst,
              Math.abs(values[token] - expected) / boundOf(`${shape.name}-${type}`),
            );
          const bits = new Uint32Array(values.slice().buffer);
          if (!rows[position]) rows[position] = bits;
          else if (bits.some((b, i) => b !== rows[position][i])) different++;
          compared++;
        });
      byWorkers += (await one.stats()).threads.byWorkers;
      await one.close();
    }
  }
console.log(
  JSON.stringify({
    text,
    tokens,
    artefact,
    threads: threads.count,
    compared,
    different,
    worst,
    byWorkers,
  }),
);
