// What the host has beside the web's own interfaces, found without a module's name in an `import`:
// a bundler for pages would look for it, and fail.

/**
 * A module of Node, where there is one; Deno and Bun have them too.
 * @param {string} name with its prefix, 'node:fs'
 * @returns {any} undefined in a page
 */
export const builtin = name =>
  /** @type {any} */ (globalThis).process?.getBuiltinModule?.(name) ?? undefined;

/**
 * What a place means that may be relative: seen from the page's address, or from the working
 * directory. As it is, where the host has neither.
 * @param {string | URL} place
 * @returns {URL | null} null: it is relative, and there is nothing to see it from
 */
export function placeOf(place) {
  if (place instanceof URL) return place;
  if (/^[a-z][a-z0-9+.-]+:/i.test(place)) return new URL(place);
  if (typeof location === 'object' && location?.href) return new URL(place, location.href);
  return builtin('node:url')?.pathToFileURL(place) ?? null;
}
