#include "gguf.h"

#include "../base/bytes.h"

enum {
    MAX_KVS = 1 << 16,
    MAX_TENSORS = 1 << 16,
    MAX_NAME = 1 << 10,
    READ_BYTES = 128 << 10,
    MAX_ALIGNMENT = 1 << 20,
    // In a table that is half empty, not even millions of names land 100 slots from their own by
    // chance.
    MAX_PROBES = 256
};

typedef struct reader {
    hyp_gguf *gguf;
    uint32_t shard;
    uint64_t at;
} reader;

static const uint8_t scalar_bytes[HYP_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static hyp_status read_shard(hyp_gguf *gguf, uint32_t shard);
static hyp_status index_names(hyp_gguf *gguf, hyp_gguf_names *names, uint32_t first, bool tensors);
static void drop_names(hyp_gguf *gguf, hyp_gguf_names *names);

hyp_status hyp_gguf_open(hyp_gguf *gguf, hyp_budget *budget, const hyp_source *sources,
                         uint32_t shards, hyp_fault *fault) {
    *gguf = (hyp_gguf){.budget = budget, .sources = sources, .fault = fault};
    gguf->kvs.budget = gguf->tensors.budget = budget;
    if (shards == 0 || shards > HYP_GGUF_SHARDS)
        return hyp_fail(fault, HYP_E_ARGUMENT, "%u shards given; 1 to %d are possible", shards,
                        HYP_GGUF_SHARDS);
    for (uint32_t i = 0; i < shards; i++) {
        gguf->header[i].budget = budget;
        gguf->shards = i + 1;
        hyp_status status = read_shard(gguf, i);
        if (status) return status;
    }
    uint32_t count, number, total;
    hyp_status status = index_names(gguf, &gguf->tensor_names, 0, true);
    if (!status) status = hyp_gguf_u32(gguf, "split.count", 1, &count);
    if (status) return status;
    if (count > 1 && count != shards)
        return hyp_fail(
            fault, HYP_E_FORMAT,
            "the model is split into %u files and %u were given: give all of them, in order", count,
            shards);
    if (count <= 1 && shards != 1)
        return hyp_fail(fault, HYP_E_FORMAT,
                        "%u files given, but the first is not part of a split model", shards);
    if ((status = hyp_gguf_u32(gguf, "split.no", 0, &number))) return status;
    if (number != 0)
        return hyp_fail(fault, HYP_E_FORMAT, "the first file given is part %u of the split model",
                        number + 1);
    if ((status = hyp_gguf_u32(gguf, "split.tensors.count", hyp_gguf_tensor_count(gguf), &total)))
        return status;
    if (total != hyp_gguf_tensor_count(gguf))
        return hyp_fail(fault, HYP_E_FORMAT,
                        "the split model declares %u tensors, its files hold %u", total,
                        hyp_gguf_tensor_count(gguf));
    return HYP_OK;
}

void hyp_gguf_deinit(hyp_gguf *gguf) {
    drop_names(gguf, &gguf->key_names);
    drop_names(gguf, &gguf->tensor_names);
    drop_names(gguf, &gguf->shard_names);
    for (uint32_t i = 0; i < gguf->shards; i++) hyp_buffer_deinit(&gguf->header[i]);
    hyp_buffer_deinit(&gguf->kvs);
    hyp_buffer_deinit(&gguf->tensors);
}

uint32_t hyp_gguf_kv_count(const hyp_gguf *gguf) {
    return (uint32_t)(gguf->kvs.bytes / sizeof(hyp_gguf_kv));
}
const hyp_gguf_kv *hyp_gguf_kv_at(const hyp_gguf *gguf, uint32_t index) {
    return (const hyp_gguf_kv *)(const void *)gguf->kvs.data + index;
}
uint32_t hyp_gguf_tensor_count(const hyp_gguf *gguf) {
    return (uint32_t)(gguf->tensors.bytes / sizeof(hyp_gguf_tensor));
}
const hyp_gguf_tensor *hyp_gguf_tensor_at(const hyp_gguf *gguf, uint32_t index) {
    return (const hyp_gguf_tensor *)(const void *)gguf->tensors.data + index;
}

static const char *bytes_at(const hyp_gguf *gguf, uint32_t shard, uint64_t at) {
    return (const char *)gguf->header[shard].data + at;
}
hyp_text hyp_gguf_key(const hyp_gguf *gguf, const hyp_gguf_kv *kv) {
    return (hyp_text){bytes_at(gguf, kv->shard, kv->key_at), (size_t)kv->key_bytes};
}
hyp_text hyp_gguf_tensor_name(const hyp_gguf *gguf, const hyp_gguf_tensor *t) {
    return (hyp_text){bytes_at(gguf, t->shard, t->name_at), (size_t)t->name_bytes};
}
const void *hyp_gguf_value(const hyp_gguf *gguf, const hyp_gguf_kv *kv) {
    return bytes_at(gguf, kv->shard, kv->at);
}

static bool same(hyp_text a, const char *b) {
    return strlen(b) == a.bytes && memcmp(a.data, b, a.bytes) == 0;
}

static hyp_text entry_name(const hyp_gguf *gguf, uint32_t index, bool tensors) {
    return tensors ? hyp_gguf_tensor_name(gguf, hyp_gguf_tensor_at(gguf, index))
                   : hyp_gguf_key(gguf, hyp_gguf_kv_at(gguf, index));
}

// The slot of a name, or the empty one where it would stand; NULL: neither is among the first
// `probes`.
static uint32_t *name_slot(const hyp_gguf *gguf, const hyp_gguf_names *names, hyp_text name,
                           bool tensors, uint32_t probes) {
    uint32_t at = (uint32_t)hyp_hash(name.data, name.bytes);
    for (uint32_t n = 0; n < probes; n++) {
        uint32_t *slot = &names->slots[(at + n) & names->mask];
        if (!*slot) return slot;
        hyp_text other = entry_name(gguf, *slot - 1, tensors);
        if (other.bytes == name.bytes && memcmp(other.data, name.data, name.bytes) == 0)
            return slot;
    }
    return NULL;
}

// The index of a name + 1, or 0.
static uint32_t find_name(const hyp_gguf *gguf, const hyp_gguf_names *names, hyp_text name,
                          bool tensors) {
    const uint32_t *slot = name_slot(gguf, names, name, tensors, names->probes);
    return slot ? *slot : 0;
}

const hyp_gguf_kv *hyp_gguf_find(const hyp_gguf *gguf, const char *key) {
    uint32_t found = find_name(gguf, &gguf->key_names, (hyp_text){key, strlen(key)}, false);
    return found ? hyp_gguf_kv_at(gguf, found - 1) : NULL;
}

const hyp_gguf_tensor *hyp_gguf_tensor_named(const hyp_gguf *gguf, const char *name) {
    uint32_t found = find_name(gguf, &gguf->tensor_names, (hyp_text){name, strlen(name)}, true);
    return found ? hyp_gguf_tensor_at(gguf, found - 1) : NULL;
}

hyp_status hyp_gguf_read(const hyp_gguf *gguf, const hyp_gguf_tensor *tensor, uint64_t from,
                         void *dst, size_t count) {
    if (from > tensor->bytes || count > tensor->bytes - from) return HYP_E_ARGUMENT;
    const hyp_buffer *head = &gguf->header[tensor->shard];
    uint64_t at = tensor->offset + from;
    // The header's last chunk may hold the start of the data: a stream need not go back for it.
    if (at < head->bytes) {
        size_t part = head->bytes - at < count ? (size_t)(head->bytes - at) : count;
        memcpy(dst, head->data + at, part);
        dst = (char *)dst + part;
        at += part;
        count -= part;
    }
    hyp_status status = hyp_source_read(&gguf->sources[tensor->shard], at, dst, count);
    if (status == HYP_E_IO)
        return hyp_fail(gguf->fault, status, "reading %zu bytes at offset %llu of the model failed",
                        count, (unsigned long long)at);
    if (status == HYP_E_FORMAT)
        return hyp_fail(gguf->fault, status,
                        "the model's file has changed since it was opened: open it again");
    return status;
}

double hyp_gguf_number(const hyp_gguf *gguf, const hyp_gguf_kv *kv, uint64_t index) {
    hyp_gguf_type type = kv->type == HYP_GGUF_ARRAY ? kv->element : kv->type;
    if (index >= kv->count || scalar_bytes[type] == 0) return 0;
    const char *p = bytes_at(gguf, kv->shard, kv->at + index * scalar_bytes[type]);
    switch (type) {
    case HYP_GGUF_U8:
    case HYP_GGUF_BOOL: return *(const uint8_t *)p;
    case HYP_GGUF_I8: return *(const int8_t *)p;
    case HYP_GGUF_U16: return hyp_load_u16(p);
    case HYP_GGUF_I16: return (int16_t)hyp_load_u16(p);
    case HYP_GGUF_U32: return hyp_load_u32(p);
    case HYP_GGUF_I32: return (int32_t)hyp_load_u32(p);
    case HYP_GGUF_F32: return (double)hyp_bits_f32(hyp_load_u32(p));
    case HYP_GGUF_U64: return (double)hyp_load_u64(p);
    case HYP_GGUF_I64: return (double)(int64_t)hyp_load_u64(p);
    default: {
        uint64_t bits = hyp_load_u64(p);
        double d;
        memcpy(&d, &bits, 8);
        return d;
    }
    }
}

bool hyp_gguf_next_string(const hyp_gguf *gguf, const hyp_gguf_kv *kv, uint64_t *at,
                          hyp_text *out) {
    if (kv->type != HYP_GGUF_ARRAY || kv->element != HYP_GGUF_STRING || *at >= kv->bytes)
        return false;
    const char *p = bytes_at(gguf, kv->shard, kv->at + *at);
    *out = (hyp_text){p + 8, (size_t)hyp_load_u64(p)};
    *at += 8 + out->bytes;
    return true;
}

static hyp_status wrong_kind(const hyp_gguf *gguf, const char *key, const char *want) {
    return hyp_fail(gguf->fault, HYP_E_FORMAT, "metadata key '%s' is not %s", key, want);
}

hyp_status hyp_gguf_u32(const hyp_gguf *gguf, const char *key, uint32_t otherwise, uint32_t *out) {
    const hyp_gguf_kv *kv = hyp_gguf_find(gguf, key);
    *out = otherwise;
    if (!kv) return HYP_OK;
    bool integer = kv->type <= HYP_GGUF_I32 || kv->type == HYP_GGUF_U64 || kv->type == HYP_GGUF_I64;
    // Some converters write a per-layer array where every layer is the same: accept that.
    if (kv->type == HYP_GGUF_ARRAY && kv->element <= HYP_GGUF_I32 && kv->count > 0) {
        integer = true;
        for (uint64_t i = 1; i < kv->count; i++)
            if (hyp_gguf_number(gguf, kv, i) != hyp_gguf_number(gguf, kv, 0))
                return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED,
                                "metadata key '%s' differs between layers, which is not supported",
                                key);
    }
    double v = hyp_gguf_number(gguf, kv, 0);
    if (!integer || !(v >= 0 && v <= 4294967295.0))
        return wrong_kind(gguf, key, "a whole number of 32 bits");
    *out = (uint32_t)v;
    return HYP_OK;
}

