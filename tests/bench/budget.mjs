// Weights that do not all fit into memory: the same tokens, what they cost, and what is gained by
// reading ahead of their use.
import { join } from 'node:path';
import { section, table } from './report.mjs';
import { json, median, quick, root, shape } from './tools.mjs';

const LATENCY_MS = 10;
const SHARES = [100, 50, 25]; // of the weights that stay, per cent
const WASM = join(root, 'tests/bench/budget_wasm.mjs');

const measure = (...args) => json(process.execPath, [WASM, ...args.map(String)]);

export async function run({ rounds, say }) {
  const model = shape('smol135m', 'q4_0');
  const tokens = quick ? 2 : 8;
  // What the engine holds beside weights is the same under each limit.
  const free = await measure(model, 0, tokens, 0, 1);
  const { wholeLimitBytes } = await measure(model, free.usedBytes - free.wholeBytes / 2, 1, 0, 1);
  const limit = share => Math.round(wholeLimitBytes - ((100 - share) / 100) * free.wholeBytes);
  const bare = [];
  const by = Object.fromEntries(SHARES.map(share => [share, []]));
  for (let round = 0; round < rounds; round++) {
    bare.push((await measure()).peakMb);
    for (const share of SHARES) by[share].push(await measure(model, limit(share), tokens, 0, 1));
    say(
      `round ${round + 1}: ${SHARES.map(share => `${share} %: ${by[share].at(-1).tokensPerSecond.toFixed(1)} tokens/s`).join(', ')}`,
    );
  }
  // Each page costs the latency, unless it is asked for before it is needed.
  const few = quick ? 1 : 2;
  const far = { with: [], without: [] };
  for (let round = 0; round < (quick ? 1 : Math.min(rounds, 3)); round++) {
    far.without.push(await measure(model, limit(50), few, LATENCY_MS, 0));
    far.with.push(await measure(model, limit(50), few, LATENCY_MS, 1));
    say(
      `${LATENCY_MS} ms for each read: ${far.without.at(-1).msPerToken.toFixed(0)} ms a token, ${far.with.at(-1).msPerToken.toFixed(0)} when read ahead`,
    );
  }
  const of = (list, key) => median(list.map(one => one[key]));
  const all = Object.values(by).flat();
  const begins = one =>
    free.told
      .split(',')
      .slice(0, few + 1)
      .join() === one.told;
  const same =
    all.every(one => one.told === free.told) && [...far.with, ...far.without].every(begins);
  const nothing = median(bare);
  const over = SHARES.map(share => of(by[share], 'peakMb') - nothing - limit(share) / 1e6);
  const digits = (value, n = 2) => Number(value.toFixed(n));
  const ratios = {
    same_tokens: Number(same),
    overlap: digits(of(far.with, 'msPerToken') / of(far.without, 'msPerToken'), 3),
  };
  const figures = {
    rounds,
    peak_over_budget_mb: digits(Math.max(...over), 1),
    bare_process_mb: digits(nothing, 1),
    far_ms_per_token: digits(of(far.with, 'msPerToken'), 0),
    far_ms_per_token_without: digits(of(far.without, 'msPerToken'), 0),
  };
  for (const share of SHARES) {
    figures[`limit_mb_${share}`] = digits(limit(share) / 1e6, 1);
    figures[`tokens_per_second_${share}`] = digits(of(by[share], 'tokensPerSecond'));
    figures[`read_mb_per_token_${share}`] = digits(of(by[share], 'readMb'));
  }
  section(
    'budget',
    'Larger than memory',
    `\`npm run -s bench -- budget\`: 135M parameters, Q4_0, wasm SIMD128 in Node, one thread, ${rounds} rounds. What does not stay of the weights is read again for each token; \`overlap\`: from a source that takes ${LATENCY_MS} ms for each read, half of the weights in memory, time with reading ahead ÷ time without. The process takes at most ${figures.peak_over_budget_mb} MB more than the limit and what it takes without a model.\n\n${table(
      ['weights in memory', 'memory limit, MB', 'tokens/s', 'MB read for a token'],
      SHARES.map(share => [
        `${share} %`,
        figures[`limit_mb_${share}`],
        figures[`tokens_per_second_${share}`],
        figures[`read_mb_per_token_${share}`],
      ]),
    )}\n\n${table(
      ['ratio', 'measured'],
      Object.entries(ratios).map(([k, v]) => [`\`${k}\``, v]),
    )}`,
  );
  return { figures, ratios };
}
