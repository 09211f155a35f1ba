// Asks llama.cpp (node-llama-cpp, CPU, one thread) for the top log-probabilities of every test
// model, and writes the goldens.
// usage: oracle.mjs [--check]   --check: compare with the committed goldens instead of writing them
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getLlama } from 'node-llama-cpp';
import { random } from '../tools/gguf_writer.mjs';
import { POSITIONS, readGolden, TOP, writeGolden } from '../tools/golden.mjs';
import { makeOracleModels, ORACLE, oracleFile } from '../tools/models.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dir = join(root, 'build/models');
const goldens = join(root, 'tests/golden');
const check = process.argv.includes('--check');
makeOracleModels(dir);
mkdirSync(goldens, { recursive: true });
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
let worst = 0;
for (const shape of ORACLE)
  for (const type of shape.types) {
    const model = await llama.loadModel({ modelPath: oracleFile(dir, shape, type), gpuLayers: 0 });
    const context = await model.createContext({
      contextSize: shape.context,
      batchSize: POSITIONS,
      threads: 1,
      flashAttention: false,
    });
    const sequence = context.getSequence();
    const next = random(99);
    const tokens = [
      1,
      ...Array.from({ length: POSITIONS - 1 }, () => 3 + Math.floor(next() * (shape.vocab - 3))),
    ];
    const answers = await sequence.controlledEvaluate(
      tokens.map(t => [t, { generateNext: { logits: true, options: { temperature: 0 } } }]),
    );
    const rows = answers.map(a => {
      const logits = [...a.next.logits];
      const top = Math.max(...logits.map(l => l[1]));
      const sum = logits.reduce((s, l) => s + Math.exp(l[1] - top), 0);
      return logits
        .map(([t, l]) => [t, l - top - Math.log(sum)])
        .sort((x, y) => y[1] - x[1])
        .slice(0, TOP);
    });
    const path = join(goldens, `${shape.name}-${type}.bin`);
    if (check) {
      const old = readGolden(path);
      rows.forEach((row, p) =>
        row.forEach(([, v], i) => (worst = Math.max(worst, Math.abs(v - old.rows[p][i][1])))),
      );
    } else writeGolden(path, tokens, rows);
    console.log(
      `${shape.name}-${type}: best of the last position ${rows
        .at(-1)[0]
        .map(x => Number(x.toFixed(3)))
        .join(' ')}, spread ${(rows.at(-1)[0][1] - rows.at(-1)[TOP - 1][1]).toFixed(2)}`,
    );
    await context.dispose();
    await model.dispose();
  }
if (check) {
  console.log(`largest difference from the committed goldens: ${worst.toExponential(2)}`);
  if (worst > 0.02) process.exit(1);
}
process.exit(0);
