// `test_kernels --bench [PATTERN]`: what an element costs in each slot of the kernel table, by
// tier. Everything fits into the processor's caches: this measures the kernels, not the memory.
#include "kernels_bench.h"
#include "../src/base/bytes.h"
#include "../src/port.h"
#include "harness.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 32,
    COLS = 512,
    TOKENS = 64,
    HEAD = 64,   // elements of a head
    QUERIES = 4, // rows of attention
    RESULTS = 1 << 15,
    ROUNDS = 5,
    ROUND_NS = 1000000,
    TIERS = HYP_ISA_BITS + 2,
    SLOTS = 192
};

typedef struct slot {
    char name[40];
    uint32_t kind;     // a hyp_format, hyp_sparse or hyp_kv_format; of RoPE whether it is NEOX's
    uint32_t tokens;   // of a matmul
    uint32_t elements; // that a call computes; of a matmul and of attention multiply-adds
    // Whether the tier has the slot; NULL: every tier.
    bool (*has)(const hyp_kernels *k, const struct slot *s);
    // Makes fresh inputs in the tier's layouts; NULL: the elementwise ones.
    void (*prepare)(const hyp_kernels *k, const struct slot *s);
    void (*call)(const hyp_kernels *k, const struct slot *s);
    // What a call has computed, in a form that is the same in every tier; returns how many floats.
    size_t (*results)(const hyp_kernels *k, const struct slot *s, float *out);
} slot;

static struct {
    uint8_t *weights, *packed, *acts, *keys, *values;
    float *x, *up, *turns, *y; // `turns`: cosines and sines
} work;

// ---- Weights

static void pack(const hyp_kernels *k, const slot *s) {
    hyp_format f = (hyp_format)s->kind;
    for (uint32_t r = 0; r < ROWS; r += HYP_GROUP)
        k->weights[f].pack(work.packed + r / HYP_GROUP * hyp_group_bytes(f, COLS),
                           work.weights + r * hyp_format_row_bytes(f, COLS), HYP_GROUP, COLS);
}
static void quantize_tokens(const hyp_kernels *k, uint32_t tokens) {
    size_t act = hyp_act_bytes(k, COLS);
    for (uint32_t t = 0; t < tokens; t++)
        k->quantize(work.acts + t * act, work.x + (size_t)t * COLS, COLS);
}

static void prepare_pack(const hyp_kernels *k, const slot *s) {
    (void)k;
    random_weights(work.weights, (hyp_format)s->kind, (size_t)ROWS * COLS);
}
static void prepare_unpack(const hyp_kernels *k, const slot *s) {
    prepare_pack(k, s);
    pack(k, s);
}
static void call_unpack(const hyp_kernels *k, const slot *s) {
    for (uint32_t r = 0; r < HYP_GROUP; r++)
        k->weights[s->kind].unpack(work.y + (size_t)r * COLS, work.packed, r, COLS);
}
static size_t results_unpack(const hyp_kernels *k, const slot *s, float *out) {
    call_unpack(k, s);
    memcpy(out, work.y, HYP_GROUP * COLS * sizeof *out);
    return HYP_GROUP * COLS;
}

static void prepare_matmul(const hyp_kernels *k, const slot *s) {
    prepare_unpack(k, s);
    quantize_tokens(k, s->tokens);
}
static void call_matmul(const hyp_kernels *k, const slot *s) {
    bool floats = hyp_format_is_float((hyp_format)s->kind);
    const void *x = floats ? (const void *)work.x : work.acts;
    size_t stride = floats ? COLS * sizeof *work.x : hyp_act_bytes(k, COLS);
    k->weights[s->kind].matmul(work.y, ROWS, work.packed, ROWS / HYP_GROUP, COLS, x, stride,
                               s->tokens);
}
static size_t results_matmul(const hyp_kernels *k, const slot *s, float *out) {
    (void)k;
    memcpy(out, work.y, (size_t)s->tokens * ROWS * sizeof *out);
    return (size_t)s->tokens * ROWS;
}

static bool has_sparse(const hyp_kernels *k, const slot *s) { return k->sparse[s->kind].matmul; }
static void prepare_sparse(const hyp_kernels *k, const slot *s) {
    size_t at = 0;
    sparse_weights(work.weights, (size_t)ROWS * COLS, 0.3f);
    for (uint32_t r = 0; r < ROWS; r += HYP_GROUP)
        at += hyp_sparse_encode((hyp_sparse)s->kind, work.packed + at,
                                work.weights + r * hyp_format_row_bytes(HYP_Q4_0, COLS), HYP_GROUP,
                                COLS);
    quantize_tokens(k, s->tokens);
}
static void call_sparse(const hyp_kernels *k, const slot *s) {
    k->sparse[s->kind].matmul(work.y, ROWS, work.packed, ROWS / HYP_GROUP, COLS, work.acts,
                              hyp_act_bytes(k, COLS), s->tokens);
}

