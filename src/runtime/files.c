
#include "../base/bytes.h"
#include "../convert/convert.h"
#include "../text/json.h"
#include "engine.h"

static void put_value(hyp_json *json, const hyp_gguf *gguf, const hyp_gguf_kv *kv) {
    enum { SHOWN = 8 };
    hyp_text name = hyp_gguf_key(gguf, kv), text;
    char key[80];
    size_t n = name.bytes < sizeof key - 1 ? name.bytes : sizeof key - 1;
    memcpy(key, name.data, n);
    key[n] = 0;
    if (kv->type == HYP_GGUF_STRING)
        hyp_json_text(json, key, hyp_gguf_value(gguf, kv), (size_t)kv->bytes);
    else if (kv->type == HYP_GGUF_BOOL) hyp_json_bool(json, key, hyp_gguf_number(gguf, kv, 0) != 0);
    else if (kv->type != HYP_GGUF_ARRAY) hyp_json_number(json, key, hyp_gguf_number(gguf, kv, 0));
    else {
        hyp_json_open(json, key, '{');
        hyp_json_number(json, "count", (double)kv->count);
        hyp_json_open(json, "first", '[');
        uint64_t at = 0;
        for (uint64_t i = 0; i < kv->count && i < SHOWN; i++)
            if (kv->element == HYP_GGUF_STRING && hyp_gguf_next_string(gguf, kv, &at, &text))
                hyp_json_text(json, NULL, text.data, text.bytes);
            else hyp_json_number(json, NULL, hyp_gguf_number(gguf, kv, i));
        hyp_json_close(json, ']');
        hyp_json_close(json, '}');
    }
}

hyp_status hyp_engine_inspect(hyp_engine *engine, const hyp_source *sources, uint32_t count,
                              const char **out, size_t *bytes) {
    hyp_buffer_deinit(&engine->text);
    hyp_gguf *gguf = hyp_budget_map(&engine->budget, sizeof *gguf);
    if (!gguf) return hyp_fail(&engine->fault, HYP_E_NOMEM, "not enough memory to read the file");
    hyp_status status = hyp_gguf_open(gguf, &engine->budget, sources, count, &engine->fault);
    hyp_json json = {.out.budget = &engine->budget};
    if (!status) {
        uint64_t parameters = 0, data = 0;
        hyp_json_open(&json, NULL, '{');
        hyp_json_number(&json, "version", gguf->version);
        hyp_json_open(&json, "metadata", '{');
        for (uint32_t i = 0; i < hyp_gguf_kv_count(gguf); i++)
            put_value(&json, gguf, hyp_gguf_kv_at(gguf, i));
        hyp_json_close(&json, '}');
        hyp_json_open(&json, "tensors", '[');
        for (uint32_t i = 0; i < hyp_gguf_tensor_count(gguf); i++) {
            const hyp_gguf_tensor *t = hyp_gguf_tensor_at(gguf, i);
            hyp_text name = hyp_gguf_tensor_name(gguf, t);
            const char *type = hyp_format_name(t->type);
            hyp_json_open(&json, NULL, '{');
            hyp_json_text(&json, "name", name.data, name.bytes);
            hyp_json_text(&json, "type", type, strlen(type));
            hyp_json_open(&json, "shape", '[');
            for (uint32_t d = 0; d < t->dims; d++) hyp_json_number(&json, NULL, (double)t->dim[d]);
            hyp_json_close(&json, ']');
            hyp_json_number(&json, "bytes", (double)t->bytes);
            hyp_json_close(&json, '}');
            parameters += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
            data += t->bytes;
        }
        hyp_json_close(&json, ']');
        hyp_json_number(&json, "parameters", (double)parameters);
        hyp_json_number(&json, "bytes", (double)data);
        hyp_json_close(&json, '}');
        if (json.failed)
            status = hyp_fail(&engine->fault, HYP_E_NOMEM, "not enough memory for the description");
    }
    hyp_gguf_deinit(gguf);
    hyp_budget_unmap(&engine->budget, gguf, sizeof *gguf);
    engine->text = json.out;
    *out = (const char *)engine->text.data;
    *bytes = engine->text.bytes;
    return status;
}

hyp_status hyp_engine_quantize(hyp_engine *engine, const hyp_source *sources, uint32_t count,
                               const hyp_quantization *how, const hyp_writer *out) {
    hyp_recipe recipe = {.format = hyp_format_named(how->format), .density = how->density};
    if (recipe.format == HYP_FORMATS)
        return hyp_fail(
            &engine->fault, HYP_E_ARGUMENT,
            "'%.40s' is no format that can be written (Q4_0, Q4_K, Q6_K, Q8_0, F16 and others are)",
            how->format);
    if (!(recipe.density >= 0 && recipe.density <= 1) ||
        (recipe.density > 0 && recipe.format != HYP_Q4_0))
        return hyp_fail(&engine->fault, HYP_E_ARGUMENT,
                        "a density is above 0 and at most 1, and pruned weights are Q4_0");
    hyp_gguf *gguf = hyp_budget_map(&engine->budget, 2 * sizeof *gguf), *imatrix = gguf + 1;
    if (!gguf) return hyp_fail(&engine->fault, HYP_E_NOMEM, "not enough memory to read the file");
    hyp_status status = hyp_gguf_open(gguf, &engine->budget, sources, count, &engine->fault);
    if (!status && how->imatrix) {
        status = hyp_gguf_open(imatrix, &engine->budget, how->imatrix, 1, &engine->fault);
        recipe.imatrix = imatrix;
    }
    if (!status) status = hyp_gguf_rewrite(gguf, &recipe, out);
    hyp_gguf_deinit(imatrix);
    hyp_gguf_deinit(gguf);
    hyp_budget_unmap(&engine->budget, gguf, 2 * sizeof *gguf);
    return status;
}

hyp_status hyp_session_write_imatrix(const hyp_session *s, const hyp_writer *out) {
    hyp_model *model = s->model;
    if (!s->workspace.squares)
        return hyp_fail(&model->engine->fault, HYP_E_STATE,
                        "the session keeps no statistics: create it with `calibrate`");
    return hyp_write_imatrix(&model->gguf, &model->net.graph, s->workspace.squares, out);
}
