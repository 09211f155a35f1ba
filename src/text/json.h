// Writes JSON into a growing buffer. Commas are the writer's business; nesting is the caller's.
#ifndef HYP_TEXT_JSON_H
#define HYP_TEXT_JSON_H

#include "../mem/buffer.h"

typedef struct hyp_json {
    hyp_buffer out;
    bool failed; // out of memory: what follows is dropped
    bool comma;
} hyp_json;

// `bracket`: '{' or '['. `key`: NULL within an array or at the top.
void hyp_json_open(hyp_json *json, const char *key, char bracket);
void hyp_json_close(hyp_json *json, char bracket); // '}' or ']'
// Invalid UTF-8 becomes U+FFFD.
void hyp_json_text(hyp_json *json, const char *key, const char *text, size_t bytes);
// Whole numbers up to 2^53 are written exactly.
void hyp_json_number(hyp_json *json, const char *key, double value);
// With so many decimals, at most 9; as hyp_json_number where they would not be exact.
void hyp_json_fixed(hyp_json *json, const char *key, double value, int decimals);
// A value that is JSON already.
void hyp_json_value(hyp_json *json, const char *key, const char *value, size_t bytes);
void hyp_json_bool(hyp_json *json, const char *key, bool value);

#endif
