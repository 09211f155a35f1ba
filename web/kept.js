// What stays in this browser: small things by name. A window that keeps nothing (private, or full)
// is no error: they are forgotten with it.
const PREFIX = 'hyperion.';
/** @type {Map<string, any>} of a window that keeps nothing */
const here = new Map();

/** @param {string} name @param {any} [otherwise] */
export function read(name, otherwise = null) {
  if (here.has(name)) return here.get(name);
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

/** @param {string} name @param {any} value @returns {boolean} false: only as long as the window */
export function write(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    here.delete(name);
    return true;
  } catch {
    here.set(name, value);
    return false;
  }
}

/** @param {string} name */
export function forget(name) {
  here.delete(name);
  try {
    localStorage.removeItem(PREFIX + name);
  } catch {}
}

/** Names that begin so. @param {string} start @returns {string[]} */
export function names(start) {
  const found = new Set([...here.keys()].filter(name => name.startsWith(start)));
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const key = /** @type {string} */ (localStorage.key(i));
      if (key.startsWith(PREFIX + start)) found.add(key.slice(PREFIX.length));
    }
  } catch {}
  return [...found].sort();
}
