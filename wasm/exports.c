// What the module shows to JavaScript: scalars in, a status out. Texts and vectors come back
// through result_data / result_bytes, records as JSON, so that the glue knows no struct layout.
//
// What computes or waits is begun (session_post, and the jobs: model_open, inspect, quantize) and
// runs within engine_run, as a fiber; its end is told to the host by `ended`, with the session's
// address, or 0 for the job. One job at a time.
#include "../src/gguf/gguf.h"
#include "../src/port.h"
#include "../src/runtime/engine.h"
#include "../src/text/json.h"

#include <string.h>

#define EXPORT(name) __attribute__((export_name(#name)))

__attribute__((import_module("hyp"), import_name("progress"))) int32_t host_progress(double done,
                                                                                     double total);
__attribute__((import_module("hyp"), import_name("write"))) int32_t host_write(const void *data,
                                                                               size_t bytes);
__attribute__((import_module("hyp"), import_name("scored"))) void
host_scored(const void *session, uint32_t position, const float *log_probabilities);
__attribute__((import_module("hyp"), import_name("ended"))) void host_ended(const void *session,
                                                                            int32_t status);

enum { JOB_STACK_BYTES = 128 << 10 };

static const void *result;
static size_t result_size;
static hyp_budget scratch_budget;
static hyp_buffer input = {.budget = &scratch_budget}; // what JavaScript hands in
static hyp_json json = {.out.budget = &scratch_budget};
static hyp_source sources[HYP_GGUF_SHARDS];
static uint32_t source_count;
static hyp_sampling sampling;
static hyp_logit_bias biases[256];
static hyp_text stops[HYP_STOPS_MAX];

EXPORT(result_data) const void *result_data(void) { return result; }
EXPORT(result_bytes) size_t result_bytes(void) { return result_size; }

static hyp_status give(hyp_status status, const void *data, size_t bytes) {
    result = data;
    result_size = bytes;
    return status;
}
static hyp_status give_json(void) {
    return give(json.failed ? HYP_E_NOMEM : HYP_OK, json.out.data, json.out.bytes);
}
static void begin_json(void) {
    json.out.bytes = 0;
    json.failed = json.comma = false;
    hyp_json_open(&json, NULL, '{');
}

// Room for `bytes` that the next call takes its text or tokens from; NULL when there is none.
EXPORT(input_reserve) void *input_reserve(size_t bytes) {
    input.bytes = 0;
    return hyp_buffer_reserve(&input, bytes + 1) ? input.data : NULL;
}

EXPORT(status_name) const char *status_name(int32_t status) {
    return hyp_status_name((hyp_status)status);
}
EXPORT(status_message) const char *status_message(int32_t status) {
    return hyp_status_message((hyp_status)status);
}

EXPORT(engine_create)
hyp_engine *engine_create(double memory_bytes, uint32_t isa_mask, uint32_t threads) {
    return hyp_engine_create(&(hyp_engine_config){
        .memory_bytes = (size_t)memory_bytes, .isa_mask = isa_mask, .threads = threads});
}
EXPORT(engine_destroy) void engine_destroy(hyp_engine *engine) { hyp_engine_destroy(engine); }
EXPORT(engine_error) const char *engine_error(const hyp_engine *engine) {
    return hyp_engine_error(engine);
}
EXPORT(engine_stats) hyp_status engine_stats(hyp_engine *engine) {
    hyp_engine_stats s = hyp_engine_get_stats(engine);
    begin_json();
    const char *kernels = hyp_engine_kernels(engine);
    hyp_json_text(&json, "kernels", kernels, strlen(kernels));
    hyp_json_open(&json, "memory", '{');
    hyp_json_number(&json, "usedBytes", (double)s.used_bytes);
    hyp_json_number(&json, "peakBytes", (double)s.peak_bytes);
    hyp_json_number(&json, "limitBytes", (double)s.limit_bytes);
    hyp_json_number(&json, "linearMemoryBytes", (double)__builtin_wasm_memory_size(0) * 65536);
    hyp_json_number(&json, "blocks", (double)s.blocks);
    hyp_json_number(&json, "blockBytes", (double)s.block_bytes);
    hyp_json_close(&json, '}');
    hyp_json_open(&json, "fibers", '{');
    hyp_json_text(&json, "policy", s.policy, strlen(s.policy));
    hyp_json_number(&json, "count", s.fibers);
    hyp_json_number(&json, "ready", s.ready);
    hyp_json_number(&json, "waiting", s.waiting);
    hyp_json_number(&json, "switches", (double)s.switches);
    hyp_json_number(&json, "stackBytes", (double)s.stack_bytes);
    hyp_json_close(&json, '}');
    hyp_json_close(&json, '}');
    return give_json();
}
// The input holds the policy's name, terminated.
EXPORT(engine_set_policy) hyp_status engine_set_policy(hyp_engine *engine) {
    return hyp_engine_set_policy(engine, (const char *)input.data);
}
// Runs what has been begun for about `ms`: 0 there is more to run, 1 all of it waits, 2 nothing has
// been begun.
EXPORT(engine_run) int32_t engine_run(hyp_engine *engine, double ms) {
    return (int32_t)hyp_engine_run(engine, 1 + (uint64_t)(ms * 1e6));
}
// Milliseconds until a timer is due; negative: none runs.
EXPORT(engine_next_ms) double engine_next_ms(const hyp_engine *engine) {
    uint64_t due = hyp_engine_next_ns(engine);
    return due == UINT64_MAX ? -1 : (double)due / 1e6;
}

