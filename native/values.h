// Values as texts: the numbers of the command line's options, and JSON. glue/arguments.js accepts
// the same ones.
#ifndef HYP_NATIVE_VALUES_H
#define HYP_NATIVE_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// Decimal numbers and nothing else: no blanks, no sign where none is due, no other base, no "inf".
// False for other texts, and for what does not fit.
bool parse_whole(const char *text, uint64_t most, uint64_t *out);
bool parse_count(const char *text, uint32_t *out);
bool parse_real(const char *text, float *out);
// "500MB", "1.5 g", "2000": K, M and G are powers of a thousand.
bool parse_size(const char *text, size_t *out);

// What is no UTF-8 becomes U+FFFD, as decoders of the web do it: one for each longest beginning of
// a character.
void json_string(FILE *out, const char *text, size_t bytes);
// "key":value with so many decimals after a comma where `more`; null where there is no number.
void json_real(FILE *out, const char *key, double value, int decimals);

#endif
