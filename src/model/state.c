// Running a transformer: the operations of a step over a batch of tokens, and attention over the KV cache.
#include "../base/bytes.h"
#include "../base/fmath.h"
#include "../port.h"
#include "transformer.h"

enum { WORK_UNIT = 1000 }; // multiply-adds in a unit of the scheduler

// Bytes of one head's cache.
static size_t head_bytes(const hyp_shape *s, hyp_kv_format kv, uint32_t context) {
    return (context + HYP_KV_BLOCK - 1) / HYP_KV_BLOCK * hyp_kv_block_bytes(kv, s->head);
}
// Floats of a row of mixed values: products write whole groups.
static uint32_t mixed_floats(const hyp_shape *s) { return (uint32_t)hyp_round_up(s->head, HYP_GROUP); }
// Rows attended at once: a head's tokens, or a token's heads that share keys.
static uint32_t rows_most(const hyp_shape *s, uint32_t batch) { return hyp_max_u32(batch, s->heads / s->kv_heads); }

static size_t act_row(const hyp_transformer *model) {
    const hyp_shape *s = &model->shape;
    return hyp_act_bytes(model->kernels, (uint32_t)hyp_round_up(hyp_max_u32(hyp_max_u32(s->dim, s->ffn), s->heads * s->head), HYP_BLOCK));
}

// What a state takes, in the order in which hyp_state_init takes it.
typedef struct needs {
    uint64_t cache, slot[HYP_SLOT_COUNT], acts, angles, frequencies, rows, logits;
} needs;

static needs needs_of(const hyp_transformer *model, uint32_t context, uint32_t batch, hyp_kv_format kv) {
    const hyp_shape *s = &model->shape;
    needs n = {.cache = (uint64_t)s->layers * s->kv_heads * head_bytes(s, kv, context),
               .acts = (uint64_t)batch * act_row(model),
               .angles = (uint64_t)batch * s->rope_dims * sizeof(float),
               .frequencies = s->rope_dims / 2 * sizeof(double),
               .rows = rows_most(s, batch) * (uint64_t)(HYP_KV_BLOCK + 2 * mixed_floats(s) + 2) * sizeof(float),
               .logits = ((uint64_t)s->vocab + HYP_GROUP) * sizeof(float)};
    // A product writes whole groups of rows: each row of a slot ends with room for one.
    for (int i = 0; i < HYP_SLOT_COUNT; i++)
        n.slot[i] = (uint64_t)batch * hyp_round_up(model->slot_floats[i] + HYP_GROUP, 16) * sizeof(float);
    return n;
}

uint64_t hyp_state_bytes(const hyp_transformer *model, uint32_t context, uint32_t batch, hyp_kv_format kv) {
    needs n = needs_of(model, context, batch, kv);
    uint64_t sum = 2 * n.cache + n.acts + 2 * (n.angles + n.frequencies) + n.rows + n.logits;
    for (int i = 0; i < HYP_SLOT_COUNT; i++) sum += n.slot[i];
    return sum;
}

hyp_status hyp_state_init(hyp_state *state, hyp_transformer *model, hyp_arena *arena, uint32_t context, uint32_t batch, hyp_kv_format kv,
                          hyp_fault *fault) {
    const hyp_shape *s = &model->shape;
    if (context == 0 || batch == 0) return hyp_fail(fault, HYP_E_ARGUMENT, "a context and a batch of at least one token are needed");
    if (kv == HYP_KV_Q8_0 && s->head % 32)
        return hyp_fail(fault, HYP_E_UNSUPPORTED, "a Q8_0 cache needs heads of a multiple of 32 elements; this model's have %u: use F16",
                        s->head);
    *state = (hyp_state){.model = model, .context = context, .batch = batch, .kv = kv};
    needs n = needs_of(model, context, batch, kv);
    bool ok = n.cache < SIZE_MAX / 4; // 32-bit address spaces
    if (ok) {
        state->keys = hyp_arena_alloc(arena, (size_t)n.cache);
        state->values = hyp_arena_alloc(arena, (size_t)n.cache);
        state->acts = hyp_arena_alloc(arena, (size_t)n.acts);
        state->rows = hyp_arena_alloc(arena, (size_t)n.rows);
        state->logits = hyp_arena_alloc(arena, (size_t)n.logits);
        ok = state->keys && state->values && state->acts && state->rows && state->logits;
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
                        "a context of %u tokens takes %llu MB and does not fit the memory limit: ask for a shorter context or a Q8_0 cache",
                        context, (unsigned long long)(hyp_state_bytes(model, context, batch, kv) >> 20) + 1);
    for (uint32_t i = 0; i < s->rope_dims / 2; i++) {
        double exponent = -2.0 * i / s->rope_dims, factor = model->rope_factors ? (double)model->rope_factors[i] : 1.0;
        state->frequencies[0][i] = hyp_pow((double)s->rope_base, exponent) / (factor * (double)s->rope_scale);
        state->frequencies[1][i] =
            model->arch->window_base > 0 ? hyp_pow((double)model->arch->window_base, exponent) : state->frequencies[0][i];
    }
    return HYP_OK;
}

