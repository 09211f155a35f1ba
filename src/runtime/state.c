// Saved sessions: docs/STATE.md says what the bytes mean. Nothing of a session is changed before
// all of a state has been read and found sound.
#include "../base/bytes.h"
#include "../base/crc32c.h"
#include "../kernels/kv_layout.h"
#include "call.h"
#include "options.h"

enum {
    MAGIC = 0x53505948, // "HYPS"
    VERSION = 1,
    HEAD_BYTES = 24,        // magic, version, bytes of the whole, fingerprint
    SECTION_BYTES = 16,     // id, zero, bytes
    CRC_BYTES = 4,          // of all that is before it
    BLOCK_BYTES = 32 << 10, // that a writer is given at once
    ROW_MOST = 2048,        // bytes of a head's keys or values at one position
    NAME_MOST = 64,
    ANSWER_BYTES = 72,
    CONFIG_BYTES = 20,
};

// ---- What both ways know

typedef enum part {
    MODEL,
    CONFIG,
    TEXT,
    CACHE,
    RECURRENT,
    ANSWER,
    SAMPLING,
    BIAS,
    STOPS,
    HELD,
    UNREAD,
    PARTS
} part;

static const char ids[PARTS][5] = {"MODL", "CONF", "TEXT", "KEYV", "RECU", "ANSW",
                                   "SAMP", "BIAS", "STOP", "HELD", "UNRD"};

static uint64_t mix(uint64_t hash, const void *data, size_t bytes) {
    return (hash ^ hyp_hash(data, bytes)) * 1099511628211u;
}

// Of the metadata and the tensors' names, formats and shapes, not of how they are divided into
// files: what is the same model has the same, wherever it was opened.
static uint64_t fingerprint_of(hyp_model *m) {
    if (m->fingerprint) return m->fingerprint;
    const hyp_gguf *g = &m->gguf;
    uint64_t hash = 14695981039346656037u;
    for (uint32_t i = 0; i < hyp_gguf_kv_count(g); i++) {
        const hyp_gguf_kv *kv = hyp_gguf_kv_at(g, i);
        hyp_text key = hyp_gguf_key(g, kv);
        if (key.bytes >= 6 && !memcmp(key.data, "split.", 6)) continue;
        hash = mix(hash, key.data, key.bytes);
        hash = mix(hash, hyp_gguf_value(g, kv), (size_t)kv->bytes);
    }
    for (uint32_t i = 0; i < hyp_gguf_tensor_count(g); i++) {
        const hyp_gguf_tensor *t = hyp_gguf_tensor_at(g, i);
        hyp_text name = hyp_gguf_tensor_name(g, t);
        uint8_t shape[4 + 8 * HYP_GGUF_DIMS];
        hyp_store_u32(shape, t->type);
        for (int k = 0; k < HYP_GGUF_DIMS; k++) hyp_store_u64(shape + 4 + 8 * k, t->dim[k]);
        hash = mix(mix(hash, name.data, name.bytes), shape, sizeof shape);
    }
    const hyp_graph *graph = &m->net.graph; // some models have another rope for long contexts
    for (uint32_t i = 0; i < graph->rope_count; i++) {
        const hyp_rope *rope = &graph->ropes[i];
        uint8_t turns[12];
        hyp_store_u32(turns, hyp_f32_bits(rope->base));
        hyp_store_u32(turns + 4, hyp_f32_bits(rope->scale));
        hyp_store_u32(turns + 8, hyp_f32_bits(rope->magnitude));
        hash = mix(hash, turns, sizeof turns);
        if (!rope->factors) continue;
        hyp_text name = hyp_gguf_tensor_name(g, rope->factors->tensor);
        hash = mix(hash, name.data, name.bytes);
    }
    return m->fingerprint = hash ? hash : 1;
}

static hyp_text name_of(const hyp_model *m) {
    hyp_text name = hyp_gguf_string(&m->gguf, "general.name");
    if (!name.bytes) name = (hyp_text){m->shape.arch->name, strlen(m->shape.arch->name)};
    if (name.bytes > NAME_MOST) name.bytes = NAME_MOST;
    return name;
}

