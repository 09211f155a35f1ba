// Byte sources: what `open` accepts, made into exact ranges of bytes.
import { refuse } from '../core/check.js';
import { HyperionError } from '../core/errors.js';
import { throwIfAborted } from '../core/signal.js';
import { ofBucket } from './bucket.js';
import { chunked } from './chunks.js';
import { ofFile } from './file.js';
import { fileOfPage, isOnHub, ofHub, onHub } from './hub.js';
import { cachedOf, layersOf, lazily, verifierFor } from './layers.js';
import { TEXT_MOST } from './manifest.js';
import { ofBlob, ofHandle, ofMemory, ofPrivateFile, transportOf } from './memory.js';
import { HASTY, isUnreachable, paceOf } from './retry.js';
import { shardsOf } from './shards.js';
import { closing, isInBucket, resolve, unreadable } from './source.js';
import { ofResponse, ofWholeStream } from './stream.js';
import { checkResponse, ofUrl } from './url.js';

export { shardsOf };

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./source.js').Source} Source */
/** @typedef {import('./source.js').SourceOptions} SourceOptions */
/** @typedef {import('./source.js').Transport} Transport */

const WINDOW_BYTES = 32 << 20;
const WINDOW_LEAST = 4 << 20;
const FIRST_BYTES = 4 << 20; // that are asked for with the opening

/** Has this host as little memory as an edge isolate? */
const isSmall = () => globalThis.navigator?.userAgent === 'Cloudflare-Workers';

/**
 * The files of a model, each to be closed by whoever has opened them.
 * @param {Source | Source[]} source one, or the parts of one that is split
 * @param {SourceOptions} [options]
 * @returns {Promise<(ByteSource & {close: () => Promise<void>})[]>}
 */
export async function openSources(source, options = {}) {
  const { signal, limitRate } = options;
  throwIfAborted(signal);
  const files = Array.isArray(source)
    ? shardsOf(source)
    : isOnHub(source)
      ? await onHub(String(source), keptFromHub(options))
      : shardsOf(source);
  if (files.length > 1 && options.manifest && options.manifest !== true)
    refuse('a model in several files has a manifest beside each of them: `manifest: true`');
  const pace = limitRate ? paceOf(limitRate) : undefined;
  const window = isSmall() ? 1 : Math.floor(WINDOW_BYTES / files.length);
  const how = { window: options.window ?? Math.max(WINDOW_LEAST, window), pace };
  /** @type {(ByteSource & {close: () => Promise<void>})[]} */
  const opened = [];
  try {
    for (const file of files) {
      // Of the others what comes with the opening would only wait.
      const first = opened.length ? 1 : Math.min(FIRST_BYTES, how.window >> 1);
      opened.push(await openFile(file, { first, ...options }, how));
      throwIfAborted(signal);
    }
    return opened;
  } catch (error) {
    await Promise.all(opened.map(one => one.close()));
    throwIfAborted(signal);
    throw error;
  }
}

/** What a hub gives is kept when nothing else is said. @param {SourceOptions} options */
const keptFromHub = options => ({ ...options, fileCache: options.fileCache ?? true });

/**
 * One file.
 * @param {Source} source
 * @param {SourceOptions} [options]
 * @returns {Promise<ByteSource & {close: () => Promise<void>}>}
 */
export async function openSource(source, options) {
  const [opened] = await openSources([source], options);
  return opened;
}

/**
 * @param {Source | import('./hub.js').OnHub} source
 * @param {SourceOptions} given
 * @param {import('./chunks.js').Layers & {window: number}} how
 */
async function openFile(source, given, how) {
  if (isOnHub(source)) [source] = await onHub(String(source), keptFromHub(given));
  const name = addressOf(source, given);
  const options = { ...given, fileCache: given.fileCache ?? name.startsWith('hf:') };
  const cached = await cachedOf(name, options);
  const whole = cached?.complete ? cached.head : null;
  const fetched = () => manifestBeside(source, whole ? { ...options, ...HASTY } : options);
  const verify = await verifierFor(
    options,
    name || nameOf(source),
    fetched,
    cached?.manifest ?? '',
  );
  // What comes with the opening would be thrown away.
  const asked = cached?.begun ? { ...options, first: 1 } : options;
  const opened = await openOrCached(source, asked, whole, verify?.head.version);
  const transport = 'feed' in opened ? opened : verify ? transportOf(opened, nameOf(source)) : null;
  if (!transport) return closing(/** @type {ByteSource} */ (opened));
  try {
    const layers = await layersOf(transport, verify, options, how.window);
    return closing(chunked(transport, { ...how, ...layers }));
  } catch (error) {
    await transport.close?.();
    throw error;
  }
}

