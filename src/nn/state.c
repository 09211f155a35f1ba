// Running a transformer: the operations of a step over a batch of tokens.
#include "../base/bytes.h"
#include "../base/check.h"
#include "../base/fmath.h"
#include "../port.h"
#include "steps.h"

static size_t act_row(const hyp_transformer *model) {
    const hyp_shape *s = &model->shape;
    return hyp_act_bytes(
        model->kernels,
        (uint32_t)hyp_round_up(hyp_max_u32(hyp_max_u32(s->dim, s->ffn), s->heads * s->head),
                               HYP_BLOCK));
}

// What a state takes, in the order in which hyp_state_init takes it.
typedef struct needs {
    uint64_t cache, slot[HYP_SLOT_COUNT], acts, angles, frequencies, scratch, logits;
} needs;

static needs needs_of(const hyp_transformer *model, uint32_t context, uint32_t batch,
                      hyp_kv_format kv) {
    const hyp_shape *s = &model->shape;
    needs n = {.cache = (uint64_t)s->layers * s->kv_heads * hyp_cache_head_bytes(s, kv, context),
               .acts = (uint64_t)batch * act_row(model),
               .angles = (uint64_t)batch * s->rope_dims * sizeof(float),
               .frequencies = s->rope_dims / 2 * sizeof(double),
               .scratch = hyp_attention_scratch(s) * sizeof(float),
               .logits = ((uint64_t)s->vocab + HYP_GROUP) * sizeof(float)};
    // A product writes whole groups of rows: each row of a slot ends with room for one.
    for (int i = 0; i < HYP_SLOT_COUNT; i++)
        n.slot[i] = (uint64_t)batch * hyp_round_up(model->slot_floats[i] + HYP_GROUP, 16) *
                    sizeof(float);
    return n;
}

uint64_t hyp_state_bytes(const hyp_transformer *model, uint32_t context, uint32_t batch,
                         hyp_kv_format kv) {
    needs n = needs_of(model, context, batch, kv);
    uint64_t sum = 2 * n.cache + n.acts + 2 * (n.angles + n.frequencies) + n.scratch + n.logits;
    for (int i = 0; i < HYP_SLOT_COUNT; i++) sum += n.slot[i];
    return sum;
}

hyp_status hyp_state_init(hyp_state *state, hyp_transformer *model, hyp_arena *arena,
                          uint32_t context, uint32_t batch, hyp_kv_format kv, hyp_fault *fault) {
    const hyp_shape *s = &model->shape;
    if (context == 0 || context > HYP_CONTEXT_MOST)
        return hyp_fail(fault, HYP_E_ARGUMENT, "context must be between 1 and %d tokens, not %u",
                        HYP_CONTEXT_MOST, context);
    if (batch == 0 || batch > HYP_BATCH_MOST)
        return hyp_fail(fault, HYP_E_ARGUMENT, "batch must be between 1 and %d tokens, not %u",
                        HYP_BATCH_MOST, batch);
    batch = hyp_min_u32(batch, context);
    if (kv == HYP_KV_Q8_0 && s->head % 32)
        return hyp_fail(
            fault, HYP_E_UNSUPPORTED,
            "a Q8_0 cache needs heads of a multiple of 32 elements; this model's have %u: use F16",
            s->head);
    *state = (hyp_state){.model = model, .context = context, .batch = batch, .kv = kv};
    needs n = needs_of(model, context, batch, kv);
    bool ok = hyp_state_bytes(model, context, batch, kv) <=
              SIZE_MAX / 2; // of a 32-bit address space, too
    if (ok) {
        state->keys = hyp_arena_alloc(arena, (size_t)n.cache);
        state->values = hyp_arena_alloc(arena, (size_t)n.cache);
        state->acts = hyp_arena_alloc(arena, (size_t)n.acts);
        state->scratch = hyp_arena_alloc(arena, (size_t)n.scratch);
        state->logits = hyp_arena_alloc(arena, (size_t)n.logits);
        ok = state->keys && state->values && state->acts && state->scratch && state->logits;
        for (int i = 0; i < HYP_SLOT_COUNT; i++) {
            state->slots[i] = hyp_arena_alloc(arena, (size_t)n.slot[i]);
            state->slot_stride[i] = (size_t)n.slot[i] / batch / sizeof(float);
            ok = ok && state->slots[i];
        }
        for (int w = 0; w < 2; w++) {
            state->angles[w] = hyp_arena_alloc(arena, (size_t)n.angles);
            state->frequencies[w] = hyp_arena_alloc(arena, (size_t)n.frequencies);
            ok = ok && state->angles[w] && state->frequencies[w];
        }
    }
    if (!ok)
        return hyp_fail(fault, HYP_E_NOMEM,
                        "a context of %u tokens takes %llu MB and does not fit the memory limit: "
                        "ask for a shorter context or a Q8_0 cache",
                        context,
                        (unsigned long long)(hyp_state_bytes(model, context, batch, kv) >> 20) + 1);
    for (uint32_t i = 0; i < s->rope_dims / 2; i++) {
        double exponent = -2.0 * i / s->rope_dims,
               factor = model->rope_factors ? (double)model->rope_factors[i] : 1.0;
        state->frequencies[0][i] = hyp_pow((double)s->rope_base, exponent) /
                                   (factor * (double)s->rope_scale);
        state->frequencies[1][i] = model->arch->window_base > 0
                                       ? hyp_pow((double)model->arch->window_base, exponent)
                                       : state->frequencies[0][i];
    }
    return HYP_OK;
}

