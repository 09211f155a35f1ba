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

static const hyp_option rows[] = {
#define HYP_SAMPLING_OPTION(...) HYP_OPTION_ROW(hyp_sampling, __VA_ARGS__)
#include "../hyperion/options.def"
};
const hyp_options hyp_sampling_options = {rows, sizeof rows / sizeof *rows};

hyp_status hyp_sampler_init(hyp_sampler *s, const hyp_sampling *config, uint32_t vocab,
                            const hyp_tokenizer *tokenizer, const hyp_kernels *kernels,
                            hyp_arena *arena, hyp_fault *fault) {
    *s = (hyp_sampler){
        .config = *config, .vocab = vocab, .tokenizer = tokenizer, .kernels = kernels};
    hyp_sampling *c = &s->config;
    hyp_status status = hyp_options_check(&hyp_sampling_options, c, fault);
    if (status) return status;
    hyp_options_fill(&hyp_sampling_options, c);
    for (uint32_t i = 0; i < c->bias_count; i++)
        if (c->bias[i].token < 0 || (uint32_t)c->bias[i].token >= vocab ||
            !(c->bias[i].bias >= -1e9f && c->bias[i].bias <= 1e9f))
            return hyp_fail(fault, HYP_E_ARGUMENT,
                            "logit_bias must be given for tokens of the vocabulary, within 1e9");
    if (c->repeat_penalty == 0) c->repeat_penalty = 1;
    hyp_candidates *cand = &s->candidates;
    cand->token = hyp_arena_alloc(arena, (size_t)vocab * sizeof *cand->token);
    cand->logit = hyp_arena_alloc(arena, (size_t)vocab * sizeof *cand->logit);
    cand->p = hyp_arena_alloc(arena, (size_t)vocab * sizeof *cand->p);
    cand->key = hyp_arena_alloc(arena, (size_t)vocab * sizeof *cand->key);
    bool dry = c->dry_multiplier > 0;
    s->recent_most = dry && c->dry_penalty_last > c->penalty_last ? c->dry_penalty_last
                                                                  : c->penalty_last;
    s->recent = hyp_arena_alloc(arena, s->recent_most * sizeof *s->recent);
    if (dry) s->repeats = hyp_arena_alloc(arena, c->dry_penalty_last * sizeof *s->repeats);
    s->bias = hyp_arena_alloc(arena, c->bias_count * sizeof *s->bias);
    if (!cand->token || !cand->logit || !cand->p || !cand->key || !s->recent || !s->bias ||
        (dry && !s->repeats))
        return hyp_fail(fault, HYP_E_NOMEM, "not enough memory for the sampler");
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
    s->recent_at = (s->recent_at + 1) % s->recent_most;
    if (s->recent_count < s->recent_most) s->recent_count++;
}

void hyp_sampler_forget(hyp_sampler *s) { s->recent_at = s->recent_count = 0; }

// The token that was accepted `i` tokens before the last one.
static int32_t recent(const hyp_sampler *s, uint32_t i) {
    uint32_t at = s->recent_at + s->recent_most - 1 - i;
    return s->recent[at < s->recent_most ? at : at - s->recent_most];
}

static bool finite(float x) { return x >= -HYP_F32_MOST && x <= HYP_F32_MOST; }

static bool known(const hyp_sampler *s, int32_t token) {
    return token >= 0 && (uint32_t)token < s->vocab;
}

// Repetition penalty [Keskar et al. 2019], frequency and presence penalties as OpenAI's API defines
// them.
static void penalize(const hyp_sampler *s, float *logits) {
    const hyp_sampling *c = &s->config;
    if (c->repeat_penalty == 1 && c->frequency_penalty == 0 && c->presence_penalty == 0) return;
    int32_t *counts = s->candidates.token; // by token; there are no candidates yet
    uint32_t count = hyp_min_u32(s->recent_count, c->penalty_last);
    for (uint32_t i = 0; i < count; i++)
        if (known(s, recent(s, i))) counts[recent(s, i)] = 0;
    for (uint32_t i = 0; i < count; i++)
        if (known(s, recent(s, i))) counts[recent(s, i)]++;
    for (uint32_t i = 0; i < count; i++) {
        int32_t token = recent(s, i);
        if (!known(s, token) || counts[token] == 0) continue; // it has had its penalty
        float *l = &logits[token];
        bool was_finite = finite(*l); // else it stays so, and is refused
        *l = *l > 0 ? *l / c->repeat_penalty : *l * c->repeat_penalty;
        *l -= (float)counts[token] * c->frequency_penalty + c->presence_penalty;
        if (was_finite && *l > HYP_F32_MOST) *l = HYP_F32_MOST; // divided by next to nothing
        counts[token] = 0;
    }
}

