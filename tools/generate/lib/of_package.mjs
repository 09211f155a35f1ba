// A package that ships as one file of ours: an import by a bare name would not be found in a
// worker, where import maps do not apply.
import { buildSync } from 'esbuild';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/**
 * What is wanted of an installed package, bundled, with its name, version and licence.
 * @param {(path: string) => string} read @param {string} name of the package
 * @param {string[]} wanted its exports @param {string} [from] the path of its module that has them
 */
export function ofPackage(read, name, wanted, from = '') {
  const folder = `node_modules/${name}`;
  const { version } = JSON.parse(read(`${folder}/package.json`));
  const { outputFiles } = buildSync({
    stdin: { contents: `export { ${wanted.join(', ')} } from '${name}${from}';`, resolveDir: root },
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    minify: true,
    legalComments: 'none',
  });
  const licence = read(`${folder}/LICENSE`).trim();
  return `/*! ${name} ${version}\n\n${licence}\n*/\n// @ts-nocheck\n${outputFiles[0].text}`;
}
