// What the C benchmarks share: how much of everything is measured.
#ifndef HYP_BENCH_H
#define HYP_BENCH_H

#include <stdint.h>
#include <stdlib.h>

// `full`; in a quick run (HYP_QUICK is set: `npm run bench -- NAME --quick`), which only shows that
// the benchmark works, `quick`.
static inline uint32_t hyp_bench_count(uint32_t full, uint32_t quick) {
    return getenv("HYP_QUICK") ? quick : full;
}

#endif