// Does a repetition end at this token?
static bool breaks(const hyp_sampler *s, int32_t token) {
    if (!s->tokenizer) return false;
    hyp_text text = hyp_tokenizer_piece(s->tokenizer, token, true);
    for (size_t i = 0; i < text.bytes; i++)
        if (text.data[i] == '\n' || text.data[i] == ':' || text.data[i] == '"' ||
            text.data[i] == '*')
            return true;
    return false;
}

// Of each place among the last `n` tokens, counted from the end: how many tokens, from there
// backwards, are those at the end. The Z-algorithm [Main, Lorentz 1984; Gusfield 1997] over the
// text reversed, in linear time.
static void find_repeats(const hyp_sampler *s, uint32_t n) {
    uint32_t left = 0, right = 0; // the stretch that is known to repeat, and reaches furthest
    for (uint32_t k = 1; k < n; k++) {
        uint32_t same = k < right ? hyp_min_u32(right - k, s->repeats[k - left]) : 0;
        while (k + same < n && recent(s, same) == recent(s, k + same)) same++;
        s->repeats[k] = same;
        if (k + same <= right) continue;
        left = k;
        right = k + same;
    }
}

// DRY, "don't repeat yourself" [p-e-w, text-generation-webui pull request 5677, 2024], as llama.cpp
// has it: where the last n tokens stand earlier in the text, n being at most those since a breaker
// and at least dry_allowed_length, what followed them there loses multiplier * base^(n - allowed).
// Of several such places the longest counts; breakers themselves are spared.
static void penalize_repeats(const hyp_sampler *s, float *logits) {
    const hyp_sampling *c = &s->config;
    if (c->dry_multiplier == 0) return;
    uint32_t n = hyp_min_u32(s->recent_count, c->dry_penalty_last), most = 0;
    while (most < n && !breaks(s, recent(s, most))) most++;
    if (n <= c->dry_allowed_length || most < c->dry_allowed_length) return;
    find_repeats(s, n);
    uint32_t *longest = (uint32_t *)s->candidates.token; // by token, as in penalize
    for (uint32_t k = 1; k < n; k++)
        if (known(s, recent(s, k - 1))) longest[recent(s, k - 1)] = 0;
    for (uint32_t k = 1; k < n; k++) {
        int32_t token = recent(s, k - 1); // it followed
        uint32_t length = hyp_min_u32(s->repeats[k], most);
        if (known(s, token) && length >= c->dry_allowed_length && length > longest[token])
            longest[token] = length;
    }
    for (uint32_t k = 1; k < n; k++) {
        int32_t token = recent(s, k - 1);
        if (!known(s, token) || longest[token] == 0) continue;
        double exponent = (double)(longest[token] - c->dry_allowed_length);
        longest[token] = 0;
        if (breaks(s, token)) continue;
        // Where the power is beyond every float, so is the penalty: the token has no chance.
        bool beyond = exponent * hyp_log((double)c->dry_base) > 80;
        double penalty = beyond
                             ? (double)HYP_F32_MOST
                             : (double)c->dry_multiplier * hyp_pow((double)c->dry_base, exponent);
        logits[token] -= (float)penalty;
    }
}

// ---- Candidates

static void swap(hyp_candidates *c, uint32_t i, uint32_t j) {
    int32_t token = c->token[i];
    float logit = c->logit[i], p = c->p[i], key = c->key[i];
    c->token[i] = c->token[j];
    c->logit[i] = c->logit[j];
    c->p[i] = c->p[j];
    c->key[i] = c->key[j];
    c->token[j] = token;
    c->logit[j] = logit;
    c->p[j] = p;
    c->key[j] = key;
}

static bool better(const hyp_candidates *c, uint32_t i, uint32_t j) {
    return c->logit[i] > c->logit[j] || (c->logit[i] == c->logit[j] && c->token[i] < c->token[j]);
}

