#!/usr/bin/env node
// A server of files, for tests and benchmarks: it knows Range as RFC 9110 has it, is as slow as one
// likes, and does everything wrong that servers do.
// usage: range_server.mjs [--rate MB_PER_S] [--latency MS] FILE…   prints its address
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const SLICE = 16384;
const BURST_MS = 4; // of a throttled connection: timers are late by as much
const SEEN = 'Content-Range, ETag, Accept-Ranges, Link, X-Error-Code, X-Linked-ETag, X-Linked-Size';

/**
 * What goes wrong with an answer; of all that is left out nothing does.
 * @typedef {object} Fault
 * @property {number} [status] answers so, without the file
 * @property {Record<string, string>} [headers] further ones, or others; '' takes one away
 * @property {number} [cut] the connection breaks after so many bytes of the body
 * @property {number} [stall] nothing more comes after so many bytes; -1: not even an answer
 * @property {number} [wrong] this byte of the body is another one
 * @property {number} [longer] so many bytes more than there should be, less where negative
 * @property {number} [shift] the range begins so many bytes later than asked for, and says so
 * @property {boolean} [whole] no part, though one was asked for
 * @property {boolean} [chunked] no Content-Length
 * @property {string} [redirect] the answer is elsewhere
 */
/**
 * @typedef {{number: number, method: string, path: string, query: string, range: string, headers:
 *   any}} Asked
 */

/** @param {string | undefined} header @param {number} size */
function rangeOf(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || (!match[1] && !match[2])) return null;
  const from = match[1] ? Number(match[1]) : Math.max(0, size - Number(match[2]));
  const to = match[1] && match[2] ? Math.min(Number(match[2]) + 1, size) : size;
  return { from, to };
}

/** All connections of a server share its rate. */
class Throttle {
  bytesPerSecond = Infinity;
  #free = 0;
  /** @param {number} bytes */
  async wait(bytes) {
    if (this.bytesPerSecond === Infinity) return;
    const now = performance.now();
    this.#free = Math.max(this.#free, now - BURST_MS) + (bytes * 1000) / this.bytesPerSecond;
    if (this.#free - now > 1) await new Promise(resolve => setTimeout(resolve, this.#free - now));
  }
}

export class RangeServer {
  /** @type {Map<string, Buffer>} by path, without its query */
  files = new Map();
  ranges = true;
  /** @type {'strong' | 'weak' | 'none'} */
  etags = 'strong';
  cors = true;
  expose = SEEN; // to pages of other origins
  latencyMs = 0;
  /** @type {Asked[]} */
  log = [];
  /** @type {(asked: Asked) => Fault | null | undefined | void} */
  fault = () => null;
  /**
   * Before anything else; true: it has answered.
   * @type {(request: import('node:http').IncomingMessage, response:
   *   import('node:http').ServerResponse) => boolean | Promise<boolean>}
   */
  route = () => false;
  bytesSent = 0;
  underway = 0; // answers
  #throttle = new Throttle();
  #tags = new WeakMap();
  #server;

