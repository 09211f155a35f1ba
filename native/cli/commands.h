// The verbs and options of the command line, as commands.def and options.def have them: reading
// arguments, help, what shells complete. glue/cli is the same in JavaScript, to the byte.
#ifndef HYP_NATIVE_COMMANDS_H
#define HYP_NATIVE_COMMANDS_H

#include "../../src/base/options.h"
#include "../../src/hyperion/hyperion.h"

#include <stdio.h>

typedef struct answer_config {
    uint32_t max_tokens;
    hyp_option_texts stop;
    bool parse_special;
} answer_config;

typedef enum artefact { ARTEFACT_AUTO, ARTEFACT_SIMD, ARTEFACT_RELAXED } artefact;

typedef struct command_config { // what commands.def adds; texts are NULL when left out
    artefact artefact;
    const char *draft, *system, *trace, *imatrix, *against, *state, *save_state, *out, *encrypt,
        *key_file, *key_id, *manifest;
    uint32_t chunk, prompt_tokens, answer_tokens, runs;
    float density;
    bool profile, lines, pin, no_cache, json, quiet, help, version;
} command_config;

typedef struct options {
    hyp_engine_config engine;
    hyp_model_config model;
    hyp_session_config session;
    hyp_sampling sampling;
    answer_config answer;
    command_config own;
} options;

typedef enum option_scope {
    SCOPE_COMMAND,
    SCOPE_ANSWER,
    SCOPE_SAMPLING,
    SCOPE_ENGINE,
    SCOPE_MODEL,
    SCOPE_SESSION,
    SCOPES
} option_scope;

// Beside those of hyp_option_type: `const char *`.
enum { OPTION_TEXT = 16, OPTION_FILE };

typedef struct option {
    option_scope scope;
    uint8_t type;
    bool hidden;
    char letter; // 0: none
    const char *name, *metavar, *choices, *help;
    double usual;
    size_t offset;
} option;

typedef struct verb {
    const char *name, *arguments, *options, *help, *more;
    int (*run)(const options *o, int argc, char **argv); // without the verb; returns the exit code
} verb;

typedef struct arguments {
    options options;
    const verb *verb; // NULL: none is named
    int count;        // of what is neither an option nor the verb
    char **values;
} arguments;

enum { EXIT_USAGE = 2, HELP_COLUMNS = 80 };

extern const option command_options[];
extern const uint32_t command_option_count;
extern const verb command_verbs[];
extern const uint32_t command_verb_count;

// Reads the arguments, and permutes `argv`. False: what is wrong has been said.
bool read_arguments(arguments *out, int argc, char **argv);
bool takes_option(const verb *v, const option *o);
int usage_error(const verb *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The metavariable of an option's value, or its choices; "" for a flag.
const char *option_value(const option *o);
// The choices of an argument, '|' between; "" where it is any text, NULL where it is a file.
const char *argument_choices(const char *name, size_t bytes);
// The next word of a verb's arguments, without brackets; moves *text behind it. False: no more.
bool next_argument(const char **text, const char **word, size_t *bytes);

void print_help(FILE *out, const verb *v);           // NULL: of all
bool print_completion(FILE *out, const char *shell); // false: there is no such shell

#endif
