// Loading: shape from the metadata, one operation list from the architecture's facts, weights in
// file order.
#include "steps.h"

#include "../base/bytes.h"
#include "../base/fmath.h"
#include "../base/text.h"

enum {
    SPARE_BYTES = 512 << 10,
    MAX_LAYERS = 1024,
    OPS_PER_LAYER = 28,
    MATRICES_PER_LAYER = 7,
    BYTES_PER_UNIT = 64
};

typedef struct job { // one tensor to read: either a matrix or a vector of floats
    const hyp_gguf_tensor *tensor;
    hyp_matrix *matrix;
    float *vector;
} job;

typedef struct loader {
    hyp_transformer *model;
    const hyp_gguf *gguf;
    hyp_arena *arena;
    hyp_fault *fault;
    job *jobs;
    uint32_t job_count, layer;
    hyp_status status; // the first failure; later steps do nothing
} loader;

static hyp_status read_shape(hyp_transformer *model, const hyp_gguf *gguf, uint32_t context);
static void build(loader *l);
static hyp_status open_weights(loader *l, uint32_t context);
static hyp_status read_weights(loader *l, hyp_progress progress);
static void gather_team(loader *l, uint32_t context, uint32_t threads);

hyp_status hyp_transformer_load(hyp_transformer *model, const hyp_gguf *gguf,
                                const hyp_kernels *kernels, hyp_arena *arena, uint32_t context,
                                uint32_t threads, hyp_progress progress) {
    *model = (hyp_transformer){.kernels = kernels};
    hyp_text name = hyp_gguf_string(gguf, "general.architecture");
    if (!name.data)
        return hyp_fail(gguf->fault, HYP_E_FORMAT,
                        "the file does not name its architecture ('general.architecture')");
    model->arch = hyp_arch_named(name.data, name.bytes);
    if (!model->arch)
        return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED,
                        "architecture '%.*s' is not supported (llama, qwen2, qwen3, gemma, gemma2, "
                        "gemma3 and phi3 are)",
                        name.bytes < 60 ? (int)name.bytes : 60, name.data);
    hyp_status status = read_shape(model, gguf, context);
    if (status) return status;

    uint32_t layers = model->shape.layers;
    loader l = {.model = model, .gguf = gguf, .arena = arena, .fault = gguf->fault};
    model->ops = hyp_arena_alloc(arena, (size_t)(layers + 1) * OPS_PER_LAYER * sizeof *model->ops);
    model->matrices = hyp_arena_alloc(arena, ((size_t)layers * MATRICES_PER_LAYER + 2) *
                                                 sizeof *model->matrices);
    hyp_buffer jobs = {.budget = arena->budget};
    if (!model->ops || !model->matrices ||
        !hyp_buffer_reserve(&jobs, hyp_gguf_tensor_count(gguf) * sizeof(job)))
        status = hyp_fail(gguf->fault, HYP_E_NOMEM, "not enough memory for the model's graph");
    else {
        l.jobs = (job *)(void *)jobs.data;
        build(&l);
        status = l.status ? l.status : open_weights(&l, context);
        if (!status) status = read_weights(&l, progress);
        if (!status) gather_team(&l, context, threads);
        for (uint32_t i = 0; i < model->matrix_count; i++)
            model->step_work += (uint64_t)model->matrices[i].rows * model->matrices[i].cols /
                                HYP_WORK_UNIT;
    }
    hyp_buffer_deinit(&jobs);
    if (status) hyp_transformer_close(model);
    return status;
}

void hyp_transformer_stop_workers(hyp_transformer *model) {
    if (model->pool) hyp_pager_set_workers(model->weights.pager, NULL);
    hyp_pool_destroy(model->pool);
    model->pool = NULL;
}

void hyp_transformer_close(hyp_transformer *model) {
    hyp_transformer_stop_workers(model);
    hyp_weights_close(&model->weights);
}

