// From logits to a token. The same seed and logits give the same token on every platform.
#ifndef HYP_DECODE_SAMPLER_H
#define HYP_DECODE_SAMPLER_H

#include "../base/options.h"
#include "../hyperion/hyperion.h"
#include "../kernels/kernels.h"
#include "../mem/arena.h"
#include "../text/tokenizer.h"

#include <stdbool.h>

typedef struct hyp_candidates { // side by side, vocab each
    int32_t *token;
    float *logit, *p, *key;
    uint32_t count;
} hyp_candidates;

typedef struct hyp_sampler {
    hyp_sampling config; // with defaults filled in; `bias` is copied
    uint32_t vocab;
    const hyp_tokenizer *tokenizer; // borrowed; NULL: tokens have no texts
    const hyp_kernels *kernels;     // borrowed
    hyp_candidates candidates;
    hyp_logit_bias *bias;
    int32_t *recent; // ring of the last recent_most tokens: as many as any stage looks back
    uint32_t recent_most, recent_count, recent_at;
    uint32_t *repeats; // (dry_penalty_last): how many tokens before each place are those at the end
    float mu;          // mirostat's running bound
    uint64_t random[2];
} hyp_sampler;

extern const hyp_options hyp_sampling_options; // of hyp_sampling

// Checks `config` and takes what it needs from `arena`. `vocab` logits are chosen among; what the
// tokens say, for stages that ask, is the tokenizer's to know (NULL: nothing). HYP_E_ARGUMENT names
// the field that is out of range.
HYP_MUST_USE hyp_status hyp_sampler_init(hyp_sampler *sampler, const hyp_sampling *config,
                                         uint32_t vocab, const hyp_tokenizer *tokenizer,
                                         const hyp_kernels *kernels, hyp_arena *arena,
                                         hyp_fault *fault);
// Tells the sampler of a token of the text so far (prompt or generated): the penalties count it.
void hyp_sampler_accept(hyp_sampler *sampler, int32_t token);
// Has heard of no token: what the text is, is told anew.
void hyp_sampler_forget(hyp_sampler *sampler);
// Chooses the next token; in time proportional to the vocabulary, whatever is asked for: nothing
// but a top_k is ever sorted. `logits` (vocab) may be changed. Does not accept it. A logit that is
// NaN is never chosen; -1: the largest of the others is infinite, or there are none, so that the
// model's numbers do not say anything. In that every tier agrees.
int32_t hyp_sampler_choose(hyp_sampler *sampler, float *logits);

#endif
