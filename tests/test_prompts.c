// Texts that a model remembers: whatever is found of them, answers are those of a fresh engine; how
// much is found; what they may take, and when they go.
#include "../src/base/bytes.h"
#include "../src/hyperion/hyperion.h"
#include "../src/runtime/engine.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>

enum { PROMPT = 150, ANSWER = 12, BLOCK = 128 };

static uint8_t *story;
static size_t story_bytes;
static bool slow; // under an emulator: fewer rounds of the same

typedef struct world {
    hyp_engine *engine;
    hyp_model *model;
} world;

static world open_world(size_t memory, size_t remembered) {
    world w = {
        .engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = memory, .threads = 2})};
    hyp_source source = hyp_source_of_memory(story, story_bytes);
    CHECK_MSG(!hyp_model_open(w.engine, &source, 1,
                              &(hyp_model_config){.prompt_cache_bytes = remembered}, &w.model),
              "%s", hyp_engine_error(w.engine));
    return w;
}
static void close_world(world *w) {
    hyp_model_close(w->model);
    hyp_engine_stats s = hyp_engine_get_stats(w->engine);
    CHECK_MSG(s.blocks == 1 && s.fibers == 0 && s.used_bytes - s.stack_bytes < 160 << 10,
              "%zu blocks, %zu bytes left", s.blocks, s.used_bytes);
    hyp_engine_destroy(w->engine);
}
static hyp_session *create(world *w, const hyp_session_config *config) {
    hyp_session *s;
    CHECK_MSG(!hyp_session_create(w->model, config, &s), "%s", hyp_engine_error(w->engine));
    return s;
}
static void fill(int32_t *tokens, uint32_t kind, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = i ? 300 + (int32_t)((i * 37 + kind * 101) % 1700) : 1;
}

// Answers, and returns how many tokens were reused.
static uint32_t answer(hyp_session *s, const int32_t *tokens, uint32_t count, int32_t *out) {
    hyp_piece piece;
    CHECK(!hyp_session_begin(s, tokens, count, &(hyp_sampling){.temperature = 1, .seed = 2}, NULL,
                             0));
    for (int i = 0; i < ANSWER; i++) {
        CHECK(!hyp_session_next(s, &piece));
        out[i] = piece.token;
        if (piece.finish) out[i] = -1;
        if (piece.finish) break;
    }
    hyp_session_stats stats = hyp_session_get_stats(s);
    CHECK(stats.prompt_tokens + stats.reused == count);
    return stats.reused;
}

// Any schedule of texts with common beginnings over a few sessions that come and go.
static void answers_are_the_same(void) {
    for (int cache = 0; cache < 2; cache++) {
        hyp_session_config config = {.context = 300, .cache = (hyp_cache)cache};
        world w = open_world(0, 3000000), fresh = open_world(0, 0);
        hyp_session *session[3] = {0};
        uint64_t reused = 0;
        int rounds = slow ? 10 : 60;
        for (int round = 0; round < rounds; round++) {
            uint32_t which = random_u32() % 3, count = 2 + random_u32() % PROMPT;
            if (session[which] && random_u32() % 4 == 0) {
                hyp_session_destroy(session[which]);
                session[which] = NULL;
            }
            if (!session[which]) {
                config.lookup = random_u32() % 2 * 4;
                config.context = 200 + random_u32() % 200;
                session[which] = create(&w, &config);
            }
            int32_t tokens[PROMPT + 2], got[ANSWER] = {0}, want[ANSWER] = {0};
            fill(tokens, random_u32() % 3, count);
            if (random_u32() % 2) // as another one up to here
                for (uint32_t i = random_u32() % count; i < count; i++) tokens[i] += 1;
            if (round % 13 == 5) {
                const float *vector;
                uint32_t dim;
                CHECK(!hyp_session_embed(session[which], tokens, count, HYP_POOL_MEAN, &vector,
                                         &dim));
            }
            reused += answer(session[which], tokens, count, got);
            hyp_session *alone = create(&fresh, &config);
            CHECK(answer(alone, tokens, count, want) == 0);
            hyp_session_destroy(alone);
            CHECK_MSG(!memcmp(got, want, sizeof got), "round %d, %u tokens", round, count);
        }
        CHECK_MSG(reused > 8 * (uint64_t)rounds, "%llu tokens reused", (unsigned long long)reused);
        for (int i = 0; i < 3; i++) hyp_session_destroy(session[i]);
        close_world(&w);
        close_world(&fresh);
    }
}

