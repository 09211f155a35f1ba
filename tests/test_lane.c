// Lanes: every message arrives once, in order and whole, on one thread and two; full lanes,
// verdicts, damage, death and recovery, sleep.
#include "../src/base/bytes.h"
#include "../src/base/crc32c.h"
#include "../src/bus/bus.h"
#include "../src/port.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if !defined(__wasm__)
#include <pthread.h>
#endif

static hyp_lane *make(const hyp_lane_config *config) {
    void *memory = aligned_alloc(64, hyp_round_up(hyp_lane_bytes(config), 64));
    CHECK(memory);
    return hyp_lane_init(memory, config);
}

static void crc(void) {
    CHECK(hyp_crc32c(0, "123456789", 9) == 0xE3069283u && hyp_crc32c(0, "", 0) == 0);
    uint8_t bytes[300];
    random_bytes(bytes, sizeof bytes);
    for (size_t n = 0; n < sizeof bytes; n++) {
        uint32_t whole = hyp_crc32c(0, bytes, n),
                 half = hyp_crc32c(hyp_crc32c(0, bytes, n / 3), bytes + n / 3, n - n / 3);
        CHECK(whole == half && whole == hyp_crc32c_portable(0, bytes, n));
    }
}

// Any mix of grant sizes, through every alignment of the wrap, against a plain queue.
static void bytes_through_the_wrap(void) {
    for (uint32_t capacity = 64; capacity <= 256; capacity += 64) {
        hyp_lane *lane = make(&(hyp_lane_config){.capacity = capacity});
        hyp_lane_producer p;
        hyp_lane_consumer c;
        CHECK(hyp_lane_produce(lane, 1, HYP_LANE_FAIL, &p) == HYP_OK &&
              hyp_lane_consume(lane, 2, &c) == HYP_OK);
        CHECK(hyp_lane_produce(lane, 3, HYP_LANE_FAIL, &(hyp_lane_producer){0}) == HYP_E_STATE);
        uint8_t out = 0, in = 0;
        uint32_t flying = 0, wraps = 0, at = 0, full = 0;
        for (int step = 0; step < 20000; step++) {
            if (random_u32() % 2) {
                uint32_t n = 1 + random_u32() % (capacity / 2);
                uint8_t *room = hyp_lane_reserve(&p, n);
                if (!room) {
                    CHECK(flying > 0); // an empty ring never refuses half its capacity
                    full++;
                    continue;
                }
                wraps += (uint32_t)(room - p.ring) < at;
                at = (uint32_t)(room - p.ring);
                CHECK(at + n <= capacity);
                uint32_t used = 1 + random_u32() % n; // less than was reserved
                for (uint32_t i = 0; i < used; i++) room[i] = out++;
                hyp_lane_commit(&p, used);
                hyp_lane_flush(&p);
                flying += used;
                CHECK(flying < capacity + 1);
            } else {
                uint32_t n;
                const uint8_t *data = hyp_lane_read(&c, &n);
                CHECK((data != NULL) == (flying > 0) && n <= flying);
                if (!n) continue;
                n = 1 + random_u32() % n;
                for (uint32_t i = 0; i < n; i++) CHECK(data[i] == in++);
                hyp_lane_release(&c, n);
                flying -= n;
            }
        }
        CHECK(wraps > 300 && full > 50);
        free(lane);
    }
}

static void send(hyp_lane_producer *p, uint32_t type, uint32_t bytes) {
    void *room;
    CHECK(hyp_capsule_begin(p, bytes, &room) == HYP_OK);
    for (uint32_t i = 0; i < bytes; i++) ((uint8_t *)room)[i] = (uint8_t)(type + i);
    hyp_capsule_send(p, type, bytes);
}
static void check_capsule(const hyp_capsule *k) {
    for (uint32_t i = 0; i < k->bytes; i++)
        CHECK(((const uint8_t *)k->payload)[i] == (uint8_t)(k->type + i));
}

