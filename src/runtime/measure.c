// Calls that measure a model: its speed, how well it predicts texts, what each column of its
// weights counts for. They use the public interface, with sessions of their own.
#include "engine.h"

#include "../base/bytes.h"
#include "../base/fmath.h"
#include "../text/json.h"

enum {
    PROMPT_TOKENS = 126,
    ANSWER_TOKENS = 64,
    RUNS = 5,
    CONTEXT_LEAST = 512,
    WINDOW_FLOATS = 1 << 26 // of a reference's log-probabilities
};

typedef struct progress { // of a call
    hyp_engine *engine;
    bool (*tell)(void *context, uint64_t done, uint64_t total);
    void *context;
    uint64_t total;
} progress;

static hyp_status tell(const progress *p, uint64_t done) {
    return !p->tell || p->tell(p->context, done, p->total) ? HYP_OK : HYP_E_CANCELLED;
}

static hyp_status no_memory(hyp_engine *engine) {
    return hyp_fail(&engine->fault, HYP_E_NOMEM, "not enough memory to measure");
}

// Hands the object over to the engine, where it lives until the next result.
static hyp_status give(hyp_engine *engine, hyp_json *json, hyp_status status, const char **out,
                       size_t *bytes) {
    if (!status && json->failed) status = no_memory(engine);
    if (status == HYP_E_CANCELLED)
        status = hyp_fail(&engine->fault, status, "measuring was stopped");
    *out = NULL;
    *bytes = 0;
    if (status) {
        hyp_buffer_deinit(&json->out);
        return status;
    }
    hyp_buffer_deinit(&engine->text);
    engine->text = json->out;
    *out = (const char *)engine->text.data;
    *bytes = engine->text.bytes;
    return HYP_OK;
}

// A task that was cancelled waits once more: for its session's fiber to end.
static void destroy(hyp_session *session) {
    if (hyp_task_cancelled()) hyp_task_uncancel();
    hyp_session_destroy(session);
}

// ---- Speed

// A prompt that begins differently in each run, so that nothing is reused.
static void fill_prompt(int32_t *tokens, uint32_t count, uint32_t run, uint32_t vocab) {
    for (uint32_t i = 0; i < count; i++) tokens[i] = (int32_t)((i * 31 + run * 7 + 300) % vocab);
}

static hyp_status read_prompt(hyp_session *session, const int32_t *tokens, uint32_t count) {
    hyp_status status = hyp_session_begin(session, tokens, count, NULL, NULL, 0);
    for (uint32_t left = count; left && !status;) status = hyp_session_prefill(session, &left);
    return status;
}

static hyp_status write_answer(hyp_session *session, uint32_t count) {
    hyp_piece piece = {.finish = HYP_FINISH_NONE};
    hyp_status status = HYP_OK;
    for (uint32_t made = 0; made < count && !piece.finish && !status; made++)
        status = hyp_session_next(session, &piece);
    return status;
}

static double rate(uint32_t tokens, uint64_t ns) { return ns ? tokens / ((double)ns / 1e9) : 0; }

static double median(double *values, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        double value = values[i];
        uint32_t at = i;
        for (; at > 0 && values[at - 1] > value; at--) values[at] = values[at - 1];
        values[at] = value;
    }
    return values[count / 2];
}

// The operations of one name, from its first one on: *index is that one's number before, and the
// next name's first one's after. False: there are no more.
static bool sum_of_name(const hyp_session *session, uint32_t *index, hyp_operation *sum) {
    hyp_operation o;
    for (; hyp_session_operation(session, *index, sum); ++*index) {
        bool known = !sum->ns; // nothing but zeros is part of the operation before
        for (uint32_t i = 0; i < *index && !known; i++)
            known = hyp_session_operation(session, i, &o) && o.ns && !strcmp(o.name, sum->name);
        if (known) continue;
        for (uint32_t i = ++*index; hyp_session_operation(session, i, &o); i++) {
            if (strcmp(o.name, sum->name) != 0) continue;
            sum->ns += o.ns;
            sum->bytes += o.bytes;
            sum->macs += o.macs;
        }
        return true;
    }
    return false;
}

static void put_operation_times(hyp_json *json, const hyp_session *session) {
    hyp_operation sum;
    hyp_json_open(json, "operationMs", '{');
    for (uint32_t i = 0; sum_of_name(session, &i, &sum);)
        hyp_json_fixed(json, sum.name, (double)sum.ns / 1e6, 3);
    hyp_json_close(json, '}');
}

