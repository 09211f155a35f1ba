#include "exports.h"

static const void *result;
static size_t result_size;
hyp_budget hyp_exports_budget;
hyp_buffer hyp_exports_input = {.budget = &hyp_exports_budget};
hyp_json hyp_exports_json = {.out.budget = &hyp_exports_budget};

EXPORT(result_data) const void *result_data(void) { return result; }
EXPORT(result_bytes) size_t result_bytes(void) { return result_size; }

hyp_status hyp_exports_give(hyp_status status, const void *data, size_t bytes) {
    result = data;
    result_size = bytes;
    return status;
}

void hyp_exports_put_numbers(const hyp_exports_number *numbers, size_t count) {
    for (size_t i = 0; i < count; i++)
        hyp_json_number(&hyp_exports_json, numbers[i].key, numbers[i].value);
}

hyp_status hyp_exports_give_json(void) {
    const hyp_json *json = &hyp_exports_json;
    return hyp_exports_give(json->failed ? HYP_E_NOMEM : HYP_OK, json->out.data, json->out.bytes);
}

void hyp_exports_begin_json(void) {
    hyp_json *json = &hyp_exports_json;
    json->out.bytes = 0;
    json->failed = json->comma = false;
    hyp_json_open(json, NULL, '{');
}

hyp_status hyp_exports_options(const hyp_options *options, size_t bytes, void *config,
                               hyp_fault *fault) {
    hyp_options_begin(options, config);
    hyp_text json = {(const char *)hyp_exports_input.data, bytes};
    return hyp_options_parse_json(options, json, config, fault);
}

bool hyp_exports_write(void *caller, const void *data, size_t bytes) {
    return host_write(caller, data, bytes);
}

// Room for `bytes` that the next call takes its text or tokens from; NULL when there is none.
EXPORT(input_reserve) void *input_reserve(size_t bytes) {
    hyp_exports_input.bytes = 0;
    return hyp_buffer_reserve(&hyp_exports_input, bytes + 1) ? hyp_exports_input.data : NULL;
}

EXPORT(status_name) const char *status_name(int32_t status) {
    return hyp_status_name((hyp_status)status);
}
EXPORT(status_message) const char *status_message(int32_t status) {
    return hyp_status_message((hyp_status)status);
}
