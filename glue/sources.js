// Byte sources: what `open` accepts, made into exact ranges of bytes.
import { HyperionError } from './errors.js';
import { cancelled, throwIfAborted } from './options.js';

/**
 * @typedef {object} ByteSource
 * @property {number} size bytes in all
 * @property {(offset: number, count: number) => Uint8Array | Promise<Uint8Array>} read exactly
 *   `count` bytes
 * @property {() => void | Promise<void>} [close]
 */

/**
 * @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView | ReadableStream<Uint8Array> |
 *   Response | ByteSource} Source
 */

/** @param {ArrayBuffer | ArrayBufferView} data @returns {ByteSource} */
function ofMemory(data) {
  const bytes =
    data instanceof ArrayBuffer
      ? new Uint8Array(data)
      : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { size: bytes.length, read: (offset, count) => bytes.subarray(offset, offset + count) };
}

/** @param {Blob} blob @returns {ByteSource} */
function ofBlob(blob) {
  return {
    size: blob.size,
    read: async (offset, count) =>
      new Uint8Array(await blob.slice(offset, offset + count).arrayBuffer()),
  };
}

/** @param {ReadableStream<Uint8Array>} stream */
function readerOf(stream) {
  if (stream.locked)
    throw new HyperionError(
      'HYP_E_ARGUMENT',
      'this stream is being read already: a stream can be given once',
    );
  return stream.getReader();
}

/**
 * The whole of a stream, or as much as there is when the signal comes.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {AbortSignal} [signal]
 * @returns {Promise<ByteSource>}
 */
