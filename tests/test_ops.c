// Every row of the op table, run on a tiny graph and held to its definition in double precision;
// and what a pass refuses.
#include "../src/nn/ops.h"
#include "harness.h"
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 40, ROWS = 70, CONTEXT = 90, SEQUENCES = 3 };

static rig r;
static hyp_kv_cache cache;
static hyp_sequence sequence[SEQUENCES];
static hyp_workspace w;
static float *input, *logits; // (ROWS, in_cols); (ROWS, VOCAB + HYP_GROUP)
static uint32_t in_cols, out_cols;

// ---- A graph around what is tested: embeddings go into value 0, and the hidden value comes out.
// Tensors of the test's own are added before.

static hyp_value_id begin_graph(uint32_t in, uint32_t out) {
    hyp_graph *g = &r.net.graph;
    in_cols = in;
    out_cols = out;
    rig_add(&r, "embd", 1, VOCAB, in, HYP_F32);
    rig_add(&r, "output", 1, VOCAB, out, HYP_F32);
    rig_open(&r);
    g->vocab = VOCAB;
    hyp_value_id x = hyp_graph_value(g, "x", in);
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_EMBED,
                              .out = x,
                              .in = x,
                              .matrix = hyp_graph_matrix(g, "embd", 1, VOCAB, in),
                              .scale = 1});
    return x;
}

static void end_graph(hyp_value_id hidden, uint32_t threads) {
    hyp_graph *g = &r.net.graph;
    g->hidden = hidden;
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_OUTPUT,
                              .out = hidden,
                              .in = hidden,
                              .matrix = hyp_graph_matrix(g, "output", 1, VOCAB, out_cols)});
    hyp_status status = rig_load(&r, threads);
    CHECK_MSG(!status, "%s", r.fault.text);
    CHECK(!hyp_kv_cache_init(&cache, g, HYP_KV_F16, &r.arena));
    for (int i = 0; i < SEQUENCES; i++)
        CHECK(!hyp_sequence_init(&sequence[i], &cache, &r.arena, CONTEXT));
    CHECK(!hyp_workspace_init(&w, &r.net, &r.arena, ROWS));
    input = malloc(ROWS * in_cols * sizeof *input);
    logits = malloc(ROWS * (VOCAB + HYP_GROUP) * sizeof *logits);
    CHECK(input && logits);
    fill_random(input, ROWS * in_cols);
}

static void close_graph(void) {
    hyp_pool_wait_idle(r.net.pool);
    for (int i = 0; i < SEQUENCES; i++) hyp_sequence_deinit(&sequence[i]);
    hyp_kv_cache_deinit(&cache);
    free(input);
    free(logits);
    rig_end(&r);
}

// A pass over the first `count` rows of the input, from the beginning of sequence 0.
static void pass(uint32_t count) {
    hyp_row rows[ROWS];
    hyp_sequence_trim(&sequence[0], 0);
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = hyp_row_at(&sequence[0], i, -7, false); // the embedding is given
        rows[i].embedding = input + i * in_cols;
    }
    hyp_status status = hyp_forward(&w, &(hyp_batch){.rows = rows, .count = count});
    CHECK_MSG(!status, "%s", hyp_status_name(status));
    CHECK(sequence[0].count == count && !sequence[0].computing);
}

static void check_near(const char *what, uint32_t row, uint32_t col, double got, double want,
                       double size) {
    double error = fabs(got - want);
    CHECK_MSG(error <= 2e-6 * (fabs(want) + size), "%s, row %u, column %u: %.9g, not %.9g", what,
              row, col, got, want);
}

static const float *in_row(uint32_t row) { return input + row * in_cols; }

// The columns outside from .. to - 1 are as they came.
static void check_untouched(uint32_t row, uint32_t from, uint32_t to) {
    CHECK(same_bits(hyp_hidden(&w, row), in_row(row), from));
    CHECK(same_bits(hyp_hidden(&w, row) + to, in_row(row) + to, in_cols - to));
}

