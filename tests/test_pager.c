// Pager: every byte is the source's whatever was evicted before, failures leave it sound, budgets
// hold, faults are served and passed on.
#include "../src/base/bytes.h"
#include "../src/fiber/sched.h"
#include "../src/pager/pager.h"
#include "../src/port.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#if !defined(__wasm__)
#include <setjmp.h>
#include <signal.h>
#endif

enum { PAGES = 97 };

// The source: byte i of page p is a hash of both. Pages have sizes of their own.
typedef struct origin {
    uint32_t bytes[PAGES];
    uint64_t fills;
    long fail_at; // the fill that fails, counted from 0; -1: none
    hyp_status failure;
    bool slow; // suspends within the fill
    int inside, most_inside;
} origin;

static uint8_t byte_of(uint32_t page, uint32_t at) {
    return (uint8_t)((page * 2654435761u + at * 40503u) >> 11);
}

static hyp_status fill(void *context, uint32_t index, void *frame) {
    origin *o = context;
    if ((long)o->fills++ == o->fail_at) {
        memset(frame, 0xEE, o->bytes[index] / 2); // a short read: half of it arrived
        return o->failure;
    }
    if (++o->inside > o->most_inside) o->most_inside = o->inside;
    for (uint32_t i = 0; i < o->bytes[index]; i++) {
        ((uint8_t *)frame)[i] = byte_of(index, i);
        if (o->slow && i == o->bytes[index] / 2 && hyp_task_current()) {
            hyp_status status = hyp_task_yield();
            if (status) {
                o->inside--;
                return status;
            }
        }
    }
    o->inside--;
    return HYP_OK;
}

static void make_origin(origin *o, uint32_t most) {
    *o = (origin){.fail_at = -1};
    for (int i = 0; i < PAGES; i++) o->bytes[i] = 1 + random_u32() % most;
    o->bytes[17] = most;
}

static void check_page(const origin *o, uint32_t index, const uint8_t *view) {
    for (uint32_t i = 0; i < o->bytes[index]; i++)
        CHECK_MSG(view[i] == byte_of(index, i), "page %u byte %u", index, i);
}

typedef struct world {
    hyp_budget budget;
    hyp_slab *slab;
    origin origin;
    hyp_pager_config config;
    hyp_pager *pager;
} world;

static void begin(world *w, uint32_t most, uint64_t capacity, bool random, bool trap) {
    memset(w, 0, sizeof *w);
    w->slab = hyp_slab_create(&w->budget);
    make_origin(&w->origin, most);
    w->config = (hyp_pager_config){&w->budget, PAGES, w->origin.bytes, capacity, random,
                                   trap,       fill,  &w->origin,      0};
    CHECK(hyp_pager_create(&w->config, &w->pager) == HYP_OK);
    CHECK(hyp_pager_get_stats(w->pager).traps == (trap && hyp_port_caps()->can_trap));
}
static void end(world *w) {
    hyp_pager_destroy(w->pager);
    CHECK(hyp_slab_check(w->slab) && hyp_slab_destroy(w->slab) == 0);
    CHECK(w->budget.used_bytes == 0);
}

static int modes(void) { return hyp_port_caps()->can_trap ? 2 : 1; }

