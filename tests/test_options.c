// The option tables: what JSON, command lines and config structs say is read, checked and refused
// alike; and the JSON reader under them.
#include "../src/base/json_read.h"
#include "../src/runtime/options.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hyp_text text_of(const char *text) { return (hyp_text){text, strlen(text)}; }

// Tokens as letters, in a copy that ends where the text does. '!': refused.
static const char *tokens_of(const char *text, size_t bytes) {
    static const char names[] = "!${}[]ktn+-0"; // by hyp_json_kind
    static char seen[300];
    char *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, text, bytes);
    hyp_json_reader r;
    hyp_json_reader_init(&r, (hyp_text){copy, bytes});
    size_t n = 0;
    hyp_json_kind kind;
    do {
        hyp_text raw;
        kind = hyp_json_read(&r, &raw);
        seen[n++] = names[kind];
        CHECK(n < sizeof seen);
        if (kind == HYP_JSON_NUMBER) {
            double value;
            CHECK(hyp_parse_real(raw, &value));
        }
    } while (kind != HYP_JSON_ERROR && kind != HYP_JSON_END);
    CHECK((kind == HYP_JSON_ERROR) == (r.error != NULL));
    CHECK(hyp_json_read(&r, NULL) == kind); // and stays so
    seen[n] = 0;
    free(copy);
    return seen;
}

