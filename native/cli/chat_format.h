// Chat turns as text, for the template families that most models use. (JavaScript renders a model's
// own template with a Jinja engine.)
#ifndef HYP_NATIVE_CHAT_FORMAT_H
#define HYP_NATIVE_CHAT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct chat_format {
    const char *name, *marker;                   // marker: what a template of the family contains
    const char *begin;                           // before everything
    const char *system[2], *user[2], *answer[2]; // around a turn; answer[0] begins the model's
} chat_format;

// The family of a template (not terminated), by its markers; NULL when it is none of ours.
const chat_format *chat_format_of(const char *template_text, size_t bytes);

#endif
