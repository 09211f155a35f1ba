// What an application gets that Emscripten links: library, CMake package, pkg-config, ES module; in
// Node and in Chromium. Where emcc is there.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import puppeteer from 'puppeteer-core';
import { foreignSymbols, publicFunctions, root, run } from './tools.mjs';

const onPath = name =>
  process.env.PATH.split(delimiter)
    .map(dir => join(dir, name))
    .find(existsSync);
const skip = !onPath('emcc') && 'emcc is not on the PATH';
process.env.EMSCRIPTEN_ROOT ??= '/usr/share/emscripten';
process.env.NODE_PATH ??= '/usr/share/nodejs'; // for Debian's emcc under another Node

const story = join(root, 'models/story.gguf');
const work = mkdtempSync(join(tmpdir(), 'hyperion-emscripten-'));
after(() => rmSync(work, { recursive: true, force: true }));
const prefix = join(work, 'moved');

describe('Emscripten', { skip }, () => {
  let told; // by hello.c natively
  before(() => {
    run('cmake', '--install', join(root, 'build/emscripten'), '--prefix', join(work, 'prefix'));
    renameSync(join(work, 'prefix'), prefix);
    told = run(join(root, 'build/native/example_hello'), story);
    assert.match(told, /^Once upon a time.{100}/);
  });

  test('the library defines what the header declares, and its names all begin with hyp_', () => {
    const { defined, foreign } = foreignSymbols('llvm-nm-19', join(prefix, 'lib/libhyperion.a'));
    assert.deepEqual(foreign, []);
    const declared = publicFunctions(join(prefix, 'include/hyperion'));
    assert.deepEqual(
      declared.filter(name => !defined.includes(name)),
      [],
    );
  });

  /** The flags of pkg-config. */
  const flags = () => {
    process.env.PKG_CONFIG_PATH = join(prefix, 'lib/pkgconfig');
    return run('pkg-config', '--cflags', '--libs', 'hyperion').trim().split(/\s+/);
  };
  // In one file and with Node's own files, for tests.
  const FOR_NODE = ['-sSINGLE_FILE', '-sNODERAWFS', '-sALLOW_MEMORY_GROWTH'];

  for (const level of ['-O0', '-O3'])
    test(`hello.c by pkg-config, ${level}`, () => {
      const program = join(work, `hello${level}.cjs`);
      run('emcc', level, join(root, 'examples/hello.c'), ...flags(), ...FOR_NODE, '-o', program);
      assert.equal(run(process.execPath, program, story), told);
    });

  for (const name of ['test_fiber', 'test_pager'])
    test(`${name}.c, which suspends in every way`, () => {
      const program = join(work, `${name}.cjs`);
      const sources = [`tests/${name}.c`, 'tests/harness.c'].map(file => join(root, file));
      run(
        'emcc',
        '-O2',
        ...sources,
        `-DHYP_ROOT="${root}"`,
        ...flags(),
        ...FOR_NODE,
        '-o',
        program,
      );
      assert.match(run(process.execPath, program), /\d+ cases passed/);
    });

  describe('examples/emscripten, by find_package', () => {
    const build = join(work, 'example');
    before(() => {
      const toolchain = join(
        process.env.EMSCRIPTEN_ROOT,
        'cmake/Modules/Platform/Emscripten.cmake',
      );
      run(
        ...['cmake', '-G', 'Ninja', '-S', join(root, 'examples/emscripten'), '-B', build],
        `-DCMAKE_TOOLCHAIN_FILE=${toolchain}`,
        `-DHyperion_DIR=${join(prefix, 'lib/cmake/Hyperion')}`,
      );
      run('cmake', '--build', build);
    });

    test('in Node', () => {
      assert.equal(run(process.execPath, join(build, 'main.mjs')), told);
    });

    test('in Chromium', async () => {
      const types = { html: 'text/html', mjs: 'text/javascript' };
      const server = createServer(({ url }, response) => {
        const name = url === '/' ? 'index.html' : url.slice(1);
        const type = types[name.split('.').at(-1)];
        if (!type || !existsSync(join(build, name))) return response.writeHead(404).end();
        response.writeHead(200, { 'Content-Type': type }).end(readFileSync(join(build, name)));
      }).listen(0, '127.0.0.1');
      await new Promise(resolve => server.once('listening', resolve));
      const browser = await puppeteer.launch({
        executablePath: onPath('chromium'),
        args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
      });
      try {
        const page = await browser.newPage();
        const problems = [];
        page.on('pageerror', error => problems.push(error.message));
        await page.goto(`http://127.0.0.1:${server.address().port}/`);
        await page.waitForSelector('#story:not(:empty)');
        assert.equal(await page.$eval('#story', e => e.textContent), told.trimEnd());
        assert.deepEqual(problems, []);
      } finally {
        await browser.close();
        server.closeAllConnections();
        server.close();
      }
    });
  });

  test('the ES module gives the public functions and a file system', async () => {
    const { default: create } = await import(pathToFileURL(join(prefix, 'lib/hyperion.mjs')).href);
    const m = await create();
    const missing = publicFunctions(join(prefix, 'include/hyperion')).filter(
      name => !/^hyp_status_/.test(name) && typeof m[`_${name}`] !== 'function',
    );
    assert.deepEqual(missing, []);

    const call = (name, types, ...values) => m.ccall(name, 'number', types, values);
    const source = m._malloc(64);
    assert.equal(call('hyp_source_open_file', ['string', 'number'], '/none.gguf', source), -2);
    assert.match(m.ccall('hyp_source_error', 'string', [], []), /none\.gguf: No such file/);
    m.FS.writeFile('/story.gguf', readFileSync(story));
    assert.equal(call('hyp_source_open_file', ['string', 'number'], '/story.gguf', source), 0);

    // A call that runs fibers returns like any other: nobody has to await it.
    const engine = m._hyp_engine_create(0);
    const out = m._malloc(16);
    const word = address => new DataView(m.HEAPU8.buffer).getUint32(address, true);
    assert.equal(m._hyp_model_open(engine, source, 1, 0, out), 0);
    const model = word(out);
    assert.equal(m._hyp_session_create(model, 0, out), 0);
    const session = word(out);
    const types = ['number', 'string', 'number', 'number', 'number', 'number'];
    assert.equal(
      call('hyp_model_tokenize', types, model, 'Once upon a time', 16, 1, out, out + 4),
      0,
    );
    assert.equal(m._hyp_session_begin(session, word(out), word(out + 4), 0, 0, 0), 0);
    assert.equal(m._hyp_session_next(session, out), 0);
    assert.match(m.UTF8ToString(word(out + 4), word(out + 8)), /^, ?[a-z]*/);
    m._hyp_session_destroy(session);
    m._hyp_model_close(model);
    m._hyp_engine_destroy(engine);
    m._hyp_source_close(source);
  });
});
