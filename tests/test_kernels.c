// Every slot of every tier against the scalar reference, bit for bit (checkasm's way): random sizes
// and tails, misaligned inputs, canaries behind outputs, extremes. One deliberately wrong kernel
// must be caught.
// usage: test_kernels [--bench [PATTERN]]   the benchmark instead of the tests (kernels_bench.c)
#include "../src/base/bytes.h"
#include "../src/kernels/kernels.h"
#include "../src/port.h"
#include "harness.h"
#include "kernels_bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CANARY = 64, MAX_COLS = 1024, MAX_GROUPS = 5, MAX_TOKENS = 17 };

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

bool same_floats(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]))) return false;
    return true;
}

static void fill(float *x, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) x[i] = random_float() * scale;
}

// A scale of either sign, subnormal ones among them.
static uint16_t random_half(void) {
    return hyp_f32_to_f16(random_float() * (random_u32() % 8 ? 0.1f : 1e-7f));
}

void random_weights(uint8_t *out, hyp_format f, size_t elems) {
    const hyp_format_info *info = &hyp_formats[f];
    random_bytes(out, elems / info->block_elems * info->block_bytes);
    for (size_t b = 0; b < elems / info->block_elems; b++, out += info->block_bytes) {
        hyp_block block;
        if (f == HYP_F32) hyp_store_u32(out, hyp_f32_bits(random_float()));
        else if (f == HYP_F16) hyp_store_u16(out, random_half());
        else if (f == HYP_BF16) hyp_store_u16(out, hyp_f32_to_bf16(random_float()));
        else {
            hyp_split(f, &block, out);
            block.d_bits = f == HYP_MXFP4 ? (uint16_t)(random_u32() % 16 ? 100 + random_u32() % 30
                                                                         : random_u32() % 3)
                                          : random_half();
            if (info->affine) block.m_bits = random_half();
            hyp_join(f, out, &block);
        }
    }
}

// Runs one product in a table from stored weights to output.
static float *product(const hyp_kernels *k, hyp_format f, const uint8_t *weights, uint32_t rows,
                      uint32_t cols, const float *x, uint32_t tokens, size_t y_stride) {
    uint32_t groups = (rows + HYP_GROUP - 1) / HYP_GROUP;
    size_t row_bytes = hyp_format_row_bytes(f, cols), group_bytes = hyp_group_bytes(f, cols),
           act = hyp_act_bytes(k, cols);
    uint8_t *packed = guarded(groups * group_bytes);
    for (uint32_t g = 0; g < groups; g++)
        k->weights[f].pack(packed + g * group_bytes, weights + g * HYP_GROUP * row_bytes,
                           hyp_min_u32(HYP_GROUP, rows - g * HYP_GROUP), cols);
    CHECK(intact(packed, groups * group_bytes));
    float *y = guarded(y_stride * tokens * sizeof *y);
    if (hyp_format_is_float(f))
        k->weights[f].matmul(y, y_stride, packed, groups, cols, x, cols * sizeof *x, tokens);
    else {
        uint8_t *acts = guarded(act * tokens);
        for (uint32_t t = 0; t < tokens; t++)
            k->quantize(acts + t * act, x + (size_t)t * cols, cols);
        CHECK(intact(acts, act * tokens));
        k->weights[f].matmul(y, y_stride, packed, groups, cols, acts, act, tokens);
        free(acts);
    }
    CHECK_MSG(intact(y, y_stride * tokens * sizeof *y), "%s product wrote past its output",
              hyp_formats[f].name);
    // unpack gives back what was stored
    float *row = guarded(cols * sizeof *row), *want = malloc(cols * sizeof *want);
    for (uint32_t r = 0; r < rows; r += 3) {
        k->weights[f].unpack(row, packed + r / HYP_GROUP * group_bytes, r % HYP_GROUP, cols);
        hyp_dequantize(f, want, weights + r * row_bytes, cols);
        CHECK(same_floats(row, want, cols) && intact(row, cols * sizeof *row));
    }
    free(row);
    free(want);
    free(packed);
    return y;
}

