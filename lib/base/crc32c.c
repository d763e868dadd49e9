/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C in two ways, one of which is chosen at start.  The crc32 instruction takes three cycles
 * but one can begin in every cycle, so three neighbouring blocks are summed at once and then
 * combined: CRC(A B C) = shift(shift(A) ^ B) ^ C, where shift() appends one block of zero bytes.
 * Appending zeros is linear over GF(2), so it is four table look-ups, one per byte of the CRC.
 *
 * The tables are filled by a constructor before main() and never change after.
 */
#include "sluice/base/crc32c.h"

#include <nmmintrin.h>

#include "crc32c_impl.h"
#include "sluice/base/base.h"

#define POLY_REFLECTED 0x82f63b78u
/* Blocks of the three streams: long for throughput, short so that small batches gain too. */
#define BLOCK_LONG     4096u
#define BLOCK_SHORT    256u

struct shift_table {
	uint32_t by_byte[4][256];
};

static uint32_t slices[8][256];
static struct shift_table shift_long;
static struct shift_table shift_short;
static bool use_sse42;

static void fill_slices(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLY_REFLECTED : 0);
		slices[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int k = 1; k < 8; k++)
			slices[k][i] = slices[k - 1][i] >> 8 ^ slices[0][slices[k - 1][i] & 0xff];
}

/* Product of a GF(2) matrix, given by its columns, and a vector of bits. */
static uint32_t matrix_times(const uint32_t columns[32], uint32_t vector)
{
	uint32_t product = 0;

	for (int i = 0; i < 32; i++)
		if (vector >> i & 1)
			product ^= columns[i];
	return product;
}

/* @bytes: a power of two.  The matrix for one zero byte is squared until it stands for @bytes. */
static void fill_shift(struct shift_table *table, size_t bytes)
{
	uint32_t columns[32];
	uint32_t squared[32];

	for (int i = 0; i < 32; i++) {
		uint32_t crc = 1u << i;

		columns[i] = crc >> 8 ^ slices[0][crc & 0xff];
	}
	for (size_t n = 1; n < bytes; n *= 2) {
		for (int i = 0; i < 32; i++)
			squared[i] = matrix_times(columns, columns[i]);
		memcpy(columns, squared, sizeof(columns));
	}
	for (int k = 0; k < 4; k++)
		for (uint32_t i = 0; i < 256; i++)
			table->by_byte[k][i] = matrix_times(columns, i << (8 * k));
}

static inline uint32_t shift(const struct shift_table *table, uint32_t crc)
{
	return table->by_byte[0][crc & 0xff] ^ table->by_byte[1][crc >> 8 & 0xff] ^
	       table->by_byte[2][crc >> 16 & 0xff] ^ table->by_byte[3][crc >> 24];
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Priority 101: before constructors of other code that might already sum something. */
__attribute__((constructor(101))) static void crc32c_start(void)
{
	fill_slices();
	fill_shift(&shift_long, BLOCK_LONG);
	fill_shift(&shift_short, BLOCK_SHORT);
	__builtin_cpu_init();
	use_sse42 = __builtin_cpu_supports("sse4.2");
}

bool crc32c_has_sse42(void)
{
	return use_sse42;
}

uint32_t crc32c_table(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *at = p;

	crc = ~crc;
	for (; len >= 8; len -= 8, at += 8) {
		uint64_t v = load64(at) ^ crc;

		crc = slices[7][v & 0xff] ^ slices[6][v >> 8 & 0xff] ^ slices[5][v >> 16 & 0xff] ^
		      slices[4][v >> 24 & 0xff] ^ slices[3][v >> 32 & 0xff] ^
		      slices[2][v >> 40 & 0xff] ^ slices[1][v >> 48 & 0xff] ^ slices[0][v >> 56];
	}
	for (; len > 0; len--, at++)
		crc = crc >> 8 ^ slices[0][(crc ^ *at) & 0xff];
	return ~crc;
}

/* Sums 3 * @block bytes at @at; @block is a multiple of 8 and @table shifts by it. */
__attribute__((target("sse4.2"))) static inline uint64_t three_blocks(
	uint64_t crc, const uint8_t *at, size_t block, const struct shift_table *table)
{
	uint64_t crc1 = 0;
	uint64_t crc2 = 0;

	for (size_t i = 0; i < block; i += 8) {
		crc = _mm_crc32_u64(crc, load64(at + i));
		crc1 = _mm_crc32_u64(crc1, load64(at + block + i));
		crc2 = _mm_crc32_u64(crc2, load64(at + 2 * block + i));
	}
	crc = shift(table, (uint32_t)crc) ^ crc1;
	return shift(table, (uint32_t)crc) ^ crc2;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_sse42x3(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t sum = (uint32_t)~crc;

	for (; len >= 3 * BLOCK_LONG; len -= 3 * BLOCK_LONG, at += 3 * BLOCK_LONG)
		sum = three_blocks(sum, at, BLOCK_LONG, &shift_long);
	for (; len >= 3 * BLOCK_SHORT; len -= 3 * BLOCK_SHORT, at += 3 * BLOCK_SHORT)
		sum = three_blocks(sum, at, BLOCK_SHORT, &shift_short);
	for (; len >= 8; len -= 8, at += 8)
		sum = _mm_crc32_u64(sum, load64(at));
	for (; len > 0; len--, at++)
		sum = _mm_crc32_u8((uint32_t)sum, *at);
	return ~(uint32_t)sum;
}

uint32_t sl_crc32c(uint32_t crc, const void *p, size_t len)
{
	return use_sse42 ? crc32c_sse42x3(crc, p, len) : crc32c_table(crc, p, len);
}

uint32_t sl_crc32c_times(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	/* Bit 31 is the coefficient of x^0. */
	for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b >> 1 ^ (b & 1 ? POLY_REFLECTED : 0);
	}
	return product;
}

uint32_t sl_crc32c_power(uint64_t bytes)
{
	/* x^(2^n) modulo the polynomial. */
	static const uint32_t x_pow_pow2[32] = {
		0x40000000, 0x20000000, 0x08000000, 0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c,
		0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7, 0x88e56f72, 0x74c360a4, 0xe4172b16,
		0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc, 0xfe7740e6, 0xf946610b,
		0x3c204f8f, 0x538586e3, 0x59726915, 0x734d5309, 0xbc1ac763, 0x7d0722cc, 0xd289cabe,
		0xe94ca9bc, 0x05b74f3f, 0xa51e1f42, 0x40000000,
	};
	uint32_t power = UINT32_C(1) << 31;

	/* n bytes are 8n bits, so bit 0 of n stands for x^(2^3). */
	for (unsigned int k = 3; bytes; bytes >>= 1, k++)
		if (bytes & 1)
			power = sl_crc32c_times(power, x_pow_pow2[k & 31]);
	return power;
}

const char *sl_crc32c_impl(void)
{
	return use_sse42 ? "sse42x3" : "table";
}
