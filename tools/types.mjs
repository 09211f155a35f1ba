#!/usr/bin/env node
// Writes types/, the declarations that the package brings. They name the web's interfaces
// (AbortSignal, URL, …), which are not declared in every program: each file takes those that it
// names from core/platform.ts.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const types = join(root, 'types');
const platform = join(types, 'core/platform.d.ts');

rmSync(types, { recursive: true, force: true });
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const { status } = spawnSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.json')], {
  cwd: root,
  stdio: 'inherit',
});
if (status) process.exit(status);

const names = [
  ...readFileSync(platform, 'utf8').matchAll(/^export (?:declare )?(?:type|namespace) (\w+)/gm),
].map(([, name]) => name);

// What a bundler makes of an artefact is its own affair: a compiled module, or an address.
writeFileSync(
  join(types, 'wasm.d.ts'),
  `declare const artefact: import('./core/module.js').WasmSource;\nexport default artefact;\n`,
);

const COMMENT = /(\/\*[^]*?\*\/)/;

/**
 * Code that older compilers read: before 5.7 typed arrays had no parameters. TypeScript 7.0 leaves
 * the star in that begins a line of a comment, where a type within goes on.
 * @param {string} code
 */
const plain = code =>
  code.replace(/\b(\w+Array)<[\w |]*ArrayBuffer\w*>/g, '$1').replace(/([|&,] )\*\s+/g, '$1');

/** Does a file say itself what a name stands for? @param {string} code @param {string} name */
const knows = (code, name) =>
  new RegExp(`\\b(?:type|interface|class|namespace) ${name}\\b|import [^;]*\\b${name}\\b`).test(
    code,
  );

for (const entry of readdirSync(types, { recursive: true, withFileTypes: true })) {
  const file = join(entry.parentPath, entry.name);
  if (!entry.isFile() || file === platform) continue;
  const text = readFileSync(file, 'utf8')
    .split(COMMENT)
    .map((part, i) => (i % 2 ? part : plain(part)))
    .join('');
  const code = text.replace(/\/\*[^]*?\*\//g, '').replace(/import\([^)]*\)\.\w+/g, '');
  const named = names.filter(name => new RegExp(`\\b${name}\\b`).test(code) && !knows(code, name));
  const from = relative(dirname(file), platform).replace(/\.d\.ts$/, '.js');
  const path = from.startsWith('.') ? from : `./${from}`;
  const more = named.length ? `import type { ${named.join(', ')} } from '${path}';\n` : '';
  writeFileSync(file, text + more);
}

// What `require` gives has declarations of its own: those of an ES module can not be named by a
// CommonJS one before TypeScript 5.3.
const commonJs = join(types, 'cjs');
mkdirSync(commonJs);
writeFileSync(join(commonJs, 'package.json'), '{ "type": "commonjs" }\n');
for (const folder of ['core', 'generated', 'model', 'source'])
  cpSync(join(types, folder), join(commonJs, folder), { recursive: true });
