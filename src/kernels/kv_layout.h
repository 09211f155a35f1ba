// How a block of HYP_KV_BLOCK positions of one key-value head is laid out, the same in every tier.
//
//   keys, F16      for each 16 keys: (n elements, 16 keys)
//   keys, Q8_0     for each 16 keys, for each 32 elements: d of the 16 keys; (32 elements, 16 keys)
//   values, F16    for each 16 elements: (positions, 16 elements)
//   values, Q8_0   for each 32 elements: d of each position; then for each 16 of the 32:
//                  (positions, 16 elements)
//
// A cache holds finite numbers only: what is beyond a half's range is stored as the largest half,
// NaN as 0. (Where halves become floats by shifts, an infinite one would become 65536.)
#ifndef HYP_KERNELS_KV_LAYOUT_H
#define HYP_KERNELS_KV_LAYOUT_H

#include "kernels.h"

// Bytes of 16 keys.
static inline size_t hyp_kv_key_group_bytes(hyp_kv_format f, uint32_t n) {
    return f == HYP_KV_F16 ? (size_t)n * 32 : (size_t)n / 32 * 34 * 16;
}
// Where element `i` of position `at` stands in the block, and its scale (Q8_0), in bytes.
static inline size_t hyp_kv_key_at(hyp_kv_format f, uint32_t at, uint32_t i, uint32_t n) {
    size_t group = at / 16 * hyp_kv_key_group_bytes(f, n);
    return f == HYP_KV_F16 ? group + (i * 16 + at % 16) * 2
                           : group + i / 32 * 34 * 16 + 32 + i % 32 * 16 + at % 16;
}
static inline size_t hyp_kv_key_scale_at(uint32_t at, uint32_t i, uint32_t n) {
    return at / 16 * hyp_kv_key_group_bytes(HYP_KV_Q8_0, n) + i / 32 * 34 * 16 + at % 16 * 2;
}
static inline size_t hyp_kv_value_at(hyp_kv_format f, uint32_t at, uint32_t i) {
    return f == HYP_KV_F16 ? (i / 16 * HYP_KV_BLOCK * 16 + at * 16 + i % 16) * 2
                           : i / 32 * 34 * HYP_KV_BLOCK + 2 * HYP_KV_BLOCK +
                                 i % 32 / 16 * HYP_KV_BLOCK * 16 + at * 16 + i % 16;
}
static inline size_t hyp_kv_value_scale_at(uint32_t at, uint32_t i) {
    return i / 32 * 34 * HYP_KV_BLOCK + at * 2;
}

// A row is what one position keeps of a key or of a value, as states hold it: `n` halves, or for
// each 32 elements d and their bytes. Its bytes do not depend on the layout above.
static inline size_t hyp_kv_row_bytes(hyp_kv_format f, uint32_t n) {
    return f == HYP_KV_F16 ? (size_t)n * 2 : (size_t)n / 32 * 34;
}
// Copies the key's row of position `at` of a block, or the value's, out of it or into it.
void hyp_kv_get_row(hyp_kv_format f, const void *block, bool value, uint32_t at, uint32_t n,
                    uint8_t *row);
void hyp_kv_put_row(hyp_kv_format f, void *block, bool value, uint32_t at, uint32_t n,
                    const uint8_t *row);
// Whether a row is one that the stores may have written: finite, and no byte beyond 127.
bool hyp_kv_row_sound(hyp_kv_format f, uint32_t n, const uint8_t *row);

void hyp_kv_fill_stores(hyp_kernels *table); // with the scalar store_key and store_value

#endif
