// hyperion: the command line over the native core. The same verbs and options as the Node one in
// glue/cli.js.
#include "../src/base/bytes.h"
#include "../src/gguf/gguf.h"
#include "../src/hyperion/hyperion.h"
#include "../src/port.h"
#include "../src/text/unicode.h"
#include "chat_format.h"
#include "output.h"
#include "values.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, MAX_SHARDS = 512 };
// What JavaScript's numbers hold exactly: a seed means the same text everywhere.
#define SEED_MOST (((uint64_t)1 << 53) - 1)

static const char help[] =
    "hyperion: run quantized language models\n"
    "\n"
    "usage:\n"
    "  hyperion run MODEL [PROMPT]        continue a text (PROMPT '-': read it from standard "
    "input)\n"
    "  hyperion chat MODEL [MESSAGE]      talk to a model that has a chat template; without "
    "MESSAGE, turn by turn\n"
    "  hyperion tokenize MODEL [TEXT]     show the tokens of a text\n"
    "  hyperion info MODEL                show metadata and tensors\n"
    "  hyperion bench MODEL               measure prompt and answer speed\n"
    "  hyperion quantize IN OUT FORMAT    write the model in another format: q4_k, q6_k, q8_0, f16 "
    "...\n"
    "  hyperion prune IN OUT              write it in q4_0 with only part of its weights, as "
    "sparse matrices where they are smaller\n"
    "  hyperion calibrate MODEL TEXT [OUT]  measure on a text what each column counts for (OUT: "
    "MODEL's name with .imatrix.gguf)\n"
    "  hyperion perplexity MODEL TEXT     perplexity of a text, one line or story at a time with "
    "--lines\n"
    "\n"
    "MODEL is a GGUF file; of a split model, its first part.\n"
    "\n"
    "sampling:\n"
    "  -n, --max-tokens N        stop after N tokens (default 256)\n"
    "  -t, --temperature X       0 always takes the likeliest token (default 0.7)\n"
    "  -k, --top-k N             choose among the N likeliest\n"
    "  -p, --top-p X             choose among the likeliest that make up X of the probability\n"
    "      --min-p X             drop tokens below X times the likeliest one's probability\n"
    "      --typical-p X         locally typical sampling\n"
    "      --repeat-penalty X    discourage tokens of the last 64 (1: off)\n"
    "      --frequency-penalty X, --presence-penalty X\n"
    "      --mirostat TAU        mirostat 2 with that target surprise in bits\n"
    "  -s, --seed N              same seed, same text, on every platform (default 0)\n"
    "      --stop TEXT           end the answer before TEXT; may be repeated\n"
    "\n"
    "engine:\n"
    "  -c, --context N           tokens of prompt and answer together\n"
    "      --threads N           threads that compute (default: one for each processor)\n"
    "      --lookup N            guess up to N tokens ahead from the text itself; the answer is "
    "the same, sooner where it repeats\n"
    "      --draft MODEL         let a smaller model of the same vocabulary guess; the answer is "
    "the same, sooner where it is right\n"
    "      --memory SIZE         limit for weights, cache and buffers, as 500MB or 2GB\n"
    "      --cache f16|q8_0      format of the KV cache (default f16)\n"
    "      --system TEXT         chat: the system message\n"
    "      --lines               perplexity, calibrate: every line is a text of its own\n"
    "      --against MODEL       perplexity: the mean divergence from another model's predictions, "
    "too\n"
    "      --imatrix FILE        quantize, prune: what calibrate has written\n"
    "      --density X           prune: the part of the weights that stays (default 0.5)\n"
    "      --profile             bench: time, bytes and multiply-adds of each operation and layer\n"
    "      --trace FILE          bench: the last steps, for Perfetto or chrome://tracing\n"
    "      --parse-special       tokenize: read special tokens in the text\n"
    "      --json                one JSON object instead of text for people\n"
    "  -q, --quiet               no progress and no figures\n"
    "\n"
    "OUT, and FILE of --trace, take the place of what was there when they are whole, also of IN;\n"
    "a device or a pipe is written to directly.\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; after another signal 128 + its\n"
    "number (SIGTERM 143, SIGHUP 129)\n";

typedef struct options {
    uint32_t max_tokens, context, threads, lookup;
    size_t memory;
    hyp_cache cache;
    hyp_sampling sampling;
    hyp_text stops[HYP_STOPS_MAX];
    uint32_t stop_count;
    const char *system, *trace, *imatrix, *against, *draft;
    float density;
    bool profile, lines, parse_special, json, quiet;
} options;

typedef struct loaded {
    hyp_engine *engine;
    hyp_model *model, *draft;
    hyp_source sources[MAX_SHARDS], draft_source;
    uint32_t shards;
    double load_s;
} loaded;

static volatile sig_atomic_t interrupted;
// The first time it is looked at wherever something goes on for long; the second time is the end.
static void on_interrupt(int signal_number) {
    if (interrupted) output_end_by_signal(signal_number);
    interrupted = 1;
}

// Calls `handler`, unless whoever started this process wants the signal ignored (nohup).
static void on_signal(int signal_number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler}, before;
    if (!sigaction(signal_number, NULL, &before) && before.sa_handler != SIG_IGN)
        sigaction(signal_number, &action, NULL);
}

// What could not be written to standard output first, as errno; 0: nothing.
static int stdout_error;
static bool flush_stdout(void) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    if (!stdout_error) stdout_error = errno ? errno : EIO;
    return false;
}

// What has been printed may fail only now: an answer that is nowhere is no success. A reader that
// has gone is none of our business.
static int end_output(int code) {
    if (flush_stdout() && fclose(stdout) == 0) return code;
    if (!stdout_error) stdout_error = errno;
    if (stdout_error == EPIPE) return code;
    fprintf(stderr, "hyperion: can not write to standard output: %s\n", strerror(stdout_error));
    return code ? code : 1;
}

static bool colour(void) { return isatty(STDERR_FILENO) && !getenv("NO_COLOR"); }

static int usage_error(const char *message, const char *what) {
    fprintf(stderr, "hyperion: %s%s%s\ntry 'hyperion --help'\n", message, what ? " " : "",
            what ? what : "");
    return EXIT_USAGE;
}

static int failed(const loaded *l, hyp_status status) {
    fprintf(stderr, "hyperion: %s (%s)\n", hyp_engine_error(l->engine), hyp_status_name(status));
    return status == HYP_E_CANCELLED ? 130 : 1;
}

