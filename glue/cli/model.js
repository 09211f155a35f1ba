// What the verbs open, and with which options.
import { pathToFileURL } from 'node:url';
import { open } from '../model/index.js';
import { readKey } from './manifest.js';
import { progressBar } from './progress.js';
import { options } from './table.js';

/** 'story' is the model that comes with Hyperion. @param {string} model */
export const place = model =>
  model === 'story' ? new URL('../../models/story.gguf', import.meta.url) : model;

/**
 * Those of the given options that are of these scopes.
 * @param {any} o
 * @param {string[]} scopes
 * @returns {Record<string, any>}
 */
const ofScopes = (o, ...scopes) =>
  Object.fromEntries(
    options
      .filter(({ scope, key }) => scopes.includes(scope) && key in o)
      .map(({ key }) => [key, o[key]]),
  );

/** Of an answer. The same seed as on the native command line. @param {any} o */
export const answerOptions = o => ({ seed: 0, ...ofScopes(o, 'answer', 'sampling') });

/** Those of a session that were asked for, and are no cache's. @param {any} o */
export const sessionOptions = o =>
  Object.fromEntries(
    Object.entries(ofScopes(o, 'session')).filter(([key, value]) => value && key !== 'cache'),
  );

/** A path, or an address as it is. @param {string} text */
const addressOf = text => (/^[a-z][a-z0-9+.-]+:/i.test(text) ? text : pathToFileURL(text));

/**
 * How files are read: what has been fetched is kept.
 * @param {any} o
 */
export const readOptions = o => ({
  fileCache: !o.noCache,
  manifest: o.manifest && (o.manifest === 'beside' || addressOf(o.manifest)),
  key: o.keyFile === undefined ? undefined : readKey(o.keyFile),
});

/**
 * Of an engine and its model.
 * @param {any} o
 * @param {string} [what] it does meanwhile, for the progress bar
 */
export const openOptions = (o, what = 'loading') => ({
  ...ofScopes(o, 'engine', 'model', 'session'),
  ...readOptions(o),
  draft: o.draft === undefined ? undefined : place(o.draft),
  artefact: o.artefact,
  onProgress: o.quiet
    ? undefined
    : (/** @type {any} */ { loaded, total, layers, layersReady }) =>
        progressBar({ what, done: loaded, total, bytes: true, layers, layersReady }),
});

/**
 * Opens a model for `act`, and closes it whatever happens: a worker would keep the process.
 * @param {string} name
 * @param {any} options
 * @param {(model: any) => Promise<unknown>} act
 */
export async function withModel(name, options, act) {
  const model = await open(place(name), options);
  try {
    await act(model);
  } finally {
    await model.close();
  }
}
