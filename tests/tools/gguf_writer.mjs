// Writes GGUF files for tests and benchmarks: metadata as [key, kind, value], tensors as {name,
// shape, type, data?}. Shapes are as the file has them: the contiguous dimension first.
import { closeSync, openSync, writeSync } from 'node:fs';

// `d`, `m`: where a block's scales stand. Random bytes elsewhere make levels of deviation `spread`
// in units of d, with m = `centre` d.
export const TYPES = {
  f32: { id: 0, block: 1, bytes: 4 },
  f16: { id: 1, block: 1, bytes: 2 },
  bf16: { id: 30, block: 1, bytes: 2 },
  q4_0: { id: 2, block: 32, bytes: 18, d: 0, spread: 4.61 },
  q4_1: { id: 3, block: 32, bytes: 20, d: 0, m: 2, centre: -7.5, spread: 4.61 },
  q5_0: { id: 6, block: 32, bytes: 22, d: 0, spread: 9.23 },
  q5_1: { id: 7, block: 32, bytes: 24, d: 0, m: 2, centre: -15.5, spread: 9.23 },
  q8_0: { id: 8, block: 32, bytes: 34, d: 0, spread: 73.9 },
  iq4_nl: { id: 20, block: 32, bytes: 18, d: 0, spread: 66.4 },
  mxfp4: { id: 39, block: 32, bytes: 17, d: 0, spread: 5.86 },
  q2_k: { id: 10, block: 256, bytes: 84, d: 80, m: 82, centre: 1.5, spread: 13.9 },
  q3_k: { id: 11, block: 256, bytes: 110, d: 108, spread: 43.3 },
  q4_k: { id: 12, block: 256, bytes: 144, d: 0, m: 2, centre: 7.5, spread: 258 },
  q5_k: { id: 13, block: 256, bytes: 176, d: 0, m: 2, centre: 15.5, spread: 527 },
  q6_k: { id: 14, block: 256, bytes: 210, d: 208, spread: 1366 },
  iq4_xs: { id: 23, block: 256, bytes: 136, d: 0, spread: 1227 },
};

class Bytes {
  #parts = [];
  length = 0;
  raw(bytes) {
    this.#parts.push(bytes);
    this.length += bytes.length;
    return this;
  }
  #number(size, set) {
    const bytes = new Uint8Array(size);
    set(new DataView(bytes.buffer));
    return this.raw(bytes);
  }
  u8 = v => this.#number(1, d => d.setUint8(0, v));
  u32 = v => this.#number(4, d => d.setUint32(0, v, true));
  i32 = v => this.#number(4, d => d.setInt32(0, v, true));
  f32 = v => this.#number(4, d => d.setFloat32(0, v, true));
  u64 = v => this.#number(8, d => d.setBigUint64(0, BigInt(v), true));
  text(s) {
    const bytes = typeof s === 'string' ? new TextEncoder().encode(s) : s;
    return this.u64(bytes.length).raw(bytes);
  }
  done() {
    return Buffer.concat(this.#parts);
  }
}

function value(out, kind, v) {
  if (kind === 'u32') out.u32(4).u32(v);
  else if (kind === 'i32') out.u32(5).i32(v);
  else if (kind === 'f32') out.u32(6).f32(v);
  else if (kind === 'bool') out.u32(7).u8(v ? 1 : 0);
  else if (kind === 'str') out.u32(8).text(v);
  else if (kind === 'strs') {
    out.u32(9).u32(8).u64(v.length);
    for (const s of v) out.text(s);
  } else if (kind === 'f32s')
    out
      .u32(9)
      .u32(6)
      .u64(v.length)
      .raw(new Uint8Array(Float32Array.from(v).buffer));
  else if (kind === 'i32s')
    out
      .u32(9)
      .u32(5)
      .u64(v.length)
      .raw(new Uint8Array(Int32Array.from(v).buffer));
  else throw new Error(`no kind ${kind}`);
}

export const tensorBytes = ({ shape, type }) =>
  (shape.reduce((a, b) => a * b, 1) / TYPES[type].block) * TYPES[type].bytes;

/** Header of a file: everything before the tensors' data. */
export function header(metadata, tensors, version = 3) {
  const out = new Bytes()
    .raw(new TextEncoder().encode('GGUF'))
    .u32(version)
    .u64(tensors.length)
    .u64(metadata.length);
  for (const [key, kind, v] of metadata) {
    out.text(key);
    value(out, kind, v);
  }
  let offset = 0;
  for (const t of tensors) {
    out.text(t.name).u32(t.shape.length);
    for (const d of t.shape) out.u64(d);
    out.u32(TYPES[t.type].id).u64(offset);
    offset += Math.ceil(tensorBytes(t) / 32) * 32;
  }
  while (out.length % 32) out.u8(0);
  return out.done();
}

