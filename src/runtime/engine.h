// The inside of the handles in hyperion.h, shared by the files of this floor.
#ifndef HYP_RUNTIME_ENGINE_H
#define HYP_RUNTIME_ENGINE_H

#include "../decode/sampler.h"
#include "../fiber/sched.h"
#include "../hyperion/hyperion.h"
#include "../nn/transformer.h"
#include "../text/tokenizer.h"

struct hyp_engine {
    hyp_budget budget;
    hyp_slab *slab;
    hyp_sched *sched;
    bool ended; // a call has ended since hyp_engine_run looked
    hyp_kernels kernels;
    uint32_t isa, threads;
    hyp_fault fault;
    hyp_buffer text; // the result of the last inspect
};

struct hyp_model {
    hyp_engine *engine;
    hyp_arena arena;
    hyp_gguf gguf; // the metadata stays readable
    hyp_tokenizer tokenizer;
    hyp_transformer transformer;
    hyp_buffer tokens, text; // results of tokenize, detokenize
    hyp_session *sessions;   // of this model
    float *
        batch_logits; // HYP_BATCH_SESSIONS rows of vocab + HYP_GROUP; NULL: there has been no batch
    bool batching;    // a leader computes in them
};

enum { HYP_BATCH_SESSIONS = 8 }; // whose next tokens are computed in one step, at most

// Whose fiber may change a session's sequence while it computes its next token: see batch.h.
typedef enum hyp_turn {
    HYP_TURN_NONE,    // its own
    HYP_TURN_WAITING, // its own, which offers it to a leader
    HYP_TURN_BATCHED, // its leader's
    HYP_TURN_DONE     // its own again, the token computed or failed
} hyp_turn;

struct hyp_session {
    hyp_model *model;
    hyp_session *next; // of the model
    hyp_purpose purpose;
    hyp_turn turn;
    hyp_session *leader;    // while BATCHED
    hyp_event turned;       // no longer BATCHED
    hyp_status turn_status; // when DONE
    uint32_t lookup;        // tokens guessed ahead at most
    uint32_t rows,
        row; // of a step with guesses, 0: there is none; the next one whose logits are wanted
    hyp_state draft;  // of the model that guesses; its cache holds a part of `history`, guesses
                      // included. `model` NULL: the text itself is looked up
    float *ahead;     // its logits: lookup + 1 rows of vocab + HYP_GROUP. The guesses stand in
                      // `history` from `count` on
    hyp_arena arena;  // state, history
    hyp_arena answer; // sampler and stop texts of the answer under way
    hyp_state state;
    hyp_sampler sampler;
    int32_t *history; // the text's tokens; the first state.past of them are in the cache
    uint32_t count;   // tokens of the text
    bool ready;       // begin has been called
    hyp_finish finish;
    hyp_text *stops;
    uint32_t stop_count;
    hyp_task *task; // runs the calls
    hyp_event posted;
    hyp_call call;
    hyp_result result;
    bool busy;            // a call is under way
    bool cancelled;       // the call under way
    bool closing;         // being destroyed
    int32_t chosen;       // a token that is not said yet because its text found no memory; -1: none
    hyp_arena_mark fresh; // of `answer`, empty
    hyp_buffer
        held; // text not yet given out; its first `given` bytes were given out by the last call
    size_t given;
    float *vector; // result of embed
    hyp_session_stats stats;
    uint32_t latency_us[HYP_LATENCIES]; // ring
    uint32_t latencies;                 // ever noted
};

#endif
