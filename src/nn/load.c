#include "load.h"

#include "../base/bytes.h"
#include "../base/fmath.h"
#include "../base/text.h"
#include "../port.h"

enum { BYTES_PER_UNIT = 64 };

struct hyp_load_piece { // a matrix or a vector
    const hyp_gguf_tensor *tensor;
    const hyp_matrix *matrix;
    hyp_vector *vector;
    uint32_t op;      // the first that uses it
    uint32_t segment; // of the graph, that this is in
    uint16_t layer;
};

typedef struct unit { // what is read at once: a page of a matrix, or a vector
    hyp_vector *vector;
    uint32_t page;
    uint16_t layer;
} unit;

// ---- The order

static void use(hyp_load_piece *piece, uint32_t op, uint32_t segment, uint16_t layer) {
    if (piece->op != UINT32_MAX) return;
    piece->op = op;
    piece->segment = segment;
    piece->layer = layer;
}

// Where each piece is first used. Matrices come first in `pieces`, then the vectors.
static void find_uses(hyp_load *l) {
    const hyp_graph *g = l->graph;
    hyp_load_piece *vectors = l->pieces + g->matrix_count;
    uint32_t segment = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        const hyp_op *op = &g->ops[i];
        segment += i > 0 && op->layer != op[-1].layer;
        if (op->matrix) use(&l->pieces[op->matrix - g->matrices], i, segment, op->layer);
        if (op->weight) use(&vectors[op->weight - g->vectors], i, segment, op->layer);
        if (op->bias) use(&vectors[op->bias - g->vectors], i, segment, op->layer);
    }
    // A pass begins with its angles.
    for (uint32_t i = 0; i < g->rope_count; i++)
        if (g->ropes[i].factors)
            use(&vectors[g->ropes[i].factors - g->vectors], 0, 0, HYP_NO_LAYER);
    // Up to the last layer, an order within a segment does not matter to what waits for its end.
    for (uint32_t i = 0; i < l->piece_count; i++)
        if (l->pieces[i].segment + 2 <= segment) l->pieces[i].op = 0;
}

static bool reads_in_order(const hyp_load *l) {
    for (uint32_t i = 0; i < l->graph->gguf->shards; i++)
        if (l->graph->gguf->sources[i].sequential) return true;
    return false;
}

static bool before(const hyp_load_piece *a, const hyp_load_piece *b, bool in_file) {
    if (!in_file && a->segment != b->segment) return a->segment < b->segment;
    if (!in_file && a->op != b->op) return a->op < b->op;
    if (a->tensor->shard != b->tensor->shard) return a->tensor->shard < b->tensor->shard;
    return a->tensor->offset < b->tensor->offset;
}

static void sort(hyp_load_piece *pieces, uint32_t count, bool in_file) { // Shell's
    for (uint32_t gap = count / 2; gap > 0; gap /= 2)
        for (uint32_t i = gap; i < count; i++) {
            hyp_load_piece p = pieces[i];
            uint32_t k = i;
            for (; k >= gap && before(&p, &pieces[k - gap], in_file); k -= gap)
                pieces[k] = pieces[k - gap];
            pieces[k] = p;
        }
}

static size_t pieces_bytes(const hyp_graph *g) {
    return (g->matrix_count + g->vector_count) * sizeof(hyp_load_piece);
}

static void fill_frequencies(hyp_rope *r) {
    for (uint32_t i = 0; i < r->dims / 2; i++) {
        double exponent = -2.0 * i / r->dims,
               factor = r->factors ? (double)r->factors->data[i] : 1.0;
        r->frequencies[i] = hyp_pow((double)r->base, exponent) / (factor * (double)r->scale);
    }
}