/**
 * The server's file; or the cache's, where it is whole, and is known to be the same or nobody is
 * there to be asked.
 * @param {Source | import('./hub.js').OnHub} source
 * @param {SourceOptions} options
 * @param {import('./store/journal.js').Head | null} whole in the cache
 * @param {string} [known] the version that is wanted
 */
async function openOrCached(source, options, whole, known = versionOf(source)) {
  if (!whole) return ofAny(source, options);
  const kept = () => lazily(whole, () => ofAny(source, { ...options, first: 1 }));
  if (known === whole.version) return kept();
  try {
    return await ofAny(source, { ...options, ...HASTY, first: 1 });
  } catch (error) {
    if (isUnreachable(error)) return kept();
    throw error;
  }
}

/** What a hub has told. @param {any} source @returns {string | undefined} */
const versionOf = source => (source?.place ? source.version : undefined);

/**
 * The name by which a cache has a file; '': it has none that leads to it again.
 * @param {any} source @param {SourceOptions} options
 */
function addressOf(source, options) {
  if (source?.place) return source.name;
  if (typeof source !== 'string' && !(source instanceof URL)) return '';
  const url = fileOfPage(new URL(resolve(source)), options);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return '';
  url.username = url.password = '';
  return url.href;
}

/**
 * The text of a file's manifest: beside the file, or where the option says.
 * @param {any} source @param {SourceOptions} options
 */
async function manifestBeside(source, options) {
  const { manifest } = options;
  const beside = '.manifest.json';
  let place = /** @type {any} */ (manifest);
  if (manifest === true) {
    if (source?.place) {
      const address = new URL(source.place);
      address.pathname += beside;
      const name = `${source.name}${beside}`;
      place = { ...source, place: address, name, version: '', sha256: undefined };
    } else if (isInBucket(source)) place = { ...source, key: source.key + beside };
    else if (typeof source === 'string' || source instanceof URL) {
      place = fileOfPage(new URL(resolve(source)), options);
      place.pathname += beside;
    } else refuse('only a file with an address has a manifest beside it: give the manifest itself');
  }
  const plain = {
    ...options,
    manifest: undefined,
    key: undefined,
    fileCache: false,
    onStore: undefined,
  };
  const file = await openFile(place, plain, { window: WINDOW_LEAST });
  try {
    if (file.size > TEXT_MOST) throw unreadable(`${nameOf(place)} is too long for a manifest`);
    return new TextDecoder().decode(await file.read(0, file.size));
  } finally {
    await file.close();
  }
}

/** @param {any} source */
const nameOf = source =>
  String(typeof source === 'string' ? source : (source?.name ?? source?.href ?? 'the file'));

/**
 * @param {Source | import('./hub.js').OnHub} source
 * @param {SourceOptions} options
 * @returns {Promise<ByteSource | Transport>} a source: one that needs no chunks
 */
async function ofAny(source, options) {
  const { signal } = options;
  if (typeof source === 'string' || source instanceof URL) {
    const url = resolve(source);
    if (url.protocol === 'file:') return ofFile(url);
    if (url.protocol === 'opfs:') return ofPrivateFile(decodeURIComponent(url.pathname));
    return ofUrl(fileOfPage(url, options), options);
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return ofMemory(source);
  if (typeof Blob === 'function' && source instanceof Blob) return ofBlob(source);
  if (typeof Response === 'function' && source instanceof Response) {
    const name = source.url || 'the response';
    checkResponse(source, name);
    return ofResponse(source, name, signal);
  }
  if (typeof ReadableStream === 'function' && source instanceof ReadableStream)
    return ofWholeStream(source, signal);
  if (isInBucket(source)) return ofBucket(source, options);
  if (/** @type {any} */ (source)?.place) return ofHub(/** @type {any} */ (source), options);
  if (typeof (/** @type {any} */ (source)?.getFile) === 'function')
    return ofHandle(/** @type {any} */ (source));
  const own = /** @type {ByteSource} */ (source);
  if (own && typeof own.read === 'function' && Number.isSafeInteger(own.size) && own.size >= 0)
    return own;
  throw new HyperionError(
    'HYP_E_ARGUMENT',
    'a model is a URL, a path, an hf: name, a Blob, an ArrayBuffer, a ReadableStream, a Response, a FileSystemFileHandle, {bucket, key} or {size, read}',
  );
}
