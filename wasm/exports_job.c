// The exports of jobs: what reads a source, or measures a model. A job is created, given its
// sources, begun, and told of by the host's `ended` with its address; then its result is asked for
// and it is freed. Several may be under way at once, in one engine or several.
#include "exports.h"

#include "../src/gguf/gguf.h"
#include "../src/port.h"
#include "../src/runtime/engine.h"
#include "../src/runtime/options.h"

#include <string.h>

enum { JOB_STACK_BYTES = 128 << 10 };

typedef struct source_job {
    hyp_engine *engine;
    hyp_status (*run)(struct source_job *);
    hyp_task *task;     // while it is under way
    hyp_buffer sources; // hyp_source; the last one says what columns count for, with `imatrix`
    bool imatrix;
    hyp_model_config config; // of opening
    char format[16];
    float density;
    hyp_model *model;               // result of opening, until somebody takes it
    hyp_buffer text;                // result of inspecting and measuring
    hyp_model *subject, *reference; // to wait for, or to measure
    hyp_buffer input, texts;        // a copy of what texts came in; hyp_text, of it
    hyp_bench_config bench;
    hyp_scoring_config scoring;
} source_job;

// NULL: there is no memory for it.
EXPORT(job_create) source_job *job_create(hyp_engine *engine) {
    source_job *job = hyp_budget_map(&hyp_exports_budget, sizeof *job);
    if (job) *job = (source_job){.engine = engine, .sources.budget = &hyp_exports_budget};
    return job;
}

// After its end, or when it has never begun. A model that nobody has taken is closed.
EXPORT(job_free) void job_free(source_job *job) {
    hyp_model_close(job->model);
    hyp_buffer_deinit(&job->sources);
    if (job->text.budget) hyp_buffer_deinit(&job->text);
    if (job->input.budget) hyp_buffer_deinit(&job->input);
    if (job->texts.budget) hyp_buffer_deinit(&job->texts);
    hyp_budget_unmap(&hyp_exports_budget, job, sizeof *job);
}

EXPORT(job_add_source)
hyp_status job_add_source(source_job *job, uint32_t handle, double bytes, uint32_t sequential) {
    hyp_source source = {.bytes = (uint64_t)bytes, .handle = handle, .sequential = sequential};
    return hyp_buffer_append(&job->sources, &source, sizeof source) ? HYP_OK : HYP_E_NOMEM;
}

static const hyp_source *sources_of(const source_job *job) {
    return (const hyp_source *)(const void *)job->sources.data;
}

static uint32_t source_count(const source_job *job) {
    return (uint32_t)(job->sources.bytes / sizeof(hyp_source));
}

// The host's event loop turns, and hears of an abort, as often as a job tells of its progress.
static bool progress(void *context, uint64_t done, uint64_t total) {
    const source_job *job = context;
    const hyp_model *model = job->model ? job->model : job->subject;
    hyp_loading l = model ? hyp_model_loading(model) : (hyp_loading){0};
    return host_progress(job, (double)done, (double)total, l.layers, l.layers_ready) &&
           !hyp_task_yield();
}

static void run_job(void *context) {
    source_job *job = context;
    hyp_status status = job->run(job);
    job->task = NULL;
    job->engine->ended = true;
    host_ended(job, status); // the host may free it now
}

static hyp_status begin(source_job *job, hyp_status (*run)(source_job *)) {
    if (job->run) return HYP_E_STATE;
    job->run = run;
    hyp_status status = hyp_sched_spawn(
        job->engine->sched, run_job, job,
        &(hyp_task_config){.name = "job", .stack_bytes = JOB_STACK_BYTES}, &job->task);
    if (!status) hyp_task_detach(job->task);
    return status;
}

// It ends soon, with HYP_E_CANCELLED, also where it waits for a source. No effect when it is not
// under way.
EXPORT(job_cancel) void job_cancel(source_job *job) {
    if (job->task) hyp_task_cancel(job->task);
}

static hyp_status open_model(source_job *job) {
    hyp_status status = hyp_model_open(job->engine, sources_of(job), source_count(job),
                                       &job->config, &job->model);
    if (!status) job->model->net.load.progress = (hyp_progress){0}; // goes on without this job
    return status;
}

// With the model's options in the input.
EXPORT(job_open_model) hyp_status job_open_model(source_job *job, size_t bytes) {
    hyp_model_config *config = &job->config;
    hyp_status status = hyp_exports_options(&hyp_model_options, bytes, config, &job->engine->fault);
    if (status) return status;
    config->progress = progress;
    config->progress_context = job;
    return begin(job, open_model);
}

// The model that was opened, which is the caller's from now on.
EXPORT(job_take_model) hyp_model *job_take_model(source_job *job) {
    hyp_model *model = job->model;
    job->model = NULL;
    return model;
}

static hyp_status load_model(source_job *job) {
    hyp_load *load = &job->subject->net.load;
    load->progress = (hyp_progress){progress, job};
    hyp_status status = hyp_model_wait(job->subject);
    load->progress = (hyp_progress){0};
    if (hyp_task_cancelled()) hyp_model_cancel_loading(job->subject);
    return status;
}

// Waits for the weights of a model that was opened with `progressive`; cancelling it ends their
// loading. The model lives until the job has ended.
EXPORT(job_load_model) hyp_status job_load_model(source_job *job, hyp_model *model) {
    job->subject = model;
    return begin(job, load_model);
}

