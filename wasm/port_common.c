// What port.h is in every WebAssembly module, whoever hosts it: memory, and what there is none of.
//
// Linear memory grows and never shrinks, so what is unmapped is kept in a list of free runs, sorted
// by address and joined, and given out again first-fit.
#include "../src/base/bytes.h"
#include "../src/port.h"

#ifdef __EMSCRIPTEN__
#include <unistd.h>
#endif

enum { PAGE = 4096, GROWTH = 65536 };

typedef struct run { // at the start of each free run
    struct run *next;
    size_t bytes;
} run;

static run *free_runs;

const hyp_caps *hyp_port_caps(void) {
    static const hyp_caps caps = {.page_bytes = PAGE,
                                  .threads_max = 1,
#ifdef __wasm_relaxed_simd__
                                  .isa = HYP_ISA_SIMD128 | HYP_ISA_RELAXED
#else
                                  .isa = HYP_ISA_SIMD128
#endif
    };
    return &caps;
}

// Where new memory would begin, and such memory: `bytes`, a multiple of GROWTH, zeroed; NULL: none.
#ifdef __EMSCRIPTEN__
static char *memory_end(void) { return sbrk(0); }
static char *grow(size_t bytes) {
    size_t gap = -(uintptr_t)sbrk(0) % PAGE; // malloc grows by sbrk, too, and not by pages
    if (bytes > PTRDIFF_MAX - PAGE) return NULL;
    char *memory = sbrk((intptr_t)(gap + bytes));
    return memory == (void *)-1 ? NULL : memset(memory + gap, 0, bytes);
}
#else
static char *memory_end(void) { return (char *)(__builtin_wasm_memory_size(0) * GROWTH); }
static char *grow(size_t bytes) {
    size_t old = __builtin_wasm_memory_grow(0, bytes / GROWTH);
    return old == SIZE_MAX ? NULL : (char *)(old * GROWTH);
}
#endif

void *hyp_port_map(size_t bytes) {
    bytes = hyp_round_up(bytes, PAGE);
    for (run **link = &free_runs; *link; link = &(*link)->next) {
        run *r = *link;
        if (r->bytes < bytes) continue;
        if (r->bytes == bytes) *link = r->next;
        else { // its front; the rest stays in place
            run *rest = (run *)(void *)((char *)r + bytes);
            *rest = (run){r->next, r->bytes - bytes};
            *link = rest;
        }
        return memset(r, 0, bytes);
    }
    // What is free at the memory's end is a part of it, so that no gaps are left between one growth
    // and the next.
    run **last = &free_runs;
    while (*last && (*last)->next) last = &(*last)->next;
    size_t there = *last && (char *)*last + (*last)->bytes == memory_end() ? (*last)->bytes : 0;
    size_t more = hyp_round_up(bytes - there, GROWTH);
    char *memory = grow(more);
    if (!memory) return NULL;
    memory -= there;
    if (there) {
        *last = NULL; // sorted by address: nothing comes behind it
        memset(memory, 0, there);
    }
    hyp_port_unmap(memory + bytes, there + more - bytes);
    return memory;
}

void hyp_port_unmap(void *memory, size_t bytes) {
    bytes = hyp_round_up(bytes, PAGE);
    if (!bytes) return; // a run of nothing would stand where another begins
    run **link = &free_runs, *before = NULL, *fresh = memory;
    while (*link && *link < fresh) {
        before = *link;
        link = &(*link)->next;
    }
    *fresh = (run){*link, bytes};
    *link = fresh;
    if (fresh->next && (char *)fresh + fresh->bytes == (char *)fresh->next)
        *fresh = (run){fresh->next->next, fresh->bytes + fresh->next->bytes};
    if (before && (char *)before + before->bytes == (char *)fresh)
        *before = (run){fresh->next, before->bytes + fresh->bytes};
}

bool hyp_port_nap(uint64_t ns) {
    (void)ns;
    return false; // the host's event loop sleeps
}

bool hyp_port_crc32c(uint32_t *crc, const void *data, size_t bytes) {
    (void)crc;
    (void)data;
    (void)bytes;
    return false;
}

#ifndef __wasm_atomics__
bool hyp_port_thread(void (*run)(void *context), void *context) {
    (void)run;
    (void)context;
    return false;
}
bool hyp_port_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    (void)word;
    (void)expected;
    (void)timeout_ns;
    return false;
}
void hyp_port_wake(const uint32_t *word) { (void)word; }
void hyp_port_pause(void) {}
#endif

// No traps: can_trap is false and nobody asks.
hyp_view *hyp_port_view_create(uint64_t bytes, bool (*fault)(void *, uint64_t), void *context) {
    (void)bytes;
    (void)fault;
    (void)context;
    return NULL;
}
void hyp_port_view_destroy(hyp_view *view) { (void)view; }
void *hyp_port_view_at(const hyp_view *view, uint64_t offset) {
    (void)view;
    (void)offset;
    return NULL;
}
bool hyp_port_view_commit(hyp_view *view, uint64_t offset, size_t bytes, bool now) {
    (void)view;
    (void)offset;
    (void)bytes;
    (void)now;
    return false;
}
bool hyp_port_view_move(hyp_view *view, uint64_t from, uint64_t to, size_t bytes) {
    (void)view;
    (void)from;
    (void)to;
    (void)bytes;
    return false;
}
void hyp_port_view_hide(hyp_view *view, uint64_t offset, size_t bytes) {
    (void)view;
    (void)offset;
    (void)bytes;
}
