#!/usr/bin/env node
// Serves the page with the headers that a deployment would send. usage: serve.mjs [--port N]   (default: any free port)
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import sirv from 'sirv';

const root = fileURLToPath(new URL('..', import.meta.url));
const HEADERS = {
  'content-security-policy': "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' https:; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
};

/** @returns {import('node:http').Server} not yet listening */
export function createPageServer() {
  const mount = dir => sirv(join(root, dir), { dev: true, etag: true });
  const mounts = { '/glue/': mount('glue'), '/dist/': mount('dist'), '/models/': mount('models'), '/npm/jinja/': mount('node_modules/@huggingface/jinja/dist') };
  const page = mount('web');
  return createServer((request, response) => {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const missing = () => response.writeHead(404, { 'content-type': 'text/plain' }).end('not found\n');
    const prefix = Object.keys(mounts).find(p => request.url.startsWith(p));
    // What a bundler does for an application: the one bare import becomes an address.
    if (request.url === '/glue/chat.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(readFileSync(join(root, 'glue/chat.js'), 'utf8').replace("'@huggingface/jinja'", "'/npm/jinja/index.js'"));
    if (!prefix) return page(request, response, missing);
    request.url = request.url.slice(prefix.length - 1);
    mounts[prefix](request, response, missing);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: 'string', default: '0' } } });
  const server = createPageServer().listen(Number(values.port), '127.0.0.1', () => console.log(`Hyperion's page: http://127.0.0.1:${server.address().port}/   (Ctrl+C ends it)`));
}
