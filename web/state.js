// What the panels share: one model, one answer at a time. Who changes it says so by `changed`.

/**
 * @typedef {object} Wanted a model, before it is open
 * @property {'story' | 'hub' | 'address' | 'file'} kind
 * @property {string} name
 * @property {string | File[]} source
 * @property {number} [bytes] where they are known
 */

export const app = {
  /** @type {any} */
  model: null,
  /** @type {Wanted | null} what the model was opened as */
  opened: null,
  /**
   * `model`: is open already, and its weights are still coming.
   * @type {{wanted: Wanted, stop: AbortController, progress: any, model: any} | null}
   */
  loading: null,
  /** @type {AbortController | null} */
  answering: null,
  /** What the last thing that ended has come to. */
  said: 'idle',
};

const changes = new EventTarget();

/** @param {string} [said] */
export function changed(said) {
  if (said !== undefined) app.said = said;
  changes.dispatchEvent(new Event('change'));
}

/** @param {() => void} show called after every change, and now */
export function onChange(show) {
  changes.addEventListener('change', show);
  show();
}
