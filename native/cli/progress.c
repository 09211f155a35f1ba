// A bar on standard error while something goes on, where that is a terminal: in its width, and gone
// when it is at its end or anything else is written. As glue/cli/progress.js.
#include "cli.h"

#include "../../src/port.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    LOOK_MS = 50,     // between two looks
    FIGURES_MS = 500, // before that rate and rest are guesses
    SMOOTH_MS = 2000, // what the rate is a mean of, about
    LEAST = 10,       // columns of the bar itself
    MOST = 32
};
enum { AMOUNT, LAYERS, RATE, REST, FIGURES };

static const char *at_work = ""; // what the bar is of
static double start_ms, looked_ms, rate_per_s;
static uint64_t looked_done;
static bool drawn;

static int columns(void) {
    struct winsize size;
    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col ? size.ws_col : 80;
}

static uint64_t divided_up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

static void print_rest(char *to, size_t size, double seconds) {
    uint64_t whole = (uint64_t)seconds;
    if ((double)whole < seconds) whole++;
    uint64_t minutes = divided_up(whole, 60);
    if (seconds < 99.5) snprintf(to, size, "%llu s left", (unsigned long long)whole);
    else if (minutes < 100) snprintf(to, size, "%llu min left", (unsigned long long)minutes);
    else snprintf(to, size, "%llu h left", (unsigned long long)divided_up(minutes, 60));
}

// What is shown behind the bar, in order; "": nothing.
static void print_figures(char to[FIGURES][48], const progress *p, double rate) {
    if (p->bytes) {
        bool large = p->total >= 1000000000;
        double unit = large ? 1e9 : 1e6;
        int digits = large ? 2 : 1;
        snprintf(to[AMOUNT], 48, "%.*f of %.*f %s", digits, (double)p->done / unit, digits,
                 (double)p->total / unit, large ? "GB" : "MB");
        if (rate > 0) snprintf(to[RATE], 48, "%.1f MB/s", rate / 1e6);
    } else
        snprintf(to[AMOUNT], 48, "%llu of %llu", (unsigned long long)p->done,
                 (unsigned long long)p->total);
    if (p->layers) snprintf(to[LAYERS], 48, "layer %u/%u", p->layers_ready, p->layers);
    if (rate > 0) print_rest(to[REST], 48, (double)(p->total - p->done) / rate);
}

// One line, shorter than the terminal is wide: what does not fit is left out, the least telling
// first.
static void draw(const progress *p, double rate) {
    int room = columns() - 1; // in the last column some terminals begin a new line
    double share = p->total ? (double)p->done / (double)p->total : 1;
    int used = 5; // of the percentage
    if (used > room) return;
    int what = (int)strlen(p->what) + 1;
    if (used + what > room) what = 0;
    used += what;
    char figures[FIGURES][48] = {"", "", "", ""};
    print_figures(figures, p, rate);
    static const int order[FIGURES] = {AMOUNT, REST, RATE, LAYERS};
    for (int i = 0; i < FIGURES; i++) {
        char *text = figures[order[i]];
        int more = (int)strlen(text) + 2;
        if (used + more + LEAST + 3 > room) text[0] = 0;
        else if (text[0]) used += more;
    }
    int width = room - used - 3 < MOST ? room - used - 3 : MOST;
    int full = (int)(share * width);
    const char *fill = dim()[0] ? "\033[36m" : "";
    fprintf(stderr, "\r%.*s%s", what ? what - 1 : 0, p->what, what ? " " : "");
    if (width >= LEAST)
        fprintf(stderr, "[%s%.*s%s%s%.*s%s] ", fill, full,
                "================================", undim(), dim(), width - full,
                "--------------------------------", undim());
    fprintf(stderr, "%3d %%%s", (int)(share * 100), dim());
    for (int i = 0; i < FIGURES; i++)
        if (figures[i][0]) fprintf(stderr, "  %s", figures[i]);
    fprintf(stderr, "%s\033[K", undim());
}

void clear_bar(void) {
    if (drawn) fputs("\r\033[K", stderr);
    drawn = false;
}

void progress_bar(const progress *p) {
    const char *terminal = getenv("TERM");
    if (!isatty(STDERR_FILENO) || (terminal && !strcmp(terminal, "dumb"))) return;
    double now = (double)hyp_port_now_ns() / 1e6;
    if (strcmp(p->what, at_work) != 0 || p->done < looked_done) {
        at_work = p->what;
        start_ms = now;
        looked_ms = rate_per_s = 0;
        looked_done = p->done;
    }
    if (p->done >= p->total) {
        clear_bar();
        return;
    }
    double passed = now - looked_ms;
    if (looked_ms > 0 && passed < LOOK_MS) return;
    if (looked_ms > 0) {
        double rate = (double)(p->done - looked_done) * 1000 / passed;
        rate_per_s += rate_per_s > 0 ? (rate - rate_per_s) * passed / (passed + SMOOTH_MS) : rate;
    }
    looked_ms = now;
    looked_done = p->done;
    drawn = true;
    draw(p, now - start_ms < FIGURES_MS ? 0 : rate_per_s);
}
