// port.h for the modules that glue/core/core.js hosts: bytes, time and threads come from there. The
// rest is in port_common.c.
#include "../src/fiber/sched.h"
#include "../src/port.h"

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

// ---- Threads: a worker of the host instantiates the module over the same memory and calls
// thread_main. Only such a worker ever waits: the engine's own thread may be a page's, which must
// not.
#ifdef __wasm_atomics__
enum { THREAD_STACK_BYTES = 128 << 10 };

__attribute__((import_module("hyp"), import_name("thread"))) int32_t
host_thread(void (*run)(void *), void *context, void *stack);
void hyp_stack_set(void *top); // stack.S

bool hyp_port_thread(void (*run)(void *context), void *context) {
    // Never given back: the worker may outlive the pool by a moment.
    char *stack = hyp_port_map(THREAD_STACK_BYTES);
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
#endif

void hyp_port_panic(const char *message) { host_panic(message); }
uint64_t hyp_port_now_ns(void) { return (uint64_t)(host_now() * 1e6); }
