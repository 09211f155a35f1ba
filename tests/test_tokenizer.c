// Tokenizers against the vectors of an independent encoder (tests/peers/tokenizers.mjs), and round
// trips over random Unicode.
#include "../src/base/bytes.h"
#include "../src/text/tokenizer.h"
#include "../src/text/unicode.h"
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

static bool slow; // under an emulator: fewer of the same

// Takes `file`.
static hyp_status attempt(vocabulary **out, uint8_t *file, size_t bytes, hyp_progress progress) {
    vocabulary *v = *out = calloc(1, sizeof *v);
    v->file = file;
    v->source = hyp_source_of_memory(v->file, bytes);
    hyp_arena_init(&v->arena, &budget);
    CHECK_MSG(hyp_gguf_open(&v->gguf, &budget, &v->source, 1, &v->fault) == HYP_OK, "%s",
              v->fault.text);
    return hyp_tokenizer_init(&v->tokenizer, &v->gguf, &v->arena, progress);
}

static vocabulary *load(const char *path) {
    size_t bytes;
    uint8_t *file = read_file(path, &bytes);
    vocabulary *v;
    hyp_status status = attempt(&v, file, bytes, (hyp_progress){0});
    CHECK_MSG(status == HYP_OK, "%s", v->fault.text);
    return v;
}

static void unload(vocabulary *v) {
    hyp_gguf_deinit(&v->gguf);
    hyp_arena_deinit(&v->arena);
    free(v->file);
    free(v);
    CHECK(budget.used_bytes == 0);
}

