// Saved sessions, answers that go on elsewhere, and contexts that shift: each against the answer
// that nothing has interrupted.
#include "../src/base/bytes.h"
#include "../src/base/crc32c.h"
#include "../src/hyperion/hyperion.h"
#include "../src/runtime/engine.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 400, TEXT_MOST = 8192 };

static uint8_t *story;
static size_t story_bytes;
static bool slow; // under an emulator: fewer rounds of the same

typedef struct world {
    hyp_engine *engine;
    hyp_model *model;
    hyp_session *session;
} world;

static world open_world(const hyp_engine_config *engine, const hyp_session_config *session) {
    world w = {.engine = hyp_engine_create(engine)};
    hyp_source source = hyp_source_of_memory(story, story_bytes);
    CHECK(w.engine && !hyp_model_open(w.engine, &source, 1, NULL, &w.model));
    CHECK_MSG(!hyp_session_create(w.model, session, &w.session), "%s", hyp_engine_error(w.engine));
    return w;
}
static void close_world(world *w) {
    hyp_session_destroy(w->session);
    hyp_model_close(w->model);
    hyp_engine_destroy(w->engine);
}

typedef struct told { // an answer
    int32_t token[MOST];
    uint32_t count;
    char text[TEXT_MOST];
    size_t bytes;
    hyp_finish finish;
} told;

typedef struct request {
    const char *prompt;
    hyp_sampling sampling;
    const char *stop;
} request;

static void begin(world *w, const request *r) {
    const int32_t *tokens;
    uint32_t count;
    hyp_text stop = {r->stop, r->stop ? strlen(r->stop) : 0};
    CHECK(!hyp_model_tokenize(w->model, r->prompt, strlen(r->prompt), HYP_TEXT_ADD_SPECIAL, &tokens,
                              &count));
    CHECK_MSG(!hyp_session_begin(w->session, tokens, count, &r->sampling, &stop, r->stop != NULL),
              "%s", hyp_engine_error(w->engine));
}
// Up to `most` tokens more.
static void go_on(world *w, told *t, uint32_t most) {
    for (uint32_t i = 0; i < most && !t->finish; i++) {
        hyp_piece piece;
        CHECK_MSG(!hyp_session_next(w->session, &piece), "%s", hyp_engine_error(w->engine));
        CHECK(t->count < MOST && t->bytes + piece.bytes < TEXT_MOST);
        t->token[t->count++] = piece.token;
        memcpy(t->text + t->bytes, piece.text, piece.bytes);
        t->bytes += piece.bytes;
        t->finish = piece.finish;
    }
}
static bool same(const told *a, const told *b) {
    return a->count == b->count && a->bytes == b->bytes && a->finish == b->finish &&
           !memcmp(a->token, b->token, a->count * sizeof *a->token) &&
           !memcmp(a->text, b->text, a->bytes);
}

typedef struct bytes {
    uint8_t *data;
    size_t count;
} bytes;
static bool take(void *context, const void *data, size_t count) {
    bytes *b = context;
    b->data = realloc(b->data, b->count + count);
    memcpy(b->data + b->count, data, count);
    b->count += count;
    return true;
}
static bytes saved(world *w) {
    bytes b = {0};
    CHECK_MSG(!hyp_session_save(w->session, &(hyp_writer){.write = take, .context = &b}), "%s",
              hyp_engine_error(w->engine));
    return b;
}

static const hyp_logit_bias liked[] = {{300, 2}, {301, 2}, {302, -3}};
static const request requests[] = {
    {"Once upon a time", {0}, NULL},
    {"Once upon a time", {.temperature = 1, .seed = 4}, "friend"},
    {"The little owl", {.temperature = 0.8f, .top_k = 30, .top_p = 0.9f, .seed = 5}, "."},
    {"Tom had a red kite", {.temperature = 1, .min_p = 0.05f, .typical_p = 0.9f, .seed = 6}, NULL},
    {"One day", {.temperature = 1, .mirostat_tau = 3, .mirostat_eta = 0.3f, .seed = 7}, NULL},
    {"A cat", {.repeat_penalty = 1.3f, .frequency_penalty = 0.2f, .penalty_last = 20}, NULL},
    {"A cat and a cat and a", {.dry_multiplier = 2, .dry_penalty_last = 60}, "the sun"},
    {"She said", {.temperature = 1, .xtc_probability = 0.5f, .xtc_threshold = 0.05f, .seed = 8}, 0},
    {"He was", {.temperature = 0.9f, .seed = 9007199254740991, .bias = liked, .bias_count = 3}, 0}};

