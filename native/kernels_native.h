// The native tiers. Each fills the slots it serves; port_posix.c asks the processor which may be called.
#ifndef HYP_NATIVE_KERNELS_H
#define HYP_NATIVE_KERNELS_H

#include "../src/kernels/kernels.h"

void hyp_kernels_avx2(hyp_kernels *table); // x86-64 with AVX2 and F16C

#endif
