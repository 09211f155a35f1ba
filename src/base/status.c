#include "status.h"

#include "text.h"

static const struct {
    hyp_status status;
    const char *name, *message;
} table[] = {
#define HYP_STATUS(name, value, message, remedy) {HYP_##name, "HYP_" #name, message},
#include "../hyperion/status.def"
};

const char *hyp_status_name(hyp_status status) {
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status) return table[i].name;
    return "HYP_E_UNKNOWN";
}

const char *hyp_status_message(hyp_status status) {
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status) return table[i].message;
    return "unknown status";
}

hyp_status hyp_fail(hyp_fault *fault, hyp_status status, const char *format, ...) {
    if (fault) {
        va_list args;
        va_start(args, format);
        hyp_vformat(fault->text, sizeof fault->text, format, args);
        va_end(args);
    }
    return status;
}
