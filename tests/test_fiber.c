// Fibers and the scheduler: registers survive, nesting, overflow, events, cancellation, policies,
// starvation, reuse of stacks.
#include "../src/fiber/sched.h"
#include "../src/port.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#if !defined(__wasm__)
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static hyp_budget budget;
static hyp_slab *slab;
static hyp_sched *sched;

static void begin(void) {
    budget = (hyp_budget){0};
    slab = hyp_slab_create(&budget);
    sched = hyp_sched_create(slab, &budget);
    CHECK(slab && sched);
}
static void end(void) {
    hyp_sched_destroy(sched);
    CHECK(hyp_slab_check(slab));
    CHECK(hyp_slab_destroy(slab) == 0); // no task, no scheduler left behind
    CHECK(budget.used_bytes == 0);      // no stack either
}

// ---- The switch itself

static double mixed(double x, int depth) { // keeps many values of both kinds alive across a yield
    uint64_t a = (uint64_t)(x * 3), b = a * 7 + 1, c = b ^ 0x55, d = c + a, e = d * 3, f = e - b;
    double p = x + 1, q = p * 1.5, r = q - x, s = r * r, t = s + p, u = t - q;
    if (depth > 0) u += mixed(x + 1, depth - 1);
    hyp_fiber_yield();
    return u + t + s + r + q + p + (double)(a + 2 * b + 3 * c + 5 * d + 7 * e + 11 * f) * 0x1p-20;
}
static double results[3];
static void run_mixed(void *argument) {
    size_t i = (size_t)argument;
    results[i] = mixed((double)i + 0.25, (int)i * 4 + 1);
}
static double plain(double x, int depth) {
    uint64_t a = (uint64_t)(x * 3), b = a * 7 + 1, c = b ^ 0x55, d = c + a, e = d * 3, f = e - b;
    double p = x + 1, q = p * 1.5, r = q - x, s = r * r, t = s + p, u = t - q;
    if (depth > 0) u += plain(x + 1, depth - 1);
    return u + t + s + r + q + p + (double)(a + 2 * b + 3 * c + 5 * d + 7 * e + 11 * f) * 0x1p-20;
}

static void values_survive(void) {
    hyp_fiber *fibers[3];
    for (size_t i = 0; i < 3; i++)
        CHECK((fibers[i] = hyp_fiber_create(HYP_STACK_BYTES, run_mixed, (void *)i)));
    int alive = 3;
    while (alive) {
        alive = 0;
        for (size_t i = 0; i < 3; i++) alive += hyp_fiber_resume(fibers[i]) == HYP_FIBER_SUSPENDED;
    }
    for (size_t i = 0; i < 3; i++) {
        CHECK(results[i] == plain((double)i + 0.25, (int)i * 4 + 1));
        CHECK(hyp_fiber_resume(fibers[i]) == HYP_FIBER_DONE); // and again is harmless
        hyp_fiber_destroy(fibers[i]);
    }
    CHECK(hyp_fiber_current() == NULL);
}

