// Addresses: a file on a server, by requests for parts of it. Servers break off, are busy, give no
// parts, or say one thing and do another; files change meanwhile. What may pass is tried again, and
// goes on at the byte where it broke off; all else is refused with the reason.
import { HyperionError } from '../core/errors.js';
import { ofMemory } from './memory.js';
import { PATIENCE, Passing, exchange, trying } from './retry.js';
import { unreadable } from './source.js';

/** @typedef {import('./source.js').ByteSource} ByteSource */
/** @typedef {import('./source.js').Transport} Transport */
/** @typedef {import('./source.js').Patience} Patience */
/**
 * @typedef {object} UrlOptions
 * @property {AbortSignal} [signal] ends the opening
 * @property {string} [token] for the address' own origin
 * @property {import('./source.js').Fetch} [fetch] in place of the host's
 * @property {Partial<Patience>} [patience]
 * @property {number} [first] bytes to ask for with the opening; 1 when left out
 * @property {string} [name] in place of the address
 * @property {string} [version] that is known already
 * @property {string} [sha256]
 */
/** @typedef {import('./retry.js').Exchange<Response>} Exchange */
/** @typedef {{exchange: Exchange, from: number, to: number}} Part which bytes an answer has */

const PARALLEL = 4; // hosts allow six connections, of which others want some
const OPENING_TRIES = 3; // of an address of which nothing has ever come
const PASSING = [408, 425, 429, 500, 502, 503, 504];
const HINTS = /** @type {Record<number, string>} */ ({
  401: 'it wants a token: give one by the option `token`',
  403: 'it is not for everybody: give a `token` that may read it, or ask its owner for access',
  404: 'there is no such file: is the address right?',
});
/** What a hub says beside its answer. */
const CODES = /** @type {Record<string, string>} */ ({
  GatedRepo:
    'it is gated: accept its terms on its page, and give a `token` of that account (HF_TOKEN)',
  RepoNotFound: 'there is no such repository, or it is private: then give a `token` (HF_TOKEN)',
  RevisionNotFound: 'there is no such revision of it',
});

/** How long a server wants to be left alone, in milliseconds. @param {Response} response */
function retryAfterMs(response) {
  const said = response.headers.get('retry-after');
  if (!said) return 0;
  const ms = /^\d+$/.test(said) ? Number(said) * 1000 : Date.parse(said) - Date.now();
  return Math.max(0, ms || 0);
}

/** @param {Response} response @param {string} name @returns {Error} */
function refusal(response, name) {
  const { status, statusText } = response;
  const what = `${name} answered ${status} ${statusText}`.trim();
  if (PASSING.includes(status))
    return new Passing(what, { answered: true, waitMs: retryAfterMs(response) });
  const hint = CODES[response.headers.get('x-error-code') ?? ''] ?? HINTS[status];
  return unreadable(hint ? `${what}: ${hint}` : what);
}

/** @param {Response} response @param {string} name */
export function checkResponse(response, name) {
  if (!response.ok) throw unreadable(refusal(response, name).message);
}

/**
 * Which bytes an answer says that it has.
 * @param {Response} response
 * @returns {{from: number, to: number, size: number} | null} null: it does not say, or this page
 *   may not know; a size of NaN is unknown
 */
function rangeOf(response) {
  const said = response.headers.get('content-range');
  const match = said && /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(said.trim());
  if (!match) return null;
  return { from: Number(match[1]), to: Number(match[2]) + 1, size: Number(match[3]) };
}

/** @param {Response} response @returns {number} NaN: it does not say */
function lengthOf(response) {
  return Number(response.headers.get('content-length') ?? NaN);
}

const isEncoded = (/** @type {Response} */ response) =>
  (response.headers.get('content-encoding') || 'identity') !== 'identity';

/** Would a request with a header of its own be preceded by a question? @param {URL} url */
const isForeign = url =>
  typeof location === 'object' && !!location?.origin && location.origin !== url.origin;

/** A host that keeps what it has fetched makes requests for parts of one file wait for another. */
const noStore = () =>
  typeof Request === 'function' && 'cache' in Request.prototype
    ? { cache: /** @type {const} */ ('no-store') }
    : {};

/** All that comes. @param {Exchange} one */
async function wholeOf(one) {
  /** @type {any[]} */
  const parts = [];
  for (let bytes; (bytes = await one.read());) parts.push(bytes);
  return ofMemory(await new Blob(parts).arrayBuffer());
}

/** A file on a server. */
class Remote {
  #url;
  #name;
  /** @type {Record<string, string>} for the address' own origin alone */
  #own = {};
  #get;
  /** @type {Patience} */
  #patience;
  /** @type {URL | null} where the address leads to; null: not known, or not any more */
  #direct = null;
  #etag = '';
  #modified = '';
  #size = NaN;
  #ranged = true;
  /** @type {Part | null} the answer that the opening has brought, not read yet */
  #opened = null;

