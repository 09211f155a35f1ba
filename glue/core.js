// The C core as a JavaScript object: one WebAssembly instance, its imports, and calls that run as fibers within it: each may wait for
// bytes while the others go on.
// Knows no struct of the core: scalars go in, bytes and JSON come out. Runs in any host; no import of Node or the DOM.
import { HyperionError } from './errors.js';
import { artefactFile, bestArtefact, threadsHere } from './detect.js';

/** @typedef {import('./sources.js').ByteSource} ByteSource */
/** @typedef {import('./detect.js').Artefact} Artefact */
/** @typedef {WebAssembly.Module | BufferSource | Response | URL | string} WasmSource a compiled module, its bytes, or where it is */

/**
 * @typedef {object} CoreOptions
 * @property {number} [memoryBytes] limit for everything the engine holds
 * @property {'auto' | Artefact} [artefact] which build; `auto` is the best that the host compiles
 * @property {'auto' | number} [threads] that compute, this one included; `auto` is one for each processor
 * @property {WasmSource} [wasm] the module itself, where the host can not fetch or compile it
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
  if (!best) throw new HyperionError('HYP_E_UNSUPPORTED', 'this host has no WebAssembly SIMD: use a newer browser or runtime');
  return { artefact: best, url: new URL(`../dist/${artefactFile(best, threads)}`, import.meta.url) };
}

/** @param {WasmSource} source @returns {Promise<WebAssembly.Module>} */
async function compile(source) {
  if (source instanceof WebAssembly.Module) return source;
  if (ArrayBuffer.isView(source) || source instanceof ArrayBuffer) return WebAssembly.compile(/** @type {BufferSource} */ (source));
  if (typeof Response === 'function' && source instanceof Response) return WebAssembly.compile(await source.arrayBuffer());
  const url = new URL(/** @type {string | URL} */ (source), import.meta.url);
  if (url.protocol === 'file:') {
    const fs = await import('node:fs/promises');
    return WebAssembly.compile(await fs.readFile(url));
  }
  const response = await fetch(url);
  if (!response.ok) throw new HyperionError('HYP_E_HOST', `the engine's module could not be fetched: ${url} answered ${response.status}`);
  const typed = response.headers.get('content-type')?.startsWith('application/wasm');
  return typed && WebAssembly.compileStreaming ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer());
}

const SHARED_PAGES = { initial: 32, maximum: 65536 }; // of 64 KiB; as CMakeLists.txt links them

/** Runs the module's thread_main over the same memory in a worker; returns how to end it. @param {object} order */
async function startThread(order) {
  const url = new URL('./thread.js', import.meta.url);
  if (typeof Worker === 'function') {
    const worker = new Worker(url, { type: 'module', name: 'hyperion helper' });
    worker.postMessage(order);
    return () => worker.terminate();
  }
  const threads = await import('node:worker_threads');
  const worker = new threads.Worker(url);
  worker.unref();
  worker.postMessage(order);
  return () => void worker.terminate();
}

export class Core {
  /** @type {any} the instance's exports */
  #exports;
  #engine = 0;
  #decoder = new TextDecoder();
  #encoder = new TextEncoder();
  /** @type {ByteSource[]} by handle */
  #sources = [];
  /** @type {Map<number, object>} reads that the core waits for, by ticket; a forgotten read's ticket may come again for another */
  #reads = new Map();
  /** @type {Map<number, {resolve: (status: number) => void, reject: (error: unknown) => void}>} calls under way, by session; 0: the job */
  #calls = new Map();
  /** @type {unknown} what a host function threw */
  #cause = undefined;
  #running = false;
  #ended = false; // a call, since the engine last ran
  #breath = 0; // when the host's other tasks last ran
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined;
  /** @type {((done: number, total: number) => boolean) | null} */
  onProgress = null;
  /** @type {((bytes: Uint8Array) => boolean) | null} takes the output of quantize */
  onWrite = null;
  /** @type {((position: number, logProbabilities: Float32Array) => void) | null} one score at a time */
  onScored = null;
  vocab = 0;
  /** @type {WebAssembly.Module | null} */
  #module = null;
  /** @type {WebAssembly.Memory | null} shared with the helpers */
  #memory = null;
  /** @type {(() => void)[]} how to end them */
  #threads = [];

  /** @param {Artefact | 'custom'} artefact */
  constructor(artefact) {
    this.artefact = artefact;
  }

