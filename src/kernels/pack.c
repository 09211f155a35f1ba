// Packing of weight rows into the layouts that kernels.h names. A layout is a function from (row, column) to a place; unpacking uses it
// element by element. Packing moves eight columns at once, because a page of weights may be packed anew for every token.
#include "kernels.h"

#include "../base/bytes.h"

typedef struct place {
    uint32_t byte;  // within the elements of a block
    uint32_t shift; // of the nibble: 0 or 4
} place;

static place q4_bytes(uint32_t row, uint32_t col) { return (place){col / 8 * 32 + row * 4 + col % 4, col % 8 / 4 * 4}; }

static place q4_lanes(uint32_t row, uint32_t col) {
    uint32_t lane = row % 4 * 2 + col % 2, nibble = col % 8 / 2;
    return (place){row / 4 * 64 + col / 8 * 16 + lane * 2 + nibble / 2, nibble % 2 * 4};
}

static place q8_bytes(uint32_t row, uint32_t col) { return (place){col / 4 * 32 + row * 4 + col % 4, 0}; }
static place q8_pairs(uint32_t row, uint32_t col) { return (place){col / 2 * 16 + row * 2 + col % 2, 0}; }

// The four bytes that eight nibbles of a row become, columns 0 to 7 in the bytes of `t` from the lowest; the same places as above.
static uint32_t eight_bytes(uint64_t t) { return (uint32_t)t | (uint32_t)(t >> 32) << 4; }
static uint32_t eight_lanes(uint64_t t) {
    uint64_t u = t | t >> 12; // in bytes 0, 1, 4, 5: columns (0, 2), (1, 3), (4, 6), (5, 7)
    return (uint32_t)(u & 0xFF) | (uint32_t)(u >> 32 & 0xFF) << 8 | (uint32_t)(u >> 8 & 0xFF) << 16 | (uint32_t)(u >> 40 & 0xFF) << 24;
}

// `head` bytes of scale and minimum in the stored block; then the packed block is `head` * 8 bytes of them and 128 of nibbles.
static inline void pack_q4(void *dst, const void *src, uint32_t rows, uint32_t cols, uint32_t head, place (*at)(uint32_t, uint32_t),
                           uint32_t (*eight)(uint64_t)) {
    const uint64_t low = 0x0F0F0F0F0F0F0F0Fu;
    uint32_t blocks = cols / HYP_BLOCK, stored = head + 16, packed = HYP_GROUP * stored;
    if (rows < HYP_GROUP) memset(dst, 0, (size_t)blocks * packed);
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *in = (const uint8_t *)src + (size_t)r * blocks * stored;
        uint8_t *out = dst;
        uint32_t places[4] = {at(r, 0).byte, at(r, 8).byte, at(r, 16).byte, at(r, 24).byte};
        for (uint32_t b = 0; b < blocks; b++, in += stored, out += packed) {
            for (uint32_t h = 0; h < head; h += 2) memcpy(out + HYP_GROUP * h + 2 * r, in + h, 2);
            uint64_t first = hyp_load_u64(in + head), second = hyp_load_u64(in + head + 8); // columns 0-7, 8-15; 16-23, 24-31 above them
            uint8_t *elems = out + HYP_GROUP * head;
            hyp_store_u32(elems + places[0], eight(first & low));
            hyp_store_u32(elems + places[1], eight(second & low));
            hyp_store_u32(elems + places[2], eight(first >> 4 & low));
            hyp_store_u32(elems + places[3], eight(second >> 4 & low));
        }
    }
}

static void unpack_q4(float *dst, const void *group, uint32_t row, uint32_t cols, uint32_t head, place (*at)(uint32_t, uint32_t)) {
    uint32_t packed = HYP_GROUP * (head + 16);
    for (uint32_t b = 0; b < cols / HYP_BLOCK; b++) {
        const uint8_t *in = (const uint8_t *)group + (size_t)b * packed, *elems = in + HYP_GROUP * head;
        float d = hyp_f16_to_f32(hyp_load_u16(in + 2 * row)),
              m = head == 4 ? hyp_f16_to_f32(hyp_load_u16(in + 2 * HYP_GROUP + 2 * row)) : 0;
        for (uint32_t c = 0; c < HYP_BLOCK; c++) {
            place p = at(row, c);
            int q = elems[p.byte] >> p.shift & 15;
            dst[b * HYP_BLOCK + c] = head == 4 ? d * (float)q + m : d * (float)(q - 8);
        }
    }
}

// `run` columns of a row lie side by side.
static inline void pack_q8(void *dst, const void *src, uint32_t rows, uint32_t cols, place (*at)(uint32_t, uint32_t), uint32_t run) {
    uint32_t blocks = cols / HYP_BLOCK, packed = HYP_GROUP * 34;
    if (rows < HYP_GROUP) memset(dst, 0, (size_t)blocks * packed);
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *in = (const uint8_t *)src + (size_t)r * blocks * 34;
        uint8_t *out = dst;
        for (uint32_t b = 0; b < blocks; b++, in += 34, out += packed) {
            memcpy(out + 2 * r, in, 2);
            for (uint32_t c = 0; c < HYP_BLOCK; c += run) memcpy(out + 2 * HYP_GROUP + at(r, c).byte, in + 2 + c, run);
        }
    }
}

