#include "ops.h"

#include "../base/bytes.h"

static uint32_t cols_of(const hyp_graph *g, hyp_value_id value) { return g->values[value].cols; }
static uint32_t count_of(const hyp_vector *v) { return v ? v->count : 0; }
static uint32_t rows_of(const hyp_workspace *w) { return w->batch->count; }
static const hyp_kernels *kernels_of(const hyp_workspace *w) { return w->net->graph.kernels; }

// What is computed from memory that the caches hold.
static hyp_cost cost_nothing(const hyp_workspace *w, const hyp_op *op) {
    (void)w;
    (void)op;
    return (hyp_cost){0};
}
static hyp_cost cost_matrix(const hyp_matrix *m, uint32_t rows) {
    return (hyp_cost){.bytes = m->bytes, .macs = (uint64_t)m->rows * m->cols * rows};
}

static bool joins_nothing(const hyp_op *first, const hyp_op *op) {
    (void)first;
    (void)op;
    return false;
}

static void needs_nothing(const hyp_graph *g, const hyp_op *op, hyp_pool_config *needs) {
    (void)g;
    (void)op;
    (void)needs;
}

// ---- embed

static bool shape_embed(const hyp_graph *g, const hyp_op *op) {
    return op->matrix && op->matrix->rows == g->vocab && cols_of(g, op->out) == op->matrix->cols;
}
#define cost_embed cost_nothing
#define joins_embed joins_nothing
#define needs_embed needs_nothing

static hyp_status embed_token(hyp_workspace *w, const hyp_matrix *e, int32_t token, float *x) {
    size_t group_bytes = hyp_group_bytes(e->format, e->cols);
    uint32_t group = (uint32_t)token / HYP_GROUP, page = group / e->page_groups, groups;
    const uint8_t *data;
    hyp_status status = hyp_weights_pin(&w->net->weights, e, page, &data, &groups);
    if (status) return status;
    w->read_bytes += w->net->weights.read_bytes;
    kernels_of(w)->weights[e->format].unpack(x, data + group % e->page_groups * group_bytes,
                                             (uint32_t)token % HYP_GROUP, e->cols);
    hyp_weights_unpin(&w->net->weights, e, page);
    return HYP_OK;
}

static hyp_status run_embed(hyp_workspace *w, const hyp_op *op) {
    const hyp_matrix *e = op->matrix;
    for (uint32_t r = 0; r < rows_of(w); r++) {
        const hyp_row *row = &w->batch->rows[r];
        float *x = hyp_row_of(w, op->out, r);
        if (row->embedding) {
            memcpy(x, row->embedding, e->cols * sizeof *x);
            continue;
        }
        hyp_status status = embed_token(w, e, row->token, x);
        if (status) return status;
        if (op->scale != 1)
            for (uint32_t i = 0; i < e->cols; i++) x[i] *= op->scale;
    }
    return HYP_OK;
}

// ---- norm

static bool shape_norm(const hyp_graph *g, const hyp_op *op) {
    return cols_of(g, op->in) == cols_of(g, op->out) && count_of(op->weight) == cols_of(g, op->out);
}
#define cost_norm cost_nothing
#define joins_norm joins_nothing
#define needs_norm needs_nothing

static hyp_status run_norm(hyp_workspace *w, const hyp_op *op) {
    for (uint32_t r = 0; r < rows_of(w); r++)
        kernels_of(w)->rms_norm(hyp_row_of(w, op->out, r), hyp_row_of(w, op->in, r),
                                op->weight->data, op->weight->count, op->eps);
    return HYP_OK;
}

// ---- matmul

static bool shape_matmul(const hyp_graph *g, const hyp_op *op) {
    return op->matrix && op->matrix->experts == 1 && cols_of(g, op->in) >= op->matrix->cols &&
           op->at + op->matrix->rows <= cols_of(g, op->out) && op->in != op->out;
}
// Products of the same elements of one input, whose outputs stand side by side.
static bool joins_matmul(const hyp_op *first, const hyp_op *op) {
    const hyp_op *last = &first[first->group - 1];
    return last->kind == HYP_OP_MATMUL && op->in == first->in && op->out == first->out &&
           op->matrix->cols == first->matrix->cols && op->at == last->at + last->matrix->rows;
}
static void needs_matmul(const hyp_graph *g, const hyp_op *op, hyp_pool_config *needs) {
    if (op->group) hyp_matmul_needs(g, op, UINT32_MAX, needs);
}
static hyp_cost cost_matmul(const hyp_workspace *w, const hyp_op *op) {
    hyp_cost sum = {0};
    for (uint32_t i = 0; i < op->group && op[i].matrix; i++) {
        hyp_cost cost = cost_matrix(op[i].matrix, rows_of(w));
        sum.bytes += cost.bytes;
        sum.macs += cost.macs;
    }
    return sum;
}

