// libFuzzer: any bytes as the state of a session, as they are, and with the head and the check that
// a state of this model has: whoever wants to can write those. What is accepted goes on, and can be
// saved again; what is refused has a reason, and changes nothing.
//
// usage: fuzz_state seeds DIR    writes states to begin with
#include "../../src/base/bytes.h"
#include "../../src/base/crc32c.h"
#include "../../src/hyperion/hyperion.h"
#include "../sim/tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { HEAD_BYTES = 24, CRC_BYTES = 4, CONTEXT = 40 };

typedef struct bytes {
    uint8_t *data;
    size_t count;
} bytes;

static hyp_engine *engine;
static hyp_model *model;
static uint8_t head[HEAD_BYTES]; // of a state of this model

static bool take(void *context, const void *data, size_t count) {
    bytes *b = context;
    b->data = realloc(b->data, b->count + count);
    memcpy(b->data + b->count, data, count);
    b->count += count;
    return true;
}

static hyp_session *create(const hyp_session_config *config) {
    hyp_session *session;
    if (hyp_session_create(model, config, &session)) abort();
    return session;
}

static bytes saved(const hyp_session *session) {
    bytes state = {0};
    if (hyp_session_save(session, &(hyp_writer){.write = take, .context = &state})) abort();
    return state;
}

// A state with something of all that one may have.
static bytes seed(uint32_t kind) {
    static const hyp_logit_bias liked[] = {{270, 3}, {271, -3}};
    static const hyp_sampling samplings[] = {
        {.temperature = 1, .seed = 4, .bias = liked, .bias_count = 2},
        {.temperature = 1, .mirostat_tau = 3, .seed = 5},
        {.repeat_penalty = 1.2f, .dry_multiplier = 1, .dry_penalty_last = 20},
        {.temperature = 1, .xtc_probability = 0.5f, .top_k = 20, .min_p = 0.01f}};
    const hyp_text stops[] = {{"zzz", 3}, {"y", 1}};
    hyp_session *s = create(&(hyp_session_config){.context = CONTEXT,
                                                  .cache = (hyp_cache)(kind & 1),
                                                  .lookup = kind & 2,
                                                  .context_shift = kind & 4});
    int32_t prompt[9] = {1};
    for (int i = 1; i < 9; i++) prompt[i] = 262 + i % 3 * 5;
    hyp_piece piece = {0};
    if (hyp_session_begin(s, prompt, 3 + kind % 7, &samplings[kind % 4], stops, kind % 3)) abort();
    for (uint32_t i = 0; i < kind % 5 * 3 && !piece.finish; i++)
        if (hyp_session_next(s, &piece)) abort();
    if (kind % 2 && hyp_session_unread(s, &(hyp_piece){.token = 7, .text = "seven", .bytes = 5}, 1))
        abort();
    bytes state = saved(s);
    hyp_session_destroy(s);
    return state;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    size_t size;
    static uint8_t *file;
    file = tiny_model(5, &size);
    hyp_source source = hyp_source_of_memory(file, size);
    engine = hyp_engine_create(&(hyp_engine_config){.threads = 1});
    if (!engine || hyp_model_open(engine, &source, 1,
                                  &(hyp_model_config){.prompt_cache_bytes = 100000}, &model))
        abort();
    bytes state = seed(0);
    memcpy(head, state.data, HEAD_BYTES);
    free(state.data);
    if (*argc != 3 || strcmp((*argv)[1], "seeds")) return 0;
    for (uint32_t kind = 0; kind < 8; kind++) {
        char path[4096];
        state = seed(kind);
        snprintf(path, sizeof path, "%s/state-%u", (*argv)[2], kind);
        FILE *out = fopen(path, "wb");
        if (!out || fwrite(state.data, 1, state.count, out) != state.count || fclose(out)) exit(1);
        free(state.data);
    }
    exit(0);
}

static void try_state(const uint8_t *data, size_t size) {
    hyp_session_config config = {.batch = 8};
    uint8_t *exact = malloc(size ? size : 1); // ends where the state does
    memcpy(exact, data, size);
    hyp_status status = hyp_model_state_config(model, exact, size, &config);
    if (config.context > 4 * CONTEXT || status) config = (hyp_session_config){.context = CONTEXT};
    hyp_session *session;
    if (hyp_session_create(model, &config, &session)) {
        free(exact); // it keeps more than its context has
        return;
    }
    status = hyp_session_restore(session, exact, size);
    free(exact);
    if (status && strlen(hyp_engine_error(engine)) < 12) abort();
    hyp_piece piece = {0};
    const int32_t *tokens;
    if (status && (hyp_session_tokens(session, &tokens) || !hyp_session_next(session, &piece)))
        abort();
    for (int i = 0; i < 4 && !status && !piece.finish; i++)
        if (hyp_session_next(session, &piece)) break;
    bytes again = saved(session);
    if (hyp_session_restore(session, again.data, again.count)) abort(); // what it saves is sound
    free(again.data);
    hyp_session_destroy(session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try_state(data, size);
    if (size < HEAD_BYTES + CRC_BYTES) return 0;
    uint8_t *mended = malloc(size);
    memcpy(mended, data, size);
    memcpy(mended, head, HEAD_BYTES);
    hyp_store_u64(mended + 8, size);
    hyp_store_u32(mended + size - CRC_BYTES, hyp_crc32c(0, mended, size - CRC_BYTES));
    try_state(mended, size);
    free(mended);
    return 0;
}
