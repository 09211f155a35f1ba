// SSE2, which every x86-64 has: codes in 16 bits, multiplied by PMADDWD. Codes of tables are
// looked up one by one.
#include "kernels_native.h"

#ifdef __x86_64__
#include <immintrin.h>

#define SIMD_BYTES 16
#define CODE_BITS 16
#include "../src/kernels/simd.h"

enum { WIDE_OFFSET = 0, TILE_TOKENS = 4, TILE_VECTORS = 2 };
static const float CSR_MOST = 0; // never the faster

ALWAYS_INLINE vf halves(const void *p, const constants *c) { return halves_by_shifts(p, c); }
ALWAYS_INLINE vi dot(vi sum, vb u, vi x) {
    return sum + (vi)_mm_madd_epi16((__m128i)u, (__m128i)x);
}
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) { return dot(sum, w, x); }
ALWAYS_INLINE vb lookup(vb table, vb code) {
    vb out = {0};
    for (uint32_t i = 0; i < SIMD_BYTES; i += 2) out[i] = table[code[i]];
    return out;
}

#include "../src/kernels/matmul_tmpl.h"

void hyp_kernels_sse2(hyp_kernels *table) { fill_table(table); }
#endif
