// What measures a model: its figures are those of sessions by hand, and nothing is left behind,
// however it ends.
#define _GNU_SOURCE // memmem
#include "../src/fiber/sched.h"
#include "../src/hyperion/hyperion.h"
#include "../src/runtime/engine.h"
#include "../src/stream/source.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *story;
static size_t story_bytes;

typedef struct fixture {
    hyp_engine *engine;
    hyp_model *model;
} fixture;

static fixture open_story(size_t memory_bytes) {
    fixture f = {.engine = hyp_engine_create(
                     &(hyp_engine_config){.memory_bytes = memory_bytes, .threads = 1})};
    hyp_source source = hyp_source_of_memory(story, story_bytes);
    CHECK(f.engine && hyp_model_open(f.engine, &source, 1, NULL, &f.model) == HYP_OK);
    return f;
}

static void close_story(fixture *f) {
    hyp_model_close(f->model);
    hyp_engine_destroy(f->engine);
}

static const hyp_text TEXTS[] = {
    {"Once upon a time, there was a little fox.", 41}, {"", 0}, {"The fox was happy.", 18}};
enum { TEXT_COUNT = 3 };

// The number behind "key": in an object.
static double number(const char *json, size_t bytes, const char *key) {
    char text[4096], quoted[64];
    CHECK(bytes < sizeof text);
    memcpy(text, json, bytes);
    text[bytes] = 0;
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(text, quoted);
    CHECK_MSG(at, "%s has no %s", text, key);
    return strtod(at + strlen(quoted), NULL);
}

typedef struct by_hand {
    const int32_t *tokens;
    uint32_t count, counted;
    double loss;
} by_hand;

static void add_loss(void *context, uint32_t position, const float *log_probabilities) {
    by_hand *h = context;
    if (position + 1 >= h->count) return;
    h->loss -= (double)log_probabilities[h->tokens[position + 1]];
    h->counted++;
}

static void test_perplexity_is_that_of_sessions_by_hand(void) {
    fixture f = open_story(0);
    enum { WINDOW = 8 };
    by_hand h = {0};
    hyp_session *session;
    CHECK(!hyp_session_create(f.model, &(hyp_session_config){.context = WINDOW}, &session));
    for (int i = 0; i < TEXT_COUNT; i++) {
        const int32_t *tokens;
        uint32_t count = 0;
        if (TEXTS[i].bytes)
            CHECK(!hyp_model_tokenize(f.model, TEXTS[i].data, TEXTS[i].bytes, HYP_TEXT_ADD_SPECIAL,
                                      &tokens, &count));
        for (uint32_t from = 0; from < count; from += WINDOW) {
            h.tokens = tokens + from;
            h.count = count - from < WINDOW ? count - from : WINDOW;
            CHECK(!hyp_session_score(session, h.tokens, h.count, add_loss, &h));
        }
    }
    hyp_session_destroy(session);
    const char *json;
    size_t bytes;
    hyp_scoring_config config = {.session.context = WINDOW};
    CHECK(!hyp_model_perplexity(f.model, TEXTS, TEXT_COUNT, NULL, &config, &json, &bytes));
    CHECK(number(json, bytes, "tokens") == h.counted);
    double want = exp(h.loss / h.counted);
    CHECK_MSG(fabs(number(json, bytes, "perplexity") - want) <= 0.51e-6, "%.*s, not %.9f",
              (int)bytes, json, want);
    close_story(&f);
}

static void test_a_model_is_no_other_than_itself(void) {
    fixture f = open_story(0);
    hyp_source source = hyp_source_of_memory(story, story_bytes);
    hyp_model *again;
    CHECK(!hyp_model_open(f.engine, &source, 1, NULL, &again));
    const char *json;
    size_t bytes;
    CHECK(!hyp_model_perplexity(f.model, TEXTS, TEXT_COUNT, again, NULL, &json, &bytes));
    CHECK(number(json, bytes, "divergence") == 0 && number(json, bytes, "sameTop") == 1);
    hyp_model_close(again);
    fixture other = open_story(0);
    CHECK(hyp_model_perplexity(f.model, TEXTS, 1, other.model, NULL, &json, &bytes) ==
          HYP_E_ARGUMENT);
    CHECK(strstr(hyp_engine_error(f.engine), "same engine"));
    close_story(&other);
    close_story(&f);
}