// ---- Activations

static void call_quantize(const hyp_kernels *k, const slot *s) {
    (void)s;
    k->quantize(work.acts, work.x, COLS);
}
static size_t results_quantize(const hyp_kernels *k, const slot *s, float *out) {
    (void)s;
    const uint32_t blocks = COLS / HYP_BLOCK;
    const uint8_t *q = work.acts + 12 * (size_t)blocks;
    memcpy(out, work.acts, blocks * sizeof *out);
    for (uint32_t i = 0; i < 2 * blocks; i++)
        out[blocks + i] = (float)(int32_t)hyp_load_u32(work.acts + 4 * (size_t)(blocks + i));
    for (uint32_t i = 0; i < COLS; i++)
        out[3 * blocks + i] = k->act_elem_bytes == 1
                                  ? (float)(int8_t)q[i]
                                  : (float)(int16_t)hyp_load_u16(q + 2 * (size_t)i);
    return 3 * blocks + COLS;
}

// Of the slots that write over their input.
static void prepare_elements(const hyp_kernels *k, const slot *s) {
    (void)k;
    (void)s;
    memcpy(work.y, work.x, COLS * sizeof *work.y);
}
static size_t results_elements(const hyp_kernels *k, const slot *s, float *out) {
    (void)k;
    (void)s;
    memcpy(out, work.y, (COLS + 1) * sizeof *out);
    return COLS + 1;
}
static void call_rms_norm(const hyp_kernels *k, const slot *s) {
    (void)s;
    k->rms_norm(work.y, work.x, work.up, COLS, 1e-5f);
}
static void call_add(const hyp_kernels *k, const slot *s) {
    (void)s;
    k->add(work.y, work.up, COLS);
}
static void call_silu_mul(const hyp_kernels *k, const slot *s) {
    (void)s;
    k->silu_mul(work.y, work.x, work.up, COLS);
}
static void call_gelu_mul(const hyp_kernels *k, const slot *s) {
    (void)s;
    k->gelu_mul(work.y, work.x, work.up, COLS);
}
static void call_peak(const hyp_kernels *k, const slot *s) {
    (void)s;
    work.y[COLS] = k->peak(work.x, COLS);
}
static void call_exps(const hyp_kernels *k, const slot *s) {
    (void)s;
    work.y[COLS] = k->exps(work.y, COLS, 1);
}
static void call_softcap(const hyp_kernels *k, const slot *s) {
    (void)s;
    k->softcap(work.y, COLS, 30);
}
static void call_rope(const hyp_kernels *k, const slot *s) {
    k->rope(work.y, work.turns, COLS / 2, s->kind);
}

// ---- The KV cache: a whole block of one head

static void prepare_kv(const hyp_kernels *k, const slot *s) {
    memset(work.keys, 0, hyp_kv_block_bytes((hyp_kv_format)s->kind, HEAD));
    memset(work.values, 0, hyp_kv_block_bytes((hyp_kv_format)s->kind, HEAD));
    for (uint32_t i = 0; i < HYP_KV_BLOCK; i++) {
        k->kv[s->kind].store_key(work.keys, i, work.x + (size_t)i * HEAD, HEAD);
        k->kv[s->kind].store_value(work.values, i, work.x + (size_t)i * HEAD + 1, HEAD);
    }
}
static void call_store_key(const hyp_kernels *k, const slot *s) {
    k->kv[s->kind].store_key(work.keys, 5, work.up, HEAD);
}
static void call_store_value(const hyp_kernels *k, const slot *s) {
    k->kv[s->kind].store_value(work.values, 5, work.up, HEAD);
}
static size_t bytes_of(const uint8_t *block, const slot *s, float *out) {
    size_t bytes = hyp_kv_block_bytes((hyp_kv_format)s->kind, HEAD);
    for (size_t i = 0; i < bytes; i++) out[i] = block[i];
    return bytes;
}
static size_t results_keys(const hyp_kernels *k, const slot *s, float *out) {
    (void)k;
    return bytes_of(work.keys, s, out);
}
static size_t results_values(const hyp_kernels *k, const slot *s, float *out) {
    (void)k;
    return bytes_of(work.values, s, out);
}
static void call_scores(const hyp_kernels *k, const slot *s) {
    k->kv[s->kind].scores(work.y, HYP_KV_BLOCK, work.x, HEAD, QUERIES, work.keys, HYP_KV_BLOCK,
                          HEAD, 0.125f);
}
static size_t results_scores(const hyp_kernels *k, const slot *s, float *out) {
    (void)k;
    (void)s;
    memcpy(out, work.y, (size_t)QUERIES * HYP_KV_BLOCK * sizeof *out);
    return (size_t)QUERIES * HYP_KV_BLOCK;
}
static void call_mix(const hyp_kernels *k, const slot *s) {
    k->kv[s->kind].mix(work.y, HEAD, work.x, HYP_KV_BLOCK, QUERIES, work.values, HYP_KV_BLOCK,
                       HEAD);
}
static size_t results_mix(const hyp_kernels *k, const slot *s, float *out) {
    (void)k;
    (void)s;
    memcpy(out, work.y, (size_t)QUERIES * HEAD * sizeof *out);
    return (size_t)QUERIES * HEAD;
}

