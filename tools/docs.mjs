#!/usr/bin/env node
// Writes the pages of docs/ that are made from the code: one generator each in tools/docs/, which
// exports `output` and `generate`. The pages are in git, so that they are read where the code is
// read; a test says when one is out of date.
// usage: docs.mjs [--check]   --check changes nothing, and fails when something would be changed
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const DECLARATIONS = 'build/api-types';
const isPage = (/** @type {string} */ name) => name.endsWith('.mjs');

/** The text of a file of this repository. @param {string} path */
const read = path => readFileSync(join(root, path), 'utf8');

/** The pages by their paths, as they should be. @returns {Promise<Map<string, string>>} */
export async function pages() {
  execFileSync(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.', '--outDir', DECLARATIONS],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const made = new Map();
  for (const name of readdirSync(join(root, 'tools/docs')).filter(isPage).sort()) {
    const { output, generate } = await import(`./docs/${name}`);
    made.set(output, generate({ read, declarations: DECLARATIONS }));
  }
  return made;
}

/** Those that are not as they should be. @param {Map<string, string>} made */
export const stale = made => [...made.keys()].filter(path => current(path) !== made.get(path));

/** @param {string} path */
function current(path) {
  try {
    return read(path);
  } catch {
    return null;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const made = await pages();
  const old = stale(made);
  if (process.argv.includes('--check')) {
    if (old.length) console.error(`out of date: ${old.join(' ')}; \`npm run docs\` writes them`);
    process.exit(old.length ? 1 : 0);
  }
  for (const path of old) writeFileSync(join(root, path), made.get(path));
}