// Sifts within a heap whose root is the worst of the first `n`.
static void sift(hyp_candidates *c, uint32_t n, uint32_t i) {
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && better(c, child, child + 1)) child++;
        if (!better(c, i, child)) break;
        swap(c, i, child);
    }
}

// Keeps the best `k`, in order.
static void keep_best(hyp_candidates *c, uint32_t k) {
    for (uint32_t i = k / 2; i-- > 0;) sift(c, k, i);
    for (uint32_t i = k; i < c->count; i++)
        if (better(c, i, 0)) {
            swap(c, i, 0);
            sift(c, k, 0);
        }
    for (uint32_t i = k; i-- > 1;) { // worst to the back
        swap(c, 0, i);
        sift(c, i, 0);
    }
    c->count = k;
}

// The place of the best; there is one at least.
static uint32_t best_of(const hyp_candidates *c) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < c->count; i++)
        if (better(c, i, best)) best = i;
    return best;
}

static void probabilities(const hyp_sampler *s, hyp_candidates *c, float temperature) {
    for (uint32_t i = 0; i < c->count; i++) c->p[i] = c->logit[i] / temperature;
    float scale = 1 / s->kernels->exps(c->p, c->count, s->kernels->peak(c->p, c->count));
    for (uint32_t i = 0; i < c->count; i++) c->p[i] *= scale;
}

static bool before(const hyp_candidates *c, uint32_t i, float key, int32_t token) {
    return c->key[i] < key || (c->key[i] == key && c->token[i] < token);
}

// Keeps those of the least keys that make up `mass` of the probability, the one that reaches it
// included: quickselect by mass.
static void keep_mass(hyp_candidates *c, float mass) {
    uint32_t low = 0, high = c->count; // below `low`: kept; from `high` on: not
    while (low < high) {
        uint32_t a = low, b = low + (high - low) / 2, d = high - 1; // the median of three
        if (before(c, b, c->key[a], c->token[a])) {
            a ^= b;
            b ^= a;
            a ^= b;
        }
        if (before(c, d, c->key[b], c->token[b])) b = before(c, d, c->key[a], c->token[a]) ? a : d;
        float key = c->key[b], sum = 0;
        int32_t token = c->token[b];
        swap(c, b, high - 1);
        uint32_t middle = low;
        for (uint32_t i = low; i + 1 < high; i++)
            if (before(c, i, key, token)) {
                sum += c->p[i];
                swap(c, i, middle++);
            }
        swap(c, middle, high - 1); // the pivot, between those before it and those after
        if (sum >= mass) high = middle;
        else if ((sum += c->p[middle]) >= mass) low = high = middle + 1;
        else {
            mass -= sum;
            low = middle + 1;
        }
    }
    c->count = low > 0 ? low : 1;
}

// Keeps those whose logit is at least `least`.
static void keep_from(hyp_candidates *c, float least) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->logit[i] >= least) swap(c, i, kept++);
    c->count = kept;
}

// Locally typical sampling [Meister et al. 2022]: the tokens whose surprise is nearest to the
// entropy, up to mass p.
static void typical(hyp_candidates *c, float p) {
    float entropy = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        c->key[i] = c->p[i] > 0 ? -(float)hyp_log((double)c->p[i]) : __builtin_inff();
        if (c->p[i] > 0) entropy += c->p[i] * c->key[i];
    }
    for (uint32_t i = 0; i < c->count; i++)
        c->key[i] = c->key[i] > entropy ? c->key[i] - entropy : entropy - c->key[i];
    keep_mass(c, p);
}

// XTC, "exclude top choices" [p-e-w, text-generation-webui pull request 6335, 2024], as llama.cpp
// has it: at times, all tokens that are likely enough are excluded but the least likely of them.
static void exclude_top(hyp_sampler *s, hyp_candidates *c) {
    const hyp_sampling *config = &s->config;
    if (config->xtc_probability == 0 || config->xtc_threshold > 0.5f || c->count < 2) return;
    if (uniform(s) > config->xtc_probability) return;
    probabilities(s, c, 1);
    uint32_t last = c->count;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->p[i] >= config->xtc_threshold && (last == c->count || better(c, last, i))) last = i;
    if (last == c->count) return; // none is likely enough
    float logit = c->logit[last];
    int32_t token = c->token[last];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->logit[i] < logit || (c->logit[i] == logit && c->token[i] >= token))
            swap(c, i, kept++);
    c->count = kept;
}

