// Block layouts: ggml's public format description (FACTS: GGUF). A Q4 block holds element i in the low nibble and i + 16 in the high one.
#include "format.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

static void f32_read(float *dst, const void *src, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) dst[i] = hyp_bits_f32(hyp_load_u32((const uint8_t *)src + 4 * (size_t)i));
}
static void f32_write(void *dst, const float *src, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) hyp_store_u32((uint8_t *)dst + 4 * (size_t)i, hyp_f32_bits(src[i]));
}
static void f16_read(float *dst, const void *src, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) dst[i] = hyp_f16_to_f32(hyp_load_u16((const uint8_t *)src + 2 * (size_t)i));
}
static void f16_write(void *dst, const float *src, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) hyp_store_u16((uint8_t *)dst + 2 * (size_t)i, hyp_f32_to_f16(src[i]));
}
static void bf16_read(float *dst, const void *src, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) dst[i] = hyp_bf16_to_f32(hyp_load_u16((const uint8_t *)src + 2 * (size_t)i));
}

static void q8_0_read(float *dst, const void *src, uint32_t count) {
    const uint8_t *block = src;
    for (uint32_t b = 0; b < count / 32; b++, block += 34, dst += 32) {
        float d = hyp_f16_to_f32(hyp_load_u16(block));
        for (int i = 0; i < 32; i++) dst[i] = d * (float)(int8_t)block[2 + i];
    }
}
static void q8_0_write(void *dst, const float *src, uint32_t count) {
    uint8_t *block = dst;
    for (uint32_t b = 0; b < count / 32; b++, block += 34, src += 32) {
        float top = 0;
        for (int i = 0; i < 32; i++) {
            float a = src[i] < 0 ? -src[i] : src[i];
            if (a > top) top = a;
        }
        float d = top / 127, inverse = d > 0 ? 1 / d : 0;
        hyp_store_u16(block, hyp_f32_to_f16(d));
        for (int i = 0; i < 32; i++) {
            block[2 + i] = (uint8_t)(int8_t)hyp_round_within(src[i] * inverse, -127, 127, 0);
        }
    }
}

static void q4_0_read(float *dst, const void *src, uint32_t count) {
    const uint8_t *block = src;
    for (uint32_t b = 0; b < count / 32; b++, block += 18, dst += 32) {
        float d = hyp_f16_to_f32(hyp_load_u16(block));
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)((block[2 + i] & 15) - 8);
            dst[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
        }
    }
}
// The level of a weight in units of d: -8 .. 7 as 0 .. 15, halves up; NaN is 0.
static int q4_level(float x) { return x >= -8.5f ? x >= 7.5f ? 15 : (int)(x + 8.5f) : x == x ? 0 : 8; }

static void q4_0_write(void *dst, const float *src, uint32_t count) {
    // The weight of largest magnitude becomes exactly -8: its sign keeps the ninth level.
    uint8_t *block = dst;
    for (uint32_t b = 0; b < count / 32; b++, block += 18, src += 32) {
        float top = 0, signed_top = 0;
        for (int i = 0; i < 32; i++) {
            float a = src[i] < 0 ? -src[i] : src[i];
            if (a > top) top = a, signed_top = src[i];
        }
        float d = signed_top / -8, inverse = d != 0 ? 1 / d : 0;
        hyp_store_u16(block, hyp_f32_to_f16(d));
        for (int i = 0; i < 16; i++) {
            block[2 + i] = (uint8_t)(q4_level(src[i] * inverse) | q4_level(src[i + 16] * inverse) << 4);
        }
    }
}

static void q4_1_read(float *dst, const void *src, uint32_t count) {
    const uint8_t *block = src;
    for (uint32_t b = 0; b < count / 32; b++, block += 20, dst += 32) {
        float d = hyp_f16_to_f32(hyp_load_u16(block)), m = hyp_f16_to_f32(hyp_load_u16(block + 2));
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)(block[4 + i] & 15) + m;
            dst[i + 16] = d * (float)(block[4 + i] >> 4) + m;
        }
    }
}

const hyp_format_info hyp_formats[HYP_FORMATS] = {
    [HYP_F32] = {"F32", 0, 1, 4, f32_read, f32_write},       [HYP_F16] = {"F16", 1, 1, 2, f16_read, f16_write},
    [HYP_BF16] = {"BF16", 30, 1, 2, bf16_read, NULL},        [HYP_Q8_0] = {"Q8_0", 8, 32, 34, q8_0_read, q8_0_write},
    [HYP_Q4_0] = {"Q4_0", 2, 32, 18, q4_0_read, q4_0_write}, [HYP_Q4_1] = {"Q4_1", 3, 32, 20, q4_1_read, NULL},
};

hyp_format hyp_format_of(uint32_t gguf_type) {
    int i = 0;
    while (i < HYP_FORMATS && hyp_formats[i].gguf != gguf_type) i++;
    return (hyp_format)i;
}

const char *hyp_format_name(uint32_t gguf_type) {
    static const char *const names[] = {
        [0] = "F32",      [1] = "F16",     [2] = "Q4_0",     [3] = "Q4_1",   [6] = "Q5_0",    [7] = "Q5_1",   [8] = "Q8_0",
        [9] = "Q8_1",     [10] = "Q2_K",   [11] = "Q3_K",    [12] = "Q4_K",  [13] = "Q5_K",   [14] = "Q6_K",  [15] = "Q8_K",
        [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S",
        [23] = "IQ4_XS",  [24] = "I8",     [25] = "I16",     [26] = "I32",   [27] = "I64",    [28] = "F64",   [29] = "IQ1_M",
        [30] = "BF16",    [34] = "TQ1_0",  [35] = "TQ2_0",   [39] = "MXFP4"};
    return gguf_type < sizeof names / sizeof *names ? names[gguf_type] : NULL;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

hyp_format hyp_format_named(const char *name) {
    for (int f = 0; f < HYP_FORMATS; f++) {
        const char *a = name, *b = hyp_formats[f].name;
        while (*a && *b && lower(*a) == lower(*b)) a++, b++;
        if (!*a && !*b) return (hyp_format)f;
    }
    return HYP_FORMATS;
}
