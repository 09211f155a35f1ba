// Names of models: of files on Hugging Face's hub, and addresses.

const HUB = 'https://huggingface.co';
const PAGES_MOST = 100; // of a list, a thousand files each
const NAME = /^hf:([\w.-]+\/[\w.-]+?)(?:@([\w./-]+?))?(?:\/([^:]+\.gguf)|:([\w.-]+))?$/i;

/**
 * What somebody has typed or pasted: an address, a name on the hub, or a link to a page of it.
 * @param {string} text
 * @returns {{kind: 'hub', repo: string, revision: string, file: string, quant: string} |
 *   {kind: 'address', url: string}}
 */
export function meant(text) {
  const typed = text.trim();
  const link = /^https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/([^/]+\/[^/?#]+)([^?#]*)/.exec(
    typed,
  );
  if (link) {
    const [, repo, rest] = link;
    const [, revision = 'main', file = ''] =
      /^\/(?:blob|resolve|tree|raw)\/([^/]+)\/?(.*)$/.exec(rest) ?? [];
    return { kind: 'hub', repo, revision, file: decodeURIComponent(file), quant: '' };
  }
  const plain = /^[\w.-]+\/[\w.-]+(?:[@:/].*)?$/.test(typed) ? `hf:${typed}` : typed;
  const [, repo, revision = 'main', file = '', quant = ''] = NAME.exec(plain) ?? [];
  if (repo) return { kind: 'hub', repo, revision, file, quant };
  let url;
  try {
    url = new URL(typed, location.href);
  } catch {}
  if (!url || !/^https?:$/.test(url.protocol) || !/^(https?:|\/|\.)/.test(typed))
    throw new Error(
      `'${typed}' is neither an address (https://…) nor a name on the hub (hf:owner/repository)`,
    );
  return { kind: 'address', url: url.href };
}

/** @param {string} repo @param {string} revision @param {string} file */
export const hubName = (repo, revision, file) =>
  `hf:${repo}${revision === 'main' ? '' : `@${revision}`}/${file}`;

/**
 * The GGUF files of a repository, with their sizes: no byte of them is fetched. The parts of a
 * split model are one.
 * @param {string} repo @param {string} revision
 * @param {{endpoint?: string, token?: string, signal?: AbortSignal}} [options]
 * @returns {Promise<{file: string, bytes: number}[]>}
 */
export async function filesOf(repo, revision, { endpoint, token, signal } = {}) {
  const top = (endpoint || HUB).replace(/\/+$/, '');
  let place = `${top}/api/models/${repo}/tree/${encodeURIComponent(revision)}?recursive=true`;
  const files = new Map();
  for (let page = 0; place && page < PAGES_MOST; page++) {
    const response = await ask(place, repo, token, signal);
    for (const { type, path: file, size, lfs } of await response.json()) {
      if (type !== 'file' || !/\.gguf$/i.test(file) || /mmproj|imatrix/i.test(file)) continue;
      const [, head, part, tail] = /^(.*)-(\d{5})(-of-\d{5}\.gguf)$/i.exec(file) ?? [];
      const whole = part ? `${head}-00001${tail}` : file;
      files.set(whole, (files.get(whole) ?? 0) + (lfs?.size ?? size));
    }
    const [, next = ''] =
      /<([^>]+)>;\s*rel="?next"?/.exec(response.headers.get('link') ?? '') ?? [];
    const { pathname, search } = new URL(next, place); // a mirror may speak of what it mirrors
    place = next && new URL(pathname + search, place).href;
  }
  const found = [...files].map(([file, bytes]) => ({ file, bytes }));
  return found.sort((a, b) => a.bytes - b.bytes);
}

/**
 * @param {string} place @param {string} repo @param {string} [token] @param {AbortSignal} [signal]
 */
async function ask(place, repo, token, signal) {
  let response;
  try {
    response = await fetch(place, {
      signal,
      headers: token ? { authorization: `Bearer ${token}` } : {},
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new Error(
      navigator.onLine
        ? `${new URL(place).host} can not be reached: ${/** @type {Error} */ (cause).message}`
        : 'this device is offline: cached models can be opened, others can not be looked up',
      { cause },
    );
  }
  if (response.status === 401 || response.status === 403 || response.status === 404)
    throw new Error(
      `the hub shows no ${repo}: there is none, or it wants ${token ? 'another' : 'an'} access token`,
    );
  if (!response.ok) throw new Error(`${repo}: the hub answered ${response.status}`);
  return response;
}
