// Stop texts: random texts, cut at random places, against a slow reference that looks for the stop
// texts in the whole text so far.
#include "../src/base/status.h"
#include "../src/decode/stop.h"
#include "harness.h"

#include <string.h>

enum { TEXT_BYTES = 400, ROUNDS = 4000 };

// Few characters, so that stop texts overlap themselves and one another; some of several bytes.
static const char *const alphabet[] = {
    "a", "b", "ab", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x99\x82"};

// Up to `characters` random characters, at most `most` bytes; returns the bytes.
static size_t random_text(char *out, uint32_t characters, size_t most) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < characters; i++) {
        const char *c = alphabet[random_u32() % (sizeof alphabet / sizeof *alphabet)];
        if (bytes + strlen(c) > most) break;
        memcpy(out + bytes, c, strlen(c));
        bytes += strlen(c);
    }
    return bytes;
}

// Where the first stop text begins that is whole within `text`; `bytes`: there is none.
static size_t first_stop(const hyp_text *stops, uint32_t count, const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes; at++)
        for (uint32_t i = 0; i < count; i++)
            if (stops[i].bytes <= bytes - at && !memcmp(text + at, stops[i].data, stops[i].bytes))
                return at;
    return bytes;
}
// Where the text begins that has to be held back: a proper start of a stop text, or of a character.
static size_t holdback(const hyp_text *stops, uint32_t count, const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes; at++) {
        uint8_t lead = (uint8_t)text[at];
        size_t left = bytes - at, needs = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        if (left < needs) return at;
        for (uint32_t i = 0; i < count; i++)
            if (left < stops[i].bytes && !memcmp(text + at, stops[i].data, left)) return at;
    }
    return bytes;
}

static void random_texts(void) {
    hyp_budget budget = {0};
    hyp_arena arena;
    hyp_arena_init(&arena, &budget);
    hyp_arena_mark start = hyp_arena_now(&arena);
    hyp_stop stop;
    hyp_stop_init(&stop, &budget);
    uint32_t reached = 0, held = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        char text[TEXT_BYTES], copies[HYP_STOPS_MAX][32], out[TEXT_BYTES];
        hyp_text stops[HYP_STOPS_MAX];
        uint32_t count = random_u32() % 5;
        if (round % 16 == 0) count = HYP_STOPS_MAX;
        for (uint32_t i = 0; i < count; i++) {
            size_t bytes = random_text(copies[i], 2 + random_u32() % 4, sizeof copies[i]);
            stops[i] = (hyp_text){copies[i], bytes};
        }
        hyp_arena_return(&arena, start);
        CHECK(hyp_stop_begin(&stop, &arena, stops, count, NULL) == HYP_OK);
        size_t bytes = random_text(text, 1 + random_u32() % 60, sizeof text), at = 0, emitted = 0;
        uint32_t most = 2 + random_u32() % 12;
        for (bool ended = false, done = false; !done;) {
            size_t n = random_u32() % most; // 0: a token without text
            if (n > bytes - at) n = bytes - at;
            CHECK(hyp_stop_push(&stop, text + at, n) == HYP_OK);
            at += n;
            ended = at == bytes && random_u32() % 2;
            const char *piece;
            size_t piece_bytes;
            bool stopped = hyp_stop_next(&stop, ended, &piece, &piece_bytes);
            memcpy(out + emitted, piece, piece_bytes);
            emitted += piece_bytes;
            size_t first = first_stop(stops, count, text, at);
            CHECK(stopped == (first < at));
            if (stopped) CHECK(emitted == first);
            else if (ended) CHECK(emitted == at);
            else CHECK(emitted == holdback(stops, count, text, at));
            CHECK(!memcmp(out, text, emitted));
            reached += stopped;
            held += !stopped && emitted < at;
            done = stopped || ended;
            if (!done && at == bytes && random_u32() % 2) { // the caller ends it early
                hyp_stop_flush(&stop, &piece, &piece_bytes);
                CHECK(emitted + piece_bytes == at && !memcmp(piece, text + emitted, piece_bytes));
                done = true;
            } else if (stopped) { // what stands behind the stop text is gone
                hyp_stop_flush(&stop, &piece, &piece_bytes);
                CHECK(piece_bytes == 0 && *piece == 0);
            }
        }
    }
    CHECK(reached > ROUNDS / 10 && held > ROUNDS / 10); // both happen
    hyp_stop_deinit(&stop);
    hyp_arena_deinit(&arena);
    CHECK(budget.used_bytes == 0);
}

