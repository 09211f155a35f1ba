// Hyperion: quantized language models in C17, natively and in WebAssembly. The one public C
// interface.
//
//   hyp_engine  memory under a budget, and the kernels of this machine
//   hyp_model   weights and tokenizer; immutable, shared by its sessions
//   hyp_session one running text: KV cache, sampler, stop strings
//
// Sessions of an engine run as fibers: what one waits for (a page of weights, a source) does not
// hold up the others, and those that have work share the thread fairly. The calls on a session come
// in two kinds: hyp_session_next and its like run the engine until they are done; hyp_session_post
// begins one, and hyp_engine_run runs whatever has been begun.
//
// Handles are opaque. Config structs are plain and mean their defaults when all-zero. A call that
// fails returns a negative status, changes nothing that the caller can see, and leaves an
// explanation in hyp_engine_error (a failed begin also leaves no answer to ask for). One engine
// belongs to one thread.
#ifndef HYPERION_H
#define HYPERION_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HYPERION_VERSION "0.1.0"

// Options of the config structs are fields of these types: which there are, what they mean, their
// ranges and defaults is in options.def.
#define HYP_FIELD_FLAG bool
#define HYP_FIELD_U32 uint32_t
#define HYP_FIELD_U64 uint64_t
#define HYP_FIELD_BYTES size_t
#define HYP_FIELD_F32 float
#define HYP_FIELD_CHOICE(type, names) type

typedef struct hyp_engine hyp_engine;
typedef struct hyp_model hyp_model;
typedef struct hyp_session hyp_session;

// ---- Engine

// Who is chosen to run: interactive sessions before batch and background, and nobody starves; or
// one after the other.
typedef enum hyp_scheduling { HYP_SCHEDULING_INTENT, HYP_SCHEDULING_ROUND_ROBIN } hyp_scheduling;

typedef struct hyp_engine_config { // its options
#define HYP_ENGINE_OPTION(type, field, ...) HYP_FIELD_##type field;
#include "options.def"
} hyp_engine_config;

// NULL: not even the engine itself fits, or `config` is out of its range. `config` may be NULL.
// Destroy models before their engine.
hyp_engine *hyp_engine_create(const hyp_engine_config *config);
void hyp_engine_destroy(hyp_engine *engine);
// Why the last call on this engine or anything of it failed; one sentence. Valid until the next
// call.
const char *hyp_engine_error(const hyp_engine *engine);

typedef struct hyp_engine_stats {
    size_t used_bytes, peak_bytes, limit_bytes;
    size_t blocks, block_bytes;      // of the slab, lent
    uint32_t fibers, ready, waiting; // fibers: sessions and calls that have not ended
    uint64_t switches, work;         // since the beginning; work in thousands of multiply-adds
    size_t stack_bytes;
    const char *policy;
} hyp_engine_stats;
hyp_engine_stats hyp_engine_get_stats(hyp_engine *engine);
// The policy by its name, as options.def has it. May be swapped at any time. HYP_E_ARGUMENT:
// another name.
HYP_MUST_USE hyp_status hyp_engine_set_policy(hyp_engine *engine, const char *name);

typedef enum hyp_progress_kind {
    HYP_ENGINE_READY,
    HYP_ENGINE_WAITING,
    HYP_ENGINE_IDLE
} hyp_progress_kind;
// Runs what has been begun until a call has ended, nothing can run, about `for_ns` (0: no limit)
// have passed, or the engine's `step_work` is done. READY: call again; WAITING: for a source or a
// timer, see hyp_engine_next_ns; IDLE: nothing has been begun.
hyp_progress_kind hyp_engine_run(hyp_engine *engine, uint64_t for_ns);
uint64_t
hyp_engine_next_ns(const hyp_engine *engine); // from now until a timer is due; UINT64_MAX: none
const char *
hyp_engine_kernels(const hyp_engine *engine); // "scalar", "simd128", "relaxed-simd", "avx-512" ...

// ---- Sources

