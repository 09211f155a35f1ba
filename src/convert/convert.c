#include "convert.h"

#include "../base/bytes.h"
#include "../fiber/sched.h"

// FLOOR: no column counts for less than the mean's hundredth. WORK_BYTES: of weights, whose
// conversion is a unit of work at least.
enum { ALIGNMENT = 32, STEP_ELEMS = 1 << 16, FLOOR = 100, WORK_BYTES = 8 };

typedef struct writer {
    const hyp_writer *out;
    uint64_t at;
    bool failed;
} writer;

static void put(writer *w, const void *data, size_t count) {
    w->failed = w->failed || (count && !w->out->write(w->out->context, data, count));
    w->at += count;
}
static void put_u32(writer *w, uint32_t v) {
    uint8_t b[4];
    hyp_store_u32(b, v);
    put(w, b, 4);
}
static void put_u64(writer *w, uint64_t v) {
    uint8_t b[8];
    hyp_store_u64(b, v);
    put(w, b, 8);
}
static void put_text(writer *w, const char *text, size_t bytes) {
    put_u64(w, bytes);
    put(w, text, bytes);
}
static void put_name(writer *w, hyp_text name, const char *after) {
    put_u64(w, name.bytes + strlen(after));
    put(w, name.data, name.bytes);
    put(w, after, strlen(after));
}
static void put_key(writer *w, const char *key, hyp_gguf_type type) {
    put_text(w, key, strlen(key));
    put_u32(w, type);
}
static void put_head(writer *w, uint64_t tensors, uint64_t kvs) {
    put(w, "GGUF", 4);
    put_u32(w, 3);
    put_u64(w, tensors);
    put_u64(w, kvs);
}
static void pad(writer *w) {
    static const uint8_t zeros[ALIGNMENT];
    put(w, zeros, (ALIGNMENT - w->at % ALIGNMENT) % ALIGNMENT);
}

static bool is_key(const hyp_gguf *gguf, const hyp_gguf_kv *kv, const char *name) {
    hyp_text key = hyp_gguf_key(gguf, kv);
    return key.bytes == strlen(name) && memcmp(key.data, name, key.bytes) == 0;
}
static bool starts(hyp_text text, const char *with) {
    return text.bytes > strlen(with) && memcmp(text.data, with, strlen(with)) == 0;
}
// Keys that describe the old file.
static bool dropped(const hyp_gguf *gguf, const hyp_gguf_kv *kv) {
    hyp_text key = hyp_gguf_key(gguf, kv);
    return is_key(gguf, kv, "general.alignment") || is_key(gguf, kv, "general.file_type") ||
           is_key(gguf, kv, "general.quantization_version") || starts(key, "split.") ||
           starts(key, HYP_GGUF_GROUPS);
}

// ---- What becomes of a tensor

typedef struct plan {
    hyp_format format;
    hyp_sparse sparse;
    bool converted;
    size_t sizes_at; // of its groups, among the rewriter's; of a sparse one
    uint64_t bytes;
} plan;

typedef struct rewriter {
    const hyp_gguf *gguf;
    const hyp_recipe *recipe;
    writer w;
    hyp_buffer plans, sizes; // of plan, by tensor; of uint32_t
    uint8_t *in, *out;
    float *floats, *imatrix, *weights; // rows; a row's; a row's
    size_t in_bytes, out_bytes, floats_bytes, row_bytes;
    uint64_t done, total;
} rewriter;

static plan *plan_at(const rewriter *r, uint32_t i) { return (plan *)(void *)r->plans.data + i; }
static uint64_t elements(const hyp_gguf_tensor *t) {
    return t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
}
static uint64_t groups_of(const hyp_gguf_tensor *t) {
    return (t->dim[1] + HYP_GROUP - 1) / HYP_GROUP;
}
static bool is_matrix(const hyp_gguf_tensor *t) { return t->dims == 2 && t->dim[1] > 1; }

static bool pruned(const rewriter *r, const hyp_gguf_tensor *t) {
    return r->recipe->density > 0 && is_matrix(t) && t->dim[0] % HYP_BLOCK == 0 &&
           starts(hyp_gguf_tensor_name(r->gguf, t), "blk.");
}

