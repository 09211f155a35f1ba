// Files as byte sources, where there is POSIX: natively, and over Emscripten's file systems.
#define _GNU_SOURCE
#include "../src/hyperion/hyperion.h"
#include "../src/port.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_BITS = 10,
    MAX_FILES = 1 << FILE_BITS,
    CAUSE_BYTES = 4096 + 256 // a path, and what is wrong with it
};

// Open files, of all threads. A handle is a place in the table and that place's generation, so that
// a handle which outlives its file leads to no other one. `held` is set last and cleared first;
// `files_lock` is for whoever opens or closes.
typedef struct open_file {
    uint64_t held; // generation << 32 | descriptor + 1; low half 0: free
    uint64_t bytes;
    struct timespec modified;
} open_file;
static open_file files[MAX_FILES];
static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local char cause[CAUSE_BYTES];

static hyp_status refuse(const char *path, const char *why) {
    snprintf(cause, sizeof cause, "can not open %s: %s", path, why);
    return HYP_E_IO;
}

static struct timespec modified(const struct stat *info) {
#ifdef __APPLE__
    return info->st_mtimespec;
#else
    return info->st_mtim;
#endif
}

// The file that a handle leads to; NULL: it has been closed. Its descriptor in *descriptor.
static const open_file *file_of(uint32_t handle, int *descriptor) {
    const open_file *f = &files[handle % MAX_FILES];
    uint64_t held = __atomic_load_n(&f->held, __ATOMIC_ACQUIRE);
    *descriptor = (int)(uint32_t)held - 1;
    return *descriptor >= 0 && held >> 32 == handle >> FILE_BITS ? f : NULL;
}

const char *hyp_source_error(void) { return cause; }

hyp_status hyp_source_open_file(const char *path, hyp_source *source) {
    // A FIFO is refused below, not waited for.
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return refuse(path, strerror(errno));
    struct stat info;
    if (fstat(descriptor, &info) || !S_ISREG(info.st_mode)) {
        close(descriptor);
        return refuse(path, "not a regular file");
    }
    pthread_mutex_lock(&files_lock);
    uint32_t place = 0;
    while (place < MAX_FILES && (uint32_t)files[place].held) place++;
    if (place < MAX_FILES) {
        open_file *f = &files[place];
        uint64_t generation = ((f->held >> 32) + 1) & (UINT32_MAX >> FILE_BITS);
        f->bytes = (uint64_t)info.st_size;
        f->modified = modified(&info);
        __atomic_store_n(&f->held, generation << 32 | (uint32_t)(descriptor + 1), __ATOMIC_RELEASE);
        *source = (hyp_source){.bytes = f->bytes,
                               .handle = (uint32_t)generation << FILE_BITS | place};
    }
    pthread_mutex_unlock(&files_lock);
    if (place < MAX_FILES) return HYP_OK;
    close(descriptor);
    return refuse(path, strerror(EMFILE));
}

void hyp_source_close(const hyp_source *source) {
    int descriptor;
    if (source->read) return;
    pthread_mutex_lock(&files_lock);
    if (file_of(source->handle, &descriptor)) {
        open_file *f = &files[source->handle % MAX_FILES];
        __atomic_store_n(&f->held, f->held >> 32 << 32, __ATOMIC_RELEASE);
        close(descriptor);
    }
    pthread_mutex_unlock(&files_lock);
}

hyp_status hyp_port_read(uint32_t handle, uint64_t offset, void *dst, size_t bytes) {
    int descriptor;
    const open_file *f = file_of(handle, &descriptor);
    struct stat info;
    if (!f || fstat(descriptor, &info)) return HYP_E_IO;
    struct timespec now = modified(&info);
    if ((uint64_t)info.st_size != f->bytes || now.tv_sec != f->modified.tv_sec ||
        now.tv_nsec != f->modified.tv_nsec)
        return HYP_E_FORMAT;
    while (bytes > 0) {
        ssize_t n = pread(descriptor, dst, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return HYP_E_IO;
        dst = (char *)dst + n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return HYP_OK;
}
