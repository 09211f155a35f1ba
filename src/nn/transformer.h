// A decoder-only transformer: its weights in pages, and the list of operations that a step runs.
// After load only the pager within changes; any number of states may run over one transformer.
#ifndef HYP_NN_TRANSFORMER_H
#define HYP_NN_TRANSFORMER_H

#include "../gguf/gguf.h"
#include "../hyperion/hyperion.h"
#include "../kernels/kernels.h"
#include "../pool/pool.h"
#include "arch.h"
#include "weights.h"

typedef struct hyp_shape {
    uint32_t layers, dim, heads, kv_heads, head, ffn, vocab, context;
    uint32_t rope_dims, window; // window: 0 for none
    float eps, rope_base, rope_scale,
        rope_attention; // rope_scale divides positions; rope_attention scales cosines and sines
    float attention_cap, logit_cap; // 0: none
    float score_scale, embd_scale;
    bool extended; // the context is longer than the one that LongRoPE's short factors are for
} hyp_shape;

// An operation reads and writes floats of one row per token in the step's buffers.
typedef enum hyp_op_kind {
    HYP_OP_EMBED,
    HYP_OP_NORM,
    HYP_OP_MATMUL,
    HYP_OP_BIAS,
    HYP_OP_HEAD_NORM,
    HYP_OP_ROPE,
    HYP_OP_ATTENTION,
    HYP_OP_GLU,
    HYP_OP_ADD,
    HYP_OP_KINDS
} hyp_op_kind;
typedef enum hyp_slot {
    HYP_SLOT_X,
    HYP_SLOT_H,
    HYP_SLOT_QKV,
    HYP_SLOT_ATT,
    HYP_SLOT_FFN,
    HYP_SLOT_COUNT
} hyp_slot;

typedef struct hyp_op {
    hyp_op_kind kind;
    hyp_slot dst, src;
    bool fresh;    // matmul: the first of those that share a source, and are computed together
    bool windowed; // rope, attention
    uint16_t layer;
    uint32_t dst_at,
        count; // first element within dst; elements (bias, add), heads (head norm, rope)
    const hyp_matrix *matrix;
    const float *vector;
} hyp_op;

typedef struct hyp_transformer {
    const hyp_arch *arch;
    const hyp_kernels *kernels; // borrowed
    hyp_shape shape;
    hyp_op *ops;
    uint32_t op_count;
    hyp_matrix *matrices; // in the order of use: layers, output, embedding
    uint32_t matrix_count;
    hyp_weights weights;
    hyp_pool *pool;     // NULL: products are computed by one thread
    void *job;          // of a loop under way
    size_t pool_floats; // the most that a loop's tokens * rows may be
    const hyp_matrix *embd, *output;
    const float *rope_factors; // rope_dims / 2 divisors of the frequencies, or NULL
    uint32_t slot_floats[HYP_SLOT_COUNT];
    uint64_t weight_bytes; // as stored
    uint64_t step_work;    // of a token, in the scheduler's units
} hyp_transformer;

// Checks every tensor, then reads what fits the arena's budget, in file order; the rest is read
// when it is used. `context`: tokens that RoPE and the memory left for a session are to be prepared
// for (0: the model's own). `threads`: that compute, this one included, where they find memory and
// all weights are kept. `arena` owns the tables. May suspend.
HYP_MUST_USE hyp_status hyp_transformer_load(hyp_transformer *model, const hyp_gguf *gguf,
                                             const hyp_kernels *kernels, hyp_arena *arena,
                                             uint32_t context, uint32_t threads,
                                             hyp_progress progress);
void hyp_transformer_stop_workers(hyp_transformer *model); // the pool; steps go on alone
void hyp_transformer_close(
    hyp_transformer *model); // the pager and the pool; the tables are the arena's

// HYP_E_FORMAT, with a message: what was computed is infinite or NaN.
hyp_status hyp_transformer_overflowed(const hyp_transformer *model);

// ---- A running context: KV cache and step buffers

enum {
    HYP_USUAL_CONTEXT = 2048,
    HYP_USUAL_BATCH = 64
}; // of a session that asks for nothing else, at most

