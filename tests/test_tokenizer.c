// Tokenizers against the vectors of an independent encoder (tests/peers/tokenizers.mjs), and round trips over random Unicode.
#include "../src/base/bytes.h"
#include "../src/model/tokenizer.h"
#include "../src/model/unicode.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hyp_budget budget;

typedef struct vocabulary {
    hyp_arena arena;
    hyp_tokenizer tokenizer;
    uint8_t *file;
    hyp_source source;
    hyp_fault fault;
    hyp_gguf gguf;
} vocabulary;

static vocabulary *load(const char *path) {
    vocabulary *v = calloc(1, sizeof *v);
    size_t bytes;
    v->file = read_file(path, &bytes);
    v->source = hyp_source_of_memory(v->file, bytes);
    hyp_arena_init(&v->arena, &budget);
    CHECK_MSG(hyp_gguf_open(&v->gguf, &budget, &v->source, 1, &v->fault) == HYP_OK, "%s", v->fault.text);
    CHECK_MSG(hyp_tokenizer_init(&v->tokenizer, &v->gguf, &v->arena) == HYP_OK, "%s", v->fault.text);
    return v;
}

static void unload(vocabulary *v) {
    hyp_gguf_deinit(&v->gguf);
    hyp_arena_deinit(&v->arena);
    free(v->file);
    free(v);
    CHECK(budget.used_bytes == 0);
}

static void check_vectors(const hyp_tokenizer *t, const char *name) {
    char path[80];
    size_t bytes;
    snprintf(path, sizeof path, "tests/golden/tokens-%s.bin", name);
    uint8_t *data = read_file(path, &bytes), *p = data + 4;
    for (uint32_t i = 0, count = hyp_load_u32(data); i < count; i++) {
        uint32_t length = hyp_load_u32(p);
        const char *text = (const char *)p + 4;
        const uint8_t *want = p + 4 + length;
        uint32_t n = hyp_load_u32(want);
        p = (uint8_t *)(uintptr_t)want + 4 + 4 * (size_t)n;
        hyp_buffer out = {.budget = &budget};
        CHECK(hyp_tokenizer_encode(t, text, length, 0, &out) == HYP_OK);
        bool same = out.bytes == 4 * (size_t)n && (n == 0 || memcmp(out.data, want + 4, out.bytes) == 0);
        if (!same) {
            fprintf(stderr, "%s, text %u '%.*s':\n  want", name, i, (int)length, text);
            for (uint32_t k = 0; k < n; k++) fprintf(stderr, " %u", hyp_load_u32(want + 4 + 4 * (size_t)k));
            fprintf(stderr, "\n  got ");
            for (size_t k = 0; k < out.bytes / 4; k++) fprintf(stderr, " %d", ((int32_t *)(void *)out.data)[k]);
            fputc('\n', stderr);
        }
        CHECK_MSG(same, "%s: text %u", name, i);
        hyp_buffer_deinit(&out);
    }
    CHECK(p == data + bytes);
    free(data);
}

static void byte_level_bpe(void) {
    vocabulary *v = load("tests/golden/tok-bpe.gguf");
    static const char *const names[] = {"gpt-2", "llama-bpe", "qwen2", "smollm", "tekken", "deepseek-llm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        v->tokenizer.pre = hyp_pretokenizer_named(names[i], strlen(names[i]));
        v->tokenizer.ignore_merges = v->tokenizer.pre == HYP_PRE_LLAMA3 || v->tokenizer.pre == HYP_PRE_TEKKEN;
        check_vectors(&v->tokenizer, names[i]);
    }
    unload(v);
}

static void sentencepiece(void) {
    vocabulary *v = load("tests/golden/tok-spm.gguf");
    check_vectors(&v->tokenizer, "spm");
    unload(v);
}

static void wordpiece(void) {
    vocabulary *v = load("tests/golden/tok-wordpiece.gguf");
    check_vectors(&v->tokenizer, "wordpiece");
    hyp_buffer out = {.budget = &budget}, text = {.budget = &budget};
    CHECK(hyp_tokenizer_encode(&v->tokenizer, "Hello world", 11, HYP_ENCODE_EDGES, &out) == HYP_OK);
    const int32_t *ids = (const int32_t *)(const void *)out.data;
    CHECK(out.bytes == 16 && ids[0] == 2 && ids[3] == 3);
    CHECK(hyp_tokenizer_decode(&v->tokenizer, ids, 4, false, &text) == HYP_OK && text.bytes == 11 &&
          memcmp(text.data, "hello world", 11) == 0);
    hyp_buffer_deinit(&out), hyp_buffer_deinit(&text);
    unload(v);
}

