#!/usr/bin/env node
// Serves the page with the headers that a deployment would send.
// usage: serve.mjs [--port N]   (default: 8137, so that what a browser keeps of the page is found
// again; where that is taken, any free one. 0: any)
import { createServer } from 'node:http';
import { realpathSync } from 'node:fs';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import send from 'send';

const root = fileURLToPath(new URL('..', import.meta.url));
const PORT = 8137;
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' https: http:; manifest-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
};
// UTF-8 is named where a browser would not take it for granted; `send` knows all other types.
const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html;charset=utf-8',
  '.js': 'text/javascript',
  '.webmanifest': 'application/manifest+json',
};
// What lies where, the longest prefix first. Nothing else is served.
const MOUNTS = [
  ['/models/', 'models'],
  ['/glue/', 'glue'],
  ['/dist/', 'dist'],
  ['/', 'web'],
];

class Refusal extends Error {
  constructor(status, message, headers = {}) {
    super(message);
    Object.assign(this, { status, headers, expose: true });
  }
}
const missing = () => new Refusal(404, 'not found');

/** The file that an address means: where it leads after all links has to lie in its own folder. */
function fileOf(address) {
  let path;
  try {
    path = decodeURIComponent(
      new URL(address.startsWith('/') ? `http://localhost${address}` : address).pathname,
    );
  } catch {
    throw new Refusal(400, 'that is no address');
  }
  const [prefix, folder] = MOUNTS.find(([start]) => path.startsWith(start)) ?? [];
  if (!prefix || path.includes('\0')) throw missing();
  try {
    const top = realpathSync(join(root, folder));
    const file = realpathSync(
      join(top, path.slice(prefix.length), path.endsWith('/') ? 'index.html' : ''),
    );
    if (file.startsWith(top + sep)) return file;
  } catch {} // there is none
  throw missing();
}

function serve(request, response, fail) {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    throw new Refusal(405, 'GET and HEAD are what there is', { allow: 'GET, HEAD' });
  const path = fileOf(request.url);
  const type = TYPES[extname(path)];
  if (type) response.setHeader('content-type', type);
  // What lies in a mount is all served, and a folder above it may well begin with a dot.
  send(request, encodeURIComponent(path), { dotfiles: 'allow', index: false })
    .on('file', (_, { size }) => {
      // The last bytes, more than there are, mean the whole file (RFC 9110, 14.1.2); `send`
      // refuses.
      const last = /^bytes=-(\d+)$/.exec(request.headers.range);
      if (last && Number(last[1]) > size) request.headers.range = 'bytes=0-';
    })
    .on('directory', () => fail(missing()))
    .on('error', fail)
    .pipe(response);
}

/** @returns {import('node:http').Server} not yet listening */
export function createPageServer() {
  return createServer((request, response) => {
    const begin = () => {
      for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    };
    const fail = error => {
      // Within an answer whoever asked has gone, or the file has: there is no other way to tell.
      if (response.headersSent) return response.destroy();
      // What is set by now tells of the file.
      for (const name of response.getHeaderNames()) response.removeHeader(name);
      begin();
      const { status = 500, headers } = error;
      const message = error.expose ? error.message : 'the file can not be read';
      response.writeHead(status, { ...headers, 'content-type': 'text/plain' }).end(`${message}\n`);
    };
    begin();
    try {
      serve(request, response, fail);
    } catch (error) {
      fail(error);
    }
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: 'string' } } });
  const server = createPageServer();
  const listen = port => server.listen(port, '127.0.0.1');
  server.on('listening', () =>
    console.log(`Hyperion's page: http://127.0.0.1:${server.address().port}/   (Ctrl+C ends it)`),
  );
  server.on('error', error => {
    if (error.code !== 'EADDRINUSE' || values.port !== undefined) throw error;
    listen(0);
  });
  listen(Number(values.port ?? PORT));
}
