// cache: what is kept of models, and how it is looked after. As glue/cli/cache.js.
#include "cached.h"
#include "cli.h"
#include "json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STALE_S = 24 * 3600 }; // then nobody writes any more what is begun

typedef struct reference { // to a chunk
    const char *hash;
    uint64_t bytes;
} reference;

typedef struct references {
    reference *at; // in the order of their hashes, each once
    size_t count;
} references;

static int by_hash(const void *a, const void *b) {
    return memcmp(((const reference *)a)->hash, ((const reference *)b)->hash, HYP_JOURNAL_HASH);
}

// What the files refer to, but for those named `except` (NULL: none is left out).
static references referred(const cache_list *list, const char *except) {
    references all = {0};
    size_t most = 0;
    for (size_t i = 0; i < list->count; i++) most += list->files[i].journal.chunks + 1;
    all.at = malloc((most + 1) * sizeof *all.at);
    for (size_t i = 0; all.at && i < list->count; i++) {
        const kept *file = &list->files[i];
        if (except && !strcmp(file->name, except)) continue;
        for (uint32_t c = 0; c < file->journal.chunks; c++)
            if (file->hashes[c])
                all.at[all.count++] = (reference){file->hashes[c],
                                                  hyp_journal_bytes(&file->journal, c)};
        if (file->journal.manifest.data)
            all.at[all.count++] = (reference){file->journal.manifest.data, 0};
    }
    if (all.count) qsort(all.at, all.count, sizeof *all.at, by_hash);
    size_t unique = 0;
    for (size_t i = 0; i < all.count; i++)
        if (!unique || by_hash(&all.at[unique - 1], &all.at[i])) all.at[unique++] = all.at[i];
    all.count = unique;
    return all;
}

static uint64_t sum(const references *all) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < all->count; i++) bytes += all->at[i].bytes;
    return bytes;
}

static bool refers(const references *all, const char *hash) {
    reference key = {hash, 0};
    return bsearch(&key, all->at, all->count, sizeof key, by_hash);
}

// Calls `act` for each entry of a folder below the cache's.
static void each_entry(const char *folder, const char *below,
                       void (*act)(const char *path, const char *name, void *context),
                       void *context) {
    char path[CACHE_PATH_BYTES], inner[CACHE_PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/v1/%s", folder, below) >= CACHE_PATH_BYTES) return;
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < CACHE_PATH_BYTES)
            act(inner, entry->d_name, context);
    if (dir) closedir(dir);
}

// Removes a file that nothing refers to, when it is old: somebody may just be writing it.
static void sweep_entry(const char *path, const char *name, void *context) {
    const references *wanted = context;
    struct stat info;
    if (wanted && strlen(name) == HYP_JOURNAL_HASH && refers(wanted, name)) return;
    if (!stat(path, &info) && S_ISREG(info.st_mode) && time(NULL) - info.st_mtime > STALE_S)
        unlink(path);
}

static void sweep(const char *folder) {
    cache_list list = cache_read(folder);
    references wanted = referred(&list, NULL);
    for (int i = 0; wanted.at && i < 256; i++) {
        char below[16];
        snprintf(below, sizeof below, "chunks/%02x", i);
        each_entry(folder, below, sweep_entry, &wanted);
    }
    each_entry(folder, "temporary", sweep_entry, NULL);
    free(wanted.at);
    cache_free(&list);
}

// ---- ls

