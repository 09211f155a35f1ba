// SHA-256 that takes its bytes piece by piece, which the web's own interface does not, as one file
// of the package: an import by a bare name would not be found in a worker.
import { buildSync } from 'esbuild';
import { fileURLToPath } from 'node:url';

export const output = 'glue/generated/sha256.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const FOLDER = 'node_modules/@noble/hashes';

/** @param {{read: (path: string) => string}} files */
export function generate({ read }) {
  const { name, version } = JSON.parse(read(`${FOLDER}/package.json`));
  const { outputFiles } = buildSync({
    stdin: { contents: `export { sha256 } from '${name}/sha2.js';`, resolveDir: root },
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
