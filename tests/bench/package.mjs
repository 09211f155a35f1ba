// What a page downloads before it can run a model, compressed: scripts and module, against wllama
// and transformers.js. Every product is taken as its own files for pages, minified by esbuild, as a
// user's bundler does it; what the page does not load is not counted.
import { build } from 'esbuild';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { brotliCompressSync, constants } from 'node:zlib';
import { section, table } from './report.mjs';
import { PEERS, hasPeer, quick, root } from './tools.mjs';

const MODULE = 'dist/hyperion-mt.wasm'; // an isolated page's; without threads it is 1 % smaller
const WLLAMA = join(PEERS, 'node_modules/@wllama/wllama/esm');
const TRANSFORMERS = join(PEERS, 'node_modules/@huggingface/transformers/dist');
const ONNX = join(PEERS, 'node_modules/onnxruntime-web/dist');

/** @param {Uint8Array} bytes @returns {{raw: number, gzip: number, brotli: number}} */
const sizeOf = bytes => ({
  raw: bytes.length,
  // gzip itself: the zlib within Node trades size for speed
  gzip: execFileSync('gzip', ['-9nc'], { input: bytes, maxBuffer: 1 << 28 }).length,
  brotli: brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: quick ? 4 : 11,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  }).length,
});
const sum = sizes =>
  sizes.reduce((all, { raw, gzip, brotli }) => ({
    raw: all.raw + raw,
    gzip: all.gzip + gzip,
    brotli: all.brotli + brotli,
  }));
const file = path => sizeOf(readFileSync(path));

/**
 * What is loaded of an entry's bundle by the time that it has run: its chunk, and those that it
 * imports statically.
 * @param {string} entry
 */
async function loaded(entry) {
  const { outputFiles, metafile } = await build({
    entryPoints: [entry],
    absWorkingDir: root,
    bundle: true,
    splitting: true,
    write: false,
    minify: true,
    metafile: true,
    format: 'esm',
    target: 'es2022',
    legalComments: 'none',
    outdir: 'out',
  });
  const chunks = new Map(outputFiles.map(one => [one.path.slice(root.length), one.contents]));
  const wanted = new Set(
    Object.keys(metafile.outputs).filter(path => metafile.outputs[path].entryPoint === entry),
  );
  for (const path of wanted)
    for (const { path: next, kind } of metafile.outputs[path].imports)
      if (kind === 'import-statement') wanted.add(next);
  return sum([...wanted].map(path => sizeOf(chunks.get(path))));
}

/** A script as it is, minified. @param {string} path */
async function minified(path) {
  const { outputFiles } = await build({
    entryPoints: [path],
    write: false,
    minify: true,
    format: 'esm',
    target: 'es2022',
    legalComments: 'none',
  });
  return sizeOf(outputFiles[0].contents);
}

/** Every product: its parts with their sizes; null: it is not installed. */
async function products() {
  const module = file(join(root, MODULE));
  // A page's own chunk, the engine's worker and a worker thread: bundles of their own.
  const scripts = async (entry, worker) =>
    sum([
      await loaded(`glue/model/${entry}.js`),
      await loaded(`glue/model/${worker}.js`),
      await loaded('glue/core/thread.js'),
    ]);
  const cdn = join(root, 'dist/hyperion.min.js');
  return {
    hyperion: { scripts: await scripts('index', 'worker_chat'), module },
    hyperion_slim: { scripts: await scripts('slim', 'worker'), module },
    hyperion_cdn: existsSync(cdn) ? { scripts: file(cdn), module } : null,
    // One module for one thread and for many, with its workers' scripts within.
    wllama: hasPeer('@wllama/wllama')
      ? {
          scripts: await minified(join(WLLAMA, 'index.js')),
          module: file(join(WLLAMA, 'wasm/wllama.wasm')),
        }
      : null,
    // It fetches ONNX Runtime's module and that module's script when the first model is loaded.
    transformers: hasPeer('@huggingface/transformers')
      ? {
          scripts: sum([
            file(join(TRANSFORMERS, 'transformers.min.js')),
            file(join(ONNX, 'ort-wasm-simd-threaded.asyncify.mjs')),
          ]),
          module: file(join(ONNX, 'ort-wasm-simd-threaded.asyncify.wasm')),
        }
      : null,
  };
}

const NAMES = {
  hyperion: 'Hyperion, bundled, with chat',
  hyperion_slim: 'Hyperion, bundled, `slim`',
  hyperion_cdn: 'Hyperion, `hyperion.min.js` from a CDN, with chat',
  wllama: 'wllama 3.8.1',
  transformers: 'transformers.js 4.3.1 with ONNX Runtime',
};

export async function run({ say }) {
  const sizes = await products();
  const figures = {};
  const rows = [];
  for (const [name, parts] of Object.entries(sizes)) {
    const all = parts && sum([parts.scripts, parts.module]);
    for (const how of ['gzip', 'brotli']) figures[`${name}_${how}`] = all?.[how] ?? NaN;
    if (!parts) continue;
    figures[`${name}_scripts_gzip`] = parts.scripts.gzip;
    figures[`${name}_module_gzip`] = parts.module.gzip;
    const kb = [parts.scripts.gzip, parts.module.gzip, all.gzip, all.brotli, all.raw];
    rows.push([NAMES[name], ...kb.map(bytes => (bytes / 1000).toFixed(bytes < 1e6 ? 1 : 0))]);
    say(rows.at(-1).join('  '));
  }
  const ratios = {};
  for (const [ours, suffix] of [
    ['hyperion', ''],
    ['hyperion_slim', '_slim'],
    ['hyperion_cdn', '_cdn'],
  ])
    for (const peer of ['wllama', 'transformers'])
      for (const how of ['gzip', 'brotli'])
        ratios[`vs_${peer}${suffix}${how === 'gzip' ? '' : '_brotli'}`] =
          figures[`${ours}_${how}`] / figures[`${peer}_${how}`];
  section(
    'package',
    'What a page downloads',
    `\`npm run -s bench -- package\`: KB (1,000 bytes) before the first model's own bytes: scripts and module by \`gzip -9\`, both together by that, by Brotli 11 and as they are. Scripts are minified; of ours, a bundler delivers the page's chunk, the engine's worker and a worker thread. wllama renders chat templates in its module; \`slim\` renders none.\n\n${table(['', 'scripts', 'module', 'gzip', 'Brotli', 'raw'], rows)}`,
  );
  return { figures, ratios };
}
