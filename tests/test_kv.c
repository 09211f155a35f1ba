// Sequences in blocks: random histories against a plain model of what each position holds; who
// owns which block; memory that runs out.
#include "../src/kernels/kv_layout.h"
#include "harness.h"
#include "rig.h"

#include <string.h>

enum { SEQUENCES = 5, CONTEXT_MOST = 700, STATE = 12, ATTENTIONS = 2 };
static const hyp_kv_shape shapes[ATTENTIONS] = {{.heads = 2, .head = 8}, {.heads = 1, .head = 24}};

typedef struct model { // what a sequence must hold
    bool there;
    uint32_t context, count;
    uint32_t known; // positions whose contents can be had again by restoring
    uint32_t mark[CONTEXT_MOST];
    float state[STATE];
    hyp_arena arena;
} model;

static rig r;
static hyp_kv_cache cache;
static hyp_sequence sequence[SEQUENCES];
static model models[SEQUENCES];
static uint32_t last_mark;

static void open_cache(uint32_t recurrent_floats) {
    rig_add(&r, "nothing", 1, 1, 32, HYP_F32);
    rig_open(&r);
    for (int i = 0; i < ATTENTIONS; i++) (void)hyp_graph_add_kv(&r.net.graph, shapes[i]);
    r.net.graph.recurrent_floats = recurrent_floats;
    CHECK(!hyp_kv_cache_init(&cache, &r.net.graph, HYP_KV_F16, &r.arena));
}

static void end(int s) {
    hyp_sequence_deinit(&sequence[s]);
    hyp_arena_deinit(&models[s].arena);
    models[s].there = false;
}

static void close_cache(void) {
    for (int s = 0; s < SEQUENCES; s++)
        if (models[s].there) end(s);
    CHECK(cache.blocks == 0 && !cache.free);
    hyp_kv_cache_deinit(&cache);
    rig_end(&r);
}

// ---- Marks: each position, attention and head has its own keys and values

static float mark_of(uint32_t mark, uint32_t kv, uint32_t head, bool value, uint32_t element) {
    uint32_t mixed = mark * 1000003 + kv * 7919 + head * 104729 + value * 1299709 +
                     element * 15485863;
    return (float)(mixed % 2048); // a half holds it
}

static void write_mark(hyp_sequence *s, uint32_t position, uint32_t mark) {
    float x[32];
    hyp_kv_block *block = s->blocks[position / HYP_KV_BLOCK];
    for (uint32_t kv = 0; kv < ATTENTIONS; kv++)
        for (uint32_t h = 0; h < shapes[kv].heads; h++)
            for (int value = 0; value < 2; value++) {
                uint8_t *data = value ? hyp_kv_values(&cache, block, kv, h)
                                      : hyp_kv_keys(&cache, block, kv, h);
                CHECK(((uintptr_t)data & 63) == 0);
                for (uint32_t i = 0; i < shapes[kv].head; i++)
                    x[i] = mark_of(mark, kv, h, value, i);
                (value ? r.kernels.kv[HYP_KV_F16].store_value : r.kernels.kv[HYP_KV_F16].store_key)(
                    data, position % HYP_KV_BLOCK, x, shapes[kv].head);
            }
}

static bool holds(const hyp_sequence *s, uint32_t position, uint32_t mark) {
    const hyp_kv_block *block = s->blocks[position / HYP_KV_BLOCK];
    uint32_t at = position % HYP_KV_BLOCK;
    for (uint32_t kv = 0; kv < ATTENTIONS; kv++)
        for (uint32_t h = 0; h < shapes[kv].heads; h++)
            for (uint32_t i = 0; i < shapes[kv].head; i++) {
                const uint8_t *key = hyp_kv_keys(&cache, block, kv, h) +
                                     hyp_kv_key_at(HYP_KV_F16, at, i, shapes[kv].head),
                              *value = hyp_kv_values(&cache, block, kv, h) +
                                       hyp_kv_value_at(HYP_KV_F16, at, i);
                if (hyp_f16_to_f32(hyp_load_u16(key)) != mark_of(mark, kv, h, false, i) ||
                    hyp_f16_to_f32(hyp_load_u16(value)) != mark_of(mark, kv, h, true, i))
                    return false;
            }
    return true;
}

// ---- What must hold at any time

static uint32_t blocks_of(uint32_t positions) {
    return (positions + HYP_KV_BLOCK - 1) / HYP_KV_BLOCK;
}

static uint32_t holders(const hyp_kv_block *block) {
    uint32_t n = 0;
    for (int s = 0; s < SEQUENCES; s++)
        for (uint32_t i = 0; models[s].there && i < blocks_of(models[s].context); i++)
            n += sequence[s].blocks[i] == block;
    return n;
}

