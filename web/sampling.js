// How tokens are chosen. Kept in this browser.
import { $ } from './dom.js';
import { read, write } from './kept.js';

const NUMBERS = ['temperature', 'topP', 'minP', 'repeatPenalty', 'topK', 'maxTokens', 'seed'];
const FIELDS = [...NUMBERS, 'stopText', 'system'];

/**
 * Options of an answer.
 * @throws {Error} a field holds what it can not mean
 */
export function sampling() {
  for (const id of NUMBERS) {
    const field = $(id);
    if (field.checkValidity()) continue;
    $('sampling').open = true;
    field.focus();
    const name = field.labels[0].firstChild.textContent.trim();
    throw new Error(`${name}: ${field.validationMessage}`);
  }
  const number = (/** @type {string} */ id) =>
    $(id).value === '' ? undefined : Number($(id).value);
  return {
    temperature: number('temperature'),
    topP: number('topP'),
    minP: number('minP'),
    repeatPenalty: number('repeatPenalty'),
    topK: number('topK'),
    maxTokens: number('maxTokens') ?? 256,
    seed: number('seed'),
    stop: $('stopText').value ? [$('stopText').value] : [],
  };
}

/** What every chat begins with; '': nothing. @returns {string} */
export const systemPrompt = () => $('system').value.trim();

export function startSampling() {
  const kept = read('sampling', {});
  for (const id of FIELDS) if (typeof kept[id] === 'string') $(id).value = kept[id];
  for (const output of document.querySelectorAll('#sampling output')) {
    const input = $(/** @type {HTMLOutputElement} */ (output).htmlFor.value);
    const show = () =>
      /** @type {HTMLOutputElement} */ (
        output.value = Number(input.value).toFixed(2).replace(/0$/, '')
      );
    input.addEventListener('input', show);
    show();
  }
  $('sampling').addEventListener('change', () =>
    write('sampling', Object.fromEntries(FIELDS.map(id => [id, $(id).value]))),
  );
}
