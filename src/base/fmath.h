// Elementary functions that give the same bits on every platform: plain multiplications and additions in a fixed order, no
// libm, no fused multiply-add (the build sets -ffp-contract=off). The tests bound their error against libm.
#ifndef HYP_BASE_FMATH_H
#define HYP_BASE_FMATH_H

#include "bytes.h"

// e^x, relative error below 4e-7; 0 under -87.3, infinity above 88.7. NaN stays NaN.
float hyp_expf(float x);
float hyp_tanhf(float x);                                    // absolute error below 4e-7
double hyp_log(double x);                                    // x > 0, relative error below 1e-14
double hyp_pow(double base, double exponent);                // base > 0
void hyp_sincos(double angle, double *sine, double *cosine); // |angle| below 1e6, absolute error below 1e-11

static inline float hyp_sqrtf(float x) { return __builtin_sqrtf(x); } // correctly rounded by IEEE 754

// The nearest integer within low..high, ties to even; NaN gives `otherwise`. |low| and |high| below 2^22.
static inline int hyp_round_within(float x, int low, int high, int otherwise) {
    if (!(x == x)) return otherwise;
    return x < (float)low ? low : x > (float)high ? high : (int)((x + 12582912.0f) - 12582912.0f);
}

// Rounds to the nearest integer, ties to even; |x| below 2^22.
static inline float hyp_rintf(float x) { return (x + 12582912.0f) - 12582912.0f; }

#endif
