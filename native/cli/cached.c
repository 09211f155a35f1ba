#include "cached.h"

#include "../../src/base/json_read.h"
#include "../../src/base/sha256.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

bool cache_folder(char out[CACHE_PATH_BYTES]) {
    const char *own = getenv("HYPERION_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
#ifdef __APPLE__
    static const char usual[] = "Library/Caches";
#else
    static const char usual[] = ".cache";
#endif
    int n = -1;
    if (own && *own) n = snprintf(out, CACHE_PATH_BYTES, "%s", own);
    else if (xdg && *xdg) n = snprintf(out, CACHE_PATH_BYTES, "%s/hyperion", xdg);
    else if (home && *home) n = snprintf(out, CACHE_PATH_BYTES, "%s/%s/hyperion", home, usual);
    // room for what is below it
    if (n > 0 && n < CACHE_PATH_BYTES - 200) return true;
    fputs("hyperion: there is no place for a cache: set HYPERION_CACHE to a folder\n", stderr);
    return false;
}

void chunk_path(const char *folder, const char *hash, char out[CACHE_PATH_BYTES]) {
    snprintf(out, CACHE_PATH_BYTES, "%s/v1/chunks/%.2s/%.64s", folder, hash, hash);
}

// Exactly `bytes` of a file from `offset` on.
static bool read_exactly(int file, uint64_t offset, void *out, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        ssize_t n = pread(file, (char *)out + at, bytes - at, (off_t)(offset + at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += (size_t)n;
    }
    return true;
}

static bool read_journal(const char *folder, kept *file) {
    char path[CACHE_PATH_BYTES];
    snprintf(path, sizeof path, "%s/v1/files/%s", folder, file->id);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    bool whole = false;
    if (descriptor < 0) return false;
    if (!fstat(descriptor, &info) && S_ISREG(info.st_mode)) {
        file->text = (hyp_text){malloc((size_t)info.st_size + 1), (size_t)info.st_size};
        whole = file->text.data &&
                read_exactly(descriptor, 0, (void *)(uintptr_t)file->text.data, file->text.bytes);
#ifdef __APPLE__
        file->used = info.st_mtimespec;
#else
        file->used = info.st_mtim;
#endif
    }
    close(descriptor);
    return whole;
}

static bool unescape(hyp_text raw, char out[CACHE_NAME_BYTES]) {
    size_t bytes;
    if (!hyp_json_unescape(raw, out, CACHE_NAME_BYTES - 1, &bytes)) return false;
    out[bytes] = 0;
    return true;
}

static bool open_kept(const char *folder, kept *file) {
    hyp_journal *j = &file->journal;
    if (!read_journal(folder, file) || !hyp_journal_open(j, file->text) ||
        !unescape(j->name, file->name) || !unescape(j->version, file->version))
        return false;
    file->hashes = malloc(j->chunks * sizeof *file->hashes);
    if (!file->hashes) return false;
    file->present = hyp_journal_read(j, file->text, file->hashes, &file->pinned);
    for (uint32_t i = 0; i < j->chunks; i++)
        if (file->hashes[i]) file->present_bytes += hyp_journal_bytes(j, i);
    return true;
}

static void free_kept(kept *file) {
    free((void *)(uintptr_t)file->text.data);
    free(file->hashes);
    file->text.data = NULL;
    file->hashes = NULL;
}

static int64_t milliseconds(struct timespec t) { return t.tv_sec * 1000LL + t.tv_nsec / 1000000; }

static int by_use(const void *a, const void *b) {
    const kept *one = a, *other = b;
    int64_t x = milliseconds(one->used), y = milliseconds(other->used);
    return x > y ? -1 : x < y ? 1 : strcmp(one->id, other->id);
}

cache_list cache_read(const char *folder) {
    cache_list list = {0};
    char path[CACHE_PATH_BYTES];
    snprintf(path, sizeof path, "%s/v1/files", folder);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strlen(entry->d_name) != HYP_JOURNAL_HASH ||
            strspn(entry->d_name, "0123456789abcdef") != HYP_JOURNAL_HASH)
            continue;
        kept *more = realloc(list.files, (list.count + 1) * sizeof *more);
        if (!more) break;
        list.files = more;
        kept *file = &list.files[list.count];
        memset(file, 0, sizeof *file);
        memcpy(file->id, entry->d_name, sizeof file->id);
        if (open_kept(folder, file)) list.count++;
        else free_kept(file);
    }
    if (dir) closedir(dir);
    if (list.count) qsort(list.files, list.count, sizeof *list.files, by_use);
    return list;
}

