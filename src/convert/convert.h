// Writing GGUF files: an open one, anew, with its matrices in another format or pruned; and what
// calibration has found.
#ifndef HYP_CONVERT_CONVERT_H
#define HYP_CONVERT_CONVERT_H

#include "../gguf/gguf.h"
#include "../kernels/kernels.h"
#include "../nn/forward.h"

typedef struct hyp_recipe {
    hyp_format format; // of the matrices of a float format whose rows are whole blocks, and of
                       // every matrix when it is a float format itself
    const hyp_gguf *imatrix; // what each column's squared error counts for: as hyp_write_imatrix
                             // wrote it. NULL: all alike
    // 0: everything is kept. Else Q4_0, and of each row of a layer's matrices only that part of the
    // weights with the largest w^2 times importance [magnitude pruning; Wanda, Sun et al. 2023], as
    // a bitmap or as compressed rows, if that is smaller than Q4_0.
    float density;
} hyp_recipe;

// Gives `out` the new file from front to back (version 3, one file); everything but matrices is
// copied. Progress counts bytes read. May suspend.
HYP_MUST_USE hyp_status hyp_gguf_rewrite(const hyp_gguf *gguf, const hyp_recipe *recipe,
                                         const hyp_writer *out);

// The statistics of a model's matrices as llama.cpp's importance matrices: tensors NAME.in_sum2,
// the sums of squares, and NAME.counts. May not suspend.
HYP_MUST_USE hyp_status hyp_write_imatrix(const hyp_gguf *gguf, const hyp_graph *graph,
                                          const hyp_column_squares *squares, const hyp_writer *out);

#endif
