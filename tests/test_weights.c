// Weights in pages: what a page holds is what the file says, in every format, with room for all of
// it or for two pages, and after a source has failed.
#include "../src/convert/convert.h"
#include "../src/nn/weights.h"
#include "harness.h"
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXPERTS = 2, ROWS = 250, COLS = 512 };

static rig r;
static hyp_weights weights;

static void open_weights(uint64_t limit) {
    uint64_t least;
    CHECK(!hyp_weights_plan(&weights, &r.gguf, &r.kernels, r.net.graph.matrices,
                            r.net.graph.matrix_count, &r.arena));
    CHECK(!hyp_weights_open(&weights, &r.budget, limit, &least));
    CHECK(least > 0 && (!limit || least <= limit));
}

static const hyp_matrix *matrix_of(const rig_tensor *t) {
    return hyp_graph_matrix(&r.net.graph, t->name, t->experts, t->rows, t->cols);
}

// A page that is pinned holds the rows of the tensor, and zeros behind its last one.
static void check_page(const hyp_matrix *m, const float *values, uint32_t page, const uint8_t *data,
                       uint32_t groups) {
    static float row[COLS];
    uint32_t of_expert = hyp_matrix_pages(m), expert = page / of_expert,
             first = page % of_expert * m->page_groups;
    CHECK(groups > 0 && first + groups <= m->groups);
    CHECK(groups == m->page_groups || first + groups == m->groups);
    for (uint32_t k = 0; k < groups * HYP_GROUP; k++) {
        uint32_t at = first * HYP_GROUP + k;
        r.kernels.weights[m->format].unpack(
            row, data + k / HYP_GROUP * hyp_group_bytes(m->format, m->cols), k % HYP_GROUP,
            m->cols);
        for (uint32_t c = 0; c < m->cols; c++) {
            float want = at < m->rows ? values[((size_t)expert * m->rows + at) * m->cols + c] : 0;
            CHECK_MSG(row[c] == want, "%s, expert %u, row %u, column %u: %.9g, not %.9g",
                      hyp_formats[m->format].name, expert, at, c, (double)row[c], (double)want);
        }
    }
}

static hyp_status visit(const hyp_matrix *m, const float *values, uint32_t page) {
    const uint8_t *data;
    uint32_t groups;
    hyp_status status = hyp_weights_pin(&weights, m, page, &data, &groups);
    if (status) return status;
    check_page(m, values, page, data, groups);
    hyp_weights_unpin(&weights, m, page);
    return HYP_OK;
}

static void visit_all(void) {
    for (uint32_t i = 0; i < r.tensor_count; i++) {
        const hyp_matrix *m = &r.net.graph.matrices[i];
        for (uint32_t page = 0; page < m->experts * hyp_matrix_pages(m); page++)
            CHECK(!visit(m, r.tensors[i].values, page));
    }
}

// Matrices of all formats; pages are numbered in their order, without a gap.
static void open_all_formats(uint32_t experts) {
    for (int f = 0; f < HYP_FORMATS; f++)
        rig_add(&r, hyp_formats[f].name, experts, ROWS, COLS, (hyp_format)f);
    rig_open(&r);
    for (uint32_t i = 0; i < r.tensor_count; i++) CHECK(matrix_of(&r.tensors[i]));
}

static void check_plan(void) {
    uint32_t page = 0;
    for (uint32_t i = 0; i < r.net.graph.matrix_count; i++) {
        const hyp_matrix *m = &r.net.graph.matrices[i];
        CHECK(m->page == page && m->page_groups > 0);
        for (uint32_t k = 0; k < m->experts * hyp_matrix_pages(m); k++, page++)
            CHECK(weights.matrix_of[page] == i);
    }
    CHECK(page == weights.pages);
}

