// Options by name: a table of rows (from hyperion/options.def) says where each one stands in its
// config struct, of what type it is, and what it may be. The same rows read JSON objects and
// command lines, and check the structs that C programs fill in; what they refuse, they refuse in
// the same words, by name and range. Nothing here allocates.
#ifndef HYP_BASE_OPTIONS_H
#define HYP_BASE_OPTIONS_H

#include "status.h"

#include <stddef.h>

typedef enum hyp_option_type {
    HYP_OPTION_FLAG,   // bool
    HYP_OPTION_U32,    // uint32_t
    HYP_OPTION_U64,    // uint64_t, up to 2^53 - 1: what JSON's numbers hold exactly everywhere
    HYP_OPTION_BYTES,  // size_t
    HYP_OPTION_F32,    // float, never NaN or infinite
    HYP_OPTION_CHOICE, // an enum whose values count from 0
    HYP_OPTION_TEXTS   // hyp_option_texts; not in JSON
} hyp_option_type;

typedef struct hyp_option {
    const char *field;   // in C: "top_k"
    const char *name;    // on command lines: "top-k"; in JSON: "topK"
    const char *choices; // names of a CHOICE's values, '|' between; else NULL
    double least, most;  // both included; of TEXTS the bytes of one
    double usual;
    uint16_t offset; // in the config struct
    uint8_t type;    // hyp_option_type
} hyp_option;

typedef struct hyp_options {
    const hyp_option *rows;
    uint32_t count;
} hyp_options;

enum { HYP_OPTION_TEXTS_MOST = 16 };
typedef struct hyp_option_texts { // zero: none
    hyp_text at[HYP_OPTION_TEXTS_MOST];
    uint32_t count;
} hyp_option_texts;

// All fields to what they are where nothing is said.
void hyp_options_begin(const hyp_options *options, void *config);
// Reads a JSON object of options into `config`; what it does not name, or names null, stays.
// HYP_E_ARGUMENT: it is no JSON object, names an option that there is not (the message has the
// nearest one) or twice, or a value of another type or out of its range; `config` is then between.
HYP_MUST_USE hyp_status hyp_options_parse_json(const hyp_options *options, hyp_text json,
                                               void *config, hyp_fault *fault);
// Sets the option `name` ("top-k") from a command line's text, which TEXTS borrow; NULL sets a
// FLAG. HYP_E_ARGUMENT, and nothing changes: there is no such option, or `text` is none of its
// values.
HYP_MUST_USE hyp_status hyp_options_set(const hyp_options *options, void *config, const char *name,
                                        const char *text, hyp_fault *fault);
// Whether all fields are in their ranges, or are 0 and stand for the default. HYP_E_ARGUMENT.
HYP_MUST_USE hyp_status hyp_options_check(const hyp_options *options, const void *config,
                                          hyp_fault *fault);
// Puts the defaults in place of the fields that are 0 and outside of their ranges.
void hyp_options_fill(const hyp_options *options, void *config);
// The row of a command line's option; NULL: there is none.
const hyp_option *hyp_options_find(const hyp_options *options, const char *name);

// The value of a row's field, which a double holds exactly; not of TEXTS.
double hyp_option_get(const hyp_option *option, const void *config);
// Sets it; false, with nothing changed: `value` is not in its range, or no whole number where one
// is wanted.
bool hyp_option_set(const hyp_option *option, void *config, double value);

// A row for a table of `config`, made from what options.def has:
//     static const hyp_option rows[] = {
//     #define HYP_ENGINE_OPTION(...) HYP_OPTION_ROW(hyp_engine_config, __VA_ARGS__)
//     #include "../hyperion/options.def"
//     };
#define HYP_OPTION_ROW(config, kind, member, least_, most_, usual_, where, letter, name_, ...)     \
    {.field = #member,                                                                             \
     .name = name_,                                                                                \
     .choices = HYP_CHOICES_##kind,                                                                \
     .least = least_,                                                                              \
     .most = most_,                                                                                \
     .usual = usual_,                                                                              \
     .offset = offsetof(config, member),                                                           \
     .type = HYP_TYPE_##kind},
#define HYP_TYPE_FLAG HYP_OPTION_FLAG
#define HYP_TYPE_U32 HYP_OPTION_U32
#define HYP_TYPE_U64 HYP_OPTION_U64
#define HYP_TYPE_BYTES HYP_OPTION_BYTES
#define HYP_TYPE_F32 HYP_OPTION_F32
#define HYP_TYPE_TEXTS HYP_OPTION_TEXTS
#define HYP_TYPE_CHOICE(enumeration, names) HYP_OPTION_CHOICE
#define HYP_CHOICES_FLAG NULL
#define HYP_CHOICES_U32 NULL
#define HYP_CHOICES_U64 NULL
#define HYP_CHOICES_BYTES NULL
#define HYP_CHOICES_F32 NULL
#define HYP_CHOICES_TEXTS NULL
#define HYP_CHOICES_CHOICE(enumeration, names) names

#endif
