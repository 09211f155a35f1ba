#include "sched_inside.h"

#include "../base/bytes.h"
#include "../port.h"

enum { SPARE_STACKS_MOST = sizeof((hyp_sched *)0)->stacks / sizeof(hyp_fiber *), POLL_NS = 20000 };

static _Thread_local hyp_task *current;

hyp_task *hyp_task_current(void) { return current; }
bool hyp_task_cancelled(void) { return current && current->cancelled; }
void hyp_task_uncancel(void) { current->cancelled = false; }

static void make_ready(hyp_task *t, hyp_status woken);
static void leave_sleepers(hyp_task *t);
static void forget(hyp_task *t);

hyp_sched *hyp_sched_create(hyp_slab *slab, hyp_budget *budget) {
    hyp_sched *s = hyp_slab_alloc(slab, sizeof *s, "scheduler");
    if (s) *s = (hyp_sched){.slab = slab, .budget = budget, .policy = &hyp_policy_intent};
    return s;
}

void hyp_sched_destroy(hyp_sched *s) {
    if (!s) return;
    while (s->all) {
        for (hyp_task *t = s->all, *next; t; t = next) {
            next = t->next_of_all;
            if (t->state == HYP_TASK_ENDED) forget(t);
            else hyp_task_cancel(t);
        }
        hyp_sched_run(s, 0);
    }
    while (s->stack_count) hyp_fiber_destroy(s->stacks[--s->stack_count]);
    hyp_budget_give(s->budget, s->stack_bytes);
    hyp_slab_free(s->slab, s, sizeof *s);
}

void hyp_sched_set_policy(hyp_sched *s, const hyp_policy *policy) {
    hyp_task_list moved = {0};
    for (hyp_task *t; (t = s->policy->take(s));) hyp_list_add(&moved, t, moved.last);
    for (int c = 0; c < HYP_CLASSES; c++) s->pass[c] = s->chosen_pass = 0;
    s->policy = policy;
    for (hyp_task *t; (t = moved.first);) {
        hyp_list_remove(t);
        policy->add(s, t);
    }
}

// ---- Tasks

static void main_of_task(void *argument) {
    hyp_task *t = argument;
    t->fn(t->argument);
}

static hyp_fiber *take_stack(hyp_sched *s, size_t bytes, hyp_task *t) {
    for (uint32_t i = 0; i < s->stack_count; i++) {
        hyp_fiber *f = s->stacks[i];
        if (hyp_fiber_bytes(f) < bytes || hyp_fiber_bytes(f) > 2 * bytes + (16 << 10)) continue;
        s->stacks[i] = s->stacks[--s->stack_count];
        hyp_fiber_reset(f, main_of_task, t);
        return f;
    }
    hyp_fiber *f = hyp_fiber_create(bytes, main_of_task, t);
    if (!f) return NULL;
    if (!hyp_budget_take(s->budget, hyp_fiber_bytes(f))) {
        hyp_fiber_destroy(f);
        return NULL;
    }
    s->stack_bytes += hyp_fiber_bytes(f);
    return f;
}

static void give_stack(hyp_sched *s, hyp_fiber *f, bool sound) {
    uint32_t most = s->budget->limit_bytes
                        ? 1
                        : SPARE_STACKS_MOST; // under a limit, others need the memory more
    if (sound && s->stack_count < most) {
        s->stacks[s->stack_count++] = f;
        return;
    }
    s->stack_bytes -= hyp_fiber_bytes(f);
    hyp_budget_give(s->budget, hyp_fiber_bytes(f));
    hyp_fiber_destroy(f);
}

hyp_status hyp_sched_spawn(hyp_sched *s, hyp_task_fn *fn, void *argument,
                           const hyp_task_config *config, hyp_task **out) {
    *out = NULL;
    if (config && (config->intent >= HYP_INTENTS || config->priority >= HYP_PRIORITIES))
        return HYP_E_ARGUMENT;
    hyp_task *t = hyp_slab_alloc(s->slab, sizeof *t, "task");
    if (!t) return HYP_E_NOMEM;
    *t = (hyp_task){.sched = s, .fn = fn, .argument = argument, .due_ns = UINT64_MAX};
    if (config) t->config = *config;
    t->fiber = take_stack(s, t->config.stack_bytes ? t->config.stack_bytes : HYP_STACK_BYTES, t);
    if (!t->fiber) {
        hyp_slab_free(s->slab, t, sizeof *t);
        return HYP_E_NOMEM;
    }
    t->next_of_all = s->all;
    if (s->all) s->all->previous_of_all = t;
    s->all = t;
    s->tasks += !t->config.service;
    s->spawned++;
    s->ready++;
    s->policy->add(s, t);
    *out = t;
    return HYP_OK;
}

