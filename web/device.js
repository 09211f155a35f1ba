// What this device has room for, as far as a page may know.
import { megabytes } from './dom.js';

const MODULE_BYTES = 2 ** 32; // what a WebAssembly memory can have
const BESIDE_BYTES = 120e6; // the engine, a conversation, and what a pass computes in
const GIB = 2 ** 30;
const MOST_TOLD_GIB = 8; // browsers say no more than that

/**
 * @typedef {object} Device
 * @property {number} memory bytes that a model may take, by what the browser says
 * @property {boolean} told the browser has said how much memory there is
 * @property {number} room bytes that storage has left; Infinity: not known
 */

/** @returns {Promise<Device>} */
export async function device() {
  const { deviceMemory } = /** @type {any} */ (navigator);
  const phone = matchMedia('(pointer: coarse) and (max-width: 60rem)').matches;
  const machine = deviceMemory
    ? deviceMemory < MOST_TOLD_GIB
      ? deviceMemory * GIB * 0.6
      : Infinity
    : phone
      ? 1.5 * GIB
      : Infinity;
  const { quota, usage = 0 } = await estimate();
  return {
    memory: Math.min(MODULE_BYTES, machine) - BESIDE_BYTES,
    told: deviceMemory !== undefined,
    room: quota === undefined ? Infinity : quota - usage,
  };
}

async function estimate() {
  try {
    return await navigator.storage.estimate();
  } catch {
    return { quota: undefined }; // not here, or not allowed
  }
}

/**
 * Will a file of so many bytes run here?
 * @param {number} bytes @param {Device} here
 * @returns {{how: 'fits' | 'slow' | 'no', text: string}}
 */
export function verdict(bytes, { memory, room }) {
  const kept = bytes < room;
  if (bytes <= memory)
    return {
      how: 'fits',
      text: kept ? 'fits this device' : 'fits; storage has no room to keep it',
    };
  if (kept)
    return {
      how: 'slow',
      text: `larger than the ${megabytes(memory)} a page has here: slow, weights are read again`,
    };
  return { how: 'no', text: 'too large for this device' };
}
