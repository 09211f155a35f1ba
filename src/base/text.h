// Formatting without stdio, as error messages and JSON need it: no state, no locale.
#ifndef HYP_BASE_TEXT_H
#define HYP_BASE_TEXT_H

#include "../hyperion/types.h"

#include <stdarg.h>

// As snprintf: at most `size` bytes with the terminator; returns the length of the whole text.
// Understands %% %c %s %d %u %x with width, zero padding, precision of %s (`.*` too), and the
// lengths ll and z.
size_t hyp_vformat(char *out, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
size_t hyp_format_text(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The number with nine significant digits, as JSON allows it ("-1.5", "6.02e+23"); returns its
// length, at most 24. Finite values only.
size_t hyp_format_real(char out[25], double value);

#endif
