// fiber.h by switching stacks. Fiber records lie close together in a pool and not on their stacks:
// a record holds the stack's pointer, and where that is at hand the processor resumes many cold
// fibers at once. Stack tops are staggered, or they would all fall into the same cache sets. Both
// functions end in the switch, which also hands over what the other side's call returns: no `ret`
// on the way contradicts the processor's return stack.
#include "../src/fiber/fiber.h"

#include "../src/base/bytes.h"
#include "../src/port.h"

#include <sys/mman.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#endif
#if __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define SWITCHES                                                                                   \
    __attribute__((                                                                                \
        disable_sanitizer_instrumentation)) // its shadow of the call stack changes with the stack
#else
#define SWITCHES
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id) (void)(id)
#endif

enum { LINE = 64, STAGGERS = 16, POOL = 64 << 10, MAX_NEST = 32 };

// What hyp_switch returns is given by the side that switches back.
hyp_fiber_state hyp_switch(void **save, void *load);
__attribute__((noreturn)) void hyp_switch_last(void *load);
void hyp_fiber_entry(void);

// What hyp_switch leaves on a stack: see switch_*.S.
#ifdef __x86_64__
typedef struct frame {
    uint32_t mxcsr, x87;
    uint64_t function, argument, r14, r15, rbx, rbp, pc;
} frame;
#else
typedef struct frame {
    uint64_t function, argument, x21_to_x28[8], fp, pc, d8_to_d15[8], fpcr, reserved;
} frame;
#endif

typedef struct rest { // what no switch touches: at the top of the stack
    hyp_fiber_fn *fn;
    void *argument;
    char *mapping; // guard page, then the stack
    size_t mapping_bytes;
    unsigned valgrind_id;
#if __has_feature(address_sanitizer)
    void *fake;                 // ASan's own stack of this fiber, while suspended
    const void *resumer_bottom; // the stack that resumed it
    size_t resumer_bytes;
#endif
#if __has_feature(thread_sanitizer)
    void *tsan, *resumer_tsan;
#endif
} rest;

struct hyp_fiber {
    void *sp; // while suspended; NULL: done
    rest *rest;
};

// Who has been resumed and has not yielded, the innermost last. `active` points behind it. Entry 0
// is not used and the whole is aligned to its size, so that one test of low bits tells both the
// first use in a thread (NULL) and the end.
typedef struct resumed {
    hyp_fiber *fiber;
    void *resumer_sp;
} resumed;
static _Thread_local _Alignas(MAX_NEST * sizeof(resumed)) resumed nest[MAX_NEST];
static _Thread_local resumed *active;

hyp_fiber *hyp_fiber_current(void) { return active && active > nest + 1 ? active[-1].fiber : NULL; }
size_t hyp_fiber_bytes(const hyp_fiber *f) { return f->rest->mapping_bytes; }

// The side that leaves and the side that arrives tell the sanitizers which stack is in use.
SWITCHES static void arrive(hyp_fiber *f) { // on f's stack
#if __has_feature(address_sanitizer)
    __sanitizer_finish_switch_fiber(f->rest->fake, &f->rest->resumer_bottom,
                                    &f->rest->resumer_bytes);
#endif
    (void)f;
}

// Takes the current fiber off the nest.
SWITCHES static inline resumed *depart(bool last) {
    resumed *self = --active;
#if __has_feature(address_sanitizer)
    rest *r = self->fiber->rest;
    __sanitizer_start_switch_fiber(last ? NULL : &r->fake, r->resumer_bottom, r->resumer_bytes);
#endif
#if __has_feature(thread_sanitizer)
    __tsan_switch_to_fiber(self->fiber->rest->resumer_tsan, 0);
#endif
    (void)last;
    return self;
}

SWITCHES __attribute__((noreturn)) static void main_of_fiber(void *fiber) {
    hyp_fiber *f = fiber;
    arrive(f);
    f->rest->fn(f->rest->argument);
    f->sp = NULL;
    hyp_switch_last(depart(true)->resumer_sp);
}

