// AVX-512 with VNNI: a group's 16 rows in one register, and registers enough for eight tokens.
#include "kernels_native.h"

#ifdef __x86_64__
#include <immintrin.h>

#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,f16c"))),            \
    apply_to = function)

#define SIMD_BYTES 64
#define CODE_BITS 8
#include "../src/kernels/simd.h"

enum { WIDE_OFFSET = 128, TILE_TOKENS = 8, TILE_VECTORS = 1 };
static const float CSR_MOST = 0; // never the faster

ALWAYS_INLINE vf halves(const void *p, const constants *c) {
    (void)c;
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(p));
}
ALWAYS_INLINE vi dot(vi sum, vb u, vi x) {
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)u, (__m512i)x);
}
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) { return dot(sum, w, x); }
ALWAYS_INLINE vb lookup(vb table, vb code) {
    return (vb)_mm512_shuffle_epi8((__m512i)table, (__m512i)code);
}

#include "../src/kernels/matmul_tmpl.h"

void hyp_kernels_avx512(hyp_kernels *table) { fill_table(table); }

#pragma clang attribute pop
#endif
