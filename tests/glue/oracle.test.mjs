// Every architecture in wasm against llama.cpp's log-probabilities, and against itself in prefill
// and decode.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { open } from 'hyperion-runtime';
import { boundOf, readGolden } from '../tools/golden.mjs';
import { makeOracleModels, ORACLE, oracleFile } from '../tools/models.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dir = join(root, 'build/models');
makeOracleModels(dir);
for (const shape of ORACLE)
  for (const type of shape.types)
    test(`${shape.name} in ${type} agrees with llama.cpp`, async () => {
      const golden = readGolden(join(root, 'tests/golden', `${shape.name}-${type}.bin`));
      const model = await open(oracleFile(dir, shape, type), { context: shape.context });
      let worst = 0;
      let greedy = 0;
      let exact = 0;
      const bound = boundOf(`${shape.name}-${type}`);
      await model.score(golden.tokens, (position, values) => {
        for (const [token, expected] of golden.rows[position])
          worst = Math.max(worst, Math.abs(values[token] - expected));
        // A runner-up within the bound is as good as the best: the oracle itself can not tell them
        // apart.
        const best = values.indexOf(Math.max(...values));
        greedy += golden.rows[position].some(
          ([token, value]) => token === best && value >= golden.rows[position][0][1] - bound,
        )
          ? 1
          : 0;
        exact += best === golden.rows[position][0][0] ? 1 : 0;
      });
      await model.close();
      assert.ok(worst <= bound, `log-probabilities differ by ${worst}`);
      assert.ok(
        greedy >= 0.99 * golden.tokens.length,
        `greedy tokens agree on ${greedy} of ${golden.tokens.length}`,
      );
      if (process.env.HYP_VERBOSE) console.log(shape.name, type, worst.toFixed(5), greedy, exact);
    });