static plan plan_of(const rewriter *r, const hyp_gguf_tensor *t) {
    plan p = {.format = t->format, .sparse = t->sparse, .bytes = t->bytes};
    hyp_format to = r->recipe->format;
    if (pruned(r, t))
        return (plan){.format = HYP_Q4_0, .converted = true}; // choose_form will say more
    bool floats = hyp_format_is_float(t->format) || hyp_format_is_float(to);
    if (!floats || !is_matrix(t) || t->dim[0] % hyp_formats[to].block_elems ||
        (to == t->format && !t->sparse))
        return p;
    p.format = to;
    p.sparse = HYP_DENSE;
    p.converted = true;
    p.bytes = elements(t) / hyp_formats[to].block_elems * hyp_formats[to].block_bytes;
    return p;
}

// ---- Rows on their way

// After each part, of `bytes`: tells how far it is, and lets whatever else the host has to do run
// now and then, so that it can say stop.
static hyp_status step(rewriter *r, uint64_t bytes) {
    const hyp_writer *out = r->w.out;
    r->done += bytes;
    bool goes_on = !out->progress || out->progress(out->context, r->done, r->total);
    if (goes_on && !hyp_task_work((uint32_t)(bytes / WORK_BYTES))) return HYP_OK;
    return hyp_fail(r->gguf->fault, HYP_E_CANCELLED, "writing the model was stopped");
}

// `count` rows from `first` on, whole groups of them when the tensor is sparse, as floats. *read:
// their bytes; *at: where those of a sparse tensor begin.
static hyp_status read_rows(rewriter *r, const hyp_gguf_tensor *t, uint64_t first, uint32_t count,
                            uint64_t *at, uint64_t *read) {
    uint32_t cols = (uint32_t)t->dim[0];
    size_t row_bytes = hyp_format_row_bytes(t->format, cols);
    if (!t->sparse) {
        *read = count * (uint64_t)row_bytes;
        hyp_status status = hyp_gguf_read(r->gguf, t, first * row_bytes, r->in, count * row_bytes);
        if (!status) hyp_dequantize(t->format, r->floats, r->in, count * cols);
        return status;
    }
    uint32_t group = (uint32_t)(first / HYP_GROUP), bytes = hyp_gguf_group_bytes(r->gguf, t, group);
    uint8_t *rows = r->in + hyp_sparse_most(cols);
    *read = bytes;
    hyp_status status = HYP_OK;
    if (bytes <= hyp_sparse_most(cols))
        status = hyp_gguf_read(r->gguf, t, *at, r->in, bytes); // a longer one is refused unseen
    if (!status) status = hyp_gguf_decode_group(r->gguf, t, group, r->in, rows);
    if (!status) hyp_dequantize(HYP_Q4_0, r->floats, rows, count * cols);
    *at += bytes;
    return status;
}

static bool find_imatrix(const rewriter *r, const hyp_gguf_tensor *t, const hyp_gguf_tensor **sums,
                         const hyp_gguf_tensor **counts) {
    const hyp_gguf *from = r->recipe->imatrix;
    char name[256];
    hyp_text own = hyp_gguf_tensor_name(r->gguf, t);
    if (!from || own.bytes + sizeof ".in_sum2" > sizeof name) return false;
    memcpy(name, own.data, own.bytes);
    memcpy(name + own.bytes, ".in_sum2", sizeof ".in_sum2");
    *sums = hyp_gguf_tensor_named(from, name);
    memcpy(name + own.bytes, ".counts", sizeof ".counts");
    *counts = hyp_gguf_tensor_named(from, name);
    return *sums && *counts;
}

// The mean square of each column's activations; false where the file says nothing of this tensor.
static hyp_status read_imatrix(rewriter *r, const hyp_gguf_tensor *t, bool *known) {
    const hyp_gguf *from = r->recipe->imatrix;
    const hyp_gguf_tensor *sums, *counts;
    hyp_text name = hyp_gguf_tensor_name(r->gguf, t);
    *known = false;
    if (!find_imatrix(r, t, &sums, &counts)) return HYP_OK;
    uint8_t count[4];
    if (sums->format != HYP_F32 || sums->dim[0] != t->dim[0] || elements(sums) != t->dim[0] ||
        counts->format != HYP_F32 || elements(counts) != 1)
        return hyp_fail(r->gguf->fault, HYP_E_FORMAT,
                        "the imatrix is of another model: '%.*s' has another shape",
                        (int)name.bytes, name.data);
    hyp_status status = hyp_gguf_read(from, counts, 0, count, 4);
    if (!status) status = hyp_gguf_read(from, sums, 0, r->imatrix, (size_t)sums->bytes);
    if (status) return status;
    float rows = hyp_bits_f32(hyp_load_u32(count)), mean = 0;
    for (uint64_t c = 0; c < t->dim[0]; c++) {
        r->imatrix[c] = hyp_bits_f32(hyp_load_u32(&r->imatrix[c])) / rows;
        if (!(rows > 0) || !(r->imatrix[c] >= 0 && r->imatrix[c] < 1e30f))
            return hyp_fail(r->gguf->fault, HYP_E_FORMAT,
                            "the imatrix is damaged: '%.*s' holds what is no sum of squares",
                            (int)name.bytes, name.data);
        mean += r->imatrix[c] / (float)t->dim[0];
    }
    for (uint64_t c = 0; c < t->dim[0]; c++) r->imatrix[c] += mean / FLOOR;
    *known = mean > 0;
    return HYP_OK;
}