#if defined(__x86_64__)
// Every callee-saved register holds another value on each side of the switch; the other side
// poisons them all.
__attribute__((noinline)) static uint64_t poisoned(uint64_t seed) {
    uint64_t bad;
    __asm__ volatile("pushq %%rbp\n\t"
                     "movq %1, %%rbx\n\tleaq 1(%1), %%r12\n\tleaq 2(%1), %%r13\n\tleaq 3(%1), "
                     "%%r14\n\tleaq 4(%1), %%r15\n\tleaq 5(%1), %%rbp\n\t"
                     "pushq %1\n\tsubq $8, %%rsp\n\tmovq %%rsp, %%rax\n\tandq $-16, %%rsp\n\tpushq "
                     "%%rax\n\tpushq %%rax\n\t"
                     "call *%2\n\t"
                     "popq %%rax\n\tmovq %%rax, %%rsp\n\taddq $8, %%rsp\n\tpopq %%rdi\n\t"
                     "xorl %%eax, %%eax\n\t"
                     "cmpq %%rdi, %%rbx\n\tsetne %%al\n\t"
                     "leaq 1(%%rdi), %%rcx\n\tcmpq %%rcx, %%r12\n\tsetne %%dl\n\torb %%dl, %%al\n\t"
                     "leaq 2(%%rdi), %%rcx\n\tcmpq %%rcx, %%r13\n\tsetne %%dl\n\torb %%dl, %%al\n\t"
                     "leaq 3(%%rdi), %%rcx\n\tcmpq %%rcx, %%r14\n\tsetne %%dl\n\torb %%dl, %%al\n\t"
                     "leaq 4(%%rdi), %%rcx\n\tcmpq %%rcx, %%r15\n\tsetne %%dl\n\torb %%dl, %%al\n\t"
                     "leaq 5(%%rdi), %%rcx\n\tcmpq %%rcx, %%rbp\n\tsetne %%dl\n\torb %%dl, %%al\n\t"
                     "popq %%rbp"
                     : "=a"(bad)
                     : "D"(seed), "S"(hyp_fiber_yield)
                     : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                       "xmm15");
    return bad;
}
static uint64_t poison_failures;
static void poisoner(void *seed) {
    for (int i = 0; i < 50; i++)
        poison_failures += poisoned((uint64_t)seed * 1000003 + (uint64_t)i);
}
static void registers_survive(void) {
    hyp_fiber *a = hyp_fiber_create(HYP_STACK_BYTES, poisoner, (void *)7),
              *b = hyp_fiber_create(HYP_STACK_BYTES, poisoner, (void *)11);
    while (hyp_fiber_resume(a) == HYP_FIBER_SUSPENDED || hyp_fiber_resume(b) == HYP_FIBER_SUSPENDED)
        hyp_fiber_resume(b);
    while (hyp_fiber_resume(b) == HYP_FIBER_SUSPENDED) {
    }
    CHECK(poison_failures == 0);
    hyp_fiber_destroy(a);
    hyp_fiber_destroy(b);
}

static unsigned mxcsr(void) {
    unsigned v;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v;
}
static void set_mxcsr(unsigned v) { __asm__ volatile("ldmxcsr %0" ::"m"(v)); }
static void rounds_up(void *unused) {
    (void)unused;
    set_mxcsr(mxcsr() | 0x4000);
    hyp_fiber_yield();
    CHECK(mxcsr() & 0x4000);
}
static void control_words_are_a_fibers_own(void) {
    unsigned before = mxcsr();
    hyp_fiber *f = hyp_fiber_create(HYP_STACK_BYTES, rounds_up, NULL);
    hyp_fiber_resume(f);
    CHECK(mxcsr() == before);
    CHECK(hyp_fiber_resume(f) == HYP_FIBER_DONE && mxcsr() == before);
    hyp_fiber_destroy(f);
}
#endif

static int order[16], orders;
static void inner(void *argument) {
    order[orders++] = (int)(size_t)argument;
    hyp_fiber_yield();
    order[orders++] = (int)(size_t)argument + 1;
}
static void outer(void *argument) {
    hyp_fiber *f = argument;
    order[orders++] = 1;
    hyp_fiber_resume(f); // 10
    hyp_fiber_yield();
    order[orders++] = 2;
    CHECK(hyp_fiber_resume(f) == HYP_FIBER_DONE); // 11
    order[orders++] = 3;
}
static void nesting(void) {
    orders = 0;
    hyp_fiber *in = hyp_fiber_create(HYP_STACK_BYTES, inner, (void *)10),
              *out = hyp_fiber_create(HYP_STACK_BYTES, outer, in);
    CHECK(hyp_fiber_resume(out) == HYP_FIBER_SUSPENDED);
    CHECK(hyp_fiber_resume(out) == HYP_FIBER_DONE);
    static const int want[] = {1, 10, 2, 11, 3};
    CHECK(orders == 5 && memcmp(order, want, sizeof want) == 0);
    hyp_fiber_destroy(in);
    hyp_fiber_destroy(out);
}