// Whatever is asked for, and wherever it is broken off: elsewhere it goes on as if it had not been.
static void answers_go_on_elsewhere(void) {
    enum { TOKENS = 60 };
    static const hyp_engine_config engines[] = {
        {.threads = 1}, {.threads = 2}, {.isa_mask = 1u << 31, .threads = 1}};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const request *r = &requests[i];
        hyp_cache cache = i % 2 ? HYP_CACHE_Q8_0 : HYP_CACHE_F16;
        world w = open_world(NULL, &(hyp_session_config){.cache = cache, .context = 200});
        told want = {0};
        begin(&w, r);
        go_on(&w, &want, TOKENS);
        close_world(&w);
        for (uint32_t cut = slow; cut < want.count; cut += cut < 3 && !slow ? 1 : slow ? 25 : 9) {
            static const uint32_t lookups[] = {0, 4, 7};
            hyp_session_config config = {
                .cache = cache, .context = 200, .batch = 3 + cut, .lookup = lookups[cut % 3]};
            world a = open_world(NULL, &config);
            told got = {0};
            begin(&a, r);
            if (cut == 1) { // in the middle of the prompt
                uint32_t left;
                CHECK(!hyp_session_prefill(a.session, &left));
            } else go_on(&a, &got, cut);
            bytes state = saved(&a), again = saved(&a);
            CHECK(state.count == again.count && !memcmp(state.data, again.data, state.count));
            close_world(&a);
            config.lookup = lookups[(cut + 1) % 3];
            config.context = 300;
            config.batch = 64;
            world b = open_world(&engines[cut % 3], &config);
            if (cut % 2) { // one that has a text and an answer of its own
                told other = {0};
                begin(&b, &requests[2]);
                go_on(&b, &other, 7);
            }
            CHECK_MSG(!hyp_session_restore(b.session, state.data, state.count), "%s",
                      hyp_engine_error(b.engine));
            if (cut % 3 == 2) { // and at once elsewhere again
                bytes third = saved(&b);
                CHECK(!hyp_session_restore(b.session, third.data, third.count));
                free(third.data);
            }
            go_on(&b, &got, TOKENS - got.count);
            CHECK_MSG(same(&got, &want), "request %zu, broken off after %u: '%.*s', not '%.*s'", i,
                      cut, (int)got.bytes, got.text, (int)want.bytes, want.text);
            hyp_session_stats stats = hyp_session_get_stats(b.session);
            CHECK(stats.answer_tokens == want.count);
            close_world(&b);
            free(state.data);
            free(again.data);
        }
    }
}

// A text goes on, too: what was computed of it is not computed again.
static void texts_go_on_elsewhere(void) {
    world a = open_world(NULL, &(hyp_session_config){.context = 256});
    told first = {0}, want = {0}, got = {0};
    begin(&a, &requests[0]);
    go_on(&a, &first, 20);
    bytes state = saved(&a);
    world b = open_world(NULL, &(hyp_session_config){.context = 256});
    CHECK(!hyp_session_restore(b.session, state.data, state.count));
    const int32_t *tokens;
    uint32_t count = hyp_session_tokens(b.session, &tokens);
    CHECK(count == hyp_session_get_stats(a.session).used && count > 20);
    int32_t more[64];
    memcpy(more, tokens, count * sizeof *more);
    more[count] = 400;
    world *both[] = {&a, &b};
    told *answers[] = {&want, &got};
    for (int i = 0; i < 2; i++) {
        CHECK(!hyp_session_begin(both[i]->session, more, count + 1, NULL, NULL, 0));
        go_on(both[i], answers[i], 20);
        CHECK(hyp_session_get_stats(both[i]->session).reused >= count - 1);
    }
    CHECK(same(&want, &got));
    // A draft model is computed anew.
    hyp_session *drafting;
    CHECK(!hyp_session_create(
        b.model, &(hyp_session_config){.context = 256, .draft = b.model, .lookup = 5}, &drafting));
    hyp_session_destroy(b.session);
    b.session = drafting;
    CHECK(!hyp_session_restore(b.session, state.data, state.count));
    told rest = first, whole = {0};
    go_on(&b, &rest, 30);
    CHECK(hyp_session_get_stats(b.session).accepted > 5);
    begin(&a, &requests[0]);
    go_on(&a, &whole, 50);
    CHECK(same(&rest, &whole));
    close_world(&a);
    close_world(&b);
    free(state.data);
}

