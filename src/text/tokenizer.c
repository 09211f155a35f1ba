#include "tokenizer.h"

#include "../base/bytes.h"
#include "../fiber/sched.h"
#include "unicode.h"

#define SPACE_MARK "\xE2\x96\x81" // U+2581, SentencePiece's visible space

// ---- Building

enum {
    // In a table that is half empty, not even 2^24 texts land 100 slots from their own by chance.
    PROBES_MOST = 256,
    TOKENS_AT_ONCE = 4096 // between which others may run, and the caller may stop the load
};

// The slot of a text, or the empty one where it would stand; NULL: neither is among the first
// `probes`.
static int32_t *slot_of(const hyp_tokenizer *t, const char *text, size_t bytes, uint32_t probes) {
    uint32_t own = (uint32_t)hyp_hash(text, bytes);
    for (uint32_t n = 0; n < probes; n++) {
        int32_t *slot = &t->table[(own + n) & t->table_mask];
        if (*slot == 0) return slot;
        const hyp_token *token = &t->tokens[*slot - 1];
        if (token->bytes == bytes && memcmp(token->text, text, bytes) == 0) return slot;
    }
    return NULL;
}

static int32_t find(const hyp_tokenizer *t, const char *text, size_t bytes) {
    if (bytes > t->longest) return HYP_NO_TOKEN;
    const int32_t *slot = slot_of(t, text, bytes, t->table_probes);
    return slot ? *slot - 1 : HYP_NO_TOKEN;
}

int32_t hyp_tokenizer_find(const hyp_tokenizer *t, const char *text, size_t bytes) {
    return find(t, text, bytes);
}

// The same for a pair of tokens; the number of probes that it took in *far.
static hyp_merge *merge_slot(const hyp_tokenizer *t, int32_t left, int32_t right, uint32_t probes,
                             uint32_t *far) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 32) * 0x9E3779B97F4A7C15u;
    for (*far = 1; *far <= probes; ++*far) {
        hyp_merge *m = &t->merges[((uint32_t)(h >> 32) + *far - 1) & t->merge_mask];
        if (m->left < 0 || (m->left == left && m->right == right)) return m;
    }
    return NULL;
}

static const hyp_merge *find_merge(const hyp_tokenizer *t, int32_t left, int32_t right) {
    uint32_t far;
    const hyp_merge *m = merge_slot(t, left, right, t->merge_probes, &far);
    return m && m->left >= 0 ? m : NULL;
}

// GPT-2 writes each byte as one printable character: those that print stand for themselves, the
// rest for U+0100 and up, in order.
static int byte_of_rune(uint32_t rune) {
    if ((rune >= 33 && rune <= 126) || (rune >= 161 && rune <= 172) || (rune >= 174 && rune <= 255))
        return (int)rune;
    if (rune < 256 || rune > 256 + 67) return -1;
    uint32_t n = rune - 256;
    return (int)(n < 33 ? n : n < 67 ? n - 33 + 127 : 173);
}

// Turns the characters of `text` into the bytes they stand for, in place of `out` (at least `bytes`
// long); -1 when one stands for none.
static int64_t bytes_of_characters(const char *text, size_t bytes, char *out) {
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t length, rune = hyp_rune_decode(text + at, bytes - at, &length);
        int byte = byte_of_rune(rune);
        if (byte < 0) return -1;
        out[n++] = (char)byte;
        at += length;
    }
    return (int64_t)n;
}

// Copies `text` with SentencePiece's visible spaces made real ones; returns the bytes written, at
// most `bytes`.
static size_t show_spaces(char *out, const char *text, size_t bytes) {
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        bool mark = bytes - at >= 3 && memcmp(text + at, SPACE_MARK, 3) == 0;
        out[n++] = mark ? ' ' : text[at];
        at += mark ? 3 : 1;
    }
    return n;
}

static uint32_t power_of_two(uint64_t at_least) {
    uint64_t n = 16;
    while (n < at_least) n *= 2;
    return (uint32_t)n;
}

// What building does between some thousands of tokens.
typedef struct reading {
    const hyp_gguf *gguf;
    hyp_progress progress;
    uint64_t total;
} reading;

// May suspend.
static hyp_status let_others(const reading *l) {
    if (l->progress.report && !l->progress.report(l->progress.context, 0, l->total))
        return hyp_fail(l->gguf->fault, HYP_E_CANCELLED, "loading was stopped");
    return hyp_task_work(TOKENS_AT_ONCE);
}