// Random code points of all planes: decode(encode(text)) is the text.
static void round_trips(void) {
    static const char *const files[] = {"tests/golden/tok-bpe.gguf", "tests/golden/tok-spm.gguf", "models/story.gguf"};
    for (int f = 0; f < 3; f++) {
        vocabulary *v = load(files[f]);
        for (int round = 0; round < 1500; round++) {
            char text[256];
            size_t n = 0;
            for (uint32_t left = 1 + random_u32() % 40; left; left--) {
                uint32_t kind = random_u32() % 4, rune = kind == 0   ? 32 + random_u32() % 95
                                                         : kind == 1 ? random_u32() % 0x800
                                                         : kind == 2 ? random_u32() % 0x10000
                                                                     : random_u32() % 0x110000;
                if ((rune >= 0xD800 && rune < 0xE000) || rune == 0x2581) continue; // no surrogates; SPM takes U+2581 for a space by design
                n += hyp_rune_encode(rune, text + n);
            }
            if (f < 1) v->tokenizer.pre = (hyp_pretokenizer)(round % HYP_PRE_COUNT);
            if (round % 10 == 0 && f == 0 && n) text[random_u32() % n] = (char)random_u32(); // bytes that are no UTF-8 survive too
            hyp_buffer out = {.budget = &budget}, back = {.budget = &budget};
            CHECK(hyp_tokenizer_encode(&v->tokenizer, text, n, 0, &out) == HYP_OK);
            CHECK(hyp_tokenizer_decode(&v->tokenizer, (const int32_t *)(const void *)out.data, (uint32_t)(out.bytes / 4), false, &back) ==
                  HYP_OK);
            CHECK_MSG(back.bytes == n && (n == 0 || memcmp(back.data, text, n) == 0), "%s: '%.*s' came back as '%.*s'", files[f], (int)n,
                      text, (int)back.bytes, (const char *)back.data);
            hyp_buffer_deinit(&out), hyp_buffer_deinit(&back);
        }
        unload(v);
    }
}

static void special_tokens(void) {
    vocabulary *v = load("tests/golden/tok-bpe.gguf");
    hyp_tokenizer *t = &v->tokenizer;
    int32_t end = hyp_tokenizer_find(t, "<|endoftext|>", 13);
    const char *text = "a<|endoftext|>b";
    hyp_buffer out = {.budget = &budget};
    CHECK(end > 0 && hyp_tokenizer_ends(t, end) && !hyp_tokenizer_ends(t, 5));
    CHECK(hyp_tokenizer_encode(t, text, strlen(text), HYP_ENCODE_SPECIALS, &out) == HYP_OK && out.bytes == 12 &&
          ((int32_t *)(void *)out.data)[1] == end);
    out.bytes = 0;
    CHECK(hyp_tokenizer_encode(t, text, strlen(text), 0, &out) == HYP_OK && out.bytes > 12); // untrusted text can not forge it
    for (size_t i = 0; i < out.bytes / 4; i++) CHECK(((int32_t *)(void *)out.data)[i] != end);
    CHECK(hyp_tokenizer_piece(t, end, false).bytes == 0 && hyp_tokenizer_piece(t, end, true).bytes == 13 &&
          hyp_tokenizer_piece(t, -1, true).bytes == 0 && hyp_tokenizer_piece(t, 1 << 30, true).bytes == 0);
    out.bytes = 0;
    t->add_bos = t->add_eos = true;
    CHECK(hyp_tokenizer_encode(t, "a", 1, HYP_ENCODE_EDGES, &out) == HYP_OK && out.bytes == 12);
    hyp_buffer_deinit(&out);
    unload(v);
    v = load("tests/golden/tok-spm.gguf");
    out = (hyp_buffer){.budget = &budget};
    CHECK(hyp_tokenizer_encode(&v->tokenizer, "", 0, HYP_ENCODE_EDGES, &out) == HYP_OK && out.bytes == 4 &&
          *(int32_t *)(void *)out.data == 1);
    hyp_buffer_deinit(&out);
    unload(v);
}

// A megabyte without a space takes time in proportion, not in its square.
static void long_words(void) {
    static const char *const files[] = {"tests/golden/tok-bpe.gguf", "tests/golden/tok-spm.gguf"};
    for (int f = 0; f < 2; f++) {
        vocabulary *v = load(files[f]);
        size_t n = 1 << 20;
        char *text = malloc(n);
        memset(text, 'e', n);
        hyp_buffer out = {.budget = &budget};
        CHECK(hyp_tokenizer_encode(&v->tokenizer, text, n, 0, &out) == HYP_OK && out.bytes > 0);
        CHECK(hyp_tokenizer_encode(&v->tokenizer, text, (size_t)HYP_TEXT_MAX + 1, 0, &out) == HYP_E_ARGUMENT);
        hyp_buffer_deinit(&out);
        free(text);
        unload(v);
    }
}

int main(void) {
    RUN(byte_level_bpe);
    RUN(sentencepiece);
    RUN(wordpiece);
    RUN(round_trips);
    RUN(special_tokens);
    RUN(long_words);
    return finish();
}
