#include "../base/bytes.h"
#include "../base/check.h"
#include "../base/fmath.h"
#include "../port.h"
#include "ops.h"

enum {
    PAGE_SPARE = 64 << 10, // of the budget, that is left to others
    WIDE_BATCHES = 4,      // of a text that are computed at once, or
    WIDE_BYTES = 48 << 20, // as many rows as make this of a page's bytes and theirs
    WIDE_PART = 8          // of the weights' bytes, that they may take in place of pages
};

// ---- Workspace

// Floats of the angles of all ropes, for a row.
static size_t angle_floats(const hyp_graph *g) {
    size_t floats = 0;
    for (uint32_t i = 0; i < g->rope_count; i++) floats += g->ropes[i].dims;
    return floats;
}

typedef struct needs { // bytes of a workspace, in the order in which they are taken
    uint64_t values, acts, angles, scratch, logits, rows;
} needs;

static needs needs_of(const hyp_graph *g, uint32_t rows) {
    uint32_t cols = (uint32_t)hyp_round_up(g->act_cols, HYP_BLOCK);
    return (needs){.values = (uint64_t)rows * g->row_floats * sizeof(float),
                   .acts = (uint64_t)rows * hyp_act_bytes(g->kernels, cols),
                   .angles = (uint64_t)rows * angle_floats(g) * sizeof(float),
                   .scratch = hyp_attention_scratch(g) * sizeof(float),
                   .logits = ((uint64_t)g->vocab + HYP_GROUP) * sizeof(float),
                   .rows = (uint64_t)rows * sizeof(hyp_row)};
}

uint64_t hyp_workspace_bytes(const hyp_graph *g, uint32_t rows) {
    needs n = needs_of(g, rows);
    return n.values + n.acts + n.angles + n.scratch + n.logits + n.rows;
}

// Of rows in memory of their own, which have the rest with the workspace.
static uint64_t wide_bytes(const hyp_graph *g, uint32_t rows) {
    needs n = needs_of(g, rows);
    return n.values + n.acts + n.angles + n.rows + 4 * 64;
}

hyp_status hyp_workspace_init(hyp_workspace *w, hyp_net *net, hyp_arena *arena, uint32_t rows) {
    *w = (hyp_workspace){.net = net, .rows_most = rows};
    needs n = needs_of(&net->graph, rows);
    if (hyp_workspace_bytes(&net->graph, rows) > SIZE_MAX / 2) return HYP_E_NOMEM;
    w->values = hyp_arena_alloc(arena, (size_t)n.values);
    w->acts = hyp_arena_alloc(arena, (size_t)n.acts);
    w->angles = hyp_arena_alloc(arena, (size_t)n.angles);
    w->scratch = hyp_arena_alloc(arena, (size_t)n.scratch);
    w->logits = hyp_arena_alloc(arena, (size_t)n.logits);
    w->rows = hyp_arena_alloc(arena, (size_t)n.rows);
    bool all = w->values && w->acts && w->angles && w->scratch && w->logits && w->rows;
    return all ? HYP_OK : HYP_E_NOMEM;
}

hyp_status hyp_workspace_profile(hyp_workspace *w, hyp_arena *arena) {
    w->timings = hyp_arena_alloc(arena, w->net->graph.op_count * sizeof *w->timings);
    return w->timings ? HYP_OK : HYP_E_NOMEM;
}

hyp_status hyp_workspace_observe(hyp_workspace *w, hyp_arena *arena) {
    const hyp_graph *g = &w->net->graph;
    hyp_column_squares *all = hyp_arena_alloc(arena, g->matrix_count * sizeof *all);
    for (uint32_t i = 0; i < g->matrix_count && all; i++) {
        all[i].sums = hyp_arena_alloc(arena, g->matrices[i].cols * sizeof *all->sums);
        if (!all[i].sums) return HYP_E_NOMEM;
    }
    w->squares = all;
    return all ? HYP_OK : HYP_E_NOMEM;
}

// ---- Rotary embeddings

const float *hyp_angles_of(const hyp_workspace *w, uint32_t rope, uint32_t row) {
    const hyp_graph *g = &w->net->graph;
    size_t before = 0;
    for (uint32_t i = 0; i < rope; i++) before += g->ropes[i].dims;
    return w->angles + before * w->rows_most + (size_t)row * g->ropes[rope].dims;
}

static void fill_angles(hyp_workspace *w, const hyp_rope *rope, float *angles) {
    for (uint32_t r = 0; r < w->batch->count; r++) {
        const hyp_row *row = &w->batch->rows[r];
        for (uint32_t i = 0, turns = 0, end = rope->sections[0]; i < rope->dims / 2; i++) {
            while (i >= end && turns + 1 < HYP_POSITIONS && rope->sections[turns + 1])
                end += rope->sections[++turns];
            double sine, cosine;
            hyp_sincos((double)row->position[turns] * rope->frequencies[i], &sine, &cosine);
            float *cs = angles + ((size_t)r * rope->dims / 2 + i) * 2;
            cs[0] = (float)cosine * rope->magnitude;
            cs[1] = (float)sine * rope->magnitude;
        }
    }
}

