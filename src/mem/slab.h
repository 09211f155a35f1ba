// Slab: blocks of any size under a budget, given and taken back one by one, in constant time.
//
//   up to 1 KiB     twenty size classes, each with an intrusive list of free blocks; in front of
//   the
//                   lists each thread has a magazine of pointers
//   up to 256 KiB   pools with boundary tags: free neighbours are joined at once, and free blocks
//   lie
//                   in 60 bins under one bitmap
//   beyond          pages of their own
//
// Alignment: 64 where the size is a multiple of 64 or above 1 KiB, else 16. The caller remembers a
// block's size and gives it back with the block.
//
// The lists and pools stand behind a spinlock; a magazine belongs to one thread.
//
// Compiled with HYP_CHECKED, each block carries its size, its tag and guards. A wrong size, a
// second free or a write past the end then ends the program at the free, or at hyp_slab_check.
#ifndef HYP_MEM_SLAB_H
#define HYP_MEM_SLAB_H

#include "budget.h"

enum {
    HYP_SLAB_SMALL = 1024,
    HYP_SLAB_LARGE = 256 << 10,
    HYP_SLAB_CLASSES = 20,
    HYP_MAGAZINE_SLOTS = 160
};

typedef struct hyp_slab hyp_slab;

// NULL when the budget has no page for it. Borrows `budget`, and becomes its slab if it has none.
hyp_slab *hyp_slab_create(hyp_budget *budget);
// Gives everything back, blocks still out included. Returns how many those were. NULL is 0.
size_t hyp_slab_destroy(hyp_slab *slab);

// Not zeroed. NULL: the budget has no more. `tag` (static text) names the owner in a leak report;
// may be NULL.
void *hyp_slab_alloc(hyp_slab *slab, size_t bytes, const char *tag);
void hyp_slab_free(hyp_slab *slab, void *block, size_t bytes); // NULL is ignored

typedef struct hyp_slab_stats {
    size_t live_blocks, held_bytes, peak_bytes; // held: mapped from the budget
    size_t live_bytes;                          // as classes and pools round them up
    // Free in pools; 1 - largest_free_bytes / free_bytes is their fragmentation.
    size_t free_bytes, largest_free_bytes;
} hyp_slab_stats;
hyp_slab_stats hyp_slab_get_stats(hyp_slab *slab);
// Calls `visit` for every block still out, and returns the count. Only checked builds know tags and
// exact sizes: elsewhere nothing is visited.
size_t hyp_slab_leaks(hyp_slab *slab, void (*visit)(void *context, const char *tag, size_t bytes),
                      void *context);
// Walks every pool, bin, list and (checked) guard. False: something is broken. For tests and
// debugging.
bool hyp_slab_check(hyp_slab *slab);

// ---- A thread's magazine: the fast path. Pointers only, so that a freed block is not touched.

typedef struct hyp_magazine {
    hyp_slab *slab;
    struct hyp_magazine *next;
    uint16_t count[HYP_SLAB_CLASSES];
    void *slots[HYP_SLAB_CLASSES][HYP_MAGAZINE_SLOTS];
} hyp_magazine;

hyp_magazine *hyp_magazine_create(hyp_slab *slab); // NULL: no memory
void hyp_magazine_destroy(hyp_magazine *magazine); // hands its blocks to the slab

// By size in units of 16 bytes, rounded up.
extern const uint8_t hyp_slab_class_of[HYP_SLAB_SMALL / 16 + 1];
void *hyp_magazine_alloc_slow(hyp_magazine *magazine, size_t bytes, const char *tag);
void hyp_magazine_free_slow(hyp_magazine *magazine, void *block, size_t bytes);

static inline void *hyp_magazine_alloc(hyp_magazine *m, size_t bytes, const char *tag) {
#ifndef HYP_CHECKED
    if (bytes <= HYP_SLAB_SMALL) {
        uint32_t c = hyp_slab_class_of[(bytes + 15) / 16];
        if (m->count[c]) return m->slots[c][--m->count[c]];
    }
#endif
    return hyp_magazine_alloc_slow(m, bytes, tag);
}

static inline void hyp_magazine_free(hyp_magazine *m, void *block, size_t bytes) {
#ifndef HYP_CHECKED
    if (bytes <= HYP_SLAB_SMALL && block) {
        uint32_t c = hyp_slab_class_of[(bytes + 15) / 16];
        if (m->count[c] < HYP_MAGAZINE_SLOTS) {
            m->slots[c][m->count[c]++] = block;
            return;
        }
    }
#endif
    hyp_magazine_free_slow(m, block, bytes);
}

#endif
