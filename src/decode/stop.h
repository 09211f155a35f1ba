// Stop texts: the text of an answer on its way out. What has been generated is pending until it can
// be emitted: whole characters only, and nothing that may yet become a stop text (the holdback).
//
// Invariant: after hyp_stop_next, at most as much is pending as the longest stop text has bytes, or
// an unfinished character.
#ifndef HYP_DECODE_STOP_H
#define HYP_DECODE_STOP_H

#include "../hyperion/hyperion.h"
#include "../mem/arena.h"
#include "../mem/buffer.h"

#include <stdbool.h>

enum { HYP_STOP_BYTES_MAX = 256 }; // of a stop text

typedef struct hyp_stop {
    hyp_text *texts; // the arena's
    uint32_t count;
    hyp_buffer pending;
    size_t emitted; // the first bytes of `pending`: the last call handed them out
} hyp_stop;

// Without stop texts. Borrows `budget`.
void hyp_stop_init(hyp_stop *stop, hyp_budget *budget);
void hyp_stop_deinit(hyp_stop *stop);

// Begins an answer: nothing is pending, and the `count` stop texts, of any bytes, are copied into
// `arena`, which must live until the next begin. HYP_E_ARGUMENT: more than HYP_STOPS_MAX of them,
// or one has not 1 to HYP_STOP_BYTES_MAX bytes. HYP_E_NOMEM. After an error there are no stop
// texts.
HYP_MUST_USE hyp_status hyp_stop_begin(hyp_stop *stop, hyp_arena *arena, const hyp_text *texts,
                                       uint32_t count, hyp_fault *fault);

// Appends generated text. What was emitted before becomes invalid. HYP_E_NOMEM: nothing is
// appended, and what is pending stays.
HYP_MUST_USE hyp_status hyp_stop_push(hyp_stop *stop, const char *text, size_t bytes);

// Emits what can be emitted now: *bytes at *text, valid until the next call; *text is "" when there
// is nothing. With `ended` nothing will follow, and all that is pending is emitted. True: a stop
// text was reached; what was emitted ends before it, and nothing is pending any more.
//
// A stop text is reached as soon as one is complete. When one push completes several, it is the one
// that begins first.
bool hyp_stop_next(hyp_stop *stop, bool ended, const char **text, size_t *bytes);

// Emits all that is pending, for a caller that ends the answer early.
void hyp_stop_flush(hyp_stop *stop, const char **text, size_t *bytes);

#endif