static bool products_agree(hyp_format f) {
    bool agree = true;
    for (int round = 0; round < 60 && agree; round++) {
        uint32_t elems = hyp_formats[f].block_elems,
                 rows = 1 + random_u32() % (MAX_GROUPS * HYP_GROUP),
                 tokens = 1 + random_u32() % MAX_TOKENS,
                 groups = (rows + HYP_GROUP - 1) / HYP_GROUP;
        uint32_t cols = elems == 1 ? 1 + random_u32() % 300
                                   : elems * (1 + random_u32() % (elems == 32 ? 12 : 3));
        if (round == 0) {
            rows = HYP_GROUP;
            cols = elems;
            tokens = 1;
        }
        size_t bytes = rows * hyp_format_row_bytes(f, cols),
               y_stride = groups * HYP_GROUP + (uint32_t)round % 3 * 8;
        uint8_t *weights = malloc(bytes + 1);
        float *x = malloc((size_t)cols * tokens * sizeof *x);
        random_weights(weights + 1, f, (size_t)rows * cols); // misaligned
        fill(x, (size_t)cols * tokens, round % 4 == 0 ? 1e-20f : 3);
        if (round % 5 == 0) memset(x, 0, cols * sizeof *x);
        if (round % 7 == 0) x[0] = 3e4f;
        float *a = product(&scalar, f, weights + 1, rows, cols, x, tokens, y_stride),
              *b = product(&tier, f, weights + 1, rows, cols, x, tokens, y_stride);
        for (uint32_t t = 0; t < tokens; t++)
            agree = agree && same_floats(a + t * y_stride, b + t * y_stride, rows);
        free(weights);
        free(x);
        free(a);
        free(b);
    }
    return agree;
}

static void products(void) {
    for (int f = 0; f < HYP_FORMATS; f++)
        CHECK_MSG(products_agree((hyp_format)f), "%s", hyp_formats[f].name);
}

// Worst sums: every code, scale and activation at an end of its range, where a saturating 16-bit
// step would show.
static void extreme_products(void) {
    enum { COLS = 256, TOKENS = 9 };
    for (int f = 0; f < HYP_FORMATS; f++) {
        const hyp_format_info *info = &hyp_formats[f];
        if (hyp_format_is_float((hyp_format)f)) continue;
        static uint8_t weights[HYP_GROUP * COLS / 32 * 34];
        static float x[TOKENS * COLS];
        for (int sign = 0; sign < 8; sign++) {
            // The halves 1 and -65504.
            hyp_block block = {.d_bits = f == HYP_MXFP4 ? 127 : 0x3C00, .m_bits = 0xFBFF};
            memset(block.code, sign & 1 ? info->top : 0, sizeof block.code);
            memset(block.scale, sign & 4 ? info->scale_low : info->scale_high, sizeof block.scale);
            memset(block.minimum, sign & 4 ? 0 : info->scale_high, sizeof block.minimum);
            for (size_t b = 0; b < HYP_GROUP * COLS / info->block_elems; b++)
                hyp_join((hyp_format)f, weights + b * info->block_bytes, &block);
            for (int i = 0; i < TOKENS * COLS; i++) x[i] = sign & 2 ? -1 : 1;
            float *a = product(&scalar, (hyp_format)f, weights, HYP_GROUP, COLS, x, TOKENS,
                               HYP_GROUP),
                  *b = product(&tier, (hyp_format)f, weights, HYP_GROUP, COLS, x, TOKENS,
                               HYP_GROUP);
            CHECK_MSG(same_floats(a, b, TOKENS * HYP_GROUP), "%s at its extremes", info->name);
            free(a);
            free(b);
        }
    }
}

