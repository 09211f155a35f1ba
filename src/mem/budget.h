// Budget: the memory that an engine may hold in all. Arenas, slabs, buffers, the pager and fiber
// stacks take from it. One thread.
//
// Invariant: `used_bytes` is the sum of what has been taken and not given back, in whole pages of
// the platform.
#ifndef HYP_MEM_BUDGET_H
#define HYP_MEM_BUDGET_H

#include "../base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hyp_slab;
struct hyp_pager;

typedef struct hyp_budget {
    size_t limit_bytes; // 0: no limit but the platform's
    size_t used_bytes, peak_bytes;
    struct hyp_slab *slab;    // small blocks come from here; NULL: everything is mapped in pages
    struct hyp_pager *pagers; // asked to give back frames when the limit is reached
    struct hyp_prompt_cache *prompts; // which go before that
#ifdef HYP_CHECKED
    uint64_t allocations; // so far, of the budget and its slab
    uint64_t fail_at;     // the one that a test lets fail; 0: none
#endif
} hyp_budget;

#ifdef HYP_CHECKED
static inline bool hyp_budget_fails(hyp_budget *budget) {
    // Atomic, because threads share a slab.
    return __atomic_add_fetch(&budget->allocations, 1, __ATOMIC_RELAXED) == budget->fail_at;
}
#else
static inline bool hyp_budget_fails(hyp_budget *budget) {
    (void)budget;
    return false;
}
#endif

// Asks a budget's pagers to give back `bytes`. False, with nothing changed, when all of them
// together can not give so much. Defined by the pager and bound by the linker: a function pointer
// here would make every function that allocates look suspendable.
bool hyp_reclaim(struct hyp_pager *pagers, size_t bytes);

// Has the caches let go of texts, until the budget has `bytes` more or they have none. Defined by
// the prompt cache and bound by the linker, as above.
void hyp_forget_prompts(struct hyp_prompt_cache *caches, size_t bytes);

// Maps zeroed pages under the budget, taking frames from its pagers first where the limit is
// reached. NULL: the budget or the platform has no more.
void *hyp_budget_map(hyp_budget *budget, size_t bytes);
void hyp_budget_unmap(hyp_budget *budget, void *memory, size_t bytes);
// The same for the slab, in the middle of whose work nothing may be given back to it.
void *hyp_budget_map_inside(hyp_budget *budget, size_t bytes);

// Counts what is mapped elsewhere (stacks, frames that can trap). False, with nothing taken, when
// the limit is reached.
HYP_MUST_USE bool hyp_budget_take(hyp_budget *budget, size_t bytes);
void hyp_budget_give(hyp_budget *budget, size_t bytes);
// What may still be taken without asking a pager for memory; SIZE_MAX: there is no limit.
size_t hyp_budget_left(const hyp_budget *budget);

// Blocks from the budget's slab, or pages of their own where it has none. Only the latter are
// zeroed. `bytes` of both calls must agree.
void *hyp_budget_alloc(hyp_budget *budget, size_t bytes, const char *tag);
void hyp_budget_free(hyp_budget *budget, void *memory, size_t bytes);

#endif
