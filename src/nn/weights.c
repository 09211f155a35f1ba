#include "weights.h"

#include "../base/bytes.h"
#include "../base/check.h"
#include "../port.h"

#ifdef HYP_CHECKED
enum { PAGE_LEAST = 4 << 10 }; // a tiny model has many pages, too
#else
enum { PAGE_LEAST = 64 << 10 };
#endif
enum { PAGE_MOST = 4 << 20, PAGES_WANTED = 1024, FRAMES_LEAST = 2 };
#ifdef HYP_CHECKED
enum { FRAMES_PART = 2 }; // a tiny model's pages are read ahead, too
#else
enum { FRAMES_PART = 16 }; // of the pages' memory
#endif
enum { READING_PART = 2, FRAMES_FEW = 3, FRAMES_MOST = 10 };

// How many groups make a page of about `target` bytes with the least loss to whole pages of the
// platform.
static uint32_t groups_per_page(size_t group_bytes, uint32_t groups, size_t target) {
    size_t grain = hyp_port_caps()->page_bytes;
    uint32_t most = (uint32_t)(target / group_bytes), best = 1;
    if (most >= groups) return groups;
    double least = 1;
    for (uint32_t n = most / 2 + 1; n <= most; n++) {
        size_t bytes = n * group_bytes;
        double loss = (double)(hyp_round_up(bytes, grain) - bytes) / (double)bytes;
        if (loss <= least) {
            least = loss;
            best = n;
        }
    }
    return best;
}

// Stored bytes of `count` groups from `first` on; of a sparse tensor.
static uint64_t stored_bytes(const hyp_gguf *gguf, const hyp_gguf_tensor *t, uint32_t first,
                             uint32_t count) {
    uint64_t bytes = 0;
    for (uint32_t g = first; g < first + count; g++) bytes += hyp_gguf_group_bytes(gguf, t, g);
    return bytes;
}
// Packed bytes of them, with what a product may read behind the last one.
static uint64_t packed_bytes(const hyp_gguf *gguf, const hyp_matrix *m, uint32_t first,
                             uint32_t count) {
    return m->sparse ? stored_bytes(gguf, m->tensor, first, count) + HYP_SPARSE_SLACK
                     : count * (uint64_t)hyp_group_bytes(m->format, m->cols);
}
// Of a matrix that is stored otherwise than it is packed: its rows on the way.
static size_t between_bytes(const hyp_matrix *m) {
    return m->tensor->sparse && !m->sparse ? HYP_GROUP * hyp_format_row_bytes(m->format, m->cols)
                                           : 0;
}

hyp_status hyp_weights_plan(hyp_weights *w, const hyp_gguf *gguf, const hyp_kernels *kernels,
                            hyp_matrix *matrices, uint32_t count, hyp_arena *arena) {
    *w = (hyp_weights){
        .gguf = gguf, .kernels = kernels, .matrices = matrices, .matrix_count = count};
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        hyp_matrix *m = &matrices[i];
        uint64_t dense = m->experts * (uint64_t)m->groups * hyp_group_bytes(m->format, m->cols);
        hyp_sparse kind = m->tensor->sparse;
        if (kind && (double)m->tensor->bytes <= (double)kernels->sparse[kind].most * (double)dense)
            m->sparse = kind;
        total += m->bytes = m->sparse ? m->tensor->bytes : dense;
    }
    uint64_t target = total / PAGES_WANTED;
    target = target < PAGE_LEAST ? PAGE_LEAST : target > PAGE_MOST ? PAGE_MOST : target;
    for (uint32_t i = 0; i < count; i++) {
        hyp_matrix *m = &matrices[i];
        m->page = w->pages;
        m->page_groups = groups_per_page((size_t)(m->bytes / m->experts / m->groups) + 1, m->groups,
                                         (size_t)target);
        w->pages += m->experts * hyp_matrix_pages(m);
    }
    w->matrix_of = hyp_arena_alloc(arena, w->pages * sizeof *w->matrix_of);
    w->page_bytes = hyp_arena_alloc(arena, w->pages * sizeof *w->page_bytes);
    if (!w->matrix_of || !w->page_bytes) return HYP_E_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        const hyp_matrix *m = &matrices[i];
        uint32_t of_expert = hyp_matrix_pages(m);
        for (uint32_t k = 0; k < m->experts * of_expert; k++) {
            uint32_t first = k % of_expert * m->page_groups,
                     groups = hyp_min_u32(m->page_groups, m->groups - first);
            uint64_t bytes = packed_bytes(gguf, m, first, groups),
                     stored = m->tensor->sparse ? stored_bytes(gguf, m->tensor, first, groups)
                                                : bytes;
            if (bytes > UINT32_MAX || stored > SIZE_MAX / 2) return HYP_E_NOMEM;
            w->matrix_of[m->page + k] = i;
            w->page_bytes[m->page + k] = (uint32_t)bytes;
            w->staging_bytes = hyp_max_size(w->staging_bytes, (size_t)stored + between_bytes(m));
        }
    }
    return HYP_OK;
}

