// What a forward pass is given: rows. Prefill, decode, continuous batching, speculation, embeddings
// and what comes from images or sound are the same call.
#ifndef HYP_NN_BATCH_H
#define HYP_NN_BATCH_H

#include "kv.h"

typedef struct hyp_row {
    int32_t token;          // within the vocabulary; not looked at when `embedding` is given
    const float *embedding; // (cols of the embedding matrix), borrowed; NULL: the token's
    hyp_sequence *sequence; // borrowed. The rows of one stand side by side, in order
    // For rotary embeddings; a model with one position uses the first.
    uint32_t position[HYP_POSITIONS];
    const struct hyp_adapter *adapter; // NULL; there is none yet, and others are refused
    bool logits;                       // of the next token are wanted
} hyp_row;

typedef struct hyp_batch {
    const hyp_row *rows; // borrowed until the pass returns
    uint32_t count;      // 1 .. the workspace's
    float *logits;       // (rows that want them, vocab + HYP_GROUP); NULL when none does
} hyp_batch;

// Row `index` behind what `sequence` has, of the token that stands there in a text.
static inline hyp_row hyp_row_at(hyp_sequence *sequence, uint32_t index, int32_t token,
                                 bool logits) {
    uint32_t at = sequence->count + index;
    return (hyp_row){
        .token = token, .sequence = sequence, .position = {at, at, at, at}, .logits = logits};
}

#endif
