#include "stop.h"

#include "../base/status.h"
#include "../text/unicode.h"

#include <string.h>

// What a stop text and the end of the pending text have in common.
typedef enum match { NO_MATCH, BEGUN, COMPLETE } match;

static match match_at(const hyp_stop *s, const char *text, size_t bytes);
static size_t emittable(const hyp_stop *s, bool *complete);
static void drop_emitted(hyp_stop *s);
static void emit(hyp_stop *s, size_t count, const char **text, size_t *bytes);

void hyp_stop_init(hyp_stop *s, hyp_budget *budget) { *s = (hyp_stop){.pending.budget = budget}; }

void hyp_stop_deinit(hyp_stop *s) { hyp_buffer_deinit(&s->pending); }

hyp_status hyp_stop_begin(hyp_stop *s, hyp_arena *arena, const hyp_text *texts, uint32_t count,
                          hyp_fault *fault) {
    s->count = 0;
    s->pending.bytes = 0;
    s->emitted = 0;
    if (count > HYP_STOPS_MAX)
        return hyp_fail(fault, HYP_E_ARGUMENT, "%u stop texts given; at most %d are possible",
                        count, HYP_STOPS_MAX);
    for (uint32_t i = 0; i < count; i++)
        if (texts[i].bytes == 0 || texts[i].bytes > HYP_STOP_BYTES_MAX)
            return hyp_fail(fault, HYP_E_ARGUMENT, "a stop text must have 1 to %d bytes",
                            HYP_STOP_BYTES_MAX);
    if (count == 0) return HYP_OK;
    hyp_text *copies = hyp_arena_alloc(arena, count * sizeof *copies);
    for (uint32_t i = 0; i < count && copies; i++) {
        char *copy = hyp_arena_alloc(arena, texts[i].bytes);
        if (!copy) copies = NULL;
        else {
            memcpy(copy, texts[i].data, texts[i].bytes);
            copies[i] = (hyp_text){copy, texts[i].bytes};
        }
    }
    if (!copies) return hyp_fail(fault, HYP_E_NOMEM, "not enough memory for the stop texts");
    s->texts = copies;
    s->count = count;
    return HYP_OK;
}

hyp_status hyp_stop_push(hyp_stop *s, const char *text, size_t bytes) {
    drop_emitted(s);
    return hyp_buffer_append(&s->pending, text, bytes) ? HYP_OK : HYP_E_NOMEM;
}

bool hyp_stop_next(hyp_stop *s, bool ended, const char **text, size_t *bytes) {
    drop_emitted(s);
    bool complete;
    size_t ready = emittable(s, &complete);
    if (complete) s->pending.bytes = ready;
    else if (ended) ready = s->pending.bytes;
    emit(s, ready, text, bytes);
    return complete;
}

void hyp_stop_flush(hyp_stop *s, const char **text, size_t *bytes) {
    drop_emitted(s);
    emit(s, s->pending.bytes, text, bytes);
}

// Whether any stop text begins at `text`, of which `bytes` are there.
static match match_at(const hyp_stop *s, const char *text, size_t bytes) {
    match best = NO_MATCH;
    for (uint32_t i = 0; i < s->count; i++) {
        size_t whole = s->texts[i].bytes, n = whole < bytes ? whole : bytes;
        if (memcmp(text, s->texts[i].data, n)) continue;
        if (n == whole) return COMPLETE;
        best = BEGUN;
    }
    return best;
}

// How many pending bytes can be emitted; *complete: they end where a stop text begins. What is held
// back is short (see the invariant), so that looking at it again with each push costs little.
static size_t emittable(const hyp_stop *s, bool *complete) {
    const char *text = (const char *)s->pending.data;
    size_t bytes = s->pending.bytes, ready = bytes - hyp_rune_unfinished(text, bytes);
    *complete = false;
    for (size_t at = 0; at < bytes; at++) {
        match m = match_at(s, text + at, bytes - at);
        if (m == COMPLETE) {
            *complete = true;
            return at;
        }
        if (m == BEGUN && at < ready) ready = at;
    }
    return ready;
}

static void drop_emitted(hyp_stop *s) {
    if (!s->emitted) return;
    memmove(s->pending.data, s->pending.data + s->emitted, s->pending.bytes - s->emitted);
    s->pending.bytes -= s->emitted;
    s->emitted = 0;
}

static void emit(hyp_stop *s, size_t count, const char **text, size_t *bytes) {
    *text = count ? (const char *)s->pending.data : "";
    *bytes = s->emitted = count;
}
