#include "fmath.h"

float hyp_expf(float x) {
    if (!(x == x)) return x;
    if (x < -87.3f) return 0.0f;
    if (x > 88.7f) return hyp_bits_f32(0x7F800000);
    // x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor series to the sixth power
    float n = hyp_rintf(x * 1.44269504f), r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int k = (int)n, half = k / 2; // two factors: 2^128 and 2^-127 are not single normal floats
    return p * hyp_bits_f32((uint32_t)(half + 127) << 23) *
           hyp_bits_f32((uint32_t)(k - half + 127) << 23);
}

float hyp_tanhf(float x) {
    if (x > 10.0f) return 1.0f;
    if (x < -10.0f) return -1.0f;
    if (x < 0.0625f && x > -0.0625f) { // series where 1 - e^2x would cancel
        float q = x * x;
        return x * (1.0f - q * (1.0f / 3 - q * (2.0f / 15)));
    }
    float e = hyp_expf(2.0f * x);
    return (e - 1.0f) / (e + 1.0f);
}

double hyp_log(double x) {
    if (!(x > 0)) return x == 0 ? -__builtin_inf() : __builtin_nan("");
    if (x > 1.7976931348623157e308) return x;
    bool subnormal = x < 2.2250738585072014e-308;
    if (subnormal) x *= 0x1p54;
    // x = 2^k m, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)) by its series
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int64_t k = (int64_t)(bits >> 52) - 1023 - (subnormal ? 54 : 0);
    bits = (bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u;
    double m;
    memcpy(&m, &bits, 8);
    if (m > 1.4142135623730951) {
        m = m * 0.5;
        k++;
    }
    double s = (m - 1.0) / (m + 1.0), q = s * s, term = s, sum = 0.0;
    for (int i = 1; i < 24; i += 2) {
        sum += term / i;
        term *= q;
    }
    return 2.0 * sum + (double)k * 0.6931471805599453;
}

double hyp_exp(double x) {
    if (!(x == x)) return x;
    if (x > 709.0) return __builtin_inf();
    if (x < -708.0) return 0.0;
    double n = (x * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0;
    double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10, term = 1.0,
           sum = 1.0;
    for (int i = 1; i < 16; i++) {
        term *= r / i;
        sum += term;
    }
    uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, 8);
    return sum * scale;
}

double hyp_pow(double base, double exponent) { return hyp_exp(exponent * hyp_log(base)); }

void hyp_sincos(double angle, double *sine, double *cosine) {
    if (!(angle >= -HYP_ANGLE_MOST && angle <= HYP_ANGLE_MOST)) {
        *sine = *cosine = __builtin_nan("");
        return;
    }
    // Cody-Waite reduction by pi/2 in three parts, then Taylor series on [-pi/4, pi/4]. The first
    // part has 33 bits: its products are exact for up to 2^20 of them, so what is beyond is taken
    // off first, in multiples of 2^20.
    double n = (angle * 0.6366197723675814 + 6755399441055744.0) - 6755399441055744.0;
    double far = (double)((int64_t)n / (1 << 20) * (1 << 20));
    double r = (angle - far * 1.5707963267341256) - (n - far) * 1.5707963267341256;
    r = (r - n * 6.0771005063039660e-11) - n * 2.0222662487959506e-21;
    double q = r * r, s = r, c = 1.0, ts = r, tc = 1.0;
    for (int i = 1; i < 9; i++) {
        tc *= -q / ((2 * i - 1) * (2 * i));
        c += tc;
        ts *= -q / ((2 * i) * (2 * i + 1));
        s += ts;
    }
    int64_t quadrant = (int64_t)n & 3;
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}
