// Decode and prefill of a published shape with random weights: our artefacts, wllama and llama.cpp, one thread.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeShape } from '../tools/models.mjs';
import { median, root } from './tools.mjs';

const SHAPES = { '135m': 'smol135m', '15m': 'stories15m' };
const PROMPT = 126;
const ANSWER = 64;
const execute = promisify(execFile);

export async function run({ name, rounds, model: size, say }) {
  const shape = SHAPES[size];
  const model = makeShape(shape, 'q4_0', join(root, `build/${shape}-q4_0.gguf`));

  /** Our own command lines measure both at once, the median of five. */
  const ours = async (command, ...args) => {
    const { stdout } = await execute(command, [...args, 'bench', model, '--json']);
    const r = JSON.parse(stdout);
    return { prefill: r.promptTokensPerSecond, decode: r.answerTokensPerSecond };
  };
  const peer = async (script, runs) => {
    const { stdout } = await execute(process.execPath, [join(root, 'tests/peers', script), model, '1', String(PROMPT), String(ANSWER), String(runs)], { maxBuffer: 1 << 24 });
    const r = JSON.parse(stdout.trim().split('\n').at(-1));
    return { prefill: median(r.prefill), decode: median(r.decode) };
  };
  const ENGINES = {
    simd: () => ours(process.execPath, join(root, 'glue/cli.js'), '--artefact', 'simd'),
    relaxed: () => ours(join(root, 'node_modules/.bin/deno'), 'run', '--allow-all', '--no-remote', join(root, 'glue/cli.js'), '--artefact', 'relaxed'), // Node 20 has none that can be trusted
    native: () => ours(join(root, 'build/native/hyperion')),
    llamacpp: () => peer('llamacpp_speed.mjs', 5),
    wllama: () => peer('wllama_speed.mjs', 1), // slow: each round is one measured run after one to warm up
  };

  const rates = Object.fromEntries(Object.keys(ENGINES).map(e => [e, []]));
  say(`${name} of ${shape} in Q4_0, ${PROMPT} prompt and ${ANSWER} answer tokens, one thread, tokens per second`);
  for (let round = 0; round < rounds; round++) {
    for (const [engine, measure] of Object.entries(ENGINES)) rates[engine].push((await measure())[name]);
    say(`round ${round + 1}: ${Object.entries(rates).map(([e, r]) => `${e} ${r.at(-1).toFixed(1)}`).join(', ')}`);
  }
  const figures = Object.fromEntries(Object.entries(rates).map(([e, r]) => [`${e}_tokens_per_second`, Number(median(r).toFixed(2))]));
  const ratio = (a, b) => Number((median(rates[a]) / median(rates[b])).toFixed(3));
  return { figures: { model: `${shape}-q4_0`, rounds, ...figures }, ratios: { simd_vs_wllama: ratio('simd', 'wllama'), relaxed_vs_wllama: ratio('relaxed', 'wllama'), native_vs_llamacpp: ratio('native', 'llamacpp'), simd_vs_llamacpp: ratio('simd', 'llamacpp') } };
}
