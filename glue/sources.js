// Byte sources: what `open` accepts, made into exact ranges of bytes.
import { HyperionError } from './errors.js';

/**
 * @typedef {object} ByteSource
 * @property {number} size bytes in all
 * @property {(offset: number, count: number) => Uint8Array | Promise<Uint8Array>} read exactly `count` bytes
 * @property {() => void | Promise<void>} [close]
 */

/** @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView | ReadableStream<Uint8Array> | Response | ByteSource} Source */

/** @param {ArrayBuffer | ArrayBufferView} data @returns {ByteSource} */
function ofMemory(data) {
  const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { size: bytes.length, read: (offset, count) => bytes.subarray(offset, offset + count) };
}

/** @param {Blob} blob @returns {ByteSource} */
function ofBlob(blob) {
  return { size: blob.size, read: async (offset, count) => new Uint8Array(await blob.slice(offset, offset + count).arrayBuffer()) };
}

/**
 * A stream that is read once from front to back. What the reader may still come back for is kept: its last 4 MiB. What lies before is asked
 * for `again`, where that is possible.
 * @param {ReadableStream<Uint8Array>} stream @param {number} size @param {(offset: number, count: number) => Promise<Uint8Array>} [again] @returns {ByteSource}
 */
function ofStream(stream, size, again) {
  const KEPT = 4 << 20;
  const reader = stream.getReader();
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
        while (chunks.length > 1 && start + chunks[0].length <= Math.min(offset, end - KEPT)) start += /** @type {Uint8Array} */ (chunks.shift()).length;
      }
      if (offset < start) throw new Error('a stream can not be read backwards: give a file, a blob or a URL');
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
    close: () => reader.cancel().catch(() => {}),
  };
}

/** Part of what a URL leads to. @param {URL} url @param {number} offset @param {number} count @returns {Promise<Uint8Array>} */
async function fetchRange(url, offset, count) {
  const response = await fetch(url, { headers: { range: `bytes=${offset}-${offset + count - 1}` } });
  if (response.status !== 206) throw new Error(`${url.host} gives no parts of files (it answered ${response.status}): raise the memory limit, so that the model is read only once`);
  return new Uint8Array(await response.arrayBuffer());
}

/** @param {Response} response @param {string} name @param {(offset: number, count: number) => Promise<Uint8Array>} [again] */
async function ofResponse(response, name, again) {
  if (!response.ok) throw new HyperionError('HYP_E_IO', `${name} answered ${response.status} ${response.statusText}`.trim());
  const encoded = response.headers.get('content-encoding');
  const length = Number(response.headers.get('content-length'));
  // Without a size, or with one of the encoded bytes, the whole has to arrive first.
  if (!length || (encoded && encoded !== 'identity') || !response.body) return ofMemory(await response.arrayBuffer());
  return ofStream(response.body, length, again);
}

/** @param {URL} url @returns {Promise<ByteSource>} */
async function ofFile(url) {
  const fs = await import('node:fs');
  let file;
  try {
    // A pipe without a writer is to be refused, not waited for.
    file = fs.openSync(url, fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    throw new HyperionError('HYP_E_IO', `can not open ${decodeURIComponent(url.pathname)}: ${/** @type {Error} */ (cause).message}`, { cause });
  }
  const info = fs.fstatSync(file);
  if (!info.isFile()) {
    fs.closeSync(file);
    const path = decodeURIComponent(url.pathname);
    throw new HyperionError('HYP_E_IO', `can not open ${path}: not a regular file`);
  }
  const { size } = info;
  return {
    size,
    read(offset, count) {
      const out = new Uint8Array(count);
      let got = 0;
      while (got < count) {
        const n = fs.readSync(file, out, got, count - got, offset + got);
        if (n === 0) throw new Error(`the file ended after ${offset + got} bytes`);
        got += n;
      }
      return out;
    },
    close: () => fs.closeSync(file),
  };
}

/** Where a relative text leads: the page's address, or the working directory. @param {string | URL} place */
async function resolve(place) {
  if (place instanceof URL) return place;
  if (/^[a-z][a-z0-9+.-]+:/i.test(place)) return new URL(place);
  if (typeof location === 'object' && location?.href) return new URL(place, location.href);
  if (typeof process !== 'object') throw new HyperionError('HYP_E_ARGUMENT', `'${place}' is relative, and this host has no address to resolve it by`);
  const { pathToFileURL } = await import('node:url');
  return pathToFileURL(place);
}

/**
 * @param {Source} source
 * @param {AbortSignal} [signal]
 * @returns {Promise<ByteSource>}
 */
export async function openSource(source, signal) {
  if (typeof source === 'string' || source instanceof URL) {
    const url = await resolve(source);
    if (url.protocol === 'file:') return ofFile(url);
    let response;
    try {
      response = await fetch(url, { signal });
    } catch (cause) {
      if (/** @type {Error} */ (cause).name === 'AbortError') throw cause;
      throw new HyperionError('HYP_E_IO', `${url} could not be fetched: ${/** @type {Error} */ (cause).message}`, { cause });
    }
    return ofResponse(response, String(url), (offset, count) => fetchRange(url, offset, count));
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return ofMemory(source);
  if (typeof Blob === 'function' && source instanceof Blob) return ofBlob(source);
  if (typeof Response === 'function' && source instanceof Response) return ofResponse(source, source.url || 'the response');
  if (typeof ReadableStream === 'function' && source instanceof ReadableStream) return ofMemory(await new Response(source).arrayBuffer());
  const own = /** @type {ByteSource} */ (source);
  if (own && typeof own.read === 'function' && Number.isSafeInteger(own.size)) return own;
  throw new HyperionError('HYP_E_ARGUMENT', 'a model is a URL, a path, a Blob, an ArrayBuffer, a ReadableStream, a Response or {size, read}');
}

/**
 * The files of a split model when `source` names its first part (-00001-of-0000N.gguf); else just it.
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
