// Fiber switches in wasm: `turns` resumes of a fiber that yields `depth` calls deep (1: in the
// fiber's own function). With FIBER_EMSCRIPTEN the same by emscripten_fiber_swap.
#include <stddef.h>
#include <stdint.h>

static volatile int sink;
static void yield_now(void);

// Recursion that stays recursion, with a few values alive across the yield.
__attribute__((noinline)) static int at_depth(int depth, int x) {
    int a = x * 3 + 1;
    if (depth > 1) a ^= at_depth(depth - 1, a) + x;
    else yield_now();
    sink = a;
    return a + x;
}
static int wanted;
static void forever(void *unused) {
    (void)unused;
    for (int i = 0;; i++) {
        if (wanted == 1) yield_now();
        else at_depth(wanted - 1, i);
    }
}

#ifdef FIBER_EMSCRIPTEN
#include <emscripten.h>
#include <emscripten/fiber.h>
static emscripten_fiber_t main_fiber, fiber;
static char stack[65536], record[16384], main_record[16384];
static void yield_now(void) { emscripten_fiber_swap(&fiber, &main_fiber); }
EMSCRIPTEN_KEEPALIVE void run(int depth, int turns) {
    wanted = depth;
    emscripten_fiber_init_from_current_context(&main_fiber, main_record, sizeof main_record);
    emscripten_fiber_init(&fiber, forever, NULL, stack, sizeof stack, record, sizeof record);
    for (int i = 0; i < turns; i++) emscripten_fiber_swap(&main_fiber, &fiber);
}
#else
#include "../../src/fiber/fiber.h"
static void yield_now(void) { hyp_fiber_yield(); }
__attribute__((export_name("run"))) void run(int depth, int turns) {
    wanted = depth;
    hyp_fiber *fiber = hyp_fiber_create(64 << 10, forever, NULL);
    for (int i = 0; i < turns; i++) hyp_fiber_resume(fiber);
    hyp_fiber_destroy(fiber);
}
#endif
