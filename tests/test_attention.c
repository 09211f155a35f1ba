// Attention against its definition in double precision: heads that share keys, windows, caps, both
// formats of a cache, texts that end around the borders of blocks. And its bits, which are the same
// in any batch, with any threads, and after a fork.
#include "../src/nn/ops.h"
#include "harness.h"
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 300, TEXTS = 3, ROWS = 100, VOCAB = 16, IN_MOST = 1024, OUT_MOST = 512 };

typedef struct config {
    uint32_t heads, kv_heads, head, window;
    float scale, cap;
    hyp_kv_format format;
} config;

static rig r;
static hyp_kv_cache cache;
static hyp_sequence sequence[TEXTS];
static hyp_workspace w;
static uint32_t in_cols, out_cols;
static float text[TEXTS][LENGTH * IN_MOST];   // queries, keys and values of each position
static float kept[LENGTH * IN_MOST];          // one of them, as a cache keeps it
static float result[TEXTS][LENGTH][OUT_MOST]; // of the first way of computing it
static bool known[TEXTS][LENGTH];

static void open_graph(const config *c, uint32_t threads) {
    hyp_graph *g = &r.net.graph;
    in_cols = (c->heads + 2 * c->kv_heads) * c->head;
    out_cols = c->heads * c->head;
    CHECK(in_cols <= IN_MOST && out_cols <= OUT_MOST);
    rig_add(&r, "embd", 1, VOCAB, in_cols, HYP_F32);
    rig_add(&r, "output", 1, VOCAB, out_cols, HYP_F32);
    rig_open(&r);
    g->vocab = VOCAB;
    hyp_value_id x = hyp_graph_value(g, "x", in_cols);
    g->hidden = hyp_graph_value(g, "hidden", out_cols);
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_EMBED,
                              .out = x,
                              .in = x,
                              .matrix = hyp_graph_matrix(g, "embd", 1, VOCAB, in_cols),
                              .scale = 1});
    // An attention before it, so that the one that is tested is not the first in a block.
    (void)hyp_graph_add_kv(g, (hyp_kv_shape){.heads = 1, .head = 32});
    uint32_t kv = hyp_graph_add_kv(g, (hyp_kv_shape){.heads = c->kv_heads, .head = c->head});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ATTENTION,
                              .out = g->hidden,
                              .in = x,
                              .attention = {.kv = kv,
                                            .heads = c->heads,
                                            .window = c->window,
                                            .scale = c->scale,
                                            .cap = c->cap}});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_OUTPUT,
                              .out = g->hidden,
                              .in = g->hidden,
                              .matrix = hyp_graph_matrix(g, "output", 1, VOCAB, out_cols)});
    hyp_status status = rig_load(&r, threads);
    CHECK_MSG(!status, "%s", r.fault.text);
    CHECK(!hyp_kv_cache_init(&cache, g, c->format, &r.arena));
    for (int i = 0; i < TEXTS; i++)
        CHECK(!hyp_sequence_init(&sequence[i], &cache, &r.arena, LENGTH + 20));
    CHECK(!hyp_workspace_init(&w, &r.net, &r.arena, ROWS));
}

static void close_graph(void) {
    hyp_pool_wait_idle(r.net.pool);
    for (int i = 0; i < TEXTS; i++) hyp_sequence_deinit(&sequence[i]);
    hyp_kv_cache_deinit(&cache);
    rig_end(&r);
}

static const float *row_of(uint32_t t, uint32_t position) { return text[t] + position * in_cols; }

// A pass over the next count[s] positions of each sequence, of the text of its own; what comes out
// is what came out before.
static void pass(const uint32_t count[TEXTS]) {
    hyp_row rows[ROWS];
    uint32_t n = 0, from[TEXTS];
    for (uint32_t s = 0; s < TEXTS; s++) {
        from[s] = sequence[s].count;
        for (uint32_t i = 0; i < count[s]; i++) {
            rows[n] = hyp_row_at(&sequence[s], i, 0, false);
            rows[n++].embedding = row_of(s, from[s] + i);
        }
    }
    CHECK(!hyp_forward(&w, &(hyp_batch){.rows = rows, .count = n}));
    for (uint32_t s = 0, row = 0; s < TEXTS; s++)
        for (uint32_t i = 0; i < count[s]; i++, row++) {
            uint32_t position = from[s] + i;
            if (known[s][position])
                CHECK_MSG(same_bits(hyp_hidden(&w, row), result[s][position], out_cols),
                          "text %u, position %u, one of %u rows", s, position, n);
            memcpy(result[s][position], hyp_hidden(&w, row), out_cols * sizeof(float));
            known[s][position] = true;
        }
}

static void reset(void) {
    for (int s = 0; s < TEXTS; s++) hyp_sequence_trim(&sequence[s], 0);
}

static void check_against_definition(const config *c, uint32_t t) {
    uint32_t shared = c->heads / c->kv_heads;
    for (uint32_t p = 0; p < LENGTH; p++) {
        memcpy(kept + p * in_cols, row_of(t, p), in_cols * sizeof *kept);
        for (uint32_t at = c->heads * c->head; at < in_cols; at += c->head)
            as_cached(c->format, kept + p * in_cols + at, row_of(t, p) + at, c->head);
    }
    for (uint32_t p = 0; p < LENGTH; p++)
        for (uint32_t h = 0; h < c->heads; h++) {
            double want[256];
            const float *keys = kept + (c->heads + h / shared) * c->head;
            attend_plainly(want, row_of(t, p) + h * c->head, keys, keys + c->kv_heads * c->head,
                           in_cols, c->window && p + 1 > c->window ? p + 1 - c->window : 0, p + 1,
                           c->head, (double)c->scale, (double)c->cap);
            for (uint32_t i = 0; i < c->head; i++) {
                double got = (double)result[t][p][h * c->head + i];
                CHECK_MSG(fabs(got - want[i]) < 4e-6,
                          "%u of %u heads of %u, window %u, cap %g, format %d: position %u, head "
                          "%u: %.9g, not %.9g",
                          c->kv_heads, c->heads, c->head, c->window, (double)c->cap, c->format, p,
                          h, got, want[i]);
            }
        }
}

