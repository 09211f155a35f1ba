// AVX2 with F16C. Nibbles go into VPMADDUBSW as the unsigned operand: eight products of a block fit 16 bits (8 * 2 * 15 * 127 = 30480),
// so a block of 8 rows costs one widening multiply-add.
#include "kernels_native.h"

#ifdef __x86_64__
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)

#include "../src/kernels/vector.h"

static inline f8 f16_load(const void *p) { return (f8)_mm256_cvtph_ps(_mm_loadu_si128(p)); }
static inline __m256i splat4(const int8_t *q) {
    int32_t v;
    memcpy(&v, q, 4);
    return _mm256_set1_epi32(v);
}

static void quantize(void *dst, const float *x, uint32_t cols) {
    uint32_t blocks = cols / HYP_BLOCK;
    float *scale = dst;
    int32_t *total = (int32_t *)(scale + blocks);
    int8_t *q = (int8_t *)(total + blocks);
    for (uint32_t b = 0; b < blocks; b++, x += 32, q += 32) {
        float inverse = quantize_scale(x, scale + b);
        i8x v0 = quantize8(x, inverse), v1 = quantize8(x + 8, inverse), v2 = quantize8(x + 16, inverse), v3 = quantize8(x + 24, inverse);
        i8x sum = (v0 + v1) + (v2 + v3);
        total[b] = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32((__m256i)v0, (__m256i)v1), _mm256_packs_epi32((__m256i)v2, (__m256i)v3));
        _mm256_storeu_si256((__m256i *)q, _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }
}

typedef struct act_row {
    const float *scale;
    const int32_t *total;
    const int8_t *q;
} act_row;

static inline act_row act_at(const void *x, size_t stride, uint32_t t, uint32_t blocks) {
    const float *scale = (const float *)((const uint8_t *)x + t * stride);
    return (act_row){scale, (const int32_t *)(scale + blocks), (const int8_t *)(scale + 2 * (size_t)blocks)};
}

// One block's term of eight rows, added to `sum`. s16: the block's sums of products in 16 bits.
static inline __m256 term_q4(__m256 sum, __m256i s16, __m256 d, __m256 m, float scale, int32_t total, bool minimum) {
    __m256i isum = _mm256_madd_epi16(s16, _mm256_set1_epi16(1));
    __m256 ds = _mm256_mul_ps(d, _mm256_set1_ps(scale));
    if (!minimum) return _mm256_add_ps(sum, _mm256_mul_ps(ds, _mm256_cvtepi32_ps(_mm256_sub_epi32(isum, _mm256_set1_epi32(8 * total)))));
    __m256 low = _mm256_mul_ps(_mm256_mul_ps(m, _mm256_set1_ps(scale)), _mm256_set1_ps((float)total));
    return _mm256_add_ps(sum, _mm256_add_ps(_mm256_mul_ps(ds, _mm256_cvtepi32_ps(isum)), low));
}

// Eight rows times `tokens` (1 to 4, a constant after inlining).
static inline __attribute__((always_inline)) void tile_q4(float *y, size_t ys, const uint8_t *w, uint32_t cols, const void *x, size_t xs,
                                                          uint32_t t0, const uint32_t tokens, const bool minimum) {
    const uint32_t blocks = cols / HYP_BLOCK, head = minimum ? 32 : 16;
    const __m256i mask = _mm256_set1_epi8(15);
    act_row a[4];
    __m256 sum[4];
    for (uint32_t t = 0; t < tokens; t++) a[t] = act_at(x, xs, t0 + t, blocks), sum[t] = _mm256_setzero_ps();
    for (uint32_t b = 0; b < blocks; b++, w += head + 128) {
        __m256i s[4];
        for (uint32_t t = 0; t < tokens; t++) s[t] = _mm256_setzero_si256();
        for (uint32_t v = 0; v < 4; v++) {
            __m256i n = _mm256_loadu_si256((const __m256i *)(w + head + 32 * v));
            __m256i low = _mm256_and_si256(n, mask), high = _mm256_and_si256(_mm256_srli_epi16(n, 4), mask);
            for (uint32_t t = 0; t < tokens; t++) {
                const int8_t *q = a[t].q + b * 32 + 8 * v;
                s[t] = _mm256_add_epi16(s[t],
                                        _mm256_add_epi16(_mm256_maddubs_epi16(low, splat4(q)), _mm256_maddubs_epi16(high, splat4(q + 4))));
            }
        }
        __m256 d = (__m256)f16_load(w), m = minimum ? (__m256)f16_load(w + 16) : d;
        for (uint32_t t = 0; t < tokens; t++) sum[t] = term_q4(sum[t], s[t], d, m, a[t].scale[b], a[t].total[b], minimum);
    }
    for (uint32_t t = 0; t < tokens; t++) _mm256_storeu_ps(y + (t0 + t) * ys, sum[t]);
}

