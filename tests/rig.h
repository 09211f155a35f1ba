// A network that a test makes: tensors of random weights in a GGUF file in memory, a graph over
// them, and all that runs it.
#ifndef HYP_TESTS_RIG_H
#define HYP_TESTS_RIG_H

#include "../src/nn/forward.h"

enum { RIG_TENSORS = 128 };

typedef struct rig_tensor {
    char name[64];
    hyp_format format;
    uint32_t experts, rows, cols; // (experts, rows, cols); a vector has 1 row
    uint8_t *stored;
    size_t bytes;
    float *values; // what is stored, as floats
} rig_tensor;

typedef struct rig { // all-zero, or after rig_end: empty
    uint8_t *keys, *file;
    size_t key_bytes, file_bytes;
    uint32_t key_count, tensor_count;
    rig_tensor tensors[RIG_TENSORS];
    uint64_t reads, fail_at; // of the file, once it is open; the read that fails, 0: none
    hyp_source source;
    hyp_fault fault;
    hyp_budget budget;
    hyp_slab *slab;
    hyp_gguf gguf;
    hyp_kernels kernels;
    hyp_arena arena;
    hyp_net net;
} rig;

// Metadata of the file to come.
void rig_text(rig *r, const char *key, const char *value);
void rig_u32(rig *r, const char *key, uint32_t value);
void rig_f32(rig *r, const char *key, float value);
// A tensor with weights in [-1, 1), or with `values` (experts * rows * cols).
const rig_tensor *rig_add(rig *r, const char *name, uint32_t experts, uint32_t rows, uint32_t cols,
                          hyp_format format);
const rig_tensor *rig_add_values(rig *r, const char *name, uint32_t experts, uint32_t rows,
                                 uint32_t cols, hyp_format format, const float *values);
const rig_tensor *rig_find(const rig *r, const char *name);

// Writes the file, unless `file` is set, opens it, and begins an empty graph. The best kernels of
// this machine.
void rig_open(rig *r);
// Plans the graph, if that is not done, and loads it. The status of both.
HYP_MUST_USE hyp_status rig_load(rig *r, uint32_t threads);
// Closes everything; nothing is left of the budget. Sequences and caches go before.
void rig_end(rig *r);

// What a cache keeps of a key or value of `n` elements.
void as_cached(hyp_kv_format format, float *out, const float *x, uint32_t n);
// One head of attention, straight from its definition: out (head) is the mixture of the values at
// the positions from .. to - 1, by the softmax of their keys' products with q. Keys and values are
// `stride` floats apart.
void attend_plainly(double *out, const float *q, const float *keys, const float *values,
                    size_t stride, uint32_t from, uint32_t to, uint32_t head, double scale,
                    double cap);

// The same floats for the same bits: -0 is not 0.
bool same_bits(const float *a, const float *b, size_t count);
void fill_random(float *x, size_t count); // in [-1, 1)

#endif
