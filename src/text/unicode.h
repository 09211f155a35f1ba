// Code points: UTF-8, general categories, lower case, base letters. What the pre-tokenizers need of
// Unicode and no more.
#ifndef HYP_TEXT_UNICODE_H
#define HYP_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hyp_class {
    HYP_CLASS_OTHER,
    HYP_CLASS_UPPER,        // Lu
    HYP_CLASS_LOWER,        // Ll
    HYP_CLASS_TITLE,        // Lt
    HYP_CLASS_MODIFIER,     // Lm
    HYP_CLASS_LETTER,       // Lo
    HYP_CLASS_MARK,         // Mn
    HYP_CLASS_MARK_SPACING, // Mc, Me
    HYP_CLASS_NUMBER,       // N
    HYP_CLASS_PUNCTUATION,  // P
    HYP_CLASS_SYMBOL,       // S
    HYP_CLASS_SPACE,        // \s
    HYP_CLASS_CONTROL,      // Cc
    HYP_CLASS_FORMAT        // Cf
} hyp_class;

enum { HYP_RUNE_INVALID = 0xFFFD };

// Decodes one code point of `bytes` > 0 at `text`; *length says how many bytes it took (1 for an
// invalid byte, which reads as U+FFFD).
uint32_t hyp_rune_decode(const char *text, size_t bytes, uint32_t *length);
uint32_t hyp_rune_encode(uint32_t rune, char out[4]); // bytes written
// How many bytes at the end of `text` begin a code point that is not complete yet: 0 to 3.
size_t hyp_rune_unfinished(const char *text, size_t bytes);

hyp_class hyp_rune_class(uint32_t rune);
uint32_t hyp_rune_lower(uint32_t rune);
uint32_t hyp_rune_base(uint32_t rune); // canonical decomposition without its marks

static inline bool hyp_class_is_letter(hyp_class c) {
    return c >= HYP_CLASS_UPPER && c <= HYP_CLASS_LETTER;
}
static inline bool hyp_class_is_mark(hyp_class c) {
    return c == HYP_CLASS_MARK || c == HYP_CLASS_MARK_SPACING;
}

#endif
