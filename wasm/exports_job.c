// The exports of jobs: what reads a source. A job is created, given its sources, begun, and told of
// by the host's `ended` with its address; then its result is asked for and it is freed. Several may
// be under way at once, in one engine or several.
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
    hyp_model *model; // result of opening, until somebody takes it
    hyp_buffer text;  // result of inspecting
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
    hyp_budget_unmap(&hyp_exports_budget, job, sizeof *job);
}

EXPORT(job_add_source) hyp_status job_add_source(source_job *job, uint32_t handle, double bytes) {
    hyp_source source = {.bytes = (uint64_t)bytes, .handle = handle};
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
    return host_progress(context, (double)done, (double)total) && !hyp_task_yield();
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
    return hyp_model_open(job->engine, sources_of(job), source_count(job), &job->config,
                          &job->model);
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

static hyp_status inspect(source_job *job) {
    const char *text;
    size_t bytes;
    hyp_status status = hyp_engine_inspect(job->engine, sources_of(job), source_count(job), &text,
                                           &bytes);
    if (status) return status;
    job->text = job->engine->text; // the engine's is that of the latest job
    job->engine->text = (hyp_buffer){.budget = job->text.budget};
    return HYP_OK;
}

EXPORT(job_inspect) hyp_status job_inspect(source_job *job) { return begin(job, inspect); }

// The record of an inspection, as JSON.
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
