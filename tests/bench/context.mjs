// Long texts: prefill and decode at lengths of context, natively, one thread, against llama.cpp.
import { join } from 'node:path';
import { section, table } from './report.mjs';
import { build, json, median, quick, root, shape } from './tools.mjs';

/** By their keys; a quick run measures less. */
const LENGTHS = quick ? { 512: 24, '2k': 48, '8k': 96 } : { 512: 512, '2k': 2048, '8k': 8192 };
const ANSWER = quick ? 4 : 32;
const KEYS = Object.keys(LENGTHS);
const PHASES = ['prefill', 'decode'];
const PEER = join(root, 'tests/peers/llamacpp_context.mjs');

const LABELS = {
  native: 'Hyperion, native',
  llamacpp: 'llama.cpp, native',
  llamacpp_flash: 'llama.cpp, native, flash attention',
};

export async function run({ rounds, say }) {
  build('native', 'bench_context');
  const model = shape('smol135m', 'q4_0');
  const args = [model, String(ANSWER), ...Object.values(LENGTHS).map(String)];
  const engines = {
    native: () => json(join(root, 'build/native/bench_context'), args),
    // A quick run does without the peer.
    ...(!quick && {
      llamacpp: () => json(process.execPath, [PEER, ...args]),
      llamacpp_flash: () => json(process.execPath, [PEER, '--flash', ...args]),
    }),
  };
  const records = Object.fromEntries(Object.keys(engines).map(e => [e, []]));
  for (let round = 0; round < rounds; round++)
    for (const [e, measure] of Object.entries(engines)) {
      const r = await measure();
      records[e].push(r);
      const rates = KEYS.map(
        (k, i) => `${k} ${r.prefill[i].toFixed(1)} / ${r.decode[i].toFixed(1)}`,
      );
      say(`round ${round + 1}, ${LABELS[e]}: ${rates.join(', ')}`);
    }
  /** Tokens per second. @param {string} engine @param {string} phase @param {number} i */
  const rate = (engine, phase, i) => median(records[engine].map(r => r[phase][i]));
  const each = make =>
    Object.fromEntries(PHASES.flatMap(phase => KEYS.map((k, i) => make(phase, k, i))));
  const figures = Object.assign(
    { rounds },
    ...Object.keys(engines).map(e =>
      each((phase, k, i) => [
        `${e}_${phase}_${k}_tokens_per_second`,
        Number(rate(e, phase, i).toFixed(2)),
      ]),
    ),
  );
  // Against the faster of the peer's two ways.
  const rival = (phase, i) =>
    Math.max(rate('llamacpp', phase, i), rate('llamacpp_flash', phase, i));
  const ratios = quick
    ? {}
    : each((phase, k, i) => [
        `${phase}_${k}_vs_llamacpp`,
        Number((rate('native', phase, i) / rival(phase, i)).toFixed(3)),
      ]);
  section(
    'context',
    'Long texts: natively, one thread',
    `\`npm run -s bench -- context\`: a model of 135M parameters in Q4_0 with random weights; prompts of ${Object.values(LENGTHS).join(', ')} tokens, and ${ANSWER} tokens of answer after each. Medians of ${rounds} rounds, tokens per second.\n\n${table(
      ['', ...KEYS.flatMap(k => PHASES.map(phase => `${phase}, ${k}`))],
      [
        ...Object.keys(engines).map(e => [
          LABELS[e],
          ...KEYS.flatMap((_, i) => PHASES.map(phase => rate(e, phase, i).toFixed(0))),
        ]),
        [
          'ratio to the faster llama.cpp',
          ...KEYS.flatMap(k => PHASES.map(phase => ratios[`${phase}_${k}_vs_llamacpp`])),
        ],
      ],
    )}`,
  );
  return { figures, ratios };
}
