// Cutting text into the words that byte-level BPE works on. The rules are the regular expressions
// that the models were trained with, written as code; each function quotes its own.
#ifndef HYP_TEXT_PRETOKENIZE_H
#define HYP_TEXT_PRETOKENIZE_H

#include <stddef.h>

typedef enum hyp_pretokenizer {
    HYP_PRE_GPT2,
    HYP_PRE_LLAMA3,
    HYP_PRE_QWEN2,
    HYP_PRE_SMOLLM,
    HYP_PRE_TEKKEN,
    HYP_PRE_DEEPSEEK_LLM,
    HYP_PRE_COUNT
} hyp_pretokenizer;

// The pre-tokenizer of a `tokenizer.ggml.pre` value (not terminated), HYP_PRE_COUNT when it is none
// of ours.
hyp_pretokenizer hyp_pretokenizer_named(const char *name, size_t bytes);

// Where the pieces end that the rules before the last have cut the text into: without it each word
// of a long one would be looked for in all of it. All zero at the text's start.
typedef struct hyp_cuts {
    size_t end[6];
} hyp_cuts;

// Length in bytes of the word at `at` (below `bytes`) of `text`; at least 1. The words of a text
// are asked for in order, each where the one before ended, with the same `cuts`.
size_t hyp_pretokenize(hyp_pretokenizer kind, const char *text, size_t bytes, size_t at,
                       hyp_cuts *cuts);

#endif
