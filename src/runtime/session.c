#include "batch.h"

#include "../base/bytes.h"
#include "../base/fmath.h"
#include "../port.h"
#include "../text/unicode.h"

enum { MAX_STOP_BYTES = 256, USUAL_GUESSES = 4 };

_Static_assert((int)HYP_PURPOSE_BACKGROUND == HYP_INTENT_BACKGROUND &&
                   (int)HYP_PURPOSE_BATCH == HYP_INTENT_BATCH &&
                   (int)HYP_PURPOSE_DEADLINE == HYP_INTENT_DEADLINE,
               "a purpose is handed on as an intent");

static void run_calls(void *session);

static hyp_fault *fault(const hyp_session *s) { return &s->model->engine->fault; }

static hyp_status open_draft(hyp_session *s, hyp_model *draft) {
    uint32_t vocab = s->model->transformer.shape.vocab, others = draft->transformer.shape.vocab;
    if (draft->engine != s->model->engine)
        return hyp_fail(fault(s), HYP_E_ARGUMENT, "the draft model belongs to another engine");
    if (others != vocab || draft->tokenizer.count != s->model->tokenizer.count)
        return hyp_fail(fault(s), HYP_E_ARGUMENT,
                        "the draft model's vocabulary of %u tokens is not this model's of %u",
                        others, vocab);
    return hyp_state_init(&s->draft, &draft->transformer, &s->arena, s->state.context,
                          s->state.batch, s->state.kv, fault(s));
}

hyp_status hyp_session_create(hyp_model *model, const hyp_session_config *config,
                              hyp_session **out) {
    static const hyp_session_config defaults;
    if (!config) config = &defaults;
    *out = NULL;
    hyp_arena arena;
    hyp_arena_init(&arena, &model->engine->budget);
    hyp_session *s = hyp_arena_alloc(&arena, sizeof *s);
    if (!s) return hyp_fail(&model->engine->fault, HYP_E_NOMEM, "not enough memory for a session");
    uint32_t context = config->context
                           ? config->context
                           : hyp_min_u32(model->transformer.shape.context, HYP_USUAL_CONTEXT);
    *s = (hyp_session){
        .model = model, .arena = arena, .held.budget = &model->engine->budget, .chosen = -1};
    hyp_arena_init(&s->answer, &model->engine->budget);
    s->fresh = hyp_arena_now(&s->answer);
    hyp_status status = hyp_state_init(
        &s->state, &model->transformer, &s->arena, context,
        config->batch ? config->batch : hyp_min_u32(HYP_USUAL_BATCH, context),
        config->cache == HYP_CACHE_Q8_0 ? HYP_KV_Q8_0 : HYP_KV_F16, &model->engine->fault);
    if (!status) {
        s->history = hyp_arena_alloc(&s->arena, context * sizeof *s->history);
        s->vector = hyp_arena_alloc(&s->arena, model->transformer.shape.dim * sizeof *s->vector);
        size_t timings = ((size_t)model->transformer.op_count + 1) * sizeof *s->state.timings;
        if (config->profile) s->state.timings = hyp_arena_alloc(&s->arena, timings);
        if (s->state.timings) memset(s->state.timings, 0, timings);
        uint32_t lookup = config->lookup ? config->lookup : config->draft ? USUAL_GUESSES : 0;
        s->lookup = hyp_min_u32(hyp_min_u32(lookup, HYP_LOOKUP_MOST), s->state.batch - 1);
        size_t ahead = (s->lookup + 1) * ((size_t)model->transformer.shape.vocab + HYP_GROUP) *
                       sizeof *s->ahead;
        if (s->lookup) s->ahead = hyp_arena_alloc(&s->arena, ahead);
        if ((s->lookup && !s->ahead) || !s->history || !s->vector ||
            (config->profile && !s->state.timings))
            status = hyp_fail(&model->engine->fault, HYP_E_NOMEM,
                              "not enough memory for a session");
    }
    if (!status && config->draft && s->lookup) status = open_draft(s, config->draft);
    if (!status && config->calibrate && hyp_state_observe(&s->state, &s->arena))
        status = hyp_fail(&model->engine->fault, HYP_E_NOMEM,
                          "not enough memory for a session's statistics");
    if (!status) {
        hyp_task_config task = {.name = "session",
                                .intent = (hyp_intent)config->purpose,
                                .deadline_ns = hyp_port_now_ns() + config->due_ns};
        status = hyp_sched_spawn(model->engine->sched, run_calls, s, &task, &s->task);
        if (status)
            status = hyp_fail(&model->engine->fault, status,
                              "not enough memory for a session's stack, or an unknown purpose");
    }
    if (status) {
        hyp_session_destroy(s);
        return status;
    }
    s->purpose = config->purpose;
    s->next = model->sessions;
    model->sessions = s;
    *out = s;
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
    hyp_pool_wait_idle(s->model->transformer.pool); // a late helper may read the cache
    if (s->draft.model) hyp_pool_wait_idle(s->draft.model->pool);
    hyp_buffer_deinit(&s->held);
    hyp_arena_deinit(&s->answer);
    hyp_arena arena = s->arena; // the session itself lives in it
    hyp_arena_deinit(&arena);
}

