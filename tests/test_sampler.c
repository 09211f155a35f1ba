// The sampler's stages against slow and obvious ones in double precision: which tokens are left,
// and how likely each one is.
#include "../src/base/bytes.h"
#include "../src/decode/sampler.h"
#include "../src/port.h"
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 600 }; // tokens of a vocabulary here

// ---- The reference

typedef struct choice {
    int32_t token;
    double logit, p, key;
} choice;

typedef struct reference {
    choice left[MOST];
    int count;
    bool close; // something was decided by less than single precision can tell
} reference;

static int by_logit(const void *a, const void *b) {
    const choice *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->token - y->token;
}

static int by_key(const void *a, const void *b) {
    const choice *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->token - y->token;
}

static void softmax(reference *r, double temperature) {
    double sum = 0, top = -INFINITY;
    for (int i = 0; i < r->count; i++) top = fmax(top, r->left[i].logit);
    for (int i = 0; i < r->count; i++)
        sum += r->left[i].p = exp((r->left[i].logit - top) / temperature);
    for (int i = 0; i < r->count; i++) r->left[i].p /= sum;
}

static bool near(double a, double b) { return fabs(a - b) <= 5e-5 * fmax(1, fabs(b)); }

// Keeps the first ones, in order of their keys, that make up `mass`.
static void keep_mass(reference *r, double mass) {
    qsort(r->left, (size_t)r->count, sizeof *r->left, by_key);
    double sum = 0;
    int n = 0;
    while (n < r->count && sum < mass) {
        sum += r->left[n++].p;
        r->close |= near(sum, mass);
    }
    for (int i = 0; i < r->count && n > 0; i++)
        r->close |= r->left[i].key != r->left[n - 1].key &&
                    near(r->left[i].key, r->left[n - 1].key);
    r->count = n > 0 ? n : 1;
}

static void drop_below(reference *r, double least) {
    int n = 0;
    for (int i = 0; i < r->count; i++) {
        r->close |= near(r->left[i].logit, least);
        if (r->left[i].logit >= least) r->left[n++] = r->left[i];
    }
    r->count = n;
}

// The penalties, from the last tokens said.
static void penalize(const hyp_sampling *c, const int32_t *said, int count, float *logits,
                     int vocab) {
    int last = c->penalty_last ? (int)c->penalty_last : 64;
    for (int token = 0; token < vocab; token++) {
        int times = 0;
        for (int i = count > last ? count - last : 0; i < count; i++) times += said[i] == token;
        if (!times) continue;
        double l = (double)logits[token];
        if (c->repeat_penalty != 0)
            l = l > 0 ? l / (double)c->repeat_penalty : l * (double)c->repeat_penalty;
        l -= times * (double)c->frequency_penalty + (double)c->presence_penalty;
        logits[token] = (float)l;
    }
}

// Tokens' texts, where a test has some.
static hyp_token texts[MOST];
static hyp_tokenizer tokenizer = {.tokens = texts};

static bool breaks(int32_t token) {
    if (token < 0 || (uint32_t)token >= tokenizer.count) return false;
    for (uint32_t i = 0; i < texts[token].bytes; i++)
        if (strchr("\n:\"*", texts[token].text[i])) return true;
    return false;
}

// DRY by its definition: every length at every place.
static void penalize_repeats(const hyp_sampling *c, const int32_t *said, int count, float *logits,
                             int vocab) {
    int back = c->dry_penalty_last ? (int)c->dry_penalty_last : 4096;
    int allowed = c->dry_allowed_length ? (int)c->dry_allowed_length : 2;
    double base = c->dry_base > 0 ? (double)c->dry_base : 1.75;
    int first = count > back ? count - back : 0;
    for (int token = 0; token < vocab && c->dry_multiplier > 0; token++) {
        int longest = 0;
        for (int at = first + 1; at < count; at++) {
            if (said[at] != token) continue;
            int n = 0; // tokens before `at` that are those at the end, none of which breaks
            while (at - 1 - n >= first && said[at - 1 - n] == said[count - 1 - n] &&
                   !breaks(said[count - 1 - n]))
                n++;
            longest = n > longest ? n : longest;
        }
        if (longest < allowed || breaks(token)) continue;
        logits[token] -= (float)fmin((double)c->dry_multiplier * pow(base, longest - allowed),
                                     3e38);
    }
}

