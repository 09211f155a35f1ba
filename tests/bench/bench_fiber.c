// Fiber switches against Boost.Context's fcontext, in one process, interleaved. One line of JSON:
// nanoseconds a switch (a resume and a yield are two), medians of eleven rounds. Without Boost
// (HYP_BENCH_BOOST) ours alone.
#include "../../src/fiber/fiber.h"
#include "../../src/port.h"
#include "bench.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef HYP_BENCH_BOOST
typedef struct transfer {
    void *context, *data;
} transfer;
transfer jump_fcontext(void *to, void *data);
void *make_fcontext(void *top, size_t bytes, void (*fn)(transfer));
#endif

enum { ROUNDS_MOST = 11, MANY_MOST = 10000, SWEEPS = 20, STACK = 64 << 10 };
static int rounds, pings, many_fibers;

static void forever(void *unused) {
    (void)unused;
    for (;;) hyp_fiber_yield();
}
#ifdef HYP_BENCH_BOOST
static void forever_boost(transfer t) {
    for (;;) t = jump_fcontext(t.context, NULL);
}

static void *boost_stack(void) { // as boost::context::protected_fixedsize_stack makes one
    char *memory = mmap(NULL, STACK + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0);
    if (memory == MAP_FAILED || mprotect(memory, 4096, PROT_NONE)) exit(1);
    return make_fcontext(memory + STACK + 4096, STACK, forever_boost);
}
static void jump(void **context) { *context = jump_fcontext(*context, NULL).context; }
#else
static void *boost_stack(void) { return NULL; }
static void jump(void **context) { (void)context; }
#endif

static int compare(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}
static double median(double *v) {
    qsort(v, (size_t)rounds, sizeof *v, compare);
    return v[rounds / 2];
}

static hyp_fiber *fibers[MANY_MOST];
static void *contexts[MANY_MOST];
static uint32_t order[MANY_MOST];

int main(void) {
    rounds = (int)hyp_bench_count(ROUNDS_MOST, 1);
    pings = (int)hyp_bench_count(2000000, 20000);
    many_fibers = (int)hyp_bench_count(MANY_MOST, 500);
    hyp_fiber *one = hyp_fiber_create(STACK, forever, NULL),
              *two = hyp_fiber_create(STACK, forever, NULL);
    void *first = boost_stack(), *second = boost_stack();
    for (int i = 0; i < many_fibers; i++) {
        fibers[i] = hyp_fiber_create(STACK, forever, NULL);
        contexts[i] = boost_stack();
        order[i] = (uint32_t)i;
    }
    srand(7);
    for (uint32_t i = (uint32_t)many_fibers - 1; i > 0; i--) {
        uint32_t k = (uint32_t)rand() % (i + 1), t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
    double ours[ROUNDS_MOST], boost[ROUNDS_MOST], ping[ROUNDS_MOST], boost_ping[ROUNDS_MOST];
    double many[ROUNDS_MOST], boost_many[ROUNDS_MOST];
    for (int round = 0; round < rounds; round++) {
        uint64_t t0 = hyp_port_now_ns();
        for (int i = 0; i < pings; i++) hyp_fiber_resume(one);
        uint64_t t1 = hyp_port_now_ns();
        for (int i = 0; i < pings; i++) jump(&first);
        uint64_t t2 = hyp_port_now_ns();
        ours[round] = (double)(t1 - t0) / pings / 2;
        boost[round] = (double)(t2 - t1) / pings / 2;
        t0 = hyp_port_now_ns();
        for (int i = 0; i < pings / 2; i++) {
            hyp_fiber_resume(one);
            hyp_fiber_resume(two);
        }
        t1 = hyp_port_now_ns();
        for (int i = 0; i < pings / 2; i++) {
            jump(&first);
            jump(&second);
        }
        t2 = hyp_port_now_ns();
        ping[round] = (double)(t1 - t0) / pings / 2;
        boost_ping[round] = (double)(t2 - t1) / pings / 2;
        t0 = hyp_port_now_ns();
        for (int s = 0; s < SWEEPS; s++)
            for (int i = 0; i < many_fibers; i++) hyp_fiber_resume(fibers[order[i]]);
        t1 = hyp_port_now_ns();
        for (int s = 0; s < SWEEPS; s++)
            for (int i = 0; i < many_fibers; i++) jump(&contexts[order[i]]);
        t2 = hyp_port_now_ns();
        many[round] = (double)(t1 - t0) / SWEEPS / many_fibers / 2;
        boost_many[round] = (double)(t2 - t1) / SWEEPS / many_fibers / 2;
    }
    printf("{\"switch_ns\":%.3f,\"ping_ns\":%.3f,\"random10k_ns\":%.3f", median(ours), median(ping),
           median(many));
#ifdef HYP_BENCH_BOOST
    printf(",\"boost_switch_ns\":%.3f,\"boost_ping_ns\":%.3f,\"boost_random10k_ns\":%.3f",
           median(boost), median(boost_ping), median(boost_many));
#endif
    printf("}\n");
}
