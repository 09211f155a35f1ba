// Loading: answers while the weights are on their way, in any order and from any kind of source;
// what fails, is cancelled or closed meanwhile.
#include "../src/base/bytes.h"
#include "../src/fiber/sched.h"
#include "../src/hyperion/hyperion.h"
#include "../src/runtime/engine.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>

static uint8_t *story;
static size_t story_bytes;
static const int32_t prompt[] = {1,   403, 407, 261, 378, 309, 261, 400, 500, 40,
                                 320, 300, 301, 302, 303, 304, 305, 306, 307, 308};
enum { PROMPT = sizeof prompt / sizeof *prompt, ANSWER = 12, WAITING = 32, GRAIN = 32 };

typedef struct wait { // of a read, for its bytes
    hyp_event arrived;
    bool done;
} wait;

typedef struct link { // a source that serves its reads later, in a random order
    wait *waiting[WAITING];
    uint32_t count, most;
    bool stalled; // serves nothing any more
    uint64_t reads, fail_at;
    uint64_t last;  // where the last read began
    bool backwards; // one began before the one before it
    uint8_t *seen;  // how often each grain has been read; NULL: nobody counts
} link;

static hyp_status read_link(void *context, uint64_t offset, void *dst, size_t count) {
    link *l = context;
    if (++l->reads == l->fail_at) return HYP_E_IO;
    l->backwards |= offset < l->last;
    l->last = offset;
    for (uint64_t at = offset / GRAIN; l->seen && at < (offset + count) / GRAIN; at++)
        l->seen[at]++;
    if (hyp_task_current() && (l->stalled || random_u32() % 4)) {
        wait w = {.done = false};
        CHECK(l->count < WAITING);
        l->waiting[l->count++] = &w;
        if (l->count > l->most) l->most = l->count;
        hyp_status status = HYP_OK;
        while (!w.done && !status) status = hyp_event_wait(&w.arrived, 0);
        for (uint32_t i = 0; i < l->count && !w.done; i++)
            if (l->waiting[i] == &w) l->waiting[i--] = l->waiting[--l->count];
        if (status) return status;
    }
    memcpy(dst, story + offset, count);
    return HYP_OK;
}

static void serve(link *l) {
    if (!l->count || l->stalled) return;
    uint32_t i = random_u32() % l->count;
    wait *w = l->waiting[i];
    l->waiting[i] = l->waiting[--l->count];
    w->done = true;
    hyp_event_signal(&w->arrived);
}

static hyp_source source_of(link *l, bool sequential) {
    return (hyp_source){
        .bytes = story_bytes, .read = read_link, .context = l, .sequential = sequential};
}

static void check_nothing_left(hyp_engine *engine) {
    hyp_engine_stats s = hyp_engine_get_stats(engine);
    CHECK_MSG(s.blocks == 1 && s.fibers == 0 &&
                  s.used_bytes - s.stack_bytes < 256 << 10, // the slab keeps some
              "%zu blocks, %u fibers, %zu bytes left, of stacks %zu", s.blocks, s.fibers,
              s.used_bytes, s.stack_bytes);
    hyp_engine_destroy(engine);
}

// Runs a call to its end, serving reads of the links meanwhile.
static hyp_status run(hyp_engine *engine, hyp_session *session, hyp_call_kind kind, link *a,
                      link *b) {
    CHECK(!hyp_session_post(session, &(hyp_call){.kind = kind}));
    for (int turns = 0; hyp_session_busy(session); turns++) {
        CHECK(turns < 100000);
        hyp_engine_run(engine, 0);
        serve(a);
        if (b) serve(b);
    }
    return hyp_session_result(session)->status;
}

static hyp_session *session_of(hyp_model *model, uint32_t batch) {
    hyp_session *s;
    CHECK(!hyp_session_create(model, &(hyp_session_config){.context = 64, .batch = batch}, &s));
    CHECK(!hyp_session_begin(s, prompt, PROMPT, NULL, NULL, 0));
    return s;
}

