// Quantizers: each sub-block's scale (and minimum) by weighted least squares over a few roundings,
// then the super-block's own, then the codes anew under what was really stored.
#include "format.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

enum {
    TRIALS = 9, // roundings tried on either side of the plain one
    REACH = 1,  // integer scales and minima tried on either side
    PASSES = 2
};

typedef struct fit { // of one sub-block: value = d * level + m
    float d, m;
} fit;

// The code whose level lies nearest to `x`, in units of the scale.
static uint8_t nearest(const hyp_format_info *f, float x) {
    if (!f->table) return (uint8_t)hyp_round_within(x + f->offset, 0, f->top, f->offset);
    uint8_t best = 0;
    float least = __builtin_inff();
    for (int c = 0; c <= f->top; c++) {
        float miss = x - f->table[c];
        miss = miss < 0 ? -miss : miss;
        if (miss < least) {
            least = miss;
            best = (uint8_t)c;
        }
    }
    return best;
}

// min over d of sum w (x - d level)^2: for given levels d = sum w x l / sum w l^2, and the error
// falls by (sum w x l)^2 / sum w l^2.
static fit fit_scale(const hyp_format_info *f, const float *x, const float *w, uint32_t n) {
    float far = 0, top = 0;
    for (uint32_t i = 0; i < n; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        if (a > top && a <= 3e38f) {
            top = a;
            far = x[i];
        }
    }
    fit best = {0, 0};
    if (top < 1e-30f) return best;
    // The value of largest magnitude goes to the longer end of the levels, whose sign d takes.
    float end = f->table ? (float)f->table[f->table[0] ? 0 : 7] : (float)-f->offset, most = -1;
    for (int trial = -TRIALS; trial <= TRIALS; trial++) {
        float inverse = (end + (float)trial * 0.1f * (end < 0 ? -end : end) / 8) / far, xl = 0,
              ll = 0;
        for (uint32_t i = 0; i < n; i++) {
            float l = (float)hyp_level(f, nearest(f, x[i] * inverse)), wl = w[i] * l;
            xl += wl * x[i];
            ll += wl * l;
        }
        if (ll > 0 && xl * xl > most * ll) {
            most = xl * xl / ll;
            best.d = xl / ll;
        }
    }
    return best;
}

// The same with a minimum: codes 0..top, m free, or at most 0 where only -m can be stored.
static fit fit_range(const hyp_format_info *f, const float *x, const float *w, uint32_t n) {
    float low = x[0], high = x[0], sw = 0, sx = 0;
    for (uint32_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        sw += w[i];
        sx += w[i] * x[i];
    }
    bool below = f->scale_high > 0; // of a super-block: minima are not positive
    if (below && low > 0) low = 0;
    fit best = {0, low};
    if (!(high > low) || !(sw > 0) || !(high - low < 3e38f)) return best;
    float least = __builtin_inff();
    for (int trial = -TRIALS; trial <= TRIALS; trial++) {
        float inverse = ((float)f->top + (float)trial * 0.1f * (float)f->top / 15) / (high - low),
              sl = 0, sll = 0, sxl = 0;
        for (uint32_t i = 0; i < n; i++) {
            float l = (float)nearest(f, (x[i] - low) * inverse), wl = w[i] * l;
            sl += wl;
            sll += wl * l;
            sxl += wl * x[i];
        }
        float det = sw * sll - sl * sl;
        if (!(det > 0)) continue;
        fit now = {(sw * sxl - sx * sl) / det, (sll * sx - sl * sxl) / det};
        if (below && now.m > 0) {
            now.m = 0;
            now.d = sxl / sll;
        }
        if (!(now.d > 0)) continue;
        float error = 0;
        for (uint32_t i = 0; i < n; i++) {
            float miss = now.d * (float)nearest(f, (x[i] - now.m) / now.d) + now.m - x[i];
            error += w[i] * miss * miss;
        }
        if (error < least) {
            least = error;
            best = now;
        }
    }
    return best;
}

