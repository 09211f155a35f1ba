// Decoder-only transformers: llama and what differs from it by the facts of arch.c.
#include "../base/bytes.h"
#include "../base/text.h"
#include "models.h"

// A layer has at most 3 products and biases, 2 head norms, rope, attention, output with bias, norm
// and sum; and as much for its feed-forward network.
enum { OPS_PER_LAYER = 28, VALUES_PER_LAYER = 8 };

typedef struct decoder {
    hyp_graph *graph;
    const hyp_shape *shape;
    hyp_value_id x;             // the residual
    uint32_t rope, window_rope; // of the layers that see everything; of those with a window
} decoder;

hyp_graph_limits hyp_decoder_limits(const hyp_shape *s) {
    return (hyp_graph_limits){.values = (s->layers + 1) * VALUES_PER_LAYER,
                              .ops = (s->layers + 1) * OPS_PER_LAYER,
                              .ropes = 2,
                              .kv = s->layers};
}

static void norm(decoder *d, hyp_value_id out, hyp_value_id in, const char *name) {
    const hyp_shape *s = d->shape;
    hyp_graph_add(d->graph, (hyp_op){.kind = HYP_OP_RMS_NORM,
                                     .out = out,
                                     .in = in,
                                     .weight = hyp_graph_vector(d->graph, name, s->dim, true),
                                     .eps = s->eps});
}

static void bias(decoder *d, hyp_value_id out, uint32_t at, const char *name, uint32_t rows) {
    char text[48];
    hyp_format_text(text, sizeof text, "%s.bias", name);
    const hyp_vector *v = hyp_graph_vector(d->graph, text, rows, false);
    if (v)
        hyp_graph_add(d->graph,
                      (hyp_op){.kind = HYP_OP_BIAS, .out = out, .in = out, .at = at, .bias = v});
}

// out[at ..] = W in, named `what` in a profile. Those of one input stand side by side, to be
// computed together, and their biases after them.
static void product(decoder *d, hyp_value_id out, uint32_t at, hyp_value_id in, const char *what,
                    const char *name, uint32_t rows, uint32_t cols) {
    char text[48];
    hyp_format_text(text, sizeof text, "%s.weight", name);
    hyp_graph_add(d->graph, (hyp_op){.kind = HYP_OP_MATMUL,
                                     .out = out,
                                     .in = in,
                                     .at = at,
                                     .name = what,
                                     .matrix = hyp_graph_matrix(d->graph, text, 1, rows, cols)});
}

static void head_norm(decoder *d, hyp_value_id out, uint32_t at, uint32_t heads, const char *name) {
    const hyp_shape *s = d->shape;
    hyp_graph_add(d->graph, (hyp_op){.kind = HYP_OP_HEAD_NORM,
                                     .out = out,
                                     .in = out,
                                     .at = at,
                                     .count = heads,
                                     .head = s->head,
                                     .weight = hyp_graph_vector(d->graph, name, s->head, true),
                                     .eps = s->eps});
}

static void add(decoder *d, hyp_value_id branch) {
    hyp_graph_add(d->graph, (hyp_op){.kind = HYP_OP_ADD, .out = d->x, .in = branch});
}

static void attention(decoder *d, bool windowed) {
    hyp_graph *g = d->graph;
    const hyp_shape *s = d->shape;
    uint32_t q = s->heads * s->head, kv = s->kv_heads * s->head;
    hyp_value_id in = hyp_graph_value(g, "attention.in", s->dim);
    norm(d, in, d->x, "attn_norm.weight");
    hyp_value_id qkv = hyp_graph_value(g, "qkv", q + 2 * kv);
    if (s->arch->fused) {
        product(d, qkv, 0, in, "qkv", "attn_qkv", q + 2 * kv, s->dim);
        bias(d, qkv, 0, "attn_qkv", q + 2 * kv);
    } else {
        product(d, qkv, 0, in, "qkv", "attn_q", q, s->dim);
        product(d, qkv, q, in, "qkv", "attn_k", kv, s->dim);
        product(d, qkv, q + kv, in, "qkv", "attn_v", kv, s->dim);
        bias(d, qkv, 0, "attn_q", q);
        bias(d, qkv, q, "attn_k", kv);
        bias(d, qkv, q + kv, "attn_v", kv);
    }
    if (s->arch->qk_norm) {
        head_norm(d, qkv, 0, s->heads, "attn_q_norm.weight");
        head_norm(d, qkv, q, s->kv_heads, "attn_k_norm.weight");
    }
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ROPE,
                              .out = qkv,
                              .in = qkv,
                              .count = s->heads + s->kv_heads,
                              .head = s->head,
                              .rope = windowed ? d->window_rope : d->rope});
    hyp_value_id mixed = hyp_graph_value(g, "attention.mixed", q);
    uint32_t shape = hyp_graph_add_kv(g, (hyp_kv_shape){.heads = s->kv_heads, .head = s->head});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ATTENTION,
                              .out = mixed,
                              .in = qkv,
                              .attention = {.kv = shape,
                                            .heads = s->heads,
                                            .window = windowed ? s->window : 0,
                                            .scale = s->score_scale,
                                            .cap = s->attention_cap}});
    hyp_value_id out = hyp_graph_value(g, "attention.out", s->dim);
    product(d, out, 0, mixed, "attn_output", "attn_output", s->dim, q);
    bias(d, out, 0, "attn_output", s->dim);
    if (s->arch->post_norms) norm(d, out, out, "post_attention_norm.weight");
    add(d, out);
}

