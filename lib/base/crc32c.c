/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C in three ways, the fastest of which the CPU can run is chosen at start.
 *
 * sse42x3: the crc32 instruction takes three cycles but one can begin in every cycle, so three
 * neighbouring blocks are summed at once and then combined: CRC(A B C) = shift(shift(A) ^ B) ^ C,
 * where shift() appends one block of zero bytes.  Appending zeros is linear over GF(2), so it is
 * four table look-ups, one per byte of the CRC.
 *
 * vpclmul512: the bytes seen so far are a polynomial of which only the remainder counts, so 64
 * bytes may be moved forward onto bytes that lie D bits behind them, as a product with x^D mod P,
 * and be forgotten.  Four registers of 64 bytes move 256 bytes forward at a time.
 *
 * Tables and factors are filled by a constructor before main() and never change after.
 */
#include "sluice/base/crc32c.h"

#include <immintrin.h>

#include "crc32c_impl.h"
#include "sluice/base/base.h"

#define POLY_REFLECTED    0x82f63b78u
/* Blocks of the three streams: long for throughput, short so that small batches gain too. */
#define BLOCK_LONG        4096u
#define BLOCK_SHORT       256u
/* Below this, crc32 is done before the folds would be. */
#define FOLD_BYTES_MIN    128u

#define TARGET_SSE42      __attribute__((target("sse4.2")))
#define TARGET_VPCLMUL512 __attribute__((target("sse4.2,pclmul,avx512f,vpclmulqdq")))

struct shift_table {
	uint32_t by_byte[4][256];
};

/*
 * What moves 128 bits D bits forward: the register holds the terms x^127 .. x^0 from bit 0 up, so
 * its low half counts x^64 times more than its high half.  The product of two such halves comes out
 * one bit short of the register's own form, that is multiplied by x; hence D + 63 and D - 1.
 */
struct fold_factors {
	uint64_t low;  /* x^(D + 63) mod P */
	uint64_t high; /* x^(D - 1) mod P */
};

typedef uint32_t crc32c_fn(uint32_t crc, const void *p, size_t len);

static uint32_t slices[8][256];
static struct shift_table shift_long;
static struct shift_table shift_short;
static struct fold_factors fold_2048, fold_1024, fold_512, fold_384, fold_256, fold_128;
static crc32c_fn *chosen;
static const char *chosen_name;

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

/* x^@n mod P, with x^0 in bit 31. */
static uint32_t power_of_x(unsigned int n)
{
	uint32_t power = 1u << 31;

	for (; n > 0; n--)
		power = power >> 1 ^ (power & 1 ? POLY_REFLECTED : 0);
	return power;
}

/* A factor has 32 terms; as half a register, x^0 is in bit 63. */
static struct fold_factors fold_by(unsigned int bits)
{
	return (struct fold_factors){
		.low = (uint64_t)power_of_x(bits + 63) << 32,
		.high = (uint64_t)power_of_x(bits - 1) << 32,
	};
}

static void fill_folds(void)
{
	fold_2048 = fold_by(2048);
	fold_1024 = fold_by(1024);
	fold_512 = fold_by(512);
	fold_384 = fold_by(384);
	fold_256 = fold_by(256);
	fold_128 = fold_by(128);
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
	fill_folds();
	__builtin_cpu_init();
	if (crc32c_has_vpclmul512()) {
		chosen = crc32c_vpclmul512;
		chosen_name = "vpclmul512";
	} else if (crc32c_has_sse42()) {
		chosen = crc32c_sse42x3;
		chosen_name = "sse42x3";
	} else {
		chosen = crc32c_table;
		chosen_name = "table";
	}
}

bool crc32c_has_sse42(void)
{
	return __builtin_cpu_supports("sse4.2");
}

