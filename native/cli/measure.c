// perplexity and calibrate: what texts say of a model.
#include "cli.h"
#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct texts { // of a file: one, or its lines
    char *data;
    hyp_text *at;
    uint32_t count;
} texts;

static void add_text(texts *t, const char *data, size_t bytes) {
    if (bytes) t->at[t->count++] = (hyp_text){data, bytes};
}

// Returns the exit code; says what has failed.
static int read_texts(texts *t, const options *o, const char *path) {
    if (strcmp(path, "-") != 0 && !freopen(path, "rb", stdin)) {
        fprintf(stderr, "hyperion: can not open %s: %s\n", path, strerror(errno));
        return 1;
    }
    size_t bytes, lines = 1;
    t->data = text_argument(NULL, &bytes);
    if (!t->data) return not_read();
    for (size_t i = 0; i < bytes && o->own.lines; i++) lines += t->data[i] == '\n';
    t->at = malloc(lines * sizeof *t->at);
    if (!t->at) return not_read();
    const char *at = t->data, *end = t->data + bytes;
    for (const char *line; o->own.lines && (line = memchr(at, '\n', (size_t)(end - at)));) {
        add_text(t, at, (size_t)(line - at));
        at = line + 1;
    }
    add_text(t, at, (size_t)(end - at));
    return 0;
}

static void free_texts(texts *t) {
    free(t->data);
    free(t->at);
}

static bool scoring(void *context, uint64_t done, uint64_t total) {
    if (!((const options *)context)->own.quiet)
        progress_bar(&(progress){.what = "scoring", .done = done, .total = total});
    return !interrupted;
}

static hyp_scoring_config scoring_config(const options *o) {
    return (hyp_scoring_config){
        .session = o->session, .progress = scoring, .progress_context = (void *)(uintptr_t)o};
}

static void print_perplexity(const options *o, hyp_text json) {
    if (o->own.json) {
        print_line(json);
        return;
    }
    printf("perplexity %.4f over %.0f tokens\n", json_number(json, "perplexity"),
           json_number(json, "tokens"));
    if (o->own.against)
        printf("mean KL divergence %.6f nats from the reference, whose likeliest token is this "
               "model's in %.2f %%\n",
               json_number(json, "divergence"), json_number(json, "sameTop") * 100);
}

int verb_perplexity(const options *o, int argc, char **argv) {
    (void)argc;
    loaded l;
    texts t = {0};
    int code = load(&l, o, argv[0], o->own.against);
    if (!code) code = read_texts(&t, o, argv[1]);
    if (!code) {
        hyp_text json;
        hyp_scoring_config config = scoring_config(o);
        hyp_status status = hyp_model_perplexity(l.main.model, t.at, t.count, l.other.model,
                                                 &config, &json.data, &json.bytes);
        if (status) code = failed(&l, status);
        else print_perplexity(o, json);
    }
    free_texts(&t);
    return unload(&l, code);
}

typedef struct calibration {
    const loaded *l;
    const options *o;
    const texts *texts;
} calibration;
static hyp_status write_imatrix(const hyp_writer *out, void *context, hyp_text *json) {
    calibration *c = context;
    hyp_scoring_config config = scoring_config(c->o);
    return hyp_model_calibrate(c->l->main.model, c->texts->at, c->texts->count, &config, out,
                               &json->data, &json->bytes);
}

int verb_calibrate(const options *o, int argc, char **argv) {
    loaded l;
    texts t = {0};
    char path[4096];
    size_t stem = strlen(argv[0]);
    if (stem > 5 && !strcmp(argv[0] + stem - 5, ".gguf")) stem -= 5;
    snprintf(path, sizeof path, "%.*s.imatrix.gguf", (int)stem, argv[0]);
    int code = load(&l, o, argv[0], NULL);
    if (!code) code = read_texts(&t, o, argv[1]);
    if (!code)
        code = write_file(&l, o, argc > 2 ? argv[2] : path, write_imatrix,
                          &(calibration){&l, o, &t});
    free_texts(&t);
    return unload(&l, code);
}