typedef double through_fn(double);
static double through_a(double x) {
    hyp_fiber_yield();
    return x + 1;
}
static double through_b(double x) {
    hyp_fiber_yield();
    return x * 2;
}
static through_fn *volatile table[2] = {through_a, through_b};
static double through_result;
static void through(void *unused) {
    (void)unused;
    double x = 1;
    for (int i = 0; i < 10; i++) x = table[i % 2](x);
    through_result = x;
}
static void yield_through_pointers(void) {
    hyp_fiber *f = hyp_fiber_create(HYP_STACK_BYTES, through, NULL);
    int turns = 0;
    while (hyp_fiber_resume(f) == HYP_FIBER_SUSPENDED) turns++;
    CHECK(turns == 10 && through_result == 94);
    hyp_fiber_destroy(f);
}

// ---- Overflow

static volatile int sink;
__attribute__((noinline)) static int deep(int n) { // uses C stack
    volatile char room[512];
    for (int i = 0; i < 512; i++) room[i] = (char)n;
    int r = n > 0 ? deep(n - 1) : 0;
    r ^= r * 3 + room[(unsigned)n % 512]; // what comes after keeps the call from becoming a loop
    sink = r;
    return r;
}
static void too_deep(void *depth) {
    deep((int)(size_t)depth);
    hyp_fiber_yield();
}
__attribute__((noinline)) static int
nested(int n) { // uses Asyncify's record and hardly any C stack
    int r = n > 0 ? nested(n - 1) : (hyp_fiber_yield(), 0);
    r ^= r * 3 + n;
    sink = r;
    return r;
}
static void too_nested(void *n) { nested((int)(size_t)n); }

static void overflow_is_caught(void) {
    (void)too_nested;
    (void)too_deep;
#if defined(__wasm__)
    // 16 KiB, a quarter of them for the record: each kind of overflow stays within the fiber and is
    // seen.
    hyp_fiber *f = hyp_fiber_create(16 << 10, too_deep, (void *)26);
    CHECK(hyp_fiber_resume(f) == HYP_FIBER_OVERFLOWED);
    CHECK(hyp_fiber_resume(f) == HYP_FIBER_OVERFLOWED);
    hyp_fiber_destroy(f);
    f = hyp_fiber_create(16 << 10, too_nested, (void *)1200);
    CHECK(hyp_fiber_resume(f) == HYP_FIBER_OVERFLOWED);
    hyp_fiber_destroy(f);
    f = hyp_fiber_create(16 << 10, too_nested, (void *)100);
    CHECK(hyp_fiber_resume(f) == HYP_FIBER_SUSPENDED && hyp_fiber_resume(f) == HYP_FIBER_DONE);
    hyp_fiber_destroy(f);
#elif !defined(HYP_CHECKED) // sanitizers have their own idea of a child that ends by a signal
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        hyp_fiber_resume(hyp_fiber_create(16 << 10, too_deep, (void *)300));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS));
    hyp_fiber *f = hyp_fiber_create(512 << 10, too_deep, (void *)300);
    CHECK(hyp_fiber_resume(f) == HYP_FIBER_SUSPENDED && hyp_fiber_resume(f) == HYP_FIBER_DONE);
    hyp_fiber_destroy(f);
#endif
}

static hyp_status joined;
static void joins_an_overflow(void) {
#if defined(__wasm__)
    begin();
    hyp_task *t;
    CHECK(hyp_sched_spawn(sched, too_deep, (void *)26, &(hyp_task_config){.stack_bytes = 16 << 10},
                          &t) == HYP_OK);
    CHECK(hyp_task_join(t) == HYP_E_STACK);
    end();
#endif
    (void)joined;
}