hyp_status hyp_state_observe(hyp_state *state, hyp_arena *arena) {
    const hyp_transformer *m = state->model;
    hyp_statistics *all = hyp_arena_alloc(arena, m->matrix_count * sizeof *all);
    for (uint32_t i = 0; i < m->matrix_count && all; i++) {
        all[i].squares = hyp_arena_alloc(arena, m->matrices[i].cols * sizeof *all->squares);
        if (!all[i].squares) return HYP_E_NOMEM;
    }
    state->statistics = all;
    return all ? HYP_OK : HYP_E_NOMEM;
}

static hyp_status embed(hyp_state *state, const int32_t *tokens, uint32_t count) {
    hyp_transformer *m = state->model;
    const hyp_matrix *e = m->embd;
    size_t group_bytes = hyp_group_bytes(e->format, e->cols);
    for (uint32_t t = 0; t < count; t++) {
        float *x = hyp_state_row(state, HYP_SLOT_X, t);
        uint32_t group = (uint32_t)tokens[t] / HYP_GROUP, page = group / e->page_groups, groups;
        const uint8_t *data;
        hyp_status status = hyp_weights_pin(&m->weights, e, page, &data, &groups);
        if (status) return status;
        m->kernels->weights[e->format].unpack(x, data + group % e->page_groups * group_bytes,
                                              (uint32_t)tokens[t] % HYP_GROUP, e->cols);
        hyp_weights_unpin(&m->weights, e, page);
        if (m->shape.embd_scale != 1)
            for (uint32_t i = 0; i < e->cols; i++) x[i] *= m->shape.embd_scale;
    }
    return HYP_OK;
}

enum { TARGETS = 3 }; // products of one loop

// The products of one source that stand side by side from operation `o` on; *count says how many.
static hyp_status products_op(hyp_state *state, const hyp_op *o, const hyp_op *end, uint32_t tokens,
                              uint32_t *count) {
    hyp_target targets[TARGETS];
    uint32_t n = 0;
    do {
        targets[n] = (hyp_target){o[n].matrix, o[n].dst_at};
        n++;
    } while (n < TARGETS && o + n < end && o[n].kind == HYP_OP_MATMUL && !o[n].fresh);
    *count = n;
    return hyp_products(state, targets, n, hyp_state_row(state, o->dst, 0),
                        state->slot_stride[o->dst], hyp_state_row(state, o->src, 0),
                        state->slot_stride[o->src], tokens);
}

static void fill_angles(hyp_state *state, uint32_t count) {
    const hyp_shape *s = &state->model->shape;
    for (int w = 0; w < (state->model->arch->window_period ? 2 : 1); w++)
        for (uint32_t t = 0; t < count; t++)
            for (uint32_t i = 0; i < s->rope_dims / 2; i++) {
                double sine, cosine;
                hyp_sincos((double)hyp_state_position(state, t) * state->frequencies[w][i], &sine,
                           &cosine);
                float *cs = state->angles[w] + ((size_t)t * s->rope_dims / 2 + i) * 2;
                cs[0] = (float)cosine * s->rope_attention;
                cs[1] = (float)sine * s->rope_attention;
            }
}

