#include "json_read.h"

#include <string.h>

enum { VALUE, FIRST_VALUE, KEY, FIRST_KEY, COMMA, NOTHING }; // what is expected

void hyp_json_reader_init(hyp_json_reader *r, hyp_text text) {
    *r = (hyp_json_reader){.text = text.data, .bytes = text.bytes, .expects = VALUE};
}

static hyp_json_kind fail(hyp_json_reader *r, const char *error) {
    if (!r->error) r->error = error;
    return HYP_JSON_ERROR;
}

static int peek(const hyp_json_reader *r) {
    return r->at < r->bytes ? (unsigned char)r->text[r->at] : -1;
}

static bool digit(int c) { return c >= '0' && c <= '9'; }

static int hex(int c) {
    if (digit(c)) return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void skip_blanks(hyp_json_reader *r) {
    for (int c; (c = peek(r)) == ' ' || c == '\t' || c == '\n' || c == '\r';) r->at++;
}

static void skip_digits(hyp_json_reader *r) {
    while (digit(peek(r))) r->at++;
}

// Past the closing quote; `at` is behind the opening one.
static bool read_string(hyp_json_reader *r) {
    for (int c; (c = peek(r)) != '"'; r->at++) {
        if (c < 0x20) {
            fail(r, c < 0 ? "a text does not end" : "a control character stands in a text");
            return false;
        }
        if (c != '\\') continue;
        r->at++;
        c = peek(r);
        int digits = c == 'u' ? 4 : 0;
        bool known = c > 0 && strchr("\"\\/bfnrtu", c);
        for (; known && digits > 0; digits--) {
            r->at++;
            known = hex(peek(r)) >= 0;
        }
        if (!known) {
            fail(r, "there is no such escape");
            return false;
        }
    }
    r->at++;
    return true;
}

static bool read_number(hyp_json_reader *r) {
    if (peek(r) == '-') r->at++;
    if (!digit(peek(r))) return false;
    if (peek(r) == '0') r->at++;
    else skip_digits(r);
    if (peek(r) == '.') {
        r->at++;
        if (!digit(peek(r))) return false;
        skip_digits(r);
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        r->at++;
        if (peek(r) == '-' || peek(r) == '+') r->at++;
        if (!digit(peek(r))) return false;
        skip_digits(r);
    }
    return true;
}

static bool read_word(hyp_json_reader *r, const char *word) {
    size_t n = strlen(word);
    if (r->bytes - r->at < n || memcmp(r->text + r->at, word, n)) return false;
    r->at += n;
    return true;
}

static void value_ended(hyp_json_reader *r) { r->expects = r->depth ? COMMA : NOTHING; }

static hyp_json_kind open(hyp_json_reader *r, bool object) {
    if (r->depth == HYP_JSON_DEPTH) return fail(r, "it is nested too deeply");
    uint64_t bit = (uint64_t)1 << r->depth;
    r->objects = object ? r->objects | bit : r->objects & ~bit;
    r->depth++;
    r->at++;
    r->expects = object ? FIRST_KEY : FIRST_VALUE;
    return object ? HYP_JSON_OBJECT : HYP_JSON_ARRAY;
}

static bool in_object(const hyp_json_reader *r) {
    return r->depth && (r->objects >> (r->depth - 1) & 1);
}

static hyp_json_kind close(hyp_json_reader *r) {
    bool object = in_object(r);
    r->depth--;
    r->at++;
    value_ended(r);
    return object ? HYP_JSON_OBJECT_END : HYP_JSON_ARRAY_END;
}

static hyp_json_kind read_value(hyp_json_reader *r) {
    int c = peek(r);
    if (c == '{' || c == '[') return open(r, c == '{');
    hyp_json_kind kind = HYP_JSON_ERROR;
    if (c == '"') {
        r->at++;
        if (read_string(r)) kind = HYP_JSON_TEXT;
    } else if (c == '-' || digit(c)) {
        if (read_number(r)) kind = HYP_JSON_NUMBER;
        else fail(r, "a number breaks off");
    } else if (read_word(r, "true")) kind = HYP_JSON_TRUE;
    else if (read_word(r, "false")) kind = HYP_JSON_FALSE;
    else if (read_word(r, "null")) kind = HYP_JSON_NULL;
    if (!kind) return fail(r, c < 0 ? "it breaks off" : "a value is expected");
    value_ended(r);
    return kind;
}

static hyp_json_kind read_key(hyp_json_reader *r) {
    if (peek(r) != '"') return fail(r, "a name in quotes is expected");
    r->at++;
    if (!read_string(r)) return HYP_JSON_ERROR;
    r->expects = VALUE;
    return HYP_JSON_KEY;
}

hyp_json_kind hyp_json_read(hyp_json_reader *r, hyp_text *raw) {
    hyp_text none;
    if (!raw) raw = &none;
    *raw = (hyp_text){0};
    if (r->error) return HYP_JSON_ERROR;
    skip_blanks(r);
    if (r->expects == NOTHING)
        return peek(r) < 0 ? HYP_JSON_END : fail(r, "something follows the value");
    bool first = r->expects == FIRST_KEY || r->expects == FIRST_VALUE;
    if ((first || r->expects == COMMA) && peek(r) == (in_object(r) ? '}' : ']')) {
        *raw = (hyp_text){r->text + r->at, 1};
        return close(r);
    }
    if (r->expects == COMMA) {
        if (peek(r) != ',') return fail(r, "a comma or the end of the list is expected");
        r->at++;
        skip_blanks(r);
        r->expects = in_object(r) ? KEY : VALUE;
    }
    bool key = r->expects == KEY || r->expects == FIRST_KEY;
    size_t from = r->at;
    hyp_json_kind kind = key ? read_key(r) : read_value(r);
    if (!kind) return kind;
    bool quoted = kind == HYP_JSON_KEY || kind == HYP_JSON_TEXT;
    *raw = (hyp_text){r->text + from + quoted, r->at - from - 2 * (size_t)quoted};
    if (!key) return kind;
    skip_blanks(r);
    if (peek(r) != ':') return fail(r, "a colon is expected");
    r->at++;
    return kind;
}

static uint32_t four_hex(const char *text) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value = value * 16 + (uint32_t)hex((unsigned char)text[i]);
    return value;
}

