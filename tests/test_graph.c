// Graphs: what the building functions refuse, the shape rule of every operation, and the planner
// against slow oracles.
#include "../src/models/models.h"
#include "../src/nn/ops.h"
#include "harness.h"
#include "rig.h"

#include <stdlib.h>
#include <string.h>

static rig r;

// ---- Shape rules: for each operation a graph of it alone that fits, and what does not

enum { DIM = 32, WIDE = 80, VOCAB = 48, HEAD = 8, HEADS = 4, KV_HEADS = 2 };

typedef struct parts { // to make operations of
    hyp_value_id dim, other_dim, wide, qkv, glu;
    const hyp_matrix *embd, *wide_of_dim, *dim_of_wide, *square, *experts;
    const hyp_vector *dim_vector, *head_vector;
    uint32_t rope, wide_rope, kv;
} parts;

static parts make_parts(void) {
    hyp_graph *g = &r.net.graph;
    rig_add(&r, "embd", 1, VOCAB, DIM, HYP_F32);
    rig_add(&r, "wide_of_dim", 1, WIDE, DIM, HYP_Q4_0);
    rig_add(&r, "dim_of_wide", 1, DIM, WIDE, HYP_F16);
    rig_add(&r, "square", 1, DIM, DIM, HYP_F32);
    rig_add(&r, "experts", 2, DIM, DIM, HYP_F32);
    rig_add(&r, "dim_vector", 1, 1, DIM, HYP_F32);
    rig_add(&r, "head_vector", 1, 1, HEAD, HYP_F32);
    rig_open(&r);
    parts p = {.embd = hyp_graph_matrix(g, "embd", 1, VOCAB, DIM),
               .wide_of_dim = hyp_graph_matrix(g, "wide_of_dim", 1, WIDE, DIM),
               .dim_of_wide = hyp_graph_matrix(g, "dim_of_wide", 1, DIM, WIDE),
               .square = hyp_graph_matrix(g, "square", 1, DIM, DIM),
               .experts = hyp_graph_matrix(g, "experts", 2, DIM, DIM),
               .dim_vector = hyp_graph_vector(g, "dim_vector", DIM, true),
               .head_vector = hyp_graph_vector(g, "head_vector", HEAD, true),
               .dim = hyp_graph_value(g, "dim", DIM),
               .other_dim = hyp_graph_value(g, "other dim", DIM),
               .wide = hyp_graph_value(g, "wide", WIDE),
               .qkv = hyp_graph_value(g, "qkv", (HEADS + 2 * KV_HEADS) * HEAD),
               .glu = hyp_graph_value(g, "glu", 2 * WIDE),
               .rope = hyp_graph_add_rope(g, (hyp_rope){.dims = HEAD}),
               .wide_rope = hyp_graph_add_rope(g, (hyp_rope){.dims = HEAD + 2}),
               .kv = hyp_graph_add_kv(g, (hyp_kv_shape){.heads = KV_HEADS, .head = HEAD})};
    CHECK_MSG(!g->status, "%s", r.fault.text);
    g->vocab = VOCAB;
    g->hidden = p.dim;
    return p;
}

// Whether a graph of `op` alone is planned; if not, the message names it.
static bool fits(hyp_op op) {
    hyp_graph g = r.net.graph; // tables are shared: each trial has the first operation for itself
    hyp_graph_add(&g, op);
    hyp_status status = hyp_graph_plan(&g);
    if (!status) return true;
    CHECK(status == HYP_E_FORMAT);
    CHECK_MSG(strstr(r.fault.text, hyp_ops[op.kind].name), "%s", r.fault.text);
    return false;
}
#define FITS(...) CHECK(fits((hyp_op){__VA_ARGS__}))
#define DOES_NOT_FIT(...) CHECK(!fits((hyp_op){__VA_ARGS__}))

static void shape_embed(parts p) {
    FITS(HYP_OP_EMBED, .out = p.dim, .in = p.dim, .matrix = p.embd);
    DOES_NOT_FIT(HYP_OP_EMBED, .out = p.dim, .in = p.dim);
    DOES_NOT_FIT(HYP_OP_EMBED, .out = p.wide, .in = p.wide, .matrix = p.embd);
    DOES_NOT_FIT(HYP_OP_EMBED, .out = p.dim, .in = p.dim, .matrix = p.square);
}