// Units of work of `count` tokens that look at up to `seen`; a long prompt's would not fit 32 bits.
static uint32_t attention_work(const hyp_shape *s, uint32_t seen, uint32_t count) {
    uint64_t units = (uint64_t)s->heads * s->head * seen * count * 2 / HYP_WORK_UNIT;
    return units < UINT32_MAX ? (uint32_t)units : UINT32_MAX;
}

static hyp_status run(hyp_state *state, const hyp_op *o, const int32_t *tokens, uint32_t count) {
    const hyp_transformer *m = state->model;
    const hyp_shape *s = &m->shape;
    const hyp_kernels *k = m->kernels;
    switch (o->kind) {
    case HYP_OP_EMBED: return embed(state, tokens, count);
    case HYP_OP_ATTENTION:
        hyp_attention(state, o->layer, o->windowed, count);
        return hyp_task_work(attention_work(s, hyp_state_position(state, 0) + count, count));
    default:
        for (uint32_t t = 0; t < count; t++) {
            float *dst = hyp_state_row(state, o->dst, t) + o->dst_at;
            const float *src = hyp_state_row(state, o->src, t);
            switch (o->kind) {
            case HYP_OP_NORM: k->rms_norm(dst, src, o->vector, s->dim, s->eps); break;
            case HYP_OP_BIAS: k->add(dst, o->vector, o->count); break;
            case HYP_OP_ADD: k->add(dst, src, o->count); break;
            case HYP_OP_GLU:
                (m->arch->gelu ? k->gelu_mul : k->silu_mul)(dst, dst, dst + o->count, o->count);
                break;
            case HYP_OP_HEAD_NORM:
                for (uint32_t h = 0; h < o->count; h++)
                    k->rms_norm(dst + h * s->head, dst + h * s->head, o->vector, s->head, s->eps);
                break;
            default: // HYP_OP_ROPE
                for (uint32_t h = 0; h < o->count; h++)
                    k->rope(dst + h * s->head,
                            state->angles[o->windowed] + (size_t)t * s->rope_dims, s->rope_dims / 2,
                            m->arch->neox);
            }
        }
    }
    return HYP_OK;
}

// Notes the time since `began` for `n` operations from `index` on, and what they have read and
// computed.
static void note(hyp_state *state, uint32_t index, uint32_t n, uint32_t tokens, uint64_t began) {
    const hyp_transformer *m = state->model;
    const hyp_shape *s = &m->shape;
    hyp_timing *t = &state->timings[index];
    t->began_ns = began;
    t->last_ns = hyp_port_now_ns() - began;
    t->ns += t->last_ns;
    for (uint32_t i = index; i < index + n; i++) {
        const hyp_matrix *w = i == m->op_count                  ? m->output
                              : m->ops[i].kind == HYP_OP_MATMUL ? m->ops[i].matrix
                                                                : NULL;
        if (w) t->bytes += w->bytes, t->macs += (uint64_t)w->rows * w->cols * tokens;
    }
    if (index == m->op_count || m->ops[index].kind != HYP_OP_ATTENTION) return;
    for (uint32_t k = 0; k < tokens; k++)
        t->macs += 2ull * s->heads * s->head * (hyp_state_position(state, k) + 1);
    uint32_t most = hyp_state_position(state, 0) + (state->rows ? 1 : tokens);
    t->bytes += 2 * s->kv_heads * (uint64_t)hyp_kv_block_bytes(state->kv, s->head) * most /
                HYP_KV_BLOCK * (state->rows ? tokens : 1);
}

static hyp_status step(hyp_state *state, const int32_t *tokens, uint32_t count) {
    const hyp_transformer *m = state->model;
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= m->shape.vocab) return HYP_E_ARGUMENT;
    fill_angles(state, count);
    for (uint32_t i = 0, n = 1; i < m->op_count; i += n) {
        const hyp_op *o = &m->ops[i];
        uint64_t began = state->timings ? hyp_port_now_ns() : 0;
        n = 1;
        hyp_status status = o->kind == HYP_OP_MATMUL
                                ? products_op(state, o, m->ops + m->op_count, count, &n)
                                : run(state, o, tokens, count);
        if (status) return status;
        if (state->timings) note(state, i, n, count, began);
    }
    return HYP_OK;
}

