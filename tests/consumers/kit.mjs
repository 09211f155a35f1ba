// Uses the package as whoever installs it does: packed, unpacked into a project of its own, beside
// packages of exact versions, and opened by whatever runtime or browser that project is for.
//
// What a project installs is locked in tests/consumers/locks; `HYP_LOCKS=1 node --test FILE` writes
// the locks anew. Without a registry a consumer is skipped, with the reason.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { extname, dirname, join, relative, sep } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';
import { CHROMIUM_FLAGS } from '../tools/browsers.mjs';
import send from 'send';
import { tinyModel } from '../tools/models.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const work = join(root, 'build/consumers');
const locks = join(root, 'tests/consumers/locks');
export const PACKAGE = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).name;
export const MODEL = join(root, 'models/story.gguf');

/** A consumer that can not be tried on this machine. */
export class NotRun extends Error {}

const sha256 = (/** @type {(string | Uint8Array)[]} */ ...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};

/** Does `act` while no other process does the same. */
async function alone(name, act) {
  const lock = join(work, `${name}.lock`);
  mkdirSync(work, { recursive: true });
  const holds = () => {
    try {
      process.kill(Number(readFileSync(lock, 'utf8')), 0);
      return true;
    } catch {
      return existsSync(lock) && Date.now() - statSync(lock).mtimeMs < 2000; // just being written
    }
  };
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (!holds()) rmSync(lock, { force: true });
      else await sleep(100);
    }
  }
  try {
    return await act();
  } finally {
    rmSync(lock, { force: true });
  }
}

/**
 * Runs a program in a project's folder.
 * @returns {Promise<{code: number, stdout: string, stderr: string}>} `code`: null when a signal
 *   ended it, or it took longer than `timeout` milliseconds
 */
export function run(folder, command, args = [], { env = {}, timeout = 120_000 } = {}) {
  // What a test runner or npm has set is not for what it tests; npm's own settings are.
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(npm_(?!config_)|NODE_(TEST_CONTEXT|OPTIONS|PATH)$|INIT_CWD$)/.test(name),
    ),
  );
  return new Promise(resolve => {
    execFile(
      command,
      args,
      {
        cwd: folder,
        env: { ...inherited, ...env },
        timeout,
        killSignal: 'SIGKILL',
        maxBuffer: 1 << 26,
      },
      (error, stdout, stderr) => {
        const code = error ? (typeof error.code === 'number' ? error.code : null) : 0;
        const why = code === null ? `\n${error.message}` : '';
        resolve({ code, stdout, stderr: stderr + why });
      },
    );
  });
}

/** As `run`; what does not succeed is an error with all that was printed. */
export async function succeed(folder, command, args, options) {
  const result = await run(folder, command, args, options);
  assert.equal(
    result.code,
    0,
    `${[command, ...(args ?? [])].join(' ')} gave ${result.code}\n${result.stdout}${result.stderr}`,
  );
  return result;
}

/** A program that a package of the project has brought. */
export const bin = (folder, name) => join(folder, 'node_modules/.bin', name);

// ---- the package -------------------------------------------------------------------------------

function* filesBelow(path) {
  if (!existsSync(path)) return;
  if (!statSync(path).isDirectory()) return void (yield path);
  for (const name of readdirSync(path).sort()) yield* filesBelow(join(path, name));
}

/** Of everything that the tarball is made from. */
function stampOfSources() {
  const parts = [];
  const { files = [] } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const made = [
    'package.json',
    'tsconfig.json',
    'tools/types.mjs',
    ...files.filter(f => f !== 'types'),
  ];
  for (const name of new Set(made))
    for (const file of filesBelow(join(root, name)))
      parts.push(relative(root, file), readFileSync(file));
  return sha256(...parts).slice(0, 16);
}

let tarball;

/**
 * The package as `npm pack` makes it, once per state of the sources.
 * @returns {Promise<string>} the tarball's path
 */
export const packed = () => (tarball ??= pack());