// Bytes of one position's keys and values.
static uint64_t position_bytes(const hyp_graph *g, hyp_kv_format format) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < g->kv_count; i++)
        bytes += 2ull * g->kv[i].heads * hyp_kv_row_bytes(format, g->kv[i].head);
    return bytes;
}

// Where the block's part stands that has head `head` of attention `kv`.
static uint8_t *head_of(const hyp_sequence *s, uint32_t at, uint32_t kv, uint32_t head,
                        bool value) {
    const hyp_kv_block *block = s->blocks[at / HYP_KV_BLOCK];
    return value ? hyp_kv_values(s->cache, block, kv, head)
                 : hyp_kv_keys(s->cache, block, kv, head);
}

// ---- Writing

typedef struct sink {
    const hyp_writer *to;
    uint8_t *block; // BLOCK_BYTES; NULL: bytes are counted only
    size_t used;
    uint64_t bytes;
    uint32_t crc;
    bool failed; // the writer takes no more
} sink;

static void flush(sink *out) {
    if (out->used && !out->failed)
        out->failed = !out->to->write(out->to->context, out->block, out->used);
    out->used = 0;
}

static void put(sink *out, const void *data, size_t bytes) {
    out->bytes += bytes;
    if (!out->block || !bytes) return;
    out->crc = hyp_crc32c(out->crc, data, bytes);
    for (const uint8_t *from = data; bytes;) {
        size_t n = bytes < BLOCK_BYTES - out->used ? bytes : BLOCK_BYTES - out->used;
        memcpy(out->block + out->used, from, n);
        out->used += n;
        from += n;
        bytes -= n;
        if (out->used == BLOCK_BYTES) flush(out);
    }
}

static void put_u32(sink *out, uint32_t value) {
    uint8_t bytes[4];
    hyp_store_u32(bytes, value);
    put(out, bytes, sizeof bytes);
}
static void put_u64(sink *out, uint64_t value) {
    uint8_t bytes[8];
    hyp_store_u64(bytes, value);
    put(out, bytes, sizeof bytes);
}

static void put_config(sink *out, const hyp_session *s) {
    put_u32(out, s->sequence.context);
    put_u32(out, s->config.cache);
    put_u32(out, s->config.lookup);
    put_u32(out, s->config.context_shift);
    put_u32(out, s->config.context_keep);
}

static void put_text(sink *out, const hyp_session *s) {
    for (uint32_t i = 0; i < s->count; i++) put_u32(out, (uint32_t)s->history[i]);
}

static void put_cache(sink *out, const hyp_session *s) {
    const hyp_sequence *q = &s->sequence;
    const hyp_graph *g = q->cache->graph;
    uint8_t row[ROW_MOST];
    put_u32(out, q->count);
    if (!out->block) {
        out->bytes += q->count * position_bytes(g, q->cache->format);
        return;
    }
    for (uint32_t kv = 0; kv < g->kv_count; kv++)
        for (uint32_t i = 0; i < 2 * g->kv[kv].heads; i++)
            for (uint32_t at = 0; at < q->count; at++) {
                uint32_t n = g->kv[kv].head;
                hyp_kv_get_row(q->cache->format, head_of(q, at, kv, i / 2, i % 2), i % 2,
                               at % HYP_KV_BLOCK, n, row);
                put(out, row, hyp_kv_row_bytes(q->cache->format, n));
            }
}

static void put_recurrent(sink *out, const hyp_session *s) {
    uint32_t count = s->sequence.recurrent ? s->model->net.graph.recurrent_floats : 0;
    for (uint32_t i = 0; i < count; i++) put_u32(out, hyp_f32_bits(s->sequence.recurrent[i]));
}

static void put_answer(sink *out, const hyp_session *s) {
    const hyp_session_stats *t = &s->stats;
    const uint32_t counts[] = {t->prompt_tokens, t->reused,   t->answer_tokens, t->batched,
                               t->drafted,       t->accepted, t->shifts};
    put_u32(out, s->finish);
    put_u32(out, (uint32_t)s->chosen);
    put_u64(out, s->sampler.random[0]);
    put_u64(out, s->sampler.random[1]);
    put_u32(out, hyp_f32_bits(s->sampler.mu));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) put_u32(out, counts[i]);
    put_u64(out, t->prompt_ns);
    put_u64(out, t->answer_ns);
}

