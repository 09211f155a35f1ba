// GGUF reading: sound files, and every way in which a file can lie.
#include "../src/base/bytes.h"
#include "../src/convert/convert.h"
#include "../src/gguf/gguf.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct image {
    uint8_t data[1 << 16];
    size_t bytes;
} image;

static void put_u32(image *f, uint32_t v) {
    hyp_store_u32(f->data + f->bytes, v);
    f->bytes += 4;
}
static void put_u64(image *f, uint64_t v) {
    hyp_store_u64(f->data + f->bytes, v);
    f->bytes += 8;
}
static void put_text(image *f, const char *s) {
    put_u64(f, strlen(s));
    memcpy(f->data + f->bytes, s, strlen(s));
    f->bytes += strlen(s);
}
static void key_u32(image *f, const char *k, uint32_t v) {
    put_text(f, k);
    put_u32(f, HYP_GGUF_U32);
    put_u32(f, v);
}
static void head(image *f, uint32_t version, uint64_t tensors, uint64_t kvs) {
    f->bytes = 0;
    memcpy(f->data, "GGUF", 4);
    f->bytes = 4;
    put_u32(f, version);
    put_u64(f, tensors);
    put_u64(f, kvs);
}
static void tensor(image *f, const char *name, uint64_t cols, uint64_t rows, uint32_t type,
                   uint64_t offset) {
    put_text(f, name);
    put_u32(f, 2);
    put_u64(f, cols);
    put_u64(f, rows);
    put_u32(f, type);
    put_u64(f, offset);
}
static void data(image *f, size_t bytes) {
    while (f->bytes % 32) f->data[f->bytes++] = 0;
    for (size_t i = 0; i < bytes; i++) f->data[f->bytes++] = (uint8_t)i;
}

static hyp_fault fault;
static hyp_budget budget;
static hyp_gguf gguf;

static hyp_status open_bytes(const uint8_t *bytes, size_t count) {
    static hyp_source source;
    source = hyp_source_of_memory(bytes, count);
    fault.text[0] = 0;
    return hyp_gguf_open(&gguf, &budget, &source, 1, &fault);
}
static hyp_status attempt(const image *f) {
    hyp_status status = open_bytes(f->data, f->bytes);
    hyp_gguf_deinit(&gguf);
    CHECK(budget.used_bytes == 0);
    CHECK_MSG(!status || fault.text[0], "a failure without a message");
    return status;
}

static void sample(image *f) {
    head(f, 3, 2, 7);
    put_text(f, "general.architecture");
    put_u32(f, HYP_GGUF_STRING);
    put_text(f, "llama");
    key_u32(f, "n", 77);
    put_text(f, "x");
    put_u32(f, HYP_GGUF_F32);
    put_u32(f, hyp_f32_bits(1.5f));
    put_text(f, "flag");
    put_u32(f, HYP_GGUF_BOOL);
    f->data[f->bytes++] = 1;
    put_text(f, "names");
    put_u32(f, HYP_GGUF_ARRAY);
    put_u32(f, HYP_GGUF_STRING);
    put_u64(f, 3);
    put_text(f, "a");
    put_text(f, "");
    put_text(f, "ccc");
    put_text(f, "ids");
    put_u32(f, HYP_GGUF_ARRAY);
    put_u32(f, HYP_GGUF_I32);
    put_u64(f, 2);
    put_u32(f, 5);
    put_u32(f, (uint32_t)-6);
    put_text(f, "big");
    put_u32(f, HYP_GGUF_U64);
    put_u64(f, 1ull << 40);
    tensor(f, "a.weight", 32, 2, 8, 0);
    tensor(f, "b.weight", 4, 3, 0, 96);
    data(f, 96 + 48);
}

