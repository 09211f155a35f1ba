// The life of a session: memory, the text it remembers, and the beginning of an answer.
#include "../base/bytes.h"
#include "../port.h"
#include "batcher.h"
#include "call.h"
#include "options.h"

enum {
    USUAL_DRAFT = 4,
    REMEMBER_LEAST = 16 // tokens that are worth it
};

_Static_assert((int)HYP_PURPOSE_BACKGROUND == HYP_INTENT_BACKGROUND &&
                   (int)HYP_PURPOSE_BATCH == HYP_INTENT_BATCH &&
                   (int)HYP_PURPOSE_DEADLINE == HYP_INTENT_DEADLINE,
               "a purpose is handed on as an intent");

// ---- Creating

// The cache of a model for one format, made when it is first asked for.
static hyp_status cache_of(hyp_model *m, hyp_kv_format format, hyp_kv_cache **cache) {
    *cache = &m->kv[format];
    if ((*cache)->graph) return HYP_OK;
    hyp_status status = hyp_kv_cache_init(*cache, &m->net.graph, format, &m->arena);
    if (status) (*cache)->graph = NULL;
    return status;
}

// The sizes that were asked for, or the usual ones.
static void choose_sizes(hyp_session *s) {
    hyp_session_config *c = &s->config;
    if (!c->context) c->context = hyp_min_u32(s->model->shape.context, HYP_USUAL_CONTEXT);
    c->batch = hyp_min_u32(c->batch ? c->batch : HYP_USUAL_BATCH, c->context);
}

static hyp_status check_shift(const hyp_session *s) {
    const hyp_session_config *c = &s->config;
    if (!c->context_shift || c->context_keep + 2 <= c->context) return HYP_OK;
    return hyp_fail(hyp_session_fault(s), HYP_E_ARGUMENT,
                    "%u tokens to keep leave nothing that a context of %u could drop: keep fewer, "
                    "or ask for a longer context",
                    c->context_keep, c->context);
}

// The workspace and the sequence, of the size that was asked for.
static hyp_status open_text(hyp_session *s, hyp_model *m, hyp_workspace *workspace,
                            hyp_sequence *sequence) {
    const hyp_session_config *c = &s->config;
    hyp_fault *fault = hyp_session_fault(s);
    hyp_kv_format format = c->cache == HYP_CACHE_Q8_0 ? HYP_KV_Q8_0 : HYP_KV_F16;
    hyp_kv_cache *cache;
    hyp_status status = cache_of(m, format, &cache);
    if (status) return status;
    const hyp_graph *g = &m->net.graph;
    uint64_t bytes = hyp_workspace_bytes(g, c->batch) + hyp_sequence_bytes(g, format, c->context);
    status = bytes > SIZE_MAX / 2 ? HYP_E_NOMEM // of a 32-bit address space, too
                                  : hyp_workspace_init(workspace, &m->net, &s->arena, c->batch);
    if (!status) status = hyp_sequence_init(sequence, cache, &s->arena, c->context);
    if (status)
        return hyp_fail(fault, status,
                        "a context of %u tokens takes %llu MB and does not fit the memory limit: "
                        "ask for a shorter context or a Q8_0 cache",
                        c->context, (unsigned long long)(bytes >> 20) + 1);
    return HYP_OK;
}

static hyp_status open_draft(hyp_session *s, hyp_model *draft) {
    uint32_t vocab = hyp_session_vocab(s), others = draft->net.graph.vocab;
    if (draft->engine != s->model->engine)
        return hyp_fail(hyp_session_fault(s), HYP_E_ARGUMENT,
                        "the draft model belongs to another engine");
    if (others != vocab || draft->tokenizer.count != s->model->tokenizer.count)
        return hyp_fail(hyp_session_fault(s), HYP_E_ARGUMENT,
                        "the draft model's vocabulary of %u tokens is not this model's of %u",
                        others, vocab);
    return open_text(s, draft, &s->draft.workspace, &s->draft.sequence);
}

