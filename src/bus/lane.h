// Lane: one producer and one consumer over a block of shared memory, zero-copy both ways.
// docs/LANES.md has the layout, which glue/core/lane.js speaks too; threads, Web Workers and Node's
// worker threads may hold either end.
//
// A lane carries bytes or capsules:
//   bytes      reserve, write, commit; read, release. The consumer sees what is committed when a
//              batch is full, or after hyp_lane_flush.
//   capsules   begin, fill, send; receive, release with a verdict. A capsule has a sequence number,
//              a time, a type, a checksum, and a state in region C (FREE, READY, CONSUMING,
//              FEEDBACK), through which the consumer's verdict comes back.
//
// Many producers have a lane each, and a bus drains them in turn.
#ifndef HYP_BUS_LANE_H
#define HYP_BUS_LANE_H

#include "../base/status.h"
#include "ring.h"

#include <stddef.h>

enum {
    HYP_LANE_MAGIC = 0x4E414C48, // "HLAN"
    HYP_LANE_VERSION = 1,
    HYP_CAPSULE_HEADER = 32,
    HYP_CAPSULE_ALIGN = 8
};

// Stands at the start of the shared block, aligned to 64. A side writes only its own cache lines.
typedef struct hyp_lane {
    uint32_t magic, version;
    uint32_t capacity;  // bytes of the ring
    uint32_t slots;     // states in region C, a power of two
    uint32_t checksum;  // 1: payloads are verified
    uint32_t high, low; // water marks, bytes
    uint32_t pad0[9];

    hyp_atomic write, last;
    hyp_atomic producer; // who holds this end; 0: nobody
    hyp_atomic sent;     // capsules published
    hyp_atomic open;     // capsules begun and not published
    hyp_atomic dropped;  // capsules that found no room
    hyp_atomic feedback_dropped;
    hyp_atomic producer_lost; // capsules that died with a producer
    uint32_t pad1[8];

    hyp_atomic read;
    hyp_atomic consumer;
    hyp_atomic received; // capsules released
    hyp_atomic corrupted;
    hyp_atomic lost; // capsules that died with a consumer
    uint32_t pad2[11];

    hyp_atomic data_sleeper, data_word; // the consumer sleeps on data_word
    hyp_atomic room_sleeper, room_word; // the producer sleeps on room_word
    hyp_atomic closed;                  // no capsule will come any more
    uint32_t pad3[11];
    // region C: `slots` words, then the ring, each at a multiple of 64, and a line of padding
} hyp_lane;

// What a producer does when there is no room.
typedef enum hyp_lane_full { HYP_LANE_FAIL, HYP_LANE_BLOCK, HYP_LANE_DROP } hyp_lane_full;

typedef struct hyp_lane_config {
    uint32_t capacity;  // bytes, rounded up to 64; 0: 64 KiB
    uint32_t slots;     // capsules under way at most, rounded up to a power of two; 0: 256
    bool unchecked;     // no checksums
    uint32_t high, low; // 0: three quarters and a half of the capacity
} hyp_lane_config;

size_t hyp_lane_bytes(const hyp_lane_config *config);
// Makes `memory` (hyp_lane_bytes, aligned to 64, before anyone else sees it) an empty lane.
hyp_lane *hyp_lane_init(void *memory, const hyp_lane_config *config);

typedef struct hyp_lane_producer {
    hyp_lane *lane;
    uint8_t *ring;
    hyp_atomic *states;
    hyp_ring_producer index;
    uint32_t batch;               // bytes committed before they are shown; adapts
    uint32_t grant;               // where the last reserve was
    uint32_t sequence, collected; // of the next capsule; of the next feedback
    bool throttled;               // above the high mark, and not yet below the low one
    hyp_lane_full full;
    uint64_t adapted_ns; // when `batch` was last set
    uint32_t adapted_publishes;
} hyp_lane_producer;

typedef struct hyp_lane_consumer {
    hyp_lane *lane;
    uint8_t *ring;
    hyp_atomic *states;
    hyp_ring_consumer index;
    uint32_t sequence; // of the next capsule
} hyp_lane_consumer;

// Takes an end. `owner` is not 0. HYP_E_STATE: another holds it (evict it when it is dead);
// HYP_E_FORMAT: `lane` is none. What a dead producer had begun, and what a dead consumer had
// received and not released, is counted as lost and skipped.
HYP_MUST_USE hyp_status hyp_lane_produce(hyp_lane *lane, uint32_t owner, hyp_lane_full full,
                                         hyp_lane_producer *producer);
HYP_MUST_USE hyp_status hyp_lane_consume(hyp_lane *lane, uint32_t owner,
                                         hyp_lane_consumer *consumer);
void hyp_lane_leave_producer(hyp_lane_producer *producer); // publishes what is committed
void hyp_lane_leave_consumer(hyp_lane_consumer *consumer);
void hyp_lane_close(hyp_lane *lane); // both ends: wakes whoever sleeps
// Frees the end that a dead owner held; whoever knows of its death calls it.
void hyp_lane_evict(hyp_lane *lane, uint32_t owner);

