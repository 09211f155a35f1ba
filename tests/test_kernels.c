// Every slot of every tier against the scalar reference, bit for bit (checkasm's way): random sizes and tails, misaligned inputs,
// canaries behind outputs, extremes. One deliberately wrong kernel must be caught.
#include "../src/base/bytes.h"
#include "../src/kernels/kernels.h"
#include "../src/port.h"
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CANARY = 64, MAX_COLS = 1024, MAX_GROUPS = 7, MAX_TOKENS = 9 };

static hyp_kernels scalar, tier;

// Outputs with room behind them that must stay as it was.
static void *guarded(size_t bytes) {
    uint8_t *p = malloc(bytes + CANARY);
    CHECK(p);
    memset(p, 0xA5, bytes + CANARY);
    return p;
}
static bool intact(const void *p, size_t bytes) {
    for (int i = 0; i < CANARY; i++)
        if (((const uint8_t *)p)[bytes + (size_t)i] != 0xA5) return false;
    return true;
}

// Equal bits, but for the payload of NaN and the sign of zero.
static bool same_floats(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]))) return false;
    return true;
}

static void fill(float *x, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) x[i] = random_float() * scale;
}

// Stored weights with every nibble and byte value, and scales of either sign, subnormal ones among them.
static void random_weights(uint8_t *out, hyp_format f, size_t elems) {
    const hyp_format_info *info = &hyp_formats[f];
    if (f == HYP_F32) {
        for (size_t i = 0; i < elems; i++) hyp_store_u32(out + 4 * i, hyp_f32_bits(random_float()));
        return;
    }
    random_bytes(out, elems / info->block_elems * info->block_bytes);
    for (size_t b = 0; b < elems / info->block_elems; b++)
        for (int half = 0; half < (f == HYP_Q4_1 ? 2 : 1); half++) {
            float d = random_float() * (random_u32() % 8 ? 0.1f : 1e-7f);
            if (f == HYP_BF16) hyp_store_u16(out + b * 2, (uint16_t)(hyp_f32_bits(d) >> 16));
            else hyp_store_u16(out + b * info->block_bytes + 2 * half, hyp_f32_to_f16(d));
        }
}

// Runs one product in a table from stored weights to output.
static float *product(const hyp_kernels *k, hyp_format f, const uint8_t *weights, uint32_t rows, uint32_t cols, const float *x,
                      uint32_t tokens, size_t y_stride) {
    uint32_t groups = (rows + HYP_GROUP - 1) / HYP_GROUP;
    size_t row_bytes = hyp_format_row_bytes(f, cols), group_bytes = hyp_group_bytes(f, cols), act = hyp_act_bytes(k, cols);
    uint8_t *packed = guarded(groups * group_bytes);
    for (uint32_t g = 0; g < groups; g++)
        k->weights[f].pack(packed + g * group_bytes, weights + g * HYP_GROUP * row_bytes, hyp_min_u32(HYP_GROUP, rows - g * HYP_GROUP),
                           cols);
    CHECK(intact(packed, groups * group_bytes));
    float *y = guarded(y_stride * tokens * sizeof *y);
    if (hyp_format_is_float(f)) k->weights[f].matmul(y, y_stride, packed, groups, cols, x, cols * sizeof *x, tokens);
    else {
        uint8_t *acts = guarded(act * tokens);
        for (uint32_t t = 0; t < tokens; t++) k->quantize(acts + t * act, x + (size_t)t * cols, cols);
        CHECK(intact(acts, act * tokens));
        k->weights[f].matmul(y, y_stride, packed, groups, cols, acts, act, tokens);
        free(acts);
    }
    CHECK_MSG(intact(y, y_stride * tokens * sizeof *y), "%s product wrote past its output", hyp_formats[f].name);
    // unpack gives back what was stored
    float *row = guarded(cols * sizeof *row), *want = malloc(cols * sizeof *want);
    for (uint32_t r = 0; r < rows; r += 3) {
        k->weights[f].unpack(row, packed + r / HYP_GROUP * group_bytes, r % HYP_GROUP, cols);
        hyp_formats[f].dequantize(want, weights + r * row_bytes, cols);
        CHECK(same_floats(row, want, cols) && intact(row, cols * sizeof *row));
    }
    free(row), free(want), free(packed);
    return y;
}

static bool products_agree(hyp_format f) {
    bool agree = true;
    for (int round = 0; round < 60 && agree; round++) {
        uint32_t rows = 1 + random_u32() % (MAX_GROUPS * HYP_GROUP), tokens = 1 + random_u32() % MAX_TOKENS,
                 groups = (rows + HYP_GROUP - 1) / HYP_GROUP;
        uint32_t cols = hyp_formats[f].block_elems == 1 ? 1 + random_u32() % 300 : 32 * (1 + random_u32() % 12);
        if (round == 0) rows = 8, cols = hyp_formats[f].block_elems == 1 ? 1 : 32, tokens = 1;
        size_t bytes = rows * hyp_format_row_bytes(f, cols), y_stride = groups * HYP_GROUP + (uint32_t)round % 3 * 8;
        uint8_t *weights = malloc(bytes + 1);
        float *x = malloc((size_t)cols * tokens * sizeof *x);
        random_weights(weights + 1, f, (size_t)rows * cols); // misaligned
        fill(x, (size_t)cols * tokens, round % 4 == 0 ? 1e-20f : 3);
        if (round % 5 == 0) memset(x, 0, cols * sizeof *x);
        if (round % 7 == 0) x[0] = 3e4f;
        float *a = product(&scalar, f, weights + 1, rows, cols, x, tokens, y_stride),
              *b = product(&tier, f, weights + 1, rows, cols, x, tokens, y_stride);
        for (uint32_t t = 0; t < tokens; t++) agree = agree && same_floats(a + t * y_stride, b + t * y_stride, rows);
        free(weights), free(x), free(a), free(b);
    }
    return agree;
}

