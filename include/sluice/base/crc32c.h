/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli), the checksum of Kafka's record batches v2 (RFC 3720 B.4 test vectors). */
#ifndef SLUICE_BASE_CRC32C_H
#define SLUICE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of @len bytes continuing from @crc (0 to begin).  The fastest way that the CPU has. */
uint32_t sl_crc32c(uint32_t crc, const void *p, size_t len);

/*
 * The CRC of two pieces from the CRCs of each: sl_crc32c_join(crc_a, crc_b, sl_crc32c_power(bytes
 * of b)).  The power depends on the length alone and costs a microsecond, so callers keep it.
 */
/* x^(8 * @bytes) modulo the polynomial: what @bytes more zero bytes multiply a remainder by. */
uint32_t sl_crc32c_power(uint64_t bytes);
/* Product of two remainders. */
uint32_t sl_crc32c_times(uint32_t a, uint32_t b);
static inline uint32_t sl_crc32c_join(uint32_t crc_a, uint32_t crc_b, uint32_t power_b)
{
	return sl_crc32c_times(crc_a, power_b) ^ crc_b;
}

/* Name of the implementation chosen at start: "vpclmul512", "sse42x3", "table". */
const char *sl_crc32c_impl(void);

#endif
