/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli), the checksum of Kafka's record batches v2 (RFC 3720 B.4 test vectors). */
#ifndef SLUICE_BASE_CRC32C_H
#define SLUICE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of @len bytes continuing from @crc (0 to begin).  The fastest way that the CPU has. */
uint32_t sl_crc32c(uint32_t crc, const void *p, size_t len);
/* Name of the implementation chosen at start: "vpclmul512", "sse42x3", "table". */
const char *sl_crc32c_impl(void);

#endif