void hyp_fiber_reset(hyp_fiber *f, hyp_fiber_fn *fn, void *argument) {
    f->rest->fn = fn;
    f->rest->argument = argument;
    // Half a line of room makes a switch in the fiber's own function save into a single line.
    frame *top = (frame *)(void *)((char *)f->rest - LINE / 2) - 1;
    *top = (frame){.function = (uintptr_t)main_of_fiber,
                   .argument = (uintptr_t)f,
                   .pc = (uintptr_t)hyp_fiber_entry};
#ifdef __x86_64__
    __asm__("stmxcsr %0\n\tfnstcw %1"
            : "=m"(top->mxcsr), "=m"(top->x87)); // as the creator has them
#else
    __asm__("mrs %0, fpcr" : "=r"(top->fpcr));
#endif
    f->sp = top;
#if __has_feature(address_sanitizer)
    f->rest->fake = NULL;
#endif
}

static _Thread_local hyp_fiber *unused; // records, linked by `sp`; a pool is never given back

static hyp_fiber *take_record(void) {
    if (!unused) {
        char *pool = hyp_port_map(POOL);
        size_t step = sizeof(hyp_fiber);
        for (size_t at = 0; pool && at + step <= POOL; at += step) {
            hyp_fiber *f = (hyp_fiber *)(void *)(pool + at);
            f->sp = unused;
            unused = f;
        }
    }
    hyp_fiber *f = unused;
    if (f) unused = f->sp;
    return f;
}

static void give_record(hyp_fiber *f) {
    f->sp = unused;
    unused = f;
}

hyp_fiber *hyp_fiber_create(size_t stack_bytes, hyp_fiber_fn *fn, void *argument) {
    static _Thread_local unsigned created;
    size_t page = hyp_port_caps()->page_bytes,
           top = hyp_round_up(sizeof(rest), LINE) + LINE * (created++ % STAGGERS);
    size_t bytes = hyp_round_up(stack_bytes + top, page) + page;
    hyp_fiber *f = take_record();
    if (!f) return NULL;
    char *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        give_record(f);
        return NULL;
    }
    if (mprotect(mapping, page, PROT_NONE)) {
        munmap(mapping, bytes);
        give_record(f);
        return NULL;
    }
    f->rest = (rest *)(void *)(mapping + bytes - top);
    *f->rest = (rest){.mapping = mapping, .mapping_bytes = bytes};
    f->rest->valgrind_id = VALGRIND_STACK_REGISTER(mapping + page, f->rest);
#if __has_feature(thread_sanitizer)
    f->rest->tsan = __tsan_create_fiber(0);
#endif
    hyp_fiber_reset(f, fn, argument);
    return f;
}

void hyp_fiber_destroy(hyp_fiber *f) {
    if (!f) return;
    rest *r = f->rest;
    VALGRIND_STACK_DEREGISTER(r->valgrind_id);
#if __has_feature(thread_sanitizer)
    __tsan_destroy_fiber(r->tsan);
#endif
    munmap(r->mapping, r->mapping_bytes);
    give_record(f);
}

SWITCHES hyp_fiber_state hyp_fiber_resume(hyp_fiber *f) {
    void *sp = f->sp;
    if (!sp) return HYP_FIBER_DONE;
    resumed *self = active;
    if (__builtin_expect(!((uintptr_t)self & (sizeof nest - 1)), false)) {
        if (self) hyp_port_panic("fibers resume one another too deeply");
        self = nest + 1;
    }
    self->fiber = f;
    active = self + 1;
#if __has_feature(thread_sanitizer)
    f->rest->resumer_tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->rest->tsan, 0);
#endif
#if __has_feature(address_sanitizer)
    void *fake;
    char *low = f->rest->mapping + hyp_port_caps()->page_bytes;
    __sanitizer_start_switch_fiber(&fake, low, (size_t)((char *)f->rest - low));
    hyp_fiber_state state = hyp_switch(&self->resumer_sp, sp);
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
    return state;
#else
    return hyp_switch(&self->resumer_sp, sp);
#endif
}

SWITCHES void hyp_fiber_yield(void) {
    resumed *self = depart(false);
    hyp_fiber *f = self->fiber;
    hyp_switch(&f->sp, self->resumer_sp);
    arrive(f);
}
