// The public interface: answers, stop texts, whole characters, reuse of the cache, budgets, and the
// same bits on every platform.
#include "../src/base/bytes.h"
#include "../src/decode/sampler.h"
#include "../src/gguf/gguf.h"
#include "../src/hyperion/hyperion.h"
#include "../src/port.h"
#include "../src/stream/source.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef __wasm__

#include <pthread.h>
#include <unistd.h>
#endif

static uint8_t *story;
static size_t story_bytes;
static bool slow; // under an emulator: fewer rounds of the same

typedef struct fixture {
    hyp_engine *engine;
    hyp_model *model;
    hyp_session *session;
} fixture;

static hyp_status open_with(fixture *f, const hyp_engine_config *engine,
                            const hyp_session_config *session) {
    *f = (fixture){.engine = hyp_engine_create(engine)};
    if (!f->engine) return HYP_E_NOMEM;
    hyp_source source = hyp_source_of_memory(story, story_bytes);
    hyp_status status = hyp_model_open(f->engine, &source, 1, NULL, &f->model);
    return status ? status : hyp_session_create(f->model, session, &f->session);
}
// What an engine keeps for the next model: its scheduler (one block), stacks, the slab's spans.
static void check_nothing_left(hyp_engine *engine) {
    hyp_engine_stats s = hyp_engine_get_stats(engine);
    CHECK_MSG(s.blocks == 1 && s.fibers == 0 && s.used_bytes - s.stack_bytes < 160 << 10,
              "%zu blocks, %u fibers, %zu bytes left", s.blocks, s.fibers, s.used_bytes);
}
static void close_all(fixture *f) {
    hyp_session_destroy(f->session);
    hyp_model_close(f->model);
    if (f->engine) check_nothing_left(f->engine);
    hyp_engine_destroy(f->engine);
}

// Runs an answer to its end; appends the pieces to `out` (room for 4096) and returns how it
// finished.
static hyp_finish answer(fixture *f, const char *prompt, const hyp_sampling *sampling,
                         const hyp_text *stops, uint32_t stop_count, uint32_t most, char *out) {
    const int32_t *tokens;
    uint32_t count;
    CHECK(hyp_model_tokenize(f->model, prompt, strlen(prompt), HYP_TEXT_ADD_SPECIAL, &tokens,
                             &count) == HYP_OK);
    CHECK_MSG(hyp_session_begin(f->session, tokens, count, sampling, stops, stop_count) == HYP_OK,
              "%s", hyp_engine_error(f->engine));
    size_t used = 0;
    hyp_piece piece = {.finish = HYP_FINISH_NONE};
    for (uint32_t made = 0; made < most && !piece.finish; made++) {
        CHECK_MSG(hyp_session_next(f->session, &piece) == HYP_OK, "%s",
                  hyp_engine_error(f->engine));
        CHECK(used + piece.bytes < 4096);
        memcpy(out + used, piece.text, piece.bytes);
        used += piece.bytes;
    }
    out[used] = 0;
    return piece.finish;
}

static void a_story_is_told(void) {
    fixture f;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK);
    hyp_model_info facts = hyp_model_get_info(f.model);
    CHECK(facts.vocab == 2048 && facts.layers == 6 && facts.adds_bos &&
          strcmp(facts.architecture, "llama") == 0);
    static char text[4096], again[4096];
    CHECK(answer(&f, "Once upon a time", NULL, NULL, 0, 400, text) == HYP_FINISH_END);
    CHECK_MSG(strlen(text) > 300 && strstr(text, "."), "%s", text);
    CHECK(answer(&f, "Once upon a time", NULL, NULL, 0, 400, again) == HYP_FINISH_END &&
          strcmp(text, again) == 0);
    hyp_session_stats stats = hyp_session_get_stats(f.session);
    CHECK_MSG(stats.prompt_tokens == 1 && stats.reused == 4, "%u computed, %u reused",
              stats.prompt_tokens, stats.reused);
    hyp_piece piece;
    CHECK(hyp_session_next(f.session, &piece) == HYP_E_STATE); // the answer has ended
    close_all(&f);
}

// What the cache holds of an earlier text serves only as far as the new one is the same.
static void a_changed_text_is_computed_anew(void) {
    static const char *const prompts[] = {"Once upon a time, there was a little fox",
                                          "Once upon a time, there was a little owl named",
                                          "Tom had a red kite", "Once upon a"};
    static char kept[4096], fresh[4096];
    fixture f, g;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK);
    for (int round = 0; round < 12; round++) {
        const char *prompt = prompts[(uint32_t)round * 7 % 4];
        CHECK(open_with(&g, NULL, NULL) == HYP_OK);
        answer(&f, prompt, NULL, NULL, 0, 25, kept);
        answer(&g, prompt, NULL, NULL, 0, 25, fresh);
        CHECK_MSG(strcmp(kept, fresh) == 0, "'%s' after another text, '%s' from the start", kept,
                  fresh);
        close_all(&g);
    }
    close_all(&f);
}

// The story's sampled text and its logits are the same bits in every tier on every platform: this
// number is of all of them.
static uint64_t logits_hash;
static void hash_logits(void *context, uint32_t position, const float *log_probabilities) {
    (void)context;
    (void)position;
    logits_hash = (logits_hash ^ hyp_hash(log_probabilities, 2048 * sizeof(float))) *
                  1099511628211u;
}

static void the_same_bits_everywhere(void) {
    fixture f;
    CHECK(open_with(&f, NULL, &(hyp_session_config){.batch = 7}) == HYP_OK);
    hyp_sampling sampling = {.temperature = 0.9f,
                             .top_k = 50,
                             .top_p = 0.95f,
                             .min_p = 0.01f,
                             .repeat_penalty = 1.1f,
                             .seed = 11};
    static char text[4096];
    answer(&f, "The little owl", &sampling, NULL, 0, 200, text);
    const int32_t *tokens;
    uint32_t count;
    CHECK(hyp_model_tokenize(f.model, text, strlen(text), HYP_TEXT_ADD_SPECIAL, &tokens, &count) ==
          HYP_OK);
    logits_hash = 14695981039346656037u;
    CHECK(hyp_session_score(f.session, tokens, count, hash_logits, NULL) == HYP_OK);
    uint64_t text_hash = hyp_hash(text, strlen(text));
    const uint64_t want_text = 0x1bc41d4ba7aece19, want_logits = 0x6e05b98210e8879c;
    CHECK_MSG(text_hash == want_text && logits_hash == want_logits,
              "text 0x%llx, logits 0x%llx: %s", (unsigned long long)text_hash,
              (unsigned long long)logits_hash, text);
    close_all(&f);
}

typedef struct rows {
    float *values;
    uint32_t count;
} rows;
static void keep_row(void *context, uint32_t position, const float *log_probabilities) {
    rows *r = context;
    memcpy(r->values + (size_t)position * 2048, log_probabilities, 2048 * sizeof(float));
    r->count = position + 1;
}

static void batches_do_not_matter(void) {
    enum { N = 70 };
    int32_t tokens[N] = {1};
    for (int i = 1; i < N; i++) tokens[i] = 300 + (int32_t)(random_u32() % 1700);
    rows one = {malloc(N * 2048 * sizeof(float)), 0}, many = {malloc(N * 2048 * sizeof(float)), 0};
    for (uint32_t batch = 2; batch <= 70; batch += 17) {
        fixture f;
        CHECK(open_with(&f, NULL, &(hyp_session_config){.batch = 1}) == HYP_OK);
        CHECK(hyp_session_score(f.session, tokens, N, keep_row, &one) == HYP_OK);
        close_all(&f);
        CHECK(open_with(&f, NULL, &(hyp_session_config){.batch = batch}) == HYP_OK);
        CHECK(hyp_session_score(f.session, tokens, N, keep_row, &many) == HYP_OK);
        close_all(&f);
        CHECK(memcmp(one.values, many.values, N * 2048 * sizeof(float)) ==
              0); // prefill and decode: the same bits
    }
    fixture f;
    CHECK(open_with(&f, NULL, &(hyp_session_config){.cache = HYP_CACHE_Q8_0}) == HYP_OK);
    CHECK(hyp_session_score(f.session, tokens, N, keep_row, &many) == HYP_OK);
    double divergence = 0; // of the 8-bit cache from the 16-bit one, per token
    for (size_t i = 0; i < N * 2048; i++)
        divergence += exp((double)one.values[i]) * (double)(one.values[i] - many.values[i]);
    CHECK_MSG(divergence / N > 0 && divergence / N < 0.01, "KL divergence %g", divergence / N);
    close_all(&f);
    free(one.values);
    free(many.values);
}