// ---- The rows of the table

static void test_embed(void) {
    for (int f = 0; f < HYP_FORMATS; f++)
        for (int scaled = 0; scaled < 2; scaled++) {
            const rig_tensor *t = rig_add(&r, "tokens", 1, VOCAB, 256, (hyp_format)f);
            hyp_value_id x = begin_graph(256, 256);
            float scale = scaled ? 3.5f : 1;
            r.net.graph.ops[0].scale = scale;
            r.net.graph.ops[0].matrix = hyp_graph_matrix(&r.net.graph, "tokens", 1, VOCAB, 256);
            end_graph(x, 1);
            int32_t tokens[VOCAB];
            for (int32_t i = 0; i < VOCAB; i++) tokens[i] = (i * 7 + 3) % VOCAB;
            CHECK(!hyp_forward_tokens(&w, &sequence[0], tokens, VOCAB, NULL));
            for (uint32_t i = 0; i < VOCAB; i++)
                for (uint32_t c = 0; c < 256; c++) {
                    float want = t->values[tokens[i] * 256 + (int32_t)c] * scale;
                    check_near("embed", i, c, (double)hyp_hidden(&w, i)[c], (double)want, 0.1);
                }
            // An embedding that is given is taken as it is, whatever the token.
            pass(5);
            for (uint32_t i = 0; i < 5; i++) check_untouched(i, 0, 0);
            close_graph();
        }
}

static void check_norm(uint32_t row, uint32_t at, uint32_t n, const float *weight) {
    const float *x = in_row(row) + at, *y = hyp_hidden(&w, row) + at;
    double square = 0;
    for (uint32_t i = 0; i < n; i++) square += (double)x[i] * (double)x[i];
    double rms = sqrt(square / n + 1e-3);
    for (uint32_t i = 0; i < n; i++)
        check_near("norm", row, at + i, (double)y[i], (double)x[i] / rms * (double)weight[i], 1);
}

static void test_norm(void) {
    static const hyp_format formats[] = {HYP_F32, HYP_F16, HYP_BF16};
    for (int f = 0; f < 3; f++)
        for (int in_place = 0; in_place < 2; in_place++) {
            hyp_graph *g = &r.net.graph;
            const rig_tensor *t = rig_add(&r, "weight", 1, 1, 56, formats[f]);
            hyp_value_id x = begin_graph(56, 56), y = in_place ? x : hyp_graph_value(g, "y", 56);
            hyp_graph_add(g, (hyp_op){.kind = HYP_OP_RMS_NORM,
                                      .out = y,
                                      .in = x,
                                      .weight = hyp_graph_vector(g, "weight", 56, true),
                                      .eps = 1e-3f});
            end_graph(y, 1);
            pass(7);
            for (uint32_t i = 0; i < 7; i++) check_norm(i, 0, 56, t->values);
            close_graph();
        }
}

// x as a product with weights of that format sees it.
static void as_multiplied(hyp_format format, float *out, const float *x, uint32_t cols) {
    for (uint32_t i = 0; i < cols; i++) {
        float top = 0;
        for (uint32_t k = i / 32 * 32; k < i / 32 * 32 + 32; k++) top = fmaxf(top, fabsf(x[k]));
        float d = top / 127;
        out[i] = hyp_format_is_float(format) ? x[i] : d > 0 ? d * rintf(x[i] * (1 / d)) : 0;
    }
}

enum { PRODUCT_COLS = 512, PRODUCTS = 4 };

typedef struct product {
    hyp_format format;
    uint32_t rows, at;
} product;

