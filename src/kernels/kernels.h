// The kernel table: every inner loop of the engine behind one pointer each.
//
// Floating-point sums run in an order that is part of the contract, so that every tier gives the same bits as the scalar reference:
// a product of a weight row is summed over the columns in ascending order, one accumulator a row; a reduction of a vector keeps eight
// partial sums (element i goes to sum i % 8) folded as ((0+4)+(2+6)) + ((1+5)+(3+7)). No fused multiply-add anywhere.
//
// Weights are packed once, HYP_GROUP rows at a time, in whatever layout the tier's product wants; only the tier's own slots read it.
// Kernels never allocate and never suspend.
#ifndef HYP_KERNELS_KERNELS_H
#define HYP_KERNELS_KERNELS_H

#include "format.h"

#include <stdbool.h>

enum {
    HYP_GROUP = 8,  // weight rows packed together; a product writes whole groups
    HYP_BLOCK = 32, // elements per scale, weights and activations alike
    HYP_KV_FORMATS = 2
};

typedef enum hyp_kv_format { HYP_KV_F16, HYP_KV_Q8_0 } hyp_kv_format;

// Packs rows of `cols` elements: `rows` (1..HYP_GROUP) consecutive rows at `src` in the stored format; missing ones become zero.
// `dst`: hyp_packed_bytes. `src` may be unaligned.
typedef void hyp_pack_fn(void *dst, const void *src, uint32_t rows, uint32_t cols);
// Row `row` (0..HYP_GROUP-1) of a packed group as floats; the inverse of pack.
typedef void hyp_unpack_fn(float *dst, const void *group, uint32_t row, uint32_t cols);
// y[t * y_stride + r] = sum over c of w[r][c] * x[t][c], for r < groups * HYP_GROUP and t < tokens.
// `x`: rows of `x_stride` bytes, floats for F32 / F16 / BF16, what `quantize` wrote for the others. y_stride in floats.
typedef void hyp_matmul_fn(float *y, size_t y_stride, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t x_stride,
                           uint32_t tokens);

typedef struct hyp_kernels {
    struct {
        hyp_pack_fn *pack;
        hyp_unpack_fn *unpack;
        hyp_matmul_fn *matmul;
    } weights[HYP_FORMATS];

    // Activations to 8 bits: per 32 elements d = max |x| / 127 and q = x / d rounded to nearest even (NaN: 0), with the sum of q.
    // Layout of a row: float d[cols/32]; int32 sum[cols/32]; then q, act_elem_bytes each. cols is a multiple of 32.
    void (*quantize)(void *dst, const float *x, uint32_t cols);
    uint32_t act_elem_bytes; // 1 or 2, the tier's choice

    void (*rms_norm)(float *y, const float *x, const float *weight, uint32_t n,
                     float eps);                                                // y = x / sqrt(mean(x^2) + eps) * weight; y may be x
    void (*add)(float *y, const float *x, uint32_t n);                          // y += x
    void (*silu_mul)(float *y, const float *gate, const float *up, uint32_t n); // y = gate / (1 + e^-gate) * up; y may be gate
    void (*gelu_mul)(float *y, const float *gate, const float *up, uint32_t n); // tanh approximation of GELU; y may be gate
    void (*softmax)(float *x, uint32_t n);                                      // in place, n >= 1
    void (*softcap)(float *x, uint32_t n, float cap);                           // x = cap tanh(x / cap)
    // Rotates pairs: (x[i], x[i + half]) when `neox`, else (x[2i], x[2i + 1]), by the angles' (cosine, sine) table of `half` pairs.
    void (*rope)(float *x, const float *cosine_sine, uint32_t half, bool neox);

    struct {
        void (*store)(void *dst, const float *x, uint32_t n); // one head's key or value
        // scores[i] = scale * q . k[i], for `count` keys of `n` elements, `stride` bytes apart
        void (*scores)(float *scores, const float *q, const void *k, size_t stride, uint32_t count, uint32_t n, float scale);
        // y = sum over i of p[i] * v[i], ascending i
        void (*mix)(float *y, const float *p, const void *v, size_t stride, uint32_t count, uint32_t n);
    } kv[HYP_KV_FORMATS];
} hyp_kernels;

// Fills every slot with the scalar reference.
void hyp_kernels_scalar(hyp_kernels *table);

static inline bool hyp_format_is_float(hyp_format f) { return f == HYP_F32 || f == HYP_F16 || f == HYP_BF16; }
// Bytes of a packed group of HYP_GROUP rows; the same in every tier.
static inline size_t hyp_group_bytes(hyp_format f, uint32_t cols) { return HYP_GROUP * hyp_format_row_bytes(f, cols); }
static inline size_t hyp_act_bytes(const hyp_kernels *k, uint32_t cols) {
    return ((size_t)cols / HYP_BLOCK * 8 + (size_t)cols * k->act_elem_bytes + 63) & ~(size_t)63;
}
static inline size_t hyp_kv_bytes(hyp_kv_format f, uint32_t n) { return f == HYP_KV_F16 ? 2 * (size_t)n : (size_t)n / 32 * 34; }

// ---- Packed layouts shared by tiers (pack.c). Per block of 32 columns: HYP_GROUP scales (F16; Q4_1: then HYP_GROUP minima), then the elements.
// Nibbles in bytes: byte (8 rows x 4 columns) v = 0..3 holds columns 8v + c low and 8v + 4 + c high. For products of bytes.
hyp_pack_fn hyp_pack_q4_0_bytes, hyp_pack_q4_1_bytes;
hyp_unpack_fn hyp_unpack_q4_0_bytes, hyp_unpack_q4_1_bytes;
// Nibbles in 16-bit lanes: two halves of 4 rows; lane (row, j) of vector v = 0..3 holds columns 8v + 2p + j in nibble p.
hyp_pack_fn hyp_pack_q4_0_lanes, hyp_pack_q4_1_lanes;
hyp_unpack_fn hyp_unpack_q4_0_lanes, hyp_unpack_q4_1_lanes;
// Q8_0 in bytes: 8 vectors of (8 rows x 4 columns).
hyp_pack_fn hyp_pack_q8_0_bytes;
hyp_unpack_fn hyp_unpack_q8_0_bytes;
// Q8_0 in pairs: 16 vectors of (8 rows x 2 columns).
hyp_pack_fn hyp_pack_q8_0_pairs;
hyp_unpack_fn hyp_unpack_q8_0_pairs;
// Floats: (columns, 8 rows).
hyp_pack_fn hyp_pack_f32_columns, hyp_pack_16_columns;
hyp_unpack_fn hyp_unpack_f32_columns, hyp_unpack_f16_columns, hyp_unpack_bf16_columns;

#endif
