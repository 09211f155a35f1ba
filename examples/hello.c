// Continues a text. usage: hello MODEL.gguf
#include "../native/port_posix.h"
#include "../src/hyperion/hyperion.h"

#include <stdio.h>

int main(int argc, char **argv) {
    hyp_source file;
    hyp_model *model = NULL;
    hyp_session *session = NULL;
    const int32_t *tokens;
    uint32_t count;
    hyp_piece piece = {.finish = HYP_FINISH_NONE};
    hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = 64 << 20});
    bool ok = argc == 2 && engine && hyp_posix_open(argv[1], &file) &&
              !hyp_model_open(engine, &file, 1, NULL, &model) &&
              !hyp_session_create(model, NULL, &session) &&
              !hyp_model_tokenize(model, "Once upon a time", 16, HYP_TEXT_ADD_SPECIAL, &tokens,
                                  &count) &&
              !hyp_session_begin(session, tokens, count,
                                 &(hyp_sampling){.temperature = 0.7f, .seed = 7}, NULL, 0);
    while (ok && !piece.finish && (ok = !hyp_session_next(session, &piece)))
        fwrite(piece.text, 1, piece.bytes, stdout);
    puts(ok ? "" : engine ? hyp_engine_error(engine) : "no memory");
    hyp_session_destroy(session);
    hyp_model_close(model);
    hyp_engine_destroy(engine);
    return !ok;
}
