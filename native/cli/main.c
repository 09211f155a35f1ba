// hyperion: the command line over the native core. The same verbs and options as the Node one,
// glue/cli/main.js: commands.def has them.
#include "cli.h"

#include <fcntl.h>
#include <unistd.h>

// Calls `handler`, unless whoever started this process wants the signal ignored (nohup).
static void on_signal(int signal_number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler}, before;
    if (!sigaction(signal_number, NULL, &before) && before.sa_handler != SIG_IGN)
        sigaction(signal_number, &action, NULL);
}

int verb_completion(const options *o, int argc, char **argv) {
    (void)o;
    (void)argc;
    if (print_completion(stdout, argv[0])) return 0;
    return usage_error(NULL, "there is no completion for '%s': bash, zsh or fish", argv[0]);
}

static int command(int argc, char **argv) {
    arguments a;
    if (!read_arguments(&a, argc, argv)) return EXIT_USAGE;
    const command_config *own = &a.options.own;
    if (own->help) {
        print_help(stdout, a.verb);
        return 0;
    }
    if (own->version) {
        puts("hyperion " HYPERION_VERSION);
        return 0;
    }
    if (!a.verb) {
        print_help(stderr, NULL);
        return EXIT_USAGE;
    }
    if (own->artefact != ARTEFACT_AUTO)
        return usage_error(a.verb,
                           "--artefact is of the WebAssembly engine; this is the native one");
    if (own->manifest)
        return usage_error(a.verb, "--manifest is of the command of the package; this one has no "
                                   "network, and checks what it takes out of the cache");
    return a.verb->run(&a.options, a.count, a.values);
}

int main(int argc, char **argv) {
    // A closed descriptor would be given to the next file that is opened: a model would be read as
    // the prompt, or written over.
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return 1;
    on_signal(SIGINT, on_interrupt);
    on_signal(SIGTERM, output_end_by_signal);
    on_signal(SIGHUP, output_end_by_signal);
    signal(SIGXFSZ, SIG_IGN); // a limit on files is an error like a full disk
    return end_output(command(argc, argv));
}