static size_t utf8(uint32_t rune, char out[4]) {
    if (rune < 0x80) {
        out[0] = (char)rune;
        return 1;
    }
    size_t n = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; rune >>= 6) out[i] = (char)(0x80 | (rune & 0x3F));
    out[0] = (char)((0xF00u >> n & 0xF0) | rune);
    return n;
}

bool hyp_json_unescape(hyp_text raw, char *out, size_t size, size_t *bytes) {
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    *bytes = 0;
    for (size_t at = 0; at < raw.bytes;) {
        char part[4] = {raw.data[at]};
        size_t n = 1;
        if (raw.data[at++] == '\\') {
            char c = raw.data[at++];
            part[0] = c == 'u' ? 0 : meant[strchr(escapes, c) - escapes];
            if (c == 'u') {
                uint32_t rune = four_hex(raw.data + at);
                at += 4;
                if (rune >= 0xD800 && rune < 0xDC00 && raw.bytes - at >= 6 &&
                    raw.data[at] == '\\' && raw.data[at + 1] == 'u') {
                    uint32_t low = four_hex(raw.data + at + 2);
                    if (low >= 0xDC00 && low < 0xE000) {
                        rune = 0x10000 + ((rune - 0xD800) << 10) + (low - 0xDC00);
                        at += 6;
                    }
                }
                if (rune >= 0xD800 && rune < 0xE000) rune = 0xFFFD;
                n = utf8(rune, part);
            }
        }
        if (size - *bytes < n) return false;
        memcpy(out + *bytes, part, n);
        *bytes += n;
    }
    return true;
}

// ---- Numbers