static void shape_norm(parts p) {
    FITS(HYP_OP_RMS_NORM, .out = p.dim, .in = p.dim, .weight = p.dim_vector);
    FITS(HYP_OP_RMS_NORM, .out = p.other_dim, .in = p.dim, .weight = p.dim_vector);
    DOES_NOT_FIT(HYP_OP_RMS_NORM, .out = p.dim, .in = p.dim);
    DOES_NOT_FIT(HYP_OP_RMS_NORM, .out = p.dim, .in = p.wide, .weight = p.dim_vector);
    DOES_NOT_FIT(HYP_OP_RMS_NORM, .out = p.dim, .in = p.dim, .weight = p.head_vector);
}

static void shape_matmul(parts p) {
    FITS(HYP_OP_MATMUL, .out = p.wide, .in = p.dim, .matrix = p.wide_of_dim);
    FITS(HYP_OP_MATMUL, .out = p.wide, .in = p.dim, .matrix = p.square);
    FITS(HYP_OP_MATMUL, .out = p.wide, .in = p.dim, .at = WIDE - DIM, .matrix = p.square);
    FITS(HYP_OP_MATMUL, .out = p.dim, .in = p.glu, .matrix = p.dim_of_wide);
    DOES_NOT_FIT(HYP_OP_MATMUL, .out = p.wide, .in = p.dim);
    DOES_NOT_FIT(HYP_OP_MATMUL, .out = p.wide, .in = p.dim, .at = 1, .matrix = p.wide_of_dim);
    DOES_NOT_FIT(HYP_OP_MATMUL, .out = p.wide, .in = p.dim, .at = WIDE - DIM + 1,
                 .matrix = p.square);
    DOES_NOT_FIT(HYP_OP_MATMUL, .out = p.other_dim, .in = p.dim, .matrix = p.dim_of_wide);
    DOES_NOT_FIT(HYP_OP_MATMUL, .out = p.dim, .in = p.dim, .matrix = p.square);
    DOES_NOT_FIT(HYP_OP_MATMUL, .out = p.wide, .in = p.dim, .matrix = p.experts);
}

static void shape_bias(parts p) {
    FITS(HYP_OP_BIAS, .out = p.wide, .in = p.wide, .at = WIDE - DIM, .bias = p.dim_vector);
    DOES_NOT_FIT(HYP_OP_BIAS, .out = p.wide, .in = p.wide);
    DOES_NOT_FIT(HYP_OP_BIAS, .out = p.wide, .in = p.wide, .at = WIDE - DIM + 1,
                 .bias = p.dim_vector);
}

static void shape_head_norm(parts p) {
    FITS(HYP_OP_HEAD_NORM, .out = p.dim, .in = p.dim, .at = HEAD, .count = DIM / HEAD - 1,
         .head = HEAD, .weight = p.head_vector);
    DOES_NOT_FIT(HYP_OP_HEAD_NORM, .out = p.dim, .in = p.dim, .count = 1, .head = HEAD);
    DOES_NOT_FIT(HYP_OP_HEAD_NORM, .out = p.dim, .in = p.dim, .count = 1, .head = HEAD + 8,
                 .weight = p.head_vector);
    DOES_NOT_FIT(HYP_OP_HEAD_NORM, .out = p.dim, .in = p.dim, .at = HEAD, .count = DIM / HEAD,
                 .head = HEAD, .weight = p.head_vector);
}

static void shape_rope(parts p) {
    FITS(HYP_OP_ROPE, .out = p.dim, .in = p.dim, .count = DIM / HEAD, .head = HEAD, .rope = p.rope);
    FITS(HYP_OP_ROPE, .out = p.dim, .in = p.dim, .count = 2, .head = 2 * HEAD, .rope = p.wide_rope);
    DOES_NOT_FIT(HYP_OP_ROPE, .out = p.dim, .in = p.dim, .count = 1, .head = HEAD,
                 .rope = p.wide_rope);
    DOES_NOT_FIT(HYP_OP_ROPE, .out = p.dim, .in = p.dim, .count = 1, .head = HEAD,
                 .rope = p.wide_rope + 1);
    DOES_NOT_FIT(HYP_OP_ROPE, .out = p.dim, .in = p.dim, .at = 8, .count = DIM / HEAD, .head = HEAD,
                 .rope = p.rope);
}

