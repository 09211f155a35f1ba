// What sets one transformer architecture apart from another, as data: the graph builder reads this
// table and nothing else does.
#ifndef HYP_NN_ARCH_H
#define HYP_NN_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hyp_arch {
    const char *name;       // `general.architecture`
    bool neox;              // RoPE rotates (i, i + n/2) instead of (2i, 2i + 1)
    bool qk_norm;           // RMS norm of each head's query and key
    bool post_norms;        // RMS norm of each branch before it joins the residual
    bool fused;             // one matrix for Q, K and V, one for gate and up
    bool gelu;              // GeGLU instead of SwiGLU
    bool embd_scale;        // embeddings times the square root of their length
    uint32_t window_period; // of this many layers all but the last attend to a window only; 0:
                            // every layer sees everything
    float window_base;      // RoPE base of the windowed layers; 0: the model's
    uint32_t wide_layers;   // a model of this many layers scales scores by 1 / sqrt(embedding /
                            // heads) instead of 1 / sqrt(head)
} hyp_arch;

// The architecture of that name (not terminated), or NULL.
const hyp_arch *hyp_arch_named(const char *name, size_t bytes);
extern const hyp_arch hyp_archs[];
extern const size_t hyp_arch_count;

#endif
