// An answer: what is due of the prompt, the next token and its text.
#include "../base/bytes.h"
#include "../port.h"
#include "batcher.h"
#include "call.h"

// What the sequence still lacks of the text, or one batch of it.
static hyp_status catch_up(hyp_session *s) {
    uint64_t start = hyp_port_now_ns();
    uint32_t before = s->sequence.count, n = s->count - before, rows;
    s->hidden = 0;
    hyp_status status = hyp_forward_text(&s->workspace, &s->sequence, s->history + before, n,
                                         &rows);
    if (status) return hyp_session_failed(s, status, n);
    s->hidden = rows;
    n = s->sequence.count - before;
    uint64_t spent = hyp_port_now_ns() - start;
    if (s->stats.answer_tokens) s->stats.answer_ns += spent;
    else {
        s->stats.prompt_ns += spent;
        s->stats.prompt_tokens += n;
    }
    return HYP_OK;
}

hyp_status hyp_answer_prefill(hyp_session *s, uint32_t *left) {
    if (!s->ready)
        return hyp_fail(hyp_session_fault(s), HYP_E_STATE, "begin an answer before asking for it");
    hyp_status status = s->sequence.count < s->count ? catch_up(s) : HYP_OK;
    *left = s->count - s->sequence.count;
    return status;
}

// Computes the token that is due, and a draft behind it, in one pass; s->rows stays 0 when there is
// nothing to draft.
static hyp_status speculate(hyp_session *s) {
    hyp_row rows[HYP_LOOKUP_MOST + 1];
    int32_t *draft = s->history + s->count; // where its tokens would stand
    uint32_t most = hyp_min_u32(s->lookup, s->sequence.context - s->count), n = 0;
    hyp_status status = HYP_OK;
    s->rows = s->row = 0;
    if (s->draft.workspace.net)
        status = hyp_draft_propose(&s->draft, s->history, s->count, most, draft, &n);
    else n = hyp_prompt_lookup(s->history, s->count, most, draft);
    if (n == 0 || status) return status;
    for (uint32_t i = 0; i <= n; i++)
        rows[i] = hyp_row_at(&s->sequence, i, s->history[s->sequence.count + i], true);
    s->hidden = 0;
    status = hyp_forward(&s->workspace,
                         &(hyp_batch){.rows = rows, .count = n + 1, .logits = s->ahead});
    if (status) return status;
    hyp_sequence_trim(&s->sequence, s->sequence.count - n); // what is drafted is not yet said
    s->rows = n + 1;
    s->stats.drafted += n;
    return HYP_OK;
}

static void record_latency(hyp_session *s, uint64_t ns) {
    s->latency_us[s->latencies++ % HYP_LATENCIES] = ns / 1000 > UINT32_MAX ? UINT32_MAX
                                                                           : (uint32_t)(ns / 1000);
}

// The logits of the next token, computing what is due. *logits are the session's until its next
// call.
static hyp_status next_logits(hyp_session *s, float **logits) {
    hyp_status status = HYP_OK;
    if (s->lookup && s->sequence.count < s->count) status = speculate(s);
    if (status) return status;
    if (s->row < s->rows) {
        *logits = s->ahead + s->row++ * ((size_t)hyp_session_vocab(s) + HYP_GROUP);
        return HYP_OK;
    }
    if (s->sequence.count < s->count) return hyp_batch_decode(s, logits);
    *logits = s->workspace.logits;
    return hyp_logits(&s->workspace, s->hidden - 1, 1, *logits);
}

// Computes what is due and chooses the next token, into s->chosen.
static hyp_status choose(hyp_session *s) {
    bool began = s->stats.answer_tokens > 0;
    // Where the logits after the last token are not known, and its hidden row is in another
    // session's workspace, it is computed again.
    if (s->sequence.count == s->count && s->row == s->rows && !s->hidden)
        hyp_sequence_trim(&s->sequence, s->count - 1);
    while (s->sequence.count + (began ? 1 : 0) < s->count) {
        hyp_status status = catch_up(s);
        if (status) return status;
    }
    uint64_t start = hyp_port_now_ns();
    float *logits;
    hyp_status status = next_logits(s, &logits);
    if (status) return status;
    s->chosen = hyp_sampler_choose(&s->sampler, logits);
    if (s->chosen < 0) {
        hyp_sequence_trim(&s->sequence, s->count - 1); // the next call computes it again
        s->rows = s->row = 0;
        return hyp_net_overflowed(&s->model->net);
    }
    uint64_t spent = hyp_port_now_ns() - start;
    s->stats.answer_ns += spent;
    if (began) record_latency(s, spent); // the first token's is the prompt's
    return HYP_OK;
}

