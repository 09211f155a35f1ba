#include "slab.h"

#include "../base/bytes.h"
#include "../port.h"
#include "poison.h"

enum {
    UNIT = 64,            // of large blocks
    TAG = 16,             // bytes of a boundary tag, before each large block
    SPAN = 64 << 10,      // carved into blocks of one class
    FIRST_SPAN = 4 << 10, // the first of a class
    POOL_MOST = 1 << 20,
    POOL_HEAD = UNIT - TAG, // so that payloads fall on multiples of 64
    BINS = 60,
    USED = 0x55534544,
    FREE = 0x46524545,
    END = 0x454E4421,
};

typedef struct link { // in a free small block
    struct link *next;
} link;

typedef struct span { // at the start of the memory that small blocks are carved from
    struct span *next;
    size_t bytes;
} span;

typedef struct tag {        // the boundary tag: sizes in units of 64 bytes, tags included
    uint32_t units, before; // of this block, of the one before it (0: the pool's first)
    uint32_t state;
    uint32_t reserved;
} tag;
_Static_assert(sizeof(tag) == TAG, "a tag and a payload share lines of 64 bytes");

typedef struct free_block { // behind the tag of a free block
    struct free_block *next, *previous;
} free_block;

typedef struct pool {
    struct pool *next, *previous;
    size_t bytes;
} pool;

#ifdef HYP_CHECKED
typedef struct guard { // before the payload; a canary stands behind it
    struct guard *next, *previous;
    const char *tag;
    size_t bytes;
    uint64_t magic;
} guard;
enum { GUARD = 64, CANARY = 16 };
static const uint64_t LIVE = 0x4C495645424C4F43u, DEAD = 0x44454144424C4F43u;
#endif

struct hyp_slab {
    hyp_budget *budget;
    uint32_t lock;
    bool adopted; // the budget took this slab as its own
    link *lists[HYP_SLAB_CLASSES];
    size_t listed[HYP_SLAB_CLASSES], carved[HYP_SLAB_CLASSES];
    char *open[HYP_SLAB_CLASSES], *open_end[HYP_SLAB_CLASSES];
    span *spans;
    pool *pools;
    free_block *bins[BINS];
    uint64_t occupied; // bit b: bins[b] is not empty
    hyp_magazine *magazines;
    size_t large_blocks, large_bytes, huge_blocks, huge_bytes, held, peak;
#ifdef HYP_CHECKED
    guard live;
#endif
};

static const uint16_t class_bytes[HYP_SLAB_CLASSES] = {
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024};
#define R4(x) x, x, x, x
const uint8_t hyp_slab_class_of[HYP_SLAB_SMALL / 16 + 1] = {
    0,      0,      1,      2,      3,      4,      5,      6,      7,      8,
    8,      9,      9,      10,     10,     11,     11,     R4(12), R4(13), R4(14),
    R4(15), R4(16), R4(16), R4(17), R4(17), R4(18), R4(18), R4(19), R4(19)};

static void *small_alloc(hyp_slab *s, uint32_t c);
static void small_free(hyp_slab *s, uint32_t c, void *block);
static void *large_alloc(hyp_slab *s, size_t bytes);
static void large_free(hyp_slab *s, void *block);

static void lock(hyp_slab *s) {
    while (__atomic_exchange_n(&s->lock, 1, __ATOMIC_ACQUIRE))
        while (__atomic_load_n(&s->lock, __ATOMIC_RELAXED)) {
        }
}
static void unlock(hyp_slab *s) { __atomic_store_n(&s->lock, 0, __ATOMIC_RELEASE); }

static void *map(hyp_slab *s, size_t bytes) {
    void *memory = hyp_budget_map_inside(s->budget, bytes);
    if (memory && (s->held += bytes) > s->peak) s->peak = s->held;
    return memory;
}
static void unmap(hyp_slab *s, void *memory, size_t bytes) {
    s->held -= bytes;
    hyp_budget_unmap(s->budget, memory, bytes);
}