// A state is the same bytes wherever it is saved, but for the times in it.
static void the_same_state_everywhere(void) {
    static const uint64_t want[] = {0xc47a5a4df990cc47, 0xc3a6cc44402ef17e};
    for (int cache = 0; cache < 2; cache++) {
        world w = open_world(NULL,
                             &(hyp_session_config){.cache = (hyp_cache)cache, .context = 200});
        told t = {0};
        begin(&w, &requests[1]);
        go_on(&w, &t, 9);
        bytes state = saved(&w);
        uint8_t *at = state.data;
        while (memcmp(at, "ANSW", 4)) at++;
        memset(at + 16 + 56, 0, 16); // nanoseconds of prompt and answer
        uint64_t hash = hyp_hash(state.data, state.count - 4);
        CHECK_MSG(hash == want[cache], "cache %d: 0x%llx, %zu bytes", cache,
                  (unsigned long long)hash, state.count);
        free(state.data);
        close_world(&w);
    }
}

// Pieces that nobody has read come again, also elsewhere.
static void unread_pieces(void) {
    world a = open_world(NULL, &(hyp_session_config){.context = 200});
    const request *r = &requests[1];
    told want = {0}, got = {0};
    begin(&a, r);
    go_on(&a, &want, 40);
    for (uint32_t read = 3; read < 9; read++) {
        begin(&a, r);
        got = (told){0};
        go_on(&a, &got, read);
        hyp_piece ahead[3];
        char texts[3][64];
        for (int i = 0; i < 3; i++) {
            CHECK(!hyp_session_next(a.session, &ahead[i]));
            memcpy(texts[i], ahead[i].text, ahead[i].bytes);
            ahead[i].text = texts[i];
        }
        // in two parts, the later one first
        CHECK(!hyp_session_unread(a.session, ahead + 1, 2));
        CHECK(!hyp_session_unread(a.session, ahead, 1));
        bytes state = saved(&a);
        world b = open_world(NULL, &(hyp_session_config){.context = 200});
        CHECK(!hyp_session_restore(b.session, state.data, state.count));
        go_on(&b, &got, read % 2 ? 40 - read : 1);
        if (read % 2 == 0) { // one of them was read again, the others go home
            free(state.data);
            state = saved(&b);
            CHECK(!hyp_session_restore(a.session, state.data, state.count));
            go_on(&a, &got, 39 - read);
        }
        CHECK_MSG(same(&got, &want), "after %u: '%.*s', not '%.*s'", read, (int)got.bytes, got.text,
                  (int)want.bytes, want.text);
        close_world(&b);
        free(state.data);
    }
    begin(&a, r); // which forgets them
    got = (told){0};
    go_on(&a, &got, 40);
    CHECK(same(&got, &want));
    hyp_piece piece = {.token = 5, .text = "x", .bytes = 1};
    const float *vector;
    uint32_t dim;
    CHECK(!hyp_session_embed(a.session, want.token, 4, HYP_POOL_MEAN, &vector, &dim));
    CHECK(hyp_session_unread(a.session, &piece, 1) == HYP_E_STATE);
    close_world(&a);
}

static void check_refused(world *w, const bytes *state, hyp_status want, const char *why) {
    hyp_status status = hyp_session_restore(w->session, state->data, state->count);
    CHECK_MSG(status == want && strstr(hyp_engine_error(w->engine), why), "%s: %s",
              hyp_status_name(status), hyp_engine_error(w->engine));
}
static void mend(bytes *state) {
    hyp_store_u32(state->data + state->count - 4, hyp_crc32c(0, state->data, state->count - 4));
}

