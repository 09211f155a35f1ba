#include "engine.h"

#include "../base/bytes.h"
#include "../port.h"
#include "inspect.h"

hyp_engine *hyp_engine_create(const hyp_engine_config *config) {
    hyp_budget budget = {.limit_bytes = config ? config->memory_bytes : 0};
    hyp_engine *engine = hyp_budget_map(&budget, sizeof *engine);
    if (!engine) return NULL;
    *engine = (hyp_engine){.budget = budget};
    engine->text.budget = &engine->budget;
    hyp_kernels_scalar(&engine->kernels);
    engine->isa = hyp_port_kernels(&engine->kernels, config && config->isa_mask ? config->isa_mask : UINT32_MAX);
    return engine;
}

void hyp_engine_destroy(hyp_engine *engine) {
    if (!engine) return;
    hyp_buffer_deinit(&engine->text);
    hyp_budget budget = engine->budget;
    hyp_budget_unmap(&budget, engine, sizeof *engine);
}

const char *hyp_engine_error(const hyp_engine *engine) { return engine->fault.text; }
hyp_memory hyp_engine_memory(const hyp_engine *engine) {
    return (hyp_memory){engine->budget.used_bytes, engine->budget.peak_bytes, engine->budget.limit_bytes};
}

const char *hyp_engine_kernels(const hyp_engine *engine) {
    return engine->isa & HYP_ISA_AVX2      ? "avx2"
           : engine->isa & HYP_ISA_RELAXED ? "relaxed-simd"
           : engine->isa & HYP_ISA_SIMD128 ? "simd128"
                                           : "scalar";
}

hyp_status hyp_model_open(hyp_engine *engine, const hyp_source *sources, uint32_t count, const hyp_model_config *config, hyp_model **out) {
    *out = NULL;
    hyp_arena arena;
    hyp_arena_init(&arena, &engine->budget);
    hyp_model *model = hyp_arena_alloc(&arena, sizeof *model);
    if (!model) return hyp_fail(&engine->fault, HYP_E_NOMEM, "not enough memory to open a model");
    *model = (hyp_model){.engine = engine, .arena = arena, .tokens.budget = &engine->budget, .text.budget = &engine->budget};
    hyp_progress progress = {config ? config->progress : NULL, config ? config->progress_context : NULL};
    hyp_status status = hyp_gguf_open(&model->gguf, &engine->budget, sources, count, &engine->fault);
    if (!status) status = hyp_tokenizer_init(&model->tokenizer, &model->gguf, &model->arena);
    if (!status)
        status = hyp_transformer_load(&model->transformer, &model->gguf, &engine->kernels, &model->arena, config ? config->context : 0,
                                      progress);
    if (!status && model->tokenizer.count > model->transformer.shape.vocab)
        status = hyp_fail(&engine->fault, HYP_E_FORMAT, "the vocabulary has %u tokens, the embedding matrix %u", model->tokenizer.count,
                          model->transformer.shape.vocab);
    if (status) {
        hyp_model_close(model);
        return status;
    }
    *out = model;
    return HYP_OK;
}

void hyp_model_close(hyp_model *model) {
    if (!model) return;
    hyp_gguf_deinit(&model->gguf);
    hyp_buffer_deinit(&model->tokens);
    hyp_buffer_deinit(&model->text);
    hyp_arena arena = model->arena; // the model itself lives in it
    hyp_arena_deinit(&arena);
}

hyp_model_facts hyp_model_describe(const hyp_model *model) {
    const hyp_shape *s = &model->transformer.shape;
    hyp_model_facts facts = {.architecture = model->transformer.arch->name,
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

const char *hyp_model_metadata(const hyp_model *model, const char *key, size_t *bytes) {
    hyp_text text = hyp_gguf_string(&model->gguf, key);
    *bytes = text.bytes;
    return text.data;
}

hyp_status hyp_model_tokenize(hyp_model *model, const char *text, size_t bytes, int flags, const int32_t **tokens, uint32_t *count) {
    model->tokens.bytes = 0;
    int encode = (flags & HYP_TEXT_EDGES ? HYP_ENCODE_EDGES : 0) | (flags & HYP_TEXT_SPECIALS ? HYP_ENCODE_SPECIALS : 0);
    hyp_status status = hyp_tokenizer_encode(&model->tokenizer, text, bytes, encode, &model->tokens);
    if (status)
        return hyp_fail(&model->engine->fault, status,
                        status == HYP_E_NOMEM ? "not enough memory to tokenize %zu bytes"
                                              : "a text of %zu bytes is too long to tokenize at once",
                        bytes);
    *tokens = (const int32_t *)(const void *)model->tokens.data;
    *count = (uint32_t)(model->tokens.bytes / sizeof(int32_t));
    return HYP_OK;
}

hyp_status hyp_model_detokenize(hyp_model *model, const int32_t *tokens, uint32_t count, int flags, const char **text, size_t *bytes) {
    model->text.bytes = 0;
    hyp_status status = hyp_tokenizer_decode(&model->tokenizer, tokens, count, flags & HYP_TEXT_SPECIALS, &model->text);
    if (status) return hyp_fail(&model->engine->fault, status, "not enough memory for the text of %u tokens", count);
    *text = (const char *)model->text.data;
    *bytes = model->text.bytes;
    return HYP_OK;
}