hyp_slab *hyp_slab_create(hyp_budget *budget) {
    hyp_slab *s = hyp_budget_map(budget, sizeof *s);
    if (!s) return NULL;
    s->budget = budget;
    if (!budget->slab) {
        budget->slab = s;
        s->adopted = true;
    }
#ifdef HYP_CHECKED
    s->live.next = s->live.previous = &s->live;
#endif
    return s;
}

size_t hyp_slab_destroy(hyp_slab *s) {
    if (!s) return 0;
    while (s->magazines) hyp_magazine_destroy(s->magazines);
    size_t out = hyp_slab_get_stats(s).live_blocks;
    for (span *p = s->spans, *next; p; p = next) {
        next = p->next;
        hyp_unpoison(p, p->bytes);
        unmap(s, p, p->bytes);
    }
    for (pool *p = s->pools, *next; p; p = next) {
        next = p->next;
        unmap(s, p, p->bytes);
    }
    if (s->adopted) s->budget->slab = NULL;
    hyp_budget_unmap(s->budget, s, sizeof *s);
    return out;
}

static void *raw_alloc(hyp_slab *s, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    if (bytes > HYP_SLAB_LARGE) {
        void *memory = map(s, bytes);
        if (memory) {
            s->huge_blocks++;
            s->huge_bytes += bytes;
        }
        return memory;
    }
    return bytes > HYP_SLAB_SMALL ? large_alloc(s, bytes)
                                  : small_alloc(s, hyp_slab_class_of[(bytes + 15) / 16]);
}

static void raw_free(hyp_slab *s, void *block, size_t bytes) {
    if (bytes > HYP_SLAB_LARGE) {
        s->huge_blocks--;
        s->huge_bytes -= bytes;
        unmap(s, block, bytes);
    } else if (bytes > HYP_SLAB_SMALL) large_free(s, block);
    else small_free(s, hyp_slab_class_of[(bytes + 15) / 16], block);
}

#ifdef HYP_CHECKED
// Room for the guards, with the alignment that `bytes` would have had.
static size_t guarded(size_t bytes) {
    return bytes % UNIT ? GUARD + bytes + CANARY : GUARD + bytes + UNIT;
}

static bool intact(const guard *g) {
    const uint8_t *end = (const uint8_t *)g + GUARD + g->bytes;
    for (int i = 0; i < CANARY; i++)
        if (end[i] != 0xC5) return false;
    return g->magic == LIVE;
}

void *hyp_slab_alloc(hyp_slab *s, size_t bytes, const char *name) {
    if (bytes > SIZE_MAX / 4 || hyp_budget_fails(s->budget)) return NULL;
    lock(s);
    guard *g = raw_alloc(s, guarded(bytes));
    if (g) {
        *g = (guard){s->live.next, &s->live, name, bytes, LIVE};
        g->next->previous = g->previous->next = g;
        memset((char *)g + GUARD, 0xA5, bytes); // so that reading it before writing shows
        memset((char *)g + GUARD + bytes, 0xC5, CANARY);
    }
    unlock(s);
    return g ? (char *)g + GUARD : NULL;
}

void hyp_slab_free(hyp_slab *s, void *block, size_t bytes) {
    if (!block) return;
    lock(s);
    guard *g = (guard *)(void *)((char *)block - GUARD);
    if (g->magic == DEAD) hyp_port_panic("a block was freed twice");
    if (g->magic != LIVE) hyp_port_panic("what was freed is no block");
    if (g->bytes != bytes) hyp_port_panic("a block was freed with another size");
    if (!intact(g)) hyp_port_panic("a block was written past its end");
    g->next->previous = g->previous;
    g->previous->next = g->next;
    g->magic = DEAD;
    raw_free(s, g, guarded(bytes));
    unlock(s);
}

size_t hyp_slab_leaks(hyp_slab *s, void (*visit)(void *, const char *, size_t), void *context) {
    size_t count = 0;
    for (const guard *g = s->live.next; g != &s->live; g = g->next, count++)
        if (visit) visit(context, g->tag ? g->tag : "", g->bytes);
    return count;
}
#else
void *hyp_slab_alloc(hyp_slab *s, size_t bytes, const char *name) {
    (void)name;
    lock(s);
    void *block = raw_alloc(s, bytes);
    unlock(s);
    return block;
}

