#include "sampler.h"

#include "../base/bytes.h"
#include "../base/fmath.h"

// xoroshiro128+ [Blackman, Vigna 2018], seeded by splitmix64
static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint64_t rotate(uint64_t x, int k) { return x << k | x >> (64 - k); }

// Uniform in [0, 1), 24 bits
static float uniform(hyp_sampler *s) {
    uint64_t a = s->random[0], b = s->random[1], sum = a + b;
    b ^= a;
    s->random[0] = rotate(a, 24) ^ b ^ b << 16;
    s->random[1] = rotate(b, 37);
    return (float)(sum >> 40) * 0x1p-24f;
}

static hyp_status bad(hyp_fault *fault, const char *field, const char *range) {
    return hyp_fail(fault, HYP_E_ARGUMENT, "%s must be %s", field, range);
}

hyp_status hyp_sampler_init(hyp_sampler *s, const hyp_sampling *config, uint32_t vocab, hyp_arena *arena, hyp_fault *fault) {
    *s = (hyp_sampler){.config = *config, .vocab = vocab};
    hyp_sampling *c = &s->config;
    if (!(c->temperature >= 0 && c->temperature <= 100)) return bad(fault, "temperature", "between 0 and 100");
    if (!(c->top_p >= 0 && c->top_p <= 1)) return bad(fault, "top_p", "between 0 and 1");
    if (!(c->min_p >= 0 && c->min_p < 1)) return bad(fault, "min_p", "at least 0 and below 1");
    if (!(c->typical_p >= 0 && c->typical_p <= 1)) return bad(fault, "typical_p", "between 0 and 1");
    if (!(c->repeat_penalty >= 0 && c->repeat_penalty <= 10)) return bad(fault, "repeat_penalty", "between 0 and 10");
    if (!(c->frequency_penalty >= -10 && c->frequency_penalty <= 10)) return bad(fault, "frequency_penalty", "between -10 and 10");
    if (!(c->presence_penalty >= -10 && c->presence_penalty <= 10)) return bad(fault, "presence_penalty", "between -10 and 10");
    if (!(c->mirostat_tau >= 0 && c->mirostat_tau <= 100)) return bad(fault, "mirostat_tau", "between 0 and 100");
    if (!(c->mirostat_eta >= 0 && c->mirostat_eta <= 1)) return bad(fault, "mirostat_eta", "between 0 and 1");
    if (c->penalty_last > 1 << 16) return bad(fault, "penalty_last", "at most 65536");
    for (uint32_t i = 0; i < c->bias_count; i++)
        if (c->bias[i].token < 0 || (uint32_t)c->bias[i].token >= vocab || !(c->bias[i].bias >= -1e9f && c->bias[i].bias <= 1e9f))
            return bad(fault, "logit_bias", "given for tokens of the vocabulary, within 1e9");
    if (c->repeat_penalty == 0) c->repeat_penalty = 1;
    if (c->mirostat_eta == 0) c->mirostat_eta = 0.1f;
    if (c->penalty_last == 0) c->penalty_last = 64;
    s->candidates = hyp_arena_alloc(arena, (size_t)vocab * sizeof *s->candidates);
    s->recent = hyp_arena_alloc(arena, c->penalty_last * sizeof *s->recent);
    s->bias = hyp_arena_alloc(arena, c->bias_count * sizeof *s->bias);
    if (!s->candidates || !s->recent || !s->bias) return hyp_fail(fault, HYP_E_NOMEM, "not enough memory for the sampler");
    if (c->bias_count) memcpy(s->bias, c->bias, c->bias_count * sizeof *s->bias);
    c->bias = s->bias;
    s->mu = 2 * c->mirostat_tau;
    uint64_t seed = c->seed;
    s->random[0] = splitmix(&seed);
    s->random[1] = splitmix(&seed);
    return HYP_OK;
}

void hyp_sampler_accept(hyp_sampler *s, int32_t token) {
    s->recent[s->recent_at] = token;
    s->recent_at = (s->recent_at + 1) % s->config.penalty_last;
    if (s->recent_count < s->config.penalty_last) s->recent_count++;
}

// Repetition penalty [Keskar et al. 2019], frequency and presence penalties as OpenAI's API defines them.
static void penalize(const hyp_sampler *s, float *logits) {
    const hyp_sampling *c = &s->config;
    if (c->repeat_penalty == 1 && c->frequency_penalty == 0 && c->presence_penalty == 0) return;
    for (uint32_t i = 0; i < s->recent_count; i++) {
        int32_t token = s->recent[i];
        uint32_t count = 0;
        bool first = true;
        for (uint32_t j = 0; j < s->recent_count; j++)
            if (s->recent[j] == token) {
                if (j < i) first = false;
                count++;
            }
        if (!first || token < 0 || (uint32_t)token >= s->vocab) continue;
        float *l = &logits[token];
        *l = *l > 0 ? *l / c->repeat_penalty : *l * c->repeat_penalty;
        *l -= (float)count * c->frequency_penalty + c->presence_penalty;
    }
}

