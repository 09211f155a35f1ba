// The scalar reference of every slot: what the other tiers are tested against, bit for bit. Written to be read.
#include "kernels.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

// The reference keeps a group as the stored rows, one after the other.
static void pack_rows(void *dst, const void *src, uint32_t rows, size_t row_bytes) {
    memcpy(dst, src, rows * row_bytes);
    memset((uint8_t *)dst + rows * row_bytes, 0, (HYP_GROUP - rows) * row_bytes);
}

// Eight partial sums folded in the order that kernels.h states.
static float fold(const float s[8]) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }

#define FORMAT(name, format)                                                                                                               \
    static void pack_##name(void *dst, const void *src, uint32_t rows, uint32_t cols) {                                                    \
        pack_rows(dst, src, rows, hyp_format_row_bytes(format, cols));                                                                     \
    }                                                                                                                                      \
    static void unpack_##name(float *dst, const void *group, uint32_t row, uint32_t cols) {                                                \
        hyp_formats[format].dequantize(dst, (const uint8_t *)group + row * hyp_format_row_bytes(format, cols), cols);                      \
    }
FORMAT(f32, HYP_F32)
FORMAT(f16, HYP_F16)
FORMAT(bf16, HYP_BF16)
FORMAT(q8_0, HYP_Q8_0)
FORMAT(q4_0, HYP_Q4_0)
FORMAT(q4_1, HYP_Q4_1)
#undef FORMAT

// Products with float activations: element c of every row at once, ascending c.
static void matmul_float(float *y, size_t y_stride, const void *w, uint32_t rows, uint32_t cols, const void *x, size_t x_stride,
                         uint32_t tokens, hyp_format format) {
    size_t row_bytes = hyp_format_row_bytes(format, cols), elem = hyp_formats[format].block_bytes;
    for (uint32_t t = 0; t < tokens; t++) {
        const float *in = (const float *)((const uint8_t *)x + t * x_stride);
        for (uint32_t r = 0; r < rows; r++) {
            float sum = 0, weight;
            for (uint32_t c = 0; c < cols; c++) {
                hyp_formats[format].dequantize(&weight, (const uint8_t *)w + r * row_bytes + c * elem, 1);
                sum += weight * in[c];
            }
            y[t * y_stride + r] = sum;
        }
    }
}

static void matmul_f32(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul_float(y, ys, w, groups * HYP_GROUP, cols, x, xs, tokens, HYP_F32);
}
static void matmul_f16(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul_float(y, ys, w, groups * HYP_GROUP, cols, x, xs, tokens, HYP_F16);
}
static void matmul_bf16(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul_float(y, ys, w, groups * HYP_GROUP, cols, x, xs, tokens, HYP_BF16);
}

// Products with 8-bit activations: an exact integer sum per block, then one float term per block.
//   Q8_0, Q4_0: (d_w * d_x) * isum          Q4_1: (d_w * d_x) * isum + (m_w * d_x) * sum(q_x), the two added before the accumulator
static void matmul_blocks(float *y, size_t y_stride, const void *w, uint32_t rows, uint32_t cols, const void *x, size_t x_stride,
                          uint32_t tokens, hyp_format format) {
    uint32_t blocks = cols / HYP_BLOCK, block_bytes = hyp_formats[format].block_bytes;
    for (uint32_t t = 0; t < tokens; t++) {
        const float *scale = (const float *)((const uint8_t *)x + t * x_stride);
        const int32_t *total = (const int32_t *)(scale + blocks);
        const int8_t *q = (const int8_t *)(total + blocks);
        for (uint32_t r = 0; r < rows; r++) {
            float sum = 0;
            for (uint32_t b = 0; b < blocks; b++) {
                const uint8_t *block = (const uint8_t *)w + ((size_t)r * blocks + b) * block_bytes;
                float d = hyp_f16_to_f32(hyp_load_u16(block)) * scale[b];
                int32_t isum = 0;
                if (format == HYP_Q8_0) {
                    for (uint32_t i = 0; i < 32; i++) isum += (int8_t)block[2 + i] * q[b * 32 + i];
                    sum += d * (float)isum;
                    continue;
                }
                const uint8_t *nibbles = block + (format == HYP_Q4_1 ? 4 : 2);
                for (uint32_t i = 0; i < 16; i++) isum += (nibbles[i] & 15) * q[b * 32 + i] + (nibbles[i] >> 4) * q[b * 32 + 16 + i];
                if (format == HYP_Q4_0) sum += d * (float)(isum - 8 * total[b]);
                else sum += d * (float)isum + (hyp_f16_to_f32(hyp_load_u16(block + 2)) * scale[b]) * (float)total[b];
            }
            y[t * y_stride + r] = sum;
        }
    }
}

static void matmul_q8_0(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul_blocks(y, ys, w, groups * HYP_GROUP, cols, x, xs, tokens, HYP_Q8_0);
}
static void matmul_q4_0(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul_blocks(y, ys, w, groups * HYP_GROUP, cols, x, xs, tokens, HYP_Q4_0);
}
static void matmul_q4_1(float *y, size_t ys, const void *w, uint32_t groups, uint32_t cols, const void *x, size_t xs, uint32_t tokens) {
    matmul_blocks(y, ys, w, groups * HYP_GROUP, cols, x, xs, tokens, HYP_Q4_1);
}