void hyp_slab_free(hyp_slab *s, void *block, size_t bytes) {
    if (!block) return;
    lock(s);
    raw_free(s, block, bytes);
    unlock(s);
}

size_t hyp_slab_leaks(hyp_slab *s, void (*visit)(void *, const char *, size_t), void *context) {
    (void)visit;
    (void)context;
    return hyp_slab_get_stats(s).live_blocks;
}
#endif

// ---- Small blocks

static bool open_span(hyp_slab *s, uint32_t c) {
    size_t bytes = s->carved[c] * class_bytes[c] < SPAN ? FIRST_SPAN : SPAN;
    span *p = map(s, bytes);
    if (!p && bytes > FIRST_SPAN) p = map(s, bytes = FIRST_SPAN);
    if (!p) return false;
    *p = (span){s->spans, bytes};
    s->spans = p;
    s->open[c] = (char *)p + UNIT;
    s->open_end[c] = (char *)p + bytes;
    hyp_poison(s->open[c], bytes - UNIT);
    return true;
}

static void *small_alloc(hyp_slab *s, uint32_t c) {
    link *block = s->lists[c];
    if (block) {
        hyp_unpoison(block, class_bytes[c]);
        s->lists[c] = block->next;
        s->listed[c]--;
        return block;
    }
    if ((size_t)(s->open_end[c] - s->open[c]) < class_bytes[c] && !open_span(s, c)) return NULL;
    void *fresh = s->open[c];
    s->open[c] += class_bytes[c];
    s->carved[c]++;
    hyp_unpoison(fresh, class_bytes[c]);
    return fresh;
}

static void small_free(hyp_slab *s, uint32_t c, void *block) {
    link *l = block;
    l->next = s->lists[c];
    s->lists[c] = l;
    s->listed[c]++;
#ifdef HYP_CHECKED // the guard's magic stays readable: it tells a second free from a stray one
    hyp_poison((char *)block + GUARD, class_bytes[c] > GUARD ? class_bytes[c] - GUARD : 0);
#else
    hyp_poison(block, class_bytes[c]);
#endif
}

// ---- Magazines

hyp_magazine *hyp_magazine_create(hyp_slab *s) {
    lock(s);
    hyp_magazine *m = map(s, sizeof *m);
    if (m) {
        m->slab = s;
        m->next = s->magazines;
        s->magazines = m;
    }
    unlock(s);
    return m;
}

void hyp_magazine_destroy(hyp_magazine *m) {
    hyp_slab *s = m->slab;
    lock(s);
    for (uint32_t c = 0; c < HYP_SLAB_CLASSES; c++)
        while (m->count[c]) small_free(s, c, m->slots[c][--m->count[c]]);
    hyp_magazine **at = &s->magazines;
    while (*at != m) at = &(*at)->next;
    *at = m->next;
    unmap(s, m, sizeof *m);
    unlock(s);
}

void *hyp_magazine_alloc_slow(hyp_magazine *m, size_t bytes, const char *name) {
#ifndef HYP_CHECKED
    if (bytes <= HYP_SLAB_SMALL) { // half a magazine at once, so that the lock is rarely taken
        uint32_t c = hyp_slab_class_of[(bytes + 15) / 16];
        lock(m->slab);
        // New blocks one by one out of the span: nothing is carved before it is wanted.
        for (int i = 0; i < HYP_MAGAZINE_SLOTS / 2 && m->slab->lists[c]; i++)
            m->slots[c][m->count[c]++] = small_alloc(m->slab, c);
        void *block = m->count[c] ? m->slots[c][--m->count[c]] : small_alloc(m->slab, c);
        unlock(m->slab);
        return block;
    }
#endif
    return hyp_slab_alloc(m->slab, bytes, name);
}