// By their names, so that one more is no other format.
static void put_sampling(sink *out, const hyp_session *s) {
    for (uint32_t i = 0; i < hyp_sampling_options.count; i++) {
        const hyp_option *o = &hyp_sampling_options.rows[i];
        double value = hyp_option_get(o, &s->sampler.config);
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        uint8_t length = (uint8_t)strlen(o->name);
        put(out, &length, 1);
        put(out, o->name, length);
        put_u64(out, bits);
    }
}

static void put_bias(sink *out, const hyp_session *s) {
    for (uint32_t i = 0; i < s->sampler.config.bias_count; i++) {
        put_u32(out, (uint32_t)s->sampler.bias[i].token);
        put_u32(out, hyp_f32_bits(s->sampler.bias[i].bias));
    }
}

static void put_stops(sink *out, const hyp_session *s) {
    for (uint32_t i = 0; i < s->stop.count; i++) {
        put_u32(out, (uint32_t)s->stop.texts[i].bytes);
        put(out, s->stop.texts[i].data, s->stop.texts[i].bytes);
    }
}

static void put_held(sink *out, const hyp_session *s) {
    if (s->stop.pending.bytes > s->stop.emitted)
        put(out, s->stop.pending.data + s->stop.emitted, s->stop.pending.bytes - s->stop.emitted);
}

static void put_unread(sink *out, const hyp_session *s) {
    for (size_t at = s->unread_at; at < s->unread.bytes;) {
        hyp_unread head;
        memcpy(&head, s->unread.data + at, sizeof head);
        put_u32(out, (uint32_t)head.token);
        put_u32(out, head.finish);
        put_u32(out, head.bytes);
        put(out, s->unread.data + at + sizeof head, head.bytes);
        at += sizeof head + head.bytes;
    }
}

static void put_part(sink *out, const hyp_session *s, part p) {
    switch (p) {
    case MODEL: {
        hyp_text name = name_of(s->model);
        put(out, name.data, name.bytes);
        return;
    }
    case CONFIG: put_config(out, s); return;
    case TEXT: put_text(out, s); return;
    case CACHE: put_cache(out, s); return;
    case RECURRENT: put_recurrent(out, s); return;
    case ANSWER: put_answer(out, s); return;
    case SAMPLING: put_sampling(out, s); return;
    case BIAS: put_bias(out, s); return;
    case STOPS: put_stops(out, s); return;
    case HELD: put_held(out, s); return;
    default: put_unread(out, s); return;
    }
}

// All but the check at the end, into a sink that knows how many bytes it will be.
static void put_state(sink *out, const hyp_session *s, uint64_t bytes) {
    put_u32(out, MAGIC);
    put_u32(out, VERSION);
    put_u64(out, bytes);
    put_u64(out, fingerprint_of(s->model));
    for (part p = MODEL; p < (s->ready ? PARTS : ANSWER); p++) {
        sink count = {0};
        put_part(&count, s, p);
        put(out, ids[p], 4);
        put_u32(out, 0);
        put_u64(out, count.bytes);
        put_part(out, s, p);
    }
}

hyp_status hyp_session_save(const hyp_session *s, const hyp_writer *to) {
    if (s->busy) return hyp_session_refuse(s);
    hyp_budget *budget = &s->model->engine->budget;
    sink count = {0}, out = {.to = to, .block = hyp_budget_alloc(budget, BLOCK_BYTES, "state")};
    if (!out.block)
        return hyp_fail(hyp_session_fault(s), HYP_E_NOMEM, "not enough memory to save a session");
    put_state(&count, s, 0);
    put_state(&out, s, count.bytes + CRC_BYTES);
    put_u32(&out, out.crc);
    flush(&out);
    hyp_budget_free(budget, out.block, BLOCK_BYTES);
    return out.failed ? hyp_fail(hyp_session_fault(s), HYP_E_IO,
                                 "the session's state could not be written")
                      : HYP_OK;
}

// ---- Reading

typedef struct span {
    const uint8_t *data; // NULL: the section is not there
    size_t bytes;
} span;

