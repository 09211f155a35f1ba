// An edge isolate: the handler of hyperion-runtime/edge in real workerd, its model read by parts
// over loopback HTTP, under a limit of 96 MB.
//
//   start_ms         what the handler adds to the time from starting workerd to an answer of
//                    /health, over a worker that has nothing to load; the least of several each,
//                    because what else a machine does only adds to them
//   first_token_ms   from the first request, which opens the model, to the first event
//   warm_first_token_ms   the same for a new prompt of the same length, the model being open
//   longest_block_ms processor time of the isolate's thread, at most, while another request waited
//                    for its answer: when the model was opened, a prompt read, an answer written
//   longest_wait_ms  how long that request waited in all, less what it waits at an idle isolate
//   peak_mb          what the isolate holds at most: linear memory, JavaScript's heap, and what its
//                    buffers have outside of that; by workerd's inspector, asked all the time
//   process_peak_mb  the peak of the process (VmHWM) less its memory before the first request
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventsOf, serveParts } from '../tools/edge.mjs';
import { startWorkerd } from '../tools/workerd.mjs';
import { section, table } from './report.mjs';
import { median, quick, shape } from './tools.mjs';

const { resolve } = createRequire(import.meta.url);
const WebSocket = createRequire(resolve('puppeteer-core'))('ws'); // which brings it

const PROMPT = 'one two three four five six seven '.repeat(quick ? 2 : 16);
const ANSWER = quick ? 8 : 64;
const ASKED_MS = 2;
const STARTS = quick ? 1 : 4; // in a round
const EMPTY = { main: 'tests/bench/edge_empty.mjs' };

const post = (url, body) =>
  fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify(body) });

/** Times in ms of an answer's events, from the request on, and what it took. */
async function answer(url, prompt) {
  const began = performance.now();
  const body = { prompt, max_tokens: ANSWER, temperature: 0, stream: true };
  const response = await post(url, { ...body, stream_options: { include_usage: true } });
  const times = [];
  const events = await eventsOf(response, event => {
    if (event.choices?.length) times.push(performance.now() - began);
  });
  const { usage, error } = events.at(-2) ?? events.at(-1);
  if (!usage) throw new Error(`no answer: ${JSON.stringify(error ?? events)}`);
  return { times, usage };
}

/** Asks for /ping again and again; returns how to stop that, which gives what each took. */
function pinging(workerd) {
  let over = false;
  const took = [];
  const all = (async () => {
    while (!over) {
      const [began, cpu] = [performance.now(), workerd.cpuMs()];
      await (await fetch(`${workerd.url}/ping`)).text();
      took.push({ ms: performance.now() - began, cpuMs: workerd.cpuMs() - cpu });
      await sleep(ASKED_MS);
    }
  })();
  return async () => {
    over = true;
    await all;
    return took;
  };
}

/** The largest sum of the isolate's heaps, in bytes, until it is stopped. */
async function heapOf(address) {
  const [{ webSocketDebuggerUrl }] = await (await fetch(`http://${address}/json`)).json();
  const socket = new WebSocket(webSocketDebuggerUrl);
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  let most = 0;
  let over = false;
  const all = (async () => {
    for (let id = 1; !over; id++) {
      const message = new Promise(resolve => socket.once('message', resolve));
      socket.send(JSON.stringify({ id, method: 'Runtime.getHeapUsage' }));
      const { totalSize, backingStorageSize = 0 } = JSON.parse(await message).result ?? {};
      most = Math.max(most, (totalSize ?? 0) + backingStorageSize);
      await sleep(ASKED_MS);
    }
    socket.terminate();
  })();
  return async () => {
    over = true;
    await all;
    return most;
  };
}