static void unpack_q8(float *dst, const void *group, uint32_t row, uint32_t cols, place (*at)(uint32_t, uint32_t)) {
    for (uint32_t b = 0; b < cols / HYP_BLOCK; b++) {
        const uint8_t *in = (const uint8_t *)group + (size_t)b * HYP_GROUP * 34;
        float d = hyp_f16_to_f32(hyp_load_u16(in + 2 * row));
        for (uint32_t c = 0; c < HYP_BLOCK; c++) dst[b * HYP_BLOCK + c] = d * (float)(int8_t)in[2 * HYP_GROUP + at(row, c).byte];
    }
}

void hyp_pack_q4_0_bytes(void *dst, const void *src, uint32_t rows, uint32_t cols) {
    pack_q4(dst, src, rows, cols, 2, q4_bytes, eight_bytes);
}
void hyp_pack_q4_1_bytes(void *dst, const void *src, uint32_t rows, uint32_t cols) {
    pack_q4(dst, src, rows, cols, 4, q4_bytes, eight_bytes);
}
void hyp_pack_q4_0_lanes(void *dst, const void *src, uint32_t rows, uint32_t cols) {
    pack_q4(dst, src, rows, cols, 2, q4_lanes, eight_lanes);
}
void hyp_pack_q4_1_lanes(void *dst, const void *src, uint32_t rows, uint32_t cols) {
    pack_q4(dst, src, rows, cols, 4, q4_lanes, eight_lanes);
}
void hyp_pack_q8_0_bytes(void *dst, const void *src, uint32_t rows, uint32_t cols) { pack_q8(dst, src, rows, cols, q8_bytes, 4); }
void hyp_pack_q8_0_pairs(void *dst, const void *src, uint32_t rows, uint32_t cols) { pack_q8(dst, src, rows, cols, q8_pairs, 2); }
void hyp_unpack_q4_0_bytes(float *dst, const void *group, uint32_t row, uint32_t cols) { unpack_q4(dst, group, row, cols, 2, q4_bytes); }
void hyp_unpack_q4_1_bytes(float *dst, const void *group, uint32_t row, uint32_t cols) { unpack_q4(dst, group, row, cols, 4, q4_bytes); }
void hyp_unpack_q4_0_lanes(float *dst, const void *group, uint32_t row, uint32_t cols) { unpack_q4(dst, group, row, cols, 2, q4_lanes); }
void hyp_unpack_q4_1_lanes(float *dst, const void *group, uint32_t row, uint32_t cols) { unpack_q4(dst, group, row, cols, 4, q4_lanes); }
void hyp_unpack_q8_0_bytes(float *dst, const void *group, uint32_t row, uint32_t cols) { unpack_q8(dst, group, row, cols, q8_bytes); }
void hyp_unpack_q8_0_pairs(float *dst, const void *group, uint32_t row, uint32_t cols) { unpack_q8(dst, group, row, cols, q8_pairs); }

void hyp_pack_f32_columns(void *dst, const void *src, uint32_t rows, uint32_t cols) {
    uint8_t *out = dst;
    for (uint32_t c = 0; c < cols; c++)
        for (uint32_t r = 0; r < HYP_GROUP; r++, out += 4)
            hyp_store_u32(out, r < rows ? hyp_load_u32((const uint8_t *)src + ((size_t)r * cols + c) * 4) : 0);
}

void hyp_pack_16_columns(void *dst, const void *src, uint32_t rows, uint32_t cols) {
    uint8_t *out = dst;
    for (uint32_t c = 0; c < cols; c++)
        for (uint32_t r = 0; r < HYP_GROUP; r++, out += 2)
            hyp_store_u16(out, r < rows ? hyp_load_u16((const uint8_t *)src + ((size_t)r * cols + c) * 2) : 0);
}

void hyp_unpack_f32_columns(float *dst, const void *group, uint32_t row, uint32_t cols) {
    for (uint32_t c = 0; c < cols; c++) memcpy(dst + c, (const uint8_t *)group + ((size_t)c * HYP_GROUP + row) * 4, 4);
}
void hyp_unpack_f16_columns(float *dst, const void *group, uint32_t row, uint32_t cols) {
    for (uint32_t c = 0; c < cols; c++) dst[c] = hyp_f16_to_f32(hyp_load_u16((const uint8_t *)group + ((size_t)c * HYP_GROUP + row) * 2));
}
void hyp_unpack_bf16_columns(float *dst, const void *group, uint32_t row, uint32_t cols) {
    for (uint32_t c = 0; c < cols; c++) dst[c] = hyp_bf16_to_f32(hyp_load_u16((const uint8_t *)group + ((size_t)c * HYP_GROUP + row) * 2));
}
