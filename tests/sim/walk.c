// Every allocation failed once and every read failed once, for each public call: a clean status
// with a reason, the state as before, and the next call right. Walks N until the call gets by
// without reaching its N-th.
#include "walk.h"

#include "../../src/base/bytes.h"
#include "../../src/runtime/engine.h"
#include "tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition, ...) ((condition) ? (void)0 : failed(__LINE__, #condition, __VA_ARGS__))

typedef struct world {
    hyp_engine *engine;
    hyp_model *model, *draft;
    hyp_session *session, *other;
    uint64_t reads, fail_at; // of the source
    uint32_t made;
    uint64_t result; // a hash of what the call gave
    uint8_t *state;  // that was saved
    size_t state_bytes;
    int32_t prompt[12];
} world;

typedef struct call {
    const char *name;
    void (*prepare)(world *);
    hyp_status (*run)(world *);
} call;

enum { LIMIT = 1500000, DRAFT_BYTES = 900000 }; // under which weights come and go

static const uint8_t *file;
static size_t file_bytes;
static const char *name_now;
static uint64_t n_now;

static _Noreturn void failed(int line, const char *condition, const char *why) {
    fprintf(stderr, "walk.c:%d: %s, at its number %llu: %s is not so (%s)\n", line, name_now,
            (unsigned long long)n_now, condition, why);
    fflush(NULL);
    _Exit(1);
}
static const char *why(const world *w) { return hyp_engine_error(w->engine); }

static hyp_status read_file(void *context, uint64_t offset, void *dst, size_t count) {
    world *w = context;
    if (++w->reads == w->fail_at) return HYP_E_IO;
    memcpy(dst, file + offset, count);
    return HYP_OK;
}
static hyp_source source_of(world *w) {
    return (hyp_source){.bytes = file_bytes, .read = read_file, .context = w};
}
static void mix(world *w, const void *data, size_t bytes) {
    w->result = (w->result ^ hyp_hash(data, bytes)) * 1099511628211u;
}
static bool take(void *world_, const void *data, size_t bytes) {
    mix(world_, data, bytes);
    return true;
}

// ---- What has to be there before