static void capsules_and_verdicts(void) {
    hyp_lane *lane = make(&(hyp_lane_config){.capacity = 4096, .slots = 16});
    hyp_lane_producer p;
    hyp_lane_consumer c;
    CHECK(hyp_lane_produce(lane, 1, HYP_LANE_FAIL, &p) == HYP_OK &&
          hyp_lane_consume(lane, 2, &c) == HYP_OK);
    uint32_t sent = 0, got = 0, told = 0, refused = 0;
    for (int step = 0; step < 20000; step++) {
        hyp_capsule k;
        uint32_t sequence, bytes = random_u32() % 700;
        hyp_verdict verdict;
        void *room;
        switch (random_u32() % 3) {
        case 0:
            if (hyp_capsule_begin(&p, bytes, &room) == HYP_OK) {
                CHECK((uintptr_t)room % 8 == 0);
                for (uint32_t i = 0; i < bytes; i++) ((uint8_t *)room)[i] = (uint8_t)(sent + i);
                hyp_capsule_send(&p, sent, bytes);
                sent++;
            } else refused++;
            break;
        case 1:
            if (hyp_capsule_receive(&c, &k) == HYP_OK) {
                CHECK(k.sequence == got && k.type == got && k.time_ns > 0);
                check_capsule(&k);
                hyp_capsule_release(&c, &k, got % 5 == 0 ? HYP_SKIPPED : HYP_ACCEPTED);
                got++;
            } else CHECK(got == sent);
            break;
        default:
            while (hyp_capsule_feedback(&p, &sequence, &verdict)) {
                CHECK(sequence >= told && sequence < got &&
                      verdict == (sequence % 5 == 0 ? HYP_SKIPPED : HYP_ACCEPTED));
                told = sequence + 1;
            }
        }
    }
    hyp_lane_stats s = hyp_lane_get_stats(lane);
    CHECK(s.sent == sent && s.received == got && refused > 100 && s.corrupted == 0 && s.lost == 0 &&
          s.dropped == 0);
    CHECK(hyp_capsule_begin(&p, 3000, &(void *){0}) == HYP_E_ARGUMENT);
    free(lane);
}

static void full_lanes(void) {
    hyp_lane *lane = make(&(hyp_lane_config){.capacity = 1024, .slots = 16});
    hyp_lane_producer p;
    hyp_lane_consumer c;
    void *room;
    CHECK(hyp_lane_produce(lane, 1, HYP_LANE_DROP, &p) == HYP_OK &&
          hyp_lane_consume(lane, 2, &c) == HYP_OK);
    uint32_t sent = 0;
    while (hyp_capsule_begin(&p, 96, &room) == HYP_OK) {
        hyp_capsule_send(&p, 0, 96);
        sent++;
    }
    CHECK(sent >= 5 && p.throttled);
    for (int i = 0; i < 9; i++) CHECK(hyp_capsule_begin(&p, 96, &room) == HYP_E_NOMEM);
    CHECK(hyp_lane_get_stats(lane).dropped == 10);
    hyp_capsule k;
    CHECK(hyp_capsule_receive(&c, &k) == HYP_OK);
    hyp_capsule_release(&c, &k, HYP_ACCEPTED);
    // There would be room, but the low mark is not reached.
    CHECK(hyp_capsule_begin(&p, 8, &room) == HYP_E_NOMEM);
    while (hyp_capsule_receive(&c, &k) == HYP_OK) hyp_capsule_release(&c, &k, HYP_ACCEPTED);
    CHECK(hyp_capsule_begin(&p, 8, &room) == HYP_OK && !p.throttled);
    hyp_capsule_send(&p, 0, 8);
    free(lane);

    lane = make(&(hyp_lane_config){
        .capacity = 8192,
        .slots = 16}); // more capsules than states: the ring has room, region C has not
    CHECK(hyp_lane_produce(lane, 1, HYP_LANE_FAIL, &p) == HYP_OK &&
          hyp_lane_consume(lane, 2, &c) == HYP_OK);
    for (int i = 0; i < 16; i++) send(&p, 0, 8);
    CHECK(hyp_capsule_begin(&p, 8, &room) == HYP_E_NOMEM);
    for (int i = 0; i < 16; i++) {
        CHECK(hyp_capsule_receive(&c, &k) == HYP_OK);
        hyp_capsule_release(&c, &k, HYP_ACCEPTED);
    }
    for (int i = 0; i < 4; i++)
        send(&p, 0, 8); // verdicts that nobody asked for make way, and are counted
    CHECK(hyp_lane_get_stats(lane).feedback_dropped == 4);
    uint32_t sequence;
    hyp_verdict verdict;
    CHECK(hyp_capsule_feedback(&p, &sequence, &verdict) && sequence == 4);
    hyp_lane_close(lane);
    CHECK(hyp_capsule_begin(&p, 8, &room) == HYP_E_CANCELLED);
    for (int i = 0; i < 4; i++) {
        CHECK(hyp_capsule_receive(&c, &k) == HYP_OK);
        hyp_capsule_release(&c, &k, HYP_ACCEPTED);
    }
    CHECK(hyp_capsule_receive(&c, &k) == HYP_E_CANCELLED); // closed, and drained
    free(lane);
}

