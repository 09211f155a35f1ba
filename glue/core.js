// The C core as a JavaScript object: one WebAssembly instance, its imports, and calls that may wait for bytes.
// Knows no struct of the core: scalars go in, bytes and JSON come out. Runs in any host; no import of Node or the DOM.
import { HyperionError } from './errors.js';
import { artefactFile, bestArtefact } from './detect.js';

/** @typedef {import('./sources.js').ByteSource} ByteSource */
/** @typedef {import('./detect.js').Artefact} Artefact */
/** @typedef {WebAssembly.Module | BufferSource | Response | URL | string} WasmSource a compiled module, its bytes, or where it is */

/**
 * @typedef {object} CoreOptions
 * @property {number} [memoryBytes] limit for everything the engine holds
 * @property {'auto' | Artefact} [artefact] which build; `auto` is the best that the host compiles
 * @property {WasmSource} [wasm] the module itself, where the host can not fetch or compile it
 */

const STATUS = { IO: -2, CANCELLED: -7 };
const UNWINDING = 1;
const REWINDING = 2;

/** Where the package's own artefact lies, by feature detection. @param {'auto' | Artefact} artefact @returns {{artefact: Artefact, url: URL}} */
function locate(artefact) {
  const best = artefact === 'auto' ? bestArtefact() : artefact;
  if (!best) throw new HyperionError('HYP_E_UNSUPPORTED', 'this host has no WebAssembly SIMD: use a newer browser or runtime');
  return { artefact: best, url: new URL(`../dist/${artefactFile(best)}`, import.meta.url) };
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

export class Core {
  /** @type {any} the instance's exports */
  #exports;
  #engine = 0;
  #decoder = new TextDecoder();
  #encoder = new TextEncoder();
  /** @type {ByteSource[]} */
  #sources = [];
  /** @type {Promise<void> | null} a read that the core waits for */
  #pending = null;
  #status = 0; // of the read that the core resumes with
  #unwind = 0;
  /** @type {unknown} what a host function threw */
  #cause = undefined;
  #busy = false;
  /** @type {((done: number, total: number) => boolean) | null} */
  onProgress = null;
  /** @type {((bytes: Uint8Array) => boolean) | null} takes the output of quantize */
  onWrite = null;
  /** @type {((position: number, logProbabilities: Float32Array) => void) | null} */
  onScored = null;
  vocab = 0;

  /** @param {Artefact | 'custom'} artefact */
  constructor(artefact) {
    this.artefact = artefact;
  }

  /** @param {CoreOptions} [options] @returns {Promise<Core>} */
  static async create({ memoryBytes = 0, artefact = 'auto', wasm } = {}) {
    const place = wasm === undefined ? locate(artefact) : { artefact: artefact === 'auto' ? /** @type {const} */ ('custom') : artefact, url: wasm };
    const core = new Core(place.artefact);
    const instance = await WebAssembly.instantiate(await compile(place.url), core.#imports());
    core.#exports = instance.exports;
    core.#exports._initialize?.();
    core.#engine = core.#exports.engine_create(memoryBytes, 0);
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
        /** @param {number} handle @param {number} offset @param {number} pointer @param {number} bytes */
        read: (handle, offset, pointer, bytes) => {
          if (this.#exports.asyncify_get_state() === REWINDING) {
            this.#exports.asyncify_stop_rewind();
            return this.#status;
          }
          return guarded(() => {
            const data = this.#sources[handle].read(offset, bytes);
            if (data instanceof Uint8Array) return this.#deliver(data, pointer, bytes);
            this.#pending = data.then(arrived => void (this.#status = this.#deliver(arrived, pointer, bytes)));
            this.#unwind = this.#exports.unwind_buffer();
            this.#exports.asyncify_start_unwind(this.#unwind);
            return 0;
          }, STATUS.IO);
        },
        /** @param {number} done @param {number} total */
        progress: (done, total) => guarded(() => (this.onProgress && this.onProgress(done, total) === false ? 0 : 1), 0),
        /** @param {number} pointer @param {number} bytes */
        write: (pointer, bytes) => guarded(() => (this.onWrite && this.onWrite(new Uint8Array(this.#buffer, pointer, bytes).slice()) === false ? 0 : 1), 0),
        /** @param {number} position @param {number} pointer */
        scored: (position, pointer) => this.onScored?.(position, new Float32Array(this.#buffer, pointer, this.vocab)),
      },
      // The Emscripten build's own wishes; nothing in the core calls them.
      env: { emscripten_notify_memory_growth: () => {} },
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
    return this.#exports.memory.buffer;
  }

  /** A call that never waits. Engine pointer first where `engine` is set. @param {string} name @param {...number} args @returns {number} */
  call(name, ...args) {
    if (this.#busy) throw new HyperionError('HYP_E_STATE', 'the engine is still loading: wait for that to end');
    if (!this.#exports) throw new HyperionError('HYP_E_STATE', 'the model is closed');
    return this.#exports[name](...args);
  }

  /** As `call`, with a negative status thrown. @param {string} name @param {...number} args */
  run(name, ...args) {
    return this.#check(this.call(name, ...args));
  }

  /**
   * A call that reads sources and may wait for them.
   * @param {string} name @param {ByteSource[]} sources @param {...number} args
   * @returns {Promise<number>}
   */
  async runReading(name, sources, ...args) {
    this.call('sources_clear');
    this.#sources = sources;
    for (const [handle, source] of sources.entries()) this.run('sources_add', handle, source.size);
    this.#cause = undefined;
    this.#busy = true;
    try {
      const act = this.#exports[name];
      let status = act(this.#engine, ...args);
      while (this.#exports.asyncify_get_state() === UNWINDING) {
        this.#exports.asyncify_stop_unwind();
        try {
          await this.#pending;
        } catch (cause) {
          this.#cause = cause;
          this.#status = /** @type {any} */ (cause)?.name === 'AbortError' ? STATUS.CANCELLED : STATUS.IO;
        }
        this.#exports.asyncify_start_rewind(this.#unwind);
        status = act(this.#engine, ...args);
      }
      return this.#check(status);
    } finally {
      this.#busy = false;
      this.#sources = [];
    }
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

  /** Tokens, then terminated texts. @param {ArrayLike<number>} tokens @param {string[]} [texts] */
  inputTokens(tokens, texts = []) {
    const tail = this.#encoder.encode(texts.map(text => text + '\0').join(''));
    const bytes = new Uint8Array(tokens.length * 4 + tail.length);
    bytes.set(new Uint8Array(Int32Array.from(tokens).buffer));
    bytes.set(tail, tokens.length * 4);
    this.input(bytes);
    return tokens.length;
  }

  /** Memory and kernels of the engine. @returns {{usedBytes: number, peakBytes: number, limitBytes: number, linearMemoryBytes: number, kernels: string}} */
  stats() {
    this.run('engine_stats', this.#engine);
    return this.resultJson();
  }

  /** Lets go of the instance and all its memory. */
  close() {
    this.#exports = null;
  }
}
