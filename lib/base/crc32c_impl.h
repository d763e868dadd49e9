/* SPDX-License-Identifier: Apache-2.0 */
/* The implementations behind sl_crc32c(), for the tests that compare them. */
#ifndef LIB_BASE_CRC32C_IMPL_H
#define LIB_BASE_CRC32C_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Slicing by eight.  Runs anywhere. */
uint32_t crc32c_table(uint32_t crc, const void *p, size_t len);
/* Three interleaved streams of the crc32 instruction.  Only where crc32c_has_sse42(). */
uint32_t crc32c_sse42x3(uint32_t crc, const void *p, size_t len);
bool crc32c_has_sse42(void);
/* Carry-less products in registers of 64 bytes.  Only where crc32c_has_vpclmul512(). */
uint32_t crc32c_vpclmul512(uint32_t crc, const void *p, size_t len);
bool crc32c_has_vpclmul512(void);

#endif
