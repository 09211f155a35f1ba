// SIMD128, and relaxed SIMD where the artefact is compiled for it.
//
// Plain: codes stand in 16 bits each, so that a shift and a mask make them operands of
// i32x4.dot_i16x8_s. Relaxed: codes in bytes are the second operand of
// i32x4.relaxed_dot_i8x16_i7x16_add_s, which every engine computes alike for 0..127. The levels of
// Q8_0 and of the IQ tables need the whole byte: with 128 added they go in as two nibbles, summed
// apart, for one token; as two equal halves and the odd bit, into one sum, for several.
#include "../src/kernels/kernels.h"

#include "../src/port.h"

#include <wasm_simd128.h>

#define SIMD_BYTES 16
#define ROLLED
#ifdef __wasm_relaxed_simd__
#define CODE_BITS 8
#define SPLIT_WIDE
#else
#define CODE_BITS 16
#endif
#include "../src/kernels/simd.h"

ALWAYS_INLINE vf halves(const void *p, const constants *c) { return halves_by_shifts(p, c); }
ALWAYS_INLINE vb lookup(vb table, vb code) {
    return (vb)wasm_i8x16_swizzle((v128_t)table, (v128_t)code);
}

#ifdef __wasm_relaxed_simd__
enum { WIDE_OFFSET = 128, TILE_TOKENS = 8, TILE_VECTORS = 4 };
static const float CSR_MOST = 0.12f;

ALWAYS_INLINE vi dot(vi sum, vb u, vi x) {
    return (vi)wasm_i32x4_relaxed_dot_i8x16_i7x16_add((v128_t)x, (v128_t)u, (v128_t)sum);
}
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) {
    vb half = (vb)(wasm_v128_and(wasm_u16x8_shr((v128_t)w, 1), wasm_i8x16_splat(127)));
    return dot(dot(dot(sum, half, x), half, x), w & 1, x);
}
#else
enum { WIDE_OFFSET = 0, TILE_TOKENS = 8, TILE_VECTORS = 4 };
static const float CSR_MOST = 0.16f;

ALWAYS_INLINE vi dot(vi sum, vb u, vi x) {
    return sum + (vi)wasm_i32x4_dot_i16x8((v128_t)u, (v128_t)x);
}
ALWAYS_INLINE vi dot_wide(vi sum, vb w, vi x) { return dot(sum, w, x); }
#endif

#include "../src/kernels/matmul_tmpl.h"

uint32_t hyp_port_kernels(hyp_kernels *table, uint32_t isa_mask) {
    uint32_t isa = hyp_port_caps()->isa & isa_mask;
    // One artefact, one set of packed layouts: without its own bit the whole tier stays out.
    if (isa != hyp_port_caps()->isa) return 0;
    fill_table(table);
    return isa;
}