static hyp_status run_matmul(hyp_workspace *w, const hyp_op *op) {
    hyp_matmul_part parts[HYP_GROUP_OPS];
    uint32_t count = 0;
    for (; count < op->group && op[count].kind == HYP_OP_MATMUL; count++)
        parts[count] = (hyp_matmul_part){op[count].matrix, op[count].at};
    const hyp_op *glu = count < op->group ? &op[count] : NULL;
    return hyp_matmul(w, parts, count, glu, hyp_row_of(w, op->out, 0), hyp_stride_of(w, op->out),
                      hyp_row_of(w, op->in, 0), hyp_stride_of(w, op->in), rows_of(w));
}

// ---- bias

static bool shape_bias(const hyp_graph *g, const hyp_op *op) {
    return op->bias && op->at + op->bias->count <= cols_of(g, op->out);
}
#define cost_bias cost_nothing
#define joins_bias joins_nothing
#define needs_bias needs_nothing

static hyp_status run_bias(hyp_workspace *w, const hyp_op *op) {
    for (uint32_t r = 0; r < rows_of(w); r++)
        kernels_of(w)->add(hyp_row_of(w, op->out, r) + op->at, op->bias->data, op->bias->count);
    return HYP_OK;
}

// ---- head_norm

static bool shape_head_norm(const hyp_graph *g, const hyp_op *op) {
    return count_of(op->weight) == op->head && op->at + op->count * op->head <= cols_of(g, op->out);
}
#define cost_head_norm cost_nothing
#define joins_head_norm joins_nothing
#define needs_head_norm needs_nothing

static hyp_status run_head_norm(hyp_workspace *w, const hyp_op *op) {
    for (uint32_t r = 0; r < rows_of(w); r++) {
        float *x = hyp_row_of(w, op->out, r) + op->at;
        for (uint32_t h = 0; h < op->count; h++)
            kernels_of(w)->rms_norm(x + h * op->head, x + h * op->head, op->weight->data, op->head,
                                    op->eps);
    }
    return HYP_OK;
}

// ---- rope

static bool shape_rope(const hyp_graph *g, const hyp_op *op) {
    return op->rope < g->rope_count && g->ropes[op->rope].dims <= op->head &&
           op->at + op->count * op->head <= cols_of(g, op->out);
}
#define cost_rope cost_nothing
#define joins_rope joins_nothing
#define needs_rope needs_nothing

static hyp_status run_rope(hyp_workspace *w, const hyp_op *op) {
    const hyp_rope *rope = &w->net->graph.ropes[op->rope];
    for (uint32_t r = 0; r < rows_of(w); r++) {
        float *x = hyp_row_of(w, op->out, r) + op->at;
        const float *angles = hyp_angles_of(w, op->rope, r);
        for (uint32_t h = 0; h < op->count; h++)
            kernels_of(w)->rope(x + h * op->head, angles, rope->dims / 2, rope->neox);
    }
    return HYP_OK;
}

// ---- attention