static hyp_status collide(const hyp_gguf *gguf, const char *what, uint32_t index) {
    return hyp_fail(gguf->fault, HYP_E_FORMAT, "%s %u: the vocabulary's texts are made to collide",
                    what, index);
}

static hyp_status read_tokens(hyp_tokenizer *t, const reading *l, hyp_arena *arena) {
    const hyp_gguf *gguf = l->gguf;
    const hyp_gguf_kv *texts = hyp_gguf_find(gguf, "tokenizer.ggml.tokens"),
                      *scores = hyp_gguf_find(gguf, "tokenizer.ggml.scores"),
                      *types = hyp_gguf_find(gguf, "tokenizer.ggml.token_type");
    if (!texts || texts->type != HYP_GGUF_ARRAY || texts->element != HYP_GGUF_STRING ||
        texts->count == 0)
        return hyp_fail(gguf->fault, HYP_E_FORMAT,
                        "the model has no vocabulary ('tokenizer.ggml.tokens')");
    if (texts->count > 1 << 24)
        return hyp_fail(gguf->fault, HYP_E_FORMAT, "a vocabulary of %llu tokens is not possible",
                        (unsigned long long)texts->count);
    if ((scores && (scores->type != HYP_GGUF_ARRAY || scores->count != texts->count)) ||
        (types && (types->type != HYP_GGUF_ARRAY || types->count != texts->count)))
        return hyp_fail(gguf->fault, HYP_E_FORMAT,
                        "the vocabulary's scores or types do not match its tokens");
    t->count = (uint32_t)texts->count;
    t->table_mask = power_of_two((uint64_t)t->count * 2) - 1;
    t->tokens = hyp_arena_alloc(arena, t->count * sizeof *t->tokens);
    t->table = hyp_arena_alloc(arena, ((size_t)t->table_mask + 1) * sizeof *t->table);
    char *pool = hyp_arena_alloc(arena, (size_t)texts->bytes);
    if (!t->tokens || !t->table || !pool)
        return hyp_fail(gguf->fault, HYP_E_NOMEM, "not enough memory for a vocabulary of %u tokens",
                        t->count);
    for (int i = 0; i < 256; i++) t->bytes[i] = HYP_NO_TOKEN;
    uint64_t at = 0;
    hyp_text text;
    for (uint32_t i = 0; i < t->count; i++) {
        hyp_status status = i % TOKENS_AT_ONCE == TOKENS_AT_ONCE - 1 ? let_others(l) : HYP_OK;
        if (status) return status;
        hyp_gguf_next_string(gguf, texts, &at, &text);
        hyp_token *token = &t->tokens[i];
        *token = (hyp_token){.text = pool, .bytes = (uint32_t)text.bytes, .type = HYP_TOKEN_NORMAL};
        if (scores) token->score = (float)hyp_gguf_number(gguf, scores, i);
        double type = types ? hyp_gguf_number(gguf, types, i) : HYP_TOKEN_NORMAL;
        token->type = type >= HYP_TOKEN_UNDEFINED && type <= HYP_TOKEN_BYTE ? (uint8_t)type
                                                                            : HYP_TOKEN_NORMAL;
        int64_t mapped = -1;
        if (t->kind == HYP_TOKENIZER_BPE && token->type != HYP_TOKEN_CONTROL &&
            token->type != HYP_TOKEN_USER &&
            (mapped = bytes_of_characters(text.data, text.bytes, pool)) >= 0)
            token->bytes = (uint32_t)mapped;
        else if (t->kind == HYP_TOKENIZER_BPE || token->type == HYP_TOKEN_CONTROL)
            memcpy(pool, text.data, text.bytes);
        else token->bytes = (uint32_t)show_spaces(pool, text.data, text.bytes);
        // <0x41>: a single byte, kept as that byte and not matched as text
        if (token->type == HYP_TOKEN_BYTE && t->kind == HYP_TOKENIZER_SPM) {
            const char *hex = "0123456789ABCDEF", *a, *b;
            if (text.bytes != 6 || memcmp(text.data, "<0x", 3) ||
                !(a = memchr(hex, text.data[3], 16)) || !(b = memchr(hex, text.data[4], 16)))
                return hyp_fail(gguf->fault, HYP_E_FORMAT,
                                "token %u is marked as a byte but does not name one", i);
            t->bytes[(a - hex) * 16 + (b - hex)] = (int32_t)i;
            *pool = (char)((a - hex) * 16 + (b - hex));
            token->bytes = 1;
        }
        if (t->kind == HYP_TOKENIZER_BPE && token->bytes == 1 && token->type == HYP_TOKEN_NORMAL &&
            t->bytes[(uint8_t)*token->text] < 0)
            t->bytes[(uint8_t)*token->text] = (int32_t)i;
        pool += token->bytes;
        if (token->type == HYP_TOKEN_UNUSED ||
            (token->type == HYP_TOKEN_BYTE && t->kind == HYP_TOKENIZER_SPM))
            continue;
        int32_t *slot = slot_of(t, token->text, token->bytes, PROBES_MOST);
        if (!slot) return collide(gguf, "token", i);
        if (*slot) continue; // of two equal texts the first counts
        *slot = (int32_t)i + 1;
        uint32_t far = ((uint32_t)(slot - t->table) -
                        (uint32_t)hyp_hash(token->text, token->bytes)) &
                       t->table_mask;
        t->table_probes = hyp_max_u32(t->table_probes, far + 1);
        t->longest = hyp_max_u32(t->longest, token->bytes);
    }
    return HYP_OK;
}

