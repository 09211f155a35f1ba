// What the option `fileCache` says.
import { refuse, shown } from '../../core/check.js';

/**
 * Where a cache is, and what it may take: `true`, the host's usual place (the origin's private file
 * system, or `XDG_CACHE_HOME/hyperion`); a folder, in Node, Deno and Bun; `limit`, as '4GB', for
 * the whole cache, in which other files give way; `pin`: this file gives way to none.
 * @typedef {boolean | string | {folder?: string, limit?: string | number, pin?: boolean}}
 *   CacheOption
 */
/**
 * A file of the cache.
 * @typedef {object} CachedFile
 * @property {string} name by which it was opened
 * @property {string} version
 * @property {number} size in bytes
 * @property {number} cached how many of them are there
 * @property {boolean} complete it can be opened without a network
 * @property {boolean} pinned
 * @property {boolean} encrypted
 * @property {Date} used last
 */

/** @type {Record<string, number>} */
const UNITS = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };

/** @param {unknown} limit @returns {number} */
function limitOf(limit) {
  if (limit === undefined || limit === null) return Infinity;
  if (typeof limit === 'number' && limit >= 0) return limit;
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*$/i.exec(String(limit));
  if (typeof limit !== 'string' || !match)
    return refuse(`the cache's limit must be an amount, as '4GB', not ${shown(limit)}`);
  return Number(match[1]) * UNITS[match[2].toLowerCase()];
}

/**
 * What a cache option says; refused when it says nothing that is possible.
 * @param {unknown} option
 * @returns {{folder?: string, limit: number, pin: boolean} | null} null: no cache
 */
export function cacheOf(option) {
  if (option === undefined || option === null || option === false) return null;
  if (option === true) return { limit: Infinity, pin: false };
  if (typeof option === 'string' && option) return { folder: option, limit: Infinity, pin: false };
  if (typeof option !== 'object' || !option)
    return refuse(
      `cache must be true, false, a folder or {folder, limit, pin}, not ${shown(option)}`,
    );
  for (const key of Object.keys(option))
    if (!['folder', 'limit', 'pin'].includes(key))
      refuse(`a cache has no option '${key}'; it takes folder, limit and pin`);
  const { folder, limit, pin } = /** @type {any} */ (option);
  if (folder !== undefined && (typeof folder !== 'string' || !folder))
    refuse(`the cache's folder must be a path, not ${shown(folder)}`);
  return { folder, limit: limitOf(limit), pin: Boolean(pin) };
}
