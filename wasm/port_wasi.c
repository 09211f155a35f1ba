// port.h for programs of WASI, as commands of other hosts than a page: time and files come from
// wasi-libc. The rest is in port_common.c. One thread, so that nothing here is locked.
#include "../src/hyperion/hyperion.h"
#include "../src/port.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 64 };

// Open files. A handle is a place in the table, and how often that place was given away.
typedef struct open_file {
    uint32_t generation;
    int descriptor; // + 1; 0: free
    uint64_t bytes;
    struct timespec modified;
} open_file;
static open_file files[MAX_FILES];
static char cause[512];

static hyp_status refuse(const char *path, const char *why) {
    snprintf(cause, sizeof cause, "can not open %s: %s", path, why);
    return HYP_E_IO;
}

// NULL: it has been closed.
static open_file *file_of(uint32_t handle) {
    open_file *f = &files[handle % MAX_FILES];
    return f->descriptor && f->generation == handle / MAX_FILES ? f : NULL;
}

const char *hyp_source_error(void) { return cause; }

hyp_status hyp_source_open_file(const char *path, hyp_source *source) {
    uint32_t place = 0;
    while (place < MAX_FILES && files[place].descriptor) place++;
    if (place == MAX_FILES) return refuse(path, strerror(EMFILE));
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0) return refuse(path, strerror(errno));
    struct stat info;
    if (fstat(descriptor, &info) || !S_ISREG(info.st_mode)) {
        close(descriptor);
        return refuse(path, "not a regular file");
    }
    open_file *f = &files[place];
    f->generation = (f->generation + 1) % (UINT32_MAX / MAX_FILES);
    f->descriptor = descriptor + 1;
    f->bytes = (uint64_t)info.st_size;
    f->modified = info.st_mtim;
    *source = (hyp_source){.bytes = f->bytes, .handle = f->generation * MAX_FILES + place};
    return HYP_OK;
}

void hyp_source_close(const hyp_source *source) {
    open_file *f = source->read ? NULL : file_of(source->handle);
    if (!f) return;
    close(f->descriptor - 1);
    f->descriptor = 0;
}

hyp_status hyp_port_read(uint32_t handle, uint64_t offset, void *dst, size_t bytes) {
    const open_file *f = file_of(handle);
    struct stat now;
    if (!f || fstat(f->descriptor - 1, &now)) return HYP_E_IO;
    if ((uint64_t)now.st_size != f->bytes || now.st_mtim.tv_sec != f->modified.tv_sec ||
        now.st_mtim.tv_nsec != f->modified.tv_nsec)
        return HYP_E_FORMAT;
    while (bytes > 0) {
        ssize_t n = pread(f->descriptor - 1, dst, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return HYP_E_IO;
        dst = (char *)dst + n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return HYP_OK;
}

void hyp_port_panic(const char *message) {
    fprintf(stderr, "hyperion: %s\n", message);
    abort();
}

uint64_t hyp_port_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
