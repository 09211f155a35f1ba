#include "pool.h"

#include "../base/bytes.h"
#include "../bus/lane.h"
#include "../port.h"

enum {
    LINE = 64,
    SPIN_NS = 40000,            // a worker looks for work that long before it sleeps
    SPIN_LIMIT_NS = 3000,       // how long a tile that a worker has begun may take ...
    SPIN_LIMIT_MACS_PER_NS = 3, // ... beside what a slow machine would need for it
    CALIBRATION_NS = 100000,
    SLEEP_NS = 1000000000,
    NAP_NS = 20000,
    EPOCH_LOOPS = 60,   // and no less than
    EPOCH_NS = 8000000, // some of the system's time slices
    PAUSE_MOST = 64,
};

enum { ABSENT, PRESENT, UNWANTED }; // of a worker

typedef struct order { // a loop as a worker gets it; the job follows, then the input
    uint32_t sequence, tiles, columns;
    uint32_t input_at; // bytes from the start of the order
    void (*compute)(const void *job, const void *input, uint32_t tile, float *y, size_t y_stride,
                    float *scratch);
} order;

typedef struct worker { // lines are written by one side each
    hyp_pool *pool;
    hyp_lane *lane;
    hyp_lane_producer producer;
    uint32_t taken;               // finished tiles of the loop that the pool has taken over
    _Alignas(LINE) uint64_t done; // the worker's: loop << 32 | tiles finished of it
    uint16_t tiles[HYP_POOL_TILES];
    float *output, *scratch;
    hyp_atomic present, gone;
} worker;

// Measures whether workers make loops faster; loops of few rows and of many have a trial each.
// Workers are used until something is amiss: a tile had to be repeated, or the loops have become
// slower than they were. Then an epoch runs without workers, and the faster way goes on. While the
// caller works alone, workers are tried again from time to time, less and less often as long as
// that does not pay.
typedef struct trial {
    bool alone;
    uint32_t loops, repeated; // of this epoch
    uint64_t ns, macs;
    double with, without; // multiply-adds a nanosecond; 0: not known
    uint32_t left, pause; // epochs until the other way is tried; how many they were last time
    bool probing;         // this epoch is a try
} trial;

struct hyp_pool {
    hyp_budget *budget;
    size_t bytes;
    uint32_t workers, sequence, pauses_per_us;
    hyp_pool_stats stats;
    trial trials[2];
    uint8_t seen[HYP_POOL_TILES];  // tiles that are in the loop's output
    _Alignas(LINE) uint64_t claim; // loop << 32 | next tile
    _Alignas(LINE) worker worker[];
};

