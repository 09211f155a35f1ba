// Products of a step: page by page, or divided among a team.
#include "steps.h"

#include "../base/bytes.h"

enum {
    SHARED_MACS = 200000, // multiply-adds that are worth a helper's attention
    TILES_EACH = 4,       // tiles of a stage for each thread, so that none waits long for the last one
    TILE_MACS = 32 << 10, // the least worth a turn
    STAGE_TOKENS = 64
};

// ---- Shared

typedef struct part { // one page of weights, and where its products go
    const uint8_t *weights;
    hyp_matmul_fn *matmul;
    size_t group_bytes;
    uint32_t groups, cols, row;
} part;

typedef struct job {
    uint32_t parts, tokens, tile_groups;
    size_t x_stride;
    part part[];
} job;

size_t hyp_products_job_bytes(uint32_t pages) { return sizeof(job) + pages * sizeof(part); }

static uint32_t tiles_of(const part *p, uint32_t tile_groups) { return (p->groups + tile_groups - 1) / tile_groups; }

// A tile is `tile_groups` groups of a part. Its part, and its first group there.
static const part *find(const job *j, uint32_t tile, uint32_t *first) {
    for (const part *p = j->part;; p++) {
        uint32_t n = tiles_of(p, j->tile_groups);
        if (tile < n) return *first = tile * j->tile_groups, p;
        tile -= n;
    }
}

static void range(const void *context, uint32_t tile, uint32_t *from, uint32_t *width) {
    const job *j = context;
    uint32_t first;
    const part *p = find(j, tile, &first);
    *from = p->row + first * HYP_GROUP;
    *width = hyp_min_u32(j->tile_groups, p->groups - first) * HYP_GROUP;
}

static void compute(const void *context, const void *x, uint32_t tile, float *y, size_t y_stride, float *scratch) {
    (void)scratch;
    const job *j = context;
    uint32_t first;
    const part *p = find(j, tile, &first);
    p->matmul(y + p->row + first * HYP_GROUP, y_stride, p->weights + first * p->group_bytes, hyp_min_u32(j->tile_groups, p->groups - first),
              p->cols, x, j->x_stride, j->tokens);
}

// Whether helpers may compute the products: no group of rows reaches into another's.
static bool can_share(const hyp_transformer *m, const hyp_target *targets, uint32_t count, uint32_t tokens) {
    uint64_t macs = 0;
    for (uint32_t i = 0; i < count; i++) {
        const hyp_matrix *w = targets[i].matrix;
        if (i + 1 < count && w->rows % HYP_GROUP) return false;
        macs += (uint64_t)w->rows * w->cols * tokens;
    }
    return m->team && macs >= SHARED_MACS;
}

static hyp_status share(hyp_transformer *m, const hyp_target *targets, uint32_t count, float *y, size_t y_stride, const void *x,
                        size_t x_stride, uint32_t tokens) {
    job *j = m->job;
    uint32_t rows = 0, groups = 0, cols = targets[0].matrix->cols;
    *j = (job){.x_stride = x_stride};
    for (uint32_t i = 0; i < count; i++) {
        const hyp_matrix *w = targets[i].matrix;
        for (uint32_t page = 0; page < hyp_matrix_pages(w); page++) {
            part *p = &j->part[j->parts++];
            *p = (part){.matmul = m->kernels->weights[w->format].matmul,
                        .group_bytes = hyp_group_bytes(w->format, w->cols),
                        .cols = w->cols,
                        .row = targets[i].at - targets[0].at + page * w->page_groups * HYP_GROUP};
            hyp_status status = hyp_weights_pin(&m->weights, w, page, &p->weights, &p->groups);
            if (status) return status;
            hyp_weights_unpin(&m->weights, w, page); // a team is only where all pages have their place for good
            rows = p->row + p->groups * HYP_GROUP;
            groups += p->groups;
        }
    }
    hyp_stage stage = {
        .compute = compute, .range = range, .job = j, .job_bytes = hyp_products_job_bytes(j->parts), .columns = rows, .y_stride = y_stride};
    uint32_t most = hyp_min_u32(STAGE_TOKENS, (uint32_t)(m->team_floats / rows));
    for (uint32_t t = 0; t < tokens; t += j->tokens) {
        j->tokens = hyp_min_u32(tokens - t, most);
        uint64_t group_macs = (uint64_t)cols * HYP_GROUP * j->tokens;
        j->tile_groups = hyp_max_u32(groups / (hyp_team_threads(m->team) * TILES_EACH), (uint32_t)(TILE_MACS / group_macs) + 1);
        for (;; j->tile_groups *= 2) {
            stage.tiles = 0;
            for (uint32_t i = 0; i < j->parts; i++) stage.tiles += tiles_of(&j->part[i], j->tile_groups);
            if (stage.tiles <= HYP_TEAM_TILES) break;
        }
        stage.tile_macs = group_macs * j->tile_groups;
        stage.input = (const uint8_t *)x + t * x_stride;
        stage.input_bytes = j->tokens * x_stride;
        stage.rows = j->tokens;
        stage.y = y + targets[0].at + t * y_stride;
        hyp_team_run(m->team, &stage);
    }
    return HYP_OK;
}