static void quantize(void *dst, const float *x, uint32_t cols) {
    uint32_t blocks = cols / HYP_BLOCK;
    float *scale = dst;
    int32_t *total = (int32_t *)(scale + blocks);
    int8_t *q = (int8_t *)(total + blocks);
    for (uint32_t b = 0; b < blocks; b++) {
        float top = 0;
        for (uint32_t i = 0; i < 32; i++) {
            float a = x[b * 32 + i] < 0 ? -x[b * 32 + i] : x[b * 32 + i];
            top = a > top ? a : top;
        }
        float d = top / 127, inverse = d > 0 ? 1 / d : 0;
        int32_t sum = 0;
        for (uint32_t i = 0; i < 32; i++) {
            int v = hyp_round_within(x[b * 32 + i] * inverse, -127, 127, 0); // a subnormal maximum can round past the end
            q[b * 32 + i] = (int8_t)v;
            sum += v;
        }
        scale[b] = d;
        total[b] = sum;
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

// 0.5 g (1 + tanh(u)) = g / (1 + e^-2u) with u = sqrt(2/pi) (g + 0.044715 g^3)   [Hendrycks, Gimpel 2016]
static void gelu_mul(float *y, const float *gate, const float *up, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        float g = gate[i], u = 0.79788456080286535588f * g * (1.0f + 0.044715f * g * g);
        y[i] = g / (1.0f + hyp_expf(-2.0f * u)) * up[i];
    }
}

static void softmax(float *x, uint32_t n) {
    float top = x[0], s[8] = {0};
    for (uint32_t i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
    for (uint32_t i = 0; i < n; i++) s[i % 8] += x[i] = hyp_expf(x[i] - top);
    float inverse = 1.0f / fold(s);
    for (uint32_t i = 0; i < n; i++) x[i] *= inverse;
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

static void store_f16(void *dst, const float *x, uint32_t n) { hyp_formats[HYP_F16].quantize(dst, x, n); }
static void store_q8(void *dst, const float *x, uint32_t n) { hyp_formats[HYP_Q8_0].quantize(dst, x, n); }

static float element(const void *row, uint32_t i, hyp_kv_format f) {
    if (f == HYP_KV_F16) return hyp_f16_to_f32(hyp_load_u16((const uint8_t *)row + 2 * i));
    const uint8_t *block = (const uint8_t *)row + i / 32 * 34;
    return hyp_f16_to_f32(hyp_load_u16(block)) * (float)(int8_t)block[2 + i % 32];
}

static void scores(float *out, const float *q, const void *k, size_t stride, uint32_t count, uint32_t n, float scale, hyp_kv_format f) {
    for (uint32_t j = 0; j < count; j++) {
        float s[8] = {0};
        for (uint32_t i = 0; i < n; i++) s[i % 8] += q[i] * element((const uint8_t *)k + j * stride, i, f);
        out[j] = fold(s) * scale;
    }
}

static void mix(float *y, const float *p, const void *v, size_t stride, uint32_t count, uint32_t n, hyp_kv_format f) {
    for (uint32_t i = 0; i < n; i++) {
        float sum = 0;
        for (uint32_t j = 0; j < count; j++) sum += p[j] * element((const uint8_t *)v + j * stride, i, f);
        y[i] = sum;
    }
}

static void scores_f16(float *out, const float *q, const void *k, size_t stride, uint32_t count, uint32_t n, float scale) {
    scores(out, q, k, stride, count, n, scale, HYP_KV_F16);
}
static void scores_q8(float *out, const float *q, const void *k, size_t stride, uint32_t count, uint32_t n, float scale) {
    scores(out, q, k, stride, count, n, scale, HYP_KV_Q8_0);
}
static void mix_f16(float *y, const float *p, const void *v, size_t stride, uint32_t count, uint32_t n) {
    mix(y, p, v, stride, count, n, HYP_KV_F16);
}
static void mix_q8(float *y, const float *p, const void *v, size_t stride, uint32_t count, uint32_t n) {
    mix(y, p, v, stride, count, n, HYP_KV_Q8_0);
}

void hyp_kernels_scalar(hyp_kernels *table) {
    *table = (hyp_kernels){
        .weights = {[HYP_F32] = {pack_f32, unpack_f32, matmul_f32},
                    [HYP_F16] = {pack_f16, unpack_f16, matmul_f16},
                    [HYP_BF16] = {pack_bf16, unpack_bf16, matmul_bf16},
                    [HYP_Q8_0] = {pack_q8_0, unpack_q8_0, matmul_q8_0},
                    [HYP_Q4_0] = {pack_q4_0, unpack_q4_0, matmul_q4_0},
                    [HYP_Q4_1] = {pack_q4_1, unpack_q4_1, matmul_q4_1}},
        .quantize = quantize,
        .act_elem_bytes = 1,
        .rms_norm = rms_norm,
        .add = add,
        .silu_mul = silu_mul,
        .gelu_mul = gelu_mul,
        .softmax = softmax,
        .softcap = softcap,
        .rope = rope,
        .kv = {[HYP_KV_F16] = {store_f16, scores_f16, mix_f16}, [HYP_KV_Q8_0] = {store_q8, scores_q8, mix_q8}},
    };
}
