// Little-endian loads and stores, half-precision conversion, small integer helpers. Everything
// inline.
#ifndef HYP_BASE_BYTES_H
#define HYP_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t hyp_load_u16(const void *p) {
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t hyp_load_u32(const void *p) {
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t hyp_load_u64(const void *p) {
    const uint8_t *b = p;
    return hyp_load_u32(b) | (uint64_t)hyp_load_u32(b + 4) << 32;
}
static inline void hyp_store_u16(void *p, uint16_t v) {
    uint8_t *b = p;
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}
static inline void hyp_store_u32(void *p, uint32_t v) {
    hyp_store_u16(p, (uint16_t)v);
    hyp_store_u16((uint8_t *)p + 2, (uint16_t)(v >> 16));
}
static inline void hyp_store_u64(void *p, uint64_t v) {
    hyp_store_u32(p, (uint32_t)v);
    hyp_store_u32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

static inline float hyp_bits_f32(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
static inline uint32_t hyp_f32_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

// The largest finite floats of 32 and of 16 bits.
#define HYP_F32_MOST 0x1.fffffep127f
#define HYP_F16_MOST 65504.0f

// IEEE binary16 to binary32, exact, infinities and NaN kept.
static inline float hyp_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7FFF;
    if (rest >= 0x7C00) return hyp_bits_f32(sign | 0x7F800000u | (rest & 0x3FF) << 13);
    return hyp_bits_f32(sign | hyp_f32_bits(hyp_bits_f32(rest << 13) * 0x1p112f));
}

// binary32 to binary16, round to nearest even.
static inline uint16_t hyp_f32_to_f16(float f) {
    uint32_t bits = hyp_f32_bits(f), sign = bits >> 16 & 0x8000, rest = bits & 0x7FFFFFFF;
    if (rest > 0x7F800000) return (uint16_t)(sign | 0x7E00);
    if (rest >= 0x477FF000) return (uint16_t)(sign | 0x7C00);
    if (rest < 0x38800000) { // subnormal half: let the adder of 0.5f round
        float r = hyp_bits_f32(rest) + 0.5f;
        return (uint16_t)(sign | (hyp_f32_bits(r) - 0x3F000000));
    }
    return (uint16_t)(sign | (rest - 0x38000000 + 0xFFF + (rest >> 13 & 1)) >> 13);
}

// The same, but a finite half always: the largest for what is larger, 0 for NaN.
static inline uint16_t hyp_f32_to_finite_f16(float f) {
    uint16_t h = hyp_f32_to_f16(f), rest = h & 0x7FFF;
    if (rest < 0x7C00) return h;
    return (uint16_t)((h & 0x8000) | (rest == 0x7C00 ? 0x7BFF : 0));
}

static inline float hyp_bf16_to_f32(uint16_t h) { return hyp_bits_f32((uint32_t)h << 16); }
// Rounds to nearest even; NaN stays quiet NaN.
static inline uint16_t hyp_f32_to_bf16(float f) {
    uint32_t bits = hyp_f32_bits(f);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
// 2^(e - 128): half the scale that an E8M0 exponent stands for.
static inline float hyp_e8m0_half(uint8_t e) {
    return hyp_bits_f32(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

static inline size_t hyp_round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
static inline uint32_t hyp_min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static inline size_t hyp_max_size(size_t a, size_t b) { return a > b ? a : b; }
static inline uint32_t hyp_max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

// a * b into *out; false when it does not fit.
static inline bool hyp_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool hyp_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

// FNV-1a, 64 bit (public domain, Fowler, Noll, Vo), with a final mix so that the low bits can index
// a table.
static inline uint64_t hyp_hash(const void *data, size_t bytes) {
    const uint8_t *p = data;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 1099511628211u;
    return h ^ h >> 32;
}

#endif
