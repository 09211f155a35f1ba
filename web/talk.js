// Conversations: what was asked and answered. Each is kept in this browser by a name of its own, so
// that two windows do not write over each other's.
import { $, decide, el, megabytes, showError } from './dom.js';
import { showFigures, showUsage } from './inside.js';
import { forget, names, read, write } from './kept.js';
import { look } from './load.js';
import { sampling, systemPrompt } from './sampling.js';
import { app, changed, onChange } from './state.js';

/** @typedef {{prompt: string, text: string, chat: boolean, ended: string}} Turn */
/** @typedef {{id: string, at: number, model: string, turns: Turn[]}} Conversation */

const KEPT = 'talk.';
const MOST_KEPT = 50;
const SAVE_MS = 1000; // between two savings of an answer that is being written
const ENDS = {
  end: 'finished',
  stop: 'stop text',
  length: 'length reached',
  context: 'context full',
};

/** @returns {Conversation} */
const fresh = () => ({ id: crypto.randomUUID(), at: Date.now(), model: '', turns: [] });

/** @type {Conversation} */
let talk = fresh();

// ---- keeping -----------------------------------------------------------------------------------

/** @returns {Conversation[]} the latest first */
const all = () =>
  names(KEPT)
    .map(name => /** @type {Conversation} */ (read(name)))
    .filter(one => one?.turns?.length)
    .sort((a, b) => b.at - a.at);

function save() {
  if (!talk.turns.length) return;
  talk.at = Date.now();
  let kept = write(KEPT + talk.id, talk);
  const others = all().filter(({ id }) => id !== talk.id);
  // Where there is no room the oldest give way.
  while (others.length >= MOST_KEPT || (!kept && others.length)) {
    forget(KEPT + /** @type {Conversation} */ (others.pop()).id);
    kept = write(KEPT + talk.id, talk);
  }
  write('talk', talk.id);
  showList();
}

/** @param {Conversation} one */
const titleOf = ({ turns }) => {
  const first = turns[0].prompt.trim().replace(/\s+/g, ' ') || 'no prompt';
  return first.length > 46 ? `${first.slice(0, 45)}…` : first;
};

function showList() {
  const list = all();
  const options = list.map(one =>
    el('option', { value: one.id, selected: one.id === talk.id }, titleOf(one)),
  );
  if (!list.some(({ id }) => id === talk.id))
    options.unshift(el('option', { value: talk.id, selected: true }, 'New conversation'));
  $('talks').replaceChildren(...options);
  $('talk-forget').setAttribute('aria-disabled', String(!talk.turns.length));
}

// ---- showing -----------------------------------------------------------------------------------

/** @param {Turn} turn */
function articleOf(turn) {
  const text = el('div', { class: 'text', dir: 'auto' });
  const said = document.createTextNode(turn.text);
  if (!turn.chat) text.append(el('span', { class: 'given' }, turn.prompt));
  text.append(said);
  const copy = el('button', { type: 'button', class: 'small' }, 'Copy');
  copy.addEventListener('click', () =>
    navigator.clipboard.writeText(text.textContent ?? '').then(() => {
      copy.textContent = 'Copied';
      setTimeout(() => (copy.textContent = 'Copy'), 1500);
    }, showError),
  );
  const ended = el('span', { class: 'muted' }, turn.ended);
  const article = el(
    'article',
    { class: turn.chat ? 'turn chat' : 'turn' },
    ...(turn.chat ? [el('div', { class: 'you', dir: 'auto' }, turn.prompt)] : []),
    text,
    el('footer', {}, ended, copy),
  );
  return { article, said, ended };
}

function showTalk() {
  const box = $('answer');
  for (const turn of talk.turns) turn.ended ||= 'broken off'; // with the page
  box.replaceChildren(...talk.turns.map(turn => articleOf(turn).article));
  box.scrollTop = box.scrollHeight;
  changed();
}

/** @param {Conversation} other */
function turnTo(other) {
  app.answering?.abort();
  talk = other;
  showUsage(null);
  showTalk();
  showList();
}

// ---- asking ------------------------------------------------------------------------------------

/** @param {any} options @param {Turn} turn */
function piecesOf(options, turn) {
  if (!turn.chat) return app.model.generate(turn.prompt, options);
  const system = systemPrompt();
  const before = talk.turns.slice(0, -1).filter(({ chat }) => chat);
  return app.model.chat(
    [
      ...(system ? [{ role: 'system', content: system }] : []),
      ...before.flatMap(({ prompt, text }) => [
        { role: 'user', content: prompt },
        { role: 'assistant', content: text },
      ]),
      { role: 'user', content: turn.prompt },
    ],
    options,
  );
}

async function send() {
  const prompt = $('prompt').value;
  if (app.answering || !app.model || !prompt.trim()) return;
  showError(null);
  let options;
  try {
    options = sampling();
  } catch (error) {
    return showError(error);
  }
  const mine = (app.answering = new AbortController());
  const chat = Boolean(app.model.facts.chatTemplate);
  const mineIn = talk;
  /** @type {Turn} */
  const turn = { prompt, text: '', chat, ended: '' };
  talk.turns.push(turn);
  talk.model = app.model.facts.name ?? app.opened?.name ?? '';
  if (chat) {
    $('prompt').value = '';
    write('draft', '');
    fit();
  }
  save();
  const { article, said, ended } = articleOf(turn);
  article.classList.add('busy');
  $('answer').append(article);
  $('answer').scrollTop = $('answer').scrollHeight;
  showUsage(null);
  changed();
  await writeOut(turn, said, options, mine, mineIn);
  article.classList.remove('busy');
  ended.textContent = turn.ended;
  if (app.answering === mine) app.answering = null;
  if (talk === mineIn) save();
  changed(turn.ended);
  showFigures();
  look();
}