// The score of which `keep` are larger or equal; reorders `x` [Hoare's selection].
static float threshold(float *x, uint32_t n, uint32_t keep) {
    for (uint32_t low = 0, high = n - 1, want = keep - 1; low < high;) {
        float pivot = x[low + (high - low) / 2];
        uint32_t i = low, j = high;
        for (;;) { // descending
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i >= j) break;
            float swap = x[i];
            x[i++] = x[j];
            x[j--] = swap;
        }
        if (want <= j) high = j;
        else low = j + 1;
    }
    return x[keep - 1];
}

static float score(const rewriter *r, const float *row, uint32_t c, bool known) {
    float s = row[c] * row[c] * (known ? r->imatrix[c] : 1);
    return s <= 3e38f ? s : 0; // NaN and infinity count as nothing
}

// Sets all but the best of a row to 0, and the weights of their errors.
static void prune_row(rewriter *r, float *row, uint32_t cols, bool known) {
    uint32_t keep = (uint32_t)(r->recipe->density * (float)cols + 0.5f), kept = 0;
    keep = keep == 0 ? 1 : hyp_min_u32(keep, cols);
    for (uint32_t c = 0; c < cols; c++) r->weights[c] = score(r, row, c, known);
    float least = threshold(r->weights, cols, keep);
    for (uint32_t c = 0; c < cols; c++) kept += score(r, row, c, known) > least;
    for (uint32_t c = 0; c < cols; c++) {
        float s = score(r, row, c, known);
        bool stays = s > least || (s == least && kept < keep && ++kept); // of equal ones the first
        r->weights[c] = !stays ? 0 : known ? r->imatrix[c] : 1;
        if (!stays) row[c] = 0;
    }
}

// Converts a tensor and writes it, or, with `counted`, only notes what each of its groups would
// take: for each the bytes as a bitmap, then as CSR.
static hyp_status convert(rewriter *r, const hyp_gguf_tensor *t, const plan *p,
                          hyp_buffer *counted) {
    const uint32_t cols = (uint32_t)t->dim[0], rows = (uint32_t)t->dim[1];
    const bool prune = pruned(r, t);
    const size_t row_bytes = hyp_format_row_bytes(p->format, cols);
    uint32_t most = prune || t->sparse ? HYP_GROUP : STEP_ELEMS / cols ? STEP_ELEMS / cols : 1;
    uint64_t at = 0, read = 0;
    bool known;
    hyp_status status = read_imatrix(r, t, &known);
    for (uint32_t first = 0, n; first < rows && !status && !r->w.failed; first += n) {
        n = hyp_min_u32(most, rows - first);
        if ((status = read_rows(r, t, first, n, &at, &read))) break;
        for (uint32_t i = 0; i < n; i++) {
            float *row = r->floats + (size_t)i * cols;
            if (prune) prune_row(r, row, cols, known);
            hyp_quantize(p->format, r->out + i * row_bytes, row, cols,
                         prune   ? r->weights
                         : known ? r->imatrix
                                 : NULL);
        }
        if (counted) {
            uint32_t sizes[2] = {(uint32_t)hyp_sparse_encode(HYP_BITMAP, NULL, r->out, n, cols),
                                 (uint32_t)hyp_sparse_encode(HYP_CSR, NULL, r->out, n, cols)};
            if (!hyp_buffer_append(counted, sizes, sizeof sizes))
                status = hyp_fail(r->gguf->fault, HYP_E_NOMEM,
                                  "not enough memory to prune the model");
        } else if (p->sparse) {
            uint8_t *group = r->out + HYP_GROUP * row_bytes;
            put(&r->w, group, hyp_sparse_encode(p->sparse, group, r->out, n, cols));
        } else put(&r->w, r->out, n * row_bytes);
        if (!status) status = step(r, read);
    }
    if (!counted) pad(&r->w);
    return status;
}

