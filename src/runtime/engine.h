// The inside of the handles in hyperion.h, shared by the files of this floor.
#ifndef HYP_RUNTIME_ENGINE_H
#define HYP_RUNTIME_ENGINE_H

#include "../decode/draft.h"
#include "../decode/sampler.h"
#include "../decode/stop.h"
#include "../fiber/sched.h"
#include "../hyperion/hyperion.h"
#include "../models/models.h"
#include "../nn/forward.h"
#include "../nn/prompt_cache.h"
#include "../text/tokenizer.h"

struct hyp_engine {
    hyp_budget budget;
    hyp_slab *slab;
    hyp_sched *sched;
    bool ended; // a call has ended since hyp_engine_run looked
    hyp_kernels kernels;
    uint32_t isa, threads;
    uint32_t step_work; // of a hyp_engine_run, in the scheduler's units; 0: no limit
    hyp_fault fault;
    hyp_buffer text; // the result of the last inspect
};

struct hyp_model {
    hyp_engine *engine;
    hyp_arena arena;
    hyp_gguf gguf; // the metadata stays readable
    hyp_tokenizer tokenizer;
    hyp_shape shape;
    hyp_net net;
    hyp_kv_cache kv[HYP_KV_FORMATS]; // of its sessions; graph NULL: none has asked for the format
    hyp_buffer tokens, text;         // results of tokenize, detokenize
    hyp_session *sessions;           // of this model
    float *batch_logits; // HYP_BATCH_SESSIONS rows of vocab + HYP_GROUP; NULL: no batch so far
    bool batching;       // a leader computes in them
    hyp_prompt_cache prompts;
    uint64_t fingerprint; // of what states are of; 0: nobody has asked
};

enum { HYP_USUAL_CONTEXT = 2048, HYP_USUAL_BATCH = 64 }; // of a session that asks for nothing else
enum { HYP_BATCH_SESSIONS = 8 }; // whose next tokens are computed in one pass, at most

// Whose fiber may change a session's sequence while it computes its next token: see batcher.h.
typedef enum hyp_batching {
    HYP_BATCHING_NONE,    // its own
    HYP_BATCHING_OFFERED, // its own, which offers it to a leader
    HYP_BATCHING_BATCHED, // its leader's
    HYP_BATCHING_DONE     // its own again, the token computed or failed
} hyp_batching;

struct hyp_session {
    hyp_model *model;
    hyp_session *next; // of the model
    hyp_session_config config;
    hyp_arena arena;  // what lives as long as the session
    hyp_arena answer; // sampler and stop texts of the answer under way

    hyp_workspace workspace;
    hyp_sequence sequence;
    uint32_t
        hidden; // rows in the workspace that end with the text's last token; 0: it is not there
    int32_t *history; // the text's tokens; the first sequence.count of them are computed
    uint32_t count;   // tokens of the text

    hyp_batching batching;
    hyp_session *leader;        // while BATCHED
    hyp_event unbatched;        // no longer BATCHED
    hyp_status batching_status; // when DONE

    uint32_t lookup;       // tokens drafted at most
    hyp_draft_model draft; // that guesses; without a net the text itself is looked up
    float *ahead;       // logits of a pass with a draft, which stands in `history` from `count` on:
                        // lookup + 1 rows of vocab + HYP_GROUP
    uint32_t rows, row; // of that pass, 0: there is none; the next one whose logits are wanted

    hyp_sampler sampler;
    bool ready;           // begin has been called
    bool apart;           // its texts are neither remembered nor found
    hyp_finish finish;    // of the answer
    int32_t chosen;       // a token that is not said yet: its text found no memory; -1: none
    hyp_arena_mark empty; // of `answer`
    hyp_stop stop;
    hyp_buffer unread; // of hyp_unread, each with its text: pieces that come again
    size_t unread_at;  // the next of them

    hyp_task *task; // runs the calls
    hyp_event posted;
    hyp_call call;
    hyp_result result;
    bool busy;      // a call is under way
    bool cancelled; // the call under way
    bool closing;   // being destroyed
    float *vector;  // result of embed

    hyp_session_stats stats;
    uint32_t latency_us[HYP_LATENCIES]; // ring
    uint32_t latencies;                 // ever recorded
};

typedef struct hyp_unread { // a piece; its text follows
    int32_t token;
    uint32_t finish, bytes;
} hyp_unread;

static inline hyp_fault *hyp_session_fault(const hyp_session *s) {
    return &s->model->engine->fault;
}
static inline uint32_t hyp_session_vocab(const hyp_session *s) { return s->model->net.graph.vocab; }

// ---- The parts of a session (answer.c, score.c); each may suspend

HYP_MUST_USE hyp_status hyp_answer_prefill(hyp_session *session, uint32_t *left);
HYP_MUST_USE hyp_status hyp_answer_next(hyp_session *session, hyp_piece *piece);
HYP_MUST_USE hyp_status hyp_embed_text(hyp_session *session, const int32_t *tokens, uint32_t count,
                                       hyp_pooling pooling);
HYP_MUST_USE hyp_status hyp_score_text(hyp_session *session, const int32_t *tokens, uint32_t count,
                                       void (*visit)(void *context, uint32_t position,
                                                     const float *log_probabilities),
                                       void *context);
// HYP_E_ARGUMENT, with a message: no tokens, or some that are not in the vocabulary.
HYP_MUST_USE hyp_status hyp_session_check_tokens(const hyp_session *session, const int32_t *tokens,
                                                 uint32_t count);
// The session is about to forget all but the first `kept` positions of its text: the model may
// remember them.
void hyp_session_remember(hyp_session *session, uint32_t kept);
// Gives `status` its message, unless what failed has said why.
hyp_status hyp_session_failed(const hyp_session *session, hyp_status status, uint32_t tokens);

#endif
