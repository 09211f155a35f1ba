// Block formats of stored tensors, by their GGUF type number.
//
// Every format but the three of floats is one scheme: an element is a small unsigned code, its
// level an integer made of the code, and
//   value = d * scale * level + m * minimum
// with d and m floats of the stored block, scale and minimum small integers of each 16 elements
// (both 1 in the simple formats).
#ifndef HYP_KERNELS_FORMAT_H
#define HYP_KERNELS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hyp_format {
    HYP_F32,
    HYP_F16,
    HYP_BF16,
    HYP_Q8_0,
    HYP_Q4_0,
    HYP_Q4_1,
    HYP_Q5_0,
    HYP_Q5_1,
    HYP_IQ4_NL,
    HYP_MXFP4,
    HYP_Q2_K,
    HYP_Q3_K,
    HYP_Q4_K,
    HYP_Q5_K,
    HYP_Q6_K,
    HYP_IQ4_XS,
    HYP_FORMATS
} hyp_format;

enum {
    HYP_BLOCK = 32, // elements of a block
    HYP_SUPER = 256 // and of a super-block, in the K and XS formats
};

// A stored block taken apart.
typedef struct hyp_block {
    float d, m;
    // d and -m as stored halves. MXFP4: d_bits is the exponent byte. Q4_1, Q5_1: m_bits is m.
    uint16_t d_bits, m_bits;
    int8_t scale[HYP_SUPER / 16];
    uint8_t minimum[HYP_SUPER / 16];
    uint8_t code[HYP_SUPER];
} hyp_block;

typedef struct hyp_format_info {
    const char *name;     // as the field writes it: "Q4_0"
    uint32_t gguf;        // the file's type number
    uint16_t block_elems; // elements that share a scale; a row is a whole number of blocks
    uint16_t block_bytes;
    uint8_t top;                  // largest code
    uint8_t offset;               // level = code - offset ...
    const int8_t *table;          // ... or table[code]
    bool affine;                  // has a minimum
    uint8_t sub;                  // elements that share a scale: 16 or 32
    int8_t scale_low, scale_high; // the integer scales' range; 0, 0: there are none
    uint8_t d_at;                 // where d stands in a stored block; m, if any, follows it
} hyp_format_info;

extern const hyp_format_info hyp_formats[HYP_FORMATS];

// Takes a stored block of a format of blocks apart, and puts it together again. (Calls by name, not
// by pointer: Asyncify would believe of whatever calls through a pointer that it may suspend.)
void hyp_split(hyp_format format, hyp_block *block, const uint8_t *stored);
void hyp_join(hyp_format format, uint8_t *stored, const hyp_block *block);
// `count` elements, whole blocks, as floats.
void hyp_dequantize(hyp_format format, float *dst, const void *src, uint32_t count);
// Are all floats among `count` stored elements, whole blocks, finite: the elements of a float
// format, the others' d and m? What is not would make NaN of a product, of which processors differ
// in what they make.
bool hyp_format_finite(hyp_format format, const void *src, uint64_t count);
// The reverse (quantize.c). `imatrix`: the weight of each element's squared error; NULL: all
// alike. NaN becomes 0 in blocks.
void hyp_quantize(hyp_format format, void *dst, const float *src, uint32_t count,
                  const float *imatrix);

// The format of a GGUF type number, or HYP_FORMATS when the core can not compute with it.
hyp_format hyp_format_of(uint32_t gguf_type);
// The name of any type number the field has given out ("Q4_K"), and of our own (sparse.h); NULL for
// any other.
const char *hyp_format_name(uint32_t gguf_type);
// The format of that name, any case, or HYP_FORMATS.
hyp_format hyp_format_named(const char *name);

static inline int hyp_level(const hyp_format_info *f, uint8_t code) {
    return f->table ? f->table[code] : code - f->offset;
}
static inline bool hyp_format_is_float(hyp_format f) { return f <= HYP_BF16; }
static inline size_t hyp_format_row_bytes(hyp_format format, uint64_t cols) {
    return (size_t)(cols / hyp_formats[format].block_elems * hyp_formats[format].block_bytes);
}

#endif
