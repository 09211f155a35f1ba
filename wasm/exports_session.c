// A session's exports: calls that are begun, and what they gave.
#include "exports.h"

#include "../src/runtime/engine.h"
#include "../src/runtime/options.h"

#include <string.h>

static hyp_sampling sampling;
static hyp_logit_bias biases[256];
static hyp_text stops[HYP_STOPS_MAX];

static hyp_json *const json = &hyp_exports_json;

// With the options in the input; `draft` may be NULL. The session's address is the result's data.
EXPORT(session_create)
hyp_status session_create(hyp_model *model, hyp_model *draft, size_t bytes) {
    hyp_session_config config = {.draft = draft};
    hyp_session *session = NULL;
    hyp_status status = hyp_exports_options(&hyp_session_options, bytes, &config,
                                            &model->engine->fault);
    if (!status) status = hyp_session_create(model, &config, &session);
    return hyp_exports_give(status, session, 0);
}
// The fork's address is the result's data.
EXPORT(session_fork) hyp_status session_fork(const hyp_session *session) {
    hyp_session *fork = NULL;
    hyp_status status = hyp_session_fork(session, &fork);
    return hyp_exports_give(status, fork, 0);
}
// With the `options` bytes of JSON that are the input's first, over what the state says; behind
// them stand the state's `bytes`, whose place is given back. The session's address is the result's
// data.
EXPORT(session_restore)
hyp_status session_restore(hyp_model *model, hyp_model *draft, size_t options, size_t bytes) {
    hyp_session_config config = {.draft = draft};
    hyp_session *session = NULL;
    hyp_text json_text = {(const char *)hyp_exports_input.data, options};
    const char *state = json_text.data + options;
    hyp_options_begin(&hyp_session_options, &config);
    hyp_status status = hyp_model_state_config(model, state, bytes, &config);
    if (!status)
        status = hyp_options_parse_json(&hyp_session_options, json_text, &config,
                                        &model->engine->fault);
    if (!status) status = hyp_session_create(model, &config, &session);
    if (!status) status = hyp_session_restore(session, state, bytes);
    if (status) hyp_session_destroy(session);
    hyp_buffer_deinit(&hyp_exports_input);
    return hyp_exports_give(status, session, 0);
}
// The state goes to the host's `write`.
EXPORT(session_save) hyp_status session_save(hyp_session *session) {
    return hyp_session_save(session, &(hyp_writer){.write = hyp_exports_write, .context = session});
}
// Pieces that come again. Input: token and finish of each of `count`, the bytes of its text as
// int32, then the texts.
EXPORT(session_unread) hyp_status session_unread(hyp_session *session, uint32_t count) {
    const int32_t *numbers = (const int32_t *)(const void *)hyp_exports_input.data,
                  *lengths = numbers + 2 * (size_t)count;
    const char *ends = (const char *)(lengths + count);
    hyp_status status = HYP_OK;
    for (uint32_t i = 0; i < count; i++) ends += lengths[i];
    for (uint32_t i = count; i-- > 0 && !status;) { // each before those that are there
        ends -= lengths[i];
        hyp_piece piece = {.token = numbers[2 * i],
                           .finish = (hyp_finish)numbers[2 * i + 1],
                           .text = ends,
                           .bytes = (size_t)lengths[i]};
        status = hyp_session_unread(session, &piece, 1);
    }
    return status;
}
// The text so far, int32.
EXPORT(session_tokens) hyp_status session_tokens(const hyp_session *session) {
    const int32_t *tokens;
    uint32_t count = hyp_session_tokens(session, &tokens);
    return hyp_exports_give(HYP_OK, tokens, count * sizeof *tokens);
}
// How many of the input's `count` tokens its text begins with; -1: it has none.
EXPORT(session_common) int32_t session_common(const hyp_session *session, uint32_t count) {
    const int32_t *wanted = (const int32_t *)(const void *)hyp_exports_input.data, *tokens;
    uint32_t most = hyp_session_tokens(session, &tokens), n = 0;
    if (most == 0) return -1;
    while (n < most && n < count && tokens[n] == wanted[n]) n++;
    return (int32_t)n;
}
// Has it an answer that can go on?
EXPORT(session_answering) int32_t session_answering(const hyp_session *session) {
    return session->ready && (!session->finish || session->unread_at < session->unread.bytes);
}
EXPORT(session_destroy) void session_destroy(hyp_session *session) { hyp_session_destroy(session); }
EXPORT(session_set_purpose) void session_set_purpose(hyp_session *session, uint32_t purpose) {
    hyp_session_set_purpose(session, (hyp_purpose)purpose, 0);
}
EXPORT(session_cancel) void session_cancel(hyp_session *session) { hyp_session_cancel(session); }