static void every_format(void) {
    open_all_formats(EXPERTS);
    open_weights(0);
    check_plan();
    CHECK(hyp_weights_whole(&weights));
    const uint8_t *pages[64];
    const hyp_matrix *m = &r.net.graph.matrices[HYP_F32];
    CHECK(hyp_matrix_pages(m) > 1 && hyp_matrix_pages(m) <= 64);
    CHECK(!hyp_weights_pin_resident(&weights, m, 1, pages)); // nothing is there
    // All but one page of an expert.
    uint32_t count = hyp_matrix_pages(m);
    for (uint32_t k = 0; k + 1 < count; k++) CHECK(!visit(m, r.tensors[HYP_F32].values, count + k));
    CHECK(!hyp_weights_pin_resident(&weights, m, 1, pages));
    CHECK(hyp_pager_get_stats(weights.pager).present == count - 1);
    visit_all();
    for (uint32_t i = 0; i < r.tensor_count; i++)
        for (uint32_t e = 0; e < EXPERTS; e++) {
            m = &r.net.graph.matrices[i];
            CHECK(hyp_weights_pin_resident(&weights, m, e, pages));
            for (uint32_t k = 0; k < hyp_matrix_pages(m); k++) {
                uint32_t page = e * hyp_matrix_pages(m) + k, first = k * m->page_groups;
                check_page(m, r.tensors[i].values, page, pages[k],
                           hyp_min_u32(m->page_groups, m->groups - first));
                hyp_weights_unpin(&weights, m, page);
            }
        }
    uint64_t reads = r.reads;
    visit_all();
    CHECK(r.reads == reads); // each was read once
    hyp_weights_close(&weights);
    // Whoever was refused an expert holds none of its pages: they can be taken away.
    open_weights(0);
    m = &r.net.graph.matrices[HYP_F32];
    for (uint32_t k = 0; k + 1 < count; k++) CHECK(!visit(m, r.tensors[HYP_F32].values, count + k));
    CHECK(!hyp_weights_pin_resident(&weights, m, 1, pages));
    CHECK(hyp_pager_shrink(weights.pager, (size_t)1 << 30) > 0);
    CHECK(!hyp_pager_page(weights.pager, m->page + count).resident);
    visit_all();
    hyp_weights_close(&weights);
    rig_end(&r);
}

static void under_a_limit(void) {
    open_all_formats(1);
    uint64_t least;
    CHECK(!hyp_weights_plan(&weights, &r.gguf, &r.kernels, r.net.graph.matrices,
                            r.net.graph.matrix_count, &r.arena));
    size_t used = r.budget.used_bytes;
    CHECK(hyp_weights_open(&weights, &r.budget, 1, &least) == HYP_E_NOMEM && least > 1);
    CHECK(hyp_weights_open(&weights, &r.budget, least - 1, &least) == HYP_E_NOMEM);
    CHECK(r.budget.used_bytes == used);
    hyp_weights_close(&weights);
    for (uint64_t limit = least; limit < 40 * least; limit = limit * 5 / 2) {
        open_weights(limit);
        hyp_pager_stats s = hyp_pager_get_stats(weights.pager);
        CHECK(s.frames > 0 ? !hyp_weights_whole(&weights) : hyp_weights_whole(&weights));
        visit_all();
        uint64_t reads = r.reads;
        visit_all();
        CHECK((r.reads == reads) == hyp_weights_whole(&weights));
        for (int n = 0; n < 200; n++) { // two at once, in any order
            const hyp_matrix *m[2];
            uint32_t page[2], groups[2], which[2];
            const uint8_t *data[2];
            for (int k = 0; k < 2; k++) {
                which[k] = random_u32() % r.tensor_count;
                m[k] = &r.net.graph.matrices[which[k]];
                page[k] = random_u32() % hyp_matrix_pages(m[k]);
                CHECK(!hyp_weights_pin(&weights, m[k], page[k], &data[k], &groups[k]));
            }
            for (int k = 0; k < 2; k++) {
                check_page(m[k], r.tensors[which[k]].values, page[k], data[k], groups[k]);
                hyp_weights_unpin(&weights, m[k], page[k]);
            }
        }
        CHECK(hyp_pager_get_stats(weights.pager).present_bytes <= limit);
        hyp_weights_close(&weights);
    }
    rig_end(&r);
}

