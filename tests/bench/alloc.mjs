// The slab against glibc, jemalloc and tcmalloc: the same traces, each in a process of its own, in
// turn.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { build, json, median, medians, quick, root } from './tools.mjs';

export async function run({ rounds, say }) {
  build('native', 'bench_alloc');
  const program = join(root, 'build/native/bench_alloc');
  const library = name =>
    [`/usr/lib/x86_64-linux-gnu/${name}`, `/usr/lib/aarch64-linux-gnu/${name}`].find(existsSync);
  const allocators = {
    slab: () => json(program, ['slab']),
    glibc: () => json(program, ['malloc']),
  };
  for (const [name, file] of [
    ['jemalloc', 'libjemalloc.so.2'],
    ['tcmalloc', 'libtcmalloc_minimal.so.4'],
  ]) {
    const path = library(file);
    if (path)
      allocators[name] = () =>
        json(program, ['malloc'], { env: { ...process.env, LD_PRELOAD: path } });
    else if (quick) say(`${name} is not there and is left out`);
    else throw new Error(`${name} is not there: install ${file}`);
  }
  const records = Object.fromEntries(Object.keys(allocators).map(a => [a, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, measure] of Object.entries(allocators)) records[name].push(await measure());
    say(
      `round ${round + 1}: ${Object.entries(records)
        .map(([n, r]) => `${n} ${r.at(-1).pair_ns} ns a pair, ${r.at(-1).trace_ns} ns in the trace`)
        .join('; ')}`,
    );
  }
  const figures = {};
  for (const [name, list] of Object.entries(records))
    for (const [key, value] of Object.entries(medians(list))) figures[`${name}_${key}`] = value;
  const best = key =>
    Array.from(
      { length: rounds },
      (_, i) =>
        records.slab[i][key] /
        Math.min(
          ...Object.keys(records)
            .filter(a => a !== 'slab')
            .map(a => records[a][i][key]),
        ),
    );
  return {
    figures: { rounds, ...figures },
    ratios: { pairs_vs_best: median(best('pair_ns')), trace_vs_best: median(best('trace_ns')) },
  };
}
