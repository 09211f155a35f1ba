// Every architecture against llama.cpp's log-probabilities (tests/golden), on this platform's
// kernels.
#include "../src/base/bytes.h"
#include "../src/gguf/gguf.h"
#include "../src/hyperion/hyperion.h"
#include "../src/stream/source.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct golden {
    const uint8_t *rows; // (positions, top) of int32 token, float32 log-probability
    uint32_t top, agreed;
    float worst, bound;
} golden;

static void compare(void *context, uint32_t position, const float *log_probabilities) {
    golden *g = context;
    const uint8_t *row = g->rows + (size_t)position * g->top * 8;
    for (uint32_t i = 0; i < g->top; i++) {
        float want = hyp_bits_f32(hyp_load_u32(row + 8 * i + 4)),
              difference = fabsf(log_probabilities[hyp_load_u32(row + 8 * i)] - want);
        if (!(difference <= g->worst)) g->worst = difference; // NaN too
    }
    // the oracle's best, or one that it can not tell from the best, is ours
    float first = hyp_bits_f32(hyp_load_u32(row + 4)), mine = -INFINITY;
    uint32_t best = 0;
    for (uint32_t t = 0; t < 512; t++)
        if (log_probabilities[t] > mine) {
            mine = log_probabilities[t];
            best = t;
        }
    for (uint32_t i = 0; i < g->top; i++)
        if (hyp_load_u32(row + 8 * i) == best &&
            hyp_bits_f32(hyp_load_u32(row + 8 * i + 4)) >= first - g->bound) {
            g->agreed++;
            break;
        }
}

// What 8-bit activations may do to a log-probability. The formats of super-blocks differ more
// because llama.cpp gives 256 activations one scale where each 32 have their own here.
static float bound_of(const char *name) {
    return strstr(name, "wide")     ? 0.09f
           : strstr(name, "blocks") ? 0.03f
           : strstr(name, "q4_")    ? 0.04f
                                    : 0.02f;
}

static void one(const char *name, uint32_t context) {
    char path[128];
    size_t model_bytes, golden_bytes;
    snprintf(path, sizeof path, "build/models/%s.gguf", name);
    uint8_t *file = read_file(path, &model_bytes);
    snprintf(path, sizeof path, "tests/golden/%s.bin", name);
    uint8_t *answers = read_file(path, &golden_bytes);
    uint32_t positions = hyp_load_u32(answers + 4);
    golden g = {answers + 12 + positions * 4, hyp_load_u32(answers + 8), 0, 0, bound_of(name)};
    CHECK(golden_bytes == 12 + positions * 4 + (size_t)positions * g.top * 8);
    hyp_engine *engine = hyp_engine_create(NULL);
    hyp_model *model;
    hyp_session *session;
    hyp_source source = hyp_source_of_memory(file, model_bytes);
    CHECK_MSG(hyp_model_open(engine, &source, 1, &(hyp_model_config){.context = context}, &model) ==
                  HYP_OK,
              "%s: %s", name, hyp_engine_error(engine));
    CHECK(hyp_session_create(model, &(hyp_session_config){.context = context, .batch = 19},
                             &session) == HYP_OK);
    int32_t *tokens = malloc(positions * sizeof *tokens);
    for (uint32_t i = 0; i < positions; i++)
        tokens[i] = (int32_t)hyp_load_u32(answers + 12 + 4 * i);
    CHECK(hyp_session_score(session, tokens, positions, compare, &g) == HYP_OK);
    CHECK_MSG(g.worst <= g.bound, "%s: log-probabilities differ by %g", name, (double)g.worst);
    CHECK_MSG(g.agreed * 100 >= positions * 99, "%s: greedy tokens agree on %u of %u", name,
              g.agreed, positions);
    hyp_session_destroy(session);
    hyp_model_close(model);
    hyp_engine_destroy(engine);
    free(tokens);
    free(file);
    free(answers);
}