typedef struct file {
    uint8_t *data;
    size_t bytes;
} file;
static bool append(void *context, const void *data, size_t count) {
    file *f = context;
    f->data = realloc(f->data, f->bytes + count);
    memcpy(f->data + f->bytes, data, count);
    f->bytes += count;
    return true;
}
static file rewritten(const char *format, float density, const file *importance) {
    file out = {0};
    hyp_engine *engine = hyp_engine_create(NULL);
    hyp_source source = hyp_source_of_memory(story, story_bytes),
               columns = importance ? hyp_source_of_memory(importance->data, importance->bytes)
                                    : source;
    hyp_quantization how = {
        .format = format, .density = density, .imatrix = importance ? &columns : NULL};
    CHECK_MSG(hyp_engine_quantize(engine, &source, 1, &how,
                                  &(hyp_writer){.write = append, .context = &out}) == HYP_OK,
              "%s", hyp_engine_error(engine));
    hyp_engine_destroy(engine);
    return out;
}

// Floats, bitmaps, compressed rows and the story itself: any number of threads, any tier and any
// memory limit give the same bits.
static void threads_tiers_and_limits_do_not_matter(void) {
    enum { N = 24 };
    static const struct {
        const char *format;
        float density;
    } cases[] = {{"q4_0", 0}, {"f16", 0}, {"q4_0", 0.3f}, {"q4_0", 0.005f}};
    uint8_t *own = story;
    size_t own_bytes = story_bytes;
    int32_t tokens[N] = {1};
    for (int i = 1; i < N; i++) tokens[i] = 300 + (int32_t)(random_u32() % 1700);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        story = own;
        story_bytes = own_bytes;
        file other = rewritten(cases[c].format, cases[c].density, NULL);
        story = other.data;
        story_bytes = other.bytes;
        CHECK(cases[c].density == 0 || other.bytes < own_bytes * 3 / 4);
        const hyp_engine_config engines[] = {{.threads = 1},
                                             {.threads = 3},
                                             {.isa_mask = 1u << 31, .threads = 1},
                                             {.threads = 1, .memory_bytes = 5500000}};
        rows want = {malloc(N * 2048 * sizeof(float)), 0},
             got = {malloc(N * 2048 * sizeof(float)), 0};
        for (size_t e = 0; e < sizeof engines / sizeof *engines; e++) {
            if (slow && e == 2) continue; // the scalar tier under an emulator
            fixture f;
            hyp_status status = open_with(&f, &engines[e],
                                          &(hyp_session_config){.context = 64, .batch = 16});
            CHECK_MSG(status == HYP_OK, "%s", hyp_engine_error(f.engine));
            // Workers come when they come: on, until they have taken part.
            for (int round = 0;
                 round < 400 && !(round > 0 && (engines[e].threads == 1 ||
                                                hyp_model_workers(f.model).by_workers > 20));
                 round++) {
                CHECK(hyp_session_score(f.session, tokens, N, keep_row, e ? &got : &want) ==
                      HYP_OK);
                if (e)
                    CHECK_MSG(memcmp(want.values, got.values, N * 2048 * sizeof(float)) == 0,
                              "case %zu, engine %zu", c, e);
                if (hyp_model_workers(f.model).threads == 1) break;
            }
            close_all(&f);
        }
        free(want.values);
        free(got.values);
        free(other.data);
    }
    story = own;
    story_bytes = own_bytes;
}

// What calibrate writes, quantize and prune read; what is no such file is refused.
static double loss; // of the tokens scored
static const int32_t *scored;
static uint32_t scored_count;
static void add_loss(void *context, uint32_t position, const float *log_probabilities) {
    (void)context;
    if (position + 1 < scored_count) loss -= (double)log_probabilities[scored[position + 1]];
}
static void calibration(void) {
    static const char text[] = "Once upon a time, there was a little fox named Tim. Tim lived in a "
                               "forest with his mother. One day, Tim went to "
                               "play near the river with his friend.";
    uint8_t *own = story;
    size_t own_bytes = story_bytes;
    file importance = {0};
    fixture f;
    hyp_writer out = {.write = append, .context = &importance};
    const int32_t *found;
    uint32_t count;
    int32_t tokens[128];
    CHECK(open_with(&f, NULL, &(hyp_session_config){.context = 128}) == HYP_OK);
    CHECK(hyp_session_write_imatrix(f.session, &out) == HYP_E_STATE &&
          strstr(hyp_engine_error(f.engine), "calibrate"));
    close_all(&f);
    CHECK(open_with(&f, NULL, &(hyp_session_config){.context = 128, .calibrate = true}) == HYP_OK);
    CHECK(hyp_session_write_imatrix(f.session, &out) == HYP_E_ARGUMENT);
    CHECK(hyp_model_tokenize(f.model, text, sizeof text - 1, HYP_TEXT_ADD_SPECIAL, &found,
                             &count) == HYP_OK &&
          count < 128);
    memcpy(tokens, found, count * sizeof *found);
    scored = tokens;
    scored_count = count;
    CHECK(hyp_session_score(f.session, tokens, count, add_loss, NULL) == HYP_OK);
    CHECK(hyp_session_write_imatrix(f.session, &out) == HYP_OK && importance.bytes > 40000);
    close_all(&f);
    file pruned = rewritten("q4_0", 0.7f, &importance);
    double whole = loss;
    story = pruned.data;
    story_bytes = pruned.bytes;
    loss = 0;
    CHECK(open_with(&f, NULL, &(hyp_session_config){.context = 128}) == HYP_OK);
    CHECK(hyp_session_score(f.session, tokens, count, add_loss, NULL) == HYP_OK);
    close_all(&f);
    story = own;
    story_bytes = own_bytes;
    free(pruned.data);
    CHECK_MSG(loss < 1.3 * whole, "%g, not near %g", loss,
              whole); // magnitude alone: tests/test_gguf.c says which are kept
    // one that holds no sums of squares; a density that is none, or of another format
    hyp_engine *engine = hyp_engine_create(NULL);
    hyp_source source = hyp_source_of_memory(story, story_bytes),
               columns = hyp_source_of_memory(importance.data, importance.bytes);
    file sink = {0};
    hyp_quantization how = {.format = "f16", .imatrix = &columns};
    out.context = &sink;
    memset(importance.data + importance.bytes - 20000, 0xFF, 19000);
    CHECK(hyp_engine_quantize(engine, &source, 1, &how, &out) == HYP_E_FORMAT &&
          strstr(hyp_engine_error(engine), "imatrix"));
    how = (hyp_quantization){.format = "q8_0", .density = 0.5f};
    CHECK(hyp_engine_quantize(engine, &source, 1, &how, &out) == HYP_E_ARGUMENT);
    how = (hyp_quantization){.format = "q4_0", .density = 1.5f};
    CHECK(hyp_engine_quantize(engine, &source, 1, &how, &out) == HYP_E_ARGUMENT);
    hyp_engine_destroy(engine);
    free(sink.data);
    free(importance.data);
}

static void stop_texts(void) {
    fixture f;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK);
    static char whole[4096], text[4096];
    answer(&f, "Once upon a time", NULL, NULL, 0, 60, whole);
    for (int round = 0; round < (slow ? 5 : 40);
         round++) { // any piece of the text stops it just there, wherever tokens begin
        char stop[8] = "";
        size_t at = 5 + random_u32() % 100, n = 1 + random_u32() % 6;
        memcpy(stop, whole + at, n);
        hyp_text stops[] = {{"never in it", 11}, {stop, n}};
        hyp_finish finish = answer(&f, "Once upon a time", NULL, stops, 2, 60, text);
        const char *found = strstr(whole, stop);
        CHECK_MSG(finish == HYP_FINISH_STOP && strlen(text) == (size_t)(found - whole) &&
                      memcmp(text, whole, strlen(text)) == 0,
                  "stop '%s': '%s'", stop, text);
    }
    hyp_text too_many[17] = {0}, empty[] = {{"", 0}};
    int32_t token = 1;
    CHECK(hyp_session_begin(f.session, &token, 1, NULL, too_many, 17) == HYP_E_ARGUMENT &&
          hyp_session_begin(f.session, &token, 1, NULL, empty, 1) == HYP_E_ARGUMENT);
    // NUL is a byte like any other: token 3 is <0x00>, and nothing else is said
    hyp_logit_bias bias = {3, 1e6f};
    hyp_sampling zeros = {.bias = &bias, .bias_count = 1};
    CHECK(answer(&f, "Once", &zeros, (hyp_text[]){{"x\0", 2}, {"\0\0\0", 3}}, 2, 8, text) ==
              HYP_FINISH_STOP &&
          text[0] == 0);
    CHECK(hyp_session_get_stats(f.session).answer_tokens == 3);
    close_all(&f);
}

