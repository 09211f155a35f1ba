// The package in workers that a page has started for itself, unbundled, from where npm put it.
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import {
  CHAT_OPTIONS,
  ISOLATED,
  MESSAGES,
  MODEL,
  OPTIONS,
  PACKAGE,
  PROMPT,
  chatModel,
  consumer,
  page,
  project,
  replies,
  writes,
} from './kit.mjs';

/** A function of a script: writes the story, chats, and tells. */
const tellBy = entry => `
import { open } from './node_modules/${PACKAGE}/glue/model/${entry}';
async function collect(answer) {
  let text = '';
  for await (const piece of answer) text += piece.text;
  return text;
}
async function tell(options) {
  try {
    const model = await open('story.gguf', options);
    const text = await collect(model.generate(${JSON.stringify(PROMPT)}, ${JSON.stringify(OPTIONS)}));
    const { threads, artefact } = await model.stats();
    await model.close();
    const chatty = await open('chat.gguf', options);
    const reply = await collect(
      chatty.chat(${JSON.stringify(MESSAGES)}, ${JSON.stringify(CHAT_OPTIONS)}),
    );
    await chatty.close();
    return { text, reply, threads: threads.count, artefact };
  } catch (error) {
    return { error: String(error?.stack ?? error) };
  }
}
`;
const TELL = tellBy('index.js');
const html = script => `<!doctype html><script type="module">${script}</script>`;
const serviceWorker = entry => ({
  [`service-${entry}.html`]: html(`
    const { serviceWorker } = navigator;
    const controls = new Promise(resolve => (serviceWorker.oncontrollerchange = resolve));
    await serviceWorker.register('service-${entry}.js', { type: 'module' });
    await controls;
    const answer = await fetch('told-by-the-service-worker');
    globalThis.result = await answer.json();
  `),
  [`service-${entry}.js`]: `${tellBy(`${entry}.js`)}
    self.addEventListener('install', event => event.waitUntil(self.skipWaiting()));
    self.addEventListener('activate', event => event.waitUntil(self.clients.claim()));
    self.addEventListener('fetch', event => {
      if (!event.request.url.endsWith('told-by-the-service-worker')) return;
      event.respondWith(tell({}).then(told => Response.json(told)));
    });
  `,
});
const FILES = {
  ...serviceWorker('local'), // with all of it loaded at once, as a service worker has to
  ...serviceWorker('index'),
  'shared.html': html(`
    const worker = new SharedWorker('shared.js', { type: 'module' });
    worker.onerror = event => (globalThis.result = { error: event.message ?? 'not started' });
    worker.port.onmessage = ({ data }) => (globalThis.result = data);
    worker.port.start();
  `),
  'shared.js': `${TELL}
    self.addEventListener('connect', async ({ ports: [port] }) => port.postMessage(await tell({})));
  `,
  'worker.html': html(`
    const worker = new Worker('worker.js', { type: 'module' });
    worker.onerror = event => (globalThis.result = { error: event.message ?? 'not started' });
    worker.onmessage = ({ data }) => (globalThis.result = data);
  `),
  'worker.js': `${TELL}
    self.postMessage({ here: await tell({}), there: await tell({ worker: true }) });
  `,
  'story.gguf': { copy: MODEL },
  'chat.gguf': { copy: chatModel() },
};

/** Opens a page of the project; gives what it has told. */
async function told(path, headers = {}) {
  const folder = await project('workers', FILES);
  const shown = await page(folder, { path, headers });
  try {
    const result = await shown.result();
    assert.deepEqual([shown.missing, shown.problems], [[], []]);
    return result;
  } finally {
    await shown.close();
  }
}

/** @param {{text: string, reply: string, error?: string}} result */
async function right(result) {
  assert.equal(result.error, undefined);
  assert.deepEqual([result.text, result.reply], [await writes(), await replies()]);
}

for (const [title, headers] of [
  ['alone', {}],
  ['isolated', ISOLATED],
]) {
  consumer(`a service worker, ${title}`, async () =>
    right(await told('service-local.html', headers)),
  );
  consumer(`a shared worker, ${title}`, async () => right(await told('shared.html', headers)));
  consumer(`a module worker, ${title}`, async () => {
    const { here, there } = await told('worker.html', headers);
    await right(here);
    await right(there);
    const several = availableParallelism() > 1 && headers === ISOLATED;
    for (const one of [here, there])
      assert.equal(one.threads > 1, several, `${one.threads} threads`);
  });
}

consumer(
  'a service worker that would load the engine on demand is told what to import',
  async () => {
    await assert.rejects(told('service-index.html'), /hyperion-runtime\/local/);
  },
);
