// Scheduler: tasks (fibers with a place in queues), events they wait for, time, and the policy that
// chooses who runs. One thread.
//
// A task runs until it yields, waits, or has used up its slice. A slice is counted in work units
// (the caller's; the engine's unit is a thousand multiply-adds), never in time: the order of a run
// does not depend on the machine's speed.
//
// Everything that waits returns HYP_E_CANCELLED once the task is cancelled; the task then returns
// by itself and releases what it holds. Functions marked "may suspend" are for tasks; outside of
// one they return HYP_E_STATE.
#ifndef HYP_FIBER_SCHED_H
#define HYP_FIBER_SCHED_H

#include "../mem/slab.h"
#include "fiber.h"

typedef struct hyp_sched hyp_sched;
typedef struct hyp_task hyp_task;
typedef void hyp_task_fn(void *argument);

// What a task's owner wants of it. A policy may heed it.
typedef enum hyp_intent {
    HYP_INTENT_INTERACTIVE, // someone is looking on
    HYP_INTENT_DEADLINE,    // due at deadline_ns
    HYP_INTENT_BATCH,
    HYP_INTENT_BACKGROUND,
    HYP_INTENTS
} hyp_intent;

enum { HYP_PRIORITIES = 4, HYP_CLASSES = HYP_INTENTS * HYP_PRIORITIES, HYP_STACK_BYTES = 64 << 10 };

typedef struct hyp_task_list {
    hyp_task *first, *last;
} hyp_task_list;

typedef struct hyp_event { // all-zero is ready for use
    hyp_task_list waiters;
} hyp_event;

typedef struct hyp_task_config {
    const char *name; // static text
    hyp_intent intent;
    uint32_t priority;    // 0 (usual) to 3: each doubles the task's share within a heeding policy
    uint64_t deadline_ns; // with HYP_INTENT_DEADLINE
    size_t stack_bytes;   // 0: HYP_STACK_BYTES
    bool service;         // waits behind the scenes: is not counted, and nobody waits for its end
} hyp_task_config;

// Chooses among the tasks that are ready. Swapped at run time by hyp_sched_set_policy; a policy
// keeps its state in the scheduler's `queues`.
typedef struct hyp_policy {
    const char *name;
    uint32_t slice[HYP_INTENTS];          // work units
    void (*add)(hyp_sched *, hyp_task *); // has become ready
    hyp_task *(*take)(hyp_sched *);       // removes the one to run; NULL: none is ready
    // Takes out a task that was cancelled out of its turn, or that another policy takes over.
    void (*remove)(hyp_sched *, hyp_task *);
} hyp_policy;
extern const hyp_policy hyp_policy_round_robin; // one queue; ignores intents
// Shares by weight, earliest deadline first; policy_intent.c says why nobody starves.
extern const hyp_policy hyp_policy_intent;

// NULL: no memory. Borrows `slab`; stacks are counted in its budget.
hyp_sched *hyp_sched_create(hyp_slab *slab, hyp_budget *budget);
void hyp_sched_destroy(hyp_sched *sched); // cancels what is left and runs it to its end first
void hyp_sched_set_policy(hyp_sched *sched, const hyp_policy *policy);

// A new task, ready to run; `config` may be NULL. The caller owns *task until hyp_task_join or
// hyp_task_detach. HYP_E_NOMEM.
HYP_MUST_USE hyp_status hyp_sched_spawn(hyp_sched *sched, hyp_task_fn *fn, void *argument,
                                        const hyp_task_config *config, hyp_task **task);

typedef enum hyp_run {
    HYP_RUN_READY,   // the time was up; more could run
    HYP_RUN_WAITING, // every task waits for an event, or for hyp_sched_next_ns
    HYP_RUN_IDLE     // there is no task
} hyp_run;
// Runs tasks until none is ready or, with `until_ns` other than 0, hyp_port_now_ns() has passed it.
// Not from within a task.
hyp_run hyp_sched_run(hyp_sched *sched, uint64_t until_ns);
// When the earliest sleeper is due; UINT64_MAX: none sleeps.
uint64_t hyp_sched_next_ns(const hyp_sched *sched);
// Runs tasks until ready(context); sleeps when none can run. From within a task it may suspend, and
// others run meanwhile. HYP_E_STATE: every task waits for something that only the caller can bring.
// HYP_E_CANCELLED.
HYP_MUST_USE hyp_status hyp_sched_run_until(hyp_sched *sched, bool (*ready)(void *context),
                                            void *context);

typedef struct hyp_sched_stats {
    const char *policy;
    uint32_t tasks, ready, waiting, spare_stacks;
    uint64_t spawned, switches, work; // since the beginning
    size_t stack_bytes;
} hyp_sched_stats;
hyp_sched_stats hyp_sched_get_stats(const hyp_sched *sched);

hyp_task *hyp_task_current(void); // NULL outside of tasks
// Lets others run. May suspend. HYP_E_CANCELLED.
HYP_MUST_USE hyp_status hyp_task_yield(void);
// Counts work; at the end of the slice lets others run. May suspend. Does nothing outside of tasks.
// HYP_E_CANCELLED.
HYP_MUST_USE hyp_status hyp_task_work(uint32_t units);
HYP_MUST_USE hyp_status hyp_task_sleep(uint64_t ns); // may suspend
// Waits until `task` has ended and forgets it: the handle dies. May suspend. On HYP_E_CANCELLED (of
// the caller) the handle lives on. HYP_E_STACK: the task's stack overflowed.
HYP_MUST_USE hyp_status hyp_task_join(hyp_task *task);
void hyp_task_detach(hyp_task *task); // it is forgotten by itself when it ends
void hyp_task_cancel(hyp_task *task); // wakes it out of any wait, with HYP_E_CANCELLED
bool hyp_task_cancelled(void);        // has the current task been cancelled?
// The current task goes on: only a part of its work was cancelled.
void hyp_task_uncancel(void);
void hyp_task_set_intent(hyp_task *task, hyp_intent intent, uint64_t deadline_ns);

// Waits until the event is signalled; re-read your condition after it. `timeout_ns` 0: as long as
// it takes. May suspend. HYP_E_TIMEOUT, HYP_E_CANCELLED.
HYP_MUST_USE hyp_status hyp_event_wait(hyp_event *event, uint64_t timeout_ns);
// The same, but cancelling does not end it (it may wake it once: re-read your condition). For a
// task whose memory another one writes to. May suspend.
void hyp_event_wait_firm(hyp_event *event);
void hyp_event_signal(hyp_event *event); // wakes every waiter

// Waits until ready(context), which is asked each time round; for conditions that another thread
// changes. May suspend.
HYP_MUST_USE hyp_status hyp_task_wait_until(bool (*ready)(void *context), void *context);

#endif