typedef struct state {
    span parts[PARTS];
    uint64_t fingerprint;
    uint32_t context, cache, lookup, shift, keep; // of CONFIG
    uint32_t count, positions;
} state;

static hyp_status damaged(hyp_model *m, const char *what) {
    return hyp_fail(&m->engine->fault, HYP_E_FORMAT,
                    "this is no state of a session, or it is damaged (%s): save it again", what);
}

// Takes `bytes` off the front; NULL: there are not so many.
static const uint8_t *take(span *from, size_t bytes) {
    if (from->bytes < bytes) return NULL;
    const uint8_t *at = from->data;
    from->data += bytes;
    from->bytes -= bytes;
    return at;
}

static hyp_status read_sections(hyp_model *m, span rest, state *out) {
    while (rest.bytes) {
        const uint8_t *head = take(&rest, SECTION_BYTES);
        if (!head) return damaged(m, "a section is cut short");
        part p = MODEL;
        while (p < PARTS && memcmp(head, ids[p], 4)) p++;
        uint64_t bytes = hyp_load_u64(head + 8);
        if (p == PARTS || out->parts[p].data || hyp_load_u32(head + 4) || bytes > rest.bytes)
            return damaged(m, "its sections");
        out->parts[p] = (span){take(&rest, (size_t)bytes), (size_t)bytes};
    }
    for (part p = MODEL; p < PARTS; p++)
        if (!out->parts[p].data && (p < ANSWER || out->parts[ANSWER].data))
            return damaged(m, "a section is missing");
    return HYP_OK;
}

static hyp_status read_head(hyp_model *m, const void *data, size_t bytes, state *out) {
    const uint8_t *head = data;
    *out = (state){0};
    if (bytes < HEAD_BYTES + CRC_BYTES || hyp_load_u32(head) != MAGIC)
        return damaged(m, "it does not begin as one");
    uint32_t version = hyp_load_u32(head + 4);
    if (version > VERSION)
        return hyp_fail(&m->engine->fault, HYP_E_UNSUPPORTED,
                        "the state is of version %u, and this Hyperion reads up to %d: use a newer "
                        "one",
                        version, VERSION);
    if (version == 0 || hyp_load_u64(head + 8) != bytes) return damaged(m, "its length");
    if (hyp_crc32c(0, head, bytes - CRC_BYTES) != hyp_load_u32(head + bytes - CRC_BYTES))
        return damaged(m, "its checksum");
    out->fingerprint = hyp_load_u64(head + 16);
    return read_sections(m, (span){head + HEAD_BYTES, bytes - HEAD_BYTES - CRC_BYTES}, out);
}

static hyp_status check_model(hyp_model *m, const state *in) {
    if (in->fingerprint == fingerprint_of(m)) return HYP_OK;
    hyp_text own = name_of(m);
    const span *name = &in->parts[MODEL];
    return hyp_fail(&m->engine->fault, HYP_E_ARGUMENT,
                    "the state is of the model '%.*s' (%08x) and this is '%.*s' (%08x): restore it "
                    "with the file that it was saved with",
                    (int)(name->bytes < NAME_MOST ? name->bytes : NAME_MOST),
                    (const char *)name->data, (uint32_t)(in->fingerprint >> 32), (int)own.bytes,
                    own.data, (uint32_t)(m->fingerprint >> 32));
}

static bool not_finite(uint32_t bits) { return (bits & 0x7F800000) == 0x7F800000; }

static bool rows_sound(const hyp_graph *g, hyp_kv_format format, uint32_t positions,
                       const uint8_t *row) {
    for (uint32_t kv = 0; kv < g->kv_count; kv++)
        for (uint64_t i = 0; i < 2ull * g->kv[kv].heads * positions; i++) {
            if (!hyp_kv_row_sound(format, g->kv[kv].head, row)) return false;
            row += hyp_kv_row_bytes(format, g->kv[kv].head);
        }
    return true;
}

