/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "rng.h"
#include "sluice/base/buf.h"

static void expect_bytes(const struct sl_buf *b, const void *bytes, size_t len)
{
	cr_assert(sl_buf_ok(b));
	cr_assert(b->len == len, "length is %zu, expected %zu", b->len, len);
	cr_assert(memcmp(b->p, bytes, len) == 0);
}

Test(buf, fixed_writes_big_endian)
{
	static const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'x'};
	uint8_t memory[16];
	struct sl_buf b;

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	sl_buf_put_u8(&b, 1);
	sl_buf_put_be16(&b, 0x0203);
	sl_buf_put_be32(&b, 0x04050607);
	sl_buf_put_be64(&b, 0x08090a0b0c0d0e0f);
	sl_buf_put(&b, "x", 1);
	expect_bytes(&b, expected, sizeof(expected));
}

Test(buf, failure_sticks_until_reset)
{
	uint8_t memory[4] = {0};
	struct sl_buf b;

	sl_buf_init_fixed(&b, memory, 3);
	sl_buf_put_be32(&b, 0xffffffff);
	cr_assert(!sl_buf_ok(&b));
	sl_buf_put_u8(&b, 7); /* would fit */
	cr_assert(!sl_buf_ok(&b) && b.len == 0);
	cr_assert(sl_buf_take(&b, 0) == NULL);
	cr_assert(memory[0] == 0 && memory[3] == 0);
	sl_buf_reset(&b);
	sl_buf_put(&b, "abc", 3);
	expect_bytes(&b, "abc", 3);
	sl_buf_put(&b, NULL, 0);
	cr_assert(sl_buf_ok(&b));
	cr_assert(sl_buf_take(&b, SIZE_MAX) == NULL);
}

Test(buf, zeroed_buffer_has_no_room)
{
	struct sl_buf b = {0};

	cr_assert(sl_buf_take(&b, 0) != NULL);
	cr_assert(sl_buf_ok(&b) && b.len == 0);
	sl_buf_put_u8(&b, 1);
	cr_assert(!sl_buf_ok(&b));
	sl_buf_fini(&b);
}

Test(buf, growing_keeps_content_and_stops_at_its_limit)
{
	enum {
		LIMIT = 100000
	};
	static uint8_t expected[LIMIT];
	uint64_t rng = 1;
	struct sl_buf b;
	size_t at = 0;

	rng_fill(&rng, expected, sizeof(expected));
	sl_buf_init_grow(&b, LIMIT);
	cr_assert(b.p == NULL);
	while (at < LIMIT) {
		size_t n = SL_MIN(rng_next(&rng) % 700, LIMIT - at);

		sl_buf_put(&b, expected + at, n);
		at += n;
	}
	expect_bytes(&b, expected, LIMIT);
	cr_assert(b.cap <= LIMIT);
	sl_buf_put_u8(&b, 1);
	cr_assert(!sl_buf_ok(&b) && b.len == LIMIT);
	sl_buf_fini(&b);
	cr_assert(b.p == NULL && b.len == 0);
	sl_buf_put_u8(&b, 1);
	cr_assert(sl_buf_ok(&b) && b.len == 1);
	sl_buf_fini(&b);
}

struct varint_case {
	int64_t value;
	uint8_t bytes[10];
	size_t len;
};

Test(buf, varints_have_kafkas_form)
{
	static const struct varint_case cases[] = {
		{0, {0}, 1},
		{-1, {1}, 1},
		{1, {2}, 1},
		{63, {0x7e}, 1},
		{-64, {0x7f}, 1},
		{64, {0x80, 0x01}, 2},
		{-65, {0x81, 0x01}, 2},
		{8191, {0xfe, 0x7f}, 2},
		{-8192, {0xff, 0x7f}, 2},
		{8192, {0x80, 0x80, 0x01}, 3},
		{INT32_MAX, {0xfe, 0xff, 0xff, 0xff, 0x0f}, 5},
		{INT32_MIN, {0xff, 0xff, 0xff, 0xff, 0x0f}, 5},
		{INT64_MAX, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 10},
		{INT64_MIN, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 10},
	};
	uint8_t memory[16];
	struct sl_buf b;

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		sl_buf_reset(&b);
		sl_buf_put_varlong(&b, cases[i].value);
		expect_bytes(&b, cases[i].bytes, cases[i].len);
		if (cases[i].value < INT32_MIN || cases[i].value > INT32_MAX)
			continue;
		sl_buf_reset(&b);
		sl_buf_put_varint(&b, (int32_t)cases[i].value);
		expect_bytes(&b, cases[i].bytes, cases[i].len);
	}
}

