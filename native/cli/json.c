#include "json.h"

#include <math.h>
#include <string.h>

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

// ---- Reading

json_walk json_members(hyp_text container) {
    json_walk walk;
    hyp_json_reader_init(&walk, container);
    (void)hyp_json_read(&walk, NULL);
    return walk;
}

bool json_next(json_walk *walk, hyp_text *key, hyp_text *value) {
    hyp_json_kind kind = hyp_json_read(walk, value);
    *key = (hyp_text){0};
    if (kind == HYP_JSON_KEY) {
        *key = *value;
        kind = hyp_json_read(walk, value);
    }
    int depth = 0;
    for (hyp_json_kind inner = kind;; inner = hyp_json_read(walk, NULL)) {
        if (inner == HYP_JSON_ERROR || inner == HYP_JSON_END) return false;
        depth += inner == HYP_JSON_OBJECT || inner == HYP_JSON_ARRAY;
        depth -= inner == HYP_JSON_OBJECT_END || inner == HYP_JSON_ARRAY_END;
        if (depth < 0) return false; // the container's own end
        if (depth == 0) break;
    }
    if (kind == HYP_JSON_TEXT) value->data--; // the quotes, too
    value->bytes = (size_t)(walk->text + walk->at - value->data);
    return true;
}

hyp_text json_at(hyp_text object, const char *path) {
    size_t bytes = strcspn(path, ".");
    hyp_text key, value;
    for (json_walk walk = json_members(object); json_next(&walk, &key, &value);) {
        if (key.bytes != bytes || memcmp(key.data, path, bytes) != 0) continue;
        return path[bytes] ? json_at(value, path + bytes + 1) : value;
    }
    return (hyp_text){0};
}

double json_number(hyp_text object, const char *path) {
    double value;
    return hyp_parse_real(json_at(object, path), &value) ? value : (double)NAN;
}