// A bias forces byte tokens, so that the model must write chosen UTF-8: pieces hold whole
// characters only.
static void whole_characters(void) {
    fixture f;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK);
    const char *want = "\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xA9";
    static char text[64];
    size_t used = 0;
    int32_t tokens[32] = {1};
    uint32_t count = 1;
    const int32_t *prompt = tokens;
    for (size_t i = 0; i < strlen(want); i++)
        tokens[count++] = 3 + (uint8_t)want[i]; // <0x00> is token 3
    const char *decoded;
    size_t bytes;
    CHECK(hyp_model_detokenize(f.model, tokens, count, 0, &decoded, &bytes) == HYP_OK &&
          bytes == strlen(want) && memcmp(decoded, want, bytes) == 0);
    // begin once, then bias each step towards the next byte by starting anew with a longer prompt
    // of one token less
    for (size_t i = 0; i < strlen(want); i++) {
        hyp_logit_bias bias = {3 + (uint8_t)want[i], 1e6f};
        hyp_sampling sampling = {.bias = &bias, .bias_count = 1};
        CHECK(hyp_session_begin(f.session, prompt, 1 + (uint32_t)i, &sampling, NULL, 0) == HYP_OK);
        hyp_piece piece;
        CHECK(hyp_session_next(f.session, &piece) == HYP_OK && piece.token == bias.token);
        bool lead_only = (uint8_t)want[i] >= 0xC0;
        CHECK_MSG(!lead_only || piece.bytes == 0, "half a character was given out");
        memcpy(text + used, piece.text, piece.bytes);
        used += piece.bytes;
    }
    // in one answer: the same byte again and again is never valid, and comes out as single bytes
    // once that is certain
    hyp_logit_bias bias = {3 + 0xE2, 1e6f};
    hyp_sampling sampling = {.bias = &bias, .bias_count = 1};
    CHECK(hyp_session_begin(f.session, prompt, 1, &sampling, NULL, 0) == HYP_OK);
    size_t given = 0;
    for (int i = 0; i < 5; i++) {
        hyp_piece piece;
        CHECK(hyp_session_next(f.session, &piece) == HYP_OK);
        given += piece.bytes;
        CHECK(given == (size_t)i); // the last one is held back
    }
    const char *rest;
    hyp_session_flush(f.session, &rest, &bytes);
    CHECK(bytes == 1);
    close_all(&f);
}

static void full_contexts_and_bad_arguments(void) {
    fixture f;
    CHECK(open_with(&f, NULL, &(hyp_session_config){.context = 12}) == HYP_OK);
    static char text[4096];
    CHECK(answer(&f, "Once upon a time", NULL, NULL, 0, 100, text) == HYP_FINISH_CONTEXT);
    CHECK(hyp_session_get_stats(f.session).used == 12);
    int32_t tokens[20] = {1, 500, 501};
    CHECK(hyp_session_begin(f.session, tokens, 12, NULL, NULL, 0) == HYP_E_CONTEXT &&
          strstr(hyp_engine_error(f.engine), "context"));
    hyp_piece piece;
    CHECK(hyp_session_next(f.session, &piece) == HYP_E_STATE);
    CHECK(hyp_session_begin(f.session, tokens, 0, NULL, NULL, 0) == HYP_E_ARGUMENT);
    tokens[2] = 2048;
    CHECK(hyp_session_begin(f.session, tokens, 3, NULL, NULL, 0) == HYP_E_ARGUMENT &&
          strstr(hyp_engine_error(f.engine), "2048"));
    tokens[2] = -1;
    CHECK(hyp_session_begin(f.session, tokens, 3, NULL, NULL, 0) == HYP_E_ARGUMENT);
    tokens[2] = 5;
    const hyp_sampling bad[] = {
        {.temperature = -1},  {.temperature = NAN},      {.top_p = 2},
        {.min_p = 1},         {.typical_p = -1},         {.repeat_penalty = 100},
        {.mirostat_tau = -1}, {.frequency_penalty = 11}, {.penalty_last = 1 << 20}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_MSG(hyp_session_begin(f.session, tokens, 3, &bad[i], NULL, 0) == HYP_E_ARGUMENT,
                  "case %zu", i);
    const float *vector;
    uint32_t dim;
    CHECK(hyp_session_embed(f.session, tokens, 13, HYP_POOL_MEAN, &vector, &dim) == HYP_E_CONTEXT);
    close_all(&f);
}

// Sizes that overflow where they are multiplied are refused where they enter, by name; large ones
// that are possible, by their bytes.
static void sizes_out_of_range(void) {
    static const struct {
        hyp_session_config config;
        const char *word, *range;
    } bad[] = {{{.context = UINT32_MAX}, "context", "16777216"},
               {{.context = UINT32_MAX - 100}, "context", "16777216"},
               {{.context = (1 << 24) + 1}, "context", "16777216"},
               {{.context = 1u << 31}, "context", "16777216"},
               {{.context = 64, .batch = UINT32_MAX}, "batch", "4096"},
               {{.context = 64, .batch = 1 << 26}, "batch", "4096"},
               {{.context = 8192, .batch = 4097}, "batch", "4096"}};
    fixture f;
    CHECK(open_with(&f, &(hyp_engine_config){.memory_bytes = 64 << 20},
                    &(hyp_session_config){.context = 64}) == HYP_OK);
    hyp_session *session;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_MSG(hyp_session_create(f.model, &bad[i].config, &session) == HYP_E_ARGUMENT &&
                      !session,
                  "case %zu", i);
        const char *why = hyp_engine_error(f.engine);
        CHECK_MSG(strstr(why, bad[i].word) && strstr(why, bad[i].range), "%s", why);
    }
    CHECK(hyp_session_create(
              f.model, &(hyp_session_config){.context = HYP_CONTEXT_MOST, .batch = HYP_BATCH_MOST},
              &session) == HYP_E_NOMEM);
    // 6 layers, 2 heads of 64, keys and values of two bytes: 3 KB a token, and more for the step
    const char *megabytes = strstr(hyp_engine_error(f.engine), " takes ");
    CHECK_MSG(megabytes && strtoul(megabytes + 7, NULL, 10) >= 3ul << 14, "%s",
              hyp_engine_error(f.engine));
    // more of a batch than of a context is not taken
    CHECK(hyp_session_create(f.model, &(hyp_session_config){.context = 3, .batch = HYP_BATCH_MOST},
                             &session) == HYP_OK);
    hyp_piece piece;
    int32_t tokens[] = {1, 400, 500};
    CHECK(hyp_session_begin(session, tokens, 2, NULL, NULL, 0) == HYP_OK &&
          hyp_session_next(session, &piece) == HYP_OK);
    hyp_session_destroy(session);
    hyp_source source = hyp_source_of_memory(story, story_bytes);
    hyp_model *model;
    CHECK(hyp_model_open(f.engine, &source, 1, &(hyp_model_config){.context = HYP_CONTEXT_MOST + 1},
                         &model) == HYP_E_ARGUMENT &&
          !model);
    CHECK(strstr(hyp_engine_error(f.engine), "16777216"));
    close_all(&f);
    if (sizeof(size_t) > 4) return;             // what follows fits
    CHECK(open_with(&f, NULL, NULL) == HYP_OK); // no limit but that of the address space
    for (uint32_t context = 1 << 20; context <= HYP_CONTEXT_MOST; context *= 2)
        CHECK(hyp_session_create(f.model,
                                 &(hyp_session_config){.context = context, .batch = HYP_BATCH_MOST},
                                 &session) == HYP_E_NOMEM);
    close_all(&f);
}

