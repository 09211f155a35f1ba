// docs/BENCHMARKS.md and its plots, written by the benchmarks themselves: each has its section.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { quick, root } from './tools.mjs';

const PATH = join(root, 'docs/BENCHMARKS.md');
const HEAD = `# Benchmarks

Every section is written by the benchmark that it names; \`npm run -s bench -- NAME --json\` measures it anew on your machine. Engines take
turns within one run and medians are shown. Machines differ and are noisy: the ratios are what counts.
`;

/**
 * Replaces the section of a benchmark.
 * @param {string} name
 * @param {string} title
 * @param {string} body
 */
export function section(name, title, body) {
  if (quick) return;
  const old = existsSync(PATH) ? readFileSync(PATH, 'utf8') : HEAD;
  const [from, to] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const processor = cpus()[0].model.trim();
  const text = `${from}\n## ${title}\n\n${body.trim()}\n\nMeasured ${new Date().toISOString().slice(0, 10)} on ${cpus().length} cores of ${processor}.\n${to}\n`;
  const start = old.indexOf(from);
  writeFileSync(
    PATH,
    start < 0
      ? `${old.trimEnd()}\n\n${text}`
      : old.slice(0, start) + text + old.slice(old.indexOf(to) + to.length + 1),
  );
}

/** @param {string[]} columns @param {(string | number)[][]} rows */
export const table = (columns, rows) =>
  [columns, columns.map((_, i) => (i ? '---:' : '---')), ...rows]
    .map(r => `| ${r.join(' | ')} |`)
    .join('\n');

/**
 * Horizontal bars, one for each row; returns the Markdown that shows it.
 * @param {string} file name below docs/benchmarks
 * @param {string} unit
 * @param {{label: string, value: number, ours?: boolean}[]} rows
 */
export function bars(file, unit, rows) {
  if (quick) return '';
  const dir = join(root, 'docs/benchmarks');
  mkdirSync(dir, { recursive: true });
  const [w, left, line] = [640, 220, 26];
  const most = Math.max(...rows.map(r => r.value));
  const h = rows.length * line + 34;
  const bar = (r, i) => {
    const length = Math.max(1, (r.value / most) * (w - left - 80));
    return `<text x="${left - 10}" y="${i * line + 26}" text-anchor="end">${r.label}</text><rect x="${left}" y="${i * line + 13}" width="${length.toFixed(1)}" height="17" rx="2" fill="${r.ours ? '#2a7f62' : '#9aa5b1'}"/><text x="${(left + length + 6).toFixed(1)}" y="${i * line + 26}">${r.value >= 100 ? r.value.toFixed(0) : r.value.toPrecision(3)}</text>`;
  };
  writeFileSync(
    join(dir, file),
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" font-family="sans-serif" font-size="13" fill="#222"><rect width="${w}" height="${h}" fill="#fff"/>${rows.map(bar).join('')}<text x="${w - 10}" y="${h - 6}" text-anchor="end" font-size="11" fill="#555">${unit}</text></svg>\n`,
  );
  return `![${unit}](benchmarks/${file})`;
}
