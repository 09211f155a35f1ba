// Bip-buffer ring: one producer, one consumer, grants of contiguous room. It handles indices only;
// the caller knows where the bytes are.
//
// The written part is one region (A) until the room at the end is too small for a grant. Then the
// producer goes on at 0 (region B), after noting where A ends (`last`). The consumer reads A up to
// `last`, then goes on at 0. Each index is written by one side:
//   write   producer: end of what is published; less than `read` when the producer has wrapped
//   last    producer: end of region A, valid while write < read
//   read    consumer: start of what has not been released
//
// Each side has its own index and its last view of the other's in memory of its own, so that most
// operations touch nothing shared. A grant is at most half the capacity, so that an empty ring
// never refuses one.
#ifndef HYP_BUS_RING_H
#define HYP_BUS_RING_H

#include "atomics.h"

#include <stdbool.h>

// The four orderings that the algorithm rests on. tests/bus/model.test.mjs weakens them one by one,
// and the model checker must object.
#ifndef HYP_RING_LOAD_READ // the consumer is done with the bytes before they are written anew
#define HYP_RING_LOAD_READ HYP_ACQUIRE
#endif
#ifndef HYP_RING_STORE_WRITE // bytes and `last` are written before the index that shows them
#define HYP_RING_STORE_WRITE HYP_RELEASE
#endif
#ifndef HYP_RING_LOAD_WRITE // the index is read before the bytes
#define HYP_RING_LOAD_WRITE HYP_ACQUIRE
#endif
#ifndef HYP_RING_STORE_READ // the bytes are read before they are given back
#define HYP_RING_STORE_READ HYP_RELEASE
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
    for (bool reloaded = false;; reloaded = true) {
        if (p->write >= p->read) {
            if (p->capacity - p->write >= count) return p->write;
            if (p->read > count) return 0; // not equal: a full ring would look empty
        } else if (p->read - p->write > count) return p->write;
        if (reloaded) return HYP_RING_FULL;
        p->read = hyp_atomic_load(read, HYP_RING_LOAD_READ);
        if (p->read > p->capacity) { // the other side's memory is damaged
            p->read = p->write;
            return HYP_RING_FULL;
        }
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
    for (bool reloaded = false;; reloaded = true) {
        if (c->write < c->read) {
            *at = c->read;
            if (c->read < c->last) return c->last - c->read;
            c->read = 0; // region A is used up
        }
        *at = c->read;
        if (c->write != c->read) return c->write - c->read;
        if (reloaded) return 0;
        c->write = hyp_atomic_load(write, HYP_RING_LOAD_WRITE);
        c->last = hyp_atomic_load(last, HYP_RELAXED);
        if (c->write > c->capacity || c->last > c->capacity) {
            c->write = c->read;
            return 0;
        }
    }
}

// The first `count` units of what was read are done with.
static inline void hyp_ring_release(hyp_ring_consumer *c, uint32_t count, hyp_atomic *read) {
    c->read += count;
    hyp_atomic_store(read, c->read, HYP_RING_STORE_READ);
}

#endif
