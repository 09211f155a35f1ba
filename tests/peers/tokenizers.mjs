// Encodes the test texts with Hugging Face's encoders and writes the vectors; --check compares with
// the committed ones. Vectors: u32 count; each: u32 bytes, UTF-8; u32 tokens, int32 each.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '@huggingface/tokenizers';
import {
  bpeVocabulary,
  PRE_TOKENIZERS,
  randomTexts,
  spmVocabulary,
  TEXTS,
  wordpieceVocabulary,
  writeVocabularies,
} from '../tools/tokenizers.mjs';

const goldens = fileURLToPath(new URL('../golden', import.meta.url));
const check = process.argv.includes('--check');
mkdirSync(goldens, { recursive: true });
if (!check) writeVocabularies(goldens);
const texts = [...TEXTS, ...randomTexts(200)];
const index = tokens => Object.fromEntries(tokens.map((t, i) => [t, i]));

function write(name, tokenizer, skip = () => false) {
  const parts = [];
  const u32 = v => parts.push(Buffer.from(Uint32Array.of(v).buffer));
  const used = texts.filter(t => !skip(t));
  u32(used.length);
  for (const text of used) {
    const bytes = Buffer.from(text);
    const ids = text === '' ? [] : tokenizer.encode(text, { add_special_tokens: false }).ids;
    u32(bytes.length);
    parts.push(bytes);
    u32(ids.length);
    parts.push(Buffer.from(Int32Array.from(ids).buffer));
  }
  const path = join(goldens, `tokens-${name}.bin`);
  const data = Buffer.concat(parts);
  if (!check) writeFileSync(path, data);
  else if (!readFileSync(path).equals(data)) {
    console.error(`${name}: the peer encodes otherwise than the committed vectors`);
    process.exitCode = 1;
  }
  console.log(`${name}: ${used.length} texts`);
}

const none = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
};
const { tokens, merges } = bpeVocabulary();
for (const [name, patterns] of Object.entries(PRE_TOKENIZERS)) {
  const ignore = name === 'llama-bpe' || name === 'tekken';
  write(
    name,
    new Tokenizer(
      {
        ...none,
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            ...patterns.map(Regex => ({
              type: 'Split',
              pattern: { Regex },
              behavior: 'Isolated',
              invert: false,
            })),
            { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
          ],
        },
        model: {
          type: 'BPE',
          vocab: index(tokens),
          merges: merges.map(m => m.split(' ')),
          ignore_merges: ignore,
          byte_fallback: false,
          fuse_unk: false,
        },
      },
      {},
    ),
  );
}
const spm = spmVocabulary();
const known = new Map(spm.tokens.map((t, i) => [t, i]));
const pairs = spm.tokens.flatMap((whole, i) => {
  const chars = [...whole];
  if (i < 259) return [];
  return Array.from({ length: chars.length - 1 }, (_, k) => [
    chars.slice(0, k + 1).join(''),
    chars.slice(k + 1).join(''),
  ])
    .filter(([a, b]) => known.has(a) && known.has(b))
    .map(pair => ({ pair, rank: i }));
});
write(
  'spm',
  new Tokenizer(
    {
      ...none,
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Prepend', prepend: '\u2581' },
          { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
        ],
      },
      model: {
        type: 'BPE',
        vocab: index(spm.tokens),
        merges: pairs.sort((a, b) => a.rank - b.rank).map(p => p.pair),
        byte_fallback: true,
        unk_token: '<unk>',
        fuse_unk: true,
      },
    },
    {},
  ),
);
write(
  'wordpiece',
  new Tokenizer(
    {
      ...none,
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: true,
        lowercase: true,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      model: {
        type: 'WordPiece',
        vocab: index(wordpieceVocabulary()),
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
      },
    },
    {},
  ),
);
