#include "pretokenize.h"

#include "unicode.h"

#include <string.h>

// A place in the text with the code point there already read. At the end `rune` is 0 and `length`
// 0.
typedef struct cursor {
    const char *text;
    size_t bytes, at;
    uint32_t rune, length;
    hyp_class class;
} cursor;

static cursor at(const char *text, size_t bytes, size_t place) {
    cursor c = {.text = text, .bytes = bytes, .at = place};
    if (place < bytes) {
        c.rune = hyp_rune_decode(text + place, bytes - place, &c.length);
        c.class = hyp_rune_class(c.rune);
    }
    return c;
}

static cursor after(cursor c) { return at(c.text, c.bytes, c.at + c.length); }
static bool ended(cursor c) { return c.length == 0; }
static bool letter(cursor c) { return hyp_class_is_letter(c.class); }
static bool number(cursor c) { return c.class == HYP_CLASS_NUMBER; }
static bool space(cursor c) { return c.class == HYP_CLASS_SPACE; }
static bool newline(cursor c) { return c.rune == '\n' || c.rune == '\r'; }
static bool other(cursor c) {
    return !ended(c) && !space(c) && !letter(c) && !number(c);
} // [^\s\p{L}\p{N}]

static cursor skip(cursor c, bool (*is)(cursor)) {
    while (!ended(c) && is(c)) c = after(c);
    return c;
}

// 's|'t|'re|'ve|'m|'ll|'d: bytes of the contraction, 0 for none.
static size_t contraction(cursor c, bool any_case) {
    static const char *const tails[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (c.rune != '\'') return 0;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        size_t n = strlen(tails[i]), j = 0;
        if (c.at + 1 + n > c.bytes) continue;
        for (; j < n; j++) {
            char x = c.text[c.at + 1 + j];
            if (any_case && x >= 'A' && x <= 'Z') x = (char)(x + 32);
            if (x != tails[i][j]) break;
        }
        if (j == n) return n + 1;
    }
    return 0;
}

