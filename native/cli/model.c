#include "cached.h"
#include "cli.h"

#include "../../src/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static bool loading(void *context, uint64_t done, uint64_t total) {
    const opened *file = context;
    hyp_loading now = {0};
    if (file->model) now = hyp_model_loading(file->model);
    if (!file->quiet)
        progress_bar(&(progress){.what = "loading",
                                 .done = done,
                                 .total = total,
                                 .bytes = true,
                                 .layers_ready = now.layers_ready,
                                 .layers = now.layers});
    return !interrupted;
}

static bool open_source(const char *path, hyp_source *source) {
    if (is_remote(path)) return cached_open(path, source);
    if (!hyp_source_open_file(path, source)) return true;
    fprintf(stderr, "hyperion: %s\n", hyp_source_error());
    return false;
}

// Where "story" is: with the program's sources, or installed with it. False: neither.
static bool find_story(char path[PATH_BYTES]) {
    static const char *const places[] = {"/../../models/story.gguf",
                                         "/../share/hyperion/story.gguf"};
    char program[PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0) return false;
    program[n] = 0;
    *strrchr(program, '/') = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int bytes = snprintf(path, PATH_BYTES, "%s%s", program, places[i]);
        if (bytes < PATH_BYTES && access(path, R_OK) == 0) return true;
    }
    return false;
}

// Opens `path`, and the other parts when it is the first of a split model (-00001-of-0000N).
bool open_sources(opened *file, const char *path) {
    char name[PATH_BYTES];
    size_t length = strlen(path);
    unsigned parts = 1;
    if (!strcmp(path, "story") && find_story(name)) length = strlen(name);
    else if (length < sizeof name) memcpy(name, path, length + 1);
    else {
        fprintf(stderr, "hyperion: can not open %s: %s\n", path, strerror(ENAMETOOLONG));
        return false;
    }
    char *tail = length > 20 ? name + length - 20 : NULL; // -00001-of-00003.gguf
    if (tail && sscanf(tail, "-00001-of-%5u.gguf", &parts) != 1) parts = 1;
    if (parts == 0 || parts > MAX_SHARDS) parts = 1;
    for (unsigned i = 0; i < parts; i++) {
        if (parts > 1) snprintf(tail, 21, "-%05u-of-%05u.gguf", i + 1, parts);
        if (!open_source(name, &file->sources[i])) return false;
        file->shards = i + 1;
    }
    return true;
}

static int open_model(loaded *l, const options *o, opened *file, const char *path) {
    if (!open_sources(file, path)) return 1;
    file->quiet = o->own.quiet;
    hyp_status status = hyp_model_open(l->engine, file->sources, file->shards,
                                       &(hyp_model_config){.context = o->session.context,
                                                           .progressive = o->model.progressive,
                                                           .progress = loading,
                                                           .progress_context = file},
                                       &file->model);
    return status ? failed(l, status) : 0;
}

int load(loaded *l, const options *o, const char *path, const char *other) {
    *l = (loaded){0};
    hyp_engine_config engine = o->engine;
    // HYP_ISA_MASK=0 asks for the scalar kernels; a mask of 0 would mean all, so a bit that no
    // kernel has goes with it.
    const char *mask = getenv("HYP_ISA_MASK");
    if (mask) engine.isa_mask = (uint32_t)strtoul(mask, NULL, 0) | 1u << 31;
    l->engine = hyp_engine_create(&engine);
    if (!l->engine) {
        fputs("hyperion: not enough memory for the engine\n", stderr);
        return 1;
    }
    uint64_t start = hyp_port_now_ns();
    int code = open_model(l, o, &l->main, path);
    l->load_s = (double)(hyp_port_now_ns() - start) / 1e9;
    if (code || !other) return code;
    code = open_model(l, o, &l->other, other);
    // A draft model runs on one thread: it is too small to share.
    if (!code && other == o->own.draft) hyp_model_stop_workers(l->other.model);
    return code;
}

static void close_sources(opened *file) {
    for (uint32_t i = 0; i < file->shards; i++) {
        cached_close(&file->sources[i]);
        hyp_source_close(&file->sources[i]);
    }
}

int unload(loaded *l, int code) {
    hyp_model_close(l->other.model);
    hyp_model_close(l->main.model);
    hyp_engine_destroy(l->engine);
    close_sources(&l->other);
    close_sources(&l->main);
    return code;
}

int failed(const loaded *l, hyp_status status) {
    clear_bar();
    fprintf(stderr, "hyperion: %s (%s)\n", hyp_engine_error(l->engine), hyp_status_name(status));
    return status == HYP_E_CANCELLED ? 130 : 1;
}

hyp_session_config session_config(const loaded *l, const options *o) {
    hyp_session_config config = o->session;
    config.draft = o->own.draft ? l->other.model : NULL;
    return config;
}
