#include "net.h"

#include "../base/bytes.h"
#include "../base/fmath.h"
#include "../base/text.h"
#include "ops.h"

enum { BYTES_PER_UNIT = 64 };

typedef struct piece { // of the file, to be read: a matrix or a vector
    const hyp_gguf_tensor *tensor;
    const hyp_matrix *matrix;
    const hyp_vector *vector;
} piece;

typedef struct loader {
    hyp_net *net;
    hyp_budget *budget;
    hyp_fault *fault;
    uint64_t session_bytes;
    hyp_progress progress;
    uint64_t done, total; // bytes of weights
    uint8_t *row;         // a vector as it is stored
} loader;

static hyp_status open_weights(loader *l);
static hyp_status read_weights(loader *l);
static void start_workers(loader *l, uint32_t threads);
static void fill_frequencies(hyp_rope *rope);

hyp_status hyp_net_load(hyp_net *net, uint64_t session_bytes, uint32_t threads,
                        hyp_progress progress) {
    hyp_graph *g = &net->graph;
    loader l = {.net = net,
                .budget = g->arena->budget,
                .fault = g->gguf->fault,
                .session_bytes = session_bytes,
                .progress = progress};
    hyp_status status = open_weights(&l);
    if (!status) status = read_weights(&l);
    if (status) return status;
    for (uint32_t i = 0; i < g->rope_count; i++) fill_frequencies(&g->ropes[i]);
    start_workers(&l, threads);
    return HYP_OK;
}

void hyp_net_stop_workers(hyp_net *net) {
    if (net->pool) hyp_pager_set_workers(net->weights.pager, NULL);
    hyp_pool_destroy(net->pool);
    net->pool = NULL;
}

void hyp_net_close(hyp_net *net) {
    hyp_net_stop_workers(net);
    hyp_weights_close(&net->weights);
}

hyp_status hyp_net_overflowed(const hyp_net *net) {
    return hyp_fail(net->graph.gguf->fault, HYP_E_FORMAT,
                    "what the model computes are no finite numbers: its weights are damaged, or "
                    "too large to compute with");
}

static hyp_status too_small(const loader *l, uint64_t least) {
    uint64_t weights = l->net->graph.weight_bytes;
    if (!l->budget->limit_bytes)
        return hyp_fail(l->fault, HYP_E_NOMEM,
                        "not enough memory for the model's weights of %llu MB",
                        (unsigned long long)(weights >> 20) + 1);
    return hyp_fail(
        l->fault, HYP_E_NOMEM,
        "a memory limit of %llu MB is too small for this model: %llu MB are the least, with its "
        "weights read again for every token; %llu MB hold it whole",
        (unsigned long long)l->budget->limit_bytes / 1000000,
        (unsigned long long)(l->budget->used_bytes + least) / 1000000 + 1,
        (unsigned long long)(l->budget->used_bytes + least + weights) / 1000000 + 1);
}

// What the limit leaves for weights beside a session; 0: there is no limit.
static uint64_t room_for_weights(const loader *l) {
    if (!l->budget->limit_bytes) return 0;
    uint64_t taken = l->budget->used_bytes + l->session_bytes;
    return l->budget->limit_bytes > taken ? l->budget->limit_bytes - taken : 1;
}

// Gives the pager what the limit leaves. Where that is less than the least, the engine's other
// models make room for the least.
static hyp_status open_weights(loader *l) {
    hyp_graph *g = &l->net->graph;
    hyp_status status = hyp_weights_plan(&l->net->weights, g->gguf, g->kernels, g->matrices,
                                         g->matrix_count, g->arena);
    uint64_t least = 0, room = room_for_weights(l);
    if (!status) status = hyp_weights_open(&l->net->weights, l->budget, room, &least);
    uint64_t wanted = l->budget->used_bytes + l->session_bytes + least;
    if (status == HYP_E_NOMEM && room && room < least && wanted > l->budget->limit_bytes &&
        hyp_reclaim(l->budget->pagers, (size_t)(wanted - l->budget->limit_bytes)))
        status = hyp_weights_open(&l->net->weights, l->budget, room_for_weights(l), &least);
    return status == HYP_E_NOMEM ? too_small(l, l->session_bytes + least) : status;
}

// ---- Reading

static int64_t order(const piece *a, const piece *b) {
    if (a->tensor->shard != b->tensor->shard) return (int64_t)a->tensor->shard - b->tensor->shard;
    return a->tensor->offset < b->tensor->offset ? -1 : a->tensor->offset > b->tensor->offset;
}

static void sort(piece *pieces, uint32_t count) { // Shell's
    for (uint32_t gap = count / 2; gap > 0; gap /= 2)
        for (uint32_t i = gap; i < count; i++) {
            piece p = pieces[i];
            uint32_t k = i;
            for (; k >= gap && order(&p, &pieces[k - gap]) < 0; k -= gap)
                pieces[k] = pieces[k - gap];
            pieces[k] = p;
        }
}