  /** @param {CoreOptions} [options] @returns {Promise<Core>} */
  static async create({ memoryBytes = 0, artefact = 'auto', threads = 'auto', wasm } = {}) {
    if (threads !== 'auto' && !(Number.isInteger(threads) && threads >= 1 && threads <= 16)) throw new HyperionError('HYP_E_ARGUMENT', `threads must be 'auto' or a number from 1 to 16, not ${threads}`);
    const here = await threadsHere();
    const wanted = threads === 'auto' ? Math.max(here, 1) : here ? threads : 1;
    const place = wasm === undefined ? locate(artefact, wanted > 1) : { artefact: artefact === 'auto' ? /** @type {const} */ ('custom') : artefact, url: wasm };
    const core = new Core(place.artefact);
    core.#module = await compile(place.url);
    if (WebAssembly.Module.imports(core.#module).some(i => i.kind === 'memory')) core.#memory = new WebAssembly.Memory({ ...SHARED_PAGES, shared: true });
    const instance = await WebAssembly.instantiate(core.#module, core.#imports());
    core.#exports = instance.exports;
    core.#exports._initialize?.();
    core.#engine = core.#exports.engine_create(memoryBytes, 0, wanted);
    if (!core.#engine) throw new HyperionError('HYP_E_NOMEM', 'not enough memory for the engine: raise the memory limit');
    return core;
  }

  #imports() {
    /** @param {() => number} act @param {number} failed */
    const guarded = (act, failed) => {
      try {
        return act();
      } catch (cause) {
        this.#cause = cause;
        return failed;
      }
    };
    return {
      hyp: {
        now: () => performance.now(),
        /** @param {number} handle @param {number} offset @param {number} pointer @param {number} bytes @param {number} ticket */
        read: (handle, offset, pointer, bytes, ticket) =>
          guarded(() => {
            const data = this.#sources[handle].read(offset, bytes);
            if (data instanceof Uint8Array) return this.#deliver(data, pointer, bytes);
            this.#reads.set(ticket, data);
            const done = (/** @type {() => number} */ status) => {
              if (this.#reads.get(ticket) !== data || !this.#exports) return; // forgotten, or closed meanwhile
              this.#reads.delete(ticket);
              this.#exports.read_done(ticket, status());
              this.#pump();
            };
            data.then(
              arrived => done(() => this.#deliver(arrived, pointer, bytes)),
              cause => done(() => ((this.#cause = cause), /** @type {any} */ (cause)?.name === 'AbortError' ? STATUS.CANCELLED : STATUS.IO)),
            );
            return PENDING;
          }, STATUS.IO),
        /** @param {number} ticket */
        forget: ticket => void this.#reads.delete(ticket),
        /** @param {number} session @param {number} status */
        ended: (session, status) => {
          const call = this.#calls.get(session);
          this.#calls.delete(session);
          this.#ended = true;
          try {
            call?.resolve(this.#check(status)); // an error's text is the engine's until the next one
          } catch (error) {
            call?.reject(error);
          }
        },
        /** @param {number} run @param {number} context @param {number} stack */
        thread: (run, context, stack) => {
          // It may come late, or never: the engine computes alone until it does.
          startThread({ module: this.#module, memory: this.#memory, run, context, stack }).then(
            end => (this.#exports ? this.#threads.push(end) : end()),
            () => {},
          );
          return 1;
        },
        /** @param {number} message */
        panic: message => {
          throw new HyperionError('HYP_E_HOST', `the engine has stopped, because an invariant of it is broken: ${this.#text(message)}`);
        },
        /** @param {number} done @param {number} total */
        progress: (done, total) => guarded(() => (this.onProgress && this.onProgress(done, total) === false ? 0 : 1), 0),
        /** @param {number} pointer @param {number} bytes */
        write: (pointer, bytes) => guarded(() => (this.onWrite && this.onWrite(new Uint8Array(this.#buffer, pointer, bytes).slice()) === false ? 0 : 1), 0),
        /** @param {number} position @param {number} pointer */
        scored: (position, pointer) => this.onScored?.(position, new Float32Array(this.#buffer, pointer, this.vocab)),
      },
      // The Emscripten build's own wishes; nothing in the core calls them.
      env: { emscripten_notify_memory_growth: () => {}, ...(this.#memory && { memory: this.#memory }) },
      wasi_snapshot_preview1: { proc_exit: () => {}, fd_write: () => 0, fd_seek: () => 0, fd_close: () => 0 },
    };
  }

  /** @param {Uint8Array} data @param {number} pointer @param {number} bytes @returns {number} */
  #deliver(data, pointer, bytes) {
    if (data.length !== bytes) {
      this.#cause = new Error(`the source gave ${data.length} of ${bytes} bytes`);
      return STATUS.IO;
    }
    new Uint8Array(this.#buffer, pointer, bytes).set(data);
    return 0;
  }

  get #buffer() {
    return (this.#memory ?? this.#exports.memory).buffer;
  }

  /** A call that never waits. @param {string} name @param {...number} args @returns {number} */
  call(name, ...args) {
    if (!this.#exports) throw new HyperionError('HYP_E_STATE', 'the model is closed');
    return this.#exports[name](...args);
  }

  /** As `call`, with a negative status thrown. @param {string} name @param {...number} args */
  run(name, ...args) {
    return this.#check(this.call(name, ...args));
  }

  /** Waits for the call that `begin` begins for `session` (0: the job). @param {number} session @param {() => void} begin @returns {Promise<number>} */
  #until(session, begin) {
    return new Promise((resolve, reject) => {
      begin();
      this.#calls.set(session, { resolve, reject });
      this.#pump();
    });
  }

  /**
   * Begins a job (model_open, inspect, quantize), which reads `sources` and may wait for them. One at a time.
   * @param {string} name @param {ByteSource[]} sources @param {...number} args
   * @returns {Promise<number>}
   */
  runJob(name, sources, ...args) {
    return this.#until(0, () => {
      this.call('sources_clear');
      for (const source of sources) this.run('sources_add', this.#sources.push(source) - 1, source.size);
      this.#cause = undefined;
      this.run(name, this.#engine, ...args);
    });
  }

  /** Runs a call of a session (see hyp_call_kind) beside whatever else is under way. @param {number} session @param {number} kind @param {number} [count] @param {number} [pooling] */
  runCall(session, kind, count = 0, pooling = 0) {
    return this.#until(session, () => this.run('session_post', session, kind, count, pooling));
  }

  /** Runs the fibers until all wait or have ended, with pauses for the host's other tasks. */
  async #pump() {
    if (this.#running || !this.#exports) return;
    this.#running = true;
    try {
      while (this.#exports) {
        // Whose call has ended may want to begin the next, and then take part in the choice of who runs: only then does the rest go on.
        const left = this.#ended && this.#calls.size ? 0 : this.#breath + BREATH_MS - performance.now();
        if (left <= 0) {
          await breathe();
          this.#breath = performance.now();
        }
        this.#ended = false;
        if (this.#exports?.engine_run(this.#engine, left > 0 ? left : BREATH_MS) !== READY) break;
        await null;
      }
    } catch (error) {
      for (const call of this.#calls.values()) call.reject(error);
      this.#calls.clear();
      this.#exports = null;
      return;
    } finally {
      this.#running = false;
    }
    const next = this.#exports ? this.#exports.engine_next_ms(this.#engine) : -1;
    clearTimeout(this.#timer);
    if (next >= 0) this.#timer = setTimeout(() => this.#pump(), next);
  }

  /** @param {number} status */
  #check(status) {
    if (status >= 0) return status;
    const cause = this.#cause;
    this.#cause = undefined;
    const why = this.#text(this.#exports.engine_error(this.#engine)) || this.#text(this.#exports.status_message(status));
    const detail = cause instanceof Error && cause.name !== 'AbortError' ? ` (${cause.message})` : '';
    throw new HyperionError(this.#text(this.#exports.status_name(status)), why + detail, { cause });
  }

  /** A terminated text of the core. @param {number} pointer */
  #text(pointer) {
    const bytes = new Uint8Array(this.#buffer, pointer);
    return this.#decoder.decode(bytes.slice(0, bytes.indexOf(0)));
  }

  get engine() {
    return this.#engine;
  }

  /** The address that the last call gave as its result. */
  get resultPointer() {
    return this.call('result_data');
  }

  /** A copy of the last call's result. */
  resultBytes() {
    return new Uint8Array(this.#buffer, this.call('result_data'), this.call('result_bytes')).slice();
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
    if (!pointer) throw new HyperionError('HYP_E_NOMEM', `not enough memory for ${bytes.length} bytes of input`);
    const view = new Uint8Array(this.#buffer, pointer, bytes.length + 1);
    view.set(bytes);
    view[bytes.length] = 0;
    return bytes.length;
  }

  /** @param {string} text */
  inputText(text) {
    return this.input(this.#encoder.encode(text));
  }

  /**
   * Tokens, the lengths of texts, the texts.
   * @param {ArrayLike<number>} tokens @param {string[]} [texts]
   */
  inputTokens(tokens, texts = []) {
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

  /** Lets go of the instance and all its memory. */
  close() {
    clearTimeout(this.#timer);
    this.#exports = null;
    for (const end of this.#threads.splice(0)) end();
    const closed = new HyperionError('HYP_E_STATE', 'the model is closed');
    for (const call of this.#calls.values()) call.reject(closed);
    this.#calls.clear();
  }
}
