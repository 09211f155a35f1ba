// CRC-32C (Castagnoli; reflected polynomial 0x82F63B78, as in RFC 3720). Of "123456789" it is
// 0xE3069283.
#ifndef HYP_BASE_CRC32C_H
#define HYP_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

// Continues `crc` (0 to begin) over `bytes`, by the processor's own instruction where the platform
// says that there is one.
uint32_t hyp_crc32c(uint32_t crc, const void *data, size_t bytes);
// The same by eight tables (Kounavis and Berry, 2005).
uint32_t hyp_crc32c_portable(uint32_t crc, const void *data, size_t bytes);

#endif