static void check_products(const product *p, uint32_t count, uint32_t rows) {
    float x[PRODUCT_COLS];
    for (uint32_t t = 0; t < rows; t++)
        for (uint32_t i = 0; i < count; i++) {
            char name[] = {'m', (char)('0' + i), 0};
            const float *weights = rig_find(&r, name)->values;
            as_multiplied(p[i].format, x, in_row(t), PRODUCT_COLS);
            for (uint32_t k = 0; k < p[i].rows; k++) {
                double sum = 0, size = 0;
                for (uint32_t c = 0; c < PRODUCT_COLS; c++) {
                    double term = (double)weights[k * PRODUCT_COLS + c] * (double)x[c];
                    sum += term;
                    size += fabs(term);
                }
                check_near(hyp_formats[p[i].format].name, t, p[i].at + k,
                           (double)hyp_hidden(&w, t)[p[i].at + k], sum, size);
            }
        }
}

// Products of one input side by side, by one thread and by several: the same bits.
static void run_products(const product *p, uint32_t count) {
    static float alone[ROWS][512];
    uint32_t columns = 0, seed = random_u32();
    for (uint32_t i = 0; i < count; i++) columns = hyp_max_u32(columns, p[i].at + p[i].rows);
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        hyp_graph *g = &r.net.graph;
        seed_random(seed);
        for (uint32_t i = 0; i < count; i++)
            rig_add(&r, (char[]){'m', (char)('0' + i), 0}, 1, p[i].rows, PRODUCT_COLS, p[i].format);
        hyp_value_id x = begin_graph(PRODUCT_COLS, columns), y = hyp_graph_value(g, "y", columns);
        for (uint32_t i = 0; i < count; i++)
            hyp_graph_add(g,
                          (hyp_op){.kind = HYP_OP_MATMUL,
                                   .out = y,
                                   .in = x,
                                   .at = p[i].at,
                                   .matrix = hyp_graph_matrix(g, (char[]){'m', (char)('0' + i), 0},
                                                              1, p[i].rows, PRODUCT_COLS)});
        end_graph(y, threads);
        CHECK(!hyp_workspace_observe(&w, &r.arena));
        const uint32_t rows[] = {1, 3, ROWS};
        for (int n = 0; n < 3; n++) {
            pass(rows[n]);
            if (threads == 1) check_products(p, count, rows[n]);
        }
        for (uint32_t t = 0; t < ROWS; t++)
            for (uint32_t i = 0; i < count; i++) {
                const float *got = hyp_hidden(&w, t) + p[i].at;
                if (threads > 1) CHECK(same_bits(got, alone[t] + p[i].at, p[i].rows));
                memcpy(alone[t] + p[i].at, got, p[i].rows * sizeof *got);
            }
        for (uint32_t i = 0; i < count; i++) {
            const hyp_column_squares *s = &w.squares[g->ops[1 + i].matrix - g->matrices];
            double sum = 0; // of column 5, over the three passes
            for (int n = 0; n < 3; n++)
                for (uint32_t t = 0; t < rows[n]; t++)
                    sum += (double)in_row(t)[5] * (double)in_row(t)[5];
            CHECK(s->rows == 4 + ROWS && fabs(s->sums[5] - sum) < 1e-9);
        }
        if (threads > 1 && r.net.pool) CHECK(hyp_pool_get_stats(r.net.pool).loops > 0);
        close_graph();
    }
}

static void test_matmul(void) {
    for (int f = 0; f < HYP_FORMATS; f++)
        run_products(&(product){.format = (hyp_format)f, .rows = 89}, 1);
    for (int trial = 0; trial < 12; trial++) {
        product p[PRODUCTS];
        uint32_t count = 2 + random_u32() % (PRODUCTS - 1), at = 0;
        for (uint32_t i = 0; i < count; i++) {
            p[i] = (product){.format = (hyp_format)(random_u32() % HYP_FORMATS),
                             .rows = 8 * (1 + random_u32() % 10) << random_u32() % 2,
                             .at = at};
            at += p[i].rows + (random_u32() % 4 ? 0 : 16); // now and then with a gap
            if (random_u32() % 2) p[i].format = p[0].format;
        }
        if (at <= 512) run_products(p, count);
    }
}

