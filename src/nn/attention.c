// Attention over the keys and values of a sequence: block by block, a head's rows at once, or a
// row's heads that share keys.
#include "../base/bytes.h"
#include "../base/fmath.h"
#include "ops.h"

#ifdef HYP_CHECKED
enum { SHARED_MACS = 1000 };
#else
enum { SHARED_MACS = 100000 };
#endif
enum { LOOP_ROWS = 64, ROWS = 16 };

// Floats of a row of mixed values: products write whole groups.
static uint32_t mixed_floats(uint32_t head) { return (uint32_t)hyp_round_up(head, HYP_GROUP); }

size_t hyp_attention_scratch(const hyp_graph *g) {
    uint32_t head = 0;
    for (uint32_t i = 0; i < g->kv_count; i++) head = hyp_max_u32(head, g->kv[i].head);
    return ROWS * (size_t)(HYP_KV_BLOCK + 2 * mixed_floats(head) + 2);
}

// Keys and values of the rows `first` to `first + count - 1` of the batch, to their sequence.
static void store(const hyp_workspace *w, const hyp_op *op, uint32_t first, uint32_t count) {
    hyp_sequence *s = w->batch->rows[first].sequence;
    hyp_kv_cache *c = s->cache;
    uint32_t kv = op->attention.kv, heads = c->graph->kv[kv].heads, head = c->graph->kv[kv].head;
    const hyp_kernels *k = w->net->graph.kernels;
    for (uint32_t t = 0; t < count; t++) {
        const float *keys = hyp_row_of(w, op->in, first + t) + op->attention.heads * head;
        uint32_t position = s->count + t, at = position % HYP_KV_BLOCK;
        hyp_kv_block *block = s->blocks[position / HYP_KV_BLOCK];
        for (uint32_t h = 0; h < heads; h++) {
            k->kv[c->format].store_key(hyp_kv_keys(c, block, kv, h), at, keys + h * head, head);
            k->kv[c->format].store_value(hyp_kv_values(c, block, kv, h), at,
                                         keys + (heads + h) * head, head);
        }
    }
}

// Tiles are a few rows of a head, the last rows, which see most, first; for one row, the key-value
// heads with all the heads that share them. Of the keys that later rows see and earlier ones do
// not, few are computed for nothing.
typedef struct job {
    const hyp_kernels *kernels;
    hyp_kv_block *const *blocks; // of the sequence
    size_t at, head_bytes;       // of the attention's keys in a block; of one head's
    size_t q_stride;             // floats of a row of the input
    hyp_kv_format format;
    uint32_t heads, kv_heads, head, window;
    float scale, cap;
    uint32_t past, rows;
} job;

static uint32_t tiles_of(const job *j) {
    return j->rows == 1 ? j->kv_heads : j->heads * ((j->rows + ROWS - 1) / ROWS);
}

static hyp_tile tile_at(const void *context, uint32_t tile) {
    const job *j = context;
    uint32_t columns = j->rows == 1 ? j->heads / j->kv_heads * j->head : j->head;
    if (j->rows == 1) return (hyp_tile){0, 1, tile * columns, columns};
    uint32_t row = (tiles_of(j) - 1 - tile) / j->heads * ROWS;
    return (hyp_tile){row, hyp_min_u32(ROWS, j->rows - row), tile % j->heads * columns, columns};
}

// The first position that a row does not see, and the first that it does.
static uint32_t end_of(const job *j, uint32_t row) {
    return j->past + (j->rows == 1 ? 0 : row) + 1;
}
static uint32_t start_of(const job *j, uint32_t end) {
    return j->window && end > j->window ? end - j->window : 0;
}

