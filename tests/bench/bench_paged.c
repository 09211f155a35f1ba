// A model under a memory limit, natively.
// usage: bench_paged MODEL LIMIT_BYTES (0: none) TOKENS
// One line of JSON: tokens a second, what is read for each token against the least that is possible
// (all weights less the pager's capacity), and the most that was resident.
#include "../../src/hyperion/hyperion.h"
#include "../../src/port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double status_mb(const char *key) { // a line of /proc/self/status, in MB
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    double kb = 0;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) kb = strtod(line + strlen(key), NULL);
    if (f) fclose(f);
    return kb * 1024 / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: bench_paged MODEL LIMIT_BYTES TOKENS\n");
        return 2;
    }
    double before = status_mb("VmRSS:");
    hyp_source source;
    if (hyp_source_open_file(argv[1], &source)) {
        puts(hyp_source_error());
        return 1;
    }
    hyp_engine *engine = hyp_engine_create(
        &(hyp_engine_config){.memory_bytes = strtoull(argv[2], NULL, 10)});
    hyp_model *model = NULL;
    hyp_session *session = NULL;
    hyp_status status = hyp_model_open(engine, &source, 1, &(hyp_model_config){.context = 256},
                                       &model);
    if (!status)
        status = hyp_session_create(model, &(hyp_session_config){.context = 256}, &session);
    int32_t prompt[8] = {1, 300, 301, 302, 303, 304, 305, 306};
    hyp_piece piece;
    if (!status) status = hyp_session_begin(session, prompt, 8, NULL, NULL, 0);
    if (!status) status = hyp_session_next(session, &piece); // the prompt, and everything once
    if (status) {
        printf("{\"error\":\"%s\"}\n", hyp_engine_error(engine));
        return 0;
    }
    uint32_t tokens = (uint32_t)atoi(argv[3]);
    hyp_residency first = hyp_model_residency(model);
    uint64_t start = hyp_port_now_ns();
    for (uint32_t i = 0; i < tokens && !status; i++) status = hyp_session_next(session, &piece);
    double seconds = (double)(hyp_port_now_ns() - start) / 1e9;
    if (status) {
        printf("{\"error\":\"%s\"}\n", hyp_engine_error(engine));
        return 0;
    }
    hyp_residency r = hyp_model_residency(model);
    double reads = (double)(r.filled_bytes - first.filled_bytes) / tokens,
           least = (double)r.whole_bytes - (double)r.capacity_bytes;
    printf("{\"tokens_per_second\":%.2f,\"read_mb_per_token\":%.3f,\"least_mb_per_token\":%.3f,"
           "\"whole_mb\":%.2f,\"capacity_mb\":%.2f,"
           "\"kept\":%u,"
           "\"pages\":%u,\"frames\":%u,\"peak_mb\":%.2f,\"resident_mb\":%.2f,\"token\":%d}\n",
           tokens / seconds, reads / 1e6, least / 1e6, (double)r.whole_bytes / 1e6,
           (double)r.capacity_bytes / 1e6, r.resident, r.pages, r.frames,
           (double)hyp_engine_get_stats(engine).peak_bytes / 1e6, status_mb("VmHWM:") - before,
           piece.token);
}