static hyp_status copy(rewriter *r, const hyp_gguf_tensor *t) {
    for (uint64_t at = 0; at < t->bytes && !r->w.failed;) {
        size_t n = t->bytes - at < r->in_bytes ? (size_t)(t->bytes - at) : r->in_bytes;
        hyp_status status = hyp_gguf_read(r->gguf, t, at, r->in, n);
        if (status) return status;
        put(&r->w, r->in, n);
        at += n;
        if ((status = step(r, n))) return status;
    }
    pad(&r->w);
    return HYP_OK;
}

// Which of its forms a pruned matrix takes: the bitmap, whose products are the faster ones, unless
// CSR is smaller by a third (below a density of 1 %).
static hyp_status choose_form(rewriter *r, const hyp_gguf_tensor *t, plan *p) {
    hyp_buffer counted = {.budget = r->gguf->budget};
    hyp_status status = convert(r, t, p, &counted);
    const uint32_t *sizes = (const uint32_t *)(const void *)counted.data;
    uint64_t sums[2] = {0, 0};
    uint32_t groups = (uint32_t)groups_of(t);
    for (uint32_t g = 0; g < groups && !status; g++) {
        sums[0] += sizes[2 * g];
        sums[1] += sizes[2 * g + 1];
    }
    uint32_t kind = sums[1] * 3 < sums[0] * 2;
    p->bytes = t->dim[1] * (uint64_t)hyp_format_row_bytes(HYP_Q4_0, (uint32_t)t->dim[0]);
    if (!status && sums[kind] < p->bytes) {
        p->sparse = kind ? HYP_CSR : HYP_BITMAP;
        p->bytes = sums[kind];
        p->sizes_at = r->sizes.bytes / sizeof(uint32_t);
        for (uint32_t g = 0; g < groups && !status; g++)
            if (!hyp_buffer_append(&r->sizes, &sizes[2 * g + kind], sizeof *sizes))
                status = hyp_fail(r->gguf->fault, HYP_E_NOMEM,
                                  "not enough memory to prune the model");
    }
    hyp_buffer_deinit(&counted);
    return status;
}

// ---- The file

static uint32_t type_of(const hyp_gguf_tensor *t, const plan *p) {
    return !p->converted ? t->type
           : p->sparse   ? HYP_SPARSE_TYPE + (uint32_t)p->sparse
                         : hyp_formats[p->format].gguf;
}

static void put_groups(rewriter *r, uint32_t i) {
    const hyp_gguf_tensor *t = hyp_gguf_tensor_at(r->gguf, i);
    const plan *p = plan_at(r, i);
    hyp_text name = hyp_gguf_tensor_name(r->gguf, t);
    uint32_t groups = (uint32_t)groups_of(t);
    put_u64(&r->w, sizeof HYP_GGUF_GROUPS - 1 + name.bytes);
    put(&r->w, HYP_GGUF_GROUPS, sizeof HYP_GGUF_GROUPS - 1);
    put(&r->w, name.data, name.bytes);
    put_u32(&r->w, HYP_GGUF_ARRAY);
    put_u32(&r->w, HYP_GGUF_U32);
    put_u64(&r->w, groups);
    for (uint32_t g = 0; g < groups; g++)
        put_u32(&r->w, p->converted
                           ? ((const uint32_t *)(const void *)r->sizes.data)[p->sizes_at + g]
                           : hyp_gguf_group_bytes(r->gguf, t, g));
}

