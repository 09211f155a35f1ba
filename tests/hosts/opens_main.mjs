// Run by Node and Deno with --expose-gc: opens a model, writes some tokens and closes it, many
// times; between them openings that fail and openings that are aborted. Prints what the process
// holds meanwhile as one line of JSON.
// usage: opens_main.mjs OPENINGS thread|worker collect|leave
//   collect: garbage is collected before the process is looked at; leave: only when the host does
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { getEventListeners } from 'node:events';
import { open } from '../../glue/model/index.js';

const [openings, where, garbage] = process.argv.slice(2);
const worker = where === 'worker';
const STORY = new URL('../../models/story.gguf', import.meta.url);
const EVERY = 10; // openings, between looks
const SETTLE_MS = 20000; // how long what is ended may take to be gone

const whole = new Uint8Array(readFileSync(STORY));
const turn = (ms = 0) => new Promise(resolve => setTimeout(resolve, ms));
/** How many entries a folder of /proc has; 0 where there is no such thing. */
const entries = folder => (existsSync(folder) ? readdirSync(folder).length : 0);
const held = () => ({
  threads: entries('/proc/self/task'),
  files: entries('/proc/self/fd'),
  resources: globalThis.process.getActiveResourcesInfo?.().sort() ?? [],
});

async function collect() {
  for (let i = 0; i < 3; i++) {
    await turn(10); // what finalisers and ended threads give back comes in tasks of their own
    globalThis.gc();
  }
}

const staying = new AbortController(); // one signal for all openings: nothing may stay with it

async function story() {
  const model = await open(STORY, { worker, signal: staying.signal });
  let pieces = 0;
  for await (const { text } of model.generate('Once upon a time', {
    maxTokens: 4,
    signal: staying.signal,
  }))
    pieces += text !== undefined;
  if (!pieces) throw new Error('nothing was written');
  await model.close();
}

/** Of an opening that must come to nothing. */
async function refused(source, options) {
  const model = await open(source, { worker, ...options }).catch(() => null);
  if (model) throw new Error('it was opened');
}

/** Openings that come to nothing, each at another point. */
const FAILURES = [
  () => refused(new URL('../../models/none.gguf', import.meta.url)),
  () => refused(whole.slice(0, 1000)),
  () => refused(whole.slice(0, whole.length >> 1)),
  () => refused(STORY, { memory: 100000 }),
  () => refused(STORY, { signal: AbortSignal.abort() }),
  async () => {
    const controller = new AbortController();
    const opened = open(STORY, { worker, signal: controller.signal });
    await turn();
    controller.abort();
    const model = await opened.catch(() => null); // it may have been open before
    return model?.close();
  },
  async () => {
    const controller = new AbortController();
    const onProgress = ({ loaded, total }) => loaded > total / 2 && controller.abort();
    await refused(STORY, { signal: controller.signal, onProgress });
  },
];

await story(); // the host's own threads have begun
await collect();
const before = held();
let peak = 0;
const resident = [];
const started = performance.now();
for (let i = 1; i <= Number(openings); i++) {
  await story();
  peak = Math.max(peak, process.memoryUsage().rss);
  if (i % EVERY) continue;
  await FAILURES[(i / EVERY) % FAILURES.length]();
  if (garbage === 'collect') await collect();
  resident.push(process.memoryUsage().rss);
}
const seconds = (performance.now() - started) / 1000;
await collect();
const end = process.memoryUsage().rss;
let after = held();
const more = () =>
  after.threads > before.threads ||
  after.files > before.files ||
  after.resources.length > before.resources.length;
for (const deadline = performance.now() + SETTLE_MS; more() && performance.now() < deadline;) {
  await turn(50);
  after = held();
}
const listeners = getEventListeners(staying.signal, 'abort').length;
console.log(JSON.stringify({ before, after, listeners, resident, peak, end, seconds }));