void sparse_weights(uint8_t *out, size_t elems, float density) {
    for (size_t b = 0; b < elems / 32; b++, out += 18) {
        hyp_block block = {.d_bits = random_half()};
        for (uint32_t i = 0; i < 32; i++) {
            bool there = random_float() < 2 * density - 1; // -1 .. 1
            block.code[i] = there ? (uint8_t)(random_u32() % 16) : 8;
        }
        hyp_join(HYP_Q4_0, out, &block);
    }
}

// Sparse products give the dense one's bits; what is encoded comes back; what is damaged is refused
// or harmless.
static void sparse_products(void) {
    static const float densities[] = {0, 0.02f, 0.1f, 0.3f, 0.7f, 1};
    for (int round = 0; round < 120; round++) {
        hyp_sparse kind = round % 2 ? HYP_CSR : HYP_BITMAP;
        uint32_t rows = 1 + random_u32() % (MAX_GROUPS * HYP_GROUP),
                 cols = 32 * (1 + random_u32() % 12), tokens = 1 + random_u32() % MAX_TOKENS;
        uint32_t groups = (rows + HYP_GROUP - 1) / HYP_GROUP,
                 y_stride = groups * HYP_GROUP + (uint32_t)round % 3 * 8;
        size_t row_bytes = hyp_format_row_bytes(HYP_Q4_0, cols), at = 0,
               act = hyp_act_bytes(&tier, cols);
        uint8_t *weights = malloc(groups * HYP_GROUP * row_bytes),
                *back = malloc(HYP_GROUP * row_bytes),
                *packed = guarded(groups * hyp_sparse_most(cols) + HYP_SPARSE_SLACK),
                *acts = malloc(act * tokens), *damaged = malloc(hyp_sparse_most(cols));
        float *x = malloc((size_t)cols * tokens * sizeof *x),
              *y = guarded(y_stride * tokens * sizeof *y);
        sparse_weights(weights, (size_t)rows * cols, densities[round % 6]);
        fill(x, (size_t)cols * tokens, 3);
        for (uint32_t g = 0; g < groups; g++) {
            uint32_t n = hyp_min_u32(HYP_GROUP, rows - g * HYP_GROUP);
            const uint8_t *in = weights + g * HYP_GROUP * row_bytes;
            size_t bytes = hyp_sparse_encode(kind, packed + at, in, n, cols);
            CHECK(bytes == hyp_sparse_encode(kind, NULL, in, n, cols) &&
                  bytes <= hyp_sparse_most(cols));
            CHECK(hyp_sparse_decode(kind, NULL, packed + at, bytes, cols) &&
                  hyp_sparse_decode(kind, back, packed + at, bytes, cols));
            for (uint32_t i = 0; i < HYP_GROUP * cols; i += 32) {
                float want[32] = {0}, got[32];
                if (i / cols < n)
                    hyp_dequantize(HYP_Q4_0, want, in + i / cols * row_bytes + i % cols / 32 * 18,
                                   32);
                hyp_dequantize(HYP_Q4_0, got, back + i / cols * row_bytes + i % cols / 32 * 18, 32);
                CHECK(same_floats(want, got, 32));
            }
            CHECK(!hyp_sparse_decode(kind, NULL, packed + at, bytes - 1, cols) &&
                  !hyp_sparse_decode(kind, NULL, packed + at, bytes, cols + 32));
            memcpy(damaged, packed + at, bytes);
            for (int i = 0; i < 8; i++)
                damaged[4 + random_u32() % (bytes - 4)] ^= (uint8_t)(1u << random_u32() % 8);
            uint8_t *exact = malloc(bytes); // for the sanitizer to guard
            memcpy(exact, damaged, bytes);
            hyp_sparse_decode(kind, back, exact, bytes, cols);
            free(exact);
            at += bytes;
        }
        float *want = product(&scalar, HYP_Q4_0, weights, rows, cols, x, tokens, y_stride);
        for (uint32_t t = 0; t < tokens; t++)
            tier.quantize(acts + t * act, x + (size_t)t * cols, cols);
        CHECK(tier.sparse[kind].matmul || tier.sparse[kind].most == 0);
        if (tier.sparse[kind].matmul) {
            tier.sparse[kind].matmul(y, y_stride, packed, groups, cols, acts, act, tokens);
            CHECK(intact(y, y_stride * tokens * sizeof *y));
            for (uint32_t t = 0; t < tokens; t++)
                CHECK_MSG(same_floats(want + t * y_stride, y + t * y_stride, rows), "%s product",
                          kind == HYP_CSR ? "CSR" : "bitmap");
            CHECK(hyp_group_at(packed, 0, groups) == packed + at);
        }
        free(weights);
        free(back);
        free(packed);
        free(acts);
        free(damaged);
        free(x);
        free(y);
        free(want);
    }
}

