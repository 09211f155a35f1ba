// Choosing a model: the one that comes along, names and addresses, known small ones, what is
// cached, own files. Before a byte is fetched it is said how large each is and whether it will run
// here.
import { cache } from '/glue/model/index.js';
import { device, verdict } from './device.js';
import { $, el, megabytes, showError } from './dom.js';
import { filesOf, hubName, meant } from './hub.js';
import { read, write } from './kept.js';
import { load } from './load.js';
import { app, onChange } from './state.js';

/** @typedef {import('./state.js').Wanted} Wanted */

const [LOOKS, LOOK_MS] = [20, 500]; // at the cache, after a model has been loaded

/** @type {Wanted} */
export const STORY = {
  kind: 'story',
  name: 'Hyperion Story 5M',
  source: '/models/story.gguf',
  bytes: 2.8e6,
};
/** Small models that chat; sizes are about those of today's files. */
const SHELF = [
  ['SmolLM2 135M', 'hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M', 105e6, 'Apache 2.0'],
  ['SmolLM2 360M', 'hf:bartowski/SmolLM2-360M-Instruct-GGUF:Q4_K_M', 271e6, 'Apache 2.0'],
  ['Qwen 2.5 0.5B', 'hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M', 491e6, 'Apache 2.0'],
  ['Llama 3.2 1B', 'hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M', 808e6, 'Llama 3.2'],
  ['SmolLM2 1.7B', 'hf:bartowski/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M', 1056e6, 'Apache 2.0'],
];

/**
 * A line for a model: what it is, whether it runs here, and a button.
 * @param {object} row
 * @param {string} row.name
 * @param {string} row.about
 * @param {number} row.bytes
 * @param {import('./device.js').Device} row.here
 * @param {() => unknown} row.go
 * @param {string} [row.word] of the button
 * @param {Node[]} [row.more] further buttons
 */
function rowOf({ name, about, bytes, here, go, word = 'Load', more = [] }) {
  const { how, text } = verdict(bytes, here);
  const button = el(
    'button',
    { type: 'button', class: 'small', 'aria-label': `${word} ${name}` },
    word,
  );
  button.addEventListener('click', go);
  const fit = el('span', { class: `fit ${how}` }, text);
  return el(
    'li',
    {},
    el('div', { class: 'grow' }, el('b', {}, name), el('span', { class: 'muted' }, about), fit),
    button,
    ...more,
  );
}

/** @param {string} name @param {number} [bytes] @returns {Wanted} */
const fromHub = (name, bytes) => ({ kind: 'hub', name, source: name, bytes });

async function showShelf() {
  const here = await device();
  $('shelf').replaceChildren(
    ...SHELF.map(([name, source, bytes, licence]) =>
      rowOf({
        name: String(name),
        about: `about ${megabytes(Number(bytes))} · ${licence}`,
        bytes: Number(bytes),
        here,
        go: () => load(fromHub(String(source), Number(bytes))),
      }),
    ),
  );
}

/**
 * What is opened by the name that something has in the cache.
 * @param {string} name @param {number} bytes @returns {Wanted}
 */
const again = (name, bytes) =>
  name === new URL(STORY.source, location.href).href
    ? STORY
    : name.startsWith('hf:')
      ? fromHub(name, bytes)
      : { kind: 'address', name, source: name, bytes };

/** @param {string} name */
const short = name =>
  (/^https?:/.test(name) ? name.split('/').at(-1) : name.replace(/^hf:/, '')) || name;

let later = 0; // a timer

/**
 * What is in the cache, to be opened again or deleted.
 * @param {number} [looks] further ones, while not all of something is kept: chunks are written
 *   behind those who read
 */