static hyp_status read_merges(hyp_tokenizer *t, const reading *l, hyp_arena *arena) {
    const hyp_gguf *gguf = l->gguf;
    const hyp_gguf_kv *merges = hyp_gguf_find(gguf, "tokenizer.ggml.merges");
    if (!merges || merges->type != HYP_GGUF_ARRAY || merges->element != HYP_GGUF_STRING)
        return hyp_fail(gguf->fault, HYP_E_FORMAT,
                        "a byte-level BPE vocabulary without 'tokenizer.ggml.merges'");
    if (merges->count > 1 << 24)
        return hyp_fail(gguf->fault, HYP_E_FORMAT, "%llu merges are not possible",
                        (unsigned long long)merges->count);
    t->merge_mask = power_of_two(merges->count * 2 + 2) - 1;
    t->merges = hyp_arena_alloc(arena, ((size_t)t->merge_mask + 1) * sizeof *t->merges);
    if (!t->merges)
        return hyp_fail(gguf->fault, HYP_E_NOMEM, "not enough memory for %llu merges",
                        (unsigned long long)merges->count);
    for (uint32_t i = 0; i <= t->merge_mask; i++) t->merges[i].left = HYP_NO_TOKEN;
    uint64_t at = 0;
    hyp_text text;
    char word[1024];
    for (uint32_t rank = 0; hyp_gguf_next_string(gguf, merges, &at, &text); rank++) {
        hyp_status status = rank % TOKENS_AT_ONCE == TOKENS_AT_ONCE - 1 ? let_others(l) : HYP_OK;
        if (status) return status;
        const char *gap = text.bytes > 1 ? memchr(text.data + 1, ' ', text.bytes - 1) : NULL;
        if (!gap || text.bytes > sizeof word) continue;
        size_t left_bytes = (size_t)(gap - text.data);
        int64_t left = bytes_of_characters(text.data, left_bytes, word),
                right = left < 0 ? -1
                                 : bytes_of_characters(gap + 1, text.bytes - left_bytes - 1,
                                                       word + left);
        if (right < 0) continue;
        hyp_merge m = {find(t, word, (size_t)left), find(t, word + left, (size_t)right),
                       find(t, word, (size_t)(left + right)), rank};
        if (m.left < 0 || m.right < 0 || m.whole < 0) continue;
        uint32_t far;
        hyp_merge *slot = merge_slot(t, m.left, m.right, PROBES_MOST, &far);
        if (!slot) return collide(gguf, "merge", rank);
        if (slot->left >= 0) continue; // of two equal pairs the first counts
        *slot = m;
        t->merge_probes = hyp_max_u32(t->merge_probes, far);
    }
    return HYP_OK;
}

// ---- Special tokens: sorted by text, so that of those that a text starts with the longest is
// found from its place among them

// By text, a beginning before what it begins; of equal texts the first token last, where a search
// ends.
static bool special_before(const hyp_tokenizer *t, int32_t a, int32_t b) {
    const hyp_token *x = &t->tokens[a], *y = &t->tokens[b];
    int order = memcmp(x->text, y->text, hyp_min_u32(x->bytes, y->bytes));
    return order ? order < 0 : x->bytes != y->bytes ? x->bytes < y->bytes : a > b;
}

// Merges the sorted runs of `width`, pair by pair, from `in` to `out`.
static hyp_status merge_runs(const hyp_tokenizer *t, const reading *l, int32_t *out,
                             const int32_t *in, uint32_t width) {
    for (uint32_t at = 0; at < t->special_count;) {
        uint32_t a = at, middle = hyp_min_u32(a + width, t->special_count), b = middle,
                 end = hyp_min_u32(b + width, t->special_count);
        for (; at < end; at++) {
            hyp_status status = at % TOKENS_AT_ONCE == TOKENS_AT_ONCE - 1 ? let_others(l) : HYP_OK;
            if (status) return status;
            out[at] = b == end || (a < middle && special_before(t, in[a], in[b])) ? in[a++]
                                                                                  : in[b++];
        }
    }
    return HYP_OK;
}

