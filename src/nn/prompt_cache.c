#include "prompt_cache.h"

#include "../base/bytes.h"

struct hyp_remembered { // its tables and its tokens follow
    hyp_remembered *next;
    size_t bytes; // with its blocks
    int32_t *tokens;
    hyp_sequence sequence;
};

// ---- What a text takes

static size_t tables_at(void) { return hyp_round_up(sizeof(hyp_remembered), 16); }
static size_t tokens_at(const hyp_kv_cache *of, uint32_t count) {
    return tables_at() + hyp_round_up(hyp_sequence_table_bytes(of, count), 16);
}
static size_t record_bytes(const hyp_kv_cache *of, uint32_t count) {
    return tokens_at(of, count) + count * sizeof(int32_t);
}
static uint64_t bytes_of(const hyp_kv_cache *of, uint32_t count) {
    return record_bytes(of, count) + (uint64_t)hyp_kv_blocks(count) * of->block_bytes;
}

// How much of the sequence's beginning the limit holds.
static uint32_t fitting(const hyp_prompt_cache *c, const hyp_sequence *s) {
    uint32_t count = s->count;
    if (s->recurrent) return bytes_of(s->cache, count) <= c->limit_bytes ? count : 0;
    while (count && bytes_of(s->cache, count) > c->limit_bytes)
        count = (hyp_kv_blocks(count) - 1) * HYP_KV_BLOCK;
    return count;
}

// ---- Its life

static void forget(hyp_prompt_cache *c, hyp_remembered **link) {
    hyp_remembered *text = *link;
    *link = text->next;
    c->bytes -= text->bytes;
    size_t bytes = record_bytes(text->sequence.cache, text->sequence.count);
    hyp_sequence_deinit(&text->sequence);
    hyp_budget_free(c->budget, text, bytes);
}

// The one that was used longest ago.
static void forget_last(hyp_prompt_cache *c) {
    hyp_remembered **link = &c->texts;
    while ((*link)->next) link = &(*link)->next;
    forget(c, link);
}

static void put_first(hyp_prompt_cache *c, hyp_remembered **link) {
    hyp_remembered *text = *link;
    *link = text->next;
    text->next = c->texts;
    c->texts = text;
}

void hyp_prompt_cache_init(hyp_prompt_cache *c, hyp_budget *budget, hyp_pool *const *pool,
                           size_t limit_bytes) {
    *c = (hyp_prompt_cache){
        .next = budget->prompts, .budget = budget, .pool = pool, .limit_bytes = limit_bytes};
    budget->prompts = c;
}

void hyp_prompt_cache_deinit(hyp_prompt_cache *c) {
    if (!c->budget) return;
    hyp_pool_wait_idle(*c->pool);
    while (c->texts) forget(c, &c->texts);
    hyp_prompt_cache **link = &c->budget->prompts;
    while (*link != c) link = &(*link)->next;
    *link = c->next;
    *c = (hyp_prompt_cache){0};
}

void hyp_forget_prompts(hyp_prompt_cache *caches, size_t bytes) {
    for (hyp_prompt_cache *c = caches; c; c = c->next) {
        if (!c->texts) continue;
        size_t before = c->budget->used_bytes;
        hyp_pool_wait_idle(*c->pool);
        while (c->texts && before - c->budget->used_bytes < bytes) forget_last(c);
        size_t given = before - c->budget->used_bytes;
        if (given >= bytes) return;
        bytes -= given;
    }
}

// ---- Remembering

uint32_t hyp_sequence_common(const hyp_sequence *s, const int32_t *text, const int32_t *tokens,
                             uint32_t count) {
    uint32_t most = hyp_min_u32(s->count, count), n = 0;
    while (n < most && text[n] == tokens[n]) n++;
    return s->recurrent && n < s->count ? 0 : n;
}