static void embeddings(void) {
    fixture f;
    CHECK(open_with(&f, NULL, &(hyp_session_config){.batch = 3}) == HYP_OK);
    static const char *const texts[] = {"The dog was happy and ran.",
                                        "The dog was happy and played.", "She broke the old lamp."};
    float v[3][256];
    for (int i = 0; i < 3; i++) {
        const int32_t *tokens;
        const float *vector;
        uint32_t count, dim;
        CHECK(hyp_model_tokenize(f.model, texts[i], strlen(texts[i]), HYP_TEXT_ADD_SPECIAL, &tokens,
                                 &count) == HYP_OK);
        for (int pooling = HYP_POOL_MEAN; pooling <= HYP_POOL_LAST; pooling++) {
            CHECK(hyp_session_embed(f.session, tokens, count, (hyp_pooling)pooling, &vector,
                                    &dim) == HYP_OK &&
                  dim == 256);
            double length = 0;
            for (int k = 0; k < 256; k++) length += (double)vector[k] * (double)vector[k];
            CHECK(fabs(length - 1) < 1e-5);
            if (pooling == HYP_POOL_MEAN) memcpy(v[i], vector, sizeof v[i]);
        }
    }
    double near = 0, far = 0;
    for (int k = 0; k < 256; k++) {
        near += (double)(v[0][k] * v[1][k]);
        far += (double)(v[0][k] * v[2][k]);
    }
    CHECK_MSG(near > far, "%g, %g", near, far);
    close_all(&f);
}

// Samplers by what they promise, over many draws.
static void samplers(void) {
    fixture f;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK);
    const int32_t *tokens;
    uint32_t count;
    const char *prompt = "Once upon a time, there was a little";
    CHECK(hyp_model_tokenize(f.model, prompt, strlen(prompt), HYP_TEXT_ADD_SPECIAL, &tokens,
                             &count) == HYP_OK);
    rows r = {malloc(64 * 2048 * sizeof(float)), 0};
    CHECK(hyp_session_score(f.session, tokens, count, keep_row, &r) == HYP_OK);
    const float *log_p = r.values + (size_t)(count - 1) * 2048;
    CHECK(hyp_model_tokenize(f.model, prompt, strlen(prompt), HYP_TEXT_ADD_SPECIAL, &tokens,
                             &count) == HYP_OK);
    const uint32_t DRAWS = slow ? 300 : 3000;
    const hyp_sampling kinds[] = {{.temperature = 1},
                                  {.temperature = 1, .top_k = 5},
                                  {.temperature = 1, .top_p = 0.5f},
                                  {.temperature = 1, .min_p = 0.3f},
                                  {.temperature = 0.5f},
                                  {.temperature = 1, .typical_p = 0.6f},
                                  {.temperature = 1, .mirostat_tau = 2}};
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        static uint32_t seen[2048];
        memset(seen, 0, sizeof seen);
        for (uint32_t i = 0; i < DRAWS; i++) {
            hyp_sampling s = kinds[kind];
            s.seed = i;
            hyp_piece piece;
            CHECK(hyp_session_begin(f.session, tokens, count, &s, NULL, 0) == HYP_OK &&
                  hyp_session_next(f.session, &piece) == HYP_OK);
            CHECK(piece.token >= 0);
            seen[piece.token]++;
        }
        uint32_t different = 0, best = 0;
        double chi = 0, expected_kinds = 0;
        for (uint32_t t = 0; t < 2048; t++) {
            different += seen[t] > 0;
            if (log_p[t] > log_p[best]) best = t;
            double expected = DRAWS * exp((double)log_p[t]);
            if (expected < 5) continue;
            chi += (seen[t] - expected) * (seen[t] - expected) / expected;
            expected_kinds++;
        }
        if (kind == 0)
            CHECK_MSG(chi < expected_kinds + 6 * sqrt(2 * expected_kinds), "chi square %g over %g",
                      chi, expected_kinds);
        if (kind == 1) CHECK(different <= 5 && different >= 2);
        if (kind == 3)
            for (uint32_t t = 0; t < 2048; t++)
                CHECK(!seen[t] || log_p[t] >= log_p[best] + logf(0.3f) - 1e-4f);
        if (kind == 2) { // the smallest set of mass one half
            double mass = 0;
            for (uint32_t t = 0; t < 2048; t++)
                if (seen[t]) mass += exp((double)log_p[t]);
            CHECK_MSG(mass < 0.5 + exp((double)log_p[best]) + 0.01, "mass %g", mass);
        }
        if (kind == 4) CHECK(seen[best] > DRAWS * exp((double)log_p[best]));
    }
    // a presence penalty beyond all logits forbids what has been said
    hyp_sampling s = {
        .temperature = 0, .presence_penalty = 10, .frequency_penalty = 10, .repeat_penalty = 10};
    static char text[4096];
    answer(&f, "Tom Tom Tom Tom", &s, NULL, 0, 8, text);
    CHECK_MSG(!strstr(text, "Tom"), "%s", text);
    free(r.values);
    close_all(&f);
}

// Under every memory limit the engine either does the whole job or says that it can not; nothing
// leaks or breaks.
static void every_budget(void) {
    size_t step = slow ? 500 << 10 : 96 << 10;
    bool done = false;
    for (size_t limit = 4096; limit < 16 << 20; limit += step) {
        fixture f;
        hyp_status status = open_with(&f, &(hyp_engine_config){.memory_bytes = limit},
                                      &(hyp_session_config){.context = 64});
        if (!status) {
            const int32_t *tokens;
            uint32_t count;
            hyp_piece piece;
            status = hyp_model_tokenize(f.model, "Once upon a time", 16, HYP_TEXT_ADD_SPECIAL,
                                        &tokens, &count);
            if (!status) status = hyp_session_begin(f.session, tokens, count, NULL, NULL, 0);
            if (!status) status = hyp_session_next(f.session, &piece);
        }
        CHECK_MSG(status == HYP_OK || status == HYP_E_NOMEM, "limit %zu: %d", limit, status);
        if (f.engine) {
            CHECK(hyp_engine_get_stats(f.engine).peak_bytes <= limit);
            CHECK(!status || strlen(hyp_engine_error(f.engine)) > 20);
        }
        CHECK(!(done && status)); // more memory never hurts
        done = !status;
        close_all(&f);
    }
    CHECK(done);
}

typedef struct counter {
    uint64_t calls, stop_at;
} counter;
static hyp_status counted_read(void *context, uint64_t offset, void *dst, size_t count) {
    counter *c = context;
    if (++c->calls == c->stop_at) return HYP_E_IO;
    memcpy(dst, story + offset, count);
    return HYP_OK;
}
static bool cancel_at(void *context, uint64_t done, uint64_t total) {
    CHECK(done <= total);
    return --*(int *)context > 0;
}

// Reads that fail in the middle of an answer: the call fails, and the next one goes on as if
// nothing had been, with guesses and without. What fails ahead of its use is read again then.
static void reads_that_fail(bool ahead) {
    enum { N = 60 };
    static const hyp_logit_bias few[] = {
        {300, 40}, {301, 40}, {302, 40}}; // said again and again: there is something to guess
    const hyp_sampling sampling = {.temperature = 0.8f, .seed = 5, .bias = few, .bias_count = 3};
    const int32_t prompt[] = {1, 300, 301, 300, 301};
    int32_t want[N];
    for (uint32_t lookup = 0; lookup <= 4; lookup += 4)
        for (uint64_t every = 0; every <= 7; every += 7) {
            counter c = {0, 0};
            hyp_source source = {.bytes = story_bytes, .read = counted_read, .context = &c};
            hyp_engine *engine = hyp_engine_create(
                &(hyp_engine_config){.memory_bytes = every ? 4600000 : 0});
            hyp_model *model;
            hyp_session *session;
            CHECK(hyp_model_open(engine, &source, 1,
                                 &(hyp_model_config){.context = 100, .no_ahead = !ahead},
                                 &model) == HYP_OK);
            CHECK(!every || hyp_model_residency(model).resident < hyp_model_residency(model).pages);
            CHECK(hyp_session_create(
                      model, &(hyp_session_config){.context = 100, .batch = 8, .lookup = lookup},
                      &session) == HYP_OK);
            CHECK(hyp_session_begin(session, prompt, 5, &sampling, NULL, 0) == HYP_OK);
            uint32_t failures = 0, reads = 1;
            for (uint32_t i = 0; i < N;) {
                hyp_piece piece;
                c = (counter){0,
                              every && i % 2
                                  ? 1 + random_u32() % reads
                                  : 0}; // in any part of the step, its logits at the end included
                hyp_status status = hyp_session_next(session, &piece);
                CHECK(status == HYP_OK || (every && status == HYP_E_IO));
                if (status) {
                    c = (counter){0, 0};
                    failures++;
                    CHECK(hyp_session_next(session, &piece) == HYP_OK);
                } else if (c.calls) reads = (uint32_t)c.calls;
                if (!lookup && !every) want[i] = piece.token;
                CHECK_MSG(piece.token == want[i], "token %u with lookup %u: %d, not %d", i, lookup,
                          piece.token, want[i]);
                i++;
            }
            CHECK(!every || ahead || failures > 5);
            CHECK(!lookup || hyp_session_get_stats(session).drafted > 5);
            hyp_session_destroy(session);
            hyp_model_close(model);
            hyp_engine_destroy(engine);
        }
}

