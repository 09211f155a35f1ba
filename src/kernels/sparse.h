// Pruned matrices of 4-bit weights: groups of HYP_GROUP rows that say which weights are there. The
// values are Q4_0's (a d for each row and 32 columns, and codes, of which 8 is zero), so that a
// sparse matmul gives the bits of the dense one: the packing changes the speed and nothing else.
//
// A group starts with a u32, the bytes of the group. Then for each block of 32 columns:
//   bitmap    16 halves: d of each row
//             4 masks of 64 bits: bit 4 r + c of mask w is row r, columns 8 w + c and 8 w + 4 + c
//             a byte for each set bit, ascending: the code of the first column in its low half, of
//             the second in its high half. Without a bit, both weights are zero
//   CSR       (compressed sparse rows, by block)
//             16 halves: d of each row
//             a u16: how many weights follow
//             a u16 for each weight, ascending by row and column: its code in bits 0 to 3, column
//             in bits 4 to 8, row in bits 9 to 12
#ifndef HYP_KERNELS_SPARSE_H
#define HYP_KERNELS_SPARSE_H

#include "format.h"

typedef enum hyp_sparse { HYP_DENSE, HYP_BITMAP, HYP_CSR, HYP_SPARSE_KINDS } hyp_sparse;

enum {
    // Bytes that must be readable behind the last group that a matmul is given.
    HYP_SPARSE_SLACK = 64,
    // Type numbers in a GGUF file: this plus the kind. Nobody else uses them.
    HYP_SPARSE_TYPE = 0x48595030
};

// The largest size of a group of `cols` columns, in bytes.
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
