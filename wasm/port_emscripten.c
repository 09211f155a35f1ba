// port.h for applications that Emscripten links: its clock and its file systems (with
// native/file_posix.c), which answer at once. The rest is in port_common.c.
#include "../src/port.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t hyp_port_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void hyp_port_panic(const char *message) {
    fprintf(stderr, "hyperion: %s\n", message);
    abort();
}
