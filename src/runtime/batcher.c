#include "batcher.h"

#include "../base/check.h"

enum { WAIT_PASSES = 2, IDLE_TURNS = 2 * HYP_BATCH_SESSIONS };

// Will `other` come to the same point, about to compute one token for the same purpose? Who drafts
// ahead computes for itself.
static bool decodes(const hyp_session *s, const hyp_session *other) {
    return other->busy && !other->cancelled && !other->lookup &&
           other->call.kind == HYP_CALL_NEXT && other->config.purpose == s->config.purpose &&
           other->ready && !other->finish && other->count - other->sequence.count <= 1 &&
           other->count < other->sequence.context;
}

// How many sessions of a batch have not arrived yet.
static uint32_t missing(const hyp_session *s) {
    uint32_t n = 0;
    for (const hyp_session *o = s->model->sessions; o; o = o->next)
        n += o != s && decodes(s, o) && o->batching != HYP_BATCHING_OFFERED;
    return n;
}

static hyp_status alone(hyp_session *s, float **logits) {
    *logits = s->workspace.logits;
    s->hidden = 0;
    hyp_status status = hyp_forward_tokens(&s->workspace, &s->sequence,
                                           s->history + s->sequence.count, 1, *logits);
    if (!status) s->hidden = 1;
    return status;
}

// Room for the logits of a batch. Not worth pages of weights: under a memory limit only where it is
// free.
static float *batch_logits(hyp_model *m) {
    size_t bytes = HYP_BATCH_SESSIONS * ((size_t)m->net.graph.vocab + HYP_GROUP) * sizeof(float);
    if (!m->batch_logits && hyp_budget_left(&m->engine->budget) > bytes)
        m->batch_logits = hyp_arena_alloc(&m->arena, bytes);
    return m->batch_logits;
}

// Takes what sessions offer into `batch`, behind the leader; returns how many they are with it.
static uint32_t take_offers(hyp_session *leader, hyp_session **batch) {
    uint32_t n = 1, most = hyp_min_u32(leader->workspace.rows_most, HYP_BATCH_SESSIONS);
    batch[0] = leader;
    for (hyp_session *o = leader->model->sessions; o && n < most; o = o->next) {
        if (o == leader || o->batching != HYP_BATCHING_OFFERED ||
            o->config.purpose != leader->config.purpose)
            continue;
        o->batching = HYP_BATCHING_BATCHED;
        o->leader = leader;
        batch[n++] = o;
    }
    return n;
}

// One pass for the sessions of `batch`, the leader first; and a copy of its logits for each.
static hyp_status forward_all(hyp_session *const *batch, uint32_t count, float *logits) {
    hyp_row rows[HYP_BATCH_SESSIONS];
    for (uint32_t i = 0; i < count; i++) {
        hyp_sequence *s = &batch[i]->sequence;
        rows[i] = hyp_row_at(s, 0, batch[i]->history[s->count], true);
        batch[i]->hidden = 0; // it will be in the leader's workspace, if anywhere
    }
    hyp_status status = hyp_forward(&batch[0]->workspace,
                                    &(hyp_batch){.rows = rows, .count = count, .logits = logits});
    uint32_t vocab = hyp_session_vocab(batch[0]);
    for (uint32_t i = 0; i < count && !status; i++) {
        memcpy(batch[i]->workspace.logits, logits + i * ((size_t)vocab + HYP_GROUP),
               vocab * sizeof *logits);
        batch[i]->stats.batched++;
    }
    return status;
}

// One pass for this session and those that wait.
static hyp_status lead(hyp_session *s, float **logits) {
    hyp_model *m = s->model;
    HYP_CHECK(s->batching == HYP_BATCHING_OFFERED, "a sequence is computed twice");
    s->batching = HYP_BATCHING_NONE; // nobody's offer any more: this fiber computes it
    if (m->batching || !batch_logits(m)) return alone(s, logits);
    hyp_session *batch[HYP_BATCH_SESSIONS];
    uint32_t n = take_offers(s, batch);
    if (n == 1) return alone(s, logits);
    m->batching = true;
    hyp_status status = forward_all(batch, n, m->batch_logits);
    m->batching = false;
    *logits = s->workspace.logits;
    for (uint32_t i = 1; i < n; i++) {
        hyp_session *o = batch[i];
        HYP_CHECK(o->batching == HYP_BATCHING_BATCHED && o->leader == s,
                  "a session was taken from a batch");
        // Cancelled: the others try again.
        o->batching = status == HYP_E_CANCELLED ? HYP_BATCHING_OFFERED : HYP_BATCHING_DONE;
        o->batching_status = status;
        hyp_event_signal(&o->unbatched);
    }
    if (s->cancelled) return status;
    // It may have been cancelled for the sake of another session, and wants its token still.
    hyp_task_uncancel();
    return status == HYP_E_CANCELLED ? alone(s, logits) : status;
}

hyp_status hyp_batch_decode(hyp_session *s, float **logits) {
    // What is read for a pass must not hold up the others' tokens: with pages that come and go,
    // everyone computes for itself.
    if (!hyp_weights_whole(&s->model->net.weights)) return alone(s, logits);
    hyp_status status = HYP_OK;
    hyp_sched *sched = s->model->engine->sched;
    // Who is in the middle of a pass comes within the work of one; others' work in between is
    // allowed for, and then nobody is waited for. Nor when nobody computes for some turns, in which
    // calls may end and begin: then who is missing waits for a source.
    uint64_t work = hyp_sched_get_stats(sched).work, before;
    uint32_t idle = 0;
    uint64_t until = work + (uint64_t)(missing(s) + 1) * WAIT_PASSES * s->model->net.graph.row_work;
    s->batching = HYP_BATCHING_OFFERED;
    for (;; idle = work == before ? idle + 1 : 0) {
        while (s->batching == HYP_BATCHING_BATCHED) hyp_event_wait_firm(&s->unbatched);
        if (s->batching == HYP_BATCHING_DONE) {
            *logits = s->workspace.logits;
            status = s->batching_status;
            break;
        }
        if (hyp_task_cancelled()) {
            status = HYP_E_CANCELLED;
            break;
        }
        if (missing(s) == 0 || idle > IDLE_TURNS || work > until) {
            status = lead(s, logits);
            break;
        }
        before = work;
        (void)hyp_task_yield(); // whoever is ready comes before this one again
        work = hyp_sched_get_stats(sched).work;
    }
    s->batching = HYP_BATCHING_NONE;
    return status;
}

void hyp_batch_cancel(hyp_session *s) {
    s->cancelled = true;
    if (s->batching == HYP_BATCHING_BATCHED) hyp_task_cancel(s->leader->task);
    hyp_task_cancel(s->task);
}