static uint32_t draw(hyp_sampler *s, const hyp_candidates *c) {
    float sum = 0, at = 0;
    for (uint32_t i = 0; i < c->count; i++) sum += c->p[i];
    float r = uniform(s) * sum;
    for (uint32_t i = 0; i < c->count; i++)
        if (r < (at += c->p[i])) return i;
    return c->count - 1;
}

// Mirostat 2 [Basu et al. 2021]: drop what surprises more than mu bits, then move mu towards tau.
static int32_t mirostat(hyp_sampler *s, hyp_candidates *c) {
    const double ln2 = 0.6931471805599453;
    probabilities(s, c, s->config.temperature);
    swap(c, 0, best_of(c));
    uint32_t kept = 1;
    float least = (float)hyp_pow(2, -(double)s->mu);
    for (uint32_t i = 1; i < c->count; i++)
        if (c->p[i] >= least) swap(c, i, kept++);
    c->count = kept;
    probabilities(s, c, s->config.temperature);
    uint32_t chosen = draw(s, c);
    s->mu -= s->config.mirostat_eta *
             ((float)(-hyp_log((double)c->p[chosen]) / ln2) - s->config.mirostat_tau);
    return c->token[chosen];
}

enum { STRIP = 512 };

// The likeliest token, the first of equals; NaN is passed over. -1: its logit is not finite.
static int32_t likeliest(const hyp_sampler *s, const float *logits) {
    float top = s->kernels->peak(logits, hyp_min_u32(STRIP, s->vocab));
    uint32_t strip = 0;
    for (uint32_t i = STRIP; i < s->vocab; i += STRIP) {
        float peak = s->kernels->peak(logits + i, hyp_min_u32(STRIP, s->vocab - i));
        if (peak > top) {
            top = peak;
            strip = i;
        }
    }
    if (!finite(top)) return -1;
    while (logits[strip] != top) strip++;
    return (int32_t)strip;
}

int32_t hyp_sampler_choose(hyp_sampler *s, float *logits) {
    const hyp_sampling *c = &s->config;
    for (uint32_t i = 0; i < c->bias_count; i++) logits[c->bias[i].token] += c->bias[i].bias;
    penalize(s, logits);
    penalize_repeats(s, logits);
    int32_t best = likeliest(s, logits);
    // Next to 0 degrees the best takes everything, and logits would overflow.
    if (best < 0 || c->temperature == 0 || !finite(logits[best] / c->temperature)) return best;

    // Only what has a chance is looked at: 25 temperatures below the best is a share under 1e-10
    // each.
    float floor = logits[best] - 25 * c->temperature;
    // The best after XTC is below the best by the threshold at most, whose share is of
    // temperature 1.
    if (c->xtc_probability > 0)
        floor = logits[best] + (float)hyp_log((double)c->xtc_threshold) -
                25 * (c->temperature > 1 ? c->temperature : 1);
    hyp_candidates *cand = &s->candidates;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->vocab; i++) { // kept or not, it is written: no branch to guess
        cand->token[n] = (int32_t)i;
        cand->logit[n] = logits[i];
        n += logits[i] >= floor;
    }
    cand->count = n; // the best at least
    if (c->top_k && c->top_k < n) keep_best(cand, c->top_k);
    if (c->mirostat_tau > 0) return mirostat(s, cand);
    if (c->typical_p > 0 && c->typical_p < 1) {
        probabilities(s, cand, 1);
        typical(cand, c->typical_p);
    }
    if (c->top_p > 0 && c->top_p < 1) {
        probabilities(s, cand, 1);
        for (uint32_t i = 0; i < cand->count; i++) cand->key[i] = -cand->logit[i];
        keep_mass(cand, c->top_p);
    }
    if (c->min_p > 0)
        keep_from(cand, cand->logit[best_of(cand)] + (float)hyp_log((double)c->min_p));
    exclude_top(s, cand);
    probabilities(s, cand, c->temperature);
    return cand->token[draw(s, cand)];
}
