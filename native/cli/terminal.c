#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t interrupted;
int stdout_error;

void on_interrupt(int signal_number) {
    if (interrupted) output_end_by_signal(signal_number);
    interrupted = 1;
}

bool flush_stdout(void) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    if (!stdout_error) stdout_error = errno ? errno : EIO;
    return false;
}

void print_line(hyp_text text) {
    errno = 0;
    if (fwrite(text.data, 1, text.bytes, stdout) == text.bytes && putchar('\n') != EOF) return;
    if (!stdout_error) stdout_error = errno ? errno : EIO;
}

int end_output(int code) {
    if (flush_stdout() && fclose(stdout) == 0) return code;
    if (!stdout_error) stdout_error = errno;
    if (stdout_error == EPIPE) return code; // a reader that has gone is none of our business
    fprintf(stderr, "hyperion: can not write to standard output: %s\n", strerror(stdout_error));
    return code ? code : 1;
}

static bool colour(void) { return isatty(STDERR_FILENO) && !getenv("NO_COLOR"); }
const char *dim(void) { return colour() ? "\033[2m" : ""; }
const char *undim(void) { return colour() ? "\033[0m" : ""; }

// All that is left of a file, terminated; NULL when it can not be read.
static char *read_rest(FILE *file, size_t *bytes) {
    char *text = NULL;
    size_t used = 0, size = 0, n;
    do {
        if (size - used < 65536) text = realloc(text, size = size * 2 + 131072);
        if (!text) return NULL;
        n = fread(text + used, 1, size - used - 1, file);
        used += n;
    } while (n > 0);
    text[used] = 0;
    *bytes = used;
    if (!ferror(file)) return text;
    free(text); // a part of it would be another text
    return NULL;
}

char *text_argument(const char *argument, size_t *bytes) {
    if (!argument || !strcmp(argument, "-")) return read_rest(stdin, bytes);
    *bytes = strlen(argument);
    return strdup(argument);
}

char *read_whole(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    char *data = file ? read_rest(file, bytes) : NULL;
    if (!data) fprintf(stderr, "hyperion: can not read %s: %s\n", path, strerror(errno));
    if (file) fclose(file);
    return data;
}

int not_read(void) {
    if (interrupted) return 130;
    fprintf(stderr, "hyperion: can not read the text: %s\n", strerror(errno));
    return 1;
}
