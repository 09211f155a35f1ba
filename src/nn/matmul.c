// Products of a step: page by page, or divided among a pool.
#include "steps.h"

#include "../base/bytes.h"

#ifdef HYP_CHECKED
enum { SHARED_MACS = 2000 }; // a tiny model is shared, too
#else
enum { SHARED_MACS = 200000 }; // multiply-adds that are worth a worker's attention
#endif
enum {
    SMALL_TILES = 2, // for each thread, after its large one
    LOOP_TOKENS = 64,
    TARGETS = 3
};

// ---- Shared

typedef struct part { // one matrix
    hyp_matmul_fn *matmul;
    size_t group_bytes;
    uint32_t end, page_groups,
        first_page; // groups up to its end; groups of a page; its first among the job's pages
    uint32_t cols;
} part;

// Groups are counted through all parts. Each thread's first tile is a long run, which the
// processor's prefetching likes; what is left is divided smaller, so that all end together.
typedef struct job {
    uint32_t tokens, groups, large, small, threads;
    size_t x_stride;
    part part[TARGETS];
    const uint8_t *page[];
} job;

static size_t job_bytes(uint32_t pages) { return sizeof(job) + pages * sizeof(const uint8_t *); }

static uint32_t start_of(const job *j, uint32_t tile) {
    uint32_t at = tile < j->threads ? tile * j->large
                                    : j->threads * j->large + (tile - j->threads) * j->small;
    return hyp_min_u32(at, j->groups);
}

static void range(const void *context, uint32_t tile, uint32_t *from, uint32_t *width) {
    const job *j = context;
    *from = start_of(j, tile) * HYP_GROUP;
    *width = start_of(j, tile + 1) * HYP_GROUP - *from;
}

static void compute(const void *context, const void *x, uint32_t tile, float *y, size_t y_stride,
                    float *scratch) {
    (void)scratch;
    const job *j = context;
    const part *p = j->part;
    uint32_t at = start_of(j, tile), end = start_of(j, tile + 1),
             before = 0; // before: groups of the parts passed
    while (at < end) {
        while (at >= p->end) before = p->end, p++;
        uint32_t within = at - before, page = within / p->page_groups,
                 first = within % p->page_groups;
        uint32_t groups = hyp_min_u32(p->page_groups - first, hyp_min_u32(end, p->end) - at);
        p->matmul(y + at * HYP_GROUP, y_stride,
                  hyp_group_at(j->page[p->first_page + page], p->group_bytes, first), groups,
                  p->cols, x, j->x_stride, j->tokens);
        at += groups;
    }
}

// Whether workers may compute the products: no group of rows reaches into another's.
static bool can_share(const hyp_transformer *m, const hyp_target *targets, uint32_t count,
                      uint32_t tokens) {
    uint64_t macs = 0;
    for (uint32_t i = 0; i < count; i++) {
        const hyp_matrix *w = targets[i].matrix;
        if (i + 1 < count && w->rows % HYP_GROUP) return false;
        macs += (uint64_t)w->rows * w->cols * tokens;
    }
    return m->pool && macs >= SHARED_MACS;
}

static void unpin_all(hyp_transformer *m, const hyp_target *targets, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t page = 0; page < hyp_matrix_pages(targets[i].matrix); page++)
            hyp_weights_unpin(&m->weights, targets[i].matrix, page);
}

// Pins all pages of `count` matrices; false, with none pinned, when one is absent or may be taken
// away.
static bool pin_all(hyp_transformer *m, const hyp_target *targets, uint32_t count,
                    const uint8_t **pages) {
    for (uint32_t i = 0; i < count; pages += hyp_matrix_pages(targets[i++].matrix)) {
        if (hyp_weights_pin_resident(&m->weights, targets[i].matrix, pages)) continue;
        unpin_all(m, targets, i);
        return false;
    }
    return true;
}

// Computes the products with the pool. False, with nothing done, where not all pages are there.
// Does not suspend: `m->job` is one for all.
static bool share(hyp_transformer *m, const hyp_target *targets, uint32_t count, float *y,
                  size_t y_stride, const void *x, size_t x_stride, uint32_t tokens) {
    job *j = m->job;
    if (!pin_all(m, targets, count, j->page)) return false;
    uint32_t pages = 0, threads = hyp_pool_threads(m->pool);
    *j = (job){.x_stride = x_stride, .threads = threads};
    for (uint32_t i = 0; i < count; i++) {
        const hyp_matrix *w = targets[i].matrix;
        j->groups += w->groups;
        j->part[i] = (part){.matmul = hyp_matrix_matmul(m->kernels, w),
                            .group_bytes = hyp_matrix_group_bytes(w),
                            .end = j->groups,
                            .page_groups = w->page_groups,
                            .first_page = pages,
                            .cols = w->cols};
        pages += hyp_matrix_pages(w);
    }
    j->large = j->groups * 3 / 4 / threads;
    j->small = (j->groups - threads * j->large + SMALL_TILES * threads - 1) /
               (SMALL_TILES * threads);
    uint32_t rows = j->groups * HYP_GROUP,
             most = hyp_min_u32(LOOP_TOKENS, (uint32_t)(m->pool_floats / rows));
    for (uint32_t t = 0; t < tokens; t += j->tokens) {
        j->tokens = hyp_min_u32(tokens - t, most);
        hyp_parallel_for(
            m->pool,
            &(hyp_parallel_loop){
                .compute = compute,
                .range = range,
                .job = j,
                .job_bytes = job_bytes(pages),
                .input = (const uint8_t *)x + t * x_stride,
                .input_bytes = j->tokens * x_stride,
                .tiles = threads + (j->groups - threads * j->large + j->small - 1) / j->small,
                .rows = j->tokens,
                .columns = rows,
                .macs = (uint64_t)j->groups * HYP_GROUP * targets[0].matrix->cols * j->tokens,
                .tile_macs = (uint64_t)j->large * HYP_GROUP * targets[0].matrix->cols * j->tokens,
                .y = y + targets[0].at + t * y_stride,
                .y_stride = y_stride});
    }
    unpin_all(m, targets, count); // a worker that is late still reads them: see pager.h
    return true;
}

