#include "tiny.h"

#include "../../src/base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2, HEADS = 2, KV_HEADS = 1, HEAD = 32, FFN = 96, ALIGN = 32, FIRST_WORD = 259 };
enum { U32 = 4, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9, I32 = 5 }; // types of GGUF values

typedef struct image {
    uint8_t *data;
    size_t bytes, capacity;
    uint64_t keys, tensors, offset;
    uint64_t random;
} image;

static void put(image *m, const void *data, size_t bytes) {
    if (m->bytes + bytes > m->capacity)
        m->data = realloc(m->data, m->capacity = 2 * (m->bytes + bytes));
    memcpy(m->data + m->bytes, data, bytes);
    m->bytes += bytes;
}
static void put_u32(image *m, uint32_t v) {
    put(m, &v, sizeof v);
} // little-endian, as every machine that tests run on
static void put_u64(image *m, uint64_t v) { put(m, &v, sizeof v); }
static void put_text(image *m, const char *text) {
    put_u64(m, strlen(text));
    put(m, text, strlen(text));
}
static void key(image *m, const char *name, uint32_t type) {
    put_text(m, name);
    put_u32(m, type);
    m->keys++;
}
static void array(image *m, const char *name, uint32_t type) {
    key(m, name, ARRAY);
    put_u32(m, type);
    put_u64(m, TINY_VOCAB);
}
static void whole(image *m, const char *name, uint32_t v) {
    key(m, name, U32);
    put_u32(m, v);
}
static void real(image *m, const char *name, float v) {
    key(m, name, F32);
    put(m, &v, sizeof v);
}

static void vocabulary(image *m) {
    key(m, "tokenizer.ggml.model", STRING);
    put_text(m, "llama");
    array(m, "tokenizer.ggml.tokens", STRING);
    for (uint32_t i = 0; i < TINY_VOCAB; i++) {
        char text[16];
        if (i < 3) snprintf(text, sizeof text, "%s", i == 0 ? "<unk>" : i == 1 ? "<s>" : "</s>");
        else if (i < FIRST_WORD) snprintf(text, sizeof text, "<0x%02X>", i - 3);
        else if (i < FIRST_WORD + 26)
            snprintf(text, sizeof text, "%c", 'a' + (int)(i - FIRST_WORD));
        else snprintf(text, sizeof text, "%c%c", 'a' + (int)(i % 7), 'e' + (int)(i / 7 % 13));
        put_text(m, text);
    }
    array(m, "tokenizer.ggml.scores", F32);
    for (uint32_t i = 0; i < TINY_VOCAB; i++) {
        float score = i < FIRST_WORD ? 0 : -(float)(TINY_VOCAB - i);
        put(m, &score, sizeof score);
    }
    array(m, "tokenizer.ggml.token_type", I32);
    for (uint32_t i = 0; i < TINY_VOCAB; i++)
        put_u32(m, i == 0 ? 2 : i < 3 ? 3 : i < FIRST_WORD ? 6 : 1);
    whole(m, "tokenizer.ggml.bos_token_id", 1);
    whole(m, "tokenizer.ggml.eos_token_id", 2);
    whole(m, "tokenizer.ggml.unknown_token_id", 0);
}

typedef struct tensor {
    char name[40];
    uint32_t rows, cols; // rows 1: a vector
} tensor;

static uint32_t list(tensor *out) {
    uint32_t n = 0;
    out[n++] = (tensor){"token_embd.weight", TINY_VOCAB, TINY_DIM};
    for (int layer = 0; layer < LAYERS; layer++) {
        const tensor of_layer[] = {{"attn_norm", 1, TINY_DIM},
                                   {"attn_q", HEADS * HEAD, TINY_DIM},
                                   {"attn_k", KV_HEADS * HEAD, TINY_DIM},
                                   {"attn_v", KV_HEADS * HEAD, TINY_DIM},
                                   {"attn_output", TINY_DIM, HEADS * HEAD},
                                   {"ffn_norm", 1, TINY_DIM},
                                   {"ffn_gate", FFN, TINY_DIM},
                                   {"ffn_up", FFN, TINY_DIM},
                                   {"ffn_down", TINY_DIM, FFN}};
        for (size_t i = 0; i < sizeof of_layer / sizeof *of_layer; i++) {
            out[n] = of_layer[i];
            snprintf(out[n++].name, sizeof out->name, "blk.%d.%.20s.weight", layer,
                     of_layer[i].name);
        }
    }
    out[n++] = (tensor){"output_norm.weight", 1, TINY_DIM};
    out[n++] = (tensor){"output.weight", TINY_VOCAB, TINY_DIM};
    return n;
}

static float draw(image *m) { // uniform in [-1, 1): splitmix64
    uint64_t z = (m->random += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (float)(int32_t)((z ^ z >> 31) >> 32) * 0x1p-31f;
}

static void pad(image *m) {
    static const uint8_t zeros[ALIGN];
    put(m, zeros, (ALIGN - m->bytes % ALIGN) % ALIGN);
}

uint8_t *tiny_model(uint64_t seed, size_t *bytes) {
    static const struct {
        const char *name;
        uint32_t value;
    } wholes[] = {
        {"llama.context_length", TINY_CONTEXT}, {"llama.embedding_length", TINY_DIM},
        {"llama.block_count", LAYERS},          {"llama.feed_forward_length", FFN},
        {"llama.attention.head_count", HEADS},  {"llama.attention.head_count_kv", KV_HEADS},
        {"llama.attention.key_length", HEAD},   {"llama.attention.value_length", HEAD},
        {"llama.rope.dimension_count", HEAD},   {"llama.vocab_size", TINY_VOCAB}};
    tensor tensors[2 + LAYERS * 9 + 2];
    uint32_t count = list(tensors);
    image head = {.random = seed}, keys = {0};
    key(&keys, "general.architecture", STRING);
    put_text(&keys, "llama");
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++)
        whole(&keys, wholes[i].name, wholes[i].value);
    real(&keys, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    real(&keys, "llama.rope.freq_base", 10000);
    vocabulary(&keys);
    put(&head, "GGUF", 4);
    put_u32(&head, 3);
    put_u64(&head, count);
    put_u64(&head, keys.keys);
    put(&head, keys.data, keys.bytes);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        const tensor *t = &tensors[i];
        put_text(&head, t->name);
        put_u32(&head, t->rows == 1 ? 1 : 2);
        put_u64(&head, t->cols);
        if (t->rows > 1) put_u64(&head, t->rows);
        put_u32(&head, 0); // F32
        put_u64(&head, offset);
        offset += (uint64_t)t->rows * t->cols * sizeof(float); // a multiple of the alignment
    }
    pad(&head);
    for (uint32_t i = 0; i < count; i++) {
        const tensor *t = &tensors[i];
        for (uint32_t k = 0; k < t->rows * t->cols; k++) {
            float v = t->rows == 1 ? 1 : draw(&head) * (i == 0 ? 1.0f : 0.3f);
            put(&head, &v, sizeof v);
        }
    }
    free(keys.data);
    *bytes = head.bytes;
    return head.data;
}
