// Models: opening and closing, what is known of them, and their texts as tokens.
#include "../base/bytes.h"
#include "../port.h"
#include "engine.h"
#include "options.h"

enum { SPARE_BYTES = 512 << 10, LIMIT_SPARE = 256 << 10 };

// What is left free beside the weights: a session of usual size.
static uint64_t usual_session_bytes(const hyp_model *m, uint32_t context) {
    context = hyp_min_u32(context ? context : HYP_USUAL_CONTEXT, m->shape.context);
    return SPARE_BYTES + hyp_workspace_bytes(&m->net.graph, hyp_min_u32(HYP_USUAL_BATCH, context)) +
           hyp_sequence_bytes(&m->net.graph, HYP_KV_F16, context);
}

hyp_status hyp_model_open(hyp_engine *engine, const hyp_source *sources, uint32_t count,
                          const hyp_model_config *config, hyp_model **out) {
    *out = NULL;
    hyp_status status = config ? hyp_options_check(&hyp_model_options, config, &engine->fault)
                               : HYP_OK;
    if (status) return status;
    if (engine->budget.limit_bytes) hyp_forget_prompts(engine->budget.prompts, SIZE_MAX);
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
    status = copies ? hyp_gguf_open(&model->gguf, &engine->budget, copies, count, &engine->fault)
                    : hyp_fail(&engine->fault, HYP_E_NOMEM, "not enough memory to open a model");
    if (!status)
        status = hyp_tokenizer_init(&model->tokenizer, &model->gguf, &model->arena, progress);
    uint32_t context = config ? config->context : 0;
    if (!status)
        status = hyp_build_graph(&model->net.graph, &model->shape, &model->gguf, &engine->kernels,
                                 &model->arena, context);
    if (!status && model->tokenizer.count > model->net.graph.vocab)
        status = hyp_fail(&engine->fault, HYP_E_FORMAT,
                          "the vocabulary has %u tokens, the embedding matrix %u",
                          model->tokenizer.count, model->net.graph.vocab);
    if (!status) {
        *out = model;
        status = hyp_net_load(
            &model->net, &(hyp_net_config){.sched = engine->sched,
                                           .progressive = config && config->progressive,
                                           .no_ahead = config && config->no_ahead,
                                           .threads = engine->threads,
                                           .session_bytes = usual_session_bytes(model, context),
                                           .progress = progress});
    }
    if (!status) {
        hyp_prompt_cache_init(&model->prompts, &engine->budget, &model->net.pool,
                              config ? config->prompt_cache_bytes : 0);
        return HYP_OK;
    }
    *out = NULL;
    hyp_fault why = engine->fault; // closing may have others run
    hyp_model_close(model);
    // Whatever waited or worked when it was cancelled has no words of its own for it.
    return status == HYP_E_CANCELLED ? hyp_fail(&engine->fault, status, "loading was stopped")
                                     : hyp_fail(&engine->fault, status, "%s", why.text);
}

void hyp_model_close(hyp_model *model) {
    if (!model) return;
    hyp_prompt_cache_deinit(&model->prompts);
    hyp_net_close(&model->net);
    for (int i = 0; i < HYP_KV_FORMATS; i++) hyp_kv_cache_deinit(&model->kv[i]);
    hyp_gguf_deinit(&model->gguf);
    hyp_buffer_deinit(&model->tokens);
    hyp_buffer_deinit(&model->text);
    hyp_arena arena = model->arena; // the model itself lives in it
    hyp_arena_deinit(&arena);
}

hyp_loading hyp_model_loading(const hyp_model *model) {
    const hyp_load *l = &model->net.load;
    return (hyp_loading){l->done, l->total, l->layers_ready, l->layers, l->over, l->status};
}

hyp_status hyp_model_wait(hyp_model *model) { return hyp_net_wait(&model->net); }
void hyp_model_cancel_loading(hyp_model *model) { hyp_load_cancel(&model->net.load); }

hyp_model_info hyp_model_get_info(const hyp_model *model) {
    const hyp_shape *s = &model->shape;
    hyp_model_info info = {.architecture = s->arch->name,
                           .context = s->context,
                           .dim = s->dim,
                           .layers = s->layers,
                           .heads = s->heads,
                           .kv_heads = s->kv_heads,
                           .vocab = model->net.graph.vocab,
                           .weight_bytes = model->net.graph.weight_bytes,
                           .bos = model->tokenizer.bos,
                           .eos = model->tokenizer.eos,
                           .adds_bos = model->tokenizer.add_bos};
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(&model->gguf); i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(&model->gguf, i);
        info.parameters += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
    }
    return info;
}

hyp_residency hyp_model_residency(const hyp_model *model) {
    hyp_pager_stats s = hyp_pager_get_stats(model->net.weights.pager);
    uint64_t limit = 0;
    if (s.resident < s.pages) { // beside what is there now, and when it is opened anew
        limit = model->engine->budget.used_bytes - s.capacity_bytes + s.whole_bytes;
        limit = (limit > model->net.whole_limit_bytes ? limit : model->net.whole_limit_bytes) +
                LIMIT_SPARE;
    }
    return (hyp_residency){s.pages,          s.resident,      s.present, s.frames, s.whole_bytes,
                           s.capacity_bytes, s.present_bytes, s.pins,    s.hits,   s.fills,
                           s.filled_bytes,   s.evictions,     s.faults,  s.traps,  limit};
}

hyp_workers hyp_model_workers(const hyp_model *model) {
    hyp_pool_stats s = hyp_pool_get_stats(model->net.pool);
    return (hyp_workers){s.workers + 1, s.present, s.loops, s.tiles, s.by_workers, s.repeated};
}

void hyp_model_stop_workers(hyp_model *model) { hyp_net_stop_workers(&model->net); }

void hyp_model_heat(const hyp_model *model, uint32_t first, uint32_t count, uint8_t *heat) {
    for (uint32_t i = 0; i < count; i++) {
        hyp_page_info page = hyp_pager_page(model->net.weights.pager, first + i);
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
