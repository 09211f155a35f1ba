// Fiber: a flow of control on a stack of its own. Part of the platform's seam:
// native/fiber_native.c switches stacks in assembly, wasm/fiber_asyncify.c unwinds and rewinds by
// Asyncify. The scheduler sees nothing but this header.
//
// Resuming nests: a fiber may resume another, which yields back to it. A fiber is resumed by the
// thread that created it.
//
// Invariant: hyp_fiber_current() is the innermost fiber that has been resumed and has not yielded;
// NULL on the thread's own stack.
#ifndef HYP_FIBER_FIBER_H
#define HYP_FIBER_FIBER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct hyp_fiber hyp_fiber;
typedef void hyp_fiber_fn(void *argument);

typedef enum hyp_fiber_state {
    HYP_FIBER_SUSPENDED, // may be resumed
    HYP_FIBER_DONE,      // its function has returned: reset or destroy it
    HYP_FIBER_OVERFLOWED // its stack was too small, as canaries show where there is no guard page
                         // (wasm): it can only be destroyed
} hyp_fiber_state;

// A suspended fiber that will run fn(argument). `stack_bytes` is rounded up to whole pages;
// natively an inaccessible page lies below. NULL: the platform has no memory.
hyp_fiber *hyp_fiber_create(size_t stack_bytes, hyp_fiber_fn *fn, void *argument);
// A fiber that is done, made into a new one on the same stack.
void hyp_fiber_reset(hyp_fiber *fiber, hyp_fiber_fn *fn, void *argument);
void hyp_fiber_destroy(hyp_fiber *fiber); // not while it runs; what its frames own is not released
size_t hyp_fiber_bytes(const hyp_fiber *fiber); // of memory that it holds

// Runs `fiber` until it yields or ends.
hyp_fiber_state hyp_fiber_resume(hyp_fiber *fiber);
// Back to the resumer of the current fiber. May suspend. There must be one.
void hyp_fiber_yield(void);
hyp_fiber *hyp_fiber_current(void);

#endif
