// Matmul of weights, and scores and mix of the KV cache, in the vectors of simd.h: a tier's source
// file includes it, and it is compiled for that tier's instruction set. Sums keep the order that
// kernels.h states, so their bits are those of the scalar reference.
#ifndef HYP_KERNELS_MATMUL_TMPL_H
#define HYP_KERNELS_MATMUL_TMPL_H

#include "kv_layout.h"
#include "simd.h"
#include "vector_tmpl.h"

#if CODE_BITS == 8
typedef int8_t act_elem;
#else
typedef int16_t act_elem;
#endif

// A loop over registers, which must be unrolled.
#define EACH(i, n) _Pragma("clang loop unroll(full)") for (uint32_t i = 0; i < (n); i++)

// With 16 registers the loop over a block stays a loop: V8, given all of its steps at once, spills
// the sums.
#ifdef ROLLED
#define UNROLL_RUNS _Pragma("clang loop unroll(disable)")
#else
#define UNROLL_RUNS _Pragma("clang loop unroll(full)")
#endif

enum { STEPS = CODE_BITS == 8 ? 8 : 16, MOST_TOKENS = 8 };

typedef struct act_row {
    const float *scale;
    const int32_t *total;
    const act_elem *q;
} act_row;

ALWAYS_INLINE act_row act_at(const void *x, size_t stride, uint32_t t, uint32_t blocks) {
    const float *scale = (const float *)((const uint8_t *)x + t * stride);
    return (act_row){scale, (const int32_t *)(scale + blocks),
                     (const act_elem *)(scale + 3 * (size_t)blocks)};
}

// A plane's word with the bits of step `s` and the following ones at its lower end.
ALWAYS_INLINE vh plane_from(const uint8_t *words, uint32_t part, const uint32_t bits, uint32_t s) {
    const uint32_t per = CODE_BITS / bits;
    return vh_load(words + s / per * HYP_WORD + part * SIMD_BYTES) >> (uint16_t)(s % per * bits);
}
// Of such a word, the bits of its step `i`, moved up by `up`.
ALWAYS_INLINE vb step_bits(vh word, const uint32_t i, const uint32_t bits, const uint32_t up,
                           vh mask) {
    const uint32_t shift = i * bits;
    if (shift > up) word >>= (uint16_t)(shift - up);
    if (shift < up) word <<= (uint16_t)(up - shift);
    return (vb)(word & mask);
}

// The operand of step `i` of a word of the lower plane, with the higher plane's word from that
// word's first step on.
ALWAYS_INLINE vb operand(vh low, vh high, const uint32_t i, const hyp_layout l,
                         const constants *c) {
#if CODE_BITS == 8
    if (l.low == 8) return (vb)((vi)low ^ (WIDE_OFFSET ? (int32_t)0x80808080 : 0));
#else
    typedef int16_t vsh __attribute__((vector_size(SIMD_BYTES)));
    if (l.low == 8) return i ? (vb)((vsh)low >> 8) : (vb)((vsh)(low << 8) >> 8);
#endif
    vb u = step_bits(low, i, l.low, 0, c->low);
    if (l.high) u |= step_bits(high, i, l.high, l.low, c->high);
    if (!l.table) return u;
    u = lookup(c->table, u);
#if CODE_BITS == 16
    return l.wide ? (vb)((vsh)((vh)u << 8) >> 8) : (vb)((vh)u & 0xFF);
#else
    return u;
#endif
}

ALWAYS_INLINE constants constants_of(const hyp_format format) {
    const hyp_layout l = hyp_layouts[format];
    constants c = float_constants();
    const uint32_t every = CODE_BITS == 8 ? 0x0101 : 1;
    c.low = (vh){0} + (uint16_t)(plain_masks[l.low] * every);
    // Wide levels are split into nibbles.
    c.high = (vh){0} +
             (uint16_t)((l.low == 8 || l.wide ? plain_masks[4] : plain_masks[l.high] << l.low) *
                        every);
    if (l.table) {
        const int8_t *levels = hyp_formats[format].table;
        int add = l.wide ? WIDE_OFFSET : l.offset;
        uint8_t bytes[SIMD_BYTES];
        for (uint32_t i = 0; i < SIMD_BYTES; i++) bytes[i] = (uint8_t)(levels[i % 16] + add);
        memcpy(&c.table, bytes, SIMD_BYTES);
    }
    return c;
}

