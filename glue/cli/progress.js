// A bar on standard error while something goes on, where that is a terminal: in its width, and gone
// when it is at its end or anything else is written. As native/cli/progress.c.
import { writeSync } from 'node:fs';

const LOOK_MS = 50; // between two looks
const FIGURES_MS = 500; // before that rate and rest are guesses
const SMOOTH_MS = 2000; // what the rate is a mean of, about
const [LEAST, MOST] = [10, 32]; // columns of the bar itself

/**
 * @typedef {object} Progress
 * @property {string} what is going on
 * @property {number} done
 * @property {number} total
 * @property {boolean} [bytes] done and total are bytes, and not things
 * @property {number} [layers] of a model that is being loaded; 0: it has not said
 * @property {number} [layersReady]
 * @property {number} [rate] of `done` in a second; 0: not known
 */

/** @param {number} seconds */
function restText(seconds) {
  if (seconds < 99.5) return `${Math.ceil(seconds)} s left`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 100 ? `${minutes} min left` : `${Math.ceil(minutes / 60)} h left`;
}

/** @param {Progress} p @returns {string[]} what is shown behind the bar, in order */
function figuresOf({ done, total, bytes, layers = 0, layersReady = 0, rate = 0 }) {
  const [unit, name, digits] = total < 1e9 ? [1e6, 'MB', 1] : [1e9, 'GB', 2];
  const of = (/** @type {number} */ n) => (bytes ? (n / unit).toFixed(digits) : String(n));
  return [
    `${of(done)} of ${of(total)}${bytes ? ` ${name}` : ''}`,
    layers ? `layer ${layersReady}/${layers}` : '',
    rate && bytes ? `${(rate / 1e6).toFixed(1)} MB/s` : '',
    rate ? restText((total - done) / rate) : '',
  ];
}

/**
 * One line, shorter than the terminal is wide: what does not fit is left out, the least telling
 * first.
 * @param {Progress} p @param {number} columns @param {boolean} colour
 */
export function barText(p, columns, colour) {
  const room = columns - 1; // in the last column some terminals begin a new line
  const share = p.total ? Math.min(1, p.done / p.total) : 1;
  const percent = `${String(Math.floor(share * 100)).padStart(3)} %`;
  let used = percent.length;
  if (used > room) return '';
  const what = used + 1 + p.what.length <= room ? `${p.what} ` : '';
  used += what.length;
  const figures = figuresOf(p);
  const shown = figures.map(() => false);
  for (const i of [0, 3, 2, 1]) {
    const more = figures[i].length + 2;
    if (!figures[i] || used + more + LEAST + 3 > room) continue;
    used += more;
    shown[i] = true;
  }
  const width = Math.min(MOST, room - used - 3);
  const full = Math.floor(share * width);
  const [fill, dim, end] = colour ? ['\x1b[36m', '\x1b[2m', '\x1b[0m'] : ['', '', ''];
  const bar =
    width < LEAST
      ? ''
      : `[${fill}${'='.repeat(full)}${end}${dim}${'-'.repeat(width - full)}${end}] `;
  const tail = figures.filter((_, i) => shown[i]).map(text => `  ${text}`);
  return `${what}${bar}${percent}${dim}${tail.join('')}${end}`;
}

const now = { what: '', start: 0, looked: 0, done: 0, rate: 0, drawn: false };

/** @param {string} text to standard error, which may be gone, or full */
function draw(text) {
  try {
    writeSync(2, text);
  } catch {}
}

/** Takes the bar away, before anything else is written. */
export function clearBar() {
  if (now.drawn) draw('\r\x1b[K');
  now.drawn = false;
}

/** Draws it anew. @param {Progress} p */
export function progressBar(p) {
  if (!process.stderr.isTTY || process.env.TERM === 'dumb') return;
  const time = performance.now();
  if (p.what !== now.what || p.done < now.done)
    Object.assign(now, { what: p.what, start: time, looked: 0, done: p.done, rate: 0 });
  if (p.done >= p.total) return clearBar();
  const passed = time - now.looked;
  if (now.looked && passed < LOOK_MS) return;
  if (now.looked) {
    const rate = ((p.done - now.done) * 1000) / passed;
    now.rate += now.rate ? ((rate - now.rate) * passed) / (passed + SMOOTH_MS) : rate;
  }
  Object.assign(now, { looked: time, done: p.done, drawn: true });
  const rate = p.rate ?? (time - now.start < FIGURES_MS ? 0 : now.rate);
  const text = barText({ ...p, rate }, process.stderr.columns || 80, !process.env.NO_COLOR);
  draw(`\r${text}\x1b[K`);
}