static void test_bias(void) {
    hyp_graph *g = &r.net.graph;
    const rig_tensor *t = rig_add(&r, "bias", 1, 1, 24, HYP_F32);
    hyp_value_id x = begin_graph(64, 64);
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_BIAS,
                              .out = x,
                              .in = x,
                              .at = 16,
                              .bias = hyp_graph_vector(g, "bias", 24, true)});
    end_graph(x, 1);
    pass(3);
    for (uint32_t i = 0; i < 3; i++) {
        check_untouched(i, 16, 40);
        for (uint32_t c = 0; c < 24; c++)
            CHECK(hyp_hidden(&w, i)[16 + c] == in_row(i)[16 + c] + t->values[c]);
    }
    close_graph();
}

static void test_head_norm(void) {
    hyp_graph *g = &r.net.graph;
    const rig_tensor *t = rig_add(&r, "weight", 1, 1, 24, HYP_F32);
    hyp_value_id x = begin_graph(96, 96);
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_HEAD_NORM,
                              .out = x,
                              .in = x,
                              .at = 8,
                              .count = 3,
                              .head = 24,
                              .weight = hyp_graph_vector(g, "weight", 24, true),
                              .eps = 1e-3f});
    end_graph(x, 1);
    pass(3);
    for (uint32_t i = 0; i < 3; i++) {
        check_untouched(i, 8, 80);
        for (uint32_t h = 0; h < 3; h++) check_norm(i, 8 + h * 24, 24, t->values);
    }
    close_graph();
}

// One row of each of several positions; two rotations, of which the second must find its own
// angles.
static void run_rope(bool neox, uint32_t dims, bool factors, const uint32_t sections[4]) {
    enum { HEAD = 32, HEADS = 3, AT = 8, COUNT = 6 };
    hyp_graph *g = &r.net.graph;
    float divisors[HEAD / 2];
    for (uint32_t i = 0; i < HEAD / 2; i++) divisors[i] = 1 + (float)(i % 3) / 2;
    if (factors) rig_add_values(&r, "factors", 1, 1, dims / 2, HYP_F32, divisors);
    hyp_value_id x = begin_graph(AT + HEAD * HEADS + 8, AT + HEAD * HEADS + 8);
    hyp_rope rope = {.dims = dims,
                     .neox = neox,
                     .base = 1000,
                     .scale = 2,
                     .magnitude = 1.25f,
                     .factors = factors ? hyp_graph_vector(g, "factors", dims / 2, true) : NULL};
    memcpy(rope.sections, sections, sizeof rope.sections);
    (void)hyp_graph_add_rope(g, (hyp_rope){.dims = 6, .base = 100, .scale = 1, .magnitude = 1});
    hyp_op op = {.kind = HYP_OP_ROPE, .out = x, .in = x, .at = AT, .count = HEADS, .head = HEAD};
    op.rope = hyp_graph_add_rope(g, rope);
    hyp_graph_add(g, op);
    end_graph(x, 1);
    hyp_row rows[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        rows[i] = hyp_row_at(&sequence[0], i, 0, false);
        rows[i].embedding = in_row(i);
        for (uint32_t k = 0; k < HYP_POSITIONS; k++)
            rows[i].position[k] = i == 0 ? 0 : random_u32() % 3000;
    }
    CHECK(!hyp_forward(&w, &(hyp_batch){.rows = rows, .count = COUNT}));
    for (uint32_t t = 0; t < COUNT; t++) {
        check_untouched(t, AT, AT + HEADS * HEAD);
        for (uint32_t h = 0; h < HEADS; h++) {
            const float *from = in_row(t) + AT + h * HEAD, *to = hyp_hidden(&w, t) + AT + h * HEAD;
            for (uint32_t i = 0; i < dims / 2; i++) {
                uint32_t turns = 0; // whose section the pair is in
                for (uint32_t end = sections[0]; turns < 3 && sections[turns + 1] && i >= end;)
                    end += sections[++turns];
                double frequency = pow(1000, -2.0 * i / dims) /
                                   (2 * (factors ? (double)divisors[i] : 1)),
                       angle = (double)rows[t].position[turns] * frequency, c = 1.25 * cos(angle),
                       s = 1.25 * sin(angle);
                uint32_t a = neox ? i : 2 * i, b = neox ? i + dims / 2 : 2 * i + 1;
                check_near("rope", t, a, (double)to[a], (double)from[a] * c - (double)from[b] * s,
                           1);
                check_near("rope", t, b, (double)to[b], (double)from[a] * s + (double)from[b] * c,
                           1);
            }
            CHECK(same_bits(to + dims, from + dims, HEAD - dims));
        }
    }
    close_graph();
}