ALWAYS_INLINE vf scales_at(const uint8_t *p, const hyp_layout l, const constants *c) {
    if (l.head == 2) return halves(p, c);
    quarter_vb e;
    memcpy(&e, p, SIMD_BYTES / 4);
    vu wide = __builtin_convertvector(e, vu), small = (vu)(wide < 2);
    return (vf)((small & (0x00200000u << (wide & 1))) | (~small & ((wide - 1) << 23)));
}
ALWAYS_INLINE vi signed_bytes(const uint8_t *p) {
    quarter_vs v;
    memcpy(&v, p, SIMD_BYTES / 4);
    return __builtin_convertvector(v, vi);
}
ALWAYS_INLINE vi unsigned_bytes(const uint8_t *p) {
    quarter_vb v;
    memcpy(&v, p, SIMD_BYTES / 4);
    return __builtin_convertvector(v, vi);
}

// Element `i` of four in all of them: one load serves four steps.
ALWAYS_INLINE vi splat_element(vi v, const uint32_t i) {
#if SIMD_BYTES == 16
    return i == 0   ? __builtin_shufflevector(v, v, 0, 0, 0, 0)
           : i == 1 ? __builtin_shufflevector(v, v, 1, 1, 1, 1)
           : i == 2 ? __builtin_shufflevector(v, v, 2, 2, 2, 2)
                    : __builtin_shufflevector(v, v, 3, 3, 3, 3);
#else
    (void)i;
    return v;
#endif
}

// Adds to `acc` the exact sums of operand * q over `steps` steps from `from` on, for `parts`
// vectors of rows from `part` on and `tokens` tokens: all constants after inlining but `from`.
ALWAYS_INLINE void sums(vi acc[MOST_TOKENS][GROUP_VECTORS], const uint8_t *planes,
                        const uint32_t part, const uint32_t parts, const act_row *a, uint32_t block,
                        const uint32_t tokens, uint32_t from, const uint32_t steps,
                        const hyp_layout l, const constants *c) {
#ifdef NARROW
    // As many steps as their sums of pairs stay within 16 bits.
    const uint32_t most = 32767 / (2 * 127 * (l.top ? l.top : 1u));
    vi narrow[MOST_TOKENS][GROUP_VECTORS];
    uint32_t run = 0;
#endif
    const uint32_t per = CODE_BITS / l.low;     // steps of a word of the lower plane
    const uint32_t at_once = per < 4 ? 4 : per; // steps unrolled
    UNROLL_RUNS
    for (uint32_t first = from; first < from + steps; first += at_once) {
        vi quad[MOST_TOKENS];
#ifdef SPLIT_WIDE
        // One token leaves registers for the upper halves' sums.
        vi upper[GROUP_VECTORS];
        EACH (p, parts) upper[p] = (vi){0};
#endif
        EACH (word, at_once / per) {
            vh low[GROUP_VECTORS], high[GROUP_VECTORS];
            EACH (p, parts) {
                low[p] = vh_load(planes + (l.high + first / per + word) * HYP_WORD +
                                 (part + p) * SIMD_BYTES);
                high[p] = l.high ? plane_from(planes, part + p, l.high, first + word * per)
                                 : low[p];
            }
            EACH (k, per) {
                const uint32_t i = word * per + k; // step within the run
                vb u[GROUP_VECTORS];
                EACH (p, parts) u[p] = operand(low[p], high[p], k, l, c);
                EACH (t, tokens) {
                    const act_elem *q = a[t].q + (size_t)block * HYP_BLOCK +
                                        (first + i) * (32 / CODE_BITS);
                    if (SIMD_BYTES == 16 && i % 4 == 0) quad[t] = vi_load(q);
                    vi x = SIMD_BYTES == 16 ? splat_element(quad[t], i % 4) : vi_all_at(q);
                    EACH (p, parts) {
#ifdef SPLIT_WIDE
                        if (l.wide && tokens == 1) {
                            acc[t][p] = dot(acc[t][p], u[p] & (vb)c->high, x);
                            upper[p] = dot(upper[p], (vb)((vh)u[p] >> 4 & c->high), x);
                            continue;
                        }
#endif
                        if (l.wide) acc[t][p] = dot_wide(acc[t][p], u[p], x);
#ifdef NARROW
                        else narrow[t][p] = dot16(run ? narrow[t][p] : (vi){0}, u[p], x);
#else
                        else acc[t][p] = dot(acc[t][p], u[p], x);
#endif
                    }
                }
#ifdef NARROW
                if (!l.wide && (++run == most || first + i + 1 == from + steps)) {
                    EACH (t, tokens)
                        EACH (p, parts) acc[t][p] += widen(narrow[t][p]);
                    run = 0;
                }
#endif
            }
        }
#ifdef SPLIT_WIDE
        if (l.wide && tokens == 1)
            EACH (p, parts) acc[0][p] += upper[p] << 4;
#endif
    }
}

