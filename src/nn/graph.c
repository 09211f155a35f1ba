#include "graph.h"

#include "../base/bytes.h"
#include "../base/check.h"
#include "../base/text.h"
#include "ops.h"

static hyp_status fail_nomem(hyp_graph *g) {
    return g->status = hyp_fail(g->gguf->fault, HYP_E_NOMEM,
                                "not enough memory for the model's graph");
}

hyp_status hyp_graph_init(hyp_graph *g, const hyp_gguf *gguf, const hyp_kernels *kernels,
                          hyp_arena *arena, const hyp_graph_limits *limits) {
    *g = (hyp_graph){.gguf = gguf,
                     .kernels = kernels,
                     .arena = arena,
                     .layer = HYP_NO_LAYER,
                     .value_most = limits->values,
                     .op_most = limits->ops,
                     .rope_most = limits->ropes,
                     .kv_most = limits->kv,
                     .tensor_most = hyp_gguf_tensor_count(gguf)};
    g->values = hyp_arena_alloc(arena, g->value_most * sizeof *g->values);
    g->ops = hyp_arena_alloc(arena, g->op_most * sizeof *g->ops);
    g->ropes = hyp_arena_alloc(arena, g->rope_most * sizeof *g->ropes);
    g->kv = hyp_arena_alloc(arena, g->kv_most * sizeof *g->kv);
    g->matrices = hyp_arena_alloc(arena, g->tensor_most * sizeof *g->matrices);
    g->vectors = hyp_arena_alloc(arena, g->tensor_most * sizeof *g->vectors);
    if (!g->values || !g->ops || !g->ropes || !g->kv || !g->matrices || !g->vectors)
        return fail_nomem(g);
    return HYP_OK;
}

void hyp_graph_begin_layer(hyp_graph *g, uint16_t layer) { g->layer = layer; }

// Whether a table has room for one more; builders say how many they need, so that it always has.
static bool room(hyp_graph *g, uint32_t count, uint32_t most) {
    if (count < most) return true;
    HYP_CHECK(g->status, "a graph has more parts than its builder said");
    if (!g->status)
        g->status = hyp_fail(g->gguf->fault, HYP_E_FORMAT, "the model has too many parts");
    return false;
}

hyp_value_id hyp_graph_value(hyp_graph *g, const char *name, uint32_t cols) {
    if (!room(g, g->value_count, g->value_most)) return 0;
    g->values[g->value_count] = (hyp_value){.name = name, .cols = cols, .first = UINT32_MAX};
    return (hyp_value_id)g->value_count++;
}

void hyp_graph_add(hyp_graph *g, hyp_op op) {
    if (!room(g, g->op_count, g->op_most)) return;
    op.layer = g->layer;
    op.group = 1;
    if (!op.name) op.name = hyp_ops[op.kind].name;
    g->ops[g->op_count++] = op;
}

uint32_t hyp_graph_add_rope(hyp_graph *g, hyp_rope rope) {
    if (!room(g, g->rope_count, g->rope_most)) return 0;
    rope.frequencies = hyp_arena_alloc(g->arena, rope.dims / 2 * sizeof *rope.frequencies);
    if (!rope.frequencies && !g->status) fail_nomem(g);
    g->ropes[g->rope_count] = rope;
    return g->rope_count++;
}

uint32_t hyp_graph_add_kv(hyp_graph *g, hyp_kv_shape shape) {
    if (!room(g, g->kv_count, g->kv_most)) return 0;
    g->kv[g->kv_count] = shape;
    return g->kv_count++;
}

const hyp_gguf_tensor *hyp_graph_tensor(hyp_graph *g, const char *name, bool required) {
    char text[96];
    if (g->status) return NULL;
    if (g->layer != HYP_NO_LAYER)
        hyp_format_text(text, sizeof text, "blk.%u.%s", (unsigned)g->layer, name);
    else hyp_format_text(text, sizeof text, "%s", name);
    const hyp_gguf_tensor *t = hyp_gguf_tensor_named(g->gguf, text);
    if (!t && required)
        g->status = hyp_fail(g->gguf->fault, HYP_E_FORMAT, "tensor '%s' is missing", text);
    if (t && t->format == HYP_FORMATS) {
        g->status = hyp_fail(g->gguf->fault, HYP_E_UNSUPPORTED,
                             "tensor '%s' is stored as %s, which is not supported: convert it to "
                             "another format, Q4_K say",
                             text, hyp_format_name(t->type));
        return NULL;
    }
    return t;
}

static bool expect_shape(hyp_graph *g, const hyp_gguf_tensor *t, uint64_t experts, uint64_t rows,
                         uint64_t cols) {
    if (!t) return false;
    if (t->dim[0] == cols && t->dim[1] == rows && t->dim[2] == experts && t->dim[3] == 1)
        return true;
    hyp_text name = hyp_gguf_tensor_name(g->gguf, t);
    g->status = hyp_fail(g->gguf->fault, HYP_E_FORMAT,
                         "tensor '%.*s' has the shape (%llu, %llu); (%llu, %llu) was expected",
                         (int)name.bytes, name.data, (unsigned long long)t->dim[1],
                         (unsigned long long)t->dim[0], (unsigned long long)rows,
                         (unsigned long long)cols);
    return false;
}