static void reads_that_fail_on_the_way(void) {
    if (!slow) reads_that_fail(false);
    reads_that_fail(true);
}

static void failing_sources(void) {
    counter c = {0, 0};
    hyp_source source = {.bytes = story_bytes, .read = counted_read, .context = &c};
    hyp_engine *engine = hyp_engine_create(NULL);
    hyp_model *model;
    CHECK(hyp_model_open(engine, &source, 1, NULL, &model) == HYP_OK);
    hyp_model_close(model);
    uint64_t reads = c.calls;
    for (uint64_t at = 1; at <= reads; at += slow ? 9 : 1) {
        c = (counter){0, at};
        CHECK(hyp_model_open(engine, &source, 1, NULL, &model) == HYP_E_IO && !model);
    }
    c = (counter){0, 0};
    for (int at = 1; at < 20; at++) {
        int left = at;
        CHECK(hyp_model_open(engine, &source, 1,
                             &(hyp_model_config){.progress = cancel_at, .progress_context = &left},
                             &model) == HYP_E_CANCELLED &&
              !model);
    }
    check_nothing_left(engine);
    hyp_engine_destroy(engine);
}

// Any single changed byte of the header, or of the groups of a sparse model: a refusal with a
// message, or a model that still runs.
static void damage(const uint8_t *model_data, size_t model_bytes, size_t span) {
    uint8_t *copy = malloc(model_bytes);
    memcpy(copy, model_data, model_bytes);
    hyp_source source = hyp_source_of_memory(copy, model_bytes);
    hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = 64 << 20});
    int refused = 0;
    for (int round = 0; round < (slow ? 40 : 300); round++) {
        size_t at = random_u32() % (round % 2 ? 2000 : span);
        uint8_t old = copy[at];
        copy[at] = (uint8_t)random_u32();
        hyp_model *model;
        hyp_status status = hyp_model_open(engine, &source, 1, NULL, &model);
        refused += status != HYP_OK;
        if (status) CHECK(strlen(hyp_engine_error(engine)) > 10);
        else {
            hyp_session *session;
            hyp_piece piece;
            int32_t token = 1;
            if (hyp_session_create(model, &(hyp_session_config){.context = 8}, &session) ==
                    HYP_OK &&
                hyp_session_begin(session, &token, 1, NULL, NULL, 0) == HYP_OK)
                for (int i = 0;
                     i < 4 && hyp_session_next(session, &piece) == HYP_OK && !piece.finish; i++) {
                }
            hyp_session_destroy(session);
        }
        hyp_model_close(model);
        copy[at] = old;
    }
    CHECK_MSG(refused > (slow ? 2 : 20), "%d", refused);
    hyp_engine_destroy(engine);
    free(copy);
}
static void damaged_models(void) {
    damage(story, story_bytes, 60000);
    for (int kind = 0; kind < 2 && !slow; kind++) {
        file sparse = rewritten("q4_0", kind ? 0.005f : 0.2f, NULL);
        damage(sparse.data, sparse.bytes, sparse.bytes);
        free(sparse.data);
    }
}

// The bytes of a tensor in a file.
static uint8_t *tensor_in(file *f, const char *name) {
    static hyp_gguf gguf;
    hyp_budget budget = {0};
    hyp_fault fault;
    hyp_source source = hyp_source_of_memory(f->data, f->bytes);
    CHECK(hyp_gguf_open(&gguf, &budget, &source, 1, &fault) == HYP_OK);
    const hyp_gguf_tensor *t = hyp_gguf_tensor_named(&gguf, name);
    CHECK_MSG(t, "%s", name);
    uint8_t *at = f->data + t->offset;
    hyp_gguf_deinit(&gguf);
    return at;
}

// A weight that is infinite or NaN: refused when it is read, which under a memory limit is when it
// is used; by its name.
static void weights_that_are_no_numbers(void) {
    static const struct {
        const char *format, *tensor;
        float density;
    } cases[] = {{"f32", "blk.3.ffn_down.weight", 0},   {"f16", "output_norm.weight", 0},
                 {"bf16", "token_embd.weight", 0},      {"q4_0", "blk.0.attn_q.weight", 0},
                 {"q4_0", "blk.5.ffn_up.weight", 0.2f}, {"q4_0", "blk.1.attn_k.weight", 0.005f},
                 {"f16", "blk.2.attn_norm.weight", 0}};
    uint8_t *own = story;
    size_t own_bytes = story_bytes;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        story = own;
        story_bytes = own_bytes;
        file damaged = rewritten(cases[c].format, cases[c].density, NULL);
        uint8_t *at = tensor_in(&damaged, cases[c].tensor);
        if (cases[c].density > 0)
            hyp_store_u16(at + 4, 0x7E00); // d of the first row, behind the group's size
        else if (strcmp(cases[c].format, "bf16") == 0) hyp_store_u16(at, 0x7F80);
        else if (strcmp(cases[c].format, "q4_0") == 0) hyp_store_u16(at, 0xFC00);
        else if (cases[c].format[1] == '1' && !strstr(cases[c].tensor, "norm"))
            hyp_store_u16(at, 0x7C00);
        else hyp_store_u32(at, 0x7FC00000);
        story = damaged.data;
        story_bytes = damaged.bytes;
        for (size_t limit = 0; limit < 2; limit++) {
            fixture f;
            hyp_status status = open_with(&f, &(hyp_engine_config){.memory_bytes = limit * 5500000},
                                          &(hyp_session_config){.context = 64, .batch = 8});
            CHECK_MSG(limit || status == HYP_E_FORMAT, "%s of %s", cases[c].tensor,
                      cases[c].format);
            int32_t tokens[] = {1, 400};
            hyp_piece piece;
            if (!status) {
                CHECK(hyp_session_begin(f.session, tokens, 2, NULL, NULL, 0) == HYP_OK);
                for (int i = 0; i < 2 && (status = hyp_session_next(f.session, &piece)) == HYP_OK;
                     i++) {
                }
                if (strstr(cases[c].tensor, "token_embd") &&
                    !status) { // of an embedding only what is asked for is read
                    tokens[0] = 0;
                    CHECK(hyp_session_begin(f.session, tokens, 1, NULL, NULL, 0) == HYP_OK);
                    status = hyp_session_next(f.session, &piece);
                }
            }
            CHECK_MSG(status == HYP_E_FORMAT && strstr(hyp_engine_error(f.engine), cases[c].tensor),
                      "%s of %s under %zu: %d, %s", cases[c].tensor, cases[c].format,
                      limit * 5500000, status, hyp_engine_error(f.engine));
            close_all(&f);
        }
        free(damaged.data);
    }
    story = own;
    story_bytes = own_bytes;
}

