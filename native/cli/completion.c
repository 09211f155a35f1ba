// Scripts by which shells complete commands, options and their values. What stands for a name is a
// file unless the tables say otherwise.
#include "commands.h"

#include <string.h>

typedef struct hole { // of a script
    const char *name;
    void (*print)(FILE *out);
} hole;

static bool takes_value(const option *o) { return o->type != HYP_OPTION_FLAG; }
static bool takes_file(const option *o) { return o->type == OPTION_FILE; }

static bool of_any_verb(const option *o) {
    for (uint32_t i = 0; i < command_verb_count; i++)
        if (takes_option(&command_verbs[i], o)) return true;
    return false;
}

// The words of "a|b"
static void print_choices(FILE *out, const char *choices) {
    for (; *choices; choices++) fputc(*choices == '|' ? ' ' : *choices, out);
}

// Within single quotes: `quote` is how the shell writes one there.
static void print_quoted(FILE *out, const char *text, const char *quote) {
    for (; *text; text++) {
        if (*text == '\'') fputs(quote, out);
        else fputc(*text, out);
    }
}

// Options as a pattern: -s | --seed | ...
static void print_pattern(FILE *out, bool (*chosen)(const option *o)) {
    const char *between = "";
    for (uint32_t i = 0; i < command_option_count; i++) {
        const option *o = &command_options[i];
        if (!chosen(o) || !of_any_verb(o)) continue;
        if (o->letter) fprintf(out, "%s-%c | --%s", between, o->letter, o->name);
        else fprintf(out, "%s--%s", between, o->name);
        between = " | ";
    }
}

// ---- bash

static void print_bash_files(FILE *out) { print_pattern(out, takes_file); }
static void print_bash_values(FILE *out) { print_pattern(out, takes_value); }

static void print_bash_choices(FILE *out) {
    for (uint32_t i = 0; i < command_option_count; i++) {
        const option *o = &command_options[i];
        if (!o->choices || !of_any_verb(o)) continue;
        fprintf(out, "    --%s)\n        COMPREPLY=($(compgen -W '", o->name);
        print_choices(out, o->choices);
        fputs("' -- \"$word\"))\n        return ;;\n", out);
    }
}

static void print_bash_verbs(FILE *out) {
    for (uint32_t i = 0; i < command_verb_count; i++)
        fprintf(out, "%s%s", i ? " " : "", command_verbs[i].name);
}

static void print_bash_options(FILE *out) {
    for (uint32_t i = 0; i < command_verb_count; i++) {
        const verb *v = &command_verbs[i];
        const char *between = "";
        fprintf(out, "        %s) COMPREPLY=($(compgen -W '", v->name);
        for (uint32_t k = 0; k < command_option_count; k++) {
            const option *o = &command_options[k];
            if (!takes_option(v, o)) continue;
            if (o->letter) fprintf(out, "%s-%c --%s", between, o->letter, o->name);
            else fprintf(out, "%s--%s", between, o->name);
            between = " ";
        }
        fputs("' -- \"$word\")) ;;\n", out);
    }
}

static void print_bash_arguments(FILE *out) {
    for (uint32_t i = 0; i < command_verb_count; i++) {
        const char *text = command_verbs[i].arguments, *name;
        size_t bytes;
        for (int position = 0; next_argument(&text, &name, &bytes); position++) {
            const char *choices = argument_choices(name, bytes);
            if (choices && !*choices) continue;
            fprintf(out, "        %s:%d) ", command_verbs[i].name, position);
            if (choices) {
                fputs("COMPREPLY=($(compgen -W '", out);
                print_choices(out, choices);
                fputs("' -- \"$word\")) ;;\n", out);
            } else fputs("compopt -o default 2>/dev/null ;;\n", out);
        }
    }
}

static const hole bash_holes[] = {{"choices", print_bash_choices},
                                  {"files", print_bash_files},
                                  {"values", print_bash_values},
                                  {"verbs", print_bash_verbs},
                                  {"options", print_bash_options},
                                  {"arguments", print_bash_arguments},
                                  {NULL, NULL}};

// ---- zsh

static void print_zsh_verbs(FILE *out) {
    for (uint32_t i = 0; i < command_verb_count; i++)
        fprintf(out, "        '%s:%s'\n", command_verbs[i].name, command_verbs[i].help);
}

// What may stand for a value or an argument; `choices` as argument_choices gives them.
static void print_zsh_action(FILE *out, const char *choices) {
    if (choices && *choices) {
        fputc('(', out);
        print_choices(out, choices);
        fputc(')', out);
    } else if (!choices) fputs("_files", out);
}