const hyp_matrix *hyp_graph_matrix(hyp_graph *g, const char *name, uint32_t experts, uint64_t rows,
                                   uint64_t cols) {
    const hyp_gguf_tensor *t = hyp_graph_tensor(g, name, true);
    if (!expect_shape(g, t, experts, rows, cols) || !room(g, g->matrix_count, g->tensor_most))
        return NULL;
    if (t->sparse && experts > 1) {
        g->status = hyp_fail(g->gguf->fault, HYP_E_UNSUPPORTED,
                             "tensor '%s' of several experts is sparse; plain ones can be", name);
        return NULL;
    }
    hyp_matrix *m = &g->matrices[g->matrix_count++];
    *m = (hyp_matrix){.format = t->format,
                      .experts = experts,
                      .rows = (uint32_t)rows,
                      .cols = (uint32_t)cols,
                      .groups = (uint32_t)((rows + HYP_GROUP - 1) / HYP_GROUP),
                      .tensor = t};
    g->weight_bytes += t->bytes;
    return m;
}

const hyp_vector *hyp_graph_vector(hyp_graph *g, const char *name, uint64_t count, bool required) {
    const hyp_gguf_tensor *t = hyp_graph_tensor(g, name, required);
    if (!expect_shape(g, t, 1, 1, count) || !room(g, g->vector_count, g->tensor_most)) return NULL;
    if (!hyp_format_is_float(t->format)) {
        hyp_text full = hyp_gguf_tensor_name(g->gguf, t);
        g->status = hyp_fail(g->gguf->fault, HYP_E_UNSUPPORTED,
                             "tensor '%.*s' is stored as %s; a float format was expected",
                             (int)full.bytes, full.data, hyp_formats[t->format].name);
        return NULL;
    }
    hyp_vector *v = &g->vectors[g->vector_count];
    *v = (hyp_vector){.tensor = t, .count = (uint32_t)count};
    v->data = hyp_arena_alloc(g->arena, (size_t)count * sizeof *v->data);
    if (!v->data) {
        g->status = hyp_fail(g->gguf->fault, HYP_E_NOMEM,
                             "not enough memory for the model's norms");
        return NULL;
    }
    g->vector_count++;
    return v;
}

// ---- Planning

static void group(hyp_graph *g) {
    hyp_op *first = NULL;
    for (uint32_t i = 0; i < g->op_count; i++) {
        hyp_op *op = &g->ops[i];
        if (first && first->group < HYP_GROUP_OPS && hyp_ops[op->kind].joins(first, op)) {
            first->group++;
            op->group = 0;
        } else first = op;
    }
}

static void use(hyp_value *value, uint32_t op) {
    if (value->first == UINT32_MAX) value->first = op;
    value->last = op;
}

enum { LIVING_MOST = 16 }; // values at once

typedef struct living { // values that have a place at some operation, ascending by place
    const hyp_value *values[LIVING_MOST];
    uint32_t count;
} living;

// The lowest place that is free for as long as `v` lives. False: too many values live at once.
static bool place_value(living *l, hyp_value *v) {
    uint32_t left = 0;
    for (uint32_t k = 0; k < l->count; k++)
        if (l->values[k]->last >= v->first) l->values[left++] = l->values[k];
    l->count = left;
    size_t size = hyp_value_stride(v);
    uint32_t k = 0;
    for (v->at = 0; k < l->count && l->values[k]->at < v->at + size; k++)
        v->at = l->values[k]->at + hyp_value_stride(l->values[k]);
    if (l->count == LIVING_MOST) return false;
    memmove(l->values + k + 1, l->values + k, (l->count - k) * sizeof *l->values);
    l->values[k] = v;
    l->count++;
    return true;
}

// Values in the order in which they are first used [Sekiyama et al. 2018, the simplest of their
// heuristics].
static void place_values(hyp_graph *g) {
    for (uint32_t i = 0; i < g->op_count; i++) {
        use(&g->values[g->ops[i].in], i);
        use(&g->values[g->ops[i].out], i);
    }
    living l = {.count = 0};
    for (uint32_t i = 0; i < g->op_count && !g->status; i++) {
        const hyp_value_id ids[2] = {g->ops[i].in, g->ops[i].out};
        for (uint32_t k = 0; k < 1 + (ids[0] != ids[1]); k++) {
            hyp_value *v = &g->values[ids[k]];
            if (v->first != i) continue;
            if (!place_value(&l, v))
                g->status = hyp_fail(g->gguf->fault, HYP_E_FORMAT,
                                     "the model has too many values at once");
            if (v->at + hyp_value_stride(v) > g->row_floats)
                g->row_floats = v->at + hyp_value_stride(v);
        }
    }
}

// The one caller of the shape rules: they are called by pointer, and whoever does that is taken by
// Asyncify for one that may suspend.
static void check_shapes(hyp_graph *g) {
    for (uint32_t i = 0; i < g->op_count && !g->status; i++) {
        const hyp_op *op = &g->ops[i];
        if (hyp_ops[op->kind].fits(g, op)) continue;
        g->status = hyp_fail(g->gguf->fault, HYP_E_FORMAT,
                             "operation %u of the model, %s, does not fit what it works on", i,
                             op->name);
    }
}

hyp_status hyp_graph_plan(hyp_graph *g) {
    if (g->status) return g->status;
    check_shapes(g);
    if (g->status) return g->status;
    group(g);
    place_values(g);
    for (uint32_t i = 0; i < g->matrix_count; i++) {
        const hyp_matrix *m = &g->matrices[i];
        g->row_work += (uint64_t)m->experts * m->rows * m->cols / HYP_WORK_UNIT;
        g->act_cols = hyp_max_u32(g->act_cols, m->cols);
    }
    return g->status;
}