// Whatever a byte of the ring is changed to: the capsule is refused, counted and told; nothing is
// read out of bounds; the lane goes on.
static void damage(void) {
    for (uint32_t at = 0; at < 32 + 40; at++) {
        hyp_lane *lane = make(&(hyp_lane_config){.capacity = 1024, .slots = 16});
        hyp_lane_producer p;
        hyp_lane_consumer c;
        CHECK(hyp_lane_produce(lane, 1, HYP_LANE_FAIL, &p) == HYP_OK &&
              hyp_lane_consume(lane, 2, &c) == HYP_OK);
        send(&p, 5, 40);
        p.ring[at] = (uint8_t)(p.ring[at] ^ (1 + random_u32() % 255));
        hyp_capsule k;
        hyp_status status = hyp_capsule_receive(&c, &k);
        bool harmless = (at >= 4 && at < 8) || (at >= 16 && at < 24) ||
                        (at >= 28 && at < 32); // type, time, reserved: not under the checksum
        if (harmless) {
            CHECK(status == HYP_OK);
            hyp_capsule_release(&c, &k, HYP_ACCEPTED);
        } else {
            CHECK_MSG(status == HYP_E_FORMAT, "byte %u", at);
            uint32_t sequence;
            hyp_verdict verdict;
            CHECK(hyp_lane_get_stats(lane).corrupted == 1 &&
                  hyp_capsule_feedback(&p, &sequence, &verdict) && verdict == HYP_CORRUPTED);
        }
        send(&p, 6, 8);
        CHECK(hyp_capsule_receive(&c, &k) == HYP_OK && k.type == 6);
        check_capsule(&k);
        free(lane);
    }
    hyp_lane *lane = make(NULL);
    lane->capacity = 1 << 30;
    lane->slots = 17;
    CHECK(hyp_lane_produce(lane, 1, HYP_LANE_FAIL, &(hyp_lane_producer){0}) == HYP_E_FORMAT);
    free(lane);
}

static void death_and_recovery(void) {
    hyp_lane *lane = make(&(hyp_lane_config){.capacity = 2048, .slots = 16});
    hyp_lane_producer p;
    hyp_lane_consumer c;
    hyp_capsule k;
    void *room;
    CHECK(hyp_lane_produce(lane, 7, HYP_LANE_FAIL, &p) == HYP_OK &&
          hyp_lane_consume(lane, 8, &c) == HYP_OK);
    for (uint32_t i = 0; i < 5; i++) send(&p, i, 100);
    CHECK(hyp_capsule_receive(&c, &k) == HYP_OK && k.type == 0);
    hyp_capsule_release(&c, &k, HYP_ACCEPTED);
    CHECK(hyp_capsule_receive(&c, &k) == HYP_OK && k.type == 1); // and dies with it in hand
    CHECK(hyp_lane_consume(lane, 9, &c) == HYP_E_STATE);
    hyp_lane_evict(lane, 8);
    CHECK(hyp_lane_consume(lane, 9, &c) == HYP_OK);
    CHECK(hyp_lane_get_stats(lane).lost == 1);
    CHECK(hyp_capsule_receive(&c, &k) == HYP_OK && k.type == 2);
    check_capsule(&k);
    hyp_capsule_release(&c, &k, HYP_ACCEPTED);

    CHECK(hyp_capsule_begin(&p, 200, &room) == HYP_OK); // the producer dies before it sends
    memset(room, 0xEE, 100);
    hyp_lane_evict(lane, 7);
    CHECK(hyp_lane_produce(lane, 10, HYP_LANE_FAIL, &p) == HYP_OK);
    CHECK(hyp_lane_get_stats(lane).lost == 2);
    send(&p, 5, 60);
    for (uint32_t i = 3; i < 6; i++) {
        CHECK(hyp_capsule_receive(&c, &k) == HYP_OK && k.type == i && k.sequence == i);
        check_capsule(&k);
        hyp_capsule_release(&c, &k, HYP_ACCEPTED);
    }
    CHECK(hyp_capsule_receive(&c, &k) == HYP_E_TIMEOUT);
    hyp_lane_leave_producer(&p);
    hyp_lane_leave_consumer(&c);
    CHECK(hyp_lane_produce(lane, 11, HYP_LANE_FAIL, &p) == HYP_OK &&
          hyp_lane_consume(lane, 12, &c) == HYP_OK);
    free(lane);
}