// Whether the first `count` tokens are part of a text that is there, which is then used last. Texts
// that are a part of them go: they are of no use any more.
static bool known(hyp_prompt_cache *c, const hyp_kv_cache *of, const int32_t *tokens,
                  uint32_t count) {
    for (hyp_remembered **link = &c->texts; *link;) {
        const hyp_sequence *s = &(*link)->sequence;
        uint32_t least = hyp_min_u32(s->count, count);
        if (s->cache != of || memcmp((*link)->tokens, tokens, least * sizeof *tokens)) {
            link = &(*link)->next;
            continue;
        }
        if (s->count == count || (s->count > count && !s->recurrent)) {
            put_first(c, link);
            return true;
        }
        if (s->recurrent) link = &(*link)->next;
        else forget(c, link);
    }
    return false;
}

// A text of `count` tokens without its blocks, and room for it within the limit. NULL: there is no
// memory, and weights are not to give way for it.
static hyp_remembered *make(hyp_prompt_cache *c, const hyp_kv_cache *of, const int32_t *tokens,
                            uint32_t count, uint64_t more_bytes) {
    uint64_t bytes = bytes_of(of, count);
    while (c->bytes + bytes > c->limit_bytes) forget_last(c);
    if (hyp_budget_left(c->budget) < more_bytes) return NULL;
    size_t own = record_bytes(of, count);
    hyp_remembered *text = hyp_budget_alloc(c->budget, own, "prompt");
    if (!text) return NULL;
    memset(text, 0, own);
    *text = (hyp_remembered){.bytes = (size_t)bytes};
    text->tokens = (int32_t *)(void *)((uint8_t *)text + tokens_at(of, count));
    memcpy(text->tokens, tokens, count * sizeof *tokens);
    return text;
}

static void *tables_of(hyp_remembered *text) { return (uint8_t *)text + tables_at(); }

static void add(hyp_prompt_cache *c, hyp_remembered *text) {
    text->next = c->texts;
    c->texts = text;
    c->bytes += text->bytes;
}

// What is let go meanwhile may be read by nobody: late workers read what a session has had.
static uint32_t wanted(hyp_prompt_cache *c, const int32_t *tokens, const hyp_sequence *s) {
    uint32_t count = c->limit_bytes ? fitting(c, s) : 0;
    if (!count) return 0;
    hyp_pool_wait_idle(*c->pool);
    return known(c, s->cache, tokens, count) ? 0 : count;
}

void hyp_prompt_cache_copy(hyp_prompt_cache *c, const int32_t *tokens, const hyp_sequence *s) {
    uint32_t count = wanted(c, tokens, s);
    if (!count) return;
    hyp_remembered *text = make(c, s->cache, tokens, count, bytes_of(s->cache, count) * 9 / 8);
    if (!text) return;
    if (hyp_sequence_begin(&text->sequence, s->cache, tables_of(text), count)) {
        hyp_budget_free(c->budget, text, record_bytes(s->cache, count));
        return;
    }
    hyp_sequence_share(&text->sequence, s, count);
    add(c, text);
}

void hyp_prompt_cache_move(hyp_prompt_cache *c, const int32_t *tokens, hyp_sequence *s) {
    uint32_t count = s->cache ? wanted(c, tokens, s) : 0;
    hyp_remembered *text = count ? make(c, s->cache, tokens, count, 0) : NULL;
    if (!text) {
        hyp_sequence_deinit(s);
        return;
    }
    hyp_sequence_move(&text->sequence, s, tables_of(text), count);
    add(c, text);
}

const hyp_sequence *hyp_prompt_cache_find(hyp_prompt_cache *c, const hyp_kv_cache *of,
                                          const int32_t *tokens, uint32_t count, uint32_t *common) {
    hyp_remembered **best = NULL;
    for (hyp_remembered **link = &c->texts; *link; link = &(*link)->next) {
        if ((*link)->sequence.cache != of) continue;
        uint32_t n = hyp_sequence_common(&(*link)->sequence, (*link)->tokens, tokens, count);
        if (n <= *common) continue;
        *common = n;
        best = link;
    }
    if (!best) return NULL;
    put_first(c, best);
    return &c->texts->sequence;
}
