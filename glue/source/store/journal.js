// What a cache knows of a file: a journal, which only grows. Lines that are appended at once by
// several processes lie beside one another; what breaks off, or says nothing, is passed over.
//
//   {"name":…,"version":…,"size":…,"chunkBytes":…}   the first such line counts
//   INDEX SHA256    the chunk is there, by this hash
//   INDEX -         it was damaged, or is gone
//   whole SHA256    the whole has been found to have this hash
//   pin, unpin
import { isHash } from '../hash.js';

export const SIZE_MOST = 2 ** 46;
export const CHUNK_MOST = 2 ** 26;
export const CHUNKS_MOST = 2 ** 18;
const NAME_MOST = 4096;
const VERSION_MOST = 1024;

/**
 * @typedef {object} Head
 * @property {string} name
 * @property {string} version
 * @property {number} size bytes of all chunks, as they are kept
 * @property {number} chunkBytes of a chunk, as it is kept; the last may be shorter
 * @property {string} [manifest] the hash by which the file's manifest is kept
 * @property {boolean} [sealed] the chunks are encrypted
 */
/**
 * @typedef {object} Journal
 * @property {Head | null} head null: it has none yet
 * @property {Map<number, string>} chunks hashes by index
 * @property {string} whole the hash that the whole was found to have; '': not known
 * @property {boolean} pinned
 * @property {boolean} torn its end is no end of a line
 */

/** @param {unknown} value @param {number} most */
const isCount = (value, most) =>
  Number.isSafeInteger(value) && Number(value) >= 1 && Number(value) <= most;

/** @param {{size: number, chunkBytes: number}} file */
export const chunksOf = ({ size, chunkBytes }) => Math.ceil(size / chunkBytes);

/** Bytes of a chunk. @param {{size: number, chunkBytes: number}} file @param {number} index */
export const bytesOf = ({ size, chunkBytes }, index) =>
  Math.min(chunkBytes, size - index * chunkBytes);

/** @param {string} line @returns {Head | null} */
function readHead(line) {
  let value;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  const { name, version, size, chunkBytes, manifest, sealed } = value;
  const is =
    typeof name === 'string' &&
    name.length <= NAME_MOST &&
    typeof version === 'string' &&
    version.length <= VERSION_MOST &&
    isCount(size, SIZE_MOST) &&
    isCount(chunkBytes, CHUNK_MOST) &&
    chunksOf(value) <= CHUNKS_MOST &&
    (manifest === undefined || isHash(manifest)) &&
    (sealed === undefined || sealed === true);
  if (!is) return null;
  return {
    name,
    version,
    size,
    chunkBytes,
    ...(manifest && { manifest }),
    ...(sealed && { sealed }),
  };
}

/** @param {string} text @returns {Journal} */
export function readJournal(text) {
  const lines = text.split('\n');
  const torn = lines.pop() !== '';
  /** @type {Journal} */
  const journal = { head: null, chunks: new Map(), whole: '', pinned: false, torn };
  for (const line of lines) {
    if (line === 'pin' || line === 'unpin') journal.pinned = line === 'pin';
    else if (line.startsWith('{')) journal.head ??= readHead(line);
    else readEntry(journal, line);
  }
  return journal;
}

/** @param {Journal} journal @param {string} line */
function readEntry(journal, line) {
  const match = /^(whole|\d{1,6}) (-|[0-9a-f]{64})$/.exec(line);
  if (!match || !journal.head) return;
  const [, what, hash] = match;
  const index = Number(what);
  if (what === 'whole') journal.whole = hash === '-' ? '' : hash;
  else if (index >= chunksOf(journal.head)) return;
  else if (hash === '-') journal.chunks.delete(index);
  else journal.chunks.set(index, hash);
}

/** @param {Head} head */
export const headLine = ({ name, version, size, chunkBytes, manifest, sealed }) =>
  `${JSON.stringify({ name, version, size, chunkBytes, manifest, sealed })}\n`;

/** @param {number} index @param {string} hash '-': it is not there any more */
export const chunkLine = (index, hash) => `${index} ${hash}\n`;
