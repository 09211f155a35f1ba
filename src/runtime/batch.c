#include "batch.h"

#include "../base/check.h"

enum { WAIT_STEPS = 2, IDLE_TURNS = 2 * HYP_BATCH_SESSIONS };

// Will `other` come to the same point, about to compute one token for the same purpose? Who guesses
// ahead computes for itself.
static bool decodes(const hyp_session *s, const hyp_session *other) {
    return other->busy && !other->cancelled && !other->lookup &&
           other->call.kind == HYP_CALL_NEXT && other->purpose == s->purpose && other->ready &&
           !other->finish && other->count - other->state.past <= 1 &&
           other->count < other->state.context;
}

// How many sessions of a batch have not arrived yet.
static uint32_t missing(const hyp_session *s) {
    uint32_t n = 0;
    for (const hyp_session *o = s->model->sessions; o; o = o->next)
        n += o != s && decodes(s, o) && o->turn != HYP_TURN_WAITING;
    return n;
}

static hyp_status alone(hyp_session *s, float **logits) {
    hyp_status status = hyp_state_step(&s->state, s->history + s->state.past, 1);
    return status ? status : hyp_state_logits(&s->state, 0, logits);
}

// Room for the logits of a batch. Not worth pages of weights: under a memory limit only where it is
// free.
static float *batch_logits(hyp_model *m) {
    size_t bytes = HYP_BATCH_SESSIONS * ((size_t)m->transformer.shape.vocab + HYP_GROUP) *
                   sizeof(float);
    if (!m->batch_logits && hyp_budget_left(&m->engine->budget) > bytes)
        m->batch_logits = hyp_arena_alloc(&m->arena, bytes);
    return m->batch_logits;
}

// Takes what sessions offer into `batch`, behind the leader; returns how many they are with it.
static uint32_t take_offers(hyp_session *leader, hyp_session **batch) {
    uint32_t n = 1, most = hyp_min_u32(leader->state.batch, HYP_BATCH_SESSIONS);
    batch[0] = leader;
    for (hyp_session *o = leader->model->sessions; o && n < most; o = o->next) {
        if (o == leader || o->turn != HYP_TURN_WAITING || o->purpose != leader->purpose) continue;
        o->turn = HYP_TURN_BATCHED;
        o->leader = leader;
        batch[n++] = o;
    }
    return n;
}

// One step for this session and those that wait.
static hyp_status lead(hyp_session *s, float **logits) {
    hyp_model *m = s->model;
    HYP_CHECK(s->turn == HYP_TURN_WAITING, "a turn is taken twice");
    s->turn = HYP_TURN_NONE; // nobody's offer any more: this fiber computes it
    if (m->batching || !batch_logits(m)) return alone(s, logits);
    hyp_session *batch[HYP_BATCH_SESSIONS];
    hyp_state *states[HYP_BATCH_SESSIONS];
    int32_t tokens[HYP_BATCH_SESSIONS];
    uint32_t n = take_offers(s, batch);
    if (n == 1) return alone(s, logits);
    for (uint32_t i = 0; i < n; i++) {
        states[i] = &batch[i]->state;
        tokens[i] = batch[i]->history[batch[i]->state.past];
    }
    m->batching = true;
    hyp_status status = hyp_state_gather(&s->state, states, tokens, n, m->batch_logits);
    m->batching = false;
    *logits = s->state.logits;
    if (!status) s->stats.batched++;
    for (uint32_t i = 1; i < n; i++) {
        hyp_session *o = batch[i];
        HYP_CHECK(o->turn == HYP_TURN_BATCHED && o->leader == s, "a turn was taken from a batch");
        o->turn = status == HYP_E_CANCELLED ? HYP_TURN_WAITING
                                            : HYP_TURN_DONE; // cancelled: the others try again
        o->turn_status = status;
        if (!status) o->stats.batched++;
        hyp_event_signal(&o->turned);
    }
    if (s->cancelled) return status;
    hyp_task_uncancel(); // it may have been cancelled for the sake of another session, and wants
                         // its token still
    return status == HYP_E_CANCELLED ? alone(s, logits) : status;
}

hyp_status hyp_batch_decode(hyp_session *s, float **logits) {
    // What is read for a step must not hold up the others' tokens: with pages that come and go,
    // everyone computes for itself.
    if (!hyp_weights_whole(&s->model->transformer.weights)) return alone(s, logits);
    hyp_status status = HYP_OK;
    hyp_sched *sched = s->model->engine->sched;
    // Who is in the middle of a step comes within the work of one; others' work in between is
    // allowed for, and then nobody is waited for. Nor when nobody computes for some turns, in which
    // calls may end and begin: then who is missing waits for a source.
    uint64_t work = hyp_sched_get_stats(sched).work, before;
    uint32_t idle = 0;
    uint64_t until = work +
                     (uint64_t)(missing(s) + 1) * WAIT_STEPS * s->model->transformer.step_work;
    s->turn = HYP_TURN_WAITING;
    for (;; idle = work == before ? idle + 1 : 0) {
        while (s->turn == HYP_TURN_BATCHED) hyp_event_wait_firm(&s->turned);
        if (s->turn == HYP_TURN_DONE) {
            *logits = s->state.logits;
            status = s->turn_status;
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
    s->turn = HYP_TURN_NONE;
    return status;
}

void hyp_batch_cancel(hyp_session *s) {
    s->cancelled = true;
    if (s->turn == HYP_TURN_BATCHED) hyp_task_cancel(s->leader->task);
    hyp_task_cancel(s->task);
}
