#include "net.h"

#include "../base/bytes.h"
#include "ops.h"

typedef struct loader {
    hyp_net *net;
    hyp_budget *budget;
    hyp_fault *fault;
    uint64_t session_bytes;
} loader;

static hyp_status open_weights(loader *l);
static void start_workers(loader *l, uint32_t threads);

// The pages of matrices that passes go through; of the embedding, which a graph begins with, they
// take single rows.
static uint32_t end_of_products(const hyp_graph *g) {
    uint32_t end = 0;
    for (uint32_t i = 1; i < g->op_count; i++) {
        const hyp_matrix *m = g->ops[i].matrix;
        if (m) end = hyp_max_u32(end, m->page + m->experts * hyp_matrix_pages(m));
    }
    return end;
}

hyp_status hyp_net_load(hyp_net *net, const hyp_net_config *c) {
    hyp_graph *g = &net->graph;
    loader l = {.net = net,
                .budget = g->arena->budget,
                .fault = g->gguf->fault,
                .session_bytes = c->session_bytes};
    hyp_status status = open_weights(&l);
    if (status) return status;
    bool whole = hyp_weights_whole(&net->weights);
    if (c->sched && !c->no_ahead && (whole || net->weights.reads_ahead))
        hyp_ahead_init(&net->ahead, &net->weights, c->sched, end_of_products(g));
    if (!whole) hyp_ahead_start(&net->ahead); // before sessions take the memory that is kept for it
    status = hyp_load_begin(&net->load, g, &net->weights, c->sched, g->arena, c->progress);
    net->loading = true;
    if (status) return status;
    if (c->progressive) {
        start_workers(&l, c->threads); // they take part as soon as a product's pages are there
        return hyp_load_start(&net->load, c->session_bytes);
    }
    status = hyp_load_read(&net->load, 0);
    net->loading = status != HYP_OK;
    if (!status) start_workers(&l, c->threads);
    return status;
}

hyp_status hyp_net_wait(hyp_net *net) { return hyp_load_wait(&net->load); }

void hyp_net_stop_workers(hyp_net *net) {
    if (net->pool) hyp_pager_set_workers(net->weights.pager, NULL);
    hyp_pool_destroy(net->pool);
    net->pool = NULL;
}

void hyp_net_close(hyp_net *net) {
    hyp_load_close(&net->load);
    hyp_ahead_close(&net->ahead);
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
    for (uint32_t i = 0; i < g->vector_count; i++) // they come by the same staging
        l->net->weights.staging_bytes = hyp_max_size(l->net->weights.staging_bytes,
                                                     (size_t)g->vectors[i].tensor->bytes);
    uint64_t least = 0, room = room_for_weights(l);
    if (room && !status)
        l->net->whole_limit_bytes = l->budget->used_bytes + l->session_bytes +
                                    hyp_weights_whole_bytes(&l->net->weights);
    if (!status) status = hyp_weights_open(&l->net->weights, l->budget, room, &least);
    uint64_t wanted = l->budget->used_bytes + l->session_bytes + least;
    if (status == HYP_E_NOMEM && room && room < least && wanted > l->budget->limit_bytes &&
        hyp_reclaim(l->budget->pagers, (size_t)(wanted - l->budget->limit_bytes)))
        status = hyp_weights_open(&l->net->weights, l->budget, room_for_weights(l), &least);
    return status == HYP_E_NOMEM ? too_small(l, l->session_bytes + least) : status;
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
