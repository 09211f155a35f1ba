#define _GNU_SOURCE
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MOST = 40, NAMES_MOST = 10000 };

// The temporary file, for the handler: static, so that it is there whenever a signal comes.
// `making` holds signals back while the file may exist without its name being known to be ours.
static char partial[OUTPUT_PATH_BYTES + 64];
static volatile sig_atomic_t made, making, postponed;

void output_end_by_signal(int signal_number) {
    if (making) {
        postponed = signal_number;
        return;
    }
    if (made) unlink(partial);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static size_t folder_bytes(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

// Follows links of the path's last part, also to where nothing is yet; false with errno set.
// Folders on the way are the system's to follow.
static bool follow(const char *path, char out[OUTPUT_PATH_BYTES]) {
    size_t bytes = strlen(path);
    if (bytes == 0) {
        errno = ENOENT;
        return false;
    }
    if (bytes >= OUTPUT_PATH_BYTES) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(out, path, bytes + 1);
    for (int i = 0; i < LINKS_MOST; i++) {
        char target[OUTPUT_PATH_BYTES];
        ssize_t n = readlink(out, target, sizeof target);
        if (n < 0) return true; // no link
        size_t folder = target[0] == '/' ? 0 : folder_bytes(out);
        if (folder + (size_t)n >= OUTPUT_PATH_BYTES) {
            errno = ENAMETOOLONG;
            return false;
        }
        memcpy(out + folder, target, (size_t)n);
        out[folder + (size_t)n] = 0;
    }
    errno = ELOOP;
    return false;
}

// Creates the temporary file beside `path`: never one that is there already, whosesoever it is.
static int create_partial(const char *path, mode_t mode) {
    int folder = (int)folder_bytes(path), fd = -1;
    making = 1;
    for (int i = 0; i < NAMES_MOST && fd < 0; i++) {
        snprintf(partial, sizeof partial, "%.*s.hyperion-%ld-%d.partial", folder, path,
                 (long)getpid(), i);
        fd = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0 && errno != EEXIST) break;
    }
    made = fd >= 0;
    making = 0;
    if (postponed) raise(postponed);
    return fd;
}

static bool note(output *out) {
    if (!out->error) out->error = errno ? errno : EIO;
    return false;
}

bool output_open(output *out, const char *path) {
    struct stat there;
    bool exists = stat(path, &there) == 0;
    *out = (output){.direct = exists && !S_ISREG(there.st_mode)};
    int fd = -1;
    if (out->direct) fd = open(path, O_WRONLY | O_CLOEXEC); // a folder: EISDIR
    else if (follow(path, out->path)) fd = create_partial(out->path, exists ? 0600 : 0666);
    if (fd < 0) return note(out);
    if (!out->direct && exists)
        (void)fchmod(fd, there.st_mode & 0777); // not every file system has them
    out->file = fdopen(fd, "wb");
    if (out->file) return true;
    note(out);
    close(fd);
    output_discard(out);
    return false;
}

bool output_write(output *out, const void *data, size_t bytes) {
    errno = 0;
    if (fwrite(data, 1, bytes, out->file) != bytes) return note(out);
    out->bytes += bytes;
    return true;
}

bool output_close(output *out) {
    errno = 0;
    if (fflush(out->file)) note(out);
    while (!out->error && !out->direct && fsync(fileno(out->file)))
        if (errno != EINTR) note(out);
    if (fclose(out->file)) note(out);
    out->file = NULL;
    if (!out->error && !out->direct && rename(partial, out->path)) note(out);
    if (!out->error) made = 0;
    else output_discard(out);
    return !out->error;
}

void output_discard(output *out) {
    if (out->file) fclose(out->file);
    out->file = NULL;
    if (made) unlink(partial);
    made = 0;
}
