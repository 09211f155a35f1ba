// Pager: read-only pages that come from somewhere slow, in frames under a hard limit. Pages have
// their own sizes; only the owner knows what fills them and what they hold. One thread; its fibers
// wait for one another's fills.
//
// A page is one of two kinds:
//   resident   one of a prefix of the pages, each at a place of its own for good, filled once
//   spare      one of the others, which share a few frames of the largest page's size
// Weights are read in the same order again and again. There, a policy that evicts by recency never
// hits, and a resident prefix is the best that can be done: each pass reads what does not fit,
// once. Among the spare pages, one that was used again since it came is passed over once when a
// frame is needed.
//
// There are two kinds of access, which may be mixed:
//   guarded    everywhere: pin looks the page up and fills it when absent
//   trapping   where the platform can: each page also has an address of its own in a reserved
//   range,
//              and touching it when absent is a fault that fills it
// A resident page loses its place when the budget needs the memory, the last page first, and gets
// it back when there is room again.
//
// Invariant: what is mapped never exceeds the capacity, and a pinned page does not move. Whoever
// holds a pointer into a page has it pinned, and has no pin while it suspends. Worker threads are
// the one exception: they may be late, and read a resident page after it was unpinned (their
// results are then dropped); no resident page is taken away before hyp_pool_wait_idle.
#ifndef HYP_PAGER_PAGER_H
#define HYP_PAGER_PAGER_H

#include "../mem/slab.h"
#include "../pool/pool.h"

typedef struct hyp_pager hyp_pager;

typedef struct hyp_pager_config {
    hyp_budget *budget; // borrowed, with a slab
    uint32_t pages;     // at least 1
    // Of each page, 1 .. 2^31; copied. The order of the pages is the order in which they are
    // declared to be used.
    const uint32_t *page_bytes;
    uint64_t capacity_bytes; // for resident pages and frames together; 0: everything is resident
    bool random;             // no order is declared: no page is resident, all capacity is frames
    bool trap;               // asks for addresses that fault; ignored where the platform can not
    // Fills `frame` with page `index`. May suspend (not when called from a fault). Whatever it
    // returns other than HYP_OK, pin returns.
    hyp_status (*fill)(void *context, uint32_t index, void *frame);
    void *context;
    uint32_t frames; // for spare pages; 0: a few
} hyp_pager_config;

// The least possible capacity in bytes (one frame), and what all pages take when every one is
// resident.
uint64_t hyp_pager_least_bytes(const hyp_pager_config *config);
uint64_t hyp_pager_whole_bytes(const hyp_pager_config *config);

// HYP_E_NOMEM: less than the least, or the budget does not have the capacity.
HYP_MUST_USE hyp_status hyp_pager_create(const hyp_pager_config *config, hyp_pager **pager);
void hyp_pager_destroy(hyp_pager *pager); // nobody may be filling

// Makes page `index` present and keeps it so until hyp_pager_unpin; *view are its bytes. May
// suspend: pointers to pages that are not pinned may have become invalid. HYP_E_NOMEM: every frame
// is pinned. HYP_E_CANCELLED; and what `fill` returns.
HYP_MUST_USE hyp_status hyp_pager_pin(hyp_pager *pager, uint32_t index, const void **view);
void hyp_pager_unpin(hyp_pager *pager, uint32_t index);
// The same for a page that is present and has its place for good; false for any other. Never
// suspends.
bool hyp_pager_pin_resident(hyp_pager *pager, uint32_t index, const void **view);
// The pool whose workers may be late; NULL: there is none.
void hyp_pager_set_workers(hyp_pager *pager, hyp_pool *workers);

// Fills page `index` if it is absent and a place for it is free or can be freed; no error when
// there is none. May suspend.
HYP_MUST_USE hyp_status hyp_pager_prefetch(hyp_pager *pager, uint32_t index);
// Fills the spare page `index` before it is used, if it is absent and has room among those that are
// read ahead: *filled says so. What is read ahead gives way only where no other frame can. May
// suspend. What `fill` returns.
HYP_MUST_USE hyp_status hyp_pager_fill_ahead(hyp_pager *pager, uint32_t index, bool *filled);
// How many pages may be there ahead of their use: all frames but two.
uint32_t hyp_pager_ahead_room(const hyp_pager *pager);
// Nobody is filling it, either.
bool hyp_pager_is_absent(const hyp_pager *pager, uint32_t index);
// Bytes of the page if it has been read since the last such question, other than by
// hyp_pager_prefetch; else 0.
uint32_t hyp_pager_take_read(hyp_pager *pager, uint32_t index);
// Whether the page, once present, stays so.
bool hyp_pager_keeps(const hyp_pager *pager, uint32_t index);

// The page's own address, readable at any time; NULL when not trapping. A fault whose fill fails
// shows zeros, and hyp_pager_fault_status tells of it.
const void *hyp_pager_address(const hyp_pager *pager, uint32_t index);
hyp_status
hyp_pager_fault_status(hyp_pager *pager); // the first failure of a fault since the last call

// Gives back up to about `bytes` of resident pages, the last first, less what frames for them cost.
// Returns how many bytes; 0, with nothing changed, when no page can go. Those pages become spare
// ones, at other addresses, until there is room again.
size_t hyp_pager_shrink(hyp_pager *pager, size_t bytes);

typedef struct hyp_pager_stats {
    uint32_t pages, resident, present, frames;
    uint64_t whole_bytes, capacity_bytes, present_bytes;
    // Since the beginning. `faults`: traps taken, which count as pins too.
    uint64_t pins, hits, fills, faults, evictions, filled_bytes;
    bool traps;
} hyp_pager_stats;
hyp_pager_stats hyp_pager_get_stats(const hyp_pager *pager);
bool hyp_pagers_whole(const hyp_budget *budget); // every page of its pagers is resident

typedef struct hyp_page_info {
    bool present, resident;
    uint32_t bytes;
    float heat; // accesses; a pass over all pages later it counts half
} hyp_page_info;
hyp_page_info hyp_pager_page(const hyp_pager *pager, uint32_t index);

#endif
