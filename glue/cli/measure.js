// perplexity and calibrate: what texts say of a model.
import { readFileSync } from 'node:fs';
import { calibrate as writeMatrix, perplexity as predict } from '../model/index.js';
import { writeFile } from './files.js';
import { openOptions, place } from './model.js';
import { blocking } from './output.js';
import { progressBar } from './progress.js';
import { line, readInput } from './terminal.js';

/** The texts of a file: one, or its lines. @param {any} o @param {string} path */
async function textsOf(o, path) {
  const text = path === '-' ? await readInput() : await blocking(() => readFileSync(path, 'utf8'));
  return o.lines ? text.split('\n') : [text];
}

/** @param {any} o */
const scoringOptions = o => ({
  ...openOptions(o),
  onScored: o.quiet
    ? undefined
    : (/** @type {{done: number, total: number}} */ p) => progressBar({ what: 'scoring', ...p }),
});

/** @param {any} o @param {string[]} args */
export async function perplexity(o, [model, file]) {
  const texts = await textsOf(o, file);
  const against = o.against === undefined ? undefined : place(o.against);
  const found = await predict(place(model), texts, { ...scoringOptions(o), against });
  if (o.json) return line(JSON.stringify(found));
  line(`perplexity ${found.perplexity?.toFixed(4)} over ${found.tokens} tokens`);
  if (against)
    line(
      `mean KL divergence ${found.divergence?.toFixed(6)} nats from the reference, whose likeliest token is this model's in ${((found.sameTop ?? NaN) * 100).toFixed(2)} %`,
    );
}

/** @param {any} o @param {string[]} args */
export async function calibrate(o, [model, file, out]) {
  const texts = await textsOf(o, file);
  await writeFile(o, out ?? `${model.replace(/(?<=.)\.gguf$/, '')}.imatrix.gguf`, write =>
    writeMatrix(place(model), texts, write, scoringOptions(o)),
  );
}
