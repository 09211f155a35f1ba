#include "budget.h"

#include "../base/bytes.h"
#include "../port.h"
#include "slab.h"

// Before memory is asked for: where the limit would be reached, texts that are only remembered go.
static void give_way(hyp_budget *budget, size_t bytes) {
    size_t left = hyp_budget_left(budget), page = hyp_port_caps()->page_bytes;
    if (budget->prompts && bytes <= SIZE_MAX - page && left < hyp_round_up(bytes, page))
        hyp_forget_prompts(budget->prompts, hyp_round_up(bytes, page) - left);
}

static bool take(hyp_budget *budget, size_t bytes) {
    size_t page = hyp_port_caps()->page_bytes;
    if (bytes > SIZE_MAX - page || hyp_budget_fails(budget)) return false;
    size_t whole = hyp_round_up(bytes, page);
    if (budget->limit_bytes) {
        if (whole > budget->limit_bytes) return false;
        if (budget->used_bytes > budget->limit_bytes - whole) {
            size_t lacking = budget->used_bytes - (budget->limit_bytes - whole);
            // A direct call: with a function pointer, Asyncify would take every function that
            // allocates for one that may suspend.
            if (!hyp_reclaim(budget->pagers, lacking)) return false;
            if (budget->used_bytes > budget->limit_bytes - whole) return false;
        }
    }
    budget->used_bytes += whole;
    if (budget->used_bytes > budget->peak_bytes) budget->peak_bytes = budget->used_bytes;
    return true;
}

bool hyp_budget_take(hyp_budget *budget, size_t bytes) {
    give_way(budget, bytes);
    return take(budget, bytes);
}

void hyp_budget_give(hyp_budget *budget, size_t bytes) {
    budget->used_bytes -= hyp_round_up(bytes, hyp_port_caps()->page_bytes);
}

size_t hyp_budget_left(const hyp_budget *budget) {
    if (!budget->limit_bytes) return SIZE_MAX;
    return budget->limit_bytes > budget->used_bytes ? budget->limit_bytes - budget->used_bytes : 0;
}

void *hyp_budget_map(hyp_budget *budget, size_t bytes) {
    give_way(budget, bytes);
    return hyp_budget_map_inside(budget, bytes);
}

void *hyp_budget_map_inside(hyp_budget *budget, size_t bytes) {
    if (!take(budget, bytes)) return NULL;
    void *memory = hyp_port_map(hyp_round_up(bytes, hyp_port_caps()->page_bytes));
    if (!memory) hyp_budget_give(budget, bytes);
    return memory;
}

void hyp_budget_unmap(hyp_budget *budget, void *memory, size_t bytes) {
    if (!memory) return;
    hyp_port_unmap(memory, hyp_round_up(bytes, hyp_port_caps()->page_bytes));
    hyp_budget_give(budget, bytes);
}

void *hyp_budget_alloc(hyp_budget *budget, size_t bytes, const char *tag) {
    give_way(budget, bytes);
    return budget->slab ? hyp_slab_alloc(budget->slab, bytes, tag) : hyp_budget_map(budget, bytes);
}

void hyp_budget_free(hyp_budget *budget, void *memory, size_t bytes) {
    if (budget->slab) hyp_slab_free(budget->slab, memory, bytes);
    else hyp_budget_unmap(budget, memory, bytes);
}