static void put_profile(hyp_json *json, const char *key, const hyp_session *session,
                        uint32_t tokens) {
    hyp_operation o;
    hyp_json_open(json, key, '{');
    hyp_json_open(json, "operations", '{');
    for (uint32_t i = 0; sum_of_name(session, &i, &o);) {
        hyp_json_open(json, o.name, '{');
        hyp_json_fixed(json, "usPerToken", (double)o.ns / 1e3 / tokens, 3);
        hyp_json_fixed(json, "gbPerSecond", (double)o.bytes / (double)o.ns, 3);
        hyp_json_fixed(json, "gmacPerSecond", (double)o.macs / (double)o.ns, 3);
        hyp_json_close(json, '}');
    }
    hyp_json_close(json, '}');
    uint32_t layers = 0;
    for (uint32_t i = 0; hyp_session_operation(session, i, &o); i++)
        if (o.layer != UINT32_MAX && o.ns) layers = hyp_max_u32(layers, o.layer + 1);
    hyp_json_open(json, "layersUsPerToken", '[');
    for (uint32_t layer = 0; layer < layers; layer++) {
        uint64_t ns = 0;
        for (uint32_t i = 0; hyp_session_operation(session, i, &o); i++)
            if (o.layer == layer) ns += o.ns;
        hyp_json_fixed(json, NULL, (double)ns / 1e3 / tokens, 3);
    }
    hyp_json_close(json, ']');
    hyp_json_close(json, '}');
}

// The last step, as complete events of the trace format that Perfetto and Chrome read, in
// microseconds.
static void put_trace(hyp_json *json, const char *phase, const hyp_session *session) {
    hyp_operation o;
    for (uint32_t i = 0; hyp_session_operation(session, i, &o); i++) {
        if (!o.last_ns) continue;
        hyp_json_open(json, NULL, '{');
        hyp_json_text(json, "name", o.name, strlen(o.name));
        hyp_json_text(json, "cat", phase, strlen(phase));
        hyp_json_text(json, "ph", "X", 1);
        hyp_json_number(json, "pid", 1);
        hyp_json_number(json, "tid", 1);
        hyp_json_fixed(json, "ts", (double)o.began_ns / 1e3, 3);
        hyp_json_fixed(json, "dur", (double)o.last_ns / 1e3, 3);
        hyp_json_open(json, "args", '{');
        hyp_json_number(json, "layer", o.layer == UINT32_MAX ? -1 : (double)o.layer);
        hyp_json_close(json, '}');
        hyp_json_close(json, '}');
    }
}

typedef struct bench {
    hyp_model *model;
    hyp_session *session;
    const hyp_bench_config *config;
    uint32_t prompt, answer, runs; // tokens of a run, and how many
    int32_t *tokens;               // of a prompt
    double prompts[HYP_BENCH_RUNS_MOST], answers[HYP_BENCH_RUNS_MOST]; // tokens per second
} bench;

// A run to warm up, and those that count.
static hyp_status run_all(bench *b) {
    progress p = {b->model->engine, b->config->progress, b->config->progress_context, b->runs + 1};
    hyp_status status = HYP_OK;
    for (uint32_t run = 0; run <= b->runs && !status; run++) {
        fill_prompt(b->tokens, b->prompt, run, hyp_model_get_info(b->model).vocab);
        status = read_prompt(b->session, b->tokens, b->prompt);
        if (!status) status = write_answer(b->session, b->answer);
        hyp_session_stats s = hyp_session_get_stats(b->session);
        if (run > 0) {
            b->prompts[run - 1] = rate(s.prompt_tokens, s.prompt_ns);
            b->answers[run - 1] = rate(s.answer_tokens, s.answer_ns);
        }
        if (!status) status = tell(&p, run + 1);
    }
    return status;
}