// `parts` vectors of rows from vector `part` of a group on, times `tokens` tokens: constants after
// inlining.
ALWAYS_INLINE void tile(float *y, size_t ys, const uint8_t *w, const uint32_t part,
                        const uint32_t parts, uint32_t cols, const void *x, size_t xs, uint32_t t0,
                        const uint32_t tokens, const hyp_format format) {
    const hyp_layout l = hyp_layouts[format];
    const uint32_t blocks = cols / HYP_BLOCK, row = part * SIMD_WIDTH, head = hyp_layout_head(&l),
                   scales = hyp_layout_scales(&l), block_bytes = hyp_layout_block(&l);
    const int32_t offset = l.wide ? WIDE_OFFSET : l.offset;
    const constants c = constants_of(format);
    act_row a[MOST_TOKENS];
    vf sum[MOST_TOKENS][GROUP_VECTORS];
    EACH (t, tokens) {
        a[t] = act_at(x, xs, t0 + t, blocks);
        EACH (p, parts) sum[t][p] = (vf){0};
    }
    for (uint32_t b = 0; b < blocks;) {
        vf d[GROUP_VECTORS], m[GROUP_VECTORS];
        // Later tokens and rows find it in the cache.
        if (t0 == 0 && part == 0) prefetch(w, head + l.blocks * block_bytes);
        EACH (p, parts) {
            d[p] = scales_at(w + l.head * (row + p * SIMD_WIDTH), l, &c);
            m[p] = l.minimum ? halves(w + 2 * HYP_GROUP + 2 * (row + p * SIMD_WIDTH), &c) : d[p];
            if (l.minimum && l.scales) m[p] = -m[p];
        }
        w += head;
        for (uint32_t k = 0; k < l.blocks; k++, b++, w += block_bytes) {
            const uint8_t *planes = w + scales;
            vi acc[MOST_TOKENS][GROUP_VECTORS];
            vf ds[GROUP_VECTORS];
            EACH (p, parts) ds[p] = d[p];
            if (l.scales == 2) {
                EACH (t, tokens)
                    EACH (p, parts) acc[t][p] = (vi){0};
                UNROLL_RUNS
                for (uint32_t h = 0; h < 2; h++) {
                    vi half[MOST_TOKENS][GROUP_VECTORS];
                    EACH (t, tokens) {
                        vi less = vi_all(-offset * a[t].total[2 * b + h]);
                        EACH (p, parts) half[t][p] = less;
                    }
                    sums(half, planes, part, parts, a, b, tokens, h * (STEPS / 2), STEPS / 2, l,
                         &c);
                    EACH (p, parts) {
                        vi s = signed_bytes(w + h * HYP_GROUP + row + p * SIMD_WIDTH);
                        if (l.nibble_scales) s &= 15;
                        EACH (t, tokens) acc[t][p] += half[t][p] * s;
                    }
                }
            } else {
                EACH (t, tokens) {
                    vi less = vi_all(-offset * (a[t].total[2 * b] + a[t].total[2 * b + 1]));
                    EACH (p, parts) acc[t][p] = less;
                }
                sums(acc, planes, part, parts, a, b, tokens, 0, STEPS, l, &c);
                if (l.scales)
                    EACH (p, parts)
                        ds[p] = d[p] *
                                __builtin_convertvector(signed_bytes(w + row + p * SIMD_WIDTH), vf);
            }
            EACH (t, tokens) {
                float scale = a[t].scale[b];
                const int32_t *total = a[t].total + 2 * b;
                EACH (p, parts) {
                    vf term = ds[p] * scale * __builtin_convertvector(acc[t][p], vf);
                    const uint8_t *s = w + row + p * SIMD_WIDTH;
                    if (l.nibble_scales) {
                        term += m[p] * __builtin_convertvector(unsigned_bytes(s) >> 4, vf) *
                                (scale * (float)total[0]);
                        term += m[p] *
                                __builtin_convertvector(unsigned_bytes(s + HYP_GROUP) >> 4, vf) *
                                (scale * (float)total[1]);
                    } else if (l.minima) {
                        term += m[p] * __builtin_convertvector(unsigned_bytes(s + HYP_GROUP), vf) *
                                (scale * (float)(total[0] + total[1]));
                    } else if (l.minimum) term += m[p] * (scale * (float)(total[0] + total[1]));
                    sum[t][p] += term;
                }
            }
        }
    }
    EACH (t, tokens)
        EACH (p, parts) vf_store(y + (t0 + t) * ys + row + p * SIMD_WIDTH, sum[t][p]);
}