// The bytes of a lane after a fixed course of events are the same as those that
// glue/core/lane.js makes of it (tests/glue/lane.test.mjs).
static void layout(void) {
    hyp_lane_config config = {.capacity = 256, .slots = 16};
    size_t bytes = hyp_lane_bytes(&config), want;
    uint8_t *image = aligned_alloc(64, hyp_round_up(bytes, 64));
    memset(image, 0, bytes);
    hyp_lane *lane = hyp_lane_init(image, &config);
    hyp_lane_producer p;
    hyp_lane_consumer c;
    hyp_capsule k;
    void *room;
    CHECK(hyp_lane_produce(lane, 7, HYP_LANE_DROP, &p) == HYP_OK &&
          hyp_lane_consume(lane, 9, &c) == HYP_OK);
    static const uint32_t lengths[] = {20, 0, 37};
    for (uint32_t i = 0; i < 3; i++) {
        send(&p, i + 1, lengths[i]);
        memset(p.ring + p.grant + 16, 0, 8); // the time
    }
    for (int i = 0; i < 2; i++) {
        CHECK(hyp_capsule_receive(&c, &k) == HYP_OK);
        hyp_capsule_release(&c, &k, i ? HYP_SKIPPED : HYP_ACCEPTED);
    }
    send(&p, 4, 40); // behind the third
    memset(p.ring + p.grant + 16, 0, 8);
    CHECK(hyp_capsule_receive(&c, &k) == HYP_OK);
    hyp_capsule_release(&c, &k, HYP_ACCEPTED);
    send(&p, 5, 60); // does not fit the end: region B
    memset(p.ring + p.grant + 16, 0, 8);
    CHECK(hyp_capsule_begin(&p, 90, &room) == HYP_E_NOMEM); // dropped
    CHECK(hyp_capsule_receive(&c, &k) == HYP_OK);           // and is being consumed
    uint32_t sequence;
    hyp_verdict verdict;
    CHECK(hyp_capsule_feedback(&p, &sequence, &verdict) && sequence == 0);
    if (getenv("HYP_WRITE_GOLDEN")) {
        FILE *f = fopen(getenv("HYP_WRITE_GOLDEN"), "wb");
        CHECK(f && fwrite(image, 1, bytes, f) == bytes && fclose(f) == 0);
    }
    uint8_t *golden = read_file("tests/golden/lane.bin", &want);
    CHECK(want == bytes);
    for (size_t i = 0; i < bytes; i++) CHECK_MSG(image[i] == golden[i], "byte %zu", i);
    free(golden);
    free(image);
}

static void many_lanes_one_bus(void) {
    hyp_bus bus = {0};
    hyp_lane *lanes[4];
    hyp_lane_producer producers[4];
    uint32_t index, got[4] = {0};
    for (uint32_t i = 0; i < 4; i++) {
        lanes[i] = make(&(hyp_lane_config){.capacity = 8192});
        CHECK(hyp_lane_produce(lanes[i], i + 1, HYP_LANE_FAIL, &producers[i]) == HYP_OK);
        CHECK(hyp_bus_attach(&bus, lanes[i], 99, &index) == HYP_OK && index == i);
    }
    hyp_capsule k;
    void *room;
    for (int round = 0; round < 2000; round++) {
        while (hyp_capsule_begin(&producers[0], 16, &room) == HYP_OK)
            hyp_capsule_send(&producers[0], 0, 16); // lane 0 is always full
        if (round % 10 == 0)
            for (uint32_t i = 1; i < 4; i++) send(&producers[i], i, 16);
        if (round == 1000) { // detached and attached again while the others run
            hyp_bus_detach(&bus, 2);
            CHECK(hyp_bus_attach(&bus, lanes[2], 98, &index) == HYP_OK && index == 2);
        }
        for (int i = 0; i < 12; i++) {
            CHECK(hyp_bus_receive(&bus, &index, &k) == HYP_OK && k.type == index);
            got[index]++;
            hyp_bus_release(&bus, index, &k, HYP_ACCEPTED);
        }
    }
    for (int i = 1; i < 4; i++) CHECK(got[i] > 190); // the busy one starves nobody
    for (int i = 0; i < 4; i++) free(lanes[i]);
}