static void need_model(world *w) {
    hyp_source source = source_of(w);
    CHECK(!hyp_model_open(w->engine, &source, 1, NULL, &w->model), why(w));
    hyp_residency r = hyp_model_residency(w->model);
    CHECK(hyp_engine_get_stats(w->engine).limit_bytes != LIMIT || r.resident < r.pages,
          "nothing is read again under the limit");
}
static void need(world *w, hyp_session_config config) {
    need_model(w);
    config.context = 48;
    config.batch = 4;
    CHECK(!hyp_session_create(w->model, &config, &w->session), why(w));
}
static void need_session(world *w) { need(w, (hyp_session_config){0}); }
static void begin_both(world *w) {
    static const hyp_logit_bias few[] = {{270, 12}, {271, 12}};
    hyp_sampling sampling = {.temperature = 1, .seed = 3, .bias = few, .bias_count = 2};
    CHECK(!hyp_session_begin(w->session, w->prompt, 12, &sampling, NULL, 0), why(w));
    if (w->other) CHECK(!hyp_session_begin(w->other, w->prompt, 7, &sampling, NULL, 0), why(w));
}
static void need_answer(world *w) {
    need_session(w);
    begin_both(w);
}
static void need_look_up(world *w) {
    need(w, (hyp_session_config){.lookup = 4});
    begin_both(w);
}
static void need_draft(world *w) {
    need_model(w);
    hyp_source source = source_of(w);
    CHECK(!hyp_model_open(w->engine, &source, 1, NULL, &w->draft), why(w));
    CHECK(!hyp_session_create(w->model,
                              &(hyp_session_config){.context = 48, .batch = 8, .draft = w->draft},
                              &w->session),
          why(w));
    begin_both(w);
}
static void need_two(world *w) {
    need_session(w);
    CHECK(
        !hyp_session_create(w->model, &(hyp_session_config){.context = 40, .batch = 4}, &w->other),
        why(w));
    begin_both(w);
}
static bool keep(void *world_, const void *data, size_t bytes) {
    world *w = world_;
    w->state = realloc(w->state, w->state_bytes + bytes);
    memcpy(w->state + w->state_bytes, data, bytes);
    w->state_bytes += bytes;
    return true;
}
static void say_some(world *w, uint32_t count) {
    hyp_piece piece;
    while (count--) CHECK(!hyp_session_next(w->session, &piece), why(w));
}
// An answer under way with something of everything that a state holds, and another session.
static void need_state(world *w) {
    need_two(w);
    static const hyp_logit_bias few[] = {{270, 12}, {271, 12}};
    hyp_sampling sampling = {.temperature = 1, .seed = 3, .bias = few, .bias_count = 2};
    hyp_text stops[] = {{"zzz", 3}, {"yyy", 3}};
    CHECK(!hyp_session_begin(w->session, w->prompt, 12, &sampling, stops, 2), why(w));
    say_some(w, 4);
    hyp_piece piece = {.token = 270, .text = "unread", .bytes = 6};
    CHECK(!hyp_session_unread(w->session, &piece, 1), why(w));
    CHECK(!hyp_session_save(w->session, &(hyp_writer){.write = keep, .context = w}), why(w));
}
static void need_shift(world *w) {
    need_model(w);
    CHECK(!hyp_session_create(
              w->model,
              &(hyp_session_config){
                  .context = 20, .batch = 4, .context_shift = true, .context_keep = 3},
              &w->session),
          why(w));
    begin_both(w);
}
// A text to be remembered, and one that is.
static void need_texts(world *w) {
    hyp_source source = source_of(w);
    CHECK(!hyp_model_open(w->engine, &source, 1, &(hyp_model_config){.prompt_cache_bytes = 1 << 20},
                          &w->model),
          why(w));
    CHECK(!hyp_session_create(w->model, &(hyp_session_config){.context = 48, .batch = 4},
                              &w->session),
          why(w));
    begin_both(w);
    say_some(w, 12);
    w->prompt[1]++;
    begin_both(w);
    say_some(w, 12);
    w->prompt[1]--;
}
static void need_statistics(world *w) {
    need(w, (hyp_session_config){.calibrate = true});
    CHECK(!hyp_session_embed(w->session, w->prompt, 12, HYP_POOL_MEAN, &(const float *){NULL},
                             &(uint32_t){0}),
          why(w));
}
static void need_nothing(world *w) { (void)w; }

// ---- The calls

