// SIMD128, and relaxed SIMD where the artefact is compiled for it.
//
// Plain: nibbles stand in 16-bit lanes, so that a mask alone makes them operands of i32x4.dot_i16x8_s: those at bits 4 and 8 are left
// where they stand and their sums shifted down once a block, exactly. Activations are 16 bits wide, a pair splatted over the rows.
// Relaxed: nibbles in bytes, the raw nibble as the second operand of i32x4.relaxed_dot_i8x16_i7x16_add_s, where every engine agrees.
#include "../src/kernels/kernels.h"

#include "../src/port.h"

#include <wasm_simd128.h>

#include "../src/kernels/vector.h"

// Sign-extended half to the bits of a float that is 2^-112 too small.
static inline v128_t half_bits(v128_t wide) { return wasm_v128_and(wasm_i32x4_shl(wide, 13), wasm_i32x4_splat((int32_t)0x8FFFE000)); }

static inline f8 f16_load(const void *p) {
    v128_t h = wasm_v128_load(p), up = wasm_f32x4_splat(0x1p112f);
    v128_t halves[2] = {wasm_f32x4_mul(half_bits(wasm_i32x4_extend_low_i16x8(h)), up),
                        wasm_f32x4_mul(half_bits(wasm_i32x4_extend_high_i16x8(h)), up)};
    return f8_load(halves);
}

#ifdef __wasm_relaxed_simd__
typedef int8_t act_elem;
#define PACK_Q4_0 hyp_pack_q4_0_bytes
#define PACK_Q4_1 hyp_pack_q4_1_bytes
#define UNPACK_Q4_0 hyp_unpack_q4_0_bytes
#define UNPACK_Q4_1 hyp_unpack_q4_1_bytes
#else
typedef int16_t act_elem;
#define PACK_Q4_0 hyp_pack_q4_0_lanes
#define PACK_Q4_1 hyp_pack_q4_1_lanes
#define UNPACK_Q4_0 hyp_unpack_q4_0_lanes
#define UNPACK_Q4_1 hyp_unpack_q4_1_lanes
#endif

static void quantize(void *dst, const float *x, uint32_t cols) {
    uint32_t blocks = cols / HYP_BLOCK;
    float *scale = dst;
    int32_t *total = (int32_t *)(scale + blocks);
    act_elem *q = (act_elem *)(total + blocks);
    for (uint32_t b = 0; b < blocks; b++, x += 32, q += 32) {
        float inverse = quantize_scale(x, scale + b);
        int32_t sum = 0;
        for (uint32_t i = 0; i < 32; i += 8) {
            i8x v = quantize8(x + i, inverse);
            for (uint32_t j = 0; j < 8; j++) q[i + j] = (act_elem)v[j], sum += v[j];
        }
        total[b] = sum;
    }
}

typedef struct act_row {
    const float *scale;
    const int32_t *total;
    const act_elem *q;
} act_row;

static inline act_row act_at(const void *x, size_t stride, uint32_t t, uint32_t blocks) {
    const float *scale = (const float *)((const uint8_t *)x + t * stride);
    return (act_row){scale, (const int32_t *)(scale + blocks), (const act_elem *)(scale + 2 * (size_t)blocks)};
}

// A block's term of eight rows: d and m hold eight halves, `isum` two quads of exact sums (for Q4_0 less 8 * total already).
// The product with 2^112 * scale is exact up to the one rounding that the reference makes.
static inline __attribute__((always_inline)) void add_term(v128_t sum[2], const v128_t isum[2], v128_t d, v128_t m, float scale,
                                                           int32_t total, const bool minimum) {
    v128_t up = wasm_f32x4_splat(scale * 0x1p112f);
    v128_t low = wasm_f32x4_mul(wasm_f32x4_mul(half_bits(wasm_i32x4_extend_low_i16x8(d)), up), wasm_f32x4_convert_i32x4(isum[0]));
    v128_t high = wasm_f32x4_mul(wasm_f32x4_mul(half_bits(wasm_i32x4_extend_high_i16x8(d)), up), wasm_f32x4_convert_i32x4(isum[1]));
    if (minimum) {
        v128_t all = wasm_f32x4_splat((float)total);
        low = wasm_f32x4_add(low, wasm_f32x4_mul(wasm_f32x4_mul(half_bits(wasm_i32x4_extend_low_i16x8(m)), up), all));
        high = wasm_f32x4_add(high, wasm_f32x4_mul(wasm_f32x4_mul(half_bits(wasm_i32x4_extend_high_i16x8(m)), up), all));
    }
    sum[0] = wasm_f32x4_add(sum[0], low);
    sum[1] = wasm_f32x4_add(sum[1], high);
}

