// After a model is open the engine takes nothing from the C library's heap: malloc is interposed
// and counted.
#include "../src/hyperion/hyperion.h"
#include "../src/stream/source.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__GLIBC__) && defined(__x86_64__) && !__has_feature(address_sanitizer) &&              \
    !__has_feature(thread_sanitizer)
#define INTERPOSED 1
static volatile int counting, counted;

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);
void *malloc(size_t bytes) {
    counted += counting;
    return __libc_malloc(bytes);
}
void *calloc(size_t n, size_t bytes) {
    counted += counting;
    return __libc_calloc(n, bytes);
}
void *realloc(void *block, size_t bytes) {
    counted += counting;
    return __libc_realloc(block, bytes);
}
void *aligned_alloc(size_t align, size_t bytes) {
    counted += counting;
    return __libc_memalign(align, bytes);
}
void free(void *block) { __libc_free(block); }
#else
#define INTERPOSED 0
static int counting, counted;
#endif

static void no_malloc_after_open(void) {
    size_t bytes;
    uint8_t *story = read_file("models/story.gguf", &bytes);
    // Some weights are paged.
    hyp_engine *engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = 7000000});
    hyp_source source = hyp_source_of_memory(story, bytes);
    hyp_model *model;
    CHECK_MSG(hyp_model_open(engine, &source, 1, NULL, &model) == HYP_OK, "%s",
              hyp_engine_error(engine));
    counting = 1;
    hyp_session *session;
    CHECK(hyp_session_create(model, &(hyp_session_config){.context = 128}, &session) == HYP_OK);
    const int32_t *tokens;
    uint32_t count;
    for (int round = 0; round < 2; round++) {
        CHECK(hyp_model_tokenize(model, "Once upon a time", 16, HYP_TEXT_ADD_SPECIAL, &tokens,
                                 &count) == HYP_OK);
        CHECK(hyp_session_begin(session, tokens, count,
                                &(hyp_sampling){.temperature = 0.8f, .top_k = 40, .seed = 3}, NULL,
                                0) == HYP_OK);
        hyp_piece piece = {.finish = HYP_FINISH_NONE};
        for (int i = 0; i < 20 && !piece.finish; i++)
            CHECK(hyp_session_next(session, &piece) == HYP_OK);
    }
    hyp_session_destroy(session);
    counting = 0;
    CHECK_MSG(counted == 0, "%d calls of malloc", counted);
    counting = INTERPOSED;
    free(malloc(10)); // the count does count
    counting = 0;
    CHECK(counted == INTERPOSED);
    hyp_model_close(model);
    hyp_engine_destroy(engine);
    free(story);
}

int main(void) {
    RUN(no_malloc_after_open);
    return finish();
}
