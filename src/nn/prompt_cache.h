// Texts that a model has computed and no session has any more: each keeps its blocks, so that the
// next session whose text begins as one of them shares what both have in common.
//
// A text reserves as many blocks as it has, as a sequence does (kv.h), within a limit of the
// cache's own: the one that was used longest ago goes first. Under the memory limit of the engine
// they are the first to go: before weights give way, and never in their place (budget.h).
#ifndef HYP_NN_PROMPT_CACHE_H
#define HYP_NN_PROMPT_CACHE_H

#include "../pool/pool.h"
#include "kv.h"

typedef struct hyp_remembered hyp_remembered;

typedef struct hyp_prompt_cache {
    struct hyp_prompt_cache *next; // of the budget's
    hyp_budget *budget;            // borrowed
    hyp_pool *const *pool; // borrowed: its late workers may read what is let go; may become NULL
    hyp_remembered *texts; // used last first
    size_t limit_bytes, bytes; // limit 0: it is off
} hyp_prompt_cache;

void hyp_prompt_cache_init(hyp_prompt_cache *cache, hyp_budget *budget, hyp_pool *const *pool,
                           size_t limit_bytes);
// Forgets all. An all-zero cache is ignored.
void hyp_prompt_cache_deinit(hyp_prompt_cache *cache);

// Remembers the text of a sequence, whose positions are `tokens`: a copy, as much of its beginning
// as the limit holds. Nothing happens where there is no memory for it, or it is known already.
void hyp_prompt_cache_copy(hyp_prompt_cache *cache, const int32_t *tokens,
                           const hyp_sequence *sequence);
// The same of a sequence that ends: its blocks are taken over where they fit. No worker thread may
// read it any more. Deinits it in every case.
void hyp_prompt_cache_move(hyp_prompt_cache *cache, const int32_t *tokens, hyp_sequence *sequence);
// The text of `of` that has most in common with the first `count` of `tokens`, if that is more than
// *common, which it then sets. Borrowed until the next allocation under the budget. NULL: none.
const hyp_sequence *hyp_prompt_cache_find(hyp_prompt_cache *cache, const hyp_kv_cache *of,
                                          const int32_t *tokens, uint32_t count, uint32_t *common);

// How much of a sequence whose positions are `text` can be shared by one that begins with the first
// `count` of `tokens`: with recurrent state all or nothing.
uint32_t hyp_sequence_common(const hyp_sequence *sequence, const int32_t *text,
                             const int32_t *tokens, uint32_t count);

#endif