// The next tile of loop `sequence`, or `tiles` when there is none left or the loop is over.
static uint32_t claim_tile(uint64_t *claim, uint32_t sequence, uint32_t tiles) {
    uint64_t seen = __atomic_load_n(claim, __ATOMIC_RELAXED);
    while (seen >> 32 == sequence && (uint32_t)seen < tiles)
        if (__atomic_compare_exchange_n(claim, &seen, seen + 1, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return (uint32_t)seen;
    return tiles;
}

// ---- A worker

static void run_order(worker *w, const order *o) {
    const uint8_t *job = (const uint8_t *)(o + 1), *input = (const uint8_t *)o + o->input_at;
    uint32_t finished = 0, tile;
    while ((tile = claim_tile(&w->pool->claim, o->sequence, o->tiles)) < o->tiles) {
        o->compute(job, input, tile, w->output, o->columns, w->scratch);
        w->tiles[finished++] = (uint16_t)tile;
        __atomic_store_n(&w->done, (uint64_t)o->sequence << 32 | finished, __ATOMIC_RELEASE);
    }
}

static void worker_main(void *context) {
    worker *w = context;
    hyp_lane_consumer consumer;
    hyp_atomic none = ABSENT;
    if (!__atomic_compare_exchange_n(&w->present, &none, PRESENT, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return; // too late
    if (hyp_lane_consume(w->lane, 1, &consumer))
        hyp_port_panic("a worker's lane is held by another");
    for (hyp_capsule capsule;;) {
        hyp_status status = hyp_capsule_receive(&consumer, &capsule);
        for (uint32_t spins = w->pool->pauses_per_us * (SPIN_NS / 1000);
             status == HYP_E_TIMEOUT && spins > 0; spins--) {
            hyp_port_pause();
            status = hyp_capsule_receive(&consumer, &capsule);
        }
        if (status == HYP_E_TIMEOUT) {
            status = hyp_lane_sleep(&consumer, SLEEP_NS);
            if (!status || status == HYP_E_TIMEOUT) continue;
        }
        if (status) break; // closed
        run_order(w, capsule.payload);
        hyp_capsule_release(&consumer, &capsule, HYP_ACCEPTED);
    }
    hyp_atomic_store(&w->gone, 1, HYP_RELEASE); // the last touch: the pool may be unmapped now
}

// ---- The pool

static uint32_t calibrate(void) {
    uint32_t pauses = 0;
    uint64_t start = hyp_port_now_ns(), now = start;
    for (; now - start < CALIBRATION_NS; now = hyp_port_now_ns())
        for (uint32_t i = 0; i < 256; i++, pauses++) hyp_port_pause();
    return pauses * 1000ull / (now - start) + 1;
}

static worker *worker_at(hyp_pool *pool, uint32_t i) { return &pool->worker[i]; }

static size_t order_bytes(size_t job_bytes, size_t input_bytes) {
    return hyp_round_up(sizeof(order) + job_bytes, LINE) + input_bytes;
}

// A grant is at most half of a lane, and two orders may be under way.
static hyp_lane_config lane_of(const hyp_pool_config *c) {
    size_t bytes = 3 * (order_bytes(c->job_bytes, c->input_bytes) + HYP_CAPSULE_HEADER + LINE);
    return (hyp_lane_config){.capacity = (uint32_t)bytes, .slots = 4, .unchecked = true};
}
static size_t floats_bytes(size_t floats) { return hyp_round_up(floats * sizeof(float), LINE); }
static size_t worker_bytes(const hyp_pool_config *c, const hyp_lane_config *lane) {
    return sizeof(worker) + hyp_round_up(hyp_lane_bytes(lane), LINE) +
           floats_bytes(c->output_floats) + floats_bytes(c->scratch_floats);
}

size_t hyp_pool_bytes(const hyp_pool_config *c) {
    hyp_lane_config lane = lane_of(c);
    uint64_t bytes = sizeof(hyp_pool) +
                     hyp_min_u32(c->workers, HYP_POOL_WORKERS) * (uint64_t)worker_bytes(c, &lane);
    return bytes < SIZE_MAX / 2 ? (size_t)bytes
                                : SIZE_MAX; // of a 32-bit address space: more than there is
}

hyp_pool *hyp_pool_create(hyp_budget *budget, const hyp_pool_config *c) {
    uint32_t workers = hyp_min_u32(c->workers, HYP_POOL_WORKERS);
    if (workers == 0 || order_bytes(c->job_bytes, c->input_bytes) > UINT32_MAX / 8) return NULL;
    hyp_lane_config lane = lane_of(c);
    size_t bytes = hyp_pool_bytes(c);
    hyp_pool *pool = hyp_budget_map(budget, bytes);
    if (!pool) return NULL;
    *pool = (hyp_pool){.budget = budget, .bytes = bytes, .pauses_per_us = calibrate()};
    uint8_t *at = (uint8_t *)worker_at(pool, workers);
    for (uint32_t i = 0; i < workers; i++) {
        worker *w = worker_at(pool, i);
        *w = (worker){.pool = pool, .lane = hyp_lane_init(at, &lane)};
        w->output = (float *)(void *)(at += hyp_round_up(hyp_lane_bytes(&lane), LINE));
        w->scratch = (float *)(void *)(at += floats_bytes(c->output_floats));
        at += floats_bytes(c->scratch_floats);
        if (hyp_lane_produce(w->lane, 1, HYP_LANE_FAIL, &w->producer))
            hyp_port_panic("a new lane is held");
        if (!hyp_port_thread(worker_main, w)) break;
        pool->workers++;
    }
    if (pool->workers) return pool;
    hyp_budget_unmap(budget, pool, bytes);
    return NULL;
}

uint32_t hyp_pool_threads(const hyp_pool *pool) { return pool ? pool->workers + 1 : 1; }

static void nap(void) {
    if (!hyp_port_nap(NAP_NS)) hyp_port_pause();
}

void hyp_pool_acquire(const hyp_pool *pool) {
    for (uint32_t i = 0; pool && i < pool->workers; i++) {
        (void)hyp_atomic_load(&pool->worker[i].lane->received, HYP_ACQUIRE);
        (void)__atomic_load_n(&pool->worker[i].done, __ATOMIC_ACQUIRE);
    }
}

void hyp_pool_wait_idle(hyp_pool *pool) {
    for (uint32_t i = 0; pool && i < pool->workers; i++) {
        const hyp_lane *lane = worker_at(pool, i)->lane;
        while (hyp_atomic_load(&lane->received, HYP_ACQUIRE) !=
               hyp_atomic_load(&lane->sent, HYP_RELAXED))
            nap();
    }
}

void hyp_pool_destroy(hyp_pool *pool) {
    if (!pool) return;
    for (uint32_t i = 0; i < pool->workers; i++) hyp_lane_close(worker_at(pool, i)->lane);
    bool all = true;
    for (uint32_t i = 0; i < pool->workers; i++) {
        worker *w = worker_at(pool, i);
        // Where this thread can not sleep, a worker may need a turn of the host's event loop to
        // start: there, a worker that has not started is not waited for.
        while (hyp_atomic_load(&w->present, HYP_ACQUIRE) == ABSENT && hyp_port_nap(NAP_NS)) {
        }
        hyp_atomic none = ABSENT;
        if (__atomic_compare_exchange_n(&w->present, &none, UNWANTED, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            all = false;
        else
            while (!hyp_atomic_load(&w->gone, HYP_ACQUIRE)) nap();
    }
    // Otherwise a worker may yet start, and look at `present`.
    if (all) hyp_budget_unmap(pool->budget, pool, pool->bytes);
}

// Hands the loop to a worker that has time for it.
static void give(worker *w, const hyp_parallel_loop *s, const order *o) {
    if (hyp_atomic_load(&w->present, HYP_ACQUIRE) != PRESENT) return;
    hyp_lane *lane = w->lane;
    if (hyp_atomic_load(&lane->sent, HYP_RELAXED) - hyp_atomic_load(&lane->received, HYP_ACQUIRE) >
        1)
        return; // it is off its processor
    size_t bytes = o->input_at + s->rows * s->input_stride;
    void *payload;
    if (hyp_capsule_begin(&w->producer, (uint32_t)bytes, &payload)) return;
    memcpy(payload, o, sizeof *o);
    memcpy((uint8_t *)payload + sizeof *o, s->job, s->job_bytes);
    uint8_t *to = (uint8_t *)payload + o->input_at;
    const uint8_t *from = s->input;
    for (uint32_t r = 0; r < s->rows; r++, to += s->input_stride, from += s->input_stride)
        memcpy(to, from, s->input_width);
    hyp_capsule_send(&w->producer, 1, (uint32_t)bytes);
}

// Takes over what the worker has finished of the loop; returns how many tiles.
static uint32_t collect(hyp_pool *pool, worker *w, const hyp_parallel_loop *s, const order *o) {
    uint64_t done = __atomic_load_n(&w->done, __ATOMIC_ACQUIRE);
    if (done >> 32 != o->sequence) return 0;
    uint32_t before = w->taken, count = (uint32_t)done;
    for (; w->taken < count; w->taken++) {
        hyp_tile t = s->tile_at(s->job, w->tiles[w->taken]);
        float *y = s->y + t.row * s->y_stride + t.column;
        const float *from = w->output + (size_t)t.row * s->columns + t.column;
        for (uint32_t r = 0; r < t.rows; r++, y += s->y_stride, from += s->columns)
            memcpy(y, from, t.columns * sizeof *y);
        pool->seen[w->tiles[w->taken]] = 1;
    }
    return count - before;
}

static void end_epoch(trial *t) {
    double rate = (double)t->macs / (double)t->ns;
    bool amiss = t->repeated > 1 || rate < 0.8 * t->with;
    *(t->alone ? &t->without : &t->with) = rate;
    if (t->probing) { // both are known now
        t->probing = false;
        bool alone = t->without > t->with;
        t->pause = !alone ? 0 : t->pause ? hyp_min_u32(2 * t->pause, PAUSE_MOST) : 2;
        t->alone = alone;
        t->left = t->pause;
    } else if (t->alone ? t->left-- == 0 : amiss) {
        t->alone = !t->alone;
        t->probing = true;
    }
    t->loops = t->repeated = 0;
    t->ns = t->macs = 0;
}

void hyp_parallel_for(hyp_pool *pool, const hyp_parallel_loop *s) {
    trial *trying = &pool->trials[s->rows >= HYP_POOL_MANY_ROWS];
    uint64_t began = hyp_port_now_ns();
    order o = {.sequence = ++pool->sequence,
               .tiles = s->tiles,
               .columns = s->columns,
               .input_at = (uint32_t)hyp_round_up(sizeof(order) + s->job_bytes, LINE),
               .compute = s->compute};
    // Relaxed: the capsules show it to the workers.
    __atomic_store_n(&pool->claim, (uint64_t)o.sequence << 32, __ATOMIC_RELAXED);
    memset(pool->seen, 0, s->tiles);
    for (uint32_t i = 0; i < pool->workers && !trying->alone; i++) {
        worker_at(pool, i)->taken = 0;
        give(worker_at(pool, i), s, &o);
    }
    uint32_t left = s->tiles, tile;
    while ((tile = claim_tile(&pool->claim, o.sequence, s->tiles)) < s->tiles) {
        s->compute(s->job, s->input, tile, s->y, s->y_stride, s->scratch);
        pool->seen[tile] = 1;
        left--;
    }
    pool->stats.loops++;
    pool->stats.tiles += s->tiles;
    uint64_t limit = SPIN_LIMIT_NS + s->tile_macs / SPIN_LIMIT_MACS_PER_NS;
    for (uint64_t pauses = pool->pauses_per_us * limit / 1000 + 1; left > 0 && pauses > 0;
         pauses--) {
        uint32_t taken = 0;
        for (uint32_t i = 0; i < pool->workers; i++)
            taken += collect(pool, worker_at(pool, i), s, &o);
        left -= taken;
        pool->stats.by_workers += taken;
        if (left > 0 && !taken) hyp_port_pause();
    }
    for (tile = 0; left > 0 && tile < s->tiles; tile++) {
        if (pool->seen[tile]) continue;
        s->compute(s->job, s->input, tile, s->y, s->y_stride, s->scratch);
        pool->stats.repeated++;
        trying->repeated++;
        left--;
    }
    trying->ns += hyp_port_now_ns() - began;
    trying->macs += s->macs;
    if (++trying->loops >= EPOCH_LOOPS && trying->ns >= EPOCH_NS) end_epoch(trying);
}

hyp_pool_stats hyp_pool_get_stats(const hyp_pool *pool) {
    if (!pool) return (hyp_pool_stats){0};
    hyp_pool_stats stats = pool->stats;
    stats.workers = pool->workers;
    for (uint32_t i = 0; i < pool->workers; i++)
        stats.present += hyp_atomic_load(&pool->worker[i].present, HYP_ACQUIRE) == PRESENT;
    return stats;
}
