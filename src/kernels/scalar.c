// The scalar reference of every slot, written to be read: the other tiers are tested against it,
// bit for bit.
#include "kv_layout.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

// The reference keeps a group as the stored rows, one after the other.
static void pack_rows(void *dst, const void *src, uint32_t rows, size_t row_bytes) {
    memcpy(dst, src, rows * row_bytes);
    memset((uint8_t *)dst + rows * row_bytes, 0, (HYP_GROUP - rows) * row_bytes);
}

// Eight partial sums folded in the order that kernels.h states.
static float fold(const float s[8]) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// Matmul with float activations, ascending c.
static void matmul_float(float *y, size_t y_stride, const uint8_t *w, uint32_t rows, uint32_t cols,
                         const void *x, size_t x_stride, uint32_t tokens, hyp_format format) {
    size_t row_bytes = hyp_format_row_bytes(format, cols), elem = hyp_formats[format].block_bytes;
    for (uint32_t t = 0; t < tokens; t++) {
        const float *in = (const float *)((const uint8_t *)x + t * x_stride);
        for (uint32_t r = 0; r < rows; r++) {
            float sum = 0, weight;
            for (uint32_t c = 0; c < cols; c++) {
                hyp_dequantize(format, &weight, w + r * row_bytes + c * elem, 1);
                sum += weight * in[c];
            }
            y[t * y_stride + r] = sum;
        }
    }
}

// A block of 32 columns of a stored (super-)block: its term as kernels.h states it.
static float term(const hyp_format_info *f, const hyp_block *w, uint32_t k, float scale,
                  const int32_t *total, const int8_t *q) {
    int32_t sum[2] = {0, 0};
    for (uint32_t i = 0; i < HYP_BLOCK; i++)
        sum[i / 16] += hyp_level(f, w->code[k * HYP_BLOCK + i]) * q[i];
    const int8_t *s = w->scale + 2 * k;
    float term = f->sub == 16 ? (w->d * scale) * (float)(s[0] * sum[0] + s[1] * sum[1])
                              : ((w->d * (float)s[0]) * scale) * (float)(sum[0] + sum[1]);
    if (!f->affine) return term;
    if (f->sub == 32)
        return term + (w->m * (float)w->minimum[2 * k]) * (scale * (float)(total[0] + total[1]));
    term += (w->m * (float)w->minimum[2 * k]) * (scale * (float)total[0]);
    return term + (w->m * (float)w->minimum[2 * k + 1]) * (scale * (float)total[1]);
}

// Matmul with 8-bit activations.
static void matmul_blocks(float *y, size_t y_stride, const uint8_t *w, uint32_t rows, uint32_t cols,
                          const void *x, size_t x_stride, uint32_t tokens, hyp_format format) {
    const hyp_format_info *f = &hyp_formats[format];
    uint32_t blocks = cols / HYP_BLOCK, inside = f->block_elems / HYP_BLOCK;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t t = 0; t < tokens; t++) y[t * y_stride + r] = 0;
        for (uint32_t b = 0; b < blocks; b += inside, w += f->block_bytes) {
            hyp_block block;
            hyp_split(format, &block, w);
            for (uint32_t t = 0; t < tokens; t++) {
                const float *scale = (const float *)((const uint8_t *)x + t * x_stride);
                const int32_t *total = (const int32_t *)(scale + blocks);
                const int8_t *q = (const int8_t *)(total + 2 * (size_t)blocks);
                for (uint32_t k = 0; k < inside; k++)
                    y[t * y_stride + r] += term(f, &block, k, scale[b + k], total + 2 * (b + k),
                                                q + (b + k) * HYP_BLOCK);
            }
        }
    }
}