static hyp_status open_model(world *w) {
    hyp_source source = source_of(w);
    hyp_status status = hyp_model_open(w->engine, &source, 1, NULL, &w->model);
    CHECK(!status || !w->model, why(w));
    if (!status) w->result = hyp_model_get_info(w->model).parameters;
    return status;
}
static hyp_status open_progressive(world *w) {
    hyp_source source = source_of(w);
    hyp_status status = hyp_model_open(w->engine, &source, 1,
                                       &(hyp_model_config){.progressive = true}, &w->model);
    CHECK(!status || !w->model, why(w));
    if (status) return status;
    status = hyp_model_wait(w->model);
    if (status) { // the reason outlives the model
        hyp_model_close(w->model);
        w->model = NULL;
    } else w->result = hyp_model_get_info(w->model).parameters;
    return status;
}
static hyp_status create(world *w, hyp_session_config config) {
    config.context = 48;
    hyp_status status = hyp_session_create(w->model, &config, &w->session);
    CHECK(!status || !w->session, why(w));
    return status;
}
static hyp_status create_plain(world *w) { return create(w, (hyp_session_config){0}); }
static hyp_status create_full(world *w) {
    return create(w, (hyp_session_config){.lookup = 3,
                                          .draft = w->model,
                                          .profile = true,
                                          .calibrate = true,
                                          .cache = HYP_CACHE_Q8_0});
}
static hyp_status begin(world *w) {
    static const hyp_logit_bias bias[] = {{5, 1}, {6, 1}};
    hyp_sampling sampling = {
        .temperature = 1, .top_k = 9, .repeat_penalty = 1.1f, .bias = bias, .bias_count = 2};
    hyp_text stops[] = {{"abc", 3}, {"def", 3}};
    hyp_status status = hyp_session_begin(w->session, w->prompt, 12, &sampling, stops, 2);
    hyp_piece piece;
    if (status)
        CHECK(hyp_session_next(w->session, &piece) == HYP_E_STATE, "there is an answer to ask for");
    return status;
}
static hyp_status fork_session(world *w) {
    hyp_status status = hyp_session_fork(w->session, &w->other);
    CHECK(!status || !w->other, why(w));
    return status;
}
static bool count_bytes(void *world_, const void *data, size_t bytes) {
    (void)data; // there are times in it
    ((world *)world_)->result += bytes;
    return true;
}
static hyp_status save(world *w) {
    w->result = 0;
    return hyp_session_save(w->session, &(hyp_writer){.write = count_bytes, .context = w});
}
// Some tokens of an answer.
static hyp_status hear(world *w, hyp_session *session, int count) {
    hyp_piece piece;
    hyp_status status = HYP_OK;
    w->result = 0;
    while (count-- && !(status = hyp_session_next(session, &piece))) {
        mix(w, &piece.token, sizeof piece.token);
        mix(w, piece.text, piece.bytes);
    }
    return status;
}
static hyp_status restore(world *w) {
    hyp_status status = hyp_session_restore(w->other, w->state, w->state_bytes);
    if (!status) return hear(w, w->other, 6);
    hyp_piece piece; // it has what it had
    CHECK(!hyp_session_next(w->other, &piece), why(w));
    return status;
}
static hyp_status hand_back(world *w) {
    const hyp_piece pieces[] = {{.token = 5, .text = "one", .bytes = 3},
                                {.token = 6, .text = "two", .bytes = 3}};
    hyp_status status = hyp_session_unread(w->session, pieces, 2);
    if (status) return status;
    w->made = 0;
    return HYP_OK;
}
// With a text that it forgets, which is remembered where there is memory; and one that it finds.
static hyp_status begin_remembering(world *w) {
    hyp_status status = begin(w);
    return status ? status : hear(w, w->session, 3);
}
static hyp_status prefill(world *w) {
    uint32_t left = 1;
    hyp_status status = HYP_OK;
    while (left && !status) status = hyp_session_prefill(w->session, &left);
    return status;
}
static hyp_status next(world *w) {
    while (w->made < 14) {
        hyp_piece piece;
        hyp_status status = hyp_session_next(w->session, &piece);
        if (status) return status;
        mix(w, &piece.token, sizeof piece.token);
        mix(w, piece.text, piece.bytes);
        w->made = piece.finish ? 14 : w->made + 1;
    }
    return HYP_OK;
}
static hyp_status next_of_two(world *w) {
    while (w->made < 14) {
        hyp_call call = {.kind = HYP_CALL_NEXT};
        // Only who has not got this token yet asks for it: bit 0 and 1 of `made`'s place are in
        // `result`, which both mix in order.
        hyp_status first = hyp_session_post(w->session, &call),
                   second = hyp_session_post(w->other, &call);
        CHECK(!first && !second, why(w));
        while (hyp_session_busy(w->session) || hyp_session_busy(w->other))
            hyp_engine_run(w->engine, 0);
        first = hyp_session_result(w->session)->status;
        second = hyp_session_result(w->other)->status;
        for (int again = 0; (first || second) && again < 2;
             again++) { // whoever failed tries once more, the other waits for it
            CHECK(!first || !second || first == second, why(w));
            hyp_session *s = first ? w->session : w->other;
            hyp_status *status = first ? &first : &second;
            CHECK(*status == HYP_E_NOMEM || *status == HYP_E_IO, why(w));
            CHECK(!hyp_session_post(s, &call), why(w));
            while (hyp_session_busy(s)) hyp_engine_run(w->engine, 0);
            *status = hyp_session_result(s)->status;
        }
        if (first || second) return first ? first : second;
        mix(w, &hyp_session_result(w->session)->piece.token, sizeof(int32_t));
        mix(w, &hyp_session_result(w->other)->piece.token, sizeof(int32_t));
        bool ended = hyp_session_result(w->session)->piece.finish ||
                     hyp_session_result(w->other)->piece.finish;
        w->made = ended ? 14 : w->made + 1;
    }
    return HYP_OK;
}
static hyp_status embed(world *w) {
    const float *vector;
    uint32_t dim;
    hyp_status status = hyp_session_embed(w->session, w->prompt, 12, HYP_POOL_MEAN, &vector, &dim);
    if (!status) mix(w, vector, dim * sizeof *vector);
    return status;
}
static void visit(void *context, uint32_t position, const float *log_p) {
    world *w = context;
    if (position == 0) w->result = 0;
    mix(w, log_p, TINY_VOCAB * sizeof *log_p);
}
static hyp_status score(world *w) { return hyp_session_score(w->session, w->prompt, 12, visit, w); }
static hyp_status tokenize(world *w) {
    static char text[20000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i * i % 26);
    const int32_t *tokens;
    uint32_t count;
    hyp_status status = hyp_model_tokenize(w->model, text, sizeof text, HYP_TEXT_ADD_SPECIAL,
                                           &tokens, &count);
    if (!status) mix(w, tokens, count * sizeof *tokens);
    return status;
}
static hyp_status detokenize(world *w) {
    static int32_t tokens[9000];
    for (int i = 0; i < 9000; i++) tokens[i] = 259 + i * 7 % 60;
    const char *text;
    size_t bytes;
    hyp_status status = hyp_model_detokenize(w->model, tokens, 9000, 0, &text, &bytes);
    if (!status) mix(w, text, bytes);
    return status;
}
static hyp_status inspect(world *w) {
    hyp_source source = source_of(w);
    const char *text;
    size_t bytes;
    hyp_status status = hyp_engine_inspect(w->engine, &source, 1, &text, &bytes);
    if (!status) mix(w, text, bytes);
    return status;
}
static hyp_status quantize(world *w) {
    hyp_source source = source_of(w);
    w->result = 0;
    return hyp_engine_quantize(w->engine, &source, 1, &(hyp_quantization){.format = "q4_0"},
                               &(hyp_writer){.write = take, .context = w});
}
static hyp_status prune(world *w) {
    hyp_source source = source_of(w);
    w->result = 0;
    return hyp_engine_quantize(w->engine, &source, 1,
                               &(hyp_quantization){.format = "q4_0", .density = 0.3f},
                               &(hyp_writer){.write = take, .context = w});
}
static hyp_status importance(world *w) {
    w->result = 0;
    return hyp_session_write_imatrix(w->session, &(hyp_writer){.write = take, .context = w});
}

