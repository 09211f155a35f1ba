// SHA-256 (FIPS 180-4), of bytes that come piece by piece.
#ifndef HYP_BASE_SHA256_H
#define HYP_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { HYP_SHA256_BYTES = 32, HYP_SHA256_HEX = 65 }; // of a hash; in hex, with the terminator

typedef struct hyp_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64]; // of which the last `bytes` mod 64 are waiting
} hyp_sha256;

void hyp_sha256_init(hyp_sha256 *hash);
void hyp_sha256_add(hyp_sha256 *hash, const void *data, size_t bytes);
// Ends it; nothing may be added after that.
void hyp_sha256_end(hyp_sha256 *hash, uint8_t out[HYP_SHA256_BYTES]);

// The hash of `bytes` at `data`, as text.
void hyp_sha256_text(const void *data, size_t bytes, char out[HYP_SHA256_HEX]);
void hyp_sha256_hex(const uint8_t hash[HYP_SHA256_BYTES], char out[HYP_SHA256_HEX]);

#endif