static void quantized_activations(void) {
    for (int round = 0; round < 300; round++) {
        uint32_t cols = 32 * (1 + random_u32() % 8), blocks = cols / 32;
        float x[256];
        fill(x, cols, round % 3 ? 1 : 1e-30f);
        if (round % 10 == 0) {
            x[3] = -1e-44f;
            memset(x + 4, 0, 28 * sizeof *x);
        }
        if (round % 10 == 3) // whose scale is no normal number
            for (uint32_t i = 0; i < 32; i++) x[i] *= 1e-8f;
        if (round % 10 == 5) {
            x[random_u32() % cols] = NAN;
            x[random_u32() % cols] = INFINITY;
        }
        uint8_t *a = guarded(hyp_act_bytes(&scalar, cols)),
                *b = guarded(hyp_act_bytes(&tier, cols));
        scalar.quantize(a, x, cols);
        tier.quantize(b, x, cols);
        CHECK(memcmp(a, b, blocks * 12) == 0);
        for (uint32_t i = 0; i < cols; i++) {
            int p = ((int8_t *)a + blocks * 12)[i],
                q = tier.act_elem_bytes == 1 ? ((int8_t *)b + blocks * 12)[i]
                                             : (int16_t)hyp_load_u16(b + blocks * 12 + 2 * i);
            CHECK_MSG(p == q, "element %u: %d, %d", i, p, q);
        }
        free(a);
        free(b);
    }
}

static void elementwise(void) {
    for (int round = 0; round < 400; round++) {
        uint32_t n = round < 40 ? (uint32_t)round + 1 : 1 + random_u32() % MAX_COLS;
        float *x = malloc(n * 4), *w = malloc(n * 4), *a = guarded(n * 4), *b = guarded(n * 4);
        fill(x, n, 10);
        fill(w, n, 2);
        if (round % 6 == 0) x[random_u32() % n] = random_u32() % 2 ? 100 : -200;
#define BOTH(call_a, call_b, what)                                                                 \
    do {                                                                                           \
        call_a;                                                                                    \
        call_b;                                                                                    \
        CHECK_MSG(same_floats(a, b, n) && intact(b, n * 4), "%s of %u", what, n);                  \
    } while (0)
        BOTH(scalar.rms_norm(a, x, w, n, 1e-5f), tier.rms_norm(b, x, w, n, 1e-5f), "rms_norm");
        BOTH(scalar.silu_mul(a, x, w, n), tier.silu_mul(b, x, w, n), "silu_mul");
        BOTH(scalar.gelu_mul(a, x, w, n), tier.gelu_mul(b, x, w, n), "gelu_mul");
        memcpy(a, x, n * 4);
        memcpy(b, x, n * 4);
        BOTH(scalar.add(a, w, n), tier.add(b, w, n), "add");
        CHECK(scalar.peak(x, n) == tier.peak(x, n));
        memcpy(a, x, n * 4);
        memcpy(b, x, n * 4);
        float sum_a, sum_b;
        BOTH(sum_a = scalar.exps(a, n, 30), sum_b = tier.exps(b, n, 30), "exps");
        CHECK(sum_a == sum_b);
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) sum += exp((double)x[i] - 30);
        CHECK(fabs((double)sum_a - sum) <= 1e-5 * sum + 1e-30);
        memcpy(a, x, n * 4);
        memcpy(b, x, n * 4);
        BOTH(scalar.softcap(a, n, 5), tier.softcap(b, n, 5), "softcap");
        if (n >= 2 && n / 2 * 2 <= n) {
            memcpy(a, x, n * 4);
            memcpy(b, x, n * 4);
            BOTH(scalar.rope(a, w, n / 2, round & 1), tier.rope(b, w, n / 2, round & 1), "rope");
        }
#undef BOTH
        free(x);
        free(w);
        free(a);
        free(b);
    }
    // where the exponential's range ends, to the bit
    float ends[] = {-87.3f, 88.7f, -87.299995f, -87.30001f, 88.69999f, 88.70001f,
                    0,      -0.0f, NAN,         INFINITY,   -INFINITY, 1e-40f},
          a[12], b[12];
    memcpy(a, ends, sizeof a);
    memcpy(b, ends, sizeof b);
    scalar.exps(a, 12, 0);
    tier.exps(b, 12, 0);
    for (int i = 0; i < 12; i++)
        CHECK_MSG(same_floats(a + i, b + i, 1), "e^%g: %g, not %g", (double)ends[i], (double)b[i],
                  (double)a[i]);
}

