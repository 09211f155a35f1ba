#include "pager.h"

#include "../base/bytes.h"
#include "../base/check.h"
#include "../fiber/sched.h"
#include "../port.h"

enum {
    FRAMES_WANTED = 3,
    FRAMES_LEAST = 2, // of a pager that had resident everything
    HEAT = 64,
    HUGE_BYTES = 2 << 20,
    // Bytes of the budget that are left to others when pages come back to their places.
    PROMOTE_SPARE = 256 << 10,
    NOWHERE = UINT32_MAX
};

typedef enum page_state { ABSENT, FILLING, RESIDENT } page_state;

typedef struct page {
    uint8_t *view;   // where it can be read; NULL unless present
    uint8_t *memory; // of its own, when resident and not trapping
    uint32_t bytes;
    uint32_t frame; // of a spare page; NOWHERE for resident pages
    uint32_t epoch; // of `heat`
    uint32_t heat;  // accesses * HEAT
    uint16_t pins;
    uint8_t state;
    bool again; // used again since it came
    bool ahead; // filled, or being filled, before it is used
    bool read;  // for whoever uses it next
} page;

typedef struct frame {
    uint8_t *memory; // when not trapping
    uint32_t page;   // NOWHERE: free
} frame;

struct hyp_pager {
    hyp_pager *next; // of its budget
    hyp_pager_config config;
    page *pages;
    // Of each page while it is resident, one behind the other, in whole pages of the platform;
    // pages + 1 of them.
    uint64_t *places;
    uint32_t resident;      // the first `resident` pages
    uint32_t resident_most; // as many were when it was created
    frame *frames;          // `frame_slots` of them
    uint32_t frame_slots, frame_count, hand, filling;
    uint32_t ahead; // pages
    size_t frame_bytes;
    hyp_pool *workers;
    // NULL: not trapping. Else the places of the resident pages are at its start; from `spare` on,
    // each page has a place of frame_bytes for when it is not resident, and behind those each frame
    // has its frame slot. What is in a frame is not copied: the frame moves to the page's place.
    hyp_view *range;
    uint64_t spare;
    uint32_t epoch, epoch_left; // passes; accesses to the next one
    uint64_t misses;            // of pin
    hyp_event arrived;
    hyp_status trouble;
    hyp_pager_stats stats;
};

static hyp_status make_present(hyp_pager *p, uint32_t index, bool from_fault);
static bool on_fault(void *context, uint64_t offset);

static bool traps(const hyp_pager_config *c) { return c->trap && hyp_port_caps()->can_trap; }

static size_t largest(const hyp_pager_config *c) {
    uint32_t most = 1;
    for (uint32_t i = 0; i < c->pages; i++) most = hyp_max_u32(most, c->page_bytes[i]);
    return hyp_round_up(most, hyp_port_caps()->page_bytes);
}

uint64_t hyp_pager_least_bytes(const hyp_pager_config *c) { return largest(c); }

uint64_t hyp_pager_whole_bytes(const hyp_pager_config *c) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->pages; i++)
        sum += hyp_round_up(c->page_bytes[i], hyp_port_caps()->page_bytes);
    return sum;
}

// ---- Places

static uint64_t frame_slot_at(const hyp_pager *p, uint32_t frame) {
    return p->spare + ((uint64_t)p->config.pages + frame) * p->frame_bytes;
}
static uint64_t place_of(const hyp_pager *p, uint32_t index) {
    return index < p->resident ? p->places[index] : p->spare + (uint64_t)index * p->frame_bytes;
}
// Bytes of a page's place for good.
static size_t room_of(const hyp_pager *p, uint32_t index) {
    return (size_t)(p->places[index + 1] - p->places[index]);
}

static void count_places(hyp_pager *p) {
    p->stats.resident = p->resident;
    p->stats.frames = p->frame_count;
    p->stats.capacity_bytes = p->places[p->resident] + p->frame_count * p->frame_bytes;
}