// Takes the stored groups of a sparse matrix to their frame.
static hyp_status unpack_groups(const hyp_weights *w, const hyp_matrix *m, uint32_t first,
                                uint32_t groups, uint8_t *staging, uint8_t *frame) {
    const uint8_t *in = staging;
    uint8_t *rows = staging + w->staging_bytes - between_bytes(m);
    size_t group_bytes = hyp_group_bytes(m->format, m->cols);
    for (uint32_t g = first; g < first + groups; g++) {
        uint32_t bytes = hyp_gguf_group_bytes(w->gguf, m->tensor, g);
        hyp_status status = hyp_gguf_decode_group(w->gguf, m->tensor, g, in,
                                                  m->sparse ? NULL : rows);
        if (status) return status;
        if (m->sparse) memcpy(frame, in, bytes);
        else w->kernels->weights[m->format].pack(frame, rows, HYP_GROUP, m->cols);
        in += bytes;
        frame += m->sparse ? bytes : group_bytes;
    }
    return HYP_OK;
}

// A page's rows as they are stored, to `staging`, and packed from there.
static hyp_status fill_from(hyp_weights *w, uint32_t page, uint8_t *staging, uint8_t *frame) {
    const hyp_matrix *m = &w->matrices[w->matrix_of[page]];
    size_t row_bytes = hyp_format_row_bytes(m->format, m->cols),
           group_bytes = hyp_group_bytes(m->format, m->cols);
    uint32_t expert = (page - m->page) / hyp_matrix_pages(m),
             row = (page - m->page) % hyp_matrix_pages(m) * m->page_groups * HYP_GROUP,
             rows = hyp_min_u32(m->page_groups * HYP_GROUP, m->rows - row);
    if (m->tensor->sparse) {
        uint32_t first = row / HYP_GROUP, groups = (rows + HYP_GROUP - 1) / HYP_GROUP;
        size_t bytes = (size_t)stored_bytes(w->gguf, m->tensor, first, groups);
        hyp_status status = hyp_gguf_read(
            w->gguf, m->tensor, stored_bytes(w->gguf, m->tensor, 0, first), staging, bytes);
        return status ? status : unpack_groups(w, m, first, groups, staging, frame);
    }
    hyp_status status = hyp_gguf_read(w->gguf, m->tensor,
                                      ((uint64_t)expert * m->rows + row) * row_bytes, staging,
                                      rows * row_bytes);
    if (status) return status;
    if (!hyp_format_finite(m->format, staging, (uint64_t)rows * m->cols))
        return hyp_gguf_not_finite(w->gguf, m->tensor);
    for (uint32_t r = 0; r < rows; r += HYP_GROUP)
        w->kernels->weights[m->format].pack(frame + r / HYP_GROUP * group_bytes,
                                            staging + r * row_bytes,
                                            hyp_min_u32(HYP_GROUP, rows - r), m->cols);
    return HYP_OK;
}

// May suspend in the read. Natively it runs in a signal handler too: nothing is allocated, and the
// staging is never busy there.
static hyp_status fill(void *context, uint32_t page, void *frame) {
    hyp_weights *w = context;
    hyp_staging *staging;
    hyp_status status = hyp_weights_take_staging(w, &staging);
    if (status) return status;
    status = fill_from(w, page, staging->memory, frame);
    hyp_weights_give_staging(w, staging);
    return status;
}

// Where pages come and go: memory for those that read ahead, and frames for what they read, as far
// as that is little beside the pages. False: reading ahead would take more than it is worth.
static bool divide(const hyp_weights *w, hyp_pager_config *c) {
    uint64_t reading = (HYP_READS - 1) * (uint64_t)(w->staging_bytes + HYP_STACK_BYTES) +
                       HYP_READS * HYP_STACK_BYTES, // of what loads meanwhile, too
        frames = c->capacity_bytes / FRAMES_PART / hyp_pager_least_bytes(c);
    if (reading > c->capacity_bytes / READING_PART) return false;
    if (reading > c->capacity_bytes / FRAMES_PART) return true; // in what sessions may take
    c->capacity_bytes -= reading;
    if (frames > FRAMES_FEW) c->frames = frames < FRAMES_MOST ? (uint32_t)frames : FRAMES_MOST;
    return true;
}

