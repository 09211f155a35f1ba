#include "pager.h"

#include "../base/bytes.h"
#include "../fiber/sched.h"
#include "../port.h"

enum { ALIGN = 64, FRAMES_WANTED = 3, HEAT = 64, HUGE_BYTES = 2 << 20, NOWHERE = UINT32_MAX };

typedef enum page_state { ABSENT, FILLING, RESIDENT } page_state;

typedef struct page {
    uint8_t *view; // where it can be read; NULL unless resident
    uint32_t bytes;
    uint32_t frame; // in the rest; NOWHERE for kept pages
    uint32_t epoch; // of `heat`
    uint32_t heat;  // accesses * HEAT
    uint16_t pins;
    uint8_t state;
    bool again; // used again since it came
} page;

typedef struct frame {
    uint8_t *memory; // when not trapping
    uint32_t page;   // NOWHERE: free
} frame;

struct hyp_pager {
    hyp_pager *next; // of its budget
    hyp_pager_config config;
    page *pages;
    uint64_t *places; // of each page while it is kept, within the block; pages + 1 of them
    uint32_t kept;    // the first `kept` pages
    uint8_t *block;   // of the kept pages, when not trapping
    size_t block_bytes;
    frame *frames; // `frame_slots` of them
    uint32_t frame_slots, frame_count, hand, filling;
    size_t frame_bytes;
    // NULL: not trapping. Else the block of the kept pages is at its start; from `rest` on, each page has a place of frame_bytes for when
    // it is not kept, and behind those each frame has its home. What is in a frame is not copied: the frame moves to the page's place.
    hyp_view *range;
    uint64_t rest;
    uint32_t epoch, epoch_left; // passes; accesses to the next one
    uint64_t misses;            // of pin
    hyp_event arrived;
    hyp_status trouble;
    hyp_pager_stats stats;
};

static hyp_status make_present(hyp_pager *p, uint32_t index, bool from_fault);
static bool on_fault(void *context, uint64_t offset);

static bool traps(const hyp_pager_config *c) { return c->trap && hyp_port_caps()->can_trap; }
static size_t grain(const hyp_pager_config *c) { return traps(c) ? hyp_port_caps()->page_bytes : ALIGN; }

static size_t largest(const hyp_pager_config *c) {
    uint32_t most = 1;
    for (uint32_t i = 0; i < c->pages; i++) most = hyp_max_u32(most, c->page_bytes[i]);
    return hyp_round_up(most, hyp_port_caps()->page_bytes);
}

uint64_t hyp_pager_least_bytes(const hyp_pager_config *c) { return largest(c); }

uint64_t hyp_pager_whole_bytes(const hyp_pager_config *c) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->pages; i++) sum += hyp_round_up(c->page_bytes[i], grain(c));
    return sum;
}

// ---- Places

static uint64_t home_of(const hyp_pager *p, uint32_t frame) { return p->rest + ((uint64_t)p->config.pages + frame) * p->frame_bytes; }
static uint64_t place_of(const hyp_pager *p, uint32_t index) {
    return index < p->kept ? p->places[index] : p->rest + (uint64_t)index * p->frame_bytes;
}

// Divides the capacity: how many pages are kept, how many frames the rest has.
static hyp_status divide(hyp_pager *p) {
    const hyp_pager_config *c = &p->config;
    uint64_t whole = p->places[c->pages], capacity = c->capacity_bytes ? c->capacity_bytes : whole;
    p->frame_bytes = largest(c);
    p->stats = (hyp_pager_stats){.pages = c->pages, .whole_bytes = whole};
    if (capacity >= whole && !c->random) {
        p->kept = c->pages;
        return HYP_OK;
    }
    if (capacity < p->frame_bytes) return HYP_E_NOMEM;
    uint64_t frames = capacity / p->frame_bytes;
    if (!c->random && frames > FRAMES_WANTED) frames = FRAMES_WANTED;
    if (frames > c->pages) frames = c->pages;
    p->frame_count = (uint32_t)frames;
    if (!c->random)
        while (p->kept < c->pages && p->places[p->kept + 1] <= capacity - frames * p->frame_bytes) p->kept++;
    return HYP_OK;
}

// Trapping: memory for every frame, at its home.
static bool commit_frames(hyp_pager *p) {
    size_t bytes = p->frame_count * p->frame_bytes;
    if (!hyp_budget_take(p->config.budget, bytes)) return p->frame_count = 0, false;
    return hyp_port_view_commit(p->range, home_of(p, 0), bytes, true);
}