void hyp_session_cancel(hyp_session *s) {
    if (s->busy) hyp_batch_cancel(s);
}

void hyp_session_set_purpose(hyp_session *s, hyp_purpose purpose, uint64_t due_ns) {
    if (s->busy) return;
    s->purpose = purpose;
    hyp_task_set_intent(s->task, (hyp_intent)purpose, hyp_port_now_ns() + due_ns);
}

static hyp_status refuse(const hyp_session *s) {
    return hyp_fail(
        fault(s), HYP_E_STATE,
        "the session's last call is still under way: wait for its end, or use another session");
}

static hyp_status check_tokens(const hyp_session *s, const int32_t *tokens, uint32_t count) {
    uint32_t vocab = s->model->transformer.shape.vocab;
    if (count == 0)
        return hyp_fail(fault(s), HYP_E_ARGUMENT,
                        "the text has no tokens: give at least one (a model without a BOS token "
                        "has nothing to start from)");
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocab)
            return hyp_fail(fault(s), HYP_E_ARGUMENT, "token %d is not in the vocabulary of %u",
                            tokens[i], vocab);
    return HYP_OK;
}

hyp_status hyp_session_begin(hyp_session *s, const int32_t *tokens, uint32_t count,
                             const hyp_sampling *sampling, const hyp_text *stops,
                             uint32_t stop_count) {
    static const hyp_sampling greedy;
    if (s->busy) return refuse(s);
    s->ready = false;
    hyp_status status = check_tokens(s, tokens, count);
    if (status) return status;
    if (count >= s->state.context)
        return hyp_fail(fault(s), HYP_E_CONTEXT,
                        "a prompt of %u tokens leaves no room in a context of %u: shorten it or "
                        "ask for a longer context",
                        count, s->state.context);
    if (stop_count > HYP_STOPS_MAX)
        return hyp_fail(fault(s), HYP_E_ARGUMENT, "%u stop texts given; at most %d are possible",
                        stop_count, HYP_STOPS_MAX);
    hyp_arena_return(&s->answer, s->fresh);
    status = hyp_sampler_init(&s->sampler, sampling ? sampling : &greedy,
                              s->model->transformer.shape.vocab, &s->model->engine->kernels,
                              &s->answer, fault(s));
    if (status) return status;
    s->stops = hyp_arena_alloc(&s->answer, stop_count * sizeof *s->stops);
    s->stop_count = 0;
    for (uint32_t i = 0; i < stop_count && s->stops; i++) {
        size_t bytes = stops[i].bytes;
        if (bytes == 0 || bytes > MAX_STOP_BYTES)
            return hyp_fail(fault(s), HYP_E_ARGUMENT, "a stop text must have 1 to %d bytes",
                            MAX_STOP_BYTES);
        char *copy = hyp_arena_alloc(&s->answer, bytes);
        if (!copy) break;
        memcpy(copy, stops[i].data, bytes);
        s->stops[s->stop_count++] = (hyp_text){copy, bytes};
    }
    if (s->stop_count != stop_count)
        return hyp_fail(fault(s), HYP_E_NOMEM, "not enough memory for the stop texts");

    // The last token is always computed: its logits begin the answer.
    uint32_t shared = 0, most = hyp_min_u32(s->state.past, count - 1);
    while (shared < most && s->history[shared] == tokens[shared]) shared++;
    s->state.past = shared;
    s->draft.past = hyp_min_u32(s->draft.past, shared);
    s->rows = 0;
    s->chosen = -1;
    memcpy(s->history, tokens, count * sizeof *tokens);
    s->count = count;
    for (uint32_t i = 0; i < count; i++) hyp_sampler_accept(&s->sampler, tokens[i]);
    s->held.bytes = s->given = 0;
    s->finish = HYP_FINISH_NONE;
    s->stats = (hyp_session_stats){.reused = shared};
    s->ready = true;
    return HYP_OK;
}

