#include "source.h"

#include "../port.h"

#include <string.h>

hyp_status hyp_source_read(const hyp_source *source, uint64_t offset, void *dst, size_t count) {
    if (offset > source->bytes || count > source->bytes - offset) return HYP_E_IO;
    if (count == 0) return HYP_OK;
    return source->read ? source->read(source->context, offset, dst, count)
                        : hyp_port_read(source->handle, offset, dst, count);
}

static hyp_status read_memory(void *context, uint64_t offset, void *dst, size_t count) {
    memcpy(dst, (const char *)context + offset, count);
    return HYP_OK;
}

hyp_source hyp_source_of_memory(const void *data, size_t bytes) {
    return (hyp_source){.bytes = bytes, .read = read_memory, .context = (void *)(uintptr_t)data};
}
