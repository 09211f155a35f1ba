#include "commands.h"

#include "../../src/decode/sampler.h"
#include "../../src/runtime/options.h"
#include "cli.h"

#include <stdarg.h>
#include <string.h>

enum { EVERYWHERE, LIBRARY, INTERNAL };
#define HYP_TYPE_TEXT OPTION_TEXT
#define HYP_TYPE_FILE OPTION_FILE
#define HYP_CHOICES_TEXT NULL
#define HYP_CHOICES_FILE NULL

#define OPTION(scope_, config, kind, member, least, most, usual_, where, letter_, name_, metavar_, \
               help_, ...)                                                                         \
    {.scope = scope_,                                                                              \
     .type = HYP_TYPE_##kind,                                                                      \
     .hidden = (where) != EVERYWHERE,                                                              \
     .letter = letter_,                                                                            \
     .name = name_,                                                                                \
     .metavar = metavar_,                                                                          \
     .choices = HYP_CHOICES_##kind,                                                                \
     .help = help_,                                                                                \
     .usual = usual_,                                                                              \
     .offset = offsetof(config, member)},

const option command_options[] = {
#define HYP_COMMAND_OPTION(...) OPTION(SCOPE_COMMAND, command_config, __VA_ARGS__)
#include "commands.def"
#define HYP_ANSWER_OPTION(...) OPTION(SCOPE_ANSWER, answer_config, __VA_ARGS__)
#include "../../src/hyperion/options.def"
#define HYP_SAMPLING_OPTION(...) OPTION(SCOPE_SAMPLING, hyp_sampling, __VA_ARGS__)
#include "../../src/hyperion/options.def"
#define HYP_ENGINE_OPTION(...) OPTION(SCOPE_ENGINE, hyp_engine_config, __VA_ARGS__)
#include "../../src/hyperion/options.def"
#define HYP_MODEL_OPTION(...) OPTION(SCOPE_MODEL, hyp_model_config, __VA_ARGS__)
#include "../../src/hyperion/options.def"
#define HYP_SESSION_OPTION(...) OPTION(SCOPE_SESSION, hyp_session_config, __VA_ARGS__)
#include "../../src/hyperion/options.def"
};
const uint32_t command_option_count = sizeof command_options / sizeof *command_options;
enum { GIVEN_WORDS = 2 };
_Static_assert(sizeof command_options / sizeof *command_options <= 64 * GIVEN_WORDS,
               "a bit for each in `given`");

static const hyp_option answer_rows[] = {
#define HYP_ANSWER_OPTION(...) HYP_OPTION_ROW(answer_config, __VA_ARGS__)
#include "../../src/hyperion/options.def"
};
static const hyp_option command_rows[] = {
#define HYP_COMMAND_OPTION(...) HYP_OPTION_ROW(command_config, __VA_ARGS__)
#include "commands.def"
};
static const hyp_options answer_table = {answer_rows, sizeof answer_rows / sizeof *answer_rows};
static const hyp_options command_table = {command_rows, sizeof command_rows / sizeof *command_rows};

const verb command_verbs[] = {
#define HYP_VERB(name, arguments, options, help, more)                                             \
    {#name, arguments, options, help, more, verb_##name},
#include "commands.def"
};
const uint32_t command_verb_count = sizeof command_verbs / sizeof *command_verbs;

static const struct {
    const char *name, *choices;
} argument_rows[] = {
#define HYP_ARGUMENT(name, choices) {#name, choices},
#include "commands.def"
};

typedef struct table { // of a scope
    const hyp_options *options;
    size_t offset; // of its config in `options`
} table;
static const table tables[SCOPES] = {
    [SCOPE_COMMAND] = {&command_table, offsetof(options, own)},
    [SCOPE_ANSWER] = {&answer_table, offsetof(options, answer)},
    [SCOPE_SAMPLING] = {&hyp_sampling_options, offsetof(options, sampling)},
    [SCOPE_ENGINE] = {&hyp_engine_options, offsetof(options, engine)},
    [SCOPE_MODEL] = {&hyp_model_options, offsetof(options, model)},
    [SCOPE_SESSION] = {&hyp_session_options, offsetof(options, session)}};
static const char *const scope_names[SCOPES] = {
    [SCOPE_COMMAND] = "@command", [SCOPE_ANSWER] = "@answer", [SCOPE_SAMPLING] = "@sampling",
    [SCOPE_ENGINE] = "@engine",   [SCOPE_MODEL] = "@model",   [SCOPE_SESSION] = "@session"};

// ---- What there is

static bool names_word(const char *list, const char *word) {
    size_t bytes = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += bytes)
        if ((at == list || at[-1] == ' ') && (at[bytes] == ' ' || !at[bytes])) return true;
    return false;
}

bool takes_option(const verb *v, const option *o) {
    if (o->hidden) return false;
    return !strcmp(o->name, "help") || names_word(v->options, o->name) ||
           names_word(v->options, scope_names[o->scope]);
}

const char *option_value(const option *o) {
    return *o->metavar || !o->choices ? o->metavar : o->choices;
}

const char *argument_choices(const char *name, size_t bytes) {
    for (size_t i = 0; i < sizeof argument_rows / sizeof *argument_rows; i++)
        if (strlen(argument_rows[i].name) == bytes && !memcmp(argument_rows[i].name, name, bytes))
            return argument_rows[i].choices;
    return NULL;
}