static void caches(void) {
    for (int f = 0; f < HYP_KV_FORMATS; f++)
        for (int round = 0; round < 120; round++) {
            uint32_t n = f == HYP_KV_F16 ? 2 * (1 + random_u32() % 64)
                                         : 32 * (1 + random_u32() % 4),
                     keys = 1 + random_u32() % HYP_KV_BLOCK, tokens = 1 + random_u32() % 12,
                     qs = n + random_u32() % 5, width = (n + HYP_GROUP - 1) / HYP_GROUP * HYP_GROUP;
            size_t bytes = hyp_kv_block_bytes((hyp_kv_format)f, n),
                   scores = tokens * HYP_KV_BLOCK * 4, mixed = tokens * width * 4;
            float *q = malloc(tokens * qs * 4), row[128], *a = guarded(scores),
                  *b = guarded(scores), *c = guarded(mixed), *d = guarded(mixed);
            uint8_t *ka = guarded(bytes), *kb = guarded(bytes), *va = guarded(bytes),
                    *vb = guarded(bytes);
            memset(ka, 0, bytes);
            memset(kb, 0, bytes);
            memset(va, 0, bytes);
            memset(vb, 0, bytes);
            fill(q, tokens * qs, 2);
            for (uint32_t i = 0; i < keys; i++) {
                fill(row, n, 3);
                scalar.kv[f].store_key(ka, i, row, n);
                tier.kv[f].store_key(kb, i, row, n);
                scalar.kv[f].store_value(va, i, row, n);
                tier.kv[f].store_value(vb, i, row, n);
            }
            CHECK(memcmp(ka, kb, bytes + CANARY) == 0 && memcmp(va, vb, bytes + CANARY) == 0 &&
                  intact(ka, bytes) && intact(va, bytes));
            scalar.kv[f].scores(a, HYP_KV_BLOCK, q, qs, tokens, ka, keys, n, 0.125f);
            tier.kv[f].scores(b, HYP_KV_BLOCK, q, qs, tokens, ka, keys, n, 0.125f);
            double want = 0; // the last key, which is still in `row`
            for (uint32_t i = 0; i < n; i++) want += (double)q[i] * (double)row[i] / 8;
            CHECK_MSG(fabs((double)a[keys - 1] - want) < (f == HYP_KV_F16 ? 0.05 : 0.3),
                      "%g, not %g", (double)a[keys - 1], want);
            for (uint32_t t = 0; t < tokens; t++)
                CHECK_MSG(same_floats(a + t * HYP_KV_BLOCK, b + t * HYP_KV_BLOCK, keys),
                          "scores of %u keys of %u", keys, n);
            CHECK(intact(b, scores));
            for (uint32_t t = 0; t < tokens; t++)
                for (uint32_t j = 0; j < HYP_KV_BLOCK; j++)
                    a[t * HYP_KV_BLOCK + j] = j < keys ? random_float() : NAN;
            scalar.kv[f].mix(c, width, a, HYP_KV_BLOCK, tokens, va, keys, n);
            tier.kv[f].mix(d, width, a, HYP_KV_BLOCK, tokens, va, keys, n);
            for (uint32_t t = 0; t < tokens; t++)
                CHECK_MSG(same_floats(c + t * width, d + t * width, n),
                          "mixture of %u values of %u for %u", keys, n, tokens);
            CHECK(intact(d, mixed));
            free(q);
            free(a);
            free(b);
            free(c);
            free(d);
            free(ka);
            free(kb);
            free(va);
            free(vb);
        }
}

