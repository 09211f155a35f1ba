// What the tests of installed packages share.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs a program; returns what it printed, throws with what it complained of. */
export const run = (command, ...args) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' });

/** The functions that the public headers in `folder` declare. */
export function publicFunctions(folder) {
  const text = ['hyperion.h', 'types.h'].map(f => readFileSync(join(folder, f), 'utf8')).join('\n');
  const code = text.replace(/\/\/.*/g, '');
  return [...new Set([...code.matchAll(/\b(hyp_\w+)\(/g)].map(m => m[1]))];
}

/**
 * The global symbols that a static library defines, and those of them that are not ours by name.
 */
export function foreignSymbols(nm, library) {
  const defined = run(nm, '-g', '--defined-only', library)
    .split('\n')
    .map(line => /^[0-9a-f]+ \w (\S+)$/.exec(line)?.[1])
    .filter(Boolean);
  return { defined, foreign: defined.filter(name => !/^(__em_js__)?hyp_/.test(name)) };
}
