/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "crc32c_impl.h"
#include "rng.h"
#include "sluice/base/base.h"
#include "sluice/base/crc32c.h"

typedef uint32_t crc_fn(uint32_t crc, const void *p, size_t len);

/* The definition, bit by bit, which shares nothing with what it checks. */
static uint32_t crc_by_bits(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *at = p;

	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= at[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
	}
	return ~crc;
}

static void expect_rfc_3720(crc_fn *fn)
{
	static const uint8_t read_command[48] = {
		0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
		0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
		0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0,
	};
	uint8_t bytes[32];

	memset(bytes, 0, sizeof(bytes));
	cr_assert(fn(0, bytes, 32) == 0x8a9136aau);
	memset(bytes, 0xff, sizeof(bytes));
	cr_assert(fn(0, bytes, 32) == 0x62a8ab43u);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	cr_assert(fn(0, bytes, 32) == 0x46dd794eu);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)(31 - i);
	cr_assert(fn(0, bytes, 32) == 0x113fdb5cu);
	cr_assert(fn(0, read_command, 48) == 0xd9963a56u);
	cr_assert(fn(0, "123456789", 9) == 0xe3069283u);
	cr_assert(fn(0, NULL, 0) == 0);
}

/* Every alignment and every length that ends within the second round of the widest fold. */
#define LENGTHS 800
static void expect_like_bits(crc_fn *fn)
{
	static uint8_t bytes[16 + LENGTHS];
	uint64_t rng = 3720;

	rng_fill(&rng, bytes, sizeof(bytes));
	for (size_t align = 0; align < 16; align++) {
		for (size_t len = 0; len <= LENGTHS; len++) {
			uint32_t start = (uint32_t)rng_next(&rng);

			cr_assert(fn(start, bytes + align, len) ==
			                  crc_by_bits(start, bytes + align, len),
			          "align=%zu len=%zu", align, len);
		}
	}
}

/* Random lengths at random places, each sum continued from the one before. */
static void expect_chained_like_table(crc_fn *fn)
{
	static uint8_t bytes[64 + 20000];
	uint64_t rng = 512;
	uint32_t crc = 0;
	uint32_t expected = 0;

	rng_fill(&rng, bytes, sizeof(bytes));
	for (int i = 0; i < 2000; i++) {
		size_t align = rng_next(&rng) % 64;
		size_t len = rng_next(&rng) % (i % 2 ? 20000 : 1024);

		crc = fn(crc, bytes + align, len);
		expected = crc32c_table(expected, bytes + align, len);
		cr_assert(crc == expected, "align=%zu len=%zu", align, len);
	}
}

/* Lengths around the block sizes of the interleaved streams. */
static void expect_large_like_bits(crc_fn *fn)
{
	static const size_t lens[] = {767,   768,   769,   1535,  1536,   1543,   12287,
	                              12288, 12289, 13056, 24576, 100001, 1048588};
	uint8_t *bytes = malloc(1048588 + 7);
	uint64_t rng = 7;

	rng_fill(&rng, bytes, 1048588 + 7);
	for (size_t i = 0; i < SL_ARRAY_SIZE(lens); i++) {
		size_t align = i % 8;

		cr_assert(fn(0, bytes + align, lens[i]) == crc_by_bits(0, bytes + align, lens[i]),
		          "len=%zu", lens[i]);
	}
	free(bytes);
}

Test(crc32c, table_has_rfc_3720_values)
{
	expect_rfc_3720(crc32c_table);
}

Test(crc32c, table_equals_definition)
{
	expect_like_bits(crc32c_table);
	expect_large_like_bits(crc32c_table);
}

Test(crc32c, sse42_has_rfc_3720_values)
{
	if (!crc32c_has_sse42())
		cr_skip_test("this CPU has no SSE4.2");
	expect_rfc_3720(crc32c_sse42x3);
}

Test(crc32c, sse42_equals_definition)
{
	if (!crc32c_has_sse42())
		cr_skip_test("this CPU has no SSE4.2");
	expect_like_bits(crc32c_sse42x3);
	expect_large_like_bits(crc32c_sse42x3);
	expect_chained_like_table(crc32c_sse42x3);
}

Test(crc32c, vpclmul512_has_rfc_3720_values)
{
	if (!crc32c_has_vpclmul512())
		cr_skip_test("this CPU has no VPCLMULQDQ with AVX-512");
	expect_rfc_3720(crc32c_vpclmul512);
}

Test(crc32c, vpclmul512_equals_definition)
{
	if (!crc32c_has_vpclmul512())
		cr_skip_test("this CPU has no VPCLMULQDQ with AVX-512");
	expect_like_bits(crc32c_vpclmul512);
	expect_large_like_bits(crc32c_vpclmul512);
	expect_chained_like_table(crc32c_vpclmul512);
}

Test(crc32c, pieces_give_the_same_sum_as_the_whole)
{
	static uint8_t bytes[40000];
	uint64_t rng = 9;
	uint32_t whole;

	rng_fill(&rng, bytes, sizeof(bytes));
	whole = sl_crc32c(0, bytes, sizeof(bytes));
	for (int i = 0; i < 200; i++) {
		size_t cut = rng_next(&rng) % sizeof(bytes);
		uint32_t crc = sl_crc32c(0, bytes, cut);

		cr_assert(sl_crc32c(crc, bytes + cut, sizeof(bytes) - cut) == whole);
	}
}

Test(crc32c, chosen_implementation_is_the_fastest_that_runs_here)
{
	const char *expected = crc32c_has_vpclmul512() ? "vpclmul512"
	                       : crc32c_has_sse42()    ? "sse42x3"
	                                               : "table";

	cr_assert(strcmp(sl_crc32c_impl(), expected) == 0);
}

Test(crc32c, joins_the_sums_of_two_pieces)
{
	static uint8_t bytes[70000];
	uint64_t rng = 11;

	rng_fill(&rng, bytes, sizeof(bytes));
	for (int i = 0; i < 300; i++) {
		size_t a = rng_next(&rng) % (i < 100 ? 100 : 30000);
		size_t b = rng_next(&rng) % (i < 100 ? 100 : 40000);
		uint32_t joined = sl_crc32c_join(sl_crc32c(0, bytes, a), sl_crc32c(0, bytes + a, b),
		                                 sl_crc32c_power(b));

		cr_assert(joined == crc_by_bits(0, bytes, a + b), "%zu and %zu", a, b);
	}
}
