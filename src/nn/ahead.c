#include "ahead.h"

#include "../base/bytes.h"
#include "../port.h"

enum { NO_PAGE = UINT32_MAX, BYTES_PER_UNIT = 64, SPARE_BYTES = 64 << 10 };

void hyp_ahead_init(hyp_ahead *a, hyp_weights *w, hyp_sched *sched, uint32_t end) {
    *a = (hyp_ahead){.weights = w, .sched = sched, .end = end};
}

// The page `steps` pages behind `page`, in the order in which passes use those that do not stay.
static uint32_t onwards(uint32_t page, uint32_t steps, uint32_t first, uint32_t end) {
    return page < first || page >= end ? first + steps % (end - first)
                                       : first + (page - first + steps) % (end - first);
}

// Has the pass moved since the others have been through all pages twice?
static bool is_current(const hyp_ahead *a, const hyp_ahead_pass *p, uint32_t pages) {
    return p->used && a->uses - p->used <= 2ull * pages * HYP_AHEAD_PASSES;
}

// The nearest absent page that some pass will come to.
static uint32_t next_page(const hyp_ahead *a) {
    const hyp_pager *pager = a->weights->pager;
    uint32_t first = hyp_pager_get_stats(pager).resident, room = hyp_pager_ahead_room(pager);
    if (!room || first >= a->end || a->resting) return NO_PAGE;
    uint32_t current = 0;
    for (uint32_t i = 0; i < HYP_AHEAD_PASSES; i++)
        current += is_current(a, &a->passes[i], a->end - first);
    uint32_t far = hyp_min_u32(hyp_max_u32(room / hyp_max_u32(current, 1), 1), a->end - first);
    for (uint32_t k = 0; k < far; k++)
        for (uint32_t i = 0; i < HYP_AHEAD_PASSES; i++) {
            if (!is_current(a, &a->passes[i], a->end - first)) continue;
            uint32_t page = onwards(a->passes[i].next, k, first, a->end);
            if (hyp_pager_is_absent(pager, page)) return page;
        }
    return NO_PAGE;
}

static void run_fiber(void *ahead) {
    hyp_ahead *a = ahead;
    while (!a->closing) {
        uint32_t page = next_page(a);
        bool filled = false;
        // What fails is not asked for again before a pass has gone on, which may want it itself.
        if (page == NO_PAGE || hyp_pager_fill_ahead(a->weights->pager, page, &filled) || !filled) {
            if (!hyp_task_cancelled()) (void)hyp_event_wait(&a->moved, 0);
        } else (void)hyp_task_work(a->weights->page_bytes[page] / BYTES_PER_UNIT);
        if (hyp_task_cancelled()) hyp_task_uncancel();
    }
    for (uint32_t i = 0; i < HYP_READS - 1; i++)
        if (a->fibers[i] == hyp_task_current()) a->fibers[i] = NULL;
    a->active--;
    hyp_event_signal(&a->left);
}

void hyp_ahead_start(hyp_ahead *a) {
    if (!a->weights || a->tried) return;
    hyp_budget *budget = a->weights->gguf->budget;
    a->tried = true;
    for (uint32_t i = 0; i < HYP_READS - 1; i++) {
        if (hyp_weights_allow_reads(a->weights, i + 2, SPARE_BYTES + HYP_STACK_BYTES) < i + 2 ||
            hyp_budget_left(budget) < SPARE_BYTES + HYP_STACK_BYTES ||
            hyp_sched_spawn(a->sched, run_fiber, a,
                            &(hyp_task_config){.name = "ahead", .service = true}, &a->fibers[i]))
            return;
        hyp_task_detach(a->fibers[i]);
        a->active++;
    }
}

void hyp_ahead_give_up(hyp_ahead *a) {
    a->resting = true;
    for (uint32_t i = 0; i < HYP_READS - 1; i++)
        if (a->fibers[i]) hyp_task_cancel(a->fibers[i]);
}

void hyp_ahead_note(hyp_ahead *a, uint32_t page) {
    a->resting = false;
    hyp_ahead_pass *oldest = a->passes;
    for (uint32_t i = 0; i < HYP_AHEAD_PASSES; i++) {
        hyp_ahead_pass *p = &a->passes[i];
        if (p->used && p->next == page) {
            oldest = p;
            break;
        }
        if (p->used < oldest->used) oldest = p;
    }
    *oldest = (hyp_ahead_pass){
        onwards(page, 1, hyp_pager_get_stats(a->weights->pager).resident, a->end), ++a->uses};
    hyp_ahead_start(a);
    hyp_event_signal(&a->moved);
}

static bool is_idle(void *ahead) { return ((hyp_ahead *)ahead)->active == 0; }

void hyp_ahead_close(hyp_ahead *a) {
    if (!a->weights) return;
    a->closing = true;
    hyp_ahead_give_up(a);
    while (a->active) {
        if (hyp_task_current()) hyp_event_wait_firm(&a->left);
        else if (hyp_sched_run_until(a->sched, is_idle, a))
            hyp_port_panic("what reads ahead does not end");
    }
    a->weights = NULL;
}