static void products(void) {
    for (int f = 0; f < HYP_FORMATS; f++) CHECK_MSG(products_agree((hyp_format)f), "%s", hyp_formats[f].name);
}

// Worst sums: every weight and activation at its extreme, where a saturating 16-bit step would show.
static void extreme_products(void) {
    enum { COLS = 256 };
    for (int f = 0; f < HYP_FORMATS; f++) {
        if (hyp_formats[f].block_elems == 1) continue;
        uint8_t weights[HYP_GROUP * COLS / 32 * 34];
        float x[5 * COLS];
        for (int sign = 0; sign < 4; sign++) {
            memset(weights, sign & 1 ? (f == HYP_Q8_0 ? 0x80 : 0xFF) : (f == HYP_Q8_0 ? 0x7F : 0x00), sizeof weights);
            for (size_t b = 0; b < HYP_GROUP * COLS / 32; b++) {
                hyp_store_u16(weights + b * hyp_formats[f].block_bytes, 0x3C00);
                if (f == HYP_Q4_1) hyp_store_u16(weights + b * hyp_formats[f].block_bytes + 2, 0xFBFF); // the most negative half
            }
            for (int i = 0; i < 5 * COLS; i++) x[i] = sign & 2 ? -1 : 1;
            float *a = product(&scalar, (hyp_format)f, weights, HYP_GROUP, COLS, x, 5, HYP_GROUP),
                  *b = product(&tier, (hyp_format)f, weights, HYP_GROUP, COLS, x, 5, HYP_GROUP);
            CHECK_MSG(same_floats(a, b, 5 * HYP_GROUP), "%s at its extremes", hyp_formats[f].name);
            free(a), free(b);
        }
    }
}

static void quantized_activations(void) {
    for (int round = 0; round < 300; round++) {
        uint32_t cols = 32 * (1 + random_u32() % 8), blocks = cols / 32;
        float x[256];
        fill(x, cols, round % 3 ? 1 : 1e-30f);
        if (round % 10 == 0) x[3] = -1e-44f, memset(x + 4, 0, 28 * sizeof *x);
        if (round % 10 == 5) x[random_u32() % cols] = NAN, x[random_u32() % cols] = INFINITY;
        uint8_t *a = guarded(hyp_act_bytes(&scalar, cols)), *b = guarded(hyp_act_bytes(&tier, cols));
        scalar.quantize(a, x, cols), tier.quantize(b, x, cols);
        CHECK(memcmp(a, b, blocks * 8) == 0);
        for (uint32_t i = 0; i < cols; i++) {
            int p = ((int8_t *)a + blocks * 8)[i],
                q = tier.act_elem_bytes == 1 ? ((int8_t *)b + blocks * 8)[i] : (int16_t)hyp_load_u16(b + blocks * 8 + 2 * i);
            CHECK_MSG(p == q, "element %u: %d, %d", i, p, q);
        }
        free(a), free(b);
    }
}

static void elementwise(void) {
    for (int round = 0; round < 400; round++) {
        uint32_t n = round < 40 ? (uint32_t)round + 1 : 1 + random_u32() % MAX_COLS;
        float *x = malloc(n * 4), *w = malloc(n * 4), *a = guarded(n * 4), *b = guarded(n * 4);
        fill(x, n, 10), fill(w, n, 2);
        if (round % 6 == 0) x[random_u32() % n] = random_u32() % 2 ? 100 : -200;
#define BOTH(call_a, call_b, what) (call_a, call_b, CHECK_MSG(same_floats(a, b, n) && intact(b, n * 4), "%s of %u", what, n))
        BOTH(scalar.rms_norm(a, x, w, n, 1e-5f), tier.rms_norm(b, x, w, n, 1e-5f), "rms_norm");
        BOTH(scalar.silu_mul(a, x, w, n), tier.silu_mul(b, x, w, n), "silu_mul");
        BOTH(scalar.gelu_mul(a, x, w, n), tier.gelu_mul(b, x, w, n), "gelu_mul");
        memcpy(a, x, n * 4), memcpy(b, x, n * 4);
        BOTH(scalar.add(a, w, n), tier.add(b, w, n), "add");
        memcpy(a, x, n * 4), memcpy(b, x, n * 4);
        BOTH(scalar.softmax(a, n), tier.softmax(b, n), "softmax");
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) sum += (double)a[i];
        CHECK(fabs(sum - 1) < 1e-5);
        memcpy(a, x, n * 4), memcpy(b, x, n * 4);
        BOTH(scalar.softcap(a, n, 5), tier.softcap(b, n, 5), "softcap");
        if (n >= 2 && n / 2 * 2 <= n) {
            memcpy(a, x, n * 4), memcpy(b, x, n * 4);
            BOTH(scalar.rope(a, w, n / 2, round & 1), tier.rope(b, w, n / 2, round & 1), "rope");
        }
#undef BOTH
        free(x), free(w), free(a), free(b);
    }
}

