// A block of memory that grows: contiguous, doubled when full, under a budget. Pointers into it die
// when it grows.
#ifndef HYP_MEM_BUFFER_H
#define HYP_MEM_BUFFER_H

#include "arena.h"

#include <stdbool.h>

typedef struct hyp_buffer {
    hyp_budget *budget; // borrowed
    uint8_t *data;
    size_t bytes, capacity;
} hyp_buffer;

// Makes room for `more` bytes behind `bytes`; false, with nothing changed, when the budget has no
// more.
bool hyp_buffer_reserve(hyp_buffer *buffer, size_t more);
// Appends; false as above.
bool hyp_buffer_append(hyp_buffer *buffer, const void *data, size_t count);
void hyp_buffer_deinit(hyp_buffer *buffer);

#endif
