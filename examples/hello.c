// Continues a text. usage: hello MODEL.gguf
#include <hyperion/hyperion.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    static const char prompt[] = "Once upon a time";
    hyp_source file = {0};
    hyp_model *model = NULL;
    hyp_session *session = NULL;
    const int32_t *tokens;
    uint32_t count;
    hyp_piece piece = {.finish = HYP_FINISH_NONE};
    if (argc != 2 || hyp_source_open_file(argv[1], &file)) {
        fprintf(stderr, "%s\n", argc == 2 ? hyp_source_error() : "usage: hello MODEL.gguf");
        return 1;
    }
    hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = 64 << 20});
    bool ok = engine && !hyp_model_open(engine, &file, 1, NULL, &model) &&
              !hyp_session_create(model, NULL, &session) &&
              !hyp_model_tokenize(model, prompt, strlen(prompt), HYP_TEXT_ADD_SPECIAL, &tokens,
                                  &count) &&
              !hyp_session_begin(session, tokens, count,
                                 &(hyp_sampling){.temperature = 0.7f, .seed = 7}, NULL, 0);
    if (ok) fputs(prompt, stdout);
    while (ok && !piece.finish && (ok = !hyp_session_next(session, &piece)))
        fwrite(piece.text, 1, piece.bytes, stdout);
    puts("");
    if (!ok) fprintf(stderr, "%s\n", engine ? hyp_engine_error(engine) : "no memory");
    hyp_session_destroy(session);
    hyp_model_close(model);
    hyp_engine_destroy(engine);
    hyp_source_close(&file);
    return !ok;
}
