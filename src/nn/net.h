// A network: a graph with its weights in memory or on the way there, and the threads that compute.
#ifndef HYP_NN_NET_H
#define HYP_NN_NET_H

#include "../pool/pool.h"
#include "graph.h"

typedef struct hyp_net {
    hyp_graph graph;
    hyp_weights weights;
    hyp_pool *pool;     // NULL: one thread computes
    void *job;          // of a parallel-for under way
    size_t pool_floats; // the most that rows * columns of one may be
} hyp_net;

// Opens the weights of net->graph, which is planned, and reads what fits the budget beside
// `session_bytes`, in file order; the rest is read when it is used. `threads` compute, this one
// included, where they find memory and all weights stay. Tables are the graph's arena's. May
// suspend. HYP_E_NOMEM names the least memory that would do. In every case hyp_net_close follows.
HYP_MUST_USE hyp_status hyp_net_load(hyp_net *net, uint64_t session_bytes, uint32_t threads,
                                     hyp_progress progress);
void hyp_net_stop_workers(hyp_net *net); // passes go on with one thread
void hyp_net_close(hyp_net *net);        // the pager and the workers; an all-zero one is ignored

// HYP_E_FORMAT, with a message: what was computed is infinite or NaN.
hyp_status hyp_net_overflowed(const hyp_net *net);

#endif
