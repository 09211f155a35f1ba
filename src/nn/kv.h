// What sequences remember: keys and values in blocks of HYP_KV_BLOCK positions, and recurrent state
// where the model has it. A block holds all attentions of those positions; sequences of one cache
// share the blocks of a text that they have in common, and copy one when they write to it.
//
// Memory is reserved, not hoped for: a sequence takes blocks for its whole context when it begins,
// so that none is lacking in the middle of a text, whatever is shared or copied. What is only
// remembered (prompt_cache.h) is a sequence too, whose context is as long as its text.
// Invariant: blocks in use by sequences <= their reservations in all = blocks of the cache. Each
// sequence uses as many as it has reserved at most, and sharing only makes what they use together
// less; one that is moved gives back what it has reserved beyond its text, which it does not use.
#ifndef HYP_NN_KV_H
#define HYP_NN_KV_H

#include "graph.h"

typedef struct hyp_kv_block hyp_kv_block;
struct hyp_kv_block { // its data follow, aligned to 64
    hyp_kv_block *next;
    uint32_t users; // sequences; 0: it is free
};
enum { HYP_KV_HEADER = 64 };

typedef struct hyp_kv_cache {
    const hyp_graph *graph; // borrowed
    hyp_budget *budget;     // borrowed
    hyp_kv_format format;
    size_t block_bytes; // with the header
    size_t *at;         // of each attention: where its keys begin in a block; its values follow
    hyp_kv_block *free;
    uint32_t blocks;
} hyp_kv_cache;

typedef struct hyp_sequence { // its tokens so far, as the model remembers them
    hyp_kv_cache *cache;      // borrowed
    hyp_kv_block **blocks;    // by position / HYP_KV_BLOCK; NULL: nothing is there yet
    float *recurrent;         // graph->recurrent_floats; NULL: none
    uint32_t context;         // positions that it may have
    uint32_t count;           // positions that it has
    bool computing;           // a forward pass is under way
} hyp_sequence;

// HYP_E_UNSUPPORTED: the format does not fit the model's heads; HYP_E_NOMEM. `arena` owns a table.
HYP_MUST_USE hyp_status hyp_kv_cache_init(hyp_kv_cache *cache, const hyp_graph *graph,
                                          hyp_kv_format format, hyp_arena *arena);
void hyp_kv_cache_deinit(hyp_kv_cache *cache); // after its sequences

// Blocks of `positions`.
static inline uint32_t hyp_kv_blocks(uint32_t positions) {
    return (uint32_t)(((uint64_t)positions + HYP_KV_BLOCK - 1) / HYP_KV_BLOCK);
}
// Bytes that a sequence of `context` positions reserves.
uint64_t hyp_sequence_bytes(const hyp_graph *graph, hyp_kv_format format, uint32_t context);
// An empty sequence. `arena` owns its tables. HYP_E_NOMEM leaves nothing behind but what `arena`
// frees.
HYP_MUST_USE hyp_status hyp_sequence_init(hyp_sequence *sequence, hyp_kv_cache *cache,
                                          hyp_arena *arena, uint32_t context);
// The same in memory of the caller's, hyp_sequence_table_bytes of zeros that outlive it.
HYP_MUST_USE hyp_status hyp_sequence_begin(hyp_sequence *sequence, hyp_kv_cache *cache,
                                           void *tables, uint32_t context);
size_t hyp_sequence_table_bytes(const hyp_kv_cache *cache, uint32_t context);
// Gives its blocks back. No worker thread may read them any more. An all-zero sequence is ignored.
void hyp_sequence_deinit(hyp_sequence *sequence);

// Forgets all but the first `count` positions. Returns how many it has: with recurrent state, which
// can not be taken back, that is none or all of them.
uint32_t hyp_sequence_trim(hyp_sequence *sequence, uint32_t count);
// Has again `count` positions that it was trimmed of, with nothing computed since.
void hyp_sequence_restore(hyp_sequence *sequence, uint32_t count);
// Makes `to`, empty and of the same cache and at least as long a context, a copy of `from`; what
// is in whole blocks is shared until one of them writes to it. No worker thread may read `to` any
// more.
void hyp_sequence_fork(hyp_sequence *to, const hyp_sequence *from);
// Makes `to`, of the same cache and a context of `count` at least, a copy of the first `count`
// positions of `from`, as above; with recurrent state those are all.
void hyp_sequence_share(hyp_sequence *to, const hyp_sequence *from, uint32_t count);
// Makes `to` what the first `count` positions of `from` are, with `count` as its context and its
// tables in `tables` as above; the rest of `from` is given back, and it is all-zero.
void hyp_sequence_move(hyp_sequence *to, hyp_sequence *from, void *tables, uint32_t count);
// Are blocks of the next `count` positions shared, so that they will be copied?
bool hyp_sequence_shares(const hyp_sequence *sequence, uint32_t count);
// Makes the blocks for the next `count` positions, within the context, the sequence's own.
void hyp_sequence_extend(hyp_sequence *sequence, uint32_t count);

// Bytes of the keys of one head in a block, and of its values.
static inline size_t hyp_kv_head_bytes(const hyp_kv_cache *cache, uint32_t kv) {
    return hyp_kv_block_bytes(cache->format, cache->graph->kv[kv].head);
}
// The keys of head `head` of attention `kv` in a block; and the values.
static inline uint8_t *hyp_kv_keys(const hyp_kv_cache *cache, const hyp_kv_block *block,
                                   uint32_t kv, uint32_t head) {
    return (uint8_t *)block + cache->at[kv] + head * hyp_kv_head_bytes(cache, kv);
}
static inline uint8_t *hyp_kv_values(const hyp_kv_cache *cache, const hyp_kv_block *block,
                                     uint32_t kv, uint32_t head) {
    return hyp_kv_keys(cache, block, kv, cache->graph->kv[kv].heads + head);
}

#endif