static void progress_bar(const char *what, uint64_t done, uint64_t total) {
    static uint64_t last;
    uint64_t now = hyp_port_now_ns();
    if (!isatty(STDERR_FILENO) || (done < total && now - last < 50000000)) return;
    last = now;
    int width = 32, full = total ? (int)(done * (uint64_t)width / total) : width;
    fprintf(stderr, "\r%s [%.*s%*s] %3d%%", what, full, "################################",
            width - full, "", total ? (int)(done * 100 / total) : 100);
    if (done == total) fputs("\r\033[K", stderr);
}

static bool loading(void *context, uint64_t done, uint64_t total) {
    if (!((const options *)context)->quiet) progress_bar("loading", done, total);
    return !interrupted;
}

static bool open_source(const char *path, hyp_source *source) {
    if (!hyp_source_open_file(path, source)) return true;
    fprintf(stderr, "hyperion: %s\n", hyp_source_error());
    return false;
}

// Opens `path`, and the other parts when it is the first of a split model (-00001-of-0000N).
static bool open_sources(loaded *l, const char *path) {
    char name[4096];
    size_t length = strlen(path);
    unsigned parts = 1;
    if (length >= sizeof name) return errno = ENAMETOOLONG, false;
    memcpy(name, path, length + 1);
    char *tail = length > 20 ? name + length - 20 : NULL; // -00001-of-00003.gguf
    if (tail && sscanf(tail, "-00001-of-%5u.gguf", &parts) != 1) parts = 1;
    if (parts == 0 || parts > MAX_SHARDS) parts = 1;
    for (unsigned i = 0; i < parts; i++) {
        if (parts > 1) snprintf(tail, 21, "-%05u-of-%05u.gguf", i + 1, parts);
        if (!open_source(name, &l->sources[i])) return false;
        l->shards = i + 1;
    }
    return true;
}

static int load(loaded *l, const options *o, const char *path) {
    *l = (loaded){0};
    if (!open_sources(l, path)) return 1;
    // HYP_ISA_MASK=0 asks for the scalar kernels; a mask of 0 would mean all, so a bit that no
    // kernel has goes with it.
    l->engine = hyp_engine_create(&(hyp_engine_config){
        .memory_bytes = o->memory,
        .isa_mask = getenv("HYP_ISA_MASK")
                        ? (uint32_t)strtoul(getenv("HYP_ISA_MASK"), NULL, 0) | 1u << 31
                        : 0,
        .threads = o->threads});
    if (!l->engine) return fputs("hyperion: not enough memory for the engine\n", stderr), 1;
    uint64_t start = hyp_port_now_ns();
    hyp_status status = hyp_model_open(
        l->engine, l->sources, l->shards,
        &(hyp_model_config){
            .context = o->context, .progress = loading, .progress_context = (void *)(uintptr_t)o},
        &l->model);
    l->load_s = (double)(hyp_port_now_ns() - start) / 1e9;
    if (!status && o->draft) {
        if (!open_source(o->draft, &l->draft_source)) return 1;
        status = hyp_model_open(l->engine, &l->draft_source, 1,
                                &(hyp_model_config){.context = o->context}, &l->draft);
        if (!status) hyp_model_stop_workers(l->draft); // its workers: it is small
    }
    return status ? failed(l, status) : 0;
}

static int unload(loaded *l, int code) {
    hyp_model_close(l->draft);
    hyp_model_close(l->model);
    hyp_engine_destroy(l->engine);
    if (l->draft) hyp_source_close(&l->draft_source);
    for (uint32_t i = 0; i < l->shards; i++) hyp_source_close(&l->sources[i]);
    return code;
}

// The argument itself, or standard input for "-" and for none; NULL when it can not be read. The
// caller frees it.
static char *text_argument(const char *argument, size_t *bytes) {
    if (argument && strcmp(argument, "-") != 0) {
        *bytes = strlen(argument);
        return strdup(argument);
    }
    char *text = NULL;
    size_t used = 0, size = 0, n;
    do {
        if (size - used < 65536) text = realloc(text, size = size * 2 + 131072);
        if (!text) return NULL;
        n = fread(text + used, 1, size - used - 1, stdin);
        used += n;
    } while (n > 0);
    text[used] = 0;
    *bytes = used;
    if (!ferror(stdin)) return text;
    free(text); // a part of it would be another text
    return NULL;
}

static int not_read(void) {
    if (interrupted) return 130;
    fprintf(stderr, "hyperion: can not read the text: %s\n", strerror(errno));
    return 1;
}

// What the engine runs on: threads, fibers, pages of weights, blocks.
static void runtime_line(const loaded *l) {
    hyp_engine_stats m = hyp_engine_get_stats(l->engine);
    hyp_residency r = hyp_model_residency(l->model);
    hyp_workers h = hyp_model_workers(l->model);
    fprintf(stderr, "%s%u thread%s", colour() ? "\033[2m" : "", h.threads,
            h.threads == 1 ? "" : "s");
    if (h.tiles)
        fprintf(stderr, " (workers computed %llu %% of what was shared)",
                (unsigned long long)(h.by_workers * 100 / h.tiles));
    fprintf(stderr, ", %u fiber%s (%s, %llu switches), %u of %u weight pages resident (%.1f MB",
            m.fibers, m.fibers == 1 ? "" : "s", m.policy, (unsigned long long)m.switches, r.present,
            r.pages, (double)r.present_bytes / 1e6);
    if (r.resident < r.pages)
        fprintf(stderr, ", %u frames for the rest, %.1f MB read", r.frames,
                (double)r.filled_bytes / 1e6);
    fprintf(stderr, "), %zu slab blocks%s\n", m.blocks, colour() ? "\033[0m" : "");
}