static inline __attribute__((always_inline)) void matmul_q4(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,
                                                            const void *x, size_t xs, uint32_t tokens, const bool minimum) {
    size_t group_bytes = hyp_group_bytes(minimum ? HYP_Q4_1 : HYP_Q4_0, cols);
    const uint8_t *in = w;
    for (uint32_t g = 0; g < groups; g++, in += group_bytes, y += HYP_GROUP) {
        uint32_t t = 0;
        for (; t + 4 <= tokens; t += 4) tile_q4(y, ys, in, cols, x, xs, t, 4, minimum);
        for (; t < tokens; t++) tile_q4(y, ys, in, cols, x, xs, t, 1, minimum);
    }
}

static void matmul_q4_0(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul_q4(y, ys, w, groups, cols, x, xs, tokens, false);
}
static void matmul_q4_1(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul_q4(y, ys, w, groups, cols, x, xs, tokens, true);
}

// Signed bytes: |w| unsigned times x with the sign of w; a pair stays within 2 * 128 * 127.
static inline __attribute__((always_inline)) void tile_q8(float *y, size_t ys, const uint8_t *w, uint32_t cols, const void *x, size_t xs,
                                                          uint32_t t0, const uint32_t tokens) {
    const uint32_t blocks = cols / HYP_BLOCK;
    act_row a[4];
    __m256 sum[4];
    for (uint32_t t = 0; t < tokens; t++) a[t] = act_at(x, xs, t0 + t, blocks), sum[t] = _mm256_setzero_ps();
    for (uint32_t b = 0; b < blocks; b++, w += 16 + 256) {
        __m256i s[4];
        for (uint32_t t = 0; t < tokens; t++) s[t] = _mm256_setzero_si256();
        for (uint32_t v = 0; v < 8; v++) {
            __m256i n = _mm256_loadu_si256((const __m256i *)(w + 16 + 32 * v)), size = _mm256_abs_epi8(n);
            for (uint32_t t = 0; t < tokens; t++)
                s[t] = _mm256_add_epi32(s[t],
                                        _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(splat4(a[t].q + b * 32 + 4 * v), n)),
                                                          _mm256_set1_epi16(1)));
        }
        __m256 d = (__m256)f16_load(w);
        for (uint32_t t = 0; t < tokens; t++)
            sum[t] = _mm256_add_ps(sum[t], _mm256_mul_ps(_mm256_mul_ps(d, _mm256_set1_ps(a[t].scale[b])), _mm256_cvtepi32_ps(s[t])));
    }
    for (uint32_t t = 0; t < tokens; t++) _mm256_storeu_ps(y + (t0 + t) * ys, sum[t]);
}

static void matmul_q8_0(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    size_t group_bytes = hyp_group_bytes(HYP_Q8_0, cols);
    const uint8_t *in = w;
    for (uint32_t g = 0; g < groups; g++, in += group_bytes, y += HYP_GROUP) {
        uint32_t t = 0;
        for (; t + 4 <= tokens; t += 4) tile_q8(y, ys, in, cols, x, xs, t, 4);
        for (; t < tokens; t++) tile_q8(y, ys, in, cols, x, xs, t, 1);
    }
}

void hyp_kernels_avx2(hyp_kernels *table) {
    vec_fill(table);
    table->quantize = quantize;
    table->weights[HYP_Q4_0].pack = hyp_pack_q4_0_bytes;
    table->weights[HYP_Q4_0].unpack = hyp_unpack_q4_0_bytes;
    table->weights[HYP_Q4_0].matmul = matmul_q4_0;
    table->weights[HYP_Q4_1].pack = hyp_pack_q4_1_bytes;
    table->weights[HYP_Q4_1].unpack = hyp_unpack_q4_1_bytes;
    table->weights[HYP_Q4_1].matmul = matmul_q4_1;
    table->weights[HYP_Q8_0].pack = hyp_pack_q8_0_bytes;
    table->weights[HYP_Q8_0].unpack = hyp_unpack_q8_0_bytes;
    table->weights[HYP_Q8_0].matmul = matmul_q8_0;
}

#pragma clang attribute pop
#endif
