#include "sha256.h"

#include <string.h>

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

static uint32_t load_big(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_big(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

// The compression function; names as in the standard.
static void compress(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64];
    for (int t = 0; t < 16; t++) w[t] = load_big(block + 4 * t);
    for (int t = 16; t < 64; t++) {
        uint32_t x = w[t - 15], y = w[t - 2];
        w[t] = w[t - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[t - 7] +
               (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5],
             g = state[6], h = state[7];
    for (int t = 0; t < 64; t++) {
        uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) +
                      round_constants[t] + w[t];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                      ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    const uint32_t sums[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) state[i] += sums[i];
}

void hyp_sha256_init(hyp_sha256 *hash) {
    *hash = (hyp_sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                   0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void hyp_sha256_add(hyp_sha256 *hash, const void *data, size_t bytes) {
    const uint8_t *p = data;
    size_t waiting = hash->bytes % 64;
    hash->bytes += bytes;
    if (waiting) {
        size_t n = bytes < 64 - waiting ? bytes : 64 - waiting;
        memcpy(hash->block + waiting, p, n);
        if (waiting + n < 64) return;
        compress(hash->state, hash->block);
        p += n;
        bytes -= n;
    }
    for (; bytes >= 64; bytes -= 64, p += 64) compress(hash->state, p);
    if (bytes) memcpy(hash->block, p, bytes);
}

void hyp_sha256_end(hyp_sha256 *hash, uint8_t out[HYP_SHA256_BYTES]) {
    uint64_t bits = hash->bytes * 8;
    uint8_t tail[72] = {0x80}; // a bit, zeros, and the count of bits in the last eight bytes
    size_t zeros = (119 - hash->bytes % 64) % 64;
    store_big(tail + 1 + zeros, (uint32_t)(bits >> 32));
    store_big(tail + 5 + zeros, (uint32_t)bits);
    hyp_sha256_add(hash, tail, zeros + 9);
    for (int i = 0; i < 8; i++) store_big(out + 4 * i, hash->state[i]);
}

void hyp_sha256_hex(const uint8_t hash[HYP_SHA256_BYTES], char out[HYP_SHA256_HEX]) {
    for (int i = 0; i < HYP_SHA256_BYTES; i++) {
        out[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    out[2 * HYP_SHA256_BYTES] = 0;
}

void hyp_sha256_text(const void *data, size_t bytes, char out[HYP_SHA256_HEX]) {
    hyp_sha256 hash;
    uint8_t sum[HYP_SHA256_BYTES];
    hyp_sha256_init(&hash);
    hyp_sha256_add(&hash, data, bytes);
    hyp_sha256_end(&hash, sum);
    hyp_sha256_hex(sum, out);
}