// What is left of `logits` after every stage but the drawing.
static void refer(reference *r, const hyp_sampling *c, const int32_t *said, int count,
                  const float *given, int vocab) {
    float logits[MOST];
    memcpy(logits, given, (size_t)vocab * sizeof *logits);
    for (uint32_t i = 0; i < c->bias_count; i++) logits[c->bias[i].token] += c->bias[i].bias;
    penalize(c, said, count, logits, vocab);
    penalize_repeats(c, said, count, logits, vocab);
    *r = (reference){0};
    for (int i = 0; i < vocab; i++)
        if (!isnan(logits[i]))
            r->left[r->count++] = (choice){.token = i, .logit = (double)logits[i]};
    qsort(r->left, (size_t)r->count, sizeof *r->left, by_logit);
    // What has no chance at this temperature is no part of the mass that later stages divide.
    double least = r->left[0].logit - 25 * (double)c->temperature;
    if (c->xtc_probability > 0)
        least = r->left[0].logit + log(c->xtc_threshold > 0 ? (double)c->xtc_threshold : 0.1) -
                25 * fmax(1, (double)c->temperature);
    if (c->temperature > 0) drop_below(r, least);
    if (c->top_k && (int)c->top_k < r->count) {
        r->close |= near(r->left[c->top_k].logit, r->left[c->top_k - 1].logit) &&
                    r->left[c->top_k].logit != r->left[c->top_k - 1].logit;
        r->count = (int)c->top_k;
    }
    if (c->typical_p > 0 && c->typical_p < 1) {
        softmax(r, 1);
        double entropy = 0;
        for (int i = 0; i < r->count; i++)
            if (r->left[i].p > 0) entropy -= r->left[i].p * log(r->left[i].p);
        for (int i = 0; i < r->count; i++) r->left[i].key = fabs(-log(r->left[i].p) - entropy);
        keep_mass(r, (double)c->typical_p);
    }
    if (c->top_p > 0 && c->top_p < 1) {
        softmax(r, 1);
        for (int i = 0; i < r->count; i++) r->left[i].key = -r->left[i].logit;
        keep_mass(r, (double)c->top_p);
    }
    qsort(r->left, (size_t)r->count, sizeof *r->left, by_logit);
    if (c->min_p > 0) drop_below(r, r->left[0].logit + log((double)c->min_p));
    if (c->xtc_probability > 0) { // certain, where it is compared
        double threshold = c->xtc_threshold > 0 ? (double)c->xtc_threshold : 0.1;
        softmax(r, 1);
        int likely = 0;
        for (int i = 0; i < r->count; i++) {
            likely += r->left[i].p >= threshold;
            r->close |= near(log(r->left[i].p), log(threshold));
        }
        if (likely > 1 && threshold <= 0.5) {
            r->count -= likely - 1;
            memmove(r->left, r->left + likely - 1, (size_t)r->count * sizeof *r->left);
        }
    }
    softmax(r, (double)c->temperature);
}

// ---- The sampler under test

typedef struct fixture {
    hyp_budget budget;
    hyp_arena arena;
    hyp_kernels kernels;
    hyp_sampler sampler;
} fixture;

static hyp_status start(fixture *f, const hyp_sampling *config, uint32_t vocab, hyp_fault *fault) {
    memset(f, 0, sizeof *f);
    hyp_arena_init(&f->arena, &f->budget);
    hyp_kernels_scalar(&f->kernels);
    return hyp_sampler_init(&f->sampler, config, vocab, &tokenizer, &f->kernels, &f->arena, fault);
}

