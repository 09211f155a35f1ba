// Text to tokens and back, by the vocabulary of a GGUF file: SPM (`llama`), byte-level BPE
// (`gpt2`), WordPiece (`bert`). A tokenizer is immutable after init and may be shared. Token texts
// are kept as the bytes they stand for.
#ifndef HYP_TEXT_TOKENIZER_H
#define HYP_TEXT_TOKENIZER_H

#include "../gguf/gguf.h"
#include "pretokenize.h"

typedef enum hyp_tokenizer_kind {
    HYP_TOKENIZER_SPM,
    HYP_TOKENIZER_BPE,
    HYP_TOKENIZER_WORDPIECE
} hyp_tokenizer_kind;
typedef enum hyp_token_type {
    HYP_TOKEN_UNDEFINED,
    HYP_TOKEN_NORMAL,
    HYP_TOKEN_UNKNOWN,
    HYP_TOKEN_CONTROL,
    HYP_TOKEN_USER,
    HYP_TOKEN_UNUSED,
    HYP_TOKEN_BYTE
} hyp_token_type;

enum {
    HYP_NO_TOKEN = -1,
    HYP_TEXT_MAX = 1 << 26,
    // Bytes of a control or user-defined token's text: each place of a text is compared with them.
    HYP_SPECIAL_MOST = 1024
};

typedef struct hyp_token {
    const char *text; // bytes, not terminated
    uint32_t bytes;
    float score;
    uint8_t type; // hyp_token_type
} hyp_token;

typedef struct hyp_merge {
    int32_t left, right, whole; // left < 0: an empty slot
    uint32_t rank;
} hyp_merge;

typedef struct hyp_tokenizer {
    hyp_tokenizer_kind kind;
    hyp_pretokenizer pre;
    hyp_token *tokens;
    uint32_t count;
    int32_t *table; // hash of texts: token + 1, 0 for an empty slot
    hyp_merge *merges;
    uint32_t table_mask, merge_mask;
    uint32_t table_probes, merge_probes; // no entry stands further from its own slot
    uint32_t longest;                    // bytes of a token's text
    // Control and user-defined tokens, by text; those whose text begins with byte b from
    // special_from[b] to special_from[b + 1].
    int32_t *specials;
    // For each special token, the longest other one whose text its own starts with, or -1.
    int32_t *special_starts;
    uint32_t special_count, special_from[257];
    int32_t bytes[256];                             // token of a single byte
    int32_t bos, eos, eot, eom, unk, sep, pad, cls; // HYP_NO_TOKEN: none
    bool add_bos, add_eos, add_space_prefix, ignore_merges;
} hyp_tokenizer;

// Builds the tables in `arena`, which owns them. `gguf` is needed only during the call. May
// suspend, and may be stopped by `progress`.
HYP_MUST_USE hyp_status hyp_tokenizer_init(hyp_tokenizer *tokenizer, const hyp_gguf *gguf,
                                           hyp_arena *arena, hyp_progress progress);

typedef enum hyp_encode_flags {
    // The tokens that the model expects around a text (BOS, EOS, CLS, SEP).
    HYP_ENCODE_ADD_SPECIAL = 1,
    HYP_ENCODE_PARSE_SPECIAL = 2 // texts of special tokens become those tokens
} hyp_encode_flags;

// Appends the tokens (int32) of `text` to `out`. Invalid UTF-8 is taken byte by byte.
// HYP_E_ARGUMENT: longer than HYP_TEXT_MAX.
HYP_MUST_USE hyp_status hyp_tokenizer_encode(const hyp_tokenizer *tokenizer, const char *text,
                                             size_t bytes, int flags, hyp_buffer *out);

// The bytes that a token adds to running text; nothing for control tokens unless `special`. May be
// part of a character.
hyp_text hyp_tokenizer_piece(const hyp_tokenizer *tokenizer, int32_t token, bool special);
// Appends the text of `tokens`; a leading space that encode put there is taken off.
HYP_MUST_USE hyp_status hyp_tokenizer_decode(const hyp_tokenizer *tokenizer, const int32_t *tokens,
                                             uint32_t count, bool special, hyp_buffer *out);

// Does this token end a generated text?
bool hyp_tokenizer_ends(const hyp_tokenizer *tokenizer, int32_t token);
// The token with exactly that text, or HYP_NO_TOKEN.
int32_t hyp_tokenizer_find(const hyp_tokenizer *tokenizer, const char *text, size_t bytes);

#endif
