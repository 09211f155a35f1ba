// The C core as a JavaScript object: one WebAssembly instance, its imports, and calls that run as fibers within it: each may wait for
// bytes while the others go on.
// Knows no struct of the core: scalars go in, bytes and JSON come out. Runs in any host; no import of Node or the DOM.
import { HyperionError } from './errors.js';
import { artefactFile, bestArtefact, threadsHere } from './detect.js';
import { cancelled, checkThreads, checkTokens, textOf, throwIfAborted } from './options.js';

/** @typedef {import('./sources.js').ByteSource} ByteSource */
/** @typedef {import('./detect.js').Artefact} Artefact */
/** @typedef {WebAssembly.Module | BufferSource | Response | URL | string} WasmSource a compiled module, its bytes, or where it is */

/**
 * @typedef {object} CoreOptions
 * @property {number} [memoryBytes] limit for everything the engine holds
 * @property {'auto' | Artefact} [artefact] which build; `auto` is the best that the host compiles
 * @property {'auto' | number} [threads] that compute, this one included; `auto` is one for each processor
 * @property {WasmSource} [wasm] the module itself, where the host can not fetch or compile it
 * @property {AbortSignal} [signal] stops the fetching of the module
 */

/**
 * @typedef {object} Call a call under way, of a session or the job
 * @property {(status: number) => void} end
 * @property {(error: unknown) => void} fail
 * @property {((position: number, logProbabilities: Float32Array) => void) | undefined} visit of a score
 * @property {{error: unknown} | null} thrown by a callback of the call: the call ends with it
 */

const STATUS = { IO: -2, CANCELLED: -7 };
const PENDING = 1; // of read: its bytes come later
const READY = 0; // of engine_run: there is more to run
const BREATH_MS = 12; // how long the event loop may wait for the engine

/** Lets the host run its other tasks. @returns {Promise<void>} */
const breathe = () =>
  new Promise(resolve => {
    if (typeof setImmediate === 'function') return setImmediate(resolve);
    if (typeof MessageChannel !== 'function') return setTimeout(resolve, 0);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => (port1.close(), resolve());
    port2.postMessage(0);
  });

/** Where the package's own artefact lies, by feature detection. @param {'auto' | Artefact} artefact @param {boolean} threads @returns {{artefact: Artefact, url: URL}} */
function locate(artefact, threads) {
  const best = artefact === 'auto' ? bestArtefact() : artefact;
  if (!best)
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      'this host has no WebAssembly SIMD: use a newer browser or runtime',
    );
  return {
    artefact: best,
    url: new URL(`../dist/${artefactFile(best, threads)}`, import.meta.url),
  };
}

/** @param {WasmSource} source @param {AbortSignal} [signal] @returns {Promise<WebAssembly.Module>} */
async function compile(source, signal) {
  if (source instanceof WebAssembly.Module) return source;
  if (ArrayBuffer.isView(source) || source instanceof ArrayBuffer)
    return WebAssembly.compile(/** @type {BufferSource} */ (source));
  if (typeof Response === 'function' && source instanceof Response)
    return WebAssembly.compile(await source.arrayBuffer());
  const url = new URL(/** @type {string | URL} */ (source), import.meta.url);
  if (url.protocol === 'file:') {
    const fs = await import('node:fs/promises');
    return WebAssembly.compile(await fs.readFile(url));
  }
  const response = await fetch(url, { signal });
  if (!response.ok)
    throw new HyperionError(
      'HYP_E_HOST',
      `the engine's module could not be fetched: ${url} answered ${response.status}`,
    );
  const typed = response.headers.get('content-type')?.startsWith('application/wasm');
  return typed && WebAssembly.compileStreaming
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}

const SHARED_PAGES = { initial: 32, maximum: 65536 }; // of 64 KiB; as CMakeLists.txt links them

/**
 * Runs the module's thread_main over the same memory in a worker; returns how to end it.
 * @param {object} order @param {(error: Error) => void} fail the worker came to compute, and has died of it
 * @returns {Promise<() => unknown>}
 */
