#include "engine.h"

#include "../base/bytes.h"
#include "../port.h"
#include "options.h"

// By hyp_scheduling.
static const hyp_policy *const policies[] = {&hyp_policy_intent, &hyp_policy_round_robin};

hyp_engine *hyp_engine_create(const hyp_engine_config *config) {
    if (config && hyp_options_check(&hyp_engine_options, config, NULL)) return NULL;
    hyp_budget budget = {.limit_bytes = config ? config->memory_bytes : 0};
    hyp_engine *engine = hyp_budget_map(&budget, sizeof *engine);
    if (!engine) return NULL;
    *engine = (hyp_engine){.budget = budget};
    engine->slab = hyp_slab_create(&engine->budget);
    if (engine->slab) engine->sched = hyp_sched_create(engine->slab, &engine->budget);
    if (!engine->sched) {
        hyp_engine_destroy(engine);
        return NULL;
    }
    engine->text.budget = &engine->budget;
    hyp_kernels_scalar(&engine->kernels);
    engine->step_work = config ? config->step_work : 0;
    engine->threads = config && config->threads ? config->threads : hyp_port_caps()->threads_max;
    engine->isa = hyp_port_kernels(&engine->kernels,
                                   config && config->isa_mask ? config->isa_mask : UINT32_MAX);
    hyp_sched_set_policy(engine->sched, policies[config ? config->policy : HYP_SCHEDULING_INTENT]);
    return engine;
}

void hyp_engine_destroy(hyp_engine *engine) {
    if (!engine) return;
    if (engine->text.budget) hyp_buffer_deinit(&engine->text);
    hyp_sched_destroy(engine->sched);
    hyp_slab_destroy(engine->slab);
    hyp_budget budget = engine->budget;
    hyp_budget_unmap(&budget, engine, sizeof *engine);
}

const char *hyp_engine_error(const hyp_engine *engine) { return engine->fault.text; }

hyp_engine_stats hyp_engine_get_stats(hyp_engine *engine) {
    hyp_slab_stats blocks = hyp_slab_get_stats(engine->slab);
    hyp_sched_stats fibers = hyp_sched_get_stats(engine->sched);
    return (hyp_engine_stats){.used_bytes = engine->budget.used_bytes,
                              .peak_bytes = engine->budget.peak_bytes,
                              .limit_bytes = engine->budget.limit_bytes,
                              .blocks = blocks.live_blocks,
                              .block_bytes = blocks.live_bytes,
                              .fibers = fibers.tasks,
                              .ready = fibers.ready,
                              .waiting = fibers.waiting,
                              .switches = fibers.switches,
                              .work = fibers.work,
                              .stack_bytes = fibers.stack_bytes,
                              .policy = fibers.policy};
}

hyp_status hyp_engine_set_policy(hyp_engine *engine, const char *name) {
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (strcmp(name, policies[i]->name) == 0) {
            hyp_sched_set_policy(engine->sched, policies[i]);
            return HYP_OK;
        }
    return hyp_fail(&engine->fault, HYP_E_ARGUMENT,
                    "there is no policy '%s': intent or round-robin", name);
}

hyp_progress_kind hyp_engine_run(hyp_engine *engine, uint64_t for_ns) {
    uint64_t until_ns = for_ns ? hyp_port_now_ns() + for_ns : 0;
    uint64_t began = hyp_sched_get_stats(engine->sched).work;
    engine->ended = false;
    for (;;) {
        hyp_run run = hyp_sched_run(engine->sched, 1);
        if (run != HYP_RUN_READY)
            return run == HYP_RUN_WAITING ? HYP_ENGINE_WAITING : HYP_ENGINE_IDLE;
        if (engine->ended || (until_ns && hyp_port_now_ns() >= until_ns)) return HYP_ENGINE_READY;
        uint64_t work = hyp_sched_get_stats(engine->sched).work - began;
        if (engine->step_work && work >= engine->step_work) return HYP_ENGINE_READY;
    }
}

uint64_t hyp_engine_next_ns(const hyp_engine *engine) {
    uint64_t due = hyp_sched_next_ns(engine->sched),
             now = due == UINT64_MAX ? 0 : hyp_port_now_ns();
    return due == UINT64_MAX ? due : due > now ? due - now : 0;
}

const char *hyp_engine_kernels(const hyp_engine *engine) {
    static const char *const names[HYP_ISA_BITS] = {
        "simd128",  "relaxed-simd", "sse2", "ssse3",        "avx2",
        "avx-vnni", "avx-512",      "neon", "neon-dotprod", "avx-512-vbmi2"};
    for (uint32_t bit = HYP_ISA_BITS; bit-- > 0;)
        if (engine->isa >> bit & 1) return names[bit];
    return "scalar";
}
