// A simulation of schedules. From one seed it draws a host with models, sessions, purposes,
// policies, threads, memory limits, drafts, prompt lookup, cache formats, batches, forks, cancels,
// closes, slow and failing sources, failing allocations and questions in between.
//
// Oracle: each token and piece of text, each score and vector equals that of the same call alone in
// a fresh engine, to the bit; every refusal is one that can be, with a message; nothing hangs
// (turns are bounded); nothing is left when all is closed.
//
// usage: sim [N | A..B] [--jobs N] [--verbose]
//                       seeds 1 to N, or A to B; a failing one prints itself, and
//                       `sim S..S --verbose` repeats it
//        sim --walk     every allocation and every read of each public call fails once
#include "../../src/base/bytes.h"
#include "../../src/port.h"
#include "../../src/runtime/engine.h"
#include "tiny.h"
#include "walk.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef HYP_CHECKED
#error "the simulation is of the checked build"
#endif

enum {
    FORMATS = 3,
    BASES = 6,
    LENGTHS = 6,
    PRESETS = 9,
    STOP_SETS = 3,
    ORACLE_TOKENS = 72,
    PIECE_MOST = 24,
    SESSIONS = 6,
    MODELS = 3,
    READS = 32,
    TURNS_MOST = 200000, // of the engine, for a single call; none takes a hundredth of it
    JOBS_MOST = 8
};

static const char *const formats[FORMATS] = {"f32", "q8_0", "q4_0"};
static const uint32_t lengths[LENGTHS] = {1, 2, 5, 9, 17, 20};
static uint8_t *files[FORMATS];
static size_t file_bytes[FORMATS];
static char paths[FORMATS][64]; // the same as real files
static bool verbose;

// ---- A seed's own numbers

typedef struct rng {
    uint64_t state;
} rng;
static uint32_t draw(rng *r) { // splitmix64
    uint64_t z = (r->state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}
static uint32_t below(rng *r, uint32_t n) { return (uint32_t)((uint64_t)draw(r) * n >> 32); }
static bool chance(rng *r, uint32_t percent) { return below(r, 100) < percent; }

static _Thread_local uint64_t seed_now;
static _Thread_local char trail[1 << 16]; // what this seed has done
static _Thread_local size_t trail_bytes;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0) return;
    if ((size_t)n >= sizeof line) n = sizeof line - 1;
    if (trail_bytes + (size_t)n + 2 < sizeof trail) {
        memcpy(trail + trail_bytes, line, (size_t)n);
        trail_bytes += (size_t)n;
        trail[trail_bytes++] = '\n';
        trail[trail_bytes] = 0;
    }
    if (verbose) fprintf(stderr, "  %s\n", line);
}

__attribute__((format(printf, 1, 2), noreturn)) static void broken(const char *format, ...) {
    va_list args;
    if (!verbose) fprintf(stderr, "%s", trail);
    fprintf(stderr, "seed %llu: ", (unsigned long long)seed_now);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nagain: sim %llu..%llu --verbose\n", (unsigned long long)seed_now,
            (unsigned long long)seed_now);
    fflush(NULL);
    for (uint32_t f = 0; f < FORMATS; f++) unlink(paths[f]);
    _Exit(1);
}

static void remove_files(void) {
    for (uint32_t f = 0; f < FORMATS; f++) {
        free(files[f]);
        unlink(paths[f]);
    }
}

// A panic, or an access where nothing is; in a worker thread, whose seed is one of the last that
// were begun.
static uint64_t next_seed, last_seed;
static void on_crash(int signal_number) {
    if (!seed_now) seed_now = next_seed - 1;
    broken("it ends with signal %d", signal_number);
}

// ---- Requests, and what they give alone

typedef struct request {
    uint8_t format, q8_cache, base, length, preset, stops; // indices
} request;

static uint32_t prompt_of(request r, int32_t *tokens) {
    rng own = {77 + r.base};
    tokens[0] = 1;
    for (uint32_t i = 1; i < 24; i++) {
        uint32_t t = below(&own, TINY_VOCAB - 3);
        tokens[i] =
            r.base < 2 && i > 4
                ? tokens[i - 3]
                : 3 + (int32_t)t; // two of them repeat themselves: there is something to look up
    }
    return lengths[r.length];
}

static const hyp_logit_bias few[] = {{270, 14}, {271, 14}, {272, 14}};
static hyp_sampling sampling_of(request r) {
    static const hyp_sampling presets[PRESETS] = {
        {.temperature = 0},
        {.temperature = 1, .seed = 1},
        {.temperature = 1, .seed = 2},
        {.temperature = 0.8f, .top_k = 20, .top_p = 0.9f, .seed = 3},
        {.temperature = 0, .repeat_penalty = 1.3f},
        {.temperature = 1, .mirostat_tau = 3, .seed = 4},
        {.temperature = 0.7f, .seed = 5, .bias = few, .bias_count = 3},
        {.temperature = 0, .dry_multiplier = 2, .dry_penalty_last = 20},
        {.temperature = 1, .xtc_probability = 0.5f, .xtc_threshold = 0.01f, .seed = 6}};
    return presets[r.preset];
}
static uint32_t stops_of(request r, hyp_text *stops) {
    static const char *const sets[STOP_SETS][2] = {{NULL, NULL}, {"a", "lk"}, {"ebe", "zzz"}};
    uint32_t n = 0;
    for (; n < 2 && sets[r.stops][n]; n++)
        stops[n] = (hyp_text){sets[r.stops][n], strlen(sets[r.stops][n])};
    return n;
}

