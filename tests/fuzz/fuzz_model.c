// libFuzzer: any bytes as a model file. Opens it under a memory limit, and where that succeeds
// tokenizes, computes and detokenizes.
#include "../../src/hyperion/hyperion.h"
#include "../../src/stream/source.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = 16 << 20});
    hyp_source source = hyp_source_of_memory(data, size);
    const char *json, *text;
    size_t bytes;
    if (hyp_engine_inspect(engine, &source, 1, &json, &bytes)) goto end;
    hyp_model *model;
    if (hyp_model_open(engine, &source, 1, NULL, &model)) goto end;
    const int32_t *tokens;
    uint32_t count;
    static const char prompt[] = "Once, \xC3\xA9t\xE2\x82\xAC 12345\n\xF0\x9F\x98\x80 don't";
    hyp_session *session;
    if (!hyp_model_tokenize(model, prompt, sizeof prompt - 1,
                            HYP_TEXT_ADD_SPECIAL | HYP_TEXT_PARSE_SPECIAL, &tokens, &count) &&
        !hyp_session_create(model, &(hyp_session_config){.context = 64, .batch = 8}, &session)) {
        hyp_piece piece = {.finish = HYP_FINISH_NONE};
        if (!hyp_session_begin(session, tokens, count,
                               &(hyp_sampling){.temperature = 1, .top_p = 0.9f},
                               &(hyp_text){"and", 3}, 1))
            for (int i = 0; i < 6 && !piece.finish; i++)
                if (hyp_session_next(session, &piece)) break;
        hyp_session_destroy(session);
    }
    if (!hyp_model_tokenize(model, prompt, sizeof prompt - 1, 0, &tokens, &count)) {
        int32_t *copy = malloc((count + 1) * sizeof *copy);
        for (uint32_t i = 0; i < count; i++) copy[i] = tokens[i];
        if (hyp_model_detokenize(model, copy, count, HYP_TEXT_PARSE_SPECIAL, &text, &bytes))
            abort();
        free(copy);
    }
    hyp_model_close(model);
end:
    hyp_engine_destroy(engine);
    return 0;
}
