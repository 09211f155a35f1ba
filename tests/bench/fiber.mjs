// Fiber switches: natively against Boost.Context, in wasm against emscripten_fiber_swap; and what
// Asyncify costs the module.
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build, json, median, medians, onPath, quick, root } from './tools.mjs';

const DEPTHS = [1, 4, 16];
const TURNS = quick ? 10000 : 1000000;

/** Runs in Node and in a page: nanoseconds for a resume and a yield, at each depth. */
const measure = `async (bytes, depths, turns) => {
  const hyp = { read: () => -2, forget() {}, now: () => performance.now(), panic() { throw new Error('panic'); } };
  const { instance } = await WebAssembly.instantiate(bytes, { hyp });
  const out = {};
  for (const depth of depths) {
    instance.exports.run(depth, turns / 10);
    const start = performance.now();
    instance.exports.run(depth, turns);
    out[depth] = ((performance.now() - start) * 1e6) / turns;
  }
  return out;
}`;

/** emscripten_fiber_swap, in a Node of its own: there and back. */
const PEER = `delete globalThis.fetch; // Emscripten 3.1.6 would fetch a local file
require(process.argv[1])().then(m => {
  const out = {};
  for (const depth of ${JSON.stringify(DEPTHS)}) {
    m._run(depth, ${TURNS / 100});
    const start = performance.now();
    m._run(depth, ${TURNS / 10});
    out[depth] = ((performance.now() - start) * 1e6) / ${TURNS / 10};
  }
  console.log(JSON.stringify(out));
});`;

async function inChromium(bytes) {
  const { default: puppeteer } = await import('puppeteer-core');
  const server = createServer((request, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>'),
  ).listen(0, '127.0.0.1');
  const browser = await puppeteer.launch({
    headless: true,
    executablePath: execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim(),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    return await page.evaluate(
      `(${measure})(Uint8Array.from(${JSON.stringify([...bytes])}), ${JSON.stringify(DEPTHS)}, ${TURNS})`,
    );
  } finally {
    await browser.close();
    server.close();
  }
}

/** What Asyncify adds to the module, and which functions it touches. */
function cost() {
  const raw = join(root, 'build/wasm/hyperion.raw.wasm');
  const plain = join(root, 'build/bench-plain.wasm');
  execFileSync(process.execPath, [join(root, 'tools/finish_wasm.mjs'), '--plain', raw, plain]);
  const features = [
    'simd',
    'bulk-memory',
    'sign-ext',
    'nontrapping-float-to-int',
    'mutable-globals',
  ].map(f => `--enable-${f}`);
  const told = execFileSync(
    join(root, 'node_modules/.bin/wasm-opt'),
    [
      raw,
      ...features,
      '--asyncify',
      '--pass-arg=asyncify-ignore-imports',
      '--pass-arg=asyncify-verbose',
      '-o',
      plain + '.tmp',
    ],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 24 },
  );
  const touched = new Set(
    [...told.matchAll(/^\[asyncify\] (\S+) can change the state/gm)].map(m => m[1]),
  );
  const defined = file =>
    [
      ...readFileSync(join(root, file), 'utf8').matchAll(
        /^(?:static )?(?:inline )?\w+ \*?(\w+)\([^;]*\) \{/gm,
      ),
    ].map(m => m[1]);
  // the reference converts through a table of formats, and may be touched
  const scalar = new Set(defined('src/kernels/scalar.c'));
  const kernels = [
    ...defined('wasm/kernels_simd128.c'),
    ...defined('src/kernels/vector_tmpl.h'),
    ...defined('src/kernels/layout.c'),
    ...defined('src/kernels/matmul_tmpl.h'),
  ].filter(k => !scalar.has(k));
  if (kernels.length < 20) throw new Error('the kernels are not found in their sources');
  const dist = join(root, 'dist/hyperion.wasm');
  return {
    size: statSync(dist).size / statSync(plain).size,
    gzip: gzipSync(readFileSync(dist)).length / gzipSync(readFileSync(plain)).length,
    functions: touched.size,
    kernels: kernels.filter(k => touched.has(k)),
  };
}

export async function run({ rounds, say }) {
  build('native', 'bench_fiber');
  build('wasm', 'fiber_wasm', 'hyperion');
  const emscripten = onPath('emcc');
  if (emscripten) build('emscripten', 'fiber_emscripten');
  else
    say(
      'emcc is not there: the ratio against emscripten_fiber_swap is left out (apt-get install emscripten)',
    );
  const bytes = readFileSync(join(root, 'build/wasm/fiber_wasm.wasm'));
  const peer = join(root, 'build/bench-fiber-peer.cjs');
  writeFileSync(
    peer,
    PEER.replace(
      'process.argv[1]',
      JSON.stringify(join(root, 'build/emscripten/peer/fiber_emscripten.js')),
    ),
  );
  const native = [];
  const wasm = [];
  const swap = [];
  for (let round = 0; round < (quick ? rounds : Math.max(rounds, 5)); round++) {
    native.push(await json(join(root, 'build/native/bench_fiber')));
    wasm.push(await eval(measure)(bytes, DEPTHS, TURNS));
    if (emscripten) swap.push(await json(process.execPath, [peer]));
    const n = native.at(-1);
    if (!quick && !n.boost_switch_ns)
      throw new Error('Boost.Context is not there: install libboost-context-dev');
    say(
      `round ${round + 1}: switch ${n.switch_ns} ns (Boost ${n.boost_switch_ns}), 10,000 at random ${n.random10k_ns} (Boost ${n.boost_random10k_ns}); wasm depth 1 ${wasm.at(-1)[1].toFixed(1)} ns${emscripten ? ` (emscripten_fiber_swap ${swap.at(-1)[1].toFixed(0)})` : ''}`,
    );
  }
  const chromium = quick && !onPath('chromium') ? null : await inChromium(bytes);
  if (!chromium) say('chromium is not there and is left out');
  const asyncify = cost();
  const figures = { rounds: native.length, ...medians(native) };
  for (const depth of DEPTHS) {
    figures[`wasm_ns_depth${depth}`] = median(wasm.map(w => w[depth]));
    if (chromium) figures[`wasm_chromium_ns_depth${depth}`] = chromium[depth];
    if (emscripten) figures[`emscripten_ns_depth${depth}`] = median(swap.map(s => s[depth]));
  }
  Object.assign(figures, {
    instrumented_functions: asyncify.functions,
    instrumented_kernels: asyncify.kernels.length,
  });
  const of = (a, b) => median(native.map(n => n[a] / n[b]));
  return {
    figures,
    ratios: {
      native_vs_boost: of('switch_ns', 'boost_switch_ns'),
      ping_vs_boost: of('ping_ns', 'boost_ping_ns'),
      random10k_vs_boost: of('random10k_ns', 'boost_random10k_ns'),
      ...(emscripten && { wasm_vs_emscripten: median(swap.map((s, i) => s[1] / wasm[i][1])) }),
      asyncify_size: asyncify.size,
      asyncify_size_gzip: asyncify.gzip,
    },
  };
}