ALWAYS_INLINE void matmul_blocks(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,
                                 const void *x, size_t xs, uint32_t tokens,
                                 const hyp_format format) {
    // Each tile is a copy of the code: in wasm only the most used formats get all of them.
    const bool hot = SIMD_BYTES > 16 || format == HYP_Q4_0 || format == HYP_Q5_0 ||
                     format == HYP_Q8_0 || format == HYP_Q4_K || format == HYP_Q6_K;
    const uint32_t most = hot || TILE_TOKENS < 4 ? TILE_TOKENS : 4;
    size_t group_bytes = hyp_group_bytes(format, cols);
    const uint8_t *in = w;
    for (uint32_t g = 0; g < groups; g++, in += group_bytes, y += HYP_GROUP) {
        uint32_t t = 0;
        for (; t + most <= tokens; t += most)
            for (uint32_t p = 0; p < GROUP_VECTORS; p += TILE_VECTORS)
                tile(y, ys, in, p, TILE_VECTORS, cols, x, xs, t, most, format);
        if (most > 4 && t + 4 <= tokens) {
            tile(y, ys, in, 0, GROUP_VECTORS, cols, x, xs, t, 4, format);
            t += 4;
        }
        if (hot && t + 2 <= tokens) {
            tile(y, ys, in, 0, GROUP_VECTORS, cols, x, xs, t, 2, format);
            t += 2;
        }
        for (; t < tokens; t++) tile(y, ys, in, 0, GROUP_VECTORS, cols, x, xs, t, 1, format);
    }
}

// clang-format off
#define BLOCKS(X) \
    X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(IQ4_NL) X(MXFP4) \
    X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS)
