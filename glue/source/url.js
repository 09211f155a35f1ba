// Addresses, and what their servers answer.
import { HyperionError } from '../core/errors.js';
import { placeOf } from '../core/host.js';
import { cancelled } from '../core/signal.js';
import { ofMemory } from './memory.js';
import { ofStream, ofWholeStream } from './stream.js';

/** @typedef {import('../core/core.js').ByteSource} ByteSource */

/**
 * Where a relative text leads: the page's address, or the working directory.
 * @param {string | URL} place
 */
export function resolve(place) {
  const url = placeOf(place);
  if (url) return url;
  throw new HyperionError(
    'HYP_E_ARGUMENT',
    `'${place}' is relative, and this host has no address to resolve it by`,
  );
}

/**
 * Part of what a URL leads to.
 * @param {URL} url
 * @param {number} offset
 * @param {number} count
 * @returns {Promise<Uint8Array>}
 */
async function fetchRange(url, offset, count) {
  const response = await fetch(url, {
    headers: { range: `bytes=${offset}-${offset + count - 1}` },
  });
  if (response.status !== 206)
    throw new Error(
      `${url.host} gives no parts of files (it answered ${response.status}): raise the memory limit, so that the model is read only once`,
    );
  return new Uint8Array(await response.arrayBuffer());
}

/** @param {Response} response @param {string} name */
export function checkResponse(response, name) {
  if (response.ok) return;
  throw new HyperionError(
    'HYP_E_IO',
    `${name} answered ${response.status} ${response.statusText}`.trim(),
  );
}

/**
 * @param {Response} response @param {string} name @param {AbortSignal} [signal]
 * @param {(offset: number, count: number) => Promise<Uint8Array>} [again]
 */
export async function ofResponse(response, name, signal, again) {
  checkResponse(response, name);
  const encoded = response.headers.get('content-encoding');
  const length = Number(response.headers.get('content-length'));
  // Without a size, or with one of the encoded bytes, the whole has to arrive first.
  if (!response.body) return ofMemory(await response.arrayBuffer());
  if (!length || (encoded && encoded !== 'identity')) return ofWholeStream(response.body, signal);
  return ofStream(response.body, length, again);
}

/**
 * What a URL leads to, while it arrives.
 * @param {URL} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<ByteSource>}
 */
export async function ofUrl(url, signal) {
  let response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    if (signal?.aborted) throw cancelled(signal);
    throw new HyperionError(
      'HYP_E_IO',
      `${url} could not be fetched: ${/** @type {Error} */ (cause).message}`,
      { cause },
    );
  }
  return ofResponse(response, String(url), signal, (offset, count) =>
    fetchRange(url, offset, count),
  );
}
