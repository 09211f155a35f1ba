// The Jinja engine of chat templates, as one file of the package: an import by a bare name would
// not be found in a worker, where import maps do not apply.
import { buildSync } from 'esbuild';
import { fileURLToPath } from 'node:url';

export const output = 'glue/generated/jinja.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const FOLDER = 'node_modules/@huggingface/jinja';
const WANTED = ['Environment', 'Interpreter', 'parse', 'tokenize'];

/** @param {{read: (path: string) => string}} files */
export function generate({ read }) {
  const { name, version } = JSON.parse(read(`${FOLDER}/package.json`));
  const { outputFiles } = buildSync({
    stdin: { contents: `export { ${WANTED.join(', ')} } from '${name}';`, resolveDir: root },
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    minify: true,
    legalComments: 'none',
  });
  const licence = read(`${FOLDER}/LICENSE`).trim();
  return `/*! ${name} ${version}\n\n${licence}\n*/\n// @ts-nocheck\n${outputFiles[0].text}`;
}
