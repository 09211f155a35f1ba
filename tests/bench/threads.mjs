// Two threads against one, on idle cores and with another process holding one of them.
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bars, section, table } from './report.mjs';
import { build, median, root, shape } from './tools.mjs';

const execute = promisify(execFile);
const COMMANDS = {
  simd: [process.execPath, join(root, 'glue/cli/main.js'), '--artefact', 'simd'],
  relaxed: [
    join(root, 'node_modules/.bin/deno'),
    'run',
    '--allow-all',
    '--no-remote',
    join(root, 'glue/cli/main.js'),
    '--artefact',
    'relaxed',
  ],
  native: [join(root, 'build/native/hyperion')],
};
const LABELS = { simd: 'wasm SIMD128, Node', relaxed: 'wasm relaxed, Deno', native: 'native' };

async function measure(engine, model, threads) {
  const [command, ...args] = COMMANDS[engine];
  const { stdout } = await execute(command, [
    ...args,
    'bench',
    model,
    '--json',
    ...(threads ? ['--threads', String(threads)] : []),
  ]);
  const r = JSON.parse(stdout);
  return { prefill: r.promptTokensPerSecond, decode: r.answerTokensPerSecond, threads: r.threads };
}

export async function run({ rounds, say }) {
  build('native', 'hyperion');
  const model = shape('smol135m', 'q4_0');
  const rates = {};
  const note = (key, r) => {
    for (const what of ['prefill', 'decode'])
      ((rates[`${key}_${what}`] ??= []), rates[`${key}_${what}`].push(r[what]));
    say(`${key}: ${r.prefill.toFixed(1)} / ${r.decode.toFixed(1)} tokens per second`);
  };
  const standard = {};
  for (let round = 0; round < rounds; round++) {
    for (const engine of Object.keys(COMMANDS))
      for (const t of [1, 2]) note(`${engine}_${t}t`, await measure(engine, model, t));
    const rival = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
    try {
      for (const engine of Object.keys(COMMANDS))
        for (const t of [1, 2]) note(`contended_${engine}_${t}t`, await measure(engine, model, t));
    } finally {
      rival.kill('SIGKILL');
    }
    for (const engine of Object.keys(COMMANDS))
      if (!round) standard[engine] = (await measure(engine, model)).threads;
  }
  const ratio = (key, what) =>
    Number((median(rates[`${key}_2t_${what}`]) / median(rates[`${key}_1t_${what}`])).toFixed(3));
  const pairs = Object.keys(COMMANDS).flatMap(e => ['decode', 'prefill'].map(what => [e, what]));
  const ratios = {
    wasm_2t_vs_1t: ratio('relaxed', 'decode'),
    wasm_prefill_2t_vs_1t: ratio('relaxed', 'prefill'),
    simd_2t_vs_1t: ratio('simd', 'decode'),
    simd_prefill_2t_vs_1t: ratio('simd', 'prefill'),
    native_2t_vs_1t: ratio('native', 'decode'),
    native_prefill_2t_vs_1t: ratio('native', 'prefill'),
    contended_2t_vs_1t: Math.min(...pairs.map(([e, what]) => ratio(`contended_${e}`, what))),
    ...Object.fromEntries(
      pairs.map(([e, what]) => [`contended_${e}_${what}_2t_vs_1t`, ratio(`contended_${e}`, what)]),
    ),
  };
  const figures = Object.fromEntries(
    Object.entries(rates).map(([k, list]) => [
      `${k}_tokens_per_second`,
      Number(median(list).toFixed(2)),
    ]),
  );
  for (const [engine, count] of Object.entries(standard))
    figures[`${engine}_default_threads`] = count;
  const rows = ['decode', 'prefill'].map(what =>
    bars(
      `threads-${what}.svg`,
      `${what}, tokens per second; "held": another process computes on one of the two cores`,
      Object.keys(COMMANDS).flatMap(e =>
        ['', 'contended_'].flatMap(c =>
          [1, 2].map(t => ({
            label: `${LABELS[e]}, ${t}${c ? ', held' : ''}`,
            value: median(rates[`${c}${e}_${t}t_${what}`]),
            ours: t === 2,
          })),
        ),
      ),
    ),
  );
  section(
    'threads',
    'Threads: two against one',
    `\`npm run -s bench -- threads\`: 135M parameters, Q4_0, ${rounds} rounds; without \`--threads\` the engines take ${Object.values(standard).join(', ')} here.\n\nAnswers:\n\n${rows[0]}\n\nPrompts:\n\n${rows[1]}\n\n${table(
      ['ratio', 'measured'],
      Object.entries(ratios).map(([k, v]) => [`\`${k}\``, v]),
    )}`,
  );
  return { figures: { rounds, ...figures }, ratios };
}