// ---- Many

static int done_count;
static void short_life(void *argument) {
    if ((size_t)argument % 3) CHECK(hyp_task_yield() == HYP_OK);
    done_count++;
}
static void created_and_gone(void) {
    const char *slow = getenv("HYP_SLOW");
    int total = slow || sizeof(void *) == 4 ? 20000 : 100000;
#if defined(HYP_CHECKED)
    total = 20000;
#endif
    begin();
    done_count = 0;
    size_t most = 0;
    for (int i = 0; i < total; i += 50) {
        for (int k = 0; k < 50; k++) {
            hyp_task *t;
            CHECK(hyp_sched_spawn(sched, short_life, (void *)(size_t)(i + k), NULL, &t) == HYP_OK);
            hyp_task_detach(t);
        }
        CHECK(hyp_sched_run(sched, 0) == HYP_RUN_IDLE);
        if (budget.used_bytes > most) most = budget.used_bytes;
        if (i == 0) budget.peak_bytes = budget.used_bytes;
    }
    CHECK(done_count == total);
    CHECK(hyp_sched_get_stats(sched).spawned == (uint64_t)total &&
          hyp_sched_get_stats(sched).tasks == 0);
    CHECK(hyp_sched_get_stats(sched).spare_stacks > 0);
    CHECK(most < 2 << 20); // the memory of the first fifty serves all
    end();
}

// ---- Scheduler

static hyp_event event;
static int woken;
static void waiter(void *argument) {
    (void)argument;
    CHECK(hyp_event_wait(&event, 0) == HYP_OK);
    woken++;
}
static void signaller(void *unused) {
    (void)unused;
    CHECK(hyp_task_yield() == HYP_OK);
    hyp_event_signal(&event);
}
static void events(void) {
    begin();
    woken = 0;
    hyp_task *tasks[6];
    for (int i = 0; i < 5; i++)
        CHECK(hyp_sched_spawn(sched, waiter, NULL, NULL, &tasks[i]) == HYP_OK);
    CHECK(hyp_sched_run(sched, 0) == HYP_RUN_WAITING && woken == 0);
    CHECK(hyp_task_join(tasks[0]) == HYP_E_STATE); // nobody is left who could signal
    CHECK(hyp_sched_spawn(sched, signaller, NULL, NULL, &tasks[5]) == HYP_OK);
    for (int i = 0; i < 6; i++) CHECK(hyp_task_join(tasks[i]) == HYP_OK);
    CHECK(woken == 5);
    CHECK(hyp_event_wait(&event, 0) == HYP_E_STATE && hyp_task_sleep(1) == HYP_E_STATE &&
          hyp_task_yield() == HYP_E_STATE); // no task here
    end();
}

static uint64_t slept_at[3];
static void sleeper(void *argument) {
    size_t i = (size_t)argument;
    CHECK(hyp_task_sleep((3 - i) * 2000000) == HYP_OK);
    slept_at[i] = hyp_port_now_ns();
}
static void times_out(void *unused) {
    (void)unused;
    hyp_event never = {0};
    CHECK(hyp_event_wait(&never, 1000000) == HYP_E_TIMEOUT);
    CHECK(never.waiters.first == NULL);
}
static void timers(void) {
    begin();
    hyp_task *tasks[4];
    for (size_t i = 0; i < 3; i++)
        CHECK(hyp_sched_spawn(sched, sleeper, (void *)i, NULL, &tasks[i]) == HYP_OK);
    CHECK(hyp_sched_spawn(sched, times_out, NULL, NULL, &tasks[3]) == HYP_OK);
    while (hyp_sched_run(sched, 0) == HYP_RUN_WAITING)
        CHECK(hyp_sched_next_ns(sched) != UINT64_MAX); // wasm can not sleep here: ask again
    for (int i = 0; i < 4; i++) CHECK(hyp_task_join(tasks[i]) == HYP_OK);
    CHECK(slept_at[2] < slept_at[1] && slept_at[1] < slept_at[0]);
    end();
}

