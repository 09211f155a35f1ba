// Lanes against Boost.Lockfree's spsc_queue and ConcurrencyKit's ck_ring: two pinned threads, every
// payload verified, in one process and interleaved. One line of JSON, medians of seven rounds.
// Rings of 64 KiB for 8 and 64 bytes, 1 MiB beyond; ck_ring carries words only.
extern "C" {
#include "../../src/bus/bus.h"
#include "../../src/port.h"
#include "bench.h"
#if __has_include(<ck_ring.h>)
#include <ck_ring.h>
#define CK 1
#endif
}
#include <algorithm>
#if __has_include(<boost/lockfree/spsc_queue.hpp>)
#include <boost/lockfree/spsc_queue.hpp>
#define BOOST 1
#endif
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <pthread.h>
#include <thread>
#include <vector>

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}
static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

template <size_t N> struct message {
    uint64_t words[N / 8];
};
template <size_t N> static inline void fill(void *room, uint64_t i) {
    uint64_t *words = static_cast<uint64_t *>(room);
    for (size_t k = 0; k < N / 8; k++) words[k] = i + k;
}
template <size_t N> static inline void verify(const void *data, uint64_t i) {
    const uint64_t *words = static_cast<const uint64_t *>(data);
    uint64_t wrong = 0;
    for (size_t k = 0; k < N / 8; k++) wrong |= words[k] ^ (i + k);
    if (wrong) fail("a payload is wrong");
}

// Nanoseconds for `count` messages from the first push to the last one verified.
static double timed(const std::function<void()> &produce, const std::function<void()> &consume) {
    std::thread other([&] { pin(1), consume(); });
    pin(0);
    uint64_t start = hyp_port_now_ns();
    produce();
    other.join();
    return double(hyp_port_now_ns() - start);
}

static void send_one(hyp_lane_producer *p, uint64_t i) {
    *static_cast<uint64_t *>(hyp_lane_reserve(p, 8)) = i;
    hyp_lane_commit(p, 8);
    hyp_lane_flush(p);
}

static hyp_lane *make_lane(uint32_t bytes, bool unchecked = true, uint32_t slots = 256) {
    hyp_lane_config config = {};
    config.capacity = bytes;
    config.slots = slots;
    config.unchecked = unchecked;
    return hyp_lane_init(aligned_alloc(64, (hyp_lane_bytes(&config) + 63) / 64 * 64), &config);
}

// Reads `bytes` in all, whatever pieces they come in.
template <class Look> static void drain(hyp_lane *lane, uint64_t bytes, Look look) {
    hyp_lane_consumer c;
    if (hyp_lane_consume(lane, 2, &c)) fail("consume");
    while (bytes > 0) {
        uint32_t count;
        const char *data = static_cast<const char *>(hyp_lane_read(&c, &count));
        if (!data) {
            hyp_port_pause();
            continue;
        }
        look(data, count);
        hyp_lane_release(&c, count);
        bytes -= count;
    }
}

template <size_t N> static double lane_round(uint64_t count, uint32_t ring) {
    hyp_lane *lane = make_lane(ring);
    double ns = timed(
        [&] {
            hyp_lane_producer p;
            if (hyp_lane_produce(lane, 1, HYP_LANE_FAIL, &p)) fail("produce");
            for (uint64_t i = 0; i < count; i++) {
                void *room;
                while (!(room = hyp_lane_reserve(&p, N))) hyp_lane_flush(&p), hyp_port_pause();
                fill<N>(room, i);
                hyp_lane_commit(&p, N);
            }
            hyp_lane_flush(&p);
        },
        [&] {
            uint64_t i = 0;
            drain(lane, count * N, [&](const char *data, uint32_t bytes) {
                for (uint32_t at = 0; at < bytes; at += N) verify<N>(data + at, i++);
            });
        });
    free(lane);
    return ns / double(count);
}

