// What the command line writes: standard output, and files whose name appears only when they are
// whole. A file then takes the place of what was there in one step: a reader sees the old one or
// the new one, never a part. So an output may be one of the inputs, also through links, and of two
// writers of one name the last one wins. As native/cli/output.c.
//
// The bytes go into a temporary file of an own name in the same folder (.hyperion-PID-N.partial),
// which failures and signals remove. A device or a pipe is written to directly.
import fs from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { clearBar } from './progress.js';

const LINKS_MOST = 40;
const NAMES_MOST = 10000;
const FULL_PIPE_MS = 5;

let partial = ''; // the temporary file; '': none

/**
 * Writes all of it: one call may take only a part (a disk that is nearly full, a pipe).
 * @param {number} file @param {Uint8Array} bytes
 */
function writeAll(file, bytes) {
  for (let at = 0; at < bytes.length;) {
    try {
      const taken = fs.writeSync(file, bytes, at, bytes.length - at);
      if (taken === 0) throw new Error('nothing more is taken');
      at += taken;
    } catch (error) {
      if (/** @type {any} */ (error).code !== 'EAGAIN') throw error;
      // a pipe that is full, and whose other end has asked for writers that do not wait
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_MS);
    }
  }
}

class NotWritten extends Error {}

/** @template T @param {string} what it writes @param {() => T} step @returns {T} */
function writing(what, step) {
  try {
    return step();
  } catch (cause) {
    throw new NotWritten(`can not write ${what}: ${/** @type {Error} */ (cause).message}`, {
      cause,
    });
  }
}

/** To standard output. A reader that has gone is none of our business. @param {string} text */
export function say(text) {
  if (process.stdout.isTTY) clearBar();
  writing('to standard output', () => {
    try {
      writeAll(1, Buffer.from(text));
    } catch (error) {
      if (/** @type {any} */ (error).code === 'EPIPE') process.exit(0);
      throw error;
    }
  });
}

function discard() {
  if (partial) fs.rmSync(partial, { force: true });
  partial = '';
}

/** @param {NodeJS.Signals} signal */
function onSignal(signal) {
  discard();
  clearBar();
  if (signal === 'SIGINT') {
    if (process.stdout.isTTY) process.stdout.write('\n'); // the shell goes on in a line of its own
    process.exit(130);
  }
  process.off(signal, onSignal);
  process.kill(process.pid, signal); // to die of it: a shell sees 128 + its number
}

/** From now on SIGINT ends the process with 130. What is half written goes with it. */
export function endOnInterrupt() {
  process.on('SIGINT', onSignal);
}

/**
 * Runs what may block the thread for as long as somebody else likes (a pipe). No handler would be
 * called meanwhile: the signal itself ends the process.
 * @template T @param {() => Promise<T> | T} act @returns {Promise<T>}
 */
export async function blocking(act) {
  process.off('SIGINT', onSignal);
  try {
    return await act();
  } finally {
    process.on('SIGINT', onSignal);
  }
}

/** Where links of a path's last part lead, also to where nothing is yet. @param {string} path */
function follow(path) {
  if (!path || path.endsWith('/')) throw new Error('that is no name of a file');
  for (let i = 0; i < LINKS_MOST; i++) {
    let target;
    try {
      target = fs.readlinkSync(path);
    } catch {
      return path; // no link
    }
    // Put together as it is: what .. means depends on links, and is the system's to say.
    path = isAbsolute(target) ? target : `${dirname(path)}/${target}`;
  }
  throw new Error('too many links');
}

/**
 * Creates the temporary file: never one that is there already, whosesoever it is.
 * @param {string} folder @param {number} mode
 */
function createPartial(folder, mode) {
  for (let i = 0; ; i++) {
    const name = `${folder}/.hyperion-${process.pid}-${i}.partial`;
    try {
      const file = fs.openSync(name, 'wx', mode);
      partial = name;
      return file;
    } catch (error) {
      if (/** @type {any} */ (error).code !== 'EEXIST' || i === NAMES_MOST) throw error;
    }
  }
}

/**
 * A new file beside the one that it will replace.
 * @param {string} target @param {fs.Stats | undefined} there
 */
function begin(target, there) {
  const file = createPartial(dirname(target), there ? 0o600 : 0o666);
  if (there) {
    try {
      fs.fchmodSync(file, there.mode & 0o777);
    } catch {} // not every file system has them
  }
  return file;
}

/** @typedef {(write: (data: Uint8Array) => void) => Promise<void> | void} Act */

/**
 * Writes by `act` into an open file, and closes it.
 * @param {string} path @param {number} file @param {Act} act @param {boolean} lasting
 */
async function fill(path, file, act, lasting) {
  let bytes = 0;
  try {
    await act(data => {
      writing(path, () => writeAll(file, data));
      bytes += data.length;
    });
    if (lasting) writing(path, () => fs.fsyncSync(file));
  } finally {
    writing(path, () => fs.closeSync(file));
  }
  return bytes;
}

/** @param {string} path @param {fs.Stats | undefined} there @param {Act} act */
async function replace(path, there, act) {
  const ends = /** @type {NodeJS.Signals[]} */ (['SIGTERM', 'SIGHUP']);
  for (const signal of ends) process.on(signal, onSignal);
  try {
    const target = writing(path, () => follow(path));
    const file = writing(path, () => begin(target, there));
    const bytes = await fill(path, file, act, true);
    writing(path, () => fs.renameSync(partial, target));
    partial = '';
    return bytes;
  } finally {
    discard();
    for (const signal of ends) process.off(signal, onSignal);
  }
}

/**
 * Writes a file by `act`; gives the count of its bytes. It gets the permissions of the one that it
 * replaces, else those of umask.
 * @param {string} path @param {Act} act @returns {Promise<number>}
 */
export async function writeOut(path, act) {
  const there = writing(path, () => fs.statSync(path, { throwIfNoEntry: false }));
  const directly = () => {
    const file = writing(path, () => fs.openSync(path, fs.constants.O_WRONLY));
    return fill(path, file, act, false);
  };
  try {
    return await (there && !there.isFile() ? blocking(directly) : replace(path, there, act));
  } catch (error) {
    const { cause } = /** @type {any} */ (error);
    // the engine knows only that something could not be written
    throw cause instanceof NotWritten ? cause : error;
  }
}
