// Kernels in portable vectors of eight floats, whatever the tier's SIMD width: a tier's source file
// includes it, and it is compiled for that tier's instruction set. Sums keep the order that
// kernels.h states, so their bits are those of the scalar reference.
#ifndef HYP_KERNELS_VECTOR_TMPL_H
#define HYP_KERNELS_VECTOR_TMPL_H

#include "kv_layout.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

typedef float f8 __attribute__((vector_size(32)));
typedef int32_t i8x __attribute__((vector_size(32)));
typedef uint32_t u8x __attribute__((vector_size(32)));
typedef uint16_t u16x __attribute__((vector_size(16)));
typedef int8_t s8x __attribute__((vector_size(8)));

static inline f8 f8_load(const void *p) {
    f8 v;
    memcpy(&v, p, 32);
    return v;
}
static inline void f8_store(void *p, f8 v) { memcpy(p, &v, 32); }
static inline f8 f8_all(float x) { return (f8){x, x, x, x, x, x, x, x}; }
static inline f8 f8_load_part(const float *p, uint32_t n, float rest) {
    float part[8];
    for (uint32_t i = 0; i < 8; i++) part[i] = i < n ? p[i] : rest;
    return f8_load(part);
}
static inline void f8_store_part(float *p, f8 v, uint32_t n) {
    float part[8];
    f8_store(part, v);
    for (uint32_t i = 0; i < n; i++) p[i] = part[i];
}
static inline f8 f8_select(i8x mask, f8 yes, f8 no) {
    return (f8)(((i8x)yes & mask) | ((i8x)no & ~mask));
}
static inline float f8_fold(f8 s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// hyp_expf of eight floats, to the bit: x = n ln 2 + r, a polynomial in r, and n added to its
// exponent. Between the bounds that gives no subnormal; beyond them, what is computed is not taken.
static inline f8 f8_exp(f8 x) {
    f8 magic = f8_all(12582912.0f); // 1.5 * 2^23: in a sum with it the low bits are the integer
    f8 shifted = x * 1.44269504f + magic, n = shifted - magic, r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    f8 p = f8_all(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    f8 e = (f8)((u8x)p + ((u8x)shifted << 23));
    e = (f8)((i8x)e & ~(x < -87.3f));
    e = f8_select(x > 88.7f, f8_all(__builtin_inff()), e);
    return f8_select(x == x, e, x);
}

// hyp_f32_to_finite_f16 of eight floats.
static inline u8x u8x_select(i8x mask, u8x yes, u8x no) {
    return (yes & (u8x)mask) | (no & ~(u8x)mask);
}
static inline u16x f8_halves(f8 x) {
    u8x sign = (u8x)x >> 16 & 0x8000, rest = (u8x)x & 0x7FFFFFFF;
    u8x half = (rest - 0x38000000 + 0xFFF + (rest >> 13 & 1)) >> 13;
    half = u8x_select(rest < 0x38800000, (u8x)((f8)rest + 0.5f) - 0x3F000000, half);
    half = u8x_select(rest >= 0x477FF000, (u8x){0} + 0x7BFF, half);
    half = u8x_select(rest > 0x7F800000, (u8x){0}, half);
    return __builtin_convertvector(half | sign, u16x);
}
static void vec_store_key_f16(void *block, uint32_t at, const float *x, uint32_t n) {
    uint8_t *out = (uint8_t *)block + hyp_kv_key_at(HYP_KV_F16, at, 0, n);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        u16x h = f8_halves(f8_load(x + i));
        for (uint32_t k = 0; k < 8; k++) hyp_store_u16(out + 32 * (i + k), h[k]);
    }
    for (; i < n; i++) hyp_store_u16(out + 32 * i, hyp_f32_to_finite_f16(x[i]));
}
static void vec_store_value_f16(void *block, uint32_t at, const float *x, uint32_t n) {
    uint8_t *out = block;
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        u16x h = f8_halves(f8_load(x + i));
        memcpy(out + hyp_kv_value_at(HYP_KV_F16, at, i), &h, sizeof h);
    }
    for (; i < n; i++)
        hyp_store_u16(out + hyp_kv_value_at(HYP_KV_F16, at, i), hyp_f32_to_finite_f16(x[i]));
}