// What failed in reading or packing the weights has said why already, and so has what overflowed.
static hyp_status computing_failed(const hyp_session *s, hyp_status status, uint32_t tokens) {
    if (status == HYP_E_IO || status == HYP_E_FORMAT) return status;
    return hyp_fail(fault(s), status, "computing %u tokens failed: %s", tokens,
                    hyp_status_message(status));
}

// One batch of what the cache still lacks of the text.
static hyp_status catch_up(hyp_session *s) {
    uint64_t start = hyp_port_now_ns();
    uint32_t step = hyp_min_u32(s->count - s->state.past, s->state.batch);
    hyp_status status = hyp_state_step(&s->state, s->history + s->state.past, step);
    if (status) return computing_failed(s, status, step);
    if (!hyp_state_finite(&s->state)) {
        s->state.past -= step;
        return hyp_transformer_overflowed(&s->model->transformer);
    }
    uint64_t spent = hyp_port_now_ns() - start;
    if (s->stats.answer_tokens) s->stats.answer_ns += spent;
    else s->stats.prompt_ns += spent, s->stats.prompt_tokens += step;
    return HYP_OK;
}

static hyp_status prefill(hyp_session *s, uint32_t *left) {
    if (!s->ready) return hyp_fail(fault(s), HYP_E_STATE, "begin an answer before asking for it");
    hyp_status status = s->state.past < s->count ? catch_up(s) : HYP_OK;
    *left = s->count - s->state.past;
    return status;
}

// How much of the held text is certain: `*stop` says that it ends at a stop text. Else what could
// begin one, or is half a character, is kept back.
static size_t certain(const hyp_session *s, bool *stop) {
    const char *text = (const char *)s->held.data;
    size_t bytes = s->held.bytes, keep = hyp_rune_unfinished(text, bytes);
    *stop = false;
    for (size_t at = 0; at < bytes; at++)
        for (uint32_t i = 0; i < s->stop_count; i++) {
            size_t n = s->stops[i].bytes < bytes - at ? s->stops[i].bytes : bytes - at;
            if (memcmp(text + at, s->stops[i].data, n)) continue;
            if (n == s->stops[i].bytes) {
                *stop = true;
                return at;
            }
            if (bytes - at > keep) keep = bytes - at;
        }
    return bytes - keep;
}

static void drop_given(hyp_session *s) {
    if (!s->given) return;
    memmove(s->held.data, s->held.data + s->given, s->held.bytes - s->given);
    s->held.bytes -= s->given;
    s->given = 0;
}

// ---- Guesses

enum { SAME_MOST = 3, SAME_LEAST = 2 }; // tokens that must have been said before

// What followed when the last tokens were last said: up to `most` tokens to `guess`.
static uint32_t look_up(const hyp_session *s, uint32_t most, int32_t *guess) {
    for (uint32_t n = SAME_MOST; n >= SAME_LEAST; n--)
        for (uint32_t at = s->count > n ? s->count - n : 0; at-- > 0;) {
            if (memcmp(s->history + at, s->history + s->count - n, n * sizeof *s->history))
                continue;
            uint32_t count = hyp_min_u32(most, s->count - at - n);
            memcpy(guess, s->history + at + n, count * sizeof *guess);
            return count;
        }
    return 0;
}