// Generates from the text's tokens; prints pieces as they come, or collects them into *answer
// (freed by the caller) as well.
static int answer(loaded *l, hyp_session *session, const options *o, const int32_t *tokens,
                  uint32_t count, char **collected) {
    hyp_status status = hyp_session_begin(session, tokens, count, &o->sampling, o->stops,
                                          o->stop_count);
    if (status) return failed(l, status);
    uint32_t left = count, made = 0;
    while (left && !interrupted) {
        if ((status = hyp_session_prefill(session, &left))) return failed(l, status);
        if (!o->quiet && count > 256) progress_bar("reading the prompt", count - left, count);
    }
    char *text = NULL;
    size_t used = 0;
    hyp_piece piece = {.finish = HYP_FINISH_NONE};
    while (made < o->max_tokens && !interrupted && !piece.finish && !stdout_error) {
        if ((status = hyp_session_next(session, &piece))) return free(text), failed(l, status);
        made++;
        if (!o->json) {
            fwrite(piece.text, 1, piece.bytes, stdout);
            flush_stdout();
        }
        text = realloc(text, used + piece.bytes + 1);
        memcpy(text + used, piece.text, piece.bytes);
        used += piece.bytes;
    }
    if (!piece.finish) {
        const char *rest;
        size_t bytes;
        hyp_session_flush(session, &rest, &bytes);
        if (!o->json) fwrite(rest, 1, bytes, stdout);
        text = realloc(text, used + bytes + 1);
        memcpy(text + used, rest, bytes);
        used += bytes;
    }
    if (!text) text = calloc(1, 1);
    text[used] = 0;
    hyp_session_stats s = hyp_session_get_stats(session);
    hyp_engine_stats m = hyp_engine_get_stats(l->engine);
    double prompt_rate = s.prompt_ns ? s.prompt_tokens / ((double)s.prompt_ns / 1e9) : 0,
           answer_rate = s.answer_ns ? s.answer_tokens / ((double)s.answer_ns / 1e9) : 0;
    static const char *const reasons[] = {"length", "end", "stop", "context"};
    if (o->json) {
        printf("{\"text\":");
        json_string(stdout, text, used);
        printf(",\"finish\":\"%s\",\"promptTokens\":%u,\"answerTokens\":%u,", reasons[piece.finish],
               s.prompt_tokens, s.answer_tokens);
        json_real(stdout, "promptTokensPerSecond", prompt_rate, 2);
        putchar(',');
        json_real(stdout, "answerTokensPerSecond", answer_rate, 2);
        printf(",\"memoryPeakBytes\":%zu,\"kernels\":\"%s\"}\n", m.peak_bytes,
               hyp_engine_kernels(l->engine));
    } else {
        fputs("\n", stdout);
        flush_stdout();
        if (!o->quiet)
            fprintf(stderr,
                    "%s%u prompt tokens at %.1f/s, %u tokens at %.1f/s, %.1f MB at most, %s "
                    "kernels%s\n",
                    colour() ? "\033[2m" : "", s.prompt_tokens, prompt_rate, s.answer_tokens,
                    answer_rate, (double)m.peak_bytes / 1e6, hyp_engine_kernels(l->engine),
                    colour() ? "\033[0m" : "");
        if (!o->quiet) runtime_line(l);
    }
    if (collected) *collected = text;
    else free(text);
    return interrupted ? 130 : 0;
}

static hyp_status new_session(loaded *l, const options *o, hyp_session **session) {
    hyp_session_config config = {
        .context = o->context, .lookup = o->lookup, .draft = l->draft, .cache = o->cache};
    return hyp_session_create(l->model, &config, session);
}

static int verb_run(const options *o, int argc, char **argv) {
    if (argc < 1 || argc > 2) return usage_error("run takes a model and a prompt", NULL);
    loaded l;
    hyp_session *session = NULL;
    int code = load(&l, o, argv[0]);
    if (code) return unload(&l, code);
    size_t bytes;
    char *prompt = text_argument(argc > 1 ? argv[1] : isatty(STDIN_FILENO) ? "" : "-", &bytes);
    if (!prompt) return unload(&l, not_read());
    const int32_t *tokens;
    uint32_t count;
    hyp_status status = hyp_model_tokenize(l.model, prompt, bytes, HYP_TEXT_ADD_SPECIAL, &tokens,
                                           &count);
    if (!status) status = new_session(&l, o, &session);
    if (status) code = failed(&l, status);
    else {
        if (!o->json && bytes) {
            fwrite(prompt, 1, bytes, stdout);
            flush_stdout();
        }
        code = answer(&l, session, o, tokens, count, NULL);
    }
    free(prompt);
    hyp_session_destroy(session);
    return unload(&l, code);
}

static void append(char **text, const char *more) {
    size_t n = *text ? strlen(*text) : 0;
    *text = realloc(*text, n + strlen(more) + 1);
    strcpy(*text + n, more);
}

static int verb_chat(const options *o, int argc, char **argv) {
    if (argc < 1 || argc > 2) return usage_error("chat takes a model and perhaps a message", NULL);
    loaded l;
    hyp_session *session = NULL;
    int code = load(&l, o, argv[0]);
    if (code) return unload(&l, code);
    size_t bytes = 0;
    const char *template_text = hyp_model_metadata(l.model, "tokenizer.chat_template", &bytes);
    const chat_format *format = template_text ? chat_format_of(template_text, bytes) : NULL;
    if (!format) {
        fputs(template_text ? "hyperion: this model's chat template is not one that the native "
                              "command line knows; the Node one renders any\n"
                            : "hyperion: this model has no chat template; use 'run'\n",
              stderr);
        return unload(&l, 1);
    }
    hyp_status status = new_session(&l, o, &session);
    if (status) return unload(&l, failed(&l, status));
    char *text = NULL, *line = NULL;
    size_t line_size = 0;
    append(&text, hyp_model_get_info(l.model).adds_bos ? "" : format->begin);
    if (o->system)
        append(&text, format->system[0]), append(&text, o->system),
            append(&text, format->system[1]);
    for (bool more = true; more && !code;) {
        const char *message = argc > 1 ? argv[1] : NULL;
        if (!message) {
            if (isatty(STDIN_FILENO)) fputs("> ", stderr);
            ssize_t n = getline(&line, &line_size, stdin);
            if (n <= 0) {
                if (interrupted) code = 130;
                break;
            }
            if (line[n - 1] == '\n') line[n - 1] = 0;
            message = line;
        } else more = false;
        append(&text, format->user[0]), append(&text, message), append(&text, format->user[1]),
            append(&text, format->answer[0]);
        const int32_t *tokens;
        uint32_t count;
        status = hyp_model_tokenize(l.model, text, strlen(text),
                                    HYP_TEXT_ADD_SPECIAL | HYP_TEXT_PARSE_SPECIAL, &tokens, &count);
        if (status) {
            code = failed(&l, status);
            break;
        }
        char *said = NULL;
        code = answer(&l, session, o, tokens, count, &said);
        if (said) append(&text, said);
        free(said);
        append(&text, format->answer[1]);
    }
    free(text);
    free(line);
    hyp_session_destroy(session);
    return unload(&l, code);
}