EXPORT(session_reset_profile) void session_reset_profile(hyp_session *session) {
    hyp_session_reset_profile(session);
}
// What the next session_begin samples by: options in the input, and no bias yet.
EXPORT(sampling_set) hyp_status sampling_set(hyp_session *session, size_t bytes) {
    sampling = (hyp_sampling){.bias = biases};
    return hyp_exports_options(&hyp_sampling_options, bytes, &sampling,
                               &session->model->engine->fault);
}
EXPORT(sampling_bias) hyp_status sampling_bias(int32_t token, float bias) {
    if (sampling.bias_count == sizeof biases / sizeof *biases) return HYP_E_ARGUMENT;
    biases[sampling.bias_count++] = (hyp_logit_bias){token, bias};
    return HYP_OK;
}
// Input: `count` int32 tokens, the bytes of each of the `stop_texts` texts as int32, then the
// texts.
EXPORT(session_begin)
hyp_status session_begin(hyp_session *session, uint32_t count, uint32_t stop_texts) {
    const int32_t *tokens = (const int32_t *)(const void *)hyp_exports_input.data,
                  *lengths = tokens + count;
    const char *text = (const char *)(lengths + stop_texts);
    for (uint32_t i = 0; i < stop_texts && i < HYP_STOPS_MAX;
         i++) { // more are refused by their count
        stops[i] = (hyp_text){text, (size_t)lengths[i]};
        text += lengths[i];
    }
    return hyp_session_begin(session, tokens, count, &sampling, stops, stop_texts);
}
static void ended(void *context, hyp_session *session, hyp_status status) {
    (void)context;
    host_ended(session, status);
}
static void scored(void *session, uint32_t position, const float *log_probabilities) {
    host_scored(session, position, log_probabilities);
}
// `kind` as in hyp_call_kind. Embed and score take `count` tokens from the input.
EXPORT(session_post)
hyp_status session_post(hyp_session *session, uint32_t kind, uint32_t count, uint32_t pooling) {
    return hyp_session_post(
        session, &(hyp_call){.kind = (hyp_call_kind)kind,
                             .tokens = (const int32_t *)(const void *)hyp_exports_input.data,
                             .count = count,
                             .pooling = (hyp_pooling)pooling,
                             .visit = scored,
                             .ended = ended,
                             .context = session});
}
// Of the call that has ended: the piece's text, or the vector.
EXPORT(session_text) hyp_status session_text(const hyp_session *session) {
    const hyp_piece *piece = &hyp_session_result(session)->piece;
    return hyp_exports_give(HYP_OK, piece->text, piece->bytes);
}
EXPORT(session_vector) hyp_status session_vector(const hyp_session *session) {
    const hyp_result *r = hyp_session_result(session);
    return hyp_exports_give(HYP_OK, r->vector, r->dim * sizeof *r->vector);
}
EXPORT(session_left) int32_t session_left(const hyp_session *session) {
    return (int32_t)hyp_session_result(session)->left;
}
EXPORT(session_token) int32_t session_token(const hyp_session *session) {
    return hyp_session_result(session)->piece.token;
}
EXPORT(session_finish) int32_t session_finish(const hyp_session *session) {
    return (int32_t)hyp_session_result(session)->piece.finish;
}
EXPORT(session_flush) hyp_status session_flush(hyp_session *session) {
    const char *text;
    size_t bytes;
    hyp_session_flush(session, &text, &bytes);
    return hyp_exports_give(HYP_OK, text, bytes);
}
// Of the answer that was begun last.
EXPORT(session_usage) hyp_status session_usage(const hyp_session *session) {
    hyp_session_stats s = hyp_session_get_stats(session);
    hyp_exports_begin_json();
    PUT_NUMBERS({"promptTokens", s.prompt_tokens}, {"reusedTokens", s.reused},
                {"answerTokens", s.answer_tokens}, {"batchedTokens", s.batched},
                {"draftedTokens", s.drafted}, {"acceptedTokens", s.accepted},
                {"contextShifts", s.shifts}, {"promptMs", (double)s.prompt_ns / 1e6},
                {"answerMs", (double)s.answer_ns / 1e6}, {"readBytes", (double)s.read_bytes});
    hyp_json_close(json, '}');
    return hyp_exports_give_json();
}
// Of the session: its text, the latencies of its last answers, and what its steps took.
EXPORT(session_stats) hyp_status session_stats(const hyp_session *session) {
    hyp_session_stats s = hyp_session_get_stats(session);
    hyp_exports_begin_json();
    hyp_json_number(json, "context", s.context);
    hyp_json_number(json, "used", s.used);
    static const char *const percentiles[] = {"p50", "p90", "p95", "p99"};
    hyp_json_open(json, "latencyMs", '{');
    for (int i = 0; i < 4; i++)
        hyp_json_number(json, percentiles[i], (double)s.latency_ns[i] / 1e6);
    hyp_json_close(json, '}');
    hyp_json_open(json, "operations", '[');
    hyp_operation o;
    for (uint32_t i = 0; hyp_session_operation(session, i, &o); i++) {
        if (!o.ns) continue; // part of the one before
        hyp_json_open(json, NULL, '{');
        hyp_json_text(json, "name", o.name, strlen(o.name));
        hyp_json_number(json, "layer", o.layer == UINT32_MAX ? -1 : (double)o.layer);
        hyp_json_number(json, "ms", (double)o.ns / 1e6);
        hyp_json_number(json, "bytes", (double)o.bytes);
        hyp_json_number(json, "macs", (double)o.macs);
        hyp_json_number(json, "beganMs", (double)o.began_ns / 1e6);
        hyp_json_number(json, "lastMs", (double)o.last_ns / 1e6);
        hyp_json_close(json, '}');
    }
    hyp_json_close(json, ']');
    hyp_json_close(json, '}');
    return hyp_exports_give_json();
}