async function startThread(order, fail) {
  const url = new URL('./thread.js', import.meta.url);
  let came = false;
  const died = (/** @type {any} */ error) => {
    if (came) fail(error instanceof Error ? error : new Error(error?.message || 'it has stopped'));
  };
  if (typeof Worker === 'function') {
    const worker = new Worker(url, { type: 'module', name: 'hyperion worker' });
    worker.onmessage = () => (came = true);
    worker.onerror = died;
    worker.postMessage(order);
    return () => worker.terminate();
  }
  const threads = await import('node:worker_threads');
  const worker = new threads.Worker(url);
  worker.on('error', died);
  const arrived = new Promise(resolve => {
    worker.on('message', () => resolve((came = true)));
    worker.on('exit', resolve);
  });
  worker.unref();
  worker.postMessage(order);
  return async () => {
    worker.ref();
    await arrived; // one that is ended while it loads leaves files open
    await worker.terminate();
  };
}

/** What a source gave in place of bytes. @param {unknown} data */
function described(data) {
  if (ArrayBuffer.isView(data))
    return data.byteLength
      ? `a ${data.constructor.name} of ${data.byteLength} bytes`
      : 'an empty or detached array';
  return data === null || typeof data !== 'object'
    ? String(data)
    : Object.prototype.toString.call(data);
}

/** Also of another realm. @param {unknown} data @returns {data is Uint8Array} */
const isBytes = data =>
  ArrayBuffer.isView(data) && Object.prototype.toString.call(data) === '[object Uint8Array]';

export class Core {
  /** @type {any} the instance's exports; null: closed, or stopped by a failure */
  #exports;
  /** @type {HyperionError | null} why every call is refused */
  #ending = null;
  #engine = 0;
  #decoder = new TextDecoder();
  #encoder = new TextEncoder();
  /** @type {ByteSource[]} by handle */
  #sources = [];
  /** @type {Map<number, object>} reads that the core waits for, by ticket; a forgotten read's ticket may come again for another */
  #reads = new Map();
  /** @type {Map<number, Call>} calls under way, by session; 0: the job */
  #calls = new Map();
  /** @type {unknown} why the last read failed */
  #cause = undefined;
  /** @type {{error: unknown} | null} by `onWrite` in a call that never waits */
  #thrown = null;
  #running = false;
  #ended = false; // a call, since the engine last ran
  #breath = 0; // when the host's other tasks last ran
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined;
  /** @type {((done: number, total: number) => boolean) | null} */
  onProgress = null;
  /** @type {((bytes: Uint8Array) => boolean) | null} takes the output of quantize */
  onWrite = null;
  vocab = 0;
  /** @type {WebAssembly.Module | null} */
  #module = null;
  /** @type {WebAssembly.Memory | null} shared with the workers */
  #memory = null;
  /** @type {Promise<() => unknown>[]} how to end them */
  #threads = [];

  /** @param {Artefact | 'custom'} artefact */
  constructor(artefact) {
    this.artefact = artefact;
  }

