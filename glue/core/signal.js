// Signals that callers give to end what they have asked for.
import { refuse, shown } from './check.js';
import { HyperionError } from './errors.js';

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

/** @param {AbortSignal | undefined} signal */
export const cancelled = signal =>
  new HyperionError('HYP_E_CANCELLED', 'cancelled', { cause: signal?.reason });

/** @param {AbortSignal | undefined} signal */
export function throwIfAborted(signal) {
  checkSignal(signal);
  if (signal?.aborted) throw cancelled(signal);
}