#define DOT(acc, w, x) acc = wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(w, x))

#ifdef __wasm_relaxed_simd__
static inline __attribute__((always_inline)) void block_q4(v128_t isum[][2], const uint8_t *w, const act_row *a, uint32_t b,
                                                           const uint32_t tokens) {
    const v128_t mask = wasm_i8x16_splat(15);
    for (uint32_t v = 0; v < 4; v++) {
        v128_t n0 = wasm_v128_load(w + 32 * v), n1 = wasm_v128_load(w + 32 * v + 16);
        v128_t low0 = wasm_v128_and(n0, mask), low1 = wasm_v128_and(n1, mask), high0 = wasm_u8x16_shr(n0, 4), high1 = wasm_u8x16_shr(n1, 4);
        for (uint32_t t = 0; t < tokens; t++) {
            const int8_t *q = a[t].q + b * 32 + 8 * v;
            v128_t x = wasm_v128_load32_splat(q), z = wasm_v128_load32_splat(q + 4);
            isum[t][0] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(x, low0, isum[t][0]);
            isum[t][1] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(x, low1, isum[t][1]);
            isum[t][0] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(z, high0, isum[t][0]);
            isum[t][1] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(z, high1, isum[t][1]);
        }
    }
}
#else
static inline __attribute__((always_inline)) void block_q4(v128_t isum[][2], const uint8_t *w, const act_row *a, uint32_t b,
                                                           const uint32_t tokens) {
    const v128_t m0 = wasm_i16x8_splat(0x000F), m1 = wasm_i16x8_splat(0x00F0), m2 = wasm_i16x8_splat(0x0F00);
    if (tokens == 1) { // bits 4 and 8 stay in place
        v128_t s1[2] = {wasm_i32x4_splat(0), wasm_i32x4_splat(0)}, s2[2] = {wasm_i32x4_splat(0), wasm_i32x4_splat(0)};
        for (uint32_t v = 0; v < 4; v++) {
            const int16_t *q = a->q + b * 32 + 8 * v;
            v128_t x0 = wasm_v128_load32_splat(q), x1 = wasm_v128_load32_splat(q + 2), x2 = wasm_v128_load32_splat(q + 4),
                   x3 = wasm_v128_load32_splat(q + 6);
            for (uint32_t h = 0; h < 2; h++) {
                v128_t n = wasm_v128_load(w + 64 * h + 16 * v);
                DOT(isum[0][h], wasm_v128_and(n, m0), x0);
                DOT(s1[h], wasm_v128_and(n, m1), x1);
                DOT(s2[h], wasm_v128_and(n, m2), x2);
                DOT(isum[0][h], wasm_u16x8_shr(n, 12), x3);
            }
        }
        for (uint32_t h = 0; h < 2; h++)
            isum[0][h] = wasm_i32x4_add(isum[0][h], wasm_i32x4_add(wasm_i32x4_shr(s1[h], 4), wasm_i32x4_shr(s2[h], 8)));
        return;
    }
    for (uint32_t v = 0; v < 4; v++) {
        v128_t n0 = wasm_v128_load(w + 16 * v), n1 = wasm_v128_load(w + 64 + 16 * v);
        for (uint32_t p = 0; p < 4; p++) {
            v128_t w0 = wasm_v128_and(wasm_u16x8_shr(n0, 4 * p), m0), w1 = wasm_v128_and(wasm_u16x8_shr(n1, 4 * p), m0);
            for (uint32_t t = 0; t < tokens; t++) {
                v128_t x = wasm_v128_load32_splat(a[t].q + b * 32 + 8 * v + 2 * p);
                DOT(isum[t][0], w0, x);
                DOT(isum[t][1], w1, x);
            }
        }
    }
}
#endif