static void put_directory(rewriter *r) {
    const hyp_gguf *gguf = r->gguf;
    uint32_t tensors = hyp_gguf_tensor_count(gguf);
    uint64_t kvs = 2, offset = 0;
    for (uint32_t i = 0; i < hyp_gguf_kv_count(gguf); i++)
        kvs += !dropped(gguf, hyp_gguf_kv_at(gguf, i));
    for (uint32_t i = 0; i < tensors; i++) kvs += plan_at(r, i)->sparse != HYP_DENSE;
    put_head(&r->w, tensors, kvs);
    for (uint32_t i = 0; i < hyp_gguf_kv_count(gguf); i++) {
        const hyp_gguf_kv *kv = hyp_gguf_kv_at(gguf, i);
        if (dropped(gguf, kv)) continue;
        hyp_text key = hyp_gguf_key(gguf, kv);
        put_text(&r->w, key.data, key.bytes);
        put_u32(&r->w, kv->type);
        if (kv->type == HYP_GGUF_ARRAY) {
            put_u32(&r->w, kv->element);
            put_u64(&r->w, kv->count);
        }
        if (kv->type == HYP_GGUF_STRING) put_u64(&r->w, kv->bytes);
        put(&r->w, hyp_gguf_value(gguf, kv), (size_t)kv->bytes);
    }
    hyp_format format = r->recipe->format;
    uint32_t file_type = format == HYP_Q4_0   ? 2
                         : format == HYP_Q8_0 ? 7
                         : format == HYP_F16  ? 1
                                              : 0; // llama.cpp's numbers
    put_key(&r->w, "general.file_type", HYP_GGUF_U32);
    put_u32(&r->w, file_type);
    put_key(&r->w, "general.quantization_version", HYP_GGUF_U32);
    put_u32(&r->w, 2);
    for (uint32_t i = 0; i < tensors; i++)
        if (plan_at(r, i)->sparse) put_groups(r, i);
    for (uint32_t i = 0; i < tensors; i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(gguf, i);
        const plan *p = plan_at(r, i);
        put_name(&r->w, hyp_gguf_tensor_name(gguf, t), "");
        put_u32(&r->w, t->dims);
        for (uint32_t d = 0; d < t->dims; d++) put_u64(&r->w, t->dim[d]);
        put_u32(&r->w, type_of(t, p));
        put_u64(&r->w, offset);
        offset += (p->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    pad(&r->w);
}

// Whether the imatrix knows any of the matrices that are converted.
static bool any_known(const rewriter *r) {
    const hyp_gguf_tensor *sums, *counts;
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(r->gguf); i++)
        if (plan_at(r, i)->converted &&
            find_imatrix(r, hyp_gguf_tensor_at(r->gguf, i), &sums, &counts))
            return true;
    return false;
}

// Plans for all tensors, and memory for the rows that will be converted.
static hyp_status prepare(rewriter *r) {
    const hyp_gguf *gguf = r->gguf;
    uint64_t elems = STEP_ELEMS, cols = 1;
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(gguf); i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(gguf, i);
        hyp_text name = hyp_gguf_tensor_name(gguf, t);
        if (t->format == HYP_FORMATS)
            return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED,
                            "tensor '%.*s' is stored as %s, which can not be read yet",
                            (int)name.bytes, name.data, hyp_format_name(t->type));
        plan p = plan_of(r, t);
        r->total += t->bytes * (pruned(r, t) ? 2 : 1);
        if (p.converted && t->dim[0] * HYP_GROUP > elems) elems = t->dim[0] * HYP_GROUP;
        if (p.converted && t->dim[0] > cols) cols = t->dim[0];
        if (!hyp_buffer_append(&r->plans, &p, sizeof p)) return HYP_E_NOMEM;
    }
    if (elems > SIZE_MAX / 32) return HYP_E_NOMEM;
    r->in_bytes = r->out_bytes = hyp_max_size((size_t)elems * 4, hyp_sparse_most((uint32_t)cols) +
                                                                     (size_t)cols * HYP_GROUP);
    r->floats_bytes = (size_t)elems * sizeof(float);
    r->row_bytes = (size_t)cols * sizeof(float);
    r->in = hyp_budget_map(gguf->budget, r->in_bytes);
    r->out = hyp_budget_map(gguf->budget, r->out_bytes);
    r->floats = hyp_budget_map(gguf->budget, r->floats_bytes);
    r->imatrix = hyp_budget_map(gguf->budget, r->row_bytes);
    r->weights = hyp_budget_map(gguf->budget, r->row_bytes);
    return r->in && r->out && r->floats && r->imatrix && r->weights ? HYP_OK : HYP_E_NOMEM;
}

