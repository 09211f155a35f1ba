// What one thread reads from memory: sums of 256 MB, far beyond any cache, prefetched as the matmul
// kernels prefetch weights. Prints one JSON line.
#include "../../src/port.h"
#include "bench.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t line __attribute__((vector_size(64)));
enum { PASSES_MOST = 7, AHEAD_LINES = 128 };

static int by_value(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

int main(void) {
    const size_t bytes = hyp_bench_count(256 << 20, 16 << 20);
    const int passes = (int)hyp_bench_count(PASSES_MOST, 1);
    line *memory = hyp_port_map(bytes), sum = {0};
    if (!memory) return 1;
    memset(memory, 1, bytes);
    double rates[PASSES_MOST];
    for (int pass = 0; pass < passes; pass++) {
        uint64_t start = hyp_port_now_ns();
        line a = {0}, b = {0}, c = {0}, d = {0};
        for (size_t i = 0; i < bytes / sizeof(line); i += 4) {
            for (size_t k = 0; k < 4; k++) __builtin_prefetch(&memory[i + k + AHEAD_LINES]);
            a += memory[i];
            b += memory[i + 1];
            c += memory[i + 2];
            d += memory[i + 3];
        }
        sum += a + b + c + d;
        rates[pass] = (double)bytes / (double)(hyp_port_now_ns() - start);
    }
    qsort(rates, (size_t)passes, sizeof *rates, by_value);
    printf("{\"gb_per_second\":%.2f,\"check\":%llu}\n", rates[passes / 2],
           (unsigned long long)sum[0]);
}
