#include "rig.h"

#include "../src/port.h"
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 32 };

typedef struct bytes {
    uint8_t *data;
    size_t count;
} bytes;

static void put(bytes *b, const void *data, size_t count) {
    if (!count) return;
    b->data = realloc(b->data, b->count + count);
    CHECK(b->data);
    memcpy(b->data + b->count, data, count);
    b->count += count;
}
static void put_u32(bytes *b, uint32_t v) {
    uint8_t raw[4];
    hyp_store_u32(raw, v);
    put(b, raw, sizeof raw);
}
static void put_u64(bytes *b, uint64_t v) {
    uint8_t raw[8];
    hyp_store_u64(raw, v);
    put(b, raw, sizeof raw);
}
static void put_text(bytes *b, const char *text) {
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

// ---- The file

static bytes begin_key(rig *r, const char *key, hyp_gguf_type type) {
    bytes b = {r->keys, r->key_bytes};
    put_text(&b, key);
    put_u32(&b, type);
    return b;
}
static void end_key(rig *r, bytes b) {
    r->keys = b.data;
    r->key_bytes = b.count;
    r->key_count++;
}

void rig_text(rig *r, const char *key, const char *value) {
    bytes b = begin_key(r, key, HYP_GGUF_STRING);
    put_text(&b, value);
    end_key(r, b);
}
void rig_u32(rig *r, const char *key, uint32_t value) {
    bytes b = begin_key(r, key, HYP_GGUF_U32);
    put_u32(&b, value);
    end_key(r, b);
}
void rig_f32(rig *r, const char *key, float value) {
    bytes b = begin_key(r, key, HYP_GGUF_F32);
    put_u32(&b, hyp_f32_bits(value));
    end_key(r, b);
}

const rig_tensor *rig_add_values(rig *r, const char *name, uint32_t experts, uint32_t rows,
                                 uint32_t cols, hyp_format format, const float *values) {
    CHECK(r->tensor_count < RIG_TENSORS && strlen(name) < sizeof r->tensors->name);
    rig_tensor *t = &r->tensors[r->tensor_count++];
    *t = (rig_tensor){.format = format, .experts = experts, .rows = rows, .cols = cols};
    strcpy(t->name, name);
    uint32_t count = experts * rows * cols;
    t->bytes = experts * rows * hyp_format_row_bytes(format, cols);
    t->stored = malloc(t->bytes);
    t->values = malloc(count * sizeof *t->values);
    CHECK(t->stored && t->values);
    hyp_quantize(format, t->stored, values, count, NULL);
    hyp_dequantize(format, t->values, t->stored, count);
    return t;
}

const rig_tensor *rig_add(rig *r, const char *name, uint32_t experts, uint32_t rows, uint32_t cols,
                          hyp_format format) {
    size_t count = (size_t)experts * rows * cols;
    float *values = malloc(count * sizeof *values);
    CHECK(values);
    fill_random(values, count);
    const rig_tensor *t = rig_add_values(r, name, experts, rows, cols, format, values);
    free(values);
    return t;
}

const rig_tensor *rig_find(const rig *r, const char *name) {
    for (uint32_t i = 0; i < r->tensor_count; i++)
        if (!strcmp(r->tensors[i].name, name)) return &r->tensors[i];
    return NULL;
}

static void pad(bytes *b) {
    static const uint8_t zeros[ALIGN];
    put(b, zeros, (ALIGN - b->count % ALIGN) % ALIGN);
}

static void write_file(rig *r) {
    bytes b = {0};
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, r->tensor_count);
    put_u64(&b, r->key_count);
    put(&b, r->keys, r->key_bytes);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < r->tensor_count; i++) {
        const rig_tensor *t = &r->tensors[i];
        uint32_t dims = t->experts > 1 ? 3 : t->rows > 1 ? 2 : 1;
        const uint64_t sizes[3] = {t->cols, t->rows, t->experts};
        put_text(&b, t->name);
        put_u32(&b, dims);
        for (uint32_t d = 0; d < dims; d++) put_u64(&b, sizes[d]);
        put_u32(&b, hyp_formats[t->format].gguf);
        put_u64(&b, offset);
        offset += hyp_round_up(t->bytes, ALIGN);
    }
    pad(&b);
    for (uint32_t i = 0; i < r->tensor_count; i++) {
        put(&b, r->tensors[i].stored, r->tensors[i].bytes);
        pad(&b);
    }
    r->file = b.data;
    r->file_bytes = b.count;
}

