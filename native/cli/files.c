// info, quantize and prune: files of models, without computing with them.
#include "cli.h"
#include "json.h"

#include "../../src/gguf/gguf.h"
#include "../../src/text/unicode.h"

#include <string.h>

static int print_table(loaded *l) {
    static hyp_gguf gguf;
    static hyp_budget budget;
    static hyp_fault fault;
    hyp_status status = hyp_gguf_open(&gguf, &budget, l->main.sources, l->main.shards, &fault);
    if (status) {
        fprintf(stderr, "hyperion: %s (%s)\n", fault.text, hyp_status_name(status));
        hyp_gguf_deinit(&gguf);
        return 1;
    }
    printf("GGUF version %u\n\nmetadata\n", gguf.version);
    for (uint32_t i = 0; i < hyp_gguf_kv_count(&gguf); i++) {
        const hyp_gguf_kv *kv = hyp_gguf_kv_at(&gguf, i);
        hyp_text key = hyp_gguf_key(&gguf, kv);
        printf("  %-44.*s ", (int)key.bytes, key.data);
        if (kv->type == HYP_GGUF_STRING) {
            const char *text = hyp_gguf_value(&gguf, kv);
            size_t shown = kv->bytes > 60 ? 60 - hyp_rune_unfinished(text, 60) : (size_t)kv->bytes;
            json_string(stdout, text, shown);
            puts(shown < kv->bytes ? " ..." : "");
        } else if (kv->type == HYP_GGUF_ARRAY)
            printf("[%llu %s]\n", (unsigned long long)kv->count,
                   kv->element == HYP_GGUF_STRING ? "texts" : "numbers");
        else if (kv->type == HYP_GGUF_BOOL)
            puts(hyp_gguf_number(&gguf, kv, 0) != 0 ? "true" : "false");
        else printf("%.9g\n", hyp_gguf_number(&gguf, kv, 0));
    }
    printf("\ntensors\n  %-32s %-6s %22s %12s\n", "name", "type", "shape", "bytes");
    uint64_t parameters = 0, bytes = 0;
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(&gguf); i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(&gguf, i);
        hyp_text name = hyp_gguf_tensor_name(&gguf, t);
        char shape[96] = "";
        for (uint32_t d = 0; d < t->dims; d++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%llu", d ? " x " : "",
                     (unsigned long long)t->dim[d]);
        printf("  %-32.*s %-6s %22s %12llu\n", (int)name.bytes, name.data, hyp_format_name(t->type),
               shape, (unsigned long long)t->bytes);
        parameters += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        bytes += t->bytes;
    }
    printf("\n%u tensors, %.2f M parameters, %.2f MB", hyp_gguf_tensor_count(&gguf),
           (double)parameters / 1e6, (double)bytes / 1e6);
    if (parameters) printf(", %.2f bits per weight", (double)bytes * 8 / (double)parameters);
    putchar('\n');
    hyp_gguf_deinit(&gguf);
    return 0;
}

int verb_info(const options *o, int argc, char **argv) {
    (void)argc;
    loaded l = {0};
    if (!open_sources(&l.main, argv[0])) return 1;
    if (!o->own.json) return unload(&l, print_table(&l));
    l.engine = hyp_engine_create(NULL);
    const char *json;
    size_t bytes;
    hyp_status status = hyp_engine_inspect(l.engine, l.main.sources, l.main.shards, &json, &bytes);
    if (!status) print_line((hyp_text){json, bytes});
    return unload(&l, status ? failed(&l, status) : 0);
}

int not_written(const char *path, const output *out) {
    clear_bar();
    if (interrupted) return 130; // what it waited for was broken off
    fprintf(stderr, "hyperion: can not write %s: %s\n", path, strerror(out->error));
    return 1;
}

static bool write_out(void *context, const void *data, size_t count) {
    return output_write(&((written *)context)->out, data, count);
}
static bool converting(void *context, uint64_t done, uint64_t total) {
    if (!((written *)context)->o->own.quiet)
        progress_bar(
            &(progress){.what = "converting", .done = done, .total = total, .bytes = true});
    return !interrupted;
}

int write_file(const loaded *l, const options *o, const char *path,
               hyp_status (*write)(const hyp_writer *out, void *context, hyp_text *json),
               void *context) {
    written w = {.o = o};
    hyp_text json = {0};
    if (!output_open(&w.out, path)) return not_written(path, &w.out);
    hyp_status status = write(&(hyp_writer){write_out, converting, &w}, context, &json);
    if (status) {
        output_discard(&w.out);
        return w.out.error ? not_written(path, &w.out) : failed(l, status);
    }
    if (!output_close(&w.out)) return not_written(path, &w.out);
    if (o->own.json && json.bytes) print_line(json);
    else if (o->own.json) printf("{\"bytes\":%llu}\n", (unsigned long long)w.out.bytes);
    else if (!o->own.quiet) printf("%s: %.2f MB\n", path, (double)w.out.bytes / 1e6);
    return 0;
}

int write_state(const loaded *l, const char *path, const hyp_session *session) {
    written w = {0};
    if (!output_open(&w.out, path)) return not_written(path, &w.out);
    hyp_status status = hyp_session_save(session, &(hyp_writer){.write = write_out, .context = &w});
    if (status) {
        output_discard(&w.out);
        return w.out.error ? not_written(path, &w.out) : failed(l, status);
    }
    return output_close(&w.out) ? 0 : not_written(path, &w.out);
}

typedef struct conversion {
    loaded *l;
    hyp_quantization how;
} conversion;
static hyp_status write_model(const hyp_writer *out, void *context, hyp_text *json) {
    conversion *c = context;
    (void)json;
    return hyp_engine_quantize(c->l->engine, c->l->main.sources, c->l->main.shards, &c->how, out);
}

static int convert(const options *o, char **argv, const char *format, float density) {
    loaded l = {0};
    if (!open_sources(&l.main, argv[0])) return unload(&l, 1);
    if (o->own.imatrix && !open_sources(&l.other, o->own.imatrix)) return unload(&l, 1);
    l.engine = hyp_engine_create(&o->engine);
    conversion c = {
        &l,
        {.format = format, .density = density, .imatrix = o->own.imatrix ? l.other.sources : NULL}};
    return unload(&l, write_file(&l, o, argv[1], write_model, &c));
}

int verb_quantize(const options *o, int argc, char **argv) {
    (void)argc;
    return convert(o, argv, argv[2], 0);
}

int verb_prune(const options *o, int argc, char **argv) {
    (void)argc;
    return convert(o, argv, "q4_0", o->own.density);
}