// What becomes a half, at every edge of its range.
static void halves_of_the_cache(void) {
    enum { N = 32 };
    static const uint32_t bits[] = {0,          1,          0x33000000, 0x33000001,
                                    0x387FC000, 0x387FFFFF, 0x38800000, 0x477FEFFF,
                                    0x477FF000, 0x47800000, 0x7F7FFFFF, 0x7F800000,
                                    0x7F800001, 0x7FC00000, 0x3F801000, 0x3F803000};
    uint8_t *a = calloc(1, hyp_kv_block_bytes(HYP_KV_F16, N)),
            *b = calloc(1, hyp_kv_block_bytes(HYP_KV_F16, N));
    float x[N];
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t at = random_u32() % HYP_KV_BLOCK;
        for (uint32_t i = 0; i < N; i++)
            x[i] = hyp_bits_f32(round == 0 ? bits[i % 16] | i / 16 << 31 : random_u32());
        scalar.kv[HYP_KV_F16].store_key(a, at, x, N);
        tier.kv[HYP_KV_F16].store_key(b, at, x, N);
        CHECK(memcmp(a, b, hyp_kv_block_bytes(HYP_KV_F16, N)) == 0);
        scalar.kv[HYP_KV_F16].store_value(a, at, x, N);
        tier.kv[HYP_KV_F16].store_value(b, at, x, N);
        CHECK(memcmp(a, b, hyp_kv_block_bytes(HYP_KV_F16, N)) == 0);
        CHECK(hyp_format_finite(HYP_F16, a, HYP_KV_BLOCK * N));
        // and the 8-bit cache's scales, by what its products make of them
        float score[HYP_KV_BLOCK], q[N];
        for (uint32_t i = 0; i < N; i++) q[i] = 1;
        scalar.kv[HYP_KV_Q8_0].store_key(a, at, x, N);
        tier.kv[HYP_KV_Q8_0].store_key(b, at, x, N);
        CHECK(memcmp(a, b, hyp_kv_block_bytes(HYP_KV_Q8_0, N)) == 0);
        tier.kv[HYP_KV_Q8_0].scores(score, HYP_KV_BLOCK, q, N, 1, a, HYP_KV_BLOCK, N, 1);
        CHECK(score[at] - score[at] == 0);
        memset(a, 0, hyp_kv_block_bytes(HYP_KV_F16, N));
        memset(b, 0, hyp_kv_block_bytes(HYP_KV_F16, N));
    }
    free(a);
    free(b);
}

static hyp_matmul_fn *right;
static void wrong(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x,
                  size_t xs, uint32_t tokens) {
    right(y, ys, w, groups, cols, x, xs, tokens);
    // Wrong in one element, by one bit, at some widths.
    if (cols % 96 == 64) y[(tokens - 1) * ys + groups * HYP_GROUP - 8] *= 1.0000001f;
}

static void a_wrong_kernel_is_caught(void) {
    right = tier.weights[HYP_Q4_0].matmul;
    tier.weights[HYP_Q4_0].matmul = wrong;
    bool caught = !products_agree(HYP_Q4_0);
    tier.weights[HYP_Q4_0].matmul = right;
    CHECK(caught);
}

