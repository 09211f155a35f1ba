// A model's graph: values with shapes, and operations over them, built once by src/models and then
// only read. A row of a batch goes through all of it; what a row remembers of earlier ones is its
// sequence's (kv.h), and where its values stand is a workspace's (forward.h).
//
// What an operation is (its name, shape rule, cost and function) is one row of one table: ops.def.
// The planner gives values places in a workspace by their lifetimes, and groups the products of one
// input that are computed together.
#ifndef HYP_NN_GRAPH_H
#define HYP_NN_GRAPH_H

#include "../kernels/kernels.h"
#include "weights.h"

typedef enum hyp_op_kind {
#define HYP_OP(kind, name) HYP_OP_##kind,
#include "ops.def"
#undef HYP_OP
    HYP_OP_KINDS
} hyp_op_kind;

enum {
    HYP_NO_LAYER = UINT16_MAX,
    HYP_POSITIONS = 4, // of a row, at most
    HYP_GROUP_OPS = 3, // computed together, at most
    HYP_MAX_LAYERS = 1024
};

typedef uint16_t hyp_value_id;

typedef struct hyp_value { // (rows of the batch, cols) floats
    const char *name;      // static text
    uint32_t cols;
    uint32_t first, last; // operations that write it first and use it last
    size_t at;            // its place: floats of a workspace's row before it
} hyp_value;

typedef struct hyp_vector { // floats that are always in memory: norms, biases, factors
    const hyp_gguf_tensor *tensor;
    float *data;
    uint32_t count;
    bool present;       // its data have been read
    double least, most; // of each element; both 0: anything finite
} hyp_vector;

// How pairs of elements are rotated by a row's positions [RoFormer, Su et al. 2021]: pair i by
// position / (base^(2i / dims) * factor_i * scale), its cosine and sine times `magnitude`.
typedef struct hyp_rope {
    uint32_t dims; // elements of a head that are rotated, even
    bool neox;     // pairs (i, i + dims / 2) instead of (2i, 2i + 1)
    float base, scale, magnitude;
    const hyp_vector *factors; // dims / 2 divisors; NULL: 1
    // Pairs that turn with each of a row's positions, one after the other; the last has the rest.
    uint32_t sections[HYP_POSITIONS];
    double *frequencies; // dims / 2, once the factors are read
} hyp_rope;

typedef struct hyp_kv_shape { // what one attention remembers of a position
    uint32_t heads, head;     // key-value heads, and elements of each
} hyp_kv_shape;

typedef struct hyp_op {
    hyp_op_kind kind;
    uint16_t layer;
    hyp_value_id out, in; // the same where it works in place
    uint32_t at, count;   // the first column of `out` that it writes; how many, or how many heads
    uint32_t group;       // operations computed together from this one on; 0: with one before
    const char *name;     // in a profile
    const hyp_matrix *matrix; // (rows, cols): in (., cols) becomes out (., rows)
    const hyp_vector *weight, *bias;
    union {
        float scale; // embed
        float eps;   // norms
        bool gelu;   // glu: GeGLU instead of SwiGLU
        uint32_t rope;
        struct {
            uint32_t kv, heads, window; // window: 0 for none
            float scale, cap;           // cap: 0 for none
        } attention;
        float cap; // output: 0 for none
    };
    uint32_t head; // elements of a head: head norm, rope
} hyp_op;

typedef struct hyp_graph {
    const hyp_gguf *gguf;       // borrowed
    const hyp_kernels *kernels; // borrowed
    hyp_arena *arena;           // borrowed; owns the tables
    hyp_status status;          // the first failure while building; what follows does nothing
    uint16_t layer;             // of what is added

    hyp_value *values;
    hyp_op *ops;          // the last one is the output, which is computed for the rows that want it
    hyp_matrix *matrices; // in the order of use
    hyp_vector *vectors;
    hyp_rope *ropes;
    hyp_kv_shape *kv;
    uint32_t value_count, op_count, matrix_count, vector_count, rope_count, kv_count;
    uint32_t value_most, op_most, tensor_most, rope_most, kv_most;

    hyp_value_id hidden;       // what goes into the output, and what embeddings are made of
    uint32_t vocab;            // rows of the embedding matrix
    uint32_t recurrent_floats; // that a sequence remembers besides keys and values
    size_t row_floats;         // of a workspace
    uint32_t act_cols;         // of the widest product
    uint64_t weight_bytes;     // as stored
    uint64_t row_work;         // of a row, in the scheduler's units
} hyp_graph;

#ifdef HYP_CHECKED
enum { HYP_WORK_UNIT = 10 }; // a tiny model's pass has many slices, too
#else
enum { HYP_WORK_UNIT = 1000 }; // multiply-adds in a unit of the scheduler
#endif

typedef struct hyp_graph_limits { // what a graph may have at most
    uint32_t values, ops, ropes, kv;
} hyp_graph_limits;

// ---- Building: for src/models. Whatever fails is kept in `status`, with a message in the file's
// fault; the pointers are then NULL or to be ignored.

// Tables in `arena`, with room for `limits` and every tensor of the file. HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_graph_init(hyp_graph *graph, const hyp_gguf *gguf,
                                       const hyp_kernels *kernels, hyp_arena *arena,
                                       const hyp_graph_limits *limits);
// From here on, what is added belongs to `layer`, or to none (HYP_NO_LAYER), and so do the names of
// tensors ("blk.LAYER.name").
void hyp_graph_begin_layer(hyp_graph *graph, uint16_t layer);

hyp_value_id hyp_graph_value(hyp_graph *graph, const char *name, uint32_t cols);
void hyp_graph_add(hyp_graph *graph, hyp_op op);
uint32_t hyp_graph_add_rope(hyp_graph *graph, hyp_rope rope);
uint32_t hyp_graph_add_kv(hyp_graph *graph, hyp_kv_shape shape);

// A tensor by name; NULL when it is absent, which is a failure if it is `required`.
const hyp_gguf_tensor *hyp_graph_tensor(hyp_graph *graph, const char *name, bool required);
// A tensor of the shape (experts, rows, cols), `experts` 1 for a plain matrix, as weights in pages.
const hyp_matrix *hyp_graph_matrix(hyp_graph *graph, const char *name, uint32_t experts,
                                   uint64_t rows, uint64_t cols);
// A tensor of `count` elements in a float format; each between `least` and `most`, unless both
// are 0.
const hyp_vector *hyp_graph_vector(hyp_graph *graph, const char *name, uint64_t count,
                                   bool required);

// Checks every operation against its shape rule, gives each value its place, groups operations and
// divides the matrices into pages. The status so far, or HYP_E_FORMAT with a message.
HYP_MUST_USE hyp_status hyp_graph_plan(hyp_graph *graph);

// Floats of a row of `value`: a product writes whole groups of columns.
static inline size_t hyp_value_stride(const hyp_value *value) {
    return hyp_round_up(value->cols + HYP_GROUP, 16);
}

#endif