hyp_status hyp_gguf_f32(const hyp_gguf *gguf, const char *key, float otherwise, float *out) {
    const hyp_gguf_kv *kv = hyp_gguf_find(gguf, key);
    *out = otherwise;
    if (!kv) return HYP_OK;
    double v = hyp_gguf_number(gguf, kv, 0);
    if (scalar_bytes[kv->type] == 0 || !(v >= -1e30 && v <= 1e30))
        return wrong_kind(gguf, key, "a finite number");
    *out = (float)v;
    return HYP_OK;
}

hyp_status hyp_gguf_bool(const hyp_gguf *gguf, const char *key, bool otherwise, bool *out) {
    const hyp_gguf_kv *kv = hyp_gguf_find(gguf, key);
    *out = otherwise;
    if (!kv) return HYP_OK;
    if (kv->type != HYP_GGUF_BOOL) return wrong_kind(gguf, key, "true or false");
    *out = hyp_gguf_number(gguf, kv, 0) != 0;
    return HYP_OK;
}

hyp_text hyp_gguf_string(const hyp_gguf *gguf, const char *key) {
    const hyp_gguf_kv *kv = hyp_gguf_find(gguf, key);
    if (!kv || kv->type != HYP_GGUF_STRING) return (hyp_text){NULL, 0};
    return (hyp_text){bytes_at(gguf, kv->shard, kv->at), (size_t)kv->bytes};
}