typedef struct told { // an answer, token by token
    uint32_t count;
    int32_t token[ORACLE_TOKENS];
    hyp_finish finish[ORACLE_TOKENS];
    uint8_t bytes[ORACLE_TOKENS];
    char piece[ORACLE_TOKENS][PIECE_MOST];
} told;
// Of a prompt: hashes of the scores after each token, and of three vectors.
typedef struct looked_at {
    uint64_t score[24], vector[3];
} looked_at;

static _Thread_local told *answers[FORMATS][2][BASES][LENGTHS][PRESETS][STOP_SETS];
static _Thread_local told shifted[SESSIONS]; // with a shifting context, of each player
static _Thread_local looked_at *looks[FORMATS][2][BASES][LENGTHS];

static void must(hyp_status status, const hyp_engine *engine) {
    if (status) broken("the oracle itself failed: %s", hyp_engine_error(engine));
}

static hyp_session *alone(request r, const hyp_session_config *more, hyp_engine **engine,
                          hyp_model **model) {
    hyp_session *session;
    hyp_source source = hyp_source_of_memory(files[r.format], file_bytes[r.format]);
    *engine = hyp_engine_create(&(hyp_engine_config){.threads = 1});
    must(hyp_model_open(*engine, &source, 1, NULL, model), *engine);
    hyp_session_config config = {.context = TINY_CONTEXT};
    if (more) config = *more;
    config.cache = r.q8_cache ? HYP_CACHE_Q8_0 : HYP_CACHE_F16;
    must(hyp_session_create(*model, &config, &session), *engine);
    return session;
}
static void close_alone(hyp_engine *engine, hyp_model *model, hyp_session *session) {
    hyp_session_destroy(session);
    hyp_model_close(model);
    hyp_engine_destroy(engine);
}

static void tell_alone(request r, const hyp_session_config *config, told *t) {
    hyp_engine *engine;
    hyp_model *model;
    hyp_session *session = alone(r, config, &engine, &model);
    *t = (told){0};
    int32_t prompt[24];
    hyp_text stops[2];
    hyp_sampling sampling = sampling_of(r);
    uint32_t count = prompt_of(r, prompt), stop_count = stops_of(r, stops);
    must(hyp_session_begin(session, prompt, count, &sampling, stops, stop_count), engine);
    for (hyp_piece piece = {0}; t->count < ORACLE_TOKENS && !piece.finish; t->count++) {
        must(hyp_session_next(session, &piece), engine);
        if (piece.bytes > PIECE_MOST) broken("a piece of %zu bytes", piece.bytes);
        t->token[t->count] = piece.token;
        t->finish[t->count] = piece.finish;
        t->bytes[t->count] = (uint8_t)piece.bytes;
        memcpy(t->piece[t->count], piece.text, piece.bytes);
    }
    close_alone(engine, model, session);
}

static const told *answer_alone(request r) {
    told **slot = &answers[r.format][r.q8_cache][r.base][r.length][r.preset][r.stops];
    if (*slot) return *slot;
    *slot = calloc(1, sizeof **slot);
    tell_alone(r, NULL, *slot);
    return *slot;
}

static void hash_score(void *context, uint32_t position, const float *log_p) {
    ((uint64_t *)context)[position] = hyp_hash(log_p, TINY_VOCAB * sizeof *log_p);
}
static const looked_at *look_alone(request r) {
    looked_at **slot = &looks[r.format][r.q8_cache][r.base][r.length];
    if (*slot) return *slot;
    hyp_engine *engine;
    hyp_model *model;
    hyp_session *session = alone(r, NULL, &engine, &model);
    int32_t prompt[24];
    uint32_t count = prompt_of(r, prompt), dim;
    looked_at *l = *slot = calloc(1, sizeof *l);
    must(hyp_session_score(session, prompt, count, hash_score, l->score), engine);
    for (int pooling = HYP_POOL_MEAN; pooling <= HYP_POOL_LAST; pooling++) {
        const float *vector;
        must(hyp_session_embed(session, prompt, count, (hyp_pooling)pooling, &vector, &dim),
             engine);
        l->vector[pooling] = hyp_hash(vector, dim * sizeof *vector);
    }
    close_alone(engine, model, session);
    return l;
}

// ---- The host

typedef struct pending { // a read that the host serves later; on the reading fiber's stack
    hyp_event arrived;
    bool done;
    hyp_status status;
} pending;

typedef struct origin { // a source
    struct host *host;
    uint32_t format, slow, failing; // percent of the reads
    bool closed, is_file;
    // `decoy`: what another part of the program opens when the file's descriptor is free.
    hyp_source file, decoy;
} origin;

typedef struct state { // of a session
    uint8_t *data;
    size_t bytes;
} state;

typedef enum task_kind { NOTHING, ANSWER, SCORE, EMBED } task_kind;
typedef struct player { // a session and what it is asked for
    hyp_session *session;
    uint32_t model, context;
    hyp_model *draft;
    bool q8_cache, called, cancelled, fault_possible;
    task_kind kind;
    bool shift; // of its context, behind `keep` tokens
    uint32_t keep;
    bool related; // has a text in common with another player: a fork, and who was forked
    request asked;
    const told *want;
    uint32_t made, goal, turns;
    hyp_call_kind call;
    hyp_pooling pooling;
    uint64_t score[24];
} player;

