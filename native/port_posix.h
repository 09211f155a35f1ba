// Files as byte sources.
#ifndef HYP_NATIVE_PORT_POSIX_H
#define HYP_NATIVE_PORT_POSIX_H

#include "../src/stream/source.h"

#include <stdbool.h>

// Opens a regular file; false with errno set otherwise.
bool hyp_posix_open(const char *path, hyp_source *source);
void hyp_posix_close(const hyp_source *source);

#endif