static hyp_status tell(hyp_engine *engine, hyp_session *s, link *a, link *b, int32_t *tokens) {
    for (int i = 0; i < ANSWER; i++) {
        hyp_status status = run(engine, s, HYP_CALL_NEXT, a, b);
        if (status) return status;
        tokens[i] = hyp_session_result(s)->piece.token;
    }
    return HYP_OK;
}

static int32_t alone[ANSWER]; // what the prompt is answered with
static void answer_alone(void) {
    link l = {0};
    hyp_engine *engine = hyp_engine_create(NULL);
    hyp_source source = hyp_source_of_memory(story, story_bytes);
    hyp_model *model;
    CHECK(!hyp_model_open(engine, &source, 1, NULL, &model));
    hyp_loading loading = hyp_model_loading(model);
    CHECK(loading.over && !loading.status && loading.done_bytes == loading.total_bytes &&
          loading.layers == 6 && loading.layers_ready == 6 && !hyp_model_wait(model));
    hyp_session *s = session_of(model, 64);
    CHECK(!tell(engine, s, &l, NULL, alone));
    hyp_session_destroy(s);
    hyp_model_close(model);
    check_nothing_left(engine);
}

typedef struct heard { // of progress
    hyp_model **model;
    uint64_t done, total;
    uint32_t ready;
    uint32_t calls, stop_at;
} heard;
static bool hear(void *context, uint64_t done, uint64_t total) {
    heard *h = context;
    hyp_loading l = *h->model ? hyp_model_loading(*h->model) : (hyp_loading){0};
    CHECK(done <= total && done >= h->done && l.layers_ready >= h->ready &&
          l.layers_ready <= l.layers);
    h->done = done;
    h->total = total;
    h->ready = l.layers_ready;
    return ++h->calls != h->stop_at;
}

// The same tokens, whatever arrives when; each byte of the weights is read once.
static void answers_while_weights_come(void) {
    for (int round = 0; round < 24; round++) {
        bool sequential = round % 3 == 1;
        link l = {.seen = calloc(story_bytes / GRAIN + 1, 1)};
        CHECK(l.seen);
        hyp_engine *engine = hyp_engine_create(
            &(hyp_engine_config){.memory_bytes = round % 4 == 3 ? 12000000 : 0});
        hyp_source source = source_of(&l, sequential);
        hyp_model *model = NULL;
        heard h = {.model = &model};
        CHECK(!hyp_model_open(engine, &source, 1,
                              &(hyp_model_config){.progressive = round % 8 != 7,
                                                  .progress = hear,
                                                  .progress_context = &h},
                              &model));
        uint64_t header = l.reads;
        hyp_session *first = session_of(model, 1 + random_u32() % 24),
                    *second = session_of(model, 64);
        CHECK(!hyp_session_post(second, &(hyp_call){.kind = HYP_CALL_NEXT}));
        int32_t tokens[ANSWER];
        CHECK(!tell(engine, first, &l, NULL, tokens));
        CHECK(!memcmp(tokens, alone, sizeof alone));
        hyp_loading loading = hyp_model_loading(model);
        CHECK(loading.over && !loading.status && loading.layers_ready == 6 &&
              loading.done_bytes == loading.total_bytes && !hyp_model_wait(model));
        CHECK(h.done == loading.total_bytes && h.total == h.done && h.ready == 6);
        CHECK(!hyp_session_busy(second) && !hyp_session_result(second)->status &&
              hyp_session_result(second)->piece.token == alone[0]);
        CHECK(sequential ? l.most <= 1 : round % 8 == 7 || l.most > 1);
        CHECK(!sequential || !l.backwards);
        CHECK(l.reads > header || round % 8 == 7);
        for (size_t i = story_bytes / 2 / GRAIN; i < story_bytes / GRAIN; i++)
            CHECK_MSG(l.seen[i] <= 1, "a byte is read %u times", l.seen[i]);
        hyp_session_destroy(first);
        hyp_session_destroy(second);
        hyp_model_close(model);
        check_nothing_left(engine);
        free(l.seen);
    }
}