static void check_blocks(void) {
    uint32_t reserved = 0, in_use = 0, idle = 0;
    for (int s = 0; s < SEQUENCES; s++) {
        if (!models[s].there) continue;
        uint32_t count = blocks_of(models[s].context);
        reserved += count;
        for (uint32_t i = 0; i < count; i++) {
            const hyp_kv_block *block = sequence[s].blocks[i];
            if (!block) continue;
            CHECK(block->users == holders(block));
            bool counted = false; // as another's, who comes before
            for (int k = 0; k < s; k++)
                for (uint32_t j = 0; models[k].there && j < blocks_of(models[k].context); j++)
                    counted = counted || sequence[k].blocks[j] == block;
            in_use += !counted;
        }
    }
    for (const hyp_kv_block *b = cache.free; b; b = b->next) {
        CHECK(b->users == 0 && holders(b) == 0);
        idle++;
    }
    CHECK(cache.blocks == reserved && in_use + idle == reserved);
}

static void check_contents(void) {
    for (int s = 0; s < SEQUENCES; s++) {
        if (!models[s].there) continue;
        const model *m = &models[s];
        CHECK(sequence[s].count == m->count && sequence[s].context == m->context);
        for (uint32_t p = 0; p < m->known; p++)
            CHECK_MSG(holds(&sequence[s], p, m->mark[p]), "sequence %d, position %u of %u", s, p,
                      m->count);
        if (r.net.graph.recurrent_floats) CHECK(same_bits(sequence[s].recurrent, m->state, STATE));
        else CHECK(!sequence[s].recurrent);
    }
}

// ---- What can happen

static void begin(int s) {
    model *m = &models[s];
    *m = (model){.there = true, .context = 1 + random_u32() % CONTEXT_MOST};
    hyp_arena_init(&m->arena, &r.budget);
    CHECK(!hyp_sequence_init(&sequence[s], &cache, &m->arena, m->context));
}

// A pass over so many positions; one that fails has written to some of them.
static void compute(int s, uint32_t n, bool fails) {
    model *m = &models[s];
    hyp_sequence *q = &sequence[s];
    bool shared = false;
    for (uint32_t i = m->count / HYP_KV_BLOCK; i < blocks_of(m->count + n); i++)
        shared = shared || (q->blocks[i] && holders(q->blocks[i]) > 1);
    CHECK(hyp_sequence_shares(q, n) == shared);
    hyp_sequence_extend(q, n);
    CHECK(!hyp_sequence_shares(q, n));
    for (uint32_t i = 0; i < n; i++) {
        m->mark[m->count + i] = ++last_mark;
        write_mark(q, m->count + i, last_mark);
    }
    if (!fails) q->count += n;
    if (!fails) m->count += n;
    m->known = m->count;
    if (!q->recurrent || fails) return;
    for (int i = 0; i < STATE; i++) q->recurrent[i] = m->state[i] = random_float();
}

static void trim(int s, uint32_t count) {
    model *m = &models[s];
    uint32_t want = count < m->count ? count : m->count;
    if (count < m->count && sequence[s].recurrent) {
        want = 0;
        m->known = 0; // gone with its state
        memset(m->state, 0, sizeof m->state);
    }
    CHECK(hyp_sequence_trim(&sequence[s], count) == want);
    m->count = want;
}

static void fork_to(int to, int from) {
    model *a = &models[to];
    const model *b = &models[from];
    hyp_sequence_fork(&sequence[to], &sequence[from]);
    a->count = a->known = b->count;
    memcpy(a->mark, b->mark, sizeof a->mark);
    memcpy(a->state, b->state, sizeof a->state);
    for (uint32_t i = 0; i < blocks_of(a->count); i++) // shared, not copied
        CHECK(sequence[to].blocks[i] == sequence[from].blocks[i]);
    for (uint32_t i = blocks_of(a->count); i < blocks_of(a->context); i++)
        CHECK(!sequence[to].blocks[i]);
}

static void act(void) {
    int s = (int)(random_u32() % SEQUENCES), other = (int)(random_u32() % SEQUENCES);
    model *m = &models[s];
    uint32_t what = random_u32() % 100, left = m->context - m->count;
    if (!m->there) begin(s);
    else if (what < 45) {
        uint32_t most = random_u32() % 4 ? 9 : 300, n = left ? 1 + random_u32() % left : 0;
        compute(s, n < most ? n : most, random_u32() % 8 == 0);
    } else if (what < 60) trim(s, random_u32() % 4 ? m->count - m->count % 5 : random_u32() % 700);
    else if (what < 72) {
        uint32_t n = m->known - m->count;
        n = n ? 1 + random_u32() % n : 0;
        hyp_sequence_restore(&sequence[s], n);
        m->count += n;
    } else if (what < 95) {
        if (other == s || !models[other].there || models[other].context < m->context) return;
        if (random_u32() % 4) trim(other, 0); // the interface says that it is empty
        if (models[other].count == 0) fork_to(other, s);
    } else end(s);
}

static void random_histories(uint32_t recurrent_floats) {
    open_cache(recurrent_floats);
    for (int i = 0; i < 3000; i++) {
        act();
        check_blocks();
        if (i % 3 == 0) check_contents();
    }
    check_contents();
    close_cache();
}

