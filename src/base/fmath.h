// Elementary functions that give the same bits on every platform: plain multiplications and
// additions in a fixed order, no libm, no fused multiply-add (the build sets -ffp-contract=off).
// The tests bound their error against libm.
#ifndef HYP_BASE_FMATH_H
#define HYP_BASE_FMATH_H

#include "bytes.h"

// Every function has an answer for every argument; NaN gives NaN.

// e^x, relative error below 4e-7; 0 under -87.3, infinity above 88.7.
float hyp_expf(float x);
// Absolute error below 4e-7.
float hyp_tanhf(float x);
// Relative error below 1e-14; -infinity of 0, NaN below it.
double hyp_log(double x);
// Relative error below 1e-14; 0 below e^-708, infinity above e^709.
double hyp_exp(double x);
// Of a positive base, NaN for a negative one; 0 where the result is below e^-708, infinity above
// e^709.
double hyp_pow(double base, double exponent);

// Beyond it a double has too few digits left for a fraction of a turn.
#define HYP_ANGLE_MOST 0x1p30
// Absolute error below 1e-11; NaN beyond HYP_ANGLE_MOST.
void hyp_sincos(double angle, double *sine, double *cosine);

// Correctly rounded by IEEE 754.
static inline float hyp_sqrtf(float x) { return __builtin_sqrtf(x); }

// The nearest integer within low..high, ties to even; NaN gives `otherwise`. |low| and |high| below
// 2^22.
static inline int hyp_round_within(float x, int low, int high, int otherwise) {
    if (!(x == x)) return otherwise;
    if (x < (float)low) return low;
    if (x > (float)high) return high;
    return (int)((x + 12582912.0f) - 12582912.0f);
}

// Rounds to the nearest integer, ties to even; |x| below 2^22.
static inline float hyp_rintf(float x) { return (x + 12582912.0f) - 12582912.0f; }

#endif
