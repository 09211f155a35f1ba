#include "arena.h"

#include "../base/bytes.h"
#include "poison.h"

enum { ALIGN = 64, CHUNK_BYTES = 256 << 10, FIRST_BYTES = 16 << 10 };

struct hyp_arena_chunk {
    hyp_arena_chunk *next;
    size_t bytes, used;
};

void hyp_arena_init(hyp_arena *arena, hyp_budget *budget) {
    *arena = (hyp_arena){.budget = budget};
}

static void drop_until(hyp_arena *arena, hyp_arena_chunk **list, const hyp_arena_chunk *last) {
    while (*list != last) {
        hyp_arena_chunk *chunk = *list;
        *list = chunk->next;
        hyp_unpoison(chunk, chunk->bytes);
        hyp_budget_unmap(arena->budget, chunk, chunk->bytes);
    }
}

static hyp_arena_chunk *add_chunk(hyp_arena *arena, hyp_arena_chunk **list, size_t bytes) {
    hyp_arena_chunk *chunk = hyp_budget_map(arena->budget, bytes);
    if (!chunk) return NULL;
    *chunk = (hyp_arena_chunk){.bytes = bytes, .used = ALIGN, .next = *list};
    hyp_poison((char *)chunk + ALIGN, bytes - ALIGN);
    return *list = chunk;
}

void hyp_arena_deinit(hyp_arena *arena) {
    drop_until(arena, &arena->large, NULL);
    drop_until(arena, &arena->chunks, NULL);
}

void *hyp_arena_alloc(hyp_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - 2 * ALIGN - CHUNK_BYTES) return NULL;
    bytes = hyp_round_up(bytes ? bytes : 1, ALIGN);
    hyp_arena_chunk *chunk = arena->chunks;
    if (!chunk || chunk->bytes - chunk->used < bytes) {
        // The first chunk of an arena is small: many arenas hold little.
        size_t want = chunk ? CHUNK_BYTES : FIRST_BYTES;
        chunk = bytes + ALIGN > want / 4 ? add_chunk(arena, &arena->large, bytes + ALIGN)
                                         : add_chunk(arena, &arena->chunks, want);
        if (!chunk) return NULL;
    }
    void *memory = (char *)chunk + chunk->used;
    chunk->used += bytes;
    hyp_unpoison(memory, bytes);
    return memory;
}

hyp_arena_mark hyp_arena_now(const hyp_arena *arena) {
    return (hyp_arena_mark){arena->chunks, arena->large, arena->chunks ? arena->chunks->used : 0};
}

void hyp_arena_return(hyp_arena *arena, hyp_arena_mark mark) {
    drop_until(arena, &arena->large, mark.large);
    while (arena->chunks != mark.chunk && arena->chunks->next != mark.chunk)
        drop_until(arena, &arena->chunks, arena->chunks->next);
    if (arena->chunks != mark.chunk) {
        if (mark.chunk) drop_until(arena, &arena->chunks, mark.chunk);
        else
            // The first chunk stays, so that the next answer need not map one again.
            mark.used = ALIGN;
    }
    hyp_arena_chunk *chunk = arena->chunks;
    if (!chunk) return;
    memset((char *)chunk + mark.used, 0, chunk->used - mark.used);
    hyp_poison((char *)chunk + mark.used, chunk->bytes - mark.used);
    chunk->used = mark.used;
}
