// From a file to a graph: the architectures that there are, each a row of facts (arch.c) and a
// builder of its kind.
#ifndef HYP_MODELS_MODELS_H
#define HYP_MODELS_MODELS_H

#include "shape.h"

// Builds and plans the graph of the model in `gguf`, to be ready for texts of `context` tokens (0:
// the model's own), and says its shape. `arena` owns the tables; gguf, kernels and arena are
// borrowed for as long as the graph lasts. HYP_E_UNSUPPORTED names what is not known;
// HYP_E_FORMAT; HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_build_graph(hyp_graph *graph, hyp_shape *shape, const hyp_gguf *gguf,
                                        const hyp_kernels *kernels, hyp_arena *arena,
                                        uint32_t context);

// The builder of decoder-only transformers.
void hyp_build_decoder(hyp_graph *graph, const hyp_shape *shape);
// What a graph of such a shape may have.
hyp_graph_limits hyp_decoder_limits(const hyp_shape *shape);

#endif