static void caches(void) {
    for (int f = 0; f < HYP_KV_FORMATS; f++)
        for (int round = 0; round < 200; round++) {
            uint32_t n = f == HYP_KV_F16 ? 8 * (1 + random_u32() % 16) : 32 * (1 + random_u32() % 4), count = 1 + random_u32() % 70;
            size_t stride = hyp_kv_bytes((hyp_kv_format)f, n);
            float q[128], row[128], *a = guarded(128 * 4), *b = guarded(128 * 4);
            uint8_t *ka = guarded(stride * count), *kb = guarded(stride * count);
            fill(q, n, 2);
            for (uint32_t i = 0; i < count; i++) {
                fill(row, n, 3);
                scalar.kv[f].store(ka + i * stride, row, n), tier.kv[f].store(kb + i * stride, row, n);
            }
            CHECK(memcmp(ka, kb, stride * count + CANARY) == 0);
            scalar.kv[f].scores(a, q, ka, stride, count, n, 0.125f), tier.kv[f].scores(b, q, ka, stride, count, n, 0.125f);
            CHECK_MSG(same_floats(a, b, count) && intact(b, 128 * 4), "scores of %u keys of %u", count, n);
            float p[70];
            fill(p, count, 1);
            scalar.kv[f].mix(a, p, ka, stride, count, n), tier.kv[f].mix(b, p, ka, stride, count, n);
            CHECK_MSG(same_floats(a, b, n) && intact(b, 128 * 4), "mixture of %u values of %u", count, n);
            free(a), free(b), free(ka), free(kb);
        }
}

static hyp_matmul_fn *right;
static void wrong(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    right(y, ys, w, groups, cols, x, xs, tokens);
    if (cols % 96 == 64) y[(tokens - 1) * ys + groups * HYP_GROUP - 8] *= 1.0000001f; // one lane, one bit, some widths
}

static void a_wrong_kernel_is_caught(void) {
    right = tier.weights[HYP_Q4_0].matmul;
    tier.weights[HYP_Q4_0].matmul = wrong;
    bool caught = !products_agree(HYP_Q4_0);
    tier.weights[HYP_Q4_0].matmul = right;
    CHECK(caught);
}

// A block's error stays within half a step of its format.
static void quantizers(void) {
    for (int round = 0; round < 2000; round++) {
        float x[32], back[32], top = 0;
        uint8_t block[34];
        fill(x, 32, 1);
        for (int i = 0; i < 32; i++) top = fmaxf(top, fabsf(x[i]));
        hyp_formats[HYP_Q8_0].quantize(block, x, 32), hyp_formats[HYP_Q8_0].dequantize(back, block, 32);
        for (int i = 0; i < 32; i++) CHECK(fabsf(back[i] - x[i]) <= top / 127 * 0.56f);
        hyp_formats[HYP_Q4_0].quantize(block, x, 32), hyp_formats[HYP_Q4_0].dequantize(back, block, 32);
        for (int i = 0; i < 32; i++) CHECK(fabsf(back[i] - x[i]) <= top / 8 * 1.01f); // the far end of the range clips by up to a step
    }
    float zeros[32] = {0}, back[32];
    uint8_t block[34];
    hyp_formats[HYP_Q4_0].quantize(block, zeros, 32), hyp_formats[HYP_Q4_0].dequantize(back, block, 32);
    CHECK(memcmp(back, zeros, sizeof zeros) == 0 || back[0] == 0);
    CHECK(hyp_format_named("q4_0") == HYP_Q4_0 && hyp_format_named("Q8_0") == HYP_Q8_0 && hyp_format_named("q4") == HYP_FORMATS &&
          hyp_format_named("") == HYP_FORMATS);
    CHECK(hyp_format_of(12) == HYP_FORMATS && strcmp(hyp_format_name(12), "Q4_K") == 0 && !hyp_format_name(4) && !hyp_format_name(1000));
}

int main(void) {
    hyp_kernels_scalar(&scalar);
    RUN(quantizers);
    for (uint32_t bit = 0; bit < 8; bit++) { // each tier the machine has, then all together
        uint32_t mask = bit == 7 ? UINT32_MAX : 1u << bit;
        hyp_kernels_scalar(&tier);
        uint32_t used = hyp_port_kernels(&tier, mask);
        if (!used && bit != 7) continue;
        RUN(products);
        RUN(extreme_products);
        RUN(quantized_activations);
        RUN(elementwise);
        RUN(caches);
        RUN(a_wrong_kernel_is_caught);
    }
    return finish();
}