// Divides the capacity: how many pages are to be resident, how many frames the spare has.
static hyp_status divide(hyp_pager *p, uint32_t *frame_count) {
    const hyp_pager_config *c = &p->config;
    uint64_t whole = p->places[c->pages], capacity = c->capacity_bytes ? c->capacity_bytes : whole;
    p->frame_bytes = largest(c);
    p->stats = (hyp_pager_stats){.pages = c->pages, .whole_bytes = whole};
    if (capacity >= whole && !c->random) {
        p->resident_most = c->pages;
        return HYP_OK;
    }
    if (capacity < p->frame_bytes) return HYP_E_NOMEM;
    uint64_t frames = capacity / p->frame_bytes;
    uint32_t wanted = c->frames ? c->frames : FRAMES_WANTED;
    if (!c->random && frames > wanted) frames = wanted;
    if (frames > c->pages) frames = c->pages;
    *frame_count = (uint32_t)frames;
    if (!c->random)
        while (p->resident_most < c->pages &&
               p->places[p->resident_most + 1] <= capacity - frames * p->frame_bytes)
            p->resident_most++;
    return HYP_OK;
}

// Memory for `count` frames; none is left behind on failure.
static bool get_frames(hyp_pager *p, uint32_t count) {
    hyp_budget *budget = p->config.budget;
    for (uint32_t i = 0; i < count; i++) p->frames[i] = (frame){.page = NOWHERE};
    p->hand = 0;
    if (!count) return true;
    if (p->range) {
        if (!hyp_budget_take(budget, count * p->frame_bytes)) return false;
        if (hyp_port_view_commit(p->range, frame_slot_at(p, 0), count * p->frame_bytes, true)) {
            p->frame_count = count;
            return true;
        }
        hyp_budget_give(budget, count * p->frame_bytes);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if ((p->frames[i].memory = hyp_budget_map(budget, p->frame_bytes))) continue;
        while (i--) hyp_budget_unmap(budget, p->frames[i].memory, p->frame_bytes);
        return false;
    }
    p->frame_count = count;
    return true;
}

static void give_frames(hyp_pager *p) { // all of them are free
    hyp_budget *budget = p->config.budget;
    size_t bytes = p->frame_count * p->frame_bytes;
    if (p->range && bytes) {
        hyp_port_view_hide(p->range, frame_slot_at(p, 0), bytes);
        hyp_budget_give(budget, bytes);
    }
    for (uint32_t i = 0; i < p->frame_count && !p->range; i++)
        hyp_budget_unmap(budget, p->frames[i].memory, p->frame_bytes);
    p->frame_count = 0;
}

// Gives the pages up to `end` - 1 that have none a place for good. False, with nothing taken: there
// is no memory for them.
static bool get_places(hyp_pager *p, uint32_t end) {
    hyp_budget *budget = p->config.budget;
    size_t bytes = (size_t)(p->places[end] - p->places[p->resident]);
    if (p->range) {
        if (!hyp_budget_take(budget, bytes)) return false;
        p->resident = end;
        return true;
    }
    uint8_t *block = bytes ? hyp_budget_map(budget, bytes) : NULL;
    while (block && p->resident < end) {
        p->pages[p->resident].memory = block;
        block += room_of(p, p->resident++);
    }
    return p->resident == end;
}

