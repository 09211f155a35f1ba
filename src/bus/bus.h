// Bus: the lanes that one consumer drains, fairly. Lanes are attached and detached while it runs.
#ifndef HYP_BUS_BUS_H
#define HYP_BUS_BUS_H

#include "lane.h"

enum { HYP_BUS_LANES = 16 };

typedef struct hyp_bus { // all-zero is empty
    hyp_lane_consumer lanes[HYP_BUS_LANES];
    uint32_t count, turn;
    uint32_t spent; // capsules of the lane whose turn it is
} hyp_bus;

// As hyp_lane_consume; *index names the lane in what follows. HYP_E_NOMEM: the bus is full.
HYP_MUST_USE hyp_status hyp_bus_attach(hyp_bus *bus, hyp_lane *lane, uint32_t owner,
                                       uint32_t *index);
void hyp_bus_detach(hyp_bus *bus, uint32_t index);
// The next capsule of any lane: a few of each in turn, so that a busy lane can not starve the
// others. HYP_E_TIMEOUT: none now. HYP_E_FORMAT as hyp_capsule_receive.
HYP_MUST_USE hyp_status hyp_bus_receive(hyp_bus *bus, uint32_t *index, hyp_capsule *capsule);
void hyp_bus_release(hyp_bus *bus, uint32_t index, const hyp_capsule *capsule, hyp_verdict verdict);

#endif