async function pack() {
  const folder = join(work, 'pack');
  const of = () => join(folder, `${PACKAGE}-${stampOfSources()}.tgz`);
  if (existsSync(of())) return of();
  return alone('pack', async () => {
    if (existsSync(of())) return of();
    mkdirSync(folder, { recursive: true });
    const { stdout } = await succeed(
      root,
      'npm',
      ['pack', '--silent', '--pack-destination', folder],
      { timeout: 300_000 },
    );
    const name = stdout.trim().split('\n').at(-1);
    const path = of(); // packing may have made what was not there
    for (const old of readdirSync(folder))
      if (old !== name && Date.now() - statSync(join(folder, old)).mtimeMs > 3600e3)
        rmSync(join(folder, old), { force: true });
    renameSync(join(folder, name), path);
    return path;
  });
}

// ---- projects ----------------------------------------------------------------------------------

const NO_REGISTRY =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT|E40[134]|E429|E5\d\d|ETARGET)\b/;
let registryIsGone = null;

async function npm(folder, ...args) {
  if (registryIsGone) throw new NotRun(registryIsGone);
  const { code, stdout, stderr } = await run(
    folder,
    'npm',
    [
      ...args,
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--prefer-offline',
      '--omit-lockfile-registry-resolved',
      '--fetch-retries=2',
      '--fetch-retry-mintimeout=500',
      '--fetch-retry-maxtimeout=3000',
      '--loglevel=error',
    ],
    { timeout: 400_000 },
  );
  if (code === 0) return;
  const [sign] = NO_REGISTRY.exec(stderr) ?? [];
  if (!sign) throw new Error(`npm ${args.join(' ')} failed in ${folder}\n${stdout}${stderr}`);
  const [where = ''] = /https?:\/\/[^/\s]+/.exec(stderr) ?? [];
  const reason = `the registry gives no packages: ${sign} ${where}`.trim();
  if (!/^E4|ETARGET/.test(sign)) registryIsGone = reason; // of all packages, not of this one
  throw new NotRun(reason);
}

/** Installs what a project wants, by its lock, when that has changed since it was installed. */
async function install(folder, name, dependencies) {
  const lock = join(locks, `${name}.json`);
  const mine = join(folder, 'package-lock.json');
  const wanted = JSON.stringify(Object.entries(dependencies).sort());
  const lockedFor = () =>
    JSON.stringify(
      Object.entries(JSON.parse(readFileSync(lock, 'utf8')).packages[''].dependencies ?? {}).sort(),
    );
  if (process.env.HYP_LOCKS && !(existsSync(lock) && lockedFor() === wanted)) {
    rmSync(mine, { force: true });
    rmSync(join(folder, 'node_modules'), { recursive: true, force: true });
    await npm(folder, 'install', '--package-lock-only');
    mkdirSync(locks, { recursive: true });
    copyFileSync(mine, lock);
  }
  if (!existsSync(lock) || lockedFor() !== wanted)
    throw new Error(
      `${relative(root, lock)} does not lock what ${name} installs: HYP_LOCKS=1 writes it anew`,
    );
  const stamp = sha256(readFileSync(lock), process.platform, process.arch);
  const mark = join(folder, 'node_modules/.stamp');
  if (existsSync(mark) && readFileSync(mark, 'utf8') === stamp) return;
  copyFileSync(lock, mine);
  // As `ci`, but forgiving where a registry lacks optional packages of other platforms.
  await npm(folder, 'install', '--no-save');
  writeFileSync(mark, stamp);
}

/** Unpacks the package into a project's node_modules, with its programs. */
async function addPackage(folder) {
  const from = await packed();
  const to = join(folder, 'node_modules', PACKAGE);
  const mark = join(folder, 'node_modules', `.stamp-${PACKAGE}`);
  if (existsSync(to) && existsSync(mark) && readFileSync(mark, 'utf8') === from) return;
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to, { recursive: true });
  execFileSync('tar', ['-xzf', from, '-C', to, '--strip-components=1']);
  const { bin: programs = {}, dependencies } = JSON.parse(
    readFileSync(join(to, 'package.json'), 'utf8'),
  );
  assert.equal(dependencies, undefined, 'the package needs no other one');
  mkdirSync(join(folder, 'node_modules/.bin'), { recursive: true });
  for (const [name, file] of Object.entries(programs)) {
    const link = bin(folder, name);
    rmSync(link, { force: true });
    symlinkSync(relative(dirname(link), join(to, file)), link);
    chmodSync(join(to, file), 0o755);
  }
  writeFileSync(mark, from);
}

