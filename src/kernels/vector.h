// Eight-lane kernels in the compiler's portable vector types, for a tier's source file to include: it is compiled for the tier's
// instruction set there, and its sums keep the order that kernels.h states, so its bits are those of the scalar reference.
//
// The including file defines, before: static inline f8 f16_load(const void *p), eight halves to floats, exact.
#ifndef HYP_KERNELS_VECTOR_H
#define HYP_KERNELS_VECTOR_H

#include "kernels.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

typedef float f8 __attribute__((vector_size(32)));
typedef int32_t i8x __attribute__((vector_size(32)));
typedef uint32_t u8x __attribute__((vector_size(32)));
typedef uint16_t u16x __attribute__((vector_size(16)));
typedef int8_t s8x __attribute__((vector_size(8)));

static inline f8 f16_load(const void *p);

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
static inline f8 f8_select(i8x mask, f8 yes, f8 no) { return (f8)(((i8x)yes & mask) | ((i8x)no & ~mask)); }
static inline float f8_fold(f8 s) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }
static inline f8 bf16_load(const void *p) {
    u16x h;
    memcpy(&h, p, 16);
    return (f8)(__builtin_convertvector(h, u8x) << 16);
}

// hyp_expf on eight lanes, operation by operation.
static inline f8 f8_exp(f8 x) {
    f8 magic = f8_all(12582912.0f), safe = f8_select((x > -87.3f) & (x < 88.7f), x, f8_all(0));
    f8 n = (safe * 1.44269504f + magic) - magic, r = safe - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    f8 p = f8_all(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    i8x k = __builtin_convertvector(n, i8x), half = (k - (k >> 31)) >> 1; // k / 2 toward zero
    f8 e = p * (f8)((half + 127) << 23) * (f8)((k - half + 127) << 23);
    e = f8_select(x < -87.3f, f8_all(0), e);
    e = f8_select(x > 88.7f, f8_all(__builtin_inff()), e);
    return f8_select(x == x, e, x);
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
    if (i < n) f8_store_part(y + i, silu8(f8_load_part(gate + i, n - i, 0), f8_load_part(up + i, n - i, 0)), n - i);
}
static void vec_gelu_mul(float *y, const float *gate, const float *up, uint32_t n) {
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) f8_store(y + i, gelu8(f8_load(gate + i), f8_load(up + i)));
    if (i < n) f8_store_part(y + i, gelu8(f8_load_part(gate + i, n - i, 0), f8_load_part(up + i, n - i, 0)), n - i);
}

static void vec_softmax(float *x, uint32_t n) {
    float minus = -__builtin_inff(), top = minus;
    f8 high = f8_all(minus), s = f8_all(0);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) high = f8_select(f8_load(x + i) > high, f8_load(x + i), high);
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    for (uint32_t j = 0; j < 8; j++) top = high[j] > top ? high[j] : top;
    for (i = 0; i + 8 <= n; i += 8) {
        f8 e = f8_exp(f8_load(x + i) - top);
        f8_store(x + i, e);
        s += e;
    }
    if (i < n) {
        f8 e = f8_exp(f8_load_part(x + i, n - i, minus) - top);
        f8_store_part(x + i, e, n - i);
        s += e;
    }
    float inverse = 1.0f / f8_fold(s);
    for (i = 0; i + 8 <= n; i += 8) f8_store(x + i, f8_load(x + i) * inverse);
    for (; i < n; i++) x[i] *= inverse;
}

// Rounds eight activations; returns them as integers within -127..127.
static inline i8x quantize8(const float *x, float inverse) {
    f8 magic = f8_all(12582912.0f), r = (f8_load(x) * inverse + magic) - magic;
    r = f8_select(r > 127.0f, f8_all(127), r);
    r = f8_select(r < -127.0f, f8_all(-127), r);
    r = f8_select(r == r, r, f8_all(0));
    return __builtin_convertvector(r, i8x);
}

// One block of 32: fills d and the sum, and gives the integers to the caller's store.
static inline float quantize_scale(const float *x, float *d) {
    f8 top = f8_all(0);
    for (uint32_t i = 0; i < 32; i += 8) {
        f8 a = (f8)((i8x)f8_load(x + i) & 0x7FFFFFFF);
        top = f8_select(a > top, a, top);
    }
    float m = 0;
    for (uint32_t i = 0; i < 8; i++) m = top[i] > m ? top[i] : m;
    *d = m / 127;
    return *d > 0 ? 1 / *d : 0;
}

