#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct sink {
    char *out;
    size_t size, used; // used counts what did not fit, too
} sink;

static void put(sink *s, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++, s->used++)
        if (s->used + 1 < s->size) s->out[s->used] = text[i];
}

static size_t digits(char out[20], uint64_t value, uint32_t base) {
    char reversed[20];
    size_t n = 0;
    do reversed[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    for (size_t i = 0; i < n; i++) out[i] = reversed[n - 1 - i];
    return n;
}

size_t hyp_vformat(char *out, size_t size, const char *format, va_list args) {
    sink s = {out, size, 0};
    for (const char *p = format; *p; p++) {
        if (*p != '%') {
            put(&s, p, 1);
            continue;
        }
        bool zero = *++p == '0', wide = false, size_type = false;
        size_t width = 0, precision = SIZE_MAX;
        for (; *p >= '0' && *p <= '9'; p++) width = width * 10 + (size_t)(*p - '0');
        if (*p == '.') {
            precision = 0;
            if (*++p == '*') {
                int v = va_arg(args, int);
                precision = v < 0 ? 0 : (size_t)v;
                p++;
            }
            for (; *p >= '0' && *p <= '9'; p++) precision = precision * 10 + (size_t)(*p - '0');
        }
        for (; *p == 'l' || *p == 'z'; p++) {
            wide = wide || *p == 'l';
            size_type = size_type || *p == 'z';
        }
        char text[21];
        size_t n = 0;
        if (*p == 's') {
            const char *string = va_arg(args, const char *);
            while (n < precision && string[n]) n++;
            put(&s, string, n);
            continue;
        }
        if (*p == 'd') {
            int64_t v = wide ? va_arg(args, long long) : va_arg(args, int);
            if (v < 0) text[n++] = '-';
            n += digits(text + n, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
        } else if (*p == 'u' || *p == 'x') {
            uint64_t v = size_type ? va_arg(args, size_t)
                         : wide    ? va_arg(args, unsigned long long)
                                   : va_arg(args, unsigned);
            n = digits(text, v, *p == 'x' ? 16 : 10);
        } else text[n++] = *p == 'c' ? (char)va_arg(args, int) : *p;
        while (width > n) {
            put(&s, zero ? "0" : " ", 1);
            width--;
        }
        put(&s, text, n);
    }
    if (size) out[s.used < size ? s.used : size - 1] = 0;
    return s.used;
}

size_t hyp_format_text(char *out, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t n = hyp_vformat(out, size, format, args);
    va_end(args);
    return n;
}

size_t hyp_format_real(char out[25], double value) {
    enum { DIGITS = 9 };
    if (value == 0) {
        memcpy(out, "0", 2);
        return 1;
    }
    double v = value < 0 ? -value : value;
    int exponent = 0;
    while (v >= 10) {
        v /= 10;
        exponent++;
    }
    while (v < 1) {
        v *= 10;
        exponent--;
    }
    uint64_t scaled = (uint64_t)(v * 1e8 + 0.5); // DIGITS digits
    if (scaled >= 1000000000u) {
        scaled /= 10;
        exponent++;
    }
    char mantissa[20];
    size_t kept = digits(mantissa, scaled, 10), n = 0;
    while (kept > 1 && mantissa[kept - 1] == '0') kept--;
    if (value < 0) out[n++] = '-';
    if (exponent < -5 || exponent >= DIGITS) {
        out[n++] = mantissa[0];
        if (kept > 1) out[n++] = '.';
        for (size_t i = 1; i < kept; i++) out[n++] = mantissa[i];
        return n + hyp_format_text(out + n, 25 - n, exponent < 0 ? "e-%02u" : "e+%02u",
                                   (unsigned)(exponent < 0 ? -exponent : exponent));
    }
    for (int i = exponent; i < 0; i++) { // 0.00ddd
        out[n++] = '0';
        if (i == exponent) out[n++] = '.';
    }
    for (size_t i = 0; i < kept; i++) {
        if (exponent >= 0 && i == (size_t)exponent + 1) out[n++] = '.';
        out[n++] = mantissa[i];
    }
    for (int i = (int)kept; i <= exponent; i++) out[n++] = '0';
    out[n] = 0;
    return n;
}