// Numbers that RoPE, norms and soft caps can not compute with are refused by the name of their key
// or tensor; the ends of their ranges run.
static void numbers_out_of_range(void) {
    static const struct {
        const char *model, *name;
        float least, most, others[4]; // 0 ends them
    } cases[] = {
        {"llama-freqs-q8_0", "rope_freqs.weight", 0.125f, 1e9f, {0.1249f, 1e-30f, -1, 1.1e9f}},
        {"phi3-longrope-q8_0", "rope_factors_long.weight", 0.125f, 1e9f, {1e-30f, -8, 1e30f}},
        {"llama-linear-q8_0",
         "llama.rope.scaling.factor",
         0.125f,
         1e9f,
         {0.12f, 1e-30f, -1, 1e10f}},
        {"llama-linear-q8_0", "llama.rope.freq_base", 1, 9e19f, {0.99f, -1, 1e-30f, 1e21f}},
        {"llama-linear-q8_0", "llama.attention.layer_norm_rms_epsilon", 1e-19f, 1, {1e-30f, -1, 2}},
        {"gemma2-q8_0", "gemma2.attn_logit_softcapping", 0, 1e6f, {-1, 1e7f}},
        {"gemma2-q8_0", "gemma2.final_logit_softcapping", 0, 1e6f, {-1e-30f, 1e7f}},
        {"phi3-longrope-q8_0", "phi3.rope.scaling.attn_factor", 0.00101f, 999, {1e-4f, -1, 1e4f}}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char path[128];
        size_t bytes;
        snprintf(path, sizeof path, "build/models/%s.gguf", cases[c].model);
        uint8_t *data = read_file(path, &bytes);
        hyp_source source = hyp_source_of_memory(data, bytes);
        static hyp_gguf gguf;
        hyp_budget budget = {0};
        hyp_fault fault;
        CHECK(hyp_gguf_open(&gguf, &budget, &source, 1, &fault) == HYP_OK);
        const hyp_gguf_kv *kv = hyp_gguf_find(&gguf, cases[c].name);
        const hyp_gguf_tensor *t = hyp_gguf_tensor_named(&gguf, cases[c].name);
        CHECK_MSG((kv && kv->type == HYP_GGUF_F32) || (t && t->format == HYP_F32), "%s",
                  cases[c].name);
        uint8_t *at = data + (kv ? kv->at : t->offset + t->bytes - 4);
        hyp_gguf_deinit(&gguf);
        const float numbers[] = {cases[c].least,
                                 cases[c].most,
                                 cases[c].others[0],
                                 cases[c].others[1],
                                 cases[c].others[2],
                                 cases[c].others[3],
                                 NAN,
                                 INFINITY,
                                 -INFINITY};
        for (int i = 0; i < 9; i++) {
            if (i >= 2 && numbers[i] == 0) continue;
            hyp_store_u32(at, hyp_f32_bits(numbers[i]));
            hyp_engine *engine = hyp_engine_create(NULL);
            hyp_model *model;
            hyp_session *session;
            hyp_status status = hyp_model_open(engine, &source, 1, NULL, &model);
            if (i >= 2)
                CHECK_MSG(status == HYP_E_FORMAT && strstr(hyp_engine_error(engine), cases[c].name),
                          "%s of %g: %d, %s", cases[c].name, (double)numbers[i], status,
                          hyp_engine_error(engine));
            else {
                CHECK_MSG(status == HYP_OK, "%s of %g: %s", cases[c].name, (double)numbers[i],
                          hyp_engine_error(engine));
                CHECK(hyp_session_create(model, NULL, &session) == HYP_OK);
                int32_t tokens[] = {1, 2, 3};
                hyp_piece piece;
                CHECK(hyp_session_begin(session, tokens, 3, NULL, NULL, 0) == HYP_OK);
                CHECK_MSG(hyp_session_next(session, &piece) == HYP_OK, "%s",
                          hyp_engine_error(engine));
                hyp_session_destroy(session);
            }
            hyp_model_close(model);
            hyp_engine_destroy(engine);
        }
        free(data);
    }
}

int main(void) {
    size_t bytes;
    char *index = (char *)read_file("build/models/INDEX", &bytes); // lines of: name context
    char name[64];
    unsigned context;
    int used;
    index = realloc(index, bytes + 1);
    index[bytes] = 0;
    for (char *line = index; sscanf(line, "%63s %u%n", name, &context, &used) == 2; line += used) {
        run_case(name);
        one(name, context);
    }
    free(index);
    RUN(numbers_out_of_range);
    return finish();
}
