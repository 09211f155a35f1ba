// libFuzzer: any bytes as a journal of a cache. What is accepted is in its range, and what is read
// lies within the text.
#include "../../src/stream/journal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(hyp_text part, hyp_text text) {
    return !part.bytes ||
           (part.data >= text.data && part.data + part.bytes <= text.data + text.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *exact = malloc(size ? size : 1); // ends where the text does
    memcpy(exact, data, size);
    hyp_text text = {exact, size};
    hyp_journal journal;
    if (hyp_journal_open(&journal, text)) {
        if (!journal.chunks || journal.chunks > HYP_JOURNAL_CHUNKS_MOST || journal.end > size ||
            !within(journal.name, text) || !within(journal.version, text) ||
            !within(journal.manifest, text))
            abort();
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < journal.chunks; i++) bytes += hyp_journal_bytes(&journal, i);
        if (bytes != journal.size) abort();
        const char **hashes = malloc(journal.chunks * sizeof *hashes);
        bool pinned;
        uint32_t present = hyp_journal_read(&journal, text, hashes, &pinned);
        for (uint32_t i = 0; i < journal.chunks; i++) {
            if (!hashes[i]) continue;
            present--;
            if (!within((hyp_text){hashes[i], HYP_JOURNAL_HASH}, text)) abort();
        }
        if (present) abort();
        free(hashes);
    }
    free(exact);
    return 0;
}