static void test_rope(void) {
    static const uint32_t sections[][4] = {{0}, {3, 2, 0, 0}, {4, 4, 4, 4}, {1, 1, 1, 1}};
    for (int neox = 0; neox < 2; neox++)
        for (int factors = 0; factors < 2; factors++)
            for (int s = 0; s < 4; s++) {
                run_rope(neox, 32, factors, sections[s]);
                run_rope(neox, 20, factors, sections[s]);
            }
}

static void test_attention(void) { // more of it in test_attention.c
    enum { HEADS = 4, KV_HEADS = 2, HEAD = 24, STRIDE = (HEADS + 2 * KV_HEADS) * HEAD };
    hyp_graph *g = &r.net.graph;
    hyp_value_id x = begin_graph(STRIDE, HEADS * HEAD), y = hyp_graph_value(g, "y", HEADS * HEAD);
    uint32_t kv = hyp_graph_add_kv(g, (hyp_kv_shape){.heads = KV_HEADS, .head = HEAD});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ATTENTION,
                              .out = y,
                              .in = x,
                              .attention = {.kv = kv, .heads = HEADS, .scale = 0.3f}});
    end_graph(y, 1);
    pass(20);
    static float kept[20 * STRIDE];
    for (uint32_t t = 0; t < 20; t++) as_cached(HYP_KV_F16, kept + t * STRIDE, in_row(t), STRIDE);
    for (uint32_t t = 0; t < 20; t++)
        for (uint32_t h = 0; h < HEADS; h++) {
            double want[HEAD];
            const float *keys = kept + (HEADS + h / 2) * HEAD;
            attend_plainly(want, in_row(t) + h * HEAD, keys, keys + KV_HEADS * HEAD, STRIDE, 0,
                           t + 1, HEAD, 0.3, 0);
            for (uint32_t i = 0; i < HEAD; i++)
                check_near("attention", t, h * HEAD + i, (double)hyp_hidden(&w, t)[h * HEAD + i],
                           want[i], 1);
        }
    close_graph();
}

static void test_glu(void) {
    for (int gelu = 0; gelu < 2; gelu++) {
        hyp_graph *g = &r.net.graph;
        hyp_value_id x = begin_graph(2 * 72, 2 * 72);
        hyp_graph_add(g,
                      (hyp_op){.kind = HYP_OP_GLU, .out = x, .in = x, .count = 72, .gelu = gelu});
        end_graph(x, 1);
        for (uint32_t i = 0; i < 5 * in_cols; i++) input[i] *= 9;
        pass(5);
        for (uint32_t t = 0; t < 5; t++)
            for (uint32_t i = 0; i < 72; i++) {
                double a = (double)in_row(t)[i], up = (double)in_row(t)[72 + i];
                double u = sqrt(2 / acos(-1)) * (a + 0.044715 * a * a * a);
                double want = gelu ? 0.5 * a * (1 + tanh(u)) * up : a / (1 + exp(-a)) * up;
                check_near("glu", t, i, (double)hyp_hidden(&w, t)[i], want, fabs(a * up));
            }
        close_graph();
    }
}

