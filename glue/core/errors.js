/**
 * What every failing call throws: `code` is the C core's status ("HYP_E_NOMEM") or "HYP_E_HOST" for
 * a failure outside it.
 */
export class HyperionError extends Error {
  /**
   * @param {string} code
   * @param {string} message what went wrong and what to do
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = 'HyperionError';
    this.code = code;
  }
}