// Takes the places of all pages from `resident` on.
static void give_places(hyp_pager *p, uint32_t resident) {
    hyp_budget *budget = p->config.budget;
    size_t bytes = (size_t)(p->places[p->resident] - p->places[resident]);
    if (p->range && bytes) {
        hyp_port_view_hide(p->range, p->places[resident], bytes);
        hyp_budget_give(budget, bytes);
    }
    for (uint32_t i = resident, next; i < p->resident && !p->range;
         i = next) { // neighbours in one piece
        uint8_t *memory = p->pages[i].memory, *end = memory;
        for (next = i; next < p->resident && p->pages[next].memory == end; next++) {
            p->pages[next].memory = NULL;
            end += room_of(p, next);
        }
        hyp_budget_unmap(budget, memory, (size_t)(end - memory));
    }
    p->resident = resident;
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
    uint32_t frames = 0;
    if (!status) {
        uint64_t at = 0;
        for (uint32_t i = 0; i < c->pages; i++) {
            p->pages[i] = (page){.bytes = c->page_bytes[i], .frame = NOWHERE};
            p->places[i] = at;
            at += hyp_round_up(c->page_bytes[i], hyp_port_caps()->page_bytes);
        }
        p->places[c->pages] = at;
        status = divide(p, &frames);
        p->config.page_bytes = NULL; // the caller's
    }
    if (!status && traps(c)) {
        p->spare = (p->places[c->pages] + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
        p->range = hyp_port_view_create(frame_slot_at(p, c->pages), on_fault, p);
        p->stats.traps = p->range;
    }
    if (!status) {
        // Shrinking must not need memory for the table of frames.
        p->frame_slots = hyp_max_u32(frames, FRAMES_LEAST);
        p->frames = hyp_slab_alloc(slab, p->frame_slots * sizeof *p->frames, "pager frames");
        if (!p->frames || !get_places(p, p->resident_most) || !get_frames(p, frames))
            status = HYP_E_NOMEM;
    }
    if (status) {
        hyp_pager_destroy(p);
        return status;
    }
    count_places(p);
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
    if (p->frames) give_frames(p); // what is in them does not matter any more
    if (p->places && p->pages) give_places(p, 0);
    if (p->range) hyp_port_view_destroy(p->range);
    if (p->frames) hyp_slab_free(budget->slab, p->frames, p->frame_slots * sizeof *p->frames);
    if (p->pages) hyp_slab_free(budget->slab, p->pages, p->config.pages * sizeof *p->pages);
    if (p->places)
        hyp_slab_free(budget->slab, p->places, (p->config.pages + 1) * sizeof *p->places);
    hyp_slab_free(budget->slab, p, sizeof *p);
}

// ---- Access

static void grow(hyp_pager *p);
static void give_place(hyp_pager *p, uint32_t index, frame *f);

static uint32_t cooled(const hyp_pager *p, const page *g) {
    uint32_t age = p->epoch - g->epoch;
    return age < 32 ? g->heat >> age : 0;
}

// It is read ahead no more: used, or gone.
static void end_ahead(hyp_pager *p, page *g) {
    g->ahead = false;
    p->ahead--;
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
    if (__builtin_expect(p->resident < p->resident_most, false)) grow(p);
    if (__builtin_expect(g->state != RESIDENT, false)) {
        hyp_status status = make_present(p, index, false);
        if (status) return status;
        p->misses++;
    } else g->again = !g->ahead; // the first use of what was read ahead is none more
    if (__builtin_expect(g->ahead, false)) end_ahead(p, g);
    touch(p, g);
    g->pins++;
    *view = g->view;
    return HYP_OK;
}

bool hyp_pager_pin_resident(hyp_pager *p, uint32_t index, const void **view) {
    page *g = &p->pages[index];
    if (index >= p->resident || g->state != RESIDENT) return false;
    touch(p, g);
    g->pins++;
    *view = g->view;
    return true;
}

void hyp_pager_unpin(hyp_pager *p, uint32_t index) {
    HYP_CHECK(p->pages[index].pins > 0 && p->pages[index].state == RESIDENT,
              "a page is unpinned more often than pinned");
    p->pages[index].pins--;
}

hyp_status hyp_pager_prefetch(hyp_pager *p, uint32_t index) {
    if (p->pages[index].state == RESIDENT) return HYP_OK;
    hyp_status status = make_present(p, index, false);
    if (!status) p->pages[index].read = false;
    return status == HYP_E_NOMEM ? HYP_OK : status;
}

uint32_t hyp_pager_ahead_room(const hyp_pager *p) {
    return p->frame_count > FRAMES_LEAST ? p->frame_count - FRAMES_LEAST : 0;
}

bool hyp_pager_is_absent(const hyp_pager *p, uint32_t index) {
    return p->pages[index].state == ABSENT;
}

uint32_t hyp_pager_take_read(hyp_pager *p, uint32_t index) {
    page *g = &p->pages[index];
    uint32_t bytes = g->read ? g->bytes : 0;
    g->read = false;
    return bytes;
}

bool hyp_pager_keeps(const hyp_pager *p, uint32_t index) { return index < p->resident; }

// Reading the page after this is a defect. In checked builds the bytes become no numbers, so that
// it shows.
static void poison(uint8_t *view, size_t bytes) {
#ifdef HYP_CHECKED
    memset(view, 0xFF, bytes);
#else
    (void)view;
    (void)bytes;
#endif
}

static void make_absent(hyp_pager *p, page *g) {
    HYP_CHECK(g->pins == 0 && g->state == RESIDENT, "a page is taken away while it is read");
    if (g->ahead) end_ahead(p, g);
    poison(g->view, g->bytes);
    g->state = ABSENT;
    g->view = NULL;
    p->stats.evictions++;
    p->stats.present--;
    p->stats.present_bytes -= g->bytes;
}

// Frees a frame, and moves its memory back to its frame slot.
static void evict(hyp_pager *p, frame *f) {
    uint32_t index = f->page;
    make_absent(p, &p->pages[index]);
    give_place(p, index, f);
}

// A frame for a new page, and where it is in the range; what was read ahead keeps its own while
// there is another, or `ahead`. NULL: every frame is pinned or being filled.
static frame *take_frame(hyp_pager *p, uint64_t *at, bool ahead) {
    for (uint32_t i = 0; i < p->frame_count; i++)
        if (p->frames[i].page == NOWHERE) {
            *at = frame_slot_at(p, i);
            return &p->frames[i];
        }
    for (uint32_t turn = 0; turn < (ahead ? 2 : 3) * p->frame_count; turn++) {
        frame *f = &p->frames[p->hand];
        page *g = &p->pages[f->page];
        p->hand = (p->hand + 1) % p->frame_count;
        if (g->pins || g->state == FILLING || (g->ahead && turn < 2 * p->frame_count)) continue;
        if (g->again) {
            g->again = false; // one more round
            continue;
        }
        *at = place_of(p, f->page);
        make_absent(p, g);
        g->frame = f->page = NOWHERE;
        return f;
    }
    return NULL;
}

// Where page `index` is to be filled: its place in the block, or a frame.
static hyp_status find_place(hyp_pager *p, uint32_t index, frame **f, uint8_t **memory,
                             bool from_fault) {
    // A handler takes no memory.
    if (index >= p->resident && !from_fault && !p->frame_count && get_frames(p, FRAMES_LEAST))
        count_places(p);
    uint64_t at, place = place_of(p, index);
    *f = NULL;
    if (index < p->resident) {
        *memory = p->range ? hyp_port_view_at(p->range, place) : p->pages[index].memory;
        return !p->range || hyp_port_view_commit(p->range, place, room_of(p, index), false)
                   ? HYP_OK
                   : HYP_E_NOMEM;
    }
    if (!(*f = take_frame(p, &at, p->pages[index].ahead))) return HYP_E_NOMEM;
    (*f)->page = index;
    p->pages[index].frame = (uint32_t)(*f - p->frames);
    *memory = p->range ? hyp_port_view_at(p->range, place) : (*f)->memory;
    if (!p->range || hyp_port_view_move(p->range, at, place, p->frame_bytes)) return HYP_OK;
    // Its limit on mappings (vm.max_map_count) is reached: use larger pages.
    hyp_port_panic("the kernel refused to move a page");
}

static void give_place(hyp_pager *p, uint32_t index, frame *f) {
    if (!f) {
        if (p->range) hyp_port_view_hide(p->range, place_of(p, index), room_of(p, index));
        return;
    }
    if (p->range &&
        !hyp_port_view_move(p->range, place_of(p, index),
                            frame_slot_at(p, (uint32_t)(f - p->frames)), p->frame_bytes))
        hyp_port_panic("the kernel refused to move a page");
    f->page = p->pages[index].frame = NOWHERE;
}

static hyp_status fill(hyp_pager *p, uint32_t index, bool from_fault) {
    page *g = &p->pages[index];
    frame *f;
    uint8_t *memory;
    hyp_status status = find_place(p, index, &f, &memory, from_fault);
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
        g->read = true;
        p->stats.fills++;
        p->stats.filled_bytes += g->bytes;
        p->stats.present++;
        p->stats.present_bytes += g->bytes;
    }
    hyp_event_signal(&p->arrived);
    return status;
}