static void stop(fixture *f) {
    hyp_arena_deinit(&f->arena);
    CHECK(f->budget.used_bytes == 0);
}

static void random_logits(float *logits, int vocab, float spread) {
    for (int i = 0; i < vocab; i++) logits[i] = random_float() * spread;
    if (random_u32() % 3 == 0) logits[random_u32() % (uint32_t)vocab] += spread; // one that leads
    if (random_u32() % 5 == 0)
        for (int i = 1; i < vocab; i += 3) logits[i] = logits[i - 1]; // equal ones
}

static float between(float least, float most) {
    return least + (most - least) * (random_float() + 1) / 2;
}

// One choice by the sampler and by the reference; false where single precision can not tell.
static bool agree(const hyp_sampling *c, int vocab, float spread, int said_count) {
    fixture f;
    CHECK(start(&f, c, (uint32_t)vocab, NULL) == HYP_OK);
    float logits[MOST], given[MOST];
    static int32_t said[2000];
    random_logits(logits, vocab, spread);
    memcpy(given, logits, sizeof given);
    for (int i = 0; i < said_count; i++) {
        said[i] = (int32_t)(random_u32() % (uint32_t)(vocab < 20 ? vocab : 20));
        hyp_sampler_accept(&f.sampler, said[i]);
    }
    static reference r;
    refer(&r, c, said, said_count, given, vocab);
    int32_t token = hyp_sampler_choose(&f.sampler, logits);
    CHECK(token >= 0 && token < vocab);
    if (!r.close && c->temperature > 0) {
        static double p[MOST];
        memset(p, 0, sizeof p);
        const hyp_candidates *left = &f.sampler.candidates;
        for (uint32_t i = 0; i < left->count; i++) p[left->token[i]] = (double)left->p[i];
        bool there = false;
        for (int i = 0; i < r.count; i++) {
            CHECK_MSG(fabs(p[r.left[i].token] - r.left[i].p) <= 2e-5 * r.left[i].p,
                      "token %d: %g, not %g", r.left[i].token, p[r.left[i].token], r.left[i].p);
            p[r.left[i].token] = 0;
            there |= r.left[i].token == token;
        }
        for (int i = 0; i < vocab; i++) CHECK_MSG(p[i] == 0, "token %d should be gone", i);
        CHECK(there);
    }
    if (c->temperature == 0) CHECK(token == r.left[0].token || r.close);
    stop(&f);
    return !r.close;
}

// Many configs of a kind; few of them may be undecided.
static void agree_often(void (*set)(hyp_sampling *), int said_count) {
    int decided = 0, tries = 600;
    for (int i = 0; i < tries; i++) {
        hyp_sampling c = {.temperature = between(0.3f, 1.5f), .seed = random_u32()};
        set(&c);
        int vocab = 1 + (int)(random_u32() % MOST);
        decided += agree(&c, vocab, between(0.5f, 6), said_count);
    }
    CHECK_MSG(decided > tries * 3 / 4, "%d of %d decided", decided, tries);
}

static void set_nothing(hyp_sampling *c) { (void)c; }
static void set_greedy(hyp_sampling *c) { c->temperature = 0; }
static void set_top_k(hyp_sampling *c) { c->top_k = 1 + random_u32() % 700; }
static void set_top_p(hyp_sampling *c) { c->top_p = between(0.01f, 0.999f); }
static void set_min_p(hyp_sampling *c) { c->min_p = between(0.001f, 0.9f); }
static void set_typical(hyp_sampling *c) { c->typical_p = between(0.05f, 0.99f); }
static void set_penalties(hyp_sampling *c) {
    c->repeat_penalty = between(0.5f, 2);
    c->frequency_penalty = between(-1, 1);
    c->presence_penalty = between(-1, 1);
    c->penalty_last = 1 + random_u32() % 100;
}
static void set_all(hyp_sampling *c) {
    set_top_k(c);
    set_top_p(c);
    set_min_p(c);
    set_typical(c);
    set_penalties(c);
}