void hyp_magazine_free_slow(hyp_magazine *m, void *block, size_t bytes) {
#ifndef HYP_CHECKED
    if (bytes <= HYP_SLAB_SMALL && block) { // the older half, which has gone cold
        uint32_t c = hyp_slab_class_of[(bytes + 15) / 16], half = HYP_MAGAZINE_SLOTS / 2;
        lock(m->slab);
        for (uint32_t i = 0; i < half; i++) small_free(m->slab, c, m->slots[c][i]);
        unlock(m->slab);
        memmove(m->slots[c], m->slots[c] + half, half * sizeof(void *));
        m->count[c] = (uint16_t)half;
        m->slots[c][m->count[c]++] = block;
        return;
    }
#endif
    hyp_slab_free(m->slab, block, bytes);
}

// ---- Large blocks

static tag *tag_of(void *payload) { return (tag *)(void *)((char *)payload - TAG); }
static void *payload_of(tag *t) { return (char *)t + TAG; }
static tag *after(tag *t) { return (tag *)(void *)((char *)t + (size_t)t->units * UNIT); }
static tag *before(tag *t) { return (tag *)(void *)((char *)t - (size_t)t->before * UNIT); }
static tag *first(pool *p) { return (tag *)(void *)((char *)p + POOL_HEAD); }

// Four bins to each power of two. Every block of a bin is at least as large as the smallest size
// that the bin stands for.
static uint32_t bin_of(uint32_t units) {
    if (units < 4) return units;
    uint32_t log = 31 - (uint32_t)__builtin_clz(units);
    return (log - 1) * 4 + (units >> (log - 2) & 3);
}
static uint32_t bin_for(uint32_t units) { // the first bin whose blocks all hold `units`
    if (units < 4) return units;
    uint32_t log = 31 - (uint32_t)__builtin_clz(units);
    return bin_of(units + (1u << (log - 2)) - 1);
}

static void bin_add(hyp_slab *s, tag *t) {
    uint32_t b = bin_of(t->units);
    free_block *f = payload_of(t);
    *f = (free_block){s->bins[b], NULL};
    if (f->next) f->next->previous = f;
    s->bins[b] = f;
    s->occupied |= 1ull << b;
    t->state = FREE;
}
static void bin_remove(hyp_slab *s, tag *t) {
    uint32_t b = bin_of(t->units);
    free_block *f = payload_of(t);
    if (f->previous) f->previous->next = f->next;
    else if (!(s->bins[b] = f->next)) s->occupied &= ~(1ull << b);
    if (f->next) f->next->previous = f->previous;
}

static tag *add_pool(hyp_slab *s, uint32_t units) {
    size_t least = hyp_round_up((size_t)units * UNIT + UNIT, 4096),
           bytes = hyp_round_up(s->large_bytes / 2, 4096);
    if (bytes > POOL_MOST) bytes = POOL_MOST;
    if (bytes < least) bytes = least < 64 << 10 ? 64 << 10 : least;
    pool *p = map(s, bytes);
    if (!p && bytes > least) p = map(s, bytes = least);
    if (!p) return NULL;
    *p = (pool){s->pools, NULL, bytes};
    if (p->next) p->next->previous = p;
    s->pools = p;
    tag *t = first(p);
    *t = (tag){.units = (uint32_t)(bytes / UNIT) - 1, .state = USED};
    *after(t) = (tag){.before = t->units, .state = END};
    return t;
}

static void *large_alloc(hyp_slab *s, size_t bytes) {
    uint32_t units = (uint32_t)((bytes + TAG + UNIT - 1) / UNIT), bin = bin_for(units);
    uint64_t fit = bin < BINS ? s->occupied >> bin : 0;
    tag *t;
    if (fit) bin_remove(s, t = tag_of(s->bins[bin + (uint32_t)__builtin_ctzll(fit)]));
    else if (!(t = add_pool(s, units))) return NULL;
    if (t->units > units) { // the rest becomes a block of its own
        tag *rest = (tag *)(void *)((char *)t + (size_t)units * UNIT);
        *rest = (tag){.units = t->units - units, .before = units};
        after(rest)->before = rest->units;
        t->units = units;
        bin_add(s, rest);
    }
    t->state = USED;
    s->large_blocks++;
    s->large_bytes += (size_t)units * UNIT;
    return payload_of(t);
}

