// port.h for WebAssembly. Memory: linear memory grows and never shrinks, so what is unmapped is
// kept in a list of free runs, sorted by address and joined, and given out again first-fit.
#include "../src/port.h"

#include "../src/base/bytes.h"
#include "../src/fiber/sched.h"

enum { PAGE = 4096, WASM_PAGE = 65536 };

typedef struct run { // at the start of each free run
    struct run *next;
    size_t bytes;
} run;

static run *free_runs;

typedef struct ticket { // of a read that the host serves later; lives on the reading fiber's stack
    hyp_event arrived;
    bool done;
    hyp_status status;
} ticket;

enum { PENDING = 1 };
// 0: `dst` is filled; below: failed; PENDING: read_done will be called with the ticket, unless it
// is forgotten before.
__attribute__((import_module("hyp"), import_name("read"))) int32_t
host_read(uint32_t handle, double offset, void *dst, size_t bytes, ticket *t);
__attribute__((import_module("hyp"), import_name("forget"))) void host_forget(const ticket *t);
__attribute__((import_module("hyp"), import_name("now"))) double host_now(void);
__attribute__((import_module("hyp"), import_name("panic"), noreturn)) void
host_panic(const char *message);

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
    char *end = (char *)(__builtin_wasm_memory_size(0) * WASM_PAGE);
    size_t there = *last && (char *)*last + (*last)->bytes == end ? (*last)->bytes : 0;
    size_t pages = (bytes - there + WASM_PAGE - 1) / WASM_PAGE;
    size_t old = __builtin_wasm_memory_grow(0, pages);
    if (old == SIZE_MAX) return NULL;
    char *memory = (char *)(old * WASM_PAGE) - there;
    if (there) {
        *last = NULL; // sorted by address: nothing comes behind it
        memset(memory, 0, there);
    }
    hyp_port_unmap(memory + bytes, there + pages * WASM_PAGE - bytes);
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

__attribute__((export_name("read_done"))) void read_done(ticket *t, int32_t status) {
    t->done = true;
    t->status = (hyp_status)status;
    hyp_event_signal(&t->arrived);
}

// Suspends the calling fiber only.
hyp_status hyp_port_read(uint32_t handle, uint64_t offset, void *dst, size_t bytes) {
    ticket t = {.done = false};
    int32_t status = host_read(handle, (double)offset, dst, bytes, &t);
    if (status != PENDING) return (hyp_status)status;
    while (!t.done) {
        hyp_status waited = hyp_event_wait(&t.arrived, 0);
        if (waited) {
            host_forget(&t); // the host must not write to `dst` any more
            return waited;
        }
    }
    return t.status;
}
bool hyp_port_nap(uint64_t ns) {
    (void)ns;
    return false; // the host's event loop sleeps
}

// ---- Threads: a worker of the host instantiates the module over the same memory and calls
// thread_main. Only such a worker ever waits: the engine's own thread may be a page's, which must
// not.
#ifdef __wasm_atomics__
enum { THREAD_STACK_BYTES = 128 << 10 };

__attribute__((import_module("hyp"), import_name("thread"))) int32_t
host_thread(void (*run)(void *), void *context, void *stack);
void hyp_stack_set(void *top); // stack.S

bool hyp_port_thread(void (*run)(void *context), void *context) {
    char *stack = hyp_port_map(
        THREAD_STACK_BYTES); // never given back: the worker may outlive the pool by a moment
    return stack && host_thread(run, context, stack + THREAD_STACK_BYTES);
}
__attribute__((noinline)) static void run_thread(void (*run)(void *), void *context) {
    run(context);
}
__attribute__((export_name("thread_main"))) void thread_main(void (*run)(void *), void *context,
                                                             void *stack) {
    hyp_stack_set(stack);
    run_thread(run, context);
}
bool hyp_port_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    __builtin_wasm_memory_atomic_wait32((int *)(uintptr_t)word, (int)expected,
                                        timeout_ns > INT64_MAX ? -1 : (int64_t)timeout_ns);
    return true;
}
void hyp_port_wake(const uint32_t *word) {
    __builtin_wasm_memory_atomic_notify((int *)(uintptr_t)word, UINT32_MAX);
}
void hyp_port_pause(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#else
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
bool hyp_port_crc32c(uint32_t *crc, const void *data, size_t bytes) {
    (void)crc;
    (void)data;
    (void)bytes;
    return false;
}
void hyp_port_panic(const char *message) { host_panic(message); }
uint64_t hyp_port_now_ns(void) { return (uint64_t)(host_now() * 1e6); }

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
