// A network: a graph with its weights in memory or on the way there, and the threads that compute.
#ifndef HYP_NN_NET_H
#define HYP_NN_NET_H

#include "../pool/pool.h"
#include "ahead.h"
#include "load.h"

typedef struct hyp_net {
    hyp_graph graph;
    hyp_weights weights;
    hyp_load load;              // of them
    bool loading;               // it is under way, or has failed: passes wait, and fail with it
    hyp_ahead ahead;            // who reads what comes next, where not all of them stay
    uint64_t whole_limit_bytes; // of memory, under which they would; 0: there is no limit
    hyp_pool *pool;             // NULL: one thread computes
    void *job;                  // of a parallel-for under way
    size_t pool_floats;         // the most that rows * columns of one may be
} hyp_net;

typedef struct hyp_net_config {
    hyp_sched *sched; // of fibers that read; NULL: the caller reads alone
    bool no_ahead;    // nothing is read ahead
    bool progressive; // leaves the reading to fibers
    uint32_t threads; // that compute, the caller's included
    uint64_t session_bytes;
    hyp_progress progress;
} hyp_net_config;

// Opens the weights of net->graph, which is planned, and reads what fits the budget beside
// `session_bytes`; the rest is read when it is used. `threads` compute, this one included, where
// they find memory and all weights stay. Tables are the graph's arena's. May suspend. HYP_E_NOMEM
// names the least memory that would do. In every case hyp_net_close follows.
//
// With `progressive` it returns before anything is read: passes may begin, and wait for what they
// need.
HYP_MUST_USE hyp_status hyp_net_load(hyp_net *net, const hyp_net_config *config);
// As hyp_load_wait.
HYP_MUST_USE hyp_status hyp_net_wait(hyp_net *net);
void hyp_net_stop_workers(hyp_net *net); // passes go on with one thread
// The pager, the workers and what is being read, which may suspend; an all-zero one is ignored.
void hyp_net_close(hyp_net *net);

// HYP_E_FORMAT, with a message: what was computed is infinite or NaN.
hyp_status hyp_net_overflowed(const hyp_net *net);

#endif