static bool get_places(hyp_pager *p) {
    const hyp_pager_config *c = &p->config;
    p->block_bytes = (size_t)hyp_round_up((size_t)p->places[p->kept], hyp_port_caps()->page_bytes);
    if (p->block_bytes) {
        if (p->range) {
            if (!hyp_budget_take(c->budget, p->block_bytes)) return p->block_bytes = 0, false;
        } else if (!(p->block = hyp_budget_map(c->budget, p->block_bytes))) return p->block_bytes = 0, false;
    }
    if (!p->frame_count) return true;
    p->frames = hyp_slab_alloc(c->budget->slab, p->frame_count * sizeof *p->frames, "pager frames");
    if (!p->frames) return false;
    p->frame_slots = p->frame_count;
    for (uint32_t i = 0; i < p->frame_count; i++) p->frames[i] = (frame){.page = NOWHERE};
    if (p->range) return commit_frames(p);
    for (uint32_t i = 0; i < p->frame_count; i++)
        if (!(p->frames[i].memory = hyp_budget_map(c->budget, p->frame_bytes))) return false;
    return true;
}

hyp_status hyp_pager_create(const hyp_pager_config *c, hyp_pager **out) {
    *out = NULL;
    hyp_slab *slab = c->budget->slab;
    hyp_pager *p = hyp_slab_alloc(slab, sizeof *p, "pager");
    if (!p) return HYP_E_NOMEM;
    *p = (hyp_pager){.config = *c, .epoch_left = c->pages};
    p->pages = hyp_slab_alloc(slab, c->pages * sizeof *p->pages, "pager pages");
    p->places = hyp_slab_alloc(slab, (c->pages + 1) * sizeof *p->places, "pager places");
    hyp_status status = p->pages && p->places ? HYP_OK : HYP_E_NOMEM;
    if (!status) {
        uint64_t at = 0;
        for (uint32_t i = 0; i < c->pages; i++) {
            p->pages[i] = (page){.bytes = c->page_bytes[i], .frame = NOWHERE};
            p->places[i] = at;
            at += hyp_round_up(c->page_bytes[i], grain(c));
        }
        p->places[c->pages] = at;
        status = divide(p);
        p->config.page_bytes = NULL; // the caller's
    }
    if (!status && traps(c)) {
        p->rest = (p->places[c->pages] + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
        p->range = hyp_port_view_create(home_of(p, c->pages), on_fault, p);
        p->stats.traps = p->range;
    }
    if (!status && !get_places(p)) status = HYP_E_NOMEM;
    if (status) {
        hyp_pager_destroy(p);
        return status;
    }
    p->stats.kept = p->kept;
    p->stats.frames = p->frame_count;
    p->stats.capacity_bytes = p->places[p->kept] + p->frame_count * p->frame_bytes;
    p->next = c->budget->pagers;
    c->budget->pagers = p;
    *out = p;
    return HYP_OK;
}

void hyp_pager_destroy(hyp_pager *p) {
    if (!p) return;
    hyp_budget *budget = p->config.budget;
    for (hyp_pager **at = &budget->pagers; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    if (p->range) {
        hyp_port_view_destroy(p->range);
        hyp_budget_give(budget, p->block_bytes);
        hyp_budget_give(budget, p->frame_count * p->frame_bytes);
    } else {
        hyp_budget_unmap(budget, p->block, p->block_bytes);
        for (uint32_t i = 0; i < p->frame_count && p->frames; i++) hyp_budget_unmap(budget, p->frames[i].memory, p->frame_bytes);
    }
    if (p->frames) hyp_slab_free(budget->slab, p->frames, p->frame_slots * sizeof *p->frames);
    if (p->pages) hyp_slab_free(budget->slab, p->pages, p->config.pages * sizeof *p->pages);
    if (p->places) hyp_slab_free(budget->slab, p->places, (p->config.pages + 1) * sizeof *p->places);
    hyp_slab_free(budget->slab, p, sizeof *p);
}

// ---- Access

static uint32_t cooled(const hyp_pager *p, const page *g) {
    uint32_t age = p->epoch - g->epoch;
    return age < 32 ? g->heat >> age : 0;
}

static inline void touch(hyp_pager *p, page *g) {
    if (g->epoch != p->epoch) {
        g->heat = cooled(p, g);
        g->epoch = p->epoch;
    }
    g->heat += HEAT;
    if (--p->epoch_left == 0) { // as many accesses as there are pages: a pass
        p->epoch++;
        p->epoch_left = p->config.pages;
    }
}

hyp_status hyp_pager_pin(hyp_pager *p, uint32_t index, const void **view) {
    page *g = &p->pages[index];
    if (__builtin_expect(g->state != RESIDENT, false)) {
        hyp_status status = make_present(p, index, false);
        if (status) return status;
        p->misses++;
    } else g->again = true;
    touch(p, g);
    g->pins++;
    *view = g->view;
    return HYP_OK;
}

void hyp_pager_unpin(hyp_pager *p, uint32_t index) { p->pages[index].pins--; }

hyp_status hyp_pager_prefetch(hyp_pager *p, uint32_t index) {
    if (p->pages[index].state == RESIDENT) return HYP_OK;
    hyp_status status = make_present(p, index, false);
    return status == HYP_E_NOMEM ? HYP_OK : status;
}

bool hyp_pager_keeps(const hyp_pager *p, uint32_t index) { return index < p->kept; }

// A frame for a new page, and where it is in the range; NULL: each is pinned or being filled.
static frame *take_frame(hyp_pager *p, uint64_t *at) {
    for (uint32_t i = 0; i < p->frame_count; i++)
        if (p->frames[i].page == NOWHERE) {
            *at = home_of(p, i);
            return &p->frames[i];
        }
    for (uint32_t turn = 0; turn < 2 * p->frame_count; turn++) {
        frame *f = &p->frames[p->hand];
        page *g = &p->pages[f->page];
        p->hand = (p->hand + 1) % p->frame_count;
        if (g->pins || g->state == FILLING) continue;
        if (g->again) {
            g->again = false; // one more round
            continue;
        }
        *at = place_of(p, f->page);
        g->state = ABSENT;
        g->view = NULL;
        g->frame = f->page = NOWHERE;
        p->stats.evictions++;
        p->stats.resident--;
        p->stats.resident_bytes -= g->bytes;
        return f;
    }
    return NULL;
}

// Where page `index` is to be filled: its place in the block, or a frame.
static hyp_status find_place(hyp_pager *p, uint32_t index, frame **f, uint8_t **memory) {
    uint64_t at, place = place_of(p, index);
    *f = NULL;
    if (index < p->kept) {
        *memory = p->range ? hyp_port_view_at(p->range, place) : p->block + place;
        bool there = !p->range || hyp_port_view_commit(p->range, place, hyp_round_up(p->pages[index].bytes, grain(&p->config)), false);
        return there ? HYP_OK : HYP_E_NOMEM;
    }
    if (!(*f = take_frame(p, &at))) return HYP_E_NOMEM;
    (*f)->page = index;
    p->pages[index].frame = (uint32_t)(*f - p->frames);
    *memory = p->range ? hyp_port_view_at(p->range, place) : (*f)->memory;
    if (!p->range || hyp_port_view_move(p->range, at, place, p->frame_bytes)) return HYP_OK;
    hyp_port_panic("the kernel refused to move a page"); // its limit on mappings (vm.max_map_count) is reached: use larger pages
}

static void give_place(hyp_pager *p, uint32_t index, frame *f) {
    if (!f) {
        if (p->range) hyp_port_view_hide(p->range, place_of(p, index), hyp_round_up(p->pages[index].bytes, grain(&p->config)));
        return;
    }
    if (p->range && !hyp_port_view_move(p->range, place_of(p, index), home_of(p, (uint32_t)(f - p->frames)), p->frame_bytes))
        hyp_port_panic("the kernel refused to move a page");
    f->page = p->pages[index].frame = NOWHERE;
}

static hyp_status fill(hyp_pager *p, uint32_t index, bool from_fault) {
    page *g = &p->pages[index];
    frame *f;
    uint8_t *memory;
    hyp_status status = find_place(p, index, &f, &memory);
    if (status) return status;
    g->state = FILLING;
    p->filling++;
    status = p->config.fill(p->config.context, index, memory); // may suspend
    p->filling--;
    if (status && from_fault) { // the access goes on, with zeros
        if (!p->trouble) p->trouble = status;
        memset(memory, 0, g->bytes);
        status = HYP_OK;
    }
    if (status) {
        g->state = ABSENT;
        give_place(p, index, f);
    } else {
        g->state = RESIDENT;
        g->view = memory;
        g->again = false;
        p->stats.fills++;
        p->stats.filled_bytes += g->bytes;
        p->stats.resident++;
        p->stats.resident_bytes += g->bytes;
    }
    hyp_event_signal(&p->arrived);
    return status;
}

static hyp_status make_present(hyp_pager *p, uint32_t index, bool from_fault) {
    page *g = &p->pages[index];
    while (g->state != RESIDENT) {
        if (g->state == ABSENT) {
            hyp_status status = fill(p, index, from_fault);
            // Frames that are being filled become free or evictable; those that are pinned may be the caller's own.
            if (status != HYP_E_NOMEM || !p->filling) return status;
        }
        hyp_status status = hyp_event_wait(&p->arrived, 0); // another fiber's fill
        if (status) return status;
    }
    return HYP_OK;
}

// ---- Trapping

const void *hyp_pager_address(const hyp_pager *p, uint32_t index) {
    return p->range ? hyp_port_view_at(p->range, place_of(p, index)) : NULL;
}

hyp_status hyp_pager_trouble(hyp_pager *p) {
    hyp_status status = p->trouble;
    p->trouble = HYP_OK;
    return status;
}

// In a signal handler: allocates nothing and waits for nobody. False: not ours, or nothing can be evicted.
static bool on_fault(void *context, uint64_t offset) {
    hyp_pager *p = context;
    uint32_t low = 0, high = p->kept;
    if (offset >= p->rest) {
        low = (uint32_t)((offset - p->rest) / p->frame_bytes);
        if (low >= p->config.pages || low < p->kept) return false;
    } else {
        if (!p->kept || offset >= p->places[p->kept]) return false;
        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;
            if (p->places[middle] <= offset) low = middle;
            else high = middle;
        }
    }
    page *g = &p->pages[low];
    if (g->state != ABSENT) return false;
    p->stats.faults++;
    if (fill(p, low, true)) return false;
    touch(p, g);
    return true;
}

// ---- Shrinking, facts

bool hyp_pager_shrink(hyp_pager *p, size_t bytes) {
    size_t page_bytes = hyp_port_caps()->page_bytes;
    uint32_t kept = p->kept;
    size_t left = p->block_bytes, goal = left > bytes ? left - bytes : 0;
    if (!p->frame_count) {                                // the rest needs frames of its own first
        size_t own = 2 * p->frame_bytes + 2 * page_bytes; // and their table
        if (goal < own) return false;
        goal -= own;
    }
    while (kept && left > goal) {
        page *g = &p->pages[kept - 1];
        if (g->pins || g->state == FILLING) break;
        left = hyp_round_up((size_t)p->places[--kept], page_bytes);
    }
    if (left > goal) return false;
    hyp_budget *budget = p->config.budget;
    for (uint32_t i = kept; i < p->kept; i++) {
        page *g = &p->pages[i];
        if (g->state != RESIDENT) continue;
        p->stats.resident--;
        p->stats.resident_bytes -= g->bytes;
        p->stats.evictions++;
        g->state = ABSENT;
        g->view = NULL;
    }
    if (p->range) hyp_port_view_hide(p->range, left, p->block_bytes - left);
    if (p->range) hyp_budget_give(budget, p->block_bytes - left);
    else hyp_budget_unmap(budget, p->block + left, p->block_bytes - left);
    p->block_bytes = left;
    p->kept = p->stats.kept = kept;
    if (!p->frame_count) {
        uint32_t count = 2;
        frame *frames = hyp_slab_alloc(budget->slab, count * sizeof *frames, "pager frames");
        bool ok = frames;
        if (ok && p->range) {
            p->frame_count = count;
            ok = commit_frames(p);
            for (uint32_t i = 0; i < count && ok; i++) frames[i] = (frame){NULL, NOWHERE};
        } else
            for (uint32_t i = 0; i < count && ok; i++) {
                frames[i] = (frame){hyp_budget_map(budget, p->frame_bytes), NOWHERE};
                if (!frames[i].memory) {
                    while (i--) hyp_budget_unmap(budget, frames[i].memory, p->frame_bytes);
                    ok = false;
                }
            }
        if (!ok) { // can only be when another took what was given back: the pages are then out of reach, and pin says so
            if (frames) hyp_slab_free(budget->slab, frames, count * sizeof *frames);
            p->frame_count = 0;
            return false;
        }
        p->frames = frames;
        p->frame_count = p->frame_slots = p->stats.frames = count;
    }
    p->stats.capacity_bytes = p->places[p->kept] + p->frame_count * p->frame_bytes;
    return true;
}

bool hyp_pagers_reclaim(hyp_pager *pagers, size_t bytes) {
    for (hyp_pager *p = pagers; p; p = p->next)
        if (hyp_pager_shrink(p, bytes)) return true;
    return false;
}

hyp_pager_stats hyp_pager_describe(const hyp_pager *p) {
    hyp_pager_stats s = p->stats;
    s.pins = (uint64_t)p->epoch * p->config.pages + p->config.pages - p->epoch_left;
    s.hits = s.pins - p->misses - p->stats.faults;
    return s;
}

hyp_page_facts hyp_pager_page(const hyp_pager *p, uint32_t index) {
    const page *g = &p->pages[index];
    return (hyp_page_facts){g->state == RESIDENT, index < p->kept, g->bytes, (float)cooled(p, g) / HEAT};
}
