// Fiber switches against Boost.Context's fcontext, in one process, interleaved. One line of JSON: nanoseconds a switch (a resume and a
// yield are two), medians of eleven rounds.
#include "../../src/fiber/fiber.h"
#include "../../src/port.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct transfer {
    void *context, *data;
} transfer;
transfer jump_fcontext(void *to, void *data);
void *make_fcontext(void *top, size_t bytes, void (*fn)(transfer));

enum { ROUNDS = 11, PINGS = 2000000, MANY = 10000, SWEEPS = 20, STACK = 64 << 10 };

static void forever(void *unused) {
    (void)unused;
    for (;;) hyp_fiber_yield();
}
static void forever_boost(transfer t) {
    for (;;) t = jump_fcontext(t.context, NULL);
}

static void *boost_stack(void) { // as boost::context::protected_fixedsize_stack makes one
    char *memory = mmap(NULL, STACK + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, 4096, PROT_NONE)) exit(1);
    return make_fcontext(memory + STACK + 4096, STACK, forever_boost);
}

static int compare(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}
static double median(double *v) {
    qsort(v, ROUNDS, sizeof *v, compare);
    return v[ROUNDS / 2];
}

static hyp_fiber *fibers[MANY];
static void *contexts[MANY];
static uint32_t order[MANY];

int main(void) {
    hyp_fiber *one = hyp_fiber_create(STACK, forever, NULL), *two = hyp_fiber_create(STACK, forever, NULL);
    void *first = boost_stack(), *second = boost_stack();
    for (int i = 0; i < MANY; i++) {
        fibers[i] = hyp_fiber_create(STACK, forever, NULL);
        contexts[i] = boost_stack();
        order[i] = (uint32_t)i;
    }
    srand(7);
    for (uint32_t i = MANY - 1; i > 0; i--) {
        uint32_t k = (uint32_t)rand() % (i + 1), t = order[i];
        order[i] = order[k], order[k] = t;
    }
    double ours[ROUNDS], boost[ROUNDS], ping[ROUNDS], boost_ping[ROUNDS], many[ROUNDS], boost_many[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t t0 = hyp_port_now_ns();
        for (int i = 0; i < PINGS; i++) hyp_fiber_resume(one);
        uint64_t t1 = hyp_port_now_ns();
        for (int i = 0; i < PINGS; i++) first = jump_fcontext(first, NULL).context;
        uint64_t t2 = hyp_port_now_ns();
        ours[round] = (double)(t1 - t0) / PINGS / 2;
        boost[round] = (double)(t2 - t1) / PINGS / 2;
        t0 = hyp_port_now_ns();
        for (int i = 0; i < PINGS / 2; i++) hyp_fiber_resume(one), hyp_fiber_resume(two);
        t1 = hyp_port_now_ns();
        for (int i = 0; i < PINGS / 2; i++) first = jump_fcontext(first, NULL).context, second = jump_fcontext(second, NULL).context;
        t2 = hyp_port_now_ns();
        ping[round] = (double)(t1 - t0) / PINGS / 2;
        boost_ping[round] = (double)(t2 - t1) / PINGS / 2;
        t0 = hyp_port_now_ns();
        for (int s = 0; s < SWEEPS; s++)
            for (int i = 0; i < MANY; i++) hyp_fiber_resume(fibers[order[i]]);
        t1 = hyp_port_now_ns();
        for (int s = 0; s < SWEEPS; s++)
            for (int i = 0; i < MANY; i++) contexts[order[i]] = jump_fcontext(contexts[order[i]], NULL).context;
        t2 = hyp_port_now_ns();
        many[round] = (double)(t1 - t0) / SWEEPS / MANY / 2;
        boost_many[round] = (double)(t2 - t1) / SWEEPS / MANY / 2;
    }
    printf("{\"switch_ns\":%.3f,\"boost_switch_ns\":%.3f,\"ping_ns\":%.3f,\"boost_ping_ns\":%.3f,\"random10k_ns\":%.3f,\"boost_random10k_"
           "ns\":%.3f}\n",
           median(ours), median(boost), median(ping), median(boost_ping), median(many), median(boost_many));
}