// Nobody waits for another model's source.
static void one_is_stalled(void) {
    link good = {0}, bad = {.stalled = true};
    hyp_engine *engine = hyp_engine_create(NULL);
    hyp_source sources[2] = {source_of(&good, false), source_of(&bad, false)};
    hyp_model *models[2];
    hyp_session *sessions[2];
    for (int i = 0; i < 2; i++) {
        CHECK(!hyp_model_open(engine, &sources[i], 1, &(hyp_model_config){.progressive = true},
                              &models[i]));
        sessions[i] = session_of(models[i], 16);
    }
    CHECK(!hyp_session_post(sessions[1], &(hyp_call){.kind = HYP_CALL_NEXT}));
    int32_t tokens[ANSWER];
    CHECK(!tell(engine, sessions[0], &good, NULL, tokens));
    CHECK(!memcmp(tokens, alone, sizeof alone));
    CHECK(hyp_session_busy(sessions[1]) && !hyp_model_loading(models[1]).over);
    hyp_session_cancel(sessions[1]); // which ends its wait, and nothing else
    while (hyp_session_busy(sessions[1])) hyp_engine_run(engine, 0);
    CHECK(hyp_session_result(sessions[1])->status == HYP_E_CANCELLED);
    bad.stalled = false;
    CHECK(!tell(engine, sessions[1], &bad, NULL, tokens));
    CHECK(!memcmp(tokens, alone, sizeof alone));
    for (int i = 0; i < 2; i++) {
        hyp_session_destroy(sessions[i]);
        hyp_model_close(models[i]);
    }
    check_nothing_left(engine);
}

// A read that fails is every later call's failure, with its reason.
static void reads_that_fail(void) {
    link all = {0};
    hyp_source source = source_of(&all, false);
    hyp_engine *engine = hyp_engine_create(NULL);
    hyp_model *model;
    CHECK(!hyp_model_open(engine, &source, 1, NULL, &model));
    hyp_model_close(model);
    for (uint64_t at = 1; at <= all.reads; at++) {
        link l = {.fail_at = at};
        source = source_of(&l, at % 3 == 0);
        hyp_status status = hyp_model_open(engine, &source, 1,
                                           &(hyp_model_config){.progressive = true}, &model);
        if (status) {
            CHECK(status == HYP_E_IO && !model && l.reads == at);
            continue;
        }
        hyp_session *s = session_of(model, 16);
        for (int again = 0; again < 3; again++) {
            status = run(engine, s, again == 1 ? HYP_CALL_PREFILL : HYP_CALL_NEXT, &l, NULL);
            CHECK_MSG(status == HYP_E_IO && strstr(hyp_engine_error(engine), "reading"), "%s: %s",
                      hyp_status_name(status), hyp_engine_error(engine));
        }
        hyp_loading loading = hyp_model_loading(model);
        CHECK(loading.over && loading.status == HYP_E_IO && hyp_model_wait(model) == HYP_E_IO);
        hyp_session_destroy(s);
        hyp_model_close(model);
        CHECK(l.count == 0);
    }
    check_nothing_left(engine);
}

// It may be closed, or cancelled, at any point.
static void ends_on_the_way(void) {
    hyp_engine *engine = hyp_engine_create(NULL);
    for (uint32_t at = 0; at < 60; at++) {
        link l = {0};
        hyp_source source = source_of(&l, at % 5 == 4);
        hyp_model *model = NULL;
        heard h = {.model = &model, .stop_at = at % 4 == 1 ? at : 0};
        CHECK(!hyp_model_open(
            engine, &source, 1,
            &(hyp_model_config){.progressive = true, .progress = hear, .progress_context = &h},
            &model));
        hyp_session *s = at % 2 ? session_of(model, 4) : NULL;
        if (s) CHECK(!hyp_session_post(s, &(hyp_call){.kind = HYP_CALL_NEXT}));
        for (uint32_t turn = 0; turn < at; turn++) {
            hyp_engine_run(engine, 0);
            serve(&l);
        }
        if (at % 4 == 3) {
            hyp_model_cancel_loading(model);
            while (hyp_session_busy(s)) {
                hyp_engine_run(engine, 0);
                serve(&l);
            }
            hyp_status status = hyp_session_result(s)->status;
            CHECK(!hyp_model_loading(model).status
                      ? !status
                      : status == HYP_E_CANCELLED &&
                            strstr(hyp_engine_error(engine), "loading was stopped"));
        }
        if (h.stop_at && h.calls >= h.stop_at) {
            while (!hyp_model_loading(model).over) hyp_engine_run(engine, 0);
            CHECK(hyp_model_loading(model).status == HYP_E_CANCELLED);
        }
        hyp_session_destroy(s);
        hyp_model_close(model);
        CHECK(l.count == 0);
    }
    check_nothing_left(engine);
}