static float *row(const hyp_state *state, hyp_slot slot, uint32_t token) { return state->slots[slot] + token * state->slot_stride[slot]; }

static hyp_status embed(hyp_state *state, const int32_t *tokens, uint32_t count) {
    hyp_transformer *m = state->model;
    const hyp_matrix *e = m->embd;
    size_t group_bytes = hyp_group_bytes(e->format, e->cols);
    for (uint32_t t = 0; t < count; t++) {
        float *x = row(state, HYP_SLOT_X, t);
        uint32_t group = (uint32_t)tokens[t] / HYP_GROUP, page = group / e->page_groups, groups;
        const uint8_t *data;
        hyp_status status = hyp_weights_pin(&m->weights, e, page, &data, &groups);
        if (status) return status;
        m->kernels->weights[e->format].unpack(x, data + group % e->page_groups * group_bytes, (uint32_t)tokens[t] % HYP_GROUP, e->cols);
        hyp_weights_unpin(&m->weights, e, page);
        if (m->shape.embd_scale != 1)
            for (uint32_t i = 0; i < e->cols; i++) x[i] *= m->shape.embd_scale;
    }
    return HYP_OK;
}

// y (tokens, rows) = x (tokens, cols) W^T, page by page; quantizes x first where W is in blocks and x is `fresh`.
static hyp_status matmul(hyp_state *state, const hyp_matrix *w, float *y, size_t y_stride, const float *x, size_t x_stride, uint32_t tokens,
                         bool fresh) {
    hyp_transformer *m = state->model;
    const hyp_kernels *k = m->kernels;
    const void *in = x;
    size_t in_stride = x_stride * sizeof(float);
    if (!hyp_format_is_float(w->format)) {
        in = state->acts;
        in_stride = hyp_act_bytes(k, w->cols);
        if (fresh)
            for (uint32_t t = 0; t < tokens; t++) k->quantize(state->acts + t * in_stride, x + t * x_stride, w->cols);
    }
    for (uint32_t page = 0, pages = hyp_matrix_pages(w); page < pages; page++) {
        const uint8_t *data;
        uint32_t groups;
        hyp_status status = hyp_weights_pin(&m->weights, w, page, &data, &groups);
        if (status) return status;
        k->weights[w->format].matmul(y + page * w->page_groups * HYP_GROUP, y_stride, data, groups, w->cols, in, in_stride, tokens);
        hyp_weights_unpin(&m->weights, w, page);
        status = hyp_task_work((uint32_t)((uint64_t)groups * HYP_GROUP * w->cols * tokens / WORK_UNIT));
        if (status) return status;
    }
    return HYP_OK;
}

static void fill_angles(hyp_state *state, uint32_t count) {
    const hyp_shape *s = &state->model->shape;
    for (int w = 0; w < (state->model->arch->window_period ? 2 : 1); w++)
        for (uint32_t t = 0; t < count; t++)
            for (uint32_t i = 0; i < s->rope_dims / 2; i++) {
                double sine, cosine;
                hyp_sincos((double)(state->past + t) * state->frequencies[w][i], &sine, &cosine);
                float *cs = state->angles[w] + ((size_t)t * s->rope_dims / 2 + i) * 2;
                cs[0] = (float)cosine * s->rope_attention;
                cs[1] = (float)sine * s->rope_attention;
            }
}

static void store_keys_and_values(hyp_state *state, uint8_t *keys, uint8_t *values, uint32_t count) {
    const hyp_shape *s = &state->model->shape;
    const hyp_kernels *k = state->model->kernels;
    uint32_t q_floats = s->heads * s->head, kv_floats = s->kv_heads * s->head;
    size_t each = head_bytes(s, state->kv, state->context), block_bytes = hyp_kv_block_bytes(state->kv, s->head);
    for (uint32_t t = 0; t < count; t++) {
        const float *in = row(state, HYP_SLOT_QKV, t) + q_floats;
        uint32_t position = state->past + t, at = position % HYP_KV_BLOCK;
        size_t block = position / HYP_KV_BLOCK * block_bytes;
        for (uint32_t h = 0; h < s->kv_heads; h++) {
            k->kv[state->kv].store_key(keys + h * each + block, at, in + h * s->head, s->head);
            k->kv[state->kv].store_value(values + h * each + block, at, in + kv_floats + h * s->head, s->head);
        }
    }
}