hyp_status hyp_transformer_overflowed(const hyp_transformer *model) {
    return hyp_fail(model->weights.gguf->fault, HYP_E_FORMAT,
                    "what the model computes are no finite numbers: its weights are damaged, or "
                    "too large to compute with");
}

// ---- Shape

// What RoPE's frequencies, which are at most 1, may be divided by. A position's angle must stay one
// of which sines are known: twice the least, of the scale and of a factor, takes the last position
// there.
#define ROPE_FACTOR_LEAST 0.125
#define ROPE_FACTOR_MOST 1e9
_Static_assert(HYP_CONTEXT_MOST / (ROPE_FACTOR_LEAST * ROPE_FACTOR_LEAST) <= HYP_ANGLE_MOST,
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

static hyp_status read_shape(hyp_transformer *model, const hyp_gguf *gguf, uint32_t context) {
    const hyp_arch *arch = model->arch;
    hyp_shape *s = &model->shape;
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
    if (s->layers == 0 || s->layers > MAX_LAYERS) return bad_shape(gguf, "layer count", s->layers);
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
                           ROPE_FACTOR_LEAST, ROPE_FACTOR_MOST);
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

// ---- Graph

static const hyp_gguf_tensor *tensor(loader *l, const char *name, bool required) {
    char text[96];
    if (l->layer != UINT32_MAX) hyp_format_text(text, sizeof text, "blk.%u.%s", l->layer, name);
    else hyp_format_text(text, sizeof text, "%s", name);
    const hyp_gguf_tensor *t = l->status ? NULL : hyp_gguf_tensor_named(l->gguf, text);
    if (!t && required && !l->status)
        l->status = hyp_fail(l->fault, HYP_E_FORMAT, "tensor '%s' is missing", text);
    if (t && t->format == HYP_FORMATS) {
        l->status = hyp_fail(l->fault, HYP_E_UNSUPPORTED,
                             "tensor '%s' is stored as %s, which is not supported: convert it to "
                             "another format, Q4_K say",
                             text, hyp_format_name(t->type));
        return NULL;
    }
    return t;
}

static bool expect(loader *l, const hyp_gguf_tensor *t, uint64_t rows, uint64_t cols) {
    if (!t) return false;
    if (t->dim[0] == cols && t->dim[1] == rows && t->dim[2] == 1 && t->dim[3] == 1) return true;
    hyp_text name = hyp_gguf_tensor_name(l->gguf, t);
    l->status = hyp_fail(l->fault, HYP_E_FORMAT,
                         "tensor '%.*s' has the shape (%llu, %llu); (%llu, %llu) was expected",
                         (int)name.bytes, name.data, (unsigned long long)t->dim[1],
                         (unsigned long long)t->dim[0], (unsigned long long)rows,
                         (unsigned long long)cols);
    return false;
}

static const hyp_matrix *matrix(loader *l, const char *name, uint64_t rows, uint64_t cols,
                                bool required) {
    const hyp_gguf_tensor *t = tensor(l, name, required);
    if (!expect(l, t, rows, cols)) return NULL;
    hyp_matrix *m = &l->model->matrices[l->model->matrix_count++];
    *m = (hyp_matrix){.format = t->format,
                      .rows = (uint32_t)rows,
                      .cols = (uint32_t)cols,
                      .groups = (uint32_t)((rows + HYP_GROUP - 1) / HYP_GROUP),
                      .tensor = t};
    l->model->weight_bytes += t->bytes;
    l->jobs[l->job_count++] = (job){.tensor = t, .matrix = m};
    return m;
}

static const float *vector(loader *l, const char *name, uint64_t count, bool required) {
    const hyp_gguf_tensor *t = tensor(l, name, required);
    if (!expect(l, t, 1, count)) return NULL;
    if (!hyp_format_is_float(t->format)) {
        l->status = hyp_fail(l->fault, HYP_E_UNSUPPORTED,
                             "tensor '%s' of layer %u is stored as %s; a float format was expected",
                             name, l->layer, hyp_formats[t->format].name);
        return NULL;
    }
    float *v = hyp_arena_alloc(l->arena, (size_t)count * sizeof *v);
    if (!v) l->status = hyp_fail(l->fault, HYP_E_NOMEM, "not enough memory for the model's norms");
    l->jobs[l->job_count++] = (job){.tensor = t, .vector = v};
    return v;
}

static void op(loader *l, hyp_op o) {
    o.layer = (uint16_t)l->layer;
    l->model->ops[l->model->op_count++] = o;
}

static void norm(loader *l, hyp_slot dst, hyp_slot src, const char *name) {
    op(l, (hyp_op){.kind = HYP_OP_NORM,
                   .dst = dst,
                   .src = src,
                   .vector = vector(l, name, l->model->shape.dim, true)});
}

static void bias(loader *l, hyp_slot dst, uint32_t at, const char *name, uint32_t rows) {
    char text[48];
    hyp_format_text(text, sizeof text, "%s.bias", name);
    const float *v = vector(l, text, rows, false);
    if (v)
        op(l, (hyp_op){.kind = HYP_OP_BIAS, .dst = dst, .dst_at = at, .count = rows, .vector = v});
}

// dst[at ..] = W src. Products of one source stand side by side, `fresh` the first of them, and
// their biases after them.
static void product(loader *l, hyp_slot dst, uint32_t at, hyp_slot src, bool fresh,
                    const char *name, uint32_t rows, uint32_t cols) {
    char text[48];
    hyp_format_text(text, sizeof text, "%s.weight", name);
    op(l, (hyp_op){.kind = HYP_OP_MATMUL,
                   .dst = dst,
                   .dst_at = at,
                   .src = src,
                   .fresh = fresh,
                   .matrix = matrix(l, text, rows, cols, true)});
}

static void layer(loader *l) {
    const hyp_arch *arch = l->model->arch;
    const hyp_shape *s = &l->model->shape;
    uint32_t q = s->heads * s->head, kv = s->kv_heads * s->head;
    bool windowed = arch->window_period &&
                    l->layer % arch->window_period != arch->window_period - 1;

    norm(l, HYP_SLOT_H, HYP_SLOT_X, "attn_norm.weight");
    if (arch->fused) {
        product(l, HYP_SLOT_QKV, 0, HYP_SLOT_H, true, "attn_qkv", q + 2 * kv, s->dim);
        bias(l, HYP_SLOT_QKV, 0, "attn_qkv", q + 2 * kv);
    } else {
        product(l, HYP_SLOT_QKV, 0, HYP_SLOT_H, true, "attn_q", q, s->dim);
        product(l, HYP_SLOT_QKV, q, HYP_SLOT_H, false, "attn_k", kv, s->dim);
        product(l, HYP_SLOT_QKV, q + kv, HYP_SLOT_H, false, "attn_v", kv, s->dim);
        bias(l, HYP_SLOT_QKV, 0, "attn_q", q);
        bias(l, HYP_SLOT_QKV, q, "attn_k", kv);
        bias(l, HYP_SLOT_QKV, q + kv, "attn_v", kv);
    }
    if (arch->qk_norm) {
        op(l, (hyp_op){.kind = HYP_OP_HEAD_NORM,
                       .dst = HYP_SLOT_QKV,
                       .count = s->heads,
                       .vector = vector(l, "attn_q_norm.weight", s->head, true)});
        op(l, (hyp_op){.kind = HYP_OP_HEAD_NORM,
                       .dst = HYP_SLOT_QKV,
                       .dst_at = q,
                       .count = s->kv_heads,
                       .vector = vector(l, "attn_k_norm.weight", s->head, true)});
    }
    op(l, (hyp_op){.kind = HYP_OP_ROPE,
                   .dst = HYP_SLOT_QKV,
                   .count = s->heads + s->kv_heads,
                   .windowed = windowed});
    op(l, (hyp_op){.kind = HYP_OP_ATTENTION,
                   .dst = HYP_SLOT_ATT,
                   .src = HYP_SLOT_QKV,
                   .windowed = windowed});
    product(l, HYP_SLOT_H, 0, HYP_SLOT_ATT, true, "attn_output", s->dim, q);
    bias(l, HYP_SLOT_H, 0, "attn_output", s->dim);
    if (arch->post_norms) norm(l, HYP_SLOT_H, HYP_SLOT_H, "post_attention_norm.weight");
    op(l, (hyp_op){.kind = HYP_OP_ADD, .dst = HYP_SLOT_X, .src = HYP_SLOT_H, .count = s->dim});

    norm(l, HYP_SLOT_H, HYP_SLOT_X, "ffn_norm.weight");
    if (arch->fused) {
        product(l, HYP_SLOT_FFN, 0, HYP_SLOT_H, true, "ffn_up", 2 * s->ffn, s->dim);
        bias(l, HYP_SLOT_FFN, 0, "ffn_up", 2 * s->ffn);
    } else {
        product(l, HYP_SLOT_FFN, 0, HYP_SLOT_H, true, "ffn_gate", s->ffn, s->dim);
        product(l, HYP_SLOT_FFN, s->ffn, HYP_SLOT_H, false, "ffn_up", s->ffn, s->dim);
        bias(l, HYP_SLOT_FFN, 0, "ffn_gate", s->ffn);
        bias(l, HYP_SLOT_FFN, s->ffn, "ffn_up", s->ffn);
    }
    op(l, (hyp_op){.kind = HYP_OP_GLU, .dst = HYP_SLOT_FFN, .count = s->ffn});
    product(l, HYP_SLOT_H, 0, HYP_SLOT_FFN, true, "ffn_down", s->dim, s->ffn);
    bias(l, HYP_SLOT_H, 0, "ffn_down", s->dim);
    if (arch->post_norms) norm(l, HYP_SLOT_H, HYP_SLOT_H, "post_ffw_norm.weight");
    op(l, (hyp_op){.kind = HYP_OP_ADD, .dst = HYP_SLOT_X, .src = HYP_SLOT_H, .count = s->dim});
}

static void build(loader *l) {
    hyp_transformer *m = l->model;
    hyp_shape *s = &m->shape;
    uint32_t q = s->heads * s->head, kv = s->kv_heads * s->head;
    m->slot_floats[HYP_SLOT_X] = m->slot_floats[HYP_SLOT_H] = s->dim;
    m->slot_floats[HYP_SLOT_QKV] = q + 2 * kv;
    m->slot_floats[HYP_SLOT_ATT] = q;
    m->slot_floats[HYP_SLOT_FFN] = 2 * s->ffn;

    l->layer = UINT32_MAX;
    const hyp_gguf_tensor *embd = tensor(l, "token_embd.weight", true);
    if (!embd) return;
    if (embd->dim[1] == 0 || embd->dim[1] > 1 << 24) {
        l->status = hyp_fail(l->fault, HYP_E_FORMAT, "a vocabulary of %llu tokens is not possible",
                             (unsigned long long)embd->dim[1]);
        return;
    }
    s->vocab = (uint32_t)embd->dim[1];
    // Llama 3 divides each frequency by a factor; Phi-3 has two sets, for the trained context and
    // beyond.
    static const char *const factors[] = {"rope_freqs.weight", "rope_factors_long.weight",
                                          "rope_factors_short.weight"};
    for (size_t i = 0; i < 3 && !m->rope_factors; i++)
        if (!(i > 0 && (i == 1) != s->extended))
            m->rope_factors = vector(l, factors[i], s->rope_dims / 2, false);
    op(l, (hyp_op){.kind = HYP_OP_EMBED, .dst = HYP_SLOT_X});
    for (l->layer = 0; l->layer < s->layers && !l->status; l->layer++) layer(l);
    l->layer = UINT32_MAX;
    norm(l, HYP_SLOT_H, HYP_SLOT_X, "output_norm.weight");
    // Of an embedding a step reads a row for each token: last, so that it is the first to do
    // without a place of its own.
    if (tensor(l, "output.weight", false))
        m->output = matrix(l, "output.weight", s->vocab, s->dim, true);
    if (embd->sparse && !l->status)
        l->status = hyp_fail(
            l->fault, HYP_E_UNSUPPORTED,
            "tensor 'token_embd.weight' is sparse; rows of it are read one by one");
    m->embd = matrix(l, "token_embd.weight", s->vocab, s->dim, true);
    if (!m->output) m->output = m->embd;
}

// ---- Weights

static int64_t order(const job *a, const job *b) {
    if (a->tensor->shard != b->tensor->shard) return (int64_t)a->tensor->shard - b->tensor->shard;
    return a->tensor->offset < b->tensor->offset ? -1 : a->tensor->offset > b->tensor->offset;
}

static hyp_status too_small(const loader *l, uint64_t least) {
    const hyp_budget *budget = l->arena->budget;
    if (!budget->limit_bytes)
        return hyp_fail(l->fault, HYP_E_NOMEM,
                        "not enough memory for the model's weights of %llu MB",
                        (unsigned long long)(l->model->weight_bytes >> 20) + 1);
    return hyp_fail(
        l->fault, HYP_E_NOMEM,
        "a memory limit of %llu MB is too small for this model: %llu MB are the least, with its "
        "weights read again for every "
        "token; %llu MB hold it whole",
        (unsigned long long)budget->limit_bytes / 1000000,
        (unsigned long long)(budget->used_bytes + least) / 1000000 + 1,
        (unsigned long long)(budget->used_bytes + least + l->model->weight_bytes) / 1000000 + 1);
}

static uint64_t usual_session_bytes(const hyp_transformer *m, uint32_t context) {
    return hyp_state_bytes(m, hyp_min_u32(context ? context : HYP_USUAL_CONTEXT, m->shape.context),
                           HYP_USUAL_BATCH, HYP_KV_F16);
}

// Gives the pager what the limit leaves beside a session of usual size.
static hyp_status open_weights(loader *l, uint32_t context) {
    hyp_transformer *m = l->model;
    const hyp_budget *budget = l->arena->budget;
    hyp_status status = hyp_weights_plan(&m->weights, l->gguf, m->kernels, m->matrices,
                                         m->matrix_count, l->arena);
    uint64_t limit = 0, least = 0, session = SPARE_BYTES + usual_session_bytes(m, context);
    if (!status && budget->limit_bytes) {
        uint64_t taken = budget->used_bytes + session;
        limit = budget->limit_bytes > taken ? budget->limit_bytes - taken : 1;
    }
    if (!status) status = hyp_weights_open(&m->weights, l->arena->budget, limit, &least);
    return status == HYP_E_NOMEM ? too_small(l, session + least) : status;
}

static hyp_status read_matrix(loader *l, const hyp_matrix *m, uint64_t *done, uint64_t total,
                              hyp_progress progress) {
    hyp_weights *w = &l->model->weights;
    for (uint32_t i = 0; i < hyp_matrix_pages(m); i++) {
        if (!hyp_pager_keeps(w->pager, m->page + i)) continue;
        hyp_status status = hyp_pager_prefetch(w->pager, m->page + i);
        if (status) return status;
        *done += w->page_bytes[m->page + i];
        bool goes_on = !progress.report ||
                       progress.report(progress.context, *done < total ? *done : total, total);
        if (!goes_on || hyp_task_work(w->page_bytes[m->page + i] /
                                      BYTES_PER_UNIT)) // a host's event loop turns between pages
            return HYP_E_CANCELLED;
    }
    return HYP_OK;
}

// A vector of floats: a norm, a bias, or RoPE's factors. `row` has room for it as it is stored.
static hyp_status read_vector(loader *l, const job *j, uint8_t *row) {
    const hyp_gguf_tensor *t = j->tensor;
    uint32_t count = (uint32_t)t->dim[0];
    hyp_text name = hyp_gguf_tensor_name(l->gguf, t);
    hyp_status status = hyp_gguf_read(l->gguf, t, 0, row, (size_t)t->bytes);
    if (status) return status;
    if (!hyp_format_finite(t->format, row, count)) return hyp_gguf_not_finite(l->gguf, t);
    hyp_dequantize(t->format, j->vector, row, count);
    for (uint32_t i = 0; i < count && j->vector == l->model->rope_factors; i++)
        if (!((double)j->vector[i] >= ROPE_FACTOR_LEAST &&
              (double)j->vector[i] <= ROPE_FACTOR_MOST))
            return out_of_range(l->fault, "tensor", name, j->vector[i], ROPE_FACTOR_LEAST,
                                ROPE_FACTOR_MOST);
    return HYP_OK;
}

static hyp_status read_weights(loader *l, hyp_progress progress) {
    const hyp_weights *w = &l->model->weights;
    uint64_t total = 0, done = 0;
    for (uint32_t i = 0; i < w->pages; i++)
        if (hyp_pager_keeps(w->pager, i)) total += w->page_bytes[i];
    // By place in the file, so that a stream is read once from front to back.
    for (uint32_t gap = l->job_count / 2; gap > 0; gap /= 2)
        for (uint32_t i = gap; i < l->job_count; i++) {
            job j = l->jobs[i];
            uint32_t k = i;
            for (; k >= gap && order(&j, &l->jobs[k - gap]) < 0; k -= gap)
                l->jobs[k] = l->jobs[k - gap];
            l->jobs[k] = j;
        }
    size_t row_bytes = 0; // of the longest vector, as stored
    for (uint32_t i = 0; i < l->job_count; i++) {
        const job *j = &l->jobs[i];
        if (!j->matrix && j->tensor->bytes > row_bytes) row_bytes = (size_t)j->tensor->bytes;
    }
    uint8_t *row = hyp_budget_map(l->arena->budget, row_bytes);
    hyp_status status = row ? HYP_OK
                            : hyp_fail(l->fault, HYP_E_NOMEM,
                                       "not enough memory to read the model's norms");
    for (uint32_t i = 0; i < l->job_count && !status; i++) {
        const job *j = &l->jobs[i];
        status = j->matrix ? read_matrix(l, j->matrix, &done, total, progress)
                           : read_vector(l, j, row);
    }
    hyp_budget_unmap(l->arena->budget, row, row_bytes);
    return status;
}

// ---- Threads

// A step is computed alone where the memory limit leaves no room beside a session, or pages come
// and go.
static void gather_team(loader *l, uint32_t context, uint32_t threads) {
    hyp_transformer *m = l->model;
    const hyp_budget *budget = l->arena->budget;
    if (threads < 2 || !hyp_weights_whole(&m->weights)) return;
    hyp_pool_config needs = {.workers = threads - 1};
    hyp_products_needs(m, &needs);
    hyp_attention_needs(m, &needs);
    uint64_t session = SPARE_BYTES + usual_session_bytes(m, context);
    if (budget->limit_bytes &&
        budget->used_bytes + session + needs.job_bytes + hyp_pool_bytes(&needs) >
            budget->limit_bytes)
        return;
    m->pool_floats = needs.output_floats;
    m->job = hyp_arena_alloc(l->arena, needs.job_bytes);
    if (m->job) m->pool = hyp_pool_create(l->arena->budget, &needs);
    if (m->pool) hyp_pager_set_workers(m->weights.pager, m->pool);
}