/** Writes a file; `data(tensor)` gives a tensor's bytes. */
export function writeGguf(path, metadata, tensors, data) {
  const file = openSync(path, 'w');
  writeSync(file, header(metadata, tensors));
  for (const t of tensors) {
    const bytes = data(t);
    writeSync(file, bytes);
    writeSync(file, Buffer.alloc((32 - (bytes.length % 32)) % 32));
  }
  closeSync(file);
}

const scratch = new DataView(new ArrayBuffer(4));
export function half(x) {
  scratch.setFloat32(0, x);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const rest = bits & 0x7fffffff;
  if (rest < 0x38800000) {
    // subnormal: the adder of 0.5 rounds
    scratch.setUint32(0, rest);
    scratch.setFloat32(0, scratch.getFloat32(0) + 0.5);
    return sign | (scratch.getUint32(0) - 0x3f000000);
  }
  return sign | ((rest - 0x38000000 + 0xfff + ((rest >>> 13) & 1)) >>> 13);
}

/** Floats in a stored type; quantized as the C core does. */
export function encode(floats, type) {
  if (type === 'f32') return new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
  if (type === 'f16') return new Uint8Array(Uint16Array.from(floats, half).buffer);
  if (type === 'bf16')
    return new Uint8Array(
      Uint16Array.from(
        new Uint32Array(floats.buffer, floats.byteOffset, floats.length),
        b => b >>> 16,
      ).buffer,
    );
  const { block, bytes } = TYPES[type];
  const out = new Uint8Array((floats.length / block) * bytes);
  const view = new DataView(out.buffer);
  for (let b = 0, at = 0; b < floats.length; b += block, at += bytes) {
    const x = floats.subarray(b, b + block);
    let top = 0;
    for (const v of x) if (Math.abs(v) > Math.abs(top)) top = v;
    if (type === 'q8_0') {
      const d = Math.abs(top) / 127;
      view.setUint16(at, half(d), true);
      for (let i = 0; i < 32; i++) view.setInt8(at + 2 + i, d ? Math.round(x[i] / d) : 0);
    } else if (type === 'q4_0') {
      const d = top / -8;
      view.setUint16(at, half(d), true);
      const q = i => Math.min(15, Math.max(0, d ? Math.floor(x[i] / d + 8.5) : 8));
      for (let i = 0; i < 16; i++) out[at + 2 + i] = q(i) | (q(i + 16) << 4);
    } else {
      const low = x.reduce((a, v) => Math.min(a, v), Infinity);
      const d = (x.reduce((a, v) => Math.max(a, v), -Infinity) - low) / 15;
      view.setUint16(at, half(d), true);
      view.setUint16(at + 2, half(low), true);
      const q = i => Math.min(15, Math.max(0, d ? Math.floor((x[i] - low) / d + 0.5) : 0));
      for (let i = 0; i < 16; i++) out[at + 4 + i] = q(i) | (q(i + 16) << 4);
    }
  }
  return out;
}

/**
 * `count` random elements of about that deviation, straight in a type of blocks: no quantizer takes
 * part.
 */
export function randomBlocks(count, type, deviation, next) {
  const { block, bytes, d, m, centre, spread } = TYPES[type];
  const out = new Uint8Array((count / block) * bytes);
  const view = new DataView(out.buffer);
  for (let i = 0; i < out.length; i++) out[i] = next() * 256;
  for (let at = 0; at < out.length; at += bytes) {
    const scale = (deviation / spread) * (0.5 + next());
    if (type === 'mxfp4') out[at] = 128 + Math.round(Math.log2(scale));
    else view.setUint16(at + d, half(scale), true);
    if (m) view.setUint16(at + m, half(centre * scale), true);
  }
  return out;
}

/** A generator of numbers in [0, 1) by a seed, exact on every engine. */
export function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * A GGUF file with one more text in its metadata.
 * @param {Uint8Array} file @param {string} key @param {string} text @returns {Uint8Array}
 */
export function withMetadata(file, key, text) {
  const ALIGNMENT = 32; // tensors begin at a multiple of it, and are not moved otherwise
  const HEAD = 24; // magic, version, how many tensors and keys
  const made = new Bytes().text(key);
  value(made, 'str', text);
  made.text('test.padding');
  const rest = made.length + 4 + 8; // with the padding's own type and length
  value(made, 'str', ' '.repeat((ALIGNMENT - (rest % ALIGNMENT)) % ALIGNMENT));
  const head = Buffer.from(file.subarray(0, HEAD));
  head.writeBigUInt64LE(head.readBigUInt64LE(16) + 2n, 16);
  return Buffer.concat([head, made.done(), file.subarray(HEAD)]);
}