  /** @param {Record<string, Uint8Array>} [files] */
  constructor(files = {}) {
    for (const [path, bytes] of Object.entries(files)) this.put(path, bytes);
    this.#server = createServer((request, response) => {
      this.underway++;
      response.on('close', () => this.underway--);
      this.#answer(request, response).catch(error => response.destroy(error));
    });
    // Whoever goes on with a connection that has been idle does not find it half closed.
    this.#server.keepAliveTimeout = 60000;
  }

  /** @returns {Promise<this>} */
  async listen() {
    await new Promise(resolve => this.#server.listen(0, '127.0.0.1', () => resolve(undefined)));
    return this;
  }

  /** The process ends although it listens. */
  unref() {
    this.#server.unref();
  }

  get origin() {
    return `http://127.0.0.1:${/** @type {any} */ (this.#server.address()).port}`;
  }

  /** @param {string} path @param {Uint8Array} bytes */
  put(path, bytes) {
    this.files.set(path, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  }

  /** @param {number} megabytes in a second, of all connections together */
  set rate(megabytes) {
    this.#throttle.bytesPerSecond = megabytes * 1e6;
  }

  /** @returns {Promise<number>} connections that are open */
  connections() {
    return new Promise((resolve, reject) =>
      this.#server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    );
  }

  async close() {
    this.#server.closeAllConnections();
    await new Promise(resolve => this.#server.close(resolve));
  }

  /** @param {Buffer} bytes */
  #tag(bytes) {
    if (!this.#tags.has(bytes))
      this.#tags.set(bytes, createHash('sha256').update(bytes).digest('hex').slice(0, 20));
    const tag = `"${this.#tags.get(bytes)}"`;
    return this.etags === 'weak' ? `W/${tag}` : tag;
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  async #answer(request, response) {
    const { method = 'GET', headers } = request;
    const { pathname, search } = new URL(request.url ?? '/', 'http://localhost');
    const path = decodeURIComponent(pathname);
    if (this.cors) {
      response.setHeader('access-control-allow-origin', '*');
      response.setHeader('cross-origin-resource-policy', 'cross-origin');
      if (this.expose) response.setHeader('access-control-expose-headers', this.expose);
    }
    const { range: wanted = '' } = headers;
    const number = this.log.length;
    const asked = { number, method, path, query: search.slice(1), range: wanted, headers };
    this.log.push(asked);
    if (method === 'OPTIONS') {
      response.setHeader('access-control-allow-headers', 'Range, Authorization, If-Range');
      response.writeHead(this.cors ? 204 : 403).end();
      return;
    }
    if (this.latencyMs) await new Promise(resolve => setTimeout(resolve, this.latencyMs));
    if (await this.route(request, response)) return;
    const fault = this.fault(asked) ?? {};
    const { status, cut = Infinity, stall = Infinity } = fault;
    if (stall < 0) return; // until the other side gives up
    if (fault.redirect) {
      response.writeHead(302, { location: fault.redirect }).end();
      return;
    }
    const own = Object.entries(fault.headers ?? {});
    const file = this.files.get(path);
    if (status || !file) {
      for (const [name, value] of own) response.setHeader(name, value);
      response.writeHead(status ?? 404).end('no');
      return;
    }
    const tag = this.#tag(file);
    if (this.etags !== 'none') response.setHeader('etag', tag);
    response.setHeader('content-type', 'application/octet-stream');
    if (this.ranges) response.setHeader('accept-ranges', 'bytes');
    const condition = headers['if-range'];
    const partial = this.ranges && !fault.whole && (!condition || condition === tag);
    let range = partial ? rangeOf(headers.range, file.length) : null;
    if (range && range.from >= range.to) {
      response.writeHead(416, { 'content-range': `bytes */${file.length}` }).end();
      return;
    }
    let body = file;
    if (range) {
      if (fault.shift)
        range = {
          from: range.from + fault.shift,
          to: Math.min(range.to + fault.shift, file.length),
        };
      body = file.subarray(range.from, range.to);
      response.statusCode = 206;
      response.setHeader('content-range', `bytes ${range.from}-${range.to - 1}/${file.length}`);
    }
    const { longer = 0, wrong = -1 } = fault;
    if (longer < 0) body = body.subarray(0, Math.max(0, body.length + longer));
    if (longer > 0) body = Buffer.concat([body, Buffer.alloc(longer, 1)]);
    if (wrong >= 0 && wrong < body.length) {
      body = Buffer.from(body);
      body[wrong] ^= 0x55;
    }
    if (!fault.chunked) response.setHeader('content-length', body.length);
    for (const [name, value] of own)
      if (value) response.setHeader(name, value);
      else response.removeHeader(name);
    if (method === 'HEAD') {
      response.end();
      return;
    }
    response.flushHeaders();
    await this.#send(response, body, cut, stall);
  }

  /**
   * @param {import('node:http').ServerResponse} response @param {Buffer} body @param {number} cut
   * @param {number} stall
   */
  async #send(response, body, cut, stall) {
    const end = Math.min(body.length, cut, stall);
    for (let at = 0; at < end && !response.destroyed; at += SLICE) {
      const slice = body.subarray(at, Math.min(at + SLICE, end));
      await this.#throttle.wait(slice.length);
      this.bytesSent += slice.length;
      if (!response.write(slice) && !response.destroyed)
        await new Promise(resolve => {
          const on = () => {
            response.off('drain', on).off('close', on);
            resolve(undefined);
          };
          response.on('drain', on).on('close', on);
        });
    }
    if (stall < body.length && stall <= cut) return; // until the other side gives up
    if (cut >= body.length) response.end();
    // what has been written goes out first
    else if (!response.destroyed) response.socket?.end(() => response.destroy());
  }
}

/** @param {Record<string, Uint8Array>} [files] */
export const startRangeServer = files => new RangeServer(files).listen();

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    options: { rate: { type: 'string' }, latency: { type: 'string' } },
    allowPositionals: true,
  });
  const server = await startRangeServer(
    Object.fromEntries(positionals.map(path => [`/${basename(path)}`, readFileSync(path)])),
  );
  if (values.rate) server.rate = Number(values.rate);
  server.latencyMs = Number(values.latency ?? 0);
  console.log(server.origin);
}
