// The ring's own source under Relacy: every interleaving of two threads and every value that the
// memory model lets a load return. usage: ring_relacy      compiled with CAPACITY, MOST (largest
// grant), ATTEMPTS (of each thread)
#define _Bool bool
#include <relacy/relacy.hpp>

#define HYP_ATOMICS_DEFINED
#include <cstdint>
typedef rl::atomic<uint32_t> hyp_atomic;
#define HYP_RELAXED rl::mo_relaxed
#define HYP_ACQUIRE rl::mo_acquire
#define HYP_RELEASE rl::mo_release
#define HYP_SEQ_CST rl::mo_seq_cst
#define hyp_atomic_load(word, order) (*(word))(RL_INFO).load(order)
#define hyp_atomic_store(word, value, order) (*(word))(RL_INFO).store(value, order)
#include "../../src/bus/ring.h"

struct ring_test : rl::test_suite<ring_test, 2> {
    hyp_atomic write, last, read;
    rl::var<uint32_t> cells[CAPACITY];

    void before() {
        write(RL_INFO).store(0, rl::mo_relaxed);
        last(RL_INFO).store(0, rl::mo_relaxed);
        read(RL_INFO).store(0, rl::mo_relaxed);
    }

    void thread(unsigned index) {
        if (index == 0) {
            hyp_ring_producer p = {CAPACITY, 0, 0, 0};
            uint32_t next = 1;
            for (int i = 0; i < ATTEMPTS; i++) {
                uint32_t count = 1 + uint32_t(i) % MOST, at = hyp_ring_reserve(&p, count, &read);
                if (at == HYP_RING_FULL) continue;
                for (uint32_t k = 0; k < count; k++) cells[at + k](RL_INFO) = next++;
                hyp_ring_commit(&p, at, count, &last);
                hyp_ring_publish(&p, &write);
            }
        } else {
            hyp_ring_consumer c = {CAPACITY, 0, 0, 0};
            uint32_t wanted = 1;
            for (int i = 0; i < ATTEMPTS; i++) {
                uint32_t at, count = hyp_ring_read(&c, &at, &write, &last);
                for (uint32_t k = 0; k < count; k++)
                    RL_ASSERT(cells[at + k](RL_INFO) == wanted++); // all, in order, once
                if (count) hyp_ring_release(&c, count, &read);
            }
        }
    }
};

int main() {
    rl::test_params p;
    p.search_type = rl::sched_full;
    bool good = rl::simulate<ring_test>(p);
    return good ? 0 : 1;
}
