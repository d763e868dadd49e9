/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting a stream into lines. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "rpc/lines.h"

static struct lines l;

static void drop_lines(void)
{
	lines_fini(&l);
}

TestSuite(rpc_lines, .fini = drop_lines);

static void feed(const char *p, size_t len)
{
	while (len > 0) {
		size_t room, n;
		char *at = lines_room(&l, &room);

		cr_assert(at && room > 0);
		n = SL_MIN(room, len);
		memcpy(at, p, n);
		lines_added(&l, n);
		p += n;
		len -= n;
	}
}

static void expect(const char *text)
{
	struct sl_str line;

	cr_assert_eq(lines_next(&l, &line), 1, "no line, expected %s", text);
	cr_assert(sl_str_eq_c(line, text), "line is %.*s, expected %s", SL_STR_ARG(line), text);
}

static void expect_none(void)
{
	struct sl_str line;

	cr_assert_eq(lines_next(&l, &line), 0);
}

Test(rpc_lines, hands_out_lines_however_they_arrive)
{
	static const char text[] = "one\ntwo\r\n\nthree\n";

	for (size_t step = 1; step < sizeof(text); step++) {
		const char *const expected[] = {"one", "two", "", "three"};
		unsigned seen = 0;

		l = (struct lines){.line_max = 10};
		for (size_t pos = 0; pos < sizeof(text) - 1; pos += step) {
			struct sl_str line;

			feed(text + pos, SL_MIN(step, sizeof(text) - 1 - pos));
			while (lines_next(&l, &line) == 1)
				cr_assert(sl_str_eq_c(line, expected[seen++]), "step %zu", step);
		}
		cr_assert_eq(seen, 4, "step %zu", step);
		expect_none();
		lines_fini(&l);
	}
}

Test(rpc_lines, counts_only_what_is_before_the_newline)
{
	l = (struct lines){.line_max = 5};
	feed("12345\n12345\r", 12);
	expect("12345");
	struct sl_str line;

	/* The carriage return is the sixth byte as long as nobody knows that a newline follows. */
	cr_assert_eq(lines_next(&l, &line), -EMSGSIZE);
}

Test(rpc_lines, refuses_a_long_line_before_its_end)
{
	struct sl_str line;

	l = (struct lines){.line_max = 100000};
	for (int i = 0; i < 10; i++) {
		static char block[10000];

		memset(block, 'x', sizeof(block));
		feed(block, sizeof(block));
		expect_none();
	}
	feed("x", 1);
	cr_assert_eq(lines_next(&l, &line), -EMSGSIZE);
	cr_assert_leq(l.cap, 300000);
}

Test(rpc_lines, gives_big_buffers_back)
{
	char *big = malloc(500001);
	struct sl_str line;
	size_t room;

	l = (struct lines){.line_max = 1000000};
	memset(big, 'y', 500000);
	big[500000] = '\n';
	feed(big, 500001);
	cr_assert_eq(lines_next(&l, &line), 1);
	cr_assert_eq(line.len, 500000);
	cr_assert(lines_room(&l, &room));
	cr_assert_lt(l.cap, 65537);
	free(big);
}
