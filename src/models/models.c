#include "models.h"

#include "../base/text.h"

static hyp_status unknown(const hyp_gguf *gguf, hyp_text name) {
    char known[200];
    size_t at = 0;
    for (size_t i = 0; i < hyp_arch_count; i++) {
        const char *between = i == 0 ? "" : i + 1 < hyp_arch_count ? ", " : " and ";
        size_t room = sizeof known - at;
        size_t n = hyp_format_text(known + at, room, "%s%s", between, hyp_archs[i].name);
        at += n < room ? n : room - 1;
    }
    return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED, "architecture '%.*s' is not supported (%s are)",
                    name.bytes < 60 ? (int)name.bytes : 60, name.data, known);
}

hyp_status hyp_build_graph(hyp_graph *graph, hyp_shape *shape, const hyp_gguf *gguf,
                           const hyp_kernels *kernels, hyp_arena *arena, uint32_t context) {
    hyp_text name = hyp_gguf_string(gguf, "general.architecture");
    if (!name.data)
        return hyp_fail(gguf->fault, HYP_E_FORMAT,
                        "the file does not name its architecture ('general.architecture')");
    const hyp_arch *arch = hyp_arch_named(name.data, name.bytes);
    if (!arch) return unknown(gguf, name);
    hyp_status status = hyp_shape_read(shape, arch, gguf, context);
    if (status) return status;
    hyp_graph_limits limits = hyp_decoder_limits(shape);
    status = hyp_graph_init(graph, gguf, kernels, arena, &limits);
    if (status) return status;
    hyp_build_decoder(graph, shape);
    return hyp_graph_plan(graph);
}
