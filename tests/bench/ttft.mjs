// Time to the first token: from `open` in a page that has loaded, with nothing compiled yet and
// nothing cached, over a line of a given speed; then again after a reload. Ours against wllama, in
// Chromium, taking turns.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { gzipSync } from 'node:zlib';
import puppeteer from 'puppeteer-core';
import { BROWSERS } from '../tools/browsers.mjs';
import { Line } from '../tools/throttle.mjs';
import { bars, section, table } from './report.mjs';
import { PEERS, hasPeer, median, onPath, quick, root, shape } from './tools.mjs';

const PROMPT = 126;
const MB = 1e6;
const RATES = quick ? [20] : [20, 5, 100]; // MB/s; the first is the one that ratios are of
const TYPES = {
  '.html': 'text/html;charset=utf-8',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
};
const WLLAMA = join(PEERS, 'node_modules/@wllama/wllama/esm');
const PAGE = Buffer.from('<!doctype html><title>ttft</title><link rel="icon" href="data:,">');

/** Files as a server sends them: whole and by ranges, what compresses well compressed. */
class Files {
  #of = new Map();

  /** @param {string} path */
  at(path) {
    let file = this.#of.get(path);
    if (file) return file;
    const bytes = path ? readFileSync(path) : PAGE;
    const type = path ? TYPES[extname(path)] : TYPES['.html'];
    file = {
      bytes,
      type: type ?? 'application/octet-stream',
      packed: type ? gzipSync(bytes, { level: 9 }) : null,
      etag: `"${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}"`,
    };
    this.#of.set(path, file);
    return file;
  }
}

/**
 * A server whose connections share one line.
 * @param {Files} files @param {string} model its path @param {number} rate in MB/s
 */
