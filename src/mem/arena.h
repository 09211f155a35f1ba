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

// A point in time. Returning to it makes later ones invalid.
typedef struct hyp_arena_mark {
    hyp_arena_chunk *chunk, *large;
    size_t used;
} hyp_arena_mark;

void hyp_arena_init(hyp_arena *arena, hyp_budget *budget);
// Gives everything back; the arena is then empty and usable.
void hyp_arena_deinit(hyp_arena *arena);

// `bytes` of zeroed memory, aligned to 64; NULL when the budget or the platform has no more. Lives
// until deinit or the return to an earlier mark.
void *hyp_arena_alloc(hyp_arena *arena, size_t bytes);

hyp_arena_mark hyp_arena_now(const hyp_arena *arena);
// Frees what was allocated since `mark`, and gives back the chunks begun since. An arena's first
// chunk stays with it.
void hyp_arena_return(hyp_arena *arena, hyp_arena_mark mark);

#endif
