// Names of models on a hub: `hf:owner/repo/file.gguf`, `hf:owner/repo:Q4_K_M`, `hf:owner/repo`,
// each with `@revision` behind the repository, as the users of llama.cpp and wllama know them.
import { refuse } from '../core/check.js';
import { HASTY, isUnreachable } from './retry.js';
import { partsOf } from './shards.js';
import { unreadable } from './source.js';
import { completeFiles } from './store/index.js';
import { fetchText, ofUrl } from './url.js';

/** @typedef {import('./source.js').SourceOptions} SourceOptions */
/** @typedef {{type: string, path: string, oid: string, lfs?: {oid: string}}} Entry */
/**
 * @typedef {{place: URL, name: string, version: string, sha256: string | undefined, token?:
 *   string}} OnHub a file
 */

const ENDPOINT = 'https://huggingface.co';
const USUAL = 'Q4_K_M';
const COMMIT = /@[0-9a-f]{40}(?:[:/]|$)/;
const PAGES_MOST = 100; // of a thousand entries each
const NAME = /^hf:(?:\/\/)?([^/@:\s]+\/[^/@:\s]+)(?:@([^/:\s]+))?(?::([^/\s]+)|\/(.+))?$/;

/** @param {unknown} source */
export const isOnHub = source =>
  (typeof source === 'string' || source instanceof URL) && /^hf:/i.test(String(source));

/** A variable of the environment, where there is one and it may be read. @param {string} name */
function environment(name) {
  try {
    return /** @type {any} */ (globalThis).process?.env?.[name] || undefined;
  } catch {
    return undefined;
  }
}

/** Where a hub is, without a slash at its end. @param {SourceOptions} options */
const endpointOf = ({ endpoint }) =>
  String(endpoint || environment('HF_ENDPOINT') || ENDPOINT).replace(/\/+$/, '');

const encoded = (/** @type {string} */ path) => path.split('/').map(encodeURIComponent).join('/');

/**
 * The file itself, where an address leads to the hub's page about it.
 * @param {URL} url @param {SourceOptions} options @returns {URL}
 */
export function fileOfPage(url, options) {
  const known = [ENDPOINT, 'https://hf.co', endpointOf(options)];
  const page = /^(\/[^/]+\/[^/]+)\/blob\//;
  if (!page.test(url.pathname) || !known.some(one => `${url.href}/`.startsWith(`${one}/`)))
    return url;
  const file = new URL(url);
  file.pathname = url.pathname.replace(page, '$1/resolve/');
  return file;
}

/**
 * All files of a repository.
 * @param {string} repo @param {SourceOptions} options @param {string} revision
 * @param {string} endpoint
 * @returns {Promise<Entry[]>}
 */
async function listed(repo, options, revision, endpoint) {
  let place = `${endpoint}/api/models/${repo}/tree/${encodeURIComponent(revision)}?recursive=true`;
  const entries = [];
  for (let page = 0; page < PAGES_MOST; page++) {
    const name = `hf:${repo}`;
    const { text, headers } = await fetchText(new URL(place), { ...options, name });
    try {
      entries.push(...JSON.parse(text));
    } catch (cause) {
      throw unreadable(`${place} is no list of files: is the endpoint right?`, cause);
    }
    const next = /<([^>]+)>;\s*rel="?next"?/.exec(headers.get('link') ?? '')?.[1];
    if (!next) break;
    const { pathname, search } = new URL(next, place); // a mirror may speak of what it mirrors
    place = new URL(pathname + search, place).href;
  }
  return entries;
}

/** @param {string[]} models @param {string} quant @returns {string | undefined} */
function ofQuant(models, quant) {
  const escaped = quant.replace(/[^\w]/g, '\\$&');
  const tag = new RegExp(`(?:^|[-._/])${escaped}(?=[-._/])`, 'i');
  return models
    .filter(path => tag.test(path))
    .sort((a, b) => a.length - b.length || (a < b ? -1 : 1))[0];
}

/**
 * Which file is meant.
 * @param {Entry[]} entries @param {string} repo @param {string | undefined} quant
 * @returns {string} its path
 */
function chosen(entries, repo, quant) {
  const models = entries
    .filter(({ type, path }) => type === 'file' && /\.gguf$/i.test(path))
    .map(({ path }) => path)
    .filter(path => !/mmproj|imatrix/i.test(path) && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/.test(path));
  if (!models.length) throw unreadable(`hf:${repo} has no GGUF file: take a repository that has`);
  const path = ofQuant(models, quant ?? USUAL) ?? (quant ? undefined : models[0]);
  if (path) return path;
  throw unreadable(`hf:${repo} has no file of ${quant}, but ${models.join(', ')}`);
}

/** What a cache has of a repository, as the hub would list it. */
async function listedInCache(/** @type {string} */ repo, /** @type {SourceOptions} */ options) {
  const files = await completeFiles(options.fileCache);
  return files
    .filter(({ name }) => name.startsWith(`hf:${repo}/`))
    .map(({ name, version }) => ({
      type: 'file',
      path: name.slice(`hf:${repo}/`.length),
      oid: version,
    }));
}

/**
 * The files that a name stands for: one, or the parts of one that is split. What is in the cache
 * serves when the hub is not there, or when the name says which commit is meant: that never
 * changes.
 * @param {string} name @param {SourceOptions} options
 * @returns {Promise<OnHub[]>}
 */
export async function onHub(name, options) {
  const fromCache = () => filesOf(name, options, listedInCache).catch(() => null);
  if (!options.fileCache) return filesOf(name, options, listed);
  const cached = await fromCache();
  if (cached && COMMIT.test(name)) return cached;
  return filesOf(name, cached ? { ...options, ...HASTY } : options, listed).catch(error => {
    if (cached && isUnreachable(error)) return cached;
    throw error;
  });
}

/**
 * @param {string} name @param {SourceOptions} options
 * @param {(repo: string, options: SourceOptions, revision: string, endpoint: string) =>
 *   Promise<Entry[]>} list
 * @returns {Promise<OnHub[]>}
 */
async function filesOf(name, options, list) {
  const match = NAME.exec(name);
  if (!match)
    refuse(`'${name}' is no name on a hub: hf:owner/repo/file.gguf, or hf:owner/repo:Q4_K_M`);
  const [, repo, revision = 'main', quant, file] = /** @type {string[]} */ (match);
  const endpoint = endpointOf(options);
  const token = options.token ?? environment('HF_TOKEN');
  const at = revision === 'main' ? '' : `@${revision}`;
  const inCache = list === listedInCache;
  const where = inCache ? `${repo}${at}` : repo;
  const entries = await list(where, { ...options, token }, revision, endpoint);
  const path = file ? decodeURIComponent(file) : chosen(entries, repo, quant);
  return partsOf(path).map(part => {
    const entry = entries.find(one => one.path === part);
    if (!entry) throw unreadable(`hf:${repo} has no file ${part}`);
    return {
      place: new URL(
        `${endpoint}/${repo}/resolve/${encodeURIComponent(revision)}/${encoded(part)}`,
      ),
      name: `hf:${repo}${at}/${part}`,
      version: entry.lfs?.oid ?? entry.oid,
      sha256: entry.lfs?.oid,
      token,
    };
  });
}

/** @param {OnHub} file @param {import('./url.js').UrlOptions} options */
export const ofHub = ({ place, ...file }, options) => ofUrl(place, { ...options, ...file });