// ---- The list of slots

static slot slots[SLOTS];
static uint32_t slot_count;

__attribute__((format(printf, 2, 3))) static void add(slot s, const char *name, ...) {
    CHECK(slot_count < SLOTS);
    va_list args;
    va_start(args, name);
    vsnprintf(s.name, sizeof s.name, name, args);
    va_end(args);
    if (!s.prepare) s.prepare = prepare_elements;
    if (!s.results) s.results = results_elements;
    if (!s.elements) s.elements = COLS;
    slots[slot_count++] = s;
}

static void list_matmul(void) {
    static const uint32_t tokens[] = {1, 4, TOKENS};
    for (uint32_t f = 0; f < HYP_FORMATS; f++)
        for (uint32_t i = 0; i < 3; i++)
            add((slot){.kind = f,
                       .tokens = tokens[i],
                       .elements = ROWS * COLS * tokens[i],
                       .prepare = prepare_matmul,
                       .call = call_matmul,
                       .results = results_matmul},
                "matmul %s, %u token%s", hyp_formats[f].name, tokens[i], i ? "s" : "");
    for (uint32_t kind = HYP_BITMAP; kind <= HYP_CSR; kind++)
        for (uint32_t i = 0; i < 3; i++)
            add((slot){.kind = kind,
                       .tokens = tokens[i],
                       .elements = ROWS * COLS * tokens[i],
                       .has = has_sparse,
                       .prepare = prepare_sparse,
                       .call = call_sparse,
                       .results = results_matmul},
                "sparse %s, %u token%s", kind == HYP_CSR ? "CSR" : "bitmap", tokens[i],
                i ? "s" : "");
    for (uint32_t f = 0; f < HYP_FORMATS; f++) {
        add((slot){.kind = f,
                   .elements = ROWS * COLS,
                   .prepare = prepare_pack,
                   .call = pack,
                   .results = results_unpack},
            "pack %s", hyp_formats[f].name);
        add((slot){.kind = f,
                   .elements = HYP_GROUP * COLS,
                   .prepare = prepare_unpack,
                   .call = call_unpack,
                   .results = results_unpack},
            "unpack %s", hyp_formats[f].name);
    }
}

static void list_elementwise(void) {
    add((slot){.call = call_quantize, .results = results_quantize}, "quantize");
    add((slot){.call = call_rms_norm}, "rms_norm");
    add((slot){.call = call_add}, "add");
    add((slot){.call = call_silu_mul}, "silu_mul");
    add((slot){.call = call_gelu_mul}, "gelu_mul");
    add((slot){.call = call_peak}, "peak");
    add((slot){.call = call_exps}, "exps");
    add((slot){.call = call_softcap}, "softcap");
    add((slot){.call = call_rope}, "rope");
    add((slot){.call = call_rope, .kind = true}, "rope, neox");
}

static void list_kv(void) {
    for (uint32_t f = 0; f < HYP_KV_FORMATS; f++) {
        const char *name = f == HYP_KV_F16 ? "F16" : "Q8_0";
        slot s = {.kind = f, .elements = HEAD, .prepare = prepare_kv};
        s.call = call_store_key;
        s.results = results_keys;
        add(s, "kv %s store_key", name);
        s.call = call_store_value;
        s.results = results_values;
        add(s, "kv %s store_value", name);
        s.elements = QUERIES * HYP_KV_BLOCK * HEAD;
        s.call = call_scores;
        s.results = results_scores;
        add(s, "kv %s scores", name);
        s.call = call_mix;
        s.results = results_mix;
        add(s, "kv %s mix", name);
    }
}

// ---- Tiers

static const char *const isa_names[HYP_ISA_BITS] = {
    "simd128", "relaxed", "sse2", "ssse3", "avx2", "avxvnni", "avx512", "neon", "dotprod", "vbmi2"};
