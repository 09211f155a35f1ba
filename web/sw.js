// Keeps the page and the engine for when there is no network. What there is of a newer version is
// taken from the network whenever that answers, so that all parts are of one version. Models are
// not its business: the engine has a cache of its own for them.
const CACHE = 'hyperion-page-1';
const BEGIN = ['./', './manifest.webmanifest'];
const ISOLATED = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

/** What a file of the page names: scripts that it imports, workers, styles, pictures. */
function* namesIn(text, type) {
  const patterns = /html/.test(type)
    ? [/\b(?:src|href)="([^"#]+)"/g]
    : /javascript/.test(type)
      ? [
          /\b(?:from|import)\s+'([^']+)'/g,
          /\bimport\(\s*'([^']+)'\s*\)/g,
          /\bnew URL\(\s*'([^']+)',\s*import\.meta\.url\s*\)/g,
        ]
      : /manifest/.test(type)
        ? [/"src":\s*"([^"]+)"/g]
        : [];
  for (const pattern of patterns) for (const [, name] of text.matchAll(pattern)) yield name;
}

/** The page with all that it is made of, modules apart: of these it asks for one. */
async function keepPage() {
  const cache = await caches.open(CACHE);
  const seen = new Set();
  const visit = async address => {
    const url = new URL(address, self.location.href);
    url.hash = '';
    if (url.origin !== self.location.origin || seen.has(url.href)) return;
    if (/\.(wasm|gguf)$/.test(url.pathname)) return;
    seen.add(url.href);
    const response = await fetch(url, { cache: 'no-cache' });
    if (!response.ok) return;
    const type = response.headers.get('content-type') ?? '';
    const text = /html|javascript|manifest/.test(type) ? await response.clone().text() : '';
    await cache.put(url, response);
    await Promise.all([...namesIn(text, type)].map(name => visit(new URL(name, url))));
  };
  await Promise.all(BEGIN.map(visit));
}

/** A page whose server sends no isolation headers gets them here. */
function isolated(response) {
  if (response.type !== 'basic' && response.type !== 'default') return response;
  if (response.status === 304 || response.headers.has('cross-origin-embedder-policy'))
    return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value);
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.status === 200 && !request.headers.has('range'))
      await cache.put(request, response.clone());
    return isolated(response);
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: request.mode === 'navigate' });
    if (kept) return isolated(kept);
    throw error;
  }
}

self.addEventListener('install', event => {
  self.skipWaiting();
  event.waitUntil(keepPage());
});

self.addEventListener('activate', event => {
  const tidy = async () => {
    const old = (await caches.keys()).filter(
      name => name.startsWith('hyperion-page') && name !== CACHE,
    );
    await Promise.all(old.map(name => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener('fetch', event => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== self.location.origin) return;
  if (/\.gguf$/.test(url.pathname)) return;
  event.respondWith(answer(request));
});

self.addEventListener('message', event => {
  const keep = async () => {
    const cache = await caches.open(CACHE);
    for (const address of event.data.keep ?? [])
      if (new URL(address).origin === self.location.origin && !(await cache.match(address)))
        await cache.add(address);
  };
  event.waitUntil(keep());
});