static void shape_attention(parts p) {
    FITS(HYP_OP_ATTENTION, .out = p.dim, .in = p.qkv, .attention = {.kv = p.kv, .heads = HEADS});
    DOES_NOT_FIT(HYP_OP_ATTENTION, .out = p.dim, .in = p.qkv,
                 .attention = {.kv = p.kv + 1, .heads = HEADS});
    DOES_NOT_FIT(HYP_OP_ATTENTION, .out = p.dim, .in = p.qkv,
                 .attention = {.kv = p.kv, .heads = HEADS - 1});
    DOES_NOT_FIT(HYP_OP_ATTENTION, .out = p.dim, .in = p.qkv,
                 .attention = {.kv = p.kv, .heads = HEADS - KV_HEADS});
    DOES_NOT_FIT(HYP_OP_ATTENTION, .out = p.wide, .in = p.qkv,
                 .attention = {.kv = p.kv, .heads = HEADS});
    DOES_NOT_FIT(HYP_OP_ATTENTION, .out = p.dim, .in = p.wide,
                 .attention = {.kv = p.kv, .heads = HEADS});
    DOES_NOT_FIT(HYP_OP_ATTENTION, .out = p.qkv, .in = p.qkv,
                 .attention = {.kv = p.kv, .heads = HEADS});
}

static void shape_glu(parts p) {
    FITS(HYP_OP_GLU, .out = p.glu, .in = p.glu, .count = WIDE);
    DOES_NOT_FIT(HYP_OP_GLU, .out = p.glu, .in = p.glu, .count = WIDE - 8);
    DOES_NOT_FIT(HYP_OP_GLU, .out = p.glu, .in = p.wide, .count = WIDE);
}

static void shape_add(parts p) {
    FITS(HYP_OP_ADD, .out = p.dim, .in = p.other_dim);
    DOES_NOT_FIT(HYP_OP_ADD, .out = p.dim, .in = p.dim);
    DOES_NOT_FIT(HYP_OP_ADD, .out = p.dim, .in = p.wide);
}

static void shape_output(parts p) {
    FITS(HYP_OP_OUTPUT, .out = p.dim, .in = p.dim, .matrix = p.embd);
    DOES_NOT_FIT(HYP_OP_OUTPUT, .out = p.dim, .in = p.dim);
    DOES_NOT_FIT(HYP_OP_OUTPUT, .out = p.other_dim, .in = p.other_dim, .matrix = p.embd);
    DOES_NOT_FIT(HYP_OP_OUTPUT, .out = p.dim, .in = p.dim, .matrix = p.square);
}

static void shapes(void) {
    static void (*const rules[HYP_OP_KINDS])(parts) = {
    // of each row of the table
#define HYP_OP(kind, name) shape_##name,
#include "../src/nn/ops.def"
#undef HYP_OP
    };
    parts p = make_parts();
    for (int kind = 0; kind < HYP_OP_KINDS; kind++) rules[kind](p);
    rig_end(&r);
}

// ---- The building functions

static void tensors_are_checked(void) {
    hyp_graph *g = &r.net.graph;
    rig_add(&r, "blk.3.m", 1, 16, 32, HYP_Q4_0);
    rig_add(&r, "v", 1, 1, 32, HYP_F16);
    rig_add(&r, "blocks", 1, 1, 32, HYP_Q8_0);
    rig_add(&r, "m3", 2, 16, 32, HYP_F32);
    rig_open(&r);
    hyp_graph empty = *g;

    CHECK(!hyp_graph_tensor(g, "absent", false) && !g->status);
    CHECK(!hyp_graph_vector(g, "absent", 32, false) && !g->status);
    CHECK(!hyp_graph_tensor(g, "absent", true) && g->status == HYP_E_FORMAT);
    CHECK(strstr(r.fault.text, "'absent' is missing"));
    // What comes after a failure does nothing, and planning says the failure.
    CHECK(!hyp_graph_vector(g, "v", 32, true) && g->vector_count == 0);
    CHECK(hyp_graph_plan(g) == HYP_E_FORMAT);

    *g = empty;
    hyp_graph_begin_layer(g, 3);
    const hyp_matrix *m = hyp_graph_matrix(g, "m", 1, 16, 32);
    CHECK(m && m->rows == 16 && m->cols == 32 && m->groups == 1 && m->format == HYP_Q4_0);
    CHECK(g->weight_bytes == 16 * hyp_format_row_bytes(HYP_Q4_0, 32));
    CHECK(!hyp_graph_matrix(g, "m", 1, 32, 16) && g->status == HYP_E_FORMAT);
    CHECK(strstr(r.fault.text, "'blk.3.m' has the shape (16, 32); (32, 16) was expected"));

    *g = empty;
    const hyp_vector *v = hyp_graph_vector(g, "v", 32, true);
    CHECK(v && v->count == 32 && v->data);
    CHECK(!hyp_graph_vector(g, "v", 31, true) && g->status == HYP_E_FORMAT);
    *g = empty;
    CHECK(!hyp_graph_vector(g, "blocks", 32, true) && g->status == HYP_E_UNSUPPORTED);
    CHECK(strstr(r.fault.text, "'blocks' is stored as Q8_0; a float format was expected"));
    *g = empty;
    CHECK(hyp_graph_matrix(g, "m3", 2, 16, 32) && !g->status);
    CHECK(!hyp_graph_matrix(g, "m3", 1, 16, 32) && g->status == HYP_E_FORMAT);
    *g = empty;
    rig_end(&r);
}