static int held;
static void holder(void *kind) {
    void *block = hyp_slab_alloc(slab, 100, "held");
    held++;
    hyp_event never = {0};
    hyp_status status = HYP_OK;
    switch ((size_t)kind) {
    case 0: status = hyp_event_wait(&never, 0); break;
    case 1: status = hyp_task_sleep(1000000000000); break;
    case 2:
        while (!status) status = hyp_task_yield();
        break;
    case 3:
        while (!status) status = hyp_task_work(1000);
        break;
    case 4: { // joins one that never ends by itself: what it started, it ends
        hyp_task *child;
        CHECK(hyp_sched_spawn(sched, holder, (void *)0, NULL, &child) == HYP_OK);
        status = hyp_task_join(child);
        hyp_task_cancel(child);
        hyp_task_detach(child);
        break;
    }
    }
    CHECK(status == HYP_E_CANCELLED && hyp_task_cancelled());
    CHECK(hyp_task_yield() == HYP_E_CANCELLED &&
          hyp_task_sleep(1) == HYP_E_CANCELLED); // and stays so
    hyp_slab_free(slab, block, 100);
    held--;
}
static void cancellation(void) {
    begin();
    hyp_task *tasks[5];
    for (size_t i = 0; i < 5; i++)
        CHECK(hyp_sched_spawn(sched, holder, (void *)i, NULL, &tasks[i]) == HYP_OK);
    for (int turns = 0; held < 6 && turns < 1000; turns++)
        CHECK(hyp_sched_run(sched, 1) == HYP_RUN_READY); // one turn each
    CHECK(held == 6);
    for (int i = 0; i < 5; i++) hyp_task_cancel(tasks[i]);
    for (int i = 0; i < 5; i++) CHECK(hyp_task_join(tasks[i]) == HYP_OK);
    CHECK(hyp_sched_run(sched, 0) == HYP_RUN_IDLE && held == 0);
    // and what is still there when the scheduler goes is cancelled too
    CHECK(hyp_sched_spawn(sched, holder, (void *)0, NULL, &tasks[0]) == HYP_OK);
    hyp_sched_run(sched, 0);
    CHECK(held == 1);
    end();
    CHECK(held == 0);
}

static bool stop;
static void worker(void *argument) {
    uint64_t *units = argument;
    while (!stop && !hyp_task_work(256)) *units += 256;
}
// Runs one task of each intent for `turns` switches; gives the work that each got.
static void shares(const hyp_policy *policy, const hyp_intent *intents, int n, uint64_t *units) {
    begin();
    stop = false;
    hyp_sched_set_policy(sched, policy);
    hyp_task *tasks[8];
    for (int i = 0; i < n; i++) {
        units[i] = 0;
        CHECK(hyp_sched_spawn(
                  sched, worker, &units[i],
                  &(hyp_task_config){.intent = intents[i], .deadline_ns = (uint64_t)i + 1},
                  &tasks[i]) == HYP_OK);
    }
    for (int turn = 0; turn < 4000; turn++) (void)!hyp_sched_run(sched, 1);
    stop = true;
    for (int i = 0; i < n; i++) CHECK(hyp_task_join(tasks[i]) == HYP_OK);
    end();
}
static void nobody_starves(void) {
    static const hyp_intent all[] = {HYP_INTENT_INTERACTIVE, HYP_INTENT_DEADLINE, HYP_INTENT_BATCH,
                                     HYP_INTENT_BACKGROUND};
    uint64_t units[8];
    shares(&hyp_policy_round_robin, all, 4, units);
    for (int i = 1; i < 4; i++)
        CHECK(units[i] > units[0] * 9 / 10 && units[i] < units[0] * 11 / 10);
    shares(&hyp_policy_intent, all, 4, units);
    uint64_t sum = units[0] + units[1] + units[2] + units[3];
    static const uint64_t weight[] = {16, 32, 4, 1};
    for (int i = 0; i < 4; i++) // within a fifth of its weight's share, and never nothing
        CHECK_MSG(
            units[i] * 53 > sum * weight[i] * 4 / 5 && units[i] * 53 < sum * weight[i] * 6 / 5,
            "intent %d got %llu of %llu", i, (unsigned long long)units[i], (unsigned long long)sum);
    // many deadlines do not shut out the background
    static const hyp_intent pressed[] = {HYP_INTENT_DEADLINE, HYP_INTENT_DEADLINE,
                                         HYP_INTENT_DEADLINE, HYP_INTENT_BACKGROUND};
    shares(&hyp_policy_intent, pressed, 4, units);
    CHECK(units[0] > 0 && units[1] > 0 && units[2] > 0 && units[3] > 0);
}

