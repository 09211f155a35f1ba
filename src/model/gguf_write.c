#include "gguf_write.h"

#include "../base/bytes.h"

enum { ALIGNMENT = 32, STEP_ELEMS = 1 << 16 };

typedef struct writer {
    bool (*write)(void *, const void *, size_t);
    void *context;
    uint64_t at;
    bool failed;
} writer;

static void put(writer *w, const void *data, size_t count) {
    w->failed = w->failed || (count && !w->write(w->context, data, count));
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
static void put_text(writer *w, const char *text, size_t bytes) { put_u64(w, bytes), put(w, text, bytes); }
static void pad(writer *w) {
    static const uint8_t zeros[ALIGNMENT];
    put(w, zeros, (ALIGNMENT - w->at % ALIGNMENT) % ALIGNMENT);
}

static bool is_key(const hyp_gguf *gguf, const hyp_gguf_kv *kv, const char *name) {
    hyp_text key = hyp_gguf_key(gguf, kv);
    return key.bytes == strlen(name) && memcmp(key.data, name, key.bytes) == 0;
}
// Keys that describe the old file.
static bool dropped(const hyp_gguf *gguf, const hyp_gguf_kv *kv) {
    hyp_text key = hyp_gguf_key(gguf, kv);
    return is_key(gguf, kv, "general.alignment") || is_key(gguf, kv, "general.file_type") ||
           is_key(gguf, kv, "general.quantization_version") || (key.bytes > 6 && memcmp(key.data, "split.", 6) == 0);
}

static hyp_format target(const hyp_gguf_tensor *t, hyp_format format) {
    return (hyp_format_is_float(t->format) || hyp_format_is_float(format)) && t->dims == 2 && t->dim[1] > 1 &&
                   t->dim[0] % hyp_formats[format].block_elems == 0
               ? format
               : t->format;
}

static uint64_t elements(const hyp_gguf_tensor *t) { return t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3]; }
static uint64_t new_bytes(const hyp_gguf_tensor *t, hyp_format f) {
    return elements(t) / hyp_formats[f].block_elems * hyp_formats[f].block_bytes;
}

static hyp_status put_tensor(writer *w, const hyp_gguf *gguf, const hyp_gguf_tensor *t, hyp_format to, uint8_t *in, float *floats,
                             uint8_t *out) {
    const hyp_format_info *from = &hyp_formats[t->format], *info = &hyp_formats[to];
    uint64_t total = elements(t);
    for (uint64_t at = 0; at < total && !w->failed; at += STEP_ELEMS) {
        uint32_t n = (uint32_t)(total - at < STEP_ELEMS ? total - at : STEP_ELEMS);
        size_t bytes = (size_t)n / from->block_elems * from->block_bytes;
        hyp_status status = hyp_gguf_read(gguf, t, at / from->block_elems * from->block_bytes, in, bytes);
        if (status) return status;
        if (to == t->format) {
            put(w, in, bytes);
            continue;
        }
        hyp_dequantize(t->format, floats, in, n);
        hyp_quantize(to, out, floats, n, NULL);
        put(w, out, (size_t)n / info->block_elems * info->block_bytes);
    }
    pad(w);
    return HYP_OK;
}

hyp_status hyp_gguf_requantize(const hyp_gguf *gguf, hyp_format format, bool (*write)(void *, const void *, size_t),
                               bool (*progress)(void *, uint64_t, uint64_t), void *context) {
    writer w = {.write = write, .context = context};
    uint64_t kvs = 2, total = 0, done = 0;
    for (uint32_t i = 0; i < hyp_gguf_kv_count(gguf); i++) kvs += !dropped(gguf, hyp_gguf_kv_at(gguf, i));
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(gguf); i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(gguf, i);
        hyp_text name = hyp_gguf_tensor_name(gguf, t);
        if (t->format == HYP_FORMATS)
            return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED, "tensor '%.*s' is stored as %s, which can not be read yet", (int)name.bytes,
                            name.data, hyp_format_name(t->type));
        total += t->bytes;
    }
    uint8_t *in = hyp_budget_map(gguf->budget, STEP_ELEMS * 4), *out = hyp_budget_map(gguf->budget, STEP_ELEMS * 4);
    float *floats = hyp_budget_map(gguf->budget, STEP_ELEMS * sizeof *floats);
    hyp_status status = in && out && floats ? HYP_OK : hyp_fail(gguf->fault, HYP_E_NOMEM, "not enough memory to convert the weights");
    if (!status) {
        put(&w, "GGUF", 4), put_u32(&w, 3), put_u64(&w, hyp_gguf_tensor_count(gguf)), put_u64(&w, kvs);
        for (uint32_t i = 0; i < hyp_gguf_kv_count(gguf); i++) {
            const hyp_gguf_kv *kv = hyp_gguf_kv_at(gguf, i);
            if (dropped(gguf, kv)) continue;
            hyp_text key = hyp_gguf_key(gguf, kv);
            put_text(&w, key.data, key.bytes);
            put_u32(&w, kv->type);
            if (kv->type == HYP_GGUF_ARRAY) put_u32(&w, kv->element), put_u64(&w, kv->count);
            if (kv->type == HYP_GGUF_STRING) put_u64(&w, kv->bytes);
            put(&w, hyp_gguf_value(gguf, kv), (size_t)kv->bytes);
        }
        uint32_t file_type = format == HYP_Q4_0 ? 2 : format == HYP_Q8_0 ? 7 : format == HYP_F16 ? 1 : 0; // llama.cpp's numbers
        put_text(&w, "general.file_type", 17), put_u32(&w, HYP_GGUF_U32), put_u32(&w, file_type);
        put_text(&w, "general.quantization_version", 28), put_u32(&w, HYP_GGUF_U32), put_u32(&w, 2);
        uint64_t offset = 0;
        for (uint32_t i = 0; i < hyp_gguf_tensor_count(gguf); i++) {
            const hyp_gguf_tensor *t = hyp_gguf_tensor_at(gguf, i);
            hyp_text name = hyp_gguf_tensor_name(gguf, t);
            put_text(&w, name.data, name.bytes), put_u32(&w, t->dims);
            for (uint32_t d = 0; d < t->dims; d++) put_u64(&w, t->dim[d]);
            put_u32(&w, hyp_formats[target(t, format)].gguf), put_u64(&w, offset);
            offset += hyp_round_up((size_t)new_bytes(t, target(t, format)), ALIGNMENT);
        }
        pad(&w);
        for (uint32_t i = 0; i < hyp_gguf_tensor_count(gguf) && !status && !w.failed; i++) {
            const hyp_gguf_tensor *t = hyp_gguf_tensor_at(gguf, i);
            status = put_tensor(&w, gguf, t, target(t, format), in, floats, out);
            done += t->bytes;
            if (!status && progress && !progress(context, done, total))
                status = hyp_fail(gguf->fault, HYP_E_CANCELLED, "converting was stopped");
        }
        if (!status && w.failed) status = hyp_fail(gguf->fault, HYP_E_IO, "the output could not be written");
    }
    hyp_budget_unmap(gguf->budget, in, STEP_ELEMS * 4);
    hyp_budget_unmap(gguf->budget, out, STEP_ELEMS * 4);
    hyp_budget_unmap(gguf->budget, floats, STEP_ELEMS * sizeof *floats);
    return status;
}
