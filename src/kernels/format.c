// Block layouts, as ggml's public format description (docs/gguf.md there) has them. Unless a format
// says otherwise, a byte of nibbles holds element i of a block of 32 in its low half and element i
// + 16 in its high one.
#include "format.h"

#include "sparse.h"

#include "../base/bytes.h"

static float half_at(const uint8_t *p) { return hyp_f16_to_f32(hyp_load_u16(p)); }

// d, and m where the format has it, of a simple block; the codes of 32 nibbles
static void simple(hyp_block *b, const uint8_t *in, bool minimum) {
    b->d_bits = hyp_load_u16(in);
    b->d = half_at(in);
    b->m_bits = minimum ? hyp_load_u16(in + 2) : 0;
    b->m = minimum ? half_at(in + 2) : 0;
    b->scale[0] = b->scale[1] = 1;
    b->minimum[0] = b->minimum[1] = 1;
}
static void nibbles(uint8_t *code, const uint8_t *in) {
    for (int i = 0; i < 16; i++) {
        code[i] = in[i] & 15;
        code[i + 16] = in[i] >> 4;
    }
}
static void fifth_bits(uint8_t *code, uint32_t bits) {
    for (int i = 0; i < 32; i++) code[i] |= (uint8_t)((bits >> i & 1) << 4);
}

static void split_q8_0(hyp_block *b, const uint8_t *in) {
    simple(b, in, false);
    for (int i = 0; i < 32; i++) b->code[i] = in[2 + i] ^ 0x80;
}
static void split_q4_0(hyp_block *b, const uint8_t *in) {
    simple(b, in, false);
    nibbles(b->code, in + 2);
}
static void split_q4_1(hyp_block *b, const uint8_t *in) {
    simple(b, in, true);
    nibbles(b->code, in + 4);
}
static void split_q5_0(hyp_block *b, const uint8_t *in) {
    simple(b, in, false);
    nibbles(b->code, in + 6);
    fifth_bits(b->code, hyp_load_u32(in + 2));
}
static void split_q5_1(hyp_block *b, const uint8_t *in) {
    simple(b, in, true);
    nibbles(b->code, in + 8);
    fifth_bits(b->code, hyp_load_u32(in + 4));
}
// The scale is a power of two by its biased exponent [OCP Microscaling 1.0]; the levels are
// doubled, hence half of it.
static void split_mxfp4(hyp_block *b, const uint8_t *in) {
    b->d_bits = in[0];
    b->d = hyp_e8m0_half(in[0]);
    b->m_bits = 0;
    b->m = 0;
    b->scale[0] = b->scale[1] = 1;
    b->minimum[0] = b->minimum[1] = 1;
    nibbles(b->code, in + 1);
}

static void supers(hyp_block *b, const uint8_t *d, const uint8_t *m) {
    b->d_bits = hyp_load_u16(d);
    b->d = half_at(d);
    b->m_bits = m ? hyp_load_u16(m) : 0;
    b->m = m ? -half_at(m) : 0;
}

