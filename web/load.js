// Opening a model, and what is seen of it meanwhile.
import { open } from '/glue/model/index.js';
import { device, verdict } from './device.js';
import { $, decide, lasting, megabytes, showError } from './dom.js';
import { forget, read, write } from './kept.js';
import { clearMap, showHeat, showLayers, showShare } from './map.js';
import { app, changed, onChange } from './state.js';

/** @typedef {import('./state.js').Wanted} Wanted */

const RATES = [0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, Infinity]; // MB/s, by the slider's place
const LAST = 'model'; // what was open, or on its way, when the page was left
const LOOK_MS = 250; // between two looks at the map

const rate = () => RATES[Number($('throttle').value)];
const memoryLimit = () =>
  $('limit')
    .value.trim()
    .replace(/^([\d.]+)$/, '$1MB');

/** Options of `open` that the page's settings say. @param {Wanted} wanted */
async function optionsFor(wanted) {
  const here = await device();
  const large = wanted.bytes && verdict(wanted.bytes, here).how !== 'fits';
  const memory = memoryLimit() || (large ? `${Math.floor(here.memory / 1e6)}MB` : undefined);
  return {
    memory,
    progressive: true,
    ...(wanted.kind !== 'file' && {
      fileCache: true,
      limitRate: rate() === Infinity ? undefined : `${rate()}MB`,
    }),
    ...(wanted.kind === 'hub' && {
      endpoint: read('endpoint') || undefined,
      token: $('token').value || undefined,
    }),
  };
}

/** May the next model be opened beside the one that is open? @param {Wanted} wanted */
async function roomBeside(wanted) {
  if (!app.model || !wanted.bytes) return true;
  const { memory } = await device();
  if (wanted.bytes + app.model.facts.weightBytes <= memory) return true;
  const { facts } = app.model;
  return decide(
    `${wanted.name} (${megabytes(wanted.bytes)}) and ${facts.name ?? 'the open model'} (${megabytes(facts.weightBytes)}) do not fit this device together.`,
    `Close ${facts.name ?? 'the open model'} and go on`,
  );
}

/**
 * Opens a model, and closes the one that is open when the new one is.
 * @param {Wanted} wanted
 */
export async function load(wanted) {
  if (!(await roomBeside(wanted))) return;
  breakOff();
  const mine = { wanted, stop: new AbortController(), progress: null, model: null };
  app.loading = mine;
  showError(null);
  clearMap();
  changed();
  remember(wanted);
  const { signal } = mine.stop;
  try {
    const opened = await open(wanted.source, {
      ...(await optionsFor(wanted)),
      signal,
      onProgress: progress => onProgress(mine, progress),
    });
    if (signal.aborted) return void opened.close();
    mine.model = opened;
    take(opened, wanted);
    await opened.loaded;
    if (app.loading !== mine) return;
    app.loading = null;
    changed('ready');
    await look();
  } catch (error) {
    if (app.loading !== mine) return; // another one took its place, or it was stopped
    if (!mine.model && navigator.onLine) remember(app.opened); // it would fail again
    breakOff();
    changed(app.model ? 'ready' : 'idle');
    showError(error);
  }
}

/**
 * For when the page is loaded again. A file has to be chosen anew.
 * @param {Wanted | null} wanted
 */
function remember(wanted) {
  if (wanted && wanted.kind !== 'file') write(LAST, wanted);
  else forget(LAST);
}

/** Ends what is being loaded. A model of which not all has come goes with it. */
function breakOff() {
  const { loading } = app;
  if (!loading) return;
  app.loading = null;
  loading.stop.abort();
  if (!loading.model) return;
  app.answering?.abort();
  app.model = app.opened = null;
  loading.model.close().catch(() => {});
}

/**
 * The model that has been opened is the page's from now on.
 * @param {any} opened @param {Wanted} wanted
 */
function take(opened, wanted) {
  const old = app.model;
  app.answering?.abort();
  app.model = opened;
  app.opened = wanted;
  changed();
  old?.close().catch(() => {});
}

/** @param {any} mine @param {any} progress */
function onProgress(mine, progress) {
  if (app.loading !== mine) return;
  mine.progress = progress;
  if (!mine.model) showShare(progress.total ? progress.loaded / progress.total : 0);
  if (progress.layers) showLayers(progress.layersReady, progress.layers);
  changed();
}

/** Ends what is being loaded, and does not begin with it again. */
function stopLoading() {
  forget(LAST);
  breakOff();
  clearMap();
  changed(app.model ? 'ready' : 'stopped');
  look();
}

/** What was open when the page was left is opened again, most of it from the cache. */
export function resume() {
  const last = read(LAST);
  if (last) load(last);
}

// ---- what is seen ------------------------------------------------------------------------------

/** Where a model is from, when nothing better is known. @param {Wanted} wanted */
const shortName = ({ name }) => name.replace(/^hf:/, '').replace(/\.gguf$/i, '');

/** @param {any} facts */
const factsLine = ({ architecture, parameters, weightBytes, context }) =>
  `${architecture} · ${(parameters / 1e6).toFixed(parameters < 1e8 ? 1 : 0)} M parameters · ${megabytes(weightBytes)} · context ${context}`;

/** The pages of the weights, as often as there is something to see. */
export async function look() {
  const { model } = app;
  if (!model || !$('pages').clientWidth) return;
  try {
    const heat = await model.heat();
    if (model === app.model && heat.length) showHeat(heat);
  } catch {} // closed meanwhile
}

function show() {
  const { model, loading, opened } = app;
  $('load').hidden = !loading;
  document.body.classList.toggle('loading', Boolean(loading));
  document.body.classList.toggle('has-model', Boolean(model));
  const facts = model?.facts;
  const title = loading && loading.model !== model ? null : facts;
  $('model-title').textContent = title
    ? (title.name ?? shortName(/** @type {Wanted} */ (opened)))
    : loading
      ? shortName(loading.wanted)
      : 'No model yet';
  $('model-name').textContent = title ? factsLine(title) : loading ? '' : 'Choose one below.';
  if (!loading) return;
  const {
    loaded = 0,
    total = 0,
    layers,
    layersReady,
    bytesPerSecond,
    secondsLeft,
  } = loading.progress ?? {};
  $('load-bar').value = $('mini').value = total ? loaded / total : 0;
  const parts = [
    total ? `${megabytes(loaded)} of ${megabytes(total)}` : 'connecting',
    layers ? `layer ${layersReady} of ${layers}` : '',
    bytesPerSecond ? `${megabytes(bytesPerSecond)}/s` : '',
    secondsLeft > 0.5 ? `${lasting(secondsLeft)} left` : '',
  ];
  $('load-text').textContent = parts.filter(Boolean).join(' · ');
}

export function startLoading() {
  onChange(show);
  $('load-stop').addEventListener('click', stopLoading);
  const slider = $('throttle');
  const told = () => {
    const text = rate() === Infinity ? 'no limit' : `${rate()} MB/s`;
    $('throttle-text').value = text;
    slider.setAttribute('aria-valuetext', text);
  };
  slider.max = RATES.length - 1;
  slider.value = read('throttle', RATES.length - 1);
  slider.addEventListener('input', told);
  slider.addEventListener('change', () => {
    write('throttle', Number(slider.value));
    // What has come is in the cache: it goes on from there.
    const { loading } = app;
    if (loading && loading.wanted.kind !== 'file' && loading.progress) load(loading.wanted);
  });
  told();
  setInterval(() => (app.loading || app.answering) && !document.hidden && look(), LOOK_MS);
  addEventListener('online', () => changed());
  addEventListener('offline', () => changed());
}