Test(buf, unsigned_varints_are_not_zigzagged)
{
	uint8_t memory[16];
	struct sl_buf b;

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	sl_buf_put_uvarint(&b, 0);
	sl_buf_put_uvarint(&b, 127);
	sl_buf_put_uvarint(&b, 128);
	sl_buf_put_uvarint(&b, 300);
	sl_buf_put_uvarint(&b, UINT32_MAX);
	expect_bytes(&b, "\0\x7f\x80\x01\xac\x02\xff\xff\xff\xff\x0f", 11);
}

Test(buf, trim_gives_back_what_is_beyond_the_limit)
{
	uint8_t memory[8];
	struct sl_buf b;

	sl_buf_init_grow(&b, 10000);
	(void)sl_buf_take(&b, 1000);
	sl_buf_trim(&b, 5000);
	cr_assert(b.len == 0 && b.cap >= 1000);
	(void)sl_buf_take(&b, 6000);
	sl_buf_put(&b, "x", 10001);
	sl_buf_trim(&b, 5000);
	cr_assert(sl_buf_ok(&b) && b.len == 0 && b.cap == 0 && !b.p);
	sl_buf_put_u8(&b, 1);
	expect_bytes(&b, "\1", 1);
	sl_buf_fini(&b);

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	sl_buf_put_u8(&b, 1);
	sl_buf_trim(&b, 0);
	cr_assert(b.len == 0 && b.cap == sizeof(memory) && b.p == memory);
}

Test(buf, rewind_takes_back_what_did_not_fit)
{
	uint8_t memory[4];
	struct sl_buf b;

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	sl_buf_put_be16(&b, 0x0102);
	sl_buf_put_u8(&b, 3);
	sl_buf_put_be16(&b, 4);
	cr_assert(!sl_buf_ok(&b));
	sl_buf_rewind(&b, 2);
	expect_bytes(&b, "\1\2", 2);
	sl_buf_put_be16(&b, 0x0506);
	expect_bytes(&b, "\1\2\5\6", 4);
}

Test(buf, printf_appends_text_without_its_nul)
{
	uint8_t memory[8];
	struct sl_buf b;

	sl_buf_init_grow(&b, 1000);
	sl_buf_printf(&b, "%s=%d", "part", 12);
	sl_buf_printf(&b, " %0300d", 0);
	cr_assert(sl_buf_ok(&b) && b.len == 7 + 301);
	cr_assert(memcmp(b.p, "part=12 00", 10) == 0);
	sl_buf_printf(&b, "%0900d", 0);
	cr_assert(!sl_buf_ok(&b) && b.len == 7 + 301);
	sl_buf_fini(&b);

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	sl_buf_printf(&b, "%s", "1234567");
	expect_bytes(&b, "1234567", 7);
	sl_buf_reset(&b);
	sl_buf_printf(&b, "%s", "12345678");
	cr_assert(!sl_buf_ok(&b));
}

Test(buf, holes_count_on_the_wire_but_take_no_space)
{
	struct sl_buf_hole holes[2];
	uint8_t memory[8];
	struct sl_buf b;

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	b.holes = holes;
	b.holes_max = 2;
	sl_buf_put_be16(&b, 1);
	sl_buf_put_hole(&b, 1000, 5);
	sl_buf_put_be16(&b, 2);
	sl_buf_put_hole(&b, UINT32_MAX, 6);
	cr_assert(sl_buf_ok(&b));
	cr_assert(b.len == 4);
	cr_assert(sl_buf_wire_bytes(&b) == 4 + 1000 + (size_t)UINT32_MAX);
	cr_assert(holes[0].pos == 2 && holes[0].bytes == 1000 && holes[0].tag == 5);
	cr_assert(holes[1].pos == 4 && holes[1].bytes == UINT32_MAX && holes[1].tag == 6);
	sl_buf_put_hole(&b, 1, 7);
	cr_assert(!sl_buf_ok(&b) && b.holes_count == 2);
	sl_buf_reset(&b);
	cr_assert(sl_buf_wire_bytes(&b) == 0 && b.holes_count == 0);
}

Test(buf, buffer_without_hole_table_refuses_holes)
{
	uint8_t memory[8];
	struct sl_buf b;

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	sl_buf_put_hole(&b, 1, 1);
	cr_assert(!sl_buf_ok(&b) && sl_buf_wire_bytes(&b) == 0);
}
