#!/usr/bin/env node
// Writes the files that are made from others: one generator each in tools/generate/, which exports
// `output` (where to, from the repository's root) and `generate` (its text). Runs before each
// build; what it writes is not in git. A file that would not change is not touched.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The text of a file of this repository. @param {string} path */
const read = path => readFileSync(join(root, path), 'utf8');
/** The files of a folder. @param {string} folder */
const list = folder => readdirSync(join(root, folder)).sort();

const current = (/** @type {string} */ path) => {
  try {
    return read(path);
  } catch {
    return null;
  }
};

for (const name of list('tools/generate').filter(file => file.endsWith('.mjs'))) {
  const { output, generate } = await import(`./generate/${name}`);
  const text = generate({ read, list });
  if (text === current(output)) continue;
  mkdirSync(join(root, dirname(output)), { recursive: true });
  writeFileSync(join(root, output), text);
}