// What does not fit is refused with a reason, and what was under way goes on.
static void states_that_do_not_fit(void) {
    world a = open_world(NULL, &(hyp_session_config){.context = 200}), b;
    told t = {0};
    begin(&a, &requests[0]);
    go_on(&a, &t, 30);
    bytes state = saved(&a);
    static const hyp_session_config others[] = {{.context = 20},
                                                {.context = 200, .cache = HYP_CACHE_Q8_0}};
    static const hyp_status statuses[] = {HYP_E_CONTEXT, HYP_E_ARGUMENT};
    static const char *const reasons[] = {"one of 200", "cache 'f16'"};
    for (int i = 0; i < 2; i++) {
        b = open_world(NULL, &others[i]);
        told want = {0}, got = {0};
        begin(&b, &requests[2]);
        go_on(&b, &want, 12);
        begin(&b, &requests[2]);
        go_on(&b, &got, 5);
        check_refused(&b, &state, statuses[i], reasons[i]);
        go_on(&b, &got, 7);
        CHECK(same(&got, &want));
        close_world(&b);
    }
    hyp_session_config config = {.batch = 9};
    CHECK(!hyp_model_state_config(a.model, state.data, state.count, &config) &&
          config.context == 200 && config.cache == HYP_CACHE_F16 && config.batch == 9);
    // another model: the same with another name
    uint8_t *name = story;
    while (memcmp(name, "tokenizer.ggml.bos_token_id", 27)) name++;
    name[27 + 4]++; // another beginning of texts
    b = open_world(NULL, NULL);
    check_refused(&b, &state, HYP_E_ARGUMENT, "was saved with");
    close_world(&b);
    name[27 + 4]--;
    state.data[4] = 9;
    check_refused(&a, &state, HYP_E_UNSUPPORTED, "version 9");
    state.data[4] = 1;
    hyp_call call = {.kind = HYP_CALL_NEXT};
    bytes none = {0};
    CHECK(!hyp_session_post(a.session, &call));
    check_refused(&a, &state, HYP_E_STATE, "under way");
    CHECK(hyp_session_save(a.session, &(hyp_writer){.write = take, .context = &none}) ==
              HYP_E_STATE &&
          !none.count);
    while (hyp_session_busy(a.session)) hyp_engine_run(a.engine, 0);
    check_refused(&a, &none, HYP_E_FORMAT, "no state");
    close_world(&a);
    free(state.data);
}

static bool refuse(void *context, const void *data, size_t count) {
    (void)data;
    (void)count;
    return --*(int *)context > 0;
}

// Any byte that is wrong, by chance or on purpose.
static void damaged_states(void) {
    world a = open_world(NULL, &(hyp_session_config){.context = 64}),
          b = open_world(NULL, &(hyp_session_config){.context = 64});
    told t = {0};
    begin(&a, &requests[1]);
    go_on(&a, &t, 3);
    bytes state = saved(&a);
    for (size_t at = 0; at < state.count; at += at < 600 ? 1 : 997) {
        state.data[at] ^= 0x55;
        hyp_status status = hyp_session_restore(b.session, state.data, state.count);
        CHECK_MSG(status == HYP_E_FORMAT || (status == HYP_E_UNSUPPORTED && at >= 4 && at < 8),
                  "byte %zu: %s", at, hyp_status_name(status));
        state.data[at] ^= 0x55;
    }
    for (size_t n = 0; n < state.count; n += n < 600 ? 1 : 997) {
        uint8_t *part = malloc(n ? n : 1); // so that a sanitizer sees what is read behind it
        memcpy(part, state.data, n);
        CHECK(hyp_session_restore(b.session, part, n) == HYP_E_FORMAT);
        free(part);
    }
    // Whoever makes it on purpose gives it the right check, too: then it is refused, or goes on.
    for (uint32_t round = 0; round < (slow ? 300 : 3000); round++) {
        size_t at = round % 2 ? random_u32() % 2000 : random_u32() % state.count;
        if (at >= state.count) continue;
        uint8_t was = state.data[at];
        state.data[at] = round % 3 ? (uint8_t)(was ^ 1 << random_u32() % 8) : (uint8_t)random_u32();
        mend(&state);
        hyp_status status = hyp_session_restore(b.session, state.data, state.count);
        hyp_piece piece;
        for (int i = 0; i < 3 && !status && round % 4 == 0; i++)
            if (hyp_session_next(b.session, &piece)) break;
        state.data[at] = was;
    }
    mend(&state);
    CHECK(!hyp_session_restore(b.session, state.data, state.count));
    told got = t, want = t;
    go_on(&a, &want, 20);
    go_on(&b, &got, 20);
    CHECK(same(&got, &want));
    int takes = 1;
    CHECK(hyp_session_save(a.session, &(hyp_writer){.write = refuse, .context = &takes}) ==
          HYP_E_IO);
    close_world(&a);
    close_world(&b);
    free(state.data);
}

// ---- Context shift