// The same for sparse groups, block by block.
static void matmul_sparse(float *y, size_t y_stride, const uint8_t *w, uint32_t groups,
                          uint32_t cols, const void *x, size_t x_stride, uint32_t tokens,
                          hyp_sparse kind) {
    uint32_t blocks = cols / HYP_BLOCK;
    for (uint32_t g = 0; g < groups; g++, w += hyp_load_u32(w), y += HYP_GROUP) {
        const uint8_t *in = w + 4;
        for (uint32_t t = 0; t < tokens; t++) memset(y + t * y_stride, 0, HYP_GROUP * sizeof *y);
        for (uint32_t b = 0; b < blocks; b++) {
            uint8_t code[HYP_GROUP][HYP_BLOCK];
            uint16_t d[HYP_GROUP];
            in = hyp_sparse_block(kind, in, code, d);
            for (uint32_t t = 0; t < tokens; t++) {
                const float *scale = (const float *)((const uint8_t *)x + t * x_stride);
                const int8_t *q = (const int8_t *)(scale + 3 * (size_t)blocks) + b * HYP_BLOCK;
                for (uint32_t r = 0; r < HYP_GROUP; r++) {
                    int32_t sum = 0;
                    for (uint32_t i = 0; i < HYP_BLOCK; i++) sum += (code[r][i] - 8) * q[i];
                    y[t * y_stride + r] += (hyp_f16_to_f32(d[r]) * scale[b]) * (float)sum;
                }
            }
        }
    }
}
static void matmul_bitmap(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,
                          const void *x, size_t xs, uint32_t tokens) {
    matmul_sparse(y, ys, w, groups, cols, x, xs, tokens, HYP_BITMAP);
}
static void matmul_csr(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,
                       const void *x, size_t xs, uint32_t tokens) {
    matmul_sparse(y, ys, w, groups, cols, x, xs, tokens, HYP_CSR);
}

// clang-format off
#define FORMATS(X) \
    X(F32) X(F16) X(BF16) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(IQ4_NL) X(MXFP4) \
    X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS)
