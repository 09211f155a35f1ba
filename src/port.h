// The seam: what a platform must give the core. The build links exactly one implementation (native/
// or wasm/). Everything above it is C17 without an operating system.
#ifndef HYP_PORT_H
#define HYP_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hyperion/types.h"

struct hyp_kernels;

// Filled once; constant for the life of the process.
typedef struct hyp_caps {
    size_t page_bytes; // granularity of hyp_port_map, a power of two
    bool can_trap; // a touch of an absent page can be caught (signals); false: guard checks only
    uint32_t threads_max; // threads the platform can run, this one included; at least 1
    uint32_t isa;         // HYP_ISA_* bits that this processor (or this artefact) has
} hyp_caps;

// Instruction-set bits of hyp_caps.isa and of the mask given to hyp_port_kernels.
// The highest bit in use chooses the kernels.
enum {
    HYP_ISA_SIMD128 = 1 << 0,
    HYP_ISA_RELAXED = 1 << 1,
    HYP_ISA_SSE2 = 1 << 2,
    HYP_ISA_SSSE3 = 1 << 3,
    HYP_ISA_AVX2 = 1 << 4,
    HYP_ISA_AVXVNNI = 1 << 5,
    HYP_ISA_AVX512 = 1 << 6, // with VNNI
    HYP_ISA_NEON = 1 << 7,
    HYP_ISA_DOTPROD = 1 << 8,
    HYP_ISA_VBMI2 = 1 << 9, // AVX-512 with VNNI and VBMI2
    HYP_ISA_BITS = 10
};

const hyp_caps *hyp_port_caps(void);

// Maps `bytes` of zeroed memory, rounded up to whole pages and aligned to one; NULL when there is
// none. The caller owns it until hyp_port_unmap, which may be of whole pages one by one. Unmapping
// 0 bytes does nothing.
void *hyp_port_map(size_t bytes);
void hyp_port_unmap(void *memory, size_t bytes);

// Reads exactly `bytes` at `offset` of the host's byte source `handle` into `dst`. May suspend the
// calling fiber. HYP_E_IO: the source failed or ended before; HYP_E_FORMAT: it is not what it was
// when it was opened; HYP_E_CANCELLED: the host gave up, or the task was cancelled; HYP_E_STATE:
// the host answers later, and there is no task to wait.
HYP_MUST_USE hyp_status hyp_port_read(uint32_t handle, uint64_t offset, void *dst, size_t bytes);

// Monotonic time in nanoseconds from an arbitrary origin.
uint64_t hyp_port_now_ns(void);
// Lets the thread sleep for about `ns`; false where it must not (a page's main thread, an isolate).
bool hyp_port_nap(uint64_t ns);
// Starts a thread that calls run(context) and ends; it may begin to run much later, or never.
// False: none can be started.
bool hyp_port_thread(void (*run)(void *context), void *context);
// Lets the thread sleep until *word is no longer `expected`, someone wakes it, or about
// `timeout_ns` have passed; it may also return for no reason. False: this thread must not block, or
// the platform can not.
bool hyp_port_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void hyp_port_wake(const uint32_t *word); // whoever waits for it
void hyp_port_pause(void);                // a moment within a spin
// Continues *crc (CRC-32C) by an instruction of the processor; false: it has none.
bool hyp_port_crc32c(uint32_t *crc, const void *data, size_t bytes);
// Ends the program: an invariant is broken. `message` says which.
_Noreturn void hyp_port_panic(const char *message);

// A range of addresses whose parts appear and vanish, and where touching an absent part is a fault
// that the owner serves. Offsets and sizes are multiples of page_bytes.
typedef struct hyp_view hyp_view;
// Reserves `bytes` (at least a tebibyte of addresses), all absent. `fault` is called in a signal
// handler: true when the access may be tried again; false passes the fault on to whoever handled it
// before. NULL: the platform can not, or will not.
hyp_view *hyp_port_view_create(uint64_t bytes, bool (*fault)(void *context, uint64_t offset),
                               void *context);
void hyp_port_view_destroy(hyp_view *view);
void *hyp_port_view_at(const hyp_view *view, uint64_t offset);
// Makes a part present: zeroed, writable, counted against nobody. `now`: at once, not page by page
// at the first touch.
bool hyp_port_view_commit(hyp_view *view, uint64_t offset, size_t bytes, bool now);
// Moves the memory at `from`, as it is, to the absent part at `to`; `from` becomes absent. Costs
// the same for any size.
bool hyp_port_view_move(hyp_view *view, uint64_t from, uint64_t to, size_t bytes);
// Makes the bytes absent again, and gives the memory back.
void hyp_port_view_hide(hyp_view *view, uint64_t offset, size_t bytes);

// Overwrites slots of `table` (already filled with the scalar reference) by the fastest kernels
// that the machine has, leaving out instruction sets whose bit in `isa_mask` is clear. Returns the
// bit in use (wasm: all of the artefact's), 0 for none.
uint32_t hyp_port_kernels(struct hyp_kernels *table, uint32_t isa_mask);

#endif