// Each read fails once: that pin says so, and the next one has the page.
static void source_fails(void) {
    for (int whole = 0; whole < 2; whole++) {
        rig_add(&r, "a", 1, ROWS, COLS, HYP_Q8_0);
        rig_add(&r, "b", EXPERTS, ROWS, COLS, HYP_F16);
        rig_open(&r);
        for (uint32_t i = 0; i < 2; i++) CHECK(matrix_of(&r.tensors[i]));
        for (uint64_t n = 1;; n++) {
            open_weights(whole ? 0 : 600000);
            r.reads = 0;
            r.fail_at = n;
            uint32_t failed = 0;
            for (uint32_t i = 0; i < 2; i++) {
                const hyp_matrix *m = &r.net.graph.matrices[i];
                for (uint32_t page = 0; page < m->experts * hyp_matrix_pages(m); page++) {
                    hyp_status status = visit(m, r.tensors[i].values, page);
                    if (status) {
                        CHECK(status == HYP_E_IO && r.reads == n);
                        CHECK(!visit(m, r.tensors[i].values, page));
                        failed++;
                    }
                }
            }
            bool reached = r.reads >= n;
            CHECK(failed == reached);
            r.fail_at = 0;
            visit_all();
            hyp_weights_close(&weights);
            if (reached) continue;
            // The first pages came with the file's header.
            CHECK(n > 8);
            break;
        }
        rig_end(&r);
    }
}

// A page with an infinite number in it is refused, by the name of its tensor, and the others are
// not.
static void what_is_not_finite(void) {
    static const hyp_format formats[] = {HYP_F32, HYP_F16, HYP_BF16, HYP_Q4_0, HYP_Q4_K};
    for (int f = 0; f < 5; f++) {
        hyp_format format = formats[f];
        rig_add(&r, "damaged", EXPERTS, ROWS, COLS, format);
        rig_tensor *t = &r.tensors[0];
        // In the last row of the second expert: d, or an element.
        uint8_t *row = t->stored + (2 * ROWS - 1) * hyp_format_row_bytes(format, COLS);
        if (format == HYP_F32) hyp_store_u32(row, 0x7F800000);
        else
            hyp_store_u16(row + (hyp_format_is_float(format) ? 0 : hyp_formats[format].d_at),
                          format == HYP_BF16 ? 0xFF80 : 0x7C00);
        rig_open(&r);
        const hyp_matrix *m = matrix_of(t);
        open_weights(0);
        uint32_t last = EXPERTS * hyp_matrix_pages(m) - 1;
        CHECK(visit(m, t->values, last) == HYP_E_FORMAT);
        CHECK_MSG(strstr(r.fault.text, "'damaged'"), "%s", r.fault.text);
        for (uint32_t page = 0; page < last; page++) CHECK(!visit(m, t->values, page));
        CHECK(visit(m, t->values, last) == HYP_E_FORMAT);
        hyp_weights_close(&weights);
        rig_end(&r);
    }
}

// ---- Sparse matrices

typedef struct image {
    uint8_t *data;
    size_t bytes;
} image;

static bool append(void *context, const void *data, size_t count) {
    image *f = context;
    f->data = realloc(f->data, f->bytes + count);
    CHECK(f->data);
    memcpy(f->data + f->bytes, data, count);
    f->bytes += count;
    return true;
}

static image rewrite(hyp_recipe recipe) {
    image f = {0};
    CHECK_MSG(!hyp_gguf_rewrite(&r.gguf, &recipe, &(hyp_writer){.write = append, .context = &f}),
              "%s", r.fault.text);
    return f;
}

// What the pruned matrix is as floats.
static float *read_floats(image f, const char *name) {
    r.file = f.data;
    r.file_bytes = f.bytes;
    rig_open(&r);
    const hyp_gguf_tensor *t = hyp_gguf_tensor_named(&r.gguf, name);
    CHECK(t && t->format == HYP_F32);
    float *values = malloc((size_t)t->bytes);
    CHECK(values && !hyp_gguf_read(&r.gguf, t, 0, values, (size_t)t->bytes));
    rig_end(&r);
    return values;
}

