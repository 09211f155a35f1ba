// Under AddressSanitizer, memory that is held but not lent is made unreadable. Elsewhere nothing.
#ifndef HYP_MEM_POISON_H
#define HYP_MEM_POISON_H

#include <stddef.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if __has_feature(address_sanitizer) || defined(__SANITIZE_ADDRESS__)
void __asan_poison_memory_region(void const volatile *, size_t);
void __asan_unpoison_memory_region(void const volatile *, size_t);
#define hyp_poison(memory, bytes) __asan_poison_memory_region(memory, bytes)
#define hyp_unpoison(memory, bytes) __asan_unpoison_memory_region(memory, bytes)
#else
#define hyp_poison(memory, bytes) ((void)(memory), (void)(bytes))
#define hyp_unpoison(memory, bytes) ((void)(memory), (void)(bytes))
#endif

#endif
