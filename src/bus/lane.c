#include "lane.h"

#include "../base/bytes.h"
#include "../base/crc32c.h"
#include "../port.h"

enum {
    LINE = 64,
    SPINS = 2000,
    LATENCY_NS = 1000,
    FREE = 0,
    READY = 1,
    CONSUMING = 2,
    FEEDBACK = 3,
    VERDICT_SHIFT = 8,
    WAIT_NS = 2000000
};

typedef struct header { // before each payload
    uint32_t bytes, type, sequence, checksum;
    uint64_t time_ns;
    uint32_t grant; // with the padding that keeps the next header aligned
    uint32_t reserved;
} header;
_Static_assert(sizeof(header) == HYP_CAPSULE_HEADER, "documented");
_Static_assert(sizeof(hyp_lane) == 4 * LINE, "documented");

static hyp_lane_config settled(const hyp_lane_config *config) {
    hyp_lane_config c = config ? *config : (hyp_lane_config){0};
    c.capacity = (uint32_t)hyp_round_up(c.capacity ? c.capacity : 64 << 10, LINE);
    uint32_t slots = 16;
    while (slots < (c.slots ? c.slots : 256)) slots *= 2;
    c.slots = slots;
    if (!c.high) c.high = c.capacity / 4 * 3;
    if (!c.low) c.low = c.capacity / 2;
    return c;
}

size_t hyp_lane_bytes(const hyp_lane_config *config) {
    hyp_lane_config c = settled(config);
    return sizeof(hyp_lane) + c.slots * sizeof(hyp_atomic) + c.capacity + LINE;
}

hyp_lane *hyp_lane_init(void *memory, const hyp_lane_config *config) {
    hyp_lane_config c = settled(config);
    hyp_lane *lane = memory;
    memset(memory, 0, sizeof(hyp_lane) + c.slots * sizeof(hyp_atomic));
    lane->version = HYP_LANE_VERSION;
    lane->capacity = c.capacity;
    lane->slots = c.slots;
    lane->checksum = !c.unchecked;
    lane->high = c.high;
    lane->low = c.low;
    lane->magic = HYP_LANE_MAGIC;
    return lane;
}

static hyp_atomic *states_of(hyp_lane *lane) { return (hyp_atomic *)(lane + 1); }
static uint8_t *ring_of(hyp_lane *lane) { return (uint8_t *)(states_of(lane) + lane->slots); }
static bool sound(const hyp_lane *lane) {
    return lane->magic == HYP_LANE_MAGIC && lane->version == HYP_LANE_VERSION &&
           lane->capacity >= LINE && lane->capacity % LINE == 0 && lane->slots >= 16 &&
           !(lane->slots & (lane->slots - 1));
}

// The consumer's index, as far as it can be one.
static uint32_t seen_read(const hyp_lane *lane) {
    return hyp_min_u32(hyp_atomic_load(&lane->read, HYP_ACQUIRE), lane->capacity);
}

