// Weight matrices in pages: a page holds whole groups of rows of one matrix, packed for the kernels
// when it is filled, so that a frame is ready for use and packing happens once for each fill.
// Matrices are declared in the order in which a pass uses them.
#ifndef HYP_NN_WEIGHTS_H
#define HYP_NN_WEIGHTS_H

#include "../fiber/sched.h"
#include "../gguf/gguf.h"
#include "../kernels/kernels.h"
#include "../pager/pager.h"

typedef struct hyp_matrix { // packed in groups of HYP_GROUP rows
    hyp_format format;
    hyp_sparse sparse; // how it is packed: HYP_DENSE also where it is stored otherwise, and dense
                       // products are the faster ones
    uint32_t experts, rows, cols; // (experts, rows, cols); 1 expert: a plain matrix
    uint32_t groups;              // of an expert
    uint32_t page, page_groups;   // the first page; groups in each, but for an expert's last
    uint64_t bytes;               // packed
    const hyp_gguf_tensor *tensor;
} hyp_matrix;

enum { HYP_READS = 4 }; // under way at once, at most

typedef struct hyp_staging { // stored rows of one page on their way into a frame
    uint8_t *memory;
    bool busy;
} hyp_staging;

typedef struct hyp_weights {
    const hyp_gguf
        *gguf; // borrowed; its sources too, unless everything is kept and the budget has no limit
    const hyp_kernels *kernels; // borrowed
    hyp_matrix *matrices;       // borrowed
    uint32_t matrix_count, pages;
    uint32_t *matrix_of;  // by page
    uint32_t *page_bytes; // by page
    hyp_pager *pager;
    hyp_staging staging[HYP_READS];
    uint32_t stagings; // of them, that there are
    size_t staging_bytes;
    bool reads_ahead; // the limit leaves memory for that
    hyp_event staging_free;
    // Of each page: somebody has yet to read it, and whoever needs it waits. NULL: nobody will.
    bool *coming;
    hyp_event came;      // a page is no longer coming, or nothing will come
    hyp_status failed;   // why nothing will
    uint32_t read_bytes; // for the last pin: of the page, if it came since it was used last
} hyp_weights;

// Divides `count` matrices into pages. `arena` owns the tables. HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_weights_plan(hyp_weights *weights, const hyp_gguf *gguf,
                                         const hyp_kernels *kernels, hyp_matrix *matrices,
                                         uint32_t count, hyp_arena *arena);
// Opens the pager. `limit_bytes` 0: everything is kept; else as much as fits into them. HYP_E_NOMEM
// with the least that would do in *least_bytes.
HYP_MUST_USE hyp_status hyp_weights_open(hyp_weights *weights, hyp_budget *budget,
                                         uint64_t limit_bytes, uint64_t *least_bytes);
void hyp_weights_close(hyp_weights *weights);
// What they take when all of them stay; of weights that are planned.
uint64_t hyp_weights_whole_bytes(const hyp_weights *weights);
// Room for so many reads at once, HYP_READS at most, as far as the budget has it free beside
// `spare_bytes`. Returns for how many there is.
uint32_t hyp_weights_allow_reads(hyp_weights *weights, uint32_t reads, uint64_t spare_bytes);
void hyp_weights_drop_reads(hyp_weights *weights); // gives back what is not in use, but for one
// Staging for a read, until it is given back. May suspend. HYP_E_CANCELLED.
HYP_MUST_USE hyp_status hyp_weights_take_staging(hyp_weights *weights, hyp_staging **staging);
void hyp_weights_give_staging(hyp_weights *weights, hyp_staging *staging);

// As hyp_pager_pin: page `page` of the matrix, counted from its first, those of expert e from
// e * hyp_matrix_pages on; *groups says how many groups it holds. May suspend.
HYP_MUST_USE hyp_status hyp_weights_pin(hyp_weights *weights, const hyp_matrix *matrix,
                                        uint32_t page, const uint8_t **data, uint32_t *groups);
static inline void hyp_weights_unpin(hyp_weights *weights, const hyp_matrix *matrix,
                                     uint32_t page) {
    hyp_pager_unpin(weights->pager, matrix->page + page);
}
// All pages of an expert at once, for worker threads: pages[i] are their data. False, with none
// pinned, unless each is present and has a place for good. Never suspends.
bool hyp_weights_pin_resident(hyp_weights *weights, const hyp_matrix *matrix, uint32_t expert,
                              const uint8_t **pages);
bool hyp_weights_whole(const hyp_weights *weights); // every page has a place for good
// The product, and the bytes of a group, which are 0 where they differ (hyp_group_at).
static inline hyp_matmul_fn *hyp_matrix_matmul(const hyp_kernels *k, const hyp_matrix *m) {
    return m->sparse ? k->sparse[m->sparse].matmul : k->weights[m->format].matmul;
}
static inline size_t hyp_matrix_group_bytes(const hyp_matrix *m) {
    return m->sparse ? 0 : hyp_group_bytes(m->format, m->cols);
}
static inline uint32_t hyp_matrix_pages(const hyp_matrix *m) { // of an expert
    return (m->groups + m->page_groups - 1) / m->page_groups;
}

#endif
