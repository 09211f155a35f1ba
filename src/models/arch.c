#include "arch.h"

#include <string.h>

const hyp_arch hyp_archs[] = {
    {.name = "llama"},
    {.name = "qwen2", .neox = true},
    {.name = "qwen3", .neox = true, .qk_norm = true},
    {.name = "gemma", .neox = true, .gelu = true, .embd_scale = true},
    {.name = "gemma2",
     .neox = true,
     .gelu = true,
     .embd_scale = true,
     .post_norms = true,
     .window_period = 2,
     .wide_layers = 46},
    {.name = "gemma3",
     .neox = true,
     .gelu = true,
     .embd_scale = true,
     .post_norms = true,
     .qk_norm = true,
     .window_period = 6,
     .window_base = 10000,
     .wide_layers = 62},
    {.name = "phi3", .neox = true, .fused = true},
};
const size_t hyp_arch_count = sizeof hyp_archs / sizeof *hyp_archs;

const hyp_arch *hyp_arch_named(const char *name, size_t bytes) {
    for (size_t i = 0; i < hyp_arch_count; i++)
        if (strlen(hyp_archs[i].name) == bytes && memcmp(hyp_archs[i].name, name, bytes) == 0)
            return &hyp_archs[i];
    return NULL;
}
