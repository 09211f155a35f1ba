// Products of a batch with weights in pages: page by page, or divided among the threads of a pool.
#include "ops.h"

#include "../base/bytes.h"

#ifdef HYP_CHECKED
enum { SHARED_MACS = 2000 }; // a tiny model is shared, too
#else
enum { SHARED_MACS = 200000 }; // multiply-adds that are worth a worker's attention
#endif
enum {
    SMALL_TILES = 2, // of many rows: for each thread, after its large one
    LOOP_ROWS = 64
};

// ---- Shared

typedef struct part { // one matrix
    hyp_matmul_fn *matmul;
    size_t group_bytes;
    uint32_t end, page_groups,
        first_page; // groups up to its end; groups of a page; its first among the job's pages
    uint32_t cols;
} part;

typedef void activation_fn(float *y, const float *gate, const float *up, uint32_t n);

// Groups are counted through all parts; with an activation, through the first of two, and the same
// groups of the second are computed with them. Each thread's first tile is a long run, which the
// processor's prefetching likes. Of many rows what is left is divided smaller, so that all end
// together; with few rows a further run costs more than the waiting that it saves.
typedef struct job {
    uint32_t rows, groups, large, small, threads;
    size_t x_stride;
    activation_fn *activate; // gate and up, the two parts; NULL: none
    part part[HYP_GROUP_OPS];
    const uint8_t *page[];
} job;

static size_t job_bytes(uint32_t pages) { return sizeof(job) + pages * sizeof(const uint8_t *); }

static uint32_t start_of(const job *j, uint32_t tile) {
    uint32_t at = tile < j->threads ? tile * j->large
                                    : j->threads * j->large + (tile - j->threads) * j->small;
    return hyp_min_u32(at, j->groups);
}

static hyp_tile tile_at(const void *context, uint32_t tile) {
    const job *j = context;
    uint32_t start = start_of(j, tile), end = start_of(j, tile + 1);
    return (hyp_tile){0, j->rows, start * HYP_GROUP, (end - start) * HYP_GROUP};
}

// Groups `at` to `end - 1` of a part, to y, where group `at` begins.
static void compute_groups(const job *j, const part *p, uint32_t at, uint32_t end, const void *x,
                           float *y, size_t y_stride) {
    for (uint32_t groups; at < end; at += groups, y += groups * HYP_GROUP) {
        uint32_t page = at / p->page_groups, first = at % p->page_groups;
        groups = hyp_min_u32(p->page_groups - first, end - at);
        p->matmul(y, y_stride, hyp_group_at(j->page[p->first_page + page], p->group_bytes, first),
                  groups, p->cols, x, j->x_stride, j->rows);
    }
}

static void compute(const void *context, const void *x, uint32_t tile, float *y, size_t y_stride,
                    float *scratch) {
    (void)scratch;
    const job *j = context;
    const part *p = j->part;
    uint32_t at = start_of(j, tile), end = start_of(j, tile + 1);
    if (j->activate) {
        float *gate = y + at * HYP_GROUP, *up = gate + j->groups * HYP_GROUP;
        compute_groups(j, &p[0], at, end, x, gate, y_stride);
        compute_groups(j, &p[1], at, end, x, up, y_stride);
        for (uint32_t r = 0; r < j->rows; r++)
            j->activate(gate + r * y_stride, gate + r * y_stride, up + r * y_stride,
                        (end - at) * HYP_GROUP);
        return;
    }
    for (uint32_t before = 0, to; at < end; at = to) { // before: groups of the parts passed
        while (at >= p->end) before = p++->end;
        to = hyp_min_u32(end, p->end);
        compute_groups(j, p, at - before, to - before, x, y + at * HYP_GROUP, y_stride);
    }
}

// Whether workers may compute the products: no group of rows reaches into another's.
static bool can_share(const hyp_net *m, const hyp_matmul_part *parts, uint32_t count,
                      uint32_t rows) {
    uint64_t macs = 0;
    for (uint32_t i = 0; i < count; i++) {
        const hyp_matrix *w = parts[i].matrix;
        if (i + 1 < count && w->rows % HYP_GROUP) return false;
        macs += (uint64_t)w->rows * w->cols * rows;
    }
    return m->pool && macs >= SHARED_MACS;
}

