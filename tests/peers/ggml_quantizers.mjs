// Puts ggml's quantizers in the place of ours: copies OURS, a quantized file, and replaces the data
// of every tensor that differs in type from SOURCE by what ggml_quantize_chunk makes of SOURCE's
// values, with the same importance. Same types, same bytes: only the quantizer differs.
// usage: deno run --allow-all ggml_quantizers.mjs SOURCE OURS OUT [IMPORTANCE]
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [source, ours, out, importance] = Deno.args;
const bins = fileURLToPath(
  new URL(`node_modules/@node-llama-cpp/${platform()}-${arch()}/bins`, import.meta.url),
);
const dir = join(bins, readdirSync(bins)[0]);
const library = readdirSync(dir).find(name => /ggml-base\.(so|dylib)$/.test(name));
const { symbols } = Deno.dlopen(join(dir, library), {
  ggml_quantize_chunk: {
    parameters: ['i32', 'buffer', 'buffer', 'i64', 'i64', 'i64', 'buffer'],
    result: 'usize',
  },
});

/** Where the tensors of a GGUF file stand. */
function directory(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let at = 8;
  const u32 = () => view.getUint32((at += 4) - 4, true);
  const u64 = () => Number(view.getBigUint64((at += 8) - 8, true));
  const name = () => {
    const n = u64();
    at += n;
    return new TextDecoder().decode(bytes.subarray(at - n, at));
  };
  const size = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  const skip = type => {
    if (type === 8) name();
    else if (type === 9) for (let element = u32(), n = u64(); n > 0; n--) skip(element);
    else at += size[type];
  };
  const tensors = u64();
  for (let kvs = u64(); kvs > 0; kvs--) (name(), skip(u32()));
  const list = Array.from({ length: tensors }, () => ({
    name: name(),
    dims: Array.from({ length: u32() }, u64),
    type: u32(),
    offset: u64(),
  }));
  const start = Math.ceil(at / 32) * 32;
  return new Map(list.map(t => [t.name, { ...t, offset: t.offset + start }]));
}

/** IEEE halves or floats as floats. */
function floats(bytes, { type, offset, dims }) {
  const count = dims.reduce((a, b) => a * b, 1);
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset);
  if (type === 0)
    return Float32Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true));
  if (type !== 1) throw new Error(`the source must be of floats, not type ${type}`);
  return Float32Array.from({ length: count }, (_, i) => view.getFloat16(2 * i, true));
}

const from = readFileSync(source);
const result = readFileSync(ours);
const sources = directory(from);
const matrix = importance && readFileSync(importance);
const columns = matrix && directory(matrix);
let replaced = 0;
for (const [name, t] of directory(result)) {
  const original = sources.get(name);
  if (original.type === t.type) continue;
  const sums = columns?.get(`${name}.in_sum2`);
  const weights = sums ? floats(matrix, sums) : null;
  const [cols, rows] = t.dims;
  const room = new Uint8Array(cols * rows * 4);
  const bytes = Number(
    symbols.ggml_quantize_chunk(
      t.type,
      floats(from, original),
      room,
      0n,
      BigInt(rows),
      BigInt(cols),
      weights,
    ),
  );
  result.set(room.subarray(0, bytes), t.offset);
  replaced++;
}
writeFileSync(out, result);
console.log(JSON.stringify({ replaced }));