// Rows `first` to `first + rows - 1` of a tile: softmax over the blocks one after the other
// [Milakov, Gimelshein 2018]: each row keeps its maximum and sum so far, and what is mixed already
// is scaled when the maximum rises. Blocks lie at fixed positions, so that a row's sums are the
// same in any batch.
static void compute_rows(const job *j, uint32_t kv_head, uint32_t first_row, uint32_t rows,
                         const float *q, size_t q_stride, float *out, size_t out_stride,
                         float *scratch) {
    const hyp_kernels *k = j->kernels;
    uint32_t width = mixed_floats(j->head), last = end_of(j, first_row + rows - 1);
    float *scores = scratch, *mixed = scores + (size_t)rows * HYP_KV_BLOCK,
          *part = mixed + (size_t)rows * width, *top = part + (size_t)rows * width,
          *total = top + rows;
    for (uint32_t t = 0; t < rows; t++) {
        top[t] = -__builtin_inff();
        total[t] = 0;
    }
    uint32_t first = start_of(j, end_of(j, first_row)) / HYP_KV_BLOCK;
    for (uint32_t b = first; b * HYP_KV_BLOCK < last; b++) {
        const uint8_t *keys = (const uint8_t *)j->blocks[b] + j->at + kv_head * j->head_bytes,
                      *values = keys + j->kv_heads * j->head_bytes;
        uint32_t base = b * HYP_KV_BLOCK, count = hyp_min_u32(last - base, HYP_KV_BLOCK);
        k->kv[j->format].scores(scores, HYP_KV_BLOCK, q, q_stride, rows, keys, count, j->head,
                                j->scale);
        for (uint32_t t = 0; t < rows; t++) {
            float *x = scores + (size_t)t * HYP_KV_BLOCK;
            uint32_t end = end_of(j, first_row + t), start = start_of(j, end);
            uint32_t from = start > base ? hyp_min_u32(start - base, count) : 0,
                     to = end > base ? hyp_min_u32(end - base, count) : 0;
            for (uint32_t i = 0; i < from; i++) x[i] = 0;
            for (uint32_t i = to; i < count; i++) x[i] = 0;
            if (from >= to) continue;
            if (j->cap > 0) k->softcap(x + from, to - from, j->cap);
            float peak = k->peak(x + from, to - from);
            peak = peak > top[t] ? peak : top[t];
            float fade = hyp_expf(top[t] - peak), *row = mixed + (size_t)t * width;
            if (b > first && fade != 1)
                for (uint32_t i = 0; i < j->head; i++) row[i] *= fade;
            total[t] = total[t] * fade + k->exps(x + from, to - from, peak);
            top[t] = peak;
        }
        k->kv[j->format].mix(b > first ? part : mixed, width, scores, HYP_KV_BLOCK, rows, values,
                             count, j->head);
        if (b > first)
            for (uint32_t t = 0; t < rows; t++)
                k->add(mixed + (size_t)t * width, part + (size_t)t * width, j->head);
    }
    for (uint32_t t = 0; t < rows; t++) {
        float inverse = 1 / total[t];
        for (uint32_t i = 0; i < j->head; i++)
            out[t * out_stride + i] = mixed[(size_t)t * width + i] * inverse;
    }
}

static void compute(const void *context, const void *input, uint32_t tile, float *y,
                    size_t y_stride, float *scratch) {
    const job *j = context;
    const float *q = input;
    hyp_tile t = tile_at(j, tile);
    uint32_t shared = j->heads / j->kv_heads;
    y += t.row * y_stride + t.column;
    q += t.row * j->q_stride + t.column;
    if (j->rows > 1) {
        compute_rows(j, tile % j->heads / shared, t.row, t.rows, q, j->q_stride, y, y_stride,
                     scratch);
        return;
    }
    for (uint32_t head = 0; head < shared; head += ROWS) // heads that share keys: rows here
        compute_rows(j, tile, head, hyp_min_u32(ROWS, shared - head), q + head * j->head, j->head,
                     y + head * j->head, j->head, scratch);
}