static bool shape_attention(const hyp_graph *g, const hyp_op *op) {
    if (op->attention.kv >= g->kv_count) return false;
    const hyp_kv_shape *kv = &g->kv[op->attention.kv];
    return op->attention.heads % kv->heads == 0 &&
           cols_of(g, op->in) == (op->attention.heads + 2 * kv->heads) * kv->head &&
           cols_of(g, op->out) == op->attention.heads * kv->head && op->in != op->out;
}
static hyp_cost cost_attention(const hyp_workspace *w, const hyp_op *op) {
    const hyp_kv_shape *kv = &w->net->graph.kv[op->attention.kv];
    hyp_cost cost = {0};
    const hyp_row *rows = w->batch->rows;
    for (uint32_t r = 0, n; r < rows_of(w); r += n) {
        const hyp_sequence *s = rows[r].sequence;
        for (n = 0; r + n < rows_of(w) && rows[r + n].sequence == s; n++)
            cost.macs += 2ull * op->attention.heads * kv->head * (s->count + n + 1);
        cost.bytes += 2 * kv->heads * (uint64_t)hyp_kv_block_bytes(s->cache->format, kv->head) *
                      (s->count + n) / HYP_KV_BLOCK;
    }
    return cost;
}
#define run_attention hyp_attention
#define joins_attention joins_nothing
#define needs_attention hyp_attention_needs

// ---- glu

static bool shape_glu(const hyp_graph *g, const hyp_op *op) {
    return 2 * op->count == cols_of(g, op->out) && op->in == op->out;
}
// With the products of gate and up, which are all of its value.
static bool joins_glu(const hyp_op *first, const hyp_op *op) {
    return first->kind == HYP_OP_MATMUL && first->group == 2 && first->out == op->out;
}
#define cost_glu cost_nothing
#define needs_glu needs_nothing

static hyp_status run_glu(hyp_workspace *w, const hyp_op *op) {
    const hyp_kernels *k = kernels_of(w);
    for (uint32_t r = 0; r < rows_of(w); r++) {
        float *x = hyp_row_of(w, op->out, r);
        (op->gelu ? k->gelu_mul : k->silu_mul)(x, x, x + op->count, op->count);
    }
    return HYP_OK;
}

// ---- add

static bool shape_add(const hyp_graph *g, const hyp_op *op) {
    return cols_of(g, op->in) == cols_of(g, op->out) && op->in != op->out;
}
#define cost_add cost_nothing
#define joins_add joins_nothing
#define needs_add needs_nothing

static hyp_status run_add(hyp_workspace *w, const hyp_op *op) {
    uint32_t cols = cols_of(&w->net->graph, op->out);
    for (uint32_t r = 0; r < rows_of(w); r++)
        kernels_of(w)->add(hyp_row_of(w, op->out, r), hyp_row_of(w, op->in, r), cols);
    return HYP_OK;
}

// ---- output

static bool shape_output(const hyp_graph *g, const hyp_op *op) {
    return op->matrix && op->in == g->hidden && op->matrix->rows == g->vocab &&
           op->matrix->cols == cols_of(g, op->in);
}
#define joins_output joins_nothing
// Of the output, which is wide, as many rows are computed at once as there is room for.
static void needs_output(const hyp_graph *g, const hyp_op *op, hyp_pool_config *needs) {
    hyp_matmul_needs(g, op, 1, needs);
}
static hyp_cost cost_output(const hyp_workspace *w, const hyp_op *op) {
    return cost_matrix(op->matrix, w->output.count);
}

// A row that has overflowed says nothing, though quantizing may take it for numbers: one of several
// texts, it is nothing to the others.
static void deny(float *logits, uint32_t vocab) {
    for (uint32_t i = 0; i < vocab; i++) logits[i] = __builtin_nanf("");
}

static hyp_status run_output(hyp_workspace *w, const hyp_op *op) {
    uint32_t vocab = op->matrix->rows, first = w->output.first;
    size_t stride = vocab + HYP_GROUP;
    hyp_status status = hyp_matmul(w, &(hyp_matmul_part){op->matrix, 0}, 1, NULL, w->output.logits,
                                   stride, hyp_row_of(w, op->in, first), hyp_stride_of(w, op->in),
                                   w->output.count);
    for (uint32_t r = 0; r < w->output.count && !status; r++) {
        float *logits = w->output.logits + r * stride;
        if (op->cap > 0) kernels_of(w)->softcap(logits, vocab, op->cap);
        if (!hyp_format_finite(HYP_F32, hyp_row_of(w, op->in, first + r), op->matrix->cols))
            deny(logits, vocab);
    }
    return status;
}

const hyp_op_type hyp_ops[HYP_OP_KINDS] = {
#define HYP_OP(kind, name)                                                                         \
    {#name, shape_##name, joins_##name, needs_##name, cost_##name, run_##name},
#include "ops.def"
#undef HYP_OP
};
