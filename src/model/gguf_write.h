// Writing a GGUF file: an open one, anew, with its float matrices in another format.
#ifndef HYP_MODEL_GGUF_WRITE_H
#define HYP_MODEL_GGUF_WRITE_H

#include "../kernels/kernels.h"
#include "gguf.h"

// Gives `write` the new file from front to back (version 3, one file). Matrices of a float format whose rows are whole blocks become
// `format`, and every matrix when that is a float format; everything else is copied. `progress` (may be NULL) gets bytes read. HYP_E_IO: `write` returned false. May suspend.
HYP_MUST_USE hyp_status hyp_gguf_requantize(const hyp_gguf *gguf, hyp_format format,
                                            bool (*write)(void *context, const void *data, size_t count),
                                            bool (*progress)(void *context, uint64_t done, uint64_t total), void *context);

#endif