/**
 * A project of its own that has the package and `dependencies` installed. What earlier runs have
 * left in its folder (a bundler's caches, say) stays.
 * @param {string} name of its folder, build/consumers/NAME, and of its lock
 * @param {Record<string, string | Uint8Array | {copy: string}>} files their contents by their
 *   paths, or where to copy them from; package.json is merged with what stands here by default
 * @param {Record<string, string>} [dependencies] exact versions
 * @returns {Promise<string>} the folder
 * @throws {NotRun} without a registry
 */
export async function project(name, files, dependencies = {}) {
  const folder = join(work, name);
  mkdirSync(folder, { recursive: true });
  for (const [package_, version] of Object.entries(dependencies))
    assert.match(version, /^(npm:.+@)?\d+\.\d+\.\d+(-[\w.]+)?$/, `${package_}: an exact version`);
  const { 'package.json': own = '{}', ...others } = files;
  const about = { name: `consumer-${name}`, private: true, type: 'module', dependencies };
  const put = (path, content) => {
    const file = join(folder, path);
    mkdirSync(dirname(file), { recursive: true });
    if (typeof content.copy === 'string') return copyFileSync(content.copy, file);
    // A file that stays as it is keeps its time, by which bundlers and compilers go.
    if (existsSync(file) && readFileSync(file).equals(Buffer.from(content))) return;
    writeFileSync(file, content);
  };
  put('package.json', JSON.stringify({ ...about, ...JSON.parse(own) }, null, 2));
  for (const [path, content] of Object.entries(others)) put(path, content);
  if (Object.keys(dependencies).length) await install(folder, name, dependencies);
  await addPackage(folder);
  return folder;
}

/**
 * A test of one consumer. Where it can not be tried it is skipped, and says why.
 * @param {string} name
 * @param {(t: import('node:test').TestContext) => Promise<void>} act
 * @param {{timeout?: number}} [options] in milliseconds
 */
export function consumer(name, act, { timeout = 300_000 } = {}) {
  if (!closesBrowser) after(() => browser?.then(one => one.close()));
  closesBrowser = true;
  return test(name, { timeout }, async t => {
    try {
      await act(t);
    } catch (error) {
      if (!(error instanceof NotRun)) throw error;
      t.skip(error.message);
    }
  });
}

// ---- what is written ---------------------------------------------------------------------------

/** What every consumer is asked to write, which is the same wherever it is computed. */
export const PROMPT = 'Once upon a time';
export const OPTIONS = { temperature: 0, maxTokens: 24 };
/** What every consumer asks in a chat. */
export const MESSAGES = [{ role: 'user', content: 'Hello!' }];
export const CHAT_OPTIONS = { temperature: 0, maxTokens: 8 };

const TEMPLATE =
  "{% for message in messages %}{{ message['role'] + ': ' + message['content'] | trim + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

/** A model of a few kilobytes that has a chat template. @returns {string} its path */
export function chatModel() {
  const path = join(work, 'chat.gguf');
  if (!existsSync(path)) {
    mkdirSync(work, { recursive: true });
    tinyModel(`${path}.${process.pid}`, [['tokenizer.chat_template', 'str', TEMPLATE]]);
    renameSync(`${path}.${process.pid}`, path);
  }
  return path;
}

/** @param {string} path @param {(model: any) => AsyncIterable<{text: string}>} ask */
async function answerOf(path, ask) {
  const { open } = await import('hyperion-runtime');
  const model = await open(path, { threads: 1 });
  let text = '';
  for await (const piece of ask(model)) text += piece.text;
  await model.close();
  assert.ok(text, `${path} says something`);
  return text;
}

let story;
let reply;

/** What the story model writes to PROMPT with OPTIONS. @returns {Promise<string>} */
export const writes = () => (story ??= answerOf(MODEL, model => model.generate(PROMPT, OPTIONS)));

