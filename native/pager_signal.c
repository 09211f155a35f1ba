// hyp_view by reserved addresses and a signal handler: SIGSEGV on Linux, SIGBUS on macOS. A fault inside a view is served by its owner;
// any other goes to the handler that was there before. Memory moves from one page's place to the next one's with its physical pages
// (mremap), which spares the kernel freeing and zeroing them: giving back and faulting in costs half a microsecond for each 4 KiB.
#define _GNU_SOURCE
#include "../src/base/bytes.h"
#include "../src/port.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MAX_VIEWS = 64, HUGE_BYTES = 2 << 20 };
#define RESERVED_BYTES (UINT64_C(1) << 40)

struct hyp_view {
    char *base;
    uint64_t bytes;
    char *mapping; // base, before it was aligned
    uint64_t mapping_bytes;
    bool (*fault)(void *, uint64_t);
    void *context;
};

// Read by the handler without a lock: an entry is set last and cleared first.
static hyp_view *views[MAX_VIEWS];
static struct sigaction before_segv, before_bus;

static void pass_on(int signal_number, siginfo_t *info, void *ucontext, const struct sigaction *before) {
    if (before->sa_flags & SA_SIGINFO) before->sa_sigaction(signal_number, info, ucontext);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) before->sa_handler(signal_number);
    else sigaction(signal_number, before, NULL); // the access is tried again and meets the default
}

static void on_signal(int signal_number, siginfo_t *info, void *ucontext) {
    const char *at = info->si_addr;
    for (int i = 0; i < MAX_VIEWS; i++) {
        hyp_view *v = __atomic_load_n(&views[i], __ATOMIC_ACQUIRE);
        if (v && at >= v->base && at < v->base + v->bytes && v->fault(v->context, (uint64_t)(at - v->base))) return;
    }
    pass_on(signal_number, info, ucontext, signal_number == SIGBUS ? &before_bus : &before_segv);
}

// Again for each view: what a program installs after us would otherwise never pass our faults on.
static bool install(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER}, now;
    sigemptyset(&action.sa_mask);
    const int signals[] = {SIGSEGV, SIGBUS};
    for (int i = 0; i < 2; i++) {
        if (sigaction(signals[i], NULL, &now)) return false;
        if (now.sa_sigaction == on_signal) continue;
        *(i ? &before_bus : &before_segv) = now;
        if (sigaction(signals[i], &action, NULL)) return false;
    }
    return true;
}

static void *reserve(void *at, uint64_t bytes) {
    void *memory = mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0), -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

hyp_view *hyp_port_view_create(uint64_t bytes, bool (*fault)(void *, uint64_t), void *context) {
    if (getenv("HYP_NO_TRAP") || !install()) return NULL;
    hyp_view *v = hyp_port_map(sizeof *v);
    if (!v) return NULL;
    const char *gigabytes = getenv("HYP_RESERVE_GB"); // for hosts that pay for reserved addresses, as emulators do
    uint64_t reserved = gigabytes ? strtoull(gigabytes, NULL, 10) << 30 : RESERVED_BYTES;
    *v = (hyp_view){.bytes = bytes > reserved ? bytes : reserved, .fault = fault, .context = context};
    do {
        v->mapping_bytes = v->bytes + HUGE_BYTES;
        v->mapping = reserve(NULL, v->mapping_bytes);
    } while (!v->mapping && (v->bytes /= 2) >= bytes); // less where addresses are limited (ulimit -v)
    v->base = (char *)hyp_round_up((uintptr_t)v->mapping, HUGE_BYTES);
    for (int slot = 0; v->mapping && slot < MAX_VIEWS; slot++) {
        hyp_view *none = NULL;
        if (__atomic_compare_exchange_n(&views[slot], &none, v, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) return v;
    }
    hyp_port_view_destroy(v);
    return NULL;
}

void hyp_port_view_destroy(hyp_view *v) {
    if (!v) return;
    for (int i = 0; i < MAX_VIEWS; i++) {
        hyp_view *self = v;
        __atomic_compare_exchange_n(&views[i], &self, NULL, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    }
    if (v->mapping) munmap(v->mapping, v->mapping_bytes);
    hyp_port_unmap(v, hyp_round_up(sizeof *v, hyp_port_caps()->page_bytes));
}

void *hyp_port_view_at(const hyp_view *v, uint64_t offset) { return v->base + offset; }

bool hyp_port_view_commit(hyp_view *v, uint64_t offset, size_t bytes, bool now) {
    if (mprotect(v->base + offset, bytes, PROT_READ | PROT_WRITE)) return false;
#ifdef MADV_HUGEPAGE
    if (now && bytes >= HUGE_BYTES) madvise(v->base + offset, bytes, MADV_HUGEPAGE); // moved as a whole as well
#endif
#ifdef MADV_POPULATE_WRITE
    if (now) madvise(v->base + offset, bytes, MADV_POPULATE_WRITE); // only a wish: the first touch does it otherwise
#endif
    (void)now;
    return true;
}

bool hyp_port_view_move(hyp_view *v, uint64_t from, uint64_t to, size_t bytes) {
#ifdef MREMAP_FIXED
    if (mremap(v->base + from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, v->base + to) == MAP_FAILED) return false;
    return reserve(v->base + from, bytes); // what mremap left open, another mapping could take
#else
    if (!hyp_port_view_commit(v, to, bytes, false)) return false;
    hyp_port_view_hide(v, from, bytes);
    return true;
#endif
}

void hyp_port_view_hide(hyp_view *v, uint64_t offset, size_t bytes) { reserve(v->base + offset, bytes); }