// ---- The header of one file

// Makes `count` bytes from the reader's place readable, or says that the file ends before.
static hyp_status need(reader *r, uint64_t count) {
    hyp_buffer *head = &r->gguf->header[r->shard];
    uint64_t size = r->gguf->sources[r->shard].bytes, end;
    if (!hyp_add_u64(r->at, count, &end) || end > size)
        return hyp_fail(
            r->gguf->fault, HYP_E_FORMAT,
            "the file ends inside its header (%llu bytes): it is incomplete, download it again",
            (unsigned long long)size);
    while (head->bytes < end) {
        uint64_t step = head->bytes > READ_BYTES ? head->bytes
                                                 : READ_BYTES; // what has arrived at most doubles
        if (step > size - head->bytes) step = size - head->bytes;
        if (step > 1 << 20) step = 1 << 20;
        if (!hyp_buffer_reserve(head, (size_t)step))
            return hyp_fail(r->gguf->fault, HYP_E_NOMEM,
                            "not enough memory for the model's header: raise the memory limit");
        hyp_status status = hyp_source_read(&r->gguf->sources[r->shard], head->bytes,
                                            head->data + head->bytes, (size_t)step);
        if (status)
            return hyp_fail(r->gguf->fault, status,
                            "reading the model's header failed at byte %zu: %s", head->bytes,
                            hyp_status_message(status));
        head->bytes += (size_t)step;
    }
    return HYP_OK;
}