// The longest of the specials other than number `i` whose text its own starts with: the one before
// it in their order, or what that one starts with.
static int32_t longest_start(const hyp_tokenizer *t, uint32_t i) {
    const hyp_token *s = &t->tokens[t->specials[i]];
    int32_t other = (int32_t)i - 1;
    for (; other >= 0; other = t->special_starts[other]) {
        const hyp_token *o = &t->tokens[t->specials[other]];
        if (o->bytes <= s->bytes && memcmp(o->text, s->text, o->bytes) == 0) break;
    }
    return other;
}

static bool is_special(const hyp_token *token) {
    return (token->type == HYP_TOKEN_CONTROL || token->type == HYP_TOKEN_USER) && token->bytes > 0;
}

static hyp_status sort_specials(hyp_tokenizer *t, const reading *l, hyp_arena *arena) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->count; i++) count += is_special(&t->tokens[i]);
    t->specials = hyp_arena_alloc(arena, count * sizeof *t->specials);
    t->special_starts = hyp_arena_alloc(arena, count * sizeof *t->special_starts);
    if (!t->specials || !t->special_starts)
        return hyp_fail(l->gguf->fault, HYP_E_NOMEM, "not enough memory for the special tokens");
    for (uint32_t i = 0; i < t->count; i++) {
        if (!is_special(&t->tokens[i])) continue;
        if (t->tokens[i].bytes > HYP_SPECIAL_MOST)
            return hyp_fail(
                l->gguf->fault, HYP_E_FORMAT,
                "token %u: a special token of %u bytes is not possible (%d are the most)", i,
                t->tokens[i].bytes, HYP_SPECIAL_MOST);
        t->specials[t->special_count++] = (int32_t)i;
    }
    for (uint32_t width = 1; width < count; width *= 2) {
        hyp_status status = merge_runs(t, l, t->special_starts, t->specials, width);
        if (status) return status;
        int32_t *sorted = t->special_starts;
        t->special_starts = t->specials;
        t->specials = sorted;
    }
    for (uint32_t i = 0; i < count; i++) {
        t->special_starts[i] = longest_start(t, i);
        t->special_from[(uint8_t)*t->tokens[t->specials[i]].text + 1] = i + 1;
    }
    for (int b = 0; b < 256; b++)
        t->special_from[b + 1] = hyp_max_u32(t->special_from[b + 1], t->special_from[b]);
    return HYP_OK;
}

static hyp_status read_special(const hyp_tokenizer *t, const hyp_gguf *gguf, const char *key,
                               int32_t *out) {
    uint32_t id;
    hyp_status status = hyp_gguf_u32(gguf, key, UINT32_MAX, &id);
    if (status) return status;
    if (id != UINT32_MAX && id >= t->count)
        return hyp_fail(gguf->fault, HYP_E_FORMAT,
                        "metadata key '%s' names token %u of a vocabulary of %u", key, id,
                        t->count);
    *out = id == UINT32_MAX ? HYP_NO_TOKEN : (int32_t)id;
    return HYP_OK;
}

