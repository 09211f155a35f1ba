// What the C tests share: named cases, checks that say where, a seeded generator, byte images of
// files.
#ifndef HYP_TESTS_HARNESS_H
#define HYP_TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Ends the program with the place and the condition. Evaluates its argument once, with NDEBUG too.
#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, NULL))
#define CHECK_MSG(condition, ...)                                                                  \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__))
__attribute__((noreturn, format(printf, 4, 5))) void
check_failed(const char *file, int line, const char *condition, const char *format, ...);

#define RUN(test)                                                                                  \
    do {                                                                                           \
        run_case(#test);                                                                           \
        test();                                                                                    \
    } while (0)
void run_case(const char *name); // announces a case
int finish(void);                // prints the count; main's return value

uint32_t random_u32(void); // seeded by HYP_SEED, printed by the first case
void seed_random(uint64_t seed);
float random_float(void); // uniform in [-1, 1)
void random_bytes(void *out, size_t bytes);

// The whole of a file below the project's root; the caller frees it. Ends the program when it is
// not there.
uint8_t *read_file(const char *path, size_t *bytes);

#endif
