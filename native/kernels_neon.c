// NEON of every ARM64: products of bytes to 16 bits, pairs added up twice.
#include "kernels_native.h"

#ifdef __aarch64__
#include <arm_neon.h>

#define SIMD_BYTES 16
#define CODE_BITS 8
#include "../src/kernels/simd.h"

enum { WIDE_OFFSET = 0, TILE_TOKENS = 4, TILE_VECTORS = 4 };
static const float CSR_MOST = 0; // never the faster

ALWAYS_INLINE vf halves(const void *p, const constants *c) {
    float16x4_t h;
    memcpy(&h, p, 8);
    (void)c;
    return (vf)vcvt_f32_f16(h);
}
ALWAYS_INLINE vi dot(vi sum, vb u, vi x) {
    int8x16_t w = (int8x16_t)u, a = (int8x16_t)x;
    int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a))),
              high = vpaddlq_s16(vmull_high_s8(w, a));
    return sum + (vi)vpaddq_s32(low, high);
}
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) { return dot(sum, w, x); }
ALWAYS_INLINE vb lookup(vb table, vb code) {
    return (vb)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)code);
}

#include "../src/kernels/matmul_tmpl.h"

void hyp_kernels_neon(hyp_kernels *table) { fill_table(table); }
#endif