  /** @param {URL} url @param {UrlOptions} options */
  constructor(url, { token, fetch: own, patience, name }) {
    this.#url = new URL(url);
    const { username, password } = url;
    if (token) this.#own.authorization = `Bearer ${token}`;
    else if (username)
      this.#own.authorization = `Basic ${btoa(decodeURIComponent(`${username}:${password}`))}`;
    this.#url.username = this.#url.password = '';
    this.#name = name ?? this.#url.href;
    this.#get = () => own ?? fetch;
    this.#patience = { ...PATIENCE, ...patience };
  }

  /**
   * @param {Record<string, string>} headers @param {AbortSignal} [signal] @param {string} [method]
   * @returns {Promise<Exchange>} whose status is 2xx or 416
   */
  async #send(headers, signal, method = 'GET') {
    for (;;) {
      const direct = this.#direct;
      const given = direct ? headers : { ...headers, ...this.#own };
      const one = await exchange(
        stop =>
          this.#get()(direct ?? this.#url, { method, headers: given, signal: stop, ...noStore() }),
        this.#patience.stallMs,
        signal,
      );
      const response = one.answer;
      if (response.ok || response.status === 416) {
        if (response.redirected && response.url) this.#direct ??= new URL(response.url);
        return one;
      }
      one.end();
      const error = refusal(response, this.#name);
      if (!direct || error instanceof Passing) throw error;
      this.#direct = null; // such addresses are good for a while only
    }
  }

  /**
   * @template T @param {number} most tries @param {() => number} progress
   * @param {AbortSignal | undefined} signal @param {() => Promise<T>} act @returns {Promise<T>}
   */
  #trying(most, progress, signal, act) {
    const why = (/** @type {Passing} */ error) => this.#why(error);
    return trying({ most, progress, patience: this.#patience, signal, why }, act);
  }

  /** @param {Passing} error the last of several */
  #why(error) {
    const { message } = error;
    if (message.startsWith(this.#name)) return message; // an answer
    const foreign = isForeign(this.#url)
      ? `; its server must be there, and allow ${location.origin} by its CORS headers`
      : '';
    return `${this.#name} could not be fetched: ${message}${foreign}`;
  }

  /**
   * @param {number} first bytes to ask for @param {AbortSignal} [signal]
   * @returns {Promise<ByteSource | null>} a source: it could only be read as a whole
   */
  open(first, signal) {
    const nothing = () => 0;
    return this.#trying(OPENING_TRIES, nothing, signal, async () => {
      for (;;) {
        const asked = this.#ranged ? { range: `bytes=0-${first - 1}` } : undefined;
        const one = await this.#send(asked ?? {}, signal);
        try {
          const part = await this.#openedBy(one, first, signal);
          if (part) {
            one.follow(undefined);
            this.#opened = { exchange: one, ...part };
            return null;
          }
          if (one.answer.status === 200) return await wholeOf(one);
          one.end();
          if (!this.#ranged) throw unreadable(`${this.#name} answered ${one.answer.status}`);
          this.#ranged = false; // it does not know what it gives: the whole then
        } catch (error) {
          one.end();
          throw error;
        }
      }
    });
  }

  /**
   * What the first answer tells of the file.
   * @param {Exchange} one @param {number} first @param {AbortSignal} [signal]
   * @returns {Promise<{from: number, to: number} | null>} null: it is of no use
   */
  async #openedBy({ answer }, first, signal) {
    const { status, headers } = answer;
    const length = lengthOf(answer);
    this.#etag = headers.get('etag') ?? '';
    this.#modified = headers.get('last-modified') ?? '';
    if (headers.get('content-range') === 'bytes */0') throw unreadable(`${this.#name} is empty`);
    if (isEncoded(answer)) return null;
    if (status === 200) {
      this.#ranged = false;
      this.#size = length;
      return length ? { from: 0, to: length } : null;
    }
    if (status !== 206) return null;
    const said = rangeOf(answer);
    this.#size = said ? said.size : await this.#askSize(signal);
    const { from, to } = said ?? { from: 0, to: Math.min(first, this.#size) };
    const fits = from === 0 && to <= first && to <= this.#size && !(length !== to && length >= 0);
    return fits ? { from, to } : null;
  }

  /** @param {AbortSignal} [signal] */
  async text(signal) {
    return this.#trying(
      OPENING_TRIES,
      () => 0,
      signal,
      async () => {
        const one = await this.#send({}, signal);
        try {
          const { headers } = one.answer;
          const decoder = new TextDecoder();
          let text = '';
          for (let bytes; (bytes = await one.read());)
            text += decoder.decode(bytes, { stream: true });
          return { text, headers };
        } finally {
          one.end();
        }
      },
    );
  }

  /** Where a page may not see how large the whole of a part is. @param {AbortSignal} [signal] */
  async #askSize(signal) {
    const one = await this.#send({}, signal, 'HEAD');
    one.end();
    return isEncoded(one.answer) ? NaN : lengthOf(one.answer);
  }

  #changed() {
    return unreadable(`${this.#name} has changed on the server: open it anew`);
  }

  /** @param {Response} response @param {number} size of the whole, as it says */
  #checkSame(response, size) {
    const differs = (/** @type {string} */ name, /** @type {string} */ known) => {
      const now = response.headers.get(name);
      return known && now && now.replace(/^W\//, '') !== known.replace(/^W\//, '');
    };
    if (
      differs('etag', this.#etag) ||
      differs('last-modified', this.#modified) ||
      (size >= 0 && size !== this.#size)
    )
      throw this.#changed();
  }

  /**
   * An answer that has the byte at `at`.
   * @param {number} at @param {number} end @param {AbortSignal} [signal] @returns {Promise<Part>}
   */
  async #part(at, end, signal) {
    const opened = this.#opened;
    this.#opened = null;
    if (opened && at === opened.from) {
      opened.exchange.follow(signal);
      return opened;
    }
    opened?.exchange.end();
    /** @type {Record<string, string>} */
    const headers = {};
    if (this.#ranged) {
      headers.range = `bytes=${at}-${end - 1}`;
      const same = this.#etag || this.#modified;
      if (same && !same.startsWith('W/') && !isForeign(this.#direct ?? this.#url))
        headers['if-range'] = same;
    }
    const one = await this.#send(headers, signal);
    try {
      const response = one.answer;
      const { status } = response;
      const said = rangeOf(response);
      if (status === 416) throw this.#changed();
      this.#checkSame(response, status === 206 ? (said?.size ?? NaN) : NaN);
      if (status !== 206) {
        const length = lengthOf(response);
        if (!isEncoded(response) && length >= 0 && length !== this.#size) throw this.#changed();
        if (this.#ranged) throw new Passing(`${this.#name} answered with the whole file`);
        return { exchange: one, from: 0, to: this.#size };
      }
      const length = lengthOf(response);
      const { from = at, to = length >= 0 ? at + length : end } = said ?? {};
      if (
        from !== at ||
        to > end ||
        to <= at ||
        isEncoded(response) ||
        (length >= 0 && length !== to - from)
      )
        throw unreadable(
          `${this.#name}: asked for bytes ${at} to ${end - 1}, its server gives ${response.headers.get('content-range')}, ${length} bytes`,
        );
      return { exchange: one, from, to };
    } catch (error) {
      one.end();
      throw error;
    }
  }

  /** @type {import('./source.js').Feed} */
  async feed(offset, count, take, signal) {
    const end = offset + count;
    let at = offset;
    await this.#trying(
      Infinity,
      () => at,
      signal,
      async () => {
        while (at < end) {
          const part = await this.#part(at, end, signal);
          const { exchange: one, to } = part;
          try {
            // One more look after the last byte: it frees the connection for the next request.
            for (let place = part.from; place <= to && (at < end || to === end);) {
              const bytes = await one.read();
              if (!bytes) {
                if (place < to)
                  throw new Passing(`the connection broke off after ${place} of ${to} bytes`);
                break;
              }
              if (place + bytes.length > to)
                throw unreadable(`${this.#name} gave more bytes than it had said`);
              const wanted = bytes.subarray(Math.max(0, at - place), Math.max(0, end - place));
              place += bytes.length;
              at += wanted.length;
              if (wanted.length) await take(wanted);
            }
          } finally {
            one.end();
          }
        }
      },
    );
  }

  /** @param {UrlOptions} options @returns {Transport} */
  transport({ version, sha256 }) {
    return {
      name: this.#name,
      size: this.#size,
      version: version ?? (this.#etag || this.#modified),
      sha256,
      ranged: this.#ranged,
      feed: (...part) => this.feed(...part),
      again: true,
      parallel: PARALLEL,
      first: this.#opened?.to,
      close: () => {
        this.#opened?.exchange.end();
        this.#opened = null;
      },
    };
  }
}

/** @param {URL} url */
function checkAddress({ protocol, hostname, href }) {
  if (!['http:', 'https:', 'blob:', 'data:'].includes(protocol))
    throw new HyperionError('HYP_E_ARGUMENT', `'${href}': models do not come by ${protocol}`);
  const page = typeof location === 'object' ? location?.protocol : '';
  if (protocol === 'http:' && page === 'https:' && !/^(localhost|127\..*|\[::1\])$/.test(hostname))
    throw unreadable(
      `${href} can not be fetched: a page that came by https: may not load from http:; serve the model by https:`,
    );
}

/**
 * What a URL leads to.
 * @param {URL} url @param {UrlOptions} [options]
 * @returns {Promise<Transport | ByteSource>} a source, where the whole had to arrive first
 */
export async function ofUrl(url, options = {}) {
  checkAddress(url);
  const remote = new Remote(url, options);
  const whole = await remote.open(options.first ?? 1, options.signal);
  return whole || remote.transport(options);
}

/**
 * A text that a URL leads to.
 * @param {URL} url @param {UrlOptions} options
 * @returns {Promise<{text: string, headers: {get: (name: string) => string | null}}>}
 */
export async function fetchText(url, options) {
  checkAddress(url);
  return new Remote(url, options).text(options.signal);
}