// Opens the regular file at `path` as *source. HYP_E_IO: it can not be opened, hyp_source_error
// says why. What is read of a file that has changed since then fails with HYP_E_FORMAT. May be
// called from any thread; up to 1024 files can be open. Close it after the models that read it.
HYP_MUST_USE hyp_status hyp_source_open_file(const char *path, hyp_source *source);
// No effect on a source that is not of hyp_source_open_file, or has been closed.
void hyp_source_close(const hyp_source *source);
// Why the last hyp_source_open_file of this thread failed; one sentence, which names the path.
// Valid until the thread's next.
const char *hyp_source_error(void);
// A source over `bytes` of memory at `data`, which it borrows. Needs no closing.
hyp_source hyp_source_of_memory(const void *data, size_t bytes);

// ---- Model

enum {
    // Tokens of a context: what a model may be trained for, and a session may ask for
    HYP_CONTEXT_MOST = 1 << 24,
    HYP_BATCH_MOST = 4096 // tokens of a step
};

typedef struct hyp_model_config { // its options, and
#define HYP_MODEL_OPTION(type, field, ...) HYP_FIELD_##type field;
#include "options.def"
    // Called while weights arrive; false cancels. With `progressive` also after hyp_model_open,
    // until all of them are there. May be NULL.
    bool (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes);
    void *progress_context;
} hyp_model_config;

// Loads a GGUF model from its files in order (one for an unsplit model). What the engine's memory
// does not hold of the weights is read again when it is used, and may have to give way to sessions
// later: the sources (not the array) must last as long as the model, unless the engine has no
// memory limit. May suspend. HYP_E_NOMEM names the least memory that would do; HYP_E_ARGUMENT:
// `config` is out of its range. *model is set before `progress` first hears of weights, so that it
// may ask hyp_model_loading, and is NULL again when the call fails.
//
// With `progressive` it returns when the header, the tokenizer and the graph are there. Fibers of
// the model read the weights, whenever the engine runs, in the order in which a pass uses them, or
// in the file's where a source is `sequential`; calls on sessions wait for what they need. The
// sources must then last until hyp_model_loading says that it is over. When reading fails, every
// later call on the model's sessions fails for the same reason.
HYP_MUST_USE hyp_status hyp_model_open(hyp_engine *engine, const hyp_source *sources,
                                       uint32_t count, const hyp_model_config *config,
                                       hyp_model **model);
// After its sessions and calls. What is still being read is cancelled.
void hyp_model_close(hyp_model *model);

typedef struct hyp_loading { // of the weights that stay in memory
    uint64_t done_bytes, total_bytes;
    uint32_t layers_ready, layers; // whose weights are there; in all
    bool over;                     // nothing more will come
    hyp_status status;             // HYP_OK so far; else why nothing more comes
} hyp_loading;
hyp_loading hyp_model_loading(const hyp_model *model);
// Waits until they are there; runs the engine meanwhile, or suspends the calling fiber. What
// reading failed with, with its message.
HYP_MUST_USE hyp_status hyp_model_wait(hyp_model *model);
// Ends the loading, which then has failed with HYP_E_CANCELLED. No effect when it is over.
void hyp_model_cancel_loading(hyp_model *model);

typedef struct hyp_model_info {
    const char *architecture;
    uint32_t context, dim, layers, heads, kv_heads, vocab;
    uint64_t parameters, weight_bytes;
    int32_t bos, eos; // -1: none
    bool adds_bos;
} hyp_model_info;
hyp_model_info hyp_model_get_info(const hyp_model *model);