static void test_add(void) {
    hyp_graph *g = &r.net.graph;
    rig_add(&r, "weight", 1, 1, 40, HYP_F32);
    hyp_value_id x = begin_graph(40, 40), y = hyp_graph_value(g, "y", 40);
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_RMS_NORM,
                              .out = y,
                              .in = x,
                              .weight = hyp_graph_vector(g, "weight", 40, true)});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ADD, .out = x, .in = y});
    end_graph(x, 1);
    pass(6);
    for (uint32_t t = 0; t < 6; t++) {
        float norm[40];
        r.kernels.rms_norm(norm, in_row(t), rig_find(&r, "weight")->values, 40, 0);
        for (uint32_t i = 0; i < 40; i++) CHECK(hyp_hidden(&w, t)[i] == in_row(t)[i] + norm[i]);
    }
    close_graph();
}

static void test_output(void) {
    static const bool wanted[] = {true, false, true, true, false, false, true};
    enum { COUNT = sizeof wanted, STRIDE = VOCAB + HYP_GROUP };
    static const hyp_format formats[] = {HYP_F32, HYP_Q8_0, HYP_Q4_0};
    for (int capped = 0; capped < 2; capped++)
        for (int f = 0; f < 3; f++) {
            hyp_graph *g = &r.net.graph;
            const rig_tensor *t = rig_add(&r, "other", 1, VOCAB, 64, formats[f]);
            hyp_value_id x = begin_graph(64, 64);
            end_graph(x, 1);
            hyp_net_close(&r.net); // and again with another matrix
            g->ops[1].matrix = hyp_graph_matrix(g, "other", 1, VOCAB, 64);
            g->ops[1].cap = capped ? 2.5f : 0;
            CHECK(!hyp_net_load(&r.net, &(hyp_net_config){.threads = 1}));
            hyp_row rows[COUNT];
            for (uint32_t i = 0; i < COUNT; i++) {
                rows[i] = hyp_row_at(&sequence[0], i, 0, wanted[i]);
                rows[i].embedding = in_row(i);
            }
            CHECK(!hyp_forward(&w, &(hyp_batch){rows, COUNT, logits}));
            uint32_t at = 0;
            for (uint32_t i = 0; i < COUNT; i++) {
                if (!wanted[i]) continue;
                float seen[64];
                as_multiplied(formats[f], seen, in_row(i), 64);
                for (uint32_t k = 0; k < VOCAB; k++) {
                    double sum = 0;
                    for (uint32_t c = 0; c < 64; c++)
                        sum += (double)t->values[k * 64 + c] * (double)seen[c];
                    check_near("output", i, k, (double)logits[at * STRIDE + k],
                               capped ? 2.5 * tanh(sum / 2.5) : sum, 4);
                }
                at++;
            }
            CHECK(at == 4);
            // Those of any rows can be asked for afterwards.
            float two[2 * STRIDE];
            CHECK(!hyp_logits(&w, 2, 2, two));
            CHECK(same_bits(two, logits + STRIDE, VOCAB) &&
                  same_bits(two + STRIDE, logits + 2 * STRIDE, VOCAB));
            // A row that is no number has no logits, and the others have theirs.
            static float before[4 * STRIDE];
            memcpy(before, logits, sizeof before);
            CHECK(hyp_hidden_finite(&w, COUNT));
            input[2 * in_cols + 9] = capped ? INFINITY : NAN;
            hyp_sequence_trim(&sequence[0], 0);
            CHECK(!hyp_forward(&w, &(hyp_batch){rows, COUNT, logits}));
            CHECK(!hyp_hidden_finite(&w, COUNT) && hyp_hidden_finite(&w, 2));
            for (uint32_t k = 0; k < 4; k++)
                for (uint32_t i = 0; i < VOCAB; i++)
                    CHECK(k == 1 ? isnan(logits[STRIDE + i])
                                 : same_bits(logits + k * STRIDE + i, before + k * STRIDE + i, 1));
            close_graph();
        }
}

// ---- A pass

// Embedding, products, rotation, attention over what the sequence has, and a sum: a row's bits do
// not depend on the rows beside it.
enum { DIM = 32, HEAD = 16 };