  /** @param {CoreOptions} [options] @returns {Promise<Core>} */
  static async create({ memoryBytes = 0, artefact = 'auto', threads = 'auto', wasm, signal } = {}) {
    checkThreads(threads);
    const here = await threadsHere();
    const wanted = threads === 'auto' ? Math.max(here, 1) : here ? threads : 1;
    const place =
      wasm === undefined
        ? locate(artefact, wanted > 1)
        : { artefact: artefact === 'auto' ? /** @type {const} */ ('custom') : artefact, url: wasm };
    const core = new Core(place.artefact);
    core.#module = await compile(place.url, signal);
    if (WebAssembly.Module.imports(core.#module).some(i => i.kind === 'memory'))
      core.#memory = new WebAssembly.Memory({ ...SHARED_PAGES, shared: true });
    const instance = await WebAssembly.instantiate(core.#module, core.#imports());
    core.#exports = instance.exports;
    core.#memory ??= core.#exports.memory;
    core.#exports._initialize?.();
    core.#engine = core.call('engine_create', memoryBytes, 0, wanted);
    if (!core.#engine)
      throw new HyperionError(
        'HYP_E_NOMEM',
        'not enough memory for the engine: raise the memory limit',
      );
    return core;
  }

  #imports() {
    /** A callback that throws ends its call. @param {() => number} act */
    const called = act => {
      try {
        return act();
      } catch (error) {
        const job = this.#calls.get(0);
        if (job) job.thrown = { error };
        else this.#thrown = { error };
        return 0;
      }
    };
    return {
      hyp: {
        now: () => performance.now(),
        /** @param {number} handle @param {number} offset @param {number} pointer @param {number} bytes @param {number} ticket */
        read: (handle, offset, pointer, bytes, ticket) => {
          const failed = (/** @type {unknown} */ cause) => {
            this.#cause = cause;
            return /** @type {any} */ (cause)?.name === 'AbortError' ? STATUS.CANCELLED : STATUS.IO;
          };
          const self = {};
          const done = (/** @type {() => number} */ status) => {
            if (this.#reads.get(ticket) !== self || !this.#exports) return; // forgotten, or closed meanwhile
            this.#reads.delete(ticket);
            this.call('read_done', ticket, status());
            this.#pump();
          };
          try {
            const data = /** @type {any} */ (this.#sources[handle].read(offset, bytes));
            if (typeof data?.then !== 'function') return this.#deliver(data, pointer, bytes);
            Promise.resolve(data).then(
              arrived => done(() => this.#deliver(arrived, pointer, bytes)),
              cause => done(() => failed(cause)),
            );
          } catch (cause) {
            return failed(cause);
          }
          this.#reads.set(ticket, self);
          return PENDING;
        },
        /** @param {number} ticket */
        forget: ticket => void this.#reads.delete(ticket),
        /** @param {number} session @param {number} status */
        ended: (session, status) => {
          this.#ended = true;
          this.#calls.get(session)?.end(status);
        },
        /** @param {number} run @param {number} context @param {number} stack */
        thread: (run, context, stack) => {
          // It may come late, or never: the engine computes alone until it does.
          const order = { module: this.#module, memory: this.#memory, run, context, stack };
          const started = startThread(order, cause =>
            this.#stop(
              new HyperionError(
                'HYP_E_HOST',
                `the engine has stopped, because a worker thread of it has: ${cause.message}`,
                { cause },
              ),
            ),
          );
          started.catch(() => {});
          this.#threads.push(started);
          return 1;
        },
        /** @param {number} message */
        panic: message => {
          throw new HyperionError(
            'HYP_E_HOST',
            `the engine has stopped, because an invariant of it is broken: ${this.#text(message)}`,
          );
        },
        /** @param {number} done @param {number} total */
        progress: (done, total) =>
          called(() => (this.onProgress && this.onProgress(done, total) === false ? 0 : 1)),
        /** @param {number} pointer @param {number} bytes */
        write: (pointer, bytes) =>
          called(() =>
            this.onWrite &&
            this.onWrite(new Uint8Array(this.#buffer, pointer, bytes).slice()) === false
              ? 0
              : 1,
          ),
        /** @param {number} session @param {number} position @param {number} pointer */
        scored: (session, position, pointer) => {
          const call = this.#calls.get(session);
          if (!call || call.thrown) return; // closed, or about to end
          try {
            call.visit?.(position, new Float32Array(this.#buffer, pointer, this.vocab));
          } catch (error) {
            call.thrown = { error };
            this.#exports?.session_cancel(session);
          }
        },
      },
      ...(this.#memory && { env: { memory: this.#memory } }),
    };
  }

  /** @param {unknown} data @param {number} pointer @param {number} bytes @returns {number} */
  #deliver(data, pointer, bytes) {
    if (isBytes(data) && data.length === bytes) {
      new Uint8Array(this.#buffer, pointer, bytes).set(data);
      return 0;
    }
    this.#cause = new Error(
      isBytes(data) && data.length > 0
        ? `the source gave ${data.length} of ${bytes} bytes`
        : `the source gave ${described(data)} where a Uint8Array of ${bytes} bytes is wanted`,
    );
    return STATUS.IO;
  }

  get #buffer() {
    return /** @type {WebAssembly.Memory} */ (this.#memory).buffer;
  }

  /** A call that never waits. @param {string} name @param {...number} args @returns {number} */
  call(name, ...args) {
    if (!this.#exports)
      throw this.#ending ?? new HyperionError('HYP_E_STATE', 'the model is closed');
    try {
      return this.#exports[name](...args);
    } catch (error) {
      throw this.#stop(error); // a trap or a panic: nothing in there is sure any more
    }
  }

  /** As `call`, with a negative status thrown. @param {string} name @param {...number} args */
  run(name, ...args) {
    this.#thrown = null;
    return this.#check(this.call(name, ...args));
  }

  /**
   * Waits for the call that `begin` begins for `session` (0: the job), until its end or the signal's.
   * @param {number} session @param {() => void} begin @param {AbortSignal} [signal] @param {Call['visit']} [visit]
   * @returns {Promise<number>}
   */
  #until(session, begin, signal, visit) {
    return new Promise((resolve, reject) => {
      throwIfAborted(signal);
      begin();
      const cancel = () => {
        if (!this.#exports) return;
        if (session) this.call('session_cancel', session);
        else this.call('job_cancel');
        this.#pump();
      };
      const over = () => {
        this.#calls.delete(session);
        signal?.removeEventListener('abort', cancel);
      };
      /** @type {Call} */
      const call = {
        visit,
        thrown: null,
        end: status => {
          over();
          try {
            const result = this.#check(status); // an error's text is the engine's until the next one
            if (call.thrown) reject(call.thrown.error);
            else if (signal?.aborted) reject(cancelled(signal));
            else resolve(result);
          } catch (error) {
            reject(call.thrown ? call.thrown.error : signal?.aborted ? cancelled(signal) : error);
          }
        },
        fail: error => {
          over();
          reject(error);
        },
      };
      this.#calls.set(session, call);
      signal?.addEventListener('abort', cancel);
      this.#pump();
    });
  }

  /**
   * Begins a job (model_open, inspect, quantize), which reads `sources` and may wait for them. One at a time.
   * @param {string} name @param {ByteSource[]} sources @param {AbortSignal | undefined} signal @param {...number} args
   * @returns {Promise<number>}
   */
  runJob(name, sources, signal, ...args) {
    return this.#until(
      0,
      () => {
        this.call('sources_clear');
        for (const source of sources)
          this.run('sources_add', this.#sources.push(source) - 1, source.size);
        this.#cause = undefined;
        this.run(name, this.#engine, ...args);
      },
      signal,
    );
  }

  /**
   * Runs a call of a session (see hyp_call_kind) beside whatever else is under way.
   * @param {number} session @param {number} kind
   * @param {{count?: number, pooling?: number, signal?: AbortSignal, visit?: Call['visit']}} [more]
   */
  runCall(session, kind, { count = 0, pooling = 0, signal, visit } = {}) {
    return this.#until(
      session,
      () => this.run('session_post', session, kind, count, pooling),
      signal,
      visit,
    );
  }

  /** Runs the fibers until all wait or have ended, with pauses for the host's other tasks. */
  async #pump() {
    if (this.#running || !this.#exports) return;
    this.#running = true;
    try {
      while (this.#exports) {
        // Whose call has ended may want to begin the next, and then take part in the choice of who runs: only then does the rest go on.
        const left =
          this.#ended && this.#calls.size ? 0 : this.#breath + BREATH_MS - performance.now();
        if (left <= 0) {
          await breathe();
          this.#breath = performance.now();
        }
        this.#ended = false;
        if (
          !this.#exports ||
          this.call('engine_run', this.#engine, left > 0 ? left : BREATH_MS) !== READY
        )
          break;
        await null;
      }
    } catch {
      return; // the engine has stopped, and every call knows
    } finally {
      this.#running = false;
    }
    const next = this.#exports ? this.call('engine_next_ms', this.#engine) : -1;
    clearTimeout(this.#timer);
    if (next >= 0) this.#timer = setTimeout(() => this.#pump(), next);
  }

  /** Nothing runs any more, and every call is refused for this reason. @param {unknown} error @returns {HyperionError} */
  #stop(error) {
    if (this.#ending) return this.#ending;
    const why =
      error instanceof HyperionError
        ? error
        : new HyperionError(
            'HYP_E_HOST',
            `the engine has stopped: ${/** @type {Error} */ (error)?.message ?? error}`,
            { cause: error },
          );
    this.#ending = why;
    this.#exports = null;
    clearTimeout(this.#timer);
    this.#reads.clear();
    for (const call of [...this.#calls.values()]) call.fail(why);
    return why;
  }

  /** @param {number} status */
  #check(status) {
    if (status >= 0) return status;
    const thrown = this.#thrown;
    this.#thrown = null;
    if (thrown) throw thrown.error;
    const cause = status === STATUS.IO || status === STATUS.CANCELLED ? this.#cause : undefined;
    if (cause !== undefined) this.#cause = undefined;
    if (!this.#exports) throw this.#ending;
    const why =
      this.#text(this.call('engine_error', this.#engine)) ||
      this.#text(this.call('status_message', status));
    const detail = status === STATUS.IO && cause instanceof Error ? ` (${cause.message})` : '';
    throw new HyperionError(this.#text(this.call('status_name', status)), why + detail, { cause });
  }

  /** A terminated text of the core. @param {number} pointer */
  #text(pointer) {
    const bytes = new Uint8Array(this.#buffer, pointer);
    return this.#decoder.decode(bytes.slice(0, bytes.indexOf(0)));
  }

  get engine() {
    return this.#engine;
  }

  /** Closed, or stopped by a failure. */
  get ended() {
    return !this.#exports;
  }

  /** The address that the last call gave as its result. */
  get resultPointer() {
    return this.call('result_data');
  }

  /** A copy of the last call's result. */
  resultBytes() {
    return new Uint8Array(
      this.#buffer,
      this.call('result_data'),
      this.call('result_bytes'),
    ).slice();
  }

  resultText() {
    return this.#decoder.decode(this.resultBytes());
  }

  resultJson() {
    return JSON.parse(this.resultText());
  }

  resultTokens() {
    return Array.from(new Int32Array(this.resultBytes().buffer));
  }

  resultFloats() {
    return new Float32Array(this.resultBytes().buffer);
  }

  /** Hands bytes to the next call. @param {Uint8Array} bytes @returns {number} their count */
  input(bytes) {
    const pointer = this.call('input_reserve', bytes.length);
    if (!pointer)
      throw new HyperionError(
        'HYP_E_NOMEM',
        `not enough memory for ${bytes.length} bytes of input`,
      );
    const view = new Uint8Array(this.#buffer, pointer, bytes.length + 1);
    view.set(bytes);
    view[bytes.length] = 0;
    return bytes.length;
  }

  /** @param {string} text */
  inputText(text) {
    return this.input(this.#encoder.encode(textOf(text)));
  }

  /**
   * Tokens, the lengths of texts, the texts.
   * @param {ArrayLike<number>} tokens @param {string[]} [texts]
   */
  inputTokens(tokens, texts = []) {
    checkTokens(tokens);
    const encoded = texts.map(text => this.#encoder.encode(text));
    const numbers = [...Array.from(tokens), ...encoded.map(text => text.length)];
    const head = new Uint8Array(Int32Array.from(numbers).buffer);
    const bytes = new Uint8Array(head.length + encoded.reduce((sum, text) => sum + text.length, 0));
    bytes.set(head);
    let at = head.length;
    for (const text of encoded) {
      bytes.set(text, at);
      at += text.length;
    }
    this.input(bytes);
    return tokens.length;
  }

  /** @returns {{kernels: string, memory: import('./model.js').MemoryStats, fibers: import('./model.js').FiberStats}} */
  stats() {
    this.run('engine_stats', this.#engine);
    return this.resultJson();
  }

  /** Lets go of the instance and all its memory; resolves when its worker threads have ended. @returns {Promise<void>} */
  async close() {
    this.#stop(new HyperionError('HYP_E_STATE', 'the model is closed'));
    await Promise.allSettled(this.#threads.splice(0).map(async started => (await started)()));
    this.#memory = this.#module = null;
    this.#sources = [];
  }
}