// \s+(?!\S)|\s+ : white space, but the last of several stays with the word that follows.
static size_t spaces(cursor c) {
    cursor last = c, end = c;
    while (!ended(end) && space(end)) {
        last = end;
        end = after(end);
    }
    return ended(end) || last.at == c.at ? end.at - c.at : last.at - c.at;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
static size_t gpt2(cursor c) {
    size_t n = contraction(c, false);
    if (n) return n;
    cursor w = c.rune == ' ' ? after(c) : c;
    if (letter(w)) return skip(w, letter).at - c.at;
    if (number(w)) return skip(w, number).at - c.at;
    if (other(w)) return skip(w, other).at - c.at;
    return spaces(c);
}

// \p{N} first cuts out every digit, then the rule of GPT-2 holds in each of the rest.
static size_t smollm(cursor c) {
    if (number(c)) return c.length;
    // Of GPT-2's words only white space looks at what follows it: a digit ends the text there.
    cursor end = skip(c, space);
    return gpt2(number(end) ? at(c.text, end.at, c.at) : c);
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
static size_t other_or_space(cursor c, bool slash) {
    cursor w = c.rune == ' ' ? after(c) : c;
    if (other(w)) {
        w = skip(w, other);
        while (!ended(w) && (newline(w) || (slash && w.rune == '/'))) w = after(w);
        return w.at - c.at;
    }
    // \s*[\r\n]+ takes white space up to the last line end in it
    size_t end = 0;
    for (w = c; !ended(w) && space(w);) {
        bool line = newline(w);
        w = after(w);
        if (line) end = w.at - c.at;
    }
    return end ? end : spaces(c);
}

static size_t llama3(cursor c, int digits) {
    size_t n = contraction(c, true);
    if (n) return n;
    cursor w = !letter(c) && !number(c) && !newline(c) ? after(c) : c;
    if (letter(w)) return skip(w, letter).at - c.at;
    if (number(c)) {
        w = c;
        for (int i = 0; i < digits && number(w); i++) w = after(w);
        return w.at - c.at;
    }
    return other_or_space(c, false);
}

static bool upperish(cursor c) {
    return letter(c) ? c.class != HYP_CLASS_LOWER : hyp_class_is_mark(c.class);
} // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
static bool lowerish(cursor c) { // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
    return c.class == HYP_CLASS_LOWER || c.class == HYP_CLASS_MODIFIER ||
           c.class == HYP_CLASS_LETTER || hyp_class_is_mark(c.class);
}

// [^\r\n\p{L}\p{N}]?UPPER*LOWER+|[^\r\n\p{L}\p{N}]?UPPER+LOWER*|\p{N}|
// ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ with UPPER and LOWER the two sets above, which
// share Lm, Lo and M: the first alternative backtracks into what UPPER* took.
static size_t tekken_word(cursor start) {
    cursor top = skip(start, upperish), w = top;
    if (!ended(w) && lowerish(w)) return skip(w, lowerish).at - start.at;
    // give back the last of UPPER* that LOWER can take
    size_t last = 0;
    for (w = start; w.at < top.at; w = after(w))
        if (lowerish(w)) last = after(w).at - start.at;
    if (last) return last; // LOWER+ then ends where UPPER* did not: nothing lowerish follows
    return top.at - start.at;
}

static size_t tekken(cursor c) {
    bool prefix = !ended(c) && !letter(c) && !number(c) && !newline(c);
    if (prefix) {
        cursor w = after(c);
        size_t n = ended(w) ? 0 : tekken_word(w);
        if (n) return c.length + n;
    }
    size_t n = tekken_word(c); // a mark may stand without a prefix
    if (n) return n;
    if (number(c)) return c.length;
    return other_or_space(c, true);
}

static bool cased(cursor c) {
    return c.class == HYP_CLASS_UPPER || c.class == HYP_CLASS_LOWER || c.class == HYP_CLASS_TITLE;
}
static bool mark_ascii_or_wide(cursor c) { // [!-/:-~！-／：-～‘-‟　-。]
    uint32_t r = c.rune;
    return (r >= '!' && r <= '/') || (r >= ':' && r <= '~') || (r >= 0xFF01 && r <= 0xFF0F) ||
           (r >= 0xFF1A && r <= 0xFF5E) || (r >= 0x2018 && r <= 0x201F) ||
           (r >= 0x3000 && r <= 0x3002);
}
static bool cjk(cursor c) {
    return (c.rune >= 0x4E00 && c.rune <= 0x9FA5) || (c.rune >= 0x0800 && c.rune <= 0x4E00) ||
           (c.rune >= 0xAC00 && c.rune <= 0xD7FF);
} // [一-龥ࠀ-一가-퟿]

// Six rules, each applied to every piece that the ones before it left, matched or not:
//   [\r\n]   \s?(cased letter)+   \s?[!-/:-~！-／：-～‘-‟　-。]+   \s+$
//   [一-龥ࠀ-一가-퟿]+
//   \p{N}+
// (the model's own file lists the cased letters of its day one by one; here they are Lu, Ll and Lt)
// Bytes that rule 2 to 6 takes at the cursor, whose text ends with the piece; 0: it does not match
// there.
static size_t deepseek_match(int rule, cursor c) {
    cursor w = c;
    switch (rule) {
    case 2:
    case 3: {
        bool (*is)(cursor) = rule == 2 ? cased : mark_ascii_or_wide;
        if (space(c)) w = after(c);
        return ended(w) || !is(w) ? 0 : skip(w, is).at - c.at;
    }
    case 4: w = skip(c, space); return ended(w) ? w.at - c.at : 0;
    case 5: return skip(c, cjk).at - c.at;
    default: return skip(c, number).at - c.at;
    }
}

// The end of the piece that a rule cuts off at the cursor: what it matches, or what comes before
// its first match.
static size_t deepseek_end(int rule, cursor c) {
    cursor w = c;
    if (rule == 1) {
        while (!ended(w) && !newline(w)) w = after(w);
        return w.at;
    }
    size_t n = deepseek_match(rule, c);
    if (n) return c.at + n;
    do
        w = rule == 4 && space(w)
                ? skip(w, space)
                : after(w); // no part of a run of spaces is at the end when the run is not
    while (!ended(w) && !deepseek_match(rule, w));
    return w.at;
}

static size_t deepseek_llm(cursor c, hyp_cuts *cuts) {
    if (newline(c)) return c.length;
    size_t end = c.bytes;
    for (int rule = 1; rule <= 6; rule++) {
        size_t *cut = &cuts->end[rule - 1];
        if (*cut <= c.at) *cut = deepseek_end(rule, at(c.text, end, c.at));
        end = *cut;
    }
    return end - c.at;
}

size_t hyp_pretokenize(hyp_pretokenizer kind, const char *text, size_t bytes, size_t place,
                       hyp_cuts *cuts) {
    cursor c = at(text, bytes, place);
    switch (kind) {
    case HYP_PRE_LLAMA3: return llama3(c, 3);
    case HYP_PRE_QWEN2: return llama3(c, 1);
    case HYP_PRE_SMOLLM: return smollm(c);
    case HYP_PRE_TEKKEN: return tekken(c);
    case HYP_PRE_DEEPSEEK_LLM: return deepseek_llm(c, cuts);
    default: return gpt2(c);
    }
}

hyp_pretokenizer hyp_pretokenizer_named(const char *name, size_t bytes) {
    static const struct {
        const char *name;
        hyp_pretokenizer kind;
    } names[] = {{"gpt-2", HYP_PRE_GPT2},
                 {"default", HYP_PRE_GPT2},
                 {"llama-bpe", HYP_PRE_LLAMA3},
                 {"llama3", HYP_PRE_LLAMA3},
                 {"llama-v3", HYP_PRE_LLAMA3},
                 {"qwen2", HYP_PRE_QWEN2},
                 {"smollm", HYP_PRE_SMOLLM},
                 {"tekken", HYP_PRE_TEKKEN},
                 {"deepseek-llm", HYP_PRE_DEEPSEEK_LLM}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == bytes && memcmp(names[i].name, name, bytes) == 0)
            return names[i].kind;
    return HYP_PRE_COUNT;
}