static void a_sound_file(void) {
    static image f;
    for (uint32_t version = 2; version <= 3; version++) {
        sample(&f);
        hyp_store_u32(f.data + 4, version);
        CHECK(open_bytes(f.data, f.bytes) == HYP_OK);
        uint32_t n;
        float x;
        bool flag;
        CHECK(hyp_gguf_u32(&gguf, "n", 0, &n) == HYP_OK && n == 77 &&
              hyp_gguf_u32(&gguf, "absent", 9, &n) == HYP_OK && n == 9);
        CHECK(hyp_gguf_f32(&gguf, "x", 0, &x) == HYP_OK && x == 1.5f &&
              hyp_gguf_f32(&gguf, "n", 0, &x) == HYP_OK && x == 77);
        CHECK(hyp_gguf_bool(&gguf, "flag", false, &flag) == HYP_OK && flag &&
              hyp_gguf_bool(&gguf, "n", false, &flag) == HYP_E_FORMAT);
        CHECK(hyp_gguf_u32(&gguf, "x", 0, &n) == HYP_E_FORMAT &&
              hyp_gguf_u32(&gguf, "big", 0, &n) == HYP_E_FORMAT &&
              hyp_gguf_u32(&gguf, "names", 0, &n) == HYP_E_FORMAT);
        hyp_text arch = hyp_gguf_string(&gguf, "general.architecture"), text;
        CHECK(arch.bytes == 5 && memcmp(arch.data, "llama", 5) == 0 &&
              !hyp_gguf_string(&gguf, "n").data);
        uint64_t at = 0;
        int count = 0;
        while (hyp_gguf_next_string(&gguf, hyp_gguf_find(&gguf, "names"), &at, &text))
            count += (int)text.bytes + 10;
        CHECK(count == 34);
        CHECK(hyp_gguf_number(&gguf, hyp_gguf_find(&gguf, "ids"), 1) == -6 &&
              hyp_gguf_number(&gguf, hyp_gguf_find(&gguf, "ids"), 2) == 0);
        const hyp_gguf_tensor *t = hyp_gguf_tensor_named(&gguf, "b.weight");
        CHECK(t && t->format == HYP_F32 && t->bytes == 48 && t->dim[0] == 4 && t->dim[1] == 3 &&
              t->dim[2] == 1);
        uint8_t got[48];
        CHECK(hyp_gguf_read(&gguf, t, 0, got, 48) == HYP_OK && got[0] == 96 && got[47] == 143);
        CHECK(hyp_gguf_read(&gguf, t, 1, got, 48) == HYP_E_ARGUMENT);
        hyp_gguf_deinit(&gguf);
        CHECK(budget.used_bytes == 0);
    }
}

static void cut_at_every_byte(void) {
    static image f;
    sample(&f);
    size_t whole = f.bytes;
    for (f.bytes = 0; f.bytes < whole; f.bytes++)
        CHECK_MSG(attempt(&f) == HYP_E_FORMAT, "cut at %zu", f.bytes);
    f.bytes = whole;
    CHECK(attempt(&f) == HYP_OK);
}

static void every_byte_changed(void) {
    static image f;
    sample(&f);
    size_t whole = f.bytes, refused = 0;
    for (size_t at = 0; at < whole; at++)
        for (int bit = 0; bit < 8; bit++) {
            f.data[at] ^= (uint8_t)(1 << bit);
            refused += attempt(&f) != HYP_OK;
            f.data[at] ^= (uint8_t)(1 << bit);
        }
    CHECK(refused > 500 && attempt(&f) == HYP_OK);
}

