#include "shape.h"

#include "../base/bytes.h"
#include "../base/fmath.h"
#include "../base/text.h"

// In integers, since C17 promises no other constants here.
_Static_assert(HYP_CONTEXT_MOST <=
                   (int64_t)HYP_ANGLE_MOST / (HYP_ROPE_STRETCH_MOST * HYP_ROPE_STRETCH_MOST),
               "angles stay within hyp_sincos");

typedef struct keys {
    const hyp_gguf *gguf;
    const char *arch;
    hyp_status status;
    char text[96];
} keys;

static const char *key(keys *k, const char *name) {
    hyp_format_text(k->text, sizeof k->text, "%s.%s", k->arch, name);
    return k->text;
}
static hyp_status out_of_range(hyp_fault *fault, const char *what, hyp_text name, float value,
                               double low, double high) {
    char text[3][25];
    const double numbers[3] = {(double)value, low, high};
    for (int i = 0; i < 3; i++)
        text[i][numbers[i] - numbers[i] == 0 ? hyp_format_real(text[i], numbers[i]) : 0] = 0;
    return hyp_fail(
        fault, HYP_E_FORMAT, "%s '%.*s' holds %s: it must be a number between %s and %s", what,
        (int)name.bytes, name.data, *text[0] ? text[0] : "what is none", text[1], text[2]);
}
static uint32_t whole(keys *k, const char *name, uint32_t otherwise) {
    uint32_t v = otherwise;
    if (!k->status) k->status = hyp_gguf_u32(k->gguf, key(k, name), otherwise, &v);
    return v;
}
static float real(keys *k, const char *name, float otherwise) {
    float v = otherwise;
    if (!k->status) k->status = hyp_gguf_f32(k->gguf, key(k, name), otherwise, &v);
    return v;
}

static float within(keys *k, const char *name, float otherwise, double low, double high) {
    float v = real(k, name, otherwise);
    if (!k->status && !((double)v >= low && (double)v <= high))
        k->status = out_of_range(k->gguf->fault, "metadata key",
                                 (hyp_text){key(k, name), strlen(k->text)}, v, low, high);
    return v;
}

static hyp_status bad_shape(const hyp_gguf *gguf, const char *what, uint32_t value) {
    return hyp_fail(gguf->fault, HYP_E_FORMAT, "the model's %s of %u is not possible", what, value);
}

hyp_status hyp_shape_read(hyp_shape *s, const hyp_arch *arch, const hyp_gguf *gguf,
                          uint32_t context) {
    *s = (hyp_shape){.arch = arch};
    keys k = {.gguf = gguf, .arch = arch->name};
    s->layers = whole(&k, "block_count", 0);
    s->dim = whole(&k, "embedding_length", 0);
    s->heads = whole(&k, "attention.head_count", 0);
    s->kv_heads = whole(&k, "attention.head_count_kv", s->heads);
    s->ffn = whole(&k, "feed_forward_length", 0);
    s->context = whole(&k, "context_length", 2048);
    uint32_t experts = whole(&k, "expert_count", 0);
    if (k.status) return k.status;
    if (experts)
        return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED,
                        "mixtures of experts are not supported (this model has %u)", experts);
    if (s->layers == 0 || s->layers > HYP_MAX_LAYERS)
        return bad_shape(gguf, "layer count", s->layers);
    if (s->dim == 0 || s->dim > 1 << 17 || s->dim % 8)
        return bad_shape(gguf, "embedding length", s->dim);
    if (s->heads == 0 || s->heads > 1024 || s->heads > s->dim ||
        (s->dim % s->heads && !hyp_gguf_find(gguf, key(&k, "attention.key_length"))))
        return bad_shape(gguf, "head count", s->heads);
    if (s->kv_heads == 0 || s->heads % s->kv_heads)
        return bad_shape(gguf, "key-value head count", s->kv_heads);
    if (s->ffn == 0 || s->ffn > 1 << 20 || s->ffn % 8)
        return bad_shape(gguf, "feed-forward length", s->ffn);
    if (s->context == 0 || s->context > HYP_CONTEXT_MOST)
        return bad_shape(gguf, "context length", s->context);
    s->head = whole(&k, "attention.key_length", s->dim / s->heads);
    uint32_t value = whole(&k, "attention.value_length", s->head);
    s->rope_dims = whole(&k, "rope.dimension_count", s->head);
    s->eps = within(&k, "attention.layer_norm_rms_epsilon", 1e-5f, 1e-20, 1);
    s->rope_base = within(&k, "rope.freq_base", 10000, 1, 1e20);
    s->window = arch->window_period ? whole(&k, "attention.sliding_window", 4096) : 0;
    s->attention_cap = within(&k, "attn_logit_softcapping", 0, 0, 1e6);
    s->logit_cap = within(&k, "final_logit_softcapping", 0, 0, 1e6);
    s->rope_attention = within(&k, "rope.scaling.attn_factor", 1, 1e-3, 1e3);
    s->rope_scale = within(&k, "rope.scaling.factor", real(&k, "rope.scale_linear", 1),
                           HYP_ROPE_FACTOR_LEAST, HYP_ROPE_FACTOR_MOST);
    if (k.status) return k.status;
    if (s->head == 0 || s->head > 1024 || s->head % 8 || value != s->head)
        return bad_shape(gguf, "head size", s->head);
    if (s->rope_dims == 0 || s->rope_dims > s->head || s->rope_dims % 2)
        return bad_shape(gguf, "rotary dimension", s->rope_dims);
    hyp_text scaling = hyp_gguf_string(gguf, key(&k, "rope.scaling.type"));
    if (scaling.bytes == 4 && memcmp(scaling.data, "yarn", 4) == 0)
        return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED, "RoPE scaling 'yarn' is not supported");
    if (scaling.bytes == 4 && memcmp(scaling.data, "none", 4) == 0) s->rope_scale = 1;
    s->score_scale = 1.0f / hyp_sqrtf((float)(arch->wide_layers == s->layers ? s->dim / s->heads
                                                                             : s->head));
    s->embd_scale = arch->embd_scale ? hyp_sqrtf((float)s->dim) : 1;
    // LongRoPE has one set of factors for contexts up to the trained one and one for longer ones.
    uint32_t trained = whole(&k, "rope.scaling.original_context_length", s->context);
    s->extended = (context ? context : s->context) > trained;
    return k.status;
}