static int verb_tokenize(const options *o, int argc, char **argv) {
    if (argc < 1 || argc > 2) return usage_error("tokenize takes a model and a text", NULL);
    loaded l;
    int code = load(&l, o, argv[0]);
    if (code) return unload(&l, code);
    size_t bytes;
    char *text = text_argument(argc > 1 ? argv[1] : NULL, &bytes);
    if (!text) return unload(&l, not_read());
    const int32_t *tokens;
    uint32_t count;
    hyp_status status = hyp_model_tokenize(
        l.model, text, bytes,
        HYP_TEXT_ADD_SPECIAL | (o->parse_special ? HYP_TEXT_PARSE_SPECIAL : 0), &tokens, &count);
    free(text);
    if (status) return unload(&l, failed(&l, status));
    int32_t *copy = malloc((count + 1) * sizeof *copy);
    memcpy(copy, tokens, count * sizeof *copy);
    if (o->json) printf("{\"tokens\":[");
    for (uint32_t i = 0; i < count && !status; i++) {
        if (o->json) {
            printf("%s%d", i ? "," : "", copy[i]);
            continue;
        }
        const char *piece;
        size_t n;
        status = hyp_model_detokenize(l.model, copy + i, 1, HYP_TEXT_PARSE_SPECIAL, &piece, &n);
        printf("%8d  ", copy[i]);
        json_string(stdout, piece, n);
        putchar('\n');
    }
    if (o->json) printf("]}\n");
    free(copy);
    return unload(&l, status ? failed(&l, status) : 0);
}

static int info_table(loaded *l) {
    static hyp_gguf gguf;
    static hyp_budget budget;
    static hyp_fault fault;
    hyp_status status = hyp_gguf_open(&gguf, &budget, l->sources, l->shards, &fault);
    if (status) {
        fprintf(stderr, "hyperion: %s (%s)\n", fault.text, hyp_status_name(status));
        hyp_gguf_deinit(&gguf);
        return 1;
    }
    printf("GGUF version %u\n\nmetadata\n", gguf.version);
    for (uint32_t i = 0; i < hyp_gguf_kv_count(&gguf); i++) {
        const hyp_gguf_kv *kv = hyp_gguf_kv_at(&gguf, i);
        hyp_text key = hyp_gguf_key(&gguf, kv);
        printf("  %-44.*s ", (int)key.bytes, key.data);
        if (kv->type == HYP_GGUF_STRING) {
            const char *text = hyp_gguf_value(&gguf, kv);
            size_t shown = kv->bytes > 60 ? 60 - hyp_rune_unfinished(text, 60) : (size_t)kv->bytes;
            json_string(stdout, text, shown);
            puts(shown < kv->bytes ? " ..." : "");
        } else if (kv->type == HYP_GGUF_ARRAY)
            printf("[%llu %s]\n", (unsigned long long)kv->count,
                   kv->element == HYP_GGUF_STRING ? "texts" : "numbers");
        else if (kv->type == HYP_GGUF_BOOL)
            puts(hyp_gguf_number(&gguf, kv, 0) != 0 ? "true" : "false");
        else printf("%.9g\n", hyp_gguf_number(&gguf, kv, 0));
    }
    printf("\ntensors\n  %-32s %-6s %22s %12s\n", "name", "type", "shape", "bytes");
    uint64_t parameters = 0, bytes = 0;
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(&gguf); i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(&gguf, i);
        hyp_text name = hyp_gguf_tensor_name(&gguf, t);
        char shape[96] = "";
        for (uint32_t d = 0; d < t->dims; d++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%llu", d ? " x " : "",
                     (unsigned long long)t->dim[d]);
        printf("  %-32.*s %-6s %22s %12llu\n", (int)name.bytes, name.data, hyp_format_name(t->type),
               shape, (unsigned long long)t->bytes);
        parameters += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        bytes += t->bytes;
    }
    printf("\n%u tensors, %.2f M parameters, %.2f MB", hyp_gguf_tensor_count(&gguf),
           (double)parameters / 1e6, (double)bytes / 1e6);
    if (parameters) printf(", %.2f bits per weight", (double)bytes * 8 / (double)parameters);
    putchar('\n');
    hyp_gguf_deinit(&gguf);
    return 0;
}

static int verb_info(const options *o, int argc, char **argv) {
    if (argc != 1) return usage_error("info takes a model", NULL);
    loaded l = {0};
    if (!open_sources(&l, argv[0])) return 1;
    if (!o->json) return unload(&l, info_table(&l));
    l.engine = hyp_engine_create(NULL);
    const char *json;
    size_t bytes;
    hyp_status status = hyp_engine_inspect(l.engine, l.sources, l.shards, &json, &bytes);
    if (!status) fwrite(json, 1, bytes, stdout), putchar('\n');
    return unload(&l, status ? failed(&l, status) : 0);
}