// Root of the mean squared error, in units of the values' spread, of normal deviates. The bounds
// are a few percent above what the quantizers reach; the second column is what a plain rounding to
// the largest value gives, where that is a known one.
static void quantizers(void) {
    static const struct {
        hyp_format format;
        double bound;
    } cases[] = {{HYP_Q8_0, 0.0075}, {HYP_Q4_0, 0.09},   {HYP_Q4_1, 0.08},  {HYP_Q5_0, 0.045},
                 {HYP_Q5_1, 0.04},   {HYP_IQ4_NL, 0.08}, {HYP_MXFP4, 0.12}, {HYP_Q2_K, 0.28},
                 {HYP_Q3_K, 0.16},   {HYP_Q4_K, 0.08},   {HYP_Q5_K, 0.042}, {HYP_Q6_K, 0.022},
                 {HYP_IQ4_XS, 0.08}};
    enum { N = 256 * 40 };
    static float x[N], back[N], w[N];
    static uint8_t stored[N * 2];
    for (int i = 0; i < N; i++) {
        x[i] = 0;
        for (int k = 0; k < 12; k++) x[i] += random_float() / 2; // of variance 1
        w[i] = i % 8 ? 0.01f : 1;
    }
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double plain = 0, counted = 0, counted_plain = 0;
        hyp_quantize(cases[c].format, stored, x, N, NULL);
        hyp_dequantize(cases[c].format, back, stored, N);
        for (int i = 0; i < N; i++) {
            plain += pow((double)back[i] - (double)x[i], 2);
            counted_plain += (double)w[i] * pow((double)back[i] - (double)x[i], 2);
        }
        hyp_quantize(cases[c].format, stored, x, N, w);
        hyp_dequantize(cases[c].format, back, stored, N);
        for (int i = 0; i < N; i++)
            counted += (double)w[i] * pow((double)back[i] - (double)x[i], 2);
        const char *name = hyp_formats[cases[c].format].name;
        CHECK_MSG(sqrt(plain / N) < cases[c].bound, "%s: %g", name, sqrt(plain / N));
        if (cases[c].format != HYP_Q8_0)
            CHECK_MSG(counted < counted_plain * 0.97, "%s by importance: %g, not below %g", name,
                      counted, counted_plain);
    }
    // what a block holds comes back from its parts
    for (int f = 0; f < HYP_FORMATS; f++)
        for (int round = 0; round < 50 && !hyp_format_is_float((hyp_format)f); round++) {
            hyp_block block;
            random_bytes(stored, 512);
            memset(&block, 0xEE, sizeof block);
            hyp_split((hyp_format)f, &block, stored);
            hyp_join((hyp_format)f, stored + 512, &block);
            CHECK_MSG(memcmp(stored, stored + 512, hyp_formats[f].block_bytes) == 0, "%s",
                      hyp_formats[f].name);
        }
    for (int f = 0; f < HYP_FORMATS; f++) { // nothing but zeros; and what no number is
        memset(x, 0, 256 * 4);
        hyp_quantize((hyp_format)f, stored, x, 256, NULL);
        hyp_dequantize((hyp_format)f, back, stored, 256);
        for (int i = 0; i < 256; i++) CHECK(back[i] == 0);
        if (hyp_format_is_float((hyp_format)f)) continue;
        x[3] = NAN;
        x[40] = INFINITY;
        x[41] = -INFINITY;
        x[200] = 3e38f;
        x[201] = 1e-40f;
        hyp_quantize((hyp_format)f, stored, x, 256, NULL);
        hyp_dequantize((hyp_format)f, back, stored, 256);
        for (int i = 0; i < 256; i++)
            CHECK_MSG(isfinite(back[i]), "%s gives %g for %g", hyp_formats[f].name, (double)back[i],
                      (double)x[i]);
    }
}

