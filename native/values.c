#include "values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t digits(const char *text) { return strspn(text, "0123456789"); }

// Bytes of the number that `text` begins with: digits, perhaps a point, an exponent. 0: none.
static size_t decimal(const char *text, bool exponent) {
    size_t whole = digits(text), n = whole, part = 0;
    if (text[n] == '.') part = digits(text + n + 1);
    if (whole + part == 0) return 0;
    if (text[n] == '.') n += 1 + part;
    if (!exponent || (text[n] != 'e' && text[n] != 'E')) return n;
    size_t sign = text[n + 1] == '-' || text[n + 1] == '+', power = digits(text + n + 1 + sign);
    return power ? n + 1 + sign + power : 0;
}

bool parse_whole(const char *text, uint64_t most, uint64_t *out) {
    size_t n = digits(text);
    *out = 0;
    if (n == 0 || text[n]) return false;
    for (; *text; text++) {
        if (*out > (UINT64_MAX - 9) / 10) return false;
        *out = *out * 10 + (uint64_t)(*text - '0');
    }
    return *out <= most;
}

bool parse_count(const char *text, uint32_t *out) {
    uint64_t value;
    bool ok = parse_whole(text, UINT32_MAX, &value);
    *out = (uint32_t)value;
    return ok;
}

bool parse_real(const char *text, float *out) {
    const char *number = text + (*text == '-' || *text == '+');
    size_t n = decimal(number, true);
    *out = (float)strtod(text, NULL);
    return n && !number[n] && isfinite(*out);
}

bool parse_size(const char *text, size_t *out) {
    size_t n = decimal(text, false);
    double value = strtod(text, NULL), unit = 1;
    const char *rest = text + n;
    rest += *rest == ' ';
    const char *letter = *rest ? strchr("kKmMgG", *rest) : NULL;
    if (letter) {
        unit = strchr("kK", *letter) ? 1e3 : strchr("mM", *letter) ? 1e6 : 1e9;
        rest++;
        rest += *rest == 'i';
    }
    rest += *rest == 'b' || *rest == 'B';
    *out = value * unit < 1e15 ? (size_t)(value * unit) : 0;
    return n && !*rest && value * unit < 1e15;
}

// Bytes of the character at `text`, or of its beginning where it breaks off; *whole says which.
static size_t character(const unsigned char *text, size_t bytes, bool *whole) {
    unsigned char lead = text[0];
    size_t need = 0, n = 1;
    if (lead < 0x80) need = 1;
    else if (lead >= 0xC2 && lead < 0xE0) need = 2;
    else if (lead >= 0xE0 && lead < 0xF0) need = 3;
    else if (lead >= 0xF0 && lead < 0xF5) need = 4;
    // no long forms, no surrogates, nothing above U+10FFFF: all that shows in the second byte
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (; n < need && n < bytes && text[n] >= low && text[n] <= high; n++) {
        low = 0x80;
        high = 0xBF;
    }
    *whole = need && n == need;
    return n;
}

void json_string(FILE *out, const char *text, size_t bytes) {
    fputc('"', out);
    for (size_t at = 0, n; at < bytes; at += n) {
        unsigned char c = (unsigned char)text[at];
        bool whole;
        n = character((const unsigned char *)text + at, bytes - at, &whole);
        static const char named[] = "\b\t\n\f\r\"\\", names[] = "btnfr\"\\";
        const char *name = c ? strchr(named, c) : NULL;
        if (!whole) fputs("\xEF\xBF\xBD", out);
        else if (name) fprintf(out, "\\%c", names[name - named]);
        else if (c < 0x20) fprintf(out, "\\u%04x", c);
        else fwrite(text + at, 1, n, out);
    }
    fputc('"', out);
}

void json_real(FILE *out, const char *key, double value, int decimals) {
    if (isfinite(value)) fprintf(out, "\"%s\":%.*f", key, decimals, value);
    else fprintf(out, "\"%s\":null", key);
}
