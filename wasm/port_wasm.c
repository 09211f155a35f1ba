// port.h for WebAssembly. Memory: linear memory grows and never shrinks, so what is unmapped is kept in a list of free runs, sorted
// by address and joined, and given out again first-fit.
#include "../src/port.h"

#include "../src/base/bytes.h"

enum { PAGE = 4096, WASM_PAGE = 65536 };

typedef struct run { // at the start of each free run
    struct run *next;
    size_t bytes;
} run;

static run *free_runs;

__attribute__((import_module("hyp"), import_name("read"))) int32_t host_read(uint32_t handle, double offset, void *dst, size_t bytes);
__attribute__((import_module("hyp"), import_name("now"))) double host_now(void);

const hyp_caps *hyp_port_caps(void) {
    static const hyp_caps caps = {.page_bytes = PAGE,
                                  .threads_max = 1,
#ifdef __wasm_relaxed_simd__
                                  .isa = HYP_ISA_SIMD128 | HYP_ISA_RELAXED
#else
                                  .isa = HYP_ISA_SIMD128
#endif
    };
    return &caps;
}

void *hyp_port_map(size_t bytes) {
    bytes = hyp_round_up(bytes, PAGE);
    for (run **link = &free_runs; *link; link = &(*link)->next) {
        run *r = *link;
        if (r->bytes < bytes) continue;
        if (r->bytes == bytes) *link = r->next;
        else { // its front; the rest stays in place
            run *rest = (run *)(void *)((char *)r + bytes);
            *rest = (run){r->next, r->bytes - bytes};
            *link = rest;
        }
        return memset(r, 0, bytes);
    }
    size_t pages = (bytes + WASM_PAGE - 1) / WASM_PAGE, old = __builtin_wasm_memory_grow(0, pages);
    if (old == SIZE_MAX) return NULL;
    char *memory = (char *)(old * WASM_PAGE);
    if (pages * WASM_PAGE > bytes) hyp_port_unmap(memory + bytes, pages * WASM_PAGE - bytes);
    return memory;
}

void hyp_port_unmap(void *memory, size_t bytes) {
    bytes = hyp_round_up(bytes, PAGE);
    run **link = &free_runs, *before = NULL, *fresh = memory;
    while (*link && *link < fresh) before = *link, link = &(*link)->next;
    *fresh = (run){*link, bytes};
    *link = fresh;
    if (fresh->next && (char *)fresh + fresh->bytes == (char *)fresh->next)
        *fresh = (run){fresh->next->next, fresh->bytes + fresh->next->bytes};
    if (before && (char *)before + before->bytes == (char *)fresh) *before = (run){fresh->next, before->bytes + fresh->bytes};
}

hyp_status hyp_port_read(uint32_t handle, uint64_t offset, void *dst, size_t bytes) {
    return (hyp_status)host_read(handle, (double)offset, dst, bytes);
}
uint64_t hyp_port_now_ns(void) { return (uint64_t)(host_now() * 1e6); }