// One more prompt and answer, each looked at by itself.
static hyp_status profile(bench *b, hyp_json *json, hyp_json *events) {
    fill_prompt(b->tokens, b->prompt, b->runs + 1, hyp_model_get_info(b->model).vocab);
    if (b->config->profile) {
        hyp_peaks peaks = hyp_engine_measure(b->model->engine);
        hyp_json_open(json, "peaks", '{');
        hyp_json_fixed(json, "gbPerSecond", peaks.bytes_per_ns, 3);
        hyp_json_fixed(json, "gmacPerSecond", peaks.macs_per_ns, 3);
        hyp_json_close(json, '}');
    }
    hyp_session_reset_profile(b->session);
    hyp_status status = read_prompt(b->session, b->tokens, b->prompt);
    if (!status) status = write_answer(b->session, 1); // its logits are the prompt's
    if (status) return status;
    if (b->config->profile) put_profile(json, "prompt", b->session, b->prompt);
    put_trace(events, "prompt", b->session);
    hyp_session_reset_profile(b->session);
    status = write_answer(b->session, b->answer);
    if (status) return status;
    uint32_t answered = hyp_session_get_stats(b->session).answer_tokens;
    if (b->config->profile) put_profile(json, "answer", b->session, hyp_max_u32(answered, 2) - 1);
    put_trace(events, "answer", b->session);
    return HYP_OK;
}

static void put_figures(hyp_json *json, bench *b) {
    hyp_engine *engine = b->model->engine;
    hyp_workers workers = hyp_model_workers(b->model);
    const char *kernels = hyp_engine_kernels(engine);
    hyp_json_fixed(json, "promptTokensPerSecond", median(b->prompts, b->runs), 2);
    hyp_json_fixed(json, "answerTokensPerSecond", median(b->answers, b->runs), 2);
    hyp_json_number(json, "promptTokens", b->prompt);
    hyp_json_number(json, "answerTokens", b->answer);
    hyp_json_number(json, "runs", b->runs);
    hyp_json_number(json, "memoryPeakBytes", (double)engine->budget.peak_bytes);
    hyp_json_text(json, "kernels", kernels, strlen(kernels));
    hyp_json_number(json, "threads", workers.threads);
    hyp_json_fixed(json, "byWorkers",
                   workers.tiles ? (double)workers.by_workers / (double)workers.tiles : 0, 4);
    hyp_json_number(json, "repeated", (double)workers.repeated);
    hyp_session_stats s = hyp_session_get_stats(b->session);
    static const char *const percentiles[] = {"p50", "p90", "p95", "p99"};
    hyp_json_open(json, "latencyMs", '{');
    for (int i = 0; i < 4; i++)
        hyp_json_fixed(json, percentiles[i], (double)s.latency_ns[i] / 1e6, 3);
    hyp_json_close(json, '}');
    put_operation_times(json, b->session);
}

static hyp_status measure_speed(bench *b, hyp_json *json, hyp_json *events) {
    hyp_engine *engine = b->model->engine;
    hyp_session_config session = b->config->session;
    uint32_t takes = hyp_max_u32(b->prompt + b->answer + 1, CONTEXT_LEAST);
    if (!session.context)
        session.context = hyp_min_u32(takes, hyp_model_get_info(b->model).context);
    session.profile = true;
    hyp_status status = hyp_session_create(b->model, &session, &b->session);
    if (!status) b->session->apart = true; // what it measures is computed
    if (!status) status = run_all(b);
    if (status) return status;
    hyp_json_open(json, NULL, '{');
    put_figures(json, b);
    if (b->config->profile || b->config->trace) status = profile(b, json, events);
    if (!status && events->failed) status = no_memory(engine);
    if (b->config->trace) {
        hyp_json_open(json, "traceEvents", '[');
        hyp_json_value(json, NULL, (const char *)events->out.data, events->out.bytes);
        hyp_json_close(json, ']');
    }
    hyp_json_close(json, '}');
    return status;
}

hyp_status hyp_model_bench(hyp_model *model, const hyp_bench_config *config, const char **out,
                           size_t *bytes) {
    static const hyp_bench_config usual;
    if (!config) config = &usual;
    hyp_engine *engine = model->engine;
    bench b = {.model = model,
               .config = config,
               .prompt = config->prompt_tokens ? config->prompt_tokens : PROMPT_TOKENS,
               .answer = config->answer_tokens ? config->answer_tokens : ANSWER_TOKENS,
               .runs = config->runs ? config->runs : RUNS};
    hyp_json json = {.out.budget = &engine->budget}, events = json;
    hyp_status status = HYP_OK;
    if (b.prompt > HYP_CONTEXT_MOST || b.answer > HYP_CONTEXT_MOST || b.runs > HYP_BENCH_RUNS_MOST)
        status = hyp_fail(&engine->fault, HYP_E_ARGUMENT,
                          "prompt and answer must be at most %d tokens, and runs at most %d",
                          HYP_CONTEXT_MOST, HYP_BENCH_RUNS_MOST);
    size_t prompt_bytes = b.prompt * sizeof *b.tokens;
    if (!status) b.tokens = hyp_budget_alloc(&engine->budget, prompt_bytes, "bench");
    if (!status && !b.tokens) status = no_memory(engine);
    if (!status) status = measure_speed(&b, &json, &events);
    destroy(b.session);
    if (b.tokens) hyp_budget_free(&engine->budget, b.tokens, prompt_bytes);
    hyp_buffer_deinit(&events.out);
    return give(engine, &json, status, out, bytes);
}

