#!/usr/bin/env node
// Small vocabularies of every tokenizer kind, as GGUF files without tensors and as the
// tokenizer.json of Hugging Face's encoders, and the texts that both encode. usage: tokenizers.mjs
// DIR   writes the GGUF files
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { random, writeGguf } from './gguf_writer.mjs';

const SAMPLE = `The quick brown fox isn't lazy; it's 12345 miles away! They've said "we'll go", he'd not. Don't STOP. I'm here, you're there.
Zoë's naïve café costs €3.50 — déjà vu? Größe, Übermaß, señor, año, façade. Привет, мир! Это тест номер 42. Ελληνικά γράμματα εδώ.
日本語のテキストです。中文字符测试，数字１２３。한국어 텍스트 예제입니다. العربية نص تجريبي ١٢٣. हिन्दी में पाठ। ไทยภาษา  emoji 😀🎉👩‍👩‍👧 done.
function main() {\n\tint x = 0x1F;\r\n    return x / 2 + y[i] * 3.14e-10; // comment\n}\n\n\n   indented   text\there  `;

export const TEXTS = [
  '',
  ' ',
  '  ',
  '\n',
  '\n\n',
  ' \n ',
  '\t',
  'a',
  ' a',
  'a ',
  'hello world',
  'Hello, World!',
  "it's we'll I'M DON'T they've he'd 'tis 'S",
  '123',
  '1234567',
  ' 12 34',
  '3.14',
  'x=1;y=2',
  'a\nb',
  'a\r\nb',
  'a \n b',
  '   x',
  'x   ',
  'x   y',
  '\n  x',
  'end.\n',
  'end.\n\nNext',
  '!?',
  ' !?',
  '!?\n',
  'http://a.b/c?d=e&f',
  'CamelCaseWord',
  'camelCaseWORD',
  'ABCdef',
  'ÀÉÎ',
  'été',
  'e\u0301te\u0301',
  'Ünïcödé',
  'Привет, мир',
  'ПРИВЕТ мир',
  'ελληνικά',
  '日本語',
  '日本語 text',
  '中文，字符。',
  '한국어 텍스트',
  'العربية ١٢٣',
  'हिन्दी',
  'ไทย',
  '😀',
  '😀😀 x',
  '👩‍👩‍👧',
  'a😀b',
  '\u00a0x',
  'x\u2003y',
  '\u200b',
  '\ufeffx',
  '½ Ⅷ ²',
  'ǅ ʰ ª',
  '“quoted” ‘text’',
  'a_b __init__',
  '/path/to/file',
  'a//b\n/c',
  '```\ncode\n```',
  'tab\tsep\t',
  '$100 €5',
  '①②',
  '#tag @user',
  'İstanbul ß ﬁ',
  '\u0301x',
  '。、！',
  '　全角　',
  'x\n\n\n',
  ' \t\n x',
  '한글',
  '\u1112\u1161\u11ab',
  'don’t',
  '<s>',
  '\u2581',
  'a\u2581b',
  '\u0000',
  'ok\u0000ok',
];

const ALPHABETS = [
  'abcXYZ',
  ' \t\n\r',
  '0123456789',
  "'.,!?;:-/",
  'éüñßÀÖ',
  'приветМИР',
  '中文日本語',
  '한국어',
  'ابجد',
  'कि',
  '😀🎉',
  '\u0301\u0308',
  '١२３',
  '“”—…',
  '\u00a0\u2003',
  'ǅʰª½',
  '$€+=<>',
];

/** Texts of random pieces of many scripts, the same at every call. */
export function randomTexts(count) {
  const next = random(5);
  return Array.from({ length: count }, () => {
    let text = '';
    for (let runs = 1 + Math.floor(next() * 12); runs > 0; runs--) {
      const letters = [...ALPHABETS[Math.floor(next() * ALPHABETS.length)]];
      for (let n = 1 + Math.floor(next() * 5); n > 0; n--)
        text += letters[Math.floor(next() * letters.length)];
    }
    return text;
  });
}

/** GPT-2's printable character for each byte. */
const BYTE_CHARS = (() => {
  const chars = [];
  let spare = 256;
  for (let b = 0; b < 256; b++)
    chars.push(
      String.fromCodePoint(
        (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : spare++,
      ),
    );
  return chars;
})();
const byteLevel = text => [...new TextEncoder().encode(text)].map(b => BYTE_CHARS[b]);

function learnMerges(words, count) {
  const merges = [];
  for (; merges.length < count;) {
    const pairs = new Map();
    for (const w of words)
      for (let i = 0; i + 1 < w.length; i++)
        pairs.set(`${w[i]} ${w[i + 1]}`, (pairs.get(`${w[i]} ${w[i + 1]}`) ?? 0) + 1);
    const best = [...pairs].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0];
    if (!best || best[1] < 1) break;
    merges.push(best[0]);
    const [left, right] = best[0].split(' ');
    for (const w of words)
      for (let i = 0; i + 1 < w.length; i++)
        if (w[i] === left && w[i + 1] === right) w.splice(i, 2, left + right);
  }
  return merges;
}

/** Byte-level BPE: tokens and merges, learned on the sample. */
export function bpeVocabulary() {
  const merges = learnMerges((SAMPLE.match(/ ?[^\s]+|\s+/gu) ?? []).map(byteLevel), 500);
  const tokens = [...BYTE_CHARS, ...merges.map(m => m.replace(' ', '')), '<|endoftext|>'];
  return { tokens: [...new Set(tokens)], merges };
}