static void print_zsh_option(FILE *out, const option *o) {
    const char *often = o->type == HYP_OPTION_TEXTS ? "*" : "", *value = takes_value(o) ? "=" : "";
    if (o->letter)
        fprintf(out, "            '(-%c --%s)'{-%c%s,--%s%s}'[", o->letter, o->name, o->letter,
                *value ? "+" : "", o->name, value);
    else fprintf(out, "            '%s--%s%s[", often, o->name, value);
    print_quoted(out, o->help, "'\\''");
    fputc(']', out);
    if (takes_value(o)) {
        fprintf(out, ":%s:", o->choices ? o->name : o->metavar);
        print_zsh_action(out, o->choices ? o->choices : takes_file(o) ? NULL : "");
    }
    fputs("' \\\n", out);
}

static void print_zsh_options(FILE *out) {
    for (uint32_t i = 0; i < command_verb_count; i++) {
        const verb *v = &command_verbs[i];
        const char *text = v->arguments, *name;
        size_t bytes;
        fprintf(out, "    %s)\n        _arguments -s \\\n", v->name);
        for (uint32_t k = 0; k < command_option_count; k++)
            if (takes_option(v, &command_options[k])) print_zsh_option(out, &command_options[k]);
        for (int position = 1; next_argument(&text, &name, &bytes); position++) {
            fprintf(out, "            '%d:%.*s:", position, (int)bytes, name);
            print_zsh_action(out, argument_choices(name, bytes));
            fputs("' \\\n", out);
        }
        fputs("            && return ;;\n", out);
    }
}

static const hole zsh_holes[] = {
    {"verbs", print_zsh_verbs}, {"options", print_zsh_options}, {NULL, NULL}};

// ---- fish

static void print_fish_verbs(FILE *out) {
    for (uint32_t i = 0; i < command_verb_count; i++)
        fprintf(out, "complete -c hyperion -n __fish_use_subcommand -a %s -d '%s'\n",
                command_verbs[i].name, command_verbs[i].help);
}

static void print_fish_arguments(FILE *out, const verb *v) {
    const char *text = v->arguments, *name;
    size_t bytes;
    bool files = false;
    while (next_argument(&text, &name, &bytes)) {
        const char *choices = argument_choices(name, bytes);
        files = files || !choices;
        if (!choices || !*choices) continue;
        fprintf(out, "complete -c hyperion -n '__fish_seen_subcommand_from %s' -a '", v->name);
        print_choices(out, choices);
        fputs("'\n", out);
    }
    if (files)
        fprintf(out, "complete -c hyperion -n '__fish_seen_subcommand_from %s' -F\n", v->name);
}

static void print_fish_option(FILE *out, const verb *v, const option *o) {
    fprintf(out, "complete -c hyperion -n '__fish_seen_subcommand_from %s'", v->name);
    if (o->letter) fprintf(out, " -s %c", o->letter);
    fprintf(out, " -l %s", o->name);
    if (o->choices) {
        fputs(" -x -a '", out);
        print_choices(out, o->choices);
        fputc('\'', out);
    } else if (takes_value(o)) fputs(takes_file(o) ? " -r -F" : " -x", out);
    fputs(" -d '", out);
    print_quoted(out, o->help, "\\'");
    fputs("'\n", out);
}

static void print_fish_options(FILE *out) {
    for (uint32_t i = 0; i < command_verb_count; i++) {
        const verb *v = &command_verbs[i];
        print_fish_arguments(out, v);
        for (uint32_t k = 0; k < command_option_count; k++)
            if (takes_option(v, &command_options[k]))
                print_fish_option(out, v, &command_options[k]);
    }
}

static const hole fish_holes[] = {
    {"verbs", print_fish_verbs}, {"options", print_fish_options}, {NULL, NULL}};

// ---- All

// The name between two @ at the script's `at`; 0: there is none.
static size_t hole_bytes(const char *at) {
    size_t bytes = strspn(at + 1, "abcdefghijklmnopqrstuvwxyz");
    return bytes && at[1 + bytes] == '@' ? bytes : 0;
}

static void expand(FILE *out, const char *script, const hole *holes) {
    for (const char *at; (at = strchr(script, '@'));) {
        size_t bytes = hole_bytes(at);
        fwrite(script, 1, (size_t)(at - script) + !bytes, out);
        script = at + 1 + (bytes ? bytes + 1 : 0);
        for (const hole *h = holes; h->name && bytes; h++)
            if (strlen(h->name) == bytes && !memcmp(h->name, at + 1, bytes)) h->print(out);
    }
    fputs(script, out);
}

bool print_completion(FILE *out, const char *shell) {
    static const struct {
        const char *shell, *script;
        const hole *holes;
    } scripts[] = {
#define HYP_SCRIPT(shell, text) {#shell, text, shell##_holes},
#include "completion.def"
    };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        if (strcmp(scripts[i].shell, shell) != 0) continue;
        expand(out, scripts[i].script, scripts[i].holes);
        return true;
    }
    return false;
}
