// Running a network: a workspace is where the values of one batch at a time stand. Any number of
// workspaces may run over one network.
#ifndef HYP_NN_FORWARD_H
#define HYP_NN_FORWARD_H

#include "batch.h"
#include "net.h"

typedef struct hyp_timing {     // of one operation, since the workspace began
    uint64_t ns, bytes, macs;   // bytes: of weights, or of the cache
    uint64_t began_ns, last_ns; // of the last pass
} hyp_timing;

typedef struct hyp_column_squares { // of the activations that went into a matrix's products
    double *sums;                   // of x^2, by column
    uint64_t rows;
} hyp_column_squares;

typedef struct hyp_workspace {
    hyp_net *net;              // borrowed
    uint32_t rows_most;        // of a batch
    const hyp_batch *batch;    // under way
    float *values;             // (rows_most * graph.row_floats)
    uint8_t *acts;             // quantized rows
    float *angles;             // for each rope: (rows_most, dims / 2, cosine and sine)
    float *scratch;            // of attention
    float *logits;             // (vocab + HYP_GROUP): for the caller's use, and
    hyp_row *rows;             // (rows_most)
    struct {                   // what the output is being computed for
        uint32_t first, count; // rows
        float *logits;
    } output;
    uint64_t read_bytes;         // of weights that did not stay, for its passes
    hyp_timing *timings;         // of each operation; NULL: nothing is timed
    hyp_column_squares *squares; // of each matrix; NULL: none are kept
} hyp_workspace;

uint64_t hyp_workspace_bytes(const hyp_graph *graph, uint32_t rows);
// HYP_E_NOMEM leaves nothing behind but what `arena` frees.
HYP_MUST_USE hyp_status hyp_workspace_init(hyp_workspace *workspace, hyp_net *net, hyp_arena *arena,
                                           uint32_t rows);
// Times operations, or keeps sums of squares, from now on. HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_workspace_profile(hyp_workspace *workspace, hyp_arena *arena);
HYP_MUST_USE hyp_status hyp_workspace_observe(hyp_workspace *workspace, hyp_arena *arena);

// Computes a batch, and then its sequences have its rows. A row's results do not depend on what it
// is batched with, to the bit. May suspend: for pages, and at the end of the task's slice; the
// sequences and `batch` must stay until it returns. On failure every sequence is as before.
// HYP_E_ARGUMENT: the batch is too long, or a token not in the vocabulary; HYP_E_CONTEXT: it does
// not fit a sequence; HYP_E_FORMAT, with a message: weights that are damaged.
HYP_MUST_USE hyp_status hyp_forward(hyp_workspace *workspace, const hyp_batch *batch);

// The same for `count` tokens behind what `sequence` has, with the logits after the last one in
// `logits` (vocab + HYP_GROUP) unless that is NULL. Uses the workspace's `rows`.
HYP_MUST_USE hyp_status hyp_forward_tokens(hyp_workspace *workspace, hyp_sequence *sequence,
                                           const int32_t *tokens, uint32_t count, float *logits);

// The next ones of a text of `count` tokens behind what `sequence` has: as many as a batch takes;
// or more of them at once, where weights do not all stay or are still on their way, so that each
// page is read, or waited for, once for all. Their memory is the budget's, where it has some free
// or pages give way. The bits are the same. *rows: of the last tokens, that are in the workspace.
// Also fails, as hyp_net_overflowed, where a hidden row is not finite.
HYP_MUST_USE hyp_status hyp_forward_text(hyp_workspace *workspace, hyp_sequence *sequence,
                                         const int32_t *tokens, uint32_t count, uint32_t *rows);

// Of the last pass, until the next one: the hidden row `row` (cols of the graph's hidden value);
// whether all of its `rows` hidden rows are finite; and the logits after the rows `first` to
// `first + count - 1`, vocab + HYP_GROUP apart, all NaN for a row that is not finite. May suspend.
const float *hyp_hidden(const hyp_workspace *workspace, uint32_t row);
bool hyp_hidden_finite(const hyp_workspace *workspace, uint32_t rows);
HYP_MUST_USE hyp_status hyp_logits(hyp_workspace *workspace, uint32_t first, uint32_t count,
                                   float *logits);

#endif