/**
 * Writes an answer as it comes.
 * @param {Turn} turn @param {Text} said @param {any} given
 * @param {AbortController} mine @param {Conversation} mineIn
 */
async function writeOut(turn, said, given, mine, mineIn) {
  let tokens = 0;
  let first = 0;
  let waiting = '';
  let frame = 0;
  let finish = '';
  let saved = performance.now();
  /** @type {any} */
  let pieces = null;
  const paint = () => {
    frame = 0;
    const box = $('answer');
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
    said.data += waiting;
    waiting = '';
    if (tokens > 1)
      $('rate').textContent =
        `${(((tokens - 1) * 1000) / (performance.now() - first)).toFixed(0)} tokens/s`;
    if (atEnd) box.scrollTop = box.scrollHeight;
  };
  try {
    pieces = piecesOf({ ...given, signal: mine.signal }, turn);
    for await (const piece of pieces) {
      if (!tokens++) {
        first = performance.now();
        changed();
      }
      waiting += piece.text;
      turn.text += piece.text;
      finish = piece.finish;
      frame ||= requestAnimationFrame(paint);
      if (performance.now() - saved > SAVE_MS && talk === mineIn) {
        saved = performance.now();
        save();
      }
    }
    showUsage(pieces.usage);
  } catch (error) {
    finish = mine.signal.aborted ? 'stopped' : 'failed';
    if (!mine.signal.aborted) showError(error);
    showUsage(mine.signal.aborted ? pieces?.usage : null);
  } finally {
    cancelAnimationFrame(frame);
    paint();
    turn.ended = `${tokens} ${tokens === 1 ? 'token' : 'tokens'}, ${ENDS[finish] ?? finish}`;
  }
}

// ---- the composer ------------------------------------------------------------------------------

/** The prompt's box is as high as its text, within bounds of the style sheet. */
function fit() {
  const box = $('prompt');
  box.style.height = '0';
  box.style.height = `${box.scrollHeight + 2}px`;
}

function show() {
  const { model, loading, answering } = app;
  const chat = Boolean(model?.facts.chatTemplate);
  $('run').setAttribute('aria-disabled', String(!model || Boolean(answering)));
  $('run').hidden = Boolean(answering);
  $('stop').hidden = !answering;
  $('run').textContent = chat || !model ? 'Send' : 'Continue';
  $('prompt').placeholder = model
    ? chat
      ? 'Ask something'
      : 'A text to go on with'
    : 'First choose a model';
  $('welcome').hidden = talk.turns.length > 0;
  $('welcome-model').hidden = Boolean(model || loading);
  $('welcome-talk').hidden = !model;
  $('welcome-load').hidden = Boolean(model) || !loading;
  const { loaded = 0, total = 0, layers = 0, layersReady = 0 } = loading?.progress ?? {};
  const share = total ? ` ${Math.floor((loaded / total) * 100)} %` : '';
  const early = answering && loading && layers > layersReady;
  $('state').textContent = early
    ? `reads layer ${layersReady + 1} of ${layers}`
    : answering
      ? 'writing'
      : loading
        ? `loading${share}`
        : app.said;
  $('state').classList.toggle('busy', Boolean(answering || loading));
  if (loading && total)
    $('welcome-bytes').textContent = `${megabytes(loaded)} of ${megabytes(total)}`;
}

export function startTalk() {
  const last = read('talk');
  talk = (last && read(KEPT + last)) || talk;
  showTalk();
  showList();
  onChange(show);
  const prompt = $('prompt');
  prompt.value = read('draft', prompt.value);
  prompt.addEventListener('input', () => {
    write('draft', prompt.value);
    fit();
  });
  fit();
  prompt.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' || event.isComposing) return;
    const touch = matchMedia('(pointer: coarse)').matches; // there Enter is the way to a new line
    if (!(event.ctrlKey || event.metaKey) && (event.shiftKey || touch)) return;
    event.preventDefault();
    send();
  });
  $('composer').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    send();
  });
  $('stop').addEventListener('click', () => {
    app.answering?.abort();
    prompt.focus();
  });
  document.addEventListener('keydown', event => {
    if (event.key === 'Escape' && !$('ask').open) app.answering?.abort();
  });
  $('talk-new').addEventListener('click', () => {
    turnTo(fresh());
    prompt.focus();
  });
  $('talk-forget').addEventListener('click', async () => {
    if (!talk.turns.length) return;
    if (!(await decide(`“${titleOf(talk)}” will be gone for good.`, 'Delete it'))) return;
    forget(KEPT + talk.id);
    turnTo(all()[0] ?? fresh());
  });
  $('talks').addEventListener('change', () => {
    const other = read(KEPT + $('talks').value);
    if (other) turnTo(other);
  });
  for (const button of document.querySelectorAll('#welcome-talk button'))
    button.addEventListener('click', () => {
      prompt.value = button.textContent;
      fit();
      send();
    });
  addEventListener('pagehide', () => app.answering && save());
}
