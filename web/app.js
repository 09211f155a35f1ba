// The demo page: one model at a time, one answer at a time, all of it in a worker.
import { open } from '/glue/model/index.js';

const $ = id => document.getElementById(id);
const megabytes = n => `${(n / 1e6).toFixed(n < 1e8 ? 1 : 0)} MB`;
const STORY = { name: 'Hyperion Story 5M', source: '/models/story.gguf' };

let model = null;
let loading = null; // AbortController
let answering = null; // AbortController

function showError(error) {
  $('error').textContent = error ? error.message : '';
  $('error').hidden = !error;
  if (error) $('error').scrollIntoView({ block: 'nearest' });
}

function refresh() {
  $('run').disabled = !model || !!answering || !!loading;
  $('stop').disabled = !answering;
  $('copy').disabled = !!answering || $('answer').classList.contains('empty');
  $('load').hidden = !loading;
  $('use-story').disabled = !!loading;
  $('state').classList.toggle('busy', !!answering || !!loading);
}

const state = text => ($('state').textContent = text);

async function load({ name, source }) {
  answering?.abort();
  loading?.abort();
  const mine = (loading = new AbortController());
  showError(null);
  await model?.close();
  model = null;
  $('model-name').textContent = name;
  $('load-bar').value = 0;
  $('load-text').textContent = 'connecting';
  state('loading');
  refresh();
  try {
    const start = performance.now();
    const opened = await open(source, {
      signal: mine.signal,
      memory: $('limit').value ? `${$('limit').value}MB` : undefined,
      onProgress({ loaded, total }) {
        $('load-bar').value = loaded / total;
        $('load-text').textContent = `${megabytes(loaded)} of ${megabytes(total)}`;
      },
    });
    if (mine.signal.aborted) return void opened.close();
    model = opened;
    const { architecture, parameters, weightBytes, context } = model.facts;
    $('model-name').textContent =
      `${model.facts.name ?? name} · ${architecture} · ${(parameters / 1e6).toFixed(parameters < 1e8 ? 1 : 0)} M parameters · ${megabytes(weightBytes)} · context ${context} · loaded in ${((performance.now() - start) / 1000).toFixed(1)} s`;
    showUsage(null);
    await showFigures();
    state('ready');
  } catch (error) {
    if (loading !== mine) return; // another model took its place
    $('model-name').textContent = 'None loaded.';
    state('idle');
    if (!mine.signal.aborted) showError(error);
  } finally {
    if (loading === mine) loading = null;
    refresh();
  }
}

function sampling() {
  const number = id => ($(id).value === '' ? undefined : Number($(id).value));
  return {
    temperature: number('temperature'),
    topP: number('topP'),
    minP: number('minP'),
    repeatPenalty: number('repeatPenalty'),
    topK: number('topK'),
    maxTokens: number('maxTokens') || 256,
    seed: number('seed'),
    stop: $('stopText').value ? [$('stopText').value] : [],
  };
}

/** @param {any} usage of the last answer; null: there has been none since the model was loaded */
function showUsage(usage) {
  const rate = (tokens, perSecond) => (tokens ? `${perSecond.toFixed(0)} tokens/s` : '–');
  $('rate').textContent = rate(usage?.answerTokens, usage?.answerTokensPerSecond);
  $('prompt-rate').textContent = rate(usage?.promptTokens, usage?.promptTokensPerSecond);
}

async function showFigures() {
  const s = await model.stats();
  $('memory').textContent = megabytes(s.memory.linearMemoryBytes);
  $('engine').textContent = s.kernels;
  if ($('inside').open) await showInside(s);
}

/** Which pages of the weights are in memory, and how warm; what fibers and lanes there are. */
async function showInside({ weights, fibers, threads, lanes, memory }) {
  const heat = await model.heat();
  const canvas = $('pages');
  const width = Math.max(1, Math.floor(canvas.clientWidth));
  const gap = 1;
  const columns = Math.min(
    heat.length,
    Math.max(8, Math.floor(Math.sqrt((heat.length * width) / 64))),
  );
  const cell = width / columns;
  const scale = devicePixelRatio;
  const height = Math.ceil(heat.length / columns) * cell;
  canvas.style.height = `${height}px`;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const paint = canvas.getContext('2d');
  paint.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  heat.forEach((warmth, i) => {
    paint.globalAlpha = warmth ? 0.25 + 0.75 * Math.min(1, warmth / 128) : 1;
    paint.fillStyle = style.getPropertyValue(warmth ? '--accent' : '--line');
    paint.fillRect((i % columns) * cell, Math.floor(i / columns) * cell, cell - gap, cell - gap);
  });
  const fits =
    weights.resident === weights.pages
      ? 'all of them for good'
      : `${weights.resident} for good, the rest in ${weights.frames} frames, ${megabytes(weights.filledBytes)} read so far`;
  const text = `${weights.present} of ${weights.pages} weight pages in memory (${fits}); ${fibers.count} ${fibers.count === 1 ? 'fiber' : 'fibers'}, ${fibers.switches} switches, policy ${fibers.policy}; ${threads.count === 1 ? '1 thread' : `${threads.count} threads, workers computed ${Math.round((threads.byWorkers * 100) / (threads.tiles || 1))} % of what was shared`}; ${memory.blocks} slab blocks; ${lanes.map(lane => `lane ${lane.name}: ${lane.received} capsules`).join(', ') || 'no lane: messages'}.`;
  $('inside-text').textContent = text;
  canvas.setAttribute(
    'aria-label',
    `${weights.present} of ${weights.pages} pages of the weights are in memory`,
  );
}