// The rows `first` to `first + count - 1` of the batch, which are the next ones of their sequence.
static void attend(hyp_workspace *w, const hyp_op *op, uint32_t first, uint32_t count) {
    const hyp_sequence *s = w->batch->rows[first].sequence;
    uint32_t kv = op->attention.kv;
    const hyp_kv_shape *shape = &w->net->graph.kv[kv];
    uint32_t heads = op->attention.heads, columns = heads * shape->head;
    store(w, op, first, count);
    job j = {.kernels = w->net->graph.kernels,
             .blocks = s->blocks,
             .at = s->cache->at[kv],
             .head_bytes = hyp_kv_head_bytes(s->cache, kv),
             .q_stride = hyp_stride_of(w, op->in),
             .format = s->cache->format,
             .heads = heads,
             .kv_heads = shape->heads,
             .head = shape->head,
             .window = op->attention.window,
             .scale = op->attention.scale,
             .cap = op->attention.cap,
             .past = s->count,
             .rows = count};
    const float *q = hyp_row_of(w, op->in, first);
    float *y = hyp_row_of(w, op->out, first);
    size_t y_stride = hyp_stride_of(w, op->out);
    uint32_t tiles = tiles_of(&j);
    uint64_t tile_macs = 2ull * tile_at(&j, 0).columns * hyp_min_u32(ROWS, count) *
                         (s->count + count); // of the largest
    if (w->net->pool && tiles > 1 && tiles <= HYP_POOL_TILES && count <= LOOP_ROWS &&
        tiles * tile_macs >= SHARED_MACS) {
        hyp_parallel_for(
            w->net->pool,
            &(hyp_parallel_loop){
                .compute = compute,
                .tile_at = tile_at,
                .job = &j,
                .job_bytes = sizeof j,
                .input = q,
                .input_stride = j.q_stride * sizeof(float),
                .input_width = columns * sizeof(float),
                .tiles = tiles,
                .rows = count,
                .columns = columns,
                .macs = tiles * tile_macs,
                .tile_macs = 4 * tile_macs, // not a kernel's fastest: it exponentiates, too
                .y = y,
                .y_stride = y_stride,
                .scratch = w->scratch});
        return;
    }
    for (uint32_t tile = 0; tile < tiles; tile++) compute(&j, q, tile, y, y_stride, w->scratch);
}

// Units of work of `count` rows that look at up to `seen` positions; a long prompt's would not fit
// 32 bits.
static uint32_t work_units(uint32_t columns, uint32_t seen, uint32_t count) {
    uint64_t units = (uint64_t)columns * seen * count * 2 / HYP_WORK_UNIT;
    return units < UINT32_MAX ? (uint32_t)units : UINT32_MAX;
}

hyp_status hyp_attention(hyp_workspace *w, const hyp_op *op) {
    const hyp_row *rows = w->batch->rows;
    uint32_t columns = op->attention.heads * w->net->graph.kv[op->attention.kv].head;
    for (uint32_t first = 0, count; first < w->batch->count; first += count) {
        const hyp_sequence *s = rows[first].sequence;
        count = 1;
        while (first + count < w->batch->count && rows[first + count].sequence == s) count++;
        attend(w, op, first, count);
    }
    return hyp_task_work(
        work_units(columns, rows[0].sequence->count + w->batch->count, w->batch->count));
}

void hyp_attention_needs(const hyp_graph *g, const hyp_op *op, hyp_pool_config *needs) {
    size_t row = hyp_value_stride(&g->values[op->in]) * sizeof(float);
    needs->job_bytes = hyp_max_size(needs->job_bytes, sizeof(job));
    needs->input_bytes = hyp_max_size(needs->input_bytes, LOOP_ROWS * row);
    needs->output_floats = hyp_max_size(needs->output_floats,
                                        (size_t)LOOP_ROWS * g->values[op->out].cols);
    needs->scratch_floats = hyp_max_size(needs->scratch_floats, hyp_attention_scratch(g));
}
