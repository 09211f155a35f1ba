// AVX2 with AVX-VNNI: one instruction for four products and their sum. Signed levels go in with 128
// added.
#include "kernels_native.h"

#ifdef __x86_64__
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,f16c,avxvnni"))), apply_to = function)

#define SIMD_BYTES 32
#define CODE_BITS 8
#include "../src/kernels/simd.h"

enum { WIDE_OFFSET = 128, TILE_TOKENS = 4, TILE_VECTORS = 1 };
static const float CSR_MOST = 0; // never the faster

ALWAYS_INLINE vf halves(const void *p, const constants *c) {
    (void)c;
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128(p));
}
ALWAYS_INLINE vi dot(vi sum, vb u, vi x) {
    return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)u, (__m256i)x);
}
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) { return dot(sum, w, x); }
ALWAYS_INLINE vb lookup(vb table, vb code) {
    return (vb)_mm256_shuffle_epi8((__m256i)table, (__m256i)code);
}

#include "../src/kernels/matmul_tmpl.h"

void hyp_kernels_avxvnni(hyp_kernels *table) { fill_table(table); }

#pragma clang attribute pop
#endif