hyp_status hyp_tokenizer_init(hyp_tokenizer *t, const hyp_gguf *gguf, hyp_arena *arena,
                              hyp_progress progress) {
    *t = (hyp_tokenizer){0};
    reading l = {.gguf = gguf, .progress = progress};
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(gguf); i++)
        l.total += hyp_gguf_tensor_at(gguf, i)->bytes;
    hyp_text model = hyp_gguf_string(gguf, "tokenizer.ggml.model"),
             pre = hyp_gguf_string(gguf, "tokenizer.ggml.pre");
    if (model.bytes == 5 && memcmp(model.data, "llama", 5) == 0) t->kind = HYP_TOKENIZER_SPM;
    else if (model.bytes == 4 && memcmp(model.data, "gpt2", 4) == 0) t->kind = HYP_TOKENIZER_BPE;
    else if (model.bytes == 4 && memcmp(model.data, "bert", 4) == 0)
        t->kind = HYP_TOKENIZER_WORDPIECE;
    else
        return hyp_fail(gguf->fault, model.data ? HYP_E_UNSUPPORTED : HYP_E_FORMAT,
                        "tokenizer '%.*s' is not supported (llama, gpt2 and bert are)",
                        model.data ? (int)(model.bytes < 60 ? model.bytes : 60) : 4,
                        model.data ? model.data : "none");
    if (t->kind == HYP_TOKENIZER_BPE) {
        t->pre = pre.data ? hyp_pretokenizer_named(pre.data, pre.bytes) : HYP_PRE_GPT2;
        if (t->pre == HYP_PRE_COUNT)
            return hyp_fail(gguf->fault, HYP_E_UNSUPPORTED, "pre-tokenizer '%.*s' is not supported",
                            (int)(pre.bytes < 60 ? pre.bytes : 60), pre.data);
    }
    t->ignore_merges = t->pre == HYP_PRE_LLAMA3 ||
                       t->pre == HYP_PRE_TEKKEN; // as those models' own tokenizers are configured
    hyp_status status = read_tokens(t, &l, arena);
    if (status) return status;
    if (t->kind == HYP_TOKENIZER_BPE && (status = read_merges(t, &l, arena))) return status;

    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &t->bos},
               {"tokenizer.ggml.eos_token_id", &t->eos},
               {"tokenizer.ggml.eot_token_id", &t->eot},
               {"tokenizer.ggml.eom_token_id", &t->eom},
               {"tokenizer.ggml.unknown_token_id", &t->unk},
               {"tokenizer.ggml.seperator_token_id", &t->sep},
               {"tokenizer.ggml.padding_token_id", &t->pad},
               {"tokenizer.ggml.cls_token_id", &t->cls}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if ((status = read_special(t, gguf, ids[i].key, ids[i].id))) return status;
    if (t->kind == HYP_TOKENIZER_WORDPIECE) {
        if (t->cls < 0) t->cls = t->bos >= 0 ? t->bos : find(t, "[CLS]", 5);
        if (t->sep < 0) t->sep = find(t, "[SEP]", 5);
        if (t->unk < 0) t->unk = find(t, "[UNK]", 5);
    }
    // An end of turn that the file does not name: the texts that chat models use for it.
    static const char *const turns[] = {"<|eot_id|>", "<|im_end|>",    "<end_of_turn>",
                                        "<|end|>",    "<|endoftext|>", "<|end_of_text|>"};
    for (size_t i = 0; t->eot < 0 && i < sizeof turns / sizeof *turns; i++) {
        int32_t id = find(t, turns[i], strlen(turns[i]));
        if (id >= 0 &&
            (t->tokens[id].type == HYP_TOKEN_CONTROL || t->tokens[id].type == HYP_TOKEN_USER))
            t->eot = id;
    }
    // Files of Llama 3 and Tekken models often leave it out, and the models expect it.
    bool starts = t->kind == HYP_TOKENIZER_SPM ||
                  (t->kind == HYP_TOKENIZER_BPE &&
                   (t->pre == HYP_PRE_LLAMA3 || t->pre == HYP_PRE_TEKKEN));
    if ((status = hyp_gguf_bool(gguf, "tokenizer.ggml.add_bos_token", starts, &t->add_bos)) ||
        (status = hyp_gguf_bool(gguf, "tokenizer.ggml.add_eos_token", false, &t->add_eos)) ||
        (status = hyp_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix",
                                t->kind == HYP_TOKENIZER_SPM, &t->add_space_prefix)))
        return status;
    return sort_specials(t, &l, arena);
}

// ---- Merging: a list of symbols and a heap of the pairs that may join

typedef struct symbol {
    uint32_t at, bytes; // bytes 0: swallowed by its left neighbour
    int32_t token;      // HYP_NO_TOKEN: no token has this text
    int32_t left, right;
} symbol;

typedef struct pair {
    float priority; // higher joins first; of equals the left one
    int32_t left, right, token;
    uint32_t bytes; // of both when the pair was found: stale when they changed
} pair;

typedef struct merger {
    const hyp_tokenizer *t;
    const char *text;
    hyp_buffer symbols, heap;
} merger;

static symbol *symbol_at(merger *m, int32_t i) { return (symbol *)(void *)m->symbols.data + i; }
static pair *pair_at(merger *m, size_t i) { return (pair *)(void *)m->heap.data + i; }
static bool before(const pair *a, const pair *b) {
    return a->priority > b->priority || (a->priority == b->priority && a->left < b->left);
}

static bool heap_push(merger *m, pair p) {
    if (!hyp_buffer_append(&m->heap, &p, sizeof p)) return false;
    size_t i = m->heap.bytes / sizeof p - 1;
    for (; i > 0 && before(&p, pair_at(m, (i - 1) / 2)); i = (i - 1) / 2)
        *pair_at(m, i) = *pair_at(m, (i - 1) / 2);
    *pair_at(m, i) = p;
    return true;
}