// What a session takes besides its text.
static hyp_status open_buffers(hyp_session *s) {
    const hyp_session_config *c = &s->config;
    uint32_t lookup = c->lookup ? c->lookup : c->draft ? USUAL_DRAFT : 0;
    s->lookup = hyp_min_u32(hyp_min_u32(lookup, HYP_LOOKUP_MOST), s->workspace.rows_most - 1);
    if (s->sequence.recurrent) s->lookup = 0; // what is drafted could not be taken back
    size_t ahead = (s->lookup + 1) * ((size_t)hyp_session_vocab(s) + HYP_GROUP) * sizeof *s->ahead;
    if (s->lookup) s->ahead = hyp_arena_alloc(&s->arena, ahead);
    s->history = hyp_arena_alloc(&s->arena, c->context * sizeof *s->history);
    s->vector = hyp_arena_alloc(&s->arena, s->model->shape.dim * sizeof *s->vector);
    if ((s->lookup && !s->ahead) || !s->history || !s->vector) return HYP_E_NOMEM;
    if (c->profile && hyp_workspace_profile(&s->workspace, &s->arena)) return HYP_E_NOMEM;
    return c->calibrate ? hyp_workspace_observe(&s->workspace, &s->arena) : HYP_OK;
}

hyp_status hyp_session_create(hyp_model *model, const hyp_session_config *config,
                              hyp_session **out) {
    hyp_fault *fault = &model->engine->fault;
    *out = NULL;
    hyp_status status = config ? hyp_options_check(&hyp_session_options, config, fault) : HYP_OK;
    if (status) return status;
    hyp_arena arena;
    hyp_arena_init(&arena, &model->engine->budget);
    hyp_session *s = hyp_arena_alloc(&arena, sizeof *s);
    if (!s) return hyp_fail(fault, HYP_E_NOMEM, "not enough memory for a session");
    *s = (hyp_session){.model = model, .arena = arena, .chosen = -1};
    hyp_stop_init(&s->stop, &model->engine->budget);
    s->unread.budget = &model->engine->budget;
    hyp_session_config *c = &s->config;
    if (config) *c = *config;
    hyp_arena_init(&s->answer, &model->engine->budget);
    s->empty = hyp_arena_now(&s->answer);
    choose_sizes(s);
    status = check_shift(s);
    if (!status) status = open_text(s, model, &s->workspace, &s->sequence);
    if (!status && open_buffers(s))
        status = hyp_fail(fault, HYP_E_NOMEM, "not enough memory for a session");
    if (!status && c->draft && s->lookup) status = open_draft(s, c->draft);
    if (!status) {
        hyp_task_config task = {.name = "session",
                                .intent = (hyp_intent)c->purpose,
                                .deadline_ns = hyp_port_now_ns() + c->due_ns};
        status = hyp_sched_spawn(model->engine->sched, hyp_run_calls, s, &task, &s->task);
        if (status)
            status = hyp_fail(fault, status,
                              "not enough memory for a session's stack, or an unknown purpose");
    }
    if (status) {
        hyp_session_destroy(s);
        return status;
    }
    s->next = model->sessions;
    model->sessions = s;
    *out = s;
    return HYP_OK;
}

static bool worth_remembering(const hyp_session *s, uint32_t kept) {
    return s->model->prompts.limit_bytes && !s->apart &&
           s->sequence.count >= kept + REMEMBER_LEAST &&
           hyp_pagers_whole(&s->model->engine->budget); // else there is no memory to spare
}

hyp_status hyp_session_fork(const hyp_session *s, hyp_session **out) {
    *out = NULL;
    if (s->busy) return hyp_session_refuse(s);
    hyp_status status = hyp_session_create(s->model, &s->config, out);
    if (status) return status;
    hyp_session *fork = *out;
    hyp_sequence_fork(&fork->sequence, &s->sequence);
    if (s->draft.sequence.cache) hyp_sequence_fork(&fork->draft.sequence, &s->draft.sequence);
    memcpy(fork->history, s->history, s->count * sizeof *s->history);
    fork->count = s->count;
    return HYP_OK;
}

