// Attention over the cache: block by block, a head's tokens at once, or a token's heads that share
// keys.
#include "steps.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

#ifdef HYP_CHECKED
enum { SHARED_MACS = 1000 };
#else
enum { SHARED_MACS = 100000 };
#endif
enum { LOOP_TOKENS = 64, ROWS = 16 };

// Floats of a row of mixed values: products write whole groups.
static uint32_t mixed_floats(const hyp_shape *s) {
    return (uint32_t)hyp_round_up(s->head, HYP_GROUP);
}

size_t hyp_attention_scratch(const hyp_shape *s) {
    return ROWS * (size_t)(HYP_KV_BLOCK + 2 * mixed_floats(s) + 2);
}

// Keys and values of `tokens` rows of the step in `of`, from row `first` on, to the cache of
// `state` from position state->past on.
static void store(const hyp_state *of, uint32_t first, hyp_state *state, uint8_t *keys,
                  uint8_t *values, uint32_t tokens) {
    const hyp_shape *s = &state->model->shape;
    const hyp_kernels *k = state->model->kernels;
    uint32_t q_floats = s->heads * s->head, kv_floats = s->kv_heads * s->head;
    size_t each = (size_t)hyp_cache_head_bytes(s, state->kv, state->context),
           block_bytes = hyp_kv_block_bytes(state->kv, s->head);
    for (uint32_t t = 0; t < tokens; t++) {
        const float *in = hyp_state_row(of, HYP_SLOT_QKV, first + t) + q_floats;
        uint32_t position = state->past + t, at = position % HYP_KV_BLOCK;
        size_t block = position / HYP_KV_BLOCK * block_bytes;
        for (uint32_t h = 0; h < s->kv_heads; h++) {
            k->kv[state->kv].store_key(keys + h * each + block, at, in + h * s->head, s->head);
            k->kv[state->kv].store_value(values + h * each + block, at,
                                         in + kv_floats + h * s->head, s->head);
        }
    }
}

// Tiles are the heads; for one token, the key-value heads with all the heads that share them.
typedef struct job {
    const hyp_shape *shape;
    const hyp_kernels *kernels;
    const uint8_t *keys, *values; // of the layer
    size_t head_bytes, q_stride;  // of one head's cache; floats of a row of the input
    hyp_kv_format kv;
    uint32_t past, tokens;
    bool windowed;
} job;

static void range(const void *context, uint32_t tile, uint32_t *from, uint32_t *width) {
    const job *j = context;
    *width = j->tokens == 1 ? j->shape->heads / j->shape->kv_heads * j->shape->head
                            : j->shape->head;
    *from = tile * *width;
}

static uint32_t end_of(const job *j, uint32_t row) {
    return j->past + (j->tokens == 1 ? 0 : row) + 1;
} // first position not seen
static uint32_t start_of(const job *j, uint32_t end) {
    uint32_t window = j->shape->window;
    return j->windowed && window && end > window ? end - window : 0;
}

// Rows `first` to `first + rows - 1` of a tile: softmax over the blocks one after the other
// [Milakov, Gimelshein 2018]: each row keeps its maximum and sum so far, and what is mixed already
// is scaled when the maximum rises. Blocks lie at fixed positions, so that a token's sums are the
// same in any batch.
static void compute_rows(const job *j, uint32_t first_row, uint32_t rows, const float *q,
                         size_t q_stride, const uint8_t *keys, const uint8_t *values, float *out,
                         size_t out_stride, float *scratch) {
    const hyp_shape *s = j->shape;
    const hyp_kernels *k = j->kernels;
    uint32_t width = mixed_floats(s), last = end_of(j, first_row + rows - 1);
    float *scores = scratch, *mixed = scores + (size_t)rows * HYP_KV_BLOCK,
          *part = mixed + (size_t)rows * width, *top = part + (size_t)rows * width,
          *total = top + rows;
    size_t block_bytes = hyp_kv_block_bytes(j->kv, s->head);
    for (uint32_t t = 0; t < rows; t++) top[t] = -__builtin_inff(), total[t] = 0;
    uint32_t first = start_of(j, end_of(j, first_row)) / HYP_KV_BLOCK;
    for (uint32_t b = first; b * HYP_KV_BLOCK < last; b++) {
        uint32_t base = b * HYP_KV_BLOCK, count = hyp_min_u32(last - base, HYP_KV_BLOCK);
        k->kv[j->kv].scores(scores, HYP_KV_BLOCK, q, q_stride, rows, keys + b * block_bytes, count,
                            s->head, s->score_scale);
        for (uint32_t t = 0; t < rows; t++) {
            float *x = scores + (size_t)t * HYP_KV_BLOCK;
            uint32_t end = end_of(j, first_row + t), start = start_of(j, end);
            uint32_t from = start > base ? hyp_min_u32(start - base, count) : 0,
                     to = end > base ? hyp_min_u32(end - base, count) : 0;
            for (uint32_t i = 0; i < from; i++) x[i] = 0;
            for (uint32_t i = to; i < count; i++) x[i] = 0;
            if (from >= to) continue;
            if (s->attention_cap > 0) k->softcap(x + from, to - from, s->attention_cap);
            float peak = k->peak(x + from, to - from);
            peak = peak > top[t] ? peak : top[t];
            float fade = hyp_expf(top[t] - peak), *row = mixed + (size_t)t * width;
            if (b > first && fade != 1)
                for (uint32_t i = 0; i < s->head; i++) row[i] *= fade;
            total[t] = total[t] * fade + k->exps(x + from, to - from, peak);
            top[t] = peak;
        }
        k->kv[j->kv].mix(b > first ? part : mixed, width, scores, HYP_KV_BLOCK, rows,
                         values + b * block_bytes, count, s->head);
        if (b > first)
            for (uint32_t t = 0; t < rows; t++)
                k->add(mixed + (size_t)t * width, part + (size_t)t * width, s->head);
    }
    for (uint32_t t = 0; t < rows; t++) {
        float inverse = 1 / total[t];
        for (uint32_t i = 0; i < s->head; i++)
            out[t * out_stride + i] = mixed[(size_t)t * width + i] * inverse;
    }
}