static bool better(const hyp_candidate *a, const hyp_candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

// Sifts within a heap whose root is the worst of the `n` candidates.
static void sift(hyp_candidate *heap, uint32_t n, uint32_t i) {
    hyp_candidate c = heap[i];
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && better(&heap[child], &heap[child + 1])) child++;
        if (!better(&c, &heap[child])) break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

// The best `k` of `n` to the front, in order; k <= n.
static void select_best(hyp_candidate *c, uint32_t n, uint32_t k) {
    for (uint32_t i = k / 2; i-- > 0;) sift(c, k, i);
    for (uint32_t i = k; i < n; i++)
        if (better(&c[i], &c[0])) {
            c[0] = c[i];
            sift(c, k, 0);
        }
    for (uint32_t i = k; i-- > 1;) { // worst to the back
        hyp_candidate worst = c[0];
        c[0] = c[i];
        c[i] = worst;
        sift(c, i, 0);
    }
}

static void probabilities(hyp_candidate *c, uint32_t n, float temperature) {
    float top = c[0].logit, sum = 0;
    for (uint32_t i = 1; i < n; i++) top = c[i].logit > top ? c[i].logit : top;
    for (uint32_t i = 0; i < n; i++) sum += c[i].p = hyp_expf((c[i].logit - top) / temperature);
    for (uint32_t i = 0; i < n; i++) c[i].p /= sum;
}

// Locally typical sampling [Meister et al. 2022]: the tokens whose surprise is nearest to the entropy, up to mass p. Keeps the order by logit.
static uint32_t typical(hyp_candidate *c, uint32_t n, float p) {
    float entropy = 0;
    for (uint32_t i = 0; i < n; i++)
        if (c[i].p > 0) entropy -= c[i].p * (float)hyp_log((double)c[i].p);
    float mass = 0;
    uint32_t kept = 0;
    while (kept < n && mass < p) {
        uint32_t best = kept;
        float least = __builtin_inff();
        for (uint32_t i = kept; i < n; i++) {
            if (!(c[i].p > 0)) continue;
            float d = -(float)hyp_log((double)c[i].p) - entropy;
            d = d < 0 ? -d : d;
            if (d < least) least = d, best = i;
        }
        hyp_candidate chosen = c[best];
        for (uint32_t i = best; i > kept; i--) c[i] = c[i - 1];
        c[kept++] = chosen;
        mass += chosen.p;
        if (least == __builtin_inff()) break;
    }
    select_best(c, kept, kept);
    return kept ? kept : 1;
}

static int32_t draw(hyp_sampler *s, const hyp_candidate *c, uint32_t n) {
    float sum = 0, at = 0;
    for (uint32_t i = 0; i < n; i++) sum += c[i].p;
    float r = uniform(s) * sum;
    for (uint32_t i = 0; i < n; i++)
        if (r < (at += c[i].p)) return c[i].token;
    return c[n - 1].token;
}

// Mirostat 2 [Basu et al. 2021]: drop what surprises more than mu bits, then move mu towards tau.
static int32_t mirostat(hyp_sampler *s, hyp_candidate *c, uint32_t n) {
    const double ln2 = 0.6931471805599453;
    probabilities(c, n, s->config.temperature);
    uint32_t kept = 1;
    while (kept < n && c[kept].p > 0 && -hyp_log((double)c[kept].p) / ln2 <= (double)s->mu) kept++;
    probabilities(c, kept, s->config.temperature);
    int32_t token = draw(s, c, kept);
    for (uint32_t i = 0; i < kept; i++)
        if (c[i].token == token) s->mu -= s->config.mirostat_eta * ((float)(-hyp_log((double)c[i].p) / ln2) - s->config.mirostat_tau);
    return token;
}

int32_t hyp_sampler_choose(hyp_sampler *s, float *logits) {
    const hyp_sampling *c = &s->config;
    for (uint32_t i = 0; i < c->bias_count; i++) logits[c->bias[i].token] += c->bias[i].bias;
    penalize(s, logits);
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->vocab; i++)
        if (logits[i] > logits[best] || !(logits[best] == logits[best])) best = i;
    if (c->temperature == 0) return (int32_t)best;

    // Only what has a chance is sorted: 25 temperatures below the best is a share under 1e-10 each.
    float floor = logits[best] - 25 * c->temperature;
    hyp_candidate *cand = s->candidates;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->vocab; i++)
        if (logits[i] >= floor) cand[n++] = (hyp_candidate){(int32_t)i, logits[i], 0};
    if (n == 0) return (int32_t)best;
    uint32_t k = c->top_k && c->top_k < n ? c->top_k : n;
    select_best(cand, n, k);
    n = k;
    if (c->mirostat_tau > 0) return mirostat(s, cand, n);
    if (c->typical_p > 0 && c->typical_p < 1) {
        probabilities(cand, n, 1);
        n = typical(cand, n, c->typical_p);
    }
    if (c->top_p > 0 && c->top_p < 1) {
        probabilities(cand, n, 1);
        float mass = cand[0].p;
        uint32_t kept = 1;
        while (kept < n && mass < c->top_p) mass += cand[kept++].p;
        n = kept;
    }
    if (c->min_p > 0) {
        float least = cand[0].logit + (float)hyp_log((double)c->min_p);
        uint32_t kept = 1;
        while (kept < n && cand[kept].logit >= least) kept++;
        n = kept;
    }
    probabilities(cand, n, c->temperature);
    return draw(s, cand, n);
}