// What the draft model would say: its likeliest tokens, up to `most`, as long as it is surer of
// each than of all others together.
static hyp_status ask_draft(hyp_session *s, uint32_t most, int32_t *guess, uint32_t *count) {
    hyp_state *d = &s->draft;
    uint32_t vocab = d->model->shape.vocab;
    if (d->past >= s->count) d->past = s->count - 1; // guesses of a call that failed
    for (*count = 0; *count < most;) {
        hyp_status status = HYP_OK;
        float *logits;
        while (d->past < s->count && !status)
            status = hyp_state_step(d, s->history + d->past,
                                    hyp_min_u32(s->count - d->past, d->batch));
        if (!status && *count) status = hyp_state_step(d, guess + *count - 1, 1);
        if (!status) status = hyp_state_logits(d, d->last - 1, &logits);
        if (status) return status;
        float top = d->model->kernels->peak(logits, vocab);
        int32_t best = 0;
        while (best + 1 < (int32_t)vocab && logits[best] != top) best++;
        if (!(d->model->kernels->exps(logits, vocab, top) < 2))
            break; // the sum of e^(l - top) is 1 / p
        guess[(*count)++] = best;
    }
    return HYP_OK;
}

// Computes the token that is due, and guesses behind it, in one step; s->rows stays 0 when there is
// nothing to guess.
static hyp_status guess_ahead(hyp_session *s) {
    int32_t tokens[HYP_LOOKUP_MOST + 1];
    tokens[0] = s->history[s->state.past];
    uint32_t most = hyp_min_u32(s->lookup, s->state.context - s->count), n = 0;
    hyp_status status = HYP_OK;
    s->rows = s->row = 0;
    if (s->draft.model) status = ask_draft(s, most, tokens + 1, &n);
    else n = look_up(s, most, tokens + 1);
    if (n == 0 || status) return status;
    status = hyp_state_step(&s->state, tokens, n + 1);
    if (status) return status;
    s->state.past -=
        n + 1; // nothing is computed before its logits are; what is guessed is not yet said
    status = hyp_state_logits_of(&s->state, n + 1, s->ahead);
    if (status) return status;
    s->state.past++;
    memcpy(s->history + s->count, tokens + 1, n * sizeof *tokens); // where they would stand
    s->rows = n + 1;
    s->stats.drafted += n;
    return HYP_OK;
}

static void record_latency(hyp_session *s, uint64_t ns) {
    s->latency_us[s->latencies++ % HYP_LATENCIES] = ns / 1000 > UINT32_MAX ? UINT32_MAX
                                                                           : (uint32_t)(ns / 1000);
}

// Computes what is due and chooses the next token, into s->chosen.
static hyp_status choose(hyp_session *s) {
    bool began = s->stats.answer_tokens > 0;
    // The last token's hidden row is another session's, whose batch computed it: it is computed
    // again where its logits are still wanted.
    if (s->state.past == s->count && !s->state.last) s->state.past--;
    while (s->state.past + (began ? 1 : 0) < s->count) {
        hyp_status status = catch_up(s);
        if (status) return status;
    }
    uint64_t start = hyp_port_now_ns();
    float *logits;
    hyp_status status = HYP_OK;
    if (s->lookup && s->state.past < s->count) status = guess_ahead(s);
    if (status) return status;
    if (s->row < s->rows)
        logits = s->ahead + s->row++ * ((size_t)s->model->transformer.shape.vocab + HYP_GROUP);
    else if (s->state.past < s->count) status = hyp_batch_decode(s, &logits);
    else status = hyp_state_logits(&s->state, s->state.last - 1, &logits);
    if (status) return status;
    s->chosen = hyp_sampler_choose(&s->sampler, logits);
    if (s->chosen < 0) {
        s->state.past = s->count - 1; // the next call computes it again
        s->rows = s->row = 0;
        return hyp_transformer_overflowed(&s->model->transformer);
    }
    uint64_t spent = hyp_port_now_ns() - start;
    s->stats.answer_ns += spent;
    if (began) record_latency(s, spent); // the first token's is the prompt's
    return HYP_OK;
}

