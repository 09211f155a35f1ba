// What this machine reads and multiplies at most, for a profile to be held against.
#include "engine.h"

#include "../base/bytes.h"
#include "../port.h"

enum {
    READ_BYTES = 48 << 20,
    PASSES = 3,
    COLS = 512,
    GROUPS = 4,
    TOKENS = 8,
    PRODUCT_NS = 20000000,
    RUNS = 64
};

static double read_peak(hyp_engine *engine) {
    uint64_t *memory = hyp_budget_map(&engine->budget, READ_BYTES);
    if (!memory) return 0;
    memset(memory, 1, READ_BYTES);
    double best = 0;
    volatile uint64_t sink = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        uint64_t start = hyp_port_now_ns(), sum[8] = {0};
        for (size_t i = 0; i < READ_BYTES / sizeof *memory; i += 8)
            for (int k = 0; k < 8; k++) sum[k] += memory[i + (size_t)k];
        double rate = (double)READ_BYTES / (double)(hyp_port_now_ns() - start + 1);
        for (int k = 0; k < 8; k++) sink = sink + sum[k];
        best = rate > best ? rate : best;
    }
    hyp_budget_unmap(&engine->budget, memory, READ_BYTES);
    return sink ? best : 0;
}

static double product_peak(hyp_engine *engine) {
    const hyp_kernels *k = &engine->kernels;
    size_t group = hyp_group_bytes(HYP_Q4_0, COLS), act = hyp_act_bytes(k, COLS),
           stored = HYP_GROUP * hyp_format_row_bytes(HYP_Q4_0, COLS);
    size_t bytes = GROUPS * group + TOKENS * act + stored + COLS * sizeof(float) +
                   TOKENS * GROUPS * HYP_GROUP * sizeof(float);
    uint8_t *memory = hyp_budget_map(&engine->budget, bytes);
    if (!memory) return 0;
    uint8_t *weights = memory, *acts = weights + GROUPS * group, *rows = acts + TOKENS * act;
    float *x = (float *)(void *)(rows + stored), *y = x + COLS;
    memset(rows, 0x35, stored);
    for (uint32_t i = 0; i < COLS; i++) x[i] = (float)(i % 17) - 8;
    for (uint32_t g = 0; g < GROUPS; g++)
        k->weights[HYP_Q4_0].pack(weights + g * group, rows, HYP_GROUP, COLS);
    for (uint32_t t = 0; t < TOKENS; t++) k->quantize(acts + t * act, x, COLS);
    double best = 0;
    for (uint64_t start = hyp_port_now_ns(), now = start; now - start < PRODUCT_NS;) {
        uint64_t before = now;
        for (uint32_t i = 0; i < RUNS; i++)
            k->weights[HYP_Q4_0].matmul(y, GROUPS * HYP_GROUP, weights, GROUPS, COLS, acts, act,
                                        TOKENS);
        now = hyp_port_now_ns();
        double rate = (double)RUNS * GROUPS * HYP_GROUP * COLS * TOKENS /
                      (double)(now - before + 1);
        best = rate > best ? rate : best;
    }
    hyp_budget_unmap(&engine->budget, memory, bytes);
    return best;
}

hyp_peaks hyp_engine_measure(hyp_engine *engine) {
    return (hyp_peaks){read_peak(engine), product_peak(engine)};
}
