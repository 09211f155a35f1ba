#include "buffer.h"

#include <string.h>

bool hyp_buffer_reserve(hyp_buffer *buffer, size_t more) {
    if (more <= buffer->capacity - buffer->bytes) return true;
    if (more > SIZE_MAX / 4 || buffer->capacity > SIZE_MAX / 4) return false;
    size_t capacity = buffer->capacity ? buffer->capacity * 2 : 64 << 10;
    while (capacity - buffer->bytes < more) capacity *= 2;
    uint8_t *data = hyp_budget_map(buffer->budget, capacity);
    if (!data) return false;
    if (buffer->bytes) memcpy(data, buffer->data, buffer->bytes);
    hyp_budget_unmap(buffer->budget, buffer->data, buffer->capacity);
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
    hyp_budget_unmap(buffer->budget, buffer->data, buffer->capacity);
    *buffer = (hyp_buffer){.budget = buffer->budget};
}