#ifdef BOOST
template <size_t N> static double boost_round(uint64_t count, uint32_t ring) {
    boost::lockfree::spsc_queue<message<N>> queue(ring / N);
    return timed(
               [&] {
                   message<N> m;
                   for (uint64_t i = 0; i < count; i++) {
                       fill<N>(&m, i);
                       while (!queue.push(m)) hyp_port_pause();
                   }
               },
               [&] {
                   message<N> m;
                   for (uint64_t i = 0; i < count; i++) {
                       while (!queue.pop(m)) hyp_port_pause();
                       verify<N>(&m, i);
                   }
               }) /
           double(count);
}
// Boost's own batches: consume_all, and push of 64 at once.
static double boost_bulk_round(uint64_t count, uint32_t ring) {
    boost::lockfree::spsc_queue<uint64_t> queue(ring / 8);
    return timed(
               [&] {
                   uint64_t batch[64];
                   for (uint64_t i = 0; i < count; i += 64) {
                       for (uint64_t k = 0; k < 64; k++) batch[k] = i + k;
                       for (size_t done = 0; done < 64;)
                           done += queue.push(batch + done, 64 - done);
                   }
               },
               [&] {
                   for (uint64_t i = 0; i < count;)
                       if (!queue.consume_all([&](uint64_t v) {
                               if (v != i++) fail("a payload is wrong");
                           }))
                           hyp_port_pause();
               }) /
           double(count);
}
#endif
#ifdef CK
static double ck_round(uint64_t count, uint32_t ring) {
    static ck_ring_t head;
    ck_ring_buffer_t *buffer = static_cast<ck_ring_buffer_t *>(calloc(ring / 8, sizeof *buffer));
    ck_ring_init(&head, ring / 8);
    double ns = timed(
        [&] {
            for (uint64_t i = 0; i < count; i++)
                while (!ck_ring_enqueue_spsc(&head, buffer, reinterpret_cast<void *>(i + 1)))
                    hyp_port_pause();
        },
        [&] {
            for (uint64_t i = 0; i < count; i++) {
                void *v;
                while (!ck_ring_dequeue_spsc(&head, buffer, &v)) hyp_port_pause();
                if (reinterpret_cast<uint64_t>(v) != i + 1) fail("a payload is wrong");
            }
        });
    free(buffer);
    return ns / double(count);
}

#endif

static const uint64_t TRIPS = hyp_bench_count(300000, 2000);
static double lane_trip() {
    hyp_lane *there = make_lane(4096), *back = make_lane(4096);
    auto run = [&](hyp_lane *out, hyp_lane *in, bool first) {
        hyp_lane_producer p;
        hyp_lane_consumer c;
        if (hyp_lane_produce(out, 1, HYP_LANE_FAIL, &p) || hyp_lane_consume(in, 2, &c))
            fail("trip");
        for (uint64_t i = 0; i < TRIPS; i++) {
            if (first) send_one(&p, i);
            uint32_t bytes;
            const uint64_t *v;
            while (!(v = static_cast<const uint64_t *>(hyp_lane_read(&c, &bytes)))) {
            }
            if (*v != i) fail("a trip is wrong");
            hyp_lane_release(&c, bytes);
            if (!first) send_one(&p, i);
        }
    };
    double ns = timed([&] { run(there, back, true); }, [&] { run(back, there, false); });
    free(there), free(back);
    return ns / double(TRIPS);
}
#ifdef BOOST
static double boost_trip() {
    boost::lockfree::spsc_queue<uint64_t> there(512), back(512);
    return timed(
               [&] {
                   for (uint64_t i = 0; i < TRIPS; i++) {
                       there.push(i);
                       uint64_t v;
                       while (!back.pop(v)) {
                       }
                       if (v != i) fail("a trip is wrong");
                   }
               },
               [&] {
                   for (uint64_t i = 0; i < TRIPS; i++) {
                       uint64_t v;
                       while (!there.pop(v)) {
                       }
                       back.push(v);
                   }
               }) /
           double(TRIPS);
}
#endif

