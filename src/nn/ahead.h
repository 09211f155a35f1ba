// Run-ahead: where not all pages stay, those that passes will come to are read while they compute
// with earlier ones, by fibers that wait behind the scenes.
//
// Passes go through the pages in the order in which they are declared, again and again. Each pass
// is known by the page that comes next for it; the frames that are read ahead are divided among
// those that have moved lately. Two frames are left to passes that find themselves elsewhere, and
// what was read ahead gives way to them last.
#ifndef HYP_NN_AHEAD_H
#define HYP_NN_AHEAD_H

#include "weights.h"

enum { HYP_AHEAD_PASSES = 4 }; // that are followed at once

typedef struct hyp_ahead_pass {
    uint32_t next; // page
    uint64_t used; // when it moved last, in uses; 0: never
} hyp_ahead_pass;

typedef struct hyp_ahead {
    hyp_weights *weights; // borrowed; NULL: nothing is read ahead
    hyp_sched *sched;     // borrowed
    uint32_t end;         // of the pages that passes go through
    hyp_ahead_pass passes[HYP_AHEAD_PASSES];
    uint64_t uses; // of pages that do not stay, so far
    hyp_task *fibers[HYP_READS - 1];
    uint32_t active;       // of them
    bool tried;            // to start them
    bool resting, closing; // until a pass goes on; for good
    hyp_event moved, left; // a pass has gone on; a fiber has ended
} hyp_ahead;

// Follows passes over the pages up to `end` - 1 of weights that are open, from now on.
void hyp_ahead_init(hyp_ahead *ahead, hyp_weights *weights, hyp_sched *sched, uint32_t end);
// Starts the fibers, as many as find memory that is free; else the first page that is noted does.
void hyp_ahead_start(hyp_ahead *ahead);
// Ends the fibers. May suspend; cancelling the caller changes nothing. An all-zero one is ignored.
void hyp_ahead_close(hyp_ahead *ahead);
// A pass was broken off: what is being read ahead may never come, and is given up, too.
void hyp_ahead_give_up(hyp_ahead *ahead);
// A page that does not stay has been used by a pass.
void hyp_ahead_note(hyp_ahead *ahead, uint32_t page);
// The same for any page.
static inline void hyp_ahead_used(hyp_ahead *ahead, uint32_t page) {
    if (ahead->weights && !hyp_pager_keeps(ahead->weights->pager, page))
        hyp_ahead_note(ahead, page);
}

#endif
