// Benchmarks, against peers in the same run, interleaved, medians.
// usage: npm run -s bench -- NAME [--json] [--rounds N] [--model 135m|15m] [--quick]
// The last line is one JSON object {"bench", "figures", "ratios"}; with --json it is the only one.
// --quick takes seconds and shows that a benchmark works: its figures mean nothing, and docs/ is
// not written.
import { parseArgs } from 'node:util';
import { BENCHES } from './benches.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
    rounds: { type: 'string' },
    model: { type: 'string', default: '135m' },
  },
});
const [name] = positionals;
const rounds = Number(values.rounds ?? (values.quick ? 1 : 5));
if (!BENCHES[name] || !['135m', '15m'].includes(values.model) || !(rounds >= 1)) {
  const names = Object.keys(BENCHES).join('|');
  console.error(
    `usage: npm run -s bench -- ${names} [--json] [--rounds N] [--model 135m|15m] [--quick]`,
  );
  process.exit(2);
}
// Read by what the benchmarks start as well, so it is set before any of them is loaded.
if (values.quick) process.env.HYP_QUICK = '1';
else delete process.env.HYP_QUICK;
const { run } = await import(BENCHES[name]);
const say = text => values.json || console.log(text);
const { figures, ratios } = await run({ name, rounds, model: values.model, say });
const short = list =>
  Object.fromEntries(
    Object.entries(list)
      .filter(([, value]) => !(values.quick && Number.isNaN(value))) // of a peer that is not there
      .map(([key, value]) => [
        key,
        typeof value === 'number' ? Number(value.toPrecision(5)) : value,
      ]),
  );
console.log(JSON.stringify({ bench: name, figures: short(figures), ratios: short(ratios) }));
process.exit(0);
