// Intents as shares: stride scheduling (Waldspurger and Weihl, 1995) over classes of intent and
// priority. Each class has a weight and a pass, which grows by slice / weight at each of its turns;
// the class with the least pass is next. A class that waits keeps its pass while the others' grow,
// so after at most sum(weights) / its weight turns it is the least: nobody starves. A class that
// was empty begins no lower than the pass that was last chosen, so that absence earns nothing.
// Within a class: in order of arrival. Deadlines: the earliest first; who is late counts as due a
// little after now. A task that waits keeps its place in time, and nobody who comes later than that
// gets before it: nobody starves there either.
#include "../port.h"
#include "sched_inside.h"

enum { LATE_NS = 5000000 };

static const uint32_t weights[HYP_INTENTS] = {16, 32, 4, 1};
static const uint64_t STRIDE = 1 << 20;

static uint32_t class_of(const hyp_task *t) {
    return (uint32_t)t->config.intent * HYP_PRIORITIES + t->config.priority;
}

static uint32_t least(const hyp_sched *s) {
    uint32_t best = HYP_CLASSES;
    for (uint32_t c = 0; c < HYP_CLASSES; c++)
        if (s->queues[c].first && (best == HYP_CLASSES || s->pass[c] < s->pass[best])) best = c;
    return best;
}

static void add(hyp_sched *s, hyp_task *t) {
    uint32_t c = class_of(t);
    hyp_task_list *queue = &s->queues[c];
    if (!queue->first && s->pass[c] < s->chosen_pass) s->pass[c] = s->chosen_pass;
    hyp_task *after = queue->last;
    if (t->config.intent == HYP_INTENT_DEADLINE) {
        uint64_t now = hyp_port_now_ns();
        t->place_ns = t->config.deadline_ns > now ? t->config.deadline_ns : now + LATE_NS;
        while (after && after->place_ns > t->place_ns) after = after->previous;
    }
    hyp_list_add(queue, t, after);
}

static hyp_task *take(hyp_sched *s) {
    uint32_t c = least(s);
    if (c == HYP_CLASSES) return NULL;
    hyp_task *t = s->queues[c].first;
    hyp_list_remove(t);
    s->chosen_pass = s->pass[c];
    s->pass[c] += STRIDE * hyp_policy_intent.slice[t->config.intent] /
                  ((uint64_t)weights[t->config.intent] << t->config.priority);
    return t;
}

static void remove_task(hyp_sched *s, hyp_task *t) {
    (void)s;
    hyp_list_remove(t);
}

const hyp_policy hyp_policy_intent = {"intent", {8192, 8192, 32768, 8192}, add, take, remove_task};
