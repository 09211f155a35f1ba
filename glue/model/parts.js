// What an entry of the package brings to the rest of it.

/**
 * @typedef {object} Parts
 * @property {(() => typeof import('./chat.js') | Promise<typeof import('./chat.js')>) | null} chat
 *   templates, for an engine in this thread
 * @property {(() => Worker) | null} newWorker an engine's worker with the same parts
 * @property {typeof import('./openai.js').openaiOf | null} openai none in a worker, where nobody
 *   asks for it
 */

/** @type {Parts} */
export const parts = { chat: null, newWorker: null, openai: null };