// Sessions that take the memory of pages which are yet to come.
static void memory_goes_meanwhile(void) {
    for (uint32_t round = 0; round < 20; round++) {
        link l = {0};
        hyp_engine *engine = hyp_engine_create(
            &(hyp_engine_config){.memory_bytes = 4600000 + round * 250000});
        hyp_source source = source_of(&l, false);
        hyp_model *model;
        CHECK(
            !hyp_model_open(engine, &source, 1, &(hyp_model_config){.progressive = true}, &model));
        hyp_session *sessions[6], *first = session_of(model, 8);
        uint32_t count = 0;
        CHECK(!hyp_session_post(first, &(hyp_call){.kind = HYP_CALL_NEXT}));
        for (uint32_t turn = 0; turn < 6 + round; turn++) {
            hyp_engine_run(engine, 0);
            serve(&l);
            if (turn % 4 == 3 && count < 6 &&
                !hyp_session_create(model, &(hyp_session_config){.context = 1024},
                                    &sessions[count]))
                count++;
        }
        while (hyp_session_busy(first)) {
            hyp_engine_run(engine, 0);
            serve(&l);
        }
        CHECK_MSG(!hyp_session_result(first)->status, "%s", hyp_engine_error(engine));
        CHECK(hyp_session_result(first)->piece.token == alone[0]);
        while (count) hyp_session_destroy(sessions[--count]);
        for (int turns = 0; !hyp_model_loading(model).over; turns++) {
            CHECK(turns < 100000);
            hyp_engine_run(engine, 0);
            serve(&l);
        }
        hyp_loading loading = hyp_model_loading(model);
        CHECK(!loading.status && loading.done_bytes == loading.total_bytes &&
              loading.layers_ready == loading.layers);
        CHECK(hyp_engine_get_stats(engine).peak_bytes <= 4600000 + round * 250000);
        hyp_session_destroy(first);
        hyp_model_close(model);
        check_nothing_left(engine);
    }
}

// A prompt of several batches reads each page that does not stay once; broken off in the middle, it
// leaves the sequence as it was.
static void a_prompt_is_computed_layer_by_layer(void) {
    link l = {0};
    hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = 5500000});
    hyp_source source = source_of(&l, false);
    hyp_model *model;
    CHECK(!hyp_model_open(engine, &source, 1, NULL, &model));
    for (uint32_t at = 0; at < 40; at++) {
        hyp_session *s = session_of(model, 1 + at % 9);
        hyp_residency before = hyp_model_residency(model);
        CHECK(before.resident < before.pages);
        if (at % 2) { // cancelled after some turns, or just done
            CHECK(!hyp_session_post(s, &(hyp_call){.kind = HYP_CALL_PREFILL}));
            for (uint32_t turn = 0; turn < at; turn++) {
                hyp_engine_run(engine, 1);
                serve(&l);
            }
            hyp_session_cancel(s);
            while (hyp_session_busy(s)) {
                hyp_engine_run(engine, 0);
                serve(&l);
            }
            CHECK(hyp_session_result(s)->status == HYP_E_CANCELLED ||
                  !hyp_session_result(s)->status);
        } else {
            CHECK(!run(engine, s, HYP_CALL_PREFILL, &l, NULL));
            CHECK(hyp_session_result(s)->left == 0);
            hyp_residency now = hyp_model_residency(model);
            CHECK_MSG(now.fills - before.fills <= now.pages, "%llu pages are filled, of %u",
                      (unsigned long long)(now.fills - before.fills), now.pages);
        }
        int32_t tokens[ANSWER];
        CHECK(!tell(engine, s, &l, NULL, tokens));
        CHECK(!memcmp(tokens, alone, sizeof alone));
        hyp_session_destroy(s);
    }
    hyp_model_close(model);
    check_nothing_left(engine);
}

