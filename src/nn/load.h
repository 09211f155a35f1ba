// Loading: a network's weights on their way into memory, read by whoever opens it or by fibers of
// their own, while passes already compute with what is there. Each page and vector is read once: a
// pass waits for what somebody else has yet to read.
//
// In which order: where sources can be read anywhere, as a pass uses them, the layers one after the
// other, within one by place in the file; the last layer and what follows operation by operation,
// so that little is left to compute when the last byte comes. A sequential source is read from its
// front, one range at a time.
#ifndef HYP_NN_LOAD_H
#define HYP_NN_LOAD_H

#include "../fiber/sched.h"
#include "graph.h"

typedef struct hyp_load_piece hyp_load_piece;

typedef struct hyp_load {
    hyp_graph *graph;     // borrowed
    hyp_weights *weights; // borrowed
    hyp_sched *sched;     // of its fibers; NULL: it has none
    hyp_progress progress;
    hyp_load_piece *pieces; // of the file, in the order in which they are read; NULL: it is over
    uint32_t piece_count, piece, page; // the next one: its piece, and the page of its matrix
    uint64_t done, total, reported;    // bytes of weights
    uint32_t *missing;                 // of each layer: pages and vectors to come
    uint32_t layers, layers_ready;
    hyp_task *readers[HYP_READS];
    uint32_t active;   // of them
    hyp_event changed; // it has gone on, or a reader has ended
    bool over;
    hyp_status status; // HYP_OK so far, or what it failed with
    hyp_fault why;
} hyp_load;

// Begins it, for weights that are open. `arena` owns its tables. HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_load_begin(hyp_load *load, hyp_graph *graph, hyp_weights *weights,
                                       hyp_sched *sched, hyp_arena *arena, hyp_progress progress);
// Reads everything; where the caller is a task, with fibers beside it. May suspend. Leaves
// `spare_bytes` of the budget alone. What it failed with, with its message.
HYP_MUST_USE hyp_status hyp_load_read(hyp_load *load, uint64_t spare_bytes);
// Leaves the reading to fibers. HYP_E_NOMEM: not even one found memory.
HYP_MUST_USE hyp_status hyp_load_start(hyp_load *load, uint64_t spare_bytes);
// Waits until it is over; runs the scheduler meanwhile, or suspends the calling fiber. What it
// failed with, with its message; HYP_E_CANCELLED: the caller was.
HYP_MUST_USE hyp_status hyp_load_wait(hyp_load *load);
void hyp_load_cancel(hyp_load *load); // ends soon, with HYP_E_CANCELLED
// Ends it and its fibers. May suspend; cancelling the caller changes nothing. An all-zero one is
// ignored.
void hyp_load_close(hyp_load *load);

// Waits for the vectors of the operations computed together from `op` on. May suspend. What loading
// failed with.
HYP_MUST_USE hyp_status hyp_load_await(hyp_load *load, const hyp_op *op);
// The same for the frequencies of all rotary embeddings.
HYP_MUST_USE hyp_status hyp_load_await_ropes(hyp_load *load);
// Its status, with the message; HYP_OK when it has not failed.
hyp_status hyp_load_failed(const hyp_load *load);

#endif
