// bench: how fast a model is.
#include "cli.h"
#include "json.h"

#include <string.h>

static bool measuring(void *context, uint64_t done, uint64_t total) {
    const options *o = context;
    if (!o->own.quiet && !o->own.json)
        progress_bar(&(progress){.what = "measuring", .done = done, .total = total});
    return !interrupted;
}

// The core's object, and how long the model took to load; its trace is for a file.
static void print_object(hyp_text json, double load_s) {
    hyp_text key, value;
    printf("{");
    for (json_walk walk = json_members(json); json_next(&walk, &key, &value);)
        if (key.bytes != 11 || memcmp(key.data, "traceEvents", 11) != 0)
            printf("\"%.*s\":%.*s,", (int)key.bytes, key.data, (int)value.bytes, value.data);
    json_real(stdout, "loadSeconds", load_s, 3);
    printf("}\n");
}

static void print_layers(hyp_text layers) {
    hyp_text key, value;
    int count = 0;
    printf("  layers, us:");
    for (json_walk walk = json_members(layers); json_next(&walk, &key, &value); count++) {
        double us;
        if (hyp_parse_real(value, &us)) printf("%s%6.1f", count % 10 ? " " : "\n   ", us);
    }
    printf("\n");
}

static void print_phase(hyp_text json, const char *title) {
    hyp_text phase = json_at(json, title), operations = json_at(phase, "operations"), name, sums;
    double gb_peak = json_number(json, "peaks.gbPerSecond"),
           gmac_peak = json_number(json, "peaks.gmacPerSecond"), total = 0;
    printf("\n%s, for each token\n  operation           us       %%     GB/s  of peak   GMAC/s  of "
           "peak\n",
           title);
    for (json_walk walk = json_members(operations); json_next(&walk, &name, &sums);)
        total += json_number(sums, "usPerToken");
    for (json_walk walk = json_members(operations); json_next(&walk, &name, &sums);) {
        double us = json_number(sums, "usPerToken"), gb = json_number(sums, "gbPerSecond"),
               gmac = json_number(sums, "gmacPerSecond");
        printf("  %-12.*s %9.1f %6.1f%%", (int)name.bytes, name.data, us, us * 100 / total);
        if (gmac > 0)
            printf(" %8.1f %7.0f%% %8.1f %7.0f%%", gb, gb * 100 / gb_peak, gmac,
                   gmac * 100 / gmac_peak);
        printf("\n");
    }
    print_layers(json_at(phase, "layersUsPerToken"));
}

static void print_figures(hyp_text json, double load_s, bool profile) {
    hyp_text kernels = json_at(json, "kernels"); // with its quotes
    double threads = json_number(json, "threads");
    printf("prompt  %8.1f tokens/s  (%.0f tokens, median of %.0f)\n",
           json_number(json, "promptTokensPerSecond"), json_number(json, "promptTokens"),
           json_number(json, "runs"));
    printf("answer  %8.1f tokens/s  (%.0f tokens)\n", json_number(json, "answerTokensPerSecond"),
           json_number(json, "answerTokens"));
    printf("load    %8.2f s\nmemory  %8.1f MB at most\n", load_s,
           json_number(json, "memoryPeakBytes") / 1e6);
    printf("kernels %8.*s, %.0f thread%s\n", (int)kernels.bytes - 2, kernels.data + 1, threads,
           threads > 1 ? "s" : "");
    printf("latency %8.2f ms at the median, %.2f / %.2f / %.2f at the 90th, 95th and 99th "
           "percentile\n",
           json_number(json, "latencyMs.p50"), json_number(json, "latencyMs.p90"),
           json_number(json, "latencyMs.p95"), json_number(json, "latencyMs.p99"));
    if (!profile) return;
    printf("peaks   %8.1f GB/s from memory, %.0f GMAC/s in the first cache, one thread\n",
           json_number(json, "peaks.gbPerSecond"), json_number(json, "peaks.gmacPerSecond"));
    print_phase(json, "prompt");
    print_phase(json, "answer");
}

static int write_trace(hyp_text json, const char *path) {
    static const char head[] = "{\"traceEvents\":", foot[] = "}\n";
    hyp_text events = json_at(json, "traceEvents");
    output out;
    if (!output_open(&out, path)) return not_written(path, &out);
    output_write(&out, head, sizeof head - 1); // failures are told by output_close
    output_write(&out, events.data, events.bytes);
    output_write(&out, foot, sizeof foot - 1);
    return output_close(&out) ? 0 : not_written(path, &out);
}

int verb_bench(const options *o, int argc, char **argv) {
    (void)argc;
    loaded l;
    int code = load(&l, o, argv[0], o->own.draft);
    if (code) return unload(&l, code);
    hyp_text json;
    hyp_bench_config config = {.session = session_config(&l, o),
                               .prompt_tokens = o->own.prompt_tokens,
                               .answer_tokens = o->own.answer_tokens,
                               .runs = o->own.runs,
                               .profile = o->own.profile,
                               .trace = o->own.trace,
                               .progress = measuring,
                               .progress_context = (void *)(uintptr_t)o};
    hyp_status status = hyp_model_bench(l.main.model, &config, &json.data, &json.bytes);
    if (status) return unload(&l, failed(&l, status));
    if (o->own.trace) code = write_trace(json, o->own.trace);
    if (!code && o->own.json) print_object(json, l.load_s);
    else if (!code) print_figures(json, l.load_s, o->own.profile);
    return unload(&l, code);
}