// A file with a vocabulary alone.
typedef struct image {
    uint8_t *data;
    size_t bytes, room;
} image;
static void put(image *f, const void *data, size_t bytes) {
    if (f->bytes + bytes > f->room) f->data = realloc(f->data, f->room = 2 * (f->bytes + bytes));
    memcpy(f->data + f->bytes, data, bytes);
    f->bytes += bytes;
}
static void put_u32(image *f, uint32_t v) {
    uint8_t b[4];
    hyp_store_u32(b, v);
    put(f, b, 4);
}
static void put_u64(image *f, uint64_t v) {
    uint8_t b[8];
    hyp_store_u64(b, v);
    put(f, b, 8);
}
static void put_text(image *f, const char *text) {
    put_u64(f, strlen(text));
    put(f, text, strlen(text));
}
static void put_array(image *f, const char *key, hyp_gguf_type element, uint32_t count) {
    put_text(f, key);
    put_u32(f, HYP_GGUF_ARRAY);
    put_u32(f, element);
    put_u64(f, count);
}
// Token `i` has the text and the type that `say` gives it, in 2,000 bytes; byte-level BPE without
// merges.
typedef hyp_token_type say_token(uint32_t i, char *text);
static image vocabulary_of(uint32_t count, say_token *say) {
    image f = {0}, types = {0};
    put(&f, "GGUF", 4);
    put_u32(&f, 3);
    put_u64(&f, 0);
    put_u64(&f, 4);
    put_text(&f, "tokenizer.ggml.model");
    put_u32(&f, HYP_GGUF_STRING);
    put_text(&f, "gpt2");
    put_array(&f, "tokenizer.ggml.merges", HYP_GGUF_STRING, 0);
    put_array(&f, "tokenizer.ggml.tokens", HYP_GGUF_STRING, count);
    for (uint32_t i = 0; i < count; i++) {
        char text[2000];
        put_u32(&types, say(i, text));
        put_text(&f, text);
    }
    put_array(&f, "tokenizer.ggml.token_type", HYP_GGUF_I32, count);
    put(&f, types.data, types.bytes);
    free(types.data);
    return f;
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
        bool same = out.bytes == 4 * (size_t)n &&
                    (n == 0 || memcmp(out.data, want + 4, out.bytes) == 0);
        if (!same) {
            fprintf(stderr, "%s, text %u '%.*s':\n  want", name, i, (int)length, text);
            for (uint32_t k = 0; k < n; k++)
                fprintf(stderr, " %u", hyp_load_u32(want + 4 + 4 * (size_t)k));
            fprintf(stderr, "\n  got ");
            for (size_t k = 0; k < out.bytes / 4; k++)
                fprintf(stderr, " %d", ((int32_t *)(void *)out.data)[k]);
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
    static const char *const names[] = {"gpt-2",  "llama-bpe", "qwen2",
                                        "smollm", "tekken",    "deepseek-llm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        v->tokenizer.pre = hyp_pretokenizer_named(names[i], strlen(names[i]));
        v->tokenizer.ignore_merges = v->tokenizer.pre == HYP_PRE_LLAMA3 ||
                                     v->tokenizer.pre == HYP_PRE_TEKKEN;
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
    CHECK(hyp_tokenizer_encode(&v->tokenizer, "Hello world", 11, HYP_ENCODE_ADD_SPECIAL, &out) ==
          HYP_OK);
    const int32_t *ids = (const int32_t *)(const void *)out.data;
    CHECK(out.bytes == 16 && ids[0] == 2 && ids[3] == 3);
    CHECK(hyp_tokenizer_decode(&v->tokenizer, ids, 4, false, &text) == HYP_OK && text.bytes == 11 &&
          memcmp(text.data, "hello world", 11) == 0);
    hyp_buffer_deinit(&out);
    hyp_buffer_deinit(&text);
    unload(v);
}

// Random code points of all planes: decode(encode(text)) is the text.
static void round_trips(void) {
    static const char *const files[] = {"tests/golden/tok-bpe.gguf", "tests/golden/tok-spm.gguf",
                                        "models/story.gguf"};
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
                if ((rune >= 0xD800 && rune < 0xE000) || rune == 0x2581)
                    continue; // no surrogates; SPM takes U+2581 for a space by design
                n += hyp_rune_encode(rune, text + n);
            }
            if (f < 1) v->tokenizer.pre = (hyp_pretokenizer)(round % HYP_PRE_COUNT);
            if (round % 10 == 0 && f == 0 && n)
                text[random_u32() % n] = (char)random_u32(); // bytes that are no UTF-8 survive too
            hyp_buffer out = {.budget = &budget}, back = {.budget = &budget};
            CHECK(hyp_tokenizer_encode(&v->tokenizer, text, n, 0, &out) == HYP_OK);
            CHECK(hyp_tokenizer_decode(&v->tokenizer, (const int32_t *)(const void *)out.data,
                                       (uint32_t)(out.bytes / 4), false, &back) == HYP_OK);
            CHECK_MSG(back.bytes == n && (n == 0 || memcmp(back.data, text, n) == 0),
                      "%s: '%.*s' came back as '%.*s'", files[f], (int)n, text, (int)back.bytes,
                      (const char *)back.data);
            hyp_buffer_deinit(&out);
            hyp_buffer_deinit(&back);
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
    CHECK(hyp_tokenizer_encode(t, text, strlen(text), HYP_ENCODE_PARSE_SPECIAL, &out) == HYP_OK &&
          out.bytes == 12 && ((int32_t *)(void *)out.data)[1] == end);
    out.bytes = 0;
    CHECK(hyp_tokenizer_encode(t, text, strlen(text), 0, &out) == HYP_OK &&
          out.bytes > 12); // untrusted text can not forge it
    for (size_t i = 0; i < out.bytes / 4; i++) CHECK(((int32_t *)(void *)out.data)[i] != end);
    CHECK(hyp_tokenizer_piece(t, end, false).bytes == 0 &&
          hyp_tokenizer_piece(t, end, true).bytes == 13 &&
          hyp_tokenizer_piece(t, -1, true).bytes == 0 &&
          hyp_tokenizer_piece(t, 1 << 30, true).bytes == 0);
    out.bytes = 0;
    t->add_bos = t->add_eos = true;
    CHECK(hyp_tokenizer_encode(t, "a", 1, HYP_ENCODE_ADD_SPECIAL, &out) == HYP_OK &&
          out.bytes == 12);
    hyp_buffer_deinit(&out);
    unload(v);
    v = load("tests/golden/tok-spm.gguf");
    out = (hyp_buffer){.budget = &budget};
    CHECK(hyp_tokenizer_encode(&v->tokenizer, "", 0, HYP_ENCODE_ADD_SPECIAL, &out) == HYP_OK &&
          out.bytes == 4 && *(int32_t *)(void *)out.data == 1);
    hyp_buffer_deinit(&out);
    unload(v);
}

// Half a megabyte of whatever repeats takes time in proportion, not in its square: seconds, not
// hours.
static void long_texts(void) {
    static const char *const files[] = {"tests/golden/tok-bpe.gguf", "tests/golden/tok-spm.gguf",
                                        "tests/golden/tok-wordpiece.gguf"};
    static const char *const parts[] = {
        "e",  " ",   "\xCC\x81",      "\xFF\xC3",     "7",    "hello world ", "a\xE1\xBA\xBF",
        "1 ", "!! ", "A\xE6\x96\x87", "\xE6\x96\x87", "\n  ", "   x\t",       "\xC2\xA0'"};
    for (int f = 0; f < 3; f++) {
        vocabulary *v = load(files[f]);
        size_t n = slow ? 1 << 16 : 1 << 19;
        char *text = malloc(n);
        for (int pre = 0; pre < (f == 0 ? HYP_PRE_COUNT : 1); pre++)
            for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
                if (f == 0) v->tokenizer.pre = (hyp_pretokenizer)pre;
                for (size_t i = 0; i < n; i++) text[i] = parts[k][i % strlen(parts[k])];
                hyp_buffer out = {.budget = &budget};
                CHECK(hyp_tokenizer_encode(&v->tokenizer, text, n, 0, &out) == HYP_OK);
                CHECK(out.bytes > 0 || f == 2); // in WordPiece nothing comes of spaces and marks
                hyp_buffer_deinit(&out);
            }
        hyp_buffer out = {.budget = &budget};
        CHECK(hyp_tokenizer_encode(&v->tokenizer, text, (size_t)HYP_TEXT_MAX + 1, 0, &out) ==
              HYP_E_ARGUMENT);
        hyp_buffer_deinit(&out);
        free(text);
        unload(v);
    }
}