async function serve(files, model, rate) {
  const line = new Line(rate * MB);
  const fileOf = path => {
    if (path === '/') return files.at('');
    if (path === '/model.gguf') return files.at(model);
    const [, mount, rest] = /^\/(glue|dist|wllama)\/(.*)$/.exec(path) ?? [];
    if (!mount) throw new Error(path);
    const top = mount === 'wllama' ? WLLAMA : join(root, mount);
    return files.at(join(top, normalize(`/${rest}`)));
  };
  const server = createServer((request, response) => {
    let file;
    try {
      file = fileOf(new URL(request.url, 'http://localhost').pathname);
    } catch {
      return void response.writeHead(404).end();
    }
    const { bytes, packed, type, etag } = file;
    const headers = {
      'content-type': type,
      etag,
      'cache-control': 'no-cache',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
      ...(!packed && { 'accept-ranges': 'bytes' }),
    };
    if (request.headers['if-none-match'] === etag)
      return void response.writeHead(304, headers).end();
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    let body = packed ?? bytes;
    if (packed) headers['content-encoding'] = 'gzip';
    else if (from !== undefined) {
      const last = to ? Math.min(Number(to), bytes.length - 1) : bytes.length - 1;
      body = bytes.subarray(Number(from), last + 1);
      headers['content-range'] = `bytes ${from}-${last}/${bytes.length}`;
    }
    headers['content-length'] = body.length;
    response.writeHead(headers['content-range'] ? 206 : 200, headers);
    if (request.method === 'HEAD') return void response.end();
    line.send(response, body).catch(() => response.destroy());
  }).listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  return {
    line,
    origin: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

// ---- what runs in the page ---------------------------------------------------------------------

/** Single letters: a token each in the made vocabularies, after the token that begins a text. */
const text = count => Array.from({ length: count - 1 }, (_, i) => 'abcdefghij'[i % 10]).join(' ');

const ENGINES = {
  hyperion: {
    prepare: async () => void (globalThis.engine = await import('/dist/hyperion.min.js')),
    /** @param {string} prompt @param {number} decode tokens, to see what a warm step takes */
    ask: async (prompt, decode) => {
      const start = performance.now();
      const model = await globalThis.engine.open('/model.gguf', {
        context: 512,
        fileCache: true,
        progressive: true,
      });
      const opened = performance.now() - start;
      const answer = model.generate(prompt, { maxTokens: 1, temperature: 0 });
      let first = 0;
      for await (const piece of answer) {
        void piece;
        first ||= performance.now() - start;
      }
      const told = { first, opened, tokens: answer.usage.promptTokens, step: 0 };
      if (decode) {
        const more = model.generate('a', { maxTokens: decode, temperature: 0 });
        for await (const piece of more) void piece;
        told.step = 1000 / more.usage.answerTokensPerSecond;
      }
      await model.close();
      return told;
    },
  },
  wllama: {
    prepare: async () => void (globalThis.engine = await import('/wllama/index.js')),
    ask: async prompt => {
      const start = performance.now();
      const engine = new globalThis.engine.Wllama(
        { default: '/wllama/wasm/wllama.wasm' },
        { suppressNativeLog: true },
      );
      // One thread: with two on two cores its barriers spin, and it is slower.
      await engine.loadModelFromUrl(new URL('/model.gguf', location.href).href, {
        n_threads: 1,
        n_ctx: 512,
        n_batch: 512,
        n_gpu_layers: 0,
        warmup: false,
      });
      const opened = performance.now() - start;
      let first = 0;
      let tokens = 0;
      const pieces = await engine.createCompletion({
        prompt,
        max_tokens: 1,
        temperature: 0,
        stream: true,
        ignore_eos: true,
      });
      for await (const piece of pieces) {
        first ||= performance.now() - start;
        tokens = piece.timings?.prompt_n ?? tokens;
      }
      await engine.exit();
      return { first, opened, tokens, step: 0 };
    },
  },
};

/**
 * What is left to do when the last byte comes: every read but the last one answers at once, and
 * that one when all else has been computed.
 * @param {string} prompt @param {number} decode tokens, to see what a warm step takes
 */
const askLate = async (prompt, decode) => {
  const bytes = new Uint8Array(await (await fetch('/model.gguf')).arrayBuffer());
  const READY_MS = 1500; // until all else has been computed
  let all = Infinity; // bytes that are read in all
  let asked = 0;
  let released = 0;
  const source = {
    size: bytes.length,
    read: async (offset, count) => {
      asked += count;
      if (asked >= all) {
        await new Promise(resolve => setTimeout(resolve, READY_MS));
        released = performance.now();
      }
      return bytes.slice(offset, offset + count);
    },
  };
  await (await globalThis.engine.open(source, { context: 512 })).close();
  all = asked;
  asked = 0;
  const model = await globalThis.engine.open(source, { context: 512, progressive: true });
  let first = 0;
  for await (const piece of model.generate(prompt, { maxTokens: 1, temperature: 0 })) {
    void piece;
    first ||= performance.now();
  }
  const more = model.generate('a', { maxTokens: decode, temperature: 0 });
  for await (const piece of more) void piece;
  await model.close();
  return { late: first - released, step: 1000 / more.usage.answerTokensPerSecond };
};

/**
 * One engine in a browser of its own: cold, then after a reload.
 * @param {keyof typeof ENGINES} name @param {string} origin
 */
async function measure(name, origin, { decode }) {
  const profile = mkdtempSync(join(tmpdir(), 'hyperion-ttft-'));
  const browser = await puppeteer.launch({
    headless: true,
    ...BROWSERS.chromium,
    userDataDir: profile,
    protocolTimeout: 600000,
  });
  try {
    const page = await browser.newPage();
    const { prepare, ask } = ENGINES[name];
    const once = async count => {
      await page.goto(`${origin}/`);
      await page.evaluate(prepare);
      return page.evaluate(ask, text(PROMPT), count);
    };
    const cold = await once(decode);
    const warm = await once(0);
    const last = name === 'hyperion' ? await page.evaluate(askLate, text(PROMPT), decode) : null;
    return { cold, warm, last };
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

export async function run({ rounds, say }) {
  if (!onPath('chromium')) throw new Error('ttft wants chromium');
  const engines = ['hyperion'];
  if (!quick) {
    if (!hasPeer('@wllama/wllama'))
      throw new Error('wllama is not installed: npm ci in tests/peers');
    engines.push('wllama');
  }
  const model = shape('smol135m', 'q4_0');
  const files = new Files();
  const bytes = files.at(model).bytes.length;
  const figures = { rounds, mb: bytes / MB };
  const ratios = {};
  const rows = [];
  for (const rate of RATES) {
    const main = rate === RATES[0];
    const times = Object.fromEntries(engines.map(e => [e, { cold: [], warm: [], opened: [] }]));
    const steps = [];
    const lates = [];
    for (let round = 0; round < (main ? rounds : Math.ceil(rounds / 2)); round++)
      for (const engine of engines) {
        const server = await serve(files, model, rate);
        const { cold, warm, last } = await measure(engine, server.origin, {
          decode: quick ? 8 : 64,
        });
        server.close();
        for (const { tokens } of [cold, warm])
          if (tokens !== PROMPT) throw new Error(`${engine} read ${tokens} tokens, not ${PROMPT}`);
        times[engine].cold.push(cold.first);
        times[engine].warm.push(warm.first);
        times[engine].opened.push(cold.opened);
        if (cold.step) steps.push(cold.step);
        if (last) lates.push(last);
        say(
          `${rate} MB/s, round ${round + 1}, ${engine}: ${cold.first.toFixed(0)} ms (open ${cold.opened.toFixed(0)}), after a reload ${warm.first.toFixed(0)} (open ${warm.opened.toFixed(0)}), a step ${cold.step.toFixed(1)}, ${(server.line.sent / MB).toFixed(1)} MB over the line`,
        );
      }
    const of = (engine, what) => (times[engine] ? median(times[engine][what]) : NaN);
    const step = median(steps);
    const ideal = bytes / (rate * 1000) + step;
    const own = {
      ideal_ms: ideal,
      step_ms: step,
      hyperion_cold_ms: of('hyperion', 'cold'),
      hyperion_warm_ms: of('hyperion', 'warm'),
      wllama_cold_ms: of('wllama', 'cold'),
      wllama_warm_ms: of('wllama', 'warm'),
    };
    for (const [key, value] of Object.entries(own))
      figures[main ? key : `${key}_${rate}mb`] = value;
    const shown = {
      cold_vs_ideal: own.hyperion_cold_ms / ideal,
      cold_vs_wllama: own.hyperion_cold_ms / own.wllama_cold_ms,
      warm_vs_wllama: own.hyperion_warm_ms / own.wllama_warm_ms,
    };
    if (main) {
      Object.assign(ratios, shown, {
        last_byte_vs_step: median(lates.map(({ late, step }) => late / step)),
      });
      figures.last_byte_ms = median(lates.map(({ late }) => late));
    } else for (const [key, value] of Object.entries(shown)) figures[`${key}_${rate}mb`] = value;
    rows.push([
      `${rate} MB/s`,
      ...[
        ideal,
        own.hyperion_cold_ms,
        own.wllama_cold_ms,
        own.hyperion_warm_ms,
        own.wllama_warm_ms,
      ].map(ms => (ms / 1000).toFixed(2)),
      ...Object.values(shown).map(ratio => ratio.toFixed(2)),
    ]);
  }
  const bar = (label, key, ours) => ({ label, value: figures[key] / 1000, ours });
  section(
    'ttft',
    `To the first token of ${PROMPT}, with the model still to be fetched`,
    `\`npm run -s bench -- ttft\`: ${(bytes / MB).toFixed(1)} MB over loopback HTTP whose connections share a line of ${RATES[0]} MB/s, Chromium, the 135M shape in Q4_0; seconds from \`open\` in a page that has loaded (no module compiled, nothing cached) to the first token of a prompt of ${PROMPT}, medians of ${rounds} rounds. *Ideal* is the transfer of the file and one warm decode step. *Again*: after a reload, each from its own cache.\n\n${bars(
      'ttft.svg',
      `seconds to the first token at ${RATES[0]} MB/s`,
      [
        bar('ideal', 'ideal_ms', false),
        bar('Hyperion', 'hyperion_cold_ms', true),
        bar('wllama', 'wllama_cold_ms', false),
        bar('Hyperion, again', 'hyperion_warm_ms', true),
        bar('wllama, again', 'wllama_warm_ms', false),
      ],
    )}\n\n${table(
      [
        'line',
        'ideal',
        'Hyperion',
        'wllama',
        'Hyperion, again',
        'wllama, again',
        'to ideal',
        'to wllama',
        'again, to wllama',
      ],
      rows,
    )}`,
  );
  return { figures, ratios };
}