static void check_sparse_page(const hyp_matrix *m, const float *values, uint32_t page,
                              const uint8_t *data, uint32_t groups) {
    uint8_t rows[HYP_GROUP * COLS]; // more than there are
    float row[COLS];
    size_t row_bytes = hyp_format_row_bytes(HYP_Q4_0, m->cols);
    for (uint32_t k = 0; k < groups; k++) {
        const uint8_t *group = hyp_group_at(data, hyp_matrix_group_bytes(m), k);
        CHECK(hyp_sparse_decode(m->sparse, rows, group, hyp_load_u32(group), m->cols));
        for (uint32_t i = 0; i < HYP_GROUP; i++) {
            uint32_t at = (page * m->page_groups + k) * HYP_GROUP + i;
            hyp_dequantize(HYP_Q4_0, row, rows + i * row_bytes, m->cols);
            for (uint32_t c = 0; c < m->cols; c++)
                CHECK(row[c] == (at < m->rows ? values[at * m->cols + c] : 0));
        }
    }
}

static void sparse(void) {
    static const char *const name = "blk.0.m.weight";
    static const float densities[] = {0.004f, 0.1f, 0.4f};
    bool seen[HYP_SPARSE_KINDS] = {0};
    for (int d = 0; d < 3; d++) {
        rig_add(&r, name, 1, ROWS, COLS, HYP_F32);
        rig_open(&r);
        image pruned = rewrite((hyp_recipe){.format = HYP_Q4_0, .density = densities[d]});
        rig_end(&r);
        r.file = pruned.data;
        r.file_bytes = pruned.bytes;
        image copy = {0};
        append(&copy, pruned.data, pruned.bytes);
        rig_open(&r);
        image floats = rewrite((hyp_recipe){.format = HYP_F32});
        rig_end(&r);
        float *values = read_floats(floats, name);
        for (int packed = 0; packed < 2; packed++) // as it is stored, or as a dense one
            for (int limited = 0; limited < 2; limited++) {
                image again = {0};
                append(&again, copy.data, copy.bytes);
                r.file = again.data;
                r.file_bytes = again.bytes;
                rig_open(&r);
                for (int kind = 0; kind < HYP_SPARSE_KINDS; kind++)
                    r.kernels.sparse[kind].most = packed ? 10 : 0;
                const hyp_matrix *m = hyp_graph_matrix(&r.net.graph, name, 1, ROWS, COLS);
                CHECK(m && m->tensor->sparse);
                seen[m->tensor->sparse] = true;
                uint64_t least;
                open_weights(0);
                CHECK(packed ? m->sparse == m->tensor->sparse : m->sparse == HYP_DENSE);
                if (limited) {
                    hyp_weights_close(&weights);
                    CHECK(hyp_weights_open(&weights, &r.budget, 1, &least) == HYP_E_NOMEM);
                    CHECK(!hyp_weights_open(&weights, &r.budget, least, &least));
                }
                for (int pass = 0; pass < 2; pass++)
                    for (uint32_t page = 0; page < hyp_matrix_pages(m); page++) {
                        const uint8_t *data;
                        uint32_t groups;
                        CHECK(!hyp_weights_pin(&weights, m, page, &data, &groups));
                        if (packed) check_sparse_page(m, values, page, data, groups);
                        else check_page(m, values, page, data, groups);
                        hyp_weights_unpin(&weights, m, page);
                    }
                hyp_weights_close(&weights);
                rig_end(&r);
            }
        free(values);
        free(copy.data);
    }
    CHECK(seen[HYP_BITMAP] && seen[HYP_CSR]);
}

int main(void) {
    RUN(every_format);
    RUN(under_a_limit);
    RUN(source_fails);
    RUN(what_is_not_finite);
    RUN(sparse);
    return finish();
}
