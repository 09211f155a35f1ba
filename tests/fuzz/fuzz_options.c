// libFuzzer: any bytes as JSON, and as options of each table. What is accepted is in its range, and
// what is read stays within the text.
#include "../../src/base/json_read.h"
#include "../../src/runtime/options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(hyp_text text) {
    hyp_json_reader reader;
    hyp_json_reader_init(&reader, text);
    char *out = malloc(text.bytes + 1);
    for (;;) {
        hyp_text raw;
        size_t bytes;
        double value;
        hyp_json_kind kind = hyp_json_read(&reader, &raw);
        if (kind == HYP_JSON_ERROR || kind == HYP_JSON_END) break;
        if (raw.data < text.data || raw.data + raw.bytes > text.data + text.bytes) abort();
        if (kind == HYP_JSON_NUMBER && !hyp_parse_real(raw, &value)) abort();
        if ((kind == HYP_JSON_KEY || kind == HYP_JSON_TEXT) &&
            !hyp_json_unescape(raw, out, text.bytes, &bytes))
            abort(); // no escape is shorter than what it stands for
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const hyp_options *const tables[] = {&hyp_engine_options, &hyp_model_options,
                                                &hyp_session_options, &hyp_sampling_options};
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    char *exact = malloc(size ? size : 1); // ends where the text does
    memcpy(exact, data, size);
    text[size] = 0;
    read_all((hyp_text){exact, size});
    const char *space = strchr(text, ' ');
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        union {
            hyp_engine_config engine;
            hyp_model_config model;
            hyp_session_config session;
            hyp_sampling sampling;
        } config;
        hyp_fault fault;
        memset(&config, 0, sizeof config);
        hyp_options_begin(tables[i], &config);
        if (!hyp_options_parse_json(tables[i], (hyp_text){exact, size}, &config, &fault) &&
            hyp_options_check(tables[i], &config, &fault))
            abort();
        if (!space) continue;
        char *name = malloc((size_t)(space - text) + 1);
        memcpy(name, text, (size_t)(space - text));
        name[space - text] = 0;
        if (!hyp_options_set(tables[i], &config, name, space + 1, &fault) &&
            hyp_options_check(tables[i], &config, &fault))
            abort();
        free(name);
    }
    free(text);
    free(exact);
    return 0;
}