// One push with two stop texts in it ends at the first; pushed byte by byte, at the one that is
// complete first.
static void overlapping(void) {
    hyp_budget budget = {0};
    hyp_arena arena;
    hyp_arena_init(&arena, &budget);
    hyp_stop stop;
    hyp_stop_init(&stop, &budget);
    const hyp_text stops[] = {{"bcdX", 4}, {"d", 1}};
    const char *piece;
    size_t bytes;
    CHECK(!hyp_stop_begin(&stop, &arena, stops, 2, NULL) && !hyp_stop_push(&stop, "abcdX", 5));
    CHECK(hyp_stop_next(&stop, false, &piece, &bytes) && bytes == 1);
    CHECK(!hyp_stop_begin(&stop, &arena, stops, 2, NULL) && !hyp_stop_push(&stop, "abc", 3));
    CHECK(!hyp_stop_next(&stop, false, &piece, &bytes) && bytes == 1);
    CHECK(!hyp_stop_push(&stop, "d", 1) && hyp_stop_next(&stop, false, &piece, &bytes));
    CHECK(bytes == 2 && memcmp(piece, "bc", 2) == 0);
    // bytes that are no character are emitted as they are
    CHECK(!hyp_stop_begin(&stop, &arena, NULL, 0, NULL) && !hyp_stop_push(&stop, "\xFF\x80z", 3));
    CHECK(!hyp_stop_next(&stop, false, &piece, &bytes) && bytes == 3);
    hyp_stop_deinit(&stop);
    hyp_arena_deinit(&arena);
}

static void limits(void) {
    char text[HYP_STOP_BYTES_MAX + 1];
    memset(text, 'x', sizeof text);
    hyp_text stops[HYP_STOPS_MAX + 1];
    for (uint32_t i = 0; i <= HYP_STOPS_MAX; i++) stops[i] = (hyp_text){text, HYP_STOP_BYTES_MAX};
    hyp_budget budget = {0};
    hyp_arena arena;
    hyp_arena_init(&arena, &budget);
    hyp_stop stop;
    hyp_stop_init(&stop, &budget);
    hyp_fault fault = {0};
    const char *piece;
    size_t bytes;
    CHECK(hyp_stop_begin(&stop, &arena, stops, HYP_STOPS_MAX + 1, &fault) == HYP_E_ARGUMENT);
    CHECK(strcmp(fault.text, "17 stop texts given; at most 16 are possible") == 0);
    CHECK(hyp_stop_begin(&stop, &arena, stops, HYP_STOPS_MAX, &fault) == HYP_OK);
    stops[3].bytes = HYP_STOP_BYTES_MAX + 1;
    CHECK(hyp_stop_begin(&stop, &arena, stops, HYP_STOPS_MAX, &fault) == HYP_E_ARGUMENT);
    CHECK(strcmp(fault.text, "a stop text must have 1 to 256 bytes") == 0);
    stops[3].bytes = 0;
    CHECK(hyp_stop_begin(&stop, &arena, stops, HYP_STOPS_MAX, &fault) == HYP_E_ARGUMENT);
    CHECK(!hyp_stop_push(&stop, "xx", 2) && !hyp_stop_next(&stop, false, &piece, &bytes));
    CHECK(bytes == 2); // there are no stop texts after an error
    hyp_stop_deinit(&stop);
    hyp_arena_deinit(&arena);
}

static void no_memory(void) {
    hyp_budget budget = {0};
    hyp_arena arena;
    hyp_arena_init(&arena, &budget);
    hyp_stop stop;
    hyp_stop_init(&stop, &budget);
    hyp_fault fault = {0};
    const hyp_text stops[] = {{"xyz", 3}};
    budget.limit_bytes = 1;
    CHECK(hyp_stop_begin(&stop, &arena, stops, 1, &fault) == HYP_E_NOMEM);
    CHECK(strcmp(fault.text, "not enough memory for the stop texts") == 0);
    budget.limit_bytes = 0;
    CHECK(hyp_stop_begin(&stop, &arena, stops, 1, &fault) == HYP_OK);
    const char *piece;
    size_t bytes;
    CHECK(!hyp_stop_push(&stop, "1xy", 3) && !hyp_stop_next(&stop, false, &piece, &bytes));
    CHECK(bytes == 1 && *piece == '1');
    // a push that finds no memory loses nothing, and may be tried again
    static char much[1 << 20];
    memset(much, 'm', sizeof much);
    budget.limit_bytes = 1;
    CHECK(hyp_stop_push(&stop, much, sizeof much) == HYP_E_NOMEM);
    CHECK(!hyp_stop_next(&stop, false, &piece, &bytes) && bytes == 0);
    budget.limit_bytes = 0;
    CHECK(!hyp_stop_push(&stop, much, sizeof much));
    CHECK(!hyp_stop_next(&stop, false, &piece, &bytes) && bytes == 2 + sizeof much);
    CHECK(memcmp(piece, "xym", 3) == 0);
    hyp_stop_deinit(&stop);
    hyp_arena_deinit(&arena);
    CHECK(budget.used_bytes == 0);
}

int main(void) {
    RUN(random_texts);
    RUN(overlapping);
    RUN(limits);
    RUN(no_memory);
    return finish();
}