static const call calls[] = {{"model_open", need_nothing, open_model},
                             {"model_open, progressive", need_nothing, open_progressive},
                             {"session_create", need_model, create_plain},
                             {"session_create with everything", need_model, create_full},
                             {"session_fork", need_answer, fork_session},
                             {"session_fork with a draft", need_draft, fork_session},
                             {"session_begin", need_session, begin},
                             {"session_prefill", need_answer, prefill},
                             {"session_next", need_answer, next},
                             {"session_next with look-up", need_look_up, next},
                             {"session_next with a draft", need_draft, next},
                             {"session_next of two", need_two, next_of_two},
                             {"session_next with shifts", need_shift, next},
                             {"session_begin with prompts", need_texts, begin_remembering},
                             {"session_save", need_state, save},
                             {"session_restore", need_state, restore},
                             {"session_unread", need_state, hand_back},
                             {"session_embed", need_session, embed},
                             {"session_score", need_session, score},
                             {"model_tokenize", need_model, tokenize},
                             {"model_detokenize", need_model, detokenize},
                             {"engine_inspect", need_nothing, inspect},
                             {"engine_quantize", need_nothing, quantize},
                             {"engine_quantize, pruned", need_nothing, prune},
                             {"session_write_imatrix", need_statistics, importance}};