// Who comes late begins where the others are: it does not make up for the time it was away.
static void absence_earns_nothing(void) {
    begin();
    stop = false;
    hyp_sched_set_policy(sched, &hyp_policy_intent);
    hyp_task *early, *late;
    uint64_t units[2] = {0};
    CHECK(hyp_sched_spawn(sched, worker, &units[0], NULL, &early) == HYP_OK);
    for (int i = 0; i < 1000; i++) (void)!hyp_sched_run(sched, 1);
    CHECK(hyp_sched_spawn(sched, worker, &units[1],
                          &(hyp_task_config){.intent = HYP_INTENT_BACKGROUND}, &late) == HYP_OK);
    units[0] = 0;
    for (int i = 0; i < 200; i++) (void)!hyp_sched_run(sched, 1);
    CHECK_MSG(units[1] > 0 && units[0] > 10 * units[1], "%llu and %llu",
              (unsigned long long)units[0], (unsigned long long)units[1]);
    stop = true;
    CHECK(hyp_task_join(early) == HYP_OK && hyp_task_join(late) == HYP_OK);
    end();
}

// The earliest deadline goes first; and one that never ends shuts out nobody once it is late.
static void deadlines(void) {
    begin();
    stop = false;
    hyp_sched_set_policy(sched, &hyp_policy_intent);
    hyp_task *tasks[4];
    uint64_t units[4] = {0}, now = hyp_port_now_ns(), hour = 3600000000000u;
    static const uint64_t due_hours[] = {9, 3, 6, 0}; // the last is late already
    for (int i = 0; i < 4; i++)
        CHECK(hyp_sched_spawn(sched, worker, &units[i],
                              &(hyp_task_config){.intent = HYP_INTENT_DEADLINE,
                                                 .deadline_ns = now + due_hours[i] * hour},
                              &tasks[i]) == HYP_OK);
    for (int i = 0; i < 50; i++) (void)!hyp_sched_run(sched, 1);
    CHECK(units[3] > 0 && !units[0] && !units[1] && !units[2]); // hours are left to the others
    hyp_task_set_intent(tasks[3], HYP_INTENT_DEADLINE, now + 20 * hour);
    for (int i = 0; i < 50; i++) (void)!hyp_sched_run(sched, 1);
    CHECK(units[1] > 0 && !units[0] && !units[2]);
    for (int i = 0; i < 4; i++)
        hyp_task_set_intent(tasks[i], HYP_INTENT_DEADLINE, now + (uint64_t)i); // all are late
    for (int i = 0; i < 4; i++) units[i] = 0;
    for (int i = 0; i < 400; i++) (void)!hyp_sched_run(sched, 1);
    for (int i = 0; i < 4; i++) CHECK(units[i] > 0);
    stop = true;
    for (int i = 0; i < 4; i++) CHECK(hyp_task_join(tasks[i]) == HYP_OK);
    end();
}