void cache_free(cache_list *list) {
    for (size_t i = 0; i < list->count; i++) free_kept(&list->files[i]);
    free(list->files);
    *list = (cache_list){0};
}

chunk_state read_chunk(const char *folder, const kept *file, uint32_t index, void *out) {
    char path[CACHE_PATH_BYTES], hash[HYP_SHA256_HEX];
    size_t bytes = (size_t)hyp_journal_bytes(&file->journal, index);
    chunk_path(folder, file->hashes[index], path);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (descriptor < 0) return CHUNK_MISSING;
    bool sound = !fstat(descriptor, &info) && (uint64_t)info.st_size == bytes &&
                 read_exactly(descriptor, 0, out, bytes);
    close(descriptor);
    if (!sound) return CHUNK_DAMAGED;
    hyp_sha256_text(out, bytes, hash);
    return memcmp(hash, file->hashes[index], HYP_JOURNAL_HASH) ? CHUNK_DAMAGED : CHUNK_SOUND;
}

// ---- A model out of the cache

typedef struct cached_model {
    kept file;
    char folder[CACHE_PATH_BYTES];
    pthread_mutex_t lock; // whichever thread reads
    char *chunk;          // the one that was checked last
    uint32_t held;        // its index
    bool *checked;        // by chunk
    bool told;            // what is wrong
} cached_model;

bool is_remote(const char *model) {
    return !strncmp(model, "hf:", 3) || !strncmp(model, "https://", 8) ||
           !strncmp(model, "http://", 7);
}

static hyp_status refuse(cached_model *m, uint32_t index) {
    if (!m->told)
        fprintf(stderr,
                "hyperion: chunk %u of %s in the cache is damaged or gone: fetch it again with "
                "'npx hyperion pull %s'\n",
                index, m->file.name, m->file.name);
    m->told = true;
    return HYP_E_IO;
}

// Part of a chunk that has been checked before.
static bool read_part(const cached_model *m, uint32_t index, uint64_t offset, void *dst,
                      size_t count) {
    char path[CACHE_PATH_BYTES];
    chunk_path(m->folder, m->file.hashes[index], path);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    bool done = read_exactly(descriptor, offset, dst, count);
    close(descriptor);
    return done;
}

static bool copy_part(cached_model *m, uint32_t index, uint64_t offset, void *dst, size_t count) {
    if (m->held != index && m->checked[index]) return read_part(m, index, offset, dst, count);
    if (m->held != index) {
        m->held = UINT32_MAX;
        if (read_chunk(m->folder, &m->file, index, m->chunk) != CHUNK_SOUND) return false;
        m->held = index;
        m->checked[index] = true;
    }
    memcpy(dst, m->chunk + offset, count);
    return true;
}

static hyp_status read_cached(void *context, uint64_t offset, void *dst, size_t count) {
    cached_model *m = context;
    const hyp_journal *j = &m->file.journal;
    hyp_status status = HYP_OK;
    pthread_mutex_lock(&m->lock);
    while (count > 0 && !status) {
        uint32_t index = (uint32_t)(offset / j->chunk_bytes);
        uint64_t from = offset % j->chunk_bytes, left = hyp_journal_bytes(j, index) - from;
        size_t n = left < count ? (size_t)left : count;
        if (!copy_part(m, index, from, dst, n)) status = refuse(m, index);
        dst = (char *)dst + n;
        offset += n;
        count -= n;
    }
    pthread_mutex_unlock(&m->lock);
    return status;
}