// Random pins, unpins and reads against the oracle, under every kind of capacity.
static void oracle(void) {
    static const uint64_t capacities[] = {8192, 8192 * 2, 8192 * 5, 200000, 400000, 0};
    for (int trap = 0; trap < modes(); trap++)
        for (int random = 0; random < 2; random++)
            for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
                if (random && !capacities[c]) continue;
                world w;
                begin(&w, 8000, capacities[c], random, trap);
                hyp_pager_stats s = hyp_pager_get_stats(w.pager);
                struct {
                    uint32_t index;
                    const uint8_t *view;
                } pinned[40];
                int pins = 0, most = hyp_min_u32(s.frames > 1 ? s.frames - 1
                                                 : s.frames   ? 0
                                                              : 40,
                                                 40) > 0
                                         ? (int)hyp_min_u32(s.frames ? s.frames - 1 : 40, 40)
                                         : 0;
                for (int step = 0; step < 3000; step++) {
                    uint32_t index = random_u32() % PAGES;
                    const void *view;
                    switch (random_u32() % 4) {
                    case 0:
                        if (pins < most) {
                            CHECK(hyp_pager_pin(w.pager, index, &view) == HYP_OK);
                            pinned[pins].index = index;
                            pinned[pins++].view = view;
                        }
                        break;
                    case 1:
                        if (pins) {
                            int k = (int)(random_u32() % (uint32_t)pins);
                            // It has not moved.
                            check_page(&w.origin, pinned[k].index, pinned[k].view);
                            hyp_pager_unpin(w.pager, pinned[k].index);
                            pinned[k] = pinned[--pins];
                        }
                        break;
                    case 2: CHECK(hyp_pager_prefetch(w.pager, index) == HYP_OK); break;
                    default:
                        CHECK(hyp_pager_pin(w.pager, index, &view) == HYP_OK);
                        check_page(&w.origin, index, view);
                        hyp_pager_unpin(w.pager, index);
                        if (trap && pins < most)
                            check_page(&w.origin, index, hyp_pager_address(w.pager, index));
                    }
                    s = hyp_pager_get_stats(w.pager);
                    CHECK(s.present_bytes <= s.capacity_bytes);
                    CHECK(!capacities[c] || s.capacity_bytes <= capacities[c]);
                    CHECK(hyp_pager_page(w.pager, index).heat >= 0);
                }
                uint32_t present = 0;
                for (uint32_t i = 0; i < PAGES; i++) present += hyp_pager_page(w.pager, i).present;
                s = hyp_pager_get_stats(w.pager);
                CHECK(present == s.present && s.hits <= s.pins && s.fills >= present);
                CHECK(s.fills == s.present + s.evictions);
                if (!capacities[c]) CHECK(s.evictions == 0 && s.frames == 0);
                while (pins) hyp_pager_unpin(w.pager, pinned[--pins].index);
                end(&w);
            }
}

// A cyclic walk reads, each time round, no more than what does not fit.
static void cyclic_order(void) {
    for (int trap = 0; trap < modes(); trap++) {
        world w;
        begin(&w, 8000, 200000, false, trap);
        hyp_pager_stats s = hyp_pager_get_stats(w.pager);
        CHECK(s.resident > 0 && s.frames > 0);
        uint64_t before = 0;
        for (int pass = 0; pass < 4; pass++) {
            before = hyp_pager_get_stats(w.pager).fills;
            for (uint32_t i = 0; i < PAGES; i++) {
                const void *view;
                CHECK(hyp_pager_pin(w.pager, i, &view) == HYP_OK);
                check_page(&w.origin, i, view);
                hyp_pager_unpin(w.pager, i);
            }
        }
        s = hyp_pager_get_stats(w.pager);
        // The resident ones were read once, in the first pass.
        CHECK(s.fills - before <= PAGES - s.resident);
        CHECK(hyp_pager_keeps(w.pager, 0) && !hyp_pager_keeps(w.pager, PAGES - 1));
        CHECK(hyp_pager_page(w.pager, 0).heat > 0.8f);
        end(&w);
    }
}

// A scan over everything does not push out what is used between.
static void scans_are_resisted(void) {
    world w;
    begin(&w, 4000, 4096 * 10, true, false);
    const void *view;
    uint64_t hot_fills = 0;
    for (uint32_t i = 0; i < 20 * PAGES; i++) {
        uint32_t scan = i % PAGES;
        for (int k = 0; k < 2; k++) { // pages 0 to 3 between any two of the scan
            uint64_t fills = w.origin.fills;
            CHECK(hyp_pager_pin(w.pager, (i + (uint32_t)k) % 4, &view) == HYP_OK);
            hyp_pager_unpin(w.pager, (i + (uint32_t)k) % 4);
            if (i > PAGES) hot_fills += w.origin.fills - fills;
        }
        CHECK(hyp_pager_pin(w.pager, scan, &view) == HYP_OK);
        hyp_pager_unpin(w.pager, scan);
    }
    CHECK_MSG(hot_fills < 19 * PAGES / 20, "%llu", (unsigned long long)hot_fills);
    end(&w);
}

