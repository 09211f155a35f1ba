// A file that the command line writes. Its name appears only when it is whole, and then takes the
// place of what was there in one step: a reader sees the old file or the new one, never a part. So
// an output may be one of the inputs, also through links, and of two writers of one name the last
// one wins.
//
// The bytes go into a temporary file of an own name in the same folder (.hyperion-PID-N.partial),
// which failures and signals remove. A device or a pipe is written to directly.
#ifndef HYP_NATIVE_OUTPUT_H
#define HYP_NATIVE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { OUTPUT_PATH_BYTES = 4096 };

typedef struct output {
    FILE *file;
    bool direct;
    char path[OUTPUT_PATH_BYTES]; // of the file that will be replaced: where links lead
    uint64_t bytes;
    int error; // what went wrong first, as errno; 0: nothing
} output;

// Begins; one at a time. The new file gets the permissions of the one that it replaces, else those
// of umask. All three are false, with `error` set, when something failed. May block: a pipe waits
// for its reader.
bool output_open(output *out, const char *path);
bool output_write(output *out, const void *data, size_t bytes);
bool output_close(output *out); // gives the file its name, or removes what there is of it
void output_discard(output *out);

// A handler of signals that end the process: removes the temporary file first. The process dies of
// the signal, so that a shell sees 128 + its number.
void output_end_by_signal(int signal_number);

#endif