// The whole of each text, in passes of random sizes, several texts at once.
static void pass_at_random(uint32_t most) {
    reset();
    for (;;) {
        uint32_t count[TEXTS], sum = 0, first = random_u32() % TEXTS;
        memset(count, 0, sizeof count);
        for (uint32_t k = 0; k < TEXTS; k++) {
            uint32_t s = (first + k) % TEXTS, left = LENGTH - sequence[s].count;
            uint32_t n = random_u32() % 3 ? 1 + random_u32() % most : random_u32() % 2;
            count[s] = hyp_min_u32(hyp_min_u32(n, left), ROWS - sum);
            sum += count[s];
        }
        if (sum) pass(count);
        bool more = false;
        for (int s = 0; s < TEXTS; s++) more = more || sequence[s].count < LENGTH;
        if (!more) return;
    }
}

// A fork goes on with the text of another row; both are as if they had been alone.
static void pass_forked(uint32_t length) {
    static float own[LENGTH * IN_MOST];
    memcpy(own, text[1], sizeof own);
    memcpy(text[1], text[0], length * in_cols * sizeof(float));
    bool was[LENGTH];
    memcpy(was, known[1], sizeof was);
    memset(known[1], 0, sizeof known[1]);
    reset();
    const uint32_t both[TEXTS] = {5, 5}, second[TEXTS] = {0, 50};
    while (sequence[1].count + 50 <= length + 12) pass(second); // alone, for comparison
    while (sequence[1].count < length + 12) pass((uint32_t[TEXTS]){0, 1});
    reset();
    while (sequence[0].count < length)
        pass((uint32_t[TEXTS]){hyp_min_u32(50, length - sequence[0].count)});
    hyp_pool_wait_idle(r.net.pool);
    hyp_sequence_fork(&sequence[1], &sequence[0]);
    pass(both);
    pass((uint32_t[TEXTS]){0, 1});
    pass((uint32_t[TEXTS]){1});
    pass(both);
    // It writes to what it shares, and the other goes on.
    hyp_sequence_trim(&sequence[1], 0);
    hyp_pool_wait_idle(r.net.pool);
    hyp_sequence_fork(&sequence[1], &sequence[0]);
    hyp_sequence_trim(&sequence[1], length);
    pass((uint32_t[TEXTS]){0, 7});
    hyp_sequence_trim(&sequence[0], length + 3);
    pass((uint32_t[TEXTS]){4});
    memcpy(text[1], own, sizeof own);
    memset(known[1], 0, sizeof known[1]);
}

static void run_config(const config *c) {
    fill_random(text[0], (size_t)TEXTS * LENGTH * IN_MOST);
    memset(known, 0, sizeof known);
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        open_graph(c, threads);
        if (threads == 1) {
            for (uint32_t n; (n = hyp_min_u32(64, LENGTH - sequence[0].count)) > 0;)
                pass((uint32_t[TEXTS]){n});
            check_against_definition(c, 0);
            reset();
            while (sequence[0].count < LENGTH) pass((uint32_t[TEXTS]){1});
        }
        pass_at_random(3);
        pass_at_random(60);
        if (threads == 1) check_against_definition(c, 2);
        static const uint32_t lengths[] = {1, 127, 128, 129, 280};
        for (int i = 0; i < 5; i++) pass_forked(lengths[i]);
        if (r.net.pool && c->heads > 1) CHECK(hyp_pool_get_stats(r.net.pool).loops > 0);
        close_graph();
    }
}

static void plain(void) {
    run_config(&(config){.heads = 1, .kv_heads = 1, .head = 64, .scale = 0.2f});
    run_config(&(config){.heads = 3, .kv_heads = 3, .head = 40, .scale = 0.2f});
}
static void grouped(void) {
    run_config(&(config){.heads = 8, .kv_heads = 2, .head = 32, .scale = 0.5f});
    run_config(&(config){.heads = 6, .kv_heads = 1, .head = 24, .scale = 0.3f});
    run_config(&(config){.heads = 20, .kv_heads = 1, .head = 8, .scale = 1}); // more than are
                                                                              // computed at once
}
static void windows(void) {
    static const uint32_t windows[] = {1, 7, 128, 130, 299, 5000};
    for (int i = 0; i < 6; i++)
        run_config(
            &(config){.heads = 4, .kv_heads = 2, .head = 16, .window = windows[i], .scale = 0.4f});
}
static void caps(void) {
    run_config(&(config){.heads = 4, .kv_heads = 2, .head = 32, .scale = 1, .cap = 2});
    run_config(
        &(config){.heads = 2, .kv_heads = 1, .head = 32, .window = 60, .scale = 2, .cap = 5});
}
static void eight_bits(void) {
    run_config(
        &(config){.heads = 4, .kv_heads = 2, .head = 64, .scale = 0.2f, .format = HYP_KV_Q8_0});
    run_config(&(config){.heads = 6,
                         .kv_heads = 2,
                         .head = 32,
                         .window = 131,
                         .scale = 0.6f,
                         .cap = 4,
                         .format = HYP_KV_Q8_0});
}

int main(void) {
    RUN(plain);
    RUN(grouped);
    RUN(windows);
    RUN(caps);
    RUN(eight_bits);
    return finish();
}