async function run() {
  if (!model || answering) return;
  const mine = (answering = new AbortController());
  showError(null);
  const prompt = $('prompt').value;
  const chat = Boolean(model.facts.chatTemplate);
  const given = document.createElement('span');
  given.className = 'given';
  given.textContent = chat ? '' : prompt;
  const text = document.createTextNode('');
  $('answer').classList.remove('empty');
  $('answer').replaceChildren(given, text);
  state('writing');
  refresh();
  let tokens = 0;
  let first = 0;
  let waiting = '';
  let frame = 0;
  const paint = () => {
    frame = 0;
    const box = $('answer');
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    text.data += waiting;
    waiting = '';
    if (tokens > 1)
      $('rate').textContent =
        `${(((tokens - 1) * 1000) / (performance.now() - first)).toFixed(0)} tokens/s`;
    if (atEnd) box.scrollTop = box.scrollHeight;
  };
  let finish = '';
  let pieces = null;
  const watch = setInterval(
    () =>
      $('inside').open &&
      model
        ?.stats()
        .then(showInside)
        .catch(() => {}),
    400,
  );
  try {
    const options = { ...sampling(), signal: mine.signal };
    pieces = chat
      ? model.chat([{ role: 'user', content: prompt }], options)
      : model.generate(prompt, options);
    for await (const piece of pieces) {
      if (!tokens++) first = performance.now();
      waiting += piece.text;
      finish = piece.finish;
      frame ||= requestAnimationFrame(paint);
    }
  } catch (error) {
    if (!mine.signal.aborted) showError(error);
    finish = mine.signal.aborted ? 'stopped' : 'failed';
  } finally {
    clearInterval(watch);
    cancelAnimationFrame(frame);
    paint();
    answering = null;
    showUsage(pieces?.usage);
    if (model) await showFigures().catch(() => {});
    state(
      `${tokens} tokens, ${{ end: 'finished', stop: 'stop text', length: 'length reached', context: 'context full' }[finish] ?? finish}`,
    );
    refresh();
  }
}

$('use-story').addEventListener('click', () => load(STORY));
$('file').addEventListener('change', event => openFiles(event.target.files));
$('load-stop').addEventListener('click', () => loading?.abort());
$('url-form').addEventListener('submit', event => {
  event.preventDefault();
  if ($('url').value) load({ name: $('url').value, source: $('url').value });
});
$('run').addEventListener('click', run);
$('stop').addEventListener('click', () => answering?.abort());
$('inside').addEventListener('toggle', () => model && showFigures().catch(() => {}));
$('copy').addEventListener('click', () =>
  navigator.clipboard.writeText($('answer').textContent).then(() => state('copied'), showError),
);
document.addEventListener('keydown', event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) run();
  if (event.key === 'Escape') answering?.abort();
});

/** @param {FileList} files the model, or the parts of a split one */
function openFiles(files) {
  const list = [...files].sort((a, b) => (a.name < b.name ? -1 : 1));
  if (list.length) load({ name: list[0].name, source: list.length === 1 ? list[0] : list });
}

let inside = 0;
addEventListener(
  'dragenter',
  event => (event.preventDefault(), inside++, ($('drop').hidden = false)),
);
addEventListener('dragleave', () => --inside || ($('drop').hidden = true));
addEventListener('dragover', event => event.preventDefault());
addEventListener('drop', event => {
  event.preventDefault();
  inside = 0;
  $('drop').hidden = true;
  openFiles(event.dataTransfer.files);
});

for (const output of document.querySelectorAll('output')) {
  const input = $(output.htmlFor.value);
  const show = () => (output.value = Number(input.value).toFixed(2).replace(/0$/, ''));
  input.addEventListener('input', show);
  show();
}
refresh();
