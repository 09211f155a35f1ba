// Outcomes of every call that can fail, and the text that explains the last failure.
#ifndef HYP_BASE_STATUS_H
#define HYP_BASE_STATUS_H

#include "../hyperion/types.h"

// What went wrong, for a human. All-zero is empty.
typedef struct hyp_fault {
    char text[320];
} hyp_fault;

// Writes the formatted message into `fault` (NULL: dropped) and returns `status`, so that a caller
// can `return hyp_fail(...)`.
HYP_MUST_USE hyp_status hyp_fail(hyp_fault *fault, hyp_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
