// How a group of HYP_GROUP rows is packed: one scheme for every tier but the scalar reference.
//
// A group is a sequence of super-blocks, each of 1 or 8 blocks of 32 columns:
//   d of each row, then m of each row, as stored
//   for each block: scales and minima of the rows, a byte each; then the codes in planes of bits,
//   the plane of the higher bits first
// A matmul reads strictly forward, or the processor's prefetching gives up.
//
// A plane of b bits takes b words of 64 bytes. In a step, a matmul takes 4 columns of every row
// (CODE_BITS 8) or 2 (CODE_BITS 16). A word has a place of CODE_BITS bits for every row and column
// of a step, and a place holds the b bits of CODE_BITS / b steps. The codes of step s are
//   in word   s / (CODE_BITS / b)
//   at bits   s % (CODE_BITS / b) * b
//   columns   4 s .. 4 s + 3, or 2 s and 2 s + 1
#ifndef HYP_KERNELS_LAYOUT_H
#define HYP_KERNELS_LAYOUT_H

#include "kernels.h"

enum { HYP_WORD = HYP_GROUP * 4 }; // bytes

typedef struct hyp_layout {
    uint8_t low, high;   // bits of the planes, the codes' lower ones first; high may be 0
    uint8_t blocks;      // in a super-block
    uint8_t head;        // bytes of d: 2, or 1 for an exponent
    bool minimum;        // m follows, 2 bytes
    uint8_t scales;      // scale bytes per row and block: 0, 1 (each 32 columns), 2 (each 16)
    bool minima;         // as many bytes of minima follow ...
    bool nibble_scales;  // ... or a byte holds the scale (low half) and the minimum (high half)
    bool table;          // a code is looked up
    bool wide;           // levels take the whole signed byte (plane of 8: stored as such)
    uint8_t top, offset; // otherwise an operand is level + offset, 0..top
} hyp_layout;

static const hyp_layout hyp_layouts[HYP_FORMATS] = {
    [HYP_Q8_0] = {.low = 8, .blocks = 1, .head = 2, .wide = true},
    [HYP_Q4_0] = {.low = 4, .blocks = 1, .head = 2, .top = 15, .offset = 8},
    [HYP_Q4_1] = {.low = 4, .blocks = 1, .head = 2, .minimum = true, .top = 15},
    [HYP_Q5_0] = {.low = 4, .high = 1, .blocks = 1, .head = 2, .top = 31, .offset = 16},
    [HYP_Q5_1] = {.low = 4, .high = 1, .blocks = 1, .head = 2, .minimum = true, .top = 31},
    [HYP_IQ4_NL] = {.low = 4, .blocks = 1, .head = 2, .table = true, .wide = true},
    [HYP_MXFP4] = {.low = 4, .blocks = 1, .head = 1, .table = true, .top = 24, .offset = 12},
    [HYP_Q2_K] = {.low = 2,
                  .blocks = 8,
                  .head = 2,
                  .minimum = true,
                  .scales = 2,
                  .nibble_scales = true,
                  .top = 3},
    [HYP_Q3_K] = {.low = 2, .high = 1, .blocks = 8, .head = 2, .scales = 2, .top = 7, .offset = 4},
    [HYP_Q4_K] =
        {.low = 4, .blocks = 8, .head = 2, .minimum = true, .scales = 1, .minima = true, .top = 15},
    [HYP_Q5_K] = {.low = 4,
                  .high = 1,
                  .blocks = 8,
                  .head = 2,
                  .minimum = true,
                  .scales = 1,
                  .minima = true,
                  .top = 31},
    [HYP_Q6_K] =
        {.low = 4, .high = 2, .blocks = 8, .head = 2, .scales = 2, .top = 63, .offset = 32},
    [HYP_IQ4_XS] = {.low = 4, .blocks = 8, .head = 2, .scales = 1, .table = true, .wide = true},
};

static inline uint32_t hyp_layout_head(const hyp_layout *l) {
    return HYP_GROUP * (l->head + (l->minimum ? 2u : 0));
}
static inline uint32_t hyp_layout_scales(const hyp_layout *l) {
    return HYP_GROUP * l->scales * (l->minima ? 2u : 1);
}
static inline uint32_t hyp_layout_block(const hyp_layout *l) {
    return hyp_layout_scales(l) + HYP_WORD * (uint32_t)(l->low + l->high);
}

// Fills the pack and unpack slots of every format, for CODE_BITS of 8 or of 16.
void hyp_layout_bytes(hyp_kernels *table);
void hyp_layout_pairs(hyp_kernels *table);

#endif