typedef struct host {
    rng random;
    hyp_engine *engine;
    bool limited, failing_allocations;
    origin origins[MODELS];
    hyp_model *models[MODELS];
    uint32_t model_count, kept; // pages of the last one, when it was opened
    player players[SESSIONS];
    pending *reads[READS];
    uint32_t read_count;
    void *ballast;
    size_t ballast_bytes;
    hyp_task *opening; // a model that is opened beside everything else
    hyp_model *opened;
    bool may_fail, calm; // calm: nothing goes wrong any more
} host;

static hyp_status read_origin(void *context, uint64_t offset, void *dst, size_t count) {
    origin *o = context;
    host *h = o->host;
    if (o->closed) broken("a source is read after the model was closed");
    if (!h->calm && chance(&h->random, o->failing)) {
        say("a read fails");
        return HYP_E_IO;
    }
    if (!h->calm && hyp_task_current() && h->read_count < READS && chance(&h->random, o->slow)) {
        pending p = {0};
        h->reads[h->read_count++] = &p;
        hyp_status status = HYP_OK;
        while (!p.done && !status) status = hyp_event_wait(&p.arrived, 0);
        if (!p.done)
            for (uint32_t i = 0; i < h->read_count; i++)
                if (h->reads[i] == &p) h->reads[i--] = h->reads[--h->read_count];
        if (status || p.status) return status ? status : p.status;
    }
    memcpy(dst, files[o->format] + offset, count);
    return HYP_OK;
}

static void serve(host *h, uint32_t index) {
    pending *p = h->reads[index];
    h->reads[index] = h->reads[--h->read_count];
    p->done = true;
    p->status = !h->calm && chance(&h->random, 4) ? HYP_E_IO : HYP_OK;
    hyp_event_signal(&p->arrived);
}

static void check_budget(const host *h) {
    hyp_engine_stats s = hyp_engine_get_stats(h->engine);
    if (s.limit_bytes && (s.used_bytes > s.limit_bytes || s.peak_bytes > s.limit_bytes))
        broken("%zu bytes are used under a limit of %zu", s.used_bytes, s.limit_bytes);
}

// May a call fail like that, here and now?
static void check_refusal(const host *h, hyp_status status, bool cancelled, const char *what) {
    const char *why = hyp_engine_error(h->engine);
    bool can = (status == HYP_E_NOMEM && (h->limited || h->failing_allocations)) ||
               (status == HYP_E_IO && h->may_fail) || (status == HYP_E_CANCELLED && cancelled);
    if (!can) broken("%s: %s (%s)", what, hyp_status_name(status), why);
    if (strlen(why) < 12) broken("%s failed without a reason: '%s'", what, why);
    say("%s: %s", what, hyp_status_name(status));
}

static hyp_source source_of(host *h, uint32_t model, uint32_t format) {
    rng *r = &h->random;
    h->origins[model] = (origin){.host = h,
                                 .format = format,
                                 .slow = chance(r, 40) ? 30 : 0,
                                 .failing = chance(r, 25) ? 2 : 0};
    if (chance(r, 20) && !hyp_source_open_file(paths[format], &h->origins[model].file)) {
        h->origins[model].is_file = true;
        return h->origins[model].file;
    }
    return (hyp_source){.bytes = file_bytes[format],
                        .read = read_origin,
                        .context = &h->origins[model],
                        .sequential = chance(r, 25)};
}

// The model needs its source no longer. What is read all the same is another file.
static void close_source(origin *o) {
    if (!o->closed && o->is_file) {
        hyp_source_close(&o->file);
        if (hyp_source_open_file(paths[(o->format + 1) % FORMATS], &o->decoy))
            broken("no file can be opened");
    }
    o->closed = true;
}
static void forget_source(origin *o) {
    close_source(o);
    if (o->is_file) hyp_source_close(&o->decoy);
}

static bool report(void *context, uint64_t done, uint64_t total) {
    (void)context;
    if (done > total)
        broken("%llu of %llu bytes are loaded", (unsigned long long)done,
               (unsigned long long)total);
    return true;
}

// Of models that have all their weights.
static void close_sources(host *h) {
    for (uint32_t m = 0; m < h->model_count && !h->limited; m++)
        if (hyp_model_loading(h->models[m]).over) close_source(&h->origins[m]);
}

static void open_model(host *h, uint32_t format) {
    uint32_t m = h->model_count;
    hyp_source source = source_of(h, m, format);
    hyp_model_config config = {.progress = report, .progressive = chance(&h->random, 40)};
    if (chance(&h->random, 60)) config.prompt_cache_bytes = 20000 + below(&h->random, 300000);
    hyp_status status = hyp_model_open(h->engine, &source, 1, &config, &h->models[m]);
    say("model %u (%s%s%s), %zu bytes for texts: %s", m, formats[format],
        config.progressive ? ", progressive" : "", source.sequential ? ", in order" : "",
        config.prompt_cache_bytes, hyp_status_name(status));
    if (status) {
        check_refusal(h, status, false, "opening a model");
        forget_source(&h->origins[m]);
        return;
    }
    h->kept = hyp_model_residency(h->models[m]).resident;
    h->model_count++;
    close_sources(h);
}

