#include "unicode.h"

// The tables are runs of code points in a row of bytes, each told by its distance from the one
// before: a module that is downloaded should be small. Every STRIDE runs there is a place where a
// search may begin.
typedef struct place {
    uint32_t rune; // of the run before: its first one, or its last one where it is a mapping's
    int32_t value; // of the run before: its class, or how far it moves
    uint32_t at;   // of the next run's bytes
} place;

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

// The last place whose runs begin after a code point that is before `rune`, or the first.
static const place *place_of(const place *places, size_t count, uint32_t rune) {
    size_t low = 0, high = count;
    while (high - low > 1) {
        size_t mid = (low + high) / 2;
        if (places[mid].rune < rune) low = mid;
        else high = mid;
    }
    return &places[low];
}

static uint32_t varint(const uint8_t **at) {
    uint32_t value = 0;
    for (uint32_t shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint32_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return value;
    }
}

hyp_class hyp_rune_class(uint32_t rune) {
    const place *from = place_of(class_places, COUNT(class_places), rune);
    const uint8_t *at = class_bytes + from->at, *end = class_bytes + sizeof class_bytes;
    uint32_t first = from->rune, class = (uint32_t)from->value;
    while (at < end) { // the last run that starts at or before the rune
        first += varint(&at);
        if (first > rune) break;
        class = *at++;
    }
    return (hyp_class) class;
}

static uint32_t apply(const place *from, const uint8_t *bytes, size_t count, uint32_t rune) {
    const uint8_t *at = bytes + from->at, *end = bytes + count;
    uint32_t last = from->rune;
    int32_t delta = from->value;
    while (at < end) {
        uint32_t first = last + varint(&at);
        last = first + varint(&at);
        uint32_t step = *at++, change = varint(&at);
        delta += (int32_t)(change >> 1 ^ (0 - (change & 1)));
        if (rune < first) break;
        if (rune <= last) return (rune - first) % step ? rune : (uint32_t)((int32_t)rune + delta);
    }
    return rune;
}

uint32_t hyp_rune_lower(uint32_t rune) {
    const place *from = place_of(lower_places, COUNT(lower_places), rune);
    return apply(from, lower_bytes, sizeof lower_bytes, rune);
}
uint32_t hyp_rune_base(uint32_t rune) {
    const place *from = place_of(base_places, COUNT(base_places), rune);
    return apply(from, base_bytes, sizeof base_bytes, rune);
}
