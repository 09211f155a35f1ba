// Products of pruned 4-bit weights against our own dense ones, by density: where each form breaks
// even, and what a whole model gains.
import { existsSync, statSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { bars, section, table } from './report.mjs';
import { build, json, median, quick, root, shape } from './tools.mjs';

const MEGABYTES = quick ? '2' : '128'; // of dense weights: beyond any cache
const AVX2 = '0x1c'; // HYP_ISA_MASK: without AVX-512
const DENSITY = 0.3;

/**
 * The density at which a form takes as long as dense weights, between the two measured around it;
 * null: it is never faster.
 */
function breakEven(rows, form) {
  const gains = rows.filter(r => r[form]).map(r => [r.density, r.dense / r[form]]);
  const at = gains.findIndex(([, gain]) => gain < 1);
  if (at <= 0) return at === 0 ? null : (gains.at(-1)?.[0] ?? null);
  const [[d0, g0], [d1, g1]] = [gains[at - 1], gains[at]];
  return Number((d0 + ((g0 - 1) / (g0 - g1)) * (d1 - d0)).toFixed(3));
}

export async function run({ rounds, say }) {
  build('native', 'bench_sparse', 'hyperion');
  build('wasm-tests', 'bench_sparse');
  const native = join(root, 'build/native/bench_sparse');
  const runs = {
    native: () => json(native, [MEGABYTES]),
    avx2: () => json(native, [MEGABYTES, AVX2]),
    simd: () =>
      json(process.execPath, [
        '--no-warnings',
        '--single-threaded',
        join(root, 'tests/tools/run_wasi.mjs'),
        join(root, 'build/wasm-tests/bench_sparse.wasm'),
        quick ? '1' : '8',
      ]),
  };
  const dense = shape('smol135m', 'q4_0');
  const hyperion = join(root, 'build/native/hyperion');
  const pruned = dense.replace('-q4_0.gguf', '-pruned30.gguf');
  if (!existsSync(pruned))
    execFileSync(hyperion, ['prune', dense, pruned, '--density', String(DENSITY), '-q']);
  const speed = async model => json(hyperion, ['bench', model, '--threads', '1', '--json']);
  const records = { native: [], avx2: [], simd: [] };
  const models = { dense: [], pruned: [] };
  for (let round = 0; round < rounds; round++) {
    for (const [name, one] of Object.entries(runs)) records[name].push(await one());
    (models.dense.push(await speed(dense)), models.pruned.push(await speed(pruned)));
    const at = records.native.at(-1).find(r => r.density === DENSITY);
    say(
      `round ${round + 1}: bitmap at 30 % ${(at.dense / at.bitmap).toFixed(2)} x dense; whole model ${models.pruned.at(-1).answerTokensPerSecond.toFixed(1)} against ${models.dense.at(-1).answerTokensPerSecond.toFixed(1)} tokens/s`,
    );
  }
  const medians = Object.fromEntries(
    Object.entries(records).map(([name, list]) => [
      name,
      list[0].map((row, i) =>
        Object.fromEntries(Object.keys(row).map(k => [k, median(list.map(r => r[i][k]))])),
      ),
    ]),
  );
  const at = medians.native.find(r => r.density === DENSITY);
  const of = (which, what) => median(models[which].map(m => m[what]));
  const ratios = {
    bitmap30_vs_dense: at.dense / at.bitmap,
    bitmap30_vs_dense_64_tokens: at.dense_64 / at.bitmap_64,
    bitmap30_bytes_vs_dense: at.bitmap_bytes / at.dense_bytes,
    model30_decode_vs_dense:
      of('pruned', 'answerTokensPerSecond') / of('dense', 'answerTokensPerSecond'),
    model30_prefill_vs_dense:
      of('pruned', 'promptTokensPerSecond') / of('dense', 'promptTokensPerSecond'),
    model30_file_vs_dense: statSync(pruned).size / statSync(dense).size,
  };
  const even = {
    bitmap_native: breakEven(medians.native, 'bitmap'),
    csr_native: breakEven(medians.native, 'csr'),
    csr_avx2: breakEven(medians.avx2, 'csr'),
    csr_wasm_simd: breakEven(medians.simd, 'csr'),
  };
  const gain = (row, form) => (row[form] ? (row.dense / row[form]).toFixed(2) : '–');
  const rows = medians.native.map((row, i) => [
    `${row.density * 100} %`,
    (row.bitmap_bytes / row.dense_bytes).toFixed(2),
    gain(row, 'bitmap'),
    row.bitmap ? (row.dense_64 / row.bitmap_64).toFixed(2) : '–',
    (row.csr_bytes / row.dense_bytes).toFixed(2),
    gain(row, 'csr'),
    gain(medians.avx2[i], 'csr'),
    gain(medians.simd[i], 'csr'),
  ]);
  const picture = bars(
    'sparse.svg',
    'a bitmap against dense 4-bit weights, one token, native',
    medians.native.map(r => ({
      label: `density ${r.density * 100} %`,
      value: r.dense / r.bitmap,
      ours: r.dense >= r.bitmap,
    })),
  );
  const never = v => (v === null ? 'never' : `${(v * 100).toFixed(1)} %`);
  section(
    'sparse',
    'Pruned weights',
    `\`npm run -s bench -- sparse\`: products of ${MEGABYTES} MB of 4-bit weights (8 MB in wasm) of which a part is there, one thread, ${rounds} rounds; every result is compared with the dense one's, bit for bit. Above 1 the sparse form is the faster. A bitmap breaks even at a density of ${never(even.bitmap_native)} with AVX-512 VBMI2 (no other tier has a product for it, and packs it as dense weights); compressed rows at ${never(even.csr_wasm_simd)} in wasm SIMD128, with AVX2 at ${never(even.csr_avx2)}.\n\n${picture}\n\n${table(['density', 'bitmap: bytes', 'one token', '64 tokens', 'CSR: bytes', 'native', 'AVX2', 'wasm SIMD128'], rows)}\n\nThe 135M shape pruned to 30 %, embedding and output kept: ${table(
      ['', 'of the dense model'],
      Object.entries(ratios)
        .filter(([k]) => k.startsWith('model'))
        .map(([k, v]) => [`\`${k}\``, v.toFixed(3)]),
    ).replace(/^/, '\n\n')}`,
  );
  const figures = Object.fromEntries(
    Object.entries(medians).flatMap(([name, list]) =>
      list.flatMap(r =>
        ['dense', 'bitmap', 'csr']
          .filter(k => r[k])
          .map(k => [`${name}_${k}_${r.density * 100}_ns_per_1000_weights`, r[k]]),
      ),
    ),
  );
  return {
    figures: {
      rounds,
      ...Object.fromEntries(Object.entries(even).map(([k, v]) => [`break_even_${k}`, v])),
      ...figures,
    },
    ratios,
  };
}
