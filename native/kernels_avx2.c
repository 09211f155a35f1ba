// AVX2 with F16C: SSSE3's way at twice the width.
#include "kernels_native.h"

#ifdef __x86_64__
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)

#define SIMD_BYTES 32
#define CODE_BITS 8
#define NARROW
#include "../src/kernels/simd.h"

enum { WIDE_OFFSET = 0, TILE_TOKENS = 4, TILE_VECTORS = 1 };
static const float CSR_MOST = 0; // never the faster

ALWAYS_INLINE vf halves(const void *p, const constants *c) {
    (void)c;
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128(p));
}
ALWAYS_INLINE vi dot16(vi sum, vb u, vi x) {
    return (vi)_mm256_add_epi16((__m256i)sum, _mm256_maddubs_epi16((__m256i)u, (__m256i)x));
}
ALWAYS_INLINE vi widen(vi sum) { return (vi)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(1)); }
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) {
    __m256i size = _mm256_abs_epi8((__m256i)w), turned = _mm256_sign_epi8((__m256i)x, (__m256i)w);
    return sum + widen((vi)_mm256_maddubs_epi16(size, turned));
}
ALWAYS_INLINE vb lookup(vb table, vb code) {
    return (vb)_mm256_shuffle_epi8((__m256i)table, (__m256i)code);
}

#include "../src/kernels/matmul_tmpl.h"

void hyp_kernels_avx2(hyp_kernels *table) { fill_table(table); }

#pragma clang attribute pop
#endif
