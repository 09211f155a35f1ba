// A consumer and a producer on a lane whose other side writes anything: indices, states, capsule
// headers. Nothing may be touched outside of the lane. (Who makes a lane is trusted: its constants
// are.)
#include "../../src/bus/lane.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    hyp_lane_config config = {.capacity = 512, .slots = 16};
    size_t whole = hyp_lane_bytes(&config);
    uint8_t *memory = aligned_alloc(64, whole); // 64-byte multiples: ASan sees the end
    memset(memory, 0, whole);
    hyp_lane *lane = hyp_lane_init(memory, &config);
    if (bytes > whole - 64) bytes = whole - 64;
    memcpy(memory + 64, data, bytes);
    lane->producer = lane->consumer = 0;
    lane->closed = 1; // nobody sleeps here
    hyp_lane_consumer c;
    if (hyp_lane_consume(lane, 1, &c) == HYP_OK) {
        volatile uint32_t sum = 0;
        for (int i = 0; i < 40; i++) {
            hyp_capsule k;
            hyp_status status = hyp_capsule_receive(&c, &k);
            if (status == HYP_E_TIMEOUT || status == HYP_E_CANCELLED) break;
            if (status) continue;
            for (uint32_t b = 0; b < k.bytes; b++) sum += ((const uint8_t *)k.payload)[b];
            hyp_capsule_release(&c, &k, HYP_ACCEPTED);
        }
    }
    lane->closed = 0;
    hyp_lane_producer p;
    if (hyp_lane_produce(lane, 2, HYP_LANE_DROP, &p) == HYP_OK)
        for (int i = 0; i < 40; i++) {
            void *room;
            uint32_t sequence, count = (uint32_t)(bytes ? data[(size_t)i % bytes] : 7);
            hyp_verdict verdict;
            if (hyp_capsule_begin(&p, count, &room) == HYP_OK) {
                memset(room, i, count);
                hyp_capsule_send(&p, (uint32_t)i, count);
            }
            hyp_capsule_feedback(&p, &sequence, &verdict);
            lane->read = bytes > 8 ? (uint32_t)data[(size_t)i % (bytes - 4)] << (i % 9)
                                   : 0; // the other side goes on
        }
    free(memory);
    return 0;
}