bool next_argument(const char **text, const char **word, size_t *bytes) {
    *text += strspn(*text, "[] ");
    *word = *text;
    *bytes = strcspn(*text, "[] ");
    *text += *bytes;
    return *bytes > 0;
}

static int count_arguments(const char *text, const char *end) {
    const char *word;
    size_t bytes;
    int count = 0;
    while (next_argument(&text, &word, &bytes) && (!end || word < end)) count++;
    return count;
}

static const option *find_long(const char *name, size_t bytes) {
    for (uint32_t i = 0; i < command_option_count; i++) {
        const option *o = &command_options[i];
        if (!o->hidden && strlen(o->name) == bytes && !memcmp(o->name, name, bytes)) return o;
    }
    return NULL;
}

static const option *find_short(char letter) {
    for (uint32_t i = 0; i < command_option_count; i++) {
        const option *o = &command_options[i];
        if (!o->hidden && o->letter == letter) return o;
    }
    return NULL;
}

static const verb *find_verb(const char *name) {
    for (uint32_t i = 0; i < command_verb_count; i++)
        if (!strcmp(command_verbs[i].name, name)) return &command_verbs[i];
    return NULL;
}

// ---- Reading

static void say_usage(const verb *v, const char *format, va_list args) {
    fputs("hyperion: ", stderr);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\ntry 'hyperion %s%s--help'\n", v ? v->name : "", v ? " " : "");
}

int usage_error(const verb *v, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say_usage(v, format, args);
    va_end(args);
    return EXIT_USAGE;
}

// As usage_error; false.
__attribute__((format(printf, 2, 3))) static bool refuse(const verb *v, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say_usage(v, format, args);
    va_end(args);
    return false;
}

// Sets an option; `text` is NULL where no value follows.
static bool set(options *to, const option *o, const char *text) {
    char *config = (char *)to + tables[o->scope].offset;
    if (!text && o->type != HYP_OPTION_FLAG) return refuse(NULL, "--%s needs a value", o->name);
    if (o->type == OPTION_TEXT || o->type == OPTION_FILE) {
        memcpy(config + o->offset, &text, sizeof text);
        return true;
    }
    hyp_fault fault;
    if (!hyp_options_set(tables[o->scope].options, config, o->name, text, &fault)) return true;
    return refuse(NULL, "%s", fault.text);
}

typedef struct reading {
    int argc, at; // the next argument
    char **argv;
    options *to;
    uint64_t given[GIVEN_WORDS]; // options, by number
} reading;

static const char *next_value(reading *r) { return r->at < r->argc ? r->argv[r->at++] : NULL; }

static bool take(reading *r, const option *o, const char *text) {
    size_t number = (size_t)(o - command_options);
    r->given[number / 64] |= (uint64_t)1 << number % 64;
    return set(r->to, o, text);
}

// "name" or "name=value"
static bool read_long(reading *r, const char *text) {
    size_t bytes = strcspn(text, "=");
    const option *o = find_long(text, bytes);
    if (!o) return refuse(NULL, "there is no option '--%.*s'", (int)bytes, text);
    if (o->type == HYP_OPTION_FLAG && text[bytes])
        return refuse(NULL, "--%s takes no value", o->name);
    if (o->type == HYP_OPTION_FLAG) return take(r, o, NULL);
    return take(r, o, text[bytes] ? text + bytes + 1 : next_value(r));
}

// "qn5": flags, and at the end perhaps one with a value
static bool read_short(reading *r, const char *text) {
    for (; *text; text++) {
        const option *o = find_short(*text);
        int bytes = 1; // of the character
        while (((unsigned char)text[bytes] & 0xC0) == 0x80) bytes++;
        if (!o) return refuse(NULL, "there is no option '-%.*s'", bytes, text);
        if (o->type != HYP_OPTION_FLAG) return take(r, o, text[1] ? text + 1 : next_value(r));
        if (!take(r, o, NULL)) return false;
    }
    return true;
}

static bool check_verb(const arguments *a, const uint64_t given[GIVEN_WORDS]) {
    const verb *v = a->verb;
    for (uint32_t i = 0; i < command_option_count; i++)
        if (given[i / 64] >> i % 64 & 1 && !takes_option(v, &command_options[i]))
            return refuse(v, "%s takes no --%s", v->name, command_options[i].name);
    int most = count_arguments(v->arguments, NULL);
    const char *optional = strchr(v->arguments, '[');
    int least = optional ? count_arguments(v->arguments, optional) : most;
    if (a->count < least || a->count > most) return refuse(v, "%s takes %s", v->name, v->arguments);
    return true;
}

bool read_arguments(arguments *out, int argc, char **argv) {
    *out = (arguments){.values = argv};
    options *o = &out->options;
    for (int i = 0; i < SCOPES; i++)
        hyp_options_begin(tables[i].options, (char *)o + tables[i].offset);
    reading r = {.argc = argc, .at = 1, .argv = argv, .to = o};
    bool ended = false;
    while (r.at < argc) {
        char *text = argv[r.at++];
        if (ended || *text != '-' || !text[1]) out->values[out->count++] = text;
        else if (!strcmp(text, "--")) ended = true;
        else if (!(text[1] == '-' ? read_long(&r, text + 2) : read_short(&r, text + 1)))
            return false;
    }
    if (!out->count) return true;
    out->verb = find_verb(*out->values);
    if (!out->verb) return o->own.version || refuse(NULL, "unknown command '%s'", *out->values);
    out->values++;
    out->count--;
    return o->own.help || o->own.version || check_verb(out, r.given);
}
