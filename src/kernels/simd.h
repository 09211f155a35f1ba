// The vector types of a tier, in the compiler's portable vectors. Before including it, a tier's
// source file defines
//   VECTOR  bytes of a register: 16, 32 or 64          LANE  bits of a lane of codes: 8 or 16
//   (layout.h)
// and between this header and products.h, for its instruction set:
//   static inline vf halves(const void *p, const constants *c)   LANES halves to floats, exact
//   (infinities may become 65536) static inline vi dot(vi sum, vb u, vi x)           adds each
//   lane's products of operands u (0..127) and activations x static inline vi dot_wide(vi sum, vb
//   w, vi x)      the same for signed levels plus WIDE_OFFSET (0 or 128) static inline vb lookup(vb
//   table, vb code)         table[code], 16 entries in every 16 bytes CSR_MOST: when compressed
//   sparse rows are the faster product (`most` in kernels.h) TILE_TOKENS, TILE_PARTS: tokens and
//   vectors of rows that a product of many tokens keeps in registers
// ROLLED: a block stays a loop. SPLIT_WIDE: signed levels of one token go into `dot` as two nibbles
// and, where a saturating 16-bit step is the cheaper one, NARROW with
//   static inline vi dot16(vi sum, vb u, vi x)         adds pairs of products in 16 bits
//   static inline vi widen(vi sum)                     adds the pairs up
#ifndef HYP_KERNELS_SIMD_H
#define HYP_KERNELS_SIMD_H

#include "layout.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

typedef float vf __attribute__((vector_size(VECTOR)));
typedef int32_t vi __attribute__((vector_size(VECTOR)));
typedef uint32_t vu __attribute__((vector_size(VECTOR)));
typedef uint16_t vh __attribute__((vector_size(VECTOR)));
typedef uint8_t vb __attribute__((vector_size(VECTOR)));
typedef int16_t half_vh __attribute__((vector_size(VECTOR / 2)));
typedef uint16_t half_vu __attribute__((vector_size(VECTOR / 2)));
typedef int8_t quarter_vs __attribute__((vector_size(VECTOR / 4)));
typedef uint8_t quarter_vb __attribute__((vector_size(VECTOR / 4)));

enum { LANES = VECTOR / 4, PARTS = HYP_GROUP / LANES }; // rows of a vector, vectors of a group

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE vf vf_load(const void *p) {
    vf v;
    memcpy(&v, p, VECTOR);
    return v;
}
ALWAYS_INLINE vi vi_load(const void *p) {
    vi v;
    memcpy(&v, p, VECTOR);
    return v;
}
ALWAYS_INLINE vh vh_load(const void *p) {
    vh v;
    memcpy(&v, p, VECTOR);
    return v;
}
ALWAYS_INLINE void vf_store(void *p, vf v) { memcpy(p, &v, VECTOR); }
ALWAYS_INLINE vf vf_all(float x) { return x - (vf){0}; }
ALWAYS_INLINE vi vi_all(int32_t x) { return x - (vi){0}; }
ALWAYS_INLINE vi vi_all_at(const void *p) { // four bytes in every lane
    int32_t x;
    memcpy(&x, p, 4);
    return vi_all(x);
}

// Asks for what a product will read: a quarter more comes from memory than by the processor's own
// prefetching. In wasm it is nothing.
enum { AHEAD_BYTES = 8192 };
ALWAYS_INLINE void ahead(const uint8_t *p, const uint32_t bytes) {
    _Pragma("clang loop unroll(full)") for (uint32_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(p + AHEAD_BYTES + i);
}

// Values that no compiler knows, LLVM, Binaryen or V8: vectors made of them stay in registers,
// where V8 would make a constant anew at each use, in three instructions.
static const volatile uint32_t plain_masks[9] = {0, 1, 3, 7, 15, 31, 63, 127, 255},
                               half_bits = 0x8FFFE000, half_up = 0x77800000; // 2^112

typedef struct constants {
    vi half_bits;
    vf half_up;
    vh low, high; // masks of the planes; of the words' own type, or LLVM loads a word once for each
                  // type
    vb table;
} constants;

ALWAYS_INLINE constants float_constants(void) {
    return (constants){.half_bits = vi_all((int32_t)half_bits),
                       .half_up = vf_all(hyp_bits_f32(half_up))};
}
// For tiers without an instruction for it.
ALWAYS_INLINE vf halves_by_shifts(const void *p, const constants *c) {
    half_vh h;
    memcpy(&h, p, VECTOR / 2);
    vi bits = (__builtin_convertvector(h, vi) << 13) & c->half_bits;
    return (vf)bits * c->half_up;
}

#endif