// ---- Texts

typedef struct scoring { // of texts by windows of a whole context, each from an empty cache
    hyp_model *model;
    hyp_session *session, *reference; // reference: NULL, or the other model's
    const int32_t *tokens;            // of the window
    uint32_t count, vocab;
    hyp_buffer expected;              // the reference's log-probabilities: (count, vocab)
    uint64_t scored;                  // tokens that went in
    uint64_t counted, compared, same; // predictions: of known tokens, of any, of one opinion
    double loss, divergence;          // sums: of -log p, of the divergences
} scoring;

static void count_score(void *context, uint32_t position, const float *log_probabilities) {
    scoring *s = context;
    if (position + 1 >= s->count) return;
    s->loss -= (double)log_probabilities[s->tokens[position + 1]];
    s->counted++;
}

static float *expected_at(const scoring *s, uint32_t position) {
    return (float *)(void *)s->expected.data + (size_t)position * s->vocab;
}

static void keep_expected(void *context, uint32_t position, const float *log_probabilities) {
    scoring *s = context;
    memcpy(expected_at(s, position), log_probabilities, s->vocab * sizeof *log_probabilities);
}

// D(P || Q) = sum over tokens of p (log p - log q), P the reference's distribution [Kullback,
// Leibler 1951].
static void compare_score(void *context, uint32_t position, const float *log_probabilities) {
    scoring *s = context;
    const float *p = expected_at(s, position);
    uint32_t best_p = 0, best_q = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        s->divergence += hyp_exp((double)p[i]) * ((double)p[i] - (double)log_probabilities[i]);
        if (p[i] > p[best_p]) best_p = i;
        if (log_probabilities[i] > log_probabilities[best_q]) best_q = i;
    }
    s->same += best_p == best_q;
    s->compared++;
    count_score(context, position, log_probabilities);
}

static hyp_status score_window(scoring *s, const int32_t *tokens, uint32_t count) {
    s->tokens = tokens;
    s->count = count;
    s->scored += count;
    if (s->reference) {
        hyp_status status = hyp_session_score(s->reference, tokens, count, keep_expected, s);
        if (status) return status;
    }
    return hyp_session_score(s->session, tokens, count, s->reference ? compare_score : count_score,
                             s);
}

// `done`: bytes of the texts before this one.
static hyp_status score_text(scoring *s, hyp_text text, uint32_t context, const progress *p,
                             uint64_t done) {
    const int32_t *found;
    uint32_t count;
    hyp_status status = hyp_model_tokenize(s->model, text.data, text.bytes, HYP_TEXT_ADD_SPECIAL,
                                           &found, &count);
    if (status) return status;
    // A copy: others may tokenize while the windows are computed.
    hyp_buffer tokens = {.budget = &p->engine->budget};
    if (!hyp_buffer_append(&tokens, found, count * sizeof *found)) return no_memory(p->engine);
    const int32_t *all = (const int32_t *)(const void *)tokens.data;
    for (uint32_t from = 0, n; from < count && !status; from += n) {
        n = hyp_min_u32(count - from, context);
        status = score_window(s, all + from, n);
        if (!status) status = tell(p, done + text.bytes * (from + n) / count);
    }
    hyp_buffer_deinit(&tokens);
    return status;
}

static hyp_status score_texts(scoring *s, const hyp_text *texts, uint32_t count,
                              const hyp_scoring_config *config, uint32_t context) {
    progress p = {.engine = s->model->engine};
    if (config) {
        p.tell = config->progress;
        p.context = config->progress_context;
    }
    for (uint32_t i = 0; i < count; i++) p.total += texts[i].bytes;
    hyp_status status = HYP_OK;
    uint64_t done = 0;
    for (uint32_t i = 0; i < count && !status; i++) {
        if (texts[i].bytes) status = score_text(s, texts[i], context, &p, done);
        done += texts[i].bytes;
    }
    return status;
}

