// The pool: every column of every loop comes from somebody, whatever workers do; a late one
// disturbs nothing.
#include "../src/pool/pool.h"
#include "../src/port.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>

// Tiles of the first two rows, then of the others.
enum { ROWS = 5, COLUMNS = 96, WIDTH = 16, TILES = 2 * COLUMNS / WIDTH, SCRATCH = 16, GAP = 3 };

static uint32_t delay_ns;                // of workers, in a tile
static uint32_t late_every = UINT32_MAX; // how many of their tiles take that long
static uint32_t worker_tiles;
static uint32_t workers_at_work;
static uint64_t caller;

typedef struct job {
    uint32_t factor;
} job;

static uint64_t self(void) { // tells threads apart
    static _Thread_local char here;
    return (uint64_t)(uintptr_t)&here;
}

static float value(uint32_t factor, float input, uint32_t column) {
    return (float)factor * input + (float)column;
}

static hyp_tile tile_at(const void *context, uint32_t tile) {
    (void)context;
    bool later = tile >= TILES / 2;
    return (hyp_tile){later ? 2 : 0, later ? ROWS - 2 : 2, tile % (TILES / 2) * WIDTH, WIDTH};
}

static void compute(const void *context, const void *input, uint32_t tile, float *y,
                    size_t y_stride, float *scratch) {
    const job *j = context;
    const float *x = input;
    bool working = self() != caller;
    if (working) __atomic_add_fetch(&workers_at_work, 1, __ATOMIC_RELAXED);
    if (working && __atomic_add_fetch(&worker_tiles, 1, __ATOMIC_RELAXED) % late_every == 0)
        for (uint64_t end = hyp_port_now_ns() + delay_ns; hyp_port_now_ns() < end;)
            hyp_port_pause();
    hyp_tile t = tile_at(j, tile);
    for (uint32_t r = t.row; r < t.row + t.rows; r++)
        for (uint32_t c = t.column; c < t.column + t.columns; c++) {
            scratch[c % SCRATCH] = x[r * (1 + GAP)];
            y[r * y_stride + c] = value(j->factor, scratch[c % SCRATCH], c);
        }
    if (working) __atomic_sub_fetch(&workers_at_work, 1, __ATOMIC_RELEASE);
}

static hyp_pool *create(hyp_budget *budget, uint32_t workers) {
    return hyp_pool_create(budget,
                           &(hyp_pool_config){.workers = workers,
                                              .job_bytes = sizeof(job),
                                              .input_bytes = ROWS * (1 + GAP) * sizeof(float),
                                              .output_floats = ROWS * COLUMNS,
                                              .scratch_floats = SCRATCH});
}

// A loop whose output, job and input are overwritten as soon as it is over: a late worker must not
// have needed them.
static void one_stage(hyp_pool *pool, uint32_t factor) {
    float y[ROWS][COLUMNS + 4], x[ROWS * (1 + GAP)] = {0}, scratch[SCRATCH];
    job j = {factor};
    memset(y, 0xA5, sizeof y);
    for (uint32_t r = 0; r < ROWS; r++) x[r * (1 + GAP)] = (float)(factor % 7 + r);
    hyp_parallel_for(pool, &(hyp_parallel_loop){.compute = compute,
                                                .tile_at = tile_at,
                                                .job = &j,
                                                .job_bytes = sizeof j,
                                                .input = x,
                                                .input_stride = (1 + GAP) * sizeof(float),
                                                .input_width = sizeof(float),
                                                .tiles = TILES,
                                                .rows = ROWS,
                                                .columns = COLUMNS,
                                                .macs = 1000 * TILES,
                                                .tile_macs = 1000,
                                                .y = &y[0][0],
                                                .y_stride = COLUMNS + 4,
                                                .scratch = scratch});
    float untouched;
    memset(&untouched, 0xA5, sizeof untouched);
    for (uint32_t r = 0; r < ROWS; r++) {
        for (uint32_t c = 0; c < COLUMNS; c++)
            CHECK_MSG(y[r][c] == value(factor, (float)(factor % 7 + r), c),
                      "loop %u, row %u, column %u: %g", factor, r, c, (double)y[r][c]);
        CHECK(memcmp(&y[r][COLUMNS], &untouched, sizeof untouched) == 0);
    }
    j.factor = 0xDEAD;
    for (uint32_t r = 0; r < ROWS; r++) x[r * (1 + GAP)] = -1;
}