EXPORT(sources_clear) void sources_clear(void) { source_count = 0; }
EXPORT(sources_add) hyp_status sources_add(uint32_t handle, double bytes) {
    if (source_count == HYP_GGUF_SHARDS) return HYP_E_ARGUMENT;
    sources[source_count++] = (hyp_source){.bytes = (uint64_t)bytes, .handle = handle};
    return HYP_OK;
}

// The host's event loop turns, and hears of an abort, as often as a job tells of its progress.
static bool progress(void *context, uint64_t done, uint64_t total) {
    (void)context;
    return host_progress((double)done, (double)total) && !hyp_task_yield();
}
static bool sink_write(void *context, const void *data, size_t bytes) {
    (void)context;
    return host_write(data, bytes);
}

// ---- Jobs: what reads a source

static struct {
    hyp_engine *engine;
    hyp_status (*run)(void);
    hyp_task *task;
    uint32_t context;
    char format[16];
    float density;
    bool importance; // the last source
} job;

static void run_job(void *unused) {
    (void)unused;
    hyp_status status = job.run();
    job.task = NULL;
    job.engine->ended = true;
    host_ended(NULL, status);
}
static hyp_status begin_job(hyp_engine *engine, hyp_status (*run)(void)) {
    if (job.task) return HYP_E_STATE;
    job.engine = engine;
    job.run = run;
    hyp_status status = hyp_sched_spawn(
        engine->sched, run_job, NULL,
        &(hyp_task_config){.name = "job", .stack_bytes = JOB_STACK_BYTES}, &job.task);
    if (!status) hyp_task_detach(job.task);
    return status;
}

// It ends soon, with HYP_E_CANCELLED, also where it waits for a source. No effect when none is
// under way.
EXPORT(job_cancel) void job_cancel(void) {
    if (job.task) hyp_task_cancel(job.task);
}

static hyp_status open_job(void) {
    hyp_model *model = NULL;
    hyp_status status = hyp_model_open(
        job.engine, sources, source_count,
        &(hyp_model_config){.context = job.context, .progress = progress}, &model);
    return give(status, model, 0);
}
// The model's address is the result's data.
EXPORT(model_open) hyp_status model_open(hyp_engine *engine, uint32_t context) {
    job.context = context;
    return begin_job(engine, open_job);
}
static hyp_status inspect_job(void) {
    const char *text = NULL;
    size_t bytes = 0;
    hyp_status status = hyp_engine_inspect(job.engine, sources, source_count, &text, &bytes);
    return give(status, text, bytes);
}
EXPORT(inspect) hyp_status inspect(hyp_engine *engine) { return begin_job(engine, inspect_job); }
static hyp_status quantize_job(void) {
    uint32_t count = source_count - job.importance;
    return hyp_engine_quantize(
        job.engine, sources, count,
        &(hyp_quantization){.format = job.format,
                            .density = job.density,
                            .importance = job.importance ? &sources[count] : NULL},
        &(hyp_writer){.write = sink_write, .progress = progress});
}
// The input holds the format's name, terminated. With `importance` the last of the sources says
// what columns count for.
EXPORT(quantize) hyp_status quantize(hyp_engine *engine, float density, uint32_t importance) {
    if (importance && source_count < 2) return HYP_E_ARGUMENT;
    job.density = density;
    job.importance = importance;
    memset(job.format, 0, sizeof job.format);
    for (size_t i = 0; i + 1 < sizeof job.format && input.data[i]; i++)
        job.format[i] = (char)input.data[i];
    return begin_job(engine, quantize_job);
}

// ---- Models

