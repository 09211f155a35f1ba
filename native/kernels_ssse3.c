// SSSE3: codes in bytes, products by PMADDUBSW; signed levels by their magnitude and the sign moved
// to the activation.
#include "kernels_native.h"

#ifdef __x86_64__
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("ssse3"))), apply_to = function)

#define SIMD_BYTES 16
#define CODE_BITS 8
#define NARROW
#include "../src/kernels/simd.h"

enum { WIDE_OFFSET = 0, TILE_TOKENS = 4, TILE_VECTORS = 1 };
static const float CSR_MOST = 0; // never the faster

ALWAYS_INLINE vf halves(const void *p, const constants *c) { return halves_by_shifts(p, c); }
ALWAYS_INLINE vi dot16(vi sum, vb u, vi x) {
    return (vi)_mm_add_epi16((__m128i)sum, _mm_maddubs_epi16((__m128i)u, (__m128i)x));
}
ALWAYS_INLINE vi widen(vi sum) { return (vi)_mm_madd_epi16((__m128i)sum, _mm_set1_epi16(1)); }
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) {
    __m128i size = _mm_abs_epi8((__m128i)w), turned = _mm_sign_epi8((__m128i)x, (__m128i)w);
    return sum + widen((vi)_mm_maddubs_epi16(size, turned));
}
ALWAYS_INLINE vb lookup(vb table, vb code) {
    return (vb)_mm_shuffle_epi8((__m128i)table, (__m128i)code);
}

#include "../src/kernels/matmul_tmpl.h"

void hyp_kernels_ssse3(hyp_kernels *table) { fill_table(table); }

#pragma clang attribute pop
#endif
