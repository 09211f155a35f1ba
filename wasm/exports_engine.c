// The engine's exports: its life, what it has, and running what has been begun.
#include "exports.h"

#include "../src/runtime/engine.h"
#include "../src/runtime/options.h"

#include <string.h>

static hyp_json *const json = &hyp_exports_json;

// With the options in the input. NULL: not even the engine itself fits; or, where there is a
// result, for the reason that it gives.
EXPORT(engine_create) hyp_engine *engine_create(size_t bytes) {
    static hyp_fault fault;
    hyp_engine_config config = {0};
    hyp_status status = hyp_exports_options(&hyp_engine_options, bytes, &config, &fault);
    (void)hyp_exports_give(status, fault.text, status ? strlen(fault.text) : 0);
    return status ? NULL : hyp_engine_create(&config);
}
EXPORT(engine_destroy) void engine_destroy(hyp_engine *engine) { hyp_engine_destroy(engine); }
EXPORT(engine_error) const char *engine_error(const hyp_engine *engine) {
    return hyp_engine_error(engine);
}
EXPORT(engine_stats) hyp_status engine_stats(hyp_engine *engine) {
    hyp_engine_stats s = hyp_engine_get_stats(engine);
    hyp_exports_begin_json();
    const char *kernels = hyp_engine_kernels(engine);
    hyp_json_text(json, "kernels", kernels, strlen(kernels));
    hyp_json_open(json, "memory", '{');
    hyp_json_number(json, "usedBytes", (double)s.used_bytes);
    hyp_json_number(json, "peakBytes", (double)s.peak_bytes);
    hyp_json_number(json, "limitBytes", (double)s.limit_bytes);
    hyp_json_number(json, "linearMemoryBytes", (double)__builtin_wasm_memory_size(0) * 65536);
    hyp_json_number(json, "blocks", (double)s.blocks);
    hyp_json_number(json, "blockBytes", (double)s.block_bytes);
    hyp_json_close(json, '}');
    hyp_json_open(json, "fibers", '{');
    hyp_json_text(json, "policy", s.policy, strlen(s.policy));
    hyp_json_number(json, "count", s.fibers);
    hyp_json_number(json, "ready", s.ready);
    hyp_json_number(json, "waiting", s.waiting);
    hyp_json_number(json, "switches", (double)s.switches);
    hyp_json_number(json, "stackBytes", (double)s.stack_bytes);
    hyp_json_close(json, '}');
    hyp_json_close(json, '}');
    return hyp_exports_give_json();
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

EXPORT(engine_measure) hyp_status engine_measure(hyp_engine *engine) {
    hyp_peaks p = hyp_engine_measure(engine);
    hyp_exports_begin_json();
    hyp_json_number(json, "gbPerSecond", p.bytes_per_ns);
    hyp_json_number(json, "gmacPerSecond", p.macs_per_ns);
    hyp_json_close(json, '}');
    return hyp_exports_give_json();
}