EXPORT(model_close) void model_close(hyp_model *model) { hyp_model_close(model); }
EXPORT(model_info) hyp_status model_info(const hyp_model *model) {
    hyp_model_info f = hyp_model_get_info(model);
    begin_json();
    hyp_json_text(&json, "architecture", f.architecture, strlen(f.architecture));
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"context", f.context},
                   {"dim", f.dim},
                   {"layers", f.layers},
                   {"heads", f.heads},
                   {"kvHeads", f.kv_heads},
                   {"vocab", f.vocab},
                   {"parameters", (double)f.parameters},
                   {"weightBytes", (double)f.weight_bytes},
                   {"bos", f.bos},
                   {"eos", f.eos}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hyp_json_number(&json, numbers[i].key, numbers[i].value);
    hyp_json_bool(&json, "addsBos", f.adds_bos);
    static const struct {
        const char *key, *name;
    } texts[] = {{"general.name", "name"}, {"tokenizer.chat_template", "chatTemplate"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t bytes;
        const char *text = hyp_model_metadata(model, texts[i].key, &bytes);
        if (text) hyp_json_text(&json, texts[i].name, text, bytes);
    }
    hyp_json_close(&json, '}');
    return give_json();
}
// From the input's first `bytes`; the result is int32.
EXPORT(model_tokenize) hyp_status model_tokenize(hyp_model *model, size_t bytes, int32_t flags) {
    const int32_t *tokens = NULL;
    uint32_t count = 0;
    hyp_status status = hyp_model_tokenize(model, (const char *)input.data, bytes, flags, &tokens,
                                           &count);
    return give(status, tokens, count * sizeof *tokens);
}
EXPORT(model_detokenize)
hyp_status model_detokenize(hyp_model *model, uint32_t count, int32_t flags) {
    const char *text = NULL;
    size_t bytes = 0;
    hyp_status status = hyp_model_detokenize(model, (const int32_t *)(const void *)input.data,
                                             count, flags, &text, &bytes);
    return give(status, text, bytes);
}

EXPORT(model_residency) hyp_status model_residency(const hyp_model *model) {
    hyp_residency r = hyp_model_residency(model);
    begin_json();
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"pages", r.pages},
                   {"resident", r.resident},
                   {"present", r.present},
                   {"frames", r.frames},
                   {"wholeBytes", (double)r.whole_bytes},
                   {"capacityBytes", (double)r.capacity_bytes},
                   {"presentBytes", (double)r.present_bytes},
                   {"pins", (double)r.pins},
                   {"hits", (double)r.hits},
                   {"fills", (double)r.fills},
                   {"filledBytes", (double)r.filled_bytes},
                   {"evictions", (double)r.evictions}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hyp_json_number(&json, numbers[i].key, numbers[i].value);
    hyp_json_close(&json, '}');
    return give_json();
}
// Ends the helper threads, for a host that is about to let go of the instance. What is under way
// goes on alone.
EXPORT(model_stop_workers) void model_stop_workers(hyp_model *model) {
    hyp_model_stop_workers(model);
}
EXPORT(model_workers) hyp_status model_workers(const hyp_model *model) {
    hyp_workers h = hyp_model_workers(model);
    begin_json();
    hyp_json_number(&json, "count", h.threads);
    hyp_json_number(&json, "present", h.present);
    hyp_json_number(&json, "loops", (double)h.loops);
    hyp_json_number(&json, "tiles", (double)h.tiles);
    hyp_json_number(&json, "byWorkers", (double)h.by_workers);
    hyp_json_number(&json, "repeated", (double)h.repeated);
    hyp_json_close(&json, '}');
    return give_json();
}
// A byte for each page of the weights: see hyp_model_heat.
EXPORT(model_heat) hyp_status model_heat(const hyp_model *model) {
    uint32_t pages = hyp_model_residency(model).pages;
    json.out.bytes = 0;
    if (!hyp_buffer_reserve(&json.out, pages)) return HYP_E_NOMEM;
    hyp_model_heat(model, 0, pages, json.out.data);
    return give(HYP_OK, json.out.data, pages);
}

EXPORT(session_create)
hyp_status session_create(hyp_model *model, uint32_t context, uint32_t batch, uint32_t cache,
                          uint32_t profile, uint32_t purpose, uint32_t lookup, hyp_model *draft,
                          uint32_t calibrate) {
    hyp_session *session = NULL;
    hyp_status status = hyp_session_create(model,
                                           &(hyp_session_config){.context = context,
                                                                 .batch = batch,
                                                                 .cache = (hyp_cache)cache,
                                                                 .profile = profile,
                                                                 .lookup = lookup,
                                                                 .draft = draft,
                                                                 .calibrate = calibrate,
                                                                 .purpose = (hyp_purpose)purpose},
                                           &session);
    return give(status, session, 0);
}
EXPORT(session_destroy) void session_destroy(hyp_session *session) { hyp_session_destroy(session); }
EXPORT(session_set_purpose) void session_set_purpose(hyp_session *session, uint32_t purpose) {
    hyp_session_set_purpose(session, (hyp_purpose)purpose, 0);
}
EXPORT(session_cancel) void session_cancel(hyp_session *session) { hyp_session_cancel(session); }