// What the context holds after a shift, and what comes then, is what a prompt of that would give.
static void contexts_shift(void) {
    static const request greedy[] = {
        {"Once upon a time", {0}, NULL},
        {"The little owl", {.repeat_penalty = 1.2f, .penalty_last = 30}, "zebra"},
        {"A cat and a cat", {.dry_multiplier = 1, .dry_penalty_last = 50}, NULL}};
    static const uint32_t keeps[] = {0, 4, 20};
    for (int i = 0; i < 9; i++) {
        const request *r = &greedy[i % 3];
        uint32_t keep = keeps[i / 3], lookup = i % 2 ? 4 : 0;
        hyp_session_config config = {.context = 40,
                                     .context_shift = true,
                                     .context_keep = keep,
                                     .lookup = lookup,
                                     .cache = i % 2 ? HYP_CACHE_Q8_0 : HYP_CACHE_F16};
        world a = open_world(NULL, &config);
        config.lookup = 0;
        config.context_shift = false;
        world fresh = open_world(NULL, &config);
        begin(&a, r);
        int32_t text[40];
        uint32_t shifts = 0, finished = 0;
        for (uint32_t n = 0; n < 120 && !finished; n++) {
            const int32_t *tokens;
            uint32_t before = hyp_session_tokens(a.session, &tokens);
            memcpy(text, tokens, before * sizeof *text);
            hyp_piece piece, want;
            CHECK(!hyp_session_next(a.session, &piece));
            finished = piece.finish;
            uint32_t now = hyp_session_get_stats(a.session).shifts;
            if (now == shifts) continue;
            CHECK(now == shifts + 1 && before == 40);
            shifts = now;
            uint32_t kept = keep ? keep : 1, dropped = (40 - kept) / 2; // the text begins with BOS
            memmove(text + kept, text + kept + dropped, (40 - kept - dropped) * sizeof *text);
            CHECK(!hyp_session_begin(fresh.session, text, 40 - dropped, &r->sampling, NULL, 0));
            for (int k = 0; k < 9 && !finished; k++) {
                CHECK(!hyp_session_next(fresh.session, &want));
                CHECK_MSG(piece.token == want.token, "request %d, %d behind shift %u: %d, not %d",
                          i, k, shifts, piece.token, want.token);
                if (k < 8) CHECK(!hyp_session_next(a.session, &piece));
                finished = piece.finish;
            }
        }
        CHECK_MSG(shifts >= 3 || finished, "%u shifts", shifts);
        close_world(&a);
        close_world(&fresh);
    }
    // The text of a shifting answer is that of one that does not need to, as far as both go; a
    // state that is saved behind a shift goes on; and without it the context is full.
    world a = open_world(NULL, &(hyp_session_config){.context = 48, .context_shift = true});
    told want = {0}, got = {0};
    begin(&a, &requests[1]);
    go_on(&a, &want, 150);
    begin(&a, &requests[1]);
    go_on(&a, &got, 100);
    bytes state = saved(&a);
    hyp_session_config config = {0};
    CHECK(!hyp_model_state_config(a.model, state.data, state.count, &config) &&
          config.context_shift && config.context == 48);
    world b = open_world(NULL, &config);
    CHECK(!hyp_session_restore(b.session, state.data, state.count));
    go_on(&b, &got, 50);
    CHECK(same(&got, &want) && (want.finish || hyp_session_get_stats(b.session).shifts >= 3));
    close_world(&a);
    close_world(&b);
    free(state.data);
    a = open_world(NULL, &(hyp_session_config){.context = 48});
    got = (told){0};
    begin(&a, &requests[1]);
    go_on(&a, &got, 150);
    CHECK(got.finish == HYP_FINISH_CONTEXT);
    hyp_session *none;
    CHECK(hyp_session_create(
              a.model,
              &(hyp_session_config){.context = 48, .context_shift = true, .context_keep = 47},
              &none) == HYP_E_ARGUMENT &&
          strstr(hyp_engine_error(a.engine), "keep fewer"));
    close_world(&a);
}

int main(void) {
    slow = getenv("HYP_SLOW");
    story = read_file("models/story.gguf", &story_bytes);
    RUN(answers_go_on_elsewhere);
    RUN(texts_go_on_elsewhere);
    RUN(the_same_state_everywhere);
    RUN(unread_pieces);
    RUN(states_that_do_not_fit);
    RUN(damaged_states);
    RUN(contexts_shift);
    free(story);
    return finish();
}
