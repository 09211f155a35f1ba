#include "layout.h"

#include "../base/bytes.h"

size_t hyp_group_bytes(hyp_format format, uint32_t cols) {
    if (hyp_format_is_float(format)) return HYP_GROUP * hyp_format_row_bytes(format, cols);
    const hyp_layout *l = &hyp_layouts[format];
    return cols / (l->blocks * HYP_BLOCK) *
           (size_t)(hyp_layout_head(l) + l->blocks * hyp_layout_block(l));
}

// The codes of step `s` in the places of a 32-bit word: four columns, or two.
static inline uint32_t gather(const uint8_t *code, uint32_t s, const uint32_t code_bits) {
    return code_bits == 8 ? hyp_load_u32(code + 4 * s)
                          : code[2 * s] | (uint32_t)code[2 * s + 1] << 16;
}
static inline uint32_t splat_code(uint32_t value, const uint32_t code_bits) {
    return value * (code_bits == 8 ? 0x01010101u : 0x00010001u);
}

// A plane of a row's block: `bits` of every code from bit `from` on.
static inline void pack_plane(uint8_t *words, const uint8_t *code, uint32_t from, uint32_t bits,
                              const uint32_t code_bits) {
    uint32_t per = code_bits / bits, steps = code_bits == 8 ? 8 : 16,
             mask = splat_code((1u << bits) - 1, code_bits);
    for (uint32_t s = 0; s < steps; s += per) {
        uint32_t word = 0;
        for (uint32_t i = 0; i < per && s + i < steps; i++)
            word |= (gather(code, s + i, code_bits) >> from & mask) << i * bits;
        hyp_store_u32(words + s / per * HYP_WORD, word);
    }
}
static inline void unpack_plane(uint8_t *code, const uint8_t *words, uint32_t from, uint32_t bits,
                                const uint32_t code_bits) {
    uint32_t per = code_bits / bits, steps = code_bits == 8 ? 8 : 16, mask = (1u << bits) - 1;
    for (uint32_t s = 0; s < steps; s++) {
        uint32_t word = hyp_load_u32(words + s / per * HYP_WORD) >> s % per * bits;
        for (uint32_t i = 0; i < 32 / code_bits; i++)
            code[s * 32 / code_bits + i] |= (uint8_t)((word >> i * code_bits & mask) << from);
    }
}

static inline void pack(void *dst, const uint8_t *in, uint32_t rows, uint32_t cols,
                        const hyp_format format, const uint32_t code_bits) {
    const hyp_layout l = hyp_layouts[format];
    const hyp_format_info *f = &hyp_formats[format];
    uint32_t supers = cols / f->block_elems, head = hyp_layout_head(&l),
             scales = hyp_layout_scales(&l), block = hyp_layout_block(&l);
    hyp_block b;
    if (rows < HYP_GROUP) memset(dst, 0, hyp_group_bytes(format, cols));
    for (uint32_t r = 0; r < rows; r++) {
        uint8_t *out = dst;
        for (uint32_t s = 0; s < supers; s++, in += f->block_bytes) {
            hyp_split(format, &b, in);
            if (l.head == 1) out[r] = (uint8_t)b.d_bits;
            else hyp_store_u16(out + 2 * r, b.d_bits);
            if (l.minimum) hyp_store_u16(out + 2 * HYP_GROUP + 2 * r, b.m_bits);
            out += head;
            for (uint32_t k = 0; k < l.blocks; k++, out += block) {
                uint8_t *code = b.code + k * HYP_BLOCK;
                for (uint32_t i = 0; i < l.scales; i++) {
                    uint32_t at = 2 * k + i;
                    out[i * HYP_GROUP + r] = (uint8_t)(b.scale[at] |
                                                       (l.nibble_scales ? b.minimum[at] << 4 : 0));
                    if (l.minima) out[(l.scales + i) * HYP_GROUP + r] = b.minimum[at];
                }
                if (l.low == 8)
                    for (uint32_t i = 0; i < HYP_BLOCK; i++) code[i] ^= 0x80;
                if (l.high) pack_plane(out + scales + 4 * r, code, l.low, l.high, code_bits);
                pack_plane(out + scales + l.high * HYP_WORD + 4 * r, code, 0, l.low, code_bits);
            }
        }
    }
}