typedef struct hyp_residency { // of the weights
    uint32_t pages, resident, present,
        frames; // resident: have a place for good; the others share `frames`
    uint64_t whole_bytes, capacity_bytes, present_bytes;
    uint64_t pins, hits, fills, filled_bytes, evictions, faults; // since the model was opened
    bool traps; // absent pages are also filled when touched
    // The least memory limit, about, under which every page would have its place, with everything
    // that the engine has now; 0: they have.
    uint64_t whole_limit_bytes;
} hyp_residency;
hyp_residency hyp_model_residency(const hyp_model *model);
typedef struct hyp_workers { // threads that compute products of a model beside the caller's
    uint32_t threads;        // the caller's included; 1: it computes alone
    uint32_t present;        // workers that have come
    uint64_t loops, tiles;   // computed together, and the parts they were divided into
    uint64_t by_workers;     // tiles that workers computed
    uint64_t repeated;       // tiles computed again because a worker was taken off its processor
} hyp_workers;
hyp_workers hyp_model_workers(const hyp_model *model);
void hyp_model_stop_workers(hyp_model *model); // ends the workers; what is under way goes on alone
// Of each page from `first`: 0 when absent, else 1 to 255 by its heat (64 is one access a pass;
// decays by half each pass). Fills `count` bytes.
void hyp_model_heat(const hyp_model *model, uint32_t first, uint32_t count, uint8_t *heat);

// A metadata string of the file ("tokenizer.chat_template"), not terminated; NULL when absent.
const char *hyp_model_metadata(const hyp_model *model, const char *key, size_t *bytes);

enum { HYP_TEXT_ADD_SPECIAL = 1, HYP_TEXT_PARSE_SPECIAL = 2 };

// Tokens of `text`. HYP_TEXT_ADD_SPECIAL adds what the model expects around a text,
// HYP_TEXT_PARSE_SPECIAL reads special tokens in it. *tokens lives until the next call on this
// model.
HYP_MUST_USE hyp_status hyp_model_tokenize(hyp_model *model, const char *text, size_t bytes,
                                           int flags, const int32_t **tokens, uint32_t *count);
// Text of `tokens`, as above; HYP_TEXT_PARSE_SPECIAL shows special tokens. Not terminated; may end
// within a character.
HYP_MUST_USE hyp_status hyp_model_detokenize(hyp_model *model, const int32_t *tokens,
                                             uint32_t count, int flags, const char **text,
                                             size_t *bytes);

// ---- Session

enum { HYP_LOOKUP_MOST = 7 }; // tokens drafted ahead
enum { HYP_STOPS_MAX = 16 };  // stop texts of an answer

typedef enum hyp_cache { HYP_CACHE_F16, HYP_CACHE_Q8_0 } hyp_cache;

// What a session is for; the engine's policy may heed it.
typedef enum hyp_purpose {
    HYP_PURPOSE_INTERACTIVE,
    HYP_PURPOSE_DEADLINE,
    HYP_PURPOSE_BATCH,
    HYP_PURPOSE_BACKGROUND
} hyp_purpose;

typedef struct hyp_session_config { // its options, and
#define HYP_SESSION_OPTION(type, field, ...) HYP_FIELD_##type field;
#include "options.def"
    // A smaller model of the same engine and vocabulary that drafts, in place of the text itself;
    // must outlive the session. NULL: none.
    hyp_model *draft;
    uint64_t due_ns; // with HYP_PURPOSE_DEADLINE: from now
} hyp_session_config;

typedef struct hyp_logit_bias {
    int32_t token;
    float bias;
} hyp_logit_bias;

typedef struct hyp_sampling { // its options, and
#define HYP_SAMPLING_OPTION(type, field, ...) HYP_FIELD_##type field;
#include "options.def"
    const hyp_logit_bias *bias; // bias_count entries, copied
    uint32_t bias_count;
} hyp_sampling;

// HYP_E_ARGUMENT names what is out of its range.
HYP_MUST_USE hyp_status hyp_session_create(hyp_model *model, const hyp_session_config *config,
                                           hyp_session **session);
// A session of the same kind that has the same text so far, without computing it anew: what both
// have in common is kept once. The next begin of either goes on from there. HYP_E_STATE: a call is
// under way; HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_session_fork(const hyp_session *session, hyp_session **fork);
void hyp_session_destroy(
    hyp_session *session); // a call under way is cancelled; its `ended` is not called

// Begins an answer to `tokens`, the whole text so far. What the cache already holds of its start is
// kept. `stops`: texts of any bytes that end the answer and are not part of it; copied.
// HYP_E_CONTEXT: the prompt leaves no room for an answer.
HYP_MUST_USE hyp_status hyp_session_begin(hyp_session *session, const int32_t *tokens,
                                          uint32_t count, const hyp_sampling *sampling,
                                          const hyp_text *stops, uint32_t stop_count);