static void open_beside(void *context) {
    host *h = context;
    origin *o = &h->origins[MODELS - 1];
    hyp_source source = {.bytes = file_bytes[o->format], .read = read_origin, .context = o};
    if (o->is_file) source = o->file;
    hyp_model_config config = {.progressive = o->slow > 0};
    hyp_status status = hyp_model_open(h->engine, &source, 1, &config, &h->opened);
    if (status) check_refusal(h, status, true, "opening a model beside others");
}

// ---- Players

static request draw_request(host *h, const player *p) {
    rng *r = &h->random;
    return (request){.format = (uint8_t)h->origins[p->model].format,
                     .q8_cache = p->q8_cache,
                     .base = (uint8_t)below(r, BASES),
                     .length = (uint8_t)below(r, LENGTHS),
                     .preset = (uint8_t)below(r, PRESETS),
                     .stops = (uint8_t)(chance(r, 30) ? 1 + below(r, STOP_SETS - 1) : 0)};
}

static void create(host *h, player *p) {
    rng *r = &h->random;
    *p = (player){.model = below(r, h->model_count),
                  .context = 24 + below(r, TINY_CONTEXT - 24),
                  .q8_cache = chance(r, 25)};
    if (chance(r, 15)) {
        p->shift = true;
        p->context = 24 + below(r, 16);
        p->keep = below(r, 12);
    }
    uint32_t draft = below(r, h->model_count);
    static const hyp_purpose purposes[] = {HYP_PURPOSE_INTERACTIVE, HYP_PURPOSE_INTERACTIVE,
                                           HYP_PURPOSE_BATCH, HYP_PURPOSE_BACKGROUND,
                                           HYP_PURPOSE_DEADLINE};
    hyp_session_config config = {.context = p->context,
                                 .batch = 1 + below(r, 16),
                                 .cache = p->q8_cache ? HYP_CACHE_Q8_0 : HYP_CACHE_F16,
                                 .profile = chance(r, 10),
                                 .lookup = chance(r, 30) ? 1 + below(r, 7) : 0,
                                 .draft = chance(r, 25) ? h->models[draft] : NULL,
                                 .calibrate = chance(r, 5),
                                 .context_shift = p->shift,
                                 .context_keep = p->keep,
                                 .purpose = purposes[below(r, 5)],
                                 .due_ns = below(r, 2) * 1000000};
    p->draft = config.draft;
    hyp_status status = hyp_session_create(h->models[p->model], &config, &p->session);
    say("session %d of model %u: context %u%s, batch %u, lookup %u, draft %d, purpose %d: %s",
        (int)(p - h->players), p->model, p->context, p->shift ? ", shifting" : "", config.batch,
        config.lookup, config.draft ? (int)draft : -1, config.purpose, hyp_status_name(status));
    if (status) {
        if (p->session) broken("a session that was refused is there");
        check_refusal(h, status, false, "creating a session");
    }
}

static void post(host *h, player *p, hyp_call_kind kind) {
    int32_t prompt[24];
    hyp_call call = {.kind = kind,
                     .tokens = prompt,
                     .pooling = p->pooling,
                     .visit = hash_score,
                     .context = p->score};
    if (kind == HYP_CALL_EMBED || kind == HYP_CALL_SCORE) call.count = prompt_of(p->asked, prompt);
    p->call = kind;
    hyp_status status = hyp_session_post(p->session, &call);
    if (status) broken("a call of an idle session is refused: %s", hyp_engine_error(h->engine));
    p->called = true;
    p->cancelled = false;
    p->turns = 0;
}

static void begin(host *h, player *p) {
    rng *r = &h->random;
    uint8_t base = p->asked.base;
    p->asked = draw_request(h, p);
    if (p->related && chance(r, 60)) p->asked.base = base;
    p->made = 0;
    uint32_t what = below(r, 10);
    p->kind = what < 8 ? ANSWER : what == 8 ? SCORE : EMBED;
    p->pooling = (hyp_pooling)below(r, 3);
    if (p->kind != ANSWER) {
        say("session %d %ss base %u, %u tokens", (int)(p - h->players),
            p->kind == SCORE ? "score" : "embed", p->asked.base, lengths[p->asked.length]);
        post(h, p, p->kind == SCORE ? HYP_CALL_SCORE : HYP_CALL_EMBED);
        return;
    }
    int32_t prompt[24];
    hyp_text stops[2];
    hyp_sampling sampling = sampling_of(p->asked);
    uint32_t count = prompt_of(p->asked, prompt), stop_count = stops_of(p->asked, stops);
    p->goal = 1 + below(r, p->shift ? ORACLE_TOKENS - 8 : 24);
    hyp_status status = hyp_session_begin(p->session, prompt, count, &sampling, stops, stop_count);
    say("session %d answers base %u, %u tokens, preset %u, stops %u, %u to come: %s",
        (int)(p - h->players), p->asked.base, count, p->asked.preset, p->asked.stops, p->goal,
        hyp_status_name(status));
    if (status) {
        check_refusal(h, status, false, "beginning an answer");
        p->kind = NOTHING;
        return;
    }
    if (p->shift) {
        hyp_session_config config = {
            .context = p->context, .context_shift = true, .context_keep = p->keep};
        told *own = &shifted[p - h->players];
        tell_alone(p->asked, &config, own);
        p->want = own;
    } else p->want = answer_alone(p->asked);
    post(h, p, chance(r, 50) ? HYP_CALL_PREFILL : HYP_CALL_NEXT);
}