static void test_texts_without_tokens_are_refused(void) {
    fixture f = open_story(0);
    const char *json;
    size_t bytes;
    hyp_writer none = {0};
    CHECK(hyp_model_perplexity(f.model, NULL, 0, NULL, NULL, &json, &bytes) == HYP_E_ARGUMENT);
    CHECK(hyp_model_perplexity(f.model, TEXTS + 1, 1, NULL, NULL, &json, &bytes) == HYP_E_ARGUMENT);
    CHECK(hyp_model_calibrate(f.model, TEXTS + 1, 1, NULL, &none, &json, &bytes) == HYP_E_ARGUMENT);
    CHECK(strstr(hyp_engine_error(f.engine), "no text"));
    CHECK(!json && bytes == 0);
    close_story(&f);
}

typedef struct file {
    uint8_t *data;
    size_t bytes;
} file;
static bool write_file(void *context, const void *data, size_t count) {
    file *out = context;
    out->data = realloc(out->data, out->bytes + count);
    memcpy(out->data + out->bytes, data, count);
    out->bytes += count;
    return true;
}
static bool refuse_file(void *context, const void *data, size_t count) {
    (void)context, (void)data, (void)count;
    return false;
}

static void ignore(void *context, uint32_t position, const float *log_probabilities) {
    (void)context, (void)position, (void)log_probabilities;
}

static void test_calibrate_writes_what_a_session_has_recorded(void) {
    fixture f = open_story(0);
    file want = {0}, got = {0};
    hyp_session *session;
    CHECK(!hyp_session_create(f.model, &(hyp_session_config){.calibrate = true}, &session));
    for (int i = 0; i < TEXT_COUNT; i++) {
        const int32_t *tokens;
        uint32_t count;
        if (!TEXTS[i].bytes) continue;
        CHECK(!hyp_model_tokenize(f.model, TEXTS[i].data, TEXTS[i].bytes, HYP_TEXT_ADD_SPECIAL,
                                  &tokens, &count));
        CHECK(!hyp_session_score(session, tokens, count, ignore, NULL));
    }
    CHECK(!hyp_session_write_imatrix(session, &(hyp_writer){write_file, NULL, &want}));
    hyp_session_destroy(session);
    const char *json;
    size_t bytes;
    CHECK(!hyp_model_calibrate(f.model, TEXTS, TEXT_COUNT, NULL,
                               &(hyp_writer){write_file, NULL, &got}, &json, &bytes));
    CHECK(got.bytes == want.bytes && !memcmp(got.data, want.data, got.bytes));
    CHECK(number(json, bytes, "bytes") == (double)got.bytes);
    CHECK(number(json, bytes, "tokens") > 10);
    CHECK(hyp_model_calibrate(f.model, TEXTS, TEXT_COUNT, NULL,
                              &(hyp_writer){refuse_file, NULL, NULL}, &json, &bytes) == HYP_E_IO);
    free(want.data);
    free(got.data);
    close_story(&f);
}

static const hyp_bench_config SHORT = {.prompt_tokens = 9, .answer_tokens = 3, .runs = 2};

static void test_bench_gives_its_figures(void) {
    fixture f = open_story(0);
    const char *json;
    size_t bytes;
    hyp_bench_config config = SHORT;
    CHECK(!hyp_model_bench(f.model, &config, &json, &bytes));
    CHECK(number(json, bytes, "promptTokensPerSecond") > 0);
    CHECK(number(json, bytes, "answerTokensPerSecond") > 0);
    CHECK(number(json, bytes, "promptTokens") == 9 && number(json, bytes, "runs") == 2);
    CHECK(number(json, bytes, "qkv") >= 0);
    CHECK(!memmem(json, bytes, "peaks", 5) && !memmem(json, bytes, "traceEvents", 11));
    config.trace = true;
    CHECK(!hyp_model_bench(f.model, &config, &json, &bytes));
    CHECK(memmem(json, bytes, "\"cat\":\"prompt\"", 14) &&
          memmem(json, bytes, "\"cat\":\"answer\"", 14));
    config.runs = HYP_BENCH_RUNS_MOST + 1;
    CHECK(hyp_model_bench(f.model, &config, &json, &bytes) == HYP_E_ARGUMENT);
    config = SHORT;
    config.session.context = 4;
    CHECK(hyp_model_bench(f.model, &config, &json, &bytes) == HYP_E_CONTEXT);
    close_story(&f);
}

static bool stop(void *context, uint64_t done, uint64_t total) {
    CHECK(done <= total);
    return ++*(int *)context < 2;
}