async function ofWholeStream(stream, signal) {
  const reader = readerOf(stream);
  const stop = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener('abort', stop);
  if (signal?.aborted) stop();
  try {
    /** @type {any[]} */
    const parts = [];
    for (;;) {
      const { value, done } = await reader.read();
      if (signal?.aborted) throw cancelled(signal);
      if (done) break;
      parts.push(value);
    }
    return ofMemory(await new Blob(parts).arrayBuffer());
  } catch (cause) {
    if (signal?.aborted) throw cancelled(signal);
    throw new HyperionError(
      'HYP_E_IO',
      `the stream could not be read: ${/** @type {Error} */ (cause)?.message ?? cause}`,
      { cause },
    );
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * A stream that is read once from front to back. What the reader may still come back for is kept:
 * its last 4 MiB. What lies before is asked for `again`, where that is possible.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {number} size
 * @param {(offset: number, count: number) => Promise<Uint8Array>} [again]
 * @returns {ByteSource}
 */
function ofStream(stream, size, again) {
  const KEPT = 4 << 20;
  const reader = readerOf(stream);
  /** @type {Uint8Array[]} */
  let chunks = [];
  let start = 0; // offset of the first chunk
  let end = 0;
  return {
    size,
    async read(offset, count) {
      if (offset < start && again) return again(offset, count);
      while (end < offset + count) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the stream ended after ${end} of ${size} bytes`);
        chunks.push(value);
        end += value.length;
        while (chunks.length > 1 && start + chunks[0].length <= Math.min(offset, end - KEPT))
          start += /** @type {Uint8Array} */ (chunks.shift()).length;
      }
      if (offset < start)
        throw new Error('a stream can not be read backwards: give a file, a blob or a URL');
      const out = new Uint8Array(count);
      let at = start;
      for (const chunk of chunks) {
        const from = Math.max(offset, at);
        const to = Math.min(offset + count, at + chunk.length);
        if (from < to) out.set(chunk.subarray(from - at, to - at), from - offset);
        at += chunk.length;
      }
      return out;
    },
    close: () => void reader.cancel().catch(() => {}), // nobody waits for a stream that may never answer
  };
}

/**
 * Part of what a URL leads to.
 * @param {URL} url
 * @param {number} offset
 * @param {number} count
 * @returns {Promise<Uint8Array>}
 */
async function fetchRange(url, offset, count) {
  const response = await fetch(url, {
    headers: { range: `bytes=${offset}-${offset + count - 1}` },
  });
  if (response.status !== 206)
    throw new Error(
      `${url.host} gives no parts of files (it answered ${response.status}): raise the memory limit, so that the model is read only once`,
    );
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * @param {Response} response @param {string} name @param {AbortSignal} [signal]
 * @param {(offset: number, count: number) => Promise<Uint8Array>} [again]
 */
async function ofResponse(response, name, signal, again) {
  if (!response.ok)
    throw new HyperionError(
      'HYP_E_IO',
      `${name} answered ${response.status} ${response.statusText}`.trim(),
    );
  const encoded = response.headers.get('content-encoding');
  const length = Number(response.headers.get('content-length'));
  // Without a size, or with one of the encoded bytes, the whole has to arrive first.
  if (!response.body) return ofMemory(await response.arrayBuffer());
  if (!length || (encoded && encoded !== 'identity')) return ofWholeStream(response.body, signal);
  return ofStream(response.body, length, again);
}

/** @param {URL} url @returns {Promise<ByteSource>} */
async function ofFile(url) {
  const fs = await import('node:fs');
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

/**
 * A source that is closed once, and asked for nothing after that: what its descriptor names by then
 * may be another's file.
 * @param {ByteSource} source @returns {ByteSource}
 */
function closing(source) {
  let open = true;
  return {
    size: source.size,
    read(offset, count) {
      if (!open) throw new Error('the source has been closed: open the model anew');
      return source.read(offset, count);
    },
    close() {
      if (!open) return;
      open = false;
      return source.close?.();
    },
  };
}

/**
 * Where a relative text leads: the page's address, or the working directory.
 * @param {string | URL} place
 */
async function resolve(place) {
  if (place instanceof URL) return place;
  if (/^[a-z][a-z0-9+.-]+:/i.test(place)) return new URL(place);
  if (typeof location === 'object' && location?.href) return new URL(place, location.href);
  if (typeof process !== 'object')
    throw new HyperionError(
      'HYP_E_ARGUMENT',
      `'${place}' is relative, and this host has no address to resolve it by`,
    );
  const { pathToFileURL } = await import('node:url');
  return pathToFileURL(place);
}

/**
 * @param {Source} source
 * @param {AbortSignal} [signal]
 * @returns {Promise<ByteSource>}
 */
export async function openSource(source, signal) {
  throwIfAborted(signal);
  return closing(await rangesOf(source, signal));
}

/** @param {Source} source @param {AbortSignal} [signal] @returns {Promise<ByteSource>} */
async function rangesOf(source, signal) {
  if (typeof source === 'string' || source instanceof URL) {
    const url = await resolve(source);
    if (url.protocol === 'file:') return ofFile(url);
    let response;
    try {
      response = await fetch(url, { signal });
    } catch (cause) {
      if (signal?.aborted) throw cancelled(signal);
      throw new HyperionError(
        'HYP_E_IO',
        `${url} could not be fetched: ${/** @type {Error} */ (cause).message}`,
        { cause },
      );
    }
    return ofResponse(response, String(url), signal, (offset, count) =>
      fetchRange(url, offset, count),
    );
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return ofMemory(source);
  if (typeof Blob === 'function' && source instanceof Blob) return ofBlob(source);
  if (typeof Response === 'function' && source instanceof Response)
    return ofResponse(source, source.url || 'the response', signal);
  if (typeof ReadableStream === 'function' && source instanceof ReadableStream)
    return ofWholeStream(source, signal);
  const own = /** @type {ByteSource} */ (source);
  if (own && typeof own.read === 'function' && Number.isSafeInteger(own.size) && own.size >= 0)
    return own;
  throw new HyperionError(
    'HYP_E_ARGUMENT',
    'a model is a URL, a path, a Blob, an ArrayBuffer, a ReadableStream, a Response or {size, read}',
  );
}

/**
 * The files of a split model when `source` names its first part (-00001-of-0000N.gguf); else just
 * it.
 * @param {Source | Source[]} source @returns {Source[]}
 */
export function shardsOf(source) {
  if (Array.isArray(source)) return source;
  const name = source instanceof URL ? source.href : source;
  const match = typeof name === 'string' && /^(.*)-00001-of-(\d{5})\.gguf$/.exec(name);
  if (!match) return [source];
  return Array.from({ length: Number(match[2]) }, (_, i) => {
    const part = `${match[1]}-${String(i + 1).padStart(5, '0')}-of-${match[2]}.gguf`;
    return source instanceof URL ? new URL(part) : part;
  });
}
