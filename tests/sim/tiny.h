// A tiny random llama model as the bytes of a GGUF file: two layers, 320 tokens. What takes
// milliseconds can be run a hundred thousand times.
#ifndef HYP_TESTS_SIM_TINY_H
#define HYP_TESTS_SIM_TINY_H

#include <stddef.h>
#include <stdint.h>

enum { TINY_VOCAB = 320, TINY_CONTEXT = 96, TINY_DIM = 64 };

// With matrices in F32, drawn from `seed`; the caller frees it.
uint8_t *tiny_model(uint64_t seed, size_t *bytes);

#endif
