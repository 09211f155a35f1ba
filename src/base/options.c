#include "options.h"

#include "json_read.h"
#include "text.h"

#include <string.h>

enum { NAME_BYTES = 48, SHOWN_BYTES = 40 }; // of the longest name; of a value in a message

typedef enum spelling { IN_C, IN_JSON, ON_COMMAND_LINE } spelling;

// ---- Fields

static double get(const hyp_option *o, const void *config) {
    const char *field = (const char *)config + o->offset;
    uint64_t wide;
    uint32_t word;
    size_t bytes;
    float real;
    switch ((hyp_option_type)o->type) {
    case HYP_OPTION_FLAG: return *(const bool *)field;
    case HYP_OPTION_U32:
    case HYP_OPTION_CHOICE: memcpy(&word, field, sizeof word); return word;
    case HYP_OPTION_U64: memcpy(&wide, field, sizeof wide); return (double)wide;
    case HYP_OPTION_BYTES: memcpy(&bytes, field, sizeof bytes); return (double)bytes;
    case HYP_OPTION_F32: memcpy(&real, field, sizeof real); return (double)real;
    case HYP_OPTION_TEXTS: break;
    }
    return 0;
}

// `value` is in the row's range.
static void put(const hyp_option *o, void *config, double value) {
    char *field = (char *)config + o->offset;
    uint64_t wide = o->type == HYP_OPTION_F32 ? 0 : (uint64_t)value;
    uint32_t word = (uint32_t)wide;
    size_t bytes = wide > SIZE_MAX ? SIZE_MAX : (size_t)wide; // a limit that never binds
    float real = (float)value;
    switch ((hyp_option_type)o->type) {
    case HYP_OPTION_FLAG: *(bool *)field = value != 0; break;
    case HYP_OPTION_U32:
    case HYP_OPTION_CHOICE: memcpy(field, &word, sizeof word); break;
    case HYP_OPTION_U64: memcpy(field, &wide, sizeof wide); break;
    case HYP_OPTION_BYTES: memcpy(field, &bytes, sizeof bytes); break;
    case HYP_OPTION_F32: memcpy(field, &real, sizeof real); break;
    case HYP_OPTION_TEXTS: memset(field, 0, sizeof(hyp_option_texts)); break;
    }
}

static bool whole(const hyp_option *o) {
    return o->type == HYP_OPTION_U32 || o->type == HYP_OPTION_U64 || o->type == HYP_OPTION_BYTES;
}

// False for NaN too.
static bool in_range(const hyp_option *o, double value) {
    if (o->type != HYP_OPTION_F32) return value >= o->least && value <= o->most;
    return (float)value >= (float)o->least && (float)value <= (float)o->most;
}

// ---- Names

static bool same(const char *name, const char *text, size_t bytes) {
    return strlen(name) == bytes && !memcmp(name, text, bytes);
}

// "topK" from "top-k"
static size_t camel(const char *name, char out[NAME_BYTES]) {
    size_t n = 0;
    for (; *name && n + 1 < NAME_BYTES; name++) {
        bool up = *name == '-' && name[1];
        name += up;
        out[n++] = (char)(up ? *name - 'a' + 'A' : *name);
    }
    out[n] = 0;
    return n;
}

static const char *spelled(const hyp_option *o, spelling how, char out[NAME_BYTES]) {
    if (how == IN_C) return o->field;
    if (how == IN_JSON) camel(o->name, out);
    else hyp_format_text(out, NAME_BYTES, "--%s", o->name);
    return out;
}

double hyp_option_get(const hyp_option *o, const void *config) { return get(o, config); }

bool hyp_option_set(const hyp_option *o, void *config, double value) {
    if (o->type == HYP_OPTION_TEXTS || !in_range(o, value)) return false;
    if (o->type != HYP_OPTION_F32 && (double)(uint64_t)value != value) return false;
    put(o, config, value);
    return true;
}

const hyp_option *hyp_options_find(const hyp_options *options, const char *name) {
    for (uint32_t i = 0; i < options->count; i++)
        if (!strcmp(options->rows[i].name, name)) return &options->rows[i];
    return NULL;
}

static const hyp_option *find_key(const hyp_options *options, const char *key, size_t bytes) {
    char name[NAME_BYTES];
    for (uint32_t i = 0; i < options->count; i++) {
        camel(options->rows[i].name, name);
        if (options->rows[i].type != HYP_OPTION_TEXTS && same(name, key, bytes))
            return &options->rows[i];
    }
    return NULL;
}

