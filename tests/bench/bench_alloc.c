// One allocator on two traces; the driver runs it under each allocator in turn.
// usage: bench_alloc slab|malloc
// One line of JSON: nanoseconds of a pair (16-256 B), of a random replacement among a million live
// blocks, the worst single operation, overhead.
#include "../../src/mem/slab.h"
#include "../../src/port.h"
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIVE = 1000000, SPREAD = 64 };
static int pair_count, step_count, timed_count;

static hyp_magazine *magazine;
static bool ours;
static void *blocks[LIVE];
static uint16_t sizes[LIVE];

static inline uint32_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#define RUN_WITH(ALLOC, FREE)                                                                      \
    do {                                                                                           \
        uint64_t state = 1, start = hyp_port_now_ns();                                             \
        void *ring[SPREAD] = {0};                                                                  \
        uint32_t ring_bytes[SPREAD] = {0};                                                         \
        for (int i = 0; i < pair_count; i++) { /* a few dozen live at once, as a session has */    \
            uint32_t bytes = 16 + next(&state) % 241, at = (uint32_t)i % SPREAD;                   \
            if (ring[at]) FREE(ring[at], ring_bytes[at]);                                          \
            ring[at] = ALLOC(bytes);                                                               \
            ring_bytes[at] = bytes;                                                                \
            *(volatile char *)ring[at] = 1;                                                        \
        }                                                                                          \
        pairs = (double)(hyp_port_now_ns() - start) / pair_count;                                  \
        size_t live = 0;                                                                           \
        for (int i = 0; i < LIVE; i++) {                                                           \
            sizes[i] = (uint16_t)(16 + next(&state) % 241);                                        \
            blocks[i] = ALLOC(sizes[i]);                                                           \
            *(volatile char *)blocks[i] = 1;                                                       \
        }                                                                                          \
        start = hyp_port_now_ns();                                                                 \
        for (int i = 0; i < step_count; i++) {                                                     \
            uint32_t at = next(&state) % LIVE;                                                     \
            FREE(blocks[at], sizes[at]);                                                           \
            sizes[at] = (uint16_t)(16 + next(&state) % 241);                                       \
            blocks[at] = ALLOC(sizes[at]);                                                         \
        }                                                                                          \
        trace = (double)(hyp_port_now_ns() - start) / step_count;                                  \
        for (int i = 0; i < LIVE; i++) live += sizes[i];                                           \
        overhead = (double)resident() / (double)live;                                              \
        for (int i = 0; i < timed_count; i++) {                                                    \
            uint32_t at = next(&state) % LIVE;                                                     \
            uint64_t then = hyp_port_now_ns();                                                     \
            FREE(blocks[at], sizes[at]);                                                           \
            blocks[at] = ALLOC(sizes[at]);                                                         \
            uint64_t took = hyp_port_now_ns() - then;                                              \
            if (took > worst) worst = took;                                                        \
        }                                                                                          \
    } while (0)

static size_t base_resident;
static size_t resident(void) { // private bytes since the start
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long all, mapped;
    if (!f || fscanf(f, "%lu %lu", &all, &mapped) != 2) return 0;
    fclose(f);
    return mapped * 4096 - base_resident;
}

static inline void *slab_alloc(size_t bytes) { return hyp_magazine_alloc(magazine, bytes, NULL); }
static inline void slab_free(void *block, size_t bytes) {
    hyp_magazine_free(magazine, block, bytes);
}
static inline void *libc_alloc(size_t bytes) { return malloc(bytes); }
static inline void libc_free(void *block, size_t bytes) {
    (void)bytes;
    free(block);
}

int main(int argc, char **argv) {
    ours = argc > 1 && strcmp(argv[1], "slab") == 0;
    pair_count = (int)hyp_bench_count(20000000, 100000);
    step_count = (int)hyp_bench_count(10000000, 100000);
    timed_count = (int)hyp_bench_count(2000000, 20000);
    static hyp_budget budget;
    memset(blocks, 1, sizeof blocks);
    memset(sizes, 1, sizeof sizes); // resident before the count begins
    free(malloc(100));
    if (ours) magazine = hyp_magazine_create(hyp_slab_create(&budget));
    base_resident = resident();
    double pairs, trace, overhead;
    uint64_t worst = 0;
    if (ours) RUN_WITH(slab_alloc, slab_free);
    else RUN_WITH(libc_alloc, libc_free);
    printf("{\"pair_ns\":%.3f,\"trace_ns\":%.3f,\"worst_us\":%.1f,\"memory_per_live_byte\":%.3f}\n",
           pairs, trace, (double)worst / 1000, overhead);
}
