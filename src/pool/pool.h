// A team of helper threads that compute products beside the thread that runs the fibers. Each helper drains a lane of its own.
//
// A stage is one operation of a step. It is divided into tiles, which whoever is free takes: the tiles' counter is
// the only word that all of them write. A helper works on a copy of the input (its capsule) and writes to memory of its own, from
// which finished tiles are taken over. So nobody ever waits for a helper that the system has taken off its processor: after a moment its
// tile is computed again, and what it says later about a stage that is over is not listened to.
#ifndef HYP_POOL_POOL_H
#define HYP_POOL_POOL_H

#include "../mem/budget.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HYP_TEAM_HELPERS = 15, HYP_TEAM_TILES = 1024 }; // at most; of a stage

// Rows of results, a range of columns of which each tile computes.
typedef struct hyp_stage {
    // Computes a tile: its columns of the rows at `y`, y_stride floats apart. `job` and `input` are the stage's, or copies of them.
    void (*compute)(const void *job, const void *input, uint32_t tile, float *y, size_t y_stride, float *scratch);
    void (*range)(const void *job, uint32_t tile, uint32_t *from, uint32_t *width); // a tile's columns
    const void *job, *input;
    size_t job_bytes, input_bytes;
    uint32_t tiles, rows, columns;
    uint64_t macs, tile_macs; // multiply-adds: of the stage, and of its largest tile
    float *y;
    size_t y_stride;
    float *scratch; // the caller's; helpers have their own
} hyp_stage;

typedef struct hyp_team hyp_team;

typedef struct hyp_team_stats {
    uint32_t helpers, present;      // asked for; that have come
    uint64_t stages, tiles, helped; // tiles in all, and those that helpers computed
    uint64_t repeated;              // tiles computed again because a helper did not come back in time
} hyp_team_stats;

typedef struct hyp_team_config {
    uint32_t helpers;
    size_t job_bytes, input_bytes, output_floats, scratch_floats; // of the largest stage; output: rows * columns
} hyp_team_config;

size_t hyp_team_bytes(const hyp_team_config *config);
// Starts the threads. NULL: the platform starts none, or there is no memory for them; nothing is left behind.
hyp_team *hyp_team_create(hyp_budget *budget, const hyp_team_config *config);
// Waits until no helper touches anything of the caller's, and ends them. NULL is allowed.
void hyp_team_destroy(hyp_team *team);
// Waits until no worker thread reads anything that it was given. NULL is allowed.
void hyp_team_settle(hyp_team *team);
// Computes the stage. What a job points to must stay until hyp_team_settle or hyp_team_destroy: a helper may come back late.
void hyp_team_run(hyp_team *team, const hyp_stage *stage);
uint32_t hyp_team_threads(const hyp_team *team); // the caller's included
hyp_team_stats hyp_team_describe(const hyp_team *team);

#endif