static inline __attribute__((always_inline)) void block_q8(v128_t isum[][2], const uint8_t *w, const act_row *a, uint32_t b,
                                                           const uint32_t tokens) {
    for (uint32_t v = 0; v < 16; v++) { // (8 rows x 2 columns)
        v128_t n = wasm_v128_load(w + 16 * v), w0 = wasm_i16x8_extend_low_i8x16(n), w1 = wasm_i16x8_extend_high_i8x16(n);
        for (uint32_t t = 0; t < tokens; t++) {
#ifdef __wasm_relaxed_simd__
            const int8_t *q = a[t].q + b * 32 + 2 * v;
            v128_t x = wasm_i32x4_splat((int32_t)((uint32_t)(uint16_t)(int16_t)q[0] | (uint32_t)(int32_t)q[1] << 16));
#else
            v128_t x = wasm_v128_load32_splat(a[t].q + b * 32 + 2 * v);
#endif
            DOT(isum[t][0], w0, x);
            DOT(isum[t][1], w1, x);
        }
    }
}

// Eight rows times `tokens` (a constant after inlining), any of the block formats.
static inline __attribute__((always_inline)) void tile(float *y, size_t ys, const uint8_t *w, uint32_t cols, const void *x, size_t xs,
                                                       uint32_t t0, const uint32_t tokens, const hyp_format format) {
    const uint32_t blocks = cols / HYP_BLOCK, head = format == HYP_Q4_1 ? 32 : 16, elems = format == HYP_Q8_0 ? 256 : 128;
    act_row a[4];
    v128_t sum[4][2];
    for (uint32_t t = 0; t < tokens; t++) a[t] = act_at(x, xs, t0 + t, blocks), sum[t][0] = sum[t][1] = wasm_f32x4_splat(0);
    for (uint32_t b = 0; b < blocks; b++, w += head + elems) {
        v128_t isum[4][2];
        for (uint32_t t = 0; t < tokens; t++) isum[t][0] = isum[t][1] = wasm_i32x4_splat(format == HYP_Q4_0 ? -8 * a[t].total[b] : 0);
        if (format == HYP_Q8_0) block_q8(isum, w + head, a, b, tokens);
        else block_q4(isum, w + head, a, b, tokens);
        v128_t d = wasm_v128_load(w), m = format == HYP_Q4_1 ? wasm_v128_load(w + 16) : d;
        for (uint32_t t = 0; t < tokens; t++) add_term(sum[t], isum[t], d, m, a[t].scale[b], a[t].total[b], format == HYP_Q4_1);
    }
    for (uint32_t t = 0; t < tokens; t++) wasm_v128_store(y + (t0 + t) * ys, sum[t][0]), wasm_v128_store(y + (t0 + t) * ys + 4, sum[t][1]);
}

static inline __attribute__((always_inline)) void matmul(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x,
                                                         size_t xs, uint32_t tokens, const hyp_format format) {
    size_t group_bytes = hyp_group_bytes(format, cols);
    const uint8_t *in = w;
    for (uint32_t g = 0; g < groups; g++, in += group_bytes, y += HYP_GROUP) {
        uint32_t t = 0;
        for (; t + 4 <= tokens; t += 4) tile(y, ys, in, cols, x, xs, t, 4, format);
        for (; t < tokens; t++) tile(y, ys, in, cols, x, xs, t, 1, format);
    }
}

static void matmul_q4_0(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul(y, ys, w, groups, cols, x, xs, tokens, HYP_Q4_0);
}
static void matmul_q4_1(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul(y, ys, w, groups, cols, x, xs, tokens, HYP_Q4_1);
}
static void matmul_q8_0(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul(y, ys, w, groups, cols, x, xs, tokens, HYP_Q8_0);
}

uint32_t hyp_port_kernels(hyp_kernels *table, uint32_t isa_mask) {
    uint32_t isa = hyp_port_caps()->isa & isa_mask;
    // One artefact, one set of packed layouts: without its own bit the whole tier stays out.
    if (isa != hyp_port_caps()->isa) return 0;
    vec_fill(table);
    table->quantize = quantize;
    table->act_elem_bytes = sizeof(act_elem);
    table->weights[HYP_Q4_0].pack = PACK_Q4_0;
    table->weights[HYP_Q4_0].unpack = UNPACK_Q4_0;
    table->weights[HYP_Q4_0].matmul = matmul_q4_0;
    table->weights[HYP_Q4_1].pack = PACK_Q4_1;
    table->weights[HYP_Q4_1].unpack = UNPACK_Q4_1;
    table->weights[HYP_Q4_1].matmul = matmul_q4_1;
    table->weights[HYP_Q8_0].pack = hyp_pack_q8_0_pairs;
    table->weights[HYP_Q8_0].unpack = hyp_unpack_q8_0_pairs;
    table->weights[HYP_Q8_0].matmul = matmul_q8_0;
    return isa;
}