// Finite weights with which sums overflow: an error in every tier, by every call, again and again;
// nothing is sampled. Values that are only too large for the cache are stored as its largest: the
// same tokens in every tier.
static void ignore_row(void *context, uint32_t position, const float *log_probabilities) {
    (void)context;
    (void)position;
    (void)log_probabilities;
}
static void sums_that_overflow(void) {
    static const char *const tensors[] = {"output_norm.weight", "blk.2.ffn_norm.weight",
                                          "blk.4.attn_v.weight"};
    uint8_t *own = story;
    size_t own_bytes = story_bytes;
    for (size_t t = 0; t < 3; t++) {
        story = own;
        story_bytes = own_bytes;
        file huge = rewritten("f32", 0, NULL);
        uint8_t *at = tensor_in(&huge, tensors[t]);
        bool cached = strstr(tensors[t], "attn_v");
        bool first = true;
        int32_t want[3][3] = {0};
        for (int i = 0; i < 256; i++)
            hyp_store_u32(at + 4 * i, hyp_f32_bits((i % 2 ? 1 : -1) * (cached ? 1e6f : 3e38f)));
        story = huge.data;
        story_bytes = huge.bytes;
        for (uint32_t bit = 0; bit <= HYP_ISA_BITS; bit++) {
            uint32_t mask = bit ? 1u << (bit - 1) : 1u << 31; // scalar first
            if (bit && !(hyp_port_caps()->isa & mask)) continue;
            if (slow && !bit) continue;
            fixture f;
            CHECK(open_with(&f, &(hyp_engine_config){.isa_mask = mask, .threads = 1},
                            &(hyp_session_config){.context = 64}) == HYP_OK);
            const int32_t tokens[] = {1, 400, 500, 600};
            const hyp_sampling sampling[] = {{0},
                                             {.temperature = 1, .top_p = 0.9f, .seed = 1},
                                             {.temperature = 1, .mirostat_tau = 3}};
            hyp_piece piece;
            const float *vector;
            uint32_t dim;
            for (int s = 0; s < 3; s++) {
                CHECK(hyp_session_begin(f.session, tokens, 4, &sampling[s], NULL, 0) == HYP_OK);
                for (int i = 0; i < 3; i++) {
                    hyp_status status = hyp_session_next(f.session, &piece);
                    if (cached) {
                        CHECK_MSG(status == HYP_OK && (first || piece.token == want[s][i]),
                                  "tier %u: %d, not %d", bit, piece.token, want[s][i]);
                        want[s][i] = piece.token;
                    } else
                        CHECK_MSG(status == HYP_E_FORMAT &&
                                      strstr(hyp_engine_error(f.engine), "finite"),
                                  "%s, tier %u: token %d", tensors[t], bit, piece.token);
                }
            }
            first = false;
            hyp_status status = cached ? HYP_OK : HYP_E_FORMAT;
            CHECK(hyp_session_score(f.session, tokens, 4, ignore_row, NULL) == status);
            CHECK(hyp_session_embed(f.session, tokens, 4, HYP_POOL_LAST, &vector, &dim) == status);
            close_all(&f);
        }
        free(huge.data);
    }
    story = own;
    story_bytes = own_bytes;
}

// The sampler alone, with any logits: a token whose logit is a number, or -1; the same in each
// tier.
static void logits_of_any_kind(void) {
    enum { VOCAB = 1100 };
    static const uint32_t odd[] = {0x7FC00000, 0xFFC00001, 0x7F800001, 0xFF800000,
                                   0x7F800000, 0x7F7FFFFF, 0xFF7FFFFF, 0,
                                   0x80000000, 1,          0x80000001, 0x42C80000};
    const hyp_sampling kinds[] = {{0},
                                  {.temperature = 1},
                                  {.temperature = 1e-40f},
                                  {.temperature = 100, .top_k = 5},
                                  {.temperature = 1, .top_p = 0.5f},
                                  {.temperature = 1, .min_p = 0.3f, .typical_p = 0.4f},
                                  {.temperature = 1, .mirostat_tau = 2},
                                  {.temperature = 0.7f,
                                   .repeat_penalty = 1e-40f,
                                   .frequency_penalty = 10,
                                   .penalty_last = 1000}};
    hyp_budget budget = {0};
    static float logits[VOCAB], copy[VOCAB];
    uint32_t none = 0, some = 0;
    for (int round = 0; round < (slow ? 100 : 1500); round++) {
        // few kinds in a round, so that some rounds have no number in them, and some no infinity
        uint32_t kind[3] = {random_u32() % 12, random_u32() % 12,
                            round % 3 ? random_u32() % 12 : 11};
        for (int i = 0; i < VOCAB; i++) logits[i] = hyp_bits_f32(odd[kind[random_u32() % 3]]);
        float top = -INFINITY;
        for (int i = 0; i < VOCAB; i++) top = logits[i] > top ? logits[i] : top;
        const hyp_sampling *sampling = &kinds[(size_t)round % (sizeof kinds / sizeof *kinds)];
        int32_t first = 0;
        for (uint32_t bit = 0; bit <= HYP_ISA_BITS; bit++) {
            hyp_kernels kernels;
            hyp_arena arena;
            hyp_sampler sampler;
            hyp_kernels_scalar(&kernels);
            if (bit && !hyp_port_kernels(&kernels, 1u << (bit - 1))) continue;
            hyp_arena_init(&arena, &budget);
            CHECK(hyp_sampler_init(&sampler, sampling, VOCAB, NULL, &kernels, &arena, NULL) ==
                  HYP_OK);
            for (int32_t i = 0; i < 700; i++) hyp_sampler_accept(&sampler, i * 7 % (VOCAB + 40));
            for (int draw = 0; draw < 3; draw++) {
                memcpy(copy, logits, sizeof copy);
                int32_t token = hyp_sampler_choose(&sampler, copy);
                CHECK_MSG(token >= -1 && token < VOCAB &&
                              (token < 0 || logits[token] == logits[token]),
                          "round %d: %d", round, token);
                if (sampling->repeat_penalty == 0) // penalties can make numbers of infinities
                    CHECK_MSG((token < 0) == !(top >= -3.4028235e38f && top <= 3.4028235e38f),
                              "round %d: %d", round, token);
                if (draw == 0 && bit == 0) first = token;
                if (draw == 0)
                    CHECK_MSG(token == first, "round %d, tier %u: %d, not %d", round, bit, token,
                              first);
                *(token < 0 ? &none : &some) += 1;
            }
            hyp_arena_deinit(&arena);
        }
    }
    CHECK_MSG(none > 100 && some > 100, "%u, %u", none, some);
}

// The residency that an engine under `limit` gives the story; its text in `out`.
static hyp_residency tell_under(size_t limit, char *out) {
    fixture f;
    CHECK_MSG(open_with(&f, &(hyp_engine_config){.memory_bytes = limit},
                        &(hyp_session_config){.context = 64, .batch = 8}) == HYP_OK,
              "%s", hyp_engine_error(f.engine));
    answer(&f, "Once upon a time", NULL, NULL, 0, slow ? 6 : 40, out);
    hyp_residency r = hyp_model_residency(f.model);
    if (limit) CHECK(hyp_engine_get_stats(f.engine).peak_bytes <= limit);
    uint8_t *heat = malloc(r.pages);
    uint32_t present = 0;
    hyp_model_heat(f.model, 0, r.pages, heat);
    for (uint32_t i = 0; i < r.pages; i++) present += heat[i] > 0;
    CHECK(present == r.present && r.present_bytes <= r.capacity_bytes);
    free(heat);
    close_all(&f);
    return r;
}

static void weights_under_a_limit(void) {
    static char whole[4096], part[4096];
    hyp_residency all = tell_under(0, whole);
    CHECK(all.resident == all.pages && all.present == all.pages && all.evictions == 0);
    // What is not weights: found by the limit that the refusal names.
    fixture f;
    CHECK(open_with(&f, &(hyp_engine_config){.memory_bytes = 2000000}, NULL) == HYP_E_NOMEM);
    const char *least = strstr(hyp_engine_error(f.engine), "too small for this model: ");
    CHECK_MSG(least, "%s", hyp_engine_error(f.engine));
    size_t enough = (size_t)strtoul(least + 26, NULL, 10) * 1000000;
    close_all(&f);
    CHECK(enough > 2000000 && enough < 9000000);
    for (size_t limit = enough; limit < enough + 3000000; limit += 750000) {
        hyp_residency r = tell_under(limit, part);
        CHECK_MSG(strcmp(whole, part) == 0, "%zu: %s", limit, part);
        CHECK(limit > enough + 2000000 ||
              (r.resident < r.pages &&
               r.evictions > r.pages)); // it did run from the source, again and again
    }
}