static void lies(void) {
    static image f;
    const uint64_t huge[] = {1ull << 17, 1ull << 32,     1ull << 60,
                             UINT64_MAX, UINT64_MAX - 7, INT64_MAX};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        head(&f, 3, huge[i], 0);
        data(&f, 64);
        CHECK(attempt(&f) == HYP_E_FORMAT);
        head(&f, 3, 0, huge[i]);
        data(&f, 64);
        CHECK(attempt(&f) == HYP_E_FORMAT);
        head(&f, 3, 0, 1);
        put_u64(&f, huge[i]);
        data(&f, 64);
        CHECK(attempt(&f) == HYP_E_FORMAT); // key length
        head(&f, 3, 0, 1);
        put_text(&f, "s");
        put_u32(&f, HYP_GGUF_STRING);
        put_u64(&f, huge[i]);
        data(&f, 64);
        CHECK(attempt(&f) == HYP_E_FORMAT);
        for (uint32_t type = 0; type < HYP_GGUF_TYPES; type++) {
            head(&f, 3, 0, 1);
            put_text(&f, "s");
            put_u32(&f, HYP_GGUF_ARRAY);
            put_u32(&f, type);
            put_u64(&f, huge[i]);
            data(&f, 64);
            CHECK(attempt(&f) == HYP_E_FORMAT);
        }
        head(&f, 3, 1, 0);
        tensor(&f, "t", huge[i], 1, 0, 0);
        data(&f, 64);
        CHECK(attempt(&f) == HYP_E_FORMAT);
        head(&f, 3, 1, 0);
        tensor(&f, "t", 32, huge[i], 0, 0);
        data(&f, 64);
        CHECK(attempt(&f) == HYP_E_FORMAT);
        head(&f, 3, 1, 0);
        tensor(&f, "t", 1, 1, 0, huge[i] & ~31ull);
        data(&f, 64);
        CHECK(attempt(&f) == HYP_E_FORMAT);
    }
    head(&f, 3, 1, 0);
    tensor(&f, "t", 1 << 20, 1 << 20, 0, 0);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT);
    head(&f, 3, 1, 0);
    tensor(&f, "t", 0, 1, 0, 0);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT);
    head(&f, 3, 1, 0);
    tensor(&f, "t", 33, 1, 8, 0);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT && strstr(fault.text, "Q8_0"));
    head(&f, 3, 1, 0);
    tensor(&f, "t", 4, 1, 0, 1);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT && strstr(fault.text, "aligned"));
    head(&f, 3, 1, 0);
    tensor(&f, "t", 4, 1, 4, 0);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT); // a type number never given out
    head(&f, 3, 1, 0);
    tensor(&f, "t", 256, 1, 16, 0);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_OK); // IQ2_XXS: known by name, refused by the model
    head(&f, 3, 2, 0);
    tensor(&f, "t", 4, 1, 0, 0);
    tensor(&f, "t", 4, 1, 0, 32);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT && strstr(fault.text, "twice"));
    head(&f, 3, 0, 2);
    key_u32(&f, "k", 1);
    key_u32(&f, "k", 2);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT && strstr(fault.text, "twice"));
    head(&f, 3, 0, 1);
    key_u32(&f, "general.alignment", 0);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT);
    head(&f, 3, 0, 1);
    key_u32(&f, "general.alignment", 48);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT);
    head(&f, 3, 0, 1);
    put_text(&f, "s");
    put_u32(&f, 13);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT);
    head(&f, 3, 0, 1);
    put_text(&f, "s");
    put_u32(&f, HYP_GGUF_ARRAY);
    put_u32(&f, HYP_GGUF_ARRAY);
    put_u64(&f, 1);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT);
    head(&f, 1, 0, 0);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_UNSUPPORTED);
    head(&f, 3u << 24, 0, 0);
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_UNSUPPORTED && strstr(fault.text, "big-endian"));
    head(&f, 3, 0, 0);
    f.data[0] = 'g';
    data(&f, 64);
    CHECK(attempt(&f) == HYP_E_FORMAT);
    head(&f, 3, 1, 0);
    put_text(&f, "t");
    put_u32(&f, 5);
    data(&f, 256);
    CHECK(attempt(&f) == HYP_E_FORMAT && strstr(fault.text, "dimensions"));
    head(&f, 3, 1, 1);
    key_u32(&f, "general.alignment", 64);
    tensor(&f, "t", 4, 1, 0, 32);
    data(&f, 128);
    CHECK(attempt(&f) == HYP_E_FORMAT);
}

