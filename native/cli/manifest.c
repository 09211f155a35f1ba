// manifest: the hashes by which a model is held against what it should be. As glue/cli/manifest.js.
#include "cli.h"
#include "json.h"

#include "../../src/base/sha256.h"
#include "../../src/port.h"
#include "../../src/stream/journal.h"

#include <stdlib.h>
#include <string.h>

typedef struct hashes {
    uint64_t size, chunk_bytes;
    uint32_t chunks;
    char (*of)[HYP_SHA256_HEX]; // each chunk
    char whole[HYP_SHA256_HEX];
} hashes;

static int read_hashes(hashes *h, const options *o, const hyp_source *source, const char *path) {
    h->size = source->bytes;
    h->chunk_bytes = o->own.chunk;
    while ((h->size + h->chunk_bytes - 1) / h->chunk_bytes > HYP_JOURNAL_CHUNKS_MOST)
        h->chunk_bytes *= 2;
    h->chunks = (uint32_t)((h->size + h->chunk_bytes - 1) / h->chunk_bytes);
    h->of = malloc(h->chunks * sizeof *h->of);
    char *buffer = malloc(h->chunk_bytes);
    hyp_sha256 whole;
    uint8_t sum[HYP_SHA256_BYTES];
    hyp_sha256_init(&whole);
    bool done = h->of && buffer;
    for (uint32_t i = 0; done && i < h->chunks && !interrupted; i++) {
        uint64_t at = i * h->chunk_bytes, left = h->size - at;
        size_t n = (size_t)(left < h->chunk_bytes ? left : h->chunk_bytes);
        done = !hyp_port_read(source->handle, at, buffer, n);
        if (!done) break;
        hyp_sha256_text(buffer, n, h->of[i]);
        hyp_sha256_add(&whole, buffer, n);
        if (!o->own.quiet && !o->own.json)
            progress_bar(
                &(progress){.what = "hashing", .done = at + n, .total = h->size, .bytes = true});
    }
    free(buffer);
    if (interrupted) return 130;
    if (!done) {
        fprintf(stderr, "hyperion: can not read %s (HYP_E_IO)\n", path);
        return 1;
    }
    hyp_sha256_end(&whole, sum);
    hyp_sha256_hex(sum, h->whole);
    return 0;
}

static void say(output *out, const char *text) { output_write(out, text, strlen(text)); }

// The same text as of JSON.stringify(…, null, 1).
static int write_manifest(const hashes *h, const char *path, const char *to) {
    const char *slash = strrchr(path, '/');
    char numbers[200];
    output out;
    if (!output_open(&out, to)) return not_written(to, &out);
    say(&out, "{\n \"format\": \"hyperion-manifest\",\n \"version\": 1,\n \"name\": ");
    json_string(out.file, slash ? slash + 1 : path, strlen(slash ? slash + 1 : path));
    snprintf(numbers, sizeof numbers,
             ",\n \"size\": %llu,\n \"chunkBytes\": %llu,\n \"sha256\": \"%s\",\n \"chunks\": [",
             (unsigned long long)h->size, (unsigned long long)h->chunk_bytes, h->whole);
    say(&out, numbers);
    for (uint32_t i = 0; i < h->chunks; i++) {
        say(&out, i ? ",\n  \"" : "\n  \"");
        say(&out, h->of[i]);
        say(&out, "\"");
    }
    say(&out, "\n ]\n}\n");
    return output_close(&out) ? 0 : not_written(to, &out);
}

int verb_manifest(const options *o, int argc, char **argv) {
    (void)argc;
    if (o->own.encrypt || o->own.key_file || o->own.key_id) {
        fputs("hyperion: this command does not encrypt: use 'npx hyperion manifest'\n", stderr);
        return 1;
    }
    hyp_source source;
    hashes h = {0};
    char *usual = NULL;
    if (hyp_source_open_file(argv[0], &source)) {
        fprintf(stderr, "hyperion: %s (HYP_E_IO)\n", hyp_source_error());
        return 1;
    }
    int code = 1;
    if (!source.bytes) fprintf(stderr, "hyperion: %s is empty (HYP_E_FORMAT)\n", argv[0]);
    else code = read_hashes(&h, o, &source, argv[0]);
    hyp_source_close(&source);
    if (!code && !o->own.out) {
        usual = malloc(strlen(argv[0]) + sizeof ".manifest.json");
        strcat(strcpy(usual, argv[0]), ".manifest.json");
    }
    const char *to = o->own.out ? o->own.out : usual;
    if (!code) code = write_manifest(&h, argv[0], to);
    if (!code && o->own.json) {
        printf("{\"manifest\":");
        json_string(stdout, to, strlen(to));
        printf(",\"chunks\":%u,\"chunkBytes\":%llu,\"sha256\":\"%s\"}\n", h.chunks,
               (unsigned long long)h.chunk_bytes, h.whole);
    } else if (!code && !o->own.quiet)
        printf("%s: %u chunk%s, SHA-256 %s\n", to, h.chunks, h.chunks == 1 ? "" : "s", h.whole);
    free(usual);
    free(h.of);
    return code;
}