// Computes a further part of the prompt; *left says how many tokens of it remain. For callers that
// must stay responsive: a batch at most, unless weights are read anew for each.
HYP_MUST_USE hyp_status hyp_session_prefill(hyp_session *session, uint32_t *left);

typedef enum hyp_finish {
    HYP_FINISH_NONE,
    HYP_FINISH_END,
    HYP_FINISH_STOP,
    HYP_FINISH_CONTEXT
} hyp_finish;

typedef struct hyp_piece {
    int32_t token;    // -1 when the step ended the answer without one
    const char *text; // whole characters, may be empty; valid until the next call
    size_t bytes;
    hyp_finish finish; // anything but NONE: this was the last piece
} hyp_piece;

// One more token, with the text that has become certain: no half characters, nothing that may yet
// turn out to be a stop text. Finishes the prompt first where hyp_session_prefill has not.
HYP_MUST_USE hyp_status hyp_session_next(hyp_session *session, hyp_piece *piece);
// The text still held back, when the caller ends the answer early. Valid until the next call.
void hyp_session_flush(hyp_session *session, const char **text, size_t *bytes);

// Pieces that the caller has not passed on, the oldest first, come again from the next
// hyp_session_next on, before anything is computed; copied. For callers that are behind when an
// answer is broken off. HYP_E_STATE: a call is under way, or there is no answer; HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_session_unread(hyp_session *session, const hyp_piece *pieces,
                                           uint32_t count);
// The text so far, prompt and answer: how many tokens, and where they stand until the next call.
uint32_t hyp_session_tokens(const hyp_session *session, const int32_t **tokens);

typedef enum hyp_pooling { HYP_POOL_MEAN, HYP_POOL_CLS, HYP_POOL_LAST } hyp_pooling;
// The pooled final hidden state of `tokens`, scaled to length 1: *dim floats, valid until the next
// call. Drops the session's text.
HYP_MUST_USE hyp_status hyp_session_embed(hyp_session *session, const int32_t *tokens,
                                          uint32_t count, hyp_pooling pooling, const float **vector,
                                          uint32_t *dim);

// Log-probabilities: calls `visit` after each of `tokens` with the natural logarithms (vocab) of
// the next token's distribution. Drops the session's text.
HYP_MUST_USE hyp_status hyp_session_score(
    hyp_session *session, const int32_t *tokens, uint32_t count,
    void (*visit)(void *context, uint32_t position, const float *log_probabilities), void *context);

typedef enum hyp_call_kind {
    HYP_CALL_PREFILL,
    HYP_CALL_NEXT,
    HYP_CALL_EMBED,
    HYP_CALL_SCORE
} hyp_call_kind;
typedef struct hyp_call {
    hyp_call_kind kind;
    const int32_t *tokens; // embed, score: copied
    uint32_t count;
    hyp_pooling pooling;                                                             // embed
    void (*visit)(void *context, uint32_t position, const float *log_probabilities); // score
    // Called when the call has ended, from within hyp_engine_run; may be NULL. Must not call the
    // engine.
    void (*ended)(void *context, hyp_session *session, hyp_status status);
    void *context; // of visit and ended
} hyp_call;
// Begins a call that hyp_engine_run will run; its results are then asked for by hyp_session_result.
// HYP_E_STATE: one is under way.
HYP_MUST_USE hyp_status hyp_session_post(hyp_session *session, const hyp_call *call);
// Ends the call under way soon, with HYP_E_CANCELLED, also where it waits for a source; it may
// still succeed when it is nearly done. The session can be used as before: the next call goes on
// where this one was. No effect when nothing is under way. May be called from within `visit` and
// the sources' `read`.
void hyp_session_cancel(hyp_session *session);
// What the session is for from now on; `due_ns` as in hyp_session_config. No effect while a call is
// under way.
void hyp_session_set_purpose(hyp_session *session, hyp_purpose purpose, uint64_t due_ns);
bool hyp_session_busy(const hyp_session *session); // a call is under way: begin, flush and the
                                                   // blocking calls are refused