// Letters alone, small ones: "top-p", "topP" and "TOP_P" are alike.
static size_t simplify(const char *name, size_t bytes, char out[NAME_BYTES]) {
    size_t n = 0;
    for (size_t i = 0; i < bytes && n < NAME_BYTES - 1; i++) {
        bool big = name[i] >= 'A' && name[i] <= 'Z';
        if (name[i] != '-' && name[i] != '_') out[n++] = (char)(name[i] | (big ? 0x20 : 0));
    }
    return n;
}

// Insertions, deletions and exchanges that make one of the other [Levenshtein 1966].
static uint32_t distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    uint8_t row[NAME_BYTES];
    for (size_t j = 0; j <= b_bytes; j++) row[j] = (uint8_t)j;
    for (size_t i = 0; i < a_bytes; i++) {
        uint8_t corner = row[0];
        row[0] = (uint8_t)(i + 1);
        for (size_t j = 0; j < b_bytes; j++) {
            uint8_t best = (uint8_t)(corner + (a[i] != b[j]));
            if (row[j] + 1 < best) best = (uint8_t)(row[j] + 1);
            if (row[j + 1] + 1 < best) best = (uint8_t)(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[b_bytes];
}

static hyp_status unknown(const hyp_options *options, const char *name, size_t bytes, spelling how,
                          hyp_fault *fault) {
    char wanted[NAME_BYTES], other[NAME_BYTES], text[NAME_BYTES];
    size_t length = simplify(name, bytes, wanted);
    uint32_t least = UINT32_MAX;
    const hyp_option *best = NULL;
    for (uint32_t i = 0; i < options->count; i++) {
        const hyp_option *o = &options->rows[i];
        if (how == IN_JSON && o->type == HYP_OPTION_TEXTS) continue;
        uint32_t d = distance(wanted, length, other, simplify(o->name, strlen(o->name), other));
        if (d >= least) continue;
        least = d;
        best = o;
    }
    const char *dashes = how == ON_COMMAND_LINE ? "--" : "";
    int shown = (int)(bytes < SHOWN_BYTES ? bytes : SHOWN_BYTES);
    // One that has hardly a letter in common was not meant.
    if (!best || least * 2 > length)
        return hyp_fail(fault, HYP_E_ARGUMENT, "there is no option '%s%.*s'", dashes, shown, name);
    return hyp_fail(fault, HYP_E_ARGUMENT, "there is no option '%s%.*s'; did you mean '%s'?",
                    dashes, shown, name, spelled(best, how, text));
}

// ---- Values

static size_t format_number(char out[25], double value) {
    if (value != value) return hyp_format_text(out, 25, "NaN");
    if (value - value != 0) return hyp_format_text(out, 25, value < 0 ? "-Infinity" : "Infinity");
    if (value > -0x1p53 && value < 0x1p53 && value == (double)(int64_t)value)
        return hyp_format_text(out, 25, "%lld", (long long)value);
    return hyp_format_real(out, value);
}

// "f16 or q8_0"; "a, b or c"
static void format_choices(char *out, size_t size, const char *names) {
    size_t n = 0;
    const char *last = strrchr(names, '|');
    for (; *names; names++) {
        if (*names == '|') n += hyp_format_text(out + n, size - n, names == last ? " or " : ", ");
        else n += hyp_format_text(out + n, size - n, "%c", *names);
        if (n >= size) return;
    }
}

// `text` as the caller wrote it, for the message.
static hyp_status refuse(const hyp_option *o, spelling how, hyp_text text, bool quoted,
                         hyp_fault *fault) {
    char name[NAME_BYTES], least[25], most[25], choices[96];
    const char *called = spelled(o, how, name), *quote = quoted ? "'" : "";
    int shown = (int)(text.bytes < SHOWN_BYTES ? text.bytes : SHOWN_BYTES);
    const char *cut = text.bytes > SHOWN_BYTES ? "..." : "";
    switch ((hyp_option_type)o->type) {
    case HYP_OPTION_FLAG:
        return hyp_fail(fault, HYP_E_ARGUMENT, "%s must be true or false, not %s%.*s%s%s", called,
                        quote, shown, text.data, cut, quote);
    case HYP_OPTION_CHOICE:
        format_choices(choices, sizeof choices, o->choices);
        return hyp_fail(fault, HYP_E_ARGUMENT, "%s must be %s, not %s%.*s%s%s", called, choices,
                        quote, shown, text.data, cut, quote);
    case HYP_OPTION_BYTES:
        return hyp_fail(fault, HYP_E_ARGUMENT,
                        "%s must be an amount of memory, as 96MB or 2GB, not %s%.*s%s%s", called,
                        quote, shown, text.data, cut, quote);
    case HYP_OPTION_TEXTS:
        return hyp_fail(fault, HYP_E_ARGUMENT, "%s must be a text of %u to %u bytes, not %zu",
                        called, (unsigned)o->least, (unsigned)o->most, text.bytes);
    case HYP_OPTION_U32:
    case HYP_OPTION_U64:
    case HYP_OPTION_F32: break;
    }
    format_number(least, o->least);
    format_number(most, o->most);
    return hyp_fail(fault, HYP_E_ARGUMENT, "%s must be a %snumber from %s to %s, not %s%.*s%s%s",
                    called, whole(o) ? "whole " : "", least, most, quote, shown, text.data, cut,
                    quote);
}

// "500MB", "1.5 g", "2000": K, M and G are powers of a thousand.
static bool parse_bytes(hyp_text text, double *out) {
    size_t n = 0;
    while (n < text.bytes && (text.data[n] == '.' || (text.data[n] >= '0' && text.data[n] <= '9')))
        n++;
    if (!hyp_parse_real((hyp_text){text.data, n}, out)) return false;
    n += n < text.bytes && text.data[n] == ' ';
    double unit = 1;
    for (int power = 1; power <= 3 && n < text.bytes; power++) {
        if ((text.data[n] | 0x20) != "kmg"[power - 1]) continue;
        unit = power == 1 ? 1e3 : power == 2 ? 1e6 : 1e9;
        n++;
        n += n < text.bytes && (text.data[n] | 0x20) == 'i';
        break;
    }
    n += n < text.bytes && (text.data[n] | 0x20) == 'b';
    *out *= unit;
    return n == text.bytes;
}

static bool parse_choice(const hyp_option *o, hyp_text text, double *out) {
    *out = 0;
    for (const char *name = o->choices;; name++) {
        size_t n = strcspn(name, "|");
        if (n == text.bytes && !memcmp(name, text.data, n)) return true;
        name += n;
        if (!*name) return false;
        ++*out;
    }
}

// A number of the row's type; `sloppy`: as command lines write it, digits alone where it is whole.
static bool parse_number(const hyp_option *o, hyp_text text, bool sloppy, double *out) {
    uint64_t exact;
    if (!whole(o)) return hyp_parse_real(text, out);
    if (hyp_parse_whole(text, &exact)) {
        *out = exact > (uint64_t)1 << 53 ? 0x1p63 : (double)exact; // too large for every range
        return true;
    }
    return !sloppy && hyp_parse_real(text, out) && *out > -0x1p53 && *out < 0x1p53 &&
           *out == (double)(int64_t)*out;
}

static hyp_status set_number(const hyp_option *o, spelling how, hyp_text text, bool quoted,
                             bool known, double value, void *config, hyp_fault *fault) {
    if (!known || !in_range(o, value)) return refuse(o, how, text, quoted, fault);
    put(o, config, o->type == HYP_OPTION_BYTES ? (double)(uint64_t)value : value);
    return HYP_OK;
}

static hyp_status add_text(const hyp_option *o, hyp_text text, void *config, hyp_fault *fault) {
    hyp_option_texts *texts = (hyp_option_texts *)(void *)((char *)config + o->offset);
    if (!in_range(o, (double)text.bytes)) return refuse(o, ON_COMMAND_LINE, text, false, fault);
    if (texts->count == HYP_OPTION_TEXTS_MOST)
        return hyp_fail(fault, HYP_E_ARGUMENT, "too many --%s: at most %d are possible", o->name,
                        HYP_OPTION_TEXTS_MOST);
    texts->at[texts->count++] = text;
    return HYP_OK;
}

// ---- The interface

void hyp_options_begin(const hyp_options *options, void *config) {
    for (uint32_t i = 0; i < options->count; i++)
        put(&options->rows[i], config, options->rows[i].usual);
}

void hyp_options_fill(const hyp_options *options, void *config) {
    for (uint32_t i = 0; i < options->count; i++) {
        const hyp_option *o = &options->rows[i];
        if (o->type != HYP_OPTION_TEXTS && get(o, config) == 0 && !in_range(o, 0))
            put(o, config, o->usual);
    }
}

hyp_status hyp_options_check(const hyp_options *options, const void *config, hyp_fault *fault) {
    for (uint32_t i = 0; i < options->count; i++) {
        const hyp_option *o = &options->rows[i];
        double value = get(o, config);
        if (o->type == HYP_OPTION_TEXTS || value == 0 || in_range(o, value)) continue;
        char text[25];
        size_t n = format_number(text, value);
        return refuse(o, IN_C, (hyp_text){text, n}, false, fault);
    }
    return HYP_OK;
}

hyp_status hyp_options_set(const hyp_options *options, void *config, const char *name,
                           const char *text, hyp_fault *fault) {
    const hyp_option *o = hyp_options_find(options, name);
    if (!o) return unknown(options, name, strlen(name), ON_COMMAND_LINE, fault);
    hyp_text value = {text ? text : "true", strlen(text ? text : "true")};
    double number = 0;
    bool known = false;
    switch ((hyp_option_type)o->type) {
    case HYP_OPTION_TEXTS: return add_text(o, value, config, fault);
    case HYP_OPTION_FLAG:
        known = same("true", value.data, value.bytes) || same("false", value.data, value.bytes);
        number = same("true", value.data, value.bytes);
        break;
    case HYP_OPTION_CHOICE: known = parse_choice(o, value, &number); break;
    case HYP_OPTION_BYTES: known = parse_bytes(value, &number); break;
    case HYP_OPTION_U32:
    case HYP_OPTION_U64:
    case HYP_OPTION_F32: known = parse_number(o, value, true, &number); break;
    }
    return set_number(o, ON_COMMAND_LINE, value, true, known, number, config, fault);
}

// The value of one option; its kind says what `raw` is.
static hyp_status read_option(const hyp_option *o, hyp_json_kind kind, hyp_text raw, void *config,
                              hyp_fault *fault) {
    char text[NAME_BYTES];
    hyp_text value = raw;
    bool quoted = kind == HYP_JSON_TEXT, known = false;
    double number = 0;
    if (quoted && hyp_json_unescape(raw, text, sizeof text, &value.bytes)) value.data = text;
    else if (quoted) value = raw; // longer than all that is meant here
    if (kind == HYP_JSON_OBJECT) value = (hyp_text){"an object", 9};
    if (kind == HYP_JSON_ARRAY) value = (hyp_text){"a list", 6};
    switch ((hyp_option_type)o->type) {
    case HYP_OPTION_FLAG:
        known = kind == HYP_JSON_TRUE || kind == HYP_JSON_FALSE;
        number = kind == HYP_JSON_TRUE;
        break;
    case HYP_OPTION_CHOICE: known = quoted && parse_choice(o, value, &number); break;
    case HYP_OPTION_BYTES:
        known = quoted ? parse_bytes(value, &number)
                       : kind == HYP_JSON_NUMBER && parse_number(o, value, false, &number);
        break;
    case HYP_OPTION_U32:
    case HYP_OPTION_U64:
    case HYP_OPTION_F32:
        known = kind == HYP_JSON_NUMBER && parse_number(o, value, false, &number);
        break;
    case HYP_OPTION_TEXTS: break;
    }
    return set_number(o, IN_JSON, value, quoted, known, number, config, fault);
}

hyp_status hyp_options_parse_json(const hyp_options *options, hyp_text json, void *config,
                                  hyp_fault *fault) {
    hyp_json_reader reader;
    hyp_json_reader_init(&reader, json);
    hyp_text raw;
    hyp_json_kind kind = hyp_json_read(&reader, &raw);
    if (kind != HYP_JSON_OBJECT && kind != HYP_JSON_ERROR)
        return hyp_fail(fault, HYP_E_ARGUMENT, "options must be a JSON object");
    uint64_t seen = 0; // rows, by number
    while (kind != HYP_JSON_ERROR && (kind = hyp_json_read(&reader, &raw)) == HYP_JSON_KEY) {
        char key[NAME_BYTES];
        size_t bytes;
        hyp_json_unescape(raw, key, sizeof key, &bytes); // what does not fit is no option's name
        const hyp_option *o = find_key(options, key, bytes);
        if (!o) return unknown(options, key, bytes, IN_JSON, fault);
        uint64_t bit = (uint64_t)1 << (o - options->rows);
        if (seen & bit)
            return hyp_fail(fault, HYP_E_ARGUMENT, "the option '%.*s' is given twice", (int)bytes,
                            key);
        seen |= bit;
        kind = hyp_json_read(&reader, &raw);
        if (kind == HYP_JSON_ERROR || kind == HYP_JSON_NULL) continue;
        hyp_status status = read_option(o, kind, raw, config, fault);
        if (status) return status;
    }
    if (kind != HYP_JSON_ERROR) kind = hyp_json_read(&reader, &raw); // nothing follows
    if (kind == HYP_JSON_ERROR)
        return hyp_fail(fault, HYP_E_ARGUMENT, "options are no JSON: %s, at byte %zu", reader.error,
                        reader.at);
    return HYP_OK;
}