// Whole answers of one engine's sessions, begun together: each text is what it is alone, and nobody
// waits for the others to end.
static hyp_session *order_of_ends[600];
static int ends;
static void note_end(void *context, hyp_session *session, hyp_status status) {
    (void)context;
    CHECK(status == HYP_OK);
    if (ends < 600) order_of_ends[ends++] = session;
}
static void sessions_together(void) {
    enum { N = 3 };
    static const char *const prompts[N] = {"Once upon a time", "Tom had a dog", "It was raining"};
    static char alone[N][4096], together[N][4096];
    uint32_t most = slow ? 4 : 30;
    fixture f;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK);
    for (int i = 0; i < N; i++) answer(&f, prompts[i], NULL, NULL, 0, most, alone[i]);
    hyp_session *sessions[N];
    hyp_call next = {.kind = HYP_CALL_NEXT, .ended = note_end};
    for (int i = 0; i < N; i++) {
        const int32_t *tokens;
        uint32_t count;
        CHECK(hyp_session_create(f.model, NULL, &sessions[i]) == HYP_OK);
        CHECK(hyp_model_tokenize(f.model, prompts[i], strlen(prompts[i]), HYP_TEXT_ADD_SPECIAL,
                                 &tokens, &count) == HYP_OK);
        CHECK(hyp_session_begin(sessions[i], tokens, count, NULL, NULL, 0) == HYP_OK);
        CHECK(hyp_session_post(sessions[i], &next) == HYP_OK);
        CHECK(hyp_session_post(sessions[i], &next) == HYP_E_STATE && hyp_session_busy(sessions[i]));
        CHECK(hyp_session_begin(sessions[i], tokens, count, NULL, NULL, 0) == HYP_E_STATE);
    }
    CHECK(hyp_engine_set_policy(f.engine, "fastest") == HYP_E_ARGUMENT &&
          hyp_engine_set_policy(f.engine, "round-robin") == HYP_OK);
    CHECK(hyp_engine_get_stats(f.engine).fibers == N + 1);
    uint32_t made[N] = {0};
    size_t used[N] = {0};
    for (ends = 0; hyp_engine_run(f.engine, 0) == HYP_ENGINE_READY || ends;) {
        int seen = ends;
        ends = 0;
        for (int e = 0; e < seen; e++)
            for (int i = 0; i < N; i++)
                if (sessions[i] == order_of_ends[e]) {
                    const hyp_piece *piece = &hyp_session_result(sessions[i])->piece;
                    memcpy(together[i] + used[i], piece->text, piece->bytes);
                    used[i] += piece->bytes;
                    made[i]++;
                    for (int k = 0; k < N; k++) // abreast, as long as both have tokens to make
                        CHECK_MSG(made[k] == most || made[i] <= made[k] + 3, "%u and %u tokens",
                                  made[i], made[k]);
                    if (made[i] < most && !piece->finish)
                        CHECK(hyp_session_post(sessions[i], &next) == HYP_OK);
                }
    }
    for (int i = 0; i < N; i++) {
        CHECK_MSG(strcmp(together[i], alone[i]) == 0, "%s | %s", together[i], alone[i]);
        CHECK_MSG(hyp_session_get_stats(sessions[i]).batched >= most / 2,
                  "%u of %u tokens in common steps", hyp_session_get_stats(sessions[i]).batched,
                  most);
        CHECK(hyp_session_post(sessions[i], &next) ==
              HYP_OK); // and destroyed in the middle of a call
    }
    CHECK(hyp_engine_run(f.engine, 1) == HYP_ENGINE_READY);
    for (int i = 0; i < N; i++) hyp_session_destroy(sessions[i]);
    close_all(&f);
}

// A host whose clock stands still gets its thread back after so much work, and a slice more; the
// answer is the same.
static void steps_are_bounded(void) {
#ifdef HYP_CHECKED
    enum { UNITS = 100 }; // of the scheduler in a thousand multiply-adds: see HYP_WORK_UNIT
#else
    enum { UNITS = 1 };
#endif
    enum { STEP = 4000, SLICE = 8192 };
    static char whole[4096], stepped[4096];
    const char *prompt = "Once upon a time, there was a dog that lived in a house by the sea";
    uint32_t most = slow ? 2 : 8, steps = 0;
    fixture f;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK);
    answer(&f, prompt, NULL, NULL, 0, most, whole);
    close_all(&f);
    CHECK(open_with(&f, &(hyp_engine_config){.step_work = STEP * UNITS, .threads = 1}, NULL) ==
          HYP_OK);
    const int32_t *tokens;
    uint32_t count;
    size_t used = 0;
    CHECK(hyp_model_tokenize(f.model, prompt, strlen(prompt), HYP_TEXT_ADD_SPECIAL, &tokens,
                             &count) == HYP_OK);
    CHECK(hyp_session_begin(f.session, tokens, count, NULL, NULL, 0) == HYP_OK);
    for (uint32_t i = 0; i < most; i++) {
        CHECK(hyp_session_post(f.session, &(hyp_call){.kind = HYP_CALL_NEXT}) == HYP_OK);
        while (hyp_session_busy(f.session)) {
            uint64_t before = hyp_engine_get_stats(f.engine).work;
            (void)hyp_engine_run(f.engine, 0);
            uint64_t work = hyp_engine_get_stats(f.engine).work - before;
            CHECK_MSG(work <= (STEP + 2 * SLICE) * UNITS, "%llu units in a step",
                      (unsigned long long)work);
            steps++;
        }
        const hyp_piece *piece = &hyp_session_result(f.session)->piece;
        memcpy(stepped + used, piece->text, piece->bytes);
        used += piece->bytes;
    }
    CHECK_MSG(strncmp(stepped, whole, used) == 0, "%s | %s", stepped, whole);
    CHECK_MSG(steps > 2 * most, "%u steps", steps);
    close_all(&f);
}

// Guessing ahead changes nothing but the number of steps: greedy and sampled, with and without
// stops, at the end of the context.
static void guesses_do_not_matter(void) {
    static const char *const prompts[] = {"Once upon a time, Tom and Tom and Tom and Tom and",
                                          "The little owl said: no, no, no, no,", "Lily"};
    uint32_t right = 0, most = slow ? 20 : 120;
    for (uint32_t lookup = 1; lookup <= HYP_LOOKUP_MOST; lookup += 3)
        for (int p = 0; p < 3; p++)
            for (int sampled = 0; sampled < 3; sampled++) {
                fixture plain, guessing;
                static char want[4096], got[4096];
                // the last time with a few words that are said again and again
                static const hyp_logit_bias few[] = {{300, 40}, {301, 40}, {302, 40}};
                hyp_sampling sampling = {.temperature = sampled ? 0.8f : 0,
                                         .top_k = 40,
                                         .seed = 3 + (uint64_t)p,
                                         .bias = few,
                                         .bias_count = sampled == 2 ? 3 : 0};
                hyp_text stops[] = {{"grandmother", 11}};
                CHECK(open_with(&plain, NULL, &(hyp_session_config){.context = 100}) == HYP_OK);
                CHECK(open_with(&guessing, NULL,
                                &(hyp_session_config){.context = 100, .lookup = lookup}) == HYP_OK);
                answer(&plain, prompts[p], &sampling, stops, 1, most, want);
                answer(&guessing, prompts[p], &sampling, stops, 1, most, got);
                CHECK_MSG(strcmp(want, got) == 0, "lookup %u: '%s', not '%s'", lookup, got, want);
                hyp_session_stats s = hyp_session_get_stats(guessing.session);
                CHECK(s.accepted <= s.drafted);
                right += s.accepted;
                answer(&guessing, prompts[(p + 1) % 3], &sampling, NULL, 0, 10,
                       got); // goes on from a cache with guesses in it
                answer(&plain, prompts[(p + 1) % 3], &sampling, NULL, 0, 10, want);
                CHECK_MSG(strcmp(want, got) == 0, "afterwards: '%s', not '%s'", got, want);
                close_all(&plain);
                close_all(&guessing);
            }
    CHECK_MSG(right > 50, "%u right guesses", right);
}

