// Arena: memory that lives and dies together, under a shared budget. An arena belongs to one
// thread.
#ifndef HYP_MEM_ARENA_H
#define HYP_MEM_ARENA_H

#include "budget.h"

typedef struct hyp_arena_chunk hyp_arena_chunk;

typedef struct hyp_arena {
    hyp_budget *budget;              // borrowed
    hyp_arena_chunk *chunks, *large; // the newest first; large blocks have a chunk each
} hyp_arena;

typedef struct hyp_arena_mark { // a place in time; later ones become invalid when an earlier one is
                                // returned to
    hyp_arena_chunk *chunk, *large;
    size_t used;
} hyp_arena_mark;

void hyp_arena_init(hyp_arena *arena, hyp_budget *budget);
void hyp_arena_deinit(
    hyp_arena *arena); // gives everything back; the arena is then empty and usable

// `bytes` of zeroed memory, aligned to 64; NULL when the budget or the platform has no more. Lives
// until deinit or the return to an earlier mark.
void *hyp_arena_alloc(hyp_arena *arena, size_t bytes);

hyp_arena_mark hyp_arena_now(const hyp_arena *arena);
// Forgets what was allocated since `mark`. Chunks begun since are given back, but for an arena's
// first.
void hyp_arena_return(hyp_arena *arena, hyp_arena_mark mark);

#endif