/* The compiler's "avx512f" also asks XGETBV whether the kernel keeps the large registers. */
bool crc32c_has_vpclmul512(void)
{
	return crc32c_has_sse42() && __builtin_cpu_supports("pclmul") &&
	       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
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
TARGET_SSE42 static inline uint64_t three_blocks(uint64_t crc, const uint8_t *at, size_t block,
                                                 const struct shift_table *table)
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

/* What is left below the blocks: eight bytes at a time, then 4, 2 and 1. */
TARGET_SSE42 static inline uint64_t tail(uint64_t crc, const uint8_t *at, size_t len)
{
	for (; len >= 8; len -= 8, at += 8)
		crc = _mm_crc32_u64(crc, load64(at));
	if (len & 4) {
		uint32_t v;

		memcpy(&v, at, sizeof(v));
		crc = _mm_crc32_u32((uint32_t)crc, v);
		at += 4;
	}
	if (len & 2) {
		uint16_t v;

		memcpy(&v, at, sizeof(v));
		crc = _mm_crc32_u16((uint32_t)crc, v);
		at += 2;
	}
	return len & 1 ? _mm_crc32_u8((uint32_t)crc, *at) : crc;
}

TARGET_SSE42 uint32_t crc32c_sse42x3(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t sum = (uint32_t)~crc;

	for (; len >= 3 * BLOCK_LONG; len -= 3 * BLOCK_LONG, at += 3 * BLOCK_LONG)
		sum = three_blocks(sum, at, BLOCK_LONG, &shift_long);
	for (; len >= 3 * BLOCK_SHORT; len -= 3 * BLOCK_SHORT, at += 3 * BLOCK_SHORT)
		sum = three_blocks(sum, at, BLOCK_SHORT, &shift_short);
	return ~(uint32_t)tail(sum, at, len);
}

TARGET_VPCLMUL512 static inline __m128i factors128(const struct fold_factors *f)
{
	return _mm_set_epi64x((int64_t)f->high, (int64_t)f->low);
}

TARGET_VPCLMUL512 static inline __m512i factors512(const struct fold_factors *f)
{
	return _mm512_broadcast_i32x4(factors128(f));
}

/* @x moved forward by the distance of @factors and added to @onto. */
TARGET_VPCLMUL512 static inline __m128i fold128(__m128i x, __m128i factors, __m128i onto)
{
	__m128i low = _mm_clmulepi64_si128(x, factors, 0x00);
	__m128i high = _mm_clmulepi64_si128(x, factors, 0x11);

	return _mm_xor_si128(onto, _mm_xor_si128(low, high));
}

/* The same for each quarter by itself. */
TARGET_VPCLMUL512 static inline __m512i fold512(__m512i x, __m512i factors, __m512i onto)
{
	__m512i low = _mm512_clmulepi64_epi128(x, factors, 0x00);
	__m512i high = _mm512_clmulepi64_epi128(x, factors, 0x11);

	return _mm512_ternarylogic_epi64(onto, low, high, 0x96); /* onto ^ low ^ high */
}

/* The sum of 64 bytes: their quarters meet in the last, which crc32 divides by P. */
TARGET_VPCLMUL512 static inline uint64_t reduce512(__m512i x)
{
	__m128i last = _mm512_extracti32x4_epi32(x, 3);
	uint64_t crc;

	last = fold128(_mm512_castsi512_si128(x), factors128(&fold_384), last);
	last = fold128(_mm512_extracti32x4_epi32(x, 1), factors128(&fold_256), last);
	last = fold128(_mm512_extracti32x4_epi32(x, 2), factors128(&fold_128), last);
	crc = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(last));
	return _mm_crc32_u64(crc, (uint64_t)_mm_extract_epi64(last, 1));
}

/* 256 bytes and more at @*at, into one register that stands for the 64 bytes before @*at. */
TARGET_VPCLMUL512 static inline __m512i fold_four(__m512i x0, const uint8_t **at, size_t *len)
{
	__m512i factors = factors512(&fold_2048);
	__m512i x1 = _mm512_loadu_si512(*at + 64);
	__m512i x2 = _mm512_loadu_si512(*at + 128);
	__m512i x3 = _mm512_loadu_si512(*at + 192);

	for (*at += 256, *len -= 256; *len >= 256; *at += 256, *len -= 256) {
		x0 = fold512(x0, factors, _mm512_loadu_si512(*at));
		x1 = fold512(x1, factors, _mm512_loadu_si512(*at + 64));
		x2 = fold512(x2, factors, _mm512_loadu_si512(*at + 128));
		x3 = fold512(x3, factors, _mm512_loadu_si512(*at + 192));
	}
	factors = factors512(&fold_1024);
	x2 = fold512(x0, factors, x2);
	x3 = fold512(x1, factors, x3);
	return fold512(x2, factors512(&fold_512), x3);
}

TARGET_VPCLMUL512 uint32_t crc32c_vpclmul512(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t sum = (uint32_t)~crc;

	if (len >= FOLD_BYTES_MIN) {
		__m512i start = _mm512_zextsi128_si512(_mm_cvtsi32_si128((int32_t)~crc));
		__m512i x = _mm512_xor_si512(start, _mm512_loadu_si512(at));

		if (len >= 2 * 256) {
			x = fold_four(x, &at, &len);
		} else {
			at += 64;
			len -= 64;
		}
		for (; len >= 64; len -= 64, at += 64)
			x = fold512(x, factors512(&fold_512), _mm512_loadu_si512(at));
		sum = reduce512(x);
	}
	return ~(uint32_t)tail(sum, at, len);
}

uint32_t sl_crc32c(uint32_t crc, const void *p, size_t len)
{
	return chosen(crc, p, len);
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
	return chosen_name;
}
