// manifest: the hashes by which a model is held against what it should be; its encryption. As
// native/cli/manifest.c, which does not encrypt.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { HyperionError } from '../core/errors.js';
import { ofFile } from '../source/file.js';
import { hasher, hex, isHash, sha256 } from '../source/hash.js';
import { CHUNK_BYTES, CIPHER, FORMAT, manifestText } from '../source/manifest.js';
import { CHUNKS_MOST } from '../source/store/journal.js';
import { resolve } from '../source/source.js';
import { cipherOf, fileKey } from '../source/verify.js';
import { writeOut } from './output.js';
import { progressBar } from './progress.js';
import { line } from './terminal.js';

/** A key as a file has it: 32 bytes, or their digits. @param {string} path @returns {Uint8Array} */
export function readKey(path) {
  let bytes;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    const why = /** @type {Error} */ (cause).message;
    throw new HyperionError('HYP_E_IO', `can not read the key ${path}: ${why}`, { cause });
  }
  const digits = bytes.length <= 66 ? bytes.toString('latin1').trim().toLowerCase() : '';
  if (isHash(digits)) return Uint8Array.from(Buffer.from(digits, 'hex'));
  if (bytes.length === 32) return Uint8Array.from(bytes);
  throw new HyperionError(
    'HYP_E_ARGUMENT',
    `${path} is no key: 32 bytes or 64 digits in hex are; 'head -c 32 /dev/urandom > ${path}' makes one`,
  );
}

/**
 * Hands over each chunk of a file.
 * @param {any} o
 * @param {import('../source/source.js').ByteSource} source
 * @param {number} chunkBytes
 * @param {(bytes: Uint8Array, index: number) => Promise<void>} act
 */
async function eachChunk(o, source, chunkBytes, act) {
  for (let index = 0, at = 0; at < source.size; index++) {
    const count = Math.min(chunkBytes, source.size - at);
    await act(await source.read(at, count), index);
    at += count;
    if (!o.quiet && !o.json)
      progressBar({
        what: o.encrypt === undefined ? 'hashing' : 'encrypting',
        done: at,
        total: source.size,
        bytes: true,
      });
  }
}

/** @param {any} o @param {string[]} args */
export async function manifest(o, [path]) {
  if (o.encrypt === undefined && (o.keyFile !== undefined || o.keyId !== undefined))
    throw new HyperionError('HYP_E_ARGUMENT', 'a key is for --encrypt FILE, which is missing');
  if (o.encrypt !== undefined && o.keyFile === undefined)
    throw new HyperionError('HYP_E_ARGUMENT', '--encrypt needs a key: --key-file FILE');
  const key = o.encrypt === undefined ? null : readKey(o.keyFile);
  const source = await ofFile(resolve(path));
  if (!source.size) throw new HyperionError('HYP_E_FORMAT', `${path} is empty`);
  let chunkBytes = o.chunk ?? CHUNK_BYTES;
  while (Math.ceil(source.size / chunkBytes) > CHUNKS_MOST) chunkBytes *= 2;
  const file = { name: basename(path), size: source.size, chunkBytes };
  const whole = await hasher();
  /** @type {string[]} */
  const chunks = [];
  const add = async (/** @type {Uint8Array} */ bytes) => {
    whole.update(bytes);
    chunks.push(await sha256(bytes));
  };
  let encryption;
  if (key) {
    const salt = hex(crypto.getRandomValues(new Uint8Array(32)));
    const own = await fileKey(key, salt);
    encryption = { cipher: CIPHER, salt, keyId: o.keyId };
    await writeOut(o.encrypt, write =>
      eachChunk(o, source, chunkBytes, async (bytes, index) => {
        const plain = /** @type {any} */ (bytes);
        const sealed = await crypto.subtle.encrypt(cipherOf(file, index), own, plain);
        write(new Uint8Array(sealed));
        await add(new Uint8Array(sealed));
      }),
    );
  } else await eachChunk(o, source, chunkBytes, add);
  await source.close?.();
  const sum = whole.hex();
  const to = o.out ?? `${o.encrypt ?? path}.manifest.json`;
  const text = manifestText({
    format: FORMAT,
    version: 1,
    ...file,
    sha256: sum,
    chunks,
    encryption,
  });
  await writeOut(to, write => write(Buffer.from(text)));
  if (o.json)
    line(JSON.stringify({ manifest: to, chunks: chunks.length, chunkBytes, sha256: sum }));
  else if (!o.quiet)
    line(`${to}: ${chunks.length} chunk${chunks.length === 1 ? '' : 's'}, SHA-256 ${sum}`);
}
