// Arena: memory that lives and dies together, under a shared budget. An arena belongs to one thread.
// Invariant: the budget's `used_bytes` is what all its arenas have mapped from the platform.
#ifndef HYP_MEM_ARENA_H
#define HYP_MEM_ARENA_H

#include "../base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct hyp_budget {
    size_t limit_bytes; // 0: no limit but the platform's
    size_t used_bytes, peak_bytes;
} hyp_budget;

typedef struct hyp_arena_chunk hyp_arena_chunk;

typedef struct hyp_arena {
    hyp_budget *budget; // borrowed
    hyp_arena_chunk *chunks;
} hyp_arena;

void hyp_arena_init(hyp_arena *arena, hyp_budget *budget);
void hyp_arena_deinit(hyp_arena *arena); // gives everything back; the arena is then empty and usable

// `bytes` of zeroed memory, aligned to 64; NULL when the budget or the platform has no more. Lives until deinit.
void *hyp_arena_alloc(hyp_arena *arena, size_t bytes);

// Maps / unmaps a block of its own under the budget, for what must be given back early. NULL as above.
void *hyp_budget_map(hyp_budget *budget, size_t bytes);
void hyp_budget_unmap(hyp_budget *budget, void *memory, size_t bytes);

#endif