// ---- Places

// What a plan must hold, found the slow way.
static void check_places(const hyp_graph *g) {
    size_t end = 0;
    for (uint32_t a = 0; a < g->value_count; a++) {
        uint32_t first[2], last[2];
        bool used[2];
        for (uint32_t b = a; b < g->value_count; b++) {
            const uint32_t both[2] = {a, b};
            for (int v = 0; v < 2; v++) {
                used[v] = false;
                for (uint32_t i = 0; i < g->op_count; i++) {
                    if (g->ops[i].in != both[v] && g->ops[i].out != both[v]) continue;
                    if (!used[v]) first[v] = i;
                    used[v] = true;
                    last[v] = i;
                }
            }
            if (!used[0] || !used[1]) continue;
            const hyp_value *x = &g->values[a], *y = &g->values[b];
            if (a == b) {
                CHECK(x->first == first[0] && x->last == last[0]);
                CHECK(x->at % 16 == 0);
                end = hyp_max_size(end, x->at + hyp_value_stride(x));
                continue;
            }
            bool at_once = first[0] <= last[1] && first[1] <= last[0],
                 overlap = x->at < y->at + hyp_value_stride(y) &&
                           y->at < x->at + hyp_value_stride(x);
            CHECK_MSG(!at_once || !overlap, "values %u and %u share a place", a, b);
        }
    }
    CHECK(g->row_floats == end);
}

// The most values that live at once.
static uint32_t most_living(const hyp_graph *g) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        uint32_t living = 0;
        for (uint32_t v = 0; v < g->value_count; v++) {
            bool before = false, after = false;
            for (uint32_t k = 0; k < g->op_count; k++) {
                if (g->ops[k].in != v && g->ops[k].out != v) continue;
                before = before || k <= i;
                after = after || k >= i;
            }
            living += before && after;
        }
        most = hyp_max_u32(most, living);
    }
    return most;
}

enum { WIDTHS = 4, TRIALS = 400 };

// Random products and sums over values that live for a random while.
static void places_of_random_graphs(void) {
    static const uint32_t widths[WIDTHS] = {8, 40, 64, 120};
    hyp_graph *g = &r.net.graph;
    const hyp_matrix *m[WIDTHS][WIDTHS];
    for (int i = 0; i < WIDTHS; i++)
        for (int k = 0; k < WIDTHS; k++) {
            char name[] = {'m', (char)('0' + i), (char)('0' + k), 0};
            rig_add(&r, name, 1, widths[i], widths[k], HYP_F32);
        }
    rig_open(&r);
    for (int i = 0; i < WIDTHS; i++)
        for (int k = 0; k < WIDTHS; k++) {
            char name[] = {'m', (char)('0' + i), (char)('0' + k), 0};
            CHECK(m[i][k] = hyp_graph_matrix(g, name, 1, widths[i], widths[k]));
        }
    hyp_graph empty = *g;
    uint32_t refused = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        *g = empty;
        uint32_t width[64], values = 0, reach = 1 + random_u32() % 24;
        size_t sum = 0;
        uint32_t most = 3 + random_u32() % 60;
        for (; values < most; values++) {
            width[values] = random_u32() % WIDTHS;
            hyp_value_id id = hyp_graph_value(g, "value", widths[width[values]]);
            CHECK(id == values);
            sum += hyp_value_stride(&g->values[id]);
        }
        for (uint32_t out = 1; out < values; out++) {
            uint32_t from = out > reach ? out - reach : 0;
            for (uint32_t n = 1 + random_u32() % 3; n > 0; n--) {
                uint32_t in = from + random_u32() % (out - from);
                hyp_graph_add(g, width[in] == width[out] && random_u32() % 2
                                     ? (hyp_op){.kind = HYP_OP_ADD,
                                                .out = (hyp_value_id)out,
                                                .in = (hyp_value_id)in}
                                     : (hyp_op){.kind = HYP_OP_MATMUL,
                                                .out = (hyp_value_id)out,
                                                .in = (hyp_value_id)in,
                                                .matrix = m[width[out]][width[in]]});
            }
        }
        bool too_many = most_living(g) > 16;
        hyp_status status = hyp_graph_plan(g);
        if (too_many) {
            CHECK(status == HYP_E_FORMAT && strstr(r.fault.text, "too many values at once"));
            refused++;
            continue;
        }
        CHECK(!status);
        check_places(g);
        CHECK(g->row_floats <= sum);
    }
    CHECK(refused > 0 && refused < TRIALS / 2);
    *g = empty;
    rig_end(&r);
}

