// The engine in this thread, which a page, whose engine is in a worker, does not load.
import { HyperionError } from '../core/errors.js';

/** @typedef {typeof import('./engine.js')} Here */

/** A service worker may load nothing later. @param {unknown} cause @returns {never} */
function refused(cause) {
  if (!('ServiceWorkerGlobalScope' in globalThis)) throw cause;
  throw new HyperionError(
    'HYP_E_UNSUPPORTED',
    'a service worker can not load the engine on demand: import hyperion-runtime/local in it',
    { cause },
  );
}

/** @type {{engine: () => Here | Promise<Here>}} */
export const here = { engine: () => import('./engine.js').catch(refused) };
