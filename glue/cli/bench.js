// bench: how fast a model is.
import { bench as measure } from '../model/index.js';
import { openOptions, place } from './model.js';
import { writeOut } from './output.js';
import { progressBar } from './progress.js';
import { line } from './terminal.js';

/** @param {number} value @param {number} digits @param {number} columns */
const right = (value, digits, columns) => value.toFixed(digits).padStart(columns);

/**
 * @param {string} title
 * @param {import('../model/model.js').Phase} phase
 * @param {import('../model/model.js').Peaks} peaks
 */
function printPhase(title, { operations, layersUsPerToken }, peaks) {
  line(
    `\n${title}, for each token\n  operation           us       %     GB/s  of peak   GMAC/s  of peak`,
  );
  const total = Object.values(operations).reduce((sum, x) => sum + x.usPerToken, 0);
  for (const [name, { usPerToken, gbPerSecond, gmacPerSecond }] of Object.entries(operations)) {
    const rate = (/** @type {number} */ value, /** @type {number} */ most) =>
      ` ${right(value, 1, 8)} ${right((value * 100) / most, 0, 7)}%`;
    const rates = gmacPerSecond
      ? `${rate(gbPerSecond, peaks.gbPerSecond)}${rate(gmacPerSecond, peaks.gmacPerSecond)}`
      : '';
    line(
      `  ${name.padEnd(12)} ${right(usPerToken, 1, 9)} ${right((usPerToken * 100) / total, 1, 6)}%${rates}`,
    );
  }
  const layers = layersUsPerToken.map((us, i) => `${i % 10 ? ' ' : '\n   '}${right(us, 1, 6)}`);
  line(`  layers, us:${layers.join('')}`);
}

/**
 * @param {import('../model/model.js').BenchFigures & {loadSeconds: number, linearMemoryBytes:
 *   number}} f
 */
function printFigures(f) {
  const { p50, p90, p95, p99 } = f.latencyMs;
  line(
    `prompt  ${right(f.promptTokensPerSecond, 1, 8)} tokens/s  (${f.promptTokens} tokens, median of ${f.runs})`,
  );
  line(`answer  ${right(f.answerTokensPerSecond, 1, 8)} tokens/s  (${f.answerTokens} tokens)`);
  line(`load    ${right(f.loadSeconds, 2, 8)} s`);
  line(`memory  ${right(f.linearMemoryBytes / 1e6, 1, 8)} MB of linear memory`);
  line(`kernels ${f.kernels.padStart(8)}, ${f.threads} thread${f.threads > 1 ? 's' : ''}`);
  line(
    `latency ${right(p50, 2, 8)} ms at the median, ${p90.toFixed(2)} / ${p95.toFixed(2)} / ${p99.toFixed(2)} at the 90th, 95th and 99th percentile`,
  );
  if (!f.peaks) return;
  line(
    `peaks   ${right(f.peaks.gbPerSecond, 1, 8)} GB/s from memory, ${f.peaks.gmacPerSecond.toFixed(0)} GMAC/s in the first cache, one thread`,
  );
  if (f.prompt) printPhase('prompt', f.prompt, f.peaks);
  if (f.answer) printPhase('answer', f.answer, f.peaks);
}

/** @param {any} o @param {string[]} args */
export async function bench(o, [model]) {
  const { traceEvents, ...figures } = await measure(place(model), {
    ...openOptions(o),
    promptTokens: o.promptTokens,
    answerTokens: o.answerTokens,
    runs: o.runs,
    profile: o.profile,
    trace: o.trace !== undefined,
    onRun:
      o.quiet || o.json
        ? undefined
        : (/** @type {{done: number, total: number}} */ p) =>
            progressBar({ what: 'measuring', ...p }),
  });
  if (o.trace !== undefined)
    await writeOut(o.trace, write => write(Buffer.from(`${JSON.stringify({ traceEvents })}\n`)));
  if (o.json) line(JSON.stringify(figures));
  else printFigures(figures);
}