static pair heap_pop(merger *m) {
    pair top = *pair_at(m, 0);
    size_t n = m->heap.bytes / sizeof top - 1, i = 0;
    pair last = *pair_at(m, n);
    m->heap.bytes -= sizeof top;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(pair_at(m, child + 1), pair_at(m, child))) child++;
        if (!before(pair_at(m, child), &last)) break;
        *pair_at(m, i) = *pair_at(m, child);
    }
    if (n) *pair_at(m, i) = last;
    return top;
}

static bool offer(merger *m, int32_t left) {
    if (left < 0) return true;
    symbol *a = symbol_at(m, left);
    if (a->right < 0) return true;
    symbol *b = symbol_at(m, a->right);
    pair p = {.left = left, .right = a->right, .bytes = a->bytes + b->bytes};
    if (m->t->kind == HYP_TOKENIZER_BPE) {
        const hyp_merge *merge = a->token < 0 || b->token < 0
                                     ? NULL
                                     : find_merge(m->t, a->token, b->token);
        if (!merge) return true;
        p.priority = -(float)merge->rank;
        p.token = merge->whole;
    } else {
        p.token = find(m->t, m->text + a->at, p.bytes);
        if (p.token < 0) return true;
        p.priority = m->t->tokens[p.token].score;
    }
    return heap_push(m, p);
}

// Joins until no pair can; the symbols that remain stand in order, linked.
static bool merge_all(merger *m) {
    int32_t n = (int32_t)(m->symbols.bytes / sizeof(symbol));
    for (int32_t i = 0; i + 1 < n; i++)
        if (!offer(m, i)) return false;
    while (m->heap.bytes) {
        pair p = heap_pop(m);
        symbol *a = symbol_at(m, p.left), *b = symbol_at(m, p.right);
        if (!a->bytes || !b->bytes || a->right != p.right || a->bytes + b->bytes != p.bytes)
            continue;
        a->bytes = p.bytes;
        a->token = p.token;
        a->right = b->right;
        b->bytes = 0;
        if (b->right >= 0) symbol_at(m, b->right)->left = p.left;
        if (!offer(m, a->left) || !offer(m, p.left)) return false;
    }
    return true;
}

static bool push_symbol(merger *m, uint32_t at, uint32_t bytes, int32_t token) {
    int32_t i = (int32_t)(m->symbols.bytes / sizeof(symbol));
    if (i > 0) symbol_at(m, i - 1)->right = i;
    return hyp_buffer_append(&m->symbols, &(symbol){at, bytes, token, i - 1, HYP_NO_TOKEN},
                             sizeof(symbol));
}

static bool emit(hyp_buffer *out, int32_t token) {
    return token < 0 || hyp_buffer_append(out, &token, sizeof token);
}

static bool encode_spm(merger *m, const char *text, size_t bytes, hyp_buffer *out) {
    const hyp_tokenizer *t = m->t;
    m->text = text;
    m->symbols.bytes = m->heap.bytes = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t length;
        hyp_rune_decode(text + at, bytes - at, &length);
        if (!push_symbol(m, (uint32_t)at, length, find(t, text + at, length))) return false;
        at += length;
    }
    if (!merge_all(m)) return false;
    for (int32_t i = bytes ? 0 : -1; i >= 0; i = symbol_at(m, i)->right) {
        symbol s = *symbol_at(m, i);
        if (s.token >= 0) {
            if (!emit(out, s.token)) return false;
            continue;
        }
        for (uint32_t b = 0; b < s.bytes; b++) {
            int32_t byte = t->bytes[(uint8_t)text[s.at + b]];
            if (!emit(out, byte >= 0 ? byte : t->unk)) return false;
        }
    }
    return true;
}

static bool encode_bpe(merger *m, const char *text, size_t bytes, hyp_buffer *out) {
    const hyp_tokenizer *t = m->t;
    hyp_cuts cuts = {0};
    for (size_t at = 0; at < bytes;) {
        size_t word = hyp_pretokenize(t->pre, text, bytes, at, &cuts);
        int32_t whole = t->ignore_merges ? find(t, text + at, word) : HYP_NO_TOKEN;
        if (whole >= 0) {
            if (!emit(out, whole)) return false;
        } else {
            m->text = text + at;
            m->symbols.bytes = m->heap.bytes = 0;
            for (size_t i = 0; i < word; i++)
                if (!push_symbol(m, (uint32_t)i, 1, t->bytes[(uint8_t)text[at + i]])) return false;
            if (!merge_all(m)) return false;
            for (int32_t i = 0; i >= 0; i = symbol_at(m, i)->right)
                if (!emit(out, symbol_at(m, i)->token >= 0 ? symbol_at(m, i)->token : t->unk))
                    return false;
        }
        at += word;
    }
    return true;
}