// Whether the final hidden row of a token is finite: what is not in a layer is not so to the end,
// though quantizing may take it for 0.
static bool row_finite(const hyp_state *state, uint32_t token) {
    return hyp_format_finite(HYP_F32, hyp_state_row(state, HYP_SLOT_H, token),
                             state->model->shape.dim);
}

bool hyp_state_finite(const hyp_state *state) {
    for (uint32_t t = 0; t < state->last; t++)
        if (!row_finite(state, t)) return false;
    return true;
}

hyp_status hyp_state_step(hyp_state *state, const int32_t *tokens, uint32_t count) {
    if (count == 0 || count > state->batch) return HYP_E_ARGUMENT;
    if (count > state->context - state->past) return HYP_E_CONTEXT;
    HYP_CHECK(!state->computing, "a sequence is computed twice at once");
    state->computing = true;
    hyp_status status = step(state, tokens, count);
    state->computing = false;
    if (status) return status;
    state->past += count;
    state->last = count;
    return HYP_OK;
}

hyp_status hyp_state_gather(hyp_state *lead, hyp_state *const *states, const int32_t *tokens,
                            uint32_t count, float *scratch) {
    if (count == 0 || count > lead->batch) return HYP_E_ARGUMENT;
    for (uint32_t t = 0; t < count; t++)
        if (states[t]->past >= states[t]->context) return HYP_E_CONTEXT;
    for (uint32_t t = 0; t < count; t++) {
        HYP_CHECK(!states[t]->computing, "a sequence is computed twice at once");
        states[t]->computing = true;
    }
    lead->rows = states;
    hyp_status status = step(lead, tokens, count);
    lead->rows = NULL;
    if (!status) status = hyp_state_logits_of(lead, count, scratch);
    for (uint32_t t = 0; t < count; t++) states[t]->computing = false;
    for (uint32_t t = 0; t < count && !status; t++) {
        states[t]->past++;
        states[t]->last = 0;
        memcpy(states[t]->logits, scratch + t * ((size_t)lead->model->shape.vocab + HYP_GROUP),
               lead->model->shape.vocab * sizeof(float));
    }
    return status;
}

static void deny(float *logits, uint32_t vocab) {
    for (uint32_t i = 0; i < vocab; i++) logits[i] = __builtin_nanf("");
}

hyp_status hyp_state_logits_of(hyp_state *state, uint32_t count, float *logits) {
    const hyp_transformer *m = state->model;
    size_t stride = m->shape.vocab + HYP_GROUP;
    uint64_t began = state->timings ? hyp_port_now_ns() : 0;
    hyp_status status = hyp_products(state, &(hyp_target){m->output, 0}, 1, logits, stride,
                                     hyp_state_row(state, HYP_SLOT_H, 0),
                                     state->slot_stride[HYP_SLOT_H], count);
    if (status) return status;
    if (state->timings) note(state, m->op_count, 1, count, began);
    for (uint32_t t = 0; t < count && m->shape.logit_cap > 0; t++)
        m->kernels->softcap(logits + t * stride, m->shape.vocab, m->shape.logit_cap);
    for (uint32_t t = 0; t < count;
         t++) // of guesses, or of several texts: one that has overflowed is nothing to the others
        if (!row_finite(state, t)) deny(logits + t * stride, m->shape.vocab);
    return HYP_OK;
}

const float *hyp_state_hidden(const hyp_state *state, uint32_t index) {
    return hyp_state_row(state, HYP_SLOT_H, index);
}

hyp_status hyp_state_logits(hyp_state *state, uint32_t index, float **logits) {
    const hyp_transformer *m = state->model;
    uint64_t began = state->timings ? hyp_port_now_ns() : 0;
    hyp_status status = hyp_products(
        state, &(hyp_target){m->output, 0}, 1, state->logits, m->shape.vocab + HYP_GROUP,
        hyp_state_row(state, HYP_SLOT_H, index), state->slot_stride[HYP_SLOT_H], 1);
    if (status) return status;
    if (state->timings) note(state, m->op_count, 1, 1, began);
    if (m->shape.logit_cap > 0)
        m->kernels->softcap(state->logits, m->shape.vocab, m->shape.logit_cap);
    if (!row_finite(state, index)) deny(state->logits, m->shape.vocab);
    *logits = state->logits;
    return HYP_OK;
}
