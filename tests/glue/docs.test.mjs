// What a newcomer reads: pages that are made from the code are up to date, each error says what to
// do, every link leads somewhere, and every program runs as it stands.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pages, stale } from '../../tools/docs.mjs';
import { rowsOf } from '../../tools/docs/errors.mjs';
import { withMetadata } from '../tools/gguf_writer.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = path => readFileSync(join(root, path), 'utf8');
// a file of the package, on the registry's page too
const PUBLISHED = 'https://unpkg.com/hyperion-runtime/';

test('pages that are made from the code are up to date', async () => {
  const made = await pages();
  assert.deepEqual([...made.keys()].sort(), ['docs/API.md', 'docs/ERRORS.md']);
  assert.deepEqual(stale(made), [], '`npm run docs` writes them');
  assert.ok(stale(new Map([['docs/API.md', 'other']])).length === 1);
});

test('the page of the interface has what the package exports', async () => {
  const page = read('docs/API.md');
  for (const name of Object.keys(await import('hyperion-runtime')))
    assert.match(page, new RegExp(`^### ${name}$`, 'm'), name);
  for (const name of ['generate', 'chat', 'embed', 'tokenize', 'session', 'close'])
    assert.match(page, new RegExp(`^#### model\\.${name}$`, 'm'), name);
  for (const name of ['maxTokens', 'temperature', 'stop', 'memory', 'context', 'threads'])
    assert.match(page, new RegExp(`^\\| \`${name}\\?\` \\| .* \\| .{10}`, 'm'), name);
  assert.doesNotMatch(page, /\bimport\(|\bundefined\b \|$/m);
  const names = [...page.matchAll(/^### (.+)$/gm)].map(([, name]) => name);
  assert.equal(new Set(names).size, names.length, 'a name stands twice');
});

test('each code that an error may have says what to do', () => {
  const rows = rowsOf(read('src/hyperion/status.def'));
  const page = read('docs/ERRORS.md');
  for (const { code, value, message, remedy } of rows) {
    if (value === 0) continue;
    assert.ok(message && remedy.length > 20, code);
    assert.ok(page.includes(`## ${code}\n*${message}*`) && page.includes(remedy), code);
  }
  const known = new Set(rows.map(({ code }) => code));
  const used = walk('glue')
    .filter(file => file.endsWith('.js'))
    .flatMap(file => [...read(file).matchAll(/['"](HYP_E_[A-Z_]+)['"]/g)]);
  assert.ok(used.length > 20);
  for (const [, code] of used) assert.ok(known.has(code), `${code} has no row in status.def`);
  assert.throws(() => rowsOf('HYP_STATUS(E_X, -1, "no remedy")\n'), /another form/);
});

// ---- links

/** Files below a folder. */
const walk = dir =>
  readdirSync(join(root, dir), { withFileTypes: true }).flatMap(entry =>
    entry.isDirectory() ? walk(join(dir, entry.name)) : [join(dir, entry.name)],
  );

/** Text of a page without what stands in code. */
const prose = text => text.replace(/^```[^]*?^```$/gm, '').replace(/`[^`\n]*`/g, '');
const anchorsOf = text =>
  [...text.replace(/^```[^]*?^```$/gm, '').matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\-_ ]/gu, '')
      .replace(/ /g, '-'),
  );

/**
 * What is wrong with the links of a page.
 * @param {string} page its path @param {string} text
 * @param {Set<string>} shipped the package's files
 */
function broken(page, text, shipped) {
  const found = [];
  const check = (link, path, anchor) => {
    if (!shipped.has(path)) found.push(`${page}: ${link} is no file of the package`);
    else if (anchor && !anchorsOf(path === page ? text : read(path)).includes(anchor))
      found.push(`${page}: ${link} has no such section`);
  };
  for (const [, link] of prose(text).matchAll(/\]\(([^)\s]+)\)/g)) {
    const [path, anchor] = link.split('#');
    if (link.startsWith(PUBLISHED)) check(link, path.slice(PUBLISHED.length), anchor);
    else if (/^https?:/.test(link)) continue;
    else if (page === 'README.md' && path) found.push(`${page}: ${link} is relative`);
    else check(link, path ? normalize(join(dirname(page), path)) : page, anchor);
  }
  return found;
}

test('every link of the README and of the pages leads to something in the package', () => {
  const [{ files }] = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  );
  const shipped = new Set(files.map(({ path }) => path));
  const all = [...shipped].filter(path => path.endsWith('.md'));
  for (const page of [
    'README.md',
    'CHANGELOG.md',
    'docs/API.md',
    'docs/ERRORS.md',
    'docs/BUNDLERS.md',
  ])
    assert.ok(all.includes(page), `${page} is not in the package`);
  assert.deepEqual(
    all.flatMap(page => broken(page, read(page), shipped)),
    [],
  );
  const wrong = (page, text) => broken(page, text, shipped).length;
  assert.equal(wrong('README.md', '[a](docs/API.md)'), 1, 'relative');
  assert.equal(wrong('README.md', `[a](${PUBLISHED}docs/NONE.md)`), 1, 'missing');
  assert.equal(wrong('README.md', '# A b\n[a](#a-b) [c](#a-c)'), 1, 'no section');
  assert.equal(wrong('docs/API.md', '[a](ERRORS.md#hyp_e_io) [b](ERRORS.md#none)'), 1);
});

// ---- programs

/**
 * The programs of a page: a block that imports begins one, a block without goes on with it.
 * @param {string} text
 */
function programsOf(text) {
  const programs = [];
  for (const [, code] of text.matchAll(/^```js\n([^]*?)^```$/gm)) {
    if (/^import /m.test(code)) programs.push(code);
    else programs.push(`${programs.pop()}{\n${code}}\n`);
  }
  return programs;
}

const CHATML =
  "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}{{ '<|assistant|>' }}";

/** A hub that has `file` by the name that the programs use. @param {string} file */
async function startHub(file) {
  const name = 'bartowski/SmolLM2-135M-Instruct-GGUF';
  const script = join(root, 'tests/tools/hub_server.mjs');
  const hub = spawn(process.execPath, [script, name, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [endpoint] = await once(hub.stdout, 'data');
  return { endpoint: String(endpoint).trim(), close: () => hub.kill() };
}

for (const page of ['README.md', 'docs/ERRORS.md', 'docs/BUNDLERS.md'])
  test(`the programs of ${page} run`, { timeout: 120_000 }, async t => {
    const folder = join(root, 'build/docs', page.replace(/\W/g, '_'));
    mkdirSync(folder, { recursive: true });
    const story = readFileSync(join(root, 'models/story.gguf'));
    writeFileSync(
      join(folder, 'model.gguf'),
      withMetadata(story, 'tokenizer.chat_template', CHATML),
    );
    for (const name of ['small.gguf', 'large.gguf'])
      copyFileSync(join(root, 'models/story.gguf'), join(folder, name));
    copyFileSync(join(folder, 'model.gguf'), join(folder, 'model-Q4_K_M.gguf'));
    const hub = await startHub(join(folder, 'model-Q4_K_M.gguf'));
    t.after(hub.close);
    const cache = join(folder, 'cache');
    rmSync(cache, { recursive: true, force: true });
    const env = { ...process.env, HF_ENDPOINT: hub.endpoint, HYPERION_CACHE: cache };
    const programs = programsOf(read(page));
    assert.ok(programs.length > 0);
    for (const [i, program] of programs.entries()) {
      const file = join(folder, `program_${i}.mjs`);
      writeFileSync(file, program);
      const output = execFileSync(process.execPath, [file], {
        cwd: folder,
        env,
        encoding: 'utf8',
        timeout: 60_000,
      });
      assert.ok(output.length > 3, `program ${i} says: ${output}`);
    }
  });
