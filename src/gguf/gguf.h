// GGUF files (versions 2 and 3): metadata and the tensor directory, read from byte sources, one a
// shard. The header is kept as it stands in the file and read only as far as it goes; no count in
// it sizes an allocation before the bytes that it counts have arrived. After a successful open
// every offset, length and type in the directory has been checked.
#ifndef HYP_GGUF_GGUF_H
#define HYP_GGUF_GGUF_H

#include "../base/text.h"
#include "../kernels/sparse.h"
#include "../mem/buffer.h"
#include "../stream/source.h"

#include <stdbool.h>

enum { HYP_GGUF_DIMS = 4, HYP_GGUF_SHARDS = 512 };

typedef enum hyp_gguf_type {
    HYP_GGUF_U8,
    HYP_GGUF_I8,
    HYP_GGUF_U16,
    HYP_GGUF_I16,
    HYP_GGUF_U32,
    HYP_GGUF_I32,
    HYP_GGUF_F32,
    HYP_GGUF_BOOL,
    HYP_GGUF_STRING,
    HYP_GGUF_ARRAY,
    HYP_GGUF_U64,
    HYP_GGUF_I64,
    HYP_GGUF_F64,
    HYP_GGUF_TYPES
} hyp_gguf_type;

typedef struct hyp_progress {
    // Called between steps with bytes done and in all; false stops the load with HYP_E_CANCELLED.
    // May be NULL.
    bool (*report)(void *context, uint64_t done, uint64_t total);
    void *context;
} hyp_progress;

typedef struct hyp_gguf_kv {
    uint32_t shard;
    hyp_gguf_type type, element; // element: of an array
    uint64_t key_at, key_bytes;  // within the shard's header
    // Where the value stands (an array's elements, a string's characters), and how many elements it
    // has: 1 for a scalar.
    uint64_t at, bytes, count;
} hyp_gguf_kv;

typedef struct hyp_gguf_tensor {
    uint32_t shard, dims, type; // type: the file's number
    hyp_format format; // HYP_FORMATS: one that the core can not compute with; `bytes` is then 0
    // Not HYP_DENSE: groups of rows of `format` Q4_0, of their own sizes (hyp_gguf_group_bytes).
    hyp_sparse sparse;
    uint64_t sizes_at; // of them, within the shard's header
    uint64_t name_at, name_bytes;
    uint64_t dim[HYP_GGUF_DIMS]; // dim[0] is contiguous; missing ones are 1
    uint64_t offset, bytes;      // within the shard's file
} hyp_gguf_tensor;

// A hash table of names: each one's index + 1, 0 for an empty slot. No name stands further than
// `probes` slots from its own, so that a file whose names collide on purpose is as fast as any
// other, or refused.
typedef struct hyp_gguf_names {
    uint32_t *slots;
    uint32_t mask, probes;
} hyp_gguf_names;

typedef struct hyp_gguf {
    hyp_budget *budget;
    const hyp_source *sources; // borrowed
    uint32_t shards, version;
    hyp_buffer header[HYP_GGUF_SHARDS]; // what has been read of each file's start
    hyp_buffer kvs, tensors;            // of hyp_gguf_kv, hyp_gguf_tensor
    // `shard_names`: of the keys of a later shard, while it is read.
    hyp_gguf_names key_names, tensor_names, shard_names;
    hyp_fault *fault;
} hyp_gguf;

// Reads the headers of `shards` files. Borrows `sources` and `fault` until deinit. May suspend.
// HYP_E_FORMAT with a message for anything that is not a sound file; `gguf` must be deinited in
// every case.
HYP_MUST_USE hyp_status hyp_gguf_open(hyp_gguf *gguf, hyp_budget *budget, const hyp_source *sources,
                                      uint32_t shards, hyp_fault *fault);
void hyp_gguf_deinit(hyp_gguf *gguf);

uint32_t hyp_gguf_kv_count(const hyp_gguf *gguf);
const hyp_gguf_kv *hyp_gguf_kv_at(const hyp_gguf *gguf, uint32_t index);
const hyp_gguf_kv *hyp_gguf_find(const hyp_gguf *gguf, const char *key); // NULL: absent
hyp_text hyp_gguf_key(const hyp_gguf *gguf, const hyp_gguf_kv *kv);

uint32_t hyp_gguf_tensor_count(const hyp_gguf *gguf);
const hyp_gguf_tensor *hyp_gguf_tensor_at(const hyp_gguf *gguf, uint32_t index);
// NULL: there is none.
const hyp_gguf_tensor *hyp_gguf_tensor_named(const hyp_gguf *gguf, const char *name);
hyp_text hyp_gguf_tensor_name(const hyp_gguf *gguf, const hyp_gguf_tensor *tensor);

// Bytes of group `index` of a sparse tensor, as its metadata says: they add up to the tensor's.
uint32_t hyp_gguf_group_bytes(const hyp_gguf *gguf, const hyp_gguf_tensor *tensor, uint32_t index);
// Takes group `index`, read to `in`, apart to 16 rows of Q4_0 (NULL: only checks it). HYP_E_FORMAT
// with a message: it is not sound.
HYP_MUST_USE hyp_status hyp_gguf_decode_group(const hyp_gguf *gguf, const hyp_gguf_tensor *tensor,
                                              uint32_t index, const uint8_t *in, uint8_t *rows);
// HYP_E_FORMAT, with a message: a tensor holds what hyp_format_finite does not take.
hyp_status hyp_gguf_not_finite(const hyp_gguf *gguf, const hyp_gguf_tensor *tensor);
// The key under which the metadata holds those of the tensor `name`, as an array of 32-bit numbers,
// is this and the name.
#define HYP_GGUF_GROUPS "hyperion.groups."
// Reads `count` bytes of a tensor's data from its byte `from`. May suspend.
HYP_MUST_USE hyp_status hyp_gguf_read(const hyp_gguf *gguf, const hyp_gguf_tensor *tensor,
                                      uint64_t from, void *dst, size_t count);

// Scalar values. An absent key gives `otherwise`; a value of another kind or out of range
// HYP_E_FORMAT.
HYP_MUST_USE hyp_status hyp_gguf_u32(const hyp_gguf *gguf, const char *key, uint32_t otherwise,
                                     uint32_t *out);
HYP_MUST_USE hyp_status hyp_gguf_f32(const hyp_gguf *gguf, const char *key, float otherwise,
                                     float *out);
HYP_MUST_USE hyp_status hyp_gguf_bool(const hyp_gguf *gguf, const char *key, bool otherwise,
                                      bool *out);
// A string value; {NULL, 0} when absent or no string.
hyp_text hyp_gguf_string(const hyp_gguf *gguf, const char *key);

// Element `index` of a numeric array or a scalar (index 0), as a double.
double hyp_gguf_number(const hyp_gguf *gguf, const hyp_gguf_kv *kv, uint64_t index);
// Walks a string array: *at starts at 0; false at the end.
bool hyp_gguf_next_string(const hyp_gguf *gguf, const hyp_gguf_kv *kv, uint64_t *at, hyp_text *out);
const void *hyp_gguf_value(const hyp_gguf *gguf, const hyp_gguf_kv *kv); // the raw bytes of a value

#endif