// clang-format on
#define BLOCK_MATMUL(F)                                                                            \
    static void matmul_##F(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,     \
                           const void *x, size_t xs, uint32_t tokens) {                            \
        matmul_blocks(y, ys, w, groups, cols, x, xs, tokens, HYP_##F);                             \
    }
BLOCKS(BLOCK_MATMUL)

// Compressed sparse rows: one weight after the other, with the activation of its column.
static void matmul_csr(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,
                       const void *x, size_t xs, uint32_t tokens) {
    const uint32_t blocks = cols / HYP_BLOCK;
    const constants k = float_constants();
    const uint8_t *in = w;
    for (uint32_t g = 0; g < groups; g++, y += HYP_GROUP) {
        for (uint32_t t = 0; t < tokens; t++) memset(y + t * ys, 0, HYP_GROUP * sizeof *y);
        in += 4;
        for (uint32_t b = 0; b < blocks; b++) {
            const uint8_t *d = in, *weights = in + 2 * HYP_GROUP + 2;
            const uint32_t n = hyp_load_u16(weights - 2);
            in = weights + 2 * n;
            for (uint32_t t = 0; t < tokens; t++) {
                const act_row a = act_at(x, xs, t, blocks);
                const act_elem *q = a.q + (size_t)b * HYP_BLOCK;
                int32_t acc[HYP_GROUP] = {0};
                for (uint32_t i = 0; i < n; i++) {
                    const uint32_t weight = hyp_load_u16(weights + 2 * i);
                    acc[weight >> 9] += ((int32_t)(weight & 15) - 8) * q[weight >> 4 & 31];
                }
                EACH (p, GROUP_VECTORS) {
                    float *to = y + t * ys + p * SIMD_WIDTH;
                    vf term = halves(d + 2 * p * SIMD_WIDTH, &k) * a.scale[b] *
                              __builtin_convertvector(vi_load(acc + p * SIMD_WIDTH), vf);
                    vf_store(to, vf_load(to) + term);
                }
            }
        }
    }
}

// ---- Floats: y[t][row] = sum over c of w[c][row] x[t][c], the rows of a group side by side

typedef enum element { FLOAT, HALF, BRAIN, BYTE } element;

ALWAYS_INLINE vf elements(const uint8_t *p, const element e, const constants *c) {
    if (e == FLOAT) return vf_load(p);
    if (e == HALF) return halves(p, c);
    if (e == BYTE) return __builtin_convertvector(signed_bytes(p), vf);
    half_vu h;
    memcpy(&h, p, SIMD_BYTES / 2);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}
ALWAYS_INLINE uint32_t element_bytes(const element e) { return e == FLOAT ? 4 : e == BYTE ? 1 : 2; }

// `groups` groups, w_stride bytes apart, times `tokens` tokens: constants after inlining.
ALWAYS_INLINE void float_tile(float *y, size_t ys, const uint8_t *w, size_t w_stride,
                              const uint32_t part, const uint32_t parts, const uint32_t groups,
                              uint32_t cols, const float *x, size_t xs, const uint32_t tokens,
                              const element e) {
    const constants k = float_constants();
    vf sum[MOST_TOKENS][4][GROUP_VECTORS];
    EACH (t, tokens)
        EACH (g, groups)
            EACH (p, parts) sum[t][g][p] = (vf){0};
    size_t c = 0;
    for (; c + 4 <= cols; c += 4) {
        vi quad[MOST_TOKENS];
        if (SIMD_BYTES == 16)
            EACH (t, tokens) quad[t] = vi_load(x + t * xs + c);
        EACH (i, 4)
            EACH (g, groups)
                EACH (p, parts) {
                    vf v = elements(w + g * w_stride +
                                        ((c + i) * HYP_GROUP + (part + p) * SIMD_WIDTH) *
                                            element_bytes(e),
                                    e, &k);
                    EACH (t, tokens)
                        sum[t][g][p] += v * (SIMD_BYTES == 16 ? (vf)splat_element(quad[t], i)
                                                              : vf_all(x[t * xs + c + i]));
                }
    }
    for (; c < cols; c++)
        EACH (g, groups)
            EACH (p, parts) {
                vf v = elements(w + g * w_stride +
                                    (c * HYP_GROUP + (part + p) * SIMD_WIDTH) * element_bytes(e),
                                e, &k);
                EACH (t, tokens) sum[t][g][p] += v * x[t * xs + c];
            }
    EACH (t, tokens)
        EACH (g, groups)
            EACH (p, parts)
                vf_store(y + t * ys + g * HYP_GROUP + (part + p) * SIMD_WIDTH, sum[t][g][p]);
}

// Few tokens: as many groups at once as hide the adder's latency.
ALWAYS_INLINE void float_groups(float *y, size_t ys, const uint8_t *w, size_t w_stride,
                                uint32_t groups, uint32_t cols, const float *x, size_t xs,
                                const uint32_t tokens, const element e) {
    const uint32_t sums_each = GROUP_VECTORS * tokens, at_once = sums_each >= 4 ? 1 : 4 / sums_each;
    uint32_t g = 0;
    for (; g + at_once <= groups; g += at_once)
        float_tile(y + g * HYP_GROUP, ys, w + g * w_stride, w_stride, 0, GROUP_VECTORS, at_once,
                   cols, x, xs, tokens, e);
    if (at_once > 1)
        for (; g < groups; g++)
            float_tile(y + g * HYP_GROUP, ys, w + g * w_stride, w_stride, 0, GROUP_VECTORS, 1, cols,
                       x, xs, tokens, e);
}

// `xs` in floats.
ALWAYS_INLINE void matmul_floats(float *y, size_t ys, const uint8_t *w, size_t w_stride,
                                 uint32_t groups, uint32_t cols, const float *x, size_t xs,
                                 uint32_t tokens, const element e) {
    const uint32_t most = e == HALF || SIMD_BYTES > 16 || TILE_TOKENS < 4 ? TILE_TOKENS : 4;
    uint32_t t = 0;
    for (; t + most <= tokens; t += most)
        for (uint32_t g = 0; g < groups; g++)
            for (uint32_t p = 0; p < GROUP_VECTORS; p += TILE_VECTORS)
                float_tile(y + t * ys + g * HYP_GROUP, ys, w + g * w_stride, w_stride, p,
                           TILE_VECTORS, 1, cols, x + t * xs, xs, most, e);
    if (most > 4 && t + 4 <= tokens) {
        float_groups(y + t * ys, ys, w, w_stride, groups, cols, x + t * xs, xs, 4, e);
        t += 4;
    }
    if (t + 2 <= tokens) {
        float_groups(y + t * ys, ys, w, w_stride, groups, cols, x + t * xs, xs, 2, e);
        t += 2;
    }
    if (t < tokens) float_groups(y + t * ys, ys, w, w_stride, groups, cols, x + t * xs, xs, 1, e);
}

// Halves, of the KV cache and of weights alike. Where converting a half takes several instructions
// and registers are few, a group that many tokens use is converted to floats first, and the tile is
// small enough for the registers.
enum {
    WIDENED_COLS = 128,
    WIDENED_TOKENS = 4,
    WIDENED_VECTORS = GROUP_VECTORS < 2 ? GROUP_VECTORS : 2
};
__attribute__((noinline)) static void matmul_halves(float *y, size_t ys, const uint8_t *w,
                                                    size_t w_stride, uint32_t groups, uint32_t cols,
                                                    const float *x, size_t xs, uint32_t tokens) {
    const uint32_t tiled = SIMD_BYTES > 16 || cols > WIDENED_COLS || tokens < 2 * WIDENED_TOKENS
                               ? 0
                               : tokens / WIDENED_TOKENS * WIDENED_TOKENS;
    const constants k = float_constants();
    for (uint32_t g = 0; g < groups && tiled; g++) {
        float wide[WIDENED_COLS * HYP_GROUP];
        for (uint32_t i = 0; i < cols * HYP_GROUP; i += SIMD_WIDTH)
            vf_store(wide + i, halves(w + g * w_stride + 2 * i, &k));
        for (uint32_t t = 0; t < tiled; t += WIDENED_TOKENS)
            for (uint32_t p = 0; p < GROUP_VECTORS; p += WIDENED_VECTORS)
                float_tile(y + t * ys + g * HYP_GROUP, ys, (const uint8_t *)wide, 0, p,
                           WIDENED_VECTORS, 1, cols, x + t * xs, xs, WIDENED_TOKENS, FLOAT);
    }
    if (tiled < tokens)
        matmul_floats(y + tiled * ys, ys, w, w_stride, groups, cols, x + tiled * xs, xs,
                      tokens - tiled, HALF);
}

#define FLOAT_MATMUL(name, format, e)                                                              \
    static void matmul_##name(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,  \
                              const void *x, size_t xs, uint32_t tokens) {                         \
        matmul_floats(y, ys, w, hyp_group_bytes(format, cols), groups, cols, x,                    \
                      xs / sizeof(float), tokens, e);                                              \
    }
