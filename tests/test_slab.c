// Slab and arena: no two blocks overlap, every walk is sound, every allocation may fail, misuse is
// caught, years of use change nothing.
#include "../src/mem/arena.h"
#include "../src/mem/slab.h"
#include "../src/port.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#if !defined(__wasm__)
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

enum { MOST = 600 };
typedef struct held {
    uint8_t *block;
    size_t bytes;
    uint8_t mark;
} held;

static size_t random_size(void) {
    switch (random_u32() % 8) {
    case 0: return random_u32() % 17;
    case 1: return 1024 + random_u32() % 4096;
    case 2: return random_u32() % (300 << 10);
    case 3: return 64 * (random_u32() % 40);
    default: return random_u32() % 1100;
    }
}
static void fill(held *h) {
    h->mark = (uint8_t)random_u32();
    memset(h->block, h->mark, h->bytes);
}
// Blocks that overlap overwrite each other's marks.
static void check_fill(const held *h) {
    if (!h->block) return;
    for (size_t i = 0; i < h->bytes; i++) CHECK(h->block[i] == h->mark);
}

static void no_overlap(void) {
    hyp_budget budget = {0};
    hyp_slab *slab = hyp_slab_create(&budget);
    hyp_magazine *magazine = hyp_magazine_create(slab);
    static held all[MOST];
    size_t asked = 0;
    int steps = getenv("HYP_SLOW") ? 4000 : 20000;
    for (int step = 0; step < steps; step++) {
        held *h = &all[random_u32() % MOST];
        bool local = step % 2 && h->bytes <= HYP_SLAB_SMALL;
        if (h->block) {
            check_fill(h);
            asked -= h->bytes;
            if (local) hyp_magazine_free(magazine, h->block, h->bytes);
            else hyp_slab_free(slab, h->block, h->bytes);
            h->block = NULL;
        } else {
            h->bytes = random_size();
            h->block = step % 2 && h->bytes <= HYP_SLAB_SMALL
                           ? hyp_magazine_alloc(magazine, h->bytes, "test")
                           : hyp_slab_alloc(slab, h->bytes, "test");
            CHECK(h->block);
            CHECK((uintptr_t)h->block % 16 == 0);
            if (h->bytes > HYP_SLAB_SMALL || (h->bytes && h->bytes % 64 == 0))
                CHECK((uintptr_t)h->block % 64 == 0);
            fill(h);
            asked += h->bytes;
        }
        if (step % 64 == 0) {
            CHECK(hyp_slab_check(slab)); // the whole heap
            hyp_slab_stats s = hyp_slab_get_stats(slab);
            CHECK(s.live_bytes >= asked && s.held_bytes >= s.live_bytes &&
                  s.peak_bytes >= s.held_bytes && budget.used_bytes >= s.held_bytes);
            CHECK(s.largest_free_bytes <= s.free_bytes);
        }
    }
    for (int i = 0; i < MOST; i++) {
        check_fill(&all[i]);
        hyp_slab_free(slab, all[i].block, all[i].bytes);
    }
    CHECK(hyp_slab_check(slab));
    CHECK(hyp_slab_get_stats(slab).live_blocks == 0);
    hyp_magazine_destroy(magazine);
    CHECK(hyp_slab_destroy(slab) == 0 && budget.used_bytes == 0);
}

// The heap is walked after every single operation.
static void every_operation_walked(void) {
    hyp_budget budget = {0};
    hyp_slab *slab = hyp_slab_create(&budget);
    held all[40] = {0};
    for (int step = 0; step < 3000; step++) {
        held *h = &all[random_u32() % 40];
        if (h->block) {
            hyp_slab_free(slab, h->block, h->bytes);
            h->block = NULL;
        } else CHECK((h->block = hyp_slab_alloc(slab, h->bytes = random_size(), NULL)));
        CHECK(hyp_slab_check(slab));
    }
    for (int i = 0; i < 40; i++) hyp_slab_free(slab, all[i].block, all[i].bytes);
    hyp_slab_stats s = hyp_slab_get_stats(slab);
    // All joined again: nothing is left in pieces.
    CHECK(s.free_bytes == 0 || s.largest_free_bytes * 10 >= s.free_bytes * 9);
    CHECK(hyp_slab_destroy(slab) == 0);
}

