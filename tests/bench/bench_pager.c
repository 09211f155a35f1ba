// The pager against pread, natively, on a file that the page cache holds.
// usage: bench_pager FILE (512 MiB, 32 in a quick run)
// One line of JSON; medians of 7.
//
//   pinned          pin, sum, unpin over 16 MiB of resident pages of 64 KiB, the least that weights
//                   have / the same sums over one plain block (times; 1 is equal)
//   pinned_4k       the same with pages of 4 KiB
//   cold            all 4 KiB pieces of a cold range of 64 MiB in random order: touched, so that
//                   absent pages fault / pread of each piece into a fixed buffer (pieces a second).
//                   With pages of 256 KiB, a fault brings the 63 neighbours that will be touched
//                   later
//   cold_64k        the same with pages of 64 KiB
//   cold_4k         the same with pages of one piece, of which a quarter fits: the whole price of a
//                   fault for each
//   sequential      one walk in order, touching every 4 KiB, with pages of 8 MiB / pread of 1 MiB
//                   pieces into a fixed buffer (bytes a second)
//   sequential_1m   the same with pages of 1 MiB
#include "../../src/pager/pager.h"
#include "../../src/port.h"
#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS_MOST = 7, PIECE = 4096 };
static int rounds;
static uint64_t file_bytes, cold_bytes; // capacities of the cold walks shrink with the range

static int file;
static uint32_t page_bytes;
static volatile uint64_t sink;

static hyp_status fill(void *context, uint32_t index, void *frame) {
    (void)context;
    return pread(file, frame, page_bytes, (off_t)((uint64_t)index * page_bytes)) ==
                   (ssize_t)page_bytes
               ? HYP_OK
               : HYP_E_IO;
}

static int compare(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}
static double median(double *v) {
    qsort(v, (size_t)rounds, sizeof *v, compare);
    return v[rounds / 2];
}

static hyp_budget budget;
static hyp_pager *open_pager(uint32_t bytes, uint64_t range, uint64_t capacity, bool trap) {
    static uint32_t *sizes;
    page_bytes = bytes;
    uint32_t pages = (uint32_t)(range / bytes);
    sizes = realloc(sizes, pages * sizeof *sizes);
    for (uint32_t i = 0; i < pages; i++) sizes[i] = bytes;
    hyp_pager *p;
    if (hyp_pager_create(&(hyp_pager_config){&budget, pages, sizes, capacity, capacity != 0, trap,
                                             fill, NULL, 0},
                         &p))
        exit(1);
    return p;
}

static uint64_t sum(const void *block, uint32_t bytes) {
    const uint64_t *words = block;
    uint64_t s = 0;
    for (uint32_t i = 0; i < bytes / 8; i++) s += words[i];
    return s;
}

static double pinned(uint32_t bytes, double *ours_ns, double *raw_ns) {
    const size_t whole = 16 << 20;
    const uint32_t count = (uint32_t)(whole / bytes);
    hyp_pager *p = open_pager(bytes, whole, 0, false);
    char *raw = hyp_port_map(whole);
    if (pread(file, raw, whole, 0) < 0) exit(1);
    double ours[ROUNDS_MOST], plain[ROUNDS_MOST], ratio[ROUNDS_MOST];
    for (int round = -1; round < rounds; round++) {
        uint64_t t0 = hyp_port_now_ns(), s = 0;
        for (int k = 0; k < 8; k++)
            for (uint32_t i = 0; i < count; i++) {
                const void *view;
                if (hyp_pager_pin(p, i, &view)) exit(1);
                s += sum(view, bytes);
                hyp_pager_unpin(p, i);
            }
        uint64_t t1 = hyp_port_now_ns();
        for (int k = 0; k < 8; k++)
            for (uint32_t i = 0; i < count; i++) s += sum(raw + (size_t)i * bytes, bytes);
        uint64_t t2 = hyp_port_now_ns();
        sink = s;
        if (round < 0) continue;
        ours[round] = (double)(t1 - t0) / count / 8;
        plain[round] = (double)(t2 - t1) / count / 8;
        ratio[round] = ours[round] / plain[round];
    }
    hyp_pager_destroy(p);
    hyp_port_unmap(raw, whole);
    *ours_ns = median(ours);
    *raw_ns = median(plain);
    return median(ratio);
}

static uint32_t *shuffled(uint32_t n) {
    uint32_t *order = malloc(n * sizeof *order);
    srand(3);
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t k = (uint32_t)(((uint64_t)rand() << 16 ^ (uint64_t)rand()) % (i + 1)),
                 t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
    return order;
}