// A header that declares a gigabyte may not make the reader take one.
static void no_allocation_by_the_files_word(void) {
    static image f;
    static hyp_source source;
    head(&f, 3, 0, 1);
    put_text(&f, "s");
    put_u32(&f, HYP_GGUF_ARRAY);
    put_u32(&f, HYP_GGUF_U8);
    put_u64(&f, 1u << 30);
    data(&f, 1024);
    source = hyp_source_of_memory(f.data, f.bytes);
    hyp_budget small = {0};
    CHECK(hyp_gguf_open(&gguf, &small, &source, 1, &fault) == HYP_E_FORMAT);
    hyp_gguf_deinit(&gguf);
    CHECK_MSG(small.peak_bytes < 1 << 20, "%zu bytes", small.peak_bytes);
}

static hyp_status flaky(void *context, uint64_t offset, void *dst, size_t count) {
    const image *f = context;
    if (offset + count > f->bytes / 2) return HYP_E_IO;
    memcpy(dst, f->data + offset, count);
    return HYP_OK;
}

static void a_source_that_fails(void) {
    static image f;
    sample(&f);
    hyp_source source = {.bytes = f.bytes, .read = flaky, .context = &f};
    CHECK(hyp_gguf_open(&gguf, &budget, &source, 1, &fault) == HYP_E_IO &&
          strstr(fault.text, "reading"));
    hyp_gguf_deinit(&gguf);
    hyp_budget tight = {.limit_bytes = 8192};
    source = hyp_source_of_memory(f.data, f.bytes);
    CHECK(hyp_gguf_open(&gguf, &tight, &source, 1, &fault) == HYP_E_NOMEM);
    hyp_gguf_deinit(&gguf);
    CHECK(tight.used_bytes == 0);
}

static void shards(void) {
    static image part[2];
    for (uint32_t i = 0; i < 2; i++) {
        head(&part[i], 3, 1, 3);
        put_text(&part[i], "split.no");
        put_u32(&part[i], HYP_GGUF_U16);
        hyp_store_u16(part[i].data + part[i].bytes, (uint16_t)i);
        part[i].bytes += 2;
        key_u32(&part[i], "split.count", 2);
        key_u32(&part[i], "split.tensors.count", 2);
        tensor(&part[i], i ? "second" : "first", 4, 1, 0, 0);
        data(&part[i], 32);
        part[i].data[part[i].bytes - 32] = (uint8_t)(i + 40);
    }
    hyp_source sources[2] = {hyp_source_of_memory(part[0].data, part[0].bytes),
                             hyp_source_of_memory(part[1].data, part[1].bytes)};
    CHECK(hyp_gguf_open(&gguf, &budget, sources, 2, &fault) == HYP_OK &&
          hyp_gguf_tensor_count(&gguf) == 2);
    uint8_t byte;
    CHECK(hyp_gguf_read(&gguf, hyp_gguf_tensor_named(&gguf, "second"), 0, &byte, 1) == HYP_OK &&
          byte == 41);
    hyp_gguf_deinit(&gguf);
    CHECK(hyp_gguf_open(&gguf, &budget, sources, 1, &fault) == HYP_E_FORMAT &&
          strstr(fault.text, "2 files"));
    hyp_gguf_deinit(&gguf);
    hyp_source swapped[2] = {sources[1], sources[0]};
    CHECK(hyp_gguf_open(&gguf, &budget, swapped, 2, &fault) == HYP_E_FORMAT &&
          strstr(fault.text, "order"));
    hyp_gguf_deinit(&gguf);
    CHECK(hyp_gguf_open(&gguf, &budget, sources, 0, &fault) == HYP_E_ARGUMENT);
    hyp_gguf_deinit(&gguf);
}

static image written;
static bool append(void *context, const void *bytes, size_t count) {
    (void)context;
    if (written.bytes + count > sizeof written.data) return false;
    memcpy(written.data + written.bytes, bytes, count);
    written.bytes += count;
    return true;
}

static const hyp_writer sink = {.write = append};

