// The vector types of a tier, in the compiler's portable vectors.
//
// Before including this header, a tier's source file defines
//   SIMD_BYTES    bytes of a register: 16, 32 or 64
//   CODE_BITS     bits that a weight's code takes in a register: 8 or 16 (layout.h)
//   NARROW        optional: a saturating dot product into 16 bits is the cheaper one
//   ROLLED        optional: the loop over a block is not unrolled
//   SPLIT_WIDE    optional: signed levels of one token go into `dot` as two nibbles
//
// Between this header and matmul_tmpl.h it defines, for its instruction set, the functions
//   vf halves(const void *p, const constants *c)
//                 SIMD_WIDTH halves to floats, exact (an infinity may become 65536)
//   vi dot(vi sum, vb u, vi x)
//                 sum plus, for each row, its products of operands u (0..127) and activations x
//   vi dot_wide(vi sum, vb w, vi x)
//                 the same for signed levels plus WIDE_OFFSET
//   vb lookup(vb table, vb code)
//                 table[code], 16 entries in every 16 bytes
//   vi dot16(vi sum, vb u, vi x)
//                 NARROW, instead of `dot`: adds pairs of products in 16 bits
//   vi widen(vi sum)
//                 NARROW: adds up the pairs of 16 bits
// and the constants
//   WIDE_OFFSET   what is added to signed levels for dot_wide: 0 or 128
//   CSR_MOST      up to where compressed sparse rows are the faster matmul (`most` in kernels.h)
//   TILE_TOKENS, TILE_VECTORS
//                 tokens, and vectors of rows, that a matmul of many tokens keeps in registers
#ifndef HYP_KERNELS_SIMD_H
#define HYP_KERNELS_SIMD_H

#include "layout.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

typedef float vf __attribute__((vector_size(SIMD_BYTES)));
typedef int32_t vi __attribute__((vector_size(SIMD_BYTES)));
typedef uint32_t vu __attribute__((vector_size(SIMD_BYTES)));
typedef uint16_t vh __attribute__((vector_size(SIMD_BYTES)));
typedef uint8_t vb __attribute__((vector_size(SIMD_BYTES)));
typedef int16_t half_vh __attribute__((vector_size(SIMD_BYTES / 2)));
typedef uint16_t half_vu __attribute__((vector_size(SIMD_BYTES / 2)));
typedef int8_t quarter_vs __attribute__((vector_size(SIMD_BYTES / 4)));
typedef uint8_t quarter_vb __attribute__((vector_size(SIMD_BYTES / 4)));

enum {
    SIMD_WIDTH = SIMD_BYTES / 4,           // rows of a vector
    GROUP_VECTORS = HYP_GROUP / SIMD_WIDTH // vectors of a group
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE vf vf_load(const void *p) {
    vf v;
    memcpy(&v, p, SIMD_BYTES);
    return v;
}
ALWAYS_INLINE vi vi_load(const void *p) {
    vi v;
    memcpy(&v, p, SIMD_BYTES);
    return v;
}
ALWAYS_INLINE vh vh_load(const void *p) {
    vh v;
    memcpy(&v, p, SIMD_BYTES);
    return v;
}
ALWAYS_INLINE void vf_store(void *p, vf v) { memcpy(p, &v, SIMD_BYTES); }
ALWAYS_INLINE vf vf_all(float x) { return x - (vf){0}; }
ALWAYS_INLINE vi vi_all(int32_t x) { return x - (vi){0}; }
ALWAYS_INLINE vi vi_all_at(const void *p) { // the same four bytes everywhere
    int32_t x;
    memcpy(&x, p, 4);
    return vi_all(x);
}

// Prefetches what a matmul will read. Without it the processor's own prefetching leaves a quarter
// of the memory's speed unused. In wasm it does nothing.
enum { PREFETCH_BYTES = 8192 };
ALWAYS_INLINE void prefetch(const uint8_t *p, const uint32_t bytes) {
    _Pragma("clang loop unroll(full)") for (uint32_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(p + PREFETCH_BYTES + i);
}

// Volatile, so that no compiler (LLVM, Binaryen, V8) knows these values: vectors made of them stay
// in registers. V8 makes a known constant anew at each use, in three instructions.
static const volatile uint32_t plain_masks[9] = {0, 1, 3, 7, 15, 31, 63, 127, 255},
                               half_bits = 0x8FFFE000, half_up = 0x77800000; // 2^112

typedef struct constants {
    vi half_bits;
    vf half_up;
    // Masks of the planes. They have the type of the words, or LLVM loads a word once for each
    // type.
    vh low, high;
    vb table;
} constants;

ALWAYS_INLINE constants float_constants(void) {
    return (constants){.half_bits = vi_all((int32_t)half_bits),
                       .half_up = vf_all(hyp_bits_f32(half_up))};
}
// For tiers without an instruction for it.
ALWAYS_INLINE vf halves_by_shifts(const void *p, const constants *c) {
    half_vh h;
    memcpy(&h, p, SIMD_BYTES / 2);
    vi bits = (__builtin_convertvector(h, vi) << 13) & c->half_bits;
    return (vf)bits * c->half_up;
}

#endif