static inline f8 q8_load(const uint8_t *row, uint32_t i) {
    const uint8_t *block = row + i / 32 * 34;
    s8x q;
    memcpy(&q, block + 2 + i % 32, 8);
    return hyp_f16_to_f32(hyp_load_u16(block)) * __builtin_convertvector(q, f8);
}

// n is a multiple of 8 for F16 and of 32 for Q8_0: heads are. Four keys at a time share the loads of q.
#define VEC_KV(name, LOAD)                                                                                                                 \
    static void vec_scores_##name(float *out, const float *q, const void *k, size_t stride, uint32_t count, uint32_t n, float scale) {     \
        const uint8_t *key = k;                                                                                                            \
        uint32_t j = 0;                                                                                                                    \
        for (; j + 4 <= count; j += 4, key += 4 * stride) {                                                                                \
            f8 a = f8_all(0), b = a, c = a, d = a;                                                                                         \
            for (uint32_t i = 0; i < n; i += 8) {                                                                                          \
                f8 x = f8_load(q + i);                                                                                                     \
                a += x * LOAD(key, i);                                                                                                     \
                b += x * LOAD(key + stride, i);                                                                                            \
                c += x * LOAD(key + 2 * stride, i);                                                                                        \
                d += x * LOAD(key + 3 * stride, i);                                                                                        \
            }                                                                                                                              \
            out[j] = f8_fold(a) * scale, out[j + 1] = f8_fold(b) * scale, out[j + 2] = f8_fold(c) * scale,                                 \
            out[j + 3] = f8_fold(d) * scale;                                                                                               \
        }                                                                                                                                  \
        for (; j < count; j++, key += stride) {                                                                                            \
            f8 a = f8_all(0);                                                                                                              \
            for (uint32_t i = 0; i < n; i += 8) a += f8_load(q + i) * LOAD(key, i);                                                        \
            out[j] = f8_fold(a) * scale;                                                                                                   \
        }                                                                                                                                  \
    }                                                                                                                                      \
    static void vec_mix_##name(float *y, const float *p, const void *v, size_t stride, uint32_t count, uint32_t n) {                       \
        uint32_t i = 0;                                                                                                                    \
        for (; i + 32 <= n; i += 32) {                                                                                                     \
            f8 a = f8_all(0), b = a, c = a, d = a;                                                                                         \
            const uint8_t *row = v;                                                                                                        \
            for (uint32_t j = 0; j < count; j++, row += stride) {                                                                          \
                f8 w = f8_all(p[j]);                                                                                                       \
                a += w * LOAD(row, i);                                                                                                     \
                b += w * LOAD(row, i + 8);                                                                                                 \
                c += w * LOAD(row, i + 16);                                                                                                \
                d += w * LOAD(row, i + 24);                                                                                                \
            }                                                                                                                              \
            f8_store(y + i, a), f8_store(y + i + 8, b), f8_store(y + i + 16, c), f8_store(y + i + 24, d);                                  \
        }                                                                                                                                  \
        for (; i < n; i += 8) {                                                                                                            \
            f8 a = f8_all(0);                                                                                                              \
            for (uint32_t j = 0; j < count; j++) a += p[j] * LOAD((const uint8_t *)v + j * stride, i);                                     \
            f8_store(y + i, a);                                                                                                            \
        }                                                                                                                                  \
    }
#define LOAD_F16(row, i) f16_load((row) + 2 * (i))
VEC_KV(f16, LOAD_F16)
VEC_KV(q8, q8_load)
#undef VEC_KV