static void rewriting(void) {
    static const hyp_recipe q8 = {.format = HYP_Q8_0};
    static image f;
    head(&f, 2, 2, 2);
    put_text(&f, "general.architecture");
    put_u32(&f, HYP_GGUF_STRING);
    put_text(&f, "llama");
    put_text(&f, "names");
    put_u32(&f, HYP_GGUF_ARRAY);
    put_u32(&f, HYP_GGUF_STRING);
    put_u64(&f, 2);
    put_text(&f, "a");
    put_text(&f, "bb");
    tensor(&f, "m", 64, 3, 0, 0);
    tensor(&f, "v", 5, 1, 0, 768);
    data(&f, 0);
    for (int i = 0; i < 64 * 3 + 5; i++) {
        hyp_store_u32(f.data + f.bytes, hyp_f32_bits(random_float()));
        f.bytes += 4;
    }
    CHECK(open_bytes(f.data, f.bytes) == HYP_OK);
    written.bytes = 0;
    CHECK(hyp_gguf_rewrite(&gguf, &q8, &sink) == HYP_OK);
    float want[192], got[192];
    uint8_t stored[3 * 68];
    for (int i = 0; i < 192; i++)
        want[i] = hyp_bits_f32(
            hyp_load_u32(f.data + hyp_gguf_tensor_named(&gguf, "m")->offset + 4 * (size_t)i));
    hyp_gguf_deinit(&gguf);
    CHECK(open_bytes(written.data, written.bytes) == HYP_OK && gguf.version == 3);
    const hyp_gguf_tensor *m = hyp_gguf_tensor_named(&gguf, "m"),
                          *v = hyp_gguf_tensor_named(&gguf, "v");
    CHECK(m->format == HYP_Q8_0 && v->format == HYP_F32 &&
          hyp_gguf_find(&gguf, "names")->count == 2);
    CHECK(hyp_gguf_read(&gguf, m, 0, stored, sizeof stored) == HYP_OK);
    hyp_dequantize(HYP_Q8_0, got, stored, 192);
    for (int i = 0; i < 192; i++) CHECK(got[i] - want[i] < 0.006f && want[i] - got[i] < 0.006f);
    hyp_gguf_deinit(&gguf);
    written.bytes = sizeof written.data - 100; // a full disk
    CHECK(open_bytes(f.data, f.bytes) == HYP_OK && hyp_gguf_rewrite(&gguf, &q8, &sink) == HYP_E_IO);
    hyp_gguf_deinit(&gguf);
    CHECK(budget.used_bytes == 0);
}

