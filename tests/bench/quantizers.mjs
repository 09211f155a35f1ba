// What quantizing loses: mean KL divergence from the embedded model's floats, our quantizers and
// ggml's, same types and bytes, with and without importance. The floats are those of the training
// (docs/MODEL.md) where build/story/story-f16.gguf is there, else the committed model's values.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { section, table } from './report.mjs';
import { build, hasPeer, json, quick, root } from './tools.mjs';

const FORMATS = [
  'q4_0',
  'q4_1',
  'q5_0',
  'q5_1',
  'q8_0',
  'q2_k',
  'q3_k',
  'q4_k',
  'q5_k',
  'q6_k',
  'iq4_nl',
  'iq4_xs',
  'mxfp4',
].filter((format, i) => !quick || i % 6 === 0);
const STORIES = quick ? 4 : 80; // half of them to calibrate with, half to measure with

export async function run({ say }) {
  build('native', 'hyperion');
  const hyperion = join(root, 'build/native/hyperion');
  const call = async (...args) =>
    (await promisify(execFile)(hyperion, [...args, '-q'], { maxBuffer: 1 << 24 })).stdout;
  const dir = join(root, 'build/quantizers');
  mkdirSync(dir, { recursive: true });
  const at = name => join(dir, name);
  const trained = join(root, 'build/story/story-f16.gguf');
  const source = existsSync(trained) ? trained : at('source.gguf');
  if (source !== trained) await call('quantize', join(root, 'models/story.gguf'), source, 'f16');
  const stories = [];
  for (let seed = 1; seed <= STORIES; seed++)
    stories.push(
      (await call('run', source, 'Once upon a time', '-n', '250', '-t', '1', '-s', String(seed)))
        .replaceAll('\n', ' ')
        .trim(),
    );
  writeFileSync(at('calibrate.txt'), stories.slice(0, STORIES / 2).join('\n'));
  writeFileSync(at('measure.txt'), stories.slice(STORIES / 2).join('\n'));
  await call('calibrate', source, at('calibrate.txt'), at('importance.gguf'), '--lines');
  const divergence = async file =>
    (
      await json(hyperion, [
        'perplexity',
        at(file),
        at('measure.txt'),
        '--lines',
        '--against',
        source,
        '--json',
        '-q',
      ])
    ).divergence;
  const deno = join(root, 'node_modules/.bin/deno');
  const ggml = !quick || hasPeer('node-llama-cpp');
  if (!ggml) say("llama.cpp's quantizers are not there and are left out");
  const [figures, ratios, rows] = [{}, {}, []];
  for (const format of FORMATS) {
    const row = [format.toUpperCase()];
    const { bytes, parameters } =
      (await call('quantize', source, at('ours.gguf'), format),
      await json(hyperion, ['info', at('ours.gguf'), '--json']));
    row.push(((bytes * 8) / parameters).toFixed(2));
    for (const [how, options, weights] of [
      ['plain', [], []],
      ['importance', ['--imatrix', at('importance.gguf')], [at('importance.gguf')]],
    ]) {
      await call('quantize', source, at('ours.gguf'), format, ...options);
      if (ggml)
        await json(deno, [
          'run',
          '--allow-all',
          '--no-remote',
          join(root, 'tests/peers/ggml_quantizers.mjs'),
          source,
          at('ours.gguf'),
          at('ggml.gguf'),
          ...weights,
        ]);
      const [ours, theirs] = [
        await divergence('ours.gguf'),
        ggml ? await divergence('ggml.gguf') : NaN,
      ];
      figures[`${format}_${how}`] = ours;
      figures[`${format}_${how}_ggml`] = theirs;
      ratios[`${format}_${how}_vs_ggml`] = ours / theirs;
      row.push(ours.toExponential(2), theirs.toExponential(2), (ours / theirs).toFixed(2));
    }
    rows.push(row);
    say(row.join('  '));
  }
  const what =
    source === trained
      ? 'the floats of its training'
      : 'the committed values, which lie on Q4_0’s grid';
  section(
    'quantizers',
    'What quantizing loses',
    `\`npm run -s bench -- quantizers\`: mean Kullback-Leibler divergence in nats of the embedded model's next-token distributions from ${what}, over ${STORIES / 2} stories that it wrote itself; importance from \`hyperion calibrate\` on ${STORIES / 2} others. llama.cpp's quantizers (\`ggml_quantize_chunk\`) get the same values and the same importance, and write the same types: bits per weight are equal (in formats of super-blocks, matrices whose rows are not whole ones stay F16). Below 1 ours lose less.\n\n${table(['format', 'bits', 'ours', 'llama.cpp', 'ratio', 'ours, importance', 'llama.cpp, importance', 'ratio'], rows)}`,
  );
  return { figures: { stories: STORIES / 2, ...figures }, ratios };
}
