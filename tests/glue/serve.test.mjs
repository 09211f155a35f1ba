// The page's server: it answers whatever is asked of it, stays alive, and gives nothing but what is
// mounted.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createPageServer } from '../../tools/serve.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = file => readFileSync(join(root, file));

/** Sends bytes as they are; gives all that comes back until the server closes. */
const ask = (port, bytes) =>
  new Promise((resolve, reject) => {
    const parts = [];
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', data => parts.push(data));
    socket.on('error', error =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE'
        ? resolve(Buffer.concat(parts))
        : reject(error),
    );
    socket.on('close', () => resolve(Buffer.concat(parts)));
    socket.setTimeout(20000, () =>
      socket.destroy(new Error(`no answer to ${String(bytes).slice(0, 80)}`)),
    );
  });

describe("the page's server", () => {
  const server = createPageServer();
  let port;
  before(async () => {
    await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
    ({ port } = server.address());
  });
  after(() => (server.closeAllConnections(), server.close()));

  /** @returns {Promise<{status: number, headers: Record<string, string>, body: Buffer}>} */
  const request = async (method, path, headers = {}) => {
    const lines = Object.entries({ host: 'localhost', connection: 'close', ...headers }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    const answer = await ask(port, `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
    const end = answer.indexOf('\r\n\r\n');
    const [first, ...rest] = answer.subarray(0, end).toString('latin1').split('\r\n');
    return {
      status: Number(first.split(' ')[1]),
      headers: Object.fromEntries(
        rest.map(l => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 2)]),
      ),
      body: answer.subarray(end + 4),
    };
  };

  test('files, their types, and the page itself', async () => {
    const files = [
      ['/', 'web/index.html', 'text/html;charset=utf-8'],
      ['/style.css', 'web/style.css', 'text/css'],
      ['/app.js?x=1', 'web/app.js', 'text/javascript'],
      ['/icon.svg', 'web/icon.svg', 'image/svg+xml'],
      ['/glue/core/core.js', 'glue/core/core.js', 'text/javascript'],
      ['/glue/core/%63ore.js', 'glue/core/core.js', 'text/javascript'],
      ['/dist/hyperion.wasm', 'dist/hyperion.wasm', 'application/wasm'],
      ['/models/story.gguf', 'models/story.gguf', 'application/octet-stream'],
      ['/glue/model/chat.js', 'glue/model/chat.js', 'text/javascript'],
      ['http://localhost/glue/core/core.js', 'glue/core/core.js', 'text/javascript'],
    ];
    for (const [path, file, type] of files) {
      const { status, headers, body } = await request('GET', path);
      assert.deepEqual(
        [status, headers['content-type'], Number(headers['content-length'])],
        [200, type, read(file).length],
        path,
      );
      assert.ok(body.equals(read(file)), path);
      assert.match(headers['content-security-policy'], /default-src 'none'/);
      const head = await request('HEAD', path);
      assert.deepEqual(
        [head.status, head.headers['content-length'], head.body.length],
        [200, headers['content-length'], 0],
        path,
      );
      assert.equal((await request('GET', path, { 'if-none-match': headers.etag })).status, 304);
    }
    for (const path of ['/missing', '/glue', '/glue/', '/dist/missing.wasm', '/index'])
      assert.equal((await request('GET', path)).status, 404, path);
  });

  test('parts of files, and those that there are not', async () => {
    const file = read('web/app.js');
    const size = file.length;
    const parts = [
      ['bytes=0-0', 0, 0],
      ['bytes=0-', 0, size - 1],
      ['bytes=5-9', 5, 9],
      ['bytes=-7', size - 7, size - 1],
      [`bytes=10-${size * 2}`, 10, size - 1],
      [`bytes=-${size * 2}`, 0, size - 1],
      [`bytes=${size - 1}-`, size - 1, size - 1],
      [`bytes=3-${'9'.repeat(400)}`, 3, size - 1],
    ];
    for (const [range, first, last] of parts) {
      const { status, headers, body } = await request('GET', '/app.js', { range });
      assert.deepEqual(
        [status, headers['content-range'], Number(headers['content-length'])],
        [206, `bytes ${first}-${last}/${size}`, last + 1 - first],
        range,
      );
      assert.ok(body.equals(file.subarray(first, last + 1)), range);
    }
    for (const range of [
      'bytes=5-2',
      `bytes=${size}-`,
      'bytes=-0',
      `bytes=${'9'.repeat(400)}-`,
      'bytes=1-0',
    ]) {
      const { status, headers } = await request('GET', '/app.js', { range });
      assert.deepEqual([status, headers['content-range']], [416, `bytes */${size}`], range);
    }
    for (const range of [
      'bytes=',
      'bytes=-',
      'bytes=a-b',
      'lines=1-2',
      'bytes=1-2,4-5',
      'bytes=--5',
      'bytes=0x1-2',
      '5-2',
      'bytes=1e3-2',
      'bytes=NaN-',
    ])
      assert.ok((await request('GET', '/app.js', { range })).body.equals(file), range);
  });

  test('nothing but GET and HEAD', async () => {
    for (const method of ['DELETE', 'POST', 'PUT', 'PATCH', 'OPTIONS', 'PROPFIND', 'TRACE']) {
      const { status, headers } = await request(method, '/app.js');
      assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'], method);
    }
  });

  test('whatever is sent, it lives, leaks no descriptor, gives nothing else', async () => {
    const secret = join(root, 'build/serve-test');
    const link = join(root, 'dist/serve-test-link');
    mkdirSync(secret, { recursive: true });
    writeFileSync(join(secret, 'secret.txt'), 'what nobody may read');
    rmSync(link, { force: true });
    symlinkSync(secret, link);
    try {
      const ups = [
        '../',
        '%2e%2e/',
        '..%2f',
        '%2e%2e%2f',
        '..%5c',
        '..\\',
        '....//',
        '%252e%252e%252f',
        './../',
        '/../',
      ];
      const paths = ['/', '/glue/', '/dist/', '/models/'].flatMap(start =>
        ups.flatMap(up =>
          [1, 2, 5].flatMap(n =>
            ['build/serve-test/secret.txt', 'package.json', 'etc/passwd'].map(
              end => start + up.repeat(n) + end,
            ),
          ),
        ),
      );
      paths.push(
        '/dist/serve-test-link/secret.txt',
        '/build/serve-test/secret.txt',
        `//${join(secret, 'secret.txt')}`,
        join(secret, 'secret.txt'),
        'file:///etc/passwd',
        `http://localhost/../${join(secret, 'secret.txt')}`,
      );
      const given = [];
      for (let i = 0; i < paths.length; i += 16)
        for (const { status, body } of await Promise.all(
          paths.slice(i, i + 16).map(path => request('GET', path)),
        ))
          if (
            status === 200 ||
            /what nobody|root:|"name": "hyperion-runtime"/.test(body.toString())
          )
            given.push(paths[i], status);
      assert.deepEqual(given, []);

      const odd = [
        '',
        '\0',
        '%00',
        '%',
        '%zz',
        '%c3',
        '%ff%fe',
        '?',
        '#',
        '*',
        '..',
        '.',
        '//',
        '///',
        '/%00',
        '/app.js%00.css',
        '/\0',
        '/glue/%',
        `/${'a'.repeat(5000)}`,
        `/${'../'.repeat(2000)}`,
        `/glue/${'x/'.repeat(3000)}`,
        '/[',
        'http://',
        'http://[',
        '/é',
        '/glue/core/core.js/',
        '/glue//core/core.js',
        '/glue/core/core.js/x',
        '/con',
        '/app.js?%',
        '/:',
        'javascript:1',
      ];
      const raw = odd.flatMap(path =>
        ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'CONNECT'].map(
          method => `${method} ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
        ),
      );
      const get = 'GET /app.js HTTP/1.1\r\nconnection: close\r\n';
      raw.push(
        'GET\r\n\r\n',
        'GET / HTTP/9.9\r\n\r\n',
        'nonsense\r\n\r\n',
        '\0\0\0\0\r\n\r\n',
        `${get}\r\n`,
        `${get}host: \r\n\r\n`,
        `${get}host: x\r\nrange: bytes=5-2\r\nrange: bytes=1-2\r\n\r\n`,
        `${get}host: x\r\nif-none-match: ${'"'.repeat(100)}\r\n\r\n`,
        `${get}host: x\r\nbig: ${'y'.repeat(100000)}\r\n\r\n`,
        `${get}host: x\r\n${'n: v\r\n'.repeat(5000)}\r\n`,
        `${get}host: x\r\nupgrade: websocket\r\nconnection: upgrade, close\r\n\r\n`,
        `${get}host: x\r\nexpect: 100-continue\r\n\r\n`,
        `${get}host: x\r\nexpect: the unexpected\r\n\r\n`,
        'POST /app.js HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello',
        'POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n',
        'PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n',
      );
      for (const bytes of raw) {
        const answer = (await ask(port, bytes)).toString('latin1');
        assert.ok(
          answer === '' ||
            /^HTTP\/1\.1 (100|200|206|304|400|404|405|413|414|416|417|431|505) /.test(answer),
          `${JSON.stringify(bytes.slice(0, 60))}: ${answer.slice(0, 60)}`,
        );
      }
      // those who leave in the middle of an answer
      const opened = () => readdirSync('/proc/self/fd').length;
      const before = opened();
      await Promise.all(
        Array.from(
          { length: 40 },
          () =>
            new Promise(resolve => {
              const socket = connect(port, '127.0.0.1', () =>
                socket.write('GET /models/story.gguf HTTP/1.1\r\nhost: x\r\n\r\n'),
              );
              socket.once('data', () => socket.destroy());
              socket.on('close', resolve).on('error', () => {});
            }),
        ),
      );
      for (let i = 0; i < 500 && opened() > before; i++)
        await new Promise(resolve => setTimeout(resolve, 10));
      assert.ok(opened() <= before, `${opened() - before} descriptors are left open`);
      assert.equal((await request('GET', '/app.js')).status, 200);
    } finally {
      rmSync(link, { force: true });
      rmSync(secret, { recursive: true });
    }
  });
});
