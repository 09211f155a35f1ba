// What a cache of models says of a file: its name and size, and the hash of each chunk that is
// there. Lines of text, of which any may be broken off or damaged: docs/CACHE.md. The glue writes
// them (glue/source/store/journal.js).
#ifndef HYP_STREAM_JOURNAL_H
#define HYP_STREAM_JOURNAL_H

#include "../hyperion/types.h"

enum {
    HYP_JOURNAL_CHUNKS_MOST = 1 << 18,
    HYP_JOURNAL_CHUNK_MOST = 1 << 26, // bytes
    HYP_JOURNAL_HASH = 64             // characters
};

typedef struct hyp_journal {
    hyp_text name, version; // as JSON writes them, between the quotes
    hyp_text manifest;      // the hash by which the file's manifest is kept; empty: none
    uint64_t size;          // of the file as it is kept, in bytes, at least 1
    uint64_t chunk_bytes;   // of all its chunks but the last
    uint32_t chunks;
    bool sealed; // the chunks are encrypted
    size_t end;  // where the head ends in the text
} hyp_journal;

// Finds the head; what it fills lies in `text`. False: there is none that can be believed.
bool hyp_journal_open(hyp_journal *journal, hyp_text text);

// Of `journal->chunks` hashes: fills hashes[i] with where the hash of chunk i is in `text`, NULL
// where the chunk is not there. Returns how many are. `pinned`: may be NULL.
uint32_t hyp_journal_read(const hyp_journal *journal, hyp_text text, const char **hashes,
                          bool *pinned);

// Bytes of a chunk.
uint64_t hyp_journal_bytes(const hyp_journal *journal, uint32_t index);

#endif