static world make_world(size_t limit) {
    world w = {.engine = hyp_engine_create(
                   &(hyp_engine_config){.memory_bytes = limit, .threads = limit ? 1 : 2})};
    for (int i = 0; i < 12; i++) w.prompt[i] = i ? 262 + i % 3 * 5 : 1;
    CHECK(w.engine, "no engine");
    return w;
}
static void end_world(world *w, size_t empty) {
    hyp_session_destroy(w->session);
    hyp_session_destroy(w->other);
    hyp_model_close(w->draft);
    hyp_model_close(w->model);
    free(w->state);
    hyp_engine_stats s = hyp_engine_get_stats(w->engine);
    CHECK(s.blocks <= 1 + (s.used_bytes > empty) && s.fibers == 0 &&
              hyp_slab_check(w->engine->slab),
          "something is left");
    hyp_engine_destroy(w->engine);
}
static size_t
held(const hyp_engine *engine) { // beside stacks and spans that are kept for later use
    hyp_engine_stats s = hyp_engine_get_stats((hyp_engine *)(uintptr_t)engine);
    return s.used_bytes - s.stack_bytes - hyp_slab_get_stats(engine->slab).held_bytes;
}

static uint64_t walk_call(const call *c, bool reads, size_t limit) {
    name_now = c->name;
    uint64_t steps = 0, want = 0;
    for (n_now = 0;; n_now++) { // 0: nothing fails, and that is the result to come
        world w = make_world(limit);
        size_t empty = hyp_engine_get_stats(w.engine).used_bytes;
        c->prepare(&w);
        hyp_budget *budget = &w.engine->budget;
        size_t before = held(w.engine), blocks = hyp_engine_get_stats(w.engine).blocks;
        w.reads = 0;
        w.fail_at = reads ? n_now : 0;
        if (!reads && n_now) budget->fail_at = budget->allocations + n_now;
        hyp_status status = c->run(&w);
        bool reached = n_now && (reads ? w.reads >= n_now : budget->allocations >= budget->fail_at);
        w.fail_at = budget->fail_at = 0;
        if (status) {
            CHECK(reached && status == (reads ? HYP_E_IO : HYP_E_NOMEM), why(&w));
            CHECK(strlen(why(&w)) > 12, "no reason is given");
            // A fork of a session under the limit has made weights give way.
            bool less = limit && c->run == fork_session && held(w.engine) < before;
            if (c->run == open_model || c->run == open_progressive || c->run == create_plain ||
                c->run == create_full || c->run == fork_session)
                CHECK((held(w.engine) == before || less) &&
                          hyp_engine_get_stats(w.engine).blocks == blocks,
                      "a refused call holds memory");
            status = c->run(&w);
            CHECK(!status, why(&w));
        }
        if (!n_now) want = w.result;
        CHECK(w.result == want, "another result than without a failure");
        end_world(&w, empty);
        if (n_now && !reached) break;
        steps++;
    }
    return steps;
}

void walk(const uint8_t *model, size_t bytes) {
    file = model;
    file_bytes = bytes;
    uint64_t steps = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int limited = 0; limited < 2; limited++) {
            size_t limit = !limited                         ? 0
                           : calls[i].prepare == need_draft ? LIMIT + DRAFT_BYTES
                                                            : LIMIT;
            steps += walk_call(&calls[i], false, limit);
            steps += walk_call(&calls[i], true, limit);
        }
    printf("%llu failures of allocations and reads in %zu calls\n", (unsigned long long)steps,
           sizeof calls / sizeof *calls);
}
