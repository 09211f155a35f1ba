// Sessions side by side: their tokens are computed in common steps, each the same as alone.
import { join } from 'node:path';
import { bars, section, table } from './report.mjs';
import { build, json, medians, quick, root, shape } from './tools.mjs';

export async function run({ rounds, say }) {
  build('native', 'bench_batch');
  const model = shape('smol135m', 'q4_0');
  const times = quick ? '1' : '3';
  const wasm = join(root, 'tests/bench/batch_wasm.mjs');
  const records = { native: [], native_2t: [], simd: [], relaxed: [] };
  for (let round = 0; round < rounds; round++) {
    records.native.push(await json(join(root, 'build/native/bench_batch'), [model, '1', times]));
    records.native_2t.push(await json(join(root, 'build/native/bench_batch'), [model, '2', times]));
    records.simd.push(await json(process.execPath, [wasm, model, times]));
    records.relaxed.push(
      await json(join(root, 'node_modules/.bin/deno'), [
        'run',
        '--allow-all',
        '--no-remote',
        wasm,
        model,
        times,
      ]),
    );
    say(
      `round ${round + 1}: ${Object.entries(records)
        .map(([k, r]) => `${k} ${r.at(-1).one.toFixed(1)}, four ${r.at(-1).four.toFixed(1)}`)
        .join('; ')}`,
    );
  }
  const m = Object.fromEntries(Object.entries(records).map(([k, r]) => [k, medians(r)]));
  const ratio = k => Number((m[k].four / m[k].one).toFixed(3));
  const ratios = {
    four_vs_one: ratio('native'),
    four_vs_one_2t: ratio('native_2t'),
    four_vs_one_simd: ratio('simd'),
    four_vs_one_relaxed: ratio('relaxed'),
    eight_vs_one: Number((m.native.eight / m.native.one).toFixed(3)),
  };
  const labels = {
    native: 'native',
    native_2t: 'native, 2 threads',
    simd: 'wasm SIMD128, Node',
    relaxed: 'wasm relaxed, Deno',
  };
  const picture = bars(
    'batch.svg',
    'tokens per second of all sessions together',
    Object.keys(m).flatMap(k =>
      [
        ['one', 1],
        ['two', 2],
        ['four', 4],
        ['eight', 8],
      ]
        .filter(([n]) => m[k][n])
        .map(([n, c]) => ({
          label: `${labels[k]}, ${c} session${c > 1 ? 's' : ''}`,
          value: m[k][n],
          ours: c > 1,
        })),
    ),
  );
  section(
    'batch',
    'Sessions side by side',
    `\`npm run -s bench -- batch\`: 135M parameters, Q4_0, one thread where nothing else is said, ${rounds} rounds; every session's tokens are checked against those alone.\n\n${picture}\n\n${table(
      ['ratio', 'measured'],
      Object.entries(ratios).map(([k, v]) => [`\`${k}\``, v]),
    )}`,
  );
  const figures = Object.fromEntries(
    Object.entries(m).flatMap(([k, r]) =>
      Object.entries(r).map(([n, v]) => [`${k}_${n}_tokens_per_second`, Number(v.toFixed(2))]),
    ),
  );
  return { figures: { rounds, ...figures }, ratios };
}