static void json_is_read_strictly(void) {
    static const struct {
        const char *text, *tokens;
    } cases[] = {{"{}", "{}$"},
                 {" [ ] ", "[]$"},
                 {"0", "n$"},
                 {"-0.5e+07", "n$"},
                 {"\"a\\u00e9\\n\"", "t$"},
                 {"true", "+$"},
                 {"[false,null]", "[-0]$"},
                 {"{\"a\":1,\"b\":[{\"c\":{}}],\"\":\"x\"}", "{knk[{k{}}]kt}$"},
                 {"\t[1\n,\r2 ]", "[nn]$"},
                 // no JSON
                 {"", "!"},
                 {"{", "{!"},
                 {"[1,]", "[n!"},
                 {"[,1]", "[!"},
                 {"{,}", "{!"},
                 {"{\"a\"}", "{!"},
                 {"{\"a\":}", "{k!"},
                 {"{\"a\":1,}", "{kn!"},
                 {"{a:1}", "{!"},
                 {"{\"a\" 1}", "{!"},
                 {"{\"a\":1 \"b\":2}", "{kn!"},
                 {"[1 2]", "[n!"},
                 {"[1}", "[n!"},
                 {"{\"a\":1]", "{kn!"},
                 {"]", "!"},
                 {"1 1", "n!"},
                 {"{}{}", "{}!"},
                 {"01", "n!"},
                 {"1.", "!"},
                 {".5", "!"},
                 {"+1", "!"},
                 {"-", "!"},
                 {"1e", "!"},
                 {"1e+", "!"},
                 {"NaN", "!"},
                 {"tru", "!"},
                 {"truer", "+!"},
                 {"'a'", "!"},
                 {"\"a", "!"},
                 {"\"a\\", "!"},
                 {"\"\\x\"", "!"},
                 {"\"\\u12g4\"", "!"},
                 {"\"\\u12\"", "!"},
                 {"\"\n\"", "!"},
                 {"// no\n1", "!"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *seen = tokens_of(cases[i].text, strlen(cases[i].text));
        CHECK_MSG(strcmp(seen, cases[i].tokens) == 0, "%s: %s", cases[i].text, seen);
    }
    CHECK(strcmp(tokens_of("\"\0\"", 3), "!") == 0 && strcmp(tokens_of("1\0", 2), "n!") == 0);
    char deep[2 * HYP_JSON_DEPTH + 2];
    memset(deep, '[', HYP_JSON_DEPTH + 1);
    memset(deep + HYP_JSON_DEPTH, ']', HYP_JSON_DEPTH);
    CHECK(strchr(tokens_of(deep, 2 * HYP_JSON_DEPTH), '$'));
    memset(deep, '[', sizeof deep);
    CHECK(strchr(tokens_of(deep, HYP_JSON_DEPTH + 1), '!'));
}

static void escapes_are_undone(void) {
    static const struct {
        const char *raw, *text;
    } cases[] = {{"plain", "plain"},
                 {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
                 {"\\u0041\\u00e9\\u20AC", "A\xC3\xA9\xE2\x82\xAC"},
                 {"\\uD83D\\uDE00", "\xF0\x9F\x98\x80"},
                 {"\\uD83D", "\xEF\xBF\xBD"},
                 {"\\uDE00\\uD83Dx", "\xEF\xBF\xBD\xEF\xBF\xBDx"},
                 {"\\uD83D\\u0041", "\xEF\xBF\xBD"
                                    "A"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        size_t bytes, whole = strlen(cases[i].text);
        CHECK(hyp_json_unescape(text_of(cases[i].raw), out, whole, &bytes) && bytes == whole &&
              !memcmp(out, cases[i].text, whole));
        for (size_t room = 0; room < whole; room++)
            CHECK(!hyp_json_unescape(text_of(cases[i].raw), out, room, &bytes) && bytes <= room);
    }
}

static void numbers_are_the_nearest(void) {
    char text[64];
    double value;
    for (int i = 0; i < 200000; i++) {
        int digits = 1 + (int)(random_u32() % 19), at = (int)(random_u32() % 20);
        size_t n = 0;
        if (random_u32() % 2) text[n++] = '-';
        for (int d = 0; d < digits; d++) {
            if (d == at) text[n++] = '.';
            text[n++] = (char)('0' + random_u32() % 10);
        }
        int point = at < digits ? digits - at : 0, shift = (int)(random_u32() % 55) - 27 + point;
        snprintf(text + n, sizeof text - n, "e%d", shift);
        CHECK(hyp_parse_real(text_of(text), &value));
        CHECK_MSG(value == strtod(text, NULL), "%s: %.17g", text, value);
    }
    for (int i = 0; i < 100000; i++) { // as JavaScript would write them
        double x = (double)random_float() * pow(10, (double)(int)(random_u32() % 6) - 3);
        snprintf(text, sizeof text, "%.17g", x);
        CHECK(hyp_parse_real(text_of(text), &value) && value == x);
        snprintf(text, sizeof text, "%.9g", (double)(float)x);
        CHECK(hyp_parse_real(text_of(text), &value) && (float)value == (float)x);
    }
    static const char *const far[] = {"1e300",
                                      "1e-300",
                                      "4.9e-324",
                                      "123456789012345678901234567890",
                                      "1e-30",
                                      "0e999",
                                      "1.7976931348623157e308",
                                      "0.000000000000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        double want = strtod(far[i], NULL);
        CHECK(hyp_parse_real(text_of(far[i]), &value));
        CHECK_MSG(fabs(value - want) <= 1e-14 * want || fabs(value - want) < 1e-322, "%s: %g",
                  far[i], value);
    }
    CHECK(hyp_parse_real(text_of("1e999"), &value) && value > 0 && isinf(value));
    CHECK(hyp_parse_real(text_of("-1e99999999999999999999"), &value) && value < 0 && isinf(value));
    CHECK(hyp_parse_real(text_of("1e-99999999999999999999"), &value) && value == 0);
    CHECK(hyp_parse_real(text_of("-0"), &value) && value == 0 && signbit(value));
    static const char *const none[] = {"",   ".",  "-",    "+",   "e5",  "1e",  "1e+", "1.5x",
                                       " 1", "1 ", "1..2", "0x1", "inf", "nan", "--1", "1e1.5"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK_MSG(!hyp_parse_real(text_of(none[i]), &value), "%s", none[i]);
    uint64_t whole;
    CHECK(hyp_parse_whole(text_of("18446744073709551615"), &whole) && whole == UINT64_MAX);
    CHECK(!hyp_parse_whole(text_of("18446744073709551616"), &whole));
    CHECK(!hyp_parse_whole(text_of(""), &whole) && !hyp_parse_whole(text_of("-1"), &whole));
}

// ---- Tables

typedef union any_config {
    hyp_engine_config engine;
    hyp_model_config model;
    hyp_session_config session;
    hyp_sampling sampling;
} any_config;

static const struct {
    const hyp_options *options;
    size_t bytes;
} tables[] = {{&hyp_engine_options, sizeof(hyp_engine_config)},
              {&hyp_model_options, sizeof(hyp_model_config)},
              {&hyp_session_options, sizeof(hyp_session_config)},
              {&hyp_sampling_options, sizeof(hyp_sampling)}};
enum { TABLES = sizeof tables / sizeof *tables };

static void json_name(const hyp_option *o, char out[64]) {
    for (const char *c = o->name; *c; c++) *out++ = *c == '-' ? (char)(*++c & 0xDF) : *c;
    *out = 0;
}

static void rows_fit_their_structs(void) {
    for (int t = 0; t < TABLES; t++) {
        char seen[sizeof(any_config)] = {0};
        for (uint32_t i = 0; i < tables[t].options->count; i++) {
            const hyp_option *o = &tables[t].options->rows[i];
            CHECK(o->offset < tables[t].bytes && !seen[o->offset]);
            seen[o->offset] = 1;
            CHECK((o->type == HYP_OPTION_CHOICE) == (o->choices != NULL));
            CHECK(o->least <= o->most && strlen(o->name) < 40);
            CHECK(o->usual == 0 || (o->usual >= o->least && o->usual <= o->most));
            CHECK(hyp_options_find(tables[t].options, o->name) == o);
            size_t values = 1;
            for (const char *c = o->choices; c && *c; c++) values += *c == '|';
            if (o->choices) CHECK(o->least == 0 && o->most == (double)(values - 1));
        }
        CHECK(!hyp_options_find(tables[t].options, "nothing"));
    }
}

static void zero_and_the_defaults_are_right(void) {
    for (int t = 0; t < TABLES; t++) {
        any_config zero = {0}, usual = {0};
        CHECK(hyp_options_check(tables[t].options, &zero, NULL) == HYP_OK);
        hyp_options_begin(tables[t].options, &usual);
        CHECK(hyp_options_check(tables[t].options, &usual, NULL) == HYP_OK);
        CHECK(hyp_options_parse_json(tables[t].options, text_of("{}"), &zero, NULL) == HYP_OK);
    }
    any_config c = {0};
    hyp_options_begin(&hyp_sampling_options, &c);
    CHECK(c.sampling.temperature == 0.7f && c.sampling.penalty_last == 64 &&
          c.sampling.mirostat_eta == 0.1f && c.sampling.top_k == 0);
    c = (any_config){0};
    hyp_options_fill(&hyp_sampling_options, &c);
    CHECK(c.sampling.temperature == 0 && c.sampling.penalty_last == 64 &&
          c.sampling.mirostat_eta == 0.1f);
}

// Says the same value in all three ways; what each says of it without the name must be the same.
static void say_thrice(const hyp_options *options, const hyp_option *o, double value, bool right) {
    char number[64], json[160], name[64], told[3][320];
    hyp_status status[3];
    hyp_fault fault = {0};
    any_config c = {0}, before;
    snprintf(number, sizeof number, "%.17g", value);
    json_name(o, name);
    snprintf(json, sizeof json, "{\"%s\": %s}", name, number);
    before = c;
    status[0] = hyp_options_parse_json(options, text_of(json), &c, &fault);
    CHECK_MSG(!right || status[0] == HYP_OK, "%s: %s", json, fault.text);
    snprintf(told[0], sizeof told[0], "%s", fault.text);
    if (!right) CHECK(!memcmp(&before, &c, sizeof c));
    any_config from_json = c;
    c = (any_config){0};
    fault = (hyp_fault){0};
    status[1] = hyp_options_set(options, &c, o->name, number, &fault);
    snprintf(told[1], sizeof told[1], "%s", fault.text);
    if (right) CHECK_MSG(!memcmp(&from_json, &c, sizeof c), "%s", json);
    c = (any_config){0};
    char *field = (char *)&c + o->offset;
    fault = (hyp_fault){0};
    bool held = true; // the field can say it
    if (o->type == HYP_OPTION_F32) *(float *)(void *)field = (float)value;
    else if ((held = value >= 0 && value < 0x1p32 && value == floor(value))) {
        if (o->type == HYP_OPTION_U32) *(uint32_t *)(void *)field = (uint32_t)value;
        else if (o->type == HYP_OPTION_U64) *(uint64_t *)(void *)field = (uint64_t)value;
        else *(size_t *)(void *)field = (size_t)value;
    }
    status[2] = held && value != 0 ? hyp_options_check(options, &c, &fault) : status[0];
    for (int i = 0; i < 3; i++)
        CHECK_MSG(status[i] == (right ? HYP_OK : HYP_E_ARGUMENT), "%s, way %d", json, i);
    if (right) return;
    char flag[64];
    snprintf(flag, sizeof flag, "--%s must be ", o->name);
    CHECK_MSG(!strncmp(told[1], flag, strlen(flag)), "%s", told[1]);
    const char *of_json = strstr(told[0], " must be "), *of_flag = strstr(told[1], " must be ");
    CHECK_MSG(!strncmp(told[0], name, strlen(name)) && of_json, "%s", told[0]);
    // all but the value, which is quoted on command lines
    size_t same = (size_t)(strstr(of_json, ", not ") - of_json);
    CHECK_MSG(!strncmp(of_json, of_flag, same), "%s / %s", told[0], told[1]);
    if (!held || value == 0) return;
    CHECK_MSG(!strncmp(fault.text, o->field, strlen(o->field)) &&
                  !strncmp(fault.text + strlen(o->field), of_json, same),
              "%s / %s", told[0], fault.text);
}

static void ranges_are_kept_in_every_way(void) {
    for (int t = 0; t < TABLES; t++)
        for (uint32_t i = 0; i < tables[t].options->count; i++) {
            const hyp_option *o = &tables[t].options->rows[i];
            if (o->type == HYP_OPTION_FLAG || o->type == HYP_OPTION_CHOICE) continue;
            const hyp_options *all = tables[t].options;
            double step = o->type == HYP_OPTION_F32 ? (o->most - o->least) / 1000 : 1;
            say_thrice(all, o, o->least, true);
            if (o->type != HYP_OPTION_BYTES) say_thrice(all, o, o->most, true);
            say_thrice(all, o, o->least + step, true);
            say_thrice(all, o, o->least - step, false);
            say_thrice(all, o, o->most + step, false);
            if (o->type == HYP_OPTION_U32 || o->type == HYP_OPTION_U64)
                say_thrice(all, o, o->least + 0.5, false);
        }
    any_config c = {0};
    hyp_fault fault;
    const float odd[] = {NAN, INFINITY, -INFINITY};
    const char *said[] = {"NaN", "Infinity", "-Infinity"};
    for (int i = 0; i < 3; i++) {
        c.sampling.top_p = odd[i];
        CHECK(hyp_options_check(&hyp_sampling_options, &c, &fault) == HYP_E_ARGUMENT);
        char want[80];
        snprintf(want, sizeof want, "top_p must be a number from 0 to 1, not %s", said[i]);
        CHECK_MSG(!strcmp(fault.text, want), "%s", fault.text);
    }
    c.session = (hyp_session_config){.cache = (hyp_cache)2};
    CHECK(hyp_options_check(&hyp_session_options, &c, &fault) == HYP_E_ARGUMENT &&
          !strcmp(fault.text, "cache must be f16 or q8_0, not 2"));
}

static void json_is_refused_with_the_reason(void) {
    static const struct {
        const hyp_options *options;
        const char *json, *why;
    } cases[] = {
        {&hyp_sampling_options, "{\"topP\": 2}", "topP must be a number from 0 to 1, not 2"},
        {&hyp_sampling_options, "{\"topK\": \"40\"}",
         "topK must be a whole number from 0 to 2147483647, not '40'"},
        {&hyp_sampling_options, "{\"topK\": 1.5}",
         "topK must be a whole number from 0 to 2147483647, not 1.5"},
        {&hyp_sampling_options, "{\"topK\": []}",
         "topK must be a whole number from 0 to 2147483647, not a list"},
        {&hyp_sampling_options, "{\"seed\": 9007199254740992}",
         "seed must be a whole number from 0 to 9007199254740991, not 9007199254740992"},
        {&hyp_sampling_options, "{\"minP\": 1}", "minP must be a number from 0 to 0.99999, not 1"},
        {&hyp_sampling_options, "{\"temperature\": 1e999}",
         "temperature must be a number from 0 to 100, not 1e999"},
        {&hyp_sampling_options, "{\"temprature\": 1}",
         "there is no option 'temprature'; did you mean 'temperature'?"},
        {&hyp_sampling_options, "{\"top_p\": 1}",
         "there is no option 'top_p'; did you mean 'topP'?"},
        {&hyp_sampling_options, "{\"colour\": 1}", "there is no option 'colour'"},
        {&hyp_sampling_options, "{\"topP\": 1, \"top\\u0050\": 1}",
         "the option 'topP' is given twice"},
        {&hyp_sampling_options, "[]", "options must be a JSON object"},
        {&hyp_sampling_options, "{\"topP\": .5}",
         "options are no JSON: a value is expected, at byte 9"},
        {&hyp_sampling_options, "{\"topP\": 1} x",
         "options are no JSON: something follows the value, at byte 12"},
        {&hyp_sampling_options, "", "options are no JSON: it breaks off, at byte 0"},
        {&hyp_session_options, "{\"cache\": \"f32\"}", "cache must be f16 or q8_0, not 'f32'"},
        {&hyp_session_options, "{\"cache\": \"f1\"}", "cache must be f16 or q8_0, not 'f1'"},
        {&hyp_session_options, "{\"cache\": 1}", "cache must be f16 or q8_0, not 1"},
        {&hyp_session_options, "{\"profile\": 1}", "profile must be true or false, not 1"},
        {&hyp_session_options, "{\"context\": 0}",
         "context must be a whole number from 1 to 16777216, not 0"},
        {&hyp_session_options, "{\"purpose\": \"leisure\"}",
         "purpose must be interactive, deadline, batch or background, not 'leisure'"},
        {&hyp_engine_options, "{\"memory\": \"lots\"}",
         "memory must be an amount of memory, as 96MB or 2GB, not 'lots'"},
        {&hyp_engine_options, "{\"memory\": {}}",
         "memory must be an amount of memory, as 96MB or 2GB, not an object"},
        {&hyp_engine_options, "{\"memory\": 1.5}",
         "memory must be an amount of memory, as 96MB or 2GB, not 1.5"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        any_config c = {0};
        hyp_fault fault = {0};
        CHECK(hyp_options_parse_json(cases[i].options, text_of(cases[i].json), &c, &fault) ==
              HYP_E_ARGUMENT);
        CHECK_MSG(!strcmp(fault.text, cases[i].why), "%s: %s", cases[i].json, fault.text);
    }
    // names and values of any length
    static char json[4000] = "{\"";
    memset(json + 2, 'x', 1000);
    strcpy(json + 1002, "\": 1}");
    any_config c = {0};
    CHECK(hyp_options_parse_json(&hyp_sampling_options, text_of(json), &c, NULL) == HYP_E_ARGUMENT);
    strcpy(json, "{\"cache\": \"");
    memset(json + 11, 'f', 1000);
    strcpy(json + 1011, "\"}");
    CHECK(hyp_options_parse_json(&hyp_session_options, text_of(json), &c, NULL) == HYP_E_ARGUMENT);
}

static void what_is_right_arrives(void) {
    any_config c = {0};
    hyp_sampling *s = &c.sampling;
    CHECK(hyp_options_parse_json(&hyp_sampling_options,
                                 text_of("{\"temperature\": 0.3, \"topK\": 4e1, \"topP\": null, "
                                         "\"seed\": 9007199254740991, \"presencePenalty\": -2}"),
                                 s, NULL) == HYP_OK);
    CHECK(s->temperature == 0.3f && s->top_k == 40 && s->top_p == 0 && s->min_p == 0 &&
          s->seed == ((uint64_t)1 << 53) - 1 && s->presence_penalty == -2);
    c = (any_config){0};
    CHECK(hyp_options_parse_json(&hyp_session_options,
                                 text_of("{\"cache\":\"q8_0\",\"profile\":true,\"context\":64,"
                                         "\"calibrate\":false,\"purpose\":\"background\"}"),
                                 &c, NULL) == HYP_OK);
    CHECK(c.session.cache == HYP_CACHE_Q8_0 && c.session.profile && !c.session.calibrate &&
          c.session.context == 64 && c.session.purpose == HYP_PURPOSE_BACKGROUND);
    static const struct {
        const char *text;
        double bytes; // negative: refused
    } sizes[] = {
        {"0", 0},   {"96MB", 96e6},  {"1.5 g", 1.5e9},  {"2GiB", 2e9}, {"7b", 7},     {".5k", 500},
        {"5.", 5},  {"1e3", -1},     {"5XB", -1},       {"", -1},      {" 5", -1},    {"5  k", -1},
        {"-5", -1}, {"k", -1},       {"1.2.3", -1},     {"5kk", -1},   {"9e99g", -1}, {"inf", -1},
        {"5 ", 5},  {"96 MB", 96e6}, {"1000000G", 1e15}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char json[80];
        snprintf(json, sizeof json, "{\"memory\": \"%s\"}", sizes[i].text);
        hyp_status status[2];
        for (int way = 0; way < 2; way++) {
            c = (any_config){0};
            status[way] =
                way ? hyp_options_set(&hyp_engine_options, &c, "memory", sizes[i].text, NULL)
                    : hyp_options_parse_json(&hyp_engine_options, text_of(json), &c, NULL);
            CHECK_MSG(status[way] == (sizes[i].bytes < 0 ? HYP_E_ARGUMENT : HYP_OK), "'%s' %d",
                      sizes[i].text, way);
            if (status[way]) continue;
            size_t want = sizes[i].bytes >= (double)SIZE_MAX ? SIZE_MAX : (size_t)sizes[i].bytes;
            CHECK_MSG(c.engine.memory_bytes == want, "'%s'", sizes[i].text);
        }
    }
}

typedef struct answer_config {
#define HYP_FIELD_TEXTS hyp_option_texts
#define HYP_ANSWER_OPTION(kind, field, ...) HYP_FIELD_##kind field;
#include "../src/hyperion/options.def"
} answer_config;
static const hyp_option answer_rows[] = {
#define HYP_ANSWER_OPTION(...) HYP_OPTION_ROW(answer_config, __VA_ARGS__)
#include "../src/hyperion/options.def"
};

static void command_lines_set(void) {
    const hyp_options options = {answer_rows, sizeof answer_rows / sizeof *answer_rows};
    answer_config c = {0};
    hyp_fault fault;
    hyp_options_begin(&options, &c);
    CHECK(c.max_tokens == 256 && c.stop.count == 0 && !c.parse_special);
    CHECK(!hyp_options_set(&options, &c, "parse-special", NULL, NULL) && c.parse_special);
    CHECK(!hyp_options_set(&options, &c, "max-tokens", "0", NULL) && c.max_tokens == 0);
    static const char *const wrong[] = {"", "-1", "+1", " 1", "1.0", "1e3", "0x10", "4294967296"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_MSG(hyp_options_set(&options, &c, "max-tokens", wrong[i], &fault) == HYP_E_ARGUMENT &&
                      c.max_tokens == 0 && strstr(fault.text, "4294967295"),
                  "'%s'", wrong[i]);
    for (uint32_t i = 0; i < HYP_OPTION_TEXTS_MOST; i++)
        CHECK(!hyp_options_set(&options, &c, "stop", "x", NULL) && c.stop.count == i + 1);
    CHECK(hyp_options_set(&options, &c, "stop", "x", &fault) == HYP_E_ARGUMENT &&
          !strcmp(fault.text, "too many --stop: at most 16 are possible"));
    c.stop.count = 0;
    CHECK(hyp_options_set(&options, &c, "stop", "", &fault) == HYP_E_ARGUMENT && !c.stop.count);
    CHECK_MSG(!strcmp(fault.text, "--stop must be a text of 1 to 256 bytes, not 0"), "%s",
              fault.text);
    CHECK(hyp_options_set(&options, &c, "max-token", "1", &fault) == HYP_E_ARGUMENT &&
          !strcmp(fault.text, "there is no option '--max-token'; did you mean '--max-tokens'?"));
    CHECK(hyp_options_parse_json(&options, text_of("{\"stop\": \"x\"}"), &c, &fault) ==
          HYP_E_ARGUMENT);
    any_config s = {0};
    CHECK(hyp_options_set(&hyp_session_options, &s, "cache", "f16 ", NULL) == HYP_E_ARGUMENT &&
          hyp_options_set(&hyp_session_options, &s, "cache", "q8_0", NULL) == HYP_OK &&
          s.session.cache == HYP_CACHE_Q8_0);
    CHECK(hyp_options_set(&hyp_sampling_options, &s, "temperature", "+.5e1", NULL) == HYP_OK &&
          s.sampling.temperature == 5);
}

int main(void) {
    RUN(json_is_read_strictly);
    RUN(escapes_are_undone);
    RUN(numbers_are_the_nearest);
    RUN(rows_fit_their_structs);
    RUN(zero_and_the_defaults_are_right);
    RUN(ranges_are_kept_in_every_way);
    RUN(json_is_refused_with_the_reason);
    RUN(what_is_right_arrives);
    RUN(command_lines_set);
    return finish();
}
