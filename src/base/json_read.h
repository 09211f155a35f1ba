// Reads JSON (RFC 8259) strictly, token by token, with neither allocation nor recursion. What a
// token says stays in the caller's text.
#ifndef HYP_BASE_JSON_READ_H
#define HYP_BASE_JSON_READ_H

#include "../hyperion/types.h"

typedef enum hyp_json_kind {
    HYP_JSON_ERROR, // no JSON; every further token is this one
    HYP_JSON_END,   // the whole text was one value
    HYP_JSON_OBJECT,
    HYP_JSON_OBJECT_END,
    HYP_JSON_ARRAY,
    HYP_JSON_ARRAY_END,
    HYP_JSON_KEY, // its value follows
    HYP_JSON_TEXT,
    HYP_JSON_NUMBER,
    HYP_JSON_TRUE,
    HYP_JSON_FALSE,
    HYP_JSON_NULL
} hyp_json_kind;

enum { HYP_JSON_DEPTH = 64 }; // of objects and arrays within one another; more is refused

typedef struct hyp_json_reader {
    const char *text;
    size_t bytes, at;  // `at`: where reading goes on; on an error, where it is
    const char *error; // what is wrong there, a clause; NULL: nothing
    uint64_t objects;  // by depth, from bit 0: 1 for an object, 0 for an array
    uint8_t depth, expects;
} hyp_json_reader;

// Borrows `text` for as long as it is read.
void hyp_json_reader_init(hyp_json_reader *reader, hyp_text text);
// The next token. *raw (may be NULL): of a key or a text, what stands between the quotes, escapes
// included; of anything else, its characters.
hyp_json_kind hyp_json_read(hyp_json_reader *reader, hyp_text *raw);

// Undoes the escapes of a key or text, which are right: at most `size` bytes of UTF-8 to `out`,
// where half a surrogate pair is U+FFFD. False: there is more than that.
bool hyp_json_unescape(hyp_text raw, char *out, size_t size, size_t *bytes);

// The decimal number that the whole text is, as JSON writes it, or with a sign +, or without digits
// before or after the point: the nearest double, ties to even, of up to 19 digits times 10^-27 to
// 10^27; within a few units of the last place beyond. Infinite where it is too large. False: no
// number.
bool hyp_parse_real(hyp_text text, double *out);
// Digits and nothing else. False: no such number, or more than 64 bits.
bool hyp_parse_whole(hyp_text text, uint64_t *out);

#endif