static hyp_status next(hyp_session *s, hyp_piece *piece) {
    *piece = (hyp_piece){.token = -1, .text = "", .finish = s->finish};
    if (!s->ready) return hyp_fail(fault(s), HYP_E_STATE, "begin an answer before asking for it");
    if (s->finish) return hyp_fail(fault(s), HYP_E_STATE, "the answer has ended: begin another");
    drop_given(s);
    if (s->count == s->state.context) s->finish = HYP_FINISH_CONTEXT;
    else {
        hyp_status status = s->chosen < 0 ? choose(s) : HYP_OK;
        if (status) return computing_failed(s, status, 1);
        int32_t token = s->chosen;
        if (hyp_tokenizer_ends(&s->model->tokenizer, token)) s->finish = HYP_FINISH_END;
        else {
            hyp_text text = hyp_tokenizer_piece(&s->model->tokenizer, token, false);
            if (!hyp_buffer_append(&s->held, text.data, text.bytes))
                return hyp_fail(fault(s), HYP_E_NOMEM, "not enough memory for the answer's text");
            hyp_sampler_accept(&s->sampler, token);
            bool right = s->row < s->rows && s->history[s->count] == token;
            s->history[s->count++] = token;
            if (right)
                s->state.past++,
                    s->stats.accepted++; // it is in the cache already, and its logits are known
            else s->rows = s->row = 0, s->draft.past = hyp_min_u32(s->draft.past, s->count - 1);
        }
        piece->token = token;
        s->chosen = -1;
        s->stats.answer_tokens++;
    }
    bool stop;
    size_t ready = certain(s, &stop);
    if (stop) {
        s->finish = HYP_FINISH_STOP;
        s->held.bytes = ready;
    } else if (s->finish) ready = s->held.bytes;
    if (ready) piece->text = (const char *)s->held.data;
    piece->bytes = s->given = ready;
    piece->finish = s->finish;
    return HYP_OK;
}

void hyp_session_flush(hyp_session *s, const char **text, size_t *bytes) {
    *text = "";
    *bytes = 0;
    if (s->busy) return;
    drop_given(s);
    *text = s->held.bytes ? (const char *)s->held.data : "";
    *bytes = s->given = s->held.bytes;
}

// Runs a whole text from an empty cache, handing each batch to `visit`.
static hyp_status run_all(hyp_session *s, const int32_t *tokens, uint32_t count,
                          hyp_status (*visit)(hyp_session *, uint32_t from, uint32_t n, void *),
                          void *context) {
    if (count > s->state.context)
        return hyp_fail(fault(s), HYP_E_CONTEXT, "a text of %u tokens does not fit a context of %u",
                        count, s->state.context);
    hyp_status status = check_tokens(s, tokens, count);
    if (status) return status;
    for (uint32_t at = 0, n; at < count; at += n) {
        n = hyp_min_u32(count - at, s->state.batch);
        status = hyp_state_step(&s->state, tokens + at, n);
        if (!status && !hyp_state_finite(&s->state))
            status = hyp_transformer_overflowed(&s->model->transformer);
        if (!status) status = visit(s, at, n, context);
        if (status) return computing_failed(s, status, n);
    }
    s->state.past = 0;
    return HYP_OK;
}

typedef struct pool {
    hyp_pooling kind;
    uint32_t count;
} pool;

static hyp_status pool_batch(hyp_session *s, uint32_t from, uint32_t n, void *context) {
    const pool *p = context;
    uint32_t dim = s->model->transformer.shape.dim;
    for (uint32_t t = 0; t < n; t++) {
        const float *h = hyp_state_hidden(&s->state, t);
        if (p->kind == HYP_POOL_MEAN)
            for (uint32_t i = 0; i < dim; i++) s->vector[i] += h[i];
        else if (from + t == (p->kind == HYP_POOL_CLS ? 0 : p->count - 1))
            memcpy(s->vector, h, dim * sizeof *h);
    }
    return HYP_OK;
}