// Fill N fails, for all N: the status comes out, nothing is lost, and the same access works
// afterwards.
static void failure_at_every_step(void) {
    static const hyp_status failures[] = {HYP_E_IO, HYP_E_CANCELLED};
    for (int trap = 0; trap < modes(); trap++)
        for (int f = 0; f < 2; f++)
            for (long n = 0; n < 60; n++) {
                world w;
                begin(&w, 3000, 60000, false, trap);
                w.origin.fail_at = n;
                w.origin.failure = failures[f];
                int failed = 0;
                for (uint32_t i = 0; i < 80; i++) {
                    uint32_t index = i * 31 % PAGES;
                    const void *view;
                    hyp_status status = hyp_pager_pin(w.pager, index, &view);
                    if (status) {
                        CHECK(status == failures[f] && !hyp_pager_page(w.pager, index).present);
                        failed++;
                        CHECK(hyp_pager_pin(w.pager, index, &view) == HYP_OK);
                    }
                    check_page(&w.origin, index, view);
                    hyp_pager_unpin(w.pager, index);
                }
                CHECK(failed == 1);
                end(&w);
            }
}

static void one_frame_and_all_pinned(void) {
    for (int trap = 0; trap < modes(); trap++) {
        world w;
        begin(&w, 4000, 4096, true, trap);
        CHECK(hyp_pager_get_stats(w.pager).frames == 1);
        const void *a, *b;
        for (uint32_t i = 0; i < PAGES; i++) {
            CHECK(hyp_pager_pin(w.pager, i, &a) == HYP_OK);
            check_page(&w.origin, i, a);
            CHECK(hyp_pager_pin(w.pager, i, &b) == HYP_OK && a == b); // twice the same
            CHECK(hyp_pager_pin(w.pager, (i + 1) % PAGES, &b) == HYP_E_NOMEM);
            CHECK(hyp_pager_prefetch(w.pager, (i + 1) % PAGES) == HYP_OK); // only a wish
            hyp_pager_unpin(w.pager, i);
            CHECK(hyp_pager_pin(w.pager, (i + 1) % PAGES, &b) == HYP_E_NOMEM); // still pinned once
            check_page(&w.origin, i, a);
            hyp_pager_unpin(w.pager, i);
        }
        end(&w);
    }
    hyp_budget budget = {0};
    hyp_slab *slab = hyp_slab_create(&budget);
    origin o;
    make_origin(&o, 20000);
    hyp_pager_config config = {&budget, PAGES, o.bytes, 0, false, false, fill, &o, 0};
    uint64_t least = hyp_pager_least_bytes(&config);
    CHECK(least >= 20000 && least < 20000 + 65536);
    hyp_pager *pager;
    config.capacity_bytes = least - 1;
    CHECK(hyp_pager_create(&config, &pager) == HYP_E_NOMEM && !pager);
    config.capacity_bytes = least;
    CHECK(hyp_pager_create(&config, &pager) == HYP_OK);
    hyp_pager_destroy(pager);
    for (size_t limit = budget.used_bytes; limit < 400000; limit += 4096) { // allocation N fails
        budget.limit_bytes = limit;
        config.capacity_bytes = 150000;
        if (hyp_pager_create(&config, &pager) == HYP_OK) hyp_pager_destroy(pager);
        else CHECK(!pager);
    }
    CHECK(hyp_slab_check(slab) && hyp_slab_destroy(slab) == 0 && budget.used_bytes == 0);
}

static void pass_over(world *w) {
    const void *view;
    for (uint32_t i = 0; i < PAGES; i++) {
        CHECK(hyp_pager_pin(w->pager, i, &view) == HYP_OK);
        check_page(&w->origin, i, view);
        hyp_pager_unpin(w->pager, i);
    }
}

