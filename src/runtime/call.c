// Calls: what a session is asked to do, run by its fiber one after the other.
#include "call.h"

#include "../base/bytes.h"

static hyp_status run_call(hyp_session *s) {
    const hyp_call *call = &s->call;
    hyp_result *r = &s->result;
    *r = (hyp_result){.piece.text = "", .vector = s->vector, .dim = s->model->shape.dim};
    hyp_status loading = hyp_load_failed(&s->model->net.load);
    if (loading) return loading;
    switch (call->kind) {
    case HYP_CALL_PREFILL: return hyp_answer_prefill(s, &r->left);
    case HYP_CALL_NEXT: return hyp_answer_next(s, &r->piece);
    case HYP_CALL_EMBED: return hyp_embed_text(s, call->tokens, call->count, call->pooling);
    default: return hyp_score_text(s, call->tokens, call->count, call->visit, call->context);
    }
}

// The session's fiber.
void hyp_run_calls(void *session) {
    hyp_session *s = session;
    for (;;) {
        while (!s->busy)
            if (hyp_event_wait(&s->posted, 0) && !s->busy) return;
        s->result.status = s->cancelled ? hyp_fail(hyp_session_fault(s), HYP_E_CANCELLED,
                                                   "the call was cancelled before it began")
                                        : run_call(s);
        s->busy = false;
        if (s->cancelled && !s->closing)
            hyp_task_uncancel(); // the call was, and the next one is another
        s->cancelled = false;
        s->model->engine->ended = true;
        if (s->call.ended) s->call.ended(s->call.context, s, s->result.status);
        if (hyp_task_cancelled()) return;
    }
}

hyp_status hyp_session_post(hyp_session *s, const hyp_call *call) {
    if (s->busy) return hyp_session_refuse(s);
    s->call = *call;
    if (call->kind == HYP_CALL_EMBED ||
        call->kind == HYP_CALL_SCORE) { // they drop the session's text: its place takes the tokens
        s->ready = false;
        hyp_session_remember(s, 0);
        hyp_sequence_trim(&s->sequence, 0);
        hyp_sequence_trim(&s->draft.sequence, 0);
        s->count = s->rows = s->row = 0;
        s->unread.bytes = s->unread_at = 0;
        if (call->count <= s->sequence.context)
            memcpy(s->history, call->tokens, call->count * sizeof *call->tokens);
        s->call.tokens = s->history;
    }
    s->busy = true;
    hyp_event_signal(&s->posted);
    return HYP_OK;
}

bool hyp_session_busy(const hyp_session *s) { return s->busy; }
const hyp_result *hyp_session_result(const hyp_session *s) { return &s->result; }

static bool is_free(void *session) { return !((hyp_session *)session)->busy; }

// Begins a call and runs the engine until it has ended.
static hyp_status call(hyp_session *s, const hyp_call *what) {
    hyp_status status = hyp_session_post(s, what);
    if (!status) status = hyp_sched_run_until(s->model->engine->sched, is_free, s);
    if (status == HYP_E_STATE && s->busy)
        return hyp_fail(hyp_session_fault(s), status,
                        "the source answers later: post the call and run the engine instead");
    return status ? status : s->result.status;
}

hyp_status hyp_session_prefill(hyp_session *s, uint32_t *left) {
    hyp_status status = call(s, &(hyp_call){.kind = HYP_CALL_PREFILL});
    *left = s->result.left;
    return status;
}

hyp_status hyp_session_next(hyp_session *s, hyp_piece *piece) {
    hyp_status status = call(s, &(hyp_call){.kind = HYP_CALL_NEXT});
    *piece = s->result.piece;
    return status;
}

hyp_status hyp_session_embed(hyp_session *s, const int32_t *tokens, uint32_t count,
                             hyp_pooling pooling, const float **vector, uint32_t *dim) {
    hyp_status status = call(
        s,
        &(hyp_call){.kind = HYP_CALL_EMBED, .tokens = tokens, .count = count, .pooling = pooling});
    *vector = s->result.vector;
    *dim = s->result.dim;
    return status;
}

hyp_status hyp_session_score(hyp_session *s, const int32_t *tokens, uint32_t count,
                             void (*visit)(void *, uint32_t, const float *), void *context) {
    return call(s, &(hyp_call){.kind = HYP_CALL_SCORE,
                               .tokens = tokens,
                               .count = count,
                               .visit = visit,
                               .context = context});
}
