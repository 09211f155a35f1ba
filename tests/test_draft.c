// Drafts: prompt lookup against a slow search, and a draft model against computing the whole text
// anew for each token.
#include "../src/decode/draft.h"
#include "harness.h"
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- Prompt lookup

static bool ends_like(const int32_t *text, uint32_t count, uint32_t end, uint32_t same) {
    for (uint32_t i = 1; i <= same; i++)
        if (text[end - i] != text[count - i]) return false;
    return true;
}

// What followed the last earlier place where the last three tokens were said, or else the last two.
static uint32_t look_up_slowly(const int32_t *text, uint32_t count, uint32_t most, int32_t *draft) {
    for (uint32_t same = 3; same >= 2; same--) {
        uint32_t found = 0; // where they ended; 0: nowhere
        for (uint32_t end = same; end < count; end++)
            if (ends_like(text, count, end, same)) found = end;
        if (!found) continue;
        uint32_t n = 0;
        for (uint32_t i = found; i < count && n < most; i++) draft[n++] = text[i];
        return n;
    }
    return 0;
}

static void lookups(void) {
    enum { LENGTH = 60, MOST = 12, GUARD = 0x7E57 };
    uint32_t with = 0, without = 0;
    for (int trial = 0; trial < 30000; trial++) {
        int32_t text[LENGTH + MOST + 1], want[LENGTH];
        uint32_t count = random_u32() % (LENGTH + 1), most = random_u32() % (MOST + 1),
                 kinds = 1 + random_u32() % 12;
        for (uint32_t i = 0; i < count; i++) text[i] = (int32_t)(random_u32() % kinds);
        for (uint32_t i = count; i <= LENGTH + MOST; i++) text[i] = GUARD;
        uint32_t wanted = look_up_slowly(text, count, most, want);
        // The draft stands behind the text, as in a session.
        uint32_t got = hyp_prompt_lookup(text, count, most, text + count);
        CHECK_MSG(got == wanted, "%u tokens after a text of %u, not %u", got, count, wanted);
        CHECK(memcmp(text + count, want, got * sizeof *want) == 0);
        for (uint32_t i = count + got; i <= LENGTH + MOST; i++) CHECK(text[i] == GUARD);
        if (most) got ? with++ : without++;
    }
    CHECK(with > 1000 && without > 1000);
}

// ---- A draft model

enum { VOCAB = 24, DIM = 32, HEAD = 16, CONTEXT = 200, BATCH = 5, DRAFTED = 6 };

static rig r;
static hyp_kv_cache cache;
static hyp_draft_model draft;
static hyp_sequence other;
static hyp_workspace workspace;

static void open_model(float sure) {
    hyp_graph *g = &r.net.graph;
    float output[VOCAB * DIM];
    fill_random(output, VOCAB * DIM);
    for (int i = 0; i < VOCAB * DIM; i++) output[i] *= sure;
    rig_add(&r, "embd", 1, VOCAB, DIM, HYP_F32);
    rig_add(&r, "qkv", 1, DIM + 2 * HEAD, DIM, HYP_F32);
    rig_add_values(&r, "output", 1, VOCAB, DIM, HYP_F32, output);
    rig_open(&r);
    g->vocab = VOCAB;
    hyp_value_id x = hyp_graph_value(g, "x", DIM), qkv = hyp_graph_value(g, "qkv", DIM + 2 * HEAD),
                 y = hyp_graph_value(g, "y", DIM);
    g->hidden = x;
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_EMBED,
                              .out = x,
                              .in = x,
                              .matrix = hyp_graph_matrix(g, "embd", 1, VOCAB, DIM),
                              .scale = 1});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_MATMUL,
                              .out = qkv,
                              .in = x,
                              .matrix = hyp_graph_matrix(g, "qkv", 1, DIM + 2 * HEAD, DIM)});
    uint32_t kv = hyp_graph_add_kv(g, (hyp_kv_shape){.heads = 1, .head = HEAD});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ATTENTION,
                              .out = y,
                              .in = qkv,
                              .attention = {.kv = kv, .heads = 2, .scale = 0.3f}});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_ADD, .out = x, .in = y});
    hyp_graph_add(g, (hyp_op){.kind = HYP_OP_OUTPUT,
                              .out = x,
                              .in = x,
                              .matrix = hyp_graph_matrix(g, "output", 1, VOCAB, DIM)});
    hyp_status status = rig_load(&r, 1);
    CHECK_MSG(!status, "%s", r.fault.text);
    CHECK(!hyp_kv_cache_init(&cache, g, HYP_KV_F16, &r.arena));
    CHECK(!hyp_sequence_init(&draft.sequence, &cache, &r.arena, CONTEXT));
    CHECK(!hyp_sequence_init(&other, &cache, &r.arena, CONTEXT));
    CHECK(!hyp_workspace_init(&draft.workspace, &r.net, &r.arena, BATCH));
    CHECK(!hyp_workspace_init(&workspace, &r.net, &r.arena, CONTEXT));
}

static void close_model(void) {
    hyp_sequence_deinit(&draft.sequence);
    hyp_sequence_deinit(&other);
    hyp_kv_cache_deinit(&cache);
    rig_end(&r);
}

// The likeliest next token and its probability, from the whole text.
static int32_t next_of(const int32_t *text, uint32_t count, double *p) {
    float logits[VOCAB + HYP_GROUP];
    hyp_sequence_trim(&other, 0);
    CHECK(!hyp_forward_tokens(&workspace, &other, text, count, logits));
    int32_t best = 0;
    for (int32_t i = 1; i < VOCAB; i++)
        if (logits[i] > logits[best]) best = i;
    double sum = 0;
    for (int32_t i = 0; i < VOCAB; i++) sum += exp((double)logits[i] - (double)logits[best]);
    *p = 1 / sum;
    return best;
}

static void proposals(void) {
    uint32_t lengths[DRAFTED + 1] = {0};
    for (int model = 0; model < 12; model++) {
        open_model(0.4f + 0.1f * (float)model);
        int32_t text[CONTEXT];
        uint32_t count = 1 + random_u32() % 20;
        for (uint32_t i = 0; i < count; i++) text[i] = (int32_t)(random_u32() % VOCAB);
        while (count + DRAFTED < CONTEXT) {
            uint32_t most = random_u32() % (DRAFTED + 1), got = 99;
            int32_t *tokens = text + count;
            CHECK(!hyp_draft_propose(&draft, text, count, most, tokens, &got));
            CHECK(got <= most && draft.sequence.count >= count);
            lengths[got]++;
            for (uint32_t i = 0; i <= got && i < most; i++) {
                double p;
                int32_t want = next_of(text, count + i, &p);
                if (fabs(p - 0.5) < 1e-4) break;
                CHECK_MSG((p > 0.5) == (i < got), "token %u of %u has a chance of %g", i, got, p);
                if (i < got) CHECK(tokens[i] == want);
            }
            // The text goes on with some of it, or with something else: then the model forgets
            // what was drafted in its place.
            uint32_t use = random_u32() % (got + 1);
            count += use;
            if (use == got || random_u32() % 2) {
                text[count] = (int32_t)(random_u32() % VOCAB);
                hyp_sequence_trim(&draft.sequence, count);
                count++;
            }
        }
        close_model();
    }
    CHECK(lengths[0] > 20 && lengths[1] > 20 && lengths[DRAFTED] > 20);
}

int main(void) {
    RUN(lookups);
    RUN(proposals);
    return finish();
}
