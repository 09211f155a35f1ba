import { Template } from '@huggingface/jinja';
import { HyperionError } from './errors.js';

/** @typedef {{role: string, content: string}} Message */

/**
 * Renders a conversation with a model's own chat template.
 * @param {string | undefined} template
 * @param {Message[]} messages
 * @param {{bosToken?: string, eosToken?: string, variables?: Record<string, unknown>}} [options]
 * @returns {string} the text that the model continues
 */
export function renderChat(template, messages, { bosToken = '', eosToken = '', variables = {} } = {}) {
  if (!template) throw new HyperionError('HYP_E_UNSUPPORTED', 'this model has no chat template: use generate with a prompt of your own');
  try {
    return new Template(template).render({
      messages,
      add_generation_prompt: true,
      bos_token: bosToken,
      eos_token: eosToken,
      raise_exception(/** @type {string} */ message) {
        throw new Error(message);
      },
      strftime_now: (/** @type {string} */ format) => strftime(format, new Date()),
      ...variables,
    });
  } catch (cause) {
    throw new HyperionError('HYP_E_ARGUMENT', `the model's chat template refuses this conversation: ${/** @type {Error} */ (cause).message}`, { cause });
  }
}

/** The fields that chat templates ask for. @param {string} format @param {Date} date */
function strftime(format, date) {
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  /** @type {Record<string, string>} */
  const fields = {
    Y: String(date.getFullYear()), m: two(date.getMonth() + 1), d: two(date.getDate()), H: two(date.getHours()), M: two(date.getMinutes()), S: two(date.getSeconds()),
    b: date.toLocaleString('en', { month: 'short' }), B: date.toLocaleString('en', { month: 'long' }), A: date.toLocaleString('en', { weekday: 'long' }), a: date.toLocaleString('en', { weekday: 'short' }),
  };
  return format.replace(/%([A-Za-z])/g, (all, letter) => fields[letter] ?? all);
}