static void vec_rms_norm(float *y, const float *x, const float *weight, uint32_t n, float eps) {
    f8 s = f8_all(0);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) s += f8_load(x + i) * f8_load(x + i);
    if (i < n) s += f8_load_part(x + i, n - i, 0) * f8_load_part(x + i, n - i, 0);
    float scale = 1.0f / hyp_sqrtf(f8_fold(s) / (float)n + eps);
    for (i = 0; i + 8 <= n; i += 8) f8_store(y + i, f8_load(x + i) * scale * f8_load(weight + i));
    for (; i < n; i++) y[i] = x[i] * scale * weight[i];
}

// Products and sums as in the scalar reference, with the subtraction as the sum with a negative.
static void vec_rope(float *x, const float *cs, uint32_t half, bool neox) {
    const i8x minus = {INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0};
    uint32_t i = 0;
    if (neox)
#pragma clang loop unroll(disable)
        for (; i + 8 <= half; i += 8) {
            f8 low = f8_load(cs + 2 * i), high = f8_load(cs + 2 * i + 8);
            f8 c = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
            f8 s = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
            f8 a = f8_load(x + i), b = f8_load(x + half + i);
            f8_store(x + i, a * c - b * s);
            f8_store(x + half + i, a * s + b * c);
        }
    else
#pragma clang loop unroll(disable)
        for (; i + 4 <= half; i += 4) {
            f8 turn = f8_load(cs + 2 * i), v = f8_load(x + 2 * i);
            f8 c = __builtin_shufflevector(turn, turn, 0, 0, 2, 2, 4, 4, 6, 6);
            f8 s = __builtin_shufflevector(turn, turn, 1, 1, 3, 3, 5, 5, 7, 7);
            f8 other = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
            f8_store(x + 2 * i, v * c + other * (f8)((i8x)s ^ minus));
        }
    for (; i < half; i++) {
        float *a = x + (neox ? i : 2 * i), *b = x + (neox ? half + i : 2 * i + 1);
        float v = *a, w = *b, c = cs[2 * i], s = cs[2 * i + 1];
        *a = v * c - w * s;
        *b = v * s + w * c;
    }
}

static void vec_add(float *y, const float *x, uint32_t n) {
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) f8_store(y + i, f8_load(y + i) + f8_load(x + i));
    for (; i < n; i++) y[i] += x[i];
}

static inline f8 silu8(f8 g, f8 up) { return g / (1.0f + f8_exp(-g)) * up; }
static inline f8 gelu8(f8 g, f8 up) {
    f8 u = 0.79788456080286535588f * g * (1.0f + 0.044715f * g * g);
    return g / (1.0f + f8_exp(-2.0f * u)) * up;
}
static void vec_silu_mul(float *y, const float *gate, const float *up, uint32_t n) {
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) f8_store(y + i, silu8(f8_load(gate + i), f8_load(up + i)));
    if (i < n)
        f8_store_part(
            y + i, silu8(f8_load_part(gate + i, n - i, 0), f8_load_part(up + i, n - i, 0)), n - i);
}
static void vec_gelu_mul(float *y, const float *gate, const float *up, uint32_t n) {
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) f8_store(y + i, gelu8(f8_load(gate + i), f8_load(up + i)));
    if (i < n)
        f8_store_part(
            y + i, gelu8(f8_load_part(gate + i, n - i, 0), f8_load_part(up + i, n - i, 0)), n - i);
}

static float vec_peak(const float *x, uint32_t n) {
    float top = -__builtin_inff();
    f8 high = f8_all(top);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) high = f8_select(f8_load(x + i) > high, f8_load(x + i), high);
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    for (uint32_t j = 0; j < 8; j++) top = high[j] > top ? high[j] : top;
    return top;
}