static void unpin_all(hyp_net *m, const hyp_matmul_part *parts, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t page = 0; page < hyp_matrix_pages(parts[i].matrix); page++)
            hyp_weights_unpin(&m->weights, parts[i].matrix, page);
}

// Pins all pages of `count` matrices; false, with none pinned, when one is absent or may be taken
// away.
static bool pin_all(hyp_net *m, const hyp_matmul_part *parts, uint32_t count,
                    const uint8_t **pages) {
    for (uint32_t i = 0; i < count; pages += hyp_matrix_pages(parts[i++].matrix)) {
        if (hyp_weights_pin_resident(&m->weights, parts[i].matrix, 0, pages)) continue;
        unpin_all(m, parts, i);
        return false;
    }
    return true;
}

// Computes the products with the pool, and the activation of the two, if there is one. False, with
// nothing done, where not all pages are there. Does not suspend: `m->job` is one for all.
static bool share(hyp_net *m, const hyp_matmul_part *parts, uint32_t count, activation_fn *activate,
                  float *y, size_t y_stride, const void *x, size_t x_stride, uint32_t rows) {
    job *j = m->job;
    if (!pin_all(m, parts, count, j->page)) return false;
    uint32_t pages = 0, threads = hyp_pool_threads(m->pool);
    *j = (job){.x_stride = x_stride, .threads = threads, .activate = activate};
    for (uint32_t i = 0; i < count; i++) {
        const hyp_matrix *w = parts[i].matrix;
        j->groups += w->groups;
        j->part[i] = (part){.matmul = hyp_matrix_matmul(m->graph.kernels, w),
                            .group_bytes = hyp_matrix_group_bytes(w),
                            .end = j->groups,
                            .page_groups = w->page_groups,
                            .first_page = pages,
                            .cols = w->cols};
        pages += hyp_matrix_pages(w);
    }
    uint32_t columns = j->groups * HYP_GROUP; // of all parts
    if (activate) j->groups = parts[0].matrix->groups;
    uint64_t macs = (uint64_t)columns * parts[0].matrix->cols;
    bool many = rows >= HYP_POOL_MANY_ROWS;
    uint32_t smalls = (many ? SMALL_TILES : 1) * threads;
    j->large = (many ? j->groups * 3 / 4 : j->groups) / threads;
    j->small = hyp_max_u32((j->groups - threads * j->large + smalls - 1) / smalls, 1);
    uint32_t most = hyp_min_u32(LOOP_ROWS, (uint32_t)(m->pool_floats / columns));
    for (uint32_t t = 0; t < rows; t += j->rows) {
        j->rows = hyp_min_u32(rows - t, most);
        hyp_parallel_for(
            m->pool,
            &(hyp_parallel_loop){
                .compute = compute,
                .tile_at = tile_at,
                .job = j,
                .job_bytes = job_bytes(pages),
                .input = (const uint8_t *)x + t * x_stride,
                .input_stride = x_stride,
                .input_width = x_stride,
                .tiles = threads + (j->groups - threads * j->large + j->small - 1) / j->small,
                .rows = j->rows,
                .columns = columns,
                .macs = macs * j->rows,
                .tile_macs = macs * j->rows * j->large / j->groups,
                .y = y + parts[0].at + t * y_stride,
                .y_stride = y_stride});
    }
    unpin_all(m, parts, count); // a worker that is late still reads them: see pager.h
    return true;
}

// Bytes of a row that goes into a product.
static size_t input_bytes(const hyp_graph *g, const hyp_op *op) {
    if (hyp_format_is_float(op->matrix->format))
        return hyp_value_stride(&g->values[op->in]) * sizeof(float);
    return hyp_act_bytes(g->kernels, op->matrix->cols);
}

void hyp_matmul_needs(const hyp_graph *g, const hyp_op *op, uint32_t rows, hyp_pool_config *needs) {
    uint32_t pages = 0, groups = 0;
    for (uint32_t i = 0; i < op->group && op[i].matrix; i++) {
        groups += op[i].matrix->groups;
        pages += hyp_matrix_pages(op[i].matrix);
        needs->input_bytes = hyp_max_size(needs->input_bytes, LOOP_ROWS * input_bytes(g, &op[i]));
    }
    rows = hyp_min_u32(rows, LOOP_ROWS);
    needs->output_floats = hyp_max_size(needs->output_floats, (size_t)rows * groups * HYP_GROUP);
    needs->job_bytes = hyp_max_size(needs->job_bytes, job_bytes(pages));
}

