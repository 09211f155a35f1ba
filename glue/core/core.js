// The C core as a JavaScript object: one WebAssembly instance, its imports, and calls that run as
// fibers within it: each may wait for bytes while the others go on. Knows no struct of the core:
// scalars go in, bytes and JSON come out. Runs in any host; no import of Node or the DOM.
import { ProgressKind, Status } from '../generated/interface.js';
import { checkThreads, checkTokens, optionsJson, textOf } from './check.js';
import { threadsHere, whyNoThreads } from './detect.js';
import { HyperionError } from './errors.js';
import { compile, locate } from './module.js';
import { sharedBytes, urgeCollection } from './shared.js';
import { cancelled, throwIfAborted } from './signal.js';
import { startThread } from './threads.js';

/**
 * @typedef {object} ByteSource
 * @property {number} size bytes in all
 * @property {(offset: number, count: number) => Uint8Array | Promise<Uint8Array>} read exactly
 *   `count` bytes; may be called again before an earlier call's promise is kept
 * @property {boolean} [sequential] is best read from front to back, one range at a time
 * @property {(offset: number, out: Uint8Array) => boolean} [readInto] the same at once, all of
 *   `out`; false: not now, use `read`
 * @property {() => void | Promise<void>} [close]
 */

/** @typedef {import('./detect.js').Artefact} Artefact */
/** @typedef {import('./places.js').WasmSource} WasmSource */

/**
 * @typedef {object} CoreOptions
 * @property {number} [memoryBytes] limit for everything the engine holds
 * @property {import('../generated/options.js').EngineOptions['policy']} [policy]
 * @property {number} [stepWork] thousand multiply-adds between two pauses, where the host's clock
 *   stands still meanwhile
 * @property {boolean} [driven] it runs within `drive` alone, in the asynchronous context of who
 *   calls that
 * @property {'auto' | Artefact} [artefact] which build; `auto` is the best that the host compiles
 * @property {'auto' | number} [threads] that compute, this one included; `auto` is one for each
 *   processor
 * @property {WasmSource} [wasm] the module itself, where the host can not fetch or compile it
 * @property {string | URL} [wasmUrl] the folder of the package's .wasm files, or one of them, where
 *   they are not beside the package's scripts
 * @property {string | URL} [workerUrl] of a script that does what `hyperion-runtime/worker` does,
 *   for the worker threads
 * @property {AbortSignal} [signal] stops the fetching of the module
 */

/**
 * @typedef {{usedBytes: number, peakBytes: number, limitBytes: number, linearMemoryBytes: number,
 *   blocks: number, blockBytes: number}} MemoryStats `blocks`: lent by the slab
 */
/**
 * @typedef {{policy: string, count: number, ready: number, waiting: number, switches: number,
 *   stackBytes: number}} FiberStats
 */

/** @typedef {import('../generated/interface.js').Exports} Exports */

/**
 * @typedef {object} Callbacks of a call. What one of them throws ends the call, which rejects with
 *   it. A promise that one of them returns is waited for before the call resolves
 * @property {number} [vocab] how many log-probabilities `visit` gets
 * @property {(position: number, logProbabilities: Float32Array) => unknown} [visit] of a score
 * @property {(done: number, total: number, layers: number, ready: number) => unknown} [progress] of
 *   a job; layers of a model that loads, and those that are there
 * @property {(bytes: Uint8Array) => unknown} [write] of a job: the new file from front to back
 */

/**
 * @typedef {object} Call under way, of a session or a job
 * @property {Callbacks} callbacks
 * @property {() => void} cancel it ends soon
 * @property {(status: number) => void} end
 * @property {(error: unknown) => void} fail
 * @property {Promise<void>} over
 * @property {{error: unknown} | null} thrown by a callback of the call: the call ends with it
 * @property {Promise<void>[]} waited promises of its callbacks
 */

const PENDING = 1; // of read: its bytes come later
const BREATH_MS = 12; // how long the event loop may wait for the engine
const DOZE_MS = 500; // how long one that drives waits for another to wake it

