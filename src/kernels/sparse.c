#include "sparse.h"

#include "../base/bytes.h"

enum {
    ROWS = 16,
    ZERO = 8,
    WORDS = 4,
    Q4_BYTES = 18,
    BITMAP_HEAD = 2 * ROWS + 8 * WORDS,
    CSR_HEAD = 2 * ROWS + 2
};

size_t hyp_sparse_most(uint32_t cols) {
    return 4 + cols / HYP_BLOCK * (size_t)(CSR_HEAD + 2 * ROWS * HYP_BLOCK);
} // CSR's

static uint8_t *encode_bitmap(uint8_t *out, uint8_t code[ROWS][HYP_BLOCK], const uint16_t *d,
                              size_t *bytes) {
    uint8_t *at = out ? out + BITMAP_HEAD : NULL;
    *bytes += BITMAP_HEAD;
    for (uint32_t r = 0; r < ROWS && out; r++) hyp_store_u16(out + 2 * r, d[r]);
    for (uint32_t w = 0; w < WORDS; w++) {
        uint64_t mask = 0;
        for (uint32_t r = 0; r < ROWS; r++)
            for (uint32_t c = 0; c < 4; c++) {
                uint8_t low = code[r][8 * w + c], high = code[r][8 * w + 4 + c];
                if (low == ZERO && high == ZERO) continue;
                mask |= 1ull << (4 * r + c);
                if (at) *at++ = (uint8_t)(low | high << 4);
                ++*bytes;
            }
        if (out) hyp_store_u64(out + 2 * ROWS + 8 * w, mask);
    }
    return at;
}

static uint8_t *encode_csr(uint8_t *out, uint8_t code[ROWS][HYP_BLOCK], const uint16_t *d,
                           size_t *bytes) {
    uint32_t n = 0;
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t c = 0; c < HYP_BLOCK; c++) {
            if (code[r][c] == ZERO) continue;
            if (out)
                hyp_store_u16(out + CSR_HEAD + 2 * n, (uint16_t)(code[r][c] | c << 4 | r << 9));
            n++;
        }
    *bytes += CSR_HEAD + 2 * n;
    if (!out) return NULL;
    for (uint32_t r = 0; r < ROWS; r++) hyp_store_u16(out + 2 * r, d[r]);
    hyp_store_u16(out + 2 * ROWS, (uint16_t)n);
    return out + CSR_HEAD + 2 * n;
}

size_t hyp_sparse_encode(hyp_sparse kind, uint8_t *dst, const uint8_t *rows, uint32_t count,
                         uint32_t cols) {
    size_t row_bytes = hyp_format_row_bytes(HYP_Q4_0, cols), bytes = 4;
    uint8_t *out = dst ? dst + 4 : NULL;
    for (uint32_t b = 0; b < cols / HYP_BLOCK; b++) {
        uint8_t code[ROWS][HYP_BLOCK];
        uint16_t d[ROWS] = {0};
        memset(code, ZERO, sizeof code);
        for (uint32_t r = 0; r < count; r++) {
            hyp_block block;
            hyp_split(HYP_Q4_0, &block, rows + r * row_bytes + b * (size_t)Q4_BYTES);
            memcpy(code[r], block.code, HYP_BLOCK);
            d[r] = block.d_bits;
        }
        out = kind == HYP_BITMAP ? encode_bitmap(out, code, d, &bytes)
                                 : encode_csr(out, code, d, &bytes);
    }
    if (dst) hyp_store_u32(dst, (uint32_t)bytes);
    return bytes;
}

const uint8_t *hyp_sparse_block(hyp_sparse kind, const uint8_t *in, uint8_t code[ROWS][HYP_BLOCK],
                                uint16_t d[ROWS]) {
    memset(code, ZERO, ROWS * HYP_BLOCK);
    for (uint32_t r = 0; r < ROWS; r++) d[r] = hyp_load_u16(in + 2 * r);
    if (kind == HYP_BITMAP) {
        const uint8_t *at = in + BITMAP_HEAD;
        for (uint32_t w = 0; w < WORDS; w++)
            for (uint64_t mask = hyp_load_u64(in + 2 * ROWS + 8 * w); mask;
                 mask &= mask - 1, at++) {
                uint32_t bit = (uint32_t)__builtin_ctzll(mask);
                code[bit / 4][8 * w + bit % 4] = *at & 15;
                code[bit / 4][8 * w + 4 + bit % 4] = *at >> 4;
            }
        return at;
    }
    uint32_t n = hyp_load_u16(in + 2 * ROWS);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t weight = hyp_load_u16(in + CSR_HEAD + 2 * i);
        code[weight >> 9][weight >> 4 & 31] = weight & 15;
    }
    return in + CSR_HEAD + 2 * n;
}

// Bytes of the block at `in`, of which `left` are there; 0: it is not sound.
static size_t sound_block(hyp_sparse kind, const uint8_t *in, size_t left) {
    size_t bytes = kind == HYP_BITMAP ? BITMAP_HEAD : CSR_HEAD;
    if (left < bytes || !hyp_format_finite(HYP_F16, in, ROWS)) return 0; // d of each row
    if (kind == HYP_BITMAP) {
        for (uint32_t w = 0; w < WORDS; w++)
            bytes += (size_t)__builtin_popcountll(hyp_load_u64(in + 2 * ROWS + 8 * w));
        return left < bytes ? 0 : bytes;
    }
    uint32_t n = hyp_load_u16(in + 2 * ROWS), last = 0;
    if (left < bytes + 2 * n) return 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = hyp_load_u16(in + CSR_HEAD + 2 * i) >> 4;
        if (place >= ROWS * HYP_BLOCK || (i > 0 && place <= last)) return 0;
        last = place;
    }
    return bytes + 2 * n;
}

bool hyp_sparse_decode(hyp_sparse kind, uint8_t *rows, const uint8_t *group, size_t bytes,
                       uint32_t cols) {
    size_t row_bytes = hyp_format_row_bytes(HYP_Q4_0, cols), at = 4;
    if (bytes < 4 || bytes > hyp_sparse_most(cols) || hyp_load_u32(group) != bytes) return false;
    for (uint32_t b = 0; b < cols / HYP_BLOCK; b++) {
        size_t n = sound_block(kind, group + at, bytes - at);
        if (n == 0) return false;
        hyp_block block = {0};
        uint8_t code[ROWS][HYP_BLOCK];
        uint16_t d[ROWS];
        if (rows) hyp_sparse_block(kind, group + at, code, d);
        for (uint32_t r = 0; r < ROWS && rows; r++) {
            memcpy(block.code, code[r], HYP_BLOCK);
            block.d_bits = d[r];
            hyp_join(HYP_Q4_0, rows + r * row_bytes + b * (size_t)Q4_BYTES, &block);
        }
        at += n;
    }
    return at == bytes;
}