static int by_value(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

enum { PROMPT = 126, ANSWER = 64, RUNS = 5, NAMES = 16, LAYERS = 256 };

// A phase of a step's work: time by operation and by layer, and the last step on the way to a
// trace.
typedef struct phase {
    struct {
        const char *name;
        uint64_t ns, bytes, macs;
    } by_name[NAMES];
    uint32_t names, layers;
    uint64_t by_layer[LAYERS], total;
} phase;

static phase collect(const hyp_session *session) {
    phase p = {0};
    hyp_operation o;
    for (uint32_t i = 0; hyp_session_operation(session, i, &o); i++) {
        uint32_t k = 0;
        while (k < p.names && strcmp(p.by_name[k].name, o.name)) k++;
        if (k == NAMES || !o.ns) continue;
        if (k == p.names) p.by_name[p.names++].name = o.name;
        p.by_name[k].ns += o.ns, p.by_name[k].bytes += o.bytes, p.by_name[k].macs += o.macs;
        p.total += o.ns;
        if (o.layer < LAYERS) {
            p.by_layer[o.layer] += o.ns;
            if (o.layer >= p.layers) p.layers = o.layer + 1;
        }
    }
    return p;
}

static void print_phase(const char *title, const phase *p, uint32_t tokens, hyp_peaks peaks) {
    printf("\n%s, for each token\n  operation           us       %%     GB/s  of peak   GMAC/s  of "
           "peak\n",
           title);
    for (uint32_t k = 0; k < p->names; k++) {
        double ns = (double)p->by_name[k].ns, gb = (double)p->by_name[k].bytes / ns,
               gmac = (double)p->by_name[k].macs / ns;
        printf("  %-12s %9.1f %6.1f%%", p->by_name[k].name, ns / 1e3 / tokens,
               ns * 100 / (double)p->total);
        if (gmac > 0)
            printf(" %8.1f %7.0f%% %8.1f %7.0f%%", gb, gb * 100 / peaks.bytes_per_ns, gmac,
                   gmac * 100 / peaks.macs_per_ns);
        printf("\n");
    }
    printf("  layers, us:");
    for (uint32_t i = 0; i < p->layers; i++)
        printf("%s%6.1f", i % 10 ? " " : "\n   ", (double)p->by_layer[i] / 1e3 / tokens);
    printf("\n");
}

static void print_json(const char *key, const phase *p, uint32_t tokens) {
    printf(",\"%s\":{\"operations\":{", key);
    for (uint32_t k = 0; k < p->names; k++) {
        double ns = (double)p->by_name[k].ns;
        printf("%s\"%s\":{", k ? "," : "", p->by_name[k].name);
        json_real(stdout, "usPerToken", ns / 1e3 / tokens, 2);
        putchar(',');
        json_real(stdout, "gbPerSecond", (double)p->by_name[k].bytes / ns, 2);
        putchar(',');
        json_real(stdout, "gmacPerSecond", (double)p->by_name[k].macs / ns, 2);
        putchar('}');
    }
    printf("},\"layersUsPerToken\":[");
    for (uint32_t i = 0; i < p->layers; i++)
        printf("%s%.2f", i ? "," : "", (double)p->by_layer[i] / 1e3 / tokens);
    printf("]}");
}

static int not_written(const char *path, const output *out) {
    if (interrupted) return 130; // what it waited for was broken off
    fprintf(stderr, "hyperion: can not write %s: %s\n", path, strerror(out->error));
    return 1;
}

// The last step as events of the trace format that Perfetto and Chrome read.
static void trace(output *out, const hyp_session *session, const char *step, bool first) {
    hyp_operation o;
    for (uint32_t i = 0; hyp_session_operation(session, i, &o); i++) {
        if (!o.last_ns) continue;
        char event[256];
        int n = snprintf(event, sizeof event,
                         "%s{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
                         "\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"layer\":%d}}",
                         first ? "" : ",\n", o.name, step, (double)o.began_ns / 1e3,
                         (double)o.last_ns / 1e3, o.layer == UINT32_MAX ? -1 : (int)o.layer);
        output_write(out, event, (size_t)n); // a failure is told by output_close
        first = false;
    }
}

// One more prompt and answer, each looked at by itself.
static hyp_status profile(hyp_session *session, const int32_t *tokens, phase *prompt, phase *answer,
                          hyp_session_stats *stats, output *out) {
    int32_t fresh[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++) fresh[i] = tokens[PROMPT - 1 - i];
    hyp_session_reset_profile(session);
    hyp_status status = hyp_session_begin(session, fresh, PROMPT, NULL, NULL, 0);
    for (uint32_t left = PROMPT; left && !status;) status = hyp_session_prefill(session, &left);
    hyp_piece piece = {.finish = HYP_FINISH_NONE};
    if (!status) status = hyp_session_next(session, &piece); // its logits are the prompt's
    *prompt = collect(session);
    if (out) trace(out, session, "prompt", true);
    hyp_session_reset_profile(session);
    for (uint32_t made = 0; made < ANSWER && !status && !piece.finish; made++)
        status = hyp_session_next(session, &piece);
    *answer = collect(session);
    if (out) trace(out, session, "answer", false);
    *stats = hyp_session_get_stats(session);
    return status;
}

static int verb_bench(const options *o, int argc, char **argv) {
    if (argc != 1) return usage_error("bench takes a model", NULL);
    loaded l;
    hyp_session *session = NULL;
    int code = load(&l, o, argv[0]);
    if (code) return unload(&l, code);
    hyp_model_info facts = hyp_model_get_info(l.model);
    hyp_status status = hyp_session_create(
        l.model,
        &(hyp_session_config){.context = 1024 < facts.context ? 1024 : facts.context,
                              .lookup = o->lookup,
                              .draft = l.draft,
                              .cache = o->cache,
                              .profile = true},
        &session);
    double prompt[RUNS], decode[RUNS];
    int32_t tokens[PROMPT];
    for (int run = -1; run < RUNS && !status && !interrupted; run++) {
        for (uint32_t i = 0; i < PROMPT; i++)
            tokens[i] = (int32_t)((i * 31 + (uint32_t)(run + 1) * 7 + 300) % facts.vocab);
        status = hyp_session_begin(session, tokens, PROMPT, NULL, NULL, 0);
        for (uint32_t left = PROMPT; left && !status;) status = hyp_session_prefill(session, &left);
        hyp_piece piece = {.finish = HYP_FINISH_NONE};
        uint32_t made = 0;
        for (; made < ANSWER && !status && !piece.finish; made++)
            status = hyp_session_next(session, &piece);
        hyp_session_stats s = hyp_session_get_stats(session);
        if (run >= 0)
            prompt[run] = s.prompt_tokens / ((double)s.prompt_ns / 1e9),
            decode[run] = s.answer_tokens / ((double)s.answer_ns / 1e9);
        if (!o->quiet && !o->json) progress_bar("measuring", (uint64_t)run + 1, RUNS - 1);
    }
    phase whole = {0}, reading = {0}, writing = {0};
    hyp_session_stats s = {0};
    hyp_peaks peaks = {0};
    output traced;
    output *out = o->trace ? &traced : NULL;
    if (!status && !interrupted) {
        static const char head[] = "{\"traceEvents\":[\n", foot[] = "\n]}\n";
        whole = collect(session), s = hyp_session_get_stats(session);
        if (out && !output_open(out, o->trace)) {
            hyp_session_destroy(session);
            return unload(&l, not_written(o->trace, out));
        }
        if (out) output_write(out, head, sizeof head - 1);
        if (o->profile || out)
            peaks = hyp_engine_measure(l.engine),
            status = profile(session, tokens, &reading, &writing, &s, out);
        if (out) output_write(out, foot, sizeof foot - 1);
        if (out && status) output_discard(out);
        else if (out && !output_close(out)) code = not_written(o->trace, out);
    }
    if (status) code = failed(&l, status);
    else if (interrupted) code = 130;
    if (!code) {
        qsort(prompt, RUNS, sizeof *prompt, by_value),
            qsort(decode, RUNS, sizeof *decode, by_value);
        hyp_engine_stats m = hyp_engine_get_stats(l.engine);
        hyp_workers workers = hyp_model_workers(l.model);
        uint32_t answered = s.answer_tokens > 1 ? s.answer_tokens - 1
                                                : 1; // the first one's step is the prompt's
        if (o->json) {
            putchar('{');
            json_real(stdout, "promptTokensPerSecond", prompt[RUNS / 2], 2);
            putchar(',');
            json_real(stdout, "answerTokensPerSecond", decode[RUNS / 2], 2);
            printf(",\"loadSeconds\":%.3f,\"memoryPeakBytes\":%zu,"
                   "\"kernels\":\"%s\",\"threads\":%u,\"helped\":%.4f,\"repeated\":%llu,"
                   "\"latencyMs\":{\"p50\":%.3f,\"p90\":%.3f,\"p95\":%.3f,"
                   "\"p99\":%.3f},\"operationMs\":{",
                   l.load_s, m.peak_bytes, hyp_engine_kernels(l.engine), workers.threads,
                   workers.tiles ? (double)workers.by_workers / (double)workers.tiles : 0,
                   (unsigned long long)workers.repeated, (double)s.latency_ns[0] / 1e6,
                   (double)s.latency_ns[1] / 1e6, (double)s.latency_ns[2] / 1e6,
                   (double)s.latency_ns[3] / 1e6);
            for (uint32_t k = 0; k < whole.names; k++)
                printf("%s\"%s\":%.1f", k ? "," : "", whole.by_name[k].name,
                       (double)whole.by_name[k].ns / 1e6);
            printf("}");
            if (o->profile) {
                printf(",\"peaks\":{");
                json_real(stdout, "gbPerSecond", peaks.bytes_per_ns, 2);
                putchar(',');
                json_real(stdout, "gmacPerSecond", peaks.macs_per_ns, 2);
                putchar('}');
                print_json("prompt", &reading, PROMPT), print_json("answer", &writing, answered);
            }
            printf("}\n");
        } else {
            printf("prompt  %8.1f tokens/s  (%d tokens, median of %d)\nanswer  %8.1f tokens/s  (%d "
                   "tokens)\nload    %8.2f s\nmemory  %8.1f "
                   "MB at most\nkernels %8s, %u thread%s\nlatency %8.2f ms at the median, %.2f / "
                   "%.2f / %.2f at the 90th, 95th and 99th "
                   "percentile\n",
                   prompt[RUNS / 2], PROMPT, RUNS, decode[RUNS / 2], ANSWER, l.load_s,
                   (double)m.peak_bytes / 1e6, hyp_engine_kernels(l.engine), workers.threads,
                   workers.threads > 1 ? "s" : "", (double)s.latency_ns[0] / 1e6,
                   (double)s.latency_ns[1] / 1e6, (double)s.latency_ns[2] / 1e6,
                   (double)s.latency_ns[3] / 1e6);
            if (o->profile) {
                printf(
                    "peaks   %8.1f GB/s from memory, %.0f GMAC/s in the first cache, one thread\n",
                    peaks.bytes_per_ns, peaks.macs_per_ns);
                print_phase("prompt", &reading, PROMPT, peaks),
                    print_phase("answer", &writing, answered, peaks);
            }
        }
    }
    hyp_session_destroy(session);
    return unload(&l, code);
}

typedef struct writing {
    output out;
    const options *o;
} writing;
static bool write_out(void *context, const void *data, size_t count) {
    return output_write(&((writing *)context)->out, data, count);
}
static bool converting(void *context, uint64_t done, uint64_t total) {
    if (!((writing *)context)->o->quiet) progress_bar("converting", done, total);
    return !interrupted;
}

// Writes a file by `write`; its name appears only when it is whole. Returns the exit code.
static int write_file(const loaded *l, const options *o, const char *path,
                      hyp_status (*write)(const hyp_writer *out, void *context), void *context) {
    writing w = {.o = o};
    if (!output_open(&w.out, path)) return not_written(path, &w.out);
    hyp_status status = write(&(hyp_writer){write_out, converting, &w}, context);
    if (status) {
        output_discard(&w.out);
        return w.out.error ? not_written(path, &w.out) : failed(l, status);
    }
    if (!output_close(&w.out)) return not_written(path, &w.out);
    if (o->json) printf("{\"bytes\":%llu}\n", (unsigned long long)w.out.bytes);
    else if (!o->quiet) printf("%s: %.2f MB\n", path, (double)w.out.bytes / 1e6);
    return 0;
}

typedef struct conversion {
    loaded *l;
    hyp_quantization how;
} conversion;
static hyp_status write_model(const hyp_writer *out, void *context) {
    conversion *c = context;
    return hyp_engine_quantize(c->l->engine, c->l->sources, c->l->shards, &c->how, out);
}

static int convert(const options *o, char **argv, const char *format, float density) {
    loaded l = {0}, imatrix = {0};
    if (!open_sources(&l, argv[0])) return 1;
    if (o->imatrix && !open_sources(&imatrix, o->imatrix)) return unload(&l, 1);
    l.engine = hyp_engine_create(&(hyp_engine_config){.memory_bytes = o->memory});
    conversion c = {
        &l, {.format = format, .density = density, .imatrix = o->imatrix ? imatrix.sources : NULL}};
    int code = write_file(&l, o, argv[1], write_model, &c);
    unload(&imatrix, 0);
    return unload(&l, code);
}

static int verb_quantize(const options *o, int argc, char **argv) {
    if (argc != 3) return usage_error("quantize takes an input, an output and a format", NULL);
    return convert(o, argv, argv[2], 0);
}

static int verb_prune(const options *o, int argc, char **argv) {
    if (argc != 2) return usage_error("prune takes an input and an output", NULL);
    return convert(o, argv, "q4_0", o->density);
}

// Scores a text file by windows of a whole context, each from an empty cache, a line at a time with
// --lines. `score` is called for each. It tells of failures itself. Both return the exit code.
static int score_file(const loaded *l, const options *o, const char *path, uint32_t context,
                      int (*score)(void *to, const int32_t *tokens, uint32_t count), void *to) {
    if (strcmp(path, "-") != 0 && !freopen(path, "rb", stdin)) {
        fprintf(stderr, "hyperion: can not open %s: %s\n", path, strerror(errno));
        return 1;
    }
    size_t bytes;
    char *text = text_argument(NULL, &bytes);
    if (!text) return not_read();
    int code = 0;
    for (size_t at = 0, next; at < bytes && !code && !interrupted; at = next) {
        const char *end = o->lines ? memchr(text + at, '\n', bytes - at) : NULL;
        next = end ? (size_t)(end - text) + 1 : bytes;
        size_t length = end ? next - at - 1 : bytes - at;
        if (length == 0) continue;
        const int32_t *found;
        uint32_t count;
        hyp_status status = hyp_model_tokenize(l->model, text + at, length, HYP_TEXT_ADD_SPECIAL,
                                               &found, &count);
        if (status) {
            code = failed(l, status);
            break;
        }
        int32_t *tokens = malloc((count + 1) * sizeof *tokens);
        memcpy(tokens, found, count * sizeof *tokens);
        for (uint32_t from = 0, n; from < count && !code && !interrupted; from += n) {
            n = count - from < context ? count - from : context;
            code = score(to, tokens + from, n);
            if (!o->quiet) progress_bar("scoring", at + length * (from + n) / count, bytes);
        }
        free(tokens);
    }
    free(text);
    return code;
}

typedef struct score {
    const loaded *model, *other;
    hyp_session *session, *reference; // reference: NULL, or the other model's
    const int32_t *tokens;
    uint32_t count, counted, compared, same, vocab;
    float *expected;        // the reference's log-probabilities: (count, vocab)
    double sum, divergence; // of -log p; of the divergences from the reference
} score;
static void count_score(void *context, uint32_t position, const float *log_probabilities) {
    score *s = context;
    if (position + 1 >= s->count) return;
    s->sum -= (double)log_probabilities[s->tokens[position + 1]];
    s->counted++;
}

static void keep_expected(void *context, uint32_t position, const float *log_probabilities) {
    score *s = context;
    memcpy(s->expected + (size_t)position * s->vocab, log_probabilities,
           s->vocab * sizeof *log_probabilities);
}
// D(P || Q) = sum over tokens of p (log p - log q), P the reference's distribution [Kullback,
// Leibler 1951].
static void compare_score(void *context, uint32_t position, const float *log_probabilities) {
    score *s = context;
    const float *p = s->expected + (size_t)position * s->vocab;
    uint32_t best_p = 0, best_q = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        s->divergence += exp((double)p[i]) * ((double)p[i] - (double)log_probabilities[i]);
        if (p[i] > p[best_p]) best_p = i;
        if (log_probabilities[i] > log_probabilities[best_q]) best_q = i;
    }
    s->same += best_p == best_q;
    s->compared++;
    count_score(context, position, log_probabilities);
}
static int score_window(void *context, const int32_t *tokens, uint32_t count) {
    score *s = context;
    s->tokens = tokens;
    s->count = count;
    hyp_status status = s->reference
                            ? hyp_session_score(s->reference, tokens, count, keep_expected, s)
                            : HYP_OK;
    if (status) return failed(s->other, status);
    status = hyp_session_score(s->session, tokens, count,
                               s->reference ? compare_score : count_score, s);
    return status ? failed(s->model, status) : 0;
}