/** SPM: pieces with scores; a merge of two pieces ranks by the score of the whole. */
export function spmVocabulary() {
  const words = (SAMPLE.match(/\S+/gu) ?? []).map(w => [...`\u2581${w}`]);
  const letters = [...new Set(words.flat())].filter(c => c.codePointAt(0) < 0x500);
  const pieces = learnMerges(
    words.map(w => w.filter(c => letters.includes(c))),
    400,
  ).map(m => m.replace(' ', ''));
  const tokens = [
    '<unk>',
    '<s>',
    '</s>',
    ...Array.from(
      { length: 256 },
      (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`,
    ),
    ...new Set([...pieces, ...letters, '\u2581']),
  ];
  return {
    tokens,
    scores: tokens.map((_, i) => (i < 259 ? 0 : 258 - i)),
    types: tokens.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)),
  };
}

/** WordPiece in BERT's own notation ('##' on continuations). */
export function wordpieceVocabulary() {
  const letters = [...new Set([...SAMPLE.toLowerCase().normalize('NFD')])].filter(c =>
    /[\p{L}\p{N}]/u.test(c),
  );
  const words = [
    'the',
    'quick',
    'brown',
    'fox',
    'is',
    'hello',
    'world',
    'text',
    'cafe',
    'don',
    'they',
    'camel',
    'case',
    'quoted',
    'path',
    'file',
    'ete',
    '\u043f\u0440\u0438',
    '\u65e5',
    '\u672c',
  ];
  const marks = [...`!"#$%&'()*+,-./:;<=>?@[\\]^_\`{|}~€“”‘’—…。、，`];
  return [
    '[PAD]',
    '[UNK]',
    '[CLS]',
    '[SEP]',
    ...new Set([
      ...marks,
      ...words,
      ...letters,
      ...letters.map(c => `##${c}`),
      '##ed',
      '##ing',
      '##word',
      '##\u0432\u0435\u0442',
    ]),
  ];
}

/** The pre-tokenizers' regular expressions, as the models' own tokenizer.json have them. */
export const PRE_TOKENIZERS = {
  'gpt-2': [String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`],
  'llama-bpe': [
    String.raw`(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ],
  qwen2: [
    String.raw`(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ],
  smollm: [
    String.raw`\p{N}`,
    String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  ],
  tekken: [
    String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ],
  'deepseek-llm': [
    String.raw`[\r\n]`,
    String.raw`\s?[\p{Lu}\p{Ll}\p{Lt}]+`,
    String.raw`\s?[!-/:-~！-／：-～‘-‟　-。]+`,
    String.raw`\s+$`,
    String.raw`[一-龥ࠀ-一가-퟿]+`,
    String.raw`\p{N}+`,
  ],
};

/** Writes tok-bpe.gguf, tok-spm.gguf, tok-wordpiece.gguf. */
export function writeVocabularies(dir) {
  mkdirSync(dir, { recursive: true });
  const { tokens, merges } = bpeVocabulary();
  writeGguf(
    join(dir, 'tok-bpe.gguf'),
    [
      ['tokenizer.ggml.model', 'str', 'gpt2'],
      ['tokenizer.ggml.pre', 'str', 'gpt-2'],
      ['tokenizer.ggml.tokens', 'strs', tokens],
      ['tokenizer.ggml.token_type', 'i32s', tokens.map(t => (t === '<|endoftext|>' ? 3 : 1))],
      ['tokenizer.ggml.merges', 'strs', merges],
      ['tokenizer.ggml.bos_token_id', 'u32', tokens.length - 1],
      ['tokenizer.ggml.eos_token_id', 'u32', tokens.length - 1],
    ],
    [],
    () => {},
  );
  const spm = spmVocabulary();
  writeGguf(
    join(dir, 'tok-spm.gguf'),
    [
      ['tokenizer.ggml.model', 'str', 'llama'],
      ['tokenizer.ggml.tokens', 'strs', spm.tokens],
      ['tokenizer.ggml.scores', 'f32s', spm.scores],
      ['tokenizer.ggml.token_type', 'i32s', spm.types],
      ['tokenizer.ggml.bos_token_id', 'u32', 1],
      ['tokenizer.ggml.eos_token_id', 'u32', 2],
      ['tokenizer.ggml.unknown_token_id', 'u32', 0],
    ],
    [],
    () => {},
  );
  // GGUF marks the start of a word instead of its continuations; special tokens stay as they are
  const pieces = wordpieceVocabulary();
  writeGguf(
    join(dir, 'tok-wordpiece.gguf'),
    [
      ['tokenizer.ggml.model', 'str', 'bert'],
      [
        'tokenizer.ggml.tokens',
        'strs',
        pieces.map(p => (/^\[.+\]$/.test(p) ? p : p.startsWith('##') ? p.slice(2) : `\u2581${p}`)),
      ],
      ['tokenizer.ggml.token_type', 'i32s', pieces.map(p => (/^\[.+\]$/.test(p) ? 3 : 1))],
      ['tokenizer.ggml.unknown_token_id', 'u32', 1],
      ['tokenizer.ggml.cls_token_id', 'u32', 2],
      ['tokenizer.ggml.seperator_token_id', 'u32', 3],
    ],
    [],
    () => {},
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeVocabularies(process.argv[2]);
