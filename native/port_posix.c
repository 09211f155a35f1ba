// port.h for Linux and macOS; files are in file_posix.c, views in pager_signal.c.
#define _GNU_SOURCE
#include "../src/base/bytes.h"
#include "../src/kernels/kernels.h"
#include "../src/port.h"
#include "kernels_native.h"

#ifdef __x86_64__
#include <cpuid.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif
#include <limits.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { THREAD_STACK_BYTES = 512 << 10 };

static pthread_once_t caps_once = PTHREAD_ONCE_INIT;
static hyp_caps caps;

// The tiers of this architecture, best last.
typedef struct tier {
    uint32_t bit;
    bool (*present)(void);
    void (*fill)(hyp_kernels *table);
} tier;

static bool always(void) { return true; }
#ifdef __x86_64__
static bool has_ssse3(void) { return __builtin_cpu_supports("ssse3"); }
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
}
static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
static bool has_vbmi2(void) {
    return has_avx512() && __builtin_cpu_supports("avx512vbmi2") &&
           __builtin_cpu_supports("popcnt");
}
static bool has_avxvnni(void) { // CPUID 7.1, bit 4 of EAX
    uint32_t a = 0, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1 << 4);
}
static const tier tiers[] = {{HYP_ISA_SSE2, always, hyp_kernels_sse2},
                             {HYP_ISA_SSSE3, has_ssse3, hyp_kernels_ssse3},
                             {HYP_ISA_AVX2, has_avx2, hyp_kernels_avx2},
                             {HYP_ISA_AVXVNNI, has_avxvnni, hyp_kernels_avxvnni},
                             {HYP_ISA_AVX512, has_avx512, hyp_kernels_avx512},
                             {HYP_ISA_VBMI2, has_vbmi2, hyp_kernels_vbmi2}};
#elif defined(__aarch64__)
#ifdef __linux__
static bool has_dotprod(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
#else
static bool has_dotprod(void) { return true; } // every Apple processor of ARM64 Macs
#endif
static const tier tiers[] = {{HYP_ISA_NEON, always, hyp_kernels_neon},
                             {HYP_ISA_DOTPROD, has_dotprod, hyp_kernels_dotprod}};
#endif

// Processors that this process may use; a test pretends others (HYP_PROCESSORS).
static uint32_t processors(void) {
    const char *pretended = getenv("HYP_PROCESSORS");
    unsigned long count = pretended ? strtoul(pretended, NULL, 10) : 0;
    if (count >= 1 && count <= 1024) return (uint32_t)count;
#ifdef __linux__
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return (uint32_t)CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (uint32_t)n;
}

static void find_caps(void) {
    caps = (hyp_caps){
        .page_bytes = (size_t)sysconf(_SC_PAGESIZE), .can_trap = true, .threads_max = processors()};
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
        if (tiers[i].present()) caps.isa |= tiers[i].bit;
}

const hyp_caps *hyp_port_caps(void) {
    pthread_once(&caps_once, find_caps);
    return &caps;
}

void *hyp_port_map(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void hyp_port_unmap(void *memory, size_t bytes) { munmap(memory, bytes); }

uint64_t hyp_port_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool hyp_port_nap(uint64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&t, NULL);
    return true;
}

typedef struct beginning {
    void (*run)(void *context);
    void *context;
} beginning;

static void *begin_thread(void *memory) {
    beginning b = *(beginning *)memory;
    free(memory);
    b.run(b.context);
    return NULL;
}

bool hyp_port_thread(void (*run)(void *context), void *context) {
    beginning *b = malloc(sizeof *b);
    pthread_attr_t attributes;
    pthread_t thread;
    if (!b || pthread_attr_init(&attributes)) {
        free(b);
        return false;
    }
    *b = (beginning){run, context};
    bool ok = !pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES) &&
              !pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) &&
              !pthread_create(&thread, &attributes, begin_thread, b);
    pthread_attr_destroy(&attributes);
    if (!ok) free(b);
    return ok;
}

#ifdef __linux__
bool hyp_port_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    struct timespec t = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    syscall(SYS_futex, word, FUTEX_WAIT, expected, &t, NULL, 0);
    return true;
}
void hyp_port_wake(const uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
#else
bool hyp_port_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    (void)timeout_ns;
    return __atomic_load_n(word, __ATOMIC_ACQUIRE) != expected || hyp_port_nap(50000);
}
void hyp_port_wake(const uint32_t *word) { (void)word; }
#endif

void hyp_port_pause(void) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) bool hyp_port_crc32c(uint32_t *crc, const void *data,
                                                       size_t bytes) {
    if (!__builtin_cpu_supports("sse4.2")) return false;
    const uint8_t *p = data;
    uint64_t c = ~*crc;
    for (; bytes >= 8; bytes -= 8, p += 8) c = __builtin_ia32_crc32di(c, hyp_load_u64(p));
    for (; bytes > 0; bytes--) c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
    *crc = ~(uint32_t)c;
    return true;
}
#else
bool hyp_port_crc32c(uint32_t *crc, const void *data, size_t bytes) {
    (void)crc;
    (void)data;
    (void)bytes;
    return false;
}
#endif

void hyp_port_panic(const char *message) {
    fprintf(stderr, "hyperion: %s\n", message);
    abort();
}

uint32_t hyp_port_kernels(hyp_kernels *table, uint32_t isa_mask) {
    uint32_t isa = hyp_port_caps()->isa & isa_mask;
    for (size_t i = sizeof tiers / sizeof *tiers; i-- > 0;)
        if (isa & tiers[i].bit) {
            tiers[i].fill(table);
            return tiers[i].bit;
        }
    return 0;
}
