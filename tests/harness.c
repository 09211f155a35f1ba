#include "harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int cases;
static uint64_t state = 0;

void check_failed(const char *file, int line, const char *condition, const char *format, ...) {
    fprintf(stderr, "%s:%d: failed: %s", file, line, condition);
    if (format) {
        va_list args;
        va_start(args, format);
        fputs(": ", stderr);
        vfprintf(stderr, format, args);
        va_end(args);
    }
    fputc('\n', stderr);
    exit(1);
}

void run_case(const char *name) {
    if (!cases++) {
        const char *seed = getenv("HYP_SEED");
        state = seed ? strtoull(seed, NULL, 0) : 20;
        printf("seed %llu (HYP_SEED)\n", (unsigned long long)state);
    }
    printf("  %s\n", name);
    fflush(stdout);
}

int finish(void) {
    printf("%d cases passed\n", cases);
    return 0;
}

void seed_random(uint64_t seed) { state = seed; }

uint32_t random_u32(void) {
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

float random_float(void) { return (float)(int32_t)random_u32() * 0x1p-31f; }

void random_bytes(void *out, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) ((uint8_t *)out)[i] = (uint8_t)random_u32();
}

uint8_t *read_file(const char *path, size_t *bytes) {
    char whole[1024];
    snprintf(whole, sizeof whole, "%s/%s", HYP_ROOT, path);
    FILE *f = fopen(whole, "rb");
    if (!f) check_failed(__FILE__, __LINE__, "file exists", "%s", whole);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    fseek(f, 0, SEEK_SET);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    if (!data || fread(data, 1, (size_t)size, f) != (size_t)size)
        check_failed(__FILE__, __LINE__, "file is readable", "%s", whole);
    fclose(f);
    *bytes = (size_t)size;
    return data;
}