static char trail[32];
static int steps;
static void prints(void *argument) {
    for (int i = 0; i < 3; i++) {
        trail[steps++] = (char)(size_t)argument;
        CHECK(hyp_task_yield() == HYP_OK);
    }
}
static void policies_are_swapped(void) {
    begin();
    steps = 0;
    memset(trail, 0, sizeof trail);
    hyp_sched_set_policy(sched, &hyp_policy_round_robin);
    for (size_t i = 0; i < 4; i++) {
        hyp_task *t;
        CHECK(hyp_sched_spawn(sched, prints, (void *)('a' + i),
                              &(hyp_task_config){.intent = (hyp_intent)(3 - i)}, &t) == HYP_OK);
        hyp_task_detach(t);
    }
    for (int i = 0; i < 6; i++) (void)!hyp_sched_run(sched, 1);
    CHECK(strcmp(trail, "abcdab") == 0);
    // In the middle: nothing is lost, nothing runs twice.
    hyp_sched_set_policy(sched, &hyp_policy_intent);
    CHECK(strcmp(hyp_sched_get_stats(sched).policy, "intent") == 0 &&
          hyp_sched_get_stats(sched).ready == 4);
    (void)!hyp_sched_run(sched, 1);
    hyp_sched_set_policy(sched, &hyp_policy_round_robin);
    CHECK(hyp_sched_run(sched, 0) == HYP_RUN_IDLE);
    int count[4] = {0};
    for (int i = 0; i < steps; i++) count[trail[i] - 'a']++;
    for (int i = 0; i < 4; i++) CHECK(count[i] == 3);
    end();
}

static bool flag;
static bool flag_is_set(void *context) { return *(bool *)context; }
static void waits_for_flag(void *unused) {
    (void)unused;
    CHECK(hyp_task_wait_until(flag_is_set, &flag) == HYP_OK);
    woken++;
}
static void conditions_of_others(void) {
    begin();
    woken = 0;
    flag = false;
    hyp_task *t;
    CHECK(hyp_sched_spawn(sched, waits_for_flag, NULL, NULL, &t) == HYP_OK);
    CHECK(hyp_sched_run(sched, 0) == HYP_RUN_WAITING && woken == 0);
    flag = true;
    CHECK(hyp_sched_run(sched, 0) == HYP_RUN_IDLE && woken == 1);
    CHECK(hyp_task_join(t) == HYP_OK);
    end();
}

static void no_memory(void) {
    size_t limit = 0;
    bool spawned = false;
    while (!spawned) { // allocation N fails, for all N
        limit += 4096;
        hyp_budget tight = {.limit_bytes = limit};
        hyp_slab *s = hyp_slab_create(&tight);
        if (!s) continue;
        hyp_sched *h = hyp_sched_create(s, &tight);
        hyp_task *t = NULL;
        done_count = 0;
        if (h) {
            hyp_status status = hyp_sched_spawn(h, short_life, (void *)1, NULL, &t);
            CHECK(status == HYP_OK || (status == HYP_E_NOMEM && !t));
            if (t) {
                CHECK(hyp_task_join(t) == HYP_OK && done_count == 1);
                spawned = true;
            }
        }
        hyp_sched_destroy(h);
        CHECK(hyp_slab_destroy(s) == 0 && tight.used_bytes == 0 && tight.peak_bytes <= limit);
    }
}

int main(void) {
    RUN(values_survive);
#if defined(__x86_64__)
    RUN(registers_survive);
    RUN(control_words_are_a_fibers_own);
#endif
    RUN(nesting);
    RUN(yield_through_pointers);
    RUN(overflow_is_caught);
    RUN(joins_an_overflow);
    RUN(created_and_gone);
    RUN(events);
    RUN(timers);
    RUN(cancellation);
    RUN(nobody_starves);
    RUN(absence_earns_nothing);
    RUN(deadlines);
    RUN(policies_are_swapped);
    RUN(conditions_of_others);
    RUN(no_memory);
    return finish();
}