// Capsules with checksums and verdicts over `lanes` lanes and one bus.
static double capsules(uint32_t lanes, uint32_t bytes, uint64_t count, uint64_t *verdicts) {
    std::vector<hyp_lane *> all;
    for (uint32_t i = 0; i < lanes; i++) all.push_back(make_lane(1 << 18, false, 4096));
    double ns = timed(
        [&] {
            std::vector<hyp_lane_producer> producers(lanes);
            for (uint32_t i = 0; i < lanes; i++)
                if (hyp_lane_produce(all[i], 1, HYP_LANE_FAIL, &producers[i])) fail("produce");
            uint32_t sequence;
            hyp_verdict verdict;
            for (uint64_t i = 0; i < count; i++) {
                hyp_lane_producer *p = &producers[i % lanes];
                void *room;
                while (hyp_capsule_begin(p, bytes, &room)) hyp_port_pause();
                memset(room, int(i / lanes & 255), bytes);
                hyp_capsule_send(p, uint32_t(i / lanes), bytes);
                while (hyp_capsule_feedback(p, &sequence, &verdict)) ++*verdicts;
            }
        },
        [&] {
            hyp_bus bus = {};
            uint32_t index;
            std::vector<uint64_t> next(lanes);
            for (uint32_t i = 0; i < lanes; i++)
                if (hyp_bus_attach(&bus, all[i], 2, &index)) fail("attach");
            for (uint64_t i = 0; i < count;) {
                hyp_capsule k;
                hyp_status status = hyp_bus_receive(&bus, &index, &k);
                if (status == HYP_E_TIMEOUT) {
                    hyp_port_pause();
                    continue;
                }
                if (status || k.type != next[index]++) fail("a capsule is wrong");
                hyp_bus_release(&bus, index, &k, HYP_ACCEPTED);
                i++;
            }
        });
    for (hyp_lane *lane : all) free(lane);
    return ns / double(count);
}

// Within the caches, and from memory to memory.
static double memcpy_round(uint64_t count, size_t bytes) {
    static char from[4096], cached[1 << 20], *large = static_cast<char *>(calloc(1, 128 << 20));
    if (bytes) {
        memset(large, 1, 128 << 20);
        uint64_t start = hyp_port_now_ns();
        for (size_t at = 0; at < 64 << 20; at += 4096)
            memcpy(large + at, large + at + (64 << 20), 4096);
        return double(hyp_port_now_ns() - start) / ((64 << 20) / 4096);
    }
    char *ring = cached;
    uint64_t start = hyp_port_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        memcpy(ring + (i & 255) * 4096, from, 4096);
        __asm__ volatile("" ::"r"(ring) : "memory");
    }
    return double(hyp_port_now_ns() - start) / double(count);
}
// 4 KiB copied in by the one, its lines looked at by the other.
static double lane_copy_round(uint64_t count) {
    hyp_lane *lane = make_lane(1 << 20);
    static char from[4096];
    double ns = timed(
        [&] {
            hyp_lane_producer p;
            if (hyp_lane_produce(lane, 1, HYP_LANE_FAIL, &p)) fail("produce");
            for (uint64_t i = 0; i < count; i++) {
                void *room;
                while (!(room = hyp_lane_reserve(&p, 4096))) hyp_lane_flush(&p), hyp_port_pause();
                memcpy(room, from, 4096);
                hyp_lane_commit(&p, 4096);
            }
            hyp_lane_flush(&p);
        },
        [&] {
            drain(lane, count * 4096, [](const char *data, uint32_t bytes) {
                uint64_t sum = 0;
                for (uint32_t at = 0; at < bytes; at += 64) sum += uint64_t(data[at]);
                if (sum) fail("a copy is wrong");
            });
        });
    free(lane);
    return ns / double(count);
}

static double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}
static std::vector<double> over(const std::vector<double> &a, const std::vector<double> &b) {
    std::vector<double> r;
    for (size_t i = 0; i < a.size(); i++) r.push_back(a[i] / b[i]);
    return r;
}