static float vec_exps(float *x, uint32_t n, float top) {
    f8 s = f8_all(0);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        f8 e = f8_exp(f8_load(x + i) - top);
        f8_store(x + i, e);
        s += e;
    }
    if (i < n) {
        f8 e = f8_exp(f8_load_part(x + i, n - i, -__builtin_inff()) - top);
        f8_store_part(x + i, e, n - i);
        s += e;
    }
    return f8_fold(s);
}

// Rounds eight activations; returns them as integers within -127..127, 0 for what is no number.
// The sum with 1.5 * 2^23 has the integer in its low bits. With `bound` the products may be larger
// than 127, or not finite.
static inline i8x quantize8(const float *x, float inverse, bool bound) {
    f8 magic = f8_all(12582912.0f), r = f8_load(x) * inverse + magic;
    if (!bound) return ((i8x)r - (i8x)magic) & (r == r);
    r -= magic;
    r = f8_select(r > 127.0f, f8_all(127), r);
    r = f8_select(r < -127.0f, f8_all(-127), r);
    r = f8_select(r == r, r, f8_all(0));
    return __builtin_convertvector(r, i8x);
}

// d of a block of 32; returns 1 / d, or 0 where d is 0.
static inline float quantize_scale(const float *x, float *d) {
    f8 top = f8_all(0);
    for (uint32_t i = 0; i < 32; i += 8) {
        f8 a = (f8)((i8x)f8_load(x + i) & 0x7FFFFFFF);
        top = f8_select(a > top, a, top);
    }
    f8 other = __builtin_shufflevector(top, top, 4, 5, 6, 7, 0, 1, 2, 3);
    top = f8_select(other > top, other, top);
    other = __builtin_shufflevector(top, top, 2, 3, 0, 1, 6, 7, 4, 5);
    top = f8_select(other > top, other, top);
    float m = top[1] > top[0] ? top[1] : top[0];
    *d = m / 127;
    return *d > 0 ? 1 / *d : 0;
}

// A row of activations, as kernels.h lays it out; elements of `bytes` bytes.
static inline __attribute__((always_inline)) void
vec_quantize(void *dst, const float *x, uint32_t cols, const uint32_t bytes) {
    uint32_t blocks = cols / HYP_BLOCK;
    float *scale = dst;
    int32_t *total = (int32_t *)(scale + blocks);
    uint8_t *q = (uint8_t *)(total + 2 * (size_t)blocks);
    for (uint32_t b = 0; b < blocks; b++, x += 32, q += 32 * bytes) {
        float inverse = quantize_scale(x, scale + b);
        bool bound = inverse > 0x1p126f; // of a subnormal d
        i8x v[4];
        for (uint32_t i = 0; i < 4; i++) {
            v[i] = quantize8(x + 8 * i, inverse, bound);
            if (bytes == 1) {
                s8x narrow = __builtin_convertvector(v[i], s8x);
                memcpy(q + 8 * i, &narrow, 8);
            } else {
                u16x narrow = __builtin_convertvector(v[i], u16x);
                memcpy(q + 16 * i, &narrow, 16);
            }
        }
        for (uint32_t h = 0; h < 2; h++) {
            i8x sum = v[2 * h] + v[2 * h + 1];
            sum += __builtin_shufflevector(sum, sum, 4, 5, 6, 7, 0, 1, 2, 3);
            sum += __builtin_shufflevector(sum, sum, 2, 3, 0, 1, 6, 7, 4, 5);
            total[2 * b + h] = sum[0] + sum[1];
        }
    }
}

// Overwrites every slot that this file has. Soft cap and the stores of an 8-bit KV cache stay
// scalar: their time does not show in a profile.
static void vec_fill(hyp_kernels *table) {
    table->rms_norm = vec_rms_norm;
    table->add = vec_add;
    table->rope = vec_rope;
    table->silu_mul = vec_silu_mul;
    table->gelu_mul = vec_gelu_mul;
    table->peak = vec_peak;
    table->exps = vec_exps;
    hyp_kv_fill_stores(table);
    table->kv[HYP_KV_F16].store_key = vec_store_key_f16;
    table->kv[HYP_KV_F16].store_value = vec_store_value_f16;
}

#endif
