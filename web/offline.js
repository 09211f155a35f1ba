// Without a network: a service worker keeps the page and the engine; models are in the engine's own
// cache. On servers that send no isolation headers it adds them, so that threads can share memory.
import { bestArtefact } from '/glue/model/index.js';
import { $ } from './dom.js';
import { onChange } from './state.js';

const TRIED = 'hyperion.isolated'; // that the page was loaded again for its headers

/** The module that this browser will ask for when it opens a model. */
function moduleAddress() {
  const relaxed = bestArtefact() === 'relaxed';
  const file = globalThis.crossOriginIsolated
    ? `hyperion-mt${relaxed ? '' : '-simd'}.wasm`
    : `hyperion${relaxed ? '-relaxed' : ''}.wasm`;
  return new URL(`/dist/${file}`, location.href).href;
}

async function keep() {
  const registration = await navigator.serviceWorker.register('/sw.js');
  await navigator.serviceWorker.ready;
  (registration.active ?? navigator.serviceWorker.controller)?.postMessage({
    keep: [moduleAddress()],
  });
  if (globalThis.crossOriginIsolated || sessionStorage.getItem(TRIED)) return;
  sessionStorage.setItem(TRIED, 'yes');
  location.reload();
}

export function startOffline() {
  onChange(() => ($('offline').hidden = navigator.onLine));
  if ('serviceWorker' in navigator)
    keep().catch(error => console.info(`the page works with a network only: ${error.message}`));
}