static void count_missing(hyp_load *l) {
    hyp_weights *w = l->weights;
    for (uint32_t i = 0; i < l->piece_count; i++) {
        const hyp_load_piece *p = &l->pieces[i];
        uint32_t units = p->vector ? 1 : 0;
        for (uint32_t k = 0; p->matrix && k < p->matrix->experts * hyp_matrix_pages(p->matrix);
             k++) {
            uint32_t page = p->matrix->page + k;
            if (!hyp_pager_keeps(w->pager, page)) continue;
            w->coming[page] = true;
            l->total += w->page_bytes[page];
            units++;
        }
        if (p->layer < l->layers) l->missing[p->layer] += units;
    }
    for (uint32_t i = 0; i < l->layers; i++) l->layers_ready += l->missing[i] == 0;
}

hyp_status hyp_load_begin(hyp_load *l, hyp_graph *g, hyp_weights *w, hyp_sched *sched,
                          hyp_arena *arena, hyp_progress progress) {
    *l = (hyp_load){.graph = g,
                    .weights = w,
                    .sched = sched,
                    .progress = progress,
                    .piece_count = g->matrix_count + g->vector_count};
    for (uint32_t i = 0; i < g->op_count; i++)
        if (g->ops[i].layer != HYP_NO_LAYER)
            l->layers = hyp_max_u32(l->layers, g->ops[i].layer + 1u);
    l->missing = hyp_arena_alloc(arena, l->layers * sizeof *l->missing);
    w->coming = hyp_arena_alloc(arena, w->pages * sizeof *w->coming);
    l->pieces = hyp_budget_map(g->gguf->budget, pieces_bytes(g));
    if ((l->layers && !l->missing) || (w->pages && !w->coming) || (l->piece_count && !l->pieces))
        return hyp_fail(g->gguf->fault, HYP_E_NOMEM, "not enough memory to read the model");
    for (uint32_t i = 0; i < g->matrix_count; i++)
        l->pieces[i] = (hyp_load_piece){.tensor = g->matrices[i].tensor,
                                        .matrix = &g->matrices[i],
                                        .op = UINT32_MAX,
                                        .layer = HYP_NO_LAYER};
    for (uint32_t i = 0; i < g->vector_count; i++)
        l->pieces[g->matrix_count + i] = (hyp_load_piece){.tensor = g->vectors[i].tensor,
                                                          .vector = &g->vectors[i],
                                                          .op = UINT32_MAX,
                                                          .layer = HYP_NO_LAYER};
    find_uses(l);
    sort(l->pieces, l->piece_count, reads_in_order(l));
    count_missing(l);
    for (uint32_t i = 0; i < g->rope_count; i++)
        if (!g->ropes[i].factors) fill_frequencies(&g->ropes[i]);
    return HYP_OK;
}

// ---- Reading

static void count_unit(hyp_load *l, const unit *u) {
    if (!u->vector) l->done += l->weights->page_bytes[u->page];
    if (u->layer < l->layers && --l->missing[u->layer] == 0) l->layers_ready++;
}

// The next one to read; false: there is none left. Never suspends, so that whoever waits for a page
// finds it being filled, or gone for good.
static bool claim(hyp_load *l, unit *u) {
    hyp_weights *w = l->weights;
    while (l->piece < l->piece_count && !l->status) {
        const hyp_load_piece *p = &l->pieces[l->piece];
        *u = (unit){.vector = p->vector, .layer = p->layer};
        if (p->vector) {
            l->piece++;
            return true;
        }
        if (l->page == p->matrix->experts * hyp_matrix_pages(p->matrix)) {
            l->piece++;
            l->page = 0;
            continue;
        }
        u->page = p->matrix->page + l->page++;
        if (!w->coming[u->page]) continue;
        w->coming[u->page] = false;
        hyp_event_signal(&w->came);
        if (hyp_pager_keeps(w->pager, u->page)) return true;
        count_unit(l, u); // it has lost its place meanwhile, and is read when it is used
    }
    return false;
}

static hyp_status out_of_range(const hyp_load *l, const hyp_vector *v, float value) {
    hyp_text name = hyp_gguf_tensor_name(l->graph->gguf, v->tensor);
    char text[3][25];
    const double numbers[3] = {(double)value, v->least, v->most};
    for (int i = 0; i < 3; i++) text[i][hyp_format_real(text[i], numbers[i])] = 0;
    return hyp_fail(l->graph->gguf->fault, HYP_E_FORMAT,
                    "tensor '%.*s' holds %s: it must be a number between %s and %s",
                    (int)name.bytes, name.data, text[0], text[1], text[2]);
}

