// Models that are split into several files.

/** @typedef {import('./source.js').Source} Source */

/**
 * The files of a split model when `source` names its first part (-00001-of-0000N.gguf); else just
 * it.
 * @param {Source | Source[]} source @returns {Source[]}
 */
export function shardsOf(source) {
  if (Array.isArray(source)) return source;
  const name = source instanceof URL ? source.href : source;
  const match = typeof name === 'string' && /^(.*)-00001-of-(\d{5})\.gguf$/.exec(name);
  if (!match) return [source];
  return Array.from({ length: Number(match[2]) }, (_, i) => {
    const part = `${match[1]}-${String(i + 1).padStart(5, '0')}-of-${match[2]}.gguf`;
    return source instanceof URL ? new URL(part) : part;
  });
}
