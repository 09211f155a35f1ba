// How a group of HYP_GROUP rows is packed, the same scheme in every tier but the reference.
//
// A group is a row of super-blocks (of 1 or 8 blocks of 32 columns): d of each row, m of each row,
// as stored; then per block the rows' integer scales and minima, a byte each; then the codes in
// planes of bits, the higher one first: reading goes forward only, or the processor's prefetching
// gives up. A plane of b bits takes b words of 64 bytes. A word has a lane for every row and column
// of a step (8-bit lanes: 4 columns, 16-bit lanes: 2), and a lane holds that place's b bits of LANE
// / b steps.
//   word s / (LANE / b), bits s % (LANE / b) * b: the codes of step s, columns 4 s .. 4 s + 3 (or 2
//   s, 2 s + 1)
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
    bool nibble_scales;  // ... unless a byte holds the scale in its low half and the minimum in its
                         // high one
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

// Fills the pack and unpack slots of every format for 8-bit or for 16-bit lanes.
void hyp_layout_bytes(hyp_kernels *table);
void hyp_layout_pairs(hyp_kernels *table);

#endif