static hyp_status read_matrix(loader *l, const hyp_matrix *m) {
    hyp_weights *w = &l->net->weights;
    for (uint32_t i = 0; i < m->experts * hyp_matrix_pages(m); i++) {
        if (!hyp_pager_keeps(w->pager, m->page + i)) continue;
        hyp_status status = hyp_pager_prefetch(w->pager, m->page + i);
        if (status) return status;
        uint32_t bytes = w->page_bytes[m->page + i];
        l->done += bytes;
        bool goes_on = !l->progress.report ||
                       l->progress.report(l->progress.context,
                                          l->done < l->total ? l->done : l->total, l->total);
        // A host's event loop turns between pages.
        if (!goes_on || hyp_task_work(bytes / BYTES_PER_UNIT)) return HYP_E_CANCELLED;
    }
    return HYP_OK;
}

static hyp_status out_of_range(const loader *l, const hyp_vector *v, float value) {
    hyp_text name = hyp_gguf_tensor_name(l->net->graph.gguf, v->tensor);
    char text[3][25];
    const double numbers[3] = {(double)value, v->least, v->most};
    for (int i = 0; i < 3; i++) text[i][hyp_format_real(text[i], numbers[i])] = 0;
    return hyp_fail(l->fault, HYP_E_FORMAT,
                    "tensor '%.*s' holds %s: it must be a number between %s and %s",
                    (int)name.bytes, name.data, text[0], text[1], text[2]);
}

static hyp_status read_vector(loader *l, const hyp_vector *v) {
    const hyp_gguf *gguf = l->net->graph.gguf;
    const hyp_gguf_tensor *t = v->tensor;
    hyp_status status = hyp_gguf_read(gguf, t, 0, l->row, (size_t)t->bytes);
    if (status) return status;
    if (!hyp_format_finite(t->format, l->row, v->count)) return hyp_gguf_not_finite(gguf, t);
    hyp_dequantize(t->format, v->data, l->row, v->count);
    for (uint32_t i = 0; i < v->count && v->most > v->least; i++)
        if (!((double)v->data[i] >= v->least && (double)v->data[i] <= v->most))
            return out_of_range(l, v, v->data[i]);
    return HYP_OK;
}

static hyp_status read_pieces(loader *l, piece *pieces) {
    const hyp_graph *g = &l->net->graph;
    uint32_t count = 0;
    size_t row_bytes = 0; // of the longest vector, as stored
    for (uint32_t i = 0; i < g->matrix_count; i++)
        pieces[count++] = (piece){.tensor = g->matrices[i].tensor, .matrix = &g->matrices[i]};
    for (uint32_t i = 0; i < g->vector_count; i++) {
        pieces[count++] = (piece){.tensor = g->vectors[i].tensor, .vector = &g->vectors[i]};
        row_bytes = hyp_max_size(row_bytes, (size_t)g->vectors[i].tensor->bytes);
    }
    sort(pieces, count);
    l->row = hyp_budget_map(l->budget, row_bytes);
    if (!l->row && row_bytes)
        return hyp_fail(l->fault, HYP_E_NOMEM, "not enough memory to read the model's norms");
    hyp_status status = HYP_OK;
    for (uint32_t i = 0; i < count && !status; i++)
        status = pieces[i].matrix ? read_matrix(l, pieces[i].matrix)
                                  : read_vector(l, pieces[i].vector);
    hyp_budget_unmap(l->budget, l->row, row_bytes);
    return status;
}

// By place in the file, so that a stream is read once from front to back.
static hyp_status read_weights(loader *l) {
    const hyp_graph *g = &l->net->graph;
    const hyp_weights *w = &l->net->weights;
    for (uint32_t i = 0; i < w->pages; i++)
        if (hyp_pager_keeps(w->pager, i)) l->total += w->page_bytes[i];
    size_t bytes = (g->matrix_count + g->vector_count) * sizeof(piece);
    piece *pieces = hyp_budget_map(l->budget, bytes);
    if (!pieces) return hyp_fail(l->fault, HYP_E_NOMEM, "not enough memory to read the model");
    hyp_status status = read_pieces(l, pieces);
    hyp_budget_unmap(l->budget, pieces, bytes);
    return status;
}

static void fill_frequencies(hyp_rope *r) {
    for (uint32_t i = 0; i < r->dims / 2; i++) {
        double exponent = -2.0 * i / r->dims,
               factor = r->factors ? (double)r->factors->data[i] : 1.0;
        r->frequencies[i] = hyp_pow((double)r->base, exponent) / (factor * (double)r->scale);
    }
}

// ---- Threads

// A pass has one thread where the memory limit leaves no room beside a session, or pages come and
// go.
static void start_workers(loader *l, uint32_t threads) {
    hyp_net *net = l->net;
    hyp_graph *g = &net->graph;
    if (threads < 2 || !hyp_weights_whole(&net->weights)) return;
    hyp_pool_config needs = {.workers = threads - 1};
    for (uint32_t i = 0; i < g->op_count; i++) hyp_ops[g->ops[i].kind].needs(g, &g->ops[i], &needs);
    uint64_t bytes = needs.job_bytes + hyp_pool_bytes(&needs);
    if (hyp_budget_left(l->budget) != SIZE_MAX &&
        l->session_bytes + bytes > hyp_budget_left(l->budget))
        return;
    net->pool_floats = needs.output_floats;
    net->job = hyp_arena_alloc(g->arena, needs.job_bytes);
    if (net->job) net->pool = hyp_pool_create(l->budget, &needs);
    if (net->pool) hyp_pager_set_workers(net->weights.pager, net->pool);
}
