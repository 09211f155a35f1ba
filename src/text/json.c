#include "json.h"

#include "../base/text.h"
#include "unicode.h"

#include <string.h>

static void put(hyp_json *j, const char *text, size_t bytes) {
    j->failed = j->failed || !hyp_buffer_append(&j->out, text, bytes);
}

static void quote(hyp_json *j, const char *text, size_t bytes) {
    put(j, "\"", 1);
    for (size_t at = 0; at < bytes;) {
        uint32_t length, rune = hyp_rune_decode(text + at, bytes - at, &length);
        char escape[12], utf8[4];
        if (rune == '"' || rune == '\\') {
            escape[0] = '\\';
            escape[1] = (char)rune;
            put(j, escape, 2);
        } else if (rune < 0x20) {
            put(j, escape, hyp_format_text(escape, sizeof escape, "\\u%04x", rune));
        } else {
            uint32_t n = hyp_rune_encode(rune, utf8);
            put(j, utf8, n);
        }
        at += length;
    }
    put(j, "\"", 1);
}

static void lead(hyp_json *j, const char *key) {
    if (j->comma) put(j, ",", 1);
    j->comma = true;
    if (!key) return;
    quote(j, key, strlen(key));
    put(j, ":", 1);
}

void hyp_json_open(hyp_json *j, const char *key, char bracket) {
    lead(j, key);
    put(j, &bracket, 1);
    j->comma = false;
}

void hyp_json_close(hyp_json *j, char bracket) {
    put(j, &bracket, 1);
    j->comma = true;
}

void hyp_json_text(hyp_json *j, const char *key, const char *text, size_t bytes) {
    lead(j, key);
    quote(j, text, bytes);
}

void hyp_json_number(hyp_json *j, const char *key, double value) {
    char text[40];
    lead(j, key);
    if (!(value - value == 0)) return put(j, "null", 4);
    bool integer = value >= -9007199254740992.0 && value <= 9007199254740992.0 &&
                   value == (double)(int64_t)value;
    put(j, text,
        integer ? hyp_format_text(text, sizeof text, "%lld", (long long)value)
                : hyp_format_real(text, value));
}

void hyp_json_fixed(hyp_json *j, const char *key, double value, int decimals) {
    unsigned long long unit = 1;
    for (int i = 0; i < decimals; i++) unit *= 10;
    double scaled = value * (double)unit + 0.5;
    if (!(scaled >= 0.5 && scaled < 9007199254740992.0)) return hyp_json_number(j, key, value);
    unsigned long long all = (unsigned long long)scaled, part = all % unit;
    char text[40];
    size_t n = hyp_format_text(text, sizeof text, "%llu.", all / unit);
    for (unsigned long long left = unit / 10; left; left /= 10)
        text[n++] = (char)('0' + part / left % 10);
    hyp_json_value(j, key, text, n);
}

void hyp_json_value(hyp_json *j, const char *key, const char *value, size_t bytes) {
    lead(j, key);
    put(j, value, bytes);
}

void hyp_json_bool(hyp_json *j, const char *key, bool value) {
    lead(j, key);
    put(j, value ? "true" : "false", value ? 4 : 5);
}