static double cold(uint32_t bytes, uint64_t range, uint64_t capacity, double *ours_ns,
                   double *pread_ns) {
    static _Alignas(4096) char buffer[PIECE];
    uint32_t count = (uint32_t)(range / PIECE), *order = shuffled(count);
    double ours[ROUNDS_MOST], plain[ROUNDS_MOST], ratio[ROUNDS_MOST];
    for (int round = -1; round < rounds; round++) {
        hyp_pager *p = open_pager(bytes, range, capacity, true);
        const char *base = hyp_pager_address(p, 0);
        if (!base) exit(1);
        uint64_t t0 = hyp_port_now_ns(), s = 0;
        for (uint32_t i = 0; i < count; i++)
            s += *(const volatile uint8_t *)(base + (uint64_t)order[i] * PIECE);
        uint64_t t1 = hyp_port_now_ns();
        for (uint32_t i = 0; i < count; i++) {
            if (pread(file, buffer, PIECE, (off_t)((uint64_t)order[i] * PIECE)) != PIECE) exit(1);
            s += (uint64_t)buffer[0];
        }
        uint64_t t2 = hyp_port_now_ns();
        sink = s;
        hyp_pager_destroy(p);
        if (round < 0) continue;
        ours[round] = (double)(t1 - t0) / count;
        plain[round] = (double)(t2 - t1) / count;
        ratio[round] = plain[round] / ours[round];
    }
    free(order);
    *ours_ns = median(ours);
    *pread_ns = median(plain);
    return median(ratio);
}

static double sequential(uint32_t bytes, uint64_t capacity, double *ours_gbs, double *pread_gbs) {
    enum { MEG = 1 << 20 };
    char *buffer = hyp_port_map(MEG);
    double ours[ROUNDS_MOST], plain[ROUNDS_MOST], ratio[ROUNDS_MOST];
    for (int round = -1; round < rounds; round++) {
        hyp_pager *p = open_pager(bytes, file_bytes, capacity, true);
        const char *base = hyp_pager_address(p, 0);
        uint64_t t0 = hyp_port_now_ns(), s = 0;
        for (uint64_t at = 0; at < file_bytes; at += PIECE)
            s += *(const volatile uint8_t *)(base + at);
        uint64_t t1 = hyp_port_now_ns();
        for (uint64_t at = 0; at < file_bytes; at += MEG) {
            if (pread(file, buffer, MEG, (off_t)at) != MEG) exit(1);
            for (int i = 0; i < MEG; i += PIECE) s += *(volatile uint8_t *)(buffer + i);
        }
        uint64_t t2 = hyp_port_now_ns();
        sink = s;
        hyp_pager_destroy(p);
        if (round < 0) continue;
        ours[round] = (double)file_bytes / (double)(t1 - t0);
        plain[round] = (double)file_bytes / (double)(t2 - t1);
        ratio[round] = ours[round] / plain[round];
    }
    *ours_gbs = median(ours);
    *pread_gbs = median(plain);
    return median(ratio);
}

int main(int argc, char **argv) {
    rounds = (int)hyp_bench_count(ROUNDS_MOST, 1);
    file_bytes = (uint64_t)hyp_bench_count(512, 32) << 20;
    cold_bytes = (uint64_t)hyp_bench_count(64, 8) << 20;
    if (argc != 2 || (file = open(argv[1], O_RDONLY)) < 0) {
        fprintf(stderr, "usage: bench_pager FILE\n");
        return 2;
    }
    static char warm[1 << 20];
    while (read(file, warm, sizeof warm) > 0) {
    }
    hyp_slab_create(&budget);
    double a, b, r;
    r = pinned(64 << 10, &a, &b);
    printf("{\"pinned_ns\":%.1f,\"raw_ns\":%.1f,\"pinned_vs_raw\":%.3f", a, b, r);
    r = pinned(4 << 10, &a, &b);
    printf(",\"pinned_4k_ns\":%.1f,\"raw_4k_ns\":%.1f,\"pinned_4k_vs_raw\":%.3f", a, b, r);
    static const struct {
        const char *name;
        uint32_t bytes;
        uint64_t capacity;
    } colds[] = {{"cold", 256 << 10, 1}, {"cold_64k", 64 << 10, 1}, {"cold_4k", 4 << 10, 4}},
      walks[] = {{"sequential", 8 << 20, 8 << 20}, {"sequential_1m", 1 << 20, 2 << 20}};
    for (int i = 0; i < 3; i++) {
        r = cold(colds[i].bytes, cold_bytes, cold_bytes / colds[i].capacity, &a, &b);
        printf(",\"%s_ns\":%.0f,\"%s_pread_ns\":%.0f,\"%s_vs_pread\":%.3f", colds[i].name, a,
               colds[i].name, b, colds[i].name, r);
    }
    for (int i = 0; i < 2; i++) {
        r = sequential(walks[i].bytes, walks[i].capacity, &a, &b);
        printf(",\"%s_gb_per_s\":%.2f,\"%s_pread_gb_per_s\":%.2f,\"%s_vs_pread\":%.3f",
               walks[i].name, a, walks[i].name, b, walks[i].name, r);
    }
    printf("}\n");
}