// What the engine has written is the job's from now on: the engine's is that of the latest one.
static hyp_status keep_text(source_job *job, hyp_status status) {
    if (status) return status;
    job->text = job->engine->text;
    job->engine->text = (hyp_buffer){.budget = job->text.budget};
    return HYP_OK;
}

static hyp_status inspect(source_job *job) {
    const char *text;
    size_t bytes;
    return keep_text(
        job, hyp_engine_inspect(job->engine, sources_of(job), source_count(job), &text, &bytes));
}

EXPORT(job_inspect) hyp_status job_inspect(source_job *job) { return begin(job, inspect); }

// The record of an inspection or of what was measured, as JSON.
EXPORT(job_text) hyp_status job_text(const source_job *job) {
    return hyp_exports_give(HYP_OK, job->text.data, job->text.bytes);
}

static hyp_status quantize(source_job *job) {
    uint32_t count = source_count(job) - job->imatrix;
    return hyp_engine_quantize(
        job->engine, sources_of(job), count,
        &(hyp_quantization){.format = job->format,
                            .density = job->density,
                            .imatrix = job->imatrix ? sources_of(job) + count : NULL},
        &(hyp_writer){.write = hyp_exports_write, .progress = progress, .context = job});
}

// The input holds the format's name, terminated; the new file goes to the host's `write`. With
// `imatrix` the last of the sources says what columns count for.
EXPORT(job_quantize) hyp_status job_quantize(source_job *job, float density, uint32_t imatrix) {
    if (imatrix && source_count(job) < 2) return HYP_E_ARGUMENT;
    job->density = density;
    job->imatrix = imatrix;
    const uint8_t *name = hyp_exports_input.data;
    for (size_t i = 0; i + 1 < sizeof job->format && name[i]; i++) job->format[i] = (char)name[i];
    return begin(job, quantize);
}

// ---- Measuring

// Input: the bytes of each of `count` texts as int32, then the texts. The first one is the options
// of sessions, JSON.
static hyp_status take_texts(source_job *job, uint32_t count, hyp_session_config *session) {
    const int32_t *lengths = (const int32_t *)(const void *)hyp_exports_input.data;
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) bytes += (size_t)lengths[i];
    job->input.budget = job->texts.budget = &hyp_exports_budget;
    if (!hyp_buffer_append(&job->input, lengths + count, bytes)) return HYP_E_NOMEM;
    const char *data = (const char *)job->input.data;
    for (uint32_t i = 0; i < count; i++) {
        hyp_text text = {data, (size_t)lengths[i]};
        if (!hyp_buffer_append(&job->texts, &text, sizeof text)) return HYP_E_NOMEM;
        data += text.bytes;
    }
    const hyp_text *options = (const hyp_text *)(const void *)job->texts.data;
    return hyp_options_parse_json(&hyp_session_options, *options, session, &job->engine->fault);
}

static hyp_status measure_speed(source_job *job) {
    const char *text;
    size_t bytes;
    return keep_text(job, hyp_model_bench(job->subject, &job->bench, &text, &bytes));
}

// Takes the texts' options alone; 0 tokens and runs stand for the usual ones.
EXPORT(job_bench)
hyp_status job_bench(source_job *job, hyp_model *model, hyp_model *draft, uint32_t prompt_tokens,
                     uint32_t answer_tokens, uint32_t runs, uint32_t profile, uint32_t trace) {
    job->subject = model;
    job->bench = (hyp_bench_config){.prompt_tokens = prompt_tokens,
                                    .answer_tokens = answer_tokens,
                                    .runs = runs,
                                    .profile = profile,
                                    .trace = trace,
                                    .progress = progress,
                                    .progress_context = job};
    hyp_status status = take_texts(job, 1, &job->bench.session);
    job->bench.session.draft = draft;
    return status ? status : begin(job, measure_speed);
}

static hyp_status take_scoring(source_job *job, hyp_model *model, uint32_t count) {
    job->subject = model;
    job->scoring = (hyp_scoring_config){.progress = progress, .progress_context = job};
    return take_texts(job, count, &job->scoring.session);
}

// The texts behind the options.
static const hyp_text *texts_of(const source_job *job) {
    return (const hyp_text *)(const void *)job->texts.data + 1;
}

static uint32_t text_count(const source_job *job) {
    return (uint32_t)(job->texts.bytes / sizeof(hyp_text)) - 1;
}

static hyp_status measure_perplexity(source_job *job) {
    const char *text;
    size_t bytes;
    return keep_text(job, hyp_model_perplexity(job->subject, texts_of(job), text_count(job),
                                               job->reference, &job->scoring, &text, &bytes));
}

// `reference` may be NULL.
EXPORT(job_perplexity)
hyp_status job_perplexity(source_job *job, hyp_model *model, hyp_model *reference, uint32_t count) {
    job->reference = reference;
    hyp_status status = take_scoring(job, model, count);
    return status ? status : begin(job, measure_perplexity);
}

static hyp_status measure_columns(source_job *job) {
    const char *text;
    size_t bytes;
    hyp_writer out = {.write = hyp_exports_write, .context = job};
    return keep_text(job, hyp_model_calibrate(job->subject, texts_of(job), text_count(job),
                                              &job->scoring, &out, &text, &bytes));
}

// The importance matrix goes to the host's `write`.
EXPORT(job_calibrate)
hyp_status job_calibrate(source_job *job, hyp_model *model, uint32_t count) {
    hyp_status status = take_scoring(job, model, count);
    return status ? status : begin(job, measure_columns);
}
