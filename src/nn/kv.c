#include "kv.h"

#include "../base/bytes.h"
#include "../base/check.h"

_Static_assert(sizeof(hyp_kv_block) <= HYP_KV_HEADER, "a block's data begin behind its header");

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
    return hyp_kv_blocks(context) * (block_bytes(g, format) + sizeof(hyp_kv_block *)) +
           g->recurrent_floats * sizeof(float);
}

size_t hyp_sequence_table_bytes(const hyp_kv_cache *c, uint32_t context) {
    return hyp_kv_blocks(context) * sizeof(hyp_kv_block *) +
           c->graph->recurrent_floats * sizeof(float);
}

// Its tables in `tables`; nothing is reserved yet.
static hyp_sequence placed(hyp_kv_cache *c, void *tables, uint32_t context) {
    hyp_kv_block **blocks = tables;
    return (hyp_sequence){.cache = c,
                          .blocks = blocks,
                          .recurrent = c->graph->recurrent_floats
                                           ? (float *)(void *)(blocks + hyp_kv_blocks(context))
                                           : NULL,
                          .context = context};
}

hyp_status hyp_sequence_begin(hyp_sequence *s, hyp_kv_cache *c, void *tables, uint32_t context) {
    *s = (hyp_sequence){0};
    for (uint32_t i = 0; i < hyp_kv_blocks(context); i++) {
        hyp_kv_block *block = hyp_budget_alloc(c->budget, c->block_bytes, "kv");
        if (!block) {
            for (; i > 0; i--) free_one(c);
            return HYP_E_NOMEM;
        }
        *block = (hyp_kv_block){.next = c->free};
        c->free = block;
        c->blocks++;
    }
    *s = placed(c, tables, context);
    return HYP_OK;
}

hyp_status hyp_sequence_init(hyp_sequence *s, hyp_kv_cache *c, hyp_arena *arena, uint32_t context) {
    *s = (hyp_sequence){0};
    void *tables = hyp_arena_alloc(arena, hyp_sequence_table_bytes(c, context));
    return tables ? hyp_sequence_begin(s, c, tables, context) : HYP_E_NOMEM;
}

static void drop(hyp_kv_cache *c, hyp_kv_block *block) {
    if (!block || --block->users) return;
    block->next = c->free;
    c->free = block;
}

void hyp_sequence_deinit(hyp_sequence *s) {
    if (!s->cache) return;
    uint32_t count = hyp_kv_blocks(s->context);
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

void hyp_sequence_share(hyp_sequence *to, const hyp_sequence *from, uint32_t count) {
    HYP_CHECK(to->cache == from->cache && to->context >= count && from->count >= count &&
                  !from->computing && !to->computing && (!to->recurrent || count == from->count),
              "a sequence is shared with another kind");
    for (uint32_t i = 0; i < hyp_kv_blocks(to->context); i++) {
        hyp_kv_block *block = i < hyp_kv_blocks(count) ? from->blocks[i] : NULL;
        if (block) block->users++;
        drop(to->cache, to->blocks[i]);
        to->blocks[i] = block;
    }
    if (to->recurrent)
        memcpy(to->recurrent, from->recurrent,
               to->cache->graph->recurrent_floats * sizeof *to->recurrent);
    to->count = count;
}

void hyp_sequence_fork(hyp_sequence *to, const hyp_sequence *from) {
    hyp_sequence_share(to, from, from->count);
}

void hyp_sequence_move(hyp_sequence *to, hyp_sequence *from, void *tables, uint32_t count) {
    hyp_kv_cache *c = from->cache;
    uint32_t kept = hyp_kv_blocks(count);
    *to = placed(c, tables, count);
    memcpy(to->blocks, from->blocks, kept * sizeof *to->blocks);
    if (to->recurrent)
        memcpy(to->recurrent, from->recurrent, c->graph->recurrent_floats * sizeof *to->recurrent);
    to->count = count;
    for (uint32_t i = kept; i < hyp_kv_blocks(from->context); i++) drop(c, from->blocks[i]);
    for (uint32_t i = kept; i < hyp_kv_blocks(from->context); i++) free_one(c);
    *from = (hyp_sequence){0};
}

bool hyp_sequence_shares(const hyp_sequence *s, uint32_t count) {
    for (uint32_t i = s->count / HYP_KV_BLOCK; i < hyp_kv_blocks(s->count + count); i++)
        if (s->blocks[i] && s->blocks[i]->users > 1) return true;
    return false;
}

void hyp_sequence_extend(hyp_sequence *s, uint32_t count) {
    hyp_kv_cache *c = s->cache;
    for (uint32_t i = s->count / HYP_KV_BLOCK; i < hyp_kv_blocks(s->count + count); i++) {
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
