#!/usr/bin/env node
// Small random models of every architecture, for the oracle tests; and the published shapes that
// benchmarks use.
// usage: models.mjs DIR            every test model into DIR
//        models.mjs SHAPE TYPE OUT one benchmark model: smol135m or stories15m, in any type or the
//        mix q4_k_m
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encode, random, randomBlocks, TYPES, writeGguf } from './gguf_writer.mjs';

/**
 * Pieces of an SPM vocabulary: three specials, the bytes, then letters and letter groups with and
 * without a space.
 */
function vocabulary(count) {
  const tokens = [
    '<unk>',
    '<s>',
    '</s>',
    ...Array.from(
      { length: 256 },
      (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`,
    ),
  ];
  const seen = new Set(tokens);
  for (let i = 0; tokens.length < count; i++) {
    let word = '';
    for (let n = i; ; n = Math.floor(n / 26) - 1) {
      word = String.fromCharCode(97 + (n % 26)) + word;
      if (n < 26) break;
    }
    for (const text of [word, `\u2581${word}`])
      if (tokens.length < count && !seen.has(text)) (seen.add(text), tokens.push(text));
  }
  return [
    ['tokenizer.ggml.model', 'str', 'llama'],
    ['tokenizer.ggml.tokens', 'strs', tokens],
    ['tokenizer.ggml.scores', 'f32s', tokens.map((_, i) => (i < 259 ? 0 : 258 - i))],
    [
      'tokenizer.ggml.token_type',
      'i32s',
      tokens.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)),
    ],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
    ['tokenizer.ggml.unknown_token_id', 'u32', 0],
    ['tokenizer.ggml.add_bos_token', 'bool', true],
  ];
}

/**
 * The type of a matrix in the mix that the field calls Q4_K_M: more bits where they count, and what
 * rows of no multiple of 256 take instead.
 */
function mixed(name, layer, layers, cols) {
  const more =
    layer < layers >> 3 || layer >= (7 * layers) >> 3 || (layer - (layers >> 3)) % 3 === 2;
  const six = /^(token_embd|output)\./.test(name) || (/attn_v|ffn_down/.test(name) && more);
  return cols % 256 ? (six ? 'q8_0' : 'q5_0') : six ? 'q6_k' : 'q4_k';
}

/** Metadata and tensors of a transformer. `matrix`: the matrices' type, or 'q4_k_m'. */
function transformer(
  {
    arch,
    name,
    layers,
    dim,
    heads,
    kvHeads,
    head,
    ffn,
    vocab,
    context,
    tied,
    extra = [],
    vectors = [],
  },
  matrix,
) {
  const fileType = {
    f32: 0,
    f16: 1,
    q4_0: 2,
    q4_1: 3,
    q8_0: 7,
    q5_0: 8,
    q5_1: 9,
    q2_k: 10,
    q3_k: 12,
    q4_k_m: 15,
    q4_k: 15,
    q5_k: 17,
    q6_k: 18,
    iq4_nl: 25,
    iq4_xs: 30,
    bf16: 32,
    mxfp4: 38,
  }[matrix];
  const key = (k, kind, v) => [`${arch}.${k}`, kind, v];
  const metadata = [
    ['general.architecture', 'str', arch],
    ['general.name', 'str', 'test'],
    ['general.file_type', 'u32', fileType],
    key('context_length', 'u32', context),
    key('embedding_length', 'u32', dim),
    key('block_count', 'u32', layers),
    key('feed_forward_length', 'u32', ffn),
    key('attention.head_count', 'u32', heads),
    key('attention.head_count_kv', 'u32', kvHeads),
    key('attention.key_length', 'u32', head),
    key('attention.value_length', 'u32', head),
    key('attention.layer_norm_rms_epsilon', 'f32', 1e-5),
    key('rope.dimension_count', 'u32', head),
    ...(extra.some(([k]) => k === 'rope.freq_base') ? [] : [key('rope.freq_base', 'f32', 10000)]),
    key('vocab_size', 'u32', vocab),
    ...extra.map(([k, kind, v]) => key(k, kind, v)),
    ...vocabulary(vocab),
  ];
  const q = heads * head;
  const kv = kvHeads * head;
  const mat = (n, cols, rows) => ({
    name: n,
    shape: [cols, rows],
    type: matrix === 'q4_k_m' ? mixed(n, Number(/^blk\.(\d+)/.exec(n)?.[1]), layers, cols) : matrix,
  });
  const vec = (n, count, kind = 'norm') => ({ name: n, shape: [count], type: 'f32', kind });
  const tensors = [
    mat('token_embd.weight', dim, vocab),
    vec('output_norm.weight', dim),
    ...vectors,
  ];
  if (!tied) tensors.push(mat('output.weight', dim, vocab));
  const post = arch === 'gemma2' || arch === 'gemma3';
  for (let i = 0; i < layers; i++) {
    const p = `blk.${i}.`;
    tensors.push(vec(`${p}attn_norm.weight`, dim), vec(`${p}ffn_norm.weight`, dim));
    if (arch === 'phi3')
      tensors.push(
        mat(`${p}attn_qkv.weight`, dim, q + 2 * kv),
        mat(`${p}ffn_up.weight`, dim, 2 * ffn),
      );
    else
      tensors.push(
        mat(`${p}attn_q.weight`, dim, q),
        mat(`${p}attn_k.weight`, dim, kv),
        mat(`${p}attn_v.weight`, dim, kv),
        mat(`${p}ffn_gate.weight`, dim, ffn),
        mat(`${p}ffn_up.weight`, dim, ffn),
      );
    if (arch === 'qwen2')
      tensors.push(
        vec(`${p}attn_q.bias`, q, 'bias'),
        vec(`${p}attn_k.bias`, kv, 'bias'),
        vec(`${p}attn_v.bias`, kv, 'bias'),
      );
    if (arch === 'qwen3' || arch === 'gemma3')
      tensors.push(vec(`${p}attn_q_norm.weight`, head), vec(`${p}attn_k_norm.weight`, head));
    if (post)
      tensors.push(
        vec(`${p}post_attention_norm.weight`, dim),
        vec(`${p}post_ffw_norm.weight`, dim),
      );
    tensors.push(mat(`${p}attn_output.weight`, q, dim), mat(`${p}ffn_down.weight`, ffn, dim));
  }
  return { metadata, tensors };
}

const SMALL = {
  layers: 3,
  dim: 128,
  heads: 4,
  kvHeads: 2,
  head: 32,
  ffn: 96,
  vocab: 512,
  context: 128,
  tied: false,
};
const factors = (name, count, of) => ({ name, shape: [count], type: 'f32', kind: 'factor', of });

/** The oracle's models. `types`: what their matrices are stored in. */
export const ORACLE = [
  { ...SMALL, arch: 'llama', name: 'llama', types: ['f16', 'q8_0', 'q4_0', 'q4_1', 'bf16'] },
  { ...SMALL, arch: 'llama', name: 'llama-blocks', types: ['q5_0', 'q5_1', 'iq4_nl', 'mxfp4'] },
  {
    ...SMALL,
    arch: 'llama',
    name: 'llama-wide',
    dim: 256,
    heads: 8,
    ffn: 256,
    layers: 2,
    types: ['q2_k', 'q3_k', 'q4_k', 'q5_k', 'q6_k', 'iq4_xs', 'q4_k_m'],
  },
  {
    ...SMALL,
    arch: 'llama',
    name: 'llama-freqs',
    types: ['q8_0'],
    extra: [['rope.freq_base', 'f32', 500000]],
    vectors: [factors('rope_freqs.weight', 16, i => (i < 6 ? 1 : i < 10 ? 2.5 : 8))],
  },
  {
    ...SMALL,
    arch: 'llama',
    name: 'llama-linear',
    types: ['q8_0'],
    extra: [
      ['rope.scaling.type', 'str', 'linear'],
      ['rope.scaling.factor', 'f32', 4],
    ],
  },
  { ...SMALL, arch: 'qwen2', name: 'qwen2', types: ['f16', 'q8_0'] },
  { ...SMALL, arch: 'qwen3', name: 'qwen3', dim: 96, tied: true, types: ['f16', 'q8_0'] },
  {
    ...SMALL,
    arch: 'gemma',
    name: 'gemma',
    dim: 96,
    tied: true,
    kvHeads: 1,
    types: ['f16', 'q8_0'],
  },
  {
    ...SMALL,
    arch: 'gemma2',
    name: 'gemma2',
    dim: 96,
    tied: true,
    layers: 4,
    types: ['f16', 'q8_0'],
    extra: [
      ['attention.sliding_window', 'u32', 16],
      ['attn_logit_softcapping', 'f32', 8],
      ['final_logit_softcapping', 'f32', 6],
    ],
  },
  {
    ...SMALL,
    arch: 'gemma3',
    name: 'gemma3',
    dim: 96,
    tied: true,
    layers: 7,
    types: ['f16', 'q8_0'],
    extra: [
      ['attention.sliding_window', 'u32', 16],
      ['rope.freq_base', 'f32', 1000000],
      ['rope.scaling.type', 'str', 'linear'],
      ['rope.scaling.factor', 'f32', 8],
    ],
  },
  { ...SMALL, arch: 'phi3', name: 'phi3', types: ['f16', 'q8_0'] },
  {
    ...SMALL,
    arch: 'phi3',
    name: 'phi3-longrope',
    types: ['q8_0'],
    context: 256,
    extra: [
      ['rope.scaling.original_context_length', 'u32', 64],
      ['rope.scaling.attn_factor', 'f32', 1.19],
    ],
    vectors: [
      factors('rope_factors_long.weight', 16, i => 1 + i / 4),
      factors('rope_factors_short.weight', 16, i => 1 + i / 16),
    ],
  },
];

const SHAPES = {
  stories15m: {
    arch: 'llama',
    layers: 6,
    dim: 288,
    heads: 6,
    kvHeads: 6,
    head: 48,
    ffn: 768,
    vocab: 32000,
    context: 1024,
    tied: true,
  },
  // As many tokens as the benchmarks name, and of everything else as little as each format and
  // kernel takes.
  quick: {
    arch: 'llama',
    layers: 2,
    dim: 256,
    heads: 4,
    kvHeads: 2,
    head: 64,
    ffn: 256,
    vocab: 20480,
    context: 2048,
    tied: true,
  },
  smol135m: {
    arch: 'llama',
    layers: 30,
    dim: 576,
    heads: 9,
    kvHeads: 3,
    head: 64,
    ffn: 1536,
    vocab: 49152,
    context: 2048,
    tied: true,
  },
};

/** Sum of uniforms: near enough to a normal deviate, and the same bits everywhere. */
const deviate = next =>
  next() +
  next() +
  next() +
  next() +
  next() +
  next() +
  next() +
  next() +
  next() +
  next() +
  next() +
  next() -
  6;

// As in a trained network, each branch adds a fraction to the residual stream: at full size the
// last bit of a rounding would grow to the whole of the quantization noise within three layers,
// between any two engines. And the final norm is small, so that the logits spread by about 0.35:
// the noise of 8-bit activations (0.6 % of a logit's size, in either engine) stays under the bound,
// an error in the graph does not.
const EMBED = 0.25;
const BRANCH = 0.6 * EMBED;
const FINAL = 0.12;

const ENCODED = ['f32', 'f16', 'bf16', 'q8_0', 'q4_0', 'q4_1'];

/** @param {number} [final] size of the last norm, and so of the logits */
function oracleData(tensor, seed, final = FINAL) {
  const count = tensor.shape.reduce((a, b) => a * b, 1);
  let hash = seed;
  for (const c of tensor.name) hash = (Math.imul(hash, 31) + c.charCodeAt(0)) | 0;
  const next = random(hash);
  const branch = /attn_output|ffn_down/.test(tensor.name);
  const scale = /token_embd|^output\.weight/.test(tensor.name)
    ? EMBED
    : (branch ? BRANCH : 1.2) / Math.sqrt(tensor.shape[0]);
  if (!ENCODED.includes(tensor.type)) return randomBlocks(count, tensor.type, scale, next);
  const floats = Float32Array.from({ length: count }, (_, i) => {
    if (tensor.kind === 'factor') return tensor.of(i);
    if (tensor.kind === 'norm')
      return (
        (1 + 0.2 * deviate(next)) *
        (tensor.name.includes('post_') ? BRANCH : tensor.name === 'output_norm.weight' ? final : 1)
      );
    return (tensor.kind === 'bias' ? 0.3 : scale) * deviate(next);
  });
  return encode(floats, tensor.type);
}

export const oracleFile = (dir, model, type) => join(dir, `${model.name}-${type}.gguf`);

/** One-layer models of a few kilobytes, for the fuzzer. */
export function tinyModels(dir, pathOf) {
  for (const arch of ['llama', 'qwen2', 'qwen3', 'gemma', 'gemma2', 'gemma3', 'phi3']) {
    const { metadata, tensors } = transformer(
      {
        arch,
        name: arch,
        layers: 1,
        dim: 32,
        heads: 1,
        kvHeads: 1,
        head: 32,
        ffn: 32,
        vocab: 280,
        context: 64,
        tied: true,
      },
      arch === 'gemma' ? 'f16' : arch === 'qwen2' ? 'q8_0' : 'q4_0',
    );
    writeGguf(pathOf(dir, arch), metadata, tensors, t => oracleData(t, 3));
  }
  const { metadata, tensors } = transformer(
    {
      arch: 'llama',
      name: 'bpe',
      layers: 1,
      dim: 32,
      heads: 1,
      kvHeads: 1,
      head: 32,
      ffn: 32,
      vocab: 280,
      context: 64,
      tied: true,
    },
    'q4_0',
  );
  const other = (model, tokens, extra) => [
    ...metadata.filter(([k]) => !k.startsWith('tokenizer.')),
    ['tokenizer.ggml.model', 'str', model],
    ['tokenizer.ggml.tokens', 'strs', tokens],
    ...extra,
  ];
  const letters = Array.from({ length: 260 }, (_, i) =>
    String.fromCodePoint(i < 94 ? 33 + i : i < 106 ? 67 + i : 150 + i),
  );
  for (const pre of ['llama-bpe', 'tekken', 'deepseek-llm', 'smollm'])
    writeGguf(
      pathOf(dir, pre),
      other('gpt2', letters, [
        ['tokenizer.ggml.merges', 'strs', ['a b', 'o n', 'c e', 'on ce']],
        ['tokenizer.ggml.pre', 'str', pre],
      ]),
      tensors,
      t => oracleData(t, 3),
    );
  writeGguf(
    pathOf(dir, 'wordpiece'),
    other(
      'bert',
      ['[UNK]', '[CLS]', '[SEP]', '\u2581once', '\u2581,', '\u2581et', 's', 't', '\u2581don'],
      [],
    ),
    tensors,
    t => oracleData(t, 3),
  );
}

/** A model of a few kilobytes with further metadata. @returns {string} its path */
export function tinyModel(path, more = []) {
  const shape = { arch: 'llama', name: 'tiny', layers: 1, dim: 32, heads: 1, kvHeads: 1, head: 32 };
  const { metadata, tensors } = transformer(
    { ...shape, ffn: 32, vocab: 512, context: 64, tied: true },
    'q4_0',
  );
  writeGguf(path, [...metadata, ...more], tensors, t => oracleData(t, 3));
  return path;
}

const SIM_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}";

/**
 * Models of some twenty small pages, and a smaller one that can draft for them: for the simulation.
 * Their logits spread, so that a wrong one shows.
 */
export function makeSimModels(dir) {
  mkdirSync(dir, { recursive: true });
  const shape = {
    arch: 'llama',
    name: 'sim',
    layers: 5,
    dim: 64,
    heads: 2,
    kvHeads: 1,
    head: 32,
    ffn: 512,
    vocab: 320,
    context: 128,
    tied: false,
  };
  const made = [
    ['sim-q8_0', shape, 'q8_0', 11],
    ['sim-q4_0', shape, 'q4_0', 12],
    ['sim-f16', { ...shape, layers: 3 }, 'f16', 13],
    ['sim-draft', { ...shape, layers: 1 }, 'q8_0', 11],
  ];
  return made.map(([name, form, type, seed]) => {
    const path = join(dir, `${name}-chat.gguf`);
    if (!existsSync(path)) {
      const { metadata, tensors } = transformer(form, type);
      const all = [...metadata, ['tokenizer.chat_template', 'str', SIM_TEMPLATE]];
      writeGguf(`${path}.partial`, all, tensors, t => oracleData(t, seed, 2));
      renameSync(`${path}.partial`, path);
    }
    return path;
  });
}

/** Writes the oracle's models that are not there yet. */
export function makeOracleModels(dir) {
  mkdirSync(dir, { recursive: true });
  for (const model of ORACLE)
    for (const type of model.types) {
      const path = oracleFile(dir, model, type);
      if (existsSync(path)) continue;
      const { metadata, tensors } = transformer(model, type);
      writeGguf(`${path}.partial`, metadata, tensors, t => oracleData(t, 7));
      renameSync(`${path}.partial`, path);
    }
  writeFileSync(
    join(dir, 'INDEX'),
    ORACLE.flatMap(m => m.types.map(type => `${m.name}-${type} ${m.context}\n`)).join(''),
  );
}

/** A model of a published shape with random weights; only its speed means something. */
export function makeShape(shape, type, path) {
  if (existsSync(path)) return path;
  const { metadata, tensors } = transformer({ name: `${shape}-random`, ...SHAPES[shape] }, type);
  const next = random(1);
  const samples = new Map(); // of a type: enough random blocks to repeat
  writeGguf(`${path}.partial`, metadata, tensors, t => {
    const count = t.shape.reduce((a, b) => a * b, 1);
    if (t.type === 'f32') return encode(new Float32Array(count).fill(1), 'f32');
    if (!samples.has(t.type))
      samples.set(
        t.type,
        t.type === 'f16'
          ? encode(
              Float32Array.from({ length: 1 << 19 }, () => (next() - 0.5) / 14.4),
              'f16',
            )
          : randomBlocks(1 << 20, t.type, 0.02, next),
      );
    const sample = samples.get(t.type);
    const out = Buffer.alloc((count / TYPES[t.type].block) * TYPES[t.type].bytes);
    for (let i = 0; i < out.length; i += sample.length)
      out.set(sample.subarray(0, Math.min(sample.length, out.length - i)), i);
    return out;
  });
  renameSync(`${path}.partial`, path);
  return path;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [a, b, c] = process.argv.slice(2);
  if (c) makeShape(a, b, c);
  else makeOracleModels(a ?? 'build/models');
}