static bool take_end(hyp_atomic *end, uint32_t owner) {
    uint32_t nobody = 0;
    return __atomic_compare_exchange_n(end, &nobody, owner, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

hyp_status hyp_lane_produce(hyp_lane *lane, uint32_t owner, hyp_lane_full full,
                            hyp_lane_producer *p) {
    if (!sound(lane)) return HYP_E_FORMAT;
    if (!take_end(&lane->producer, owner)) return HYP_E_STATE;
    uint32_t write = hyp_min_u32(hyp_atomic_load(&lane->write, HYP_RELAXED), lane->capacity),
             sent = hyp_atomic_load(&lane->sent, HYP_RELAXED);
    *p = (hyp_lane_producer){.lane = lane,
                             .ring = ring_of(lane),
                             .states = states_of(lane),
                             .index = {lane->capacity, write, write, seen_read(lane)},
                             .batch = 1,
                             .full = full,
                             .sequence = sent,
                             .collected = sent};
    uint32_t open = hyp_atomic_load(&lane->open, HYP_RELAXED);
    hyp_atomic_store(&lane->producer_lost,
                     hyp_atomic_load(&lane->producer_lost, HYP_RELAXED) + open, HYP_RELAXED);
    hyp_atomic_store(&lane->open, 0, HYP_RELAXED);
    return HYP_OK;
}

hyp_status hyp_lane_consume(hyp_lane *lane, uint32_t owner, hyp_lane_consumer *c) {
    if (!sound(lane)) return HYP_E_FORMAT;
    if (!take_end(&lane->consumer, owner)) return HYP_E_STATE;
    uint32_t read = hyp_atomic_load(&lane->read, HYP_RELAXED);
    if (read > lane->capacity) read = 0;
    *c = (hyp_lane_consumer){lane,
                             ring_of(lane),
                             states_of(lane),
                             {lane->capacity, read, read, 0},
                             hyp_atomic_load(&lane->received, HYP_RELAXED)};
    // What the one before was at when it died is not tried again.
    if ((hyp_atomic_load(&c->states[c->sequence & (lane->slots - 1)], HYP_ACQUIRE) & 0xFF) !=
        CONSUMING)
        return HYP_OK;
    uint32_t at, bytes = hyp_ring_read(&c->index, &at, &lane->write, &lane->last);
    const header *h = (const header *)(const void *)(c->ring + at);
    if (at % HYP_CAPSULE_ALIGN || bytes < sizeof *h || h->grant < sizeof *h || h->grant > bytes) {
        hyp_atomic_store(&lane->consumer, 0, HYP_RELEASE);
        return HYP_E_FORMAT;
    }
    hyp_atomic_store(&lane->lost, hyp_atomic_load(&lane->lost, HYP_RELAXED) + 1, HYP_RELAXED);
    hyp_capsule_release(c, &(hyp_capsule){.sequence = c->sequence, .payload = h + 1}, HYP_LOST);
    return HYP_OK;
}

void hyp_lane_leave_producer(hyp_lane_producer *p) {
    hyp_lane_flush(p);
    hyp_atomic_store(&p->lane->producer, 0, HYP_RELEASE);
    p->lane = NULL;
}

void hyp_lane_leave_consumer(hyp_lane_consumer *c) {
    hyp_atomic_store(&c->lane->consumer, 0, HYP_RELEASE);
    c->lane = NULL;
}

void hyp_lane_close(hyp_lane *lane) {
    hyp_atomic_store(&lane->closed, 1, HYP_SEQ_CST);
    hyp_lane_wake_consumer(lane);
    hyp_lane_wake_producer(lane);
}

void hyp_lane_evict(hyp_lane *lane, uint32_t owner) {
    hyp_atomic *ends[] = {&lane->producer, &lane->consumer};
    for (int i = 0; i < 2; i++) {
        uint32_t held = owner;
        __atomic_compare_exchange_n(ends[i], &held, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
}

// ---- Waking

static void wake(hyp_atomic *word) {
    __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
    hyp_port_wake(word);
}
void hyp_lane_wake_consumer(hyp_lane *lane) { wake(&lane->data_word); }
void hyp_lane_wake_producer(hyp_lane *lane) { wake(&lane->room_word); }

// Spins, then sleeps on `word`, until ready(). The sleeper says so, looks once more, and only then
// waits for the word to change: the other side first shows its index and then looks for a sleeper.
// One of the two sees the other (tests/bus/wake.pml).
static hyp_status sleep_until(hyp_lane *lane, hyp_atomic *sleeper, hyp_atomic *word,
                              bool (*ready)(void *), void *context, uint64_t timeout_ns,
                              uint64_t nap_ns) {
    for (int i = 0; i < SPINS; i++) {
        if (ready(context)) return HYP_OK;
        hyp_port_pause();
    }
    uint64_t end = timeout_ns ? hyp_port_now_ns() + timeout_ns : UINT64_MAX;
    hyp_status status = HYP_OK;
    for (;;) {
        uint32_t seen = hyp_atomic_load(word, HYP_SEQ_CST);
        hyp_atomic_store(sleeper, 1, HYP_SEQ_CST);
        hyp_atomic_fence();
        if (ready(context)) break;
        if (hyp_atomic_load(&lane->closed, HYP_SEQ_CST)) {
            status = HYP_E_CANCELLED;
            break;
        }
        uint64_t now = hyp_port_now_ns();
        if (now >= end) {
            status = HYP_E_TIMEOUT;
            break;
        }
        uint64_t left = end - now;
        if (!hyp_port_wait(word, seen, left < nap_ns ? left : nap_ns)) {
            status = HYP_E_UNSUPPORTED;
            break;
        }
    }
    hyp_atomic_store(sleeper, 0, HYP_SEQ_CST);
    return status;
}

static bool has_data(void *consumer) {
    uint32_t at;
    hyp_lane_consumer *c = consumer;
    return hyp_ring_read(&c->index, &at, &c->lane->write, &c->lane->last) > 0;
}

hyp_status hyp_lane_sleep(hyp_lane_consumer *c, uint64_t timeout_ns) {
    return sleep_until(c->lane, &c->lane->data_sleeper, &c->lane->data_word, has_data, c,
                       timeout_ns, UINT64_MAX);
}

// ---- Batches

// As many bytes as come within a microsecond at the rate measured over the last publishes, so that
// a batch delays nothing by more.
void hyp_lane_adapt(hyp_lane_producer *p) {
    uint64_t now = hyp_port_now_ns(), bytes = (uint64_t)p->adapted_publishes * p->batch;
    if (p->adapted_ns && now > p->adapted_ns) {
        uint64_t batch = bytes * LATENCY_NS / (now - p->adapted_ns), most = p->index.capacity / 8;
        p->batch = batch < 1 ? 1 : batch > most ? (uint32_t)most : (uint32_t)batch;
    }
    p->adapted_ns = now;
    p->adapted_publishes = 0;
}

// ---- Capsules

typedef struct wish {
    hyp_lane_producer *producer;
    uint32_t bytes;
} wish;

static uint32_t used_bytes(const hyp_lane_producer *p) {
    uint32_t write = p->index.write, read = p->index.read;
    // The gap at the end is not counted: close enough for a water mark.
    return write >= read ? write - read : p->index.capacity - read + write;
}

// Whether there is room in the ring and a free state. A verdict that nobody has asked for is
// dropped.
static bool has_room(void *context) {
    const wish *w = context;
    hyp_lane_producer *p = w->producer;
    uint32_t state = hyp_atomic_load(&p->states[p->sequence & (p->lane->slots - 1)], HYP_ACQUIRE) &
                     0xFF;
    if (state == READY || state == CONSUMING) return false;
    if (p->throttled) {
        p->index.read = seen_read(p->lane);
        if (used_bytes(p) > p->lane->low) return false;
        p->throttled = false;
    }
    return hyp_lane_reserve(p, w->bytes);
}

// `word` has one writer, the caller.
static void count(hyp_atomic *word) {
    hyp_atomic_store(word, hyp_atomic_load(word, HYP_RELAXED) + 1, HYP_RELAXED);
}

hyp_status hyp_capsule_begin(hyp_lane_producer *p, uint32_t bytes, void **payload) {
    wish w = {p, (uint32_t)hyp_round_up(sizeof(header) + (size_t)bytes, HYP_CAPSULE_ALIGN)};
    if (bytes > p->index.capacity || w.bytes > p->index.capacity / 2) return HYP_E_ARGUMENT;
    if (hyp_atomic_load(&p->lane->closed, HYP_RELAXED)) return HYP_E_CANCELLED;
    if (!has_room(&w)) {
        hyp_status status = HYP_E_NOMEM;
        if (p->full == HYP_LANE_BLOCK)
            status = sleep_until(p->lane, &p->lane->room_sleeper, &p->lane->room_word, has_room, &w,
                                 0, WAIT_NS);
        else if (p->full == HYP_LANE_DROP) count(&p->lane->dropped);
        if (status) return status;
    }
    if (p->grant % HYP_CAPSULE_ALIGN)
        return HYP_E_FORMAT; // bytes were sent on it, or its index is damaged
    hyp_atomic_store(&p->lane->open, 1, HYP_RELAXED);
    header *h = (header *)(void *)(p->ring + p->grant);
    h->grant = w.bytes;
    *payload = h + 1;
    return HYP_OK;
}

void hyp_capsule_send(hyp_lane_producer *p, uint32_t type, uint32_t bytes) {
    hyp_lane *lane = p->lane;
    header *h = (header *)(void *)(p->ring + p->grant);
    uint32_t grant = (uint32_t)hyp_round_up(sizeof *h + (size_t)bytes, HYP_CAPSULE_ALIGN);
    *h = (header){.bytes = bytes,
                  .type = type,
                  .sequence = p->sequence,
                  .time_ns = hyp_port_now_ns(),
                  .grant = grant};
    if (lane->checksum) h->checksum = hyp_crc32c(0, h + 1, bytes);
    hyp_atomic *state = &p->states[p->sequence & (lane->slots - 1)];
    if ((hyp_atomic_load(state, HYP_RELAXED) & 0xFF) == FEEDBACK) {
        count(&lane->feedback_dropped);
        p->collected++;
    }
    hyp_atomic_store(state, READY, HYP_RELAXED);
    p->sequence++;
    hyp_atomic_store(&lane->sent, p->sequence, HYP_RELAXED);
    hyp_atomic_store(&lane->open, 0, HYP_RELAXED);
    hyp_ring_commit(&p->index, p->grant, grant, &lane->last);
    hyp_lane_flush(p);
    if (used_bytes(p) > lane->high) p->throttled = true;
}

bool hyp_capsule_feedback(hyp_lane_producer *p, uint32_t *sequence, hyp_verdict *verdict) {
    if (p->collected == p->sequence) return false;
    hyp_atomic *state = &p->states[p->collected & (p->lane->slots - 1)];
    uint32_t word = hyp_atomic_load(state, HYP_ACQUIRE);
    if ((word & 0xFF) != FEEDBACK) return false;
    hyp_atomic_store(state, FREE, HYP_RELAXED);
    *sequence = p->collected++;
    *verdict = (hyp_verdict)(word >> VERDICT_SHIFT);
    return true;
}

hyp_status hyp_capsule_receive(hyp_lane_consumer *c, hyp_capsule *capsule) {
    hyp_lane *lane = c->lane;
    uint32_t bytes;
    // Loaded before the ring is read, so that what was sent before the closing is seen.
    bool closed = hyp_atomic_load(&lane->closed, HYP_ACQUIRE);
    const header *at = hyp_lane_read(c, &bytes);
    if (!at) return closed ? HYP_E_CANCELLED : HYP_E_TIMEOUT;
    hyp_atomic *state = &c->states[c->sequence & (lane->slots - 1)];
    hyp_atomic_store(state, CONSUMING, HYP_RELAXED);
    // The other side may have written anything: the header is read once, and checked before it is
    // used.
    header h = {0};
    bool aligned = (uintptr_t)at % HYP_CAPSULE_ALIGN == 0;
    if (aligned && bytes >= sizeof h) h = *at;
    *capsule = (hyp_capsule){h.sequence, h.type, h.bytes, h.time_ns, at + 1};
    bool fits = h.grant >= sizeof h && h.grant <= bytes && h.grant % HYP_CAPSULE_ALIGN == 0 &&
                h.bytes <= h.grant - sizeof h && h.sequence == c->sequence;
    if (fits && (!lane->checksum || hyp_crc32c(0, at + 1, h.bytes) == h.checksum)) return HYP_OK;
    count(&lane->corrupted);
    if (!fits) { // nobody knows where the next one begins: all that is there is dropped
        hyp_atomic_store(state, FEEDBACK | HYP_CORRUPTED << VERDICT_SHIFT, HYP_RELEASE);
        c->sequence = hyp_atomic_load(&lane->sent, HYP_ACQUIRE);
        hyp_atomic_store(&lane->received, c->sequence, HYP_RELAXED);
        hyp_lane_release(c, bytes);
    } else hyp_capsule_release(c, capsule, HYP_CORRUPTED);
    return HYP_E_FORMAT;
}

void hyp_capsule_release(hyp_lane_consumer *c, const hyp_capsule *capsule, hyp_verdict verdict) {
    const header *h = (const header *)capsule->payload - 1;
    hyp_atomic_store(&c->states[c->sequence & (c->lane->slots - 1)],
                     FEEDBACK | (uint32_t)verdict << VERDICT_SHIFT, HYP_RELEASE);
    c->sequence++;
    hyp_atomic_store(&c->lane->received, c->sequence, HYP_RELEASE);
    hyp_lane_release(c, h->grant);
    hyp_atomic_fence();
    if (hyp_atomic_load(&c->lane->room_sleeper, HYP_RELAXED)) hyp_lane_wake_producer(c->lane);
}

hyp_lane_stats hyp_lane_get_stats(const hyp_lane *lane) {
    uint32_t write = hyp_atomic_load(&lane->write, HYP_ACQUIRE),
             read = hyp_atomic_load(&lane->read, HYP_RELAXED);
    return (hyp_lane_stats){
        .sent = hyp_atomic_load(&lane->sent, HYP_RELAXED),
        .received = hyp_atomic_load(&lane->received, HYP_RELAXED),
        .dropped = hyp_atomic_load(&lane->dropped, HYP_RELAXED),
        .corrupted = hyp_atomic_load(&lane->corrupted, HYP_RELAXED),
        .lost = hyp_atomic_load(&lane->lost, HYP_RELAXED) +
                hyp_atomic_load(&lane->producer_lost, HYP_RELAXED),
        .feedback_dropped = hyp_atomic_load(&lane->feedback_dropped, HYP_RELAXED),
        .used_bytes = write >= read ? write - read : lane->capacity - read + write,
        .capacity_bytes = lane->capacity};
}