export async function run({ rounds, say }) {
  const dir = mkdtempSync(join(tmpdir(), 'hyperion-bench-edge-'));
  const parts = await serveParts(shape('smol135m', 'q4_0'));
  const served = {
    main: 'tests/bench/edge_main.mjs',
    modules: { 'hyperion.wasm': 'dist/hyperion-relaxed.wasm' },
    services: { MODELS: parts.host },
  };
  /** From its start to an answer, ms. */
  const startOf = async (options, path) => {
    const began = performance.now();
    const workerd = await startWorkerd(dir, options);
    await (await fetch(workerd.url + path)).text();
    return [performance.now() - began, workerd];
  };
  try {
    const records = [];
    const starts = { empty: [], whole: [] };
    (await startOf(EMPTY, '/'))[1].close(); // its program is read
    for (let round = 0; round < rounds; round++) {
      for (let start = 0; start < STARTS; start++)
        for (const [options, path, times] of [
          [EMPTY, '/', starts.empty],
          [served, '/health', starts.whole],
        ]) {
          const [ms, one] = await startOf(options, path);
          one.close();
          times.push(ms);
        }
      const workerd = await startWorkerd(dir, served);
      try {
        const { url } = workerd;
        const idle = workerd.memory().rss;
        const stopIdle = pinging(workerd);
        await sleep(200);
        const usual = median((await stopIdle()).map(({ ms }) => ms));
        parts.asked.count = parts.asked.bytes = 0;
        const stop = pinging(workerd);
        const cold = await answer(url, `First ${PROMPT}`);
        const warm = await answer(url, `Then ${PROMPT}`);
        const waits = await stop();
        const seconds = (warm.times.at(-1) - warm.times[0]) / 1000;
        const health = await (await fetch(`${url}/health`)).json();
        records.push({
          first: cold.times[0],
          warm: warm.times[0],
          rate: (warm.times.length - 1) / seconds,
          block: Math.max(...waits.map(({ cpuMs }) => cpuMs)),
          wait: Math.max(...waits.map(({ ms }) => ms)) - usual,
          process: workerd.memory().peak - idle,
          linear: health.memory.linearMemoryBytes / 1e6,
          tokens: warm.usage.prompt_tokens,
          asked: parts.asked.count,
        });
      } finally {
        workerd.close();
      }
      const last = records.at(-1);
      say(
        `round ${round + 1}: first token ${last.first.toFixed(0)} ms, ${last.rate.toFixed(0)} tokens/s, longest block ${last.block.toFixed(1)} ms, wait ${last.wait.toFixed(1)} ms`,
      );
    }
    // The inspector takes time of its own: its run is another.
    const workerd = await startWorkerd(dir, { ...served, inspect: true });
    let heap;
    try {
      const stop = await heapOf(workerd.inspector);
      await answer(workerd.url, `First ${PROMPT}`);
      await answer(workerd.url, `Then ${PROMPT}`);
      heap = (await stop()) / 1e6;
    } finally {
      workerd.close();
    }
    const of = key => median(records.map(record => record[key]));
    const round = value => Number(value.toFixed(2));
    const figures = {
      rounds,
      peak_mb: round(Math.max(...records.map(r => r.linear)) + heap),
      linear_memory_mb: round(of('linear')),
      js_heap_mb: round(heap),
      process_peak_mb: round(of('process')),
      start_ms: round(Math.min(...starts.whole) - Math.min(...starts.empty)),
      first_token_ms: round(of('first')),
      warm_first_token_ms: round(of('warm')),
      longest_block_ms: round(of('block')),
      longest_wait_ms: round(of('wait')),
      tokens_per_second: round(of('rate')),
      prompt_tokens: of('tokens'),
      requests_for_model: of('asked'),
      model_mb: round(parts.size / 1e6),
    };
    section(
      'edge',
      'An edge isolate',
      `\`npm run -s bench -- edge\`: real workerd with the handler of \`hyperion-runtime/edge\`, limit 96 MB; a model of 135M parameters in Q4_0 with random weights, ${figures.model_mb} MB, which comes by ${figures.requests_for_model} parts over loopback HTTP; a prompt of ${figures.prompt_tokens} tokens. Medians of ${rounds} rounds. What each figure is stands at the top of \`tests/bench/edge.mjs\`.\n\n${table(
        ['', 'figure', 'limit'],
        [
          ['what the isolate holds at most', `${figures.peak_mb} MB`, '128 MB'],
          ['of it linear memory', `${figures.linear_memory_mb} MB`, ''],
          ["of it JavaScript's heap and buffers", `${figures.js_heap_mb} MB`, ''],
          ["the process' peak over its idle state", `${figures.process_peak_mb} MB`, ''],
          ['start-up', `${figures.start_ms} ms`, '50 ms'],
          ['first token, with opening the model', `${figures.first_token_ms} ms`, ''],
          ['first token, the model being open', `${figures.warm_first_token_ms} ms`, ''],
          ['longest step, while another request waits', `${figures.longest_block_ms} ms`, '20 ms'],
          ['tokens per second', figures.tokens_per_second, ''],
        ],
      )}`,
    );
    return { figures, ratios: {} };
  } finally {
    parts.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
