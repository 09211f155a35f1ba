// What both tiers of ARM64 share: a vector of 16 bytes, halves by the processor, tables by TBL.
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
ALWAYS_INLINE vb lookup(vb table, vb code) {
    return (vb)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)code);
}