// 16 scales and minima of four bits; of the elements' two bits, byte 32 n + i holds elements 128 n
// + i + 0, 32, 64, 96.
static void split_q2_k(hyp_block *b, const uint8_t *in) {
    supers(b, in + 80, in + 82);
    for (int i = 0; i < 16; i++) {
        b->scale[i] = in[i] & 15;
        b->minimum[i] = in[i] >> 4;
    }
    for (int i = 0; i < 256; i++)
        b->code[i] = in[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

// Scale i of 16: four low bits among bytes 0..7, two high ones among bytes 8..11.
static void split_q3_k(hyp_block *b, const uint8_t *in) {
    const uint8_t *high = in, *low = in + 32, *scales = in + 96;
    supers(b, in + 108, NULL);
    for (int i = 0; i < 16; i++) {
        b->scale[i] = (int8_t)(((scales[i % 8] >> i / 8 * 4 & 15) |
                                (scales[8 + i % 4] >> i / 4 * 2 & 3) << 4) -
                               32);
        b->minimum[i] = 0;
    }
    for (int i = 0; i < 256; i++)
        b->code[i] = (uint8_t)((low[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) |
                               (high[i % 32] >> i / 32 & 1) << 2);
}

// Eight scales and eight minima of six bits in twelve bytes: the first four of each whole, the
// others' two high bits above those.
static void split_k_scales(hyp_block *b, const uint8_t *s) {
    for (int i = 0; i < 8; i++) {
        int scale = i < 4 ? s[i] & 63 : (s[i + 4] & 15) | s[i - 4] >> 6 << 4,
            minimum = i < 4 ? s[i + 4] & 63 : s[i + 4] >> 4 | s[i] >> 6 << 4;
        b->scale[2 * i] = b->scale[2 * i + 1] = (int8_t)scale;
        b->minimum[2 * i] = b->minimum[2 * i + 1] = (uint8_t)minimum;
    }
}
static void split_q4_k(hyp_block *b, const uint8_t *in) {
    supers(b, in, in + 2);
    split_k_scales(b, in + 4);
    for (int i = 0; i < 256; i++)
        b->code[i] = in[16 + i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
}
static void split_q5_k(hyp_block *b, const uint8_t *in) {
    supers(b, in, in + 2);
    split_k_scales(b, in + 4);
    for (int i = 0; i < 256; i++)
        b->code[i] = (uint8_t)((in[48 + i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15) |
                               (in[16 + i % 32] >> i / 32 & 1) << 4);
}
static void split_q6_k(hyp_block *b, const uint8_t *in) {
    supers(b, in + 208, NULL);
    for (int i = 0; i < 16; i++) {
        b->scale[i] = (int8_t)in[192 + i];
        b->minimum[i] = 0;
    }
    for (int i = 0; i < 256; i++) {
        int half = i / 128, part = i % 128;
        b->code[i] = (uint8_t)((in[half * 64 + part % 64] >> part / 64 * 4 & 15) |
                               (in[128 + half * 32 + part % 32] >> part / 32 * 2 & 3) << 4);
    }
}
static void split_iq4_xs(hyp_block *b, const uint8_t *in) {
    supers(b, in, NULL);
    uint32_t high = hyp_load_u16(in + 2);
    for (int i = 0; i < 8; i++) {
        b->scale[2 * i] = b->scale[2 * i + 1] =
            (int8_t)(((in[4 + i / 2] >> i % 2 * 4 & 15) | (high >> 2 * i & 3) << 4) - 32);
        b->minimum[2 * i] = b->minimum[2 * i + 1] = 0;
        nibbles(b->code + 32 * i, in + 8 + 16 * i);
    }
}

// ---- The reverse of each

static void join_nibbles(uint8_t *out, const uint8_t *code) {
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)((code[i] & 15) | code[i + 16] << 4);
}
static uint32_t join_fifth_bits(const uint8_t *code) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++) bits |= (uint32_t)(code[i] >> 4 & 1) << i;
    return bits;
}
static void join_q8_0(uint8_t *out, const hyp_block *b) {
    hyp_store_u16(out, b->d_bits);
    for (int i = 0; i < 32; i++) out[2 + i] = b->code[i] ^ 0x80;
}
static void join_q4_0(uint8_t *out, const hyp_block *b) {
    hyp_store_u16(out, b->d_bits);
    join_nibbles(out + 2, b->code);
}
static void join_q4_1(uint8_t *out, const hyp_block *b) {
    hyp_store_u16(out, b->d_bits);
    hyp_store_u16(out + 2, b->m_bits);
    join_nibbles(out + 4, b->code);
}
static void join_q5_0(uint8_t *out, const hyp_block *b) {
    hyp_store_u16(out, b->d_bits);
    hyp_store_u32(out + 2, join_fifth_bits(b->code));
    join_nibbles(out + 6, b->code);
}
static void join_q5_1(uint8_t *out, const hyp_block *b) {
    hyp_store_u16(out, b->d_bits);
    hyp_store_u16(out + 2, b->m_bits);
    hyp_store_u32(out + 4, join_fifth_bits(b->code));
    join_nibbles(out + 8, b->code);
}
static void join_mxfp4(uint8_t *out, const hyp_block *b) {
    out[0] = (uint8_t)b->d_bits;
    join_nibbles(out + 1, b->code);
}
static void join_q2_k(uint8_t *out, const hyp_block *b) {
    memset(out, 0, 80);
    hyp_store_u16(out + 80, b->d_bits);
    hyp_store_u16(out + 82, b->m_bits);
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)(b->scale[i] | b->minimum[i] << 4);
    for (int i = 0; i < 256; i++)
        out[16 + i / 128 * 32 + i % 32] |= (uint8_t)(b->code[i] << i % 128 / 32 * 2);
}
static void join_q3_k(uint8_t *out, const hyp_block *b) {
    memset(out, 0, 108);
    hyp_store_u16(out + 108, b->d_bits);
    for (int i = 0; i < 16; i++) {
        int scale = b->scale[i] + 32;
        out[96 + i % 8] |= (uint8_t)((scale & 15) << i / 8 * 4);
        out[104 + i % 4] |= (uint8_t)(scale >> 4 << i / 4 * 2);
    }
    for (int i = 0; i < 256; i++) {
        out[32 + i / 128 * 32 + i % 32] |= (uint8_t)((b->code[i] & 3) << i % 128 / 32 * 2);
        out[i % 32] |= (uint8_t)(b->code[i] >> 2 << i / 32);
    }
}
static void join_k_scales(uint8_t *out, const hyp_block *b) {
    memset(out, 0, 12);
    for (int i = 0; i < 8; i++) {
        int scale = b->scale[2 * i], minimum = b->minimum[2 * i];
        if (i < 4) {
            out[i] |= (uint8_t)scale;
            out[i + 4] |= (uint8_t)minimum;
        } else {
            out[i + 4] = (uint8_t)((scale & 15) | (minimum & 15) << 4);
            out[i - 4] |= (uint8_t)(scale >> 4 << 6);
            out[i] |= (uint8_t)(minimum >> 4 << 6);
        }
    }
}
static void join_q4_k(uint8_t *out, const hyp_block *b) {
    memset(out + 16, 0, 128);
    hyp_store_u16(out, b->d_bits);
    hyp_store_u16(out + 2, b->m_bits);
    join_k_scales(out + 4, b);
    for (int i = 0; i < 256; i++)
        out[16 + i / 64 * 32 + i % 32] |= (uint8_t)(b->code[i] << i % 64 / 32 * 4);
}
static void join_q5_k(uint8_t *out, const hyp_block *b) {
    memset(out + 16, 0, 160);
    hyp_store_u16(out, b->d_bits);
    hyp_store_u16(out + 2, b->m_bits);
    join_k_scales(out + 4, b);
    for (int i = 0; i < 256; i++) {
        out[48 + i / 64 * 32 + i % 32] |= (uint8_t)((b->code[i] & 15) << i % 64 / 32 * 4);
        out[16 + i % 32] |= (uint8_t)(b->code[i] >> 4 << i / 32);
    }
}
static void join_q6_k(uint8_t *out, const hyp_block *b) {
    memset(out, 0, 192);
    hyp_store_u16(out + 208, b->d_bits);
    for (int i = 0; i < 16; i++) out[192 + i] = (uint8_t)b->scale[i];
    for (int i = 0; i < 256; i++) {
        int half = i / 128, part = i % 128;
        out[half * 64 + part % 64] |= (uint8_t)((b->code[i] & 15) << part / 64 * 4);
        out[128 + half * 32 + part % 32] |= (uint8_t)(b->code[i] >> 4 << part / 32 * 2);
    }
}
static void join_iq4_xs(uint8_t *out, const hyp_block *b) {
    uint32_t high = 0;
    memset(out + 4, 0, 4);
    hyp_store_u16(out, b->d_bits);
    for (int i = 0; i < 8; i++) {
        int scale = b->scale[2 * i] + 32;
        out[4 + i / 2] |= (uint8_t)((scale & 15) << i % 2 * 4);
        high |= (uint32_t)(scale >> 4) << 2 * i;
        join_nibbles(out + 8 + 16 * i, b->code + 32 * i);
    }
    hyp_store_u16(out + 2, (uint16_t)high);
}

static const int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t mxfp4_levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

//  name, type, elements, bytes, top, offset, levels, affine, sub, integer scales, place of d
const hyp_format_info hyp_formats[HYP_FORMATS] = {
    [HYP_F32] = {"F32", 0, 1, 4, 0, 0, NULL, false, 0, 0, 0, 0},
    [HYP_F16] = {"F16", 1, 1, 2, 0, 0, NULL, false, 0, 0, 0, 0},
    [HYP_BF16] = {"BF16", 30, 1, 2, 0, 0, NULL, false, 0, 0, 0, 0},
    [HYP_Q8_0] = {"Q8_0", 8, 32, 34, 255, 128, NULL, false, 32, 0, 0, 0},
    [HYP_Q4_0] = {"Q4_0", 2, 32, 18, 15, 8, NULL, false, 32, 0, 0, 0},
    [HYP_Q4_1] = {"Q4_1", 3, 32, 20, 15, 0, NULL, true, 32, 0, 0, 0},
    [HYP_Q5_0] = {"Q5_0", 6, 32, 22, 31, 16, NULL, false, 32, 0, 0, 0},
    [HYP_Q5_1] = {"Q5_1", 7, 32, 24, 31, 0, NULL, true, 32, 0, 0, 0},
    [HYP_IQ4_NL] = {"IQ4_NL", 20, 32, 18, 15, 0, iq4_levels, false, 32, 0, 0, 0},
    [HYP_MXFP4] = {"MXFP4", 39, 32, 17, 15, 0, mxfp4_levels, false, 32, 0, 0, 0},
    [HYP_Q2_K] = {"Q2_K", 10, 256, 84, 3, 0, NULL, true, 16, 0, 15, 80},
    [HYP_Q3_K] = {"Q3_K", 11, 256, 110, 7, 4, NULL, false, 16, -32, 31, 108},
    [HYP_Q4_K] = {"Q4_K", 12, 256, 144, 15, 0, NULL, true, 32, 0, 63, 0},
    [HYP_Q5_K] = {"Q5_K", 13, 256, 176, 31, 0, NULL, true, 32, 0, 63, 0},
    [HYP_Q6_K] = {"Q6_K", 14, 256, 210, 63, 32, NULL, false, 16, -128, 127, 208},
    [HYP_IQ4_XS] = {"IQ4_XS", 23, 256, 136, 15, 0, iq4_levels, false, 32, -32, 31, 0},
};

// The formats in blocks, and how each is taken apart and put together.
// clang-format off
#define BLOCK_FORMATS(X)                                                                           \
    X(Q8_0, q8_0) X(Q4_0, q4_0) X(Q4_1, q4_1) X(Q5_0, q5_0) X(Q5_1, q5_1) X(IQ4_NL, q4_0)          \
    X(MXFP4, mxfp4) X(Q2_K, q2_k) X(Q3_K, q3_k) X(Q4_K, q4_k) X(Q5_K, q5_k) X(Q6_K, q6_k)          \
    X(IQ4_XS, iq4_xs)
// clang-format on

void hyp_split(hyp_format format, hyp_block *b, const uint8_t *in) {
    switch (format) {
#define X(NAME, how)                                                                               \
    case HYP_##NAME: split_##how(b, in); break;
        BLOCK_FORMATS(X)
#undef X
    default: break; // floats
    }
}
void hyp_join(hyp_format format, uint8_t *out, const hyp_block *b) {
    switch (format) {
#define X(NAME, how)                                                                               \
    case HYP_##NAME: join_##how(out, b); break;
        BLOCK_FORMATS(X)
#undef X
    default: break; // floats
    }
}

void hyp_dequantize(hyp_format format, float *dst, const void *src, uint32_t count) {
    const hyp_format_info *f = &hyp_formats[format];
    const uint8_t *in = src;
    if (hyp_format_is_float(format)) {
        for (uint32_t i = 0; i < count; i++, in += f->block_bytes)
            dst[i] = format == HYP_F32   ? hyp_bits_f32(hyp_load_u32(in))
                     : format == HYP_F16 ? half_at(in)
                                         : hyp_bf16_to_f32(hyp_load_u16(in));
        return;
    }
    hyp_block b;
    for (uint32_t at = 0; at < count; at += f->block_elems, in += f->block_bytes) {
        hyp_split(format, &b, in);
        for (uint32_t i = 0; i < f->block_elems; i++)
            dst[at + i] = b.d * (float)(b.scale[i / 16] * hyp_level(f, b.code[i])) +
                          b.m * (float)b.minimum[i / 16];
    }
}

// A float is infinite or NaN when its exponent's bits are all set. Without a branch, and of one
// width: the loops become vectors.
static bool all_finite_32(const uint8_t *in, uint64_t count) {
    uint32_t bad = 0;
    for (uint64_t i = 0; i < count; i++)
        bad |= (hyp_load_u32(in + 4 * i) & 0x7F800000) == 0x7F800000 ? 1 : 0;
    return !bad;
}
static bool all_finite_16(const uint8_t *in, uint64_t count, uint16_t exponent) {
    uint16_t bad = 0;
    for (uint64_t i = 0; i < count; i++)
        bad |= (hyp_load_u16(in + 2 * i) & exponent) == exponent ? 1 : 0;
    return !bad;
}
// The halves at `in`, one in each stored block.
static bool scales_finite(const uint8_t *in, uint64_t count, size_t block_bytes) {
    uint32_t bad = 0;
    for (; count > 0; count--, in += block_bytes) bad |= (hyp_load_u16(in) & 0x7C00) == 0x7C00;
    return !bad;
}

bool hyp_format_finite(hyp_format format, const void *src, uint64_t count) {
    const hyp_format_info *f = &hyp_formats[format];
    const uint8_t *in = src;
    uint64_t blocks = count / f->block_elems;
    uint32_t bad = 0;
    switch (format) {
    case HYP_F32: return all_finite_32(in, count);
    case HYP_F16: return all_finite_16(in, count, 0x7C00);
    case HYP_BF16: return all_finite_16(in, count, 0x7F80);
    case HYP_MXFP4: // its exponent 255 is NaN
        for (uint64_t i = 0; i < blocks; i++) bad |= in[i * f->block_bytes] == 0xFF;
        return !bad;
    default:
        return scales_finite(in + f->d_at, blocks, f->block_bytes) &&
               (!f->affine || scales_finite(in + f->d_at + 2, blocks, f->block_bytes));
    }
}

hyp_format hyp_format_of(uint32_t gguf_type) {
    int i = 0;
    while (i < HYP_FORMATS && hyp_formats[i].gguf != gguf_type) i++;
    return (hyp_format)i;
}

const char *hyp_format_name(uint32_t gguf_type) {
    if (gguf_type == HYP_SPARSE_TYPE + HYP_BITMAP) return "BITMAP";
    if (gguf_type == HYP_SPARSE_TYPE + HYP_CSR) return "CSR";
    static const char *const names[] = {
        [0] = "F32",     [1] = "F16",      [2] = "Q4_0",   [3] = "Q4_1",    [6] = "Q5_0",
        [7] = "Q5_1",    [8] = "Q8_0",     [9] = "Q8_1",   [10] = "Q2_K",   [11] = "Q3_K",
        [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",  [15] = "Q8_K",   [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
        [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",    [25] = "I16",    [26] = "I32",
        [27] = "I64",    [28] = "F64",     [29] = "IQ1_M", [30] = "BF16",   [34] = "TQ1_0",
        [35] = "TQ2_0",  [39] = "MXFP4"};
    return gguf_type < sizeof names / sizeof *names ? names[gguf_type] : NULL;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

hyp_format hyp_format_named(const char *name) {
    for (int f = 0; f < HYP_FORMATS; f++) {
        const char *a = name, *b = hyp_formats[f].name;
        while (*a && *b && lower(*a) == lower(*b)) {
            a++;
            b++;
        }
        if (!*a && !*b) return (hyp_format)f;
    }
    return HYP_FORMATS;
}
