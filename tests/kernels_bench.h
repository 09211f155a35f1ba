// What the tests of kernels and their benchmark share.
#ifndef HYP_TESTS_KERNELS_BENCH_H
#define HYP_TESTS_KERNELS_BENCH_H

#include "../src/kernels/kernels.h"

// Equal bits, but for the payload of NaN and the sign of zero.
bool same_floats(const float *a, const float *b, size_t n);
// Stored weights with every code, integer scale and minimum. `elems`: whole blocks.
void random_weights(uint8_t *out, hyp_format f, size_t elems);
// Q4_0 of which about `density` of the codes are not zero. `elems`: whole blocks.
void sparse_weights(uint8_t *out, size_t elems, float density);

// Prints a table of nanoseconds per element, a row for each slot of the kernel table whose name
// contains `pattern` (NULL: all of them), a column for each tier that this machine has. Each slot
// is compared with the scalar one first. Returns what main returns: 1 when no slot has that name.
int bench_kernels(const char *pattern);

#endif