int main() {
    const int rounds = int(hyp_bench_count(7, 1));
    const uint64_t share = hyp_bench_count(1, 200); // of the messages in a full run
    std::vector<double> l8, b8, bulk8, c8, l64, b64, l256, b256, l4k, b4k, trip, btrip, copy, plain,
        dram, k1, k2, k4, k8;
    uint64_t verdicts = 0;
    for (int round = 0; round < rounds; round++) {
        l8.push_back(lane_round<8>(20000000 / share, 64 << 10));
        l64.push_back(lane_round<64>(4000000 / share, 64 << 10));
        l256.push_back(lane_round<256>(1000000 / share, 1 << 20));
        l4k.push_back(lane_round<4096>(100000 / share, 1 << 20));
        trip.push_back(lane_trip());
#ifdef BOOST
        b8.push_back(boost_round<8>(10000000 / share, 64 << 10));
        bulk8.push_back(boost_bulk_round(20000000 / share / 64 * 64, 64 << 10));
        b64.push_back(boost_round<64>(4000000 / share, 64 << 10));
        b256.push_back(boost_round<256>(1000000 / share, 1 << 20));
        b4k.push_back(boost_round<4096>(100000 / share, 1 << 20));
        btrip.push_back(boost_trip());
#endif
#ifdef CK
        c8.push_back(ck_round(10000000 / share, 64 << 10));
#endif
        plain.push_back(memcpy_round(400000 / share, 0)), dram.push_back(memcpy_round(0, 1)),
            copy.push_back(lane_copy_round(200000 / share));
        k1.push_back(capsules(1, 64, 500000 / share, &verdicts)),
            k2.push_back(capsules(2, 64, 500000 / share, &verdicts));
        k4.push_back(capsules(4, 64, 500000 / share, &verdicts)),
            k8.push_back(capsules(8, 64, 500000 / share, &verdicts));
    }
    auto rate = [](const std::vector<double> &v) { return 1000 / median(v); }; // millions a second
    printf("{\"lane_8b_m_per_s\":%.1f,\"lane_64b_m_per_s\":%.2f,\"lane_256b_m_per_s\":%.2f,\"lane_"
           "4k_m_per_s\":%.3f,",
           rate(l8), rate(l64), rate(l256), rate(l4k));
    printf("\"lane_roundtrip_ns\":%.0f,\"memcpy_4k_cached_gb_per_s\":%.2f,\"memcpy_4k_memory_gb_"
           "per_s\":%.2f,\"lane_4k_gb_per_s\":%.2f,",
           median(trip), 4096 / median(plain), 4096 / median(dram), 4096 / median(copy));
    printf("\"capsule_ns_1_lane\":%.1f,\"capsule_ns_2_lanes\":%.1f,\"capsule_ns_4_lanes\":%.1f,"
           "\"capsule_ns_8_lanes\":%.1f,\"verdicts_per_capsule\":%.3f,",
           median(k1), median(k2), median(k4), median(k8),
           double(verdicts) / (rounds * 4 * double(500000 / share)));
#ifdef BOOST
    printf("\"boost_8b_m_per_s\":%.1f,\"boost_bulk_8b_m_per_s\":%.1f,\"boost_64b_m_per_s\":%.2f,"
           "\"boost_256b_m_per_s\":%.2f,\"boost_4k_m_per_s\":%.3f,\"boost_roundtrip_ns\":%.0f,",
           rate(b8), rate(bulk8), rate(b64), rate(b256), rate(b4k), median(btrip));
    printf("\"throughput_vs_boost\":%.3f,\"throughput_vs_boost_bulk\":%.3f,\"roundtrip_vs_boost\":%"
           ".3f,",
           median(over(b8, l8)), median(over(bulk8, l8)), median(over(trip, btrip)));
#endif
#ifdef CK
    printf("\"ck_8b_m_per_s\":%.1f,\"throughput_vs_ck\":%.3f,", rate(c8), median(over(c8, l8)));
#endif
    printf("\"copy_vs_memcpy_cached\":%.3f,\"copy_vs_memcpy_memory\":%.3f}\n",
           median(over(plain, copy)), median(over(dram, copy)));
}