void hyp_products_needs(const hyp_transformer *m, hyp_pool_config *needs) {
    const hyp_shape *s = &m->shape;
    uint32_t pages = 0, widest = hyp_max_u32(hyp_max_u32(s->dim, s->ffn), s->heads * s->head);
    for (uint32_t i = 0; i < m->matrix_count; i++)
        pages = hyp_max_u32(pages, 3 * hyp_matrix_pages(&m->matrices[i]));
    uint32_t rows = hyp_max_u32(hyp_max_u32(s->dim, 2 * s->ffn),
                                (s->heads + 2 * s->kv_heads) * s->head) +
                    3 * HYP_GROUP;
    size_t row = hyp_max_size(hyp_act_bytes(m->kernels, (uint32_t)hyp_round_up(widest, HYP_BLOCK)),
                              widest * sizeof(float));
    needs->job_bytes = hyp_max_size(needs->job_bytes, job_bytes(pages));
    needs->input_bytes = hyp_max_size(needs->input_bytes, LOOP_TOKENS * row);
    needs->output_floats = hyp_max_size(
        needs->output_floats, hyp_max_size(LOOP_TOKENS * (size_t)rows, s->vocab + HYP_GROUP));
}

// ---- Alone

static hyp_status alone(hyp_transformer *m, const hyp_matrix *w, float *y, size_t y_stride,
                        const void *x, size_t x_stride, uint32_t tokens) {
    for (uint32_t page = 0, pages = hyp_matrix_pages(w); page < pages; page++) {
        const uint8_t *data;
        uint32_t groups;
        hyp_status status = hyp_weights_pin(&m->weights, w, page, &data, &groups);
        if (status) return status;
        hyp_matrix_matmul(m->kernels, w)(y + page * w->page_groups * HYP_GROUP, y_stride, data,
                                         groups, w->cols, x, x_stride, tokens);
        hyp_weights_unpin(&m->weights, w, page);
        status = hyp_task_work(
            (uint32_t)((uint64_t)groups * HYP_GROUP * w->cols * tokens / HYP_WORK_UNIT));
        if (status) return status;
    }
    return HYP_OK;
}

static void observe(hyp_statistics *s, uint32_t cols, const float *x, size_t x_stride,
                    uint32_t tokens) {
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t c = 0; c < cols; c++)
            s->squares[c] += (double)x[t * x_stride + c] * (double)x[t * x_stride + c];
    s->rows += tokens;
}

hyp_status hyp_products(hyp_state *state, const hyp_target *targets, uint32_t count, float *y,
                        size_t y_stride, const float *x, size_t x_stride, uint32_t tokens) {
    hyp_transformer *m = state->model;
    const hyp_kernels *k = m->kernels;
    bool quantized = false;
    for (uint32_t i = 0; i < count && state->statistics; i++)
        observe(&state->statistics[targets[i].matrix - m->matrices], targets[i].matrix->cols, x,
                x_stride, tokens);
    for (uint32_t i = 0, n; i < count; i += n) {
        const hyp_matrix *w = targets[i].matrix;
        bool floats = hyp_format_is_float(w->format);
        for (n = 1; i + n < count && hyp_format_is_float(targets[i + n].matrix->format) == floats;)
            n++; // of one kind of activations
        const void *in = floats ? (const void *)x : state->acts;
        size_t in_stride = floats ? x_stride * sizeof(float) : hyp_act_bytes(k, w->cols);
        if (!floats && !quantized)
            for (uint32_t t = 0; t < tokens; t++)
                k->quantize(state->acts + t * in_stride, x + t * x_stride, w->cols);
        quantized = quantized || !floats;
        if (!can_share(m, targets + i, n, tokens)) n = 1;
        hyp_status status;
        if (can_share(m, targets + i, n, tokens) &&
            share(m, targets + i, n, y, y_stride, in, in_stride, tokens)) {
            uint64_t macs = 0;
            for (uint32_t j = 0; j < n; j++)
                macs += (uint64_t)targets[i + j].matrix->rows * w->cols * tokens;
            status = hyp_task_work((uint32_t)(macs / HYP_WORK_UNIT));
        } else {
            n = 1;
            status = alone(m, w, y + targets[i].at, y_stride, in, in_stride, tokens);
        }
        if (status) return status;
    }
    return HYP_OK;
}