void hyp_session_destroy(hyp_session *s) {
    if (!s) return;
    for (hyp_session **link = &s->model->sessions; *link; link = &(*link)->next)
        if (*link == s) {
            *link = s->next;
            break;
        }
    if (s->task) {
        s->closing = true;
        s->call.ended = NULL;
        hyp_batch_cancel(s);
        if (hyp_task_join(s->task))
            hyp_port_panic("a session was destroyed from within its own call");
    }
    hyp_pool_wait_idle(s->model->net.pool); // a late worker may read the sequence
    if (s->draft.workspace.net) hyp_pool_wait_idle(s->draft.workspace.net->pool);
    if (worth_remembering(s, 0))
        hyp_prompt_cache_move(&s->model->prompts, s->history, &s->sequence);
    else hyp_sequence_deinit(&s->sequence);
    hyp_sequence_deinit(&s->draft.sequence);
    hyp_stop_deinit(&s->stop);
    hyp_buffer_deinit(&s->unread);
    hyp_arena_deinit(&s->answer);
    hyp_arena arena = s->arena; // the session itself lives in it
    hyp_arena_deinit(&arena);
}

void hyp_session_cancel(hyp_session *s) {
    if (s->busy) hyp_batch_cancel(s);
}

void hyp_session_set_purpose(hyp_session *s, hyp_purpose purpose, uint64_t due_ns) {
    if (s->busy) return;
    s->config.purpose = purpose;
    hyp_task_set_intent(s->task, (hyp_intent)purpose, hyp_port_now_ns() + due_ns);
}

hyp_status hyp_session_refuse(const hyp_session *s) {
    return hyp_fail(
        hyp_session_fault(s), HYP_E_STATE,
        "the session's last call is still under way: wait for its end, or use another session");
}

// ---- Beginning an answer

hyp_status hyp_session_check_tokens(const hyp_session *s, const int32_t *tokens, uint32_t count) {
    uint32_t vocab = hyp_session_vocab(s);
    if (count == 0)
        return hyp_fail(hyp_session_fault(s), HYP_E_ARGUMENT,
                        "the text has no tokens: give at least one (a model without a BOS token "
                        "has nothing to start from)");
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocab)
            return hyp_fail(hyp_session_fault(s), HYP_E_ARGUMENT,
                            "token %d is not in the vocabulary of %u", tokens[i], vocab);
    return HYP_OK;
}

void hyp_session_remember(hyp_session *s, uint32_t kept) {
    if (worth_remembering(s, kept))
        hyp_prompt_cache_copy(&s->model->prompts, s->history, &s->sequence);
}

// The sequence, of the model's sessions and of what it remembers, that has most in common with
// `tokens`, if that is more than *common. Nobody computes it.
static const hyp_sequence *find_common(const hyp_session *s, const int32_t *tokens, uint32_t count,
                                       uint32_t *common) {
    hyp_model *m = s->model;
    if (s->apart || !m->prompts.limit_bytes) return NULL;
    const hyp_sequence *best = hyp_prompt_cache_find(&m->prompts, s->sequence.cache, tokens, count,
                                                     common);
    for (const hyp_session *o = m->sessions; o; o = o->next) {
        if (o == s || o->busy || o->apart || o->sequence.cache != s->sequence.cache) continue;
        uint32_t n = hyp_sequence_common(&o->sequence, o->history, tokens, count);
        if (n <= *common) continue;
        *common = n;
        best = &o->sequence;
    }
    return best;
}

// Makes the sequence as much of `tokens` as anybody has computed; returns how many. The last one is
// always computed: its logits begin the answer.
static uint32_t keep_common(hyp_session *s, const int32_t *tokens, uint32_t count) {
    uint32_t own = hyp_sequence_common(&s->sequence, s->history, tokens, count - 1), shared = own;
    hyp_session_remember(s, own); // which may let go of others, and so comes first
    const hyp_sequence *other = find_common(s, tokens, count - 1, &shared);
    if (other) {
        hyp_pool_wait_idle(s->model->net.pool); // a late worker may read the table
        hyp_sequence_share(&s->sequence, other, shared);
    } else hyp_sequence_trim(&s->sequence, own);
    hyp_sequence_trim(&s->draft.sequence, own);
    return s->sequence.count;
}