FLOAT_MATMUL(f32, HYP_F32, FLOAT)
FLOAT_MATMUL(bf16, HYP_BF16, BRAIN)
static void matmul_f16(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,
                       const void *x, size_t xs, uint32_t tokens) {
    matmul_halves(y, ys, w, hyp_group_bytes(HYP_F16, cols), groups, cols, x, xs / sizeof(float),
                  tokens);
}

// ---- The KV cache (kv_layout.h)

static void scores_f16(float *y, size_t ys, const float *q, size_t qs, uint32_t tokens,
                       const void *block, uint32_t keys, uint32_t n, float scale) {
    uint32_t groups = (keys + HYP_GROUP - 1) / HYP_GROUP;
    matmul_halves(y, ys, block, (size_t)n * HYP_GROUP * 2, groups, n, q, qs, tokens);
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t i = 0; i < groups * HYP_GROUP; i += SIMD_WIDTH)
            vf_store(y + t * ys + i, vf_load(y + t * ys + i) * scale);
}
static void mix_f16(float *y, size_t ys, const float *p, size_t ps, uint32_t tokens,
                    const void *block, uint32_t keys, uint32_t n) {
    matmul_halves(y, ys, block, HYP_KV_BLOCK * HYP_GROUP * 2, (n + HYP_GROUP - 1) / HYP_GROUP, keys,
                  p, ps, tokens);
}