typedef struct hyp_result {
    hyp_status status;
    uint32_t left;       // prefill
    hyp_piece piece;     // next
    const float *vector; // embed
    uint32_t dim;
} hyp_result;
// Of the last call that has ended; valid until the next call on this session.
const hyp_result *hyp_session_result(const hyp_session *session);

// ---- Saved sessions: docs/STATE.md has the format. A state is the same on every platform and in
// every tier: what one has saved, any other goes on with.

// Writes the session's text, what has been computed of it, and the answer under way: its sampler,
// stop texts, and what is held back or unread. HYP_E_STATE: a call is under way; HYP_E_IO: `out`
// takes no more; HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_session_save(const hyp_session *session, const hyp_writer *out);
// Makes the session what was saved; hyp_session_next then goes on with the answer that was under
// way, with the tokens and the text that it would have had. The session has a cache of the same
// format, a context that the text fits, and the same context shift where the answer is to meet it
// at the same place; `lookup` and `draft` may differ. On failure nothing changes. HYP_E_STATE: a
// call is under way; HYP_E_FORMAT: damaged; HYP_E_UNSUPPORTED: of a newer version; HYP_E_ARGUMENT:
// of another model or cache format; HYP_E_CONTEXT; HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_session_restore(hyp_session *session, const void *state, size_t bytes);
// What a session for `state` is created with: fills `context`, `context_shift`, `context_keep`,
// `cache` and `lookup`, and leaves the rest. HYP_E_FORMAT, HYP_E_UNSUPPORTED and HYP_E_ARGUMENT as
// above.
HYP_MUST_USE hyp_status hyp_model_state_config(hyp_model *model, const void *state, size_t bytes,
                                               hyp_session_config *config);

typedef struct hyp_session_stats {
    uint32_t context, used;         // tokens
    uint32_t prompt_tokens, reused; // of the last begin: computed, and taken from the cache
    uint32_t answer_tokens;
    uint32_t batched; // of them, computed in one step with other sessions' tokens
    uint32_t drafted, accepted;
    uint32_t shifts; // of the context
    // Of weights, that had to be read for it because they do not stay in memory; those of a draft
    // model too.
    uint64_t read_bytes;
    uint64_t prompt_ns, answer_ns;
    uint64_t latency_ns[4]; // of the last answers' tokens, up to HYP_LATENCIES of them: the 50th,
                            // 90th, 95th and 99th percentile
} hyp_session_stats;
enum { HYP_LATENCIES = 1024 };
hyp_session_stats hyp_session_get_stats(const hyp_session *session);

typedef struct hyp_operation { // of a step, with `profile`; since the session was created
    const char *name;
    uint32_t layer;             // UINT32_MAX: none
    uint64_t ns, bytes, macs;   // bytes of weights or of the cache, multiply-adds
    uint64_t began_ns, last_ns; // of the last step
} hyp_operation;
// The operation number `index` of a step, in order; false past the last, and for a session without
// `profile`.
bool hyp_session_operation(const hyp_session *session, uint32_t index, hyp_operation *operation);
void hyp_session_reset_profile(hyp_session *session); // operations and latencies begin anew

typedef struct hyp_peaks {
    double bytes_per_ns; // that one thread reads from memory
    double macs_per_ns;  // of the fastest product of 4-bit weights, all operands in the first cache
} hyp_peaks;
// Measures this machine, for some 0.1 s. Zeros when there is no memory for it.
hyp_peaks hyp_engine_measure(hyp_engine *engine);

// ---- Files

// A JSON object {version, metadata: {key: value}, tensors: [{name, type, shape, bytes}], ...}.
// Arrays of more than 8 elements are shown as {count, first}. *json lives until the next call on
// this engine. May suspend.
HYP_MUST_USE hyp_status hyp_engine_inspect(hyp_engine *engine, const hyp_source *sources,
                                           uint32_t count, const char **json, size_t *bytes);