static void feed_forward(decoder *d) {
    hyp_graph *g = d->graph;
    const hyp_shape *s = d->shape;
    hyp_value_id in = hyp_graph_value(g, "ffn.in", s->dim);
    norm(d, in, d->x, "ffn_norm.weight");
    hyp_value_id both = hyp_graph_value(g, "ffn.gate_up", 2 * s->ffn);
    if (s->arch->fused) {
        product(d, both, 0, in, "gate_up", "ffn_up", 2 * s->ffn, s->dim);
        bias(d, both, 0, "ffn_up", 2 * s->ffn);
    } else {
        product(d, both, 0, in, "gate_up", "ffn_gate", s->ffn, s->dim);
        product(d, both, s->ffn, in, "gate_up", "ffn_up", s->ffn, s->dim);
        bias(d, both, 0, "ffn_gate", s->ffn);
        bias(d, both, s->ffn, "ffn_up", s->ffn);
    }
    hyp_graph_add(
        g,
        (hyp_op){
            .kind = HYP_OP_GLU, .out = both, .in = both, .count = s->ffn, .gelu = s->arch->gelu});
    hyp_value_id out = hyp_graph_value(g, "ffn.out", s->dim);
    product(d, out, 0, both, "ffn_down", "ffn_down", s->dim, s->ffn);
    bias(d, out, 0, "ffn_down", s->dim);
    if (s->arch->post_norms) norm(d, out, out, "post_ffw_norm.weight");
    add(d, out);
}

// Llama 3 divides each frequency by a factor; Phi-3 has two sets, for the trained context and
// beyond.
static const hyp_vector *rope_factors(decoder *d) {
    const hyp_shape *s = d->shape;
    const char *const names[] = {"rope_freqs.weight", s->extended ? "rope_factors_long.weight"
                                                                  : "rope_factors_short.weight"};
    for (size_t i = 0; i < 2; i++) {
        const hyp_vector *v = hyp_graph_vector(d->graph, names[i], s->rope_dims / 2, false);
        if (!v) continue;
        hyp_vector *bounded = &d->graph->vectors[v - d->graph->vectors];
        bounded->least = HYP_ROPE_FACTOR_LEAST;
        bounded->most = HYP_ROPE_FACTOR_MOST;
        return v;
    }
    return NULL;
}

static void ropes(decoder *d) {
    const hyp_shape *s = d->shape;
    hyp_rope rope = {.dims = s->rope_dims,
                     .neox = s->arch->neox,
                     .base = s->rope_base,
                     .scale = s->rope_scale,
                     .magnitude = s->rope_attention,
                     .factors = rope_factors(d)};
    d->rope = d->window_rope = hyp_graph_add_rope(d->graph, rope);
    if (!s->arch->window_period || !(s->arch->window_base > 0)) return;
    rope.base = s->arch->window_base;
    rope.scale = 1;
    rope.factors = NULL;
    d->window_rope = hyp_graph_add_rope(d->graph, rope);
}

static bool set_vocab(hyp_graph *g, const hyp_gguf_tensor *embd) {
    if (!embd) return false;
    if (embd->dim[1] == 0 || embd->dim[1] > 1 << 24)
        g->status = hyp_fail(g->gguf->fault, HYP_E_FORMAT,
                             "a vocabulary of %llu tokens is not possible",
                             (unsigned long long)embd->dim[1]);
    else if (embd->sparse)
        g->status = hyp_fail(
            g->gguf->fault, HYP_E_UNSUPPORTED,
            "tensor 'token_embd.weight' is sparse; rows of it are read one by one");
    g->vocab = (uint32_t)embd->dim[1];
    return !g->status;
}

void hyp_build_decoder(hyp_graph *g, const hyp_shape *s) {
    decoder d = {.graph = g, .shape = s};
    if (!set_vocab(g, hyp_graph_tensor(g, "token_embd.weight", true))) return;
    ropes(&d);
    d.x = hyp_graph_value(g, "residual", s->dim);
    uint32_t embed = g->op_count;
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_EMBED, .out = d.x, .in = d.x, .scale = s->embd_scale});
    for (uint32_t layer = 0; layer < s->layers && !g->status; layer++) {
        hyp_graph_begin_layer(g, (uint16_t)layer);
        bool windowed = s->arch->window_period &&
                        layer % s->arch->window_period != s->arch->window_period - 1;
        attention(&d, windowed);
        feed_forward(&d);
    }
    hyp_graph_begin_layer(g, HYP_NO_LAYER);
    g->hidden = hyp_graph_value(g, "hidden", s->dim);
    norm(&d, g->hidden, d.x, "output_norm.weight");
    // Of an embedding a pass reads a row for each token: last, so that it is the first to do
    // without a place of its own.
    const hyp_matrix *output = NULL;
    if (hyp_graph_tensor(g, "output.weight", false))
        output = hyp_graph_matrix(g, "output.weight", 1, g->vocab, s->dim);
    const hyp_matrix *embd = hyp_graph_matrix(g, "token_embd.weight", 1, g->vocab, s->dim);
    g->ops[embed].matrix = embd;
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_OUTPUT,
                              .out = g->hidden,
                              .in = g->hidden,
                              .matrix = output ? output : embd,
                              .cap = s->logit_cap});
}