static void scores_q8(float *y, size_t ys, const float *q, size_t qs, uint32_t tokens,
                      const void *block, uint32_t keys, uint32_t n, float scale) {
    const constants k = float_constants();
    const uint8_t *in = block;
    for (uint32_t g = 0; g < (keys + HYP_GROUP - 1) / HYP_GROUP;
         g++, in += hyp_kv_key_group_bytes(HYP_KV_Q8_0, n))
        for (uint32_t t = 0; t < tokens; t++) {
            vf sum[GROUP_VECTORS];
            EACH (p, GROUP_VECTORS) sum[p] = (vf){0};
            const uint8_t *w = in;
            for (uint32_t b = 0; b < n / 32; b++, w += 34 * HYP_GROUP) {
                float part[HYP_GROUP];
                float_tile(part, 0, w + 2 * HYP_GROUP, 0, 0, GROUP_VECTORS, 1, 32,
                           q + t * qs + b * 32, 0, 1, BYTE);
                EACH (p, GROUP_VECTORS)
                    sum[p] += halves(w + 2 * p * SIMD_WIDTH, &k) * vf_load(part + p * SIMD_WIDTH);
            }
            EACH (p, GROUP_VECTORS)
                vf_store(y + t * ys + g * HYP_GROUP + p * SIMD_WIDTH, sum[p] * scale);
        }
}
static void mix_q8(float *y, size_t ys, const float *p, size_t ps, uint32_t tokens,
                   const void *block, uint32_t keys, uint32_t n) {
    const constants k = float_constants();
    const uint8_t *in = block;
    for (uint32_t b = 0; b < n / 32; b++, in += 34 * HYP_KV_BLOCK)
        for (uint32_t t = 0; t < tokens; t++) {
            float weight[HYP_KV_BLOCK];
            for (uint32_t j = 0; j < keys; j += SIMD_WIDTH)
                vf_store(weight + j, vf_load(p + t * ps + j) * halves(in + 2 * j, &k));
            matmul_floats(y + t * ys + b * 32, 0, in + 2 * HYP_KV_BLOCK, HYP_KV_BLOCK * HYP_GROUP,
                          2, keys, weight, 0, 1, BYTE);
        }
}

static void quantize(void *dst, const float *x, uint32_t cols) {
    vec_quantize(dst, x, cols, sizeof(act_elem));
}

// Overwrites every slot that the tier has, with the packing that they need.
static void fill_table(hyp_kernels *table) {
    vec_fill(table);
    if (CODE_BITS == 8) hyp_layout_bytes(table);
    else hyp_layout_pairs(table);
    table->act_elem_bytes = sizeof(act_elem);
    table->quantize = quantize;
#define FILL(F) table->weights[HYP_##F].matmul = matmul_##F;
    BLOCKS(FILL)
#undef FILL
    table->weights[HYP_F32].matmul = matmul_f32;
    table->weights[HYP_F16].matmul = matmul_f16;
    table->weights[HYP_BF16].matmul = matmul_bf16;
    table->sparse[HYP_BITMAP].matmul = NULL; // a tier may overwrite it
    table->sparse[HYP_BITMAP].most = 0;
    table->sparse[HYP_CSR].matmul = matmul_csr;
    table->sparse[HYP_CSR].most = CSR_MOST;
    table->kv[HYP_KV_F16].scores = scores_f16;
    table->kv[HYP_KV_F16].mix = mix_f16;
    table->kv[HYP_KV_Q8_0].scores = scores_q8;
    table->kv[HYP_KV_Q8_0].mix = mix_q8;
}

#endif
