#include "draft.h"

#include "../base/bytes.h"

enum { SAME_MOST = 3, SAME_LEAST = 2 }; // tokens that must have been said before

uint32_t hyp_prompt_lookup(const int32_t *text, uint32_t count, uint32_t most, int32_t *draft) {
    for (uint32_t n = SAME_MOST; n >= SAME_LEAST; n--)
        for (uint32_t at = count > n ? count - n : 0; at-- > 0;) {
            if (memcmp(text + at, text + count - n, n * sizeof *text)) continue;
            uint32_t found = hyp_min_u32(most, count - at - n);
            memcpy(draft, text + at + n, found * sizeof *draft);
            return found;
        }
    return 0;
}

// Computes what the model lacks of `text`, up to the logits after its last token.
static hyp_status follow(hyp_draft_model *m, const int32_t *text, uint32_t count) {
    hyp_sequence *s = &m->sequence;
    while (s->count < count) {
        uint32_t n = hyp_min_u32(count - s->count, m->workspace.rows_most);
        float *logits = s->count + n == count ? m->workspace.logits : NULL;
        hyp_status status = hyp_forward_tokens(&m->workspace, s, text + s->count, n, logits);
        if (status) return status;
    }
    return HYP_OK;
}

hyp_status hyp_draft_propose(hyp_draft_model *m, const int32_t *text, uint32_t count, uint32_t most,
                             int32_t *draft, uint32_t *drafted) {
    const hyp_graph *g = &m->workspace.net->graph;
    hyp_sequence_trim(&m->sequence, count - 1); // what was drafted by a call that failed goes, too
    hyp_status status = follow(m, text, count);
    for (*drafted = 0; !status && *drafted < most;) {
        float *logits = m->workspace.logits, top = g->kernels->peak(logits, g->vocab);
        int32_t best = 0;
        while (best + 1 < (int32_t)g->vocab && logits[best] != top) best++;
        // The sum of e^(logit - top) is 1 / p.
        if (!(g->kernels->exps(logits, g->vocab, top) < 2)) break;
        draft[(*drafted)++] = best;
        if (*drafted < most)
            status = hyp_forward_tokens(&m->workspace, &m->sequence, draft + *drafted - 1, 1,
                                        m->workspace.logits);
    }
    return status;
}