// Kept pages give way, as many as are asked for and nobody reads, and come back when there is room
// again.
static void shrinks_and_grows(void) {
    for (int trap = 0; trap < modes(); trap++) {
        world w;
        begin(&w, 8000, 0, false, trap);
        const void *view;
        pass_over(&w);
        CHECK(hyp_pager_get_stats(w.pager).present == PAGES);
        size_t used = w.budget.used_bytes;
        w.budget.limit_bytes = used; // no room to come back
        CHECK(hyp_pager_shrink(w.pager, 100000) >= 100000);
        CHECK_MSG(w.budget.used_bytes <= used - 100000, "%zu of %zu", w.budget.used_bytes, used);
        CHECK(!hyp_pager_pin_resident(w.pager, PAGES - 1, &view));
        uint32_t kept = hyp_pager_get_stats(w.pager).resident;
        for (int pass = 0; pass < 2; pass++) pass_over(&w);
        CHECK(hyp_pager_get_stats(w.pager).resident == kept);
        CHECK(hyp_pager_pin(w.pager, 2, &view) == HYP_OK);
        // Pages 0 to 2 can not go.
        size_t before = w.budget.used_bytes, given = hyp_pager_shrink(w.pager, 10 << 20);
        CHECK(given > 0 && w.budget.used_bytes == before - given &&
              hyp_pager_get_stats(w.pager).resident == 3);
        CHECK(hyp_pager_shrink(w.pager, 1) == 0 && w.budget.used_bytes == before - given);
        check_page(&w.origin, 2, view);
        hyp_pager_unpin(w.pager, 2);
        CHECK(hyp_pager_shrink(w.pager, 10 << 20) > 0 &&
              hyp_pager_shrink(w.pager, 1) == 0); // nothing is left to go: no success
        CHECK(!hyp_reclaim(w.budget.pagers, 1));
        pass_over(&w);
        for (size_t room = 0; room < 2; room++) {
            w.budget.limit_bytes = used + (room ? 256 << 10 : 0);
            for (int pass = 0; pass < 4; pass++) pass_over(&w);
            hyp_pager_stats s = hyp_pager_get_stats(w.pager);
            CHECK_MSG(room ? s.resident == PAGES && !s.frames : s.resident < PAGES,
                      "%u kept, %u frames", s.resident, s.frames);
            CHECK(w.budget.used_bytes <= w.budget.limit_bytes);
        }
        CHECK(w.budget.used_bytes == used);
        end(&w);
    }
}

// Several pagers of one budget: one that has nothing left does not shield the others; who can not
// give enough loses nothing.
static void pagers_shrink_together(void) {
    world w;
    begin(&w, 8000, 0, false, false);
    hyp_pager_config config = w.config;
    hyp_pager *other;
    config.page_bytes = w.origin.bytes;
    CHECK(hyp_pager_create(&config, &other) == HYP_OK); // the first one to be asked
    CHECK(hyp_pager_shrink(other, SIZE_MAX / 2) > 0);
    w.budget.limit_bytes = w.budget.used_bytes;
    uint32_t kept = hyp_pager_get_stats(w.pager).resident;
    CHECK(!hyp_reclaim(w.budget.pagers, 64 << 20) && hyp_pager_get_stats(w.pager).resident == kept);
    void *memory = hyp_budget_map(&w.budget, 60000);
    CHECK(memory && hyp_pager_get_stats(w.pager).resident < kept);
    hyp_budget_unmap(&w.budget, memory, 60000);
    hyp_pager_destroy(other);
    end(&w);
}

// ---- Fibers share a pager

static world shared;
static int readers_done;
static void reader(void *argument) {
    uint32_t x = (uint32_t)(size_t)argument;
    for (int i = 0; i < 60; i++) {
        uint32_t index = (x = x * 1664525 + 1013904223) >> 16;
        index %= 12;
        const void *view;
        CHECK(hyp_pager_pin(shared.pager, index, &view) == HYP_OK);
        check_page(&shared.origin, index, view);
        hyp_pager_unpin(shared.pager, index);
        CHECK(hyp_task_yield() == HYP_OK);
    }
    readers_done++;
}
static void cancelled_reader(void *unused) {
    (void)unused;
    for (uint32_t i = 0;; i++) {
        const void *view;
        hyp_status status = hyp_pager_pin(shared.pager, i % PAGES, &view);
        if (status == HYP_OK) {
            hyp_pager_unpin(shared.pager, i % PAGES);
            status = hyp_task_yield();
        }
        if (status) {
            CHECK(status == HYP_E_CANCELLED);
            return;
        }
    }
}
static void fibers_wait_for_one_another(void) {
    begin(&shared, 4000, 4096 * 3, true, false);
    shared.origin.slow = true;
    hyp_sched *sched = hyp_sched_create(shared.slab, &shared.budget);
    readers_done = 0;
    hyp_task *tasks[8], *unlucky[2];
    for (size_t i = 0; i < 8; i++)
        CHECK(hyp_sched_spawn(sched, reader, (void *)(i + 1), NULL, &tasks[i]) == HYP_OK);
    for (size_t i = 0; i < 2; i++)
        CHECK(hyp_sched_spawn(sched, cancelled_reader, NULL, NULL, &unlucky[i]) == HYP_OK);
    for (int i = 0; i < 37; i++) (void)!hyp_sched_run(sched, 1);
    for (int i = 0; i < 2; i++) hyp_task_cancel(unlucky[i]); // within a fill, or waiting for one
    for (int i = 0; i < 2; i++) CHECK(hyp_task_join(unlucky[i]) == HYP_OK);
    for (int i = 0; i < 8; i++) CHECK(hyp_task_join(tasks[i]) == HYP_OK);
    CHECK(readers_done == 8 && shared.origin.most_inside > 1); // fills did run side by side
    hyp_pager_stats s = hyp_pager_get_stats(shared.pager);
    CHECK(s.fills == s.present + s.evictions);
    hyp_sched_destroy(sched);
    end(&shared);
}