static void histories(void) { random_histories(0); }
static void histories_with_state(void) { random_histories(STATE); }

// A fork and the one that was forked write on in turn: at, before and behind the border of a block.
static void copies_on_write(void) {
    static const uint32_t lengths[] = {1, 127, 128, 129, 255, 256, 300};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int first = 0; first < 2; first++) {
            open_cache(0);
            for (int s = 0; s < 2; s++) {
                models[s] = (model){.there = true, .context = 400};
                hyp_arena_init(&models[s].arena, &r.budget);
                CHECK(!hyp_sequence_init(&sequence[s], &cache, &models[s].arena, 400));
            }
            compute(0, lengths[i], false);
            fork_to(1, 0);
            check_blocks();
            compute(first, 2, false);
            check_contents();
            compute(!first, 3, false);
            check_contents();
            check_blocks();
            // Whole blocks stay shared.
            CHECK(holders(sequence[0].blocks[0]) == (lengths[i] >= HYP_KV_BLOCK ? 2 : 1));
            // What the one gives up, the other keeps.
            end(first);
            check_contents();
            check_blocks();
            close_cache();
        }
}

// ---- Memory

static void bytes_are_what_is_taken(void) {
    open_cache(STATE);
    uint64_t block = 64;
    for (int i = 0; i < ATTENTIONS; i++)
        block += 2 * shapes[i].heads * hyp_kv_block_bytes(HYP_KV_F16, shapes[i].head);
    CHECK(cache.block_bytes == block);
    static const uint32_t contexts[] = {1, 128, 129, 700};
    static const uint32_t blocks[] = {1, 1, 2, 6};
    for (int i = 0; i < 4; i++)
        CHECK(hyp_sequence_bytes(&r.net.graph, HYP_KV_F16, contexts[i]) ==
              blocks[i] * (block + sizeof(void *)) + STATE * sizeof(float));
    close_cache();
}

// Beginning a sequence, and all of it again when there is no more memory.
static hyp_status try_to_begin(hyp_sequence *s, uint32_t context) {
    hyp_arena arena;
    hyp_arena_init(&arena, &r.budget);
    size_t live = hyp_slab_get_stats(r.slab).live_blocks;
    uint32_t blocks = cache.blocks;
    hyp_status status = hyp_sequence_init(s, &cache, &arena, context);
    if (status) {
        CHECK(status == HYP_E_NOMEM && !s->cache && cache.blocks == blocks);
        CHECK(hyp_slab_get_stats(r.slab).live_blocks == live);
    } else CHECK(cache.blocks == blocks + blocks_of(context));
    hyp_sequence_deinit(s); // nothing, where it was refused
    CHECK(cache.blocks == blocks && hyp_slab_get_stats(r.slab).live_blocks == live);
    hyp_arena_deinit(&arena);
    return status;
}

static void out_of_memory(void) {
    open_cache(STATE);
    begin(0);
    compute(0, models[0].context, false);
    uint32_t refused = 0;
    hyp_status status;
    do { // a page more each time
        r.budget.limit_bytes = r.budget.used_bytes + refused * 4096;
        status = try_to_begin(&sequence[1], 3000);
        refused += status != HYP_OK;
        check_blocks();
    } while (status);
    CHECK(refused > 8);
    r.budget.limit_bytes = 0;
#ifdef HYP_CHECKED
    for (uint64_t n = 1;; n++) {
        r.budget.fail_at = r.budget.allocations + n;
        status = try_to_begin(&sequence[1], 3000);
        check_blocks();
        if (!status) break;
    }
    r.budget.fail_at = 0;
#endif
    check_contents();
    close_cache();
}

static void odd_heads(void) {
    static const uint32_t heads[][2] = {{40, 32}, {32, 8}, {64, 33}, {32, 96}};
    for (int i = 0; i < 4; i++) {
        rig_add(&r, "nothing", 1, 1, 32, HYP_F32);
        rig_open(&r);
        for (int k = 0; k < 2; k++)
            (void)hyp_graph_add_kv(&r.net.graph, (hyp_kv_shape){.heads = 1, .head = heads[i][k]});
        CHECK(!hyp_kv_cache_init(&cache, &r.net.graph, HYP_KV_F16, &r.arena));
        hyp_kv_cache_deinit(&cache);
        hyp_status status = hyp_kv_cache_init(&cache, &r.net.graph, HYP_KV_Q8_0, &r.arena);
        CHECK(status == (i < 3 ? HYP_E_UNSUPPORTED : HYP_OK));
        if (status) CHECK(strstr(r.fault.text, "a Q8_0 cache needs heads of a multiple of 32"));
        hyp_kv_cache_deinit(&cache);
        rig_end(&r);
    }
}

int main(void) {
    RUN(histories);
    RUN(histories_with_state);
    RUN(copies_on_write);
    RUN(bytes_are_what_is_taken);
    RUN(out_of_memory);
    RUN(odd_heads);
    return finish();
}