// A draft model's guesses change nothing but the number of steps.
static void drafts_do_not_matter(void) {
    static const char *const prompts[] = {"Once upon a time", "The little owl said", "Lily"};
    file draft = rewritten("q4_0", 0.6f, NULL), far = rewritten("q4_0", 0.2f, NULL);
    const hyp_source sources[] = {hyp_source_of_memory(draft.data, draft.bytes),
                                  hyp_source_of_memory(far.data, far.bytes),
                                  hyp_source_of_memory(story, story_bytes)};
    uint32_t right = 0, drafted = 0, most = slow ? 12 : 80;
    for (int d = 0; d < 3; d++)
        for (int p = 0; p < 3; p++)
            for (int sampled = 0; sampled < 2; sampled++) {
                static char want[4096], got[4096];
                hyp_sampling sampling = {.temperature = sampled ? 0.8f : 0,
                                         .seed = 3 + (uint64_t)p};
                fixture f;
                hyp_model *small;
                hyp_session *guessing, *plain;
                CHECK(open_with(&f, NULL, &(hyp_session_config){.context = 90}) == HYP_OK);
                CHECK(hyp_model_open(f.engine, &sources[d], 1, NULL, &small) == HYP_OK);
                CHECK(hyp_session_create(f.model,
                                         &(hyp_session_config){.context = 90,
                                                               .draft = small,
                                                               .lookup = (uint32_t)p * 2},
                                         &guessing) == HYP_OK);
                for (int turn = 0; turn < 2; turn++) { // the second from a cache with guesses in
                                                       // it, and up to the context's end
                    answer(&f, prompts[(p + turn) % 3], &sampling, NULL, 0,
                           most + 20 * (uint32_t)turn, want);
                    plain = f.session;
                    f.session = guessing;
                    answer(&f, prompts[(p + turn) % 3], &sampling, NULL, 0,
                           most + 20 * (uint32_t)turn, got);
                    f.session = plain;
                    CHECK_MSG(strcmp(want, got) == 0, "'%s', not '%s'", got, want);
                }
                hyp_session_stats s = hyp_session_get_stats(guessing);
                right += s.accepted;
                drafted += s.drafted;
                if (d == 2 && !sampled && p > 0)
                    CHECK_MSG(s.accepted * 10 >= s.drafted * 9, "%u of %u", s.accepted,
                              s.drafted); // itself
                hyp_session_destroy(guessing);
                hyp_model_close(small);
                close_all(&f);
            }
    CHECK_MSG(right > (slow ? 20 : 400) && drafted > right, "%u of %u guesses right", right,
              drafted);
    fixture f;
    hyp_engine *other = hyp_engine_create(NULL);
    hyp_model *stranger;
    hyp_session *session;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK &&
          hyp_model_open(other, &sources[2], 1, NULL, &stranger) == HYP_OK);
    CHECK(hyp_session_create(f.model, &(hyp_session_config){.draft = stranger}, &session) ==
              HYP_E_ARGUMENT &&
          !session);
    CHECK(strstr(hyp_engine_error(f.engine), "another engine"));
    hyp_model_close(stranger);
    hyp_engine_destroy(other);
    close_all(&f);
    free(draft.data);
    free(far.data);
}

#ifndef __wasm__
// An engine in each thread: files, views, signals and capabilities are the process's.
static char alone_text[4096];
static void *engines(void *unused) {
    (void)unused;
    for (int round = 0; round < (slow ? 2 : 12); round++) {
        static _Thread_local char text[4096];
        fixture f = {.engine = hyp_engine_create(&(hyp_engine_config){
                         .threads = 1, .memory_bytes = round % 2 ? 6000000 : 0})};
        hyp_source source;
        CHECK(f.engine && !hyp_source_open_file(HYP_ROOT "/models/story.gguf", &source));
        CHECK_MSG(hyp_model_open(f.engine, &source, 1, &(hyp_model_config){.context = 64},
                                 &f.model) == HYP_OK,
                  "%s", hyp_engine_error(f.engine));
        CHECK(hyp_session_create(f.model, &(hyp_session_config){.context = 64}, &f.session) ==
              HYP_OK);
        answer(&f, "Once upon a time", NULL, NULL, 0, 8, text);
        CHECK_MSG(strcmp(text, alone_text) == 0, "%s", text);
        close_all(&f);
        hyp_source_close(&source);
    }
    return NULL;
}
static void an_engine_in_each_thread(void) {
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    fixture f;
    CHECK(open_with(&f, NULL, NULL) == HYP_OK);
    answer(&f, "Once upon a time", NULL, NULL, 0, 8, alone_text);
    close_all(&f);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, engines, NULL) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

// What is read from a file that is not the one that was opened, or from a closed one, is an error.
static void files_that_change(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/hyperion-test-%d.gguf", (int)getpid());
    for (int how = 0; how < 3; how++) {
        FILE *out = fopen(path, "wb");
        CHECK(out && fwrite(story, 1, story_bytes, out) == story_bytes && fclose(out) == 0);
        fixture f = {.engine = hyp_engine_create(
                         &(hyp_engine_config){.threads = 1, .memory_bytes = 4600000})};
        hyp_source source, other;
        hyp_piece piece;
        int32_t token = 1;
        CHECK(!hyp_source_open_file(path, &source));
        CHECK_MSG(hyp_model_open(f.engine, &source, 1, &(hyp_model_config){.context = 100},
                                 &f.model) == HYP_OK,
                  "%s", hyp_engine_error(f.engine));
        CHECK(hyp_session_create(f.model, &(hyp_session_config){.context = 64, .batch = 8},
                                 &f.session) == HYP_OK);
        CHECK(hyp_session_begin(f.session, &token, 1, NULL, NULL, 0) == HYP_OK &&
              hyp_session_next(f.session, &piece) == HYP_OK);
        hyp_residency r = hyp_model_residency(f.model);
        CHECK(r.resident < r.pages);
        if (how == 0) CHECK(truncate(path, (off_t)story_bytes - 4096) == 0);
        if (how == 1) {
            out = fopen(path, "r+b");
            CHECK(out && fseek(out, -4096, SEEK_END) == 0 && fwrite(story, 1, 4096, out) == 4096 &&
                  fclose(out) == 0);
        }
        if (how == 2) {
            hyp_source_close(&source);
            CHECK(!hyp_source_open_file(HYP_ROOT "/README.md", &other)); // takes its descriptor
        }
        hyp_status status = hyp_session_next(f.session, &piece);
        CHECK_MSG(status == (how == 2 ? HYP_E_IO : HYP_E_FORMAT), "%d: %s", status,
                  hyp_engine_error(f.engine));
        if (how < 2) CHECK(strstr(hyp_engine_error(f.engine), "changed"));
        close_all(&f);
        hyp_source_close(how == 2 ? &other : &source);
    }
    remove(path);
}

// A file that can not be opened is refused with the reason, and its source stays as it was.
static void files_that_can_not_be_opened(void) {
    static const char *const path[] = {HYP_ROOT "/models/no-such-file.gguf", HYP_ROOT "/models"};
    static const char *const why[] = {"No such file", "not a regular file"};
    for (int i = 0; i < 2; i++) {
        hyp_source source = {.bytes = 5, .handle = 7};
        CHECK(hyp_source_open_file(path[i], &source) == HYP_E_IO);
        CHECK(source.bytes == 5 && source.handle == 7);
        CHECK_MSG(strstr(hyp_source_error(), path[i]) && strstr(hyp_source_error(), why[i]), "%s",
                  hyp_source_error());
    }
    // What is no file, or is closed twice, closes nobody else's.
    hyp_source first, second, memory = hyp_source_of_memory(story, story_bytes);
    char byte;
    CHECK(!hyp_source_open_file(HYP_ROOT "/README.md", &first));
    hyp_source_close(&first);
    CHECK(!hyp_source_open_file(HYP_ROOT "/LICENSE", &second)); // takes its place
    hyp_source_close(&first);
    memory.handle = second.handle;
    hyp_source_close(&memory);
    CHECK(hyp_source_read(&first, 0, &byte, 1) == HYP_E_IO);
    CHECK(hyp_source_read(&second, 0, &byte, 1) == HYP_OK && byte == 'M');
    hyp_source_close(&second);
}
#endif

int main(void) {
    slow = getenv("HYP_SLOW");
    story = read_file("models/story.gguf", &story_bytes);
    RUN(a_story_is_told);
    RUN(a_changed_text_is_computed_anew);
    RUN(the_same_bits_everywhere);
    RUN(batches_do_not_matter);
    RUN(threads_tiers_and_limits_do_not_matter);
    RUN(calibration);
    RUN(stop_texts);
    RUN(whole_characters);
    RUN(full_contexts_and_bad_arguments);
    RUN(sizes_out_of_range);
    RUN(embeddings);
    RUN(samplers);
    RUN(every_budget);
    RUN(weights_under_a_limit);
    RUN(sessions_together);
    RUN(steps_are_bounded);
    RUN(guesses_do_not_matter);
    RUN(drafts_do_not_matter);
    RUN(failing_sources);
    RUN(reads_that_fail_on_the_way);
    RUN(damaged_models);
#ifndef __wasm__
    RUN(an_engine_in_each_thread);
    RUN(files_that_change);
    RUN(files_that_can_not_be_opened);
#endif
    RUN(weights_that_are_no_numbers);
    RUN(sums_that_overflow);
    RUN(logits_of_any_kind);
    free(story);
    return finish();
}