// What does not stay is read while what came before is computed with; nothing is read more often
// for that, whoever else is at work, and the report says what it was and which limit would end it.
static void what_comes_next_is_read_ahead(void) {
    uint64_t read[2];
    size_t limit = 5500000, whole = 0;
    for (int ahead = 0; ahead < 2; ahead++) {
        link l = {0};
        hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = limit});
        hyp_source source = source_of(&l, false);
        hyp_model *model;
        CHECK(!hyp_model_open(engine, &source, 1, &(hyp_model_config){.no_ahead = !ahead}, &model));
        hyp_residency r = hyp_model_residency(model);
        CHECK(r.resident < r.pages && r.frames > 2);
        hyp_session *s = session_of(model, 64), *other = session_of(model, 64);
        int32_t tokens[ANSWER];
        l.most = 0;
        CHECK(!tell(engine, s, &l, NULL, tokens));
        CHECK(!memcmp(tokens, alone, sizeof alone));
        CHECK_MSG(ahead ? l.most > 1 : l.most == 1, "%u reads at once", l.most);
        read[ahead] = hyp_session_get_stats(s).read_bytes;
        CHECK(read[ahead] > 0 && read[ahead] <= ANSWER * r.whole_bytes);
        CHECK(hyp_session_get_stats(other).read_bytes == 0);
        // Both at once, at places of their own.
        CHECK(!hyp_session_begin(s, prompt, PROMPT - 1, NULL, NULL, 0));
        for (int i = 0; i < ANSWER; i++) {
            CHECK(!hyp_session_post(s, &(hyp_call){.kind = HYP_CALL_NEXT}));
            CHECK(!run(engine, other, HYP_CALL_NEXT, &l, NULL));
            CHECK(hyp_session_result(other)->piece.token == alone[i]);
            for (int turns = 0; hyp_session_busy(s); turns++) {
                CHECK(turns < 100000);
                hyp_engine_run(engine, 0);
                serve(&l);
            }
            CHECK(!hyp_session_result(s)->status);
        }
        CHECK(hyp_engine_get_stats(engine).fibers == 2);
        CHECK(hyp_engine_get_stats(engine).peak_bytes <= limit);
        whole = (size_t)hyp_model_residency(model).whole_limit_bytes;
        CHECK(whole > limit);
        hyp_session_destroy(s);
        hyp_session_destroy(other);
        hyp_model_close(model);
        CHECK(l.count == 0);
        check_nothing_left(engine);
    }
    CHECK_MSG(read[1] <= read[0] + read[0] / 10, "%llu bytes are read, %llu without",
              (unsigned long long)read[1], (unsigned long long)read[0]);
    link l = {0};
    hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = whole});
    hyp_source source = source_of(&l, false);
    hyp_model *model;
    CHECK(!hyp_model_open(engine, &source, 1, NULL, &model));
    hyp_session *s = session_of(model, 64);
    int32_t tokens[ANSWER];
    CHECK(!tell(engine, s, &l, NULL, tokens));
    CHECK(hyp_session_get_stats(s).read_bytes == 0 &&
          hyp_model_residency(model).whole_limit_bytes == 0);
    hyp_session_destroy(s);
    hyp_model_close(model);
    check_nothing_left(engine);
}

int main(void) {
    story = read_file("models/story.gguf", &story_bytes);
    RUN(answer_alone);
    RUN(answers_while_weights_come);
    RUN(one_is_stalled);
    RUN(reads_that_fail);
    RUN(ends_on_the_way);
    RUN(memory_goes_meanwhile);
    RUN(a_prompt_is_computed_layer_by_layer);
    RUN(what_comes_next_is_read_ahead);
    free(story);
    return finish();
}
