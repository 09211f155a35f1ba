// Decode and prefill of published shapes with random weights: our artefacts, wllama and llama.cpp,
// one thread.
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bars, section, table } from './report.mjs';
import { build, hasPeer, json, median, onPath, quick, root, shape } from './tools.mjs';

const PROMPT = 126;
const ANSWER = 64;
const DENO = [
  join(root, 'node_modules/.bin/deno'),
  'run',
  '--allow-all',
  '--no-remote',
  join(root, 'glue/cli/main.js'),
];
const MODELS = {
  '135m': ['smol135m', 'q4_0'],
  '15m': ['stories15m', 'q4_0'],
  q4_k_m: ['smol135m', 'q4_k_m'],
};
const execute = promisify(execFile);

/** Our own command lines measure both at once, the median of five. */
async function ours(model, command, ...args) {
  const { stdout } = await execute(command, [...args, 'bench', model, '--threads', '1', '--json']);
  const r = JSON.parse(stdout);
  return { prefill: r.promptTokensPerSecond, decode: r.answerTokensPerSecond };
}
async function inChromium(model) {
  const r = await json(process.execPath, [
    join(root, 'tests/bench/chromium_speed.mjs'),
    model,
    'relaxed',
    '1',
  ]);
  return { prefill: r.promptTokensPerSecond, decode: r.answerTokensPerSecond };
}
async function peer(model, script, runs) {
  const { stdout } = await execute(
    process.execPath,
    [join(root, 'tests/peers', script), model, '1', String(PROMPT), String(ANSWER), String(runs)],
    { maxBuffer: 1 << 24 },
  );
  const r = JSON.parse(stdout.trim().split('\n').at(-1));
  return { prefill: median(r.prefill), decode: median(r.decode) };
}
const ENGINES = {
  simd: {
    label: 'wasm SIMD128, Node',
    ours: true,
    run: m => ours(m, process.execPath, join(root, 'glue/cli/main.js'), '--artefact', 'simd'),
  },
  relaxed: {
    label: 'wasm relaxed, Deno',
    ours: true,
    run: m => ours(m, ...DENO, '--artefact', 'relaxed'),
  }, // Node 20 has none that can be trusted
  chromium: { label: 'wasm relaxed, Chromium', ours: true, run: inChromium },
  native: { label: 'native', ours: true, run: m => ours(m, join(root, 'build/native/hyperion')) },
  llamacpp: { label: 'llama.cpp, native', run: m => peer(m, 'llamacpp_speed.mjs', 5) },
  // slow: each round is one measured run after one to warm up
  wllama: { label: 'wllama, Chromium', run: m => peer(m, 'wllama_speed.mjs', 1) },
};
const TAKEN = {
  '135m': Object.keys(ENGINES),
  '15m': Object.keys(ENGINES),
  q4_k_m: ['relaxed', 'native', 'llamacpp'],
};

/** What an engine needs that is not there; only a quick run goes on without it. */
const LACKS = {
  chromium: () => !onPath('chromium') && 'chromium',
  llamacpp: () => !hasPeer('node-llama-cpp') && 'node-llama-cpp',
  wllama: () => (!onPath('chromium') && 'chromium') || (!hasPeer('@wllama/wllama') && 'wllama'),
};

