// Models that are split into several files.

/** @typedef {import('./source.js').Source} Source */

const PART = /-(\d{5})-of-(\d{5})\.gguf(?=$|[?#])/;

/** @param {any} one a source with a name, or what names it */
const nameOf = one =>
  String(typeof one === 'string' ? one : (one?.name ?? one?.key ?? one?.href ?? ''));

/**
 * The names of all parts, from that of the first; else just it.
 * @param {string} name @returns {string[]}
 */
export function partsOf(name) {
  const match = PART.exec(name);
  if (!match || Number(match[1]) !== 1) return [name];
  return Array.from({ length: Number(match[2]) }, (_, i) =>
    name.replace(PART, `-${String(i + 1).padStart(5, '0')}-of-${match[2]}.gguf`),
  );
}

/**
 * The files of a split model when `source` names its first part (-00001-of-0000N.gguf); else just
 * it. Several files are in order as given, or by their numbers where all have one.
 * @param {Source | Source[]} source @returns {Source[]}
 */
export function shardsOf(source) {
  if (Array.isArray(source)) {
    const number = (/** @type {Source} */ one) => Number(PART.exec(nameOf(one))?.[1] ?? NaN);
    return source.some(one => !number(one))
      ? source
      : [...source].sort((a, b) => number(a) - number(b));
  }
  if (typeof source === 'string') return partsOf(source);
  if (source instanceof URL) return partsOf(source.href).map(href => new URL(href));
  const { bucket, key } = /** @type {any} */ (source) ?? {};
  return bucket && key ? partsOf(key).map(part => ({ bucket, key: part })) : [source];
}
