// Continuous batching: sessions of one model and purpose that are about to compute their next token
// do it in one pass, each with the bits that it would get alone. Whoever finds nobody left to wait
// for leads: its fiber computes for all, the others' sleep.
//
// Rules:
//   A sequence is changed by one fiber at a time: the session's own, or its leader's from
//   HYP_BATCHING_BATCHED to HYP_BATCHING_DONE. Only HYP_BATCHING_OFFERED is an offer, and a session
//   takes it back before it computes.
//   The logits of a batch are computed in memory of the model, which one leader at a time has; each
//   session gets a copy of its own before anyone runs again. The logits of a session's workspace
//   are written by nobody else.
//   A session goes away only when no leader computes for it: a firm wait, which destroying and
//   cancelling shorten by ending the batch.
#ifndef HYP_RUNTIME_BATCHER_H
#define HYP_RUNTIME_BATCHER_H

#include "engine.h"

// Computes the session's due token, alone or in a batch; *logits are the session's own, until its
// next call. May suspend. On failure the sequence is as before, or its token is computed and only
// the logits are missing.
HYP_MUST_USE hyp_status hyp_batch_decode(hyp_session *session, float **logits);
// Ends the call under way: of the session, and of the batch that it is part of, whose other
// sessions begin theirs again.
void hyp_batch_cancel(hyp_session *session);

#endif
