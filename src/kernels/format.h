// Block formats of stored tensors, by their GGUF type number.
#ifndef HYP_KERNELS_FORMAT_H
#define HYP_KERNELS_FORMAT_H

#include <stddef.h>
#include <stdint.h>

typedef enum hyp_format { HYP_F32, HYP_F16, HYP_BF16, HYP_Q8_0, HYP_Q4_0, HYP_Q4_1, HYP_FORMATS } hyp_format;

typedef struct hyp_format_info {
    const char *name;     // as the field writes it: "Q4_0"
    uint32_t gguf;        // the file's type number
    uint16_t block_elems; // elements that share a scale; a row is a whole number of blocks
    uint16_t block_bytes;
    void (*dequantize)(float *dst, const void *src, uint32_t count); // `count` elements, whole blocks
    void (*quantize)(void *dst, const float *src, uint32_t count);   // NULL: only read
} hyp_format_info;

extern const hyp_format_info hyp_formats[HYP_FORMATS];

// The format of a GGUF type number, or HYP_FORMATS when the core can not compute with it.
hyp_format hyp_format_of(uint32_t gguf_type);
// The name of any type number the field has given out ("Q4_K"), NULL for one it has not.
const char *hyp_format_name(uint32_t gguf_type);
// The format of that name, any case, or HYP_FORMATS.
hyp_format hyp_format_named(const char *name);

static inline size_t hyp_format_row_bytes(hyp_format format, uint64_t cols) {
    return (size_t)(cols / hyp_formats[format].block_elems * hyp_formats[format].block_bytes);
}

#endif
