// What stands in a GGUF file, and writing it anew in another format: the parts of the interface that need no session.
#ifndef HYP_RUNTIME_INSPECT_H
#define HYP_RUNTIME_INSPECT_H

#include "../hyperion.h"
#include "../model/gguf_write.h"

// A JSON object {version, metadata: {key: value}, tensors: [{name, type, shape, bytes}], ...}. Arrays of more than 8 elements are
// shown as {count, first}. *json lives until the next call on this engine. May suspend.
HYP_MUST_USE hyp_status hyp_engine_inspect(hyp_engine *engine, const hyp_source *sources, uint32_t count, const char **json, size_t *bytes);

typedef struct hyp_quantization {
    const char *format;           // of the float matrices: "Q4_K", "Q8_0", "F16" ...; vectors stay as they are
    const hyp_source *importance; // what hyp_session_importance wrote, or an importance matrix of llama.cpp in GGUF; NULL: none
    float density;                // of the layers' matrices after pruning, above 0 and at most 1; 0: nothing is pruned. With "Q4_0" only
} hyp_quantization;

// Writes the model anew. May suspend.
HYP_MUST_USE hyp_status hyp_engine_quantize(hyp_engine *engine, const hyp_source *sources, uint32_t count, const hyp_quantization *how,
                                            const hyp_writer *out);
// Writes what the texts scored so far by a session with `calibrate` have shown of each matrix's input, as GGUF.
HYP_MUST_USE hyp_status hyp_session_importance(const hyp_session *session, const hyp_writer *out);

#endif