static void allocation_n_fails(void) {
    for (size_t limit = 4096; limit < 3 << 20; limit += limit < 256 << 10 ? 4096 : 256 << 10) {
        hyp_budget budget = {.limit_bytes = limit};
        hyp_slab *slab = hyp_slab_create(&budget);
        if (!slab) continue;
        held all[200] = {0};
        int failed = 0;
        for (int i = 0; i < 200; i++) {
            all[i].bytes = random_size();
            all[i].block = hyp_slab_alloc(slab, all[i].bytes, "n");
            if (all[i].block) fill(&all[i]);
            else failed++;
            CHECK(budget.used_bytes <= limit);
        }
        CHECK(hyp_slab_check(slab));
        for (int i = 0; i < 200; i++)
            if (all[i].block) {
                check_fill(&all[i]);
                hyp_slab_free(slab, all[i].block, all[i].bytes);
            }
        CHECK(failed || limit > 1 << 20);
        CHECK(hyp_slab_destroy(slab) == 0 && budget.used_bytes == 0);
    }
    hyp_budget budget = {0};
    hyp_slab *slab = hyp_slab_create(&budget);
    CHECK(hyp_slab_alloc(slab, SIZE_MAX, NULL) == NULL &&
          hyp_slab_alloc(slab, SIZE_MAX / 3, NULL) == NULL);
    hyp_slab_free(slab, NULL, 8);
    CHECK(hyp_slab_destroy(slab) == 0);
}

static size_t leak_bytes;
static int leak_tags;
static void on_leak(void *context, const char *tag, size_t bytes) {
    (void)context;
    leak_bytes += bytes;
    leak_tags += strcmp(tag, "lost") == 0;
}
static void leaks_are_told(void) {
    hyp_budget budget = {0};
    hyp_slab *slab = hyp_slab_create(&budget);
    void *kept = hyp_slab_alloc(slab, 40, "kept");
    CHECK(hyp_slab_alloc(slab, 100, "lost") && hyp_slab_alloc(slab, 5000, "lost"));
    hyp_slab_free(slab, kept, 40);
    CHECK(hyp_slab_leaks(slab, on_leak, NULL) == 2);
#ifdef HYP_CHECKED
    CHECK(leak_bytes == 5100 && leak_tags == 2);
#endif
    CHECK(hyp_slab_destroy(slab) == 2);
    CHECK(budget.used_bytes == 0);
}

#if !defined(__wasm__)
// Runs `act` in a child; says whether it ended by a panic.
static bool panics(void (*act)(hyp_slab *)) {
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        hyp_budget budget = {0};
        act(hyp_slab_create(&budget));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}
static void twice_large(hyp_slab *s) {
    void *a = hyp_slab_alloc(s, 3000, NULL), *b = hyp_slab_alloc(s, 3000, NULL);
    hyp_slab_free(s, a, 3000);
    hyp_slab_free(s, a, 3000);
    (void)b;
}
#ifdef HYP_CHECKED
static void twice(hyp_slab *s) {
    void *a = hyp_slab_alloc(s, 48, NULL);
    hyp_slab_free(s, a, 48);
    hyp_slab_free(s, a, 48);
}
static void overrun(hyp_slab *s) {
    volatile uint8_t *a = hyp_slab_alloc(s, 50, NULL);
    a[50] = 1;
    hyp_slab_free(s, (void *)(uintptr_t)a, 50);
}
static void other_size(hyp_slab *s) { hyp_slab_free(s, hyp_slab_alloc(s, 50, NULL), 60); }
static void proper(hyp_slab *s) { hyp_slab_free(s, hyp_slab_alloc(s, 50, NULL), 50); }
#endif
static void misuse_is_caught(void) {
    CHECK(panics(twice_large));
#ifdef HYP_CHECKED
    CHECK(panics(twice) && panics(overrun) && panics(other_size) && !panics(proper));
#endif
}

