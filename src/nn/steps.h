// The two operations that make up a step's time, for state.c.
#ifndef HYP_NN_STEPS_H
#define HYP_NN_STEPS_H

#include "transformer.h"

#ifdef HYP_CHECKED
enum { HYP_WORK_UNIT = 10 }; // a tiny model's step has many slices, too
#else
enum { HYP_WORK_UNIT = 1000 }; // multiply-adds in a unit of the scheduler
#endif

typedef struct hyp_target { // a product's matrix, and where in the output its rows begin
    const hyp_matrix *matrix;
    uint32_t at;
} hyp_target;

// y (tokens, rows from targets[i].at) = x (tokens, cols) W_i^T for each target; quantizes x first
// where weights are in blocks. May suspend.
HYP_MUST_USE hyp_status hyp_products(hyp_state *state, const hyp_target *targets, uint32_t count,
                                     float *y, size_t y_stride, const float *x, size_t x_stride,
                                     uint32_t tokens);
void hyp_products_needs(const hyp_transformer *model,
                        hyp_pool_config *needs); // raises what a pool must hold

// Stores the keys and values of the step's `tokens` in layer `layer`, and attends.
void hyp_attention(hyp_state *state, uint32_t layer, bool windowed, uint32_t tokens);
void hyp_attention_needs(const hyp_transformer *model, hyp_pool_config *needs);

// Floats that attention takes besides its output.
size_t hyp_attention_scratch(const hyp_shape *shape);
// Bytes of one head's cache. In 64 bits: what a state takes is added up before it is known to fit.
static inline uint64_t hyp_cache_head_bytes(const hyp_shape *s, hyp_kv_format kv,
                                            uint32_t context) {
    return ((uint64_t)context + HYP_KV_BLOCK - 1) / HYP_KV_BLOCK * hyp_kv_block_bytes(kv, s->head);
}
// The position of the step's token `t`.
static inline uint32_t hyp_state_position(const hyp_state *state, uint32_t t) {
    return state->rows ? state->rows[t]->past : state->past + t;
}
static inline float *hyp_state_row(const hyp_state *state, hyp_slot slot, uint32_t token) {
    return state->slots[slot] + token * state->slot_stride[slot];
}

#endif