static hyp_status take_u32(reader *r, uint32_t *out) {
    hyp_status status = need(r, 4);
    if (status) return status;
    *out = hyp_load_u32(bytes_at(r->gguf, r->shard, r->at));
    r->at += 4;
    return HYP_OK;
}

static hyp_status take_u64(reader *r, uint64_t *out) {
    hyp_status status = need(r, 8);
    if (status) return status;
    *out = hyp_load_u64(bytes_at(r->gguf, r->shard, r->at));
    r->at += 8;
    return HYP_OK;
}

static hyp_status take_string(reader *r, uint64_t *at, uint64_t *bytes) {
    hyp_status status = take_u64(r, bytes);
    if (status || (status = need(r, *bytes))) return status;
    *at = r->at;
    r->at += *bytes;
    return HYP_OK;
}

static hyp_status take_kv(reader *r) {
    hyp_gguf *gguf = r->gguf;
    hyp_gguf_kv kv = {.shard = r->shard, .count = 1};
    uint32_t type;
    hyp_status status = take_string(r, &kv.key_at, &kv.key_bytes);
    if (status || (status = take_u32(r, &type))) return status;
    hyp_text key = hyp_gguf_key(gguf, &kv);
    int shown = key.bytes < 60 ? (int)key.bytes : 60;
    if (key.bytes == 0 || key.bytes > MAX_NAME)
        return hyp_fail(gguf->fault, HYP_E_FORMAT, "a metadata key of %zu bytes is not possible",
                        key.bytes);
    if (type >= HYP_GGUF_TYPES)
        return hyp_fail(gguf->fault, HYP_E_FORMAT, "metadata key '%.*s' has the unknown type %u",
                        shown, key.data, type);
    kv.type = (hyp_gguf_type)type;
    if (kv.type == HYP_GGUF_ARRAY) {
        if ((status = take_u32(r, &type)) || (status = take_u64(r, &kv.count))) return status;
        if (type >= HYP_GGUF_TYPES || type == HYP_GGUF_ARRAY)
            return hyp_fail(gguf->fault, HYP_E_FORMAT,
                            "metadata key '%.*s' is an array of the unsupported type %u", shown,
                            bytes_at(gguf, r->shard, kv.key_at), type);
        kv.element = (hyp_gguf_type)type;
        kv.at = r->at;
        if (kv.element == HYP_GGUF_STRING) {
            uint64_t at, bytes;
            for (uint64_t i = 0; i < kv.count; i++)
                if ((status = take_string(r, &at, &bytes))) return status;
        } else {
            uint64_t bytes;
            if (!hyp_mul_u64(kv.count, scalar_bytes[kv.element], &bytes)) bytes = UINT64_MAX;
            if ((status = need(r, bytes))) return status;
            r->at += bytes;
        }
        kv.bytes = r->at - kv.at;
    } else if (kv.type == HYP_GGUF_STRING) {
        if ((status = take_string(r, &kv.at, &kv.bytes))) return status;
    } else {
        if ((status = need(r, scalar_bytes[kv.type]))) return status;
        kv.at = r->at;
        kv.bytes = scalar_bytes[kv.type];
        r->at += kv.bytes;
    }
    return hyp_buffer_append(&gguf->kvs, &kv, sizeof kv)
               ? HYP_OK
               : hyp_fail(gguf->fault, HYP_E_NOMEM, "not enough memory for the model's metadata");
}

