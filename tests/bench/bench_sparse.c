// Matmul of pruned 4-bit weights as bitmaps and as compressed rows against dense Q4_0, by density.
// usage: bench_sparse MEGABYTES [ISA_MASK [DENSITY]]
// Prints one JSON line: for each density its bytes and the median times in nanoseconds for a
// thousand weights, of one token from memory and of 64 tokens.
#include "../../src/kernels/kernels.h"
#include "../../src/port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double CSR_DENSEST = 0.1; // beyond it, it only takes long
enum {
    COLS = 576,
    ROUNDS = 5,
    MANY = 64,
    PART = 8
}; // PART: of the rows are computed for many tokens

typedef struct matrix {
    uint8_t *data;
    size_t bytes, group_bytes;
    hyp_matmul_fn *product;
    double one[ROUNDS], many[ROUNDS];
} matrix;

static uint32_t state = 1;
static uint32_t draw(void) {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}
static int by_value(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}
static double median(double *v) {
    qsort(v, ROUNDS, sizeof *v, by_value);
    return v[ROUNDS / 2];
}

// A row of which just that part of the codes is there.
static void row(uint8_t *out, double density) {
    for (uint32_t b = 0; b < COLS / 32; b++, out += 18) {
        hyp_block block = {.d_bits = 0x2C00};
        for (uint32_t i = 0; i < 32; i++)
            block.code[i] = draw() % 65536 < density * 65536 ? (uint8_t)(9 + draw() % 14) & 15 : 8;
        hyp_join(HYP_Q4_0, out, &block);
    }
}

int main(int argc, char **argv) {
    double densities[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
    size_t count = sizeof densities / sizeof *densities;
    if (argc > 3) {
        densities[0] = atof(argv[3]);
        count = 1;
    }
    hyp_kernels k;
    hyp_kernels_scalar(&k);
    hyp_port_kernels(&k, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : UINT32_MAX);
    size_t row_bytes = hyp_format_row_bytes(HYP_Q4_0, COLS),
           group = hyp_group_bytes(HYP_Q4_0, COLS), act = hyp_act_bytes(&k, COLS);
    uint32_t groups = (uint32_t)(((size_t)atoi(argv[1]) << 20) / group);
    size_t outputs = (size_t)groups * HYP_GROUP * sizeof(float) +
                     (size_t)groups / PART * HYP_GROUP * MANY * sizeof(float);
    matrix m[HYP_SPARSE_KINDS] = {
        {hyp_port_map(groups * group), 0, group, k.weights[HYP_Q4_0].matmul, {0}, {0}}};
    for (int kind = 1; kind < HYP_SPARSE_KINDS; kind++)
        m[kind] = (matrix){.data = hyp_port_map(groups * hyp_sparse_most(COLS) + 16384),
                           .product = k.sparse[kind].matmul};
    float *y = hyp_port_map(outputs), *want = hyp_port_map(outputs), x[COLS];
    uint8_t *acts = malloc(MANY * act), *rows = malloc(HYP_GROUP * row_bytes);
    for (uint32_t t = 0; t < MANY; t++) {
        for (uint32_t i = 0; i < COLS; i++) x[i] = (float)(draw() % 2001) - 1000;
        k.quantize(acts + t * act, x, COLS);
    }
    printf("[");
    for (size_t d = 0; d < count; d++) {
        for (int kind = 0; kind < HYP_SPARSE_KINDS; kind++) m[kind].bytes = 0;
        for (uint32_t g = 0; g < groups; g++) {
            for (uint32_t r = 0; r < HYP_GROUP; r++) row(rows + r * row_bytes, densities[d]);
            k.weights[HYP_Q4_0].pack(m[0].data + m[0].bytes, rows, HYP_GROUP, COLS);
            m[0].bytes += group;
            for (int kind = 1; kind < HYP_SPARSE_KINDS; kind++)
                m[kind].bytes += hyp_sparse_encode((hyp_sparse)kind, m[kind].data + m[kind].bytes,
                                                   rows, HYP_GROUP, COLS);
        }
        for (int round = -1; round < ROUNDS; round++)
            for (int kind = 0; kind < HYP_SPARSE_KINDS; kind++) {
                if (!m[kind].product || (kind == HYP_CSR && densities[d] > CSR_DENSEST)) continue;
                uint64_t start = hyp_port_now_ns();
                m[kind].product(y, 0, m[kind].data, groups, COLS, acts, act, 1);
                uint64_t between = hyp_port_now_ns();
                if (kind == 0) memcpy(want, y, groups * HYP_GROUP * sizeof *y);
                else if (memcmp(want, y, groups * HYP_GROUP * sizeof *y)) {
                    fputs("another result\n", stderr);
                    return 1;
                }
                uint64_t again = hyp_port_now_ns();
                m[kind].product(y, groups / PART * HYP_GROUP, m[kind].data, groups / PART, COLS,
                                acts, act, MANY);
                if (round < 0) continue;
                double weights = (double)groups * HYP_GROUP * COLS / 1000;
                m[kind].one[round] = (double)(between - start) / weights;
                m[kind].many[round] = (double)(hyp_port_now_ns() - again) / (weights / PART);
            }
        printf("%s{\"density\":%g", d ? "," : "", densities[d]);
        static const char *const names[] = {"dense", "bitmap", "csr"};
        for (int kind = 0; kind < HYP_SPARSE_KINDS; kind++) {
            printf(",\"%s_bytes\":%zu", names[kind], m[kind].bytes);
            if (m[kind].product && !(kind == HYP_CSR && densities[d] > CSR_DENSEST))
                printf(",\"%s\":%.3f,\"%s_64\":%.3f", names[kind], median(m[kind].one), names[kind],
                       median(m[kind].many));
        }
        printf("}");
    }
    printf("]\n");
}
