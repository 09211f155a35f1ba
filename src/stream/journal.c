#include "journal.h"

#include "../base/json_read.h"

#include <string.h>

#define SIZE_MOST ((uint64_t)1 << 46)
enum { NAME_MOST = 3 * 4096, VERSION_MOST = 3 * 1024 };

// The next line that has an end; false: there is none.
static bool next_line(hyp_text text, size_t *at, hyp_text *line) {
    const char *from = text.data + *at;
    const char *end = *at < text.bytes ? memchr(from, '\n', text.bytes - *at) : NULL;
    if (!end) return false;
    *line = (hyp_text){from, (size_t)(end - from)};
    *at += line->bytes + 1;
    return true;
}

static bool is(hyp_text text, const char *word) {
    return text.bytes == strlen(word) && memcmp(text.data, word, text.bytes) == 0;
}

static bool is_hash(hyp_text text) {
    if (text.bytes != HYP_JOURNAL_HASH) return false;
    for (size_t i = 0; i < text.bytes; i++) {
        char c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    }
    return true;
}

// A member of the head. False: it is not what it should be.
static bool take(hyp_journal *j, hyp_text key, hyp_json_kind kind, hyp_text value) {
    if (is(key, "sealed")) {
        j->sealed = kind == HYP_JSON_TRUE;
        return j->sealed;
    }
    if (is(key, "size")) return kind == HYP_JSON_NUMBER && hyp_parse_whole(value, &j->size);
    if (is(key, "chunkBytes"))
        return kind == HYP_JSON_NUMBER && hyp_parse_whole(value, &j->chunk_bytes);
    hyp_text *text = is(key, "name")       ? &j->name
                     : is(key, "version")  ? &j->version
                     : is(key, "manifest") ? &j->manifest
                                           : NULL;
    if (text) *text = value;
    return !text || kind == HYP_JSON_TEXT;
}

static bool read_head(hyp_journal *j, hyp_text line) {
    *j = (hyp_journal){0};
    hyp_json_reader reader;
    hyp_text key, value;
    hyp_json_reader_init(&reader, line);
    if (hyp_json_read(&reader, NULL) != HYP_JSON_OBJECT) return false;
    for (;;) {
        hyp_json_kind kind = hyp_json_read(&reader, &key);
        if (kind == HYP_JSON_OBJECT_END) break;
        if (kind != HYP_JSON_KEY) return false;
        kind = hyp_json_read(&reader, &value);
        // nothing that we know is nested
        if (kind == HYP_JSON_OBJECT || kind == HYP_JSON_ARRAY || !take(j, key, kind, value))
            return false;
    }
    if (hyp_json_read(&reader, NULL) != HYP_JSON_END) return false;
    if (!j->name.data || j->name.bytes > NAME_MOST || !j->version.data ||
        j->version.bytes > VERSION_MOST || (j->manifest.data && !is_hash(j->manifest)))
        return false;
    if (j->size < 1 || j->size > SIZE_MOST || j->chunk_bytes < 1 ||
        j->chunk_bytes > HYP_JOURNAL_CHUNK_MOST)
        return false;
    uint64_t chunks = (j->size + j->chunk_bytes - 1) / j->chunk_bytes;
    j->chunks = (uint32_t)chunks;
    return chunks <= HYP_JOURNAL_CHUNKS_MOST;
}

bool hyp_journal_open(hyp_journal *journal, hyp_text text) {
    hyp_text line;
    for (size_t at = 0; next_line(text, &at, &line);)
        if (line.bytes && line.data[0] == '{' && read_head(journal, line)) {
            journal->end = at;
            return true;
        }
    return false;
}

uint32_t hyp_journal_read(const hyp_journal *journal, hyp_text text, const char **hashes,
                          bool *pinned) {
    hyp_text line;
    uint32_t present = 0;
    bool pin = false;
    memset(hashes, 0, journal->chunks * sizeof *hashes);
    for (size_t at = 0; next_line(text, &at, &line);) {
        if (is(line, "pin") || is(line, "unpin")) pin = line.bytes == 3;
        const char *space = memchr(line.data, ' ', line.bytes);
        if (at <= journal->end || !space) continue;
        hyp_text number = {line.data, (size_t)(space - line.data)};
        hyp_text hash = {space + 1, line.bytes - number.bytes - 1};
        uint64_t index;
        bool gone = is(hash, "-");
        if (number.bytes < 1 || number.bytes > 6 || !hyp_parse_whole(number, &index) ||
            index >= journal->chunks || (!gone && !is_hash(hash)))
            continue;
        present += (uint32_t)(!hashes[index] && !gone);
        present -= (uint32_t)(hashes[index] && gone);
        hashes[index] = gone ? NULL : hash.data;
    }
    if (pinned) *pinned = pin;
    return present;
}

uint64_t hyp_journal_bytes(const hyp_journal *journal, uint32_t index) {
    uint64_t left = journal->size - index * journal->chunk_bytes;
    return left < journal->chunk_bytes ? left : journal->chunk_bytes;
}
