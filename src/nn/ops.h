// The op table. A row says what an operation is called, whether it fits the values it works on,
// what it costs, and how it is run; its functions are in ops.c.
#ifndef HYP_NN_OPS_H
#define HYP_NN_OPS_H

#include "forward.h"

typedef struct hyp_cost { // of an operation for a batch
    uint64_t bytes;       // of weights and of caches that are read
    uint64_t macs;        // multiply-adds
} hyp_cost;

typedef struct hyp_op_type {
    const char *name;
    bool (*fits)(const hyp_graph *graph, const hyp_op *op); // the shape rule
    // Whether op is computed together with the group that `first` begins.
    bool (*joins)(const hyp_op *first, const hyp_op *op);
    // Raises what a thread pool must hold to share the work of op's group.
    void (*needs)(const hyp_graph *graph, const hyp_op *op, hyp_pool_config *needs);
    hyp_cost (*cost)(const hyp_workspace *workspace, const hyp_op *op);
    // Runs op, and the op->group - 1 after it, for the rows of the workspace's batch. May suspend.
    hyp_status (*run)(hyp_workspace *workspace, const hyp_op *op);
} hyp_op_type;

extern const hyp_op_type hyp_ops[HYP_OP_KINDS];

// ---- What the run functions share

// Row `row` of a value.
static inline float *hyp_row_of(const hyp_workspace *w, hyp_value_id value, uint32_t row) {
    const hyp_value *v = &w->net->graph.values[value];
    return w->values + v->at * w->rows_most + row * hyp_value_stride(v);
}
static inline size_t hyp_stride_of(const hyp_workspace *w, hyp_value_id value) {
    return hyp_value_stride(&w->net->graph.values[value]);
}

// The angles of a row: (dims / 2, cosine and sine).
const float *hyp_angles_of(const hyp_workspace *workspace, uint32_t rope, uint32_t row);

typedef struct hyp_matmul_part { // a product's matrix, and where in the output its rows begin
    const hyp_matrix *matrix;
    uint32_t at;
} hyp_matmul_part;

// y (rows, matrix rows from part.at on) = x (rows, cols) W^T for each part; quantizes x first where
// weights are in blocks. The parts are a group of the plan: as many columns each, and the rows of
// one behind those of the part before. Then `glu`, unless it is NULL, over the two parts gate and
// up: where threads share the work, each does it for what it has computed. Strides in floats. May
// suspend.
HYP_MUST_USE hyp_status hyp_matmul(hyp_workspace *workspace, const hyp_matmul_part *parts,
                                   uint32_t count, const hyp_op *glu, float *y, size_t y_stride,
                                   const float *x, size_t x_stride, uint32_t rows);
// Stores the keys and values of the batch's rows, and attends: row (queries of all heads, then
// keys, then values of all key-value heads) to (mixtures of all heads). May suspend at the end.
HYP_MUST_USE hyp_status hyp_attention(hyp_workspace *workspace, const hyp_op *op);

// Raise what a thread pool must hold to share the products of op's group, of `rows` rows at once,
// or an attention.
void hyp_matmul_needs(const hyp_graph *graph, const hyp_op *op, uint32_t rows,
                      hyp_pool_config *needs);
void hyp_attention_needs(const hyp_graph *graph, const hyp_op *op, hyp_pool_config *needs);
// Floats that attention takes besides its output.
size_t hyp_attention_scratch(const hyp_graph *graph);

#endif
