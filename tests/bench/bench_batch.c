// Sessions of one engine, side by side: tokens per second of one, and of four whose tokens are
// computed in common forward passes.
// usage: bench_batch MODEL THREADS ROUNDS
// Prints one JSON line. Checks that each session's tokens are the same as alone.
#include "../../src/hyperion/hyperion.h"
#include "../../src/port.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 8, PROMPT = 32, ANSWER = 64, ROUNDS_MOST = 99 };
static int32_t alone[MOST][ANSWER];

static void fail(const char *what) {
    fprintf(stderr, "bench_batch: %s\n", what);
    exit(1);
}
static int by_value(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

// Runs `count` sessions, the first of them being number `first`; returns tokens per second of the
// answers.
static double run(hyp_engine *engine, hyp_model *model, uint32_t first, uint32_t count,
                  int32_t (*tokens)[ANSWER], bool check) {
    hyp_session *sessions[MOST];
    uint32_t made[MOST] = {0}, vocab = hyp_model_get_info(model).vocab, left = count;
    hyp_call next = {.kind = HYP_CALL_NEXT};
    for (uint32_t i = 0; i < count; i++) {
        int32_t prompt[PROMPT];
        for (uint32_t k = 0; k < PROMPT; k++)
            prompt[k] = (int32_t)((k * 31 + (first + i) * 977 + 300) % vocab);
        uint32_t rest = 1;
        if (hyp_session_create(model, &(hyp_session_config){.context = 256}, &sessions[i]) ||
            hyp_session_begin(sessions[i], prompt, PROMPT, NULL, NULL, 0))
            fail("no session");
        while (rest > 0)
            if (hyp_session_prefill(sessions[i], &rest)) fail("no prefill");
        if (hyp_session_post(sessions[i], &next)) fail("no call");
    }
    uint64_t start = hyp_port_now_ns();
    while (left > 0) {
        hyp_engine_run(engine, 0);
        for (uint32_t i = 0; i < count; i++) {
            if (made[i] == ANSWER || hyp_session_busy(sessions[i])) continue;
            const hyp_result *r = hyp_session_result(sessions[i]);
            if (r->status) fail(hyp_engine_error(engine));
            if (check && tokens[first + i][made[i]] != r->piece.token)
                fail("a session's tokens differ from those alone");
            tokens[first + i][made[i]++] = r->piece.token;
            if (made[i] == ANSWER || r->piece.finish) {
                made[i] = ANSWER;
                left--;
            } else if (hyp_session_post(sessions[i], &next)) fail("no call");
        }
    }
    double seconds = (double)(hyp_port_now_ns() - start) / 1e9;
    for (uint32_t i = 0; i < count; i++) hyp_session_destroy(sessions[i]);
    return count * ANSWER / seconds;
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: bench_batch MODEL THREADS ROUNDS");
    uint32_t rounds = (uint32_t)atoi(argv[3]);
    hyp_source source;
    hyp_engine *engine = hyp_engine_create(
        &(hyp_engine_config){.threads = (uint32_t)atoi(argv[2])});
    hyp_model *model;
    if (rounds < 1 || rounds > ROUNDS_MOST || hyp_source_open_file(argv[1], &source) ||
        hyp_model_open(engine, &source, 1, NULL, &model))
        fail("no model");
    static double speed[4][ROUNDS_MOST];
    static const uint32_t counts[4] = {1, 2, 4, 8};
    for (uint32_t i = 0; i < MOST; i++) run(engine, model, i, 1, alone, false);
    for (uint32_t r = 0; r < rounds; r++)
        for (int c = 0; c < 4; c++) speed[c][r] = run(engine, model, 0, counts[c], alone, true);
    for (int c = 0; c < 4; c++) qsort(speed[c], rounds, sizeof(double), by_value);
    printf("{\"one\":%.2f,\"two\":%.2f,\"four\":%.2f,\"eight\":%.2f}\n", speed[0][rounds / 2],
           speed[1][rounds / 2], speed[2][rounds / 2], speed[3][rounds / 2]);
    hyp_model_close(model);
    hyp_engine_destroy(engine);
}