// ---- Groups

static void groups(void) {
    hyp_graph *g = &r.net.graph;
    rig_add(&r, "a", 1, 16, 32, HYP_F32);
    rig_add(&r, "half", 1, 16, 16, HYP_F32);
    rig_add(&r, "bias", 1, 1, 16, HYP_F32);
    rig_open(&r);
    const hyp_matrix *a = hyp_graph_matrix(g, "a", 1, 16, 32),
                     *half = hyp_graph_matrix(g, "half", 1, 16, 16);
    const hyp_vector *bias = hyp_graph_vector(g, "bias", 16, true);
    hyp_value_id x = hyp_graph_value(g, "x", 32), y = hyp_graph_value(g, "y", 96),
                 z = hyp_graph_value(g, "z", 64);
    const struct {
        hyp_op op;
        uint32_t group;
    } cases[] = {
        // four of one input and output: three, and one
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 0, .matrix = a}, 3},
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 16, .matrix = a}, 0},
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 32, .matrix = a}, 0},
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 48, .matrix = a}, 1},
        // another output; another input
        {{HYP_OP_MATMUL, .out = z, .in = x, .at = 0, .matrix = a}, 2},
        {{HYP_OP_MATMUL, .out = z, .in = x, .at = 16, .matrix = a}, 0},
        {{HYP_OP_MATMUL, .out = z, .in = y, .at = 32, .matrix = a}, 1},
        {{HYP_OP_BIAS, .out = z, .in = z, .bias = bias}, 1},
        // what stands between divides them
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 0, .matrix = a}, 1},
        {{HYP_OP_BIAS, .out = y, .in = y, .bias = bias}, 1},
        {{HYP_OP_BIAS, .out = y, .in = y, .bias = bias}, 1},
        // and so does another length of rows
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 16, .matrix = a}, 1},
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 32, .matrix = half}, 2},
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 48, .matrix = half}, 0},
        // columns that are not neighbours are not computed as if they were
        {{HYP_OP_MATMUL, .out = y, .in = x, .at = 80, .matrix = half}, 1},
    };
    enum { COUNT = sizeof cases / sizeof *cases };
    for (int i = 0; i < COUNT; i++) hyp_graph_add(g, cases[i].op);
    CHECK_MSG(!hyp_graph_plan(g), "%s", r.fault.text);
    for (int i = 0; i < COUNT; i++)
        CHECK_MSG(g->ops[i].group == cases[i].group, "operation %d: %u", i, g->ops[i].group);
    check_places(g);
    rig_end(&r);
}

// ---- The architectures

typedef struct sizes {
    uint32_t layers, dim, heads, kv_heads, head, ffn;
} sizes;

static void layer_tensor(uint32_t layer, const char *name, uint32_t rows, uint32_t cols) {
    char text[64];
    hyp_format_text(text, sizeof text, "blk.%u.%s.weight", layer, name);
    rig_add(&r, text, 1, rows, cols, HYP_F32);
}