/** Lets the host run its other tasks. @returns {Promise<void>} */
const breathe = () =>
  new Promise(resolve => {
    if (typeof setImmediate === 'function') return setImmediate(resolve);
    if (typeof MessageChannel !== 'function') return setTimeout(resolve, 0);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => (port1.close(), resolve());
    port2.postMessage(0);
  });

/**
 * The same where a host puts the messages of its ports before other requests, as workerd does.
 * @returns {Promise<void>}
 */
const pause = () =>
  new Promise(resolve =>
    typeof setImmediate === 'function' ? void setImmediate(resolve) : void setTimeout(resolve, 0),
  );

const SHARED_PAGES = { initial: 32, maximum: 65536 }; // of 64 KiB; as CMakeLists.txt links them

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

/** One of the package's modules, or the folder of all? @param {string | URL | undefined} url */
const isModule = url => url !== undefined && /\.wasm(?:[?#]|$)/.test(String(url));

/** @param {string} why */
const warnOfThreads = why =>
  console.warn(`hyperion: it computes on one thread, because worker threads can not start: ${why}`);

export class Core {
  /** @type {any} the instance's exports; null: closed, or stopped by a failure */
  #exports;
  /** @type {HyperionError | null} why every call is refused */
  #ending = null;
  #engine = 0;
  #decoder = new TextDecoder();
  #encoder = new TextEncoder();
  /** @type {Map<number, ByteSource>} by handle */
  #sources = new Map();
  #handles = 0; // ever given
  /** @type {Map<number, unknown>} why the latest read of a source that failed has, by its handle */
  #causes = new Map();
  /**
   * @type {Map<number, object>} reads that the core waits for, by ticket; a forgotten read's ticket
   *   may come again for another
   */
  #reads = new Map();
  /** @type {Map<number, Call>} calls under way, by the address of their session or job */
  #calls = new Map();
  #running = false;
  #ended = false; // a call, since the engine last ran
  #breath = 0; // when the host's other tasks last ran
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined;
  #driven = false;
  /** @type {Set<() => void>} those that drive and wait; each by its own timer too */
  #dozing = new Set();
  /** @type {WebAssembly.Module | null} */
  #module = null;
  /** @type {WebAssembly.Memory | null} shared with the workers */
  #memory = null;
  /** @type {(() => unknown)[]} how to end them */
  #threads = [];
  /** @type {string | URL | undefined} */
  #workerUrl = undefined;
  threadsComing = 0; // worker threads that have been started and are not here yet
  threadTrouble = ''; // why there are no worker threads, or fewer than asked for

  /** @param {Artefact | 'custom'} artefact */
  constructor(artefact) {
    this.artefact = artefact;
  }

  /** @param {CoreOptions} [options] @returns {Promise<Core>} */
  static async create({
    memoryBytes,
    artefact = 'auto',
    threads = 'auto',
    policy,
    stepWork,
    driven = false,
    wasm,
    wasmUrl,
    workerUrl,
    signal,
  } = {}) {
    checkThreads(threads);
    const here = threadsHere();
    const wanted = threads === 'auto' ? Math.max(here, 1) : here ? threads : 1;
    const given = wasm ?? (isModule(wasmUrl) ? wasmUrl : undefined);
    const place =
      given === undefined
        ? locate(artefact, wanted > 1, wasmUrl)
        : {
            artefact: artefact === 'auto' ? /** @type {const} */ ('custom') : artefact,
            source: given,
          };
    const core = new Core(place.artefact);
    core.#workerUrl = workerUrl;
    core.#driven = driven;
    core.threadTrouble = threads === 1 ? '' : whyNoThreads();
    if (threads !== 'auto' && threads > 1 && !here) warnOfThreads(core.threadTrouble);
    try {
      const options = { memory: memoryBytes, threads: wanted, policy, stepWork };
      await core.#begin(await place.source, options, signal);
      return core;
    } catch (error) {
      await core.close();
      throw error;
    }
  }

  /**
   * @param {WasmSource} wasm @param {object} options of the engine
   * @param {AbortSignal} [signal]
   */
  async #begin(wasm, options, signal) {
    this.#module = await compile(wasm, signal);
    if (WebAssembly.Module.imports(this.#module).some(i => i.kind === 'memory'))
      this.#memory = new WebAssembly.Memory({ ...SHARED_PAGES, shared: true });
    const instance = await WebAssembly.instantiate(this.#module, this.#imports());
    this.#exports = instance.exports;
    this.#memory ??= this.#exports.memory;
    this.#exports._initialize?.();
    this.#engine = this.call('engine_create', this.inputText(optionsJson('engine', options)));
    if (this.#engine) return;
    const why = this.resultText();
    throw why
      ? new HyperionError('HYP_E_ARGUMENT', why)
      : new HyperionError(
          'HYP_E_NOMEM',
          'not enough memory for the engine: raise the memory limit',
        );
  }

  #imports() {
    /**
     * A callback that throws ends its call.
     * @param {number} caller
     * @param {(callbacks: Callbacks) => unknown} act
     * @returns {number} 0: end it
     */
    const called = (caller, act) => {
      const call = this.#calls.get(caller);
      if (!call || call.thrown) return 0; // closed, or about to end
      try {
        const made = /** @type {any} */ (act(call.callbacks));
        if (typeof made?.then === 'function')
          call.waited.push(
            Promise.resolve(made).then(
              () => {},
              error => {
                call.thrown ??= { error };
                call.cancel();
              },
            ),
          );
        return call.thrown ? 0 : 1;
      } catch (error) {
        call.thrown ??= { error };
        return 0;
      }
    };
    return {
      hyp: {
        now: () => performance.now(),
        /**
         * @param {number} handle
         * @param {number} offset
         * @param {number} pointer
         * @param {number} bytes
         * @param {number} ticket
         */
        read: (handle, offset, pointer, bytes, ticket) => {
          const failed = (/** @type {unknown} */ cause) => {
            this.#causes.set(handle, cause);
            return /** @type {any} */ (cause)?.name === 'AbortError' ? Status.CANCELLED : Status.IO;
          };
          const self = {};
          const done = (/** @type {() => number} */ status) => {
            // forgotten, or closed meanwhile
            if (this.#reads.get(ticket) !== self || !this.#exports) return;
            this.#reads.delete(ticket);
            this.call('read_done', ticket, status());
            this.#pump();
          };
          try {
            const source = /** @type {ByteSource} */ (this.#sources.get(handle));
            // No array for each page, which hosts are slow to collect.
            const into = sharedBytes(this.#memory) ? undefined : source.readInto;
            if (into?.(offset, new Uint8Array(this.#buffer, pointer, bytes))) return Status.OK;
            const data = /** @type {any} */ (source.read(offset, bytes));
            if (typeof data?.then !== 'function')
              return this.#deliver(handle, data, pointer, bytes);
            Promise.resolve(data).then(
              arrived => done(() => this.#deliver(handle, arrived, pointer, bytes)),
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
        /** @param {number} caller @param {number} status */
        ended: (caller, status) => {
          this.#ended = true;
          this.#calls.get(caller)?.end(status);
        },
        /** @param {number} run @param {number} context @param {number} stack */
        thread: (run, context, stack) => {
          // It may come late, or never: the engine computes alone until it does.
          const order = { module: this.#module, memory: this.#memory, run, context, stack };
          let coming = true;
          const here = (/** @type {Error | undefined} */ trouble) => {
            if (!coming) return;
            this.threadsComing--;
            coming = false;
            if (!trouble || !this.#exports || this.threadTrouble) return;
            this.threadTrouble = trouble.message;
            warnOfThreads(trouble.message);
          };
          const fail = (/** @type {Error} */ cause) =>
            this.#stop(
              new HyperionError(
                'HYP_E_HOST',
                `the engine has stopped, because a worker thread of it has: ${cause.message}`,
                { cause },
              ),
            );
          this.threadsComing++;
          try {
            this.#threads.push(startThread(order, here, fail, this.#workerUrl));
          } catch (error) {
            here(/** @type {Error} */ (error));
          }
          return 1;
        },
        /** @param {number} message */
        panic: message => {
          throw new HyperionError(
            'HYP_E_HOST',
            `the engine has stopped, because an invariant of it is broken: ${this.#text(message)}`,
          );
        },
        /**
         * @param {number} job
         * @param {number} done
         * @param {number} total
         * @param {number} layers
         * @param {number} ready
         */
        progress: (job, done, total, layers, ready) =>
          called(job, ({ progress }) => progress?.(done, total, layers, ready)),
        /** @param {number} caller @param {number} pointer @param {number} bytes */
        write: (caller, pointer, bytes) =>
          called(caller, ({ write }) =>
            write?.(new Uint8Array(this.#buffer, pointer, bytes).slice()),
          ),
        /** @param {number} session @param {number} position @param {number} pointer */
        scored: (session, position, pointer) => {
          const goesOn = called(session, ({ visit, vocab = 0 }) =>
            visit?.(position, new Float32Array(this.#buffer, pointer, vocab)),
          );
          if (!goesOn) this.#exports?.session_cancel(session);
        },
      },
      ...(this.#memory && { env: { memory: this.#memory } }),
    };
  }

  /**
   * @param {number} handle
   * @param {unknown} data
   * @param {number} pointer
   * @param {number} bytes
   * @returns {number}
   */
  #deliver(handle, data, pointer, bytes) {
    if (isBytes(data) && data.length === bytes) {
      new Uint8Array(this.#buffer, pointer, bytes).set(data);
      return Status.OK;
    }
    const what =
      isBytes(data) && data.length > 0
        ? `the source gave ${data.length} of ${bytes} bytes`
        : `the source gave ${described(data)} where a Uint8Array of ${bytes} bytes is wanted`;
    this.#causes.set(handle, new Error(what));
    return Status.IO;
  }

  get #buffer() {
    return /** @type {WebAssembly.Memory} */ (this.#memory).buffer;
  }

  /**
   * A call that never waits.
   * @template {keyof Exports} K
   * @param {K} name
   * @param {Parameters<Exports[K]>} args
   * @returns {ReturnType<Exports[K]>}
   */
  call(name, ...args) {
    if (!this.#exports)
      throw this.#ending ?? new HyperionError('HYP_E_STATE', 'the engine is closed');
    try {
      return this.#exports[name](...args);
    } catch (error) {
      throw this.#stop(error); // a trap or a panic: nothing in there is sure any more
    }
  }

  /**
   * As `call`, with a negative status thrown.
   * @template {keyof Exports} K
   * @param {K} name
   * @param {Parameters<Exports[K]>} args
   * @returns {number}
   */
  run(name, ...args) {
    return this.#check(/** @type {number} */ (this.call(name, ...args)));
  }

  /**
   * Sources for jobs and models, by the handles that the engine reads them by.
   * @param {ByteSource[]} sources
   * @returns {number[]}
   */
  addSources(sources) {
    return sources.map(source => {
      this.#sources.set(++this.#handles, source);
      return this.#handles;
    });
  }

  /** Nothing reads them any more. @param {number[]} handles */
  dropSources(handles) {
    for (const handle of handles) {
      this.#sources.delete(handle);
      this.#causes.delete(handle);
    }
  }

  /**
   * Waits for the call that `begin` begins for a session or a job, until its end or the signal's.
   * @param {number} caller its address
   * @param {'session_cancel' | 'job_cancel'} cancelling
   * @param {() => void} begin
   * @param {number[]} handles of the sources that it reads
   * @param {{signal?: AbortSignal, callbacks?: Callbacks, late?: () => void}} [more] late: it had
   *   succeeded when it was ended all the same
   * @returns {Promise<number>}
   */
  #until(caller, cancelling, begin, handles, { signal, callbacks = {}, late } = {}) {
    return new Promise((resolve, reject) => {
      throwIfAborted(signal);
      begin();
      let state = 'running'; // then 'ended', while it waits for its callbacks, then 'over'
      let settle = () => {};
      let well = false;
      const cancel = () => {
        if (state === 'ended') finish();
        if (state !== 'running' || !this.#exports) return;
        this.call(cancelling, caller);
        this.#pump();
      };
      let ended = () => {};
      const over = () => {
        state = 'over';
        this.#calls.delete(caller);
        signal?.removeEventListener('abort', cancel);
        ended();
      };
      const finish = () => {
        if (state === 'over') return;
        over();
        if (well && (call.thrown || signal?.aborted)) late?.();
        if (call.thrown) reject(call.thrown.error);
        else if (signal?.aborted) reject(cancelled(signal));
        else settle();
      };
      /** @type {Call} */
      const call = {
        callbacks,
        cancel,
        thrown: null,
        waited: [],
        over: new Promise(resolve => (ended = () => resolve(undefined))),
        end: status => {
          state = 'ended';
          try {
            // an error's text is the engine's until the next one
            const result = this.#check(status, handles);
            well = true;
            settle = () => resolve(result);
            if (call.waited.length && !call.thrown && !signal?.aborted)
              return void Promise.all(call.waited).then(finish);
          } catch (error) {
            settle = () => reject(error);
          }
          finish();
        },
        fail: error => {
          over();
          reject(error);
        },
      };
      this.#calls.set(caller, call);
      signal?.addEventListener('abort', cancel);
      this.#pump();
    });
  }

  /**
   * Ends the call that is under way for a session or a job with `error`; resolves when the engine
   * is done with it.
   * @param {number} caller @param {unknown} error @returns {Promise<void>}
   */
  async endCall(caller, error) {
    const call = this.#calls.get(caller);
    if (!call) return;
    call.thrown ??= { error };
    call.cancel();
    await call.over;
  }

  /**
   * Does a job, which reads sources and may wait for them, beside whatever else is under way.
   * @template T
   * @param {number[]} handles of its sources
   * @param {(job: number) => void} begin by one of the exports job_*
   * @param {(job: number) => T} take its result
   * @param {{signal?: AbortSignal, callbacks?: Callbacks}} [more] @returns {Promise<T>}
   */
  async runJob(handles, begin, take, more) {
    throwIfAborted(more?.signal);
    const job = this.call('job_create', this.#engine);
    if (!job) throw new HyperionError('HYP_E_NOMEM', 'not enough memory to begin reading');
    try {
      for (const handle of handles) {
        const { size = 0, sequential = false } = this.#sources.get(handle) ?? {};
        this.run('job_add_source', job, handle, size, Number(sequential));
      }
      await this.#until(job, 'job_cancel', () => begin(job), handles, more);
      return take(job);
    } finally {
      if (this.#exports) this.call('job_free', job);
    }
  }

  /**
   * Runs a call of a session (see CallKind) beside whatever else is under way.
   * @param {number} session @param {number} kind @param {number[]} handles of its model's sources
   * @param {{count?: number, pooling?: number, signal?: AbortSignal, callbacks?: Callbacks,
   *   late?: () => void}} [more]
   */
  runCall(session, kind, handles, { count = 0, pooling = 0, ...more } = {}) {
    return this.#until(
      session,
      'session_cancel',
      () => void this.run('session_post', session, kind, count, pooling),
      handles,
      more,
    );
  }

  /**
   * Runs the fibers until `promise` settles, within the asynchronous context of the caller, of
   * which there may be several: they take turns. For hosts where nothing that a request waits for
   * may be another request's alone, which may end at any time.
   * @template T
   * @param {Promise<T>} promise @param {() => void} [enter] called before each run
   * @returns {Promise<T>}
   */
  async drive(promise, enter) {
    let over = false;
    let wake = () => {};
    const end = () => {
      over = true;
      wake();
    };
    promise.then(end, end);
    for (;;) {
      await pause();
      if (over || !this.#exports) return promise;
      enter?.();
      this.#ended = false;
      let state;
      try {
        state = this.call('engine_run', this.#engine, BREATH_MS);
      } catch {
        return promise; // the engine has stopped, and every call knows
      }
      if (state === ProgressKind.READY || over || !this.#exports) continue;
      const next = this.call('engine_next_ms', this.#engine);
      await new Promise(resolve => {
        const ms = next >= 0 ? Math.min(next, DOZE_MS) : DOZE_MS;
        const timer = setTimeout(() => wake(), ms);
        wake = () => {
          clearTimeout(timer);
          this.#dozing.delete(wake);
          resolve(undefined);
        };
        this.#dozing.add(wake);
      });
    }
  }

  /** Runs the fibers until all wait or have ended, with pauses for the host's other tasks. */
  async #pump() {
    if (this.#driven) return [...this.#dozing].forEach(wake => wake());
    if (this.#running || !this.#exports) return;
    this.#running = true;
    try {
      while (this.#exports) {
        // Whose call has ended may want to begin the next, and then take part in the choice of who
        // runs: only then does the rest go on.
        const left =
          this.#ended && this.#calls.size ? 0 : this.#breath + BREATH_MS - performance.now();
        if (left <= 0) {
          await breathe();
          this.#breath = performance.now();
        }
        this.#ended = false;
        if (
          !this.#exports ||
          this.call('engine_run', this.#engine, left > 0 ? left : BREATH_MS) !== ProgressKind.READY
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

  /**
   * Nothing runs any more, and every call is refused for this reason.
   * @param {unknown} error
   * @returns {HyperionError}
   */
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
    for (const wake of [...this.#dozing]) wake();
    return why;
  }

  /** @param {number} status @param {number[]} [handles] of the sources that were read */
  #check(status, handles = []) {
    if (status >= 0) return status;
    const bySource = status === Status.IO || status === Status.CANCELLED;
    const failed = bySource ? handles.find(handle => this.#causes.has(handle)) : undefined;
    const cause = failed === undefined ? undefined : this.#causes.get(failed);
    if (!this.#exports) throw this.#ending;
    const why =
      this.#text(this.call('engine_error', this.#engine)) ||
      this.#text(this.call('status_message', status));
    const detail = status === Status.IO && cause instanceof Error ? ` (${cause.message})` : '';
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

  /**
   * Hands bytes to the next call, one part behind the other.
   * @param {Uint8Array[]} parts @returns {number} their count
   */
  input(...parts) {
    const count = parts.reduce((sum, part) => sum + part.length, 0);
    const pointer = this.call('input_reserve', count);
    if (!pointer)
      throw new HyperionError('HYP_E_NOMEM', `not enough memory for ${count} bytes of input`);
    const view = new Uint8Array(this.#buffer, pointer, count + 1);
    let at = 0;
    for (const part of parts) {
      view.set(part, at);
      at += part.length;
    }
    view[count] = 0;
    return count;
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
    this.input(new Uint8Array(Int32Array.from(numbers).buffer), ...encoded);
    return tokens.length;
  }

  /**
   * What a call that never waits writes, as one block.
   * @param {number} caller whose `write` it is @param {() => void} act
   * @returns {Uint8Array}
   */
  written(caller, act) {
    /** @type {Uint8Array[]} */
    const parts = [];
    const write = (/** @type {Uint8Array} */ bytes) => void parts.push(bytes);
    const nothing = () => {};
    this.#calls.set(caller, {
      callbacks: { write },
      cancel: nothing,
      thrown: null,
      waited: [],
      over: Promise.resolve(),
      end: nothing,
      fail: nothing,
    });
    try {
      act();
    } finally {
      this.#calls.delete(caller);
    }
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
    return whole;
  }

  /**
   * @returns {{kernels: string, memory: MemoryStats, fibers: FiberStats}}
   */
  stats() {
    this.run('engine_stats', this.#engine);
    return this.resultJson();
  }

  /**
   * Lets go of the instance and all its memory; resolves when its worker threads have ended.
   * @param {HyperionError} [why] what calls under way and later ones end with
   * @returns {Promise<void>}
   */
  async close(why = new HyperionError('HYP_E_STATE', 'the engine is closed')) {
    this.#stop(why);
    await Promise.allSettled(this.#threads.splice(0).map(async end => end()));
    const bytes = sharedBytes(this.#memory);
    this.#memory = this.#module = null;
    this.#sources.clear();
    this.#causes.clear();
    if (bytes) urgeCollection(bytes);
  }
}