// Another session with the same text, which answers as well.
static void fork_player(host *h, player *p) {
    player *to = h->players;
    while (to < h->players + SESSIONS && to->session) to++;
    if (to == h->players + SESSIONS) return;
    hyp_session *fork = NULL;
    hyp_status status = hyp_session_fork(p->session, &fork);
    say("session %d is forked, after %u tokens of its answer, to %d: %s", (int)(p - h->players),
        p->made, (int)(to - h->players), hyp_status_name(status));
    if (status) {
        if (fork) broken("a fork that was refused is there");
        check_refusal(h, status, false, "forking a session");
        return;
    }
    hyp_session_stats old = hyp_session_get_stats(p->session), new = hyp_session_get_stats(fork);
    if (new.used != old.used || new.context != old.context)
        broken("a fork has %u tokens of %u, not %u of %u", new.used, new.context, old.used,
               old.context);
    *to = (player){.session = fork,
                   .model = p->model,
                   .draft = p->draft,
                   .context = p->context,
                   .q8_cache = p->q8_cache,
                   .shift = p->shift,
                   .keep = p->keep,
                   .related = true,
                   .asked = p->asked};
    p->related = true;
    begin(h, to);
}

static bool keep_state(void *context, const void *data, size_t count) {
    state *s = context;
    s->data = realloc(s->data, s->bytes + count);
    memcpy(s->data + s->bytes, data, count);
    s->bytes += count;
    return true;
}

// The session of an answer that is under way is saved, and goes on in another one, of any model
// that is the same; perhaps with the last piece once more. What is refused changes nothing.
static void move_player(host *h, player *p) {
    rng *r = &h->random;
    int index = (int)(p - h->players);
    const hyp_piece last = hyp_session_result(p->session)->piece;
    hyp_status status = HYP_OK;
    if (p->made && p->call == HYP_CALL_NEXT && chance(r, 50)) {
        status = hyp_session_unread(p->session, &last, 1);
        if (status) check_refusal(h, status, false, "handing a piece back");
        else p->made--;
    }
    state saved = {0};
    status = hyp_session_save(p->session, &(hyp_writer){.write = keep_state, .context = &saved});
    if (status) {
        check_refusal(h, status, false, "saving a session");
        free(saved.data);
        return;
    }
    uint32_t to = p->model, draft = below(r, h->model_count);
    for (uint32_t m = 0; m < h->model_count; m++)
        if (h->origins[m].format == h->origins[p->model].format && chance(r, 50)) to = m;
    hyp_session_config config = {0};
    hyp_session *session = NULL;
    status = hyp_model_state_config(h->models[to], saved.data, saved.bytes, &config);
    if (status) broken("a state is refused: %s", hyp_engine_error(h->engine));
    if (config.context != p->context || config.context_shift != p->shift)
        broken("session %d was saved with a context of %u", index, config.context);
    if (!p->shift && chance(r, 50)) config.context = p->context + below(r, 20);
    config.batch = 1 + below(r, 16);
    config.lookup = chance(r, 30) ? 1 + below(r, 7) : 0;
    config.draft = chance(r, 25) ? h->models[draft] : NULL;
    status = hyp_session_create(h->models[to], &config, &session);
    if (!status) status = hyp_session_restore(session, saved.data, saved.bytes);
    say("session %d is saved after %u tokens, %zu bytes, for model %u: %s", index, p->made,
        saved.bytes, to, hyp_status_name(status));
    free(saved.data);
    if (status) {
        check_refusal(h, status, false, "restoring a session");
        hyp_session_destroy(session);
        return;
    }
    hyp_session_destroy(p->session);
    p->session = session;
    p->model = to;
    p->draft = config.draft;
    p->context = config.context;
}

// A token has come: is it the one that comes alone?
static void compare(host *h, player *p, const hyp_piece *piece) {
    const told *w = p->want;
    int index = (int)(p - h->players);
    if (piece->finish == HYP_FINISH_CONTEXT && piece->token < 0) {
        if (lengths[p->asked.length] + p->made != p->context)
            broken("session %d says its context is full at token %u", index, p->made);
    } else if (p->made >= w->count) broken("session %d makes more tokens than alone", index);
    else if (piece->token != w->token[p->made])
        broken("session %d, token %u: %d, not %d", index, p->made, piece->token, w->token[p->made]);
    else if (piece->finish != w->finish[p->made] || piece->bytes != w->bytes[p->made] ||
             memcmp(piece->text, w->piece[p->made], piece->bytes))
        broken("session %d, token %u: text '%.*s' (%d), not '%.*s' (%d)", index, p->made,
               (int)piece->bytes, piece->text, piece->finish, w->bytes[p->made], w->piece[p->made],
               w->finish[p->made]);
    p->made++;
    if (piece->finish || p->made == p->goal) p->kind = NOTHING;
}

// The loading of its weights has failed: so does every call.
static bool is_lost(const host *h, const player *p) {
    return hyp_model_loading(h->models[p->model]).status ||
           (p->draft && hyp_model_loading(p->draft).status);
}