// A tile, by a few rows at a time: of the keys that later tokens see and earlier ones do not, few
// are computed for nothing.
static void compute(const void *context, const void *input, uint32_t tile, float *y,
                    size_t y_stride, float *scratch) {
    const job *j = context;
    const hyp_shape *s = j->shape;
    uint32_t shared = s->heads / s->kv_heads, rows = j->tokens == 1 ? shared : j->tokens;
    uint32_t kv_head = j->tokens == 1 ? tile : tile / shared,
             head = j->tokens == 1 ? tile * shared : tile;
    size_t q_stride = j->tokens == 1 ? s->head : j->q_stride,
           out_stride = j->tokens == 1 ? s->head : y_stride;
    const float *q = (const float *)input + head * s->head;
    const uint8_t *keys = j->keys + kv_head * j->head_bytes,
                  *values = j->values + kv_head * j->head_bytes;
    for (uint32_t first = 0; first < rows; first += ROWS)
        compute_rows(j, first, hyp_min_u32(ROWS, rows - first), q + first * q_stride, q_stride,
                     keys, values, y + head * s->head + first * out_stride, out_stride, scratch);
}

// Of `tokens` rows of the step in `of`, from row `first` on, which are the next ones of `state`.
static void attend(const hyp_state *of, uint32_t first, hyp_state *state, uint32_t layer,
                   bool windowed, uint32_t tokens) {
    hyp_transformer *m = state->model;
    const hyp_shape *s = &m->shape;
    size_t head_bytes = (size_t)hyp_cache_head_bytes(s, state->kv, state->context),
           at = layer * s->kv_heads * head_bytes;
    store(of, first, state, state->keys + at, state->values + at, tokens);
    job j = {.shape = s,
             .kernels = m->kernels,
             .keys = state->keys + at,
             .values = state->values + at,
             .head_bytes = head_bytes,
             .q_stride = of->slot_stride[HYP_SLOT_QKV],
             .kv = state->kv,
             .past = state->past,
             .tokens = tokens,
             .windowed = windowed};
    const float *q = hyp_state_row(of, HYP_SLOT_QKV, first);
    float *y = hyp_state_row(of, HYP_SLOT_ATT, first);
    size_t y_stride = of->slot_stride[HYP_SLOT_ATT];
    uint32_t tiles = tokens == 1 ? s->kv_heads : s->heads;
    uint64_t macs = 2ull * s->heads * s->head * tokens * (state->past + tokens);
    if (m->pool && tiles > 1 && tiles <= HYP_POOL_TILES && tokens <= LOOP_TOKENS &&
        macs >= SHARED_MACS) {
        hyp_parallel_for(
            m->pool,
            &(hyp_parallel_loop){
                .compute = compute,
                .range = range,
                .job = &j,
                .job_bytes = sizeof j,
                .input = q,
                .input_bytes = ((tokens - 1) * j.q_stride + s->heads * s->head) * sizeof(float),
                .tiles = tiles,
                .rows = tokens,
                .columns = s->heads * s->head,
                .macs = macs,
                .tile_macs = 4 * macs / tiles, // not a kernel's fastest: it exponentiates, too
                .y = y,
                .y_stride = y_stride,
                .scratch = of->scratch});
        return;
    }
    for (uint32_t tile = 0; tile < tiles; tile++) compute(&j, q, tile, y, y_stride, of->scratch);
}

void hyp_attention(hyp_state *state, uint32_t layer, bool windowed, uint32_t tokens) {
    if (!state->rows) attend(state, 0, state, layer, windowed, tokens);
    else
        for (uint32_t t = 0; t < tokens; t++) attend(state, t, state->rows[t], layer, windowed, 1);
}

void hyp_attention_needs(const hyp_transformer *m, hyp_pool_config *needs) {
    const hyp_shape *s = &m->shape;
    size_t row = hyp_round_up(m->slot_floats[HYP_SLOT_QKV] + HYP_GROUP, 16);
    needs->job_bytes = hyp_max_size(needs->job_bytes, sizeof(job));
    needs->input_bytes = hyp_max_size(needs->input_bytes, LOOP_TOKENS * row * sizeof(float));
    needs->output_floats = hyp_max_size(needs->output_floats,
                                        (size_t)LOOP_TOKENS * s->heads * s->head);
    needs->scratch_floats = hyp_max_size(needs->scratch_floats, hyp_attention_scratch(s));
}