bool hyp_parse_whole(hyp_text text, uint64_t *out) {
    *out = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        if (!digit((unsigned char)text.data[i])) return false;
        uint64_t next = (uint64_t)(text.data[i] - '0');
        if (*out > (UINT64_MAX - next) / 10) return false;
        *out = *out * 10 + next;
    }
    return text.bytes > 0;
}

// x * 2^power
static double scaled(double x, int power) {
    for (; power > 0; power--) x *= 2;
    for (; power < 0; power++) x /= 2;
    return x;
}

// `whole` / `by`, both below 2^64, to the nearest double: the quotient's first 64 bits by long
// division, then one rounding, where what is left over stands for everything behind them.
static double divided(uint64_t whole, uint64_t by) {
    int power = 0;
    uint64_t rest = whole, quotient = 0;
    while (rest >> 63 == 0 && rest < by) {
        rest *= 2;
        power--;
    }
    if (rest >= by) {
        int up = 0;
        while (by >> 63 == 0 && by * 2 <= rest) {
            by *= 2;
            up++;
        }
        power += up;
    }
    // rest < 2 * by
    for (int bit = 0; bit < 64; bit++) {
        bool carry = false;
        if (bit) {
            carry = rest >> 63;
            rest *= 2;
        }
        bool fits = carry || rest >= by;
        if (fits) rest -= by;
        quotient = quotient << 1 | fits;
    }
    return scaled((double)(quotient | (rest != 0)), power - 63);
}

// `whole` * `by`, both below 2^64, to the nearest double.
static double multiplied(uint64_t whole, uint64_t by) {
    uint64_t high = 0, low = 0;
    for (int bit = 63; bit >= 0; bit--) {
        high = high << 1 | low >> 63;
        low <<= 1;
        if (by >> bit & 1) {
            low += whole;
            high += low < whole;
        }
    }
    if (!high) return (double)low;
    int power = 64;
    for (; high >> 63 == 0; power--) {
        high = high << 1 | low >> 63;
        low <<= 1;
    }
    return scaled((double)(high | (low != 0)), power);
}

bool hyp_parse_real(hyp_text text, double *out) {
    enum { DIGITS = 19, FIVES = 27, FAR = 400 }; // what 64 bits hold; beyond every double
    *out = 0;
    size_t at = 0, digits = 0;
    bool minus = text.bytes && text.data[0] == '-', seen = false;
    if (minus || (text.bytes && text.data[0] == '+')) at++;
    uint64_t whole = 0;
    int exponent = 0; // of ten
    for (bool point = false; at < text.bytes; at++) {
        int c = (unsigned char)text.data[at];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (!digit(c)) break;
        seen = true;
        if (digits < DIGITS) {
            whole = whole * 10 + (uint64_t)(c - '0');
            digits += whole > 0;
            exponent -= point;
        } else exponent += !point;
    }
    if (!seen) return false;
    if (at < text.bytes && (text.data[at] | 0x20) == 'e') {
        at++;
        bool down = at < text.bytes && text.data[at] == '-';
        if (down || (at < text.bytes && text.data[at] == '+')) at++;
        size_t from = at;
        int power = 0;
        for (; at < text.bytes && digit((unsigned char)text.data[at]); at++)
            if (power < 1 << 20) power = power * 10 + (text.data[at] - '0');
        if (at == from) return false;
        exponent += down ? -power : power;
    }
    if (at != text.bytes) return false;
    double value = 0;
    if (whole) {
        int far = exponent < 0 ? -exponent : exponent;
        int near = far < FIVES ? far : FIVES;
        uint64_t fives = 1;
        for (int i = 0; i < near; i++) fives *= 5;
        if (exponent < 0) value = scaled(divided(whole, fives), -near);
        else value = scaled(multiplied(whole, fives), near);
        for (int i = near; i < far && i < FAR; i++) value = exponent < 0 ? value / 10 : value * 10;
    }
    *out = minus ? -value : value;
    return true;
}
