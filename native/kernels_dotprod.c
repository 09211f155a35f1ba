// NEON with the dot product extension of ARMv8.2.
#include "kernels_native.h"

#ifdef __aarch64__
#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

#include "kernels_neon_tmpl.h"

ALWAYS_INLINE vi dot(vi sum, vb u, vi x) {
    return (vi)vdotq_s32((int32x4_t)sum, (int8x16_t)u, (int8x16_t)x);
}
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) { return dot(sum, w, x); }

#include "../src/kernels/matmul_tmpl.h"

void hyp_kernels_dotprod(hyp_kernels *table) { fill_table(table); }

#pragma clang attribute pop
#endif
