#include "sparse.h"

#include "../base/bytes.h"

enum {
    ROWS = 16,
    ZERO = 8,
    WORDS = 4,
    Q4_BYTES = 18,
    BITMAP_HEAD = 2 * ROWS + 8 * WORDS,
    CSR_MOST = 2 + ROWS * (3 + HYP_BLOCK + HYP_BLOCK / 2)
};

size_t hyp_sparse_most(uint32_t cols) { return 4 + cols / HYP_BLOCK * (size_t)CSR_MOST; } // the larger of the two

static uint8_t *encode_bitmap(uint8_t *out, uint8_t code[ROWS][HYP_BLOCK], const uint16_t *d, size_t *bytes) {
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

static uint8_t *encode_csr(uint8_t *out, uint8_t code[ROWS][HYP_BLOCK], const uint16_t *d, size_t *bytes) {
    uint32_t rows = 0;
    uint8_t *at = out ? out + 2 : NULL;
    *bytes += 2;
    for (uint32_t r = 0; r < ROWS; r++) {
        uint8_t column[HYP_BLOCK], n = 0;
        for (uint8_t c = 0; c < HYP_BLOCK; c++)
            if (code[r][c] != ZERO) column[n++] = c;
        if (n == 0) continue;
        rows |= 1u << r;
        *bytes += 3u + n + (n + 1u) / 2;
        if (!out) continue;
        hyp_store_u16(at, d[r]);
        at[2] = n;
        memcpy(at + 3, column, n);
        at += 3 + n;
        for (uint32_t i = 0; i < n; i += 2) *at++ = (uint8_t)(code[r][column[i]] | (i + 1 < n ? code[r][column[i + 1]] : 0) << 4);
    }
    if (out) hyp_store_u16(out, (uint16_t)rows);
    return at;
}

size_t hyp_sparse_encode(hyp_sparse kind, uint8_t *dst, const uint8_t *rows, uint32_t count, uint32_t cols) {
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
        out = kind == HYP_BITMAP ? encode_bitmap(out, code, d, &bytes) : encode_csr(out, code, d, &bytes);
    }
    if (dst) hyp_store_u32(dst, (uint32_t)bytes);
    return bytes;
}

const uint8_t *hyp_sparse_block(hyp_sparse kind, const uint8_t *in, uint8_t code[ROWS][HYP_BLOCK], uint16_t d[ROWS]) {
    memset(code, ZERO, ROWS * HYP_BLOCK);
    if (kind == HYP_BITMAP) {
        const uint8_t *at = in + BITMAP_HEAD;
        for (uint32_t r = 0; r < ROWS; r++) d[r] = hyp_load_u16(in + 2 * r);
        for (uint32_t w = 0; w < WORDS; w++)
            for (uint64_t mask = hyp_load_u64(in + 2 * ROWS + 8 * w); mask; mask &= mask - 1, at++) {
                uint32_t bit = (uint32_t)__builtin_ctzll(mask);
                code[bit / 4][8 * w + bit % 4] = *at & 15;
                code[bit / 4][8 * w + 4 + bit % 4] = *at >> 4;
            }
        return at;
    }
    const uint8_t *at = in + 2;
    memset(d, 0, ROWS * sizeof *d);
    for (uint32_t rows = hyp_load_u16(in); rows; rows &= rows - 1) {
        uint32_t r = (uint32_t)__builtin_ctz(rows), n = at[2];
        const uint8_t *column = at + 3, *codes = column + n;
        d[r] = hyp_load_u16(at);
        for (uint32_t i = 0; i < n; i++) code[r][column[i]] = codes[i / 2] >> i % 2 * 4 & 15;
        at = codes + (n + 1) / 2;
    }
    return at;
}

// Bytes of the block at `in`, of which `left` are there; 0: it is not sound.
static size_t sound_block(hyp_sparse kind, const uint8_t *in, size_t left) {
    size_t bytes = kind == HYP_BITMAP ? BITMAP_HEAD : 2;
    if (left < bytes) return 0;
    if (kind == HYP_BITMAP) {
        for (uint32_t w = 0; w < WORDS; w++) bytes += (size_t)__builtin_popcountll(hyp_load_u64(in + 2 * ROWS + 8 * w));
        return left < bytes ? 0 : bytes;
    }
    for (uint32_t rows = hyp_load_u16(in); rows; rows &= rows - 1) {
        const uint8_t *row = in + bytes;
        if (left - bytes < 3 || row[2] == 0 || row[2] > HYP_BLOCK) return 0;
        uint32_t n = row[2];
        bytes += 3 + n + (n + 1) / 2;
        if (left < bytes) return 0;
        for (uint32_t i = 0; i < n; i++)
            if (row[3 + i] >= HYP_BLOCK || (i > 0 && row[3 + i] <= row[2 + i])) return 0;
    }
    return bytes;
}

bool hyp_sparse_decode(hyp_sparse kind, uint8_t *rows, const uint8_t *group, size_t bytes, uint32_t cols) {
    size_t row_bytes = hyp_format_row_bytes(HYP_Q4_0, cols), at = 4;
    if (bytes < 4 || hyp_load_u32(group) != bytes) return false;
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
