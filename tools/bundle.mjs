#!/usr/bin/env node
// Writes the package in one file, for those who can not take its many: dist/hyperion.min.js (from
// a server of files, with the artefacts beside it), dist/hyperion.inline.js (for bundlers that
// leave files behind: everything is within), dist/hyperion.cjs (for `require`). Runs after each
// build; a file that would not change is not touched.
import { build } from 'esbuild';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (/** @type {string} */ path) => readFileSync(join(root, path));
const { name, version } = JSON.parse(read('package.json').toString());
const licences = ['jinja', 'sha256'].map(
  file => /\/\*![^]*?\*\//.exec(read(`glue/generated/${file}.js`).toString())?.[0],
);
const BANNER = `/*! ${name} ${version}, MIT */\n${licences.join('\n')}\n`;

/** With threads and relaxed SIMD, which serves without threads too; and for hosts without that. */
const EMBEDDED = ['hyperion-mt.wasm', 'hyperion.wasm'];

/**
 * Files of tools/bundle in the place of those of glue/core.
 * @param {string} places where artefacts and scripts lie
 * @returns {import('esbuild').Plugin}
 */
const withPlaces = places => ({
  name: 'places',
  setup(build) {
    build.onResolve({ filter: /\/places\.js$/ }, () => ({
      path: join(root, 'tools/bundle', places),
    }));
  },
});

/**
 * Texts and data that a bundle imports as `embedded:NAME`.
 * @param {Record<string, () => Promise<string>>} values
 * @returns {import('esbuild').Plugin}
 */
const embedding = values => ({
  name: 'embedding',
  setup(build) {
    build.onResolve({ filter: /^embedded:/ }, ({ path }) => ({ path, namespace: 'embedded' }));
    build.onLoad({ filter: /.*/, namespace: 'embedded' }, async ({ path }) => ({
      contents: await values[path.replace('embedded:', '')](),
      loader: 'text',
    }));
  },
});

/**
 * @param {string} entry
 * @param {import('esbuild').BuildOptions} options
 * @returns {Promise<string>}
 */
async function bundle(entry, options) {
  const { outputFiles } = await build({
    entryPoints: [join(root, entry)],
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    target: 'es2022',
    legalComments: 'none',
    absWorkingDir: root,
    ...options,
  });
  return outputFiles[0].text;
}

/** A script that is embedded as text. @param {string} entry */
const script = entry => () =>
  bundle(entry, { format: 'iife', plugins: [withPlaces('places_worker.js')] });

const OUTPUTS = {
  'dist/hyperion.min.js': () =>
    bundle('tools/bundle/page.js', { plugins: [withPlaces('places_page.js')] }),
  'dist/hyperion.inline.js': () =>
    bundle('tools/bundle/inline.js', {
      plugins: [
        withPlaces('places_inline.js'),
        embedding({
          worker: script('glue/model/worker_chat.js'),
          thread: script('glue/core/thread.js'),
          ...Object.fromEntries(
            EMBEDDED.map(file => [
              file,
              async () => gzipSync(read(`dist/${file}`), { level: 9 }).toString('base64'),
            ]),
          ),
        }),
      ],
    }),
  'dist/hyperion.cjs': () =>
    bundle('tools/bundle/require.js', {
      format: 'cjs',
      platform: 'node',
      target: 'node20.16',
      minify: false,
      plugins: [withPlaces('places_require.js')],
      define: { 'import.meta.url': '__place' },
      banner: { js: "const __place = require('node:url').pathToFileURL(__filename).href;" },
    }),
};

for (const [path, make] of Object.entries(OUTPUTS)) {
  const text = BANNER + (await make());
  let current = '';
  try {
    current = read(path).toString();
  } catch {} // there is none yet
  if (text !== current) writeFileSync(join(root, path), text);
}