static void small_model(uint32_t threads) {
    hyp_graph *g = &r.net.graph;
    rig_add(&r, "qkv", 1, DIM + 2 * HEAD, DIM, HYP_Q8_0);
    hyp_value_id x = begin_graph(DIM, DIM), qkv = hyp_graph_value(g, "qkv", DIM + 2 * HEAD),
                 y = hyp_graph_value(g, "y", DIM);
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_MATMUL,
                              .out = qkv,
                              .in = x,
                              .matrix = hyp_graph_matrix(g, "qkv", 1, DIM + 2 * HEAD, DIM)});
    hyp_op rope = {.kind = HYP_OP_ROPE, .out = qkv, .in = qkv, .count = 3, .head = HEAD};
    rope.rope = hyp_graph_add_rope(
        g, (hyp_rope){.dims = HEAD, .base = 10000, .scale = 1, .magnitude = 1});
    hyp_graph_add(g, rope);
    uint32_t kv = hyp_graph_add_kv(g, (hyp_kv_shape){.heads = 1, .head = HEAD});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ATTENTION,
                              .out = y,
                              .in = qkv,
                              .attention = {.kv = kv, .heads = 2, .scale = 0.25f}});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ADD, .out = x, .in = y});
    end_graph(x, threads);
}

static void batches_of_several_sequences(void) {
    enum { LENGTH = 24, STRIDE = VOCAB + HYP_GROUP };
    static float alone[SEQUENCES][LENGTH][VOCAB];
    int32_t text[SEQUENCES][LENGTH];
    small_model(1);
    for (int s = 0; s < SEQUENCES; s++)
        for (uint32_t i = 0; i < LENGTH; i++) {
            text[s][i] = (int32_t)(random_u32() % VOCAB);
            CHECK(!hyp_forward_tokens(&w, &sequence[s], &text[s][i], 1, logits));
            memcpy(alone[s][i], logits, sizeof alone[s][i]);
        }
    for (int trial = 0; trial < 60; trial++) {
        for (int s = 0; s < SEQUENCES; s++) hyp_sequence_trim(&sequence[s], 0);
        bool more = true;
        while (more) {
            hyp_row rows[ROWS];
            uint32_t n = 0, from[SEQUENCES], first = random_u32() % SEQUENCES, at = 0;
            for (uint32_t k = 0; k < SEQUENCES; k++) {
                uint32_t s = (first + k) % SEQUENCES, left = LENGTH - sequence[s].count,
                         count = left ? random_u32() % (hyp_min_u32(left, 7) + 1) : 0;
                from[s] = sequence[s].count;
                for (uint32_t i = 0; i < count; i++)
                    rows[n++] = hyp_row_at(&sequence[s], i, text[s][from[s] + i], random_u32() % 2);
            }
            if (n) CHECK(!hyp_forward(&w, &(hyp_batch){rows, n, logits}));
            for (uint32_t i = 0; i < n; i++) {
                uint32_t s = (uint32_t)(rows[i].sequence - sequence);
                if (!rows[i].logits) continue;
                CHECK(same_bits(logits + at++ * STRIDE, alone[s][rows[i].position[0]], VOCAB));
            }
            more = false;
            for (int s = 0; s < SEQUENCES; s++) more = more || sequence[s].count < LENGTH;
        }
    }
    close_graph();
}