// Of each row the weights with the largest square times importance stay, and the file says where
// each group stands.
static void pruning(void) {
    enum { COLS = 64, ROWS = 20 };
    static image f, columns, pruned;
    head(&f, 3, 3, 1);
    put_text(&f, "general.architecture");
    put_u32(&f, HYP_GGUF_STRING);
    put_text(&f, "llama");
    tensor(&f, "blk.0.m.weight", COLS, ROWS, 0, 0);
    tensor(&f, "blk.0.v.weight", COLS, 1, 0, COLS * ROWS * 4);
    tensor(&f, "m.weight", COLS, 2, 0, COLS * (ROWS + 1) * 4);
    data(&f, 0);
    for (int i = 0; i < COLS * (ROWS + 3); i++) {
        hyp_store_u32(f.data + f.bytes, hyp_f32_bits(random_float() + 2));
        f.bytes += 4;
    }
    head(&columns, 3, 2, 0);
    tensor(&columns, "blk.0.m.weight.in_sum2", COLS, 1, 0, 0);
    tensor(&columns, "blk.0.m.weight.counts", 1, 1, 0, COLS * 4);
    data(&columns, 0);
    for (int c = 0; c < COLS; c++) {
        hyp_store_u32(columns.data + columns.bytes, hyp_f32_bits(c % 4 == 1 ? 4e3f : 1));
        columns.bytes += 4;
    }
    hyp_store_u32(columns.data + columns.bytes, hyp_f32_bits(2));
    columns.bytes += 32;
    hyp_source source = hyp_source_of_memory(columns.data, columns.bytes);
    static hyp_gguf importance;
    CHECK(hyp_gguf_open(&importance, &budget, &source, 1, &fault) == HYP_OK);
    for (int with = 0; with < 2; with++) {
        hyp_recipe recipe = {
            .format = HYP_Q4_0, .density = 0.25f, .imatrix = with ? &importance : NULL};
        CHECK(open_bytes(f.data, f.bytes) == HYP_OK);
        written.bytes = 0;
        CHECK_MSG(hyp_gguf_rewrite(&gguf, &recipe, &sink) == HYP_OK, "%s", fault.text);
        hyp_gguf_deinit(&gguf);
        memcpy(pruned.data, written.data, pruned.bytes = written.bytes);
        CHECK(open_bytes(pruned.data, pruned.bytes) == HYP_OK);
        const hyp_gguf_tensor *m = hyp_gguf_tensor_named(&gguf, "blk.0.m.weight");
        CHECK(m->sparse == HYP_BITMAP && m->format == HYP_Q4_0 &&
              hyp_gguf_tensor_named(&gguf, "m.weight")->format == HYP_Q4_0 &&
              !hyp_gguf_tensor_named(&gguf, "m.weight")->sparse &&
              hyp_gguf_tensor_named(&gguf, "blk.0.v.weight")->format == HYP_F32);
        CHECK(m->bytes ==
              (uint64_t)hyp_gguf_group_bytes(&gguf, m, 0) + hyp_gguf_group_bytes(&gguf, m, 1));
        // back to floats: a quarter of each row is there, of the important columns where there are
        // some
        recipe = (hyp_recipe){.format = HYP_F32};
        written.bytes = 0;
        CHECK_MSG(hyp_gguf_rewrite(&gguf, &recipe, &sink) == HYP_OK, "%s", fault.text);
        hyp_gguf_deinit(&gguf);
        CHECK(open_bytes(written.data, written.bytes) == HYP_OK && hyp_gguf_kv_count(&gguf) == 3);
        m = hyp_gguf_tensor_named(&gguf, "blk.0.m.weight");
        const uint8_t *was = f.data + f.bytes - COLS * (ROWS + 3) * 4;
        for (int r = 0; r < ROWS; r++) {
            int kept = 0;
            float least = 10, most = 0; // of what stayed, and of what went
            for (int c = 0; c < COLS; c++) {
                float now = hyp_bits_f32(
                          hyp_load_u32(written.data + m->offset + 4 * (size_t)(r * COLS + c))),
                      then = hyp_bits_f32(hyp_load_u32(was + 4 * (size_t)(r * COLS + c)));
                if (now == 0) most = then > most ? then : most;
                else {
                    kept++;
                    least = then < least ? then : least;
                    CHECK_MSG(now - then < 0.25f && then - now < 0.25f, "%g became %g",
                              (double)then, (double)now);
                    CHECK(!with || c % 4 == 1);
                }
            }
            CHECK_MSG(kept == COLS / 4 && (with || least >= most), "row %d: %d kept, %g, %g", r,
                      kept, (double)least, (double)most);
        }
        hyp_gguf_deinit(&gguf);
        // copied as it is; a directory that lies
        CHECK(open_bytes(pruned.data, pruned.bytes) == HYP_OK);
        recipe = (hyp_recipe){.format = HYP_Q8_0};
        written.bytes = 0;
        CHECK(hyp_gguf_rewrite(&gguf, &recipe, &sink) == HYP_OK && written.bytes == pruned.bytes);
        hyp_gguf_deinit(&gguf);
        uint8_t *key = pruned.data;
        while (memcmp(key, "hyperion.groups.", 16) != 0) key++;
        for (int lie = 0; lie < 4; lie++) {
            uint8_t *at = lie == 0 ? key
                                   : key + 16 + strlen("blk.0.m.weight") +
                                         (lie == 1   ? 4
                                          : lie == 2 ? 8
                                                     : 16),
                    old = *at;
            *at = lie == 2 ? 1
                           : (uint8_t)(old +
                                       5); // another key, another kind, another count, another size
            CHECK(open_bytes(pruned.data, pruned.bytes) == HYP_OK || strstr(fault.text, "sparse") ||
                  lie == 2 || lie == 1);
            if (lie == 3) {
                recipe = (hyp_recipe){.format = HYP_F16};
                written.bytes = 0;
                CHECK(hyp_gguf_rewrite(&gguf, &recipe, &sink) == HYP_E_FORMAT &&
                      strstr(fault.text, "damaged"));
            }
            hyp_gguf_deinit(&gguf);
            *at = old;
        }
    }
    hyp_gguf_deinit(&importance);
    // the importance of another model
    hyp_store_u64(columns.data + 24 + 8 + strlen("blk.0.m.weight.in_sum2") + 4, COLS / 2);
    CHECK(hyp_gguf_open(&importance, &budget, &source, 1, &fault) == HYP_OK &&
          open_bytes(f.data, f.bytes) == HYP_OK);
    CHECK(hyp_gguf_rewrite(&gguf, &(hyp_recipe){.format = HYP_Q8_0, .imatrix = &importance},
                           &sink) == HYP_E_FORMAT &&
          strstr(fault.text, "another model"));
    hyp_gguf_deinit(&gguf);
    hyp_gguf_deinit(&importance);
    CHECK(budget.used_bytes == 0);
}

