#include "unicode.h"

typedef struct map_run {
    uint32_t first, last, step;
    int32_t delta;
} map_run;

#include "unicode_tables.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

uint32_t hyp_rune_decode(const char *text, size_t bytes, uint32_t *length) {
    const uint8_t *p = (const uint8_t *)text;
    uint32_t lead = p[0], need = lead < 0x80                   ? 0
                                 : lead >= 0xC2 && lead < 0xE0 ? 1
                                 : lead >= 0xE0 && lead < 0xF0 ? 2
                                 : lead >= 0xF0 && lead < 0xF5 ? 3
                                                               : 9;
    *length = 1;
    if (need == 0) return lead;
    if (need == 9 || need >= bytes) return HYP_RUNE_INVALID;
    uint32_t rune = lead & (0x3Fu >> need);
    for (uint32_t i = 1; i <= need; i++) {
        if ((p[i] & 0xC0) != 0x80) return HYP_RUNE_INVALID;
        rune = rune << 6 | (p[i] & 0x3F);
    }
    if ((need == 2 && rune < 0x800) || (need == 3 && rune < 0x10000) || rune > 0x10FFFF ||
        (rune >= 0xD800 && rune < 0xE000))
        return HYP_RUNE_INVALID;
    *length = need + 1;
    return rune;
}

uint32_t hyp_rune_encode(uint32_t rune, char out[4]) {
    if (rune < 0x80) {
        out[0] = (char)rune;
        return 1;
    }
    if (rune < 0x800) {
        out[0] = (char)(0xC0 | rune >> 6);
        out[1] = (char)(0x80 | (rune & 0x3F));
        return 2;
    }
    if (rune < 0x10000) {
        out[0] = (char)(0xE0 | rune >> 12);
        out[1] = (char)(0x80 | (rune >> 6 & 0x3F));
        out[2] = (char)(0x80 | (rune & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | rune >> 18);
    out[1] = (char)(0x80 | (rune >> 12 & 0x3F));
    out[2] = (char)(0x80 | (rune >> 6 & 0x3F));
    out[3] = (char)(0x80 | (rune & 0x3F));
    return 4;
}

size_t hyp_rune_unfinished(const char *text, size_t bytes) {
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        uint8_t c = (uint8_t)text[bytes - back];
        if (c < 0x80) return 0;
        if (c >= 0xC0) { // a lead byte: does what it announces still fit?
            size_t want = c >= 0xF5 ? 0 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 0;
            return want > back ? back : 0;
        }
    }
    return 0;
}

hyp_class hyp_rune_class(uint32_t rune) {
    size_t low = 0, high = COUNT(class_runs); // the last run that starts at or before the rune
    while (high - low > 1) {
        size_t mid = (low + high) / 2;
        if (class_runs[mid] >> 8 <= rune) low = mid;
        else high = mid;
    }
    return (hyp_class)(class_runs[low] & 0xFF);
}

static uint32_t apply(const map_run *runs, size_t count, uint32_t rune) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (runs[mid].last < rune) low = mid + 1;
        else high = mid;
    }
    if (low < count && runs[low].first <= rune && (rune - runs[low].first) % runs[low].step == 0)
        return (uint32_t)((int32_t)rune + runs[low].delta);
    return rune;
}

uint32_t hyp_rune_lower(uint32_t rune) { return apply(lower_runs, COUNT(lower_runs), rune); }
uint32_t hyp_rune_base(uint32_t rune) { return apply(base_runs, COUNT(base_runs), rune); }