typedef struct sharing {
    hyp_slab *slab;
    hyp_magazine *magazine;
    uint8_t mark;
} sharing;
static void *hammer(void *argument) {
    const sharing *s = argument;
    uint8_t *blocks[400] = {0};
    uint32_t x = s->mark;
    for (int i = 0; i < 200000; i++) {
        uint32_t at = (x = x * 1664525 + 1013904223) >> 8, bytes = 16 + (at >> 9) % 600;
        uint8_t **b = &blocks[at % 400];
        if (*b) {
            uint32_t n = (uint32_t)(*b)[1] << 8 | (*b)[2];
            CHECK((*b)[0] == s->mark && (*b)[n - 1] == s->mark);
            hyp_magazine_free(s->magazine, *b, n);
            *b = NULL;
        } else {
            *b = hyp_magazine_alloc(s->magazine, bytes, "thread");
            CHECK(*b);
            (*b)[0] = (*b)[bytes - 1] = s->mark;
            (*b)[1] = (uint8_t)(bytes >> 8);
            (*b)[2] = (uint8_t)bytes;
        }
    }
    for (int i = 0; i < 400; i++)
        if (blocks[i])
            hyp_magazine_free(s->magazine, blocks[i], (size_t)blocks[i][1] << 8 | blocks[i][2]);
    return NULL;
}
static void threads_share_a_slab(void) {
    hyp_budget budget = {0};
    hyp_slab *slab = hyp_slab_create(&budget);
    sharing a = {slab, hyp_magazine_create(slab), 0xAA},
            b = {slab, hyp_magazine_create(slab), 0x55};
    pthread_t other;
    CHECK(pthread_create(&other, NULL, hammer, &a) == 0);
    hammer(&b);
    CHECK(pthread_join(other, NULL) == 0);
    CHECK(hyp_slab_check(slab));
    CHECK(hyp_slab_destroy(slab) == 0 && budget.used_bytes == 0);
}
#endif

// Many operations with shifting sizes: what is held must not creep.
static void ageing(void) {
    long total = 100000000;
#if defined(HYP_CHECKED) || defined(__wasm__)
    total = 2000000;
#endif
    if (getenv("HYP_SLOW")) total = 300000;
    hyp_budget budget = {0};
    hyp_slab *slab = hyp_slab_create(&budget);
    hyp_magazine *magazine = hyp_magazine_create(slab);
    enum { LIVE = 4096 };
    static void *blocks[LIVE];
    static uint32_t sizes[LIVE];
    size_t settled = 0;
    for (long i = 0; i < total; i++) {
        uint32_t x = random_u32(), at = x % LIVE;
        if (blocks[at]) hyp_magazine_free(magazine, blocks[at], sizes[at]);
        uint32_t most = x >> 28 == 0
                            ? 60000
                            : 16 + (uint32_t)(i * 16 / total) * 60; // the mix drifts over the run
        blocks[at] = hyp_magazine_alloc(magazine, sizes[at] = (x >> 12) % most, "age");
        if (i == total / 4) settled = hyp_slab_get_stats(slab).held_bytes;
    }
    hyp_slab_stats s = hyp_slab_get_stats(slab);
    CHECK(hyp_slab_check(slab));
    CHECK_MSG(s.held_bytes < 2 * settled && s.held_bytes < 2 * s.live_bytes,
              "held %zu of which live %zu; after a quarter %zu", s.held_bytes, s.live_bytes,
              settled);
    for (int i = 0; i < LIVE; i++)
        if (blocks[i]) hyp_magazine_free(magazine, blocks[i], sizes[i]);
    CHECK(hyp_slab_destroy(slab) == 0 && budget.used_bytes == 0);
}

static void arena_marks(void) {
    hyp_budget budget = {0};
    hyp_arena arena;
    hyp_arena_init(&arena, &budget);
    hyp_arena_mark start = hyp_arena_now(&arena);
    uint8_t *keep = hyp_arena_alloc(&arena, 1000);
    memset(keep, 7, 1000);
    size_t used = 0;
    for (int round = 0; round < 20; round++) {
        hyp_arena_mark mark = hyp_arena_now(&arena);
        for (int i = 0; i < 200; i++) {
            size_t bytes = random_u32() % 9000;
            uint8_t *block = hyp_arena_alloc(&arena, bytes);
            CHECK(block && (uintptr_t)block % 64 == 0);
            for (size_t k = 0; k < bytes; k++) CHECK(block[k] == 0); // zeroed, used before or not
            memset(block, 0xFF, bytes);
        }
        CHECK(hyp_arena_alloc(&arena, 900000));
        hyp_arena_return(&arena, mark);
        if (round == 0) used = budget.used_bytes;
        CHECK(budget.used_bytes == used);
    }
    for (int i = 0; i < 1000; i++) CHECK(keep[i] == 7);
    hyp_arena_return(&arena, start);
    size_t pages = budget.used_bytes;
    CHECK(pages > 0 && hyp_arena_alloc(&arena, 3000) &&
          budget.used_bytes == pages); // the first chunk stayed
    hyp_arena_deinit(&arena);
    CHECK(budget.used_bytes == 0);
}

int main(void) {
    RUN(no_overlap);
    RUN(every_operation_walked);
    RUN(allocation_n_fails);
    RUN(leaks_are_told);
#if !defined(__wasm__)
    RUN(misuse_is_caught);
    RUN(threads_share_a_slab);
#endif
    RUN(ageing);
    RUN(arena_marks);
    return finish();
}
