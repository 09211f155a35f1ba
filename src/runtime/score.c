// Whole texts: embeddings, and the probabilities of each token.
#include "../base/bytes.h"
#include "../base/fmath.h"
#include "engine.h"

// Runs a whole text from an empty cache, handing each batch to `visit`.
static hyp_status run_all(hyp_session *s, const int32_t *tokens, uint32_t count,
                          hyp_status (*visit)(hyp_session *, uint32_t from, uint32_t n, void *),
                          void *context) {
    if (count > s->sequence.context)
        return hyp_fail(hyp_session_fault(s), HYP_E_CONTEXT,
                        "a text of %u tokens does not fit a context of %u", count,
                        s->sequence.context);
    hyp_status status = hyp_session_check_tokens(s, tokens, count);
    if (status) return status;
    for (uint32_t at = 0, n; at < count; at += n) {
        n = hyp_min_u32(count - at, s->workspace.rows_most);
        s->hidden = 0;
        status = hyp_forward_tokens(&s->workspace, &s->sequence, tokens + at, n, NULL);
        if (!status && !hyp_hidden_finite(&s->workspace, n))
            status = hyp_net_overflowed(&s->model->net);
        if (!status) status = visit(s, at, n, context);
        if (status) return hyp_session_failed(s, status, n);
    }
    hyp_sequence_trim(&s->sequence, 0);
    return HYP_OK;
}

typedef struct pool {
    hyp_pooling kind;
    uint32_t count;
} pool;

static hyp_status pool_batch(hyp_session *s, uint32_t from, uint32_t n, void *context) {
    const pool *p = context;
    uint32_t dim = s->model->shape.dim;
    for (uint32_t t = 0; t < n; t++) {
        const float *h = hyp_hidden(&s->workspace, t);
        if (p->kind == HYP_POOL_MEAN)
            for (uint32_t i = 0; i < dim; i++) s->vector[i] += h[i];
        else if (from + t == (p->kind == HYP_POOL_CLS ? 0 : p->count - 1))
            memcpy(s->vector, h, dim * sizeof *h);
    }
    return HYP_OK;
}

hyp_status hyp_embed_text(hyp_session *s, const int32_t *tokens, uint32_t count,
                          hyp_pooling pooling) {
    uint32_t dim = s->model->shape.dim;
    memset(s->vector, 0, dim * sizeof *s->vector);
    pool p = {pooling, count};
    hyp_status status = run_all(s, tokens, count, pool_batch, &p);
    if (status) return status;
    float square = 0;
    for (uint32_t i = 0; i < dim; i++) square += s->vector[i] * s->vector[i];
    if (!(square < __builtin_inff())) return hyp_net_overflowed(&s->model->net);
    float scale = square > 0 ? 1.0f / hyp_sqrtf(square) : 0;
    for (uint32_t i = 0; i < dim; i++) s->vector[i] *= scale;
    return HYP_OK;
}

typedef struct scorer {
    void (*visit)(void *, uint32_t, const float *);
    void *context;
} scorer;

static hyp_status score_batch(hyp_session *s, uint32_t from, uint32_t n, void *context) {
    const scorer *c = context;
    uint32_t vocab = hyp_session_vocab(s);
    for (uint32_t t = 0; t < n; t++) {
        float *l = s->workspace.logits;
        hyp_status status = hyp_logits(&s->workspace, t, 1, l);
        if (status) return status;
        float top = l[0];
        double sum = 0;
        for (uint32_t i = 1; i < vocab; i++) top = l[i] > top ? l[i] : top;
        for (uint32_t i = 0; i < vocab; i++) sum += (double)hyp_expf(l[i] - top);
        if (!(sum == sum))
            return hyp_net_overflowed(
                &s->model->net); // one logit is NaN, or the largest is infinite
        float shift = top + (float)hyp_log(sum);
        for (uint32_t i = 0; i < vocab; i++) l[i] -= shift;
        c->visit(c->context, from + t, l);
    }
    return HYP_OK;
}

hyp_status hyp_score_text(hyp_session *s, const int32_t *tokens, uint32_t count,
                          void (*visit)(void *, uint32_t, const float *), void *context) {
    return run_all(s, tokens, count, score_batch, &(scorer){visit, context});
}