// The player's call has ended.
static void take_result(host *h, player *p) {
    const hyp_result *result = hyp_session_result(p->session);
    p->called = false;
    if (result->status) {
        check_refusal(h, result->status, p->cancelled || is_lost(h, p), "a call");
        bool again = p->kind == ANSWER && !is_lost(h, p) &&
                     (h->calm || chance(&h->random, 70)); // the answer goes on where it was
        if (again) post(h, p, p->call);
        else p->kind = NOTHING;
        return;
    }
    if (p->call == HYP_CALL_NEXT) compare(h, p, &result->piece);
    else if (p->call == HYP_CALL_SCORE) {
        if (memcmp(p->score, look_alone(p->asked)->score,
                   lengths[p->asked.length] * sizeof *p->score))
            broken("session %d scores otherwise than alone", (int)(p - h->players));
        p->kind = NOTHING;
    } else if (p->call == HYP_CALL_EMBED) {
        if (hyp_hash(result->vector, result->dim * sizeof *result->vector) !=
            look_alone(p->asked)->vector[p->pooling])
            broken("session %d embeds otherwise than alone", (int)(p - h->players));
        p->kind = NOTHING;
    }
    hyp_call_kind call = p->call == HYP_CALL_PREFILL && result->left ? HYP_CALL_PREFILL
                                                                     : HYP_CALL_NEXT;
    if (p->kind == ANSWER && !h->calm && chance(&h->random, 2)) fork_player(h, p);
    if (p->kind == ANSWER && !h->calm && chance(&h->random, 3)) {
        move_player(h, p);
        if (call == HYP_CALL_PREFILL && chance(&h->random, 50)) call = HYP_CALL_NEXT;
    }
    if (p->kind == ANSWER) post(h, p, call);
}

static void destroy(host *h, player *p) {
    say("session %d ends%s", (int)(p - h->players), p->called ? ", in the middle of a call" : "");
    hyp_session_destroy(p->session);
    *p = (player){0};
}

static void take_results(host *h) {
    for (player *p = h->players; p < h->players + SESSIONS; p++)
        if (p->called && !hyp_session_busy(p->session)) take_result(h, p);
}

static void turn(host *h) {
    hyp_engine_run(h->engine, 1);
    close_sources(h);
    for (player *p = h->players; p < h->players + SESSIONS; p++)
        if (p->called && ++p->turns > TURNS_MOST) broken("session %d hangs", (int)(p - h->players));
    take_results(h);
}

static void drop_ballast(host *h) {
    hyp_budget_unmap(&h->engine->budget, h->ballast, h->ballast_bytes);
    h->ballast = NULL;
}

// What else a host asks, in any state.
static void look_around(host *h) {
    rng *r = &h->random;
    uint32_t m = below(r, h->model_count);
    hyp_residency res = hyp_model_residency(h->models[m]);
    if (res.resident > res.pages || res.present > res.pages || res.faults)
        broken("%u of %u pages are kept, %u are there", res.resident, res.pages, res.present);
    uint8_t heat[512];
    hyp_model_heat(h->models[m], 0, res.pages < 512 ? res.pages : 512, heat);
    hyp_model_workers(h->models[m]);
    for (player *p = h->players; p < h->players + SESSIONS; p++) {
        if (!p->session) continue;
        hyp_operation o;
        hyp_session_stats s = hyp_session_get_stats(p->session);
        if (s.used > s.context) broken("%u tokens in a context of %u", s.used, s.context);
        hyp_session_operation(p->session, 3, &o);
        if (chance(r, 5)) hyp_session_reset_profile(p->session);
        const char *text;
        size_t bytes;
        if (p->called && hyp_session_busy(p->session))
            hyp_session_flush(p->session, &text, &bytes); // refused, changes nothing
    }
    const int32_t *tokens;
    uint32_t count;
    hyp_status status = hyp_model_tokenize(h->models[m], "abc defg hij", 12, HYP_TEXT_ADD_SPECIAL,
                                           &tokens, &count);
    if (status) check_refusal(h, status, false, "tokenizing");
    else if (count < 4) broken("a text of %u tokens", count);
}

// Some player for whom a leader computes, which lasts for moments only; or else `p`.
static player *batched_player(host *h, player *p) {
    for (player *o = h->players; o < h->players + SESSIONS; o++)
        if (o->called && o->session->batching == HYP_BATCHING_BATCHED) return o;
    return p;
}