void hyp_products_needs(const hyp_transformer *m, hyp_team_config *needs) {
    const hyp_shape *s = &m->shape;
    uint32_t pages = 0, widest = hyp_max_u32(hyp_max_u32(s->dim, s->ffn), s->heads * s->head);
    for (uint32_t i = 0; i < m->matrix_count; i++) pages = hyp_max_u32(pages, 3 * hyp_matrix_pages(&m->matrices[i]));
    uint32_t rows = hyp_max_u32(hyp_max_u32(s->dim, 2 * s->ffn), (s->heads + 2 * s->kv_heads) * s->head) + 3 * HYP_GROUP;
    size_t row = hyp_max_size(hyp_act_bytes(m->kernels, (uint32_t)hyp_round_up(widest, HYP_BLOCK)), widest * sizeof(float));
    needs->job_bytes = hyp_max_size(needs->job_bytes, hyp_products_job_bytes(pages));
    needs->input_bytes = hyp_max_size(needs->input_bytes, STAGE_TOKENS * row);
    needs->output_floats = hyp_max_size(needs->output_floats, hyp_max_size(STAGE_TOKENS * (size_t)rows, s->vocab + HYP_GROUP));
}

// ---- Alone

static hyp_status alone(hyp_transformer *m, const hyp_matrix *w, float *y, size_t y_stride, const void *x, size_t x_stride,
                        uint32_t tokens) {
    for (uint32_t page = 0, pages = hyp_matrix_pages(w); page < pages; page++) {
        const uint8_t *data;
        uint32_t groups;
        hyp_status status = hyp_weights_pin(&m->weights, w, page, &data, &groups);
        if (status) return status;
        m->kernels->weights[w->format].matmul(y + page * w->page_groups * HYP_GROUP, y_stride, data, groups, w->cols, x, x_stride, tokens);
        hyp_weights_unpin(&m->weights, w, page);
        status = hyp_task_work((uint32_t)((uint64_t)groups * HYP_GROUP * w->cols * tokens / HYP_WORK_UNIT));
        if (status) return status;
    }
    return HYP_OK;
}

hyp_status hyp_products(hyp_state *state, const hyp_target *targets, uint32_t count, float *y, size_t y_stride, const float *x,
                        size_t x_stride, uint32_t tokens) {
    hyp_transformer *m = state->model;
    const hyp_kernels *k = m->kernels;
    bool quantized = false;
    for (uint32_t i = 0, n; i < count; i += n) {
        const hyp_matrix *w = targets[i].matrix;
        bool floats = hyp_format_is_float(w->format);
        for (n = 1; i + n < count && hyp_format_is_float(targets[i + n].matrix->format) == floats;) n++; // of one kind of activations
        const void *in = floats ? (const void *)x : state->acts;
        size_t in_stride = floats ? x_stride * sizeof(float) : hyp_act_bytes(k, w->cols);
        if (!floats && !quantized)
            for (uint32_t t = 0; t < tokens; t++) k->quantize(state->acts + t * in_stride, x + t * x_stride, w->cols);
        quantized = quantized || !floats;
        if (!can_share(m, targets + i, n, tokens)) n = 1;
        hyp_status status;
        if (can_share(m, targets + i, n, tokens)) {
            uint64_t macs = 0;
            for (uint32_t j = 0; j < n; j++) macs += (uint64_t)targets[i + j].matrix->rows * w->cols * tokens;
            status = share(m, targets + i, n, y, y_stride, in, in_stride, tokens);
            if (!status) status = hyp_task_work((uint32_t)(macs / HYP_WORK_UNIT));
        } else status = alone(m, w, y + targets[i].at, y_stride, in, in_stride, tokens);
        if (status) return status;
    }
    return HYP_OK;
}