// The best exponent of a scale that is a power of two.
static fit fit_power(const hyp_format_info *f, const float *x, const float *w, uint32_t n) {
    float top = 0, least = __builtin_inff();
    for (uint32_t i = 0; i < n; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        top = a > top && a <= 3e38f ? a : top;
    }
    fit best = {hyp_e8m0_half(0), 0};
    int e = top > 0 ? (int)(hyp_f32_bits(top / 12) >> 23) + 1
                    : 0; // 2^(e - 128) is at most top / 12
    for (int k = e > 2 ? e - 1 : 0; k <= e + 2 && k < 255; k++) {
        float d = hyp_e8m0_half((uint8_t)k), error = 0;
        for (uint32_t i = 0; i < n; i++) {
            float miss = d * (float)hyp_level(f, nearest(f, x[i] / d)) - x[i];
            error += w[i] * miss * miss;
        }
        if (error < least) {
            least = error;
            best.d = d;
        }
    }
    return best;
}

static fit fit_sub(const hyp_format_info *f, const float *x, const float *w) {
    return f->block_bytes == 17 ? fit_power(f, x, w, f->sub)
           : f->affine          ? fit_range(f, x, w, f->sub)
                                : fit_scale(f, x, w, f->sub);
}

static uint16_t half_bits(float x, float *back) {
    uint16_t bits = hyp_f32_to_f16(x);
    if ((bits & 0x7FFF) >= 0x7C00)
        bits = (uint16_t)((bits & 0x8000) | 0x7BFF); // beyond what a half holds: its largest
    *back = hyp_f16_to_f32(bits);
    return bits;
}

// Scales of the sub-blocks as integers times one d, the minima likewise.
static void share_scales(const hyp_format_info *f, hyp_block *b, const fit *fits, uint32_t subs) {
    float far = 0, top = 0, deep = 0;
    for (uint32_t s = 0; s < subs; s++) {
        float a = fits[s].d < 0 ? -fits[s].d : fits[s].d;
        if (a > top) {
            top = a;
            far = fits[s].d;
        }
        deep = -fits[s].m > deep ? -fits[s].m : deep;
    }
    float end = f->scale_low < 0 ? (float)f->scale_low : (float)f->scale_high, m;
    b->d_bits = half_bits(far / end, &b->d);
    b->m_bits = half_bits(deep / f->scale_high, &m);
    b->m = -m;
    for (uint32_t s = 0; s < subs; s++) {
        int scale = b->d != 0 ? hyp_round_within(fits[s].d / b->d, f->scale_low, f->scale_high, 0)
                              : 0;
        int minimum = m > 0 ? hyp_round_within(-fits[s].m / m, 0, f->scale_high, 0) : 0;
        for (uint32_t i = s * f->sub / 16; i < (s + 1) * f->sub / 16; i++) {
            b->scale[i] = (int8_t)scale;
            b->minimum[i] = (uint8_t)minimum;
        }
    }
}

// The error of a sub-block under an integer scale and minimum, each element coded as is nearest.
static float error_of(const hyp_format_info *f, const hyp_block *b, const float *x, const float *w,
                      int scale, int minimum) {
    float d = b->d * (float)scale, m = b->m * (float)minimum, inverse = d != 0 ? 1 / d : 0,
          error = 0;
    for (uint32_t i = 0; i < f->sub; i++) {
        float miss = d * (float)hyp_level(f, nearest(f, (x[i] - m) * inverse)) + m - x[i];
        error += w[i] * miss * miss;
    }
    return error;
}

// The best of a sub-block's integer scales and minima next to the present ones.
static void choose_scales(const hyp_format_info *f, hyp_block *b, uint32_t sub, const float *x,
                          const float *w) {
    uint32_t first = sub * f->sub / 16, reach = f->affine ? REACH : 0;
    int scale = b->scale[first], minimum = b->minimum[first];
    float least = error_of(f, b, x, w, scale, minimum);
    for (int s = scale - REACH; s <= scale + REACH; s++)
        for (int m = minimum - (int)reach; m <= minimum + (int)reach; m++) {
            if (s < f->scale_low || s > f->scale_high || m < 0 || m > f->scale_high) continue;
            float error = error_of(f, b, x, w, s, m);
            if (!(error < least)) continue;
            least = error;
            for (uint32_t i = first; i < first + f->sub / 16; i++) {
                b->scale[i] = (int8_t)s;
                b->minimum[i] = (uint8_t)m;
            }
        }
}