static void act(host *h) {
    rng *r = &h->random;
    player *p = &h->players[below(r, SESSIONS)];
    uint32_t what = below(r, 100);
    if (what < 45) {
        for (uint32_t n = 1 + below(r, 12); n > 0; n--) turn(h);
    } else if (what < 65) {
        if (!p->session) create(h, p);
        else if (!p->called) begin(h, p);
    } else if (what < 71) {
        if (h->read_count) serve(h, below(r, h->read_count));
    } else if (what < 73) {
        hyp_session *fork = NULL;
        if (p->session && !p->called) fork_player(h, p);
        else if (p->session && hyp_session_busy(p->session) &&
                 (hyp_session_fork(p->session, &fork) != HYP_E_STATE || fork))
            broken("a session is forked in the middle of a call");
    } else if (what < 78) {
        if (chance(r, 50)) p = batched_player(h, p);
        if (p->called) {
            say("session %d is cancelled", (int)(p - h->players));
            p->cancelled = true;
            hyp_session_cancel(p->session);
        }
    } else if (what < 81) {
        if (chance(r, 50)) p = batched_player(h, p);
        if (p->session) destroy(h, p);
    } else if (what < 84) {
        static const hyp_purpose purposes[] = {HYP_PURPOSE_INTERACTIVE, HYP_PURPOSE_BATCH,
                                               HYP_PURPOSE_BACKGROUND};
        if (p->session && !p->called) hyp_session_set_purpose(p->session, purposes[below(r, 3)], 0);
    } else if (what < 86) {
        if (hyp_engine_set_policy(h->engine, chance(r, 50) ? "intent" : "round-robin"))
            broken("a policy is refused");
    } else if (what < 90) look_around(h);
    else if (what < 95) { // another part of the program needs memory, for a while
        if (h->ballast) drop_ballast(h);
        else if (h->limited) {
            h->ballast_bytes = 4096 + below(r, 300000);
            h->ballast = hyp_budget_map(&h->engine->budget, h->ballast_bytes);
            say("%zu bytes of ballast%s", h->ballast_bytes, h->ballast ? "" : " are refused");
        }
    } else if (what < 97) {
        if (h->failing_allocations)
            h->engine->budget.fail_at = h->engine->budget.allocations + 1 + below(r, 40);
    } else if (what == 97) hyp_model_stop_workers(h->models[below(r, h->model_count)]);
    else if (what == 98 && !h->opening && !h->opened && h->model_count < MODELS) {
        source_of(h, MODELS - 1, below(r, FORMATS));
        if (hyp_sched_spawn(h->engine->sched, open_beside, h,
                            &(hyp_task_config){.stack_bytes = 128 << 10}, &h->opening)) {
            h->opening = NULL;
            forget_source(&h->origins[MODELS - 1]);
        }
        say("a model is opened beside the others%s", h->opening ? "" : ": refused");
    } else if (h->opening && chance(r, 20)) hyp_task_cancel(h->opening);
    else if (chance(r, 5)) hyp_model_cancel_loading(h->models[below(r, h->model_count)]);
    check_budget(h);
}

static bool busy(const host *h) {
    for (const player *p = h->players; p < h->players + SESSIONS; p++)
        if (p->called) return true;
    return false;
}

// From now on nothing goes wrong; whatever is under way comes to its right end.
static void come_to_rest(host *h) {
    h->calm = true;
    h->engine->budget.fail_at = 0;
    drop_ballast(h);
    for (uint32_t turns = 0; busy(h); turns++) {
        while (h->read_count) serve(h, 0);
        turn(h);
        if (turns > TURNS_MOST) broken("calls do not end");
    }
    if (h->opening) {
        while (h->read_count) serve(h, 0);
        hyp_status status = hyp_task_join(h->opening);
        if (status) broken("the opening of a model does not end: %s", hyp_status_name(status));
        hyp_model_close(h->opened);
        forget_source(&h->origins[MODELS - 1]);
        h->opened = NULL;
        h->opening = NULL;
    }
}

// Sessions whose calls failed answer rightly afterwards, and a session is not refused for want of
// what is free.
static void all_is_well(host *h) {
    for (player *p = h->players; p < h->players + SESSIONS; p++) {
        if (!p->session || p->called) continue;
        if (!is_lost(h, p)) begin(h, p);
    }
    come_to_rest(h);
}

// When the others have gone, and there is room, pages that gave way are back.
static void check_weights_come_back(host *h) {
    player *p = &h->players[0];
    request r = {.format = (uint8_t)h->origins[0].format, .length = 3};
    int32_t prompt[24];
    uint32_t count = prompt_of(r, prompt), left = 1;
    hyp_piece piece = {0};
    must(hyp_session_create(h->models[0], &(hyp_session_config){.context = 32}, &p->session),
         h->engine);
    must(hyp_session_begin(p->session, prompt, count, NULL, NULL, 0), h->engine);
    while (left) must(hyp_session_prefill(p->session, &left), h->engine);
    for (uint32_t n = 0; n < 6 && !piece.finish; n++)
        must(hyp_session_next(p->session, &piece), h->engine);
    hyp_residency now = hyp_model_residency(h->models[0]);
    size_t spare = 300000; // a little more than a pager leaves to others, and a page
    if (now.resident < h->kept && hyp_budget_left(&h->engine->budget) > spare)
        broken("%u of %u pages have their place, and %u had with nothing else running",
               now.resident, now.pages, h->kept);
    destroy(h, p);
}

// Bytes that an engine has beside stacks and blocks that it keeps for later use.
static size_t held(hyp_engine *engine) {
    hyp_engine_stats s = hyp_engine_get_stats(engine);
    return s.used_bytes - s.stack_bytes - hyp_slab_get_stats(engine->slab).held_bytes;
}