// Text and cache. Any number in a state may be wrong, as nobody has to make it by saving.
static hyp_status check_text(hyp_model *m, state *in) {
    const hyp_graph *g = &m->net.graph;
    const span *text = &in->parts[TEXT], *cache = &in->parts[CACHE], *extra = &in->parts[RECURRENT];
    if (text->bytes % 4 || text->bytes / 4 > in->context) return damaged(m, "its text");
    in->count = (uint32_t)(text->bytes / 4);
    for (uint32_t i = 0; i < in->count; i++)
        if (hyp_load_u32(text->data + 4 * (size_t)i) >= g->vocab) return damaged(m, "its text");
    if (cache->bytes < 4) return damaged(m, "its cache");
    in->positions = hyp_load_u32(cache->data);
    hyp_kv_format format = in->cache == HYP_CACHE_Q8_0 ? HYP_KV_Q8_0 : HYP_KV_F16;
    for (uint32_t i = 0; i < g->kv_count && format == HYP_KV_Q8_0; i++)
        if (g->kv[i].head % 32) return damaged(m, "its cache");
    if (in->positions > in->count ||
        cache->bytes - 4 != in->positions * position_bytes(g, format) ||
        !rows_sound(g, format, in->positions, cache->data + 4))
        return damaged(m, "its cache");
    if (extra->bytes != (uint64_t)g->recurrent_floats * 4) return damaged(m, "recurrent state");
    for (size_t i = 0; i < extra->bytes; i += 4)
        if (not_finite(hyp_load_u32(extra->data + i))) return damaged(m, "recurrent state");
    return HYP_OK;
}

static hyp_status read_state(hyp_model *m, const void *data, size_t bytes, state *out) {
    hyp_status status = read_head(m, data, bytes, out);
    if (!status) status = check_model(m, out);
    if (status) return status;
    const span *config = &out->parts[CONFIG];
    if (config->bytes != CONFIG_BYTES) return damaged(m, "its options");
    uint32_t *const fields[] = {&out->context, &out->cache, &out->lookup, &out->shift, &out->keep};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = hyp_load_u32(config->data + 4 * i);
    if (out->context == 0 || out->context > HYP_CONTEXT_MOST || out->cache > HYP_CACHE_Q8_0 ||
        out->lookup > HYP_LOOKUP_MOST || out->shift > 1 || out->keep > HYP_CONTEXT_MOST)
        return damaged(m, "its options");
    return check_text(m, out);
}

hyp_status hyp_model_state_config(hyp_model *m, const void *data, size_t bytes,
                                  hyp_session_config *config) {
    state in;
    hyp_status status = read_state(m, data, bytes, &in);
    if (status) return status;
    config->context = in.context;
    config->cache = (hyp_cache)in.cache;
    config->lookup = in.lookup;
    config->context_shift = in.shift;
    config->context_keep = in.keep;
    return HYP_OK;
}

// An answer that is being restored, beside the one that the session has.
typedef struct revived {
    hyp_arena arena;
    hyp_arena_mark empty;
    hyp_sampler sampler;
    hyp_stop stop;
    hyp_buffer unread;
    hyp_session_stats stats;
    hyp_finish finish;
    int32_t chosen;
} revived;

static hyp_status read_sampling(hyp_session *s, const state *in, revived *out) {
    hyp_model *m = s->model;
    span rest = in->parts[SAMPLING], biases = in->parts[BIAS];
    hyp_sampling sampling = {0};
    while (rest.bytes) {
        char name[256];
        size_t length = *take(&rest, 1);
        const uint8_t *text = take(&rest, length), *bits = text ? take(&rest, 8) : NULL;
        if (!bits) return damaged(m, "its sampling");
        memcpy(name, text, length);
        name[length] = 0;
        const hyp_option *option = hyp_options_find(&hyp_sampling_options, name);
        uint64_t word = hyp_load_u64(bits);
        double value;
        memcpy(&value, &word, sizeof value);
        if (!option || !hyp_option_set(option, &sampling, value)) return damaged(m, "its sampling");
    }
    uint32_t count = (uint32_t)(biases.bytes / 8);
    hyp_logit_bias *bias = hyp_arena_alloc(&out->arena, count * sizeof *bias);
    if (!bias) return HYP_E_NOMEM;
    if (biases.bytes % 8) return damaged(m, "its sampling");
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = take(&biases, 8);
        bias[i] = (hyp_logit_bias){(int32_t)hyp_load_u32(at), hyp_bits_f32(hyp_load_u32(at + 4))};
    }
    sampling.bias = bias;
    sampling.bias_count = count;
    hyp_status status = hyp_sampler_init(&out->sampler, &sampling, hyp_session_vocab(s),
                                         &m->tokenizer, &m->engine->kernels, &out->arena,
                                         hyp_session_fault(s));
    if (status) return status == HYP_E_NOMEM ? status : damaged(m, "its sampling");
    for (uint32_t i = 0; i < in->count; i++)
        hyp_sampler_accept(&out->sampler, (int32_t)hyp_load_u32(in->parts[TEXT].data + 4ull * i));
    return HYP_OK;
}