// To the host's `write`.
EXPORT(session_write_imatrix) hyp_status session_write_imatrix(const hyp_session *session) {
    return hyp_session_write_imatrix(session, &(hyp_writer){.write = sink_write});
}
EXPORT(session_reset_profile) void session_reset_profile(hyp_session *session) {
    hyp_session_reset_profile(session);
}
EXPORT(engine_measure) hyp_status engine_measure(hyp_engine *engine) {
    hyp_peaks p = hyp_engine_measure(engine);
    begin_json();
    hyp_json_number(&json, "gbPerSecond", p.bytes_per_ns);
    hyp_json_number(&json, "gmacPerSecond", p.macs_per_ns);
    hyp_json_close(&json, '}');
    return give_json();
}

EXPORT(sampling_set)
void sampling_set(float temperature, uint32_t top_k, float top_p, float min_p, float typical_p,
                  float repeat_penalty, float frequency_penalty, float presence_penalty,
                  uint32_t penalty_last, float mirostat_tau, float mirostat_eta, double seed) {
    sampling = (hyp_sampling){.temperature = temperature,
                              .top_k = top_k,
                              .top_p = top_p,
                              .min_p = min_p,
                              .typical_p = typical_p,
                              .repeat_penalty = repeat_penalty,
                              .frequency_penalty = frequency_penalty,
                              .presence_penalty = presence_penalty,
                              .penalty_last = penalty_last,
                              .mirostat_tau = mirostat_tau,
                              .mirostat_eta = mirostat_eta,
                              .seed = (uint64_t)seed,
                              .bias = biases};
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
    const int32_t *tokens = (const int32_t *)(const void *)input.data, *lengths = tokens + count;
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
    return hyp_session_post(session,
                            &(hyp_call){.kind = (hyp_call_kind)kind,
                                        .tokens = (const int32_t *)(const void *)input.data,
                                        .count = count,
                                        .pooling = (hyp_pooling)pooling,
                                        .visit = scored,
                                        .ended = ended,
                                        .context = session});
}
// Of the call that has ended: the piece's text, or the vector.
EXPORT(session_text) hyp_status session_text(const hyp_session *session) {
    const hyp_piece *piece = &hyp_session_result(session)->piece;
    return give(HYP_OK, piece->text, piece->bytes);
}
EXPORT(session_vector) hyp_status session_vector(const hyp_session *session) {
    const hyp_result *r = hyp_session_result(session);
    return give(HYP_OK, r->vector, r->dim * sizeof *r->vector);
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
    return give(HYP_OK, text, bytes);
}
EXPORT(session_stats) hyp_status session_stats(const hyp_session *session) {
    hyp_session_stats s = hyp_session_get_stats(session);
    begin_json();
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"context", s.context},
                   {"used", s.used},
                   {"promptTokens", s.prompt_tokens},
                   {"reusedTokens", s.reused},
                   {"tokensBatched", s.batched},
                   {"tokensDrafted", s.drafted},
                   {"tokensAccepted", s.accepted},
                   {"answerTokens", s.answer_tokens},
                   {"promptMs", (double)s.prompt_ns / 1e6},
                   {"answerMs", (double)s.answer_ns / 1e6}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hyp_json_number(&json, numbers[i].key, numbers[i].value);
    static const char *const percentiles[] = {"p50", "p90", "p95", "p99"};
    hyp_json_open(&json, "latencyMs", '{');
    for (int i = 0; i < 4; i++)
        hyp_json_number(&json, percentiles[i], (double)s.latency_ns[i] / 1e6);
    hyp_json_close(&json, '}');
    hyp_json_open(&json, "operations", '[');
    hyp_operation o;
    for (uint32_t i = 0; hyp_session_operation(session, i, &o); i++) {
        if (!o.ns) continue; // part of the one before
        hyp_json_open(&json, NULL, '{');
        hyp_json_text(&json, "name", o.name, strlen(o.name));
        hyp_json_number(&json, "layer", o.layer == UINT32_MAX ? -1 : (double)o.layer);
        hyp_json_number(&json, "ms", (double)o.ns / 1e6);
        hyp_json_number(&json, "bytes", (double)o.bytes);
        hyp_json_number(&json, "macs", (double)o.macs);
        hyp_json_number(&json, "beganMs", (double)o.began_ns / 1e6);
        hyp_json_number(&json, "lastMs", (double)o.last_ns / 1e6);
        hyp_json_close(&json, '}');
    }
    hyp_json_close(&json, ']');
    hyp_json_close(&json, '}');
    return give_json();
}