static void forget(hyp_task *t) {
    hyp_sched *s = t->sched;
    *(t->previous_of_all ? &t->previous_of_all->next_of_all : &s->all) = t->next_of_all;
    if (t->next_of_all) t->next_of_all->previous_of_all = t->previous_of_all;
    hyp_slab_free(s->slab, t, sizeof *t);
}

static void run_task(hyp_sched *s, hyp_task *t) {
    t->state = HYP_TASK_RUNNING;
    t->slice = s->policy->slice[t->config.intent];
    t->switches++;
    s->switches++;
    s->ready--;
    current = t;
    hyp_fiber_state state = hyp_fiber_resume(t->fiber);
    current = NULL;
    if (state == HYP_FIBER_SUSPENDED) return;
    t->overflowed = state == HYP_FIBER_OVERFLOWED;
    if (t->overflowed) { // it may have been about to wait
        if (t->list) hyp_list_remove(t);
        if (t->state == HYP_TASK_READY) s->ready--;
        leave_sleepers(t);
    }
    t->state = HYP_TASK_ENDED;
    s->tasks -= !t->config.service;
    give_stack(s, t->fiber, !t->overflowed);
    t->fiber = NULL;
    hyp_event_signal(&t->ended);
    if (t->detached) forget(t);
}

static void wake_due(hyp_sched *s) {
    if (!s->sleepers) return;
    for (uint64_t now = hyp_port_now_ns(); s->sleepers && s->sleepers->due_ns <= now;)
        make_ready(s->sleepers, s->sleepers->state == HYP_TASK_SLEEPING ? HYP_OK : HYP_E_TIMEOUT);
}

static void ask_pollers(hyp_sched *s) {
    for (hyp_task *t = s->pollers.first, *next; t; t = next) {
        next = t->next;
        if (t->poll(t->poll_context)) make_ready(t, HYP_OK);
    }
}

hyp_run hyp_sched_run(hyp_sched *s, uint64_t until_ns) {
    for (;;) {
        wake_due(s);
        ask_pollers(s);
        hyp_task *t = s->policy->take(s);
        if (!t) return s->tasks ? HYP_RUN_WAITING : HYP_RUN_IDLE;
        run_task(s, t);
        if (until_ns && s->ready && hyp_port_now_ns() >= until_ns) return HYP_RUN_READY;
    }
}

uint64_t hyp_sched_next_ns(const hyp_sched *s) {
    return s->sleepers ? s->sleepers->due_ns : UINT64_MAX;
}

hyp_status hyp_sched_run_until(hyp_sched *s, bool (*ready)(void *), void *context) {
    if (current) return hyp_task_wait_until(ready, context);
    while (!ready(context)) {
        if (hyp_sched_run(s, 1) == HYP_RUN_READY || ready(context)) continue;
        uint64_t due = hyp_sched_next_ns(s), now = hyp_port_now_ns();
        if (due == UINT64_MAX && !s->pollers.first) return HYP_E_STATE;
        if (!hyp_port_nap(s->pollers.first ? POLL_NS : due > now ? due - now : 0))
            return HYP_E_STATE;
    }
    return HYP_OK;
}

// ---- Waiting

static void leave_sleepers(hyp_task *t) {
    if (t->due_ns == UINT64_MAX) return;
    hyp_task **at = &t->sched->sleepers;
    while (*at != t) at = &(*at)->next_due;
    *at = t->next_due;
    t->due_ns = UINT64_MAX;
}

static void make_ready(hyp_task *t, hyp_status woken) {
    if (t->list) hyp_list_remove(t);
    leave_sleepers(t);
    t->poll = NULL;
    t->woken = woken;
    t->state = HYP_TASK_READY;
    t->sched->ready++;
    t->sched->policy->add(t->sched, t);
}

// Suspends the current task. The caller has put it in a list from which something will wake it.
static hyp_status suspend(hyp_task *t, hyp_task_state state) {
    t->state = state;
    hyp_fiber_yield();
    return t->cancelled ? HYP_E_CANCELLED : t->woken;
}

static hyp_status may_wait(const hyp_task *t) {
    if (!t || hyp_fiber_current() != t->fiber)
        return HYP_E_STATE; // also within a fiber that a task resumes by itself
    return t->cancelled ? HYP_E_CANCELLED : HYP_OK;
}