static hyp_status embed(hyp_session *s, const int32_t *tokens, uint32_t count,
                        hyp_pooling pooling) {
    uint32_t dim = s->model->transformer.shape.dim;
    memset(s->vector, 0, dim * sizeof *s->vector);
    pool p = {pooling, count};
    hyp_status status = run_all(s, tokens, count, pool_batch, &p);
    if (status) return status;
    float square = 0;
    for (uint32_t i = 0; i < dim; i++) square += s->vector[i] * s->vector[i];
    if (!(square < __builtin_inff())) return hyp_transformer_overflowed(&s->model->transformer);
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
    uint32_t vocab = s->model->transformer.shape.vocab;
    for (uint32_t t = 0; t < n; t++) {
        float *l;
        hyp_status status = hyp_state_logits(&s->state, t, &l);
        if (status) return status;
        float top = l[0];
        double sum = 0;
        for (uint32_t i = 1; i < vocab; i++) top = l[i] > top ? l[i] : top;
        for (uint32_t i = 0; i < vocab; i++) sum += (double)hyp_expf(l[i] - top);
        if (!(sum == sum))
            return hyp_transformer_overflowed(
                &s->model->transformer); // one logit is NaN, or the largest is infinite
        float shift = top + (float)hyp_log(sum);
        for (uint32_t i = 0; i < vocab; i++) l[i] -= shift;
        c->visit(c->context, from + t, l);
    }
    return HYP_OK;
}

// ---- Calls

static hyp_status run_call(hyp_session *s) {
    const hyp_call *call = &s->call;
    hyp_result *r = &s->result;
    *r = (hyp_result){
        .piece.text = "", .vector = s->vector, .dim = s->model->transformer.shape.dim};
    switch (call->kind) {
    case HYP_CALL_PREFILL: return prefill(s, &r->left);
    case HYP_CALL_NEXT: return next(s, &r->piece);
    case HYP_CALL_EMBED: return embed(s, call->tokens, call->count, call->pooling);
    default:
        return run_all(s, call->tokens, call->count, score_batch,
                       &(scorer){call->visit, call->context});
    }
}

// The session's fiber.
static void run_calls(void *session) {
    hyp_session *s = session;
    for (;;) {
        while (!s->busy)
            if (hyp_event_wait(&s->posted, 0) && !s->busy) return;
        s->result.status = s->cancelled ? hyp_fail(fault(s), HYP_E_CANCELLED,
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
    if (s->busy) return refuse(s);
    s->call = *call;
    if (call->kind == HYP_CALL_EMBED ||
        call->kind == HYP_CALL_SCORE) { // they drop the session's text: its place takes the tokens
        s->ready = false;
        s->state.past = s->draft.past = s->count = s->rows = s->row = 0;
        if (call->count <= s->state.context)
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
        return hyp_fail(fault(s), status,
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

hyp_session_stats hyp_session_get_stats(const hyp_session *s) {
    hyp_session_stats stats = s->stats;
    stats.context = s->state.context;
    stats.used = s->count;
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

static const char *name_of(const hyp_op *o) {
    static const char *const names[HYP_OP_KINDS] = {
        "embed", "norm", "matmul", "bias", "head_norm", "rope", "attention", "glu", "add"};
    if (o->kind != HYP_OP_MATMUL) return names[o->kind];
    return o->dst == HYP_SLOT_QKV   ? "qkv"
           : o->dst == HYP_SLOT_FFN ? "gate_up"
           : o->src == HYP_SLOT_ATT ? "attn_output"
                                    : "ffn_down";
}

bool hyp_session_operation(const hyp_session *s, uint32_t index, hyp_operation *out) {
    const hyp_transformer *m = &s->model->transformer;
    if (!s->state.timings || index > m->op_count) return false;
    const hyp_timing *t = &s->state.timings[index];
    bool logits = index == m->op_count;
    *out = (hyp_operation){
        .name = logits ? "output" : name_of(&m->ops[index]),
        .layer = logits || m->ops[index].layer == UINT16_MAX ? UINT32_MAX : m->ops[index].layer,
        .ns = t->ns,
        .bytes = t->bytes,
        .macs = t->macs,
        .began_ns = t->began_ns,
        .last_ns = t->last_ns};
    return true;
}

void hyp_session_reset_profile(hyp_session *s) {
    s->latencies = 0;
    if (s->state.timings)
        memset(s->state.timings, 0,
               (s->model->transformer.op_count + 1) * sizeof *s->state.timings);
}
