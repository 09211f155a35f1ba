// JSON for people and from the core.
#ifndef HYP_NATIVE_JSON_H
#define HYP_NATIVE_JSON_H

#include "../../src/base/json_read.h"

#include <stdio.h>

// What is no UTF-8 becomes U+FFFD, as decoders of the web do it: one for each longest beginning of
// a character.
void json_string(FILE *out, const char *text, size_t bytes);
// "key":value with so many decimals; null where there is no number.
void json_real(FILE *out, const char *key, double value, int decimals);

// Walks over the members of an object or the elements of an array, which the core has written.
typedef hyp_json_reader json_walk;
json_walk json_members(hyp_text container);
// *value is JSON, texts with their quotes; *key is empty within an array. False: there are no more.
bool json_next(json_walk *walk, hyp_text *key, hyp_text *value);
// The value at "key" or "key.key"; empty where there is none.
hyp_text json_at(hyp_text object, const char *path);
double json_number(hyp_text object, const char *path); // NaN where there is none

#endif
