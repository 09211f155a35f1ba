#include "engine.h"

#include "../base/bytes.h"
#include "../port.h"

hyp_engine *hyp_engine_create(const hyp_engine_config *config) {
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
    engine->threads = config && config->threads ? config->threads : hyp_port_caps()->threads_max;
    engine->isa = hyp_port_kernels(&engine->kernels,
                                   config && config->isa_mask ? config->isa_mask : UINT32_MAX);
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
    static const hyp_policy *const policies[] = {&hyp_policy_intent, &hyp_policy_round_robin};
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (strcmp(name, policies[i]->name) == 0)
            return hyp_sched_set_policy(engine->sched, policies[i]), HYP_OK;
    return hyp_fail(&engine->fault, HYP_E_ARGUMENT,
                    "there is no policy '%s': intent or round-robin", name);
}

hyp_progress_kind hyp_engine_run(hyp_engine *engine, uint64_t for_ns) {
    uint64_t until_ns = for_ns ? hyp_port_now_ns() + for_ns : 0;
    engine->ended = false;
    for (;;) {
        hyp_run run = hyp_sched_run(engine->sched, 1);
        if (run != HYP_RUN_READY)
            return run == HYP_RUN_WAITING ? HYP_ENGINE_WAITING : HYP_ENGINE_IDLE;
        if (engine->ended || (until_ns && hyp_port_now_ns() >= until_ns)) return HYP_ENGINE_READY;
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

hyp_status hyp_model_open(hyp_engine *engine, const hyp_source *sources, uint32_t count,
                          const hyp_model_config *config, hyp_model **out) {
    *out = NULL;
    if (config && config->context > HYP_CONTEXT_MOST)
        return hyp_fail(&engine->fault, HYP_E_ARGUMENT, "context must be at most %d tokens, not %u",
                        HYP_CONTEXT_MOST, config->context);
    hyp_arena arena;
    hyp_arena_init(&arena, &engine->budget);
    hyp_model *model = hyp_arena_alloc(&arena, sizeof *model);
    if (!model) return hyp_fail(&engine->fault, HYP_E_NOMEM, "not enough memory to open a model");
    *model = (hyp_model){.engine = engine,
                         .arena = arena,
                         .tokens.budget = &engine->budget,
                         .text.budget = &engine->budget};
    hyp_source *copies = hyp_arena_alloc(&model->arena, count * sizeof *copies);
    if (copies) memcpy(copies, sources, count * sizeof *copies);
    hyp_progress progress = {config ? config->progress : NULL,
                             config ? config->progress_context : NULL};
    hyp_status status =
        copies ? hyp_gguf_open(&model->gguf, &engine->budget, copies, count, &engine->fault)
               : hyp_fail(&engine->fault, HYP_E_NOMEM, "not enough memory to open a model");
    if (!status)
        status = hyp_tokenizer_init(&model->tokenizer, &model->gguf, &model->arena, progress);
    if (!status)
        status = hyp_transformer_load(&model->transformer, &model->gguf, &engine->kernels,
                                      &model->arena, config ? config->context : 0, engine->threads,
                                      progress);
    if (!status && model->tokenizer.count > model->transformer.shape.vocab)
        status = hyp_fail(&engine->fault, HYP_E_FORMAT,
                          "the vocabulary has %u tokens, the embedding matrix %u",
                          model->tokenizer.count, model->transformer.shape.vocab);
    if (status) {
        hyp_model_close(model);
        // Whatever waited or worked when it was cancelled has no words of its own for it.
        return status == HYP_E_CANCELLED ? hyp_fail(&engine->fault, status, "loading was stopped")
                                         : status;
    }
    *out = model;
    return HYP_OK;
}

void hyp_model_close(hyp_model *model) {
    if (!model) return;
    hyp_transformer_close(&model->transformer);
    hyp_gguf_deinit(&model->gguf);
    hyp_buffer_deinit(&model->tokens);
    hyp_buffer_deinit(&model->text);
    hyp_arena arena = model->arena; // the model itself lives in it
    hyp_arena_deinit(&arena);
}

hyp_model_info hyp_model_get_info(const hyp_model *model) {
    const hyp_shape *s = &model->transformer.shape;
    hyp_model_info facts = {.architecture = model->transformer.arch->name,
                            .context = s->context,
                            .dim = s->dim,
                            .layers = s->layers,
                            .heads = s->heads,
                            .kv_heads = s->kv_heads,
                            .vocab = s->vocab,
                            .weight_bytes = model->transformer.weight_bytes,
                            .bos = model->tokenizer.bos,
                            .eos = model->tokenizer.eos,
                            .adds_bos = model->tokenizer.add_bos};
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(&model->gguf); i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(&model->gguf, i);
        facts.parameters += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
    }
    return facts;
}

hyp_residency hyp_model_residency(const hyp_model *model) {
    hyp_pager_stats s = hyp_pager_get_stats(model->transformer.weights.pager);
    return (hyp_residency){s.pages,          s.resident,      s.present, s.frames, s.whole_bytes,
                           s.capacity_bytes, s.present_bytes, s.pins,    s.hits,   s.fills,
                           s.filled_bytes,   s.evictions,     s.faults,  s.traps};
}

hyp_workers hyp_model_workers(const hyp_model *model) {
    hyp_pool_stats s = hyp_pool_get_stats(model->transformer.pool);
    return (hyp_workers){s.workers + 1, s.present, s.loops, s.tiles, s.by_workers, s.repeated};
}

void hyp_model_stop_workers(hyp_model *model) { hyp_transformer_stop_workers(&model->transformer); }

void hyp_model_heat(const hyp_model *model, uint32_t first, uint32_t count, uint8_t *heat) {
    for (uint32_t i = 0; i < count; i++) {
        hyp_page_info page = hyp_pager_page(model->transformer.weights.pager, first + i);
        float scaled = page.heat * 64;
        heat[i] = !page.present ? 0 : scaled < 1 ? 1 : scaled > 255 ? 255 : (uint8_t)scaled;
    }
}

const char *hyp_model_metadata(const hyp_model *model, const char *key, size_t *bytes) {
    hyp_text text = hyp_gguf_string(&model->gguf, key);
    *bytes = text.bytes;
    return text.data;
}

hyp_status hyp_model_tokenize(hyp_model *model, const char *text, size_t bytes, int flags,
                              const int32_t **tokens, uint32_t *count) {
    model->tokens.bytes = 0;
    int encode = (flags & HYP_TEXT_ADD_SPECIAL ? HYP_ENCODE_ADD_SPECIAL : 0) |
                 (flags & HYP_TEXT_PARSE_SPECIAL ? HYP_ENCODE_PARSE_SPECIAL : 0);
    hyp_status status = hyp_tokenizer_encode(&model->tokenizer, text, bytes, encode,
                                             &model->tokens);
    if (status)
        return hyp_fail(&model->engine->fault, status,
                        status == HYP_E_NOMEM
                            ? "not enough memory to tokenize %zu bytes"
                            : "a text of %zu bytes is too long to tokenize at once",
                        bytes);
    *tokens = (const int32_t *)(const void *)model->tokens.data;
    *count = (uint32_t)(model->tokens.bytes / sizeof(int32_t));
    return HYP_OK;
}

hyp_status hyp_model_detokenize(hyp_model *model, const int32_t *tokens, uint32_t count, int flags,
                                const char **text, size_t *bytes) {
    model->text.bytes = 0;
    hyp_status status = hyp_tokenizer_decode(&model->tokenizer, tokens, count,
                                             flags & HYP_TEXT_PARSE_SPECIAL, &model->text);
    if (status)
        return hyp_fail(&model->engine->fault, status,
                        "not enough memory for the text of %u tokens", count);
    *text = (const char *)model->text.data;
    *bytes = model->text.bytes;
    return HYP_OK;
}