enum { WINDOW_FLOATS = 1 << 26 }; // of a reference's log-probabilities

static int verb_perplexity(const options *o, int argc, char **argv) {
    if (argc != 2) return usage_error("perplexity takes a model and a text file", NULL);
    loaded l, reference = {0};
    score s = {.model = &l, .other = &reference};
    options plain = *o;
    plain.draft = NULL; // nothing is guessed here
    int code = load(&l, &plain, argv[0]);
    if (!code && o->against) code = load(&reference, &plain, o->against);
    if (code) return unload(&reference, 0), unload(&l, code);
    hyp_status status = new_session(&l, o, &s.session);
    uint32_t context = status ? 0 : hyp_session_get_stats(s.session).context;
    if (status) code = failed(&l, status);
    else if (o->against) {
        s.vocab = hyp_model_get_info(l.model).vocab;
        if (s.vocab != hyp_model_get_info(reference.model).vocab)
            code = usage_error("the models have different vocabularies", NULL);
        else if ((status = new_session(&reference, o, &s.reference)))
            code = failed(&reference, status);
        else {
            uint32_t most = WINDOW_FLOATS / s.vocab + 1,
                     other = hyp_session_get_stats(s.reference).context;
            context = context < other ? context : other;
            context = context < most ? context : most;
            s.expected = malloc((size_t)context * s.vocab * sizeof *s.expected);
        }
    }
    if (!code) code = score_file(&l, o, argv[1], context, score_window, &s);
    if (!code && s.counted == 0) {
        fputs("hyperion: the text has no token to score\n", stderr);
        code = 1;
    }
    double perplexity = exp(s.sum / s.counted),
           divergence = s.compared ? s.divergence / s.compared : 0,
           same = s.compared ? (double)s.same / s.compared : 0;
    if (!code && o->json) {
        putchar('{');
        json_real(stdout, "perplexity", perplexity, 6);
        printf(",\"tokens\":%u", s.counted);
        if (o->against) {
            putchar(',');
            json_real(stdout, "divergence", divergence, 8);
            putchar(',');
            json_real(stdout, "sameTop", same, 6);
        }
        printf("}\n");
    } else if (!code) {
        printf("perplexity %.4f over %u tokens\n", perplexity, s.counted);
        if (o->against)
            printf("mean KL divergence %.6f nats from the reference, whose likeliest token is this "
                   "model's in %.2f %%\n",
                   divergence, same * 100);
    }
    free(s.expected);
    hyp_session_destroy(s.session);
    hyp_session_destroy(s.reference);
    unload(&reference, 0);
    return unload(&l, interrupted ? 130 : code);
}