// Special tokens that begin, contain and equal each other: the longest one at each place, the first
// of equal ones.
static hyp_token_type letters_and_specials(uint32_t i, char *text) {
    if (i < 4) {
        memcpy(text, i == 0 ? "a" : i == 1 ? "b" : i == 2 ? "c" : "d", 2);
        return HYP_TOKEN_NORMAL;
    }
    uint32_t n = 1 + random_u32() % 7;
    for (uint32_t k = 0; k < n; k++) text[k] = (char)('a' + random_u32() % (k < 3 ? 2 : 3));
    text[n] = 0;
    return random_u32() % 2 ? HYP_TOKEN_USER : HYP_TOKEN_CONTROL;
}
static void nested_special_tokens(void) {
    uint32_t matched = 0;
    for (int round = 0; round < (slow ? 20 : 300); round++) {
        image f = vocabulary_of(4 + random_u32() % 60, letters_and_specials);
        vocabulary *v;
        CHECK_MSG(attempt(&v, f.data, f.bytes, (hyp_progress){0}) == HYP_OK, "%s", v->fault.text);
        const hyp_tokenizer *t = &v->tokenizer;
        for (int k = 0; k < 20; k++) {
            char text[64];
            int32_t want[64];
            uint32_t n = random_u32() % 64, count = 0;
            int flags = k % 2 ? HYP_ENCODE_PARSE_SPECIAL : 0;
            for (uint32_t i = 0; i < n; i++) text[i] = (char)('a' + random_u32() % 10 / 4);
            for (uint32_t at = 0; at < n;) { // every token at every place
                int32_t best = -1;
                for (int32_t i = 4; i < (int32_t)t->count; i++)
                    if ((flags || t->tokens[i].type == HYP_TOKEN_USER) &&
                        t->tokens[i].bytes <= n - at &&
                        memcmp(t->tokens[i].text, text + at, t->tokens[i].bytes) == 0 &&
                        (best < 0 || t->tokens[i].bytes > t->tokens[best].bytes))
                        best = i;
                matched += best >= 0;
                want[count++] = best >= 0 ? best : text[at] - 'a';
                at += best >= 0 ? t->tokens[best].bytes : 1;
            }
            hyp_buffer out = {.budget = &budget};
            CHECK(hyp_tokenizer_encode(t, text, n, flags, &out) == HYP_OK);
            CHECK_MSG(out.bytes == count * 4 && (n == 0 || memcmp(out.data, want, out.bytes) == 0),
                      "'%.*s'", (int)n, text);
            hyp_buffer_deinit(&out);
        }
        unload(v);
    }
    CHECK(matched > 1000);
}