static void sleep_until(hyp_task *t, uint64_t due_ns) {
    hyp_task **at = &t->sched->sleepers;
    while (*at && (*at)->due_ns <= due_ns) at = &(*at)->next_due;
    t->due_ns = due_ns;
    t->next_due = *at;
    *at = t;
}

hyp_status hyp_task_yield(void) {
    hyp_task *t = current;
    hyp_status status = may_wait(t);
    if (status) return status;
    make_ready(t, HYP_OK);
    return suspend(t, HYP_TASK_READY);
}

hyp_status hyp_task_work(uint32_t units) {
    hyp_task *t = current;
    if (!t) return HYP_OK;
    t->work += units;
    t->sched->work += units;
    if (t->slice > units) {
        t->slice -= units;
        return t->cancelled ? HYP_E_CANCELLED : HYP_OK;
    }
    return hyp_task_yield();
}

hyp_status hyp_task_sleep(uint64_t ns) {
    hyp_task *t = current;
    hyp_status status = may_wait(t);
    if (status) return status;
    sleep_until(t, hyp_port_now_ns() + ns);
    return suspend(t, HYP_TASK_SLEEPING);
}

hyp_status hyp_event_wait(hyp_event *event, uint64_t timeout_ns) {
    hyp_task *t = current;
    hyp_status status = may_wait(t);
    if (status) return status;
    hyp_list_add(&event->waiters, t, event->waiters.last);
    if (timeout_ns) sleep_until(t, hyp_port_now_ns() + timeout_ns);
    return suspend(t, HYP_TASK_WAITING);
}

void hyp_event_wait_firm(hyp_event *event) {
    hyp_task *t = current;
    if (!t || hyp_fiber_current() != t->fiber) hyp_port_panic("a firm wait outside of a task");
    hyp_list_add(&event->waiters, t, event->waiters.last);
    (void)suspend(t, HYP_TASK_WAITING);
}

void hyp_event_signal(hyp_event *event) {
    while (event->waiters.first) make_ready(event->waiters.first, HYP_OK);
}

hyp_status hyp_task_wait_until(bool (*ready)(void *), void *context) {
    hyp_task *t = current;
    if (ready(context)) return HYP_OK;
    hyp_status status = may_wait(t);
    if (status) return status;
    t->poll = ready;
    t->poll_context = context;
    hyp_list_add(&t->sched->pollers, t, t->sched->pollers.last);
    return suspend(t, HYP_TASK_WAITING);
}

void hyp_task_cancel(hyp_task *t) {
    if (t->state == HYP_TASK_ENDED) return;
    t->cancelled = true;
    if (t->state == HYP_TASK_WAITING || t->state == HYP_TASK_SLEEPING)
        make_ready(t, HYP_E_CANCELLED);
}

static bool has_ended(void *task) { return ((hyp_task *)task)->state == HYP_TASK_ENDED; }

hyp_status hyp_task_join(hyp_task *t) {
    hyp_status status = HYP_OK;
    if (!current) status = hyp_sched_run_until(t->sched, has_ended, t);
    while (current && !status && t->state != HYP_TASK_ENDED) status = hyp_event_wait(&t->ended, 0);
    if (status) return status;
    status = t->overflowed ? HYP_E_STACK : HYP_OK;
    forget(t);
    return status;
}

void hyp_task_detach(hyp_task *t) {
    if (t->state == HYP_TASK_ENDED) forget(t);
    else t->detached = true;
}

void hyp_task_set_intent(hyp_task *t, hyp_intent intent, uint64_t deadline_ns) {
    bool queued = t->state == HYP_TASK_READY && t->list;
    if (queued) t->sched->policy->remove(t->sched, t);
    t->config.intent = intent;
    t->config.deadline_ns = deadline_ns;
    if (queued) t->sched->policy->add(t->sched, t);
}

// ---- Statistics

hyp_sched_stats hyp_sched_get_stats(const hyp_sched *s) {
    uint32_t ready = 0, waiting = 0;
    for (const hyp_task *t = s->all; t; t = t->next_of_all) {
        if (t->config.service) continue;
        ready += t->state == HYP_TASK_READY;
        waiting += t->state == HYP_TASK_WAITING || t->state == HYP_TASK_SLEEPING;
    }
    return (hyp_sched_stats){s->policy->name, s->tasks,    ready,   waiting,       s->stack_count,
                             s->spawned,      s->switches, s->work, s->stack_bytes};
}
