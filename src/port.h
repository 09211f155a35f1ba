// The seam: what a platform must give the core. The build links exactly one implementation (native/ or wasm/).
// Everything above it is C17 without an operating system.
#ifndef HYP_PORT_H
#define HYP_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct hyp_kernels;

// Filled once; constant for the life of the process.
typedef struct hyp_caps {
    size_t page_bytes;    // granularity of hyp_port_map, a power of two
    bool can_trap;        // a touch of an absent page can be caught (signals); false: guard checks only
    uint32_t threads_max; // threads the platform can run, this one included; at least 1
    uint32_t isa;         // HYP_ISA_* bits that this processor (or this artefact) has
} hyp_caps;

// Instruction-set bits of hyp_caps.isa and of the mask given to hyp_port_kernels.
enum { HYP_ISA_SIMD128 = 1 << 0, HYP_ISA_RELAXED = 1 << 1, HYP_ISA_AVX2 = 1 << 2 };

const hyp_caps *hyp_port_caps(void);

// Maps `bytes` of zeroed memory, rounded up to whole pages and aligned to one; NULL when there is none.
// The caller owns it until hyp_port_unmap with the same size.
void *hyp_port_map(size_t bytes);
void hyp_port_unmap(void *memory, size_t bytes);

// Reads exactly `bytes` at `offset` of the host's byte source `handle` into `dst`. May suspend: nothing of the caller's
// state may be changed by another call meanwhile. HYP_E_IO: the source failed or ended before; HYP_E_CANCELLED: the host gave up.
HYP_MUST_USE hyp_status hyp_port_read(uint32_t handle, uint64_t offset, void *dst, size_t bytes);

// Monotonic time in nanoseconds from an arbitrary origin.
uint64_t hyp_port_now_ns(void);

// Overwrites slots of `table` (already filled with the scalar reference) by the fastest kernels that the machine has,
// leaving out instruction sets whose bit in `isa_mask` is clear. Returns the bits in use.
uint32_t hyp_port_kernels(struct hyp_kernels *table, uint32_t isa_mask);

#endif
