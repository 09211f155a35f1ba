#include "arena.h"

#include "../base/bytes.h"
#include "../port.h"

enum { ALIGN = 64, CHUNK_BYTES = 256 << 10 };

struct hyp_arena_chunk {
    hyp_arena_chunk *next;
    size_t bytes, used;
};

void hyp_arena_init(hyp_arena *arena, hyp_budget *budget) { *arena = (hyp_arena){.budget = budget}; }

void hyp_arena_deinit(hyp_arena *arena) {
    for (hyp_arena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        hyp_budget_unmap(arena->budget, chunk, chunk->bytes);
    }
    arena->chunks = NULL;
}

void *hyp_arena_alloc(hyp_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - 2 * ALIGN - CHUNK_BYTES) return NULL;
    bytes = hyp_round_up(bytes ? bytes : 1, ALIGN);
    hyp_arena_chunk *chunk = arena->chunks;
    if (!chunk || chunk->bytes - chunk->used < bytes) {
        // A large block gets a chunk of its own behind the open one, which stays open.
        size_t want = bytes + ALIGN > CHUNK_BYTES / 4 ? bytes + ALIGN : CHUNK_BYTES;
        hyp_arena_chunk *fresh = hyp_budget_map(arena->budget, want);
        if (!fresh) return NULL;
        *fresh = (hyp_arena_chunk){.bytes = want, .used = ALIGN};
        if (chunk && want != CHUNK_BYTES) {
            fresh->next = chunk->next;
            chunk->next = fresh;
        } else {
            fresh->next = chunk;
            arena->chunks = fresh;
        }
        chunk = fresh;
    }
    void *memory = (char *)chunk + chunk->used;
    chunk->used += bytes;
    return memory;
}

void *hyp_budget_map(hyp_budget *budget, size_t bytes) {
    size_t page = hyp_port_caps()->page_bytes;
    if (bytes > SIZE_MAX - page) return NULL;
    size_t whole = hyp_round_up(bytes, page);
    if (budget->limit_bytes && (whole > budget->limit_bytes || budget->used_bytes > budget->limit_bytes - whole)) return NULL;
    void *memory = hyp_port_map(whole);
    if (!memory) return NULL;
    budget->used_bytes += whole;
    if (budget->used_bytes > budget->peak_bytes) budget->peak_bytes = budget->used_bytes;
    return memory;
}

void hyp_budget_unmap(hyp_budget *budget, void *memory, size_t bytes) {
    if (!memory) return;
    size_t whole = hyp_round_up(bytes, hyp_port_caps()->page_bytes);
    hyp_port_unmap(memory, whole);
    budget->used_bytes -= whole;
}