typedef struct attention { // of rows that share keys; row t sees positions start[t] .. end[t] - 1
    const float *q;
    float *y;
    size_t q_stride, y_stride;
    uint32_t rows;
    const uint8_t *keys, *values;
    bool windowed;
    bool tokens; // the rows are the step's tokens; else one token's heads
} attention;

static uint32_t end_of(const hyp_state *state, const attention *a, uint32_t row_index) {
    return state->past + (a->tokens ? row_index : 0) + 1;
}
static uint32_t start_of(const hyp_state *state, const attention *a, uint32_t end) {
    uint32_t window = state->model->shape.window;
    return a->windowed && window && end > window ? end - window : 0;
}

// Softmax over the blocks one after the other [Milakov, Gimelshein 2018]: each row keeps its maximum and sum so far, and what is mixed
// already is scaled when the maximum rises. Blocks lie at fixed positions, so that a token's sums are the same in any batch.
static void attend(hyp_state *state, const attention *a) {
    const hyp_shape *s = &state->model->shape;
    const hyp_kernels *k = state->model->kernels;
    uint32_t most = rows_most(s, state->batch), width = mixed_floats(s), last = end_of(state, a, a->rows - 1);
    float *scores = state->rows, *mixed = scores + (size_t)most * HYP_KV_BLOCK, *part = mixed + (size_t)most * width,
          *top = part + (size_t)most * width, *total = top + most;
    size_t block_bytes = hyp_kv_block_bytes(state->kv, s->head);
    for (uint32_t t = 0; t < a->rows; t++) top[t] = -__builtin_inff(), total[t] = 0;
    uint32_t first = start_of(state, a, end_of(state, a, 0)) / HYP_KV_BLOCK;
    for (uint32_t b = first; b * HYP_KV_BLOCK < last; b++) {
        uint32_t base = b * HYP_KV_BLOCK, keys = hyp_min_u32(last - base, HYP_KV_BLOCK);
        k->kv[state->kv].scores(scores, HYP_KV_BLOCK, a->q, a->q_stride, a->rows, a->keys + b * block_bytes, keys, s->head, s->score_scale);
        for (uint32_t t = 0; t < a->rows; t++) {
            float *row_scores = scores + (size_t)t * HYP_KV_BLOCK, peak = top[t];
            uint32_t end = end_of(state, a, t), start = start_of(state, a, end);
            uint32_t from = start > base ? hyp_min_u32(start - base, keys) : 0, to = end > base ? hyp_min_u32(end - base, keys) : 0;
            for (uint32_t i = 0; i < from; i++) row_scores[i] = 0;
            for (uint32_t i = to; i < keys; i++) row_scores[i] = 0;
            if (from >= to) continue;
            if (s->attention_cap > 0) k->softcap(row_scores + from, to - from, s->attention_cap);
            for (uint32_t i = from; i < to; i++) peak = row_scores[i] > peak ? row_scores[i] : peak;
            float fade = hyp_expf(top[t] - peak), *out = mixed + (size_t)t * width;
            if (b > first && fade != 1)
                for (uint32_t i = 0; i < s->head; i++) out[i] *= fade;
            total[t] = total[t] * fade + k->exps(row_scores + from, to - from, peak);
            top[t] = peak;
        }
        k->kv[state->kv].mix(b > first ? part : mixed, width, scores, HYP_KV_BLOCK, a->rows, a->values + b * block_bytes, keys, s->head);
        if (b > first)
            for (uint32_t t = 0; t < a->rows; t++) k->add(mixed + (size_t)t * width, part + (size_t)t * width, s->head);
    }
    for (uint32_t t = 0; t < a->rows; t++) {
        float inverse = 1 / total[t];
        for (uint32_t i = 0; i < s->head; i++) a->y[t * a->y_stride + i] = mixed[(size_t)t * width + i] * inverse;
    }
}