#if !defined(__wasm__)
// ---- Two threads

typedef struct shared {
    hyp_lane *lane;
    uint32_t count;
    bool bytes; // else capsules
    uint64_t sum;
} shared;

static void *produce(void *argument) {
    shared *s = argument;
    hyp_lane_producer p;
    CHECK(hyp_lane_produce(s->lane, 1, HYP_LANE_BLOCK, &p) == HYP_OK);
    uint32_t x = 1, verdicts = 0, sequence;
    hyp_verdict verdict;
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->bytes) {
            uint64_t *room;
            while (!(room = hyp_lane_reserve(&p, 8))) {
                hyp_lane_flush(&p);
                hyp_port_pause();
            }
            *room = i * 0x9E3779B97F4A7C15u;
            hyp_lane_commit(&p, 8);
        } else {
            uint32_t bytes = (x = x * 1664525 + 1013904223) >> 23;
            void *room;
            CHECK(hyp_capsule_begin(&p, bytes, &room) == HYP_OK);
            memset(room, (int)(i & 255), bytes);
            hyp_capsule_send(&p, i, bytes);
            while (hyp_capsule_feedback(&p, &sequence, &verdict)) {
                verdicts++;
                CHECK(verdict == HYP_ACCEPTED);
            }
            if (i % 5000 == 4999)
                hyp_port_nap(300000); // long enough for the consumer to fall asleep
        }
    }
    hyp_lane_leave_producer(&p);
    hyp_lane_close(s->lane);
    s->sum = verdicts;
    return NULL;
}

static void two_threads(bool bytes, uint32_t count) {
    shared s = {make(&(hyp_lane_config){.capacity = 4096, .slots = 64}), count, bytes, 0};
    hyp_lane_consumer c;
    CHECK(hyp_lane_consume(s.lane, 2, &c) == HYP_OK);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, produce, &s) == 0);
    uint32_t next = 0;
    for (bool open = true; open;) {
        hyp_status status = hyp_lane_sleep(&c, 0);
        CHECK(status == HYP_OK || status == HYP_E_CANCELLED);
        open = status == HYP_OK;
        if (bytes) {
            uint32_t n;
            const uint64_t *words;
            while ((words = hyp_lane_read(&c, &n))) {
                for (uint32_t i = 0; i < n / 8; i++, next++)
                    CHECK(words[i] == next * 0x9E3779B97F4A7C15u);
                hyp_lane_release(&c, n);
            }
        } else {
            hyp_capsule k;
            while ((status = hyp_capsule_receive(&c, &k)) == HYP_OK) {
                CHECK(k.type == next && k.sequence == next);
                for (uint32_t i = 0; i < k.bytes; i++)
                    CHECK(((const uint8_t *)k.payload)[i] == (next & 255));
                next++;
                hyp_capsule_release(&c, &k, HYP_ACCEPTED);
            }
            CHECK(status != HYP_E_FORMAT);
        }
    }
    CHECK(pthread_join(other, NULL) == 0);
    CHECK_MSG(next == count, "%u of %u", next, count);
    hyp_lane_stats stats = hyp_lane_get_stats(s.lane);
    if (!bytes)
        CHECK(stats.sent == count && stats.received == count &&
              s.sum + stats.feedback_dropped <= count && stats.lost == 0);
    free(s.lane);
}
static void bytes_between_threads(void) {
    two_threads(true, getenv("HYP_SLOW") ? 200000 : 3000000);
}
static void capsules_between_threads(void) {
    two_threads(false, getenv("HYP_SLOW") ? 10000 : 100000);
}
#endif

int main(void) {
    RUN(crc);
    RUN(bytes_through_the_wrap);
    RUN(capsules_and_verdicts);
    RUN(full_lanes);
    RUN(damage);
    RUN(death_and_recovery);
    RUN(layout);
    RUN(many_lanes_one_bus);
#if !defined(__wasm__)
    RUN(bytes_between_threads);
    RUN(capsules_between_threads);
#endif
    return finish();
}