// ---- The network

static hyp_status read_bytes(void *context, uint64_t offset, void *dst, size_t count) {
    rig *r = context;
    if (++r->reads == r->fail_at) return HYP_E_IO;
    memcpy(dst, r->file + offset, count);
    return HYP_OK;
}

void rig_open(rig *r) {
    if (!r->file) write_file(r);
    r->slab = hyp_slab_create(&r->budget);
    CHECK(r->slab);
    hyp_arena_init(&r->arena, &r->budget);
    hyp_kernels_scalar(&r->kernels);
    hyp_port_kernels(&r->kernels, UINT32_MAX);
    r->source = (hyp_source){.bytes = r->file_bytes, .read = read_bytes, .context = r};
    hyp_status status = hyp_gguf_open(&r->gguf, &r->budget, &r->source, 1, &r->fault);
    CHECK_MSG(!status, "%s", r->fault.text);
    const hyp_graph_limits limits = {.values = 256, .ops = 256, .ropes = 8, .kv = 8};
    CHECK(!hyp_graph_init(&r->net.graph, &r->gguf, &r->kernels, &r->arena, &limits));
    r->reads = 0;
}

hyp_status rig_load(rig *r, uint32_t threads) {
    hyp_status status = HYP_OK;
    if (!r->net.graph.row_floats) status = hyp_graph_plan(&r->net.graph);
    return status ? status : hyp_net_load(&r->net, &(hyp_net_config){.threads = threads});
}

void rig_end(rig *r) {
    if (r->slab) {
        hyp_net_close(&r->net);
        hyp_gguf_deinit(&r->gguf);
        hyp_arena_deinit(&r->arena);
        CHECK(hyp_slab_check(r->slab));
        CHECK(hyp_slab_destroy(r->slab) == 0);
        CHECK_MSG(r->budget.used_bytes == 0, "%zu bytes are left", r->budget.used_bytes);
    }
    for (uint32_t i = 0; i < r->tensor_count; i++) {
        free(r->tensors[i].stored);
        free(r->tensors[i].values);
    }
    free(r->keys);
    free(r->file);
    memset(r, 0, sizeof *r);
}

void as_cached(hyp_kv_format format, float *out, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (format == HYP_KV_F16) {
            out[i] = hyp_f16_to_f32(hyp_f32_to_finite_f16(x[i]));
            continue;
        }
        float top = 0;
        for (uint32_t k = i / 32 * 32; k < i / 32 * 32 + 32; k++) top = fmaxf(top, fabsf(x[k]));
        float d = top / 127;
        out[i] = d > 0 ? hyp_f16_to_f32(hyp_f32_to_f16(d)) * rintf(x[i] * (1 / d)) : 0;
    }
}

void attend_plainly(double *out, const float *q, const float *keys, const float *values,
                    size_t stride, uint32_t from, uint32_t to, uint32_t head, double scale,
                    double cap) {
    double *score = malloc(to * sizeof *score), top = -INFINITY, total = 0;
    CHECK(score);
    for (uint32_t p = from; p < to; p++) {
        double sum = 0;
        for (uint32_t i = 0; i < head; i++) sum += (double)q[i] * (double)keys[p * stride + i];
        score[p] = cap > 0 ? cap * tanh(sum * scale / cap) : sum * scale;
        top = fmax(top, score[p]);
    }
    for (uint32_t p = from; p < to; p++) total += exp(score[p] - top);
    for (uint32_t i = 0; i < head; i++) {
        out[i] = 0;
        for (uint32_t p = from; p < to; p++)
            out[i] += exp(score[p] - top) / total * (double)values[p * stride + i];
    }
    free(score);
}

bool same_bits(const float *a, const float *b, size_t count) {
    return memcmp(a, b, count * sizeof *a) == 0;
}

void fill_random(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) x[i] = random_float();
}
