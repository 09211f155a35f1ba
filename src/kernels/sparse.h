// Pruned matrices of 4-bit weights: groups of HYP_GROUP rows that say which weights are there. The
// values are Q4_0's (a d for each row and 32 columns, codes of which 8 is zero), so that a sparse
// product gives the bits of the dense one, and how a matrix is computed is a matter of speed alone.
//
// A group is a u32, its own bytes; then for each block of 32 columns
//   bitmap  16 halves d; 4 masks of 64 bits; then a byte for each of their bits, ascending: bit 4 r
//   + c of mask w stands for row r and the
//           columns 8 w + c (the byte's low half) and 8 w + 4 + c (the high one). What has no bit
//           is zero in both
//   CSR     16 halves d; a u16, how many weights are there; for each a u16: its code (bits 0 to 3),
//   column (4 to 8) and row (9 to 12), ascending
//           (compressed sparse rows, by block)
#ifndef HYP_KERNELS_SPARSE_H
#define HYP_KERNELS_SPARSE_H

#include "format.h"

typedef enum hyp_sparse { HYP_DENSE, HYP_BITMAP, HYP_CSR, HYP_SPARSE_KINDS } hyp_sparse;

enum {
    HYP_SPARSE_SLACK =
        64, // bytes that must be readable behind the last group that a product is given
    HYP_SPARSE_TYPE =
        0x48595030 // their type numbers in a GGUF file: this plus the kind. Nobody else's
};

// Bytes of a group of `cols` columns at most.
size_t hyp_sparse_most(uint32_t cols);
// Encodes up to 16 rows of Q4_0; returns the bytes. `dst` NULL: only counts them.
size_t hyp_sparse_encode(hyp_sparse kind, uint8_t *dst, const uint8_t *rows, uint32_t count,
                         uint32_t cols);
// The reverse: 16 rows of Q4_0 (NULL: only checks). False: these `bytes` are not a sound group of
// `cols` columns, or a d is not finite.
bool hyp_sparse_decode(hyp_sparse kind, uint8_t *rows, const uint8_t *group, size_t bytes,
                       uint32_t cols);
// One block of a sound group: codes and the halves d by row. Returns the next block.
const uint8_t *hyp_sparse_block(hyp_sparse kind, const uint8_t *in, uint8_t code[16][HYP_BLOCK],
                                uint16_t d[16]);

#endif
