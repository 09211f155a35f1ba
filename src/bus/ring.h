// Bip-buffer ring: one producer, one consumer, grants of contiguous room. Indices only: where the
// bytes lie is the caller's affair.
//
// The written part is one region (A) until the room at the end is too small for a grant; then the
// producer goes on at 0 (region B), having noted where A ends (`last`). The consumer reads A up to
// `last`, and goes on at 0. Written by one side each:
//   write   end of what is published. Less than `read`: the producer has wrapped
//   last    end of region A, valid while write < read
//   read    start of what has not been released
// Each side keeps its own index and its last view of the other's in memory of its own, so that most
// operations touch nothing shared. A grant is at most half the capacity; then an empty ring never
// refuses one.
#ifndef HYP_BUS_RING_H
#define HYP_BUS_RING_H

#include "atomics.h"

#include <stdbool.h>

// The four orderings that the algorithm rests on. tests/bus/weaken.mjs takes them away one by one,
// and the model checker must object.
#ifndef HYP_RING_LOAD_READ
#define HYP_RING_LOAD_READ                                                                         \
    HYP_ACQUIRE // the consumer is done with the bytes before they are written anew
#endif
#ifndef HYP_RING_STORE_WRITE
#define HYP_RING_STORE_WRITE HYP_RELEASE // bytes and `last` before the index that shows them
#endif
#ifndef HYP_RING_LOAD_WRITE
#define HYP_RING_LOAD_WRITE HYP_ACQUIRE // the index before the bytes
#endif
#ifndef HYP_RING_STORE_READ
#define HYP_RING_STORE_READ HYP_RELEASE // the bytes are read before they are given back
#endif

typedef struct hyp_ring_producer {
    uint32_t capacity;
    uint32_t write;     // end of what is committed
    uint32_t published; // of that, what the consumer can see
    uint32_t read;      // last seen
} hyp_ring_producer;

typedef struct hyp_ring_consumer {
    uint32_t capacity;
    uint32_t read;
    uint32_t write, last; // last seen
} hyp_ring_consumer;

enum { HYP_RING_FULL = 0xFFFFFFFF };

// Where `count` contiguous units may be written; HYP_RING_FULL: not now. Reserving again without a
// commit gives the same or another place.
static inline uint32_t hyp_ring_reserve(hyp_ring_producer *p, uint32_t count,
                                        const hyp_atomic *read) {
    for (bool fresh = false;; fresh = true) {
        if (p->write >= p->read) {
            if (p->capacity - p->write >= count) return p->write;
            if (p->read > count) return 0; // not equal: a full ring would look empty
        } else if (p->read - p->write > count) return p->write;
        if (fresh) return HYP_RING_FULL;
        p->read = hyp_atomic_load(read, HYP_RING_LOAD_READ);
        if (p->read > p->capacity) return p->read = p->write, HYP_RING_FULL;
    }
}

// The first `count` units of the grant at `at` are written.
static inline void hyp_ring_commit(hyp_ring_producer *p, uint32_t at, uint32_t count,
                                   hyp_atomic *last) {
    if (at != p->write) hyp_atomic_store(last, p->write, HYP_RELAXED); // region A ends here
    p->write = at + count;
}

// Shows the consumer all that is committed.
static inline void hyp_ring_publish(hyp_ring_producer *p, hyp_atomic *write) {
    p->published = p->write;
    hyp_atomic_store(write, p->write, HYP_RING_STORE_WRITE);
}

// The next contiguous units to read: *at, and how many; 0: none. Indices that can not be (the other
// side's memory is damaged) give none.
static inline uint32_t hyp_ring_read(hyp_ring_consumer *c, uint32_t *at, const hyp_atomic *write,
                                     const hyp_atomic *last) {
    for (bool fresh = false;; fresh = true) {
        if (c->write < c->read) {
            if (c->read < c->last) return *at = c->read, c->last - c->read;
            c->read = 0; // region A is used up
        }
        if (c->write != c->read) return *at = c->read, c->write - c->read;
        if (fresh) return 0;
        c->write = hyp_atomic_load(write, HYP_RING_LOAD_WRITE);
        c->last = hyp_atomic_load(last, HYP_RELAXED);
        if (c->write > c->capacity || c->last > c->capacity) return c->write = c->read, 0;
    }
}

// The first `count` units of what was read are done with.
static inline void hyp_ring_release(hyp_ring_consumer *c, uint32_t count, hyp_atomic *read) {
    c->read += count;
    hyp_atomic_store(read, c->read, HYP_RING_STORE_READ);
}

#endif