static bool wordpiece_word(const hyp_tokenizer *t, const char *word, size_t bytes,
                           hyp_buffer *out) {
    size_t mark = out->bytes;
    for (size_t at = 0; at < bytes;) {
        size_t end = bytes - at > t->longest ? at + t->longest : bytes;
        int32_t token = HYP_NO_TOKEN;
        while (end > at && (token = find(t, word + at, end - at)) < 0) end--;
        if (token < 0) { // one piece unknown: the word is
            out->bytes = mark;
            return emit(out, t->unk);
        }
        if (!emit(out, token)) return false;
        at = end;
    }
    return true;
}

// BERT's own normalization (clean, lower case, strip accents, spaces around CJK), words at white
// space and punctuation, then greedy longest match. GGUF marks the start of a word by a space
// (U+2581) in place of BERT's '##' on its continuations.
static bool encode_wordpiece(const hyp_tokenizer *t, const char *text, size_t bytes,
                             hyp_buffer *out) {
    enum { WORD_RUNES = 100 }; // longer words are unknown, as in BERT
    char word[1 + 4 * WORD_RUNES];
    size_t n = 0, runes = 0;
    for (size_t at = 0; at <= bytes;) {
        uint32_t length = 1,
                 rune = at < bytes ? hyp_rune_decode(text + at, bytes - at, &length) : ' ';
        at += length;
        hyp_class class = hyp_rune_class(rune);
        if (rune == 0 || rune == HYP_RUNE_INVALID ||
            ((class == HYP_CLASS_CONTROL || class == HYP_CLASS_FORMAT) && rune != '\t' &&
             rune != '\n' && rune != '\r'))
            continue;
        uint32_t parts[3] = {rune}, count = 1;
        if (rune >= 0xAC00 &&
            rune <= 0xD7A3) { // Hangul syllables decompose by arithmetic [Unicode 3.12]
            uint32_t s = rune - 0xAC00;
            parts[0] = 0x1100 + s / 588;
            parts[1] = 0x1161 + s % 588 / 28;
            parts[2] = 0x11A7 + s % 28;
            count = s % 28 ? 3 : 2;
        } else if (class != HYP_CLASS_MARK) parts[0] = hyp_rune_lower(hyp_rune_base(rune));
        else continue;
        bool cjk = (rune >= 0x4E00 && rune <= 0x9FFF) || (rune >= 0x3400 && rune <= 0x4DBF) ||
                   (rune >= 0x20000 && rune <= 0x2A6DF) || (rune >= 0x2A700 && rune <= 0x2CEAF) ||
                   (rune >= 0xF900 && rune <= 0xFAFF) || (rune >= 0x2F800 && rune <= 0x2FA1F);
        bool symbol_ascii = class == HYP_CLASS_SYMBOL && rune < 128,
             alone = cjk || class == HYP_CLASS_PUNCTUATION || symbol_ascii;
        if (n && (class == HYP_CLASS_SPACE || alone)) {
            if (runes > WORD_RUNES ? !emit(out, t->unk) : !wordpiece_word(t, word, n, out))
                return false;
            n = runes = 0;
        }
        if (class == HYP_CLASS_SPACE) continue;
        if (n == 0) word[n++] = ' ';
        for (uint32_t i = 0; i < count; i++)
            if (++runes <= WORD_RUNES) n += hyp_rune_encode(parts[i], word + n);
        if (alone) {
            if (!wordpiece_word(t, word, n, out)) return false;
            n = runes = 0;
        }
    }
    return true;
}

// ---- Whole texts

static bool encode_plain(merger *m, const char *text, size_t bytes, bool first, hyp_buffer *scratch,
                         hyp_buffer *out) {
    const hyp_tokenizer *t = m->t;
    if (bytes == 0) return true;
    if (t->kind == HYP_TOKENIZER_WORDPIECE) return encode_wordpiece(t, text, bytes, out);
    if (t->kind == HYP_TOKENIZER_BPE) return encode_bpe(m, text, bytes, out);
    scratch->bytes = 0;
    if (t->add_space_prefix && first && !hyp_buffer_append(scratch, " ", 1)) return false;
    if (!hyp_buffer_reserve(scratch, bytes)) return false;
    scratch->bytes += show_spaces((char *)scratch->data + scratch->bytes, text, bytes);
    return encode_spm(m, (const char *)scratch->data, scratch->bytes, out);
}