export async function run({ name, rounds, say }) {
  const lacking = quick
    ? Object.entries(LACKS)
        .map(([e, lacks]) => [e, lacks()])
        .filter(([, what]) => what)
    : [];
  for (const [e, what] of lacking) say(`${what} is not there: ${ENGINES[e].label} is left out`);
  const there = e => !lacking.some(([other]) => other === e);
  const taken = Object.fromEntries(
    Object.entries(TAKEN).map(([m, engines]) => [m, engines.filter(there)]),
  );
  build('native', 'hyperion', 'bench_dram');
  const paths = Object.fromEntries(
    Object.entries(MODELS).map(([m, [name, type]]) => [m, shape(name, type)]),
  );
  const rates = Object.fromEntries(
    Object.keys(MODELS).map(m => [
      m,
      Object.fromEntries(taken[m].map(e => [e, { prefill: [], decode: [] }])),
    ]),
  );
  const dram = [];
  say(
    `${PROMPT} prompt and ${ANSWER} answer tokens, one thread, tokens per second: prefill / decode`,
  );
  for (let round = 0; round < rounds; round++) {
    dram.push((await json(join(root, 'build/native/bench_dram'))).gb_per_second);
    for (const m of Object.keys(MODELS))
      for (const e of taken[m]) {
        const r = await ENGINES[e].run(paths[m]);
        (rates[m][e].prefill.push(r.prefill), rates[m][e].decode.push(r.decode));
        say(
          `round ${round + 1}, ${MODELS[m].join(' ')}, ${ENGINES[e].label}: ${r.prefill.toFixed(1)} / ${r.decode.toFixed(1)}`,
        );
      }
  }
  const of = (m, e, what) => (there(e) ? median(rates[m][e][what]) : NaN);
  // of weights that a token reads: all of them, the embedding being the output matrix
  const bytes = m => statSync(paths[m]).size;
  const ratiosOf = what => {
    const relaxed = Math.min(
      ...['relaxed', 'chromium'].filter(there).map(e => of('135m', e, what)),
    ); // the slower of the two hosts
    const ratios = {
      relaxed_vs_wllama: relaxed / of('135m', 'wllama', what),
      relaxed_vs_llamacpp: relaxed / of('135m', 'llamacpp', what),
      chromium_vs_llamacpp: of('135m', 'chromium', what) / of('135m', 'llamacpp', what),
      deno_vs_llamacpp: of('135m', 'relaxed', what) / of('135m', 'llamacpp', what),
      simd_vs_wllama: of('135m', 'simd', what) / of('135m', 'wllama', what),
      native_vs_llamacpp: of('135m', 'native', what) / of('135m', 'llamacpp', what),
      small_native_vs_llamacpp: of('15m', 'native', what) / of('15m', 'llamacpp', what),
      small_relaxed_vs_wllama: of('15m', 'relaxed', what) / of('15m', 'wllama', what),
      q4km_native_vs_llamacpp: of('q4_k_m', 'native', what) / of('q4_k_m', 'llamacpp', what),
      q4km_vs_q4_0:
        (of('q4_k_m', 'relaxed', what) * bytes('q4_k_m')) /
        (of('135m', 'relaxed', what) * bytes('135m')), // bytes a second
    };
    if (what === 'decode')
      ratios.native_vs_dram = (of('135m', 'native', what) * bytes('135m')) / (median(dram) * 1e9);
    return Object.fromEntries(Object.entries(ratios).map(([k, v]) => [k, Number(v.toFixed(3))]));
  };
  // Both were measured: both sections are written, whichever was asked for.
  for (const what of ['decode', 'prefill']) {
    const rows = Object.keys(MODELS).flatMap(m =>
      taken[m].map(e => ({ m, e, value: of(m, e, what) })),
    );
    const picture = m =>
      bars(
        `${what}-${m.replaceAll('_', '')}.svg`,
        'tokens per second, one thread',
        rows
          .filter(r => r.m === m)
          .map(r => ({ label: ENGINES[r.e].label, value: r.value, ours: ENGINES[r.e].ours })),
      );
    const names = {
      '135m': '135M parameters, Q4_0',
      '15m': '15M parameters, Q4_0',
      q4_k_m: '135M parameters, Q4_K_M',
    };
    section(
      what,
      what === 'decode'
        ? 'Answers: tokens per second, one thread'
        : `Prompts: ${PROMPT} tokens, one thread`,
      `\`npm run -s bench -- ${what}\`: ${PROMPT} prompt and ${ANSWER} answer tokens, random weights of the published shapes, ${rounds} rounds.${what === 'decode' ? ` One thread reads ${median(dram).toFixed(1)} GB/s from memory here.` : ''}\n\n` +
        Object.keys(MODELS)
          .map(m => `${names[m]}:\n\n${picture(m)}`)
          .join('\n\n') +
        `\n\n${table(
          ['ratio', 'measured'],
          Object.entries(ratiosOf(what)).map(([k, v]) => [`\`${k}\``, v]),
        )}`,
    );
  }
  const figures = Object.fromEntries(
    Object.keys(MODELS).flatMap(m =>
      taken[m].map(e => [`${m}_${e}_tokens_per_second`, Number(of(m, e, name).toFixed(2))]),
    ),
  );
  return {
    figures: { rounds, dram_gb_per_second: median(dram), ...figures },
    ratios: ratiosOf(name),
  };
}
