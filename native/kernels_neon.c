// NEON of every ARM64: products of bytes to 16 bits, pairs added up twice.
#include "kernels_native.h"

#ifdef __aarch64__
#include <arm_neon.h>

#include "kernels_neon_tmpl.h"

ALWAYS_INLINE vi dot(vi sum, vb u, vi x) {
    int8x16_t w = (int8x16_t)u, a = (int8x16_t)x;
    int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a))),
              high = vpaddlq_s16(vmull_high_s8(w, a));
    return sum + (vi)vpaddq_s32(low, high);
}
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) { return dot(sum, w, x); }

#include "../src/kernels/matmul_tmpl.h"

void hyp_kernels_neon(hyp_kernels *table) { fill_table(table); }
#endif