uint32_t hyp_gguf_group_bytes(const hyp_gguf *gguf, const hyp_gguf_tensor *t, uint32_t index) {
    return hyp_load_u32(bytes_at(gguf, t->shard, t->sizes_at + 4ull * index));
}

hyp_status hyp_gguf_decode_group(const hyp_gguf *gguf, const hyp_gguf_tensor *t, uint32_t index,
                                 const uint8_t *in, uint8_t *rows) {
    if (hyp_sparse_decode(t->sparse, rows, in, hyp_gguf_group_bytes(gguf, t, index),
                          (uint32_t)t->dim[0]))
        return HYP_OK;
    return hyp_fail(gguf->fault, HYP_E_FORMAT,
                    "the model is damaged: group %u of tensor '%.*s' is not sound", index,
                    (int)t->name_bytes, bytes_at(gguf, t->shard, t->name_at));
}

hyp_status hyp_gguf_not_finite(const hyp_gguf *gguf, const hyp_gguf_tensor *t) {
    hyp_text name = hyp_gguf_tensor_name(gguf, t);
    return hyp_fail(gguf->fault, HYP_E_FORMAT,
                    "the model is damaged: tensor '%.*s' holds weights that are no finite numbers",
                    (int)name.bytes, name.data);
}

// The sizes of a sparse tensor's groups stand in the metadata of its shard.
static hyp_status find_groups(reader *r, hyp_gguf_tensor *t) {
    const hyp_gguf *gguf = r->gguf;
    const char *name = bytes_at(gguf, r->shard, t->name_at);
    size_t prefix = sizeof HYP_GGUF_GROUPS - 1, bytes = prefix + (size_t)t->name_bytes;
    uint64_t groups = (t->dim[1] + 15) / 16;
    char key[MAX_NAME];
    t->format = HYP_Q4_0;
    uint32_t found = 0;
    if (bytes <= sizeof key) {
        memcpy(key, HYP_GGUF_GROUPS, prefix);
        memcpy(key + prefix, name, (size_t)t->name_bytes);
        found = find_name(gguf, r->shard ? &gguf->shard_names : &gguf->key_names,
                          (hyp_text){key, bytes}, false);
    }
    const hyp_gguf_kv *kv = found ? hyp_gguf_kv_at(gguf, found - 1) : NULL;
    if (kv && kv->type == HYP_GGUF_ARRAY && kv->element == HYP_GGUF_U32 && kv->count == groups &&
        t->dims == 2 && t->dim[0] % HYP_BLOCK == 0) {
        t->sizes_at = kv->at;
        for (uint32_t g = 0; g < groups; g++) t->bytes += hyp_gguf_group_bytes(gguf, t, g);
        return HYP_OK;
    }
    return hyp_fail(gguf->fault, HYP_E_FORMAT,
                    "tensor '%.*s' is sparse, and the metadata does not say where its %llu groups "
                    "of rows stand",
                    (int)t->name_bytes, name, (unsigned long long)groups);
}