async function showCached(looks = 0) {
  clearTimeout(later);
  let files;
  try {
    files = await cache.list();
  } catch {
    return; // there is no cache here
  }
  const here = await device();
  const rows = files.map(({ name, size, cached, complete }) => {
    const remove = el(
      'button',
      { type: 'button', class: 'small', 'aria-label': `Delete ${short(name)} from the cache` },
      'Delete',
    );
    remove.addEventListener('click', async () => {
      await cache.remove(name).catch(showError);
      showCached();
    });
    return rowOf({
      name: again(name, size).kind === 'story' ? STORY.name : short(name),
      about: complete
        ? `${megabytes(size)} · works offline`
        : `${megabytes(cached)} of ${megabytes(size)} are here`,
      bytes: size,
      here: { ...here, room: Infinity },
      word: complete ? 'Open' : 'Go on',
      go: () => load(again(name, size)),
      more: [remove],
    });
  });
  if (files.length) rows.unshift(el('li', { class: 'title' }, 'In this browser'));
  $('cached').replaceChildren(...rows);
  if (looks && files.some(({ complete }) => !complete))
    later = setTimeout(showCached, LOOK_MS, looks - 1);
}

let looking = new AbortController();

/** What somebody has typed is looked up, or opened where there is nothing to choose. */
async function lookUp() {
  showError(null);
  looking.abort();
  const { signal } = (looking = new AbortController());
  const found = $('found');
  found.replaceChildren();
  try {
    const what = meant($('url').value);
    if (what.kind === 'address') return load({ kind: 'address', name: what.url, source: what.url });
    const { repo, revision, file, quant } = what;
    found.replaceChildren(el('li', { class: 'muted' }, `asking the hub for ${repo} …`));
    const options = { endpoint: read('endpoint'), token: $('token').value, signal };
    const files = await filesOf(repo, revision, options);
    const wanted = files.filter(
      one => one.file === file || (!file && one.file.toLowerCase().includes(quant.toLowerCase())),
    );
    if (!wanted.length)
      throw new Error(
        `${repo} has no ${file || (quant ? `GGUF file of ${quant}` : 'GGUF files')}${files.length && (file || quant) ? `; it has ${files.map(one => one.file).join(', ')}` : ''}`,
      );
    const here = await device();
    if (signal.aborted) return;
    found.replaceChildren(
      ...wanted.map(one =>
        rowOf({
          name: one.file,
          about: megabytes(one.bytes),
          bytes: one.bytes,
          here,
          go: () => load(fromHub(hubName(repo, revision, one.file), one.bytes)),
        }),
      ),
    );
  } catch (error) {
    if (signal.aborted) return;
    found.replaceChildren();
    showError(error);
  }
}

/** @param {Iterable<File>} files the model, or the parts of a split one */
function openFiles(files) {
  const list = [...files].sort((a, b) => (a.name < b.name ? -1 : 1));
  if (!list.length) return;
  const bytes = list.reduce((sum, { size }) => sum + size, 0);
  const source = /** @type {any} */ (list.length === 1 ? list[0] : list);
  load({ kind: 'file', name: list[0].name, source, bytes });
}

/** A file may be dropped anywhere; what is text is for the prompt. */
function takeDrops() {
  let inside = 0;
  const files = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragenter', event => {
    if (!files(event)) return;
    event.preventDefault();
    inside++;
    $('drop').hidden = false;
  });
  addEventListener('dragleave', event => {
    if (files(event) && --inside <= 0) $('drop').hidden = true;
  });
  addEventListener('dragover', event => files(event) && event.preventDefault());
  addEventListener('drop', event => {
    if (!files(event)) return;
    event.preventDefault();
    inside = 0;
    $('drop').hidden = true;
    openFiles(/** @type {DataTransfer} */ (event.dataTransfer).files);
  });
}

export function startPicker() {
  for (const button of document.querySelectorAll('[data-story]'))
    button.addEventListener('click', () => load(STORY));
  $('file').addEventListener('change', (/** @type {any} */ event) => {
    const list = [...event.target.files];
    event.target.value = ''; // the same file may be taken once more
    openFiles(list);
  });
  $('url-form').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    if ($('url').value.trim()) lookUp();
  });
  $('endpoint').value = read('endpoint', '');
  $('endpoint').addEventListener('change', () => write('endpoint', $('endpoint').value.trim()));
  takeDrops();
  showShelf();
  // What is in the cache changes with what is loaded.
  let loading = app.loading;
  onChange(() => {
    if (app.loading === loading) return;
    loading = app.loading;
    if (!loading) showCached(LOOKS);
  });
  showCached();
  addEventListener('online', showShelf);
}
