// What every call of the interface speaks of: statuses, texts, sources of bytes, and what takes
// bytes.
#ifndef HYPERION_TYPES_H
#define HYPERION_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HYP_MUST_USE __attribute__((warn_unused_result))

typedef enum hyp_status {
#define HYP_STATUS(name, value, message, remedy) HYP_##name = (value),
#include "status.def"
} hyp_status;

#ifdef __cplusplus
extern "C" {
#endif

const char *hyp_status_name(hyp_status status);    // "HYP_E_IO"; "HYP_E_UNKNOWN" for another value
const char *hyp_status_message(hyp_status status); // one clause, lower case

typedef struct hyp_text { // borrowed bytes, not terminated
    const char *data;
    size_t bytes;
} hyp_text;

typedef struct hyp_source { // a source of bytes whose size is known
    uint64_t bytes;         // size of the whole
    uint32_t handle;        // the platform's; unused when `read` is set
    // Reads exactly `count` bytes at `offset`; HYP_E_IO otherwise. Does not suspend.
    hyp_status (*read)(void *context, uint64_t offset, void *dst, size_t count);
    void *context;
    bool sequential; // is best read from front to back, one range at a time, as a stream is
} hyp_source;

typedef struct hyp_writer {                                       // takes a file from front to back
    bool (*write)(void *context, const void *data, size_t count); // the next bytes; false: HYP_E_IO
    // Bytes read so far and in all. May be NULL; false: HYP_E_CANCELLED.
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
} hyp_writer;

#ifdef __cplusplus
}
#endif

#endif
