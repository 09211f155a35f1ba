// Answers side by side in one engine, in Node or Deno. usage: batch_wasm.mjs MODEL ROUNDS; prints
// one JSON line. Checks that each is as alone.
import { open } from '../../glue/model/index.js';

const [path, rounds] = globalThis.Deno?.args ?? process.argv.slice(2);
const ANSWER = 64;
const model = await open(path, { threads: 1, context: 256 });
const prompt = i =>
  Array.from({ length: 32 }, (_, k) => (k * 31 + i * 977 + 300) % model.facts.vocab);
const alone = [];
let batchedTokens = 0; // of one of the answers that were begun last
async function answer(i, first) {
  const tokens = [];
  const pieces = model.generate(prompt(i), { maxTokens: ANSWER, temperature: 0 });
  for await (const piece of pieces)
    (tokens.length || first(), piece.token >= 0 && tokens.push(piece.token));
  ({ batchedTokens } = pieces.usage);
  if (alone[i] && alone[i].join() !== tokens.join())
    throw new Error('an answer differs from the one alone');
  alone[i] ??= tokens;
  return tokens.length;
}
/** Tokens per second from when all prompts are read. */
async function together(count) {
  let begun = 0;
  let start = 0;
  const made = await Promise.all(
    Array.from({ length: count }, (_, i) =>
      answer(i, () => ++begun === count && (start = performance.now())),
    ),
  );
  return ((made.reduce((a, b) => a + b, 0) - count) * 1000) / (performance.now() - start);
}
for (let i = 0; i < 4; i++) await answer(i, () => {});
const rates = { one: [], four: [] };
for (let r = 0; r < Number(rounds); r++)
  (rates.one.push(await together(1)), rates.four.push(await together(4)));
const middle = list => list.sort((a, b) => a - b)[list.length >> 1];
console.log(
  JSON.stringify({
    together: batchedTokens / ANSWER,
    one: middle(rates.one),
    four: middle(rates.four),
  }),
);
await model.close();