static bool all_present(const hyp_pool *pool) {
    return hyp_pool_get_stats(pool).present == hyp_pool_get_stats(pool).workers;
}

// Workers come when the system lets them; a minute only tells that they never will.
static void await_all(const hyp_pool *pool) {
    for (int i = 0; i < 60000 && !all_present(pool); i++) hyp_port_nap(1000000);
    CHECK(all_present(pool));
}

static void loops(void) {
    hyp_budget budget = {0};
    for (uint32_t workers = 1; workers <= 3; workers++) {
        hyp_pool *pool = create(&budget, workers);
        CHECK(pool && hyp_pool_threads(pool) == workers + 1);
        for (uint32_t i = 1; i < 3000; i++) one_stage(pool, i); // workers come when they come
        await_all(pool);
        uint64_t before = hyp_pool_get_stats(pool).by_workers;
        for (uint32_t i = 1; i < 400000 && hyp_pool_get_stats(pool).by_workers == before; i++)
            one_stage(pool, i);
        hyp_pool_stats s = hyp_pool_get_stats(pool);
        CHECK_MSG(s.by_workers > before && s.tiles == s.loops * TILES, "%llu tiles of %llu loops",
                  (unsigned long long)s.tiles, (unsigned long long)s.loops);
        hyp_pool_destroy(pool);
    }
    CHECK(budget.used_bytes == 0);
}

// A worker that does not come back in time: its tiles are computed again, and loops go on without
// it.
static void late_workers(void) {
    hyp_budget budget = {0};
    hyp_pool *pool = create(&budget, 2);
    CHECK(pool);
    await_all(pool);
    delay_ns = 3000000;
    late_every = 2;
    for (uint32_t i = 1; i < 200000 && hyp_pool_get_stats(pool).repeated < 3; i++)
        one_stage(pool, i);
    CHECK(hyp_pool_get_stats(pool).repeated >= 3);
    hyp_pool_wait_idle(pool); // waits for what they still do
    CHECK(__atomic_load_n(&workers_at_work, __ATOMIC_ACQUIRE) == 0);
    hyp_pool_destroy(pool);
    delay_ns = 0;
    late_every = UINT32_MAX;
    CHECK(budget.used_bytes == 0);
}

static void sleeping_workers_are_woken(void) {
    hyp_budget budget = {0};
    hyp_pool *pool = create(&budget, 1);
    CHECK(pool);
    await_all(pool);
    uint64_t by_workers = 0;
    for (uint32_t i = 1; i < 400 && by_workers < 3; i++) {
        hyp_port_nap(1000000); // long enough to fall asleep
        delay_ns = 0;
        uint64_t before = hyp_pool_get_stats(pool).by_workers;
        for (uint32_t k = 0; k < 2000 && hyp_pool_get_stats(pool).by_workers == before; k++)
            one_stage(pool, i + k);
        by_workers += hyp_pool_get_stats(pool).by_workers > before;
    }
    CHECK(by_workers == 3);
    hyp_pool_destroy(pool);
}

static void none_and_no_memory(void) {
    hyp_budget budget = {0};
    CHECK(create(&budget, 0) == NULL && hyp_pool_threads(NULL) == 1);
    hyp_pool_wait_idle(NULL);
    hyp_pool_destroy(NULL);
    CHECK(hyp_pool_get_stats(NULL).workers == 0);
    budget.limit_bytes = 4096;
    CHECK(create(&budget, 2) == NULL && budget.used_bytes == 0);
}

int main(void) {
    caller = self();
    hyp_budget budget = {0};
    hyp_pool *pool = create(&budget, 1);
    RUN(none_and_no_memory);
    if (!pool) return finish(); // a platform without threads
    hyp_pool_destroy(pool);
    RUN(loops);
    RUN(late_workers);
    RUN(sleeping_workers_are_woken);
    return finish();
}