// ---- Alone

static hyp_status alone(hyp_workspace *ws, const hyp_matrix *w, float *y, size_t y_stride,
                        const void *x, size_t x_stride, uint32_t rows) {
    hyp_net *m = ws->net;
    for (uint32_t page = 0, pages = hyp_matrix_pages(w); page < pages; page++) {
        const uint8_t *data;
        uint32_t groups;
        hyp_status status = hyp_weights_pin(&m->weights, w, page, &data, &groups);
        if (status) return status;
        ws->read_bytes += m->weights.read_bytes;
        hyp_matrix_matmul(m->graph.kernels, w)(y + page * w->page_groups * HYP_GROUP, y_stride,
                                               data, groups, w->cols, x, x_stride, rows);
        hyp_weights_unpin(&m->weights, w, page);
        hyp_ahead_used(&m->ahead, w->page + page);
        status = hyp_task_work(
            (uint32_t)((uint64_t)groups * HYP_GROUP * w->cols * rows / HYP_WORK_UNIT));
        if (status) return status;
    }
    return HYP_OK;
}

static void observe(hyp_column_squares *s, uint32_t cols, const float *x, size_t x_stride,
                    uint32_t rows) {
    for (uint32_t t = 0; t < rows; t++)
        for (uint32_t c = 0; c < cols; c++)
            s->sums[c] += (double)x[t * x_stride + c] * (double)x[t * x_stride + c];
    s->rows += rows;
}

// Gate and up of whole groups can be activated group by group.
static bool fuses(const hyp_matmul_part *parts, uint32_t count) {
    return count == 2 && parts[0].at == 0 && parts[0].matrix->rows == parts[1].at &&
           parts[1].matrix->rows == parts[1].at && parts[1].at % HYP_GROUP == 0;
}

hyp_status hyp_matmul(hyp_workspace *ws, const hyp_matmul_part *parts, uint32_t count,
                      const hyp_op *glu, float *y, size_t y_stride, const float *x, size_t x_stride,
                      uint32_t rows) {
    hyp_net *m = ws->net;
    const hyp_kernels *k = m->graph.kernels;
    activation_fn *activate = !glu ? NULL : glu->gelu ? k->gelu_mul : k->silu_mul;
    bool quantized = false, activated = false;
    for (uint32_t i = 0; i < count && ws->squares; i++)
        observe(&ws->squares[parts[i].matrix - m->graph.matrices], parts[i].matrix->cols, x,
                x_stride, rows);
    for (uint32_t i = 0, n; i < count; i += n) {
        const hyp_matrix *w = parts[i].matrix;
        bool floats = hyp_format_is_float(w->format);
        for (n = 1; i + n < count && hyp_format_is_float(parts[i + n].matrix->format) == floats;)
            n++; // of one kind of activations
        const void *in = floats ? (const void *)x : ws->acts;
        size_t in_stride = floats ? x_stride * sizeof(float) : hyp_act_bytes(k, w->cols);
        if (!floats && !quantized)
            for (uint32_t r = 0; r < rows; r++)
                k->quantize(ws->acts + r * in_stride, x + r * x_stride, w->cols);
        quantized = quantized || !floats;
        if (!can_share(m, parts + i, n, rows)) n = 1;
        hyp_status status;
        bool fused = activate && n == count && fuses(parts, count);
        if (can_share(m, parts + i, n, rows) &&
            share(m, parts + i, n, fused ? activate : NULL, y, y_stride, in, in_stride, rows)) {
            activated = fused;
            uint64_t macs = 0;
            for (uint32_t j = 0; j < n; j++)
                macs += (uint64_t)parts[i + j].matrix->rows * w->cols * rows;
            status = hyp_task_work((uint32_t)(macs / HYP_WORK_UNIT));
        } else {
            n = 1;
            status = alone(ws, w, y + parts[i].at, y_stride, in, in_stride, rows);
        }
        if (status) return status;
    }
    for (uint32_t r = 0; r < rows && activate && !activated; r++)
        activate(y + r * y_stride, y + r * y_stride, y + r * y_stride + glu->count, glu->count);
    return HYP_OK;
}