// ---- A pass

static void record(hyp_workspace *w, const hyp_op *op, uint64_t began_ns) {
    hyp_timing *t = &w->timings[op - w->net->graph.ops];
    hyp_cost cost = hyp_ops[op->kind].cost(w, op);
    t->began_ns = began_ns;
    t->last_ns = hyp_port_now_ns() - began_ns;
    t->ns += t->last_ns;
    t->bytes += cost.bytes;
    t->macs += cost.macs;
}

static hyp_status run(hyp_workspace *w, const hyp_op *op) {
    uint64_t began_ns = w->timings ? hyp_port_now_ns() : 0;
    hyp_status status = hyp_ops[op->kind].run(w, op);
    if (status) hyp_ahead_give_up(&w->net->ahead);
    if (!status && w->timings) record(w, op, began_ns);
    return status;
}

static hyp_status check(const hyp_workspace *w, const hyp_batch *batch) {
    const hyp_graph *g = &w->net->graph;
    if (batch->count == 0 || batch->count > w->rows_most) return HYP_E_ARGUMENT;
    for (uint32_t r = 0, n = 0; r < batch->count; r++) {
        const hyp_row *row = &batch->rows[r];
        if (!row->embedding && (row->token < 0 || (uint32_t)row->token >= g->vocab))
            return HYP_E_ARGUMENT;
        if (row->adapter) return HYP_E_UNSUPPORTED;
        n = r > 0 && batch->rows[r - 1].sequence == row->sequence ? n + 1 : 0;
        if (row->sequence->count + n >= row->sequence->context) return HYP_E_CONTEXT;
    }
    return HYP_OK;
}

static uint32_t rows_of_one(const hyp_batch *batch, uint32_t first) {
    uint32_t n = 1;
    while (first + n < batch->count &&
           batch->rows[first + n].sequence == batch->rows[first].sequence)
        n++;
    return n;
}

// Makes room for the rows in their sequences.
static void begin(hyp_workspace *w, const hyp_batch *batch) {
    hyp_pool_acquire(w->net->pool); // a late worker has read what is written now
    for (uint32_t r = 0, n; r < batch->count; r += n) {
        hyp_sequence *s = batch->rows[r].sequence;
        n = rows_of_one(batch, r);
        HYP_CHECK(!s->computing, "a sequence is computed twice at once");
        s->computing = true;
        if (hyp_sequence_shares(s, n)) hyp_pool_wait_idle(w->net->pool); // which may read the table
        hyp_sequence_extend(s, n);
    }
}

static void end(const hyp_batch *batch, hyp_status status) {
    for (uint32_t r = 0, n; r < batch->count; r += n) {
        hyp_sequence *s = batch->rows[r].sequence;
        n = rows_of_one(batch, r);
        s->computing = false;
        if (!status) s->count += n;
    }
}

// The logits of the rows that want them, as many neighbours at once as there are.
static hyp_status wanted_logits(hyp_workspace *w, const hyp_batch *batch) {
    size_t stride = w->net->graph.vocab + HYP_GROUP;
    float *logits = batch->logits;
    for (uint32_t r = 0, n; r < batch->count; r += n) {
        n = 1;
        if (!batch->rows[r].logits) continue;
        while (r + n < batch->count && batch->rows[r + n].logits) n++;
        hyp_status status = hyp_logits(w, r, n, logits);
        if (status) return status;
        logits += n * stride;
    }
    return HYP_OK;
}

// The vectors that an operation takes, while the model loads; its pages are waited for one by one.
static hyp_status await_load(hyp_net *net, const hyp_op *op) {
    hyp_status status = hyp_load_await(&net->load, op);
    if (!status && net->load.over) net->loading = false;
    return status;
}

static hyp_status compute(hyp_workspace *w) {
    const hyp_graph *g = &w->net->graph;
    float *angles = w->angles;
    if (w->net->loading) {
        hyp_status status = hyp_load_await_ropes(&w->net->load);
        if (status) return status;
    }
    for (uint32_t i = 0; i < g->rope_count; i++) {
        fill_angles(w, &g->ropes[i], angles);
        angles += (size_t)g->ropes[i].dims * w->rows_most;
    }
    for (uint32_t i = 0; i + 1 < g->op_count; i += g->ops[i].group) {
        hyp_status status = w->net->loading ? await_load(w->net, &g->ops[i]) : HYP_OK;
        if (!status) status = run(w, &g->ops[i]);
        if (status) return status;
    }
    return HYP_OK;
}

hyp_status hyp_forward(hyp_workspace *w, const hyp_batch *batch) {
    hyp_status status = check(w, batch);
    if (status) return status;
    begin(w, batch);
    w->batch = batch;
    status = compute(w);
    w->batch = NULL;
    if (!status) status = wanted_logits(w, batch);
    end(batch, status);
    return status && w->net->load.status ? hyp_load_failed(&w->net->load) : status;
}

