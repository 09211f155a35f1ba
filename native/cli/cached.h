// The cache of models, which the WebAssembly command line fills (docs/CACHE.md): what is in it, and
// models out of it.
#ifndef HYP_NATIVE_CLI_CACHED_H
#define HYP_NATIVE_CLI_CACHED_H

#include "../../src/hyperion/hyperion.h"
#include "../../src/stream/journal.h"

#include <time.h>

enum { CACHE_PATH_BYTES = 4096, CACHE_NAME_BYTES = 3 * 4096 + 1 };

typedef struct kept { // a file of the cache
    char id[HYP_JOURNAL_HASH + 1];
    char name[CACHE_NAME_BYTES], version[CACHE_NAME_BYTES];
    hyp_text text; // its journal, which what follows lies in
    hyp_journal journal;
    const char **hashes; // by chunk; NULL: it is not there
    uint32_t present;
    uint64_t present_bytes;
    bool pinned;
    struct timespec used;
} kept;

typedef struct cache_list {
    kept *files; // the one that was used last first
    size_t count;
} cache_list;

// The folder; false: this system has none, which has been said.
bool cache_folder(char out[CACHE_PATH_BYTES]);
// Path of a chunk, or of what else is below the folder.
void chunk_path(const char *folder, const char *hash, char out[CACHE_PATH_BYTES]);
cache_list cache_read(const char *folder);
void cache_free(cache_list *list);

typedef enum chunk_state { CHUNK_SOUND, CHUNK_MISSING, CHUNK_DAMAGED } chunk_state;
// Reads a chunk into `out`, which has room for its bytes and one more, and holds it against its
// hash.
chunk_state read_chunk(const char *folder, const kept *file, uint32_t index, void *out);

// Is this the name of a model that is not here: hf:… or a URL?
bool is_remote(const char *model);
// A model by that name out of the cache, its chunks held against their hashes. False: it is not
// there, not whole, or encrypted, which has been said. Close it by cached_close.
bool cached_open(const char *model, hyp_source *source);
void cached_close(const hyp_source *source); // no effect on another kind of source

#endif
