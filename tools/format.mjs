// Layout: C by clang-format 19, JavaScript and the page by Prettier, both over what git tracks.
// usage: format.mjs [--check]   --check changes nothing, and fails when something would be changed
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const check = process.argv.includes('--check');

/** Files that git tracks or would track. @param {string[]} patterns */
function files(...patterns) {
  const listed = spawnSync(
    'git',
    ['ls-files', '--cached', '--others', '--exclude-standard', ...patterns],
    { cwd: root, encoding: 'utf8' },
  );
  if (listed.status) throw new Error(listed.stderr);
  const deleted = spawnSync('git', ['ls-files', '--deleted', ...patterns], {
    cwd: root,
    encoding: 'utf8',
  });
  const gone = new Set(deleted.stdout.split('\n'));
  return listed.stdout.split('\n').filter(file => file && !gone.has(file));
}

const run = (/** @type {string} */ command, /** @type {string[]} */ argv) =>
  spawnSync(command, argv, { cwd: root, stdio: 'inherit' }).status ?? 1;

// A table that a tool writes is as the tool writes it.
const c = files('*.c', '*.h', '*.cpp').filter(file => !file.endsWith('unicode_tables.h'));
const js = files('*.js', '*.mjs', '*.ts', '*.css', '*.html', 'package.json', 'tsconfig.json');
const failed = [
  run('clang-format-19', [...(check ? ['--dry-run', '-Werror'] : ['-i']), ...c]),
  run(process.execPath, [
    join(root, 'node_modules/prettier/bin/prettier.cjs'),
    '--log-level=warn',
    check ? '--check' : '--write',
    ...js,
  ]),
];
if (check && failed.some(Boolean)) console.error('`npm run format` mends this');

// Prettier leaves comments as wide as they are.
const COLUMNS = 100;
// A line of its own, or behind code; a backtick behind it tells that it stands in a text.
const COMMENT = /^\s*(?:\/\/|\/?\*)|[;,{)([] \/\/ [^`]*$/;
const wide = js
  .filter(file => /\.m?js$/.test(file))
  .flatMap(file =>
    readFileSync(join(root, file), 'utf8')
      .split('\n')
      .map((line, i) => ({ line, at: `${file}:${i + 1}` }))
      .filter(({ line }) => line.length > COLUMNS && COMMENT.test(line))
      .map(({ at }) => at),
  );
if (wide.length) console.error(`comments wider than ${COLUMNS} columns: ${wide.join(' ')}`);
process.exit(failed.some(Boolean) || (check && wide.length) ? 1 : 0);
