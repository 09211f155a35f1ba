// Standard input, output and error.
import { writeSync } from 'node:fs';
import { say } from './output.js';

const BAR_MS = 50; // between two looks of a progress bar
let lastShown = 0;

/** @param {string} what @param {number} done @param {number} total */
export function progressBar(what, done, total) {
  const now = performance.now();
  if (!process.stderr.isTTY || (done < total && now - lastShown < BAR_MS)) return;
  lastShown = now;
  const share = total ? done / total : 1;
  writeSync(
    2,
    `\r${what} [${'#'.repeat(Math.floor(share * 32)).padEnd(32)}] ${String(Math.floor(share * 100)).padStart(3)}%${done === total ? '\r\x1b[K' : ''}`,
  );
}

/** @param {string} text */
export const line = text => say(`${text}\n`);

/** Figures beside an answer, on standard error. @param {string} text */
export const figures = text =>
  console.error(process.stderr.isTTY && !process.env.NO_COLOR ? `\x1b[2m${text}\x1b[0m` : text);

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