// Names are found by a table: each of many, and nothing else; names that were chosen to collide in
// it are refused.
static void many_names(void) {
    static image f;
    enum { N = 500 };
    char name[32];
    head(&f, 3, N, N);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "k%u", i);
        key_u32(&f, name, i);
    }
    for (uint32_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "t%u", i);
        tensor(&f, name, 1, 1, 0, 32 * (uint64_t)i);
    }
    data(&f, 32 * N);
    CHECK_MSG(open_bytes(f.data, f.bytes) == HYP_OK, "%s", fault.text);
    CHECK(gguf.key_names.probes < 40 && gguf.tensor_names.probes < 40);
    for (uint32_t i = 0; i < 2 * N; i++) {
        uint32_t n;
        snprintf(name, sizeof name, "k%u", i);
        CHECK(hyp_gguf_u32(&gguf, name, UINT32_MAX, &n) == HYP_OK && n == (i < N ? i : UINT32_MAX));
        CHECK(!hyp_gguf_tensor_named(&gguf, name));
        snprintf(name, sizeof name, "t%u", i);
        const hyp_gguf_tensor *t = hyp_gguf_tensor_named(&gguf, name);
        CHECK(i < N ? t == hyp_gguf_tensor_at(&gguf, i) : !t);
    }
    hyp_gguf_deinit(&gguf);
    CHECK(budget.used_bytes == 0);
    for (int tensors = 0; tensors < 2; tensors++) {
        head(&f, 3, tensors ? N : 0, tensors ? 0 : N);
        for (uint32_t i = 0, k = 0; i < N; i++) {
            do snprintf(name, sizeof name, "%x", k++);
            while ((hyp_hash(name, strlen(name)) & 1023) >= 16);
            if (tensors) tensor(&f, name, 1, 1, 0, 0);
            else key_u32(&f, name, i);
        }
        data(&f, 32);
        CHECK(attempt(&f) == HYP_E_FORMAT && strstr(fault.text, "collide"));
    }
}

int main(void) {
    RUN(a_sound_file);
    RUN(many_names);
    RUN(cut_at_every_byte);
    RUN(every_byte_changed);
    RUN(lies);
    RUN(no_allocation_by_the_files_word);
    RUN(a_source_that_fails);
    RUN(shards);
    RUN(rewriting);
    RUN(pruning);
    return finish();
}
