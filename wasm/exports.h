// What the module shows to JavaScript: scalars in, a status out. Texts and vectors come back
// through result_data / result_bytes, records as JSON, so that the glue knows no struct layout.
// A file per subject: exports_engine.c, exports_job.c, exports_model.c, exports_session.c; this is
// what they share.
//
// What computes or waits is begun (session_post, and the jobs: see exports_job.c) and runs within
// engine_run, as a fiber; its end is told to the host by `ended`, with the session's or the job's
// address. The glue's signatures and enums are made from these files: see tools/generate.mjs.
#pragma once
#include "../src/base/options.h"
#include "../src/hyperion/hyperion.h"
#include "../src/mem/buffer.h"
#include "../src/text/json.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("hyp"), import_name(#name)))

// `layers` and `ready` of a model that loads; 0 of anything else.
IMPORT(progress)
int32_t host_progress(const void *job, double done, double total, uint32_t layers, uint32_t ready);
IMPORT(write) int32_t host_write(const void *caller, const void *data, size_t bytes);
IMPORT(scored)
void host_scored(const void *session, uint32_t position, const float *log_probabilities);
IMPORT(ended) void host_ended(const void *caller, int32_t status);

extern hyp_budget hyp_exports_budget; // of what the exports hold themselves; without a limit
extern hyp_buffer hyp_exports_input;  // what JavaScript hands in: see input_reserve
extern hyp_json hyp_exports_json;     // the record that is being written

// Options as JSON in the input's first `bytes`, over their defaults, into `config`. HYP_E_ARGUMENT.
HYP_MUST_USE hyp_status hyp_exports_options(const hyp_options *options, size_t bytes, void *config,
                                            hyp_fault *fault);
// Sets what result_data and result_bytes say, borrowed until the next export; returns `status`.
hyp_status hyp_exports_give(hyp_status status, const void *data, size_t bytes);
// Begins a record in hyp_exports_json, which has an object open.
void hyp_exports_begin_json(void);
typedef struct hyp_exports_number { // of a record
    const char *key;
    double value;
} hyp_exports_number;
#define PUT_NUMBERS(...)                                                                           \
    hyp_exports_put_numbers((const hyp_exports_number[]){__VA_ARGS__},                             \
                            sizeof(hyp_exports_number[]){__VA_ARGS__} /                            \
                                sizeof(hyp_exports_number))
void hyp_exports_put_numbers(const hyp_exports_number *numbers, size_t count);
// Gives the record; HYP_E_NOMEM where it did not fit.
hyp_status hyp_exports_give_json(void);
// A hyp_writer's `write`, to the host; `caller` is the session or the job.
bool hyp_exports_write(void *caller, const void *data, size_t bytes);