// Nothing is drafted where texts are only scored.
static hyp_session_config plain_session(const hyp_scoring_config *config) {
    hyp_session_config session = config ? config->session : (hyp_session_config){0};
    session.lookup = 0;
    session.draft = NULL;
    session.profile = session.calibrate = false;
    return session;
}

// Room for a window of the reference's opinions; *context becomes what both models have room for.
static hyp_status begin_comparison(scoring *s, hyp_model *reference,
                                   const hyp_session_config *config, uint32_t *context) {
    hyp_engine *engine = s->model->engine;
    s->vocab = hyp_model_get_info(s->model).vocab;
    if (reference->engine != engine || hyp_model_get_info(reference).vocab != s->vocab)
        return hyp_fail(&engine->fault, HYP_E_ARGUMENT,
                        reference->engine != engine
                            ? "the reference must be a model of the same engine"
                            : "the models have different vocabularies");
    hyp_status status = hyp_session_create(reference, config, &s->reference);
    if (status) return status;
    *context = hyp_min_u32(*context, hyp_session_get_stats(s->reference).context);
    *context = hyp_min_u32(*context, WINDOW_FLOATS / s->vocab + 1);
    return hyp_buffer_reserve(&s->expected, (size_t)*context * s->vocab * sizeof(float))
               ? HYP_OK
               : hyp_fail(&engine->fault, HYP_E_NOMEM,
                          "not enough memory for the reference's predictions of %u tokens: try a "
                          "shorter context",
                          *context);
}

hyp_status hyp_model_perplexity(hyp_model *model, const hyp_text *texts, uint32_t count,
                                hyp_model *reference, const hyp_scoring_config *config,
                                const char **out, size_t *bytes) {
    hyp_engine *engine = model->engine;
    hyp_json json = {.out.budget = &engine->budget};
    scoring s = {.model = model, .expected.budget = &engine->budget};
    hyp_session_config session = plain_session(config);
    hyp_status status = hyp_session_create(model, &session, &s.session);
    uint32_t context = status ? 0 : hyp_session_get_stats(s.session).context;
    if (!status && reference) status = begin_comparison(&s, reference, &session, &context);
    if (!status) status = score_texts(&s, texts, count, config, context);
    destroy(s.session);
    destroy(s.reference);
    hyp_buffer_deinit(&s.expected);
    if (!status && !s.counted)
        status = hyp_fail(&engine->fault, HYP_E_ARGUMENT, "the text has no token to predict");
    if (!status) {
        hyp_json_open(&json, NULL, '{');
        hyp_json_fixed(&json, "perplexity", hyp_exp(s.loss / (double)s.counted), 6);
        hyp_json_number(&json, "tokens", (double)s.counted);
        if (reference) {
            hyp_json_fixed(&json, "divergence", s.divergence / (double)s.compared, 8);
            hyp_json_fixed(&json, "sameTop", (double)s.same / (double)s.compared, 6);
        }
        hyp_json_close(&json, '}');
    }
    return give(engine, &json, status, out, bytes);
}

typedef struct counter { // a writer that counts
    const hyp_writer *out;
    uint64_t bytes;
} counter;

static bool count_bytes(void *context, const void *data, size_t count) {
    counter *c = context;
    c->bytes += count;
    return c->out->write(c->out->context, data, count);
}

hyp_status hyp_model_calibrate(hyp_model *model, const hyp_text *texts, uint32_t count,
                               const hyp_scoring_config *config, const hyp_writer *writer,
                               const char **out, size_t *bytes) {
    hyp_engine *engine = model->engine;
    hyp_json json = {.out.budget = &engine->budget};
    scoring s = {.model = model};
    hyp_session_config session = plain_session(config);
    session.calibrate = true;
    hyp_status status = hyp_session_create(model, &session, &s.session);
    if (!status)
        status = score_texts(&s, texts, count, config, hyp_session_get_stats(s.session).context);
    if (!status && !s.scored)
        status = hyp_fail(&engine->fault, HYP_E_ARGUMENT, "there is no text to calibrate with");
    counter c = {writer, 0};
    if (!status)
        status = hyp_session_write_imatrix(s.session, &(hyp_writer){count_bytes, NULL, &c});
    destroy(s.session);
    if (!status) {
        hyp_json_open(&json, NULL, '{');
        hyp_json_number(&json, "bytes", (double)c.bytes);
        hyp_json_number(&json, "tokens", (double)s.scored);
        hyp_json_close(&json, '}');
    }
    return give(engine, &json, status, out, bytes);
}
