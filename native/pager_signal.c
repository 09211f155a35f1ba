// hyp_view by reserved addresses and a signal handler: SIGSEGV on Linux, SIGBUS on macOS. A fault
// inside a view is served by its owner; any other goes to the handler that was there before. Memory
// moves from one page's place to the next one's with its physical pages (mremap), which spares the
// kernel freeing and zeroing them: giving back and faulting in costs half a microsecond for each 4
// KiB.
#define _GNU_SOURCE
#include "../src/base/bytes.h"
#include "../src/port.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_VIEWS = 64, HUGE_BYTES = 2 << 20 };
#define RESERVED_BYTES (UINT64_C(1) << 40)

struct hyp_view {
    uint32_t taken; // the entry
    uintptr_t base; // 0: the handler does not look at it
    uint64_t bytes; // the other fields are read only by the owner's thread, which faults
    char *mapping;  // base, before it was aligned
    uint64_t mapping_bytes;
    bool (*fault)(void *, uint64_t);
    void *context;
};

// Of all threads. The handler reads it without a lock: `base` is set last and cleared first, and an
// entry is never given back to the system.
static hyp_view views[MAX_VIEWS];
static struct sigaction before_segv, before_bus;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

// Whether `at` lies in the view. Another thread's may just come or go: its range is believed only
// when `base` is the same before and after.
static bool covers(const hyp_view *v, uintptr_t at) {
    uintptr_t base = __atomic_load_n(&v->base, __ATOMIC_ACQUIRE);
    uint64_t bytes = __atomic_load_n(&v->bytes, __ATOMIC_ACQUIRE);
    return base && at >= base && at - base < bytes &&
           __atomic_load_n(&v->base, __ATOMIC_RELAXED) == base;
}

static void pass_on(int signal_number, siginfo_t *info, void *ucontext,
                    const struct sigaction *before) {
    if (before->sa_flags & SA_SIGINFO) before->sa_sigaction(signal_number, info, ucontext);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(signal_number);
    else sigaction(signal_number, before, NULL); // the access is tried again and meets the default
}

static void on_signal(int signal_number, siginfo_t *info, void *ucontext) {
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < MAX_VIEWS; i++)
        if (covers(&views[i], at) && views[i].fault(views[i].context, at - views[i].base)) return;
    pass_on(signal_number, info, ucontext, signal_number == SIGBUS ? &before_bus : &before_segv);
}

// Again for each view: what a program installs after us would otherwise never pass our faults on.
static bool install(void) {
    struct sigaction action = {.sa_sigaction = on_signal,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER},
                     now;
    sigemptyset(&action.sa_mask);
    const int signals[] = {SIGSEGV, SIGBUS};
    bool ok = true;
    pthread_mutex_lock(&install_lock);
    for (int i = 0; i < 2 && ok; i++) {
        ok = !sigaction(signals[i], NULL, &now);
        if (!ok || now.sa_sigaction == on_signal) continue;
        *(i ? &before_bus : &before_segv) = now;
        ok = !sigaction(signals[i], &action, NULL);
    }
    pthread_mutex_unlock(&install_lock);
    return ok;
}

static void *reserve(void *at, uint64_t bytes) {
    void *memory = mmap(at, bytes, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0), -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

hyp_view *hyp_port_view_create(uint64_t bytes, bool (*fault)(void *, uint64_t), void *context) {
    if (getenv("HYP_NO_TRAP") || !install()) return NULL;
    hyp_view *v = NULL;
    for (int i = 0; i < MAX_VIEWS && !v; i++) {
        uint32_t none = 0;
        if (__atomic_compare_exchange_n(&views[i].taken, &none, 1, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            v = &views[i];
    }
    if (!v) return NULL;
    // For hosts on which reserved addresses cost memory, as under emulators.
    const char *gigabytes = getenv("HYP_RESERVE_GB");
    uint64_t reserved = gigabytes ? strtoull(gigabytes, NULL, 10) << 30 : RESERVED_BYTES;
    if (bytes > reserved) reserved = bytes;
    do {
        v->mapping_bytes = reserved + HUGE_BYTES;
        v->mapping = reserve(NULL, v->mapping_bytes);
    } while (!v->mapping &&
             (reserved /= 2) >= bytes); // less where addresses are limited (ulimit -v)
    v->fault = fault;
    v->context = context;
    __atomic_store_n(&v->bytes, reserved, __ATOMIC_RELAXED);
    if (v->mapping) {
        __atomic_store_n(&v->base, hyp_round_up((uintptr_t)v->mapping, HUGE_BYTES),
                         __ATOMIC_RELEASE);
        return v;
    }
    hyp_port_view_destroy(v);
    return NULL;
}

void hyp_port_view_destroy(hyp_view *v) {
    if (!v) return;
    __atomic_store_n(&v->base, 0, __ATOMIC_RELEASE);
    if (v->mapping) munmap(v->mapping, v->mapping_bytes);
    __atomic_store_n(&v->taken, 0, __ATOMIC_RELEASE);
}

void *hyp_port_view_at(const hyp_view *v, uint64_t offset) { return (char *)v->base + offset; }
static char *at(const hyp_view *v, uint64_t offset) { return hyp_port_view_at(v, offset); }

bool hyp_port_view_commit(hyp_view *v, uint64_t offset, size_t bytes, bool now) {
    if (mprotect(at(v, offset), bytes, PROT_READ | PROT_WRITE)) return false;
#ifdef MADV_HUGEPAGE
    if (now && bytes >= HUGE_BYTES)
        madvise(at(v, offset), bytes, MADV_HUGEPAGE); // moved as a whole as well
#endif
#ifdef MADV_POPULATE_WRITE
    if (now)
        // May fail: then the first touch does it.
        madvise(at(v, offset), bytes, MADV_POPULATE_WRITE);
#endif
    (void)now;
    return true;
}

// `from` is never left open, not for a moment: another thread's mapping would take the place.
bool hyp_port_view_move(hyp_view *v, uint64_t from, uint64_t to, size_t bytes) {
#ifdef MREMAP_DONTUNMAP // Linux 5.7
    if (mremap(at(v, from), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
               at(v, to)) != MAP_FAILED)
        return reserve(at(v, from), bytes);
#endif
    if (!hyp_port_view_commit(v, to, bytes, false)) return false;
    memcpy(at(v, to), at(v, from), bytes);
    return reserve(at(v, from), bytes);
}

void hyp_port_view_hide(hyp_view *v, uint64_t offset, size_t bytes) {
    reserve(at(v, offset), bytes);
}
