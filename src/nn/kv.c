#include "kv.h"

#include "../base/bytes.h"
#include "../base/check.h"

_Static_assert(sizeof(hyp_kv_block) <= HYP_KV_HEADER, "a block's data begin behind its header");

static uint32_t blocks_of(uint32_t positions) {
    return (uint32_t)(((uint64_t)positions + HYP_KV_BLOCK - 1) / HYP_KV_BLOCK);
}

static uint64_t block_bytes(const hyp_graph *g, hyp_kv_format format) {
    uint64_t bytes = HYP_KV_HEADER;
    for (uint32_t i = 0; i < g->kv_count; i++)
        bytes += 2ull * g->kv[i].heads * hyp_kv_block_bytes(format, g->kv[i].head);
    return bytes;
}

hyp_status hyp_kv_cache_init(hyp_kv_cache *c, const hyp_graph *g, hyp_kv_format format,
                             hyp_arena *arena) {
    *c = (hyp_kv_cache){.graph = g, .budget = arena->budget, .format = format};
    for (uint32_t i = 0; i < g->kv_count; i++)
        if (format == HYP_KV_Q8_0 && g->kv[i].head % 32)
            return hyp_fail(g->gguf->fault, HYP_E_UNSUPPORTED,
                            "a Q8_0 cache needs heads of a multiple of 32 elements; this model's "
                            "have %u: use F16",
                            g->kv[i].head);
    uint64_t bytes = block_bytes(g, format), at = HYP_KV_HEADER;
    c->at = hyp_arena_alloc(arena, g->kv_count * sizeof *c->at);
    if (!c->at || bytes > SIZE_MAX / 2)
        return hyp_fail(g->gguf->fault, HYP_E_NOMEM, "not enough memory for a cache");
    c->block_bytes = (size_t)bytes;
    for (uint32_t i = 0; i < g->kv_count; i++) {
        c->at[i] = (size_t)at;
        at += 2ull * g->kv[i].heads * hyp_kv_block_bytes(format, g->kv[i].head);
    }
    return HYP_OK;
}

static void free_one(hyp_kv_cache *c) {
    hyp_kv_block *block = c->free;
    c->free = block->next;
    c->blocks--;
    hyp_budget_free(c->budget, block, c->block_bytes);
}

void hyp_kv_cache_deinit(hyp_kv_cache *c) {
    while (c->free) free_one(c);
    HYP_CHECK(c->blocks == 0, "a cache goes away before a sequence of its own");
}

uint64_t hyp_sequence_bytes(const hyp_graph *g, hyp_kv_format format, uint32_t context) {
    return blocks_of(context) * (block_bytes(g, format) + sizeof(hyp_kv_block *)) +
           g->recurrent_floats * sizeof(float);
}

hyp_status hyp_sequence_init(hyp_sequence *s, hyp_kv_cache *c, hyp_arena *arena, uint32_t context) {
    uint32_t count = blocks_of(context);
    *s = (hyp_sequence){0};
    hyp_kv_block **blocks = hyp_arena_alloc(arena, count * sizeof *blocks);
    float *recurrent = NULL;
    if (c->graph->recurrent_floats)
        recurrent = hyp_arena_alloc(arena, c->graph->recurrent_floats * sizeof *recurrent);
    if (!blocks || (c->graph->recurrent_floats && !recurrent)) return HYP_E_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        hyp_kv_block *block = hyp_budget_alloc(c->budget, c->block_bytes, "kv");
        if (!block) {
            for (; i > 0; i--) free_one(c);
            return HYP_E_NOMEM;
        }
        *block = (hyp_kv_block){.next = c->free};
        c->free = block;
        c->blocks++;
    }
    *s = (hyp_sequence){.cache = c, .blocks = blocks, .recurrent = recurrent, .context = context};
    return HYP_OK;
}

static void drop(hyp_kv_cache *c, hyp_kv_block *block) {
    if (!block || --block->users) return;
    block->next = c->free;
    c->free = block;
}

void hyp_sequence_deinit(hyp_sequence *s) {
    if (!s->cache) return;
    uint32_t count = blocks_of(s->context);
    for (uint32_t i = 0; i < count; i++) drop(s->cache, s->blocks[i]);
    for (uint32_t i = 0; i < count; i++) free_one(s->cache);
    *s = (hyp_sequence){0};
}

uint32_t hyp_sequence_trim(hyp_sequence *s, uint32_t count) {
    if (count >= s->count) return s->count;
    s->count = s->recurrent ? 0 : count;
    if (s->recurrent)
        memset(s->recurrent, 0, s->cache->graph->recurrent_floats * sizeof *s->recurrent);
    return s->count;
}

void hyp_sequence_restore(hyp_sequence *s, uint32_t count) { s->count += count; }

void hyp_sequence_fork(hyp_sequence *to, const hyp_sequence *from) {
    HYP_CHECK(to->cache == from->cache && to->context >= from->context && !from->computing,
              "a sequence is forked to another kind");
    for (uint32_t i = 0; i < blocks_of(to->context); i++) {
        drop(to->cache, to->blocks[i]);
        to->blocks[i] = i < blocks_of(from->count) ? from->blocks[i] : NULL;
        if (to->blocks[i]) to->blocks[i]->users++;
    }
    if (to->recurrent)
        memcpy(to->recurrent, from->recurrent,
               to->cache->graph->recurrent_floats * sizeof *to->recurrent);
    to->count = from->count;
}

bool hyp_sequence_shares(const hyp_sequence *s, uint32_t count) {
    for (uint32_t i = s->count / HYP_KV_BLOCK; i < blocks_of(s->count + count); i++)
        if (s->blocks[i] && s->blocks[i]->users > 1) return true;
    return false;
}

void hyp_sequence_extend(hyp_sequence *s, uint32_t count) {
    hyp_kv_cache *c = s->cache;
    for (uint32_t i = s->count / HYP_KV_BLOCK; i < blocks_of(s->count + count); i++) {
        hyp_kv_block *old = s->blocks[i];
        if (old && old->users == 1) continue;
        hyp_kv_block *block = c->free;
        HYP_CHECK(block, "a sequence has more blocks than it has reserved");
        c->free = block->next;
        block->users = 1;
        if (old) {
            memcpy((uint8_t *)block + HYP_KV_HEADER, (uint8_t *)old + HYP_KV_HEADER,
                   c->block_bytes - HYP_KV_HEADER);
            old->users--;
        }
        s->blocks[i] = block;
    }
}
