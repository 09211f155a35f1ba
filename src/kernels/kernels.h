// The kernel table: every inner loop of the engine behind one pointer each.
//
// The order of every floating-point sum is part of the contract, so that every tier gives the same
// bits as the scalar reference. A matmul sums over columns in ascending order, with one accumulator
// per output. A reduction of a vector keeps eight partial sums (element i goes to sum i % 8),
// folded as ((0+4)+(2+6)) + ((1+5)+(3+7)). No kernel uses a fused multiply-add.
//
// Weights are packed once, HYP_GROUP rows at a time, in whatever layout the tier's matmul wants;
// only the tier's own slots read it. Kernels never allocate and never suspend.
#ifndef HYP_KERNELS_KERNELS_H
#define HYP_KERNELS_KERNELS_H

#include "../base/bytes.h"
#include "sparse.h"

enum {
    HYP_GROUP = 16,     // weight rows packed together; a matmul writes whole groups
    HYP_KV_BLOCK = 128, // positions of the KV cache packed together
    HYP_KV_FORMATS = 2
};

typedef enum hyp_kv_format { HYP_KV_F16, HYP_KV_Q8_0 } hyp_kv_format;

// Packs rows of `cols` elements: `rows` (1..HYP_GROUP) consecutive rows at `src` in the stored
// format; missing ones become zero. `dst`: hyp_group_bytes. `src` may be unaligned.
typedef void hyp_pack_fn(void *dst, const void *src, uint32_t rows, uint32_t cols);
// Row `row` (0..HYP_GROUP-1) of a packed group as floats; the inverse of pack.
typedef void hyp_unpack_fn(float *dst, const void *group, uint32_t row, uint32_t cols);
// y[t * y_stride + r] = sum over c of w[r][c] * x[t][c], for r < groups * HYP_GROUP and t < tokens.
// `x`: rows of `x_stride` bytes, floats for F32 / F16 / BF16, what `quantize` wrote for the others.
// y_stride in floats.
//
// With 8-bit activations (scale dx, integers q) a block of 32 columns adds one term. Its integer
// sums are exact:
//   one scale per block     ((d * scale) * dx) * sum(level * q)
//   one scale per 16        (d * dx) * (scale_0 * sum_0 + scale_1 * sum_1)
// A format with minima then adds, for each distinct minimum:
//                           (m * minimum) * (dx * sum(q))
typedef void hyp_matmul_fn(float *y, size_t y_stride, const void *w, uint32_t groups, uint32_t cols,
                           const void *x, size_t x_stride, uint32_t tokens);

typedef struct hyp_kernels {
    struct {
        hyp_pack_fn *pack;
        hyp_unpack_fn *unpack;
        hyp_matmul_fn *matmul;
    } weights[HYP_FORMATS];

    // Matmul of sparse groups (sparse.h), one group after the other, by kind; it gives the same
    // bits as Q4_0's. `most`: up to this part of the dense bytes the sparse matmul is the faster
    // one, measured by `bench sparse`; a matrix of that kind with more is packed as a dense one. 0:
    // the sparse matmul is never faster, and `matmul` may be NULL.
    struct {
        hyp_matmul_fn *matmul;
        float most;
    } sparse[HYP_SPARSE_KINDS];

    // Activations to 8 bits: for each 32 elements d = max |x| / 127 and q = x / d rounded to
    // nearest even (NaN: 0), with the sums of q. cols is a multiple of 32. Layout of a row:
    //   float d[cols / 32]; int32 sum[cols / 16]; q, act_elem_bytes each
    void (*quantize)(void *dst, const float *x, uint32_t cols);
    uint32_t act_elem_bytes; // 1 or 2, the tier's choice

    // y = x / sqrt(mean(x^2) + eps) * weight; y may be x.
    void (*rms_norm)(float *y, const float *x, const float *weight, uint32_t n, float eps);
    // y += x.
    void (*add)(float *y, const float *x, uint32_t n);
    // y = gate / (1 + e^-gate) * up; y may be gate.
    void (*silu_mul)(float *y, const float *gate, const float *up, uint32_t n);
    // The same with the tanh approximation of GELU; y may be gate.
    void (*gelu_mul)(float *y, const float *gate, const float *up, uint32_t n);
    // The largest of x, n >= 1; NaN is passed over.
    float (*peak)(const float *x, uint32_t n);
    // x = e^(x - top); returns their sum.
    float (*exps)(float *x, uint32_t n, float top);
    // x = cap tanh(x / cap).
    void (*softcap)(float *x, uint32_t n, float cap);
    // Rotates pairs: (x[i], x[i + half]) when `neox`, else (x[2i], x[2i + 1]), by the angles'
    // (cosine, sine) table of `half` pairs.
    void (*rope)(float *x, const float *cosine_sine, uint32_t half, bool neox);

    // The KV cache of one key-value head: blocks of HYP_KV_BLOCK positions, hyp_kv_block_bytes
    // each, laid out (kv_layout.h) for `scores` and `mix`. `n`: elements of a head; with Q8_0 a
    // multiple of 32.
    struct {
        // Stores position `at` of the block.
        void (*store_key)(void *block, uint32_t at, const float *x, uint32_t n);
        void (*store_value)(void *block, uint32_t at, const float *x, uint32_t n);
        // y[t][j] = scale * sum over i of q[t][i] * key[j][i], for j < keys rounded up to
        // HYP_GROUP. Q8_0: sums of 32, times d, added up.
        void (*scores)(float *y, size_t y_stride, const float *q, size_t q_stride, uint32_t tokens,
                       const void *block, uint32_t keys, uint32_t n, float scale);
        // y[t][i] = sum over j < keys of p[t][j] * value[j][i], for i < n rounded up to HYP_GROUP.
        // Q8_0: (p * d) * q.
        void (*mix)(float *y, size_t y_stride, const float *p, size_t p_stride, uint32_t tokens,
                    const void *block, uint32_t keys, uint32_t n);
    } kv[HYP_KV_FORMATS];
} hyp_kernels;

// Fills every slot with the scalar reference.
void hyp_kernels_scalar(hyp_kernels *table);

// Bytes of a packed group of HYP_GROUP rows; the same in every tier.
size_t hyp_group_bytes(hyp_format format, uint32_t cols);

// Group `index` of those that start at `w`. `group_bytes`: of each; 0: they are sparse groups,
// which start with their own size.
static inline const uint8_t *hyp_group_at(const uint8_t *w, size_t group_bytes, uint32_t index) {
    if (group_bytes) return w + index * group_bytes;
    for (; index > 0; index--) w += hyp_load_u32(w);
    return w;
}
static inline size_t hyp_act_bytes(const hyp_kernels *k, uint32_t cols) {
    return ((size_t)cols / HYP_BLOCK * 12 + (size_t)cols * k->act_elem_bytes + 63) & ~(size_t)63;
}
static inline size_t hyp_kv_block_bytes(hyp_kv_format f, uint32_t n) {
    uint32_t whole = (n + HYP_GROUP - 1) / HYP_GROUP * HYP_GROUP; // of keys and of values alike
    return HYP_KV_BLOCK * (f == HYP_KV_F16 ? 2 * (size_t)whole : (size_t)n / 32 * 34);
}

#endif
