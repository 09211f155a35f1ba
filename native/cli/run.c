// run and chat: answers.
#include "chat_format.h"
#include "cli.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What the engine runs on: threads, fibers, pages of weights, blocks.
static void runtime_line(const loaded *l) {
    hyp_engine_stats m = hyp_engine_get_stats(l->engine);
    hyp_residency r = hyp_model_residency(l->main.model);
    hyp_workers h = hyp_model_workers(l->main.model);
    fprintf(stderr, "%s%u thread%s", dim(), h.threads, h.threads == 1 ? "" : "s");
    if (h.tiles)
        fprintf(stderr, " (workers computed %llu %% of what was shared)",
                (unsigned long long)(h.by_workers * 100 / h.tiles));
    fprintf(stderr, ", %u fiber%s (%s, %llu switches), %u of %u weight pages resident (%.1f MB",
            m.fibers, m.fibers == 1 ? "" : "s", m.policy, (unsigned long long)m.switches, r.present,
            r.pages, (double)r.present_bytes / 1e6);
    if (r.resident < r.pages)
        fprintf(stderr, ", %u frames for the rest, %.1f MB read", r.frames,
                (double)r.filled_bytes / 1e6);
    fprintf(stderr, "), %zu slab blocks%s\n", m.blocks, undim());
}

// What of the weights does not stay, and what would end that.
static void reading_line(const loaded *l, const hyp_session_stats *s) {
    uint64_t whole = hyp_model_residency(l->main.model).whole_limit_bytes;
    if (!whole) return;
    fprintf(stderr,
            "%s%.1f MB of weights read again for this answer; with --memory %lluMB they would "
            "stay%s\n",
            dim(), (double)s->read_bytes / 1e6, (unsigned long long)(whole + 999999) / 1000000,
            undim());
}