static void temperature_scales(void) {
    agree_often(set_nothing, 0);
    agree_often(set_greedy, 0);
}
static void top_k_keeps_the_likeliest(void) { agree_often(set_top_k, 0); }
static void top_p_keeps_the_nucleus(void) { agree_often(set_top_p, 0); }
static void min_p_drops_the_tail(void) { agree_often(set_min_p, 0); }
static void typical_p_keeps_the_expected(void) { agree_often(set_typical, 0); }
static void penalties_count_what_was_said(void) {
    agree_often(set_penalties, 0);
    agree_often(set_penalties, 37);
    agree_often(set_penalties, 500); // the ring has gone round
}
static void stages_follow_one_another(void) { agree_often(set_all, 80); }

static void set_dry(hyp_sampling *c) {
    c->dry_multiplier = between(0.1f, 2);
    if (random_u32() % 2) c->dry_base = between(1, 2);
    if (random_u32() % 2) c->dry_allowed_length = 1 + random_u32() % 5;
    if (random_u32() % 2) c->dry_penalty_last = 1 + random_u32() % 300;
}
static void set_dry_and_penalties(hyp_sampling *c) {
    set_dry(c);
    set_penalties(c);
}
static void set_xtc(hyp_sampling *c) {
    c->xtc_probability = 1;
    if (random_u32() % 4) c->xtc_threshold = between(0.001f, 0.3f);
}
static void set_xtc_and_all(hyp_sampling *c) {
    set_xtc(c);
    set_all(c);
    c->top_k = 5 + random_u32() % 100;
}

static void one_logit_each(fixture *f, const hyp_sampling *c, const char *said, float *logits) {
    CHECK(start(f, c, 26, NULL) == HYP_OK);
    for (; *said; said++) hyp_sampler_accept(&f->sampler, *said - 'a');
    for (int i = 0; i < 26; i++) logits[i] = 0;
    hyp_sampler_choose(&f->sampler, logits);
    stop(f);
}

static void dry_discourages_repetitions(void) {
    fixture f;
    float logits[26];
    // Three tokens are at the end and stood before a c, two before a y, one before a b.
    hyp_sampling c = {.dry_multiplier = 1, .dry_base = 2, .dry_allowed_length = 1};
    one_logit_each(&f, &c, "abccbcyabc", logits);
    for (int i = 0; i < 26; i++)
        CHECK(logits[i] == (i == 'c' - 'a' ? -4 : i == 'y' - 'a' ? -2 : i == 'b' - 'a' ? -1 : 0));
    c.dry_allowed_length = 3;
    one_logit_each(&f, &c, "abccbcyabc", logits);
    for (int i = 0; i < 26; i++) CHECK(logits[i] == (i == 'c' - 'a' ? -1 : 0));
    // b breaks: no repetition goes on before it, and it is spared itself
    texts[1] = (hyp_token){.text = "x:", .bytes = 2};
    tokenizer.count = 26;
    c.dry_allowed_length = 1;
    one_logit_each(&f, &c, "abccbcyabc", logits);
    for (int i = 0; i < 26; i++) CHECK(logits[i] == (i == 'c' - 'a' || i == 'y' - 'a' ? -1 : 0));
    one_logit_each(&f, &c, "cabyabcab", logits); // what ends with a breaker repeats nothing
    for (int i = 0; i < 26; i++) CHECK(logits[i] == 0);
    tokenizer.count = 0;
    // a penalty beyond every float
    c = (hyp_sampling){.dry_multiplier = 100, .dry_base = 10};
    char same[200];
    memset(same, 'a', sizeof same - 1);
    same[sizeof same - 1] = 0;
    one_logit_each(&f, &c, same, logits);
    CHECK(logits[0] < -1e38f && logits[1] == 0);

    agree_often(set_dry, 0);
    agree_often(set_dry, 1);
    agree_often(set_dry, 200);
    agree_often(set_dry_and_penalties, 500); // two stages look back, how far differs
    static const char *const said[] = {"a", "\n", "b:", "\"", "cd", "*e", "f", "g", "h", "i"};
    for (uint32_t i = 0; i < sizeof said / sizeof *said; i++)
        texts[i] = (hyp_token){.text = said[i], .bytes = (uint32_t)strlen(said[i])};
    tokenizer.count = sizeof said / sizeof *said;
    agree_often(set_dry, 300);
    tokenizer.count = 0;
}

