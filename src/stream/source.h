// A byte source: something that gives exact ranges of bytes by offset. Its size is known. How one
// is made is part of the public interface.
#ifndef HYP_STREAM_SOURCE_H
#define HYP_STREAM_SOURCE_H

#include "../hyperion/hyperion.h"

// Reads exactly `count` bytes at `offset` into `dst`. May suspend when the host serves the source.
// HYP_E_IO past the end.
HYP_MUST_USE hyp_status hyp_source_read(const hyp_source *source, uint64_t offset, void *dst,
                                        size_t count);

#endif
