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
      ...variables,
    });
  } catch (cause) {
    throw new HyperionError('HYP_E_ARGUMENT', `the model's chat template refuses this conversation: ${/** @type {Error} */ (cause).message}`, { cause });
  }
}
