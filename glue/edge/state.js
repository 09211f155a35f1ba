// An answer that goes on in another request, perhaps on another host: the session's own state, and
// a line of JSON before it that says what of the request is left.
import { problem } from './http.js';

/**
 * Where states are kept: a namespace of KV, a bucket or a Map behind three functions.
 * @typedef {object} States
 * @property {(id: string) => Promise<any> | any} get bytes, or null or undefined
 * @property {(id: string, bytes: Uint8Array, options: {ttl: number}) => unknown} put ttl: seconds
 * @property {(id: string) => unknown} delete
 */
/**
 * @typedef {object} Left
 * @property {'chat' | 'text'} kind of completion
 * @property {string} id of the answer, the same in each of its requests
 * @property {number} created
 * @property {number} tokens still asked for; 0: as many as the next request asks for
 */

const VERSION = 1;
const HEAD_MOST = 1024;
const AT_ONCE = 0x8000;

/** @param {Left} left @param {Uint8Array} state @returns {Uint8Array} */
export function packed(left, state) {
  const head = new TextEncoder().encode(`${JSON.stringify({ version: VERSION, ...left })}\n`);
  const bytes = new Uint8Array(head.length + state.length);
  bytes.set(head);
  bytes.set(state, head.length);
  return bytes;
}

/** @param {string} why @returns {never} */
function wrong(why) {
  throw problem(400, 'invalid_state', `this is no state of an answer: ${why}`, 'resume');
}

/** @param {Uint8Array} bytes @returns {{left: Left, state: Uint8Array}} */
export function unpacked(bytes) {
  const end = bytes.subarray(0, HEAD_MOST).indexOf(10);
  if (end < 0) wrong('it has no head');
  let head;
  try {
    head = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  } catch {
    wrong('its head is no JSON');
  }
  const { version, kind, id, created, tokens } = head ?? {};
  if (version !== VERSION) wrong(`its version is not ${VERSION}`);
  if (kind !== 'chat' && kind !== 'text') wrong('its kind is not known');
  if (typeof id !== 'string' || !Number.isSafeInteger(created)) wrong('its head is not whole');
  if (!Number.isSafeInteger(tokens) || tokens < 0) wrong('its head is not whole');
  return { left: { kind, id, created, tokens }, state: bytes.subarray(end + 1) };
}

/** @param {Uint8Array} bytes */
export function base64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += AT_ONCE)
    text += String.fromCharCode(...bytes.subarray(at, at + AT_ONCE));
  return btoa(text);
}

/** @param {string} text @returns {Uint8Array} */
export function ofBase64(text) {
  let binary = '';
  try {
    binary = atob(text);
  } catch {
    wrong('it is not base64');
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