static void unpack(float *dst, const uint8_t *in, uint32_t row, uint32_t cols,
                   const hyp_format format, const uint32_t code_bits) {
    const hyp_layout l = hyp_layouts[format];
    const hyp_format_info *f = &hyp_formats[format];
    uint32_t head = hyp_layout_head(&l), scales = hyp_layout_scales(&l),
             block = hyp_layout_block(&l);
    for (uint32_t s = 0; s < cols / f->block_elems; s++) {
        float d = l.head == 1 ? hyp_e8m0_half(in[row]) : hyp_f16_to_f32(hyp_load_u16(in + 2 * row));
        float m = l.minimum ? hyp_f16_to_f32(hyp_load_u16(in + 2 * HYP_GROUP + 2 * row)) : 0;
        in += head;
        for (uint32_t k = 0; k < l.blocks; k++, in += block) {
            uint8_t code[HYP_BLOCK] = {0};
            if (l.high) unpack_plane(code, in + scales + 4 * row, l.low, l.high, code_bits);
            unpack_plane(code, in + scales + l.high * HYP_WORD + 4 * row, 0, l.low, code_bits);
            for (uint32_t i = 0; i < HYP_BLOCK; i++, dst++) {
                uint32_t part = l.scales == 2 ? i / 16 : 0;
                int scale = l.scales ? (int8_t)in[part * HYP_GROUP + row] : 1, minimum = 1;
                if (l.nibble_scales) {
                    minimum = (uint8_t)scale >> 4;
                    scale &= 15;
                } else if (l.minima) minimum = in[(l.scales + part) * HYP_GROUP + row];
                int level = l.low == 8 ? (int8_t)code[i] : hyp_level(f, code[i]);
                // The K formats store m negated.
                *dst = d * (float)(scale * level) + (l.scales ? -m : m) * (float)minimum;
            }
        }
    }
}

// clang-format off
#define FORMATS(X) \
    X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(IQ4_NL) X(MXFP4) \
    X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS)
// clang-format on
#define SLOTS(F)                                                                                   \
    static void pack_bytes_##F(void *dst, const void *src, uint32_t rows, uint32_t cols) {         \
        pack(dst, src, rows, cols, HYP_##F, 8);                                                    \
    }                                                                                              \
    static void pack_pairs_##F(void *dst, const void *src, uint32_t rows, uint32_t cols) {         \
        pack(dst, src, rows, cols, HYP_##F, 16);                                                   \
    }                                                                                              \
    static void unpack_bytes_##F(float *dst, const void *g, uint32_t row, uint32_t cols) {         \
        unpack(dst, g, row, cols, HYP_##F, 8);                                                     \
    }                                                                                              \
    static void unpack_pairs_##F(float *dst, const void *g, uint32_t row, uint32_t cols) {         \
        unpack(dst, g, row, cols, HYP_##F, 16);                                                    \
    }
FORMATS(SLOTS)

// Floats: (columns, HYP_GROUP rows).
static inline void pack_columns(uint8_t *out, const uint8_t *in, uint32_t rows, uint32_t cols,
                                const uint32_t bytes) {
    for (uint32_t c = 0; c < cols; c++)
        for (uint32_t r = 0; r < HYP_GROUP; r++, out += bytes)
            if (r < rows) memcpy(out, in + ((size_t)r * cols + c) * bytes, bytes);
            else memset(out, 0, bytes);
}
static void unpack_columns(float *dst, const uint8_t *in, uint32_t row, uint32_t cols,
                           hyp_format format) {
    uint32_t bytes = hyp_formats[format].block_bytes;
    for (uint32_t c = 0; c < cols; c++)
        hyp_dequantize(format, dst + c, in + ((size_t)c * HYP_GROUP + row) * bytes, 1);
}
static void pack_f32(void *dst, const void *src, uint32_t rows, uint32_t cols) {
    pack_columns(dst, src, rows, cols, 4);
}
static void pack_16(void *dst, const void *src, uint32_t rows, uint32_t cols) {
    pack_columns(dst, src, rows, cols, 2);
}
static void unpack_f32(float *dst, const void *g, uint32_t row, uint32_t cols) {
    unpack_columns(dst, g, row, cols, HYP_F32);
}
static void unpack_f16(float *dst, const void *g, uint32_t row, uint32_t cols) {
    unpack_columns(dst, g, row, cols, HYP_F16);
}
static void unpack_bf16(float *dst, const void *g, uint32_t row, uint32_t cols) {
    unpack_columns(dst, g, row, cols, HYP_BF16);
}

static void floats(hyp_kernels *t) {
    t->weights[HYP_F32].pack = pack_f32;
    t->weights[HYP_F32].unpack = unpack_f32;
    t->weights[HYP_F16].pack = pack_16;
    t->weights[HYP_F16].unpack = unpack_f16;
    t->weights[HYP_BF16].pack = pack_16;
    t->weights[HYP_BF16].unpack = unpack_bf16;
}

void hyp_layout_bytes(hyp_kernels *t) {
    floats(t);
#define FILL(F)                                                                                    \
    t->weights[HYP_##F].pack = pack_bytes_##F;                                                     \
    t->weights[HYP_##F].unpack = unpack_bytes_##F;
    FORMATS(FILL)
#undef FILL
}
void hyp_layout_pairs(hyp_kernels *t) {
    floats(t);
#define FILL(F)                                                                                    \
    t->weights[HYP_##F].pack = pack_pairs_##F;                                                     \
    t->weights[HYP_##F].unpack = unpack_pairs_##F;
    FORMATS(FILL)
#undef FILL
}
