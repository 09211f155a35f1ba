/**
 * The name of the method by which `await using` closes what it has opened. A host that does not
 * know it yet calls nothing by that name, and so any symbol will do there.
 * @type {import('./platform.js').AsyncDispose}
 */
export const asyncDispose =
  Symbol.asyncDispose ?? /** @type {any} */ (Symbol('Symbol.asyncDispose'));