hyp_status hyp_pager_fill_ahead(hyp_pager *p, uint32_t index, bool *filled) {
    page *g = &p->pages[index];
    *filled = false;
    if (g->state != ABSENT || index < p->resident || p->ahead >= hyp_pager_ahead_room(p))
        return HYP_OK;
    g->ahead = true;
    p->ahead++;
    hyp_status status = fill(p, index, false);
    *filled = !status;
    if (status && g->ahead) end_ahead(p, g);
    return status == HYP_E_NOMEM ? HYP_OK : status;
}

static hyp_status make_present(hyp_pager *p, uint32_t index, bool from_fault) {
    page *g = &p->pages[index];
    while (g->state != RESIDENT) {
        if (g->state == ABSENT) {
            hyp_status status = fill(p, index, from_fault);
            // Frames that are being filled become free or evictable; those that are pinned may be
            // the caller's own.
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

hyp_status hyp_pager_fault_status(hyp_pager *p) {
    hyp_status status = p->trouble;
    p->trouble = HYP_OK;
    return status;
}

// In a signal handler: allocates nothing and waits for nobody. False: not ours, or nothing can be
// evicted.
static bool on_fault(void *context, uint64_t offset) {
    hyp_pager *p = context;
    uint32_t low = 0, high = p->resident;
    if (offset >= p->spare) {
        low = (uint32_t)((offset - p->spare) / p->frame_bytes);
        if (low >= p->config.pages || low < p->resident) return false;
    } else {
        if (!p->resident || offset >= p->places[p->resident]) return false;
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

// ---- Shrinking and growing, statistics

void hyp_pager_set_workers(hyp_pager *p, hyp_pool *workers) { p->workers = workers; }

// How many pages would be resident if `bytes` were given back, or as many as can be: *given, less
// what frames for the spare cost.
static uint32_t kept_after(const hyp_pager *p, uint64_t bytes, uint64_t *given) {
    uint64_t cost = p->frame_count ? 0 : FRAMES_LEAST * p->frame_bytes, freed = 0;
    uint32_t resident = p->resident;
    while (resident && freed < bytes + cost) {
        const page *g = &p->pages[resident - 1];
        if (g->pins || g->state == FILLING) break;
        freed += room_of(p, --resident);
    }
    *given = freed > cost ? freed - cost : 0;
    return *given ? resident : p->resident;
}

size_t hyp_pager_shrink(hyp_pager *p, size_t bytes) {
    uint64_t given;
    uint32_t resident = kept_after(p, bytes, &given);
    if (!given) return 0;
    hyp_pool_wait_idle(p->workers);
    for (uint32_t i = resident; i < p->resident; i++)
        if (p->pages[i].state == RESIDENT) make_absent(p, &p->pages[i]);
    give_places(p, resident);
    // The budget has room for them. If the platform has none all the same, they are asked for again
    // when one is needed.
    if (!p->frame_count) (void)get_frames(p, FRAMES_LEAST);
    count_places(p);
    return (size_t)given;
}

bool hyp_reclaim(hyp_pager *pagers, size_t bytes) {
    uint64_t possible = 0, given;
    for (const hyp_pager *p = pagers; p; p = p->next) {
        kept_after(p, bytes, &given);
        possible += given;
    }
    if (possible < bytes) return false; // and nothing has changed
    for (hyp_pager *p = pagers; p && bytes; p = p->next) {
        size_t had = hyp_pager_shrink(p, bytes);
        bytes -= had < bytes ? had : bytes;
    }
    return bytes == 0;
}

// Whether all spare pages could be resident, once they need no frames.
static bool can_keep_all(const hyp_pager *p) {
    if (p->resident_most < p->config.pages || p->filling) return false;
    for (uint32_t i = 0; i < p->frame_count; i++)
        if (p->frames[i].page != NOWHERE && p->pages[p->frames[i].page].pins) return false;
    uint64_t left = hyp_budget_left(p->config.budget), frames = p->frame_count * p->frame_bytes;
    return p->places[p->resident_most] - p->places[p->resident] + PROMOTE_SPARE <=
           (left < UINT64_MAX - frames ? left + frames : left);
}

// Pages that lost their places get them back as far as there is room; they are read when they are
// needed. Not from a fault.
static void grow(hyp_pager *p) {
    uint32_t before = p->resident;
    if (can_keep_all(p)) {
        for (uint32_t i = 0; i < p->frame_count; i++)
            if (p->frames[i].page != NOWHERE) evict(p, &p->frames[i]);
        give_frames(p);
        while (p->resident < p->resident_most && get_places(p, p->resident + 1)) {
        }
    }
    while (p->resident < p->resident_most &&
           hyp_budget_left(p->config.budget) >= room_of(p, p->resident) + PROMOTE_SPARE) {
        page *g = &p->pages[p->resident];
        if (g->pins || g->state == FILLING) break;
        if (g->state == RESIDENT) evict(p, &p->frames[g->frame]);
        if (!get_places(p, p->resident + 1)) break;
    }
    if (p->resident != before) count_places(p);
}

bool hyp_pagers_whole(const hyp_budget *budget) {
    for (const hyp_pager *p = budget->pagers; p; p = p->next)
        if (p->resident < p->config.pages) return false;
    return true;
}

hyp_pager_stats hyp_pager_get_stats(const hyp_pager *p) {
    hyp_pager_stats s = p->stats;
    s.pins = (uint64_t)p->epoch * p->config.pages + p->config.pages - p->epoch_left;
    s.hits = s.pins - p->misses - p->stats.faults;
    return s;
}

hyp_page_info hyp_pager_page(const hyp_pager *p, uint32_t index) {
    const page *g = &p->pages[index];
    return (hyp_page_info){g->state == RESIDENT, index < p->resident, g->bytes,
                           (float)cooled(p, g) / HEAT};
}