// d and m anew, by least squares over the whole super-block under its scales, minima and codes.
static void share_again(const hyp_format_info *f, hyp_block *b, const float *x, const float *w) {
    float aa = 0, ab = 0, bb = 0, ax = 0, bx = 0; // x = d a + m b
    for (uint32_t i = 0; i < f->block_elems; i++) {
        float low = (float)b->minimum[i / 16], step = b->d * (float)b->scale[i / 16],
              in = x[i] - b->m * low;
        float a = (float)(b->scale[i / 16] * hyp_level(f, nearest(f, step != 0 ? in / step : 0)));
        aa += w[i] * a * a;
        ab += w[i] * a * low;
        bb += w[i] * low * low;
        ax += w[i] * a * x[i];
        bx += w[i] * low * x[i];
    }
    float det = aa * bb - ab * ab, d = ax / aa, m = 0;
    if (f->affine && det > 1e-6f * aa * bb) {
        d = (ax * bb - bx * ab) / det;
        m = (bx * aa - ax * ab) / det;
    }
    if (!(aa > 0) || !(d == d) || !(m <= 0) || (f->affine && !(d > 0))) return;
    b->d_bits = half_bits(d, &b->d);
    if (!f->affine) return;
    b->m_bits = half_bits(-m, &b->m);
    b->m = -b->m;
}

static void quantize_block(const hyp_format_info *f, hyp_block *b, const float *x, const float *w) {
    fit fits[HYP_SUPER / 16];
    uint32_t subs = f->block_elems / f->sub;
    for (uint32_t s = 0; s < subs; s++) fits[s] = fit_sub(f, x + s * f->sub, w + s * f->sub);
    if (f->scale_high) {
        share_scales(f, b, fits, subs);
        for (int pass = 0; pass < PASSES; pass++) {
            for (uint32_t s = 0; s < subs; s++)
                choose_scales(f, b, s, x + s * f->sub, w + s * f->sub);
            share_again(f, b, x, w);
        }
    } else {
        b->scale[0] = b->scale[1] = 1;
        b->minimum[0] = b->minimum[1] = 1;
        b->d = fits[0].d;
        b->m = fits[0].m;
        if (f->block_bytes == 17)
            b->d_bits = (uint16_t)(hyp_f32_bits(b->d * 2) >> 23); // back to the biased exponent
        else b->d_bits = half_bits(fits[0].d, &b->d);
        b->m_bits = half_bits(fits[0].m, &b->m);
    }
    for (uint32_t i = 0; i < f->block_elems; i++) {
        float step = b->d * b->scale[i / 16], low = b->m * b->minimum[i / 16],
              in = x[i] == x[i] ? x[i] : 0;
        b->code[i] = nearest(f, step != 0 ? (in - low) / step : 0);
    }
}

// The weight of each element's squared error: its imatrix entry and, except where a minimum and
// many levels fit every element alike (`even`), more for what is large. Found by divergence on
// whole models (`bench quantizers`).
static void weigh(float *weights, const float *x, const float *imatrix, uint32_t n, bool even) {
    float square = 0;
    for (uint32_t i = 0; i < n; i++) square += x[i] * x[i] <= 3e38f ? x[i] * x[i] : 0;
    for (uint32_t i = 0; i < n; i++) {
        float in = x[i] * x[i] <= 3e38f ? x[i] * x[i] : 0;
        weights[i] = (imatrix ? imatrix[i] : 1) * (even ? 1 : hyp_sqrtf(square / (float)n + in));
    }
}

void hyp_quantize(hyp_format format, void *dst, const float *src, uint32_t count,
                  const float *imatrix) {
    const hyp_format_info *f = &hyp_formats[format];
    uint8_t *out = dst;
    if (hyp_format_is_float(format)) {
        for (uint32_t i = 0; i < count; i++, out += f->block_bytes)
            if (format == HYP_F32) hyp_store_u32(out, hyp_f32_bits(src[i]));
            else
                hyp_store_u16(out,
                              format == HYP_F16 ? hyp_f32_to_f16(src[i]) : hyp_f32_to_bf16(src[i]));
        return;
    }
    hyp_block b;
    float weights[HYP_SUPER];
    for (uint32_t at = 0; at < count; at += f->block_elems, out += f->block_bytes) {
        weigh(weights, src + at, imatrix ? imatrix + at : NULL, f->block_elems,
              f->affine && f->top > 3);
        quantize_block(f, &b, src + at, weights);
        hyp_join(format, out, &b);
    }
}