static hyp_status take_vector(hyp_load *l, hyp_vector *v, const uint8_t *stored) {
    hyp_graph *g = l->graph;
    if (!hyp_format_finite(v->tensor->format, stored, v->count))
        return hyp_gguf_not_finite(g->gguf, v->tensor);
    hyp_dequantize(v->tensor->format, v->data, stored, v->count);
    for (uint32_t i = 0; i < v->count && v->most > v->least; i++)
        if (!((double)v->data[i] >= v->least && (double)v->data[i] <= v->most))
            return out_of_range(l, v, v->data[i]);
    for (uint32_t i = 0; i < g->rope_count; i++)
        if (g->ropes[i].factors == v) fill_frequencies(&g->ropes[i]);
    v->present = true;
    hyp_event_signal(&l->weights->came);
    return HYP_OK;
}

static hyp_status read_vector(hyp_load *l, hyp_vector *v) {
    hyp_staging *staging;
    hyp_status status = hyp_weights_take_staging(l->weights, &staging);
    if (status) return status;
    status = hyp_gguf_read(l->graph->gguf, v->tensor, 0, staging->memory, (size_t)v->tensor->bytes);
    if (!status) status = take_vector(l, v, staging->memory);
    hyp_weights_give_staging(l->weights, staging);
    return status;
}

static void cancel_readers(hyp_load *l) {
    for (uint32_t i = 0; i < HYP_READS; i++)
        if (l->readers[i] && l->readers[i] != hyp_task_current()) hyp_task_cancel(l->readers[i]);
}

// The first failure is everybody's.
static void fail(hyp_load *l, hyp_status status) {
    if (l->status || l->over) return;
    l->status = l->weights->failed = status;
    // Whatever waited or worked when it was cancelled has no words of its own for it.
    if (status == HYP_E_CANCELLED) (void)hyp_fail(&l->why, status, "loading was stopped");
    else l->why = *l->graph->gguf->fault;
    cancel_readers(l); // when they have ended, whoever waits hears of it
}

static bool report(hyp_load *l) {
    l->reported = l->done;
    return !l->progress.report || l->progress.report(l->progress.context, l->done, l->total);
}

// What one reader does: unit by unit, until none is left. May suspend.
static void read_units(hyp_load *l) {
    for (unit u; claim(l, &u);) {
        hyp_status status = u.vector ? read_vector(l, u.vector)
                                     : hyp_pager_prefetch(l->weights->pager, u.page);
        uint32_t bytes = u.vector ? (uint32_t)u.vector->tensor->bytes
                                  : l->weights->page_bytes[u.page];
        if (!status) count_unit(l, &u);
        hyp_event_signal(&l->changed);
        // A host's event loop turns between pages.
        if (!status && (!report(l) || hyp_task_work(bytes / BYTES_PER_UNIT)))
            status = HYP_E_CANCELLED;
        if (status) fail(l, status);
    }
}

static void finish(hyp_load *l) {
    hyp_weights *w = l->weights;
    hyp_budget_unmap(l->graph->gguf->budget, l->pieces, pieces_bytes(l->graph));
    l->pieces = NULL;
    l->over = true;
    if (!l->status) {
        w->coming = NULL;
        if (l->reported < l->done) (void)report(l); // pages that lost their places came last
    }
    if (hyp_weights_whole(w)) hyp_weights_drop_reads(w);
    hyp_event_signal(&w->came);
    hyp_event_signal(&l->changed);
}

static void run_reader(void *load) {
    hyp_load *l = load;
    read_units(l);
    for (uint32_t i = 0; i < HYP_READS; i++)
        if (l->readers[i] == hyp_task_current()) l->readers[i] = NULL;
    if (l->active == 1 && l->pieces) finish(l); // may suspend: this one still counts
    l->active--;
    hyp_event_signal(&l->changed);
}