// ---- Bytes

void hyp_lane_adapt(hyp_lane_producer *producer);
void hyp_lane_wake_consumer(hyp_lane *lane);
void hyp_lane_wake_producer(hyp_lane *lane);

// Room for `bytes` (at most half the capacity, a multiple of 8 keeps alignment); NULL: none now.
static inline void *hyp_lane_reserve(hyp_lane_producer *p, uint32_t bytes) {
    uint32_t at = hyp_ring_reserve(&p->index, bytes, &p->lane->read);
    if (at == HYP_RING_FULL) return NULL;
    p->grant = at;
    return p->ring + at;
}

// Shows what is committed, and wakes a consumer that sleeps.
static inline void hyp_lane_flush(hyp_lane_producer *p) {
    if (p->index.published == p->index.write) return;
    hyp_ring_publish(&p->index, &p->lane->write);
    // The index is stored before the sleeper is looked at. The other half is in hyp_lane_sleep.
    hyp_atomic_fence();
    if (hyp_atomic_load(&p->lane->data_sleeper, HYP_RELAXED)) hyp_lane_wake_consumer(p->lane);
}

static inline void hyp_lane_commit(hyp_lane_producer *p, uint32_t bytes) {
    hyp_ring_commit(&p->index, p->grant, bytes, &p->lane->last);
    // When the ring wraps, this wraps to a large number, and the batch is shown at once.
    uint32_t waiting = p->index.write - p->index.published;
    if (waiting < p->batch) return;
    hyp_lane_flush(p);
    if (++p->adapted_publishes >= 64) hyp_lane_adapt(p);
}

// The next contiguous bytes; NULL with *bytes 0: none. They stay until released.
static inline const void *hyp_lane_read(hyp_lane_consumer *c, uint32_t *bytes) {
    uint32_t at;
    *bytes = hyp_ring_read(&c->index, &at, &c->lane->write, &c->lane->last);
    return *bytes ? c->ring + at : NULL;
}

static inline void hyp_lane_release(hyp_lane_consumer *c, uint32_t bytes) {
    hyp_ring_release(&c->index, bytes, &c->lane->read);
    if (hyp_atomic_load(&c->lane->room_sleeper, HYP_RELAXED))
        // Without a fence: a sleeper that is overlooked wakes by itself after 2 ms.
        hyp_lane_wake_producer(c->lane);
}

// Sleeps until there is something to read: spins a little, then waits. HYP_E_TIMEOUT;
// HYP_E_CANCELLED: closed and empty; HYP_E_UNSUPPORTED: nothing came while spinning, and this
// thread must not block.
HYP_MUST_USE hyp_status hyp_lane_sleep(hyp_lane_consumer *consumer, uint64_t timeout_ns);

// ---- Capsules

typedef enum hyp_verdict {
    HYP_ACCEPTED,
    HYP_CORRUPTED,
    HYP_THROTTLED,
    HYP_SKIPPED,
    HYP_LOST
} hyp_verdict;

typedef struct hyp_capsule {
    uint32_t sequence, type, bytes;
    uint64_t time_ns; // hyp_port_now_ns when it was sent
    const void *payload;
} hyp_capsule;

// Room for a payload of at most `bytes`, aligned to 8. When there is none, FAIL gives HYP_E_NOMEM,
// DROP counts it and gives HYP_E_NOMEM, and BLOCK sleeps until there is (HYP_E_UNSUPPORTED where
// this thread must not sleep). HYP_E_ARGUMENT: more than the lane ever holds. HYP_E_CANCELLED: the
// lane is closed. HYP_E_FORMAT: it has carried bytes, or is damaged.
HYP_MUST_USE hyp_status hyp_capsule_begin(hyp_lane_producer *producer, uint32_t bytes,
                                          void **payload);
// Sends the first `bytes` of what was begun, and shows it.
void hyp_capsule_send(hyp_lane_producer *producer, uint32_t type, uint32_t bytes);
// The next verdict, in order: its capsule's sequence number. False: none yet. Verdicts that were
// not asked for in time are dropped and counted.
bool hyp_capsule_feedback(hyp_lane_producer *producer, uint32_t *sequence, hyp_verdict *verdict);

// The next capsule. HYP_E_TIMEOUT: none now. HYP_E_CANCELLED: none, and the lane is closed.
// HYP_E_FORMAT: its checksum is wrong; it is counted, told to the producer and gone, and the next
// call gets the next one.
HYP_MUST_USE hyp_status hyp_capsule_receive(hyp_lane_consumer *consumer, hyp_capsule *capsule);
void hyp_capsule_release(hyp_lane_consumer *consumer, const hyp_capsule *capsule,
                         hyp_verdict verdict);

typedef struct hyp_lane_stats {
    uint32_t sent, received, dropped, corrupted, lost, feedback_dropped;
    uint32_t used_bytes, capacity_bytes;
} hyp_lane_stats;
hyp_lane_stats hyp_lane_get_stats(const hyp_lane *lane);

#endif