// All of a long text is the same: what is not linear takes minutes.
static void dry_is_linear(void) {
    hyp_sampling c = {.temperature = 1, .dry_multiplier = 1, .dry_penalty_last = 65536};
    fixture f;
    CHECK(start(&f, &c, 4, NULL) == HYP_OK);
    for (int i = 0; i < 70000; i++) hyp_sampler_accept(&f.sampler, 1);
    uint64_t began = hyp_port_now_ns();
    for (int i = 0; i < 20; i++) {
        float logits[4] = {0, 1, 0, 0};
        CHECK(hyp_sampler_choose(&f.sampler, logits) != 1);
    }
    CHECK(hyp_port_now_ns() - began < 10000000000u);
    stop(&f);
}

static void xtc_excludes_the_likeliest(void) {
    agree_often(set_xtc, 0);
    agree_often(set_xtc_and_all, 60);
    // As often as it should, and only where two are likely enough.
    hyp_sampling c = {.temperature = 1, .xtc_probability = 0.3f, .xtc_threshold = 0.2f, .seed = 9};
    fixture f;
    CHECK(start(&f, &c, 3, NULL) == HYP_OK);
    int without = 0, draws = 20000;
    for (int i = 0; i < draws; i++) {
        float logits[] = {2, 1.5f, -1}; // 0.60, 0.37, 0.03
        hyp_sampler_choose(&f.sampler, logits);
        without += f.sampler.candidates.count == 2;
        for (uint32_t k = 0; k < f.sampler.candidates.count; k++)
            CHECK(f.sampler.candidates.count == 3 || f.sampler.candidates.token[k] > 0);
    }
    CHECK_MSG(fabs(without - 0.3 * draws) < 5 * sqrt(draws * 0.21), "%d", without);
    stop(&f);
    static const struct {
        float threshold, logits[3];
        uint32_t left;
    } cases[] = {{0.2f, {2, 1.5f, -1}, 2},  {0.2f, {5, 0, 0}, 3}, {0.01f, {2, 1.5f, -1}, 1},
                 {0.51f, {2, 1.9f, -9}, 3}, {0.3f, {1, 1, 1}, 1}, {0.9f, {0, 0, 0}, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        c = (hyp_sampling){
            .temperature = 1, .xtc_probability = 1, .xtc_threshold = cases[i].threshold};
        CHECK(start(&f, &c, 3, NULL) == HYP_OK);
        float logits[3];
        memcpy(logits, cases[i].logits, sizeof logits);
        hyp_sampler_choose(&f.sampler, logits);
        CHECK_MSG(f.sampler.candidates.count == cases[i].left, "case %zu: %u", i,
                  f.sampler.candidates.count);
        stop(&f);
    }
    // With the temperature at 0 the likeliest is taken all the same.
    c = (hyp_sampling){.xtc_probability = 1, .xtc_threshold = 0.1f};
    CHECK(start(&f, &c, 3, NULL) == HYP_OK);
    float logits[] = {2, 1.5f, -1};
    CHECK(hyp_sampler_choose(&f.sampler, logits) == 0);
    stop(&f);
}

static void bias_moves_tokens(void) {
    hyp_logit_bias bias[] = {{3, -1e9f}, {4, 50}, {4, -20}};
    hyp_sampling c = {.temperature = 0, .bias = bias, .bias_count = 3};
    fixture f;
    CHECK(start(&f, &c, 6, NULL) == HYP_OK);
    bias[1].bias = -50; // it was copied
    float logits[] = {1, 2, 3, 9, 2, 0};
    CHECK(hyp_sampler_choose(&f.sampler, logits) == 4);
    stop(&f);
    for (int i = 0; i < 200; i++) {
        hyp_logit_bias some[] = {{(int32_t)(random_u32() % 50), random_float() * 9},
                                 {(int32_t)(random_u32() % 50), random_float() * 9}};
        c = (hyp_sampling){.temperature = 0.9f, .bias = some, .bias_count = 2, .top_k = 30};
        agree(&c, 50, 3, 0);
    }
    hyp_fault fault;
    const hyp_logit_bias wrong[] = {{-1, 0}, {50, 0}, {1, NAN}, {1, 2e9f}, {1, -INFINITY}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        c = (hyp_sampling){.bias = &wrong[i], .bias_count = 1};
        CHECK(start(&f, &c, 50, &fault) == HYP_E_ARGUMENT && strstr(fault.text, "logit_bias"));
        stop(&f);
    }
}

// Mirostat's bound moves by what each choice has surprised.
static void mirostat_follows_its_target(void) {
    for (int i = 0; i < 100; i++) {
        hyp_sampling c = {.temperature = between(0.5f, 1.5f),
                          .mirostat_tau = between(0.5f, 6),
                          .mirostat_eta = i % 2 ? between(0.01f, 1) : 0,
                          .seed = random_u32()};
        double eta = c.mirostat_eta > 0 ? (double)c.mirostat_eta : 0.1;
        double mu = 2 * (double)c.mirostat_tau;
        int vocab = 2 + (int)(random_u32() % 500);
        fixture f;
        CHECK(start(&f, &c, (uint32_t)vocab, NULL) == HYP_OK);
        for (int step = 0; step < 50; step++) {
            float logits[MOST];
            static reference r;
            random_logits(logits, vocab, 4);
            refer(&r, &(hyp_sampling){.temperature = c.temperature}, NULL, 0, logits, vocab);
            int n = 1; // the likeliest always stays
            bool close = false;
            for (int k = 1; k < r.count; k++) {
                close |= near(-log2(r.left[k].p), mu);
                if (-log2(r.left[k].p) <= mu) r.left[n++] = r.left[k];
            }
            r.count = n;
            softmax(&r, (double)c.temperature);
            int32_t token = hyp_sampler_choose(&f.sampler, logits);
            double p = 0;
            for (int k = 0; k < n; k++)
                if (r.left[k].token == token) p = r.left[k].p;
            if (close) break;
            CHECK(p > 0 && (int)f.sampler.candidates.count == n);
            mu -= eta * (-log2(p) - (double)c.mirostat_tau);
            CHECK_MSG(fabs(mu - (double)f.sampler.mu) < 1e-4 * (step + 1), "%g, not %g",
                      (double)f.sampler.mu, mu);
        }
        stop(&f);
    }
}

// Tokens come as often as their probability says: all within five standard deviations.
static void draws_are_fair(void) {
    enum { VOCAB = 12, DRAWS = 40000 };
    hyp_sampling c = {.temperature = 0.8f, .seed = 7, .top_k = 10};
    fixture f;
    CHECK(start(&f, &c, VOCAB, NULL) == HYP_OK);
    float logits[VOCAB], given[VOCAB];
    for (int i = 0; i < VOCAB; i++) given[i] = (float)(i * 5 % VOCAB) / 3;
    static reference r;
    refer(&r, &c, NULL, 0, given, VOCAB);
    int seen[VOCAB] = {0};
    for (int i = 0; i < DRAWS; i++) {
        memcpy(logits, given, sizeof logits);
        seen[hyp_sampler_choose(&f.sampler, logits)]++;
    }
    int sum = 0;
    for (int i = 0; i < r.count; i++) {
        double p = r.left[i].p, want = p * DRAWS;
        sum += seen[r.left[i].token];
        CHECK_MSG(fabs(seen[r.left[i].token] - want) < 5 * sqrt(want * (1 - p)), "token %d",
                  r.left[i].token);
    }
    CHECK(sum == DRAWS);
    stop(&f);
}

static uint64_t tokens_by_seed(uint64_t seed, const hyp_sampling *config) {
    hyp_sampling c = *config;
    c.seed = seed;
    fixture f;
    CHECK(start(&f, &c, 300, NULL) == HYP_OK);
    uint64_t hash = 14695981039346656037u; // FNV-1a [Fowler, Noll, Vo]
    for (int step = 0; step < 200; step++) {
        float logits[300];
        uint32_t x = (uint32_t)step * 2654435761u + 12345;
        for (int i = 0; i < 300; i++) {
            x = x * 1664525 + 1013904223;
            logits[i] = (float)(x >> 8) * 0x1p-22f;
        }
        int32_t token = hyp_sampler_choose(&f.sampler, logits);
        hyp_sampler_accept(&f.sampler, token);
        hash = (hash ^ (uint64_t)token) * 1099511628211u;
    }
    stop(&f);
    return hash;
}

// The same seed means the same tokens, on every platform and in every version.
static void seeds_decide(void) {
    const hyp_sampling plain = {.temperature = 1};
    const hyp_sampling rich = {.temperature = 0.8f,
                               .top_k = 100,
                               .top_p = 0.95f,
                               .min_p = 0.02f,
                               .typical_p = 0.9f,
                               .repeat_penalty = 1.3f,
                               .frequency_penalty = 0.2f,
                               .presence_penalty = 0.1f};
    const hyp_sampling surprise = {.temperature = 1.2f, .mirostat_tau = 4};
    CHECK(tokens_by_seed(5, &rich) == tokens_by_seed(5, &rich));
    CHECK(tokens_by_seed(5, &rich) != tokens_by_seed(6, &rich));
    uint64_t hashes[] = {tokens_by_seed(1, &plain), tokens_by_seed(((uint64_t)1 << 53) - 1, &rich),
                         tokens_by_seed(3, &surprise)};
    static const uint64_t known[] = {0x2cfe7a23d9df30d, 0x4f73bc84a799be59, 0xf3e628054d2ea767};
    for (int i = 0; i < 3; i++)
        CHECK_MSG(hashes[i] == known[i], "%d: 0x%llx", i, (unsigned long long)hashes[i]);
}

// NaN is never chosen; where the largest is infinite, or all are NaN, nothing can be said.
static void odd_logits(void) {
    static const struct {
        float logits[5];
        int32_t greedy; // -1: refused
    } cases[] = {{{NAN, 1, NAN, 3, 2}, 3},
                 {{NAN, NAN, NAN, NAN, NAN}, -1},
                 {{1, INFINITY, 0, 0, 0}, -1},
                 {{-INFINITY, -INFINITY, -2, -INFINITY, NAN}, 2},
                 {{-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, -1},
                 {{3e38f, -3e38f, 3e38f, 0, 0}, 0},
                 {{0, 0, 0, 0, 0}, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const hyp_sampling configs[] = {{.temperature = 0},
                                        {.temperature = 1},
                                        {.temperature = 1e-30f},
                                        {.temperature = 1, .top_k = 2, .top_p = 0.5f},
                                        {.temperature = 1, .typical_p = 0.5f, .min_p = 0.1f},
                                        {.temperature = 1, .mirostat_tau = 1},
                                        {.temperature = 1, .xtc_probability = 1},
                                        {.temperature = 1, .dry_multiplier = 100, .dry_base = 10},
                                        {.temperature = 1, .repeat_penalty = 1e-30f}};
        for (size_t k = 0; k < sizeof configs / sizeof *configs; k++) {
            fixture f;
            CHECK(start(&f, &configs[k], 5, NULL) == HYP_OK);
            bool looks_back = configs[k].repeat_penalty > 0 || configs[k].dry_multiplier > 0;
            for (int32_t n = 0; n < 27 && looks_back; n++)
                hyp_sampler_accept(&f.sampler, n % 9 - 2);
            float logits[5];
            memcpy(logits, cases[i].logits, sizeof logits);
            int32_t token = hyp_sampler_choose(&f.sampler, logits);
            CHECK_MSG((token < 0) == (cases[i].greedy < 0), "case %zu, config %zu: %d", i, k,
                      token);
            if (token >= 0) CHECK(!isnan(cases[i].logits[token]));
            if (k == 0) CHECK(token == cases[i].greedy);
            stop(&f);
        }
    }
}

static void what_is_out_of_range_is_named(void) {
    static const struct {
        hyp_sampling config;
        const char *field;
    } cases[] = {{{.temperature = -1}, "temperature"},
                 {{.temperature = NAN}, "temperature"},
                 {{.temperature = INFINITY}, "temperature"},
                 {{.top_p = 1.5f}, "top_p"},
                 {{.min_p = 1}, "min_p"},
                 {{.typical_p = -0.5f}, "typical_p"},
                 {{.repeat_penalty = 11}, "repeat_penalty"},
                 {{.frequency_penalty = -11}, "frequency_penalty"},
                 {{.presence_penalty = NAN}, "presence_penalty"},
                 {{.penalty_last = 65537}, "penalty_last"},
                 {{.mirostat_tau = 101}, "mirostat_tau"},
                 {{.mirostat_eta = 2}, "mirostat_eta"},
                 {{.dry_multiplier = 101}, "dry_multiplier"},
                 {{.dry_base = 0.5f}, "dry_base"},
                 {{.dry_allowed_length = 65537}, "dry_allowed_length"},
                 {{.dry_penalty_last = 65537}, "dry_penalty_last"},
                 {{.xtc_probability = 1.5f}, "xtc_probability"},
                 {{.xtc_threshold = NAN}, "xtc_threshold"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        hyp_fault fault;
        CHECK(start(&f, &cases[i].config, 10, &fault) == HYP_E_ARGUMENT);
        CHECK_MSG(!strncmp(fault.text, cases[i].field, strlen(cases[i].field)), "%s", fault.text);
        stop(&f);
    }
}

// Whatever memory is missing, it is refused, and nothing is lost.
static void memory_may_be_missing(void) {
    const hyp_sampling c = {.temperature = 1, .penalty_last = 1000, .dry_multiplier = 1};
    int refused = 0;
    for (size_t limit = 1024;; limit += 4096) {
        fixture f = {.budget.limit_bytes = limit};
        hyp_arena_init(&f.arena, &f.budget);
        hyp_kernels_scalar(&f.kernels);
        hyp_status status = hyp_sampler_init(&f.sampler, &c, 5000, NULL, &f.kernels, &f.arena,
                                             NULL);
        stop(&f);
        if (status == HYP_OK) break;
        CHECK(status == HYP_E_NOMEM);
        refused++;
    }
    CHECK(refused > 3);
}

int main(void) {
    RUN(temperature_scales);
    RUN(top_k_keeps_the_likeliest);
    RUN(top_p_keeps_the_nucleus);
    RUN(min_p_drops_the_tail);
    RUN(typical_p_keeps_the_expected);
    RUN(penalties_count_what_was_said);
    RUN(stages_follow_one_another);
    RUN(dry_discourages_repetitions);
    RUN(dry_is_linear);
    RUN(xtc_excludes_the_likeliest);
    RUN(bias_moves_tokens);
    RUN(mirostat_follows_its_target);
    RUN(draws_are_fair);
    RUN(seeds_decide);
    RUN(odd_logits);
    RUN(what_is_out_of_range_is_named);
    RUN(memory_may_be_missing);
    return finish();
}
