// What sched.c shares with the policies.
#ifndef HYP_FIBER_SCHED_INSIDE_H
#define HYP_FIBER_SCHED_INSIDE_H

#include "sched.h"

typedef enum hyp_task_state {
    HYP_TASK_READY,
    HYP_TASK_RUNNING,
    HYP_TASK_WAITING,
    HYP_TASK_SLEEPING,
    HYP_TASK_ENDED
} hyp_task_state;

struct hyp_task {
    hyp_sched *sched;
    hyp_fiber *fiber;
    hyp_task_fn *fn;
    void *argument;
    hyp_task_list *list; // the queue or event it is in
    hyp_task *next, *previous;
    hyp_task *next_of_all, *previous_of_all;
    hyp_task *next_due; // in the scheduler's list of sleepers, ordered by due_ns
    uint64_t due_ns;    // UINT64_MAX: not in that list
    bool (*poll)(void *context);
    void *poll_context;
    hyp_task_config config;
    hyp_task_state state;
    hyp_status woken; // what the wait returns
    bool cancelled, detached, overflowed;
    uint32_t slice;    // units left
    uint64_t place_ns; // the policy's: where among deadlines
    uint64_t work, switches;
    hyp_event ended;
};

struct hyp_sched {
    hyp_slab *slab;
    hyp_budget *budget;
    const hyp_policy *policy;
    hyp_task_list queues[HYP_CLASSES];       // the policy's
    uint64_t pass[HYP_CLASSES], chosen_pass; // the policy's
    uint32_t ready;
    hyp_task *all, *sleepers;
    hyp_task_list pollers;
    hyp_fiber *stacks[8]; // of ended tasks, for new ones
    uint32_t stack_count, tasks;
    uint64_t spawned, switches, work;
    size_t stack_bytes;
};

// Behind `after`; NULL: at the front.
static inline void hyp_list_add(hyp_task_list *list, hyp_task *task, hyp_task *after) {
    task->list = list;
    task->previous = after;
    task->next = after ? after->next : list->first;
    *(task->next ? &task->next->previous : &list->last) = task;
    *(after ? &after->next : &list->first) = task;
}

static inline void hyp_list_remove(hyp_task *task) {
    hyp_task_list *list = task->list;
    *(task->previous ? &task->previous->next : &list->first) = task->next;
    *(task->next ? &task->next->previous : &list->last) = task->previous;
    task->list = NULL;
}

#endif
