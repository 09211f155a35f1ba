// AVX-512 with VBMI2: what a bitmap leaves out is put back by one instruction. Everything else is
// AVX-512's.
#include "kernels_native.h"

#ifdef __x86_64__
#include <immintrin.h>

#pragma clang attribute push(                                                                      \
    __attribute__((                                                                                \
        target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi2,avx2,f16c,popcnt"))),    \
    apply_to = function)

#define SIMD_BYTES 64
#define CODE_BITS 8
#include "../src/kernels/simd.h"

enum {
    WORDS = 4,
    MOST_TOKENS = 8,
    USUAL_BYTES = 192 // of a block at a density of 30 %
};
static const float BITMAP_MOST = 0.8f; // see kernels.h

// A group times `tokens` tokens, a constant after inlining. Sums are those of Q4_0 in
// matmul_tmpl.h, to the bit.
ALWAYS_INLINE void tile(float *y, size_t ys, const uint8_t *w, uint32_t cols, const uint8_t *x,
                        size_t xs, const uint32_t tokens, bool first) {
    const uint32_t blocks = cols / HYP_BLOCK;
    const __m512i low = _mm512_set1_epi8(15), zeros = _mm512_set1_epi8((char)0x88);
    __m512 sum[MOST_TOKENS];
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < tokens; t++) sum[t] = _mm512_setzero_ps();
    for (uint32_t b = 0; b < blocks; b++) {
        if (first) prefetch(w, USUAL_BYTES);
        const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)w));
        const uint8_t *masks = w + 2 * HYP_GROUP;
        __m512i acc[MOST_TOKENS];
#pragma clang loop unroll(full)
        for (uint32_t t = 0; t < tokens; t++) {
            const int32_t *total = (const int32_t *)(x + t * xs) + blocks + 2 * b;
            acc[t] = _mm512_set1_epi32(-8 * (total[0] + total[1]));
        }
        w = masks + 8 * WORDS;
#pragma clang loop unroll(full)
        for (uint32_t i = 0; i < WORDS; i++) {
            const uint64_t mask = hyp_load_u64(masks + 8 * i);
            const __m512i v = _mm512_mask_expand_epi8(zeros, mask, _mm512_loadu_si512(w));
            const __m512i near = _mm512_and_si512(v, low),
                          far = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
            w += __builtin_popcountll(mask);
#pragma clang loop unroll(full)
            for (uint32_t t = 0; t < tokens; t++) {
                const uint8_t *q = x + t * xs + 12 * (size_t)blocks + b * HYP_BLOCK + 8 * i;
                acc[t] = _mm512_dpbusd_epi32(acc[t], near,
                                             _mm512_set1_epi32((int32_t)hyp_load_u32(q)));
                acc[t] = _mm512_dpbusd_epi32(acc[t], far,
                                             _mm512_set1_epi32((int32_t)hyp_load_u32(q + 4)));
            }
        }
#pragma clang loop unroll(full)
        for (uint32_t t = 0; t < tokens; t++) {
            const __m512 scale = _mm512_set1_ps(((const float *)(const void *)(x + t * xs))[b]);
            sum[t] = _mm512_add_ps(
                sum[t], _mm512_mul_ps(_mm512_mul_ps(d, scale), _mm512_cvtepi32_ps(acc[t])));
        }
    }
#pragma clang loop unroll(full)
    for (uint32_t t = 0; t < tokens; t++) _mm512_storeu_ps(y + t * ys, sum[t]);
}

static void matmul_bitmap(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,
                          const void *x, size_t xs, uint32_t tokens) {
    const uint8_t *in = w, *rows = x;
    for (uint32_t g = 0; g < groups; g++, in += hyp_load_u32(in), y += HYP_GROUP) {
        uint32_t t = 0;
        for (; t + 8 <= tokens; t += 8)
            tile(y + t * ys, ys, in + 4, cols, rows + t * xs, xs, 8, t == 0);
        if (t + 4 <= tokens) {
            tile(y + t * ys, ys, in + 4, cols, rows + t * xs, xs, 4, t == 0);
            t += 4;
        }
        if (t + 2 <= tokens) {
            tile(y + t * ys, ys, in + 4, cols, rows + t * xs, xs, 2, t == 0);
            t += 2;
        }
        if (t < tokens) tile(y + t * ys, ys, in + 4, cols, rows + t * xs, xs, 1, t == 0);
    }
}

void hyp_kernels_vbmi2(hyp_kernels *table) {
    hyp_kernels_avx512(table);
    table->sparse[HYP_BITMAP].matmul = matmul_bitmap;
    table->sparse[HYP_BITMAP].most = BITMAP_MOST;
}

#pragma clang attribute pop
#endif
