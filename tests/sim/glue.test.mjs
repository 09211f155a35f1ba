// The first seeds of the simulation, more of them in a long run; HYP_SIM_SEEDS says how many, or
// which (1..5000).
import { test } from 'node:test';
import { simulate } from './glue.mjs';

const AT_ONCE = 25; // of a test, so that a report says about where
const [from, to] = (process.env.HYP_SIM_SEEDS ?? (process.env.HYP_LONG ? '3000' : '150'))
  .split('..')
  .map(Number);
const [first, last] = to === undefined ? [1, from] : [from, to];
for (let at = first; at <= last; at += AT_ONCE) {
  const end = Math.min(at + AT_ONCE - 1, last);
  test(`seeds ${at} to ${end}: every answer is the one alone, every refusal is clean, nothing hangs or is left`, async () => {
    for (let seed = at; seed <= end; seed++) await simulate(seed);
  });
}