static void ignore_score(void *context, uint32_t position, const float *log_probabilities) {
    (void)context, (void)position, (void)log_probabilities;
}
typedef struct observation {
    const loaded *l;
    hyp_session *session;
} observation;
static int observe_window(void *context, const int32_t *tokens, uint32_t count) {
    observation *seen = context;
    hyp_status status = hyp_session_score(seen->session, tokens, count, ignore_score, NULL);
    return status ? failed(seen->l, status) : 0;
}
static hyp_status write_imatrix(const hyp_writer *out, void *session) {
    return hyp_session_write_imatrix(session, out);
}

static int verb_calibrate(const options *o, int argc, char **argv) {
    if (argc < 2 || argc > 3)
        return usage_error("calibrate takes a model, a text file and perhaps an output", NULL);
    loaded l;
    hyp_session *session = NULL;
    int code = load(&l, o, argv[0]);
    if (code) return unload(&l, code);
    char path[4096];
    size_t stem = strlen(argv[0]);
    if (stem > 5 && !strcmp(argv[0] + stem - 5, ".gguf")) stem -= 5;
    snprintf(path, sizeof path, "%.*s.imatrix.gguf", (int)stem, argv[0]);
    hyp_status status = hyp_session_create(
        l.model, &(hyp_session_config){.context = o->context, .calibrate = true}, &session);
    if (status) code = failed(&l, status);
    else
        code = score_file(&l, o, argv[1], hyp_session_get_stats(session).context, observe_window,
                          &(observation){&l, session});
    if (!code && !interrupted)
        code = write_file(&l, o, argc > 2 ? argv[2] : path, write_imatrix, session);
    hyp_session_destroy(session);
    return unload(&l, interrupted ? 130 : code);
}