// clang-format on
#define SLOTS(F)                                                                                   \
    static void pack_##F(void *dst, const void *src, uint32_t rows, uint32_t cols) {               \
        pack_rows(dst, src, rows, hyp_format_row_bytes(HYP_##F, cols));                            \
    }                                                                                              \
    static void unpack_##F(float *dst, const void *group, uint32_t row, uint32_t cols) {           \
        hyp_dequantize(HYP_##F, dst,                                                               \
                       (const uint8_t *)group + row * hyp_format_row_bytes(HYP_##F, cols), cols);  \
    }                                                                                              \
    static void matmul_##F(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols,     \
                           const void *x, size_t xs, uint32_t tokens) {                            \
        for (uint32_t g = 0; g < groups; g++)                                                      \
            (hyp_format_is_float(HYP_##F) ? matmul_float : matmul_blocks)(                         \
                y + g * HYP_GROUP, ys, (const uint8_t *)w + g * hyp_group_bytes(HYP_##F, cols),    \
                HYP_GROUP, cols, x, xs, tokens, HYP_##F);                                          \
    }
FORMATS(SLOTS)

static void quantize(void *dst, const float *x, uint32_t cols) {
    uint32_t blocks = cols / HYP_BLOCK;
    float *scale = dst;
    int32_t *total = (int32_t *)(scale + blocks);
    int8_t *q = (int8_t *)(total + 2 * (size_t)blocks);
    for (uint32_t b = 0; b < blocks; b++) {
        float top = 0;
        for (uint32_t i = 0; i < 32; i++) {
            float a = x[b * 32 + i] < 0 ? -x[b * 32 + i] : x[b * 32 + i];
            top = a > top ? a : top;
        }
        float d = top / 127, inverse = d > 0 ? 1 / d : 0;
        total[2 * b] = total[2 * b + 1] = 0;
        for (uint32_t i = 0; i < 32; i++) {
            // With a subnormal maximum, x / d can round past the end.
            int v = hyp_round_within(x[b * 32 + i] * inverse, -127, 127, 0);
            q[b * 32 + i] = (int8_t)v;
            total[2 * b + i / 16] += v;
        }
        scale[b] = d;
    }
}

static void rms_norm(float *y, const float *x, const float *weight, uint32_t n, float eps) {
    float s[8] = {0};
    for (uint32_t i = 0; i < n; i++) s[i % 8] += x[i] * x[i];
    float scale = 1.0f / hyp_sqrtf(fold(s) / (float)n + eps);
    for (uint32_t i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}

static void add(float *y, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) y[i] += x[i];
}

static void silu_mul(float *y, const float *gate, const float *up, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + hyp_expf(-gate[i])) * up[i];
}

// 0.5 g (1 + tanh(u)) = g / (1 + e^-2u) with u = sqrt(2/pi) (g + 0.044715 g^3)
// [Hendrycks, Gimpel 2016]
static void gelu_mul(float *y, const float *gate, const float *up, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        float g = gate[i], u = 0.79788456080286535588f * g * (1.0f + 0.044715f * g * g);
        y[i] = g / (1.0f + hyp_expf(-2.0f * u)) * up[i];
    }
}

static float peak(const float *x, uint32_t n) {
    float top = -__builtin_inff();
    for (uint32_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    return top;
}

static float exps(float *x, uint32_t n, float top) {
    float s[8] = {0};
    for (uint32_t i = 0; i < n; i++) s[i % 8] += x[i] = hyp_expf(x[i] - top);
    return fold(s);
}

static void softcap(float *x, uint32_t n, float cap) {
    for (uint32_t i = 0; i < n; i++) x[i] = cap * hyp_tanhf(x[i] / cap);
}

static void rope(float *x, const float *cs, uint32_t half, bool neox) {
    for (uint32_t i = 0; i < half; i++) {
        float *a = neox ? x + i : x + 2 * i, *b = neox ? x + i + half : x + 2 * i + 1;
        float u = *a, v = *b, c = cs[2 * i], s = cs[2 * i + 1];
        *a = u * c - v * s;
        *b = u * s + v * c;
    }
}

static float key(const void *block, uint32_t at, uint32_t i, uint32_t n) {
    return hyp_f16_to_f32(
        hyp_load_u16((const uint8_t *)block + hyp_kv_key_at(HYP_KV_F16, at, i, n)));
}
static void scores_f16(float *y, size_t ys, const float *q, size_t qs, uint32_t tokens,
                       const void *block, uint32_t keys, uint32_t n, float scale) {
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t j = 0; j < hyp_round_up(keys, HYP_GROUP); j++) {
            float sum = 0;
            for (uint32_t i = 0; i < n; i++) sum += q[t * qs + i] * key(block, j, i, n);
            y[t * ys + j] = sum * scale;
        }
}
static void scores_q8(float *y, size_t ys, const float *q, size_t qs, uint32_t tokens,
                      const void *block, uint32_t keys, uint32_t n, float scale) {
    const uint8_t *in = block;
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t j = 0; j < hyp_round_up(keys, HYP_GROUP); j++) {
            float sum = 0;
            for (uint32_t b = 0; b < n; b += 32) {
                float part = 0;
                for (uint32_t i = b; i < b + 32; i++)
                    part += q[t * qs + i] * (float)(int8_t)in[hyp_kv_key_at(HYP_KV_Q8_0, j, i, n)];
                sum += hyp_f16_to_f32(hyp_load_u16(in + hyp_kv_key_scale_at(j, b, n))) * part;
            }
            y[t * ys + j] = sum * scale;
        }
}
static void mix_f16(float *y, size_t ys, const float *p, size_t ps, uint32_t tokens,
                    const void *block, uint32_t keys, uint32_t n) {
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t i = 0; i < hyp_round_up(n, HYP_GROUP); i++) {
            float sum = 0;
            for (uint32_t j = 0; j < keys; j++)
                sum += p[t * ps + j] *
                       hyp_f16_to_f32(hyp_load_u16((const uint8_t *)block +
                                                   hyp_kv_value_at(HYP_KV_F16, j, i)));
            y[t * ys + i] = sum;
        }
}
static void mix_q8(float *y, size_t ys, const float *p, size_t ps, uint32_t tokens,
                   const void *block, uint32_t keys, uint32_t n) {
    const uint8_t *in = block;
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t i = 0; i < n; i++) {
            float sum = 0;
            for (uint32_t j = 0; j < keys; j++)
                sum += p[t * ps + j] *
                       hyp_f16_to_f32(hyp_load_u16(in + hyp_kv_value_scale_at(j, i))) *
                       (float)(int8_t)in[hyp_kv_value_at(HYP_KV_Q8_0, j, i)];
            y[t * ys + i] = sum;
        }
}

void hyp_kernels_scalar(hyp_kernels *table) {
#define FILL(F) [HYP_##F] = {pack_##F, unpack_##F, matmul_##F},
    *table = (hyp_kernels){
        .weights = {FORMATS(FILL)},
        .sparse = {[HYP_BITMAP] = {matmul_bitmap, 1}, [HYP_CSR] = {matmul_csr, 1}},
        .quantize = quantize,
        .act_elem_bytes = 1,
        .rms_norm = rms_norm,
        .add = add,
        .silu_mul = silu_mul,
        .gelu_mul = gelu_mul,
        .peak = peak,
        .exps = exps,
        .softcap = softcap,
        .rope = rope,
        .kv = {[HYP_KV_F16] = {.scores = scores_f16, .mix = mix_f16},
               [HYP_KV_Q8_0] = {.scores = scores_q8, .mix = mix_q8}},
    };
    hyp_kv_fill_stores(table);
}
