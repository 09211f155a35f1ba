#include "crc32c.h"

#include "../port.h"
#include "bytes.h"

static uint32_t tables[8][256];

// Any thread may do so, any number of times: the values are always the same, and entry [7][255] is
// written last.
static void make_tables(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
        __atomic_store_n(&tables[0][i], c, __ATOMIC_RELAXED);
    }
    for (uint32_t t = 1; t < 8; t++)
        for (uint32_t i = 0; i < 256; i++)
            __atomic_store_n(&tables[t][i],
                             tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 255],
                             __ATOMIC_RELEASE);
}

uint32_t hyp_crc32c_portable(uint32_t crc, const void *data, size_t bytes) {
    if (!__atomic_load_n(&tables[7][255], __ATOMIC_ACQUIRE)) make_tables();
    const uint8_t *p = data;
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        uint32_t low = hyp_load_u32(p) ^ crc, high = hyp_load_u32(p + 4);
        crc = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^ tables[5][low >> 16 & 255] ^
              tables[4][low >> 24] ^ tables[3][high & 255] ^ tables[2][high >> 8 & 255] ^
              tables[1][high >> 16 & 255] ^ tables[0][high >> 24];
    }
    while (bytes--) crc = crc >> 8 ^ tables[0][(crc ^ *p++) & 255];
    return ~crc;
}

uint32_t hyp_crc32c(uint32_t crc, const void *data, size_t bytes) {
    return hyp_port_crc32c(&crc, data, bytes) ? crc : hyp_crc32c_portable(crc, data, bytes);
}