typedef struct hyp_timing {     // of one operation, since the state began
    uint64_t ns, bytes, macs;   // bytes: of weights, or of the cache
    uint64_t began_ns, last_ns; // of the last step
} hyp_timing;

typedef struct hyp_statistics { // of the activations that went into a matrix's products
    double *squares;            // sum of x^2, by column
    uint64_t rows;
} hyp_statistics;

typedef struct hyp_state {
    hyp_transformer *model;  // borrowed
    uint32_t context, batch; // tokens the cache holds; tokens per step at most
    uint32_t past;           // tokens in the cache
    uint32_t last; // tokens of the last step, whose final hidden rows are in slot H; 0: they are in
                   // another state's
    bool computing; // a step is under way, of this state or of the one that leads it
    hyp_kv_format kv;
    uint8_t *keys, *values; // (layers, kv_heads, blocks of HYP_KV_BLOCK positions)
    float *slots[HYP_SLOT_COUNT];
    size_t slot_stride[HYP_SLOT_COUNT]; // floats
    uint8_t *acts;                      // quantized rows of a step
    float *angles[2]; // (batch, rope_dims / 2, cosine and sine): everywhere, windowed
    double *frequencies[2];
    float *scratch; // of attention
    float *logits;
    struct hyp_state *const *rows; // during hyp_state_gather: whose token each row is
    hyp_timing *timings;           // of each operation, then of the logits; NULL: nothing is timed
    hyp_statistics *statistics;    // of each matrix; NULL: none are kept
} hyp_state;

// `context` up to HYP_CONTEXT_MOST, `batch` up to HYP_BATCH_MOST (HYP_E_ARGUMENT); no more of it
// than of the context is taken. HYP_E_NOMEM leaves nothing behind but what `arena` frees. `fault`
// may be NULL.
HYP_MUST_USE hyp_status hyp_state_init(hyp_state *state, hyp_transformer *model, hyp_arena *arena,
                                       uint32_t context, uint32_t batch, hyp_kv_format kv,
                                       hyp_fault *fault);
// Bytes that hyp_state_init will take from the arena.
uint64_t hyp_state_bytes(const hyp_transformer *model, uint32_t context, uint32_t batch,
                         hyp_kv_format kv);
// Keeps statistics from now on. HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_state_observe(hyp_state *state, hyp_arena *arena);
// Runs `count` (1..batch) tokens, all within the vocabulary, at positions past .. past + count - 1.
// May suspend: for pages, and at the end of the task's slice. On failure `past` is as before.
// HYP_E_CONTEXT: they do not fit. HYP_E_FORMAT, with a message: weights that are damaged.
HYP_MUST_USE hyp_status hyp_state_step(hyp_state *state, const int32_t *tokens, uint32_t count);
// Whether the final hidden rows of the last step are finite.
bool hyp_state_finite(const hyp_state *state);
// The same for tokens 0 .. count - 1 of the last step, at logits + t * (vocab + HYP_GROUP). All NaN
// for a token whose row is not finite.
HYP_MUST_USE hyp_status hyp_state_logits_of(hyp_state *state, uint32_t count, float *logits);
// One token of each of `count` states (1..batch of `lead`) of one model, in one step that uses the
// buffers of `lead`, which may be among them; and the logits after each, in the `logits` of its
// state. Each state gets what hyp_state_step would have given it, to the bit. `scratch`: count rows
// of vocab + HYP_GROUP, nobody else's until it returns. On failure every `past` is as before; the
// states must stay until it returns. May suspend.
HYP_MUST_USE hyp_status hyp_state_gather(hyp_state *lead, hyp_state *const *states,
                                         const int32_t *tokens, uint32_t count, float *scratch);
// The final hidden row (dim floats) of token `index` of the last step.
const float *hyp_state_hidden(const hyp_state *state, uint32_t index);
// The logits (vocab floats) after token `index` of the last step, all NaN when its row is not
// finite; valid until the next call. May suspend.
HYP_MUST_USE hyp_status hyp_state_logits(hyp_state *state, uint32_t index, float **logits);

#endif