static int command(int argc, char **argv) {
    enum {
        MIN_P = 256,
        TYPICAL,
        REPEAT,
        FREQUENCY,
        PRESENCE,
        MIROSTAT,
        STOP,
        THREADS,
        LOOKUP,
        DRAFT,
        MEMORY,
        CACHE,
        SYSTEM,
        DENSITY,
        IMATRIX,
        AGAINST,
        PROFILE,
        TRACE,
        LINES,
        PARSE_SPECIAL,
        JSON,
        VERSION
    };
    static const struct option longs[] = {{"max-tokens", 1, 0, 'n'},
                                          {"temperature", 1, 0, 't'},
                                          {"top-k", 1, 0, 'k'},
                                          {"top-p", 1, 0, 'p'},
                                          {"min-p", 1, 0, MIN_P},
                                          {"typical-p", 1, 0, TYPICAL},
                                          {"repeat-penalty", 1, 0, REPEAT},
                                          {"frequency-penalty", 1, 0, FREQUENCY},
                                          {"presence-penalty", 1, 0, PRESENCE},
                                          {"mirostat", 1, 0, MIROSTAT},
                                          {"seed", 1, 0, 's'},
                                          {"stop", 1, 0, STOP},
                                          {"context", 1, 0, 'c'},
                                          {"threads", 1, 0, THREADS},
                                          {"lookup", 1, 0, LOOKUP},
                                          {"draft", 1, 0, DRAFT},
                                          {"memory", 1, 0, MEMORY},
                                          {"cache", 1, 0, CACHE},
                                          {"system", 1, 0, SYSTEM},
                                          {"density", 1, 0, DENSITY},
                                          {"imatrix", 1, 0, IMATRIX},
                                          {"against", 1, 0, AGAINST},
                                          {"profile", 0, 0, PROFILE},
                                          {"trace", 1, 0, TRACE},
                                          {"lines", 0, 0, LINES},
                                          {"parse-special", 0, 0, PARSE_SPECIAL},
                                          {"json", 0, 0, JSON},
                                          {"quiet", 0, 0, 'q'},
                                          {"help", 0, 0, 'h'},
                                          {"version", 0, 0, VERSION},
                                          {0, 0, 0, 0}};
    options o = {.max_tokens = 256, .sampling.temperature = 0.7f, .density = 0.5f};
    for (int c; (c = getopt_long(argc, argv, "n:t:k:p:s:c:qh", longs, NULL)) != -1;) {
        bool ok = true;
        switch (c) {
        case 'n': ok = parse_count(optarg, &o.max_tokens); break;
        case 't': ok = parse_real(optarg, &o.sampling.temperature); break;
        case 'k': ok = parse_count(optarg, &o.sampling.top_k); break;
        case 'p': ok = parse_real(optarg, &o.sampling.top_p); break;
        case MIN_P: ok = parse_real(optarg, &o.sampling.min_p); break;
        case TYPICAL: ok = parse_real(optarg, &o.sampling.typical_p); break;
        case REPEAT: ok = parse_real(optarg, &o.sampling.repeat_penalty); break;
        case FREQUENCY: ok = parse_real(optarg, &o.sampling.frequency_penalty); break;
        case PRESENCE: ok = parse_real(optarg, &o.sampling.presence_penalty); break;
        case MIROSTAT: ok = parse_real(optarg, &o.sampling.mirostat_tau); break;
        case 's': ok = parse_whole(optarg, SEED_MOST, &o.sampling.seed); break;
        case STOP:
            if (o.stop_count == HYP_STOPS_MAX) return usage_error("too many --stop", NULL);
            o.stops[o.stop_count++] = (hyp_text){optarg, strlen(optarg)};
            break;
        case 'c': ok = parse_count(optarg, &o.context); break;
        case THREADS:
            ok = parse_count(optarg, &o.threads) && o.threads > 0 && o.threads <= 16;
            break;
        case LOOKUP: ok = parse_count(optarg, &o.lookup) && o.lookup <= HYP_LOOKUP_MOST; break;
        case DRAFT: o.draft = optarg; break;
        case MEMORY: ok = parse_size(optarg, &o.memory); break;
        case CACHE:
            ok = !strcmp(optarg, "f16") || !strcmp(optarg, "q8_0");
            o.cache = !strcmp(optarg, "q8_0") ? HYP_CACHE_Q8_0 : HYP_CACHE_F16;
            break;
        case SYSTEM: o.system = optarg; break;
        case DENSITY: ok = parse_real(optarg, &o.density) && o.density > 0 && o.density <= 1; break;
        case IMATRIX: o.imatrix = optarg; break;
        case AGAINST: o.against = optarg; break;
        case PROFILE: o.profile = true; break;
        case TRACE: o.trace = optarg; break;
        case LINES: o.lines = true; break;
        case PARSE_SPECIAL: o.parse_special = true; break;
        case JSON: o.json = true; break;
        case 'q': o.quiet = true; break;
        case 'h': return fputs(help, stdout), 0;
        case VERSION: return puts("hyperion " HYPERION_VERSION), 0;
        default: return EXIT_USAGE;
        }
        if (!ok) return usage_error("not a possible value:", optarg);
    }
    static const struct {
        const char *name;
        int (*run)(const options *, int, char **);
    } verbs[] = {
        {"run", verb_run},     {"chat", verb_chat},           {"tokenize", verb_tokenize},
        {"info", verb_info},   {"bench", verb_bench},         {"quantize", verb_quantize},
        {"prune", verb_prune}, {"calibrate", verb_calibrate}, {"perplexity", verb_perplexity}};
    if (optind == argc) return fputs(help, stderr), EXIT_USAGE;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(argv[optind], verbs[i].name))
            return verbs[i].run(&o, argc - optind - 1, argv + optind + 1);
    return usage_error("unknown command", argv[optind]);
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
