#include "buffer.h"

#include <string.h>

enum { FIRST_BYTES = 1 << 10 };

bool hyp_buffer_reserve(hyp_buffer *buffer, size_t more) {
    if (more <= buffer->capacity - buffer->bytes) return true;
    if (more > SIZE_MAX / 4 || buffer->capacity > SIZE_MAX / 4) return false;
    size_t capacity = buffer->capacity ? buffer->capacity * 2 : FIRST_BYTES;
    while (capacity - buffer->bytes < more) capacity *= 2;
    uint8_t *data = hyp_budget_alloc(buffer->budget, capacity, "buffer");
    if (!data) return false;
    if (buffer->bytes) memcpy(data, buffer->data, buffer->bytes);
    if (buffer->data) hyp_budget_free(buffer->budget, buffer->data, buffer->capacity);
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool hyp_buffer_append(hyp_buffer *buffer, const void *data, size_t count) {
    if (!hyp_buffer_reserve(buffer, count)) return false;
    if (count) memcpy(buffer->data + buffer->bytes, data, count);
    buffer->bytes += count;
    return true;
}

void hyp_buffer_deinit(hyp_buffer *buffer) {
    if (buffer->data) hyp_budget_free(buffer->budget, buffer->data, buffer->capacity);
    *buffer = (hyp_buffer){.budget = buffer->budget};
}
