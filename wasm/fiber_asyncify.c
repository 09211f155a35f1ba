// fiber.h by Asyncify: a yield unwinds the frames of the fiber into its record, a resume rewinds
// them. All calls of Asyncify are here, and Binaryen finds by the call graph which functions can be
// on the way: no list is typed. In our own modules the calls become plain code and no JavaScript
// runs. In an application that Emscripten links they go through JavaScript: its passes take the
// other way apart where they optimise late, or check what Asyncify does.
//
// A fiber's memory:  hyp_fiber | record, growing up | canary | C stack, growing down
// Each overflow first meets memory of the same fiber that is not in use then, and is seen at the
// next switch.
#include "../src/fiber/fiber.h"

#include "../src/base/bytes.h"
#include "../src/port.h"

char *hyp_stack_get(void);
void hyp_stack_set(char *pointer);

static const uint64_t CANARY = 0x5DEECE66D1CE5A5Du;

struct hyp_fiber {
    struct {
        char *at, *end;
    } record; // Asyncify's: where it writes next, and the end of what it may write
    char *sp; // C stack at the yield, from there until it is rewound to; else NULL
    uint64_t *canary;
    hyp_fiber *resumer;
    hyp_fiber_fn *fn;
    void *argument;
    hyp_fiber_state state;
    size_t bytes; // of the whole, this record included
};

static hyp_fiber *current;

hyp_fiber *hyp_fiber_current(void) { return current; }
size_t hyp_fiber_bytes(const hyp_fiber *f) { return f->bytes; }

void hyp_fiber_reset(hyp_fiber *f, hyp_fiber_fn *fn, void *argument) {
    f->record.at = (char *)f + hyp_round_up(sizeof *f, 16);
    f->record.end = (char *)f->canary;
    f->sp = NULL;
    f->fn = fn;
    f->argument = argument;
    f->state = HYP_FIBER_SUSPENDED;
    *f->canary = CANARY;
}

hyp_fiber *hyp_fiber_create(size_t stack_bytes, hyp_fiber_fn *fn, void *argument) {
    size_t bytes = hyp_round_up(stack_bytes, hyp_port_caps()->page_bytes);
    hyp_fiber *f = hyp_port_map(bytes);
    if (!f) return NULL;
    f->bytes = bytes;
    f->canary = (uint64_t *)(void *)((char *)f + bytes / 4); // a quarter for the record
    hyp_fiber_reset(f, fn, argument);
    return f;
}

void hyp_fiber_destroy(hyp_fiber *f) {
    if (f) hyp_port_unmap(f, f->bytes);
}

// After an unwinding: has the record held all of it? Where not, Asyncify itself would trap.
static inline void check_record(hyp_fiber *f) {
    if (f->record.at <= f->record.end) return;
    f->record.end = f->record.at;
    f->state = HYP_FIBER_OVERFLOWED;
}

// At the place of a yield: the record to unwind into; NULL when it has just been rewound.
static inline void *turn(hyp_fiber *f) {
    if (f->sp) {
        f->sp = NULL;
        return NULL;
    }
    f->sp = hyp_stack_get();
    return &f->record;
}

#ifdef __EMSCRIPTEN__
#include <emscripten.h>

// For the two functions in JavaScript below. hyp_fiber_main gives 0 when it is unwound. The others
// run in the midst of it and call nobody, or Asyncify would take them for a part of it.
EMSCRIPTEN_KEEPALIVE int hyp_fiber_main(hyp_fiber *f) {
    f->fn(f->argument);
    return 1;
}
EMSCRIPTEN_KEEPALIVE bool hyp_fiber_left(hyp_fiber *f) {
    check_record(f);
    return f->sp;
}
EMSCRIPTEN_KEEPALIVE void *hyp_fiber_turn(hyp_fiber *f) { return turn(f); }

// clang-format off
// The topmost: unwinding ends here, so Asyncify need not know of it.
EM_JS(void, hyp_fiber_run, (hyp_fiber *f, void *rewound), {
    if (rewound) _asyncify_start_rewind(rewound);
    if (_hyp_fiber_main(f)) return;
    var ours = _hyp_fiber_left(f);
    _asyncify_stop_unwind();
    if (!ours) abort('hyperion: a callback slept, but what the engine calls must not');
});
// The bottommost, of ASYNCIFY_IMPORTS: called once to unwind, and once more at the end of the rewinding.
EM_JS(void, hyp_fiber_leave, (hyp_fiber *f), {
    var record = _hyp_fiber_turn(f);
    if (record) _asyncify_start_unwind(record);
    else _asyncify_stop_rewind();
});
// clang-format on

static void run(hyp_fiber *f) { hyp_fiber_run(f, f->sp ? &f->record : NULL); }
static void leave(hyp_fiber *f) { hyp_fiber_leave(f); }
#else
#define ASYNCIFY(name) __attribute__((import_module("asyncify"), import_name(#name)))
ASYNCIFY(start_unwind) void asyncify_start_unwind(void *record);
ASYNCIFY(stop_unwind) void asyncify_stop_unwind(void);
ASYNCIFY(start_rewind) void asyncify_start_rewind(void *record);
ASYNCIFY(stop_rewind) void asyncify_stop_rewind(void);

static inline void run(hyp_fiber *f) {
    if (f->sp) asyncify_start_rewind(&f->record);
    f->fn(f->argument);
    if (f->sp) {
        check_record(f);
        asyncify_stop_unwind();
    }
}
static inline void leave(hyp_fiber *f) {
    void *record = turn(f);
    if (record) asyncify_start_unwind(record);
    else asyncify_stop_rewind();
}
#endif

// The topmost function of a fiber: unwinding ends here and rewinding begins here, so Asyncify
// leaves it and its callers as they are.
__attribute__((noinline)) hyp_fiber_state hyp_fiber_resume(hyp_fiber *f) {
    if (f->state != HYP_FIBER_SUSPENDED) return f->state;
    f->resumer = current;
    current = f;
    char *sp = hyp_stack_get();
    hyp_stack_set(f->sp ? f->sp : (char *)f + f->bytes);
    run(f);
    if (!f->sp) f->state = HYP_FIBER_DONE;
    if (*f->canary != CANARY || (f->sp && f->sp < (char *)f->canary))
        f->state = HYP_FIBER_OVERFLOWED;
    hyp_stack_set(sp);
    current = f->resumer;
    return f->state;
}

// The bottommost: called once to unwind, and once more at the end of the rewinding.
__attribute__((noinline)) void hyp_fiber_yield(void) { leave(current); }