static const char *day(struct timespec when, bool whole, char out[32]) {
    struct tm utc;
    gmtime_r(&when.tv_sec, &utc);
    size_t n = strftime(out, 32, whole ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d", &utc);
    if (whole) snprintf(out + n, 32 - n, ".%03dZ", (int)(when.tv_nsec / 1000000));
    return out;
}

static void print_row(const char *size, const char *part, const char *pin, const char *used,
                      const char *model) {
    printf("%12s  %6s  %-6s  %-10s  %s\n", size, part, pin, used, model);
}

static void list_file(const kept *f) {
    char size[32], part[32], used[32];
    uint64_t percent = (uint64_t)((double)f->present_bytes * 100 / (double)f->journal.size);
    snprintf(size, sizeof size, "%.2f MB", (double)f->journal.size / 1e6);
    snprintf(part, sizeof part, "%llu %%", (unsigned long long)percent);
    print_row(size, part, f->pinned ? "pinned" : "", day(f->used, false, used), f->name);
}

static void list_json(const kept *f) {
    char used[32];
    printf("{\"name\":");
    json_string(stdout, f->name, strlen(f->name));
    printf(",\"version\":");
    json_string(stdout, f->version, strlen(f->version));
    printf(",\"size\":%llu,\"cached\":%llu,\"complete\":%s,\"pinned\":%s,\"encrypted\":%s,\"used\":"
           "\"%s\"}",
           (unsigned long long)f->journal.size, (unsigned long long)f->present_bytes,
           f->present == f->journal.chunks ? "true" : "false", f->pinned ? "true" : "false",
           f->journal.sealed ? "true" : "false", day(f->used, true, used));
}

static int list_all(const options *o, const char *folder, const cache_list *list) {
    references all = referred(list, NULL);
    unsigned long long bytes = sum(&all);
    if (o->own.json) {
        printf("{\"where\":");
        json_string(stdout, folder, strlen(folder));
        printf(",\"bytes\":%llu,\"files\":[", bytes);
    } else if (list->count) print_row("size", "cached", "", "used", "model");
    for (size_t i = 0; i < list->count; i++) {
        if (o->own.json && i) putchar(',');
        (o->own.json ? list_json : list_file)(&list->files[i]);
    }
    if (o->own.json) printf("]}\n");
    else if (!list->count) printf("the cache at %s is empty\n", folder);
    else
        printf("\n%zu file%s, %.2f MB in %s\n", list->count, list->count == 1 ? "" : "s",
               (double)bytes / 1e6, folder);
    free(all.at);
    return 0;
}

// ---- rm, pin, unpin

static void journal_path(const char *folder, const kept *file, char out[CACHE_PATH_BYTES]) {
    snprintf(out, CACHE_PATH_BYTES, "%s/v1/files/%s", folder, file->id);
}

static int remove_model(const options *o, const char *folder, const cache_list *list,
                        const char *model) {
    char path[CACHE_PATH_BYTES];
    references before = referred(list, NULL), after = referred(list, model);
    // The journals first: what is left of the rest is swept some day.
    for (size_t i = 0; i < list->count; i++)
        if (!strcmp(list->files[i].name, model)) {
            journal_path(folder, &list->files[i], path);
            unlink(path);
        }
    for (size_t i = 0; i < before.count; i++)
        if (!refers(&after, before.at[i].hash)) {
            chunk_path(folder, before.at[i].hash, path);
            unlink(path);
        }
    unsigned long long bytes = sum(&before) - sum(&after);
    free(before.at);
    free(after.at);
    sweep(folder);
    if (o->own.json) printf("{\"bytes\":%llu}\n", bytes);
    else if (!o->own.quiet) printf("%s: %.2f MB are free now\n", model, (double)bytes / 1e6);
    return 0;
}

static bool append(const char *folder, const kept *file, const char *line) {
    char path[CACHE_PATH_BYTES];
    journal_path(folder, file, path);
    int descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    size_t bytes = strlen(line);
    bool done = descriptor >= 0 && write(descriptor, line, bytes) == (ssize_t)bytes;
    if (!done)
        fprintf(stderr, "hyperion: can not write %s: %s (HYP_E_IO)\n", path, strerror(errno));
    if (descriptor >= 0) close(descriptor);
    return done;
}

static int pin_model(const options *o, const char *folder, const cache_list *list,
                     const char *model, bool pinned) {
    for (size_t i = 0; i < list->count; i++)
        if (!strcmp(list->files[i].name, model) &&
            !append(folder, &list->files[i], pinned ? "pin\n" : "unpin\n"))
            return 1;
    if (o->own.json) printf("{\"pinned\":%s}\n", pinned ? "true" : "false");
    return 0;
}

// ---- verify

typedef struct verification {
    uint32_t *odd[2]; // indices: those that are damaged, those that are missing
    uint32_t count[2];
    uint64_t done, total;
} verification;

static bool check_chunk(verification *v, const char *folder, const kept *file, uint32_t index,
                        char *buffer) {
    char path[CACHE_PATH_BYTES], line[32];
    chunk_state state = read_chunk(folder, file, index, buffer);
    v->done += hyp_journal_bytes(&file->journal, index);
    if (state == CHUNK_SOUND) return true;
    int kind = state == CHUNK_MISSING;
    v->odd[kind][v->count[kind]++] = index;
    chunk_path(folder, file->hashes[index], path);
    if (state == CHUNK_DAMAGED) unlink(path);
    snprintf(line, sizeof line, "%u -\n", index);
    return append(folder, file, line);
}

static void print_indices(const uint32_t *indices, uint32_t count, const char *between) {
    for (uint32_t i = 0; i < count; i++) printf("%s%u", i ? between : "", indices[i]);
}

static void print_verified(const options *o, const kept *f, const verification *v) {
    if (o->own.json) {
        printf("{\"name\":");
        json_string(stdout, f->name, strlen(f->name));
        printf(",\"version\":");
        json_string(stdout, f->version, strlen(f->version));
        printf(",\"chunks\":%u,\"damaged\":[", f->present);
        print_indices(v->odd[0], v->count[0], ",");
        printf("],\"missing\":[");
        print_indices(v->odd[1], v->count[1], ",");
        printf("]}");
        return;
    }
    if (!v->count[0] && !v->count[1]) {
        if (!o->own.quiet) printf("%s: %u chunks are as they should be\n", f->name, f->present);
        return;
    }
    printf("%s: of %u chunks", f->name, f->present);
    for (int kind = 0; kind < 2; kind++) {
        if (!v->count[kind]) continue;
        printf("%s %u %s (", kind && v->count[0] ? "," : "", v->count[kind],
               kind ? "missing" : "damaged");
        print_indices(v->odd[kind], v->count[kind], ", ");
        putchar(')');
    }
    printf("; they are fetched again when it is opened\n");
}

static int verify_file(const options *o, const char *folder, const kept *file, verification *v) {
    char *buffer = malloc(file->journal.chunk_bytes + 1);
    int code = 0;
    for (int kind = 0; kind < 2; kind++) {
        v->odd[kind] = malloc((file->present + 1) * sizeof *v->odd[kind]);
        v->count[kind] = 0;
    }
    for (uint32_t i = 0; buffer && i < file->journal.chunks && !interrupted && !code; i++) {
        if (!file->hashes[i]) continue;
        if (!check_chunk(v, folder, file, i, buffer)) code = 1;
        if (!o->own.quiet && !o->own.json)
            progress_bar(&(progress){
                .what = "verifying", .done = v->done, .total = v->total, .bytes = true});
    }
    if (!interrupted && !code) print_verified(o, file, v);
    if (v->count[0] || v->count[1]) code = 1;
    for (int kind = 0; kind < 2; kind++) free(v->odd[kind]);
    free(buffer);
    return interrupted ? 130 : code;
}

static int verify(const options *o, const char *folder, const cache_list *list, const char *model) {
    verification v = {0};
    int code = 0;
    for (size_t i = 0; i < list->count; i++)
        if (!model || !strcmp(list->files[i].name, model)) v.total += list->files[i].present_bytes;
    if (o->own.json) printf("{\"files\":[");
    bool first = true;
    for (size_t i = 0; i < list->count && code != 130; i++) {
        if (model && strcmp(list->files[i].name, model) != 0) continue;
        if (o->own.json && !first) putchar(',');
        first = false;
        int one = verify_file(o, folder, &list->files[i], &v);
        if (one > code) code = one;
    }
    if (o->own.json) printf("]}\n");
    sweep(folder);
    return code;
}

int verb_cache(const options *o, int argc, char **argv) {
    static const char *const actions[] = {"ls", "rm", "verify", "pin", "unpin"};
    const char *model = argc > 1 ? argv[1] : NULL;
    size_t action = 0;
    while (action < 5 && strcmp(argv[0], actions[action]) != 0) action++;
    if (action == 5)
        return usage_error(NULL,
                           "'%s' is nothing that is done with a cache: ls, rm, verify, pin or "
                           "unpin",
                           argv[0]);
    if (action == 0 && model) return usage_error(NULL, "cache ls takes no MODEL");
    if (action != 0 && action != 2 && !model)
        return usage_error(NULL, "cache %s takes a MODEL, as 'hyperion cache ls' names it",
                           argv[0]);
    char folder[CACHE_PATH_BYTES];
    if (!cache_folder(folder)) return 1;
    cache_list list = cache_read(folder);
    bool found = !model;
    for (size_t i = 0; i < list.count && !found; i++) found = !strcmp(list.files[i].name, model);
    int code = 1;
    if (!found)
        fprintf(stderr, "hyperion: the cache at %s has no file '%s' (HYP_E_ARGUMENT)\n", folder,
                model);
    else if (action == 0) code = list_all(o, folder, &list);
    else if (action == 1) code = remove_model(o, folder, &list, model);
    else if (action == 2) code = verify(o, folder, &list, model);
    else code = pin_model(o, folder, &list, model, action == 3);
    cache_free(&list);
    return code;
}

int verb_pull(const options *o, int argc, char **argv) {
    (void)o;
    (void)argc;
    fprintf(stderr,
            "hyperion: this command has no network: use 'npx hyperion pull %s'; what that has put "
            "into the cache is found here by the same name\n",
            argv[0]);
    return 1;
}
