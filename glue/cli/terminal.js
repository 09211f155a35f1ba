// Standard input, output and error.
import { say } from './output.js';
import { clearBar } from './progress.js';

/** @param {string} text */
export const line = text => say(`${text}\n`);

/** Figures beside an answer, on standard error. @param {string} text */
export function figures(text) {
  clearBar();
  console.error(process.stderr.isTTY && !process.env.NO_COLOR ? `\x1b[2m${text}\x1b[0m` : text);
}

/** All of standard input. @returns {Promise<string>} */
export async function readInput() {
  const parts = [];
  for await (const part of process.stdin) parts.push(part);
  return Buffer.concat(parts).toString();
}

/**
 * The argument itself, or standard input for '-' and where nothing is given and something is piped
 * in.
 * @param {string | undefined} argument
 */
export async function textArgument(argument) {
  if (argument !== undefined && argument !== '-') return argument;
  return argument === '-' || !process.stdin.isTTY ? readInput() : '';
}