// Fibers, up to `count` readers in all with the `others`. The first one takes what it needs; others
// only what is free.
static void start_readers(hyp_load *l, uint32_t count, uint32_t others, uint64_t spare) {
    hyp_budget *budget = l->graph->gguf->budget;
    for (uint32_t i = others; i < count; i++) {
        if (i > 0 &&
            (hyp_budget_left(budget) < spare + l->weights->staging_bytes + HYP_STACK_BYTES ||
             hyp_weights_allow_reads(l->weights, i + 1, spare + HYP_STACK_BYTES) <= i))
            break;
        if (hyp_sched_spawn(l->sched, run_reader, l, &(hyp_task_config){.name = "loading"},
                            &l->readers[i]))
            break;
        hyp_task_detach(l->readers[i]);
        l->active++;
    }
}

static uint32_t reads_of(const hyp_load *l) { return reads_in_order(l) ? 1 : HYP_READS; }

hyp_status hyp_load_read(hyp_load *l, uint64_t spare) {
    // Elsewhere a read returns with its bytes, and there is nothing to do beside it.
    if (l->sched && hyp_task_current()) start_readers(l, reads_of(l), 1, spare);
    l->readers[0] = hyp_task_current();
    l->active++;
    read_units(l);
    l->active--;
    l->readers[0] = NULL;
    while (l->active) {
        if (hyp_task_cancelled()) fail(l, HYP_E_CANCELLED);
        hyp_event_wait_firm(&l->changed);
    }
    if (l->pieces) finish(l);
    // Another reader's failure ended the caller's read, and not what the caller is about.
    if (l->status && l->status != HYP_E_CANCELLED && hyp_task_current()) hyp_task_uncancel();
    return hyp_load_failed(l);
}

hyp_status hyp_load_start(hyp_load *l, uint64_t spare) {
    start_readers(l, reads_of(l), 0, spare);
    if (l->active) return HYP_OK;
    return hyp_fail(l->graph->gguf->fault, HYP_E_NOMEM,
                    "not enough memory for a fiber that reads the model");
}

static bool is_over(void *load) { return ((hyp_load *)load)->over; }
static bool is_idle(void *load) { return ((hyp_load *)load)->active == 0; }

hyp_status hyp_load_wait(hyp_load *l) {
    while (!l->over) {
        hyp_status status = hyp_task_current() ? hyp_event_wait(&l->changed, 0)
                                               : hyp_sched_run_until(l->sched, is_over, l);
        if (status) return status;
    }
    return hyp_load_failed(l);
}

void hyp_load_cancel(hyp_load *l) { fail(l, HYP_E_CANCELLED); }

void hyp_load_close(hyp_load *l) {
    if (!l->weights) return;
    hyp_load_cancel(l);
    while (l->active) {
        if (hyp_task_current()) hyp_event_wait_firm(&l->changed);
        else if (hyp_sched_run_until(l->sched, is_idle, l))
            hyp_port_panic("what reads a model does not end");
    }
    if (l->pieces) finish(l);
}

// ---- Waiting for it

hyp_status hyp_load_failed(const hyp_load *l) {
    return l->status ? hyp_fail(l->graph->gguf->fault, l->status, "%s", l->why.text) : HYP_OK;
}

static hyp_status await_vector(hyp_load *l, const hyp_vector *v) {
    while (v && !v->present && !l->status) {
        hyp_status status = hyp_event_wait(&l->weights->came, 0);
        if (status) return status;
    }
    return l->status;
}

hyp_status hyp_load_await(hyp_load *l, const hyp_op *op) {
    hyp_status status = HYP_OK;
    for (uint32_t i = 0; i < op->group && !status; i++) {
        status = await_vector(l, op[i].weight);
        if (!status) status = await_vector(l, op[i].bias);
    }
    return status;
}

hyp_status hyp_load_await_ropes(hyp_load *l) {
    hyp_status status = HYP_OK;
    for (uint32_t i = 0; i < l->graph->rope_count && !status; i++)
        status = await_vector(l, l->graph->ropes[i].factors);
    return status;
}