static void write_model(const hyp_arch *a, sizes s) {
    const struct {
        const char *name;
        uint32_t value;
    } keys[] = {{"block_count", s.layers},
                {"embedding_length", s.dim},
                {"feed_forward_length", s.ffn},
                {"attention.head_count", s.heads},
                {"attention.head_count_kv", s.kv_heads},
                {"attention.key_length", s.head},
                {"attention.value_length", s.head}};
    char text[64];
    rig_text(&r, "general.architecture", a->name);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        hyp_format_text(text, sizeof text, "%s.%s", a->name, keys[i].name);
        rig_u32(&r, text, keys[i].value);
    }
    uint32_t q = s.heads * s.head, kv = s.kv_heads * s.head;
    rig_add(&r, "token_embd.weight", 1, VOCAB, s.dim, HYP_F32);
    for (uint32_t l = 0; l < s.layers; l++) {
        layer_tensor(l, "attn_norm", 1, s.dim);
        if (a->fused) layer_tensor(l, "attn_qkv", q + 2 * kv, s.dim);
        else {
            layer_tensor(l, "attn_q", q, s.dim);
            layer_tensor(l, "attn_k", kv, s.dim);
            layer_tensor(l, "attn_v", kv, s.dim);
            layer_tensor(l, "ffn_gate", s.ffn, s.dim);
        }
        if (a->qk_norm) {
            layer_tensor(l, "attn_q_norm", 1, s.head);
            layer_tensor(l, "attn_k_norm", 1, s.head);
        }
        if (a->post_norms) {
            layer_tensor(l, "post_attention_norm", 1, s.dim);
            layer_tensor(l, "post_ffw_norm", 1, s.dim);
        }
        layer_tensor(l, "attn_output", s.dim, q);
        layer_tensor(l, "ffn_norm", 1, s.dim);
        layer_tensor(l, "ffn_up", a->fused ? 2 * s.ffn : s.ffn, s.dim);
        layer_tensor(l, "ffn_down", s.dim, s.ffn);
    }
    rig_add(&r, "output_norm.weight", 1, 1, s.dim, HYP_F32);
}

// A place for each kind of value, for the whole of a pass: no plan may take more.
static size_t fixed_floats(sizes s) {
    const uint32_t cols[] = {s.dim, s.dim, (s.heads + 2 * s.kv_heads) * s.head, s.heads * s.head,
                             2 * s.ffn};
    size_t sum = 0;
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        sum += hyp_round_up(cols[i] + HYP_GROUP, 16);
    return sum;
}

static void check_groups(const hyp_graph *g, bool fused) {
    for (uint32_t i = 0; i < g->op_count; i++) {
        const hyp_op *op = &g->ops[i];
        uint32_t want = 1;
        if (!strcmp(op->name, "qkv")) want = fused ? 1 : 3;
        if (!strcmp(op->name, "gate_up")) want = fused ? 1 : 3; // and what activates them
        if (op->kind == HYP_OP_MATMUL && op->at == 0) CHECK(op->group == want);
        else if (op->kind == HYP_OP_MATMUL) CHECK(op->group == 0);
        else if (op->kind == HYP_OP_GLU) CHECK(op->group == (fused ? 1 : 0));
        else CHECK(op->group == 1);
    }
}

static void places_of_architectures(void) {
    for (size_t i = 0; i < hyp_arch_count; i++)
        for (int trial = 0; trial < 12; trial++) {
            const hyp_arch *a = &hyp_archs[i];
            uint32_t kv_heads = 1 + random_u32() % 3;
            sizes s = {.layers = 1 + random_u32() % 7,
                       .dim = 8 * (1 + random_u32() % 12),
                       .heads = kv_heads * (1 + random_u32() % 2),
                       .kv_heads = kv_heads,
                       .head = 8 * (1 + random_u32() % 4),
                       .ffn = 8 * (1 + random_u32() % 24)};
            write_model(a, s);
            rig_open(&r);
            hyp_shape shape;
            hyp_graph *g = &r.net.graph;
            hyp_status status = hyp_build_graph(g, &shape, &r.gguf, &r.kernels, &r.arena, 0);
            CHECK_MSG(!status, "%s: %s", a->name, r.fault.text);
            check_places(g);
            CHECK_MSG(g->row_floats <= fixed_floats(s), "%s: %zu floats of a row, %zu before",
                      a->name, g->row_floats, fixed_floats(s));
            check_groups(g, a->fused);
            CHECK(g->kv_count == s.layers && g->hidden < g->value_count && g->vocab == VOCAB);
            CHECK(g->act_cols >= hyp_max_u32(s.dim, s.ffn));
            rig_end(&r);
        }
}

int main(void) {
    RUN(shapes);
    RUN(tensors_are_checked);
    RUN(places_of_random_graphs);
    RUN(groups);
    RUN(places_of_architectures);
    return finish();
}
