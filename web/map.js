// The map of the model: a cell for each page of its weights, empty until its bytes are here, warmer
// the more it is read. Above it, the layers that are ready.
import { $ } from './dom.js';

const GAP = 1; // pixels between cells
const [SMALLEST, LARGEST] = [3, 15]; // sides of a cell, in pixels
const TALLEST = 190; // pixels of the whole
const BEFORE = 240; // cells, while it is not known how many pages there are
const HOT = 160; // heat that is not told from more: twice in a pass, for long
const COLD = 0.02; // warmth of a page that is here, and has not been read
const EASE = 0.18; // of the way to go, in a frame
const FRESH = 26; // frames that a new cell is bright

const still = matchMedia('(prefers-reduced-motion: reduce)');
const dark = matchMedia('(prefers-color-scheme: dark)');

/** @typedef {[number, number, number]} Colour */
/** Absent, present, warm, warmer, hot, just arrived. @type {Record<string, Colour[]>} */
const COLOURS = {
  light: [
    [226, 229, 238],
    [150, 170, 240],
    [70, 92, 220],
    [190, 60, 170],
    [240, 110, 40],
    [255, 190, 70],
  ],
  dark: [
    [41, 47, 64],
    [62, 80, 150],
    [105, 130, 250],
    [206, 100, 205],
    [255, 150, 80],
    [255, 224, 150],
  ],
};

/** @param {Colour} a @param {Colour} b @param {number} t @returns {Colour} */
const between = (a, b, t) => [
  a[0] + (b[0] - a[0]) * t,
  a[1] + (b[1] - a[1]) * t,
  a[2] + (b[2] - a[2]) * t,
];

/** @param {number} warmth 0 absent, 1 hot @param {Colour[]} c @returns {Colour} */
function colourOf(warmth, [none, ...present]) {
  if (warmth <= 0) return none;
  if (warmth < COLD) return between(none, present[0], warmth / COLD);
  const place = ((warmth - COLD) / (1 - COLD)) * 3;
  const i = Math.min(2, Math.floor(place));
  return between(present[i], present[i + 1], place - i);
}

let goal = new Float32Array(BEFORE);
let shown = new Float32Array(BEFORE);
let fresh = new Uint8Array(BEFORE);
let frame = 0;

/** @param {number} count of cells */
function resize(count) {
  if (goal.length === count) return;
  // What was there stays about where it was.
  const old = shown;
  shown = Float32Array.from({ length: count }, (_, i) => old[Math.floor((i * old.length) / count)]);
  goal = new Float32Array(count);
  fresh = new Uint8Array(count);
}

function paint() {
  frame = 0;
  const canvas = $('pages');
  const width = Math.floor(canvas.clientWidth);
  if (!width) return;
  let columns = Math.ceil(width / LARGEST);
  const rows = () => Math.ceil(goal.length / columns);
  while (columns < width / SMALLEST && (rows() * width) / columns > TALLEST) columns++;
  const cell = width / columns;
  const scale = devicePixelRatio;
  const height = Math.ceil(rows() * cell);
  canvas.style.height = `${height}px`;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const to = canvas.getContext('2d');
  to.setTransform(scale, 0, 0, scale, 0, 0);
  to.clearRect(0, 0, width, height);
  const colours = COLOURS[dark.matches ? 'dark' : 'light'];
  let moving = false;
  for (let i = 0; i < goal.length; i++) {
    const way = goal[i] - shown[i];
    if (still.matches || Math.abs(way) < 0.004) shown[i] = goal[i];
    else {
      shown[i] += way * EASE;
      moving = true;
    }
    let colour = colourOf(shown[i], colours);
    if (fresh[i] && !still.matches) {
      colour = between(colour, colours[5], fresh[i] / FRESH);
      fresh[i]--;
      moving = true;
    }
    to.fillStyle = `rgb(${colour.map(Math.round).join()})`;
    to.fillRect((i % columns) * cell, Math.floor(i / columns) * cell, cell - GAP, cell - GAP);
  }
  if (moving) draw();
}

const draw = () => {
  frame ||= requestAnimationFrame(paint);
};

/** @param {number} i @param {number} warmth 0 to 1 */
function set(i, warmth) {
  if (warmth > 0 && goal[i] === 0) fresh[i] = FRESH;
  goal[i] = warmth;
}

/** An empty map. */
export function clearMap() {
  resize(BEFORE);
  goal.fill(0);
  shown.fill(0);
  fresh.fill(0);
  showLayers(0, 0);
  draw();
}

/** As much of the file as has come, while there is no more to be known. @param {number} share */
export function showShare(share) {
  resize(BEFORE);
  for (let i = 0; i < BEFORE; i++) set(i, (i + 1) / BEFORE <= share ? COLD : 0);
  draw();
}

/**
 * How warm each page is.
 * @param {ArrayLike<number>} heat of each page: 0 absent, else 1 to 255
 */
export function showHeat(heat) {
  if (!heat.length) return;
  resize(heat.length);
  let present = 0;
  for (let i = 0; i < heat.length; i++) {
    set(i, heat[i] ? Math.max(COLD, Math.min(1, heat[i] / HOT)) : 0);
    if (heat[i]) present++;
  }
  const text = `${present} of ${heat.length} pages of the weights are in memory`;
  $('pages').setAttribute('aria-label', text);
  draw();
}

/** @param {number} ready @param {number} layers 0: not known */
export function showLayers(ready, layers) {
  const strip = $('layers');
  strip.hidden = !layers;
  if (!layers) return;
  if (strip.childElementCount !== layers)
    strip.replaceChildren(...Array.from({ length: layers }, () => document.createElement('i')));
  for (let i = 0; i < layers; i++) strip.children[i].classList.toggle('ready', i < ready);
  strip.setAttribute('aria-label', `${ready} of ${layers} layers are ready`);
}

new ResizeObserver(draw).observe($('pages'));
dark.addEventListener('change', draw);
