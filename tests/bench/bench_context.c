// Prefill and decode at lengths of context, natively, one thread.
// usage: bench_context MODEL ANSWER LENGTH...
// Prints one JSON line: tokens per second of each length, in two lists. Decode is measured on
// ANSWER tokens after a prompt of that length.
#include "../../src/hyperion/hyperion.h"
#include "../../src/port.h"
#include "../../src/stream/source.h"

#include <stdio.h>
#include <stdlib.h>

enum { LENGTHS_MOST = 8 };

static void fail(const char *what) {
    fprintf(stderr, "bench_context: %s\n", what);
    exit(1);
}

// The whole file; it lives as long as the program.
static hyp_source read_model(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) fail("the model can not be read");
    long bytes = ftell(f);
    void *data = bytes > 0 ? malloc((size_t)bytes) : NULL;
    if (!data || fseek(f, 0, SEEK_SET) || fread(data, 1, (size_t)bytes, f) != (size_t)bytes)
        fail("the model can not be read");
    fclose(f);
    return hyp_source_of_memory(data, (size_t)bytes);
}

static double per_second(uint32_t tokens, uint64_t since_ns) {
    return tokens / ((double)(hyp_port_now_ns() - since_ns) / 1e9);
}

static void measure(hyp_session *session, int32_t *tokens, uint32_t vocab, uint32_t length,
                    uint32_t answer, uint32_t run, double *prefill, double *decode) {
    // Another text each time, so that nothing of the last one is in the cache.
    for (uint32_t i = 0; i < length; i++) tokens[i] = (int32_t)((i * 31 + run * 977 + 300) % vocab);
    if (hyp_session_begin(session, tokens, length, NULL, NULL, 0)) fail("no prompt");
    uint64_t start = hyp_port_now_ns();
    for (uint32_t left = length; left > 0;)
        if (hyp_session_prefill(session, &left)) fail("no prefill");
    *prefill = per_second(length, start);
    hyp_piece piece;
    if (hyp_session_next(session, &piece)) fail("no token"); // of the prompt's logits
    uint32_t made = 0;
    start = hyp_port_now_ns();
    for (; made < answer && !piece.finish; made++)
        if (hyp_session_next(session, &piece)) fail("no token");
    if (made == 0) fail("the answer ended at once"); // random weights may do so, with luck
    *decode = per_second(made, start);
}

int main(int argc, char **argv) {
    uint32_t count = argc > 3 ? (uint32_t)argc - 3 : 0, lengths[LENGTHS_MOST], most = 0;
    uint32_t answer = argc > 3 ? (uint32_t)atoi(argv[2]) : 0;
    if (count < 1 || count > LENGTHS_MOST || answer < 1)
        fail("usage: bench_context MODEL ANSWER LENGTH...");
    for (uint32_t i = 0; i < count; i++) {
        lengths[i] = (uint32_t)atoi(argv[3 + i]);
        if (lengths[i] < 1) fail("a length is 1 at least");
        if (lengths[i] > most) most = lengths[i];
    }
    hyp_source source = read_model(argv[1]);
    hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.threads = 1});
    hyp_model *model = NULL;
    hyp_session *session = NULL;
    if (!engine || hyp_model_open(engine, &source, 1, NULL, &model)) fail("no model");
    if (hyp_session_create(model, &(hyp_session_config){.context = most + answer + 2}, &session))
        fail(hyp_engine_error(engine));
    int32_t *tokens = malloc(most * sizeof *tokens);
    uint32_t vocab = hyp_model_get_info(model).vocab;
    double prefill[LENGTHS_MOST], decode[LENGTHS_MOST];
    if (!tokens) fail("no memory");
    measure(session, tokens, vocab, lengths[0], answer, 0, prefill, decode); // to warm up
    for (uint32_t i = 0; i < count; i++)
        measure(session, tokens, vocab, lengths[i], answer, i + 1, prefill + i, decode + i);
    printf("{\"prefill\":[");
    for (uint32_t i = 0; i < count; i++) printf("%s%.2f", i ? "," : "", prefill[i]);
    printf("],\"decode\":[");
    for (uint32_t i = 0; i < count; i++) printf("%s%.2f", i ? "," : "", decode[i]);
    printf("]}\n");
    free(tokens);
    hyp_session_destroy(session);
    hyp_model_close(model);
    hyp_engine_destroy(engine);
    return 0;
}