hyp_status hyp_weights_open(hyp_weights *w, hyp_budget *budget, uint64_t limit, uint64_t *least) {
    hyp_pager_config config = {.budget = budget,
                               .pages = w->pages,
                               .page_bytes = w->page_bytes,
                               .capacity_bytes = limit,
                               .trap = true,
                               .fill = fill,
                               .context = w};
    uint64_t frames = FRAMES_LEAST * hyp_pager_least_bytes(&config),
             whole = hyp_pager_whole_bytes(&config);
    *least = (whole < frames ? whole : frames) + w->staging_bytes;
    if (limit) {
        if (limit < *least) return HYP_E_NOMEM;
        config.capacity_bytes = limit - w->staging_bytes;
        if (config.capacity_bytes >= whole) config.capacity_bytes = 0;
        else w->reads_ahead = divide(w, &config);
    }
    w->staging->memory = hyp_budget_map(budget, w->staging_bytes);
    if (!w->staging->memory) return HYP_E_NOMEM;
    w->stagings = 1;
    return hyp_pager_create(&config, &w->pager);
}

uint64_t hyp_weights_whole_bytes(const hyp_weights *w) {
    hyp_pager_config config = {.pages = w->pages, .page_bytes = w->page_bytes};
    return hyp_pager_whole_bytes(&config) +
           hyp_round_up(w->staging_bytes, hyp_port_caps()->page_bytes);
}

static void drop_staging(hyp_weights *w) {
    hyp_staging *s = &w->staging[--w->stagings];
    HYP_CHECK(!s->busy, "what is read into is given back");
    hyp_budget_unmap(w->gguf->budget, s->memory, w->staging_bytes);
    s->memory = NULL;
}

void hyp_weights_close(hyp_weights *w) {
    if (!w->gguf) return;
    while (w->stagings) drop_staging(w);
    hyp_pager_destroy(w->pager);
    w->pager = NULL;
}

void hyp_weights_drop_reads(hyp_weights *w) {
    while (w->stagings > 1 && !w->staging[w->stagings - 1].busy) drop_staging(w);
}

uint32_t hyp_weights_allow_reads(hyp_weights *w, uint32_t reads, uint64_t spare) {
    hyp_budget *budget = w->gguf->budget;
    while (w->stagings < hyp_min_u32(reads, HYP_READS)) {
        // Not at the cost of pages, which would be asked to give way.
        if (hyp_budget_left(budget) < w->staging_bytes + spare) break;
        uint8_t *memory = hyp_budget_map(budget, w->staging_bytes);
        if (!memory) break;
        w->staging[w->stagings++].memory = memory;
        hyp_event_signal(&w->staging_free);
    }
    return w->stagings;
}

hyp_status hyp_weights_take_staging(hyp_weights *w, hyp_staging **staging) {
    for (;;) {
        if (w->failed) return w->failed;
        for (uint32_t i = 0; i < w->stagings; i++) {
            *staging = &w->staging[i];
            if ((*staging)->busy) continue;
            (*staging)->busy = true;
            return HYP_OK;
        }
        hyp_status status = hyp_event_wait(&w->staging_free, 0);
        if (status) return status;
    }
}

void hyp_weights_give_staging(hyp_weights *w, hyp_staging *staging) {
    staging->busy = false;
    hyp_event_signal(&w->staging_free);
}

// While somebody else has yet to read the page, unless it has lost its place meanwhile.
static hyp_status wait_for(hyp_weights *w, uint32_t page) {
    while (!w->failed && w->coming && w->coming[page] && hyp_pager_keeps(w->pager, page)) {
        hyp_status status = hyp_event_wait(&w->came, 0);
        if (status) return status;
    }
    return w->failed;
}

hyp_status hyp_weights_pin(hyp_weights *w, const hyp_matrix *m, uint32_t page, const uint8_t **data,
                           uint32_t *groups) {
    const void *view;
    hyp_status status = __builtin_expect(w->coming != NULL, false) ? wait_for(w, m->page + page)
                                                                   : HYP_OK;
    if (!status) status = hyp_pager_pin(w->pager, m->page + page, &view);
    if (status) return status;
    *data = view;
    w->read_bytes = hyp_pager_take_read(w->pager, m->page + page);
    *groups = hyp_min_u32(m->page_groups, m->groups - page % hyp_matrix_pages(m) * m->page_groups);
    return HYP_OK;
}

bool hyp_weights_pin_resident(hyp_weights *w, const hyp_matrix *m, uint32_t expert,
                              const uint8_t **pages) {
    uint32_t count = hyp_matrix_pages(m), first = expert * count, got = 0;
    const void *view;
    while (got < count && hyp_pager_pin_resident(w->pager, m->page + first + got, &view))
        pages[got++] = view;
    if (got == count) return true;
    while (got) hyp_weights_unpin(w, m, first + --got);
    return false;
}

// The pager keeps the first pages.
bool hyp_weights_whole(const hyp_weights *w) {
    return w->pages == 0 || hyp_pager_keeps(w->pager, w->pages - 1);
}