static hyp_status read_stops(hyp_session *s, const state *in, revived *out) {
    hyp_text texts[HYP_STOPS_MAX];
    uint32_t count = 0;
    for (span rest = in->parts[STOPS]; rest.bytes; count++) {
        const uint8_t *head = take(&rest, 4);
        size_t bytes = head ? hyp_load_u32(head) : 0;
        const uint8_t *text = head ? take(&rest, bytes) : NULL;
        if (!text || count == HYP_STOPS_MAX) return damaged(s->model, "its stop texts");
        texts[count] = (hyp_text){(const char *)text, bytes};
    }
    hyp_status status = hyp_stop_begin(&out->stop, &out->arena, texts, count, hyp_session_fault(s));
    if (status) return status == HYP_E_NOMEM ? status : damaged(s->model, "its stop texts");
    const span *held = &in->parts[HELD];
    return hyp_stop_push(&out->stop, (const char *)held->data, held->bytes);
}

static hyp_status read_unread(hyp_session *s, const state *in, revived *out) {
    for (span rest = in->parts[UNREAD]; rest.bytes;) {
        const uint8_t *at = take(&rest, 12);
        if (!at) return damaged(s->model, "its unread text");
        hyp_unread head = {(int32_t)hyp_load_u32(at), hyp_load_u32(at + 4), hyp_load_u32(at + 8)};
        const uint8_t *text = take(&rest, head.bytes);
        if (!text || head.finish > HYP_FINISH_CONTEXT || head.token < -1 ||
            head.token >= (int64_t)hyp_session_vocab(s))
            return damaged(s->model, "its unread text");
        if (!hyp_buffer_append(&out->unread, &head, sizeof head) ||
            !hyp_buffer_append(&out->unread, text, head.bytes))
            return HYP_E_NOMEM;
    }
    return HYP_OK;
}

static hyp_status read_answer(hyp_session *s, const state *in, revived *out) {
    span rest = in->parts[ANSWER];
    if (rest.bytes != ANSWER_BYTES) return damaged(s->model, "its answer");
    const uint8_t *at = rest.data;
    hyp_session_stats *t = &out->stats;
    uint32_t finish = hyp_load_u32(at);
    out->chosen = (int32_t)hyp_load_u32(at + 4);
    if (finish > HYP_FINISH_CONTEXT || out->chosen < -1 || not_finite(hyp_load_u32(at + 24)) ||
        out->chosen >= (int64_t)hyp_session_vocab(s) || in->count == 0)
        return damaged(s->model, "its answer");
    out->finish = (hyp_finish)finish;
    hyp_status status = read_sampling(s, in, out);
    if (!status) status = read_stops(s, in, out);
    if (!status) status = read_unread(s, in, out);
    if (status) return status;
    out->sampler.random[0] = hyp_load_u64(at + 8);
    out->sampler.random[1] = hyp_load_u64(at + 16);
    out->sampler.mu = hyp_bits_f32(hyp_load_u32(at + 24));
    uint32_t *const counts[] = {&t->prompt_tokens, &t->reused,   &t->answer_tokens, &t->batched,
                                &t->drafted,       &t->accepted, &t->shifts};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        *counts[i] = hyp_load_u32(at + 28 + 4 * i);
    t->prompt_ns = hyp_load_u64(at + 56);
    t->answer_ns = hyp_load_u64(at + 64);
    return HYP_OK;
}

