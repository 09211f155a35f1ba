// What the engine does: speeds, memory, pages, fibers, lanes.
import { $, megabytes } from './dom.js';
import { app, onChange } from './state.js';

const LOOK_MS = 400; // between two looks while something goes on

/** @param {number} tokens @param {number} perSecond */
const speed = (tokens, perSecond) => (tokens ? `${perSecond.toFixed(0)} tokens/s` : '–');

/** @param {any} usage of the last answer; null: there is none */
export function showUsage(usage) {
  $('rate').textContent = speed(usage?.answerTokens, usage?.answerTokensPerSecond);
  $('prompt-rate').textContent = speed(usage?.promptTokens, usage?.promptTokensPerSecond);
}

/** @param {any} s of `model.stats()` */
function insideText({ weights, fibers, threads, lanes, memory }) {
  const fits =
    weights.resident === weights.pages
      ? 'all of them for good'
      : `${weights.resident} for good, the rest in ${weights.frames} frames, ${megabytes(weights.filledBytes)} read so far`;
  const shared =
    threads.count === 1
      ? '1 thread'
      : `${threads.count} threads, workers computed ${Math.round((threads.byWorkers * 100) / (threads.tiles || 1))} % of what was shared`;
  const told = lanes.map(
    (/** @type {any} */ lane) => `lane ${lane.name}: ${lane.received} capsules`,
  );
  return `${weights.present} of ${weights.pages} weight pages in memory (${fits}); ${fibers.count} ${fibers.count === 1 ? 'fiber' : 'fibers'}, ${fibers.switches} switches, policy ${fibers.policy}; ${shared}; ${memory.blocks} slab blocks; ${told.join(', ') || 'no lane: messages'}.`;
}

export async function showFigures() {
  const { model } = app;
  if (!model) return;
  try {
    const s = await model.stats();
    if (model !== app.model) return;
    $('memory').textContent = megabytes(s.memory.linearMemoryBytes);
    $('engine').textContent = s.kernels;
    if ($('inside').open) $('inside-text').textContent = insideText(s);
  } catch {} // closed meanwhile
}

export function startInside() {
  let last = app.model;
  onChange(() => {
    if (app.model === last) return;
    last = app.model;
    showUsage(null);
    showFigures();
  });
  $('inside').addEventListener('toggle', showFigures);
  setInterval(() => (app.answering || app.loading) && !document.hidden && showFigures(), LOOK_MS);
}