static hyp_kernels tiers[TIERS];
static const char *tier_names[TIERS];
static uint32_t tier_count;

// Scalar, then each tier that this machine has by itself, then, where that is another, the best.
static void list_tiers(void) {
    hyp_kernels_scalar(&tiers[0]);
    tier_names[tier_count++] = "scalar";
    for (uint32_t bit = 0; bit <= HYP_ISA_BITS; bit++) {
        hyp_kernels *k = &tiers[tier_count];
        hyp_kernels_scalar(k);
        uint32_t used = hyp_port_kernels(k, bit == HYP_ISA_BITS ? UINT32_MAX : 1u << bit);
        if (!used) continue;
        const char *name = isa_names[31 - __builtin_clz(used)];
        if (name != tier_names[tier_count - 1]) tier_names[tier_count++] = name;
    }
}

// Nanoseconds of a call: the least of a few rounds, which is what noise disturbs least.
static double measure(const hyp_kernels *k, const slot *s) {
    double least = INFINITY;
    uint32_t calls = 1;
    for (uint32_t round = 0; round < ROUNDS;) {
        uint64_t start = hyp_port_now_ns();
        for (uint32_t i = 0; i < calls; i++) s->call(k, s);
        uint64_t ns = hyp_port_now_ns() - start;
        if (ns < ROUND_NS && calls < 1u << 24) { // too short to be a round
            calls *= ns < ROUND_NS / 8 ? 8 : 2;
            continue;
        }
        double each = (double)ns / calls;
        if (each < least) least = each;
        round++;
    }
    return least;
}

static void bench_slot(const slot *s) {
    static float want[RESULTS], got[RESULTS];
    double scalar_ns = 0;
    printf("%-26s", s->name);
    for (uint32_t t = 0; t < tier_count; t++) {
        const hyp_kernels *k = &tiers[t];
        if (s->has && !s->has(k, s)) {
            printf("%18s", "-");
            continue;
        }
        seed_random(1); // the same inputs for each tier
        s->prepare(k, s);
        s->call(k, s);
        size_t n = s->results(k, s, t ? got : want);
        CHECK(n <= RESULTS);
        CHECK_MSG(!t || same_floats(want, got, n), "%s of %s", s->name, tier_names[t]);
        s->prepare(k, s);
        double ns = measure(k, s) / s->elements;
        if (!t) scalar_ns = ns;
        if (t) printf("%9.4f %7.2fx", ns, scalar_ns / ns);
        else printf("%9.4f", ns);
        fflush(stdout);
    }
    putchar('\n');
}

static void *room(size_t bytes) {
    void *p = aligned_alloc(64, hyp_round_up(bytes, 64));
    CHECK(p);
    memset(p, 0, hyp_round_up(bytes, 64));
    return p;
}

static void allocate(void) {
    work.weights = room((size_t)ROWS * COLS * 4);
    work.packed = room(ROWS / HYP_GROUP * hyp_sparse_most(COLS) + HYP_SPARSE_SLACK +
                       (size_t)ROWS * COLS * 4);
    work.acts = room((size_t)TOKENS * COLS * 4);
    work.keys = room(hyp_kv_block_bytes(HYP_KV_F16, HEAD));
    work.values = room(hyp_kv_block_bytes(HYP_KV_F16, HEAD));
    work.x = room((size_t)TOKENS * COLS * sizeof *work.x);
    work.up = room(COLS * sizeof *work.up);
    work.turns = room(COLS * sizeof *work.turns);
    work.y = room((size_t)RESULTS * sizeof *work.y);
    for (size_t i = 0; i < (size_t)TOKENS * COLS; i++) work.x[i] = random_float();
    for (uint32_t i = 0; i < COLS; i++) work.up[i] = random_float();
    for (uint32_t i = 0; i < COLS / 2; i++) {
        float angle = 3 * random_float();
        work.turns[2 * i] = cosf(angle);
        work.turns[2 * i + 1] = sinf(angle);
    }
}

int bench_kernels(const char *pattern) {
    uint32_t found = 0;
    allocate();
    list_matmul();
    list_elementwise();
    list_kv();
    list_tiers();
    printf("%-26s", "ns per element");
    for (uint32_t t = 0; t < tier_count; t++) printf(t ? "%18s" : "%9s", tier_names[t]);
    putchar('\n');
    for (uint32_t i = 0; i < slot_count; i++) {
        if (pattern && !strstr(slots[i].name, pattern)) continue;
        bench_slot(&slots[i]);
        found++;
    }
    if (found) return 0;
    fprintf(stderr, "no slot has '%s' in its name\n", pattern);
    return 1;
}
