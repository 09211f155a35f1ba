// Round-robin: one queue, first come, first served.
#include "sched_inside.h"

static void add(hyp_sched *s, hyp_task *t) { hyp_list_add(&s->queues[0], t, s->queues[0].last); }

static hyp_task *take(hyp_sched *s) {
    hyp_task *t = s->queues[0].first;
    if (t) hyp_list_remove(t);
    return t;
}

static void remove_task(hyp_sched *s, hyp_task *t) {
    (void)s;
    hyp_list_remove(t);
}

const hyp_policy hyp_policy_round_robin = {
    "round-robin", {8192, 8192, 8192, 8192}, add, take, remove_task};
