// What the command line's files share: a file per subject, verbs at their ends.
#ifndef HYP_NATIVE_CLI_H
#define HYP_NATIVE_CLI_H

#include "commands.h"
#include "output.h"

#include <signal.h>

#define HYP_VERB(name, ...) int verb_##name(const options *o, int argc, char **argv);
#include "commands.def"

// ---- terminal.c: standard input, output and error

extern volatile sig_atomic_t interrupted; // looked at wherever something goes on for long
extern int stdout_error; // what could not be written to standard output first, as errno; 0: nothing

void on_interrupt(int signal_number); // a handler; the second time is the end
// False: it could not be written, see stdout_error.
bool flush_stdout(void);
void print_line(hyp_text text); // and its end
// What has been printed may fail only now: an answer that is nowhere is no success. Gives the exit
// code; `code` is the one so far.
int end_output(int code);
const char *dim(void); // around figures on standard error, where it shows colours; else ""
const char *undim(void);
// The argument itself, or standard input for "-" and for none; NULL when it can not be read. The
// caller frees it.
char *text_argument(const char *argument, size_t *bytes);
int not_read(void); // says so; both return the exit code
// The file's bytes, which the caller frees; NULL, with the reason said, when it can not be read.
char *read_whole(const char *path, size_t *bytes);

// ---- progress.c: a bar on standard error

typedef struct progress {
    const char *what; // goes on: a literal
    uint64_t done, total;
    bool bytes;                    // done and total are bytes, and not things
    uint32_t layers_ready, layers; // of a model that is being loaded; 0: it has not said
} progress;

void progress_bar(const progress *p); // draws it anew; away when all is done
void clear_bar(void);                 // before anything else is written

// ---- model.c: what the verbs open

enum { MAX_SHARDS = 512 };

typedef struct opened { // a file, or the parts of a split model
    hyp_source sources[MAX_SHARDS];
    uint32_t shards;
    hyp_model *model;
    bool quiet; // no bar while it loads
} opened;

typedef struct loaded {
    hyp_engine *engine;
    opened main, other; // other: a draft model, or a reference
    double load_s;      // of the main one
} loaded;

bool open_sources(opened *file, const char *path);
// An engine with a model, and with another one where `other` is not NULL. All three return the exit
// code; what is open is unload's to close, also after a failure.
int load(loaded *l, const options *o, const char *path, const char *other);
int unload(loaded *l, int code);
int failed(const loaded *l, hyp_status status); // says what
// The options' session, with the draft model.
hyp_session_config session_config(const loaded *l, const options *o);

// ---- files.c: what the verbs write

int not_written(const char *path, const output *out); // says so
typedef struct written {
    output out;
    const options *o;
} written;
// Writes a file by `write`; its name appears only when it is whole. `write` may say more of it in
// *json, borrowed. Returns the exit code.
int write_file(const loaded *l, const options *o, const char *path,
               hyp_status (*write)(const hyp_writer *out, void *context, hyp_text *json),
               void *context);
// Saves a session, as write_file does; says nothing but what went wrong. Returns the exit code.
int write_state(const loaded *l, const char *path, const hyp_session *session);

#endif