// Where the context is full: drops the older half of what is behind the tokens to keep. What is
// left is computed again behind those, and sampled after, as if it had been the prompt. False:
// that is not wanted, or there is nothing to drop.
static bool shift(hyp_session *s) {
    uint32_t keep = s->config.context_keep;
    if (!keep && s->history[0] == s->model->tokenizer.bos) keep = 1;
    uint32_t dropped = keep < s->count ? (s->count - keep) / 2 : 0;
    if (!s->config.context_shift || !dropped) return false;
    s->count -= dropped;
    memmove(s->history + keep, s->history + keep + dropped, (s->count - keep) * sizeof *s->history);
    hyp_sequence_trim(&s->sequence, keep);
    hyp_sequence_trim(&s->draft.sequence, keep);
    s->rows = s->row = s->hidden = 0;
    hyp_sampler_forget(&s->sampler);
    for (uint32_t i = 0; i < s->count; i++) hyp_sampler_accept(&s->sampler, s->history[i]);
    s->stats.shifts++;
    return true;
}

// The next of the pieces that come again; false: there are none.
static bool read_again(hyp_session *s, hyp_piece *piece) {
    if (s->unread_at == s->unread.bytes) return false;
    hyp_unread head;
    const uint8_t *at = s->unread.data + s->unread_at;
    memcpy(&head, at, sizeof head);
    *piece = (hyp_piece){.token = head.token,
                         .text = (const char *)at + sizeof head,
                         .bytes = head.bytes,
                         .finish = (hyp_finish)head.finish};
    s->unread_at += sizeof head + head.bytes;
    return true;
}

hyp_status hyp_answer_next(hyp_session *s, hyp_piece *piece) {
    *piece = (hyp_piece){.token = -1, .text = "", .finish = s->finish};
    if (!s->ready)
        return hyp_fail(hyp_session_fault(s), HYP_E_STATE, "begin an answer before asking for it");
    if (read_again(s, piece)) return HYP_OK;
    if (s->finish)
        return hyp_fail(hyp_session_fault(s), HYP_E_STATE, "the answer has ended: begin another");
    if (s->count == s->sequence.context && !shift(s)) s->finish = HYP_FINISH_CONTEXT;
    else {
        hyp_status status = s->chosen < 0 ? choose(s) : HYP_OK;
        if (status) return hyp_session_failed(s, status, 1);
        int32_t token = s->chosen;
        if (hyp_tokenizer_ends(&s->model->tokenizer, token)) s->finish = HYP_FINISH_END;
        else {
            hyp_text text = hyp_tokenizer_piece(&s->model->tokenizer, token, false);
            if (hyp_stop_push(&s->stop, text.data, text.bytes))
                return hyp_fail(hyp_session_fault(s), HYP_E_NOMEM,
                                "not enough memory for the answer's text");
            hyp_sampler_accept(&s->sampler, token);
            bool right = s->row < s->rows && s->history[s->count] == token;
            s->history[s->count++] = token;
            if (right) { // it is computed already, and the logits after it are known
                hyp_sequence_restore(&s->sequence, 1);
                s->stats.accepted++;
            } else {
                s->rows = s->row = 0;
                hyp_sequence_trim(&s->draft.sequence, s->count - 1);
            }
        }
        piece->token = token;
        s->chosen = -1;
        s->stats.answer_tokens++;
    }
    if (hyp_stop_next(&s->stop, s->finish != HYP_FINISH_NONE, &piece->text, &piece->bytes))
        s->finish = HYP_FINISH_STOP;
    piece->finish = s->finish;
    return HYP_OK;
}

void hyp_session_flush(hyp_session *s, const char **text, size_t *bytes) {
    *text = "";
    *bytes = 0;
    if (!s->busy) hyp_stop_flush(&s->stop, text, bytes);
}

static bool put_piece(hyp_buffer *to, const hyp_piece *piece) {
    hyp_unread head = {piece->token, (uint32_t)piece->finish, (uint32_t)piece->bytes};
    return hyp_buffer_append(to, &head, sizeof head) &&
           hyp_buffer_append(to, piece->text, piece->bytes);
}

hyp_status hyp_session_unread(hyp_session *s, const hyp_piece *pieces, uint32_t count) {
    if (s->busy) return hyp_session_refuse(s);
    if (!s->ready)
        return hyp_fail(hyp_session_fault(s), HYP_E_STATE,
                        "there is no answer that these pieces could be of");
    hyp_buffer all = {.budget = s->unread.budget}; // the texts may stand in the old one
    bool fits = true;
    for (uint32_t i = 0; i < count && fits; i++) fits = put_piece(&all, &pieces[i]);
    if (fits && s->unread_at < s->unread.bytes)
        fits = hyp_buffer_append(&all, s->unread.data + s->unread_at,
                                 s->unread.bytes - s->unread_at);
    if (!fits) {
        hyp_buffer_deinit(&all);
        return hyp_fail(hyp_session_fault(s), HYP_E_NOMEM, "not enough memory for the pieces");
    }
    hyp_buffer_deinit(&s->unread);
    s->unread = all;
    s->unread_at = 0;
    return HYP_OK;
}