// What is found: of sessions that live, that have gone, and that have another text now.
static void what_is_found(void) {
    int32_t a[PROMPT], b[PROMPT], said[ANSWER];
    fill(a, 1, PROMPT);
    fill(b, 2, PROMPT);
    b[0] = 5; // nothing in common
    world w = open_world(0, 4000000);
    hyp_session_config config = {.context = 256};
    hyp_session *first = create(&w, &config), *second = create(&w, &config);
    CHECK(answer(first, a, PROMPT, said) == 0);
    CHECK(answer(second, a, PROMPT, said) == PROMPT - 1); // of the one that lives
    CHECK(answer(second, a, 40, said) == 39);
    CHECK(answer(second, b, PROMPT, said) == 0);
    hyp_session_destroy(first);
    CHECK(answer(second, a, PROMPT, said) == PROMPT - 1); // of the one that has gone
    hyp_session_destroy(second);
    first = create(&w, &config);
    CHECK(answer(first, b, PROMPT, said) == PROMPT - 1); // that had another text behind
    CHECK(w.model->prompts.texts && w.model->prompts.bytes <= 4000000);
    config.cache = HYP_CACHE_Q8_0;
    second = create(&w, &config);
    CHECK(answer(second, b, PROMPT, said) == 0); // another format
    hyp_session_destroy(second);
    config.cache = HYP_CACHE_F16;
    // Not one that is computing.
    hyp_session *third = create(&w, &config);
    hyp_call call = {.kind = HYP_CALL_NEXT};
    b[PROMPT - 1]++;
    CHECK(answer(first, b, PROMPT, said) == PROMPT - 1);
    CHECK(!hyp_session_post(first, &call));
    b[PROMPT - 1]--;
    CHECK(answer(third, b, PROMPT, said) == PROMPT - 1);
    while (hyp_session_busy(first)) hyp_engine_run(w.engine, 0);
    // Texts that embedding or a state would have overwritten.
    bool known = true;
    const float *vector;
    uint32_t dim;
    CHECK(!hyp_session_embed(third, a, 20, HYP_POOL_MEAN, &vector, &dim));
    known = answer(third, b, PROMPT, said) == PROMPT - 1;
    CHECK(known);
    hyp_session_destroy(first);
    hyp_session_destroy(third);
    close_world(&w);
    w = open_world(0, 0); // off
    first = create(&w, &config);
    second = create(&w, &config);
    CHECK(answer(first, a, PROMPT, said) == 0);
    CHECK(answer(second, a, PROMPT, said) == 0);
    CHECK(answer(first, a, PROMPT, said) == PROMPT - 1); // its own, as ever
    hyp_session_destroy(first);
    hyp_session_destroy(second);
    close_world(&w);
}

// The limit: the text that was used longest ago goes; of one that is too long the beginning stays.
static void the_limit(void) {
    hyp_session_config config = {.context = 300};
    int32_t tokens[260], said[ANSWER];
    world w = open_world(0, 1);
    hyp_session *s = create(&w, &config);
    fill(tokens, 0, 260);
    CHECK(answer(s, tokens, 260, said) == 0);
    size_t block = s->sequence.cache->block_bytes;
    hyp_session_destroy(s);
    CHECK(!w.model->prompts.texts);
    close_world(&w);
    w = open_world(0, 2 * block + 8000);
    s = create(&w, &config);
    answer(s, tokens, 260, said); // three blocks
    hyp_session_destroy(s);
    s = create(&w, &config);
    CHECK(answer(s, tokens, 260, said) == 2 * BLOCK);
    hyp_session_destroy(s);
    for (uint32_t kind = 1; kind < 3; kind++) {
        s = create(&w, &config);
        fill(tokens, kind, 100);
        tokens[0] = (int32_t)kind + 5;
        answer(s, tokens, 100, said);
        hyp_session_destroy(s);
    }
    for (uint32_t kind = 1; kind < 4; kind++) { // one uses it, then a third takes the other's place
        static const uint32_t order[] = {0, 1, 3, 2}, found[] = {0, 99, 0, 0};
        uint32_t k = order[kind];
        s = create(&w, &config);
        fill(tokens, k, 100);
        tokens[0] = (int32_t)k + 5;
        CHECK_MSG(answer(s, tokens, 100, said) == found[kind], "text %u", k);
        hyp_session_destroy(s);
    }
    CHECK(w.model->prompts.bytes <= 2 * block + 8000);
    close_world(&w);
}

// Under a memory limit they go before weights do, and weights do not go for them.
static void they_give_way(void) {
    hyp_session_config config = {.context = 256};
    int32_t tokens[PROMPT], said[ANSWER];
    world w = open_world(9000000, 9000000);
    uint32_t pages = hyp_model_residency(w.model).pages, most = 0;
    CHECK(hyp_model_residency(w.model).resident == pages);
    for (uint32_t kind = 0; kind < 12; kind++) {
        hyp_session *s = create(&w, &config);
        fill(tokens, kind, PROMPT);
        tokens[0] = (int32_t)kind + 5;
        answer(s, tokens, PROMPT, said);
        hyp_session_destroy(s);
        uint32_t texts = (uint32_t)(w.model->prompts.bytes / 100000);
        most = texts > most ? texts : most;
        CHECK_MSG(hyp_model_residency(w.model).resident == pages, "after %u texts", kind);
    }
    CHECK(most > 2);
    // Memory for somebody else: all of them, and no page.
    hyp_budget *budget = &w.engine->budget;
    size_t left = hyp_budget_left(budget), bytes = left + w.model->prompts.bytes / 2;
    void *ballast = hyp_budget_map(budget, bytes);
    CHECK(ballast && hyp_model_residency(w.model).resident == pages);
    hyp_budget_unmap(budget, ballast, bytes);
    bytes = hyp_budget_left(budget) + w.model->prompts.bytes + (1 << 20);
    ballast = hyp_budget_map(budget, bytes);
    CHECK(ballast && !w.model->prompts.texts && hyp_model_residency(w.model).resident < pages);
    // Where weights come and go, nothing is remembered.
    hyp_session *s = create(&w, &(hyp_session_config){.context = 160});
    answer(s, tokens, 140, said);
    hyp_session_destroy(s);
    CHECK(!w.model->prompts.texts);
    hyp_budget_unmap(budget, ballast, bytes);
    close_world(&w);
    // A model that is opened has all that there is.
    w = open_world(0, 9000000);
    close_world(&w);
}

int main(void) {
    slow = getenv("HYP_SLOW");
    story = read_file("models/story.gguf", &story_bytes);
    RUN(answers_are_the_same);
    RUN(what_is_found);
    RUN(the_limit);
    RUN(they_give_way);
    free(story);
    return finish();
}