typedef struct hyp_quantization {
    const char
        *format; // of the float matrices: "Q4_K", "Q8_0", "F16" ...; vectors stay as they are
    const hyp_source *imatrix; // what hyp_session_write_imatrix wrote, or an importance matrix
                               // of llama.cpp in GGUF; NULL: none
    float density; // of the layers' matrices after pruning, above 0 and at most 1; 0: nothing is
                   // pruned. With "Q4_0" only
} hyp_quantization;

// Writes the model anew. May suspend.
HYP_MUST_USE hyp_status hyp_engine_quantize(hyp_engine *engine, const hyp_source *sources,
                                            uint32_t count, const hyp_quantization *how,
                                            const hyp_writer *out);
// Writes what the texts scored so far by a session with `calibrate` have shown of each matrix's
// input, as GGUF.
HYP_MUST_USE hyp_status hyp_session_write_imatrix(const hyp_session *session,
                                                  const hyp_writer *out);

// ---- Measuring
//
// Each call runs sessions of its own to their ends and gives a JSON object, which lives until the
// next call on this engine. May suspend. HYP_E_CANCELLED: `progress` returned false.

typedef struct hyp_bench_config {
    hyp_session_config session;                  // context 0: what the runs take, at least 512
    uint32_t prompt_tokens, answer_tokens, runs; // 0: 126, 64, 5; HYP_BENCH_RUNS_MOST runs at most
    bool profile; // also each operation and layer, and hyp_engine_measure
    bool trace;   // also the last steps, as events for Perfetto
    bool (*progress)(void *context, uint64_t done, uint64_t total); // in runs; may be NULL
    void *progress_context;
} hyp_bench_config;
enum { HYP_BENCH_RUNS_MOST = 64 };

// Measures prompt and answer speed, after a run to warm up: {promptTokensPerSecond,
// answerTokensPerSecond, promptTokens, answerTokens, runs, memoryPeakBytes, kernels, threads,
// byWorkers, repeated, latencyMs: {p50, p90, p95, p99}, operationMs: {name: ms}}. The speeds are
// medians of the runs. `profile` adds peaks: {gbPerSecond, gmacPerSecond}, and prompt and answer:
// {operations: {name: {usPerToken, gbPerSecond, gmacPerSecond}}, layersUsPerToken: [...]};
// `trace` adds traceEvents: [...].
HYP_MUST_USE hyp_status hyp_model_bench(hyp_model *model, const hyp_bench_config *config,
                                        const char **json, size_t *bytes);

typedef struct hyp_scoring_config {
    hyp_session_config session; // `lookup` and `draft` do not matter: nothing is drafted
    bool (*progress)(void *context, uint64_t done, uint64_t total); // in bytes; may be NULL
    void *progress_context;
} hyp_scoring_config;

// How well the model predicts `texts`, each for itself, by windows of a whole context, each from an
// empty cache: {perplexity, tokens}. With `reference`, another model of the same engine and
// vocabulary or NULL, also {divergence, sameTop}: the mean Kullback-Leibler divergence in nats of
// the model's predictions from the reference's, and how often their likeliest tokens agree.
// HYP_E_ARGUMENT: there is no token to predict, or the reference has another vocabulary.
HYP_MUST_USE hyp_status hyp_model_perplexity(hyp_model *model, const hyp_text *texts,
                                             uint32_t count, hyp_model *reference,
                                             const hyp_scoring_config *config, const char **json,
                                             size_t *bytes);

// Writes an importance matrix for hyp_engine_quantize: on `texts`, each for itself, what each
// column of the weights counts for. {bytes, tokens}: of the file, and of the texts. HYP_E_ARGUMENT:
// the texts have no token.
HYP_MUST_USE hyp_status hyp_model_calibrate(hyp_model *model, const hyp_text *texts, uint32_t count,
                                            const hyp_scoring_config *config, const hyp_writer *out,
                                            const char **json, size_t *bytes);

#ifdef __cplusplus
}
#endif

#endif