static hyp_status take_tensor(reader *r) {
    hyp_gguf *gguf = r->gguf;
    hyp_gguf_tensor t = {.shard = r->shard, .dim = {1, 1, 1, 1}};
    hyp_status status = take_string(r, &t.name_at, &t.name_bytes);
    if (status || (status = take_u32(r, &t.dims))) return status;
    if (t.name_bytes == 0 || t.name_bytes > MAX_NAME)
        return hyp_fail(gguf->fault, HYP_E_FORMAT, "a tensor name of %llu bytes is not possible",
                        (unsigned long long)t.name_bytes);
    if (t.dims > HYP_GGUF_DIMS)
        return hyp_fail(
            gguf->fault, HYP_E_FORMAT, "tensor '%.*s' has %u dimensions; at most %d are possible",
            (int)t.name_bytes, bytes_at(gguf, r->shard, t.name_at), t.dims, HYP_GGUF_DIMS);
    for (uint32_t i = 0; i < t.dims; i++)
        if ((status = take_u64(r, &t.dim[i]))) return status;
    if ((status = take_u32(r, &t.type)) || (status = take_u64(r, &t.offset))) return status;
    const char *name = bytes_at(gguf, r->shard, t.name_at);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < HYP_GGUF_DIMS; i++)
        if (t.dim[i] == 0 || t.dim[i] > INT32_MAX || !hyp_mul_u64(elements, t.dim[i], &elements) ||
            elements > (uint64_t)1 << 44)
            return hyp_fail(gguf->fault, HYP_E_FORMAT, "tensor '%.*s' has impossible dimensions",
                            (int)t.name_bytes, name);
    if (!hyp_format_name(t.type))
        return hyp_fail(gguf->fault, HYP_E_FORMAT, "tensor '%.*s' has the unknown type %u",
                        (int)t.name_bytes, name, t.type);
    t.format = hyp_format_of(t.type);
    t.sparse = t.type == HYP_SPARSE_TYPE + HYP_BITMAP ? HYP_BITMAP
               : t.type == HYP_SPARSE_TYPE + HYP_CSR  ? HYP_CSR
                                                      : HYP_DENSE;
    if (t.sparse) {
        if ((status = find_groups(r, &t))) return status;
    } else if (t.format != HYP_FORMATS) {
        const hyp_format_info *info = &hyp_formats[t.format];
        if (t.dim[0] % info->block_elems)
            return hyp_fail(gguf->fault, HYP_E_FORMAT,
                            "tensor '%.*s': rows of %llu elements are no whole number of %s blocks",
                            (int)t.name_bytes, name, (unsigned long long)t.dim[0], info->name);
        t.bytes = elements / info->block_elems * info->block_bytes;
    }
    return hyp_buffer_append(&gguf->tensors, &t, sizeof t)
               ? HYP_OK
               : hyp_fail(gguf->fault, HYP_E_NOMEM,
                          "not enough memory for the model's tensor directory");
}