static void attention_op(hyp_state *state, const hyp_op *o, uint32_t count) {
    const hyp_shape *s = &state->model->shape;
    uint32_t shared = s->heads / s->kv_heads;
    size_t each = head_bytes(s, state->kv, state->context), layer = o->layer * s->kv_heads * each;
    store_keys_and_values(state, state->keys + layer, state->values + layer, count);
    for (uint32_t h = 0; h < s->kv_heads; h++) {
        attention a = {.q = row(state, HYP_SLOT_QKV, 0) + h * shared * s->head,
                       .y = row(state, HYP_SLOT_ATT, 0) + h * shared * s->head,
                       .q_stride = s->head,
                       .y_stride = s->head,
                       .rows = shared,
                       .keys = state->keys + layer + h * each,
                       .values = state->values + layer + h * each,
                       .windowed = o->windowed};
        if (count == 1) {
            attend(state, &a);
            continue;
        }
        a.q_stride = state->slot_stride[HYP_SLOT_QKV], a.y_stride = state->slot_stride[HYP_SLOT_ATT];
        a.rows = count, a.tokens = true;
        for (uint32_t i = 0; i < shared; i++, a.q += s->head, a.y += s->head) attend(state, &a);
    }
}

static hyp_status run(hyp_state *state, const hyp_op *o, const int32_t *tokens, uint32_t count) {
    const hyp_transformer *m = state->model;
    const hyp_shape *s = &m->shape;
    const hyp_kernels *k = m->kernels;
    switch (o->kind) {
    case HYP_OP_EMBED: return embed(state, tokens, count);
    case HYP_OP_MATMUL:
        return matmul(state, o->matrix, row(state, o->dst, 0) + o->dst_at, state->slot_stride[o->dst], row(state, o->src, 0),
                      state->slot_stride[o->src], count, o->fresh);
    case HYP_OP_ATTENTION:
        attention_op(state, o, count);
        return hyp_task_work((uint32_t)((uint64_t)s->heads * s->head * (state->past + count) * count * 2 / WORK_UNIT));
    default:
        for (uint32_t t = 0; t < count; t++) {
            float *dst = row(state, o->dst, t) + o->dst_at;
            const float *src = row(state, o->src, t);
            switch (o->kind) {
            case HYP_OP_NORM: k->rms_norm(dst, src, o->vector, s->dim, s->eps); break;
            case HYP_OP_BIAS: k->add(dst, o->vector, o->count); break;
            case HYP_OP_ADD: k->add(dst, src, o->count); break;
            case HYP_OP_GLU: (m->arch->gelu ? k->gelu_mul : k->silu_mul)(dst, dst, dst + o->count, o->count); break;
            case HYP_OP_HEAD_NORM:
                for (uint32_t h = 0; h < o->count; h++) k->rms_norm(dst + h * s->head, dst + h * s->head, o->vector, s->head, s->eps);
                break;
            default: // HYP_OP_ROPE
                for (uint32_t h = 0; h < o->count; h++)
                    k->rope(dst + h * s->head, state->angles[o->windowed] + (size_t)t * s->rope_dims, s->rope_dims / 2, m->arch->neox);
            }
        }
    }
    return HYP_OK;
}

hyp_status hyp_state_step(hyp_state *state, const int32_t *tokens, uint32_t count) {
    const hyp_transformer *m = state->model;
    if (count == 0 || count > state->batch) return HYP_E_ARGUMENT;
    if (count > state->context - state->past) return HYP_E_CONTEXT;
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= m->shape.vocab) return HYP_E_ARGUMENT;
    fill_angles(state, count);
    uint64_t then = state->profile ? hyp_port_now_ns() : 0;
    for (uint32_t i = 0; i < m->op_count; i++) {
        hyp_status status = run(state, &m->ops[i], tokens, count);
        if (status) return status;
        if (state->profile) {
            uint64_t now = hyp_port_now_ns();
            state->op_ns[m->ops[i].kind] += now - then;
            then = now;
        }
    }
    state->past += count;
    state->last = count;
    return HYP_OK;
}

const float *hyp_state_hidden(const hyp_state *state, uint32_t index) { return row(state, HYP_SLOT_H, index); }

hyp_status hyp_state_logits(hyp_state *state, uint32_t index, float **logits) {
    const hyp_transformer *m = state->model;
    hyp_status status = matmul(state, m->output, state->logits, 0, row(state, HYP_SLOT_H, index), 0, 1, true);
    if (status) return status;
    if (m->shape.logit_cap > 0) m->kernels->softcap(state->logits, m->shape.vocab, m->shape.logit_cap);
    *logits = state->logits;
    return HYP_OK;
}
