// Signals that callers give to end what they have asked for.
import { refuse, shown } from './check.js';

/** @param {unknown} signal */
export function checkSignal(signal) {
  const it = /** @type {any} */ (signal);
  if (
    it &&
    (typeof it !== 'object' ||
      typeof it.aborted !== 'boolean' ||
      typeof it.addEventListener !== 'function')
  )
    refuse(`signal must be an AbortSignal, not ${shown(signal)}`);
}

/**
 * What an abort rejects with, as the platform's own functions do: the signal's reason, an
 * AbortError where the caller gave none.
 * @param {AbortSignal | undefined} signal @returns {any}
 */
export const cancelled = signal =>
  signal?.reason === undefined
    ? new DOMException('This operation was aborted', 'AbortError')
    : signal.reason;

/** @param {AbortSignal | undefined} signal */
export function throwIfAborted(signal) {
  checkSignal(signal);
  if (signal?.aborted) throw cancelled(signal);
}
