// The native tiers. Each fills every slot it serves; port_posix.c asks the processor which may be
// called.
#ifndef HYP_NATIVE_KERNELS_H
#define HYP_NATIVE_KERNELS_H

#include "../src/kernels/kernels.h"

void hyp_kernels_sse2(hyp_kernels *table); // every x86-64
void hyp_kernels_ssse3(hyp_kernels *table);
void hyp_kernels_avx2(hyp_kernels *table);    // with F16C
void hyp_kernels_avxvnni(hyp_kernels *table); // with AVX2 and F16C
void hyp_kernels_avx512(hyp_kernels *table);  // F, BW, VL, DQ and VNNI
void hyp_kernels_vbmi2(hyp_kernels *table);   // the same and VBMI2

void hyp_kernels_neon(hyp_kernels *table); // every ARM64
void hyp_kernels_dotprod(hyp_kernels *table);

#endif