hyp_status hyp_gguf_rewrite(const hyp_gguf *gguf, const hyp_recipe *recipe, const hyp_writer *out) {
    rewriter r = {.gguf = gguf,
                  .recipe = recipe,
                  .w = {.out = out},
                  .plans.budget = gguf->budget,
                  .sizes.budget = gguf->budget};
    hyp_status status = prepare(&r);
    if (status == HYP_E_NOMEM)
        status = hyp_fail(gguf->fault, HYP_E_NOMEM, "not enough memory to convert the weights");
    if (!status && recipe->imatrix && !any_known(&r))
        status = hyp_fail(gguf->fault, HYP_E_ARGUMENT,
                          "the imatrix says nothing of this model's matrices: it is of "
                          "another model, or none");
    uint32_t tensors = hyp_gguf_tensor_count(gguf);
    for (uint32_t i = 0; i < tensors && !status; i++)
        if (pruned(&r, hyp_gguf_tensor_at(gguf, i)))
            status = choose_form(&r, hyp_gguf_tensor_at(gguf, i), plan_at(&r, i));
    if (!status) put_directory(&r);
    for (uint32_t i = 0; i < tensors && !status && !r.w.failed; i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(gguf, i);
        status = plan_at(&r, i)->converted ? convert(&r, t, plan_at(&r, i), NULL) : copy(&r, t);
    }
    if (!status && r.w.failed)
        status = hyp_fail(gguf->fault, HYP_E_IO, "the output could not be written");
    hyp_buffer_deinit(&r.plans);
    hyp_buffer_deinit(&r.sizes);
    hyp_budget_unmap(gguf->budget, r.in, r.in_bytes);
    hyp_budget_unmap(gguf->budget, r.out, r.out_bytes);
    hyp_budget_unmap(gguf->budget, r.floats, r.floats_bytes);
    hyp_budget_unmap(gguf->budget, r.imatrix, r.row_bytes);
    hyp_budget_unmap(gguf->budget, r.weights, r.row_bytes);
    return status;
}

hyp_status hyp_write_imatrix(const hyp_gguf *gguf, const hyp_graph *graph,
                             const hyp_column_squares *squares, const hyp_writer *out) {
    writer w = {.out = out};
    uint64_t seen = 0, rows = 0, offset = 0;
    for (uint32_t i = 0; i < graph->matrix_count; i++) {
        seen += squares[i].rows > 0;
        rows = squares[i].rows > rows ? squares[i].rows : rows;
    }
    if (!seen)
        return hyp_fail(gguf->fault, HYP_E_ARGUMENT, "no text has been scored to calibrate with");
    put_head(&w, 2 * seen, 4);
    put_key(&w, "general.type", HYP_GGUF_STRING);
    put_text(&w, "imatrix", 7);
    put_key(&w, "imatrix.datasets", HYP_GGUF_ARRAY);
    put_u32(&w, HYP_GGUF_STRING);
    put_u64(&w, 1);
    put_text(&w, "text", 4);
    put_key(&w, "imatrix.chunk_count", HYP_GGUF_U32);
    put_u32(&w, 1); // one text of so many tokens
    put_key(&w, "imatrix.chunk_size", HYP_GGUF_U32);
    put_u32(&w, rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX);
    for (uint32_t i = 0; i < graph->matrix_count; i++) {
        const hyp_matrix *m = &graph->matrices[i];
        hyp_text name = hyp_gguf_tensor_name(gguf, m->tensor);
        if (!squares[i].rows) continue;
        put_name(&w, name, ".in_sum2");
        put_u32(&w, 2);
        put_u64(&w, m->cols);
        put_u64(&w, 1);
        put_u32(&w, 0);
        put_u64(&w, offset);
        offset += hyp_round_up(m->cols * 4, ALIGNMENT);
        put_name(&w, name, ".counts");
        put_u32(&w, 2);
        put_u64(&w, 1);
        put_u64(&w, 1);
        put_u32(&w, 0);
        put_u64(&w, offset);
        offset += ALIGNMENT;
    }
    pad(&w);
    for (uint32_t i = 0; i < graph->matrix_count && !w.failed; i++) {
        if (!squares[i].rows) continue;
        for (uint32_t c = 0; c < graph->matrices[i].cols; c++)
            put_u32(&w, hyp_f32_bits((float)squares[i].sums[c]));
        pad(&w);
        put_u32(&w, hyp_f32_bits((float)squares[i].rows));
        pad(&w);
    }
    return w.failed ? hyp_fail(gguf->fault, HYP_E_IO, "the output could not be written") : HYP_OK;
}