// The longest special token that the text starts with.
static int32_t special_at(const hyp_tokenizer *t, const char *text, size_t bytes, bool control) {
    uint32_t first = t->special_from[(uint8_t)*text], low = first,
             high = t->special_from[(uint8_t)*text + 1];
    while (low < high) { // `low` becomes the number of the first that comes after the text
        uint32_t middle = low + (high - low) / 2;
        const hyp_token *s = &t->tokens[t->specials[middle]];
        size_t n = s->bytes < bytes ? s->bytes : bytes;
        int order = memcmp(s->text, text, n);
        if (order < 0 || (order == 0 && s->bytes <= bytes)) low = middle + 1;
        else high = middle;
    }
    if (low == first) return HYP_NO_TOKEN;
    // What the text starts with, the one before that place starts with too.
    const hyp_token *last = &t->tokens[t->specials[low - 1]];
    uint32_t same = 0;
    while (same < last->bytes && same < bytes && last->text[same] == text[same]) same++;
    for (int32_t i = (int32_t)low - 1; i >= 0; i = t->special_starts[i]) {
        const hyp_token *s = &t->tokens[t->specials[i]];
        if (s->bytes <= same && (control || s->type == HYP_TOKEN_USER)) return t->specials[i];
    }
    return HYP_NO_TOKEN;
}

hyp_status hyp_tokenizer_encode(const hyp_tokenizer *t, const char *text, size_t bytes, int flags,
                                hyp_buffer *out) {
    if (bytes > HYP_TEXT_MAX) return HYP_E_ARGUMENT;
    merger m = {.t = t, .symbols.budget = out->budget, .heap.budget = out->budget};
    hyp_buffer scratch = {.budget = out->budget};
    bool edges = flags & HYP_ENCODE_ADD_SPECIAL, bert = t->kind == HYP_TOKENIZER_WORDPIECE,
         ok = true;
    if (edges && (bert || t->add_bos)) ok = emit(out, bert ? t->cls : t->bos);
    // User-defined tokens are always taken whole; control tokens only where the caller trusts the
    // text.
    size_t plain = 0, at = 0;
    bool first = true; // at the start, and after a special token, SPM puts its space
    while (ok && at < bytes) {
        int32_t special = special_at(t, text + at, bytes - at, flags & HYP_ENCODE_PARSE_SPECIAL);
        if (special < 0) {
            at++;
            continue;
        }
        ok = encode_plain(&m, text + plain, at - plain, first, &scratch, out) && emit(out, special);
        at += t->tokens[special].bytes;
        plain = at;
        first = true;
    }
    ok = ok && encode_plain(&m, text + plain, bytes - plain, first, &scratch, out);
    if (edges && (bert || t->add_eos)) ok = ok && emit(out, bert ? t->sep : t->eos);
    hyp_buffer_deinit(&m.symbols);
    hyp_buffer_deinit(&m.heap);
    hyp_buffer_deinit(&scratch);
    return ok ? HYP_OK : HYP_E_NOMEM;
}

hyp_text hyp_tokenizer_piece(const hyp_tokenizer *t, int32_t id, bool special) {
    if (id < 0 || (uint32_t)id >= t->count) return (hyp_text){"", 0};
    const hyp_token *token = &t->tokens[id];
    if (token->type == HYP_TOKEN_CONTROL || token->type == HYP_TOKEN_UNKNOWN)
        return special ? (hyp_text){token->text, token->bytes} : (hyp_text){"", 0};
    return (hyp_text){token->text, token->bytes};
}

hyp_status hyp_tokenizer_decode(const hyp_tokenizer *t, const int32_t *tokens, uint32_t count,
                                bool special, hyp_buffer *out) {
    bool strip = t->kind == HYP_TOKENIZER_WORDPIECE ||
                 (t->kind == HYP_TOKENIZER_SPM && t->add_space_prefix);
    for (uint32_t i = 0; i < count; i++) {
        hyp_text piece = hyp_tokenizer_piece(t, tokens[i], special);
        if (piece.bytes == 0) continue;
        if (strip && piece.data[0] == ' ') {
            piece.data++;
            piece.bytes--;
        }
        strip = false;
        if (!hyp_buffer_append(out, piece.data, piece.bytes)) return HYP_E_NOMEM;
    }
    return HYP_OK;
}

bool hyp_tokenizer_ends(const hyp_tokenizer *t, int32_t token) {
    return token >= 0 && (token == t->eos || token == t->eot || token == t->eom);
}
