#include "commands.h"

#include <string.h>

#define HYP_HELP(begin, end) static const char help_begin[] = begin, help_end[] = end;
#include "commands.def"

enum { TEXT_COLUMN = 30 };

// Prints words from the column `from` on, in lines that begin there and end by HELP_COLUMNS, and at
// each \n; `at` is where the line that is begun already has come.
static void print_wrapped(FILE *out, const char *text, int from, int at) {
    if (from > 0 && at > from - 2) {
        fputc('\n', out);
        at = 0;
    }
    bool first = true;
    for (const char *word = text; *word;) {
        int bytes = (int)strcspn(word, " \n");
        if (*word == '\n' || (!first && at + 1 + bytes > HELP_COLUMNS)) {
            fputc('\n', out);
            at = 0;
            first = true;
        }
        int blanks = first ? from - at : 1;
        if (bytes > 0) fprintf(out, "%*s%.*s", blanks, "", bytes, word);
        if (bytes > 0) at += blanks + bytes;
        first = first && bytes == 0;
        word += bytes ? bytes : 1;
        if (*word == ' ') word++;
    }
    fputc('\n', out);
}

static void print_row(FILE *out, const char *left, const char *text) {
    fputs(left, out);
    print_wrapped(out, text, TEXT_COLUMN, (int)strlen(left));
}

static void print_option(FILE *out, const option *o) {
    char left[80], text[400], letter[5] = "    ";
    if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
    const char *value = option_value(o);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, o->name, *value ? " " : "", value);
    if (o->usual != 0) snprintf(text, sizeof text, "%s (default %.9g)", o->help, o->usual);
    else snprintf(text, sizeof text, "%s", o->help);
    print_row(out, left, text);
}

static void print_options(FILE *out, const verb *v, const char *title, option_scope first,
                          option_scope last) {
    bool any = false;
    for (uint32_t i = 0; i < command_option_count; i++) {
        const option *o = &command_options[i];
        if (o->scope < first || o->scope > last || !takes_option(v, o)) continue;
        if (!any) fprintf(out, "\n%s:\n", title);
        any = true;
        print_option(out, o);
    }
}

static void print_verb_help(FILE *out, const verb *v) {
    fprintf(out, "usage: hyperion %s %s [OPTION...]\n\n", v->name, v->arguments);
    char text[600];
    snprintf(text, sizeof text, "%c%s.%s%s", v->help[0] - 'a' + 'A', v->help + 1,
             *v->more ? " " : "", v->more);
    print_wrapped(out, text, 0, 0);
    print_options(out, v, "options", SCOPE_COMMAND, SCOPE_COMMAND);
    print_options(out, v, "answer", SCOPE_ANSWER, SCOPE_SAMPLING);
    print_options(out, v, "engine", SCOPE_ENGINE, SCOPE_SESSION);
}

void print_help(FILE *out, const verb *v) {
    if (v) {
        print_verb_help(out, v);
        return;
    }
    fprintf(out, "%s\ncommands:\n", help_begin);
    for (uint32_t i = 0; i < command_verb_count; i++) {
        char left[80];
        snprintf(left, sizeof left, "  %s %s", command_verbs[i].name, command_verbs[i].arguments);
        print_row(out, left, command_verbs[i].help);
    }
    fputs("\noptions:\n", out);
    for (uint32_t i = 0; i < command_option_count; i++)
        if (!strcmp(command_options[i].name, "help") || !strcmp(command_options[i].name, "version"))
            print_option(out, &command_options[i]);
    fprintf(out, "\n%s", help_end);
}
