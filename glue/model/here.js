// The engine in this thread, which a page, whose engine is in a worker, does not load.

/** @typedef {typeof import('./engine.js')} Here */

/** @type {{engine: () => Here | Promise<Here>}} */
export const here = { engine: () => import('./engine.js') };