hyp_status hyp_forward_tokens(hyp_workspace *w, hyp_sequence *s, const int32_t *tokens,
                              uint32_t count, float *logits) {
    if (count > w->rows_most) return HYP_E_ARGUMENT;
    for (uint32_t i = 0; i < count; i++)
        w->rows[i] = hyp_row_at(s, i, tokens[i], logits && i + 1 == count);
    return hyp_forward(w, &(hyp_batch){.rows = w->rows, .count = count, .logits = logits});
}

// ---- Texts

// How many rows of a text of `count` are worth to be computed at once, and find memory: a page's
// products with all of them are one slice. 0: no more than a batch. Memory that is not free is
// taken from pages that would be read again all the same.
static uint32_t wide_rows(hyp_workspace *w, uint32_t count) {
    const hyp_graph *g = &w->net->graph;
    hyp_pager *pager = w->net->weights.pager;
    hyp_budget *budget = g->arena->budget;
    hyp_pager_stats stats = hyp_pager_get_stats(pager);
    uint64_t row = wide_bytes(g, 1),
             most = hyp_max_u32(WIDE_BATCHES * w->rows_most,
                                (uint32_t)(WIDE_BYTES / (stats.whole_bytes / stats.pages + 1)));
    most = most < count ? most : count;
    uint64_t left = hyp_budget_left(budget), afford = stats.whole_bytes / WIDE_PART;
    if (left < PAGE_SPARE + most * row) {
        uint64_t lacking = PAGE_SPARE + most * row - left, part = stats.capacity_bytes / WIDE_PART;
        if (stats.resident < stats.pages)
            (void)hyp_pager_shrink(pager, (size_t)(lacking < part ? lacking : part));
        left = hyp_budget_left(budget);
        afford = left > PAGE_SPARE ? left - PAGE_SPARE : 0;
    }
    if (most > afford / row) most = afford / row;
    return most > w->rows_most ? (uint32_t)most : 0;
}

// A batch of rows of the text, or of `rows` in memory of their own.
static hyp_status forward_rows(hyp_workspace *w, hyp_sequence *s, const int32_t *tokens,
                               uint32_t rows) {
    hyp_status status = hyp_forward_tokens(w, s, tokens, rows, NULL);
    if (status || hyp_hidden_finite(w, rows)) return status;
    hyp_sequence_trim(s, s->count - rows);
    return hyp_net_overflowed(w->net);
}

static hyp_status forward_wide(hyp_workspace *w, hyp_sequence *s, const int32_t *tokens,
                               uint32_t rows, uint8_t *memory) {
    const hyp_graph *g = &w->net->graph;
    needs n = needs_of(g, rows);
    hyp_workspace wide = *w;
    wide.rows_most = rows;
    wide.values = (float *)(void *)memory;
    wide.acts = memory + hyp_round_up((size_t)n.values, 64);
    wide.angles = (float *)(void *)(wide.acts + hyp_round_up((size_t)n.acts, 64));
    wide.rows = (hyp_row *)(void *)((uint8_t *)wide.angles + hyp_round_up((size_t)n.angles, 64));
    hyp_status status = forward_rows(&wide, s, tokens, rows);
    w->read_bytes = wide.read_bytes;
    if (!status)
        memcpy(hyp_row_of(w, g->hidden, 0), hyp_hidden(&wide, rows - 1),
               g->values[g->hidden].cols * sizeof(float));
    return status;
}

hyp_status hyp_forward_text(hyp_workspace *w, hyp_sequence *s, const int32_t *tokens,
                            uint32_t count, uint32_t *rows) {
    bool whole = !w->net->loading && hyp_weights_whole(&w->net->weights);
    uint32_t wide = whole || count <= w->rows_most ? 0 : wide_rows(w, count);
    size_t bytes = (size_t)wide_bytes(&w->net->graph, wide);
    hyp_budget *budget = w->net->graph.arena->budget;
    uint8_t *memory = wide ? hyp_budget_map(budget, bytes) : NULL;
    *rows = memory ? 1 : hyp_min_u32(count, w->rows_most);
    if (!memory) return forward_rows(w, s, tokens, *rows);
    hyp_status status = forward_wide(w, s, tokens, wide, memory);
    hyp_pool_wait_idle(w->net->pool); // a late worker may read it
    hyp_budget_unmap(budget, memory, bytes);
    return status;
}

hyp_status hyp_logits(hyp_workspace *w, uint32_t first, uint32_t count, float *logits) {
    const hyp_graph *g = &w->net->graph;
    w->output.first = first;
    w->output.count = count;
    w->output.logits = logits;
    return run(w, &g->ops[g->op_count - 1]);
}

const float *hyp_hidden(const hyp_workspace *w, uint32_t row) {
    return hyp_row_of(w, w->net->graph.hidden, row);
}

bool hyp_hidden_finite(const hyp_workspace *w, uint32_t rows) {
    const hyp_graph *g = &w->net->graph;
    for (uint32_t r = 0; r < rows; r++)
        if (!hyp_format_finite(HYP_F32, hyp_hidden(w, r), g->values[g->hidden].cols)) return false;
    return true;
}
