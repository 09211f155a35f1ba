#include "kv_layout.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

static void store_key_f16(void *block, uint32_t at, const float *x, uint32_t n) {
    uint8_t *out = (uint8_t *)block + hyp_kv_key_at(HYP_KV_F16, at, 0, n);
    for (uint32_t i = 0; i < n; i++) hyp_store_u16(out + 32 * i, hyp_f32_to_finite_f16(x[i]));
}
static void store_value_f16(void *block, uint32_t at, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        hyp_store_u16((uint8_t *)block + hyp_kv_value_at(HYP_KV_F16, at, i),
                      hyp_f32_to_finite_f16(x[i]));
}

// 32 elements to bytes; returns the bits of d.
static uint16_t bytes_of(int8_t q[32], const float *x) {
    float top = 0;
    for (uint32_t i = 0; i < 32; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        top = a > top ? a : top;
    }
    top = top < 127 * HYP_F16_MOST ? top : 127 * HYP_F16_MOST;
    float d = top / 127, inverse = d > 0 ? 1 / d : 0;
    for (uint32_t i = 0; i < 32; i++) q[i] = (int8_t)hyp_round_within(x[i] * inverse, -127, 127, 0);
    return hyp_f32_to_f16(d);
}
static void store_key_q8(void *block, uint32_t at, const float *x, uint32_t n) {
    uint8_t *out = block;
    int8_t q[32];
    for (uint32_t i = 0; i < n; i += 32) {
        hyp_store_u16(out + hyp_kv_key_scale_at(at, i, n), bytes_of(q, x + i));
        for (uint32_t k = 0; k < 32; k++)
            out[hyp_kv_key_at(HYP_KV_Q8_0, at, i + k, n)] = (uint8_t)q[k];
    }
}
static void store_value_q8(void *block, uint32_t at, const float *x, uint32_t n) {
    uint8_t *out = block;
    int8_t q[32];
    for (uint32_t i = 0; i < n; i += 32) {
        hyp_store_u16(out + hyp_kv_value_scale_at(at, i), bytes_of(q, x + i));
        memcpy(out + hyp_kv_value_at(HYP_KV_Q8_0, at, i), q, 16);
        memcpy(out + hyp_kv_value_at(HYP_KV_Q8_0, at, i + 16), q + 16, 16);
    }
}

// Where the scale of element `i`, a multiple of 32, and element `i` itself stand.
static size_t scale_at(bool value, uint32_t at, uint32_t i, uint32_t n) {
    return value ? hyp_kv_value_scale_at(at, i) : hyp_kv_key_scale_at(at, i, n);
}
static size_t element_at(hyp_kv_format f, bool value, uint32_t at, uint32_t i, uint32_t n) {
    return value ? hyp_kv_value_at(f, at, i) : hyp_kv_key_at(f, at, i, n);
}

void hyp_kv_get_row(hyp_kv_format f, const void *block, bool value, uint32_t at, uint32_t n,
                    uint8_t *row) {
    const uint8_t *from = block;
    for (uint32_t i = 0; i < n; i++) {
        if (f == HYP_KV_Q8_0 && i % 32 == 0) {
            memcpy(row, from + scale_at(value, at, i, n), 2);
            row += 2;
        }
        size_t bytes = f == HYP_KV_F16 ? 2 : 1;
        memcpy(row, from + element_at(f, value, at, i, n), bytes);
        row += bytes;
    }
}

void hyp_kv_put_row(hyp_kv_format f, void *block, bool value, uint32_t at, uint32_t n,
                    const uint8_t *row) {
    uint8_t *to = block;
    for (uint32_t i = 0; i < n; i++) {
        if (f == HYP_KV_Q8_0 && i % 32 == 0) {
            memcpy(to + scale_at(value, at, i, n), row, 2);
            row += 2;
        }
        size_t bytes = f == HYP_KV_F16 ? 2 : 1;
        memcpy(to + element_at(f, value, at, i, n), row, bytes);
        row += bytes;
    }
}

static bool finite_half(const uint8_t *half) { return (half[1] & 0x7C) != 0x7C; }

bool hyp_kv_row_sound(hyp_kv_format f, uint32_t n, const uint8_t *row) {
    if (f == HYP_KV_F16) {
        for (uint32_t i = 0; i < n; i++)
            if (!finite_half(row + 2 * i)) return false;
        return true;
    }
    for (uint32_t i = 0; i < n / 32; i++, row += 34) {
        if (!finite_half(row)) return false;
        for (uint32_t k = 0; k < 32; k++)
            if (row[2 + k] == 0x80) return false;
    }
    return true;
}

void hyp_kv_fill_stores(hyp_kernels *table) {
    table->kv[HYP_KV_F16].store_key = store_key_f16;
    table->kv[HYP_KV_F16].store_value = store_value_f16;
    table->kv[HYP_KV_Q8_0].store_key = store_key_q8;
    table->kv[HYP_KV_Q8_0].store_value = store_value_q8;
}
