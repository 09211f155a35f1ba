// Files of Node, Deno and Bun.
import { HyperionError } from '../core/errors.js';
import { builtin } from '../core/host.js';

/** @typedef {import('../core/core.js').ByteSource} ByteSource */

// What the system has in memory is there before it could be waited for. A disk is not: then the
// next reads leave this thread to compute.
const SLOW_MS = 1;
const BESIDE = 16; // reads, until it is looked at again

/** @param {URL} url @returns {Promise<ByteSource>} */
export async function ofFile(url) {
  const fs = builtin('node:fs');
  if (!fs) throw new HyperionError('HYP_E_IO', `can not open ${url}: this host has no files`);
  const name = decodeURIComponent(url.pathname);
  let file;
  try {
    // What is no file, a pipe that nobody writes to, must not block.
    file = fs.openSync(url, (fs.constants.O_RDONLY ?? 0) | (fs.constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    throw new HyperionError(
      'HYP_E_IO',
      `can not open ${name}: ${/** @type {Error} */ (cause).message}`,
      { cause },
    );
  }
  const first = fs.fstatSync(file, { bigint: true });
  if (!first.isFile()) {
    fs.closeSync(file);
    throw new HyperionError('HYP_E_IO', `can not open ${name}: not a regular file`);
  }
  const size = Number(first.size);
  // After the bytes, so that they are of before. Another file under the same name is not this
  // one, which stays as it was.
  const check = (/** @type {number} */ end, /** @type {boolean} */ short) => {
    const now = fs.fstatSync(file, { bigint: true });
    if (now.size !== first.size || now.mtimeNs !== first.mtimeNs)
      throw new Error(`${name} has changed since it was opened: open the model anew`);
    if (short) throw new Error(`the file ended after ${end} bytes`);
  };
  /**
   * @param {Uint8Array} out @param {number} got @param {number} offset
   * @returns {Promise<number>}
   */
  const some = (out, got, offset) =>
    new Promise((resolve, reject) =>
      fs.read(
        file,
        out,
        got,
        out.length - got,
        offset + got,
        (/** @type {Error | null} */ error, /** @type {number} */ count) =>
          error ? reject(error) : resolve(count),
      ),
    );
  let beside = 0; // reads that are left to do beside this thread's work
  /** @type {Set<Promise<unknown>>} */
  const underway = new Set();
  /** @param {number} offset @param {number} count */
  const readBeside = async (offset, count) => {
    const out = new Uint8Array(count);
    let got = 0;
    for (let more = 1; got < count && more; got += more) more = await some(out, got, offset);
    check(offset + got, got < count);
    return out;
  };
  /** @param {number} offset @param {Uint8Array} out */
  const readInto = (offset, out) => {
    if (beside > 0) return false;
    const start = performance.now();
    const count = out.length;
    let got = 0;
    while (got < count) {
      const n = fs.readSync(file, out, got, count - got, offset + got);
      if (n === 0) break;
      got += n;
    }
    check(offset + got, got < count);
    if (performance.now() - start > SLOW_MS) beside = BESIDE;
    return true;
  };
  return {
    size,
    readInto,
    read(offset, count) {
      if (beside > 0) {
        beside--;
        const reading = readBeside(offset, count);
        const done = reading.catch(() => {});
        underway.add(done);
        done.then(() => underway.delete(done));
        return reading;
      }
      const out = new Uint8Array(count);
      readInto(offset, out);
      return out;
    },
    async close() {
      await Promise.all(underway); // what has its number afterwards is another file
      fs.closeSync(file);
    },
  };
}
