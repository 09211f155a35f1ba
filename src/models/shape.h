// The numbers of a model, read from its file's metadata and checked.
#ifndef HYP_MODELS_SHAPE_H
#define HYP_MODELS_SHAPE_H

#include "../hyperion/hyperion.h"
#include "../nn/graph.h"
#include "arch.h"

// What RoPE's frequencies, which are at most 1, may be divided by. A position's angle must stay one
// of which sines are known: twice the least, of the scale and of a factor, takes the last position
// there.
enum { HYP_ROPE_STRETCH_MOST = 8 };
#define HYP_ROPE_FACTOR_LEAST (1.0 / HYP_ROPE_STRETCH_MOST)
#define HYP_ROPE_FACTOR_MOST 1e9

typedef struct hyp_shape {
    const hyp_arch *arch;
    uint32_t layers, dim, heads, kv_heads, head, ffn, context;
    uint32_t rope_dims, window; // window: 0 for none
    // rope_scale divides positions; rope_attention scales cosines and sines.
    float eps, rope_base, rope_scale, rope_attention;
    float attention_cap, logit_cap; // 0: none
    float score_scale, embd_scale;
    bool extended; // the context is longer than the one that LongRoPE's short factors are for
} hyp_shape;

// Of a model that is to be ready for texts of `context` tokens (0: its own). HYP_E_FORMAT and
// HYP_E_UNSUPPORTED, with a message.
HYP_MUST_USE hyp_status hyp_shape_read(hyp_shape *shape, const hyp_arch *arch, const hyp_gguf *gguf,
                                       uint32_t context);

#endif
