#!/usr/bin/env node
// Serves the page with the headers that a deployment would send.
// usage: serve.mjs [--port N]   (default: any free port)
import { createServer } from 'node:http';
import { realpathSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { extname, join, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' https:; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
};
const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html;charset=utf-8',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.map': 'application/json',
  '.mjs': 'text/javascript',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};
// What lies where, the longest prefix first. Nothing else is served.
const MOUNTS = [
  ['/npm/jinja/', 'node_modules/@huggingface/jinja/dist'],
  ['/models/', 'models'],
  ['/glue/', 'glue'],
  ['/dist/', 'dist'],
  ['/', 'web'],
];

const CHAT = realpathSync(join(root, 'glue/chat.js'));

class Refusal extends Error {
  constructor(status, message, headers = {}) {
    super(message);
    Object.assign(this, { status, headers });
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

/**
 * The part of `size` bytes that is asked for: [first, last], or null for all, also where the header
 * is none that we know.
 */
function rangeOf(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || match[0] === 'bytes=-') return null;
  const [from, to] = [match[1], match[2]];
  const first = from === '' ? Math.max(size - Number(to), 0) : Number(from);
  const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (first > last)
    throw new Refusal(416, 'there is no such part', { 'content-range': `bytes */${size}` });
  return [first, last];
}

async function serve(request, response) {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    throw new Refusal(405, 'GET and HEAD are what there is', { allow: 'GET, HEAD' });
  const path = fileOf(request.url);
  const file = await open(path);
  try {
    const info = await file.stat();
    if (!info.isFile()) throw missing();
    const type = TYPES[extname(path)] ?? 'application/octet-stream';
    const etag = `W/"${info.size}-${info.mtimeMs}"`;
    if (request.headers['if-none-match'] === etag) return response.writeHead(304, { etag }).end();
    // What a bundler does for an application: the one bare import becomes an address.
    if (path === CHAT) {
      const text = (await file.readFile('utf8')).replace(
        "'@huggingface/jinja'",
        "'/npm/jinja/index.js'",
      );
      return response
        .writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(text) })
        .end(text);
    }
    const range = request.method === 'GET' ? rangeOf(request.headers.range, info.size) : null;
    const [first, last] = range ?? [0, info.size - 1];
    const headers = {
      'content-type': type,
      'content-length': last + 1 - first,
      'accept-ranges': 'bytes',
      'last-modified': info.mtime.toUTCString(),
      etag,
    };
    response.writeHead(
      range ? 206 : 200,
      range ? { ...headers, 'content-range': `bytes ${first}-${last}/${info.size}` } : headers,
    );
    if (request.method === 'HEAD' || info.size === 0) return response.end();
    const data = file.createReadStream({ start: first, end: last, autoClose: false });
    await pipeline(data, response, { end: false });
    // Where the file has become shorter meanwhile, to end here would look like all of it.
    if (data.bytesRead < last + 1 - first) response.destroy();
    else response.end();
  } finally {
    await file.close();
  }
}

/** @returns {import('node:http').Server} not yet listening */
export function createPageServer() {
  return createServer(async (request, response) => {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    try {
      await serve(request, response);
    } catch (error) {
      // Within an answer whoever asked has gone, or the file has: there is no other way to tell.
      if (response.headersSent) return response.destroy();
      const {
        status = 500,
        message,
        headers,
      } = error instanceof Refusal ? error : { message: 'the file can not be read' };
      response.writeHead(status, { ...headers, 'content-type': 'text/plain' }).end(`${message}\n`);
    }
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: 'string', default: '0' } } });
  const server = createPageServer().listen(Number(values.port), '127.0.0.1', () =>
    console.log(`Hyperion's page: http://127.0.0.1:${server.address().port}/   (Ctrl+C ends it)`),
  );
}
