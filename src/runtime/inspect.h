// What stands in a GGUF file, and writing it anew in another format: the parts of the interface that need no session.
#ifndef HYP_RUNTIME_INSPECT_H
#define HYP_RUNTIME_INSPECT_H

#include "../hyperion.h"
#include "../stream/source.h"

// A JSON object {version, metadata: {key: value}, tensors: [{name, type, shape, bytes}], ...}. Arrays of more than 8 elements are
// shown as {count, first}. *json lives until the next call on this engine. May suspend.
HYP_MUST_USE hyp_status hyp_engine_inspect(hyp_engine *engine, const hyp_source *sources, uint32_t count, const char **json, size_t *bytes);

typedef struct hyp_sink {
    // Takes the next `count` bytes of the output; false stops with HYP_E_IO.
    bool (*write)(void *context, const void *data, size_t count);
    bool (*progress)(void *context, uint64_t done, uint64_t total); // may be NULL; false: HYP_E_CANCELLED
    void *context;
} hyp_sink;

// Writes the model with its float matrices in `format` ("Q4_0", "Q8_0", "F16", "F32"); vectors stay as they are. May suspend.
HYP_MUST_USE hyp_status hyp_engine_quantize(hyp_engine *engine, const hyp_source *sources, uint32_t count, const char *format,
                                            const hyp_sink *sink);

#endif