static void test_progress_may_end_it(void) {
    fixture f = open_story(0);
    const char *json;
    size_t bytes;
    int calls = 0;
    hyp_bench_config speed = SHORT;
    speed.progress = stop;
    speed.progress_context = &calls;
    CHECK(hyp_model_bench(f.model, &speed, &json, &bytes) == HYP_E_CANCELLED && calls == 2);
    hyp_scoring_config scoring = {
        .session.context = 4, .progress = stop, .progress_context = &calls};
    calls = 0;
    CHECK(hyp_model_perplexity(f.model, TEXTS, TEXT_COUNT, f.model, &scoring, &json, &bytes) ==
          HYP_E_CANCELLED);
    calls = 0;
    CHECK(hyp_model_calibrate(f.model, TEXTS, TEXT_COUNT, &scoring, &(hyp_writer){0}, &json,
                              &bytes) == HYP_E_CANCELLED);
    CHECK(strstr(hyp_engine_error(f.engine), "stopped"));
    close_story(&f);
}

typedef struct job {
    hyp_model *model;
    hyp_status status;
    double perplexity;
    bool ended;
} job;
static void run_job(void *context) {
    job *j = context;
    const char *json;
    size_t bytes;
    j->status = hyp_model_perplexity(j->model, TEXTS, TEXT_COUNT, j->model, NULL, &json, &bytes);
    if (!j->status) j->perplexity = number(json, bytes, "perplexity");
    j->ended = true;
}
static bool has_ended(void *context) { return ((job *)context)->ended; }

// As a fiber beside others, and cancelled at each of its first switches.
static void test_in_a_fiber(void) {
    fixture f = open_story(0);
    hyp_task *task;
    hyp_task_config config = {.stack_bytes = 128 << 10};
    job one = {.model = f.model}, two = one;
    CHECK(!hyp_sched_spawn(f.engine->sched, run_job, &one, &config, &task));
    hyp_task_detach(task);
    CHECK(!hyp_sched_spawn(f.engine->sched, run_job, &two, &config, &task));
    hyp_task_detach(task);
    CHECK(!hyp_sched_run_until(f.engine->sched, has_ended, &one));
    CHECK(!hyp_sched_run_until(f.engine->sched, has_ended, &two));
    CHECK(!one.status && !two.status && one.perplexity > 1 && one.perplexity == two.perplexity);
    for (int turns = 0; turns < 8; turns++) {
        job cancelled = {.model = f.model};
        CHECK(!hyp_sched_spawn(f.engine->sched, run_job, &cancelled, &config, &task));
        hyp_task_detach(task);
        for (int i = 0; i < turns && !cancelled.ended; i++) hyp_sched_run(f.engine->sched, 1);
        if (!cancelled.ended) hyp_task_cancel(task);
        CHECK(!hyp_sched_run_until(f.engine->sched, has_ended, &cancelled));
        CHECK(cancelled.status == HYP_E_CANCELLED || !cancelled.status);
        CHECK(turns > 0 || cancelled.status == HYP_E_CANCELLED);
        CHECK(hyp_sched_run(f.engine->sched, 0) == HYP_RUN_IDLE);
    }
    close_story(&f);
}

static void test_too_little_memory_is_said(void) {
    const char *json;
    size_t bytes, blocks = 0; // blocks: what is lent behind a round
    for (size_t limit = 3u << 20; limit < 12u << 20; limit += 1u << 20) {
        fixture f = {
            .engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = limit, .threads = 1})};
        hyp_source source = hyp_source_of_memory(story, story_bytes);
        if (hyp_model_open(f.engine, &source, 1, NULL, &f.model) == HYP_OK) {
            for (int round = 0; round < 3; round++) {
                hyp_status status = hyp_model_perplexity(f.model, TEXTS, TEXT_COUNT, f.model, NULL,
                                                         &json, &bytes);
                CHECK(status == HYP_OK || status == HYP_E_NOMEM);
                status = hyp_model_bench(f.model, &SHORT, &json, &bytes);
                CHECK(status == HYP_OK || status == HYP_E_NOMEM);
                hyp_engine_stats s = hyp_engine_get_stats(f.engine);
                CHECK(s.fibers == 0 && (round == 0 || s.blocks == blocks));
                blocks = s.blocks;
            }
        }
        close_story(&f);
    }
}

int main(void) {
    story = read_file("models/story.gguf", &story_bytes);
    RUN(test_perplexity_is_that_of_sessions_by_hand);
    RUN(test_a_model_is_no_other_than_itself);
    RUN(test_texts_without_tokens_are_refused);
    RUN(test_calibrate_writes_what_a_session_has_recorded);
    RUN(test_bench_gives_its_figures);
    RUN(test_progress_may_end_it);
    RUN(test_in_a_fiber);
    RUN(test_too_little_memory_is_said);
    free(story);
    return finish();
}
