// Drafts: tokens that are guessed ahead, to be checked by the model in one pass. The answer is the
// same as without them, sooner where they are right.
#ifndef HYP_DECODE_DRAFT_H
#define HYP_DECODE_DRAFT_H

#include "../nn/forward.h"

// Prompt lookup [Saxena 2023]: what followed when the last tokens of the text were last said. Up to
// `most` tokens to `draft`; returns how many, 0 when they were not said before.
uint32_t hyp_prompt_lookup(const int32_t *text, uint32_t count, uint32_t most, int32_t *draft);

// A smaller model that guesses [Leviathan et al. 2023].
typedef struct hyp_draft_model {
    hyp_workspace workspace; // net NULL: there is none
    hyp_sequence sequence;   // a part of the text, and of what was drafted last
} hyp_draft_model;

// The likeliest tokens behind `text`, up to `most`, as long as the model is surer of each than of
// all others together. May suspend.
HYP_MUST_USE hyp_status hyp_draft_propose(hyp_draft_model *model, const int32_t *text,
                                          uint32_t count, uint32_t most, int32_t *draft,
                                          uint32_t *drafted);

#endif
