// tokenize.
#include "cli.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

int verb_tokenize(const options *o, int argc, char **argv) {
    loaded l;
    int code = load(&l, o, argv[0], NULL);
    if (code) return unload(&l, code);
    size_t bytes;
    char *text = text_argument(argc > 1 ? argv[1] : NULL, &bytes);
    if (!text) return unload(&l, not_read());
    const int32_t *tokens;
    uint32_t count;
    hyp_status status = hyp_model_tokenize(
        l.main.model, text, bytes,
        HYP_TEXT_ADD_SPECIAL | (o->answer.parse_special ? HYP_TEXT_PARSE_SPECIAL : 0), &tokens,
        &count);
    free(text);
    if (status) return unload(&l, failed(&l, status));
    int32_t *copy = malloc((count + 1) * sizeof *copy);
    memcpy(copy, tokens, count * sizeof *copy);
    if (o->own.json) printf("{\"tokens\":[");
    for (uint32_t i = 0; i < count && !status; i++) {
        if (o->own.json) {
            printf("%s%d", i ? "," : "", copy[i]);
            continue;
        }
        const char *piece;
        size_t n;
        status = hyp_model_detokenize(l.main.model, copy + i, 1, HYP_TEXT_PARSE_SPECIAL, &piece,
                                      &n);
        printf("%8d  ", copy[i]);
        json_string(stdout, piece, n);
        putchar('\n');
    }
    if (o->own.json) printf("]}\n");
    free(copy);
    return unload(&l, status ? failed(&l, status) : 0);
}