static hyp_status check_session(const hyp_session *s, const state *in) {
    static const char *const formats[] = {"f16", "q8_0"};
    if (in->cache != s->config.cache)
        return hyp_fail(hyp_session_fault(s), HYP_E_ARGUMENT,
                        "the state has a cache of the format %s and this session one of %s: give "
                        "it cache '%s'",
                        formats[in->cache], formats[s->config.cache], formats[in->cache]);
    if (in->count > s->sequence.context)
        return hyp_fail(hyp_session_fault(s), HYP_E_CONTEXT,
                        "the state's text of %u tokens does not fit a context of %u: give the "
                        "session one of %u",
                        in->count, s->sequence.context, in->context);
    return HYP_OK;
}

static void restore_text(hyp_session *s, const state *in) {
    hyp_sequence *q = &s->sequence;
    const hyp_graph *g = q->cache->graph;
    hyp_pool_wait_idle(s->model->net.pool); // a late worker may read the blocks
    hyp_sequence_trim(q, 0);
    hyp_sequence_trim(&s->draft.sequence, 0);
    s->count = in->count;
    for (uint32_t i = 0; i < in->count; i++)
        s->history[i] = (int32_t)hyp_load_u32(in->parts[TEXT].data + 4ull * i);
    if (in->positions) hyp_sequence_extend(q, in->positions);
    const uint8_t *row = in->parts[CACHE].data + 4;
    for (uint32_t kv = 0; kv < g->kv_count; kv++)
        for (uint32_t i = 0; i < 2 * g->kv[kv].heads; i++)
            for (uint32_t at = 0; at < in->positions; at++) {
                uint32_t n = g->kv[kv].head;
                hyp_kv_put_row(q->cache->format, head_of(q, at, kv, i / 2, i % 2), i % 2,
                               at % HYP_KV_BLOCK, n, row);
                row += hyp_kv_row_bytes(q->cache->format, n);
            }
    q->count = in->positions;
    for (uint32_t i = 0; i < g->recurrent_floats; i++)
        q->recurrent[i] = hyp_bits_f32(hyp_load_u32(in->parts[RECURRENT].data + 4ull * i));
    s->rows = s->row = s->hidden = 0;
}

static void take_answer(hyp_session *s, revived *a, bool ready) {
    hyp_arena arena = s->answer;
    hyp_stop stop = s->stop;
    hyp_buffer unread = s->unread;
    s->answer = a->arena;
    s->empty = a->empty;
    s->sampler = a->sampler;
    s->stop = a->stop;
    s->unread = a->unread;
    s->unread_at = 0;
    s->stats = a->stats;
    s->finish = a->finish;
    s->chosen = a->chosen;
    s->ready = ready;
    a->arena = arena; // the old one, to be freed
    a->stop = stop;
    a->unread = unread;
    // The last token's logits were in the workspace: it is computed again, and counted once.
    if (!ready || s->finish || s->stats.answer_tokens || s->sequence.count < s->count) return;
    if (s->sequence.recurrent) return;
    hyp_sequence_trim(&s->sequence, s->count - 1);
    if (s->stats.prompt_tokens) s->stats.prompt_tokens--;
}

hyp_status hyp_session_restore(hyp_session *s, const void *data, size_t bytes) {
    if (s->busy) return hyp_session_refuse(s);
    hyp_budget *budget = &s->model->engine->budget;
    state in;
    hyp_status status = read_state(s->model, data, bytes, &in);
    if (!status) status = check_session(s, &in);
    if (status) return status;
    revived answer = {.unread.budget = budget, .chosen = -1};
    bool ready = in.parts[ANSWER].data != NULL;
    hyp_arena_init(&answer.arena, budget);
    answer.empty = hyp_arena_now(&answer.arena);
    hyp_stop_init(&answer.stop, budget);
    if (ready) status = read_answer(s, &in, &answer);
    if (!status) {
        hyp_session_remember(s, 0);
        restore_text(s, &in);
        take_answer(s, &answer, ready);
    }
    hyp_arena_deinit(&answer.arena);
    hyp_stop_deinit(&answer.stop);
    hyp_buffer_deinit(&answer.unread);
    if (status == HYP_E_NOMEM)
        return hyp_fail(hyp_session_fault(s), status, "not enough memory to restore a session");
    return status;
}

uint32_t hyp_session_tokens(const hyp_session *s, const int32_t **tokens) {
    *tokens = s->history;
    return s->count;
}