// One float that is infinite or NaN, in whatever block: found; the largest finite ones are none.
static void finite_weights(void) {
    enum { ELEMS = 4 * HYP_SUPER };
    static const uint16_t halves[] = {0x7C00, 0xFC00, 0x7C01, 0xFE00, 0x7FFF},
                          fine[] = {0x7BFF, 0xFBFF, 0x0001, 0x8000};
    static const uint32_t singles[] = {0x7F800000, 0xFF800000, 0x7F800001, 0xFFC00000},
                          large[] = {0x7F7FFFFF, 0xFF7FFFFF, 1, 0x80000000};
    static uint8_t weights[ELEMS * 4];
    for (int f = 0; f < HYP_FORMATS; f++) {
        const hyp_format_info *info = &hyp_formats[f];
        for (int round = 0; round < 200; round++) {
            random_weights(weights, (hyp_format)f, ELEMS);
            CHECK_MSG(hyp_format_finite((hyp_format)f, weights, ELEMS), "%s", info->name);
            size_t blocks = ELEMS / info->block_elems, at = round == 0   ? 0
                                                            : round == 1 ? blocks - 1
                                                                         : random_u32() % blocks;
            uint8_t *block = weights + at * info->block_bytes;
            for (uint32_t bad = 0; bad < 2; bad++) {
                uint32_t k = random_u32() % 4;
                hyp_block b;
                if (f == HYP_F32) hyp_store_u32(block, bad ? singles[k] : large[k]);
                else if (f == HYP_BF16)
                    hyp_store_u16(block, (uint16_t)((bad ? singles[k] | 0x10000 : large[k]) >> 16));
                else if (f == HYP_F16)
                    hyp_store_u16(block, bad ? halves[k + (uint32_t)round % 2] : fine[k]);
                else if (f == HYP_MXFP4) block[0] = bad ? 255 : 254;
                else {
                    hyp_split((hyp_format)f, &b, block);
                    if (info->affine && round % 2) b.m_bits = bad ? halves[k] : fine[k];
                    else b.d_bits = bad ? halves[k] : fine[k];
                    hyp_join((hyp_format)f, block, &b);
                }
                CHECK_MSG(hyp_format_finite((hyp_format)f, weights, ELEMS) == !bad, "%s, block %zu",
                          info->name, at);
            }
            // What lies behind does not count.
            CHECK(hyp_format_finite((hyp_format)f, weights, at * info->block_elems));
        }
    }
}

static void names(void) {
    CHECK(hyp_format_named("q4_0") == HYP_Q4_0 && hyp_format_named("Q8_0") == HYP_Q8_0 &&
          hyp_format_named("q4") == HYP_FORMATS && hyp_format_named("") == HYP_FORMATS);
    CHECK(hyp_format_of(12) == HYP_Q4_K && hyp_format_of(16) == HYP_FORMATS &&
          strcmp(hyp_format_name(16), "IQ2_XXS") == 0 && !hyp_format_name(4) &&
          !hyp_format_name(1000));
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench_kernels(argc > 2 ? argv[2] : NULL);
    hyp_kernels_scalar(&scalar);
    RUN(quantizers);
    RUN(finite_weights);
    RUN(names);
    tier = scalar;
    RUN(sparse_products);
    for (uint32_t bit = 0; bit <= HYP_ISA_BITS; bit++) { // each tier the machine has, then the best
        uint32_t mask = bit == HYP_ISA_BITS ? UINT32_MAX : 1u << bit;
        hyp_kernels_scalar(&tier);
        uint32_t used = hyp_port_kernels(&tier, mask);
        if (!used && bit != HYP_ISA_BITS) continue;
        RUN(products);
        RUN(extreme_products);
        RUN(sparse_products);
        RUN(quantized_activations);
        RUN(elementwise);
        RUN(caches);
        RUN(halves_of_the_cache);
        RUN(a_wrong_kernel_is_caught);
    }
    return finish();
}
