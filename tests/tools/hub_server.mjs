#!/usr/bin/env node
// A hub of models, for tests and benchmarks: it answers as Hugging Face's does, as far as whoever
// opens models by name asks it. Lists of files with the hashes of large ones, pages of such lists,
// redirects to another origin, whose addresses are good for a while, tokens, gated repositories.
// usage: hub_server.mjs OWNER/REPO FILE…   prints its address, which is what HF_ENDPOINT takes
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RangeServer } from './range_server.mjs';

const LARGE = 1000; // bytes from which on a file is stored beside the repository, by its hash

/**
 * @typedef {object} Repo
 * @property {Record<string, Record<string, Uint8Array>>} revisions files by path, by revision
 * @property {'gated' | 'private'} [access] for whoever has a token of those that may
 */

/** @param {Uint8Array} bytes */
const sha256 = bytes => createHash('sha256').update(bytes).digest('hex');
/** As git names a file. @param {Uint8Array} bytes */
const oidOf = bytes =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

export class Hub {
  /** @type {Map<string, Repo>} */
  repos = new Map();
  tokens = new Set(['hf_right']); // that may read everything
  otherTokens = new Set(['hf_other']); // of somebody whom nobody has let in
  pageEntries = 1000; // of a list
  goodFor = Infinity; // requests to an address that a redirect has given
  /** Asks for parts of files, throttled and with faults as one likes. */
  objects = new RangeServer();
  front = new RangeServer();
  #signed = 0;
  /** @type {Map<string, number>} */
  #used = new Map();

  async listen() {
    this.front.route = (request, response) => this.#answer(request, response);
    this.objects.route = (request, response) => this.#stored(request, response);
    await this.front.listen();
    await this.objects.listen();
    return this;
  }

  get endpoint() {
    return this.front.origin;
  }

  async close() {
    await this.front.close();
    await this.objects.close();
  }

  /**
   * @param {string} name @param {Record<string, Uint8Array>} files
   * @param {{access?: 'gated' | 'private', revision?: string}} [more]
   */
  put(name, files, { access, revision = 'main' } = {}) {
    const repo = this.repos.get(name) ?? { revisions: {}, access };
    repo.revisions[revision] = files;
    this.repos.set(name, repo);
    for (const bytes of Object.values(files)) this.objects.put(`/${sha256(bytes)}`, bytes);
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  #answer(request, response) {
    const url = new URL(request.url ?? '/', this.endpoint);
    const refuse = (/** @type {number} */ status, /** @type {string} */ code) => {
      response.setHeader('x-error-code', code);
      response.writeHead(status, { 'content-type': 'application/json' }).end(`{"error":"${code}"}`);
      return true;
    };
    const path = decodeURIComponent(url.pathname);
    const [, api, name, revision, file] =
      /^\/(?:(api)\/models\/)?([^/]+\/[^/]+)\/(?:tree|resolve)\/([^/]+)(?:\/(.+))?$/.exec(path) ??
      [];
    if (!name) return false;
    const repo = this.repos.get(name);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    if (token && !this.tokens.has(token) && !this.otherTokens.has(token))
      return refuse(401, 'InvalidToken');
    const allowed = this.tokens.has(token);
    if (!repo || (repo.access === 'private' && !allowed))
      return refuse(token ? 404 : 401, 'RepoNotFound');
    if (repo.access === 'gated' && !allowed && !api) return refuse(token ? 403 : 401, 'GatedRepo');
    const files = repo.revisions[revision];
    if (!files) return refuse(404, 'RevisionNotFound');
    const fault = this.front.fault(/** @type {any} */ (this.front.log.at(-1)));
    if (fault?.status) {
      response.writeHead(fault.status, fault.headers).end();
      return true;
    }
    if (api) this.#list(url, files, response);
    else if (!file || !files[file]) return refuse(404, 'EntryNotFound');
    else this.#resolve(files[file], response);
    return true;
  }

  /**
   * @param {URL} url @param {Record<string, Uint8Array>} files
   * @param {import('node:http').ServerResponse} response
   */
  #list(url, files, response) {
    const names = Object.keys(files).sort();
    const folders = names
      .map(name => name.split('/').slice(0, -1).join('/'))
      .filter((folder, i, all) => folder && all.indexOf(folder) === i);
    const entries = [
      ...folders.map(path => ({ type: 'directory', oid: oidOf(Buffer.from(path)), size: 0, path })),
      ...names.map(path => {
        const bytes = files[path];
        const { length: size } = bytes;
        const lfs = { oid: sha256(bytes), size, pointerSize: 135 };
        return { type: 'file', oid: oidOf(bytes), size, ...(size >= LARGE && { lfs }), path };
      }),
    ];
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const to = from + this.pageEntries;
    if (to < entries.length) {
      const next = new URL(url);
      next.searchParams.set('cursor', String(to));
      next.host = 'hub.invalid'; // a mirror that hands on what the hub says
      response.setHeader('link', `<${next}>; rel="next"`);
    }
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(entries.slice(from, to)));
  }

  /** @param {Uint8Array} bytes @param {import('node:http').ServerResponse} response */
  #resolve(bytes, response) {
    response.setHeader('x-repo-commit', 'c0ffee');
    if (bytes.length < LARGE) {
      response.setHeader('etag', `"${oidOf(bytes)}"`);
      return void response.end(bytes);
    }
    const hash = sha256(bytes);
    response.setHeader('x-linked-etag', `"${hash}"`);
    response.setHeader('x-linked-size', bytes.length);
    const location = `${this.objects.origin}/${hash}?signature=${++this.#signed}`;
    response.writeHead(302, { location }).end();
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  #stored(request, response) {
    const { searchParams } = new URL(request.url ?? '/', this.objects.origin);
    const signature = searchParams.get('signature') ?? '';
    const used = (this.#used.get(signature) ?? 0) + 1;
    this.#used.set(signature, used);
    const right = signature && used <= this.goodFor && !request.headers.authorization;
    if (!right) response.writeHead(403).end('the signature is not, or not any more, right');
    return !right;
  }
}

export const startHub = () => new Hub().listen();

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, ...paths] = process.argv.slice(2);
  const hub = await startHub();
  hub.put(name, Object.fromEntries(paths.map(path => [basename(path), readFileSync(path)])));
  console.log(hub.endpoint);
}