// Generates from the text's tokens, or goes on with the answer that there is (tokens NULL); prints
// `echo` when it has been read (a bar may be there until then), then pieces as they come; or
// collects these into *answer (freed by the caller) as well.
static int answer(loaded *l, hyp_session *session, const options *o, const int32_t *tokens,
                  uint32_t count, hyp_text echo, char **collected) {
    hyp_status status = HYP_OK;
    if (tokens)
        status = hyp_session_begin(session, tokens, count, &o->sampling, o->answer.stop.at,
                                   o->answer.stop.count);
    else count = hyp_session_get_stats(session).used;
    if (status) return failed(l, status);
    uint32_t left = count, made = 0;
    while (left && !interrupted) {
        if ((status = hyp_session_prefill(session, &left))) return failed(l, status);
        if (!o->own.quiet && tokens && count > 256)
            progress_bar(&(progress){.what = "reading", .done = count - left, .total = count});
    }
    clear_bar();
    if (!o->own.json && echo.bytes) {
        fwrite(echo.data, 1, echo.bytes, stdout);
        flush_stdout();
    }
    char *text = NULL;
    size_t used = 0;
    hyp_piece piece = {.finish = HYP_FINISH_NONE};
    while (made < o->answer.max_tokens && !interrupted && !piece.finish && !stdout_error) {
        if ((status = hyp_session_next(session, &piece))) return free(text), failed(l, status);
        made++;
        if (!o->own.json) {
            fwrite(piece.text, 1, piece.bytes, stdout);
            flush_stdout();
        }
        text = realloc(text, used + piece.bytes + 1);
        memcpy(text + used, piece.text, piece.bytes);
        used += piece.bytes;
    }
    if (!piece.finish && !o->own.save_state) { // saved, it comes when it is certain
        const char *rest;
        size_t bytes;
        hyp_session_flush(session, &rest, &bytes);
        if (!o->own.json) fwrite(rest, 1, bytes, stdout);
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
    if (o->own.json) {
        printf("{\"text\":");
        json_string(stdout, text, used);
        printf(",\"finish\":\"%s\",\"promptTokens\":%u,\"answerTokens\":%u,", reasons[piece.finish],
               s.prompt_tokens, s.answer_tokens);
        json_real(stdout, "promptTokensPerSecond", prompt_rate, 2);
        putchar(',');
        json_real(stdout, "answerTokensPerSecond", answer_rate, 2);
        printf(",\"readBytes\":%llu", (unsigned long long)s.read_bytes);
        printf(",\"memoryPeakBytes\":%zu,\"kernels\":\"%s\"}\n", m.peak_bytes,
               hyp_engine_kernels(l->engine));
    } else {
        fputs("\n", stdout);
        flush_stdout();
        if (!o->own.quiet)
            fprintf(stderr,
                    "%s%u prompt tokens at %.1f/s, %u tokens at %.1f/s, %.1f MB at most, %s "
                    "kernels%s\n",
                    dim(), s.prompt_tokens, prompt_rate, s.answer_tokens, answer_rate,
                    (double)m.peak_bytes / 1e6, hyp_engine_kernels(l->engine), undim());
        if (!o->own.quiet) runtime_line(l);
        if (!o->own.quiet) reading_line(l, &s);
    }
    if (collected) *collected = text;
    else free(text);
    return interrupted ? 130 : 0;
}

// A session that goes on where the file says. What is asked for besides takes the place of what it
// was created with; a cache's format can not.
static int restored_session(loaded *l, const options *o, hyp_session **session) {
    size_t bytes;
    char *state = read_whole(o->own.state, &bytes);
    if (!state) return 1;
    hyp_session_config asked = session_config(l, o), config = asked;
    hyp_status status = hyp_model_state_config(l->main.model, state, bytes, &config);
    if (asked.context) config.context = asked.context;
    if (asked.lookup) config.lookup = asked.lookup;
    if (asked.context_shift) config.context_shift = true;
    if (asked.context_keep) config.context_keep = asked.context_keep;
    if (!status) status = hyp_session_create(l->main.model, &config, session);
    if (!status) status = hyp_session_restore(*session, state, bytes);
    free(state);
    return status ? failed(l, status) : 0;
}

// The tokens of a prompt behind the session's text, which the caller frees.
static hyp_status prompt_tokens(loaded *l, const options *o, const hyp_session *session,
                                const char *prompt, size_t bytes, int32_t **all, uint32_t *count) {
    const int32_t *before, *tokens;
    uint32_t known = hyp_session_tokens(session, &before), own;
    int flags = (known ? 0 : HYP_TEXT_ADD_SPECIAL) |
                (o->answer.parse_special ? HYP_TEXT_PARSE_SPECIAL : 0);
    *all = NULL;
    hyp_status status = hyp_model_tokenize(l->main.model, prompt, bytes, flags, &tokens, &own);
    if (status) return status;
    *count = known + own;
    *all = malloc((*count + 1) * sizeof **all);
    memcpy(*all, before, known * sizeof **all);
    memcpy(*all + known, tokens, own * sizeof **all);
    return HYP_OK;
}

static hyp_status new_session(loaded *l, const options *o, hyp_session **session) {
    hyp_session_config config = session_config(l, o);
    return hyp_session_create(l->main.model, &config, session);
}

int verb_run(const options *o, int argc, char **argv) {
    loaded l;
    hyp_session *session = NULL;
    int code = load(&l, o, argc ? argv[0] : "story", o->own.draft);
    if (code) return unload(&l, code);
    const char *given = argc > 1               ? argv[1]
                        : o->own.state         ? NULL
                        : argc == 0            ? "Once upon a time"
                        : isatty(STDIN_FILENO) ? ""
                                               : "-";
    size_t bytes = 0;
    char *prompt = given ? text_argument(given, &bytes) : NULL;
    if (given && !prompt) return unload(&l, not_read());
    int32_t *tokens = NULL;
    uint32_t count = 0;
    hyp_status status = HYP_OK;
    if (o->own.state) code = restored_session(&l, o, &session);
    else status = new_session(&l, o, &session);
    if (!code && !status && prompt)
        status = prompt_tokens(&l, o, session, prompt, bytes, &tokens, &count);
    if (status) code = failed(&l, status);
    if (!code) code = answer(&l, session, o, tokens, count, (hyp_text){prompt, bytes}, NULL);
    if (!code && o->own.save_state) code = write_state(&l, o->own.save_state, session);
    free(tokens);
    free(prompt);
    hyp_session_destroy(session);
    return unload(&l, code);
}

static void append(char **text, const char *more) {
    size_t n = *text ? strlen(*text) : 0;
    *text = realloc(*text, n + strlen(more) + 1);
    strcpy(*text + n, more);
}

int verb_chat(const options *o, int argc, char **argv) {
    loaded l;
    hyp_session *session = NULL;
    int code = load(&l, o, argv[0], o->own.draft);
    if (code) return unload(&l, code);
    size_t bytes = 0;
    const char *template_text = hyp_model_metadata(l.main.model, "tokenizer.chat_template", &bytes);
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
    append(&text, hyp_model_get_info(l.main.model).adds_bos ? "" : format->begin);
    if (o->own.system) {
        append(&text, format->system[0]);
        append(&text, o->own.system);
        append(&text, format->system[1]);
    }
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
        append(&text, format->user[0]);
        append(&text, message);
        append(&text, format->user[1]);
        append(&text, format->answer[0]);
        const int32_t *tokens;
        uint32_t count;
        status = hyp_model_tokenize(l.main.model, text, strlen(text),
                                    HYP_TEXT_ADD_SPECIAL | HYP_TEXT_PARSE_SPECIAL, &tokens, &count);
        if (status) {
            code = failed(&l, status);
            break;
        }
        char *said = NULL;
        code = answer(&l, session, o, tokens, count, (hyp_text){0}, &said);
        if (said) append(&text, said);
        free(said);
        append(&text, format->answer[1]);
    }
    free(text);
    free(line);
    hyp_session_destroy(session);
    return unload(&l, code);
}