// Products with float activations on (columns, 8 rows): four tokens share a weight, or four groups hide the adder's latency.
#define VEC_MATMUL(name, LOAD, BYTES)                                                                                                      \
    static void vec_matmul_##name(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs,            \
                                  uint32_t tokens) {                                                                                       \
        size_t group_bytes = (size_t)cols * HYP_GROUP * BYTES;                                                                             \
        uint32_t t = 0;                                                                                                                    \
        for (; t + 4 <= tokens; t += 4) {                                                                                                  \
            const float *x0 = (const float *)((const uint8_t *)x + t * xs), *x1 = (const float *)((const uint8_t *)x0 + xs),               \
                        *x2 = (const float *)((const uint8_t *)x1 + xs), *x3 = (const float *)((const uint8_t *)x2 + xs);                  \
            for (uint32_t g = 0; g < groups; g++) {                                                                                        \
                const uint8_t *in = (const uint8_t *)w + g * group_bytes;                                                                  \
                f8 a = f8_all(0), b = a, c = a, d = a;                                                                                     \
                for (uint32_t i = 0; i < cols; i++, in += HYP_GROUP * BYTES) {                                                             \
                    f8 e = LOAD(in);                                                                                                       \
                    a += e * x0[i], b += e * x1[i], c += e * x2[i], d += e * x3[i];                                                        \
                }                                                                                                                          \
                float *out = y + t * ys + g * HYP_GROUP;                                                                                   \
                f8_store(out, a), f8_store(out + ys, b), f8_store(out + 2 * ys, c), f8_store(out + 3 * ys, d);                             \
            }                                                                                                                              \
        }                                                                                                                                  \
        for (; t < tokens; t++) {                                                                                                          \
            const float *in = (const float *)((const uint8_t *)x + t * xs);                                                                \
            float *out = y + t * ys;                                                                                                       \
            uint32_t g = 0;                                                                                                                \
            for (; g + 4 <= groups; g += 4) {                                                                                              \
                const uint8_t *w0 = (const uint8_t *)w + g * group_bytes, *w1 = w0 + group_bytes, *w2 = w1 + group_bytes,                  \
                              *w3 = w2 + group_bytes;                                                                                      \
                f8 a = f8_all(0), b = a, c = a, d = a;                                                                                     \
                for (size_t i = 0; i < cols; i++) {                                                                                        \
                    size_t at = i * HYP_GROUP * BYTES;                                                                                     \
                    f8 e = f8_all(in[i]);                                                                                                  \
                    a += LOAD(w0 + at) * e, b += LOAD(w1 + at) * e, c += LOAD(w2 + at) * e, d += LOAD(w3 + at) * e;                        \
                }                                                                                                                          \
                f8_store(out + g * 8, a), f8_store(out + g * 8 + 8, b), f8_store(out + g * 8 + 16, c), f8_store(out + g * 8 + 24, d);      \
            }                                                                                                                              \
            for (; g < groups; g++) {                                                                                                      \
                const uint8_t *w0 = (const uint8_t *)w + g * group_bytes;                                                                  \
                f8 a = f8_all(0);                                                                                                          \
                for (size_t i = 0; i < cols; i++) a += LOAD(w0 + i * HYP_GROUP * BYTES) * in[i];                                           \
                f8_store(out + g * 8, a);                                                                                                  \
            }                                                                                                                              \
        }                                                                                                                                  \
    }
VEC_MATMUL(f32, f8_load, 4)
VEC_MATMUL(f16, f16_load, 2)
VEC_MATMUL(bf16, bf16_load, 2)
#undef VEC_MATMUL

// Overwrites every slot that this file serves (RoPE, soft cap and the cache's stores stay scalar: they do not show); the tier adds its products of quantized weights and its `quantize`.
static void vec_fill(hyp_kernels *table) {
    table->weights[HYP_F32].pack = hyp_pack_f32_columns;
    table->weights[HYP_F32].unpack = hyp_unpack_f32_columns;
    table->weights[HYP_F32].matmul = vec_matmul_f32;
    table->weights[HYP_F16].pack = hyp_pack_16_columns;
    table->weights[HYP_F16].unpack = hyp_unpack_f16_columns;
    table->weights[HYP_F16].matmul = vec_matmul_f16;
    table->weights[HYP_BF16].pack = hyp_pack_16_columns;
    table->weights[HYP_BF16].unpack = hyp_unpack_bf16_columns;
    table->weights[HYP_BF16].matmul = vec_matmul_bf16;
    table->rms_norm = vec_rms_norm;
    table->add = vec_add;
    table->silu_mul = vec_silu_mul;
    table->gelu_mul = vec_gelu_mul;
    table->softmax = vec_softmax;
    table->kv[HYP_KV_F16].scores = vec_scores_f16;
    table->kv[HYP_KV_F16].mix = vec_mix_f16;
    table->kv[HYP_KV_Q8_0].scores = vec_scores_q8;
    table->kv[HYP_KV_Q8_0].mix = vec_mix_q8;
}

#endif
