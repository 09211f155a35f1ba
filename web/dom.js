// The document, by short names, and how figures are written.

/** @param {string} id @returns {any} */
export const $ = id => document.getElementById(id);

/**
 * An element with properties and children; a class by `class`, other attributes by `aria-…` and
 * `data-…`.
 * @param {string} tag @param {Record<string, any>} [properties] @param {(Node | string)[]} children
 */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name === 'class') made.className = value;
    else if (name.includes('-')) made.setAttribute(name, value);
    else /** @type {any} */ (made)[name] = value;
  made.append(...children);
  return made;
}

/** @param {number} bytes */
export function megabytes(bytes) {
  if (bytes >= 999.5e6) return `${(bytes / 1e9).toFixed(2)} GB`;
  return `${(bytes / 1e6).toFixed(bytes < 99.95e6 ? 1 : 0)} MB`;
}

/** @param {number} seconds */
export function lasting(seconds) {
  if (seconds < 99.5) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.ceil(minutes / 60)} h`;
}

/** @param {any} error what went wrong; null: nothing any more */
export function showError(error) {
  $('error-text').textContent = error ? (error.message ?? String(error)) : '';
  $('error').hidden = !error;
}

/**
 * Asks for a decision; false: Cancel, or Escape.
 * @param {string} question @param {string} yes what the button says
 * @returns {Promise<boolean>}
 */
export function decide(question, yes) {
  const dialog = $('ask');
  $('ask-text').textContent = question;
  $('ask-yes').textContent = yes;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(resolve =>
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }),
  );
}