/** What the chat model replies to MESSAGES with CHAT_OPTIONS. @returns {Promise<string>} */
export const replies = () =>
  (reply ??= answerOf(chatModel(), model => model.chat(MESSAGES, CHAT_OPTIONS)));

// ---- pages -------------------------------------------------------------------------------------

const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html;charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.map': 'application/json',
  '.wasm': 'application/wasm',
};
/** With these a page may share memory, and so have worker threads. */
export const ISOLATED = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

/**
 * A static server of a folder, on a port of its own.
 * @param {string} folder
 * @param {{headers?: Record<string, string>, base?: string}} [options] headers: of every answer;
 *   base: the path below which the folder lies, '/app/' say
 * @returns {Promise<{origin: string, url: string, missing: string[], close: () => void}>} missing:
 *   paths that were asked for, and are not there
 */
export async function serve(folder, { headers = {}, base = '/' } = {}) {
  const missing = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    response.setHeader('cache-control', 'no-store');
    const gone = () => {
      missing.push(pathname);
      response.writeHead(404, { 'content-type': 'text/plain' }).end('not found\n');
    };
    // browsers ask by themselves
    if (pathname === '/favicon.ico') return response.writeHead(204).end();
    if (!pathname.startsWith(base)) return gone();
    const path = pathname.slice(base.length);
    const type = TYPES[extname(path) || '.html'];
    if (type) response.setHeader('content-type', type);
    send(request, `/${path}`, { root: folder, index: 'index.html', dotfiles: 'allow' })
      .on('error', gone)
      .on('directory', gone)
      .pipe(response);
  }).listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { origin, url: origin + base, missing, close };
}

const THROWN_MS = 2000;
let browser;
let closesBrowser = false;
const CHROMIUM = (process.env.PATH ?? '')
  .split(':')
  .flatMap(dir => ['chromium', 'chromium-browser', 'google-chrome'].map(name => join(dir, name)))
  .find(existsSync);

/**
 * Opens an address in Chromium, all tests of a process in one browser.
 * @param {string} url
 * @returns {Promise<{page: import('puppeteer-core').Page, problems: string[],
 *   result: (milliseconds?: number) => Promise<any>, close: () => Promise<void>}>} problems: errors
 *   of the page and its console. result: what the page has set `globalThis.result` to; an object
 *   with `error` is thrown
 */
export async function view(url) {
  if (!CHROMIUM) throw new NotRun('there is no Chromium on this machine');
  browser ??= puppeteer.launch({ headless: true, executablePath: CHROMIUM, args: CHROMIUM_FLAGS });
  // no cache, no service worker of another test
  const context = await (await browser).createBrowserContext();
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', error => problems.push(String(error?.stack ?? error)));
  page.on('console', message => {
    if (message.type() === 'error') problems.push(message.text());
  });
  // A script that has thrown tells nothing more.
  const thrown = new Promise((_, reject) =>
    page.on('pageerror', error => setTimeout(reject, THROWN_MS, error)),
  );
  thrown.catch(() => {});
  await page.goto(url);
  const result = async (milliseconds = 90_000) => {
    const told = page.waitForFunction('globalThis.result !== undefined', { timeout: milliseconds });
    try {
      await Promise.race([told, thrown]);
    } catch (error) {
      told.catch(() => {});
      throw new Error(`${error.message}; the page says: ${problems.join('\n') || 'nothing'}`);
    }
    const value = await page.evaluate('globalThis.result');
    if (value?.error) throw new Error(`${value.error}\n${problems.join('\n')}`);
    return value;
  };
  return { page, problems, result, close: () => context.close() };
}

/**
 * Serves a folder and opens it in Chromium.
 * @param {string} folder
 * @param {Parameters<typeof serve>[1] & {path?: string}} [options] path: of what is opened, below
 *   `base`
 */
export async function page(folder, { path = '', ...options } = {}) {
  const server = await serve(folder, options);
  try {
    const shown = await view(server.url + path);
    const close = async () => {
      await shown.close();
      server.close();
    };
    return { ...shown, ...server, close };
  } catch (error) {
    server.close();
    throw error;
  }
}