// Does `name` contain `part`, whatever the case of its letters?
static bool contains(const char *name, const char *part) {
    for (; *name; name++)
        if (!strncasecmp(name, part, strlen(part))) return true;
    return false;
}

// Is the file that was asked for this one? hf:owner/repo and hf:owner/repo:Q4_K_M name one of a
// repository, hf:owner/repo/….
static bool is_asked_for(const kept *file, const char *model) {
    if (!strcmp(file->name, model)) return true;
    if (strncmp(model, "hf:", 3) != 0) return false;
    const char *slash = strchr(model, '/'), *colon = slash ? strchr(slash, ':') : NULL;
    size_t repository = colon ? (size_t)(colon - model) : strlen(model);
    if (!slash || memchr(slash + 1, '/', repository - (size_t)(slash + 1 - model))) return false;
    return !strncmp(file->name, model, repository) && file->name[repository] == '/' &&
           (!colon || contains(file->name + repository, colon + 1));
}

// The file that is whole, where several are of that name; else one that is not.
static kept *find(cache_list *list, const char *model) {
    kept *found = NULL;
    for (size_t i = 0; i < list->count; i++) {
        kept *file = &list->files[i];
        bool whole = file->present == file->journal.chunks;
        if (is_asked_for(file, model) &&
            (!found || (whole && found->present < found->journal.chunks)))
            found = file;
    }
    return found;
}

static cached_model *model_of(const kept *file, const char *folder) {
    cached_model *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->file = *file;
    m->held = UINT32_MAX;
    m->chunk = malloc(file->journal.chunk_bytes);
    m->checked = calloc(file->journal.chunks, sizeof *m->checked);
    strcpy(m->folder, folder);
    if (m->chunk && m->checked && !pthread_mutex_init(&m->lock, NULL)) return m;
    free(m->chunk);
    free(m->checked);
    free(m);
    return NULL;
}

bool cached_open(const char *model, hyp_source *source) {
    char folder[CACHE_PATH_BYTES], path[CACHE_PATH_BYTES];
    if (!cache_folder(folder)) return false;
    cache_list list = cache_read(folder);
    kept *file = find(&list, model);
    cached_model *m = NULL;
    if (!file)
        fprintf(stderr,
                "hyperion: %s is not in the cache (%s), and this command has no network: pull it "
                "first with 'npx hyperion pull %s'\n",
                model, folder, model);
    else if (file->journal.sealed)
        fprintf(
            stderr,
            "hyperion: %s is encrypted, and this command does not decrypt: use 'npx hyperion'\n",
            model);
    else if (file->present < file->journal.chunks)
        fprintf(stderr,
                "hyperion: only %u of the %u chunks of %s are in the cache: pull the rest first "
                "with 'npx hyperion pull %s'\n",
                file->present, file->journal.chunks, model, model);
    else if (!(m = model_of(file, folder))) fputs("hyperion: not enough memory\n", stderr);
    if (m) {
        snprintf(path, sizeof path, "%s/v1/files/%s", folder, file->id);
        (void)utimensat(AT_FDCWD, path, NULL, 0); // it is used now
        *source = (hyp_source){.bytes = file->journal.size, .read = read_cached, .context = m};
        file->text.data = NULL; // these are the model's now
        file->hashes = NULL;
    }
    cache_free(&list);
    return m;
}

void cached_close(const hyp_source *source) {
    if (source->read != read_cached) return;
    cached_model *m = source->context;
    free_kept(&m->file);
    pthread_mutex_destroy(&m->lock);
    free(m->chunk);
    free(m->checked);
    free(m);
}
