// Benchmarks, against peers in the same run, interleaved, medians. usage: npm run -s bench -- NAME [--json] [--rounds N] [--model 135m|15m]
// The last line is one JSON object {"bench", "figures", "ratios"}; with --json it is the only one.
import { parseArgs } from 'node:util';

const BENCHES = { decode: './speed.mjs', prefill: './speed.mjs', threads: './threads.mjs', batch: './batch.mjs', sparse: './sparse.mjs', quantizers: './quantizers.mjs', fiber: './fiber.mjs', pager: './pager.mjs', alloc: './alloc.mjs', bus: './bus.mjs' };
const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean' }, rounds: { type: 'string', default: '5' }, model: { type: 'string', default: '135m' } } });
const [name] = positionals;
const rounds = Number(values.rounds);
if (!BENCHES[name] || !['135m', '15m'].includes(values.model) || !(rounds >= 1)) {
  console.error(`usage: npm run -s bench -- ${Object.keys(BENCHES).join('|')} [--json] [--rounds N] [--model 135m|15m]`);
  process.exit(2);
}
const { run } = await import(BENCHES[name]);
const { figures, ratios } = await run({ name, rounds, model: values.model, say: text => values.json || console.log(text) });
const short = list => Object.fromEntries(Object.entries(list).map(([key, value]) => [key, typeof value === 'number' ? Number(value.toPrecision(5)) : value]));
console.log(JSON.stringify({ bench: name, figures: short(figures), ratios: short(ratios) }));
process.exit(0);
