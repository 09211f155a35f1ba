#include "bus.h"

enum { QUOTA = 8 }; // capsules of one lane before it is the next one's turn

hyp_status hyp_bus_attach(hyp_bus *bus, hyp_lane *lane, uint32_t owner, uint32_t *index) {
    for (uint32_t i = 0; i < HYP_BUS_LANES; i++) {
        if (bus->lanes[i].lane) continue;
        hyp_status status = hyp_lane_consume(lane, owner, &bus->lanes[i]);
        if (status) {
            bus->lanes[i].lane = NULL;
            return status;
        }
        if (i >= bus->count) bus->count = i + 1;
        *index = i;
        return HYP_OK;
    }
    return HYP_E_NOMEM;
}

void hyp_bus_detach(hyp_bus *bus, uint32_t index) {
    hyp_lane_leave_consumer(&bus->lanes[index]);
    bus->lanes[index].lane = NULL;
    while (bus->count && !bus->lanes[bus->count - 1].lane) bus->count--;
}

hyp_status hyp_bus_receive(hyp_bus *bus, uint32_t *index, hyp_capsule *capsule) {
    for (uint32_t tried = 0; tried <= bus->count; tried++) {
        if (bus->turn >= bus->count) bus->turn = 0;
        hyp_lane_consumer *c = &bus->lanes[bus->turn];
        if (c->lane && bus->spent < QUOTA) {
            hyp_status status = hyp_capsule_receive(c, capsule);
            if (status != HYP_E_TIMEOUT && status != HYP_E_CANCELLED) {
                bus->spent++;
                *index = bus->turn;
                return status;
            }
        }
        bus->turn++;
        bus->spent = 0;
    }
    return HYP_E_TIMEOUT;
}

void hyp_bus_release(hyp_bus *bus, uint32_t index, const hyp_capsule *capsule,
                     hyp_verdict verdict) {
    hyp_capsule_release(&bus->lanes[index], capsule, verdict);
}