// Many special tokens in the order that is the worst for sorting in place: what is done between two
// calls of `report` is bounded, and so is how often it is called; any of the calls may stop the
// load.
static hyp_token_type short_and_long(uint32_t i, char *text) {
    snprintf(text, 32, i % 2 ? "<%08x" : "<%07x", i);
    return HYP_TOKEN_USER;
}
static hyp_token_type numbers(uint32_t i, char *text) {
    snprintf(text, 32, "%u", i);
    return HYP_TOKEN_NORMAL;
}
typedef struct calls {
    uint32_t made, stop_at;
} calls;
static bool count_call(void *context, uint64_t done, uint64_t total) {
    calls *c = context;
    CHECK(done <= total);
    return ++c->made != c->stop_at;
}
static void large_vocabularies(void) {
    uint32_t log = slow ? 14 : 18, count = 1u << log;
    image f = vocabulary_of(count, short_and_long);
    vocabulary *v;
    calls all = {0}, c;
    uint8_t *copy = memcpy(malloc(f.bytes), f.data, f.bytes);
    CHECK_MSG(attempt(&v, copy, f.bytes, (hyp_progress){count_call, &all}) == HYP_OK, "%s",
              v->fault.text);
    CHECK_MSG(all.made >= count / 4096 * 4 && all.made <= count / 4096 * (log + 2), "%u calls",
              all.made);
    const hyp_tokenizer *t = &v->tokenizer;
    for (uint32_t i = 1; i < count; i++) {
        const hyp_token *a = &t->tokens[t->specials[i - 1]], *b = &t->tokens[t->specials[i]];
        int order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
        CHECK(t->special_count == count && (order < 0 || (order == 0 && a->bytes < b->bytes)));
    }
    unload(v);
    for (uint32_t at = 1; at <= all.made; at += 1 + all.made / 40) {
        c = (calls){.stop_at = at};
        copy = memcpy(malloc(f.bytes), f.data, f.bytes);
        CHECK(attempt(&v, copy, f.bytes, (hyp_progress){count_call, &c}) == HYP_E_CANCELLED &&
              c.made == at);
        CHECK(strstr(v->fault.text, "stopped"));
        unload(v);
    }
    free(f.data);
    f = vocabulary_of(count, numbers); // texts that differ by little
    CHECK(attempt(&v, f.data, f.bytes, (hyp_progress){0}) == HYP_OK);
    CHECK_MSG(v->tokenizer.table_probes < 100, "%u probes", v->tokenizer.table_probes);
    for (uint32_t i = 0; i < count; i += 97) {
        char text[32];
        numbers(i, text);
        CHECK(hyp_tokenizer_find(&v->tokenizer, text, strlen(text)) == (int32_t)i);
        strcat(text, "x");
        CHECK(hyp_tokenizer_find(&v->tokenizer, text, strlen(text)) < 0);
    }
    unload(v);
}

// Texts that are chosen to stand side by side in the table would make each look-up walk through all
// of them.
static hyp_token_type colliding(uint32_t i, char *text) {
    static uint32_t k;
    k = i == 0 ? 0 : k;
    do snprintf(text, 32, "%x", k++);
    while ((hyp_hash(text, strlen(text)) & 4095) >= 64);
    return HYP_TOKEN_NORMAL;
}
static hyp_token_type long_special(uint32_t i, char *text) {
    memset(text, 'x', 1024 + i);
    text[1024 + i] = 0;
    return HYP_TOKEN_USER;
}
static void vocabularies_that_collide(void) {
    vocabulary *v;
    image f = vocabulary_of(2048, colliding);
    CHECK(attempt(&v, f.data, f.bytes, (hyp_progress){0}) == HYP_E_FORMAT &&
          strstr(v->fault.text, "collide"));
    unload(v);
    for (uint32_t count = 1; count <= 2; count++) {
        f = vocabulary_of(count, long_special);
        CHECK(attempt(&v, f.data, f.bytes, (hyp_progress){0}) ==
              (count == 1 ? HYP_OK : HYP_E_FORMAT));
        CHECK(count == 1 || strstr(v->fault.text, "1025 bytes"));
        unload(v);
    }
}

int main(void) {
    slow = getenv("HYP_SLOW");
    RUN(byte_level_bpe);
    RUN(sentencepiece);
    RUN(wordpiece);
    RUN(round_trips);
    RUN(special_tokens);
    RUN(nested_special_tokens);
    RUN(long_texts);
    RUN(large_vocabularies);
    RUN(vocabularies_that_collide);
    return finish();
}