static void play(uint64_t seed) {
    host h = {.random = {seed * 1000003}};
    rng *r = &h.random;
    seed_now = seed;
    trail_bytes = 0;
    trail[0] = 0;
    static const uint32_t threads[] = {1, 1, 1, 2, 2, 3, 4, 1};
    h.limited = chance(r, 55);
    h.failing_allocations = chance(r, 25);
    h.may_fail = true;
    hyp_engine_config config = {.memory_bytes = h.limited ? 900000 + below(r, 2200000) : 0,
                                .threads = threads[below(r, 8)]};
    if (!(h.engine = hyp_engine_create(&config))) broken("no engine");
    size_t empty = held(h.engine);
    say("limit %zu, %u threads", config.memory_bytes, config.threads);
    if (chance(r, 40)) must(hyp_engine_set_policy(h.engine, "round-robin"), h.engine);
    for (uint32_t n = 1 + below(r, MODELS - 1); n > 0; n--) open_model(&h, below(r, FORMATS));
    for (uint32_t n = h.model_count ? 40 + below(r, 160) : 0; n > 0; n--) act(&h);
    come_to_rest(&h);
    if (h.model_count) all_is_well(&h);
    for (player *p = h.players; p < h.players + SESSIONS; p++)
        if (p->session) destroy(&h, p);
    if (h.model_count == 1 && hyp_model_loading(h.models[0]).over &&
        !hyp_model_loading(h.models[0]).status)
        check_weights_come_back(&h);
    for (uint32_t m = 0; m < h.model_count; m++) {
        hyp_model_close(h.models[m]);
        forget_source(&h.origins[m]);
    }
    if (h.read_count) broken("%u reads are left", h.read_count);
    hyp_engine_stats s = hyp_engine_get_stats(h.engine);
    if (s.blocks != 1 || s.fibers) broken("%zu blocks and %u fibers are left", s.blocks, s.fibers);
    if (held(h.engine) != empty) broken("%zu bytes are left", held(h.engine) - empty);
    if (!hyp_slab_check(h.engine->slab)) broken("the slab is damaged");
    hyp_engine_destroy(h.engine);
}

// ---- Seeds

static void *job(void *unused) {
    (void)unused;
    for (uint64_t seed; (seed = __atomic_fetch_add(&next_seed, 1, __ATOMIC_RELAXED)) <= last_seed;)
        play(seed);
    for (size_t i = 0; i < sizeof answers / sizeof(told *); i++) free(((told **)answers)[i]);
    for (size_t i = 0; i < sizeof looks / sizeof(looked_at *); i++) free(((looked_at **)looks)[i]);
    return NULL;
}

static bool append(void *context, const void *data, size_t count) {
    uint32_t f = *(uint32_t *)context;
    files[f] = realloc(files[f], file_bytes[f] + count);
    memcpy(files[f] + file_bytes[f], data, count);
    file_bytes[f] += count;
    return true;
}

int main(int argc, char **argv) {
    uint64_t first = 1, last = 2000;
    uint32_t jobs = 2;
    bool walking = false;
    for (int i = 1; i < argc; i++) {
        char *end;
        if (!strcmp(argv[i], "--verbose")) verbose = true;
        else if (!strcmp(argv[i], "--walk")) walking = true;
        else if (!strcmp(argv[i], "--jobs") && i + 1 < argc)
            jobs = (uint32_t)strtoul(argv[++i], NULL, 10);
        else {
            last = strtoull(argv[i], &end, 10);
            if (!strncmp(end, "..", 2)) {
                first = last;
                last = strtoull(end + 2, &end, 10);
            }
            if (*end || last < first) {
                fputs("usage: sim [N | A..B] [--jobs N] [--verbose] | --walk\n", stderr);
                return 2;
            }
        }
    }
    if (jobs < 1 || jobs > JOBS_MOST) jobs = 1;
    if (last - first < jobs) jobs = 1;
    for (uint32_t f = 0; f < FORMATS; f++) {
        size_t bytes;
        uint8_t *floats = tiny_model(5 + f, &bytes);
        hyp_engine *engine = hyp_engine_create(NULL);
        hyp_source source = hyp_source_of_memory(floats, bytes);
        must(hyp_engine_quantize(engine, &source, 1, &(hyp_quantization){.format = formats[f]},
                                 &(hyp_writer){.write = append, .context = &f}),
             engine);
        hyp_engine_destroy(engine);
        free(floats);
        snprintf(paths[f], sizeof paths[f], "/tmp/hyperion-sim-%d-%u", (int)getpid(), f);
        FILE *out = fopen(paths[f], "wb");
        if (!out || fwrite(files[f], 1, file_bytes[f], out) != file_bytes[f] || fclose(out)) {
            fputs("no temporary file\n", stderr);
            return 1;
        }
    }
    if (walking) {
        walk(files[0], file_bytes[0]);
        remove_files();
        return 0;
    }
    signal(SIGABRT, on_crash);
    signal(SIGSEGV, on_crash);
    uint64_t start = hyp_port_now_ns();
    next_seed = first;
    last_seed = last;
    pthread_t threads[JOBS_MOST];
    for (uint32_t i = 0; i < jobs; i++)
        if (pthread_create(&threads[i], NULL, job, NULL)) {
            fputs("no thread\n", stderr);
            return 1;
        }
    for (uint32_t i = 0; i < jobs; i++) pthread_join(threads[i], NULL);
    double minutes = (double)(hyp_port_now_ns() - start) / 60e9;
    printf("%llu schedules, %.0f a minute\n", (unsigned long long)(last - first + 1),
           (double)(last - first + 1) / minutes);
    remove_files();
    return 0;
}