static hyp_status read_shard(hyp_gguf *gguf, uint32_t shard) {
    reader r = {gguf, shard, 0};
    uint32_t magic, version, alignment;
    uint64_t tensors, kvs;
    if (gguf->sources[shard].bytes < 24)
        return hyp_fail(gguf->fault, HYP_E_FORMAT, "a file of %llu bytes is no GGUF model",
                        (unsigned long long)gguf->sources[shard].bytes);
    hyp_status status = take_u32(&r, &magic);
    if (status) return status;
    if (magic != 0x46554747)
        return hyp_fail(gguf->fault, HYP_E_FORMAT,
                        "not a GGUF file: it does not start with 'GGUF'");
    if ((status = take_u32(&r, &version))) return status;
    if ((version & 0xFFFF) == 0)
        return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED, "a big-endian GGUF file is not supported");
    if (version != 2 && version != 3)
        return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED,
                        "GGUF version %u is not supported (2 and 3 are)", version);
    gguf->version = version;
    if ((status = take_u64(&r, &tensors)) || (status = take_u64(&r, &kvs))) return status;
    if (kvs > MAX_KVS || tensors > MAX_TENSORS)
        return hyp_fail(
            gguf->fault, HYP_E_FORMAT,
            "the header declares %llu metadata keys and %llu tensors, which is not possible",
            (unsigned long long)kvs, (unsigned long long)tensors);
    uint32_t first_kv = hyp_gguf_kv_count(gguf), first_tensor = hyp_gguf_tensor_count(gguf);
    for (uint64_t i = 0; i < kvs; i++)
        if ((status = take_kv(&r))) return status;
    if ((status = index_names(gguf, shard ? &gguf->shard_names : &gguf->key_names, first_kv,
                              false)))
        return status;
    alignment = 32;
    for (uint32_t i = first_kv; i < hyp_gguf_kv_count(gguf); i++) {
        const hyp_gguf_kv *kv = hyp_gguf_kv_at(gguf, i);
        if (same(hyp_gguf_key(gguf, kv), "general.alignment")) {
            double v = hyp_gguf_number(gguf, kv, 0);
            if (kv->type != HYP_GGUF_U32 || !(v >= 1 && v <= MAX_ALIGNMENT) ||
                ((uint32_t)v & ((uint32_t)v - 1)))
                return hyp_fail(gguf->fault, HYP_E_FORMAT,
                                "'general.alignment' is no power of two");
            alignment = (uint32_t)v;
        }
    }
    for (uint64_t i = 0; i < tensors; i++)
        if ((status = take_tensor(&r))) return status;

    uint64_t start = (r.at + alignment - 1) / alignment * alignment,
             size = gguf->sources[shard].bytes;
    for (uint32_t i = first_tensor; i < hyp_gguf_tensor_count(gguf); i++) {
        hyp_gguf_tensor *t = (hyp_gguf_tensor *)(void *)gguf->tensors.data + i;
        const char *name = bytes_at(gguf, shard, t->name_at);
        uint64_t end;
        if (t->offset % alignment)
            return hyp_fail(gguf->fault, HYP_E_FORMAT, "tensor '%.*s' is not aligned to %u bytes",
                            (int)t->name_bytes, name, alignment);
        if (!hyp_add_u64(t->offset, start, &t->offset) || !hyp_add_u64(t->offset, t->bytes, &end) ||
            end > size)
            return hyp_fail(gguf->fault, HYP_E_FORMAT,
                            "tensor '%.*s' lies outside the file of %llu bytes: the file is "
                            "incomplete, download it again",
                            (int)t->name_bytes, name, (unsigned long long)size);
    }
    // A later shard repeats only its own bookkeeping; the first one's metadata speaks for the
    // model.
    if (shard > 0) {
        uint32_t number = UINT32_MAX;
        for (uint32_t i = first_kv; i < hyp_gguf_kv_count(gguf); i++)
            if (same(hyp_gguf_key(gguf, hyp_gguf_kv_at(gguf, i)), "split.no"))
                number = (uint32_t)hyp_gguf_number(gguf, hyp_gguf_kv_at(gguf, i), 0);
        if (number != shard)
            return hyp_fail(
                gguf->fault, HYP_E_FORMAT,
                "file %u of the split model is not its part %u: give the parts in order", shard + 1,
                shard + 1);
        gguf->kvs.bytes = first_kv * sizeof(hyp_gguf_kv);
        drop_names(gguf, &gguf->shard_names);
    }
    return HYP_OK;
}

// Fills the table of the keys or of the tensors from number `first` on. No two may share a name:
// which one is meant could not be told.
static hyp_status index_names(hyp_gguf *gguf, hyp_gguf_names *names, uint32_t first, bool tensors) {
    uint32_t count = tensors ? hyp_gguf_tensor_count(gguf) : hyp_gguf_kv_count(gguf), slots = 16;
    while (slots < (count - first) * 2) slots *= 2;
    names->slots = hyp_budget_map(gguf->budget, slots * sizeof *names->slots);
    if (!names->slots)
        return hyp_fail(gguf->fault, HYP_E_NOMEM, "not enough memory for the model's names");
    names->mask = slots - 1;
    for (uint32_t i = first; i < count; i++) {
        hyp_text name = entry_name(gguf, i, tensors);
        uint32_t *slot = name_slot(gguf, names, name, tensors, MAX_PROBES);
        int shown = name.bytes < 80 ? (int)name.bytes : 80;
        const char *kind = tensors ? "tensor" : "metadata key";
        if (!slot)
            return hyp_fail(gguf->fault, HYP_E_FORMAT,
                            "%s '%.*s': the file's names are made to collide", kind, shown,
                            name.data);
        if (*slot)
            return hyp_fail(gguf->fault, HYP_E_FORMAT, "%s '%.*s' stands twice in the file", kind,
                            shown, name.data);
        *slot = i + 1;
        uint32_t place = (uint32_t)(slot - names->slots),
                 own = (uint32_t)hyp_hash(name.data, name.bytes);
        names->probes = hyp_max_u32(names->probes, ((place - own) & names->mask) + 1);
    }
    return HYP_OK;
}

static void drop_names(hyp_gguf *gguf, hyp_gguf_names *names) {
    hyp_budget_unmap(gguf->budget, names->slots, ((size_t)names->mask + 1) * sizeof *names->slots);
    *names = (hyp_gguf_names){0};
}