// ---- Faults

#if !defined(__wasm__)
static uint64_t sum_by_touch(const world *w) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < PAGES; i++) {
        const volatile uint8_t *view = hyp_pager_address(w->pager, i);
        for (uint32_t k = 0; k < w->origin.bytes[i]; k += 97) sum = sum * 31 + view[k];
    }
    return sum;
}
static uint64_t sum_wanted(const world *w) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < PAGES; i++)
        for (uint32_t k = 0; k < w->origin.bytes[i]; k += 97) sum = sum * 31 + byte_of(i, k);
    return sum;
}
static uint64_t touched;
static void toucher(void *world_pointer) { touched = sum_by_touch(world_pointer); }

static void faults_fill_pages(void) {
    if (!hyp_port_caps()->can_trap) return;
    world a, b; // two at once, as two engines have
    begin(&a, 20000, 80000, false, true);
    begin(&b, 20000, 100000, true, true);
    CHECK(sum_by_touch(&a) == sum_wanted(&a));
    CHECK(sum_by_touch(&b) == sum_wanted(&b));
    CHECK(hyp_pager_get_stats(a.pager).faults == PAGES &&
          hyp_pager_get_stats(b.pager).faults == PAGES);
    CHECK(hyp_pager_get_stats(b.pager).evictions > 0 && hyp_pager_fault_status(a.pager) == HYP_OK);
    hyp_fiber *f = hyp_fiber_create(HYP_STACK_BYTES, toucher, &a); // on a small stack
    CHECK(hyp_fiber_resume(f) == HYP_FIBER_DONE && touched == sum_wanted(&a));
    hyp_fiber_destroy(f);
    b.origin.fail_at = (long)b.origin.fills;
    b.origin.failure = HYP_E_IO;
    const volatile uint8_t *view = NULL;
    for (uint32_t i = 0; i < PAGES && !view; i++)
        if (!hyp_pager_page(b.pager, i).present) view = hyp_pager_address(b.pager, i);
    CHECK(view && view[0] == 0 && hyp_pager_fault_status(b.pager) == HYP_E_IO &&
          hyp_pager_fault_status(b.pager) == HYP_OK);
    end(&a);
    end(&b);
}

static sigjmp_buf back;
static volatile int foreign;
static void on_foreign(int signal_number) {
    foreign = signal_number;
    siglongjmp(back, 1);
}
static void foreign_faults_are_passed_on(void) {
    if (!hyp_port_caps()->can_trap) return;
    struct sigaction mine = {.sa_handler = on_foreign}, before;
    sigemptyset(&mine.sa_mask);
    sigaction(SIGSEGV, &mine, &before); // here before the pager's next view
    world w;
    begin(&w, 8000, 40000, false, true);
    foreign = 0;
    volatile char *guard = hyp_port_map(1 << 16);
    hyp_port_unmap((void *)(uintptr_t)guard, 1 << 16);
    if (!sigsetjmp(back, 1)) guard[0] = 1;
    CHECK(foreign == SIGSEGV);
    foreign = 0;
    const uint8_t *view = hyp_pager_address(w.pager, 0);
    CHECK(*(const volatile uint8_t *)view == byte_of(0, 0));
    if (!sigsetjmp(back, 1)) { // a kept or shown page is read
        *(volatile uint8_t *)(uintptr_t)hyp_pager_address(w.pager, PAGES - 1) = 1;
        foreign = 0;
    }
    end(&w);
    sigaction(SIGSEGV, &before, NULL);
}
#endif

int main(void) {
    RUN(oracle);
    RUN(cyclic_order);
    RUN(scans_are_resisted);
    RUN(failure_at_every_step);
    RUN(one_frame_and_all_pinned);
    RUN(shrinks_and_grows);
    RUN(pagers_shrink_together);
    RUN(fibers_wait_for_one_another);
#if !defined(__wasm__)
    RUN(faults_fill_pages);
    RUN(foreign_faults_are_passed_on);
#endif
    return finish();
}
