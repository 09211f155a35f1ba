// Thread pool: worker threads that share loops (parallel-for) with the thread that runs the fibers.
// Each worker drains a lane of its own.
//
// A loop is one operation of a forward pass. It is divided into tiles, and whoever is free takes
// the next one: the tiles' counter is the only word that all threads write. A worker works on a
// copy of the input (its capsule) and writes to memory of its own, from which the caller copies
// finished tiles. So nobody ever waits for a worker that the system has taken off its processor:
// after a moment the caller computes its tile again, and ignores what the worker says later about a
// loop that is over.
#ifndef HYP_POOL_POOL_H
#define HYP_POOL_POOL_H

#include "../mem/budget.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HYP_POOL_WORKERS = 15, // at most
    HYP_POOL_TILES = 1024, // of a loop, at most
    HYP_POOL_MANY_ROWS = 8 // loops of so many rows are long, and measured by themselves
};

// What a tile computes of a loop's results: `rows` of their rows from `row` on, and of these
// `columns` from `column` on.
typedef struct hyp_tile {
    uint32_t row, rows, column, columns;
} hyp_tile;

// Computes rows of results, tile by tile.
typedef struct hyp_parallel_loop {
    // Computes a tile of the results at `y`, whose rows are y_stride floats apart. `job` and
    // `input` are the loop's, or copies of them.
    void (*compute)(const void *job, const void *input, uint32_t tile, float *y, size_t y_stride,
                    float *scratch);
    hyp_tile (*tile_at)(const void *job, uint32_t tile);
    const void *job, *input; // (rows), input_stride bytes apart, of which input_width are read
    size_t job_bytes, input_stride, input_width;
    uint32_t tiles, rows, columns;
    uint64_t macs, tile_macs; // multiply-adds: of the loop, and of its largest tile
    float *y;
    size_t y_stride;
    float *scratch; // the caller's; workers have their own
} hyp_parallel_loop;

typedef struct hyp_pool hyp_pool;

typedef struct hyp_pool_stats {
    uint32_t workers, present;         // asked for; that have come
    uint64_t loops, tiles, by_workers; // tiles in all, and those that workers computed
    uint64_t repeated; // tiles computed again because a worker did not come back in time
} hyp_pool_stats;

typedef struct hyp_pool_config {
    uint32_t workers;
    // Of the largest loop; its input is rows * input_stride bytes, its output rows * columns
    // floats.
    size_t job_bytes, input_bytes, output_floats, scratch_floats;
} hyp_pool_config;

size_t hyp_pool_bytes(const hyp_pool_config *config);
// Starts the threads. NULL: the platform starts none, or there is no memory for them; nothing is
// left behind.
hyp_pool *hyp_pool_create(hyp_budget *budget, const hyp_pool_config *config);
// Waits until no worker touches the caller's memory, and ends the workers. NULL is allowed.
void hyp_pool_destroy(hyp_pool *pool);
// Waits until no worker reads what a job points to. NULL is allowed.
void hyp_pool_wait_idle(hyp_pool *pool);
// What workers have done up to now, also for a loop that was over before they were, comes before
// what the caller does from here on. Waits for nobody. NULL is allowed.
void hyp_pool_acquire(const hyp_pool *pool);
// Computes the loop. What a job points to must stay until hyp_pool_wait_idle or hyp_pool_destroy: a
// worker may come back late.
void hyp_parallel_for(hyp_pool *pool, const hyp_parallel_loop *loop);
uint32_t hyp_pool_threads(const hyp_pool *pool); // the caller's included
hyp_pool_stats hyp_pool_get_stats(const hyp_pool *pool);

#endif
