// A model's exports: what it is, its texts and tokens, its weights and worker threads.
#include "exports.h"

#include <string.h>

static hyp_json *const json = &hyp_exports_json;

EXPORT(model_close) void model_close(hyp_model *model) { hyp_model_close(model); }
EXPORT(model_info) hyp_status model_info(const hyp_model *model) {
    hyp_model_info f = hyp_model_get_info(model);
    hyp_exports_begin_json();
    hyp_json_text(json, "architecture", f.architecture, strlen(f.architecture));
    PUT_NUMBERS({"context", f.context}, {"dim", f.dim}, {"layers", f.layers}, {"heads", f.heads},
                {"kvHeads", f.kv_heads}, {"vocab", f.vocab}, {"parameters", (double)f.parameters},
                {"weightBytes", (double)f.weight_bytes}, {"bos", f.bos}, {"eos", f.eos});
    hyp_json_bool(json, "addsBos", f.adds_bos);
    static const struct {
        const char *key, *name;
    } texts[] = {{"general.name", "name"}, {"tokenizer.chat_template", "chatTemplate"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t bytes;
        const char *text = hyp_model_metadata(model, texts[i].key, &bytes);
        if (text) hyp_json_text(json, texts[i].name, text, bytes);
    }
    hyp_json_close(json, '}');
    return hyp_exports_give_json();
}
// From the input's first `bytes`; the result is int32.
EXPORT(model_tokenize) hyp_status model_tokenize(hyp_model *model, size_t bytes, int32_t flags) {
    const int32_t *tokens = NULL;
    uint32_t count = 0;
    hyp_status status = hyp_model_tokenize(model, (const char *)hyp_exports_input.data, bytes,
                                           flags, &tokens, &count);
    return hyp_exports_give(status, tokens, count * sizeof *tokens);
}
EXPORT(model_detokenize)
hyp_status model_detokenize(hyp_model *model, uint32_t count, int32_t flags) {
    const char *text = NULL;
    size_t bytes = 0;
    hyp_status status = hyp_model_detokenize(
        model, (const int32_t *)(const void *)hyp_exports_input.data, count, flags, &text, &bytes);
    return hyp_exports_give(status, text, bytes);
}

EXPORT(model_residency) hyp_status model_residency(const hyp_model *model) {
    hyp_residency r = hyp_model_residency(model);
    hyp_exports_begin_json();
    PUT_NUMBERS({"pages", r.pages}, {"resident", r.resident}, {"present", r.present},
                {"frames", r.frames}, {"wholeBytes", (double)r.whole_bytes},
                {"capacityBytes", (double)r.capacity_bytes},
                {"presentBytes", (double)r.present_bytes}, {"pins", (double)r.pins},
                {"hits", (double)r.hits}, {"fills", (double)r.fills},
                {"filledBytes", (double)r.filled_bytes}, {"evictions", (double)r.evictions},
                {"wholeLimitBytes", (double)r.whole_limit_bytes});
    hyp_json_close(json, '}');
    return hyp_exports_give_json();
}
// Ends the worker threads, for a host that is about to let go of the instance. What is under way
// goes on alone.
EXPORT(model_stop_workers) void model_stop_workers(hyp_model *model) {
    hyp_model_stop_workers(model);
}
EXPORT(model_workers) hyp_status model_workers(const hyp_model *model) {
    hyp_workers h = hyp_model_workers(model);
    hyp_exports_begin_json();
    hyp_json_number(json, "count", h.threads);
    hyp_json_number(json, "present", h.present);
    hyp_json_number(json, "loops", (double)h.loops);
    hyp_json_number(json, "tiles", (double)h.tiles);
    hyp_json_number(json, "byWorkers", (double)h.by_workers);
    hyp_json_number(json, "repeated", (double)h.repeated);
    hyp_json_close(json, '}');
    return hyp_exports_give_json();
}
// A byte for each page of the weights: see hyp_model_heat.
EXPORT(model_heat) hyp_status model_heat(const hyp_model *model) {
    uint32_t pages = hyp_model_residency(model).pages;
    json->out.bytes = 0;
    if (!hyp_buffer_reserve(&json->out, pages)) return HYP_E_NOMEM;
    hyp_model_heat(model, 0, pages, json->out.data);
    return hyp_exports_give(HYP_OK, json->out.data, pages);
}
