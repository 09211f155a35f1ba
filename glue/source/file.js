// Files of Node, Deno and Bun.
import { HyperionError } from '../core/errors.js';
import { builtin } from '../core/host.js';

/** @typedef {import('../core/core.js').ByteSource} ByteSource */

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
  return {
    size,
    read(offset, count) {
      const out = new Uint8Array(count);
      let got = 0;
      while (got < count) {
        const n = fs.readSync(file, out, got, count - got, offset + got);
        if (n === 0) break;
        got += n;
      }
      // After the bytes, so that they are of before. Another file under the same name is not this
      // one, which stays as it was.
      const now = fs.fstatSync(file, { bigint: true });
      if (now.size !== first.size || now.mtimeNs !== first.mtimeNs)
        throw new Error(`${name} has changed since it was opened: open the model anew`);
      if (got < count) throw new Error(`the file ended after ${offset + got} bytes`);
      return out;
    },
    close: () => fs.closeSync(file),
  };
}
