// Atomic words of memory that is shared between threads, Web Workers and processes' threads alike.
// A model checker compiles the algorithms with its own definitions: it defines HYP_ATOMICS_DEFINED
// and the names below first.
#ifndef HYP_BUS_ATOMICS_H
#define HYP_BUS_ATOMICS_H

#ifndef HYP_ATOMICS_DEFINED
#include <stdint.h>

typedef uint32_t hyp_atomic;
#define HYP_RELAXED __ATOMIC_RELAXED
#define HYP_ACQUIRE __ATOMIC_ACQUIRE
#define HYP_RELEASE __ATOMIC_RELEASE
#define HYP_SEQ_CST __ATOMIC_SEQ_CST
#define hyp_atomic_load(word, order) __atomic_load_n(word, order)
#define hyp_atomic_store(word, value, order) __atomic_store_n(word, value, order)
#define hyp_atomic_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

#endif