static void large_free(hyp_slab *s, void *block) {
    tag *t = tag_of(block);
    if (t->state != USED)
        hyp_port_panic("a block was freed twice, or is none"); // one comparison: in every build
    s->large_blocks--;
    s->large_bytes -= (size_t)t->units * UNIT;
    tag *next = after(t);
    if (next->state == FREE) {
        bin_remove(s, next);
        t->units += next->units;
        next->state = 0;
    }
    if (t->before && before(t)->state == FREE) {
        tag *front = before(t);
        bin_remove(s, front);
        front->units += t->units;
        t->state = 0;
        t = front;
    }
    after(t)->before = t->units;
    bin_add(s, t);
    // It is the whole pool, which is given back unless it is the last one.
    if (!t->before && after(t)->state == END && s->pools->next) {
        pool *p = (pool *)(void *)((char *)t - POOL_HEAD);
        bin_remove(s, t);
        if (p->previous) p->previous->next = p->next;
        else s->pools = p->next;
        if (p->next) p->next->previous = p->previous;
        unmap(s, p, p->bytes);
    }
}

// ---- Statistics and checks

hyp_slab_stats hyp_slab_get_stats(hyp_slab *s) {
    hyp_slab_stats r = {.live_blocks = s->large_blocks + s->huge_blocks,
                        .live_bytes = s->large_bytes + s->huge_bytes,
                        .held_bytes = s->held,
                        .peak_bytes = s->peak};
    for (uint32_t c = 0; c < HYP_SLAB_CLASSES; c++) {
        size_t live = s->carved[c] - s->listed[c];
        for (const hyp_magazine *m = s->magazines; m; m = m->next) live -= m->count[c];
        r.live_blocks += live;
        r.live_bytes += live * class_bytes[c];
    }
    for (int b = 0; b < BINS; b++)
        for (free_block *f = s->bins[b]; f; f = f->next) {
            size_t bytes = (size_t)tag_of(f)->units * UNIT;
            r.free_bytes += bytes;
            if (bytes > r.largest_free_bytes) r.largest_free_bytes = bytes;
        }
    return r;
}

bool hyp_slab_check(hyp_slab *s) {
    size_t used = 0, used_bytes = 0, free_blocks = 0, binned = 0;
    for (pool *p = s->pools; p; p = p->next) {
        uint32_t previous = 0;
        bool was_free = false;
        tag *t = first(p), *end = (tag *)(void *)((char *)p + p->bytes - TAG);
        for (; t < end; t = after(t)) {
            if (t->before != previous || !t->units || (t->state != USED && t->state != FREE))
                return false;
            if (t->state == FREE && was_free) return false; // neighbours are joined at once
            was_free = t->state == FREE;
            if (was_free) free_blocks++;
            else {
                used++;
                used_bytes += (size_t)t->units * UNIT;
            }
            previous = t->units;
        }
        if (t != end || t->state != END || t->before != previous) return false;
    }
    for (uint32_t b = 0; b < BINS; b++) {
        if ((s->occupied >> b & 1) != (s->bins[b] != NULL)) return false;
        for (free_block *f = s->bins[b]; f; f = f->next, binned++)
            if (tag_of(f)->state != FREE || bin_of(tag_of(f)->units) != b ||
                (f->next && f->next->previous != f))
                return false;
    }
    for (uint32_t c = 0; c < HYP_SLAB_CLASSES; c++) {
        size_t n = 0;
        for (link *l = s->lists[c]; l && n <= s->listed[c]; n++) {
            hyp_unpoison(l, sizeof *l);
            link *next = l->next;
#ifndef HYP_CHECKED
            hyp_poison(l, sizeof *l);
#endif
            l = next;
        }
        if (n != s->listed[c] || n > s->carved[c]) return false;
    }
#ifdef HYP_CHECKED
    for (const guard *g = s->live.next; g != &s->live; g = g->next)
        if (!intact(g) || g->next->previous != g) return false;
#endif
    return used == s->large_blocks && used_bytes == s->large_bytes && free_blocks == binned;
}