hyp_status hyp_session_begin(hyp_session *s, const int32_t *tokens, uint32_t count,
                             const hyp_sampling *sampling, const hyp_text *stops,
                             uint32_t stop_count) {
    static const hyp_sampling greedy;
    if (s->busy) return hyp_session_refuse(s);
    s->ready = false;
    s->unread.bytes = s->unread_at = 0;
    hyp_status status = hyp_session_check_tokens(s, tokens, count);
    if (status) return status;
    if (count >= s->sequence.context)
        return hyp_fail(hyp_session_fault(s), HYP_E_CONTEXT,
                        "a prompt of %u tokens leaves no room in a context of %u: shorten it or "
                        "ask for a longer context",
                        count, s->sequence.context);
    hyp_arena_return(&s->answer, s->empty);
    status = hyp_sampler_init(&s->sampler, sampling ? sampling : &greedy, hyp_session_vocab(s),
                              &s->model->tokenizer, &s->model->engine->kernels, &s->answer,
                              hyp_session_fault(s));
    if (status) return status;
    status = hyp_stop_begin(&s->stop, &s->answer, stops, stop_count, hyp_session_fault(s));
    if (status) return status;

    uint32_t shared = keep_common(s, tokens, count);
    s->rows = s->row = 0;
    s->chosen = -1;
    memcpy(s->history, tokens, count * sizeof *tokens);
    s->count = count;
    for (uint32_t i = 0; i < count; i++) hyp_sampler_accept(&s->sampler, tokens[i]);
    s->finish = HYP_FINISH_NONE;
    s->stats = (hyp_session_stats){.reused = shared};
    s->workspace.read_bytes = s->draft.workspace.read_bytes = 0;
    s->ready = true;
    return HYP_OK;
}

// What failed in reading or packing the weights has said why already, and so has what overflowed.
hyp_status hyp_session_failed(const hyp_session *s, hyp_status status, uint32_t tokens) {
    hyp_status loading = hyp_load_failed(&s->model->net.load);
    if (loading) return loading;
    if (status == HYP_E_IO || status == HYP_E_FORMAT) return status;
    return hyp_fail(hyp_session_fault(s), status, "computing %u tokens failed: %s", tokens,
                    hyp_status_message(status));
}

// ---- Statistics

hyp_session_stats hyp_session_get_stats(const hyp_session *s) {
    hyp_session_stats stats = s->stats;
    stats.context = s->sequence.context;
    stats.used = s->count;
    stats.read_bytes = s->workspace.read_bytes + s->draft.workspace.read_bytes;
    uint32_t n = hyp_min_u32(s->latencies, HYP_LATENCIES), sorted[HYP_LATENCIES];
    memcpy(sorted, s->latency_us, n * sizeof *sorted);
    for (uint32_t gap = n / 2; gap > 0; gap /= 2) // Shell's sort
        for (uint32_t i = gap; i < n; i++) {
            uint32_t v = sorted[i], k = i;
            for (; k >= gap && sorted[k - gap] > v; k -= gap) sorted[k] = sorted[k - gap];
            sorted[k] = v;
        }
    static const uint32_t percent[4] = {50, 90, 95, 99};
    for (int i = 0; i < 4 && n > 0; i++)
        stats.latency_ns[i] = sorted[(n * percent[i] + 99) / 100 - 1] * 1000ull; // nearest rank
    return stats;
}

bool hyp_session_operation(const hyp_session *s, uint32_t index, hyp_operation *out) {
    const hyp_graph *g = &s->model->net.graph;
    if (!s->workspace.timings || index >= g->op_count) return false;
    const hyp_timing *t = &s->workspace.timings[index];
    const hyp_op *op = &g->ops[index];
    *out = (hyp_operation){.name = op->name,
                           .layer = op->layer == HYP_NO_LAYER ? UINT32_MAX : op->layer,
                           .ns = t->ns,
                           .bytes = t->bytes,
                           .macs = t->macs,
                           .began_ns = t->began_ns,
                           .last_ns = t->last_ns};
    return true;
}

void hyp_session_reset_profile(hyp_session *s) {
    s->latencies = 0;
    if (s->workspace.timings)
        memset(s->workspace.timings, 0,
               s->model->net.graph.op_count * sizeof *s->workspace.timings);
}