static void refusals(void) {
    small_model(1);
    int32_t text[CONTEXT + 1] = {1, 2, 3};
    CHECK(!hyp_forward_tokens(&w, &sequence[0], text, 3, NULL));
    hyp_row rows[ROWS + 1];
    for (uint32_t i = 0; i <= ROWS; i++) rows[i] = hyp_row_at(&sequence[1], i, 1, false);
    // how many rows
    CHECK(hyp_forward(&w, &(hyp_batch){rows, 0, NULL}) == HYP_E_ARGUMENT);
    CHECK(hyp_forward(&w, &(hyp_batch){rows, ROWS + 1, NULL}) == HYP_E_ARGUMENT);
    CHECK(hyp_forward_tokens(&w, &sequence[1], text, ROWS + 1, NULL) == HYP_E_ARGUMENT);
    CHECK(hyp_forward_tokens(&w, &sequence[1], text, 0, NULL) == HYP_E_ARGUMENT);
    // tokens of another vocabulary, behind rows that are right
    static const int32_t wrong[] = {-1, VOCAB, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++) {
        rows[4].token = wrong[i];
        CHECK(hyp_forward(&w, &(hyp_batch){rows, 5, NULL}) == HYP_E_ARGUMENT);
    }
    rows[4].token = VOCAB - 1;
    // adapters
    rows[3].adapter = (const struct hyp_adapter *)(const void *)rows;
    CHECK(hyp_forward(&w, &(hyp_batch){rows, 5, NULL}) == HYP_E_UNSUPPORTED);
    rows[3].adapter = NULL;
    for (int s = 0; s < SEQUENCES; s++)
        CHECK(sequence[s].count == (s == 0 ? 3 : 0) && !sequence[s].computing);
    // a context that is full, of the second of two sequences
    CHECK(!hyp_forward(&w, &(hyp_batch){rows, 60, NULL}));
    for (uint32_t i = 0; i < 2; i++) rows[i] = hyp_row_at(&sequence[0], i, 1, false);
    for (uint32_t i = 0; i < 31; i++) rows[2 + i] = hyp_row_at(&sequence[1], i, 1, false);
    CHECK(hyp_forward(&w, &(hyp_batch){rows, 33, NULL}) == HYP_E_CONTEXT);
    CHECK(sequence[0].count == 3 && sequence[1].count == 60);
    CHECK(!hyp_forward(&w, &(hyp_batch){rows, 32, NULL}));
    CHECK(sequence[0].count == 5 && sequence[1].count == CONTEXT);
    CHECK(hyp_forward_tokens(&w, &sequence[1], text, 1, NULL) == HYP_E_CONTEXT);
    close_graph();
}

static void costs(void) {
    small_model(1);
    CHECK(!hyp_workspace_profile(&w, &r.arena));
    const hyp_graph *g = &r.net.graph;
    hyp_row rows[5];
    for (uint32_t i = 0; i < 5; i++) rows[i] = hyp_row_at(&sequence[0], i, 1, i > 2);
    CHECK(!hyp_forward(&w, &(hyp_batch){rows, 5, logits}));
    for (uint32_t i = 0; i < g->op_count; i++) {
        const hyp_op *op = &g->ops[i];
        uint64_t want = 0, bytes = 0;
        if (op->kind == HYP_OP_MATMUL || op->kind == HYP_OP_OUTPUT) {
            uint64_t count = op->kind == HYP_OP_OUTPUT ? 2 : 5;
            want = count * op->matrix->rows * op->matrix->cols;
            bytes = op->matrix->bytes;
        }
        if (op->kind == HYP_OP_ATTENTION) {
            want = 2 * 2 * HEAD * (1 + 2 + 3 + 4 + 5);
            bytes = 2 * HEAD * 2 * 5; // keys and values, in halves
        }
        CHECK_MSG(w.timings[i].macs == want && w.timings[i].bytes == bytes, "%s: %llu, %llu",
                  op->name, (unsigned long long)w.timings[i].macs,
                  (unsigned long long)w.timings[i].bytes);
    }
    close_graph();
}

int main(void) {
    static void (*const tests[HYP_OP_KINDS])(void) = {
    // of each row of the table
#define HYP_OP(kind, name) test_##name,
#include "../src/nn/ops.def"
#undef HYP_OP
    };
    for (int kind = 0; kind < HYP_OP_KINDS; kind++) {
        run_case(hyp_ops[kind].name);
        tests[kind]();
    }
    RUN(batches_of_several_sequences);
    RUN(refusals);
    RUN(costs);
    return finish();
}
