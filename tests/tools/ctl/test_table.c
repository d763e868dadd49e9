/* SPDX-License-Identifier: Apache-2.0 */
/* Tables and the text of values. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "table.h"
#include "text.h"

static char *printed(struct table *t)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	table_print(t, f);
	fclose(f);
	return text;
}

Test(table, aligns_by_characters_and_ends_without_blanks)
{
	struct table t;
	char *text;

	table_init(&t, (const char *const[]){"NAME", ">N", "LAST", NULL});
	table_cell(&t, "a");
	table_cell(&t, "%d", 12345);
	table_cell(&t, "x");
	table_cell(&t, "gr\xc3\xbcner");
	table_cell(&t, "%d", 7);
	table_cell(&t, "longer");
	text = printed(&t);
	cr_assert_str_eq(text, "NAME        N  LAST\n"
	                       "a       12345  x\n"
	                       "gr\xc3\xbcner      7  longer\n");
	free(text);
	cr_assert_eq(t.cells_count, 0);
}

Test(table, prints_heads_of_an_empty_table)
{
	struct table t;
	char *text;

	table_init(&t, (const char *const[]){"A", ">B", NULL});
	text = printed(&t);
	cr_assert_str_eq(text, "A  B\n");
	free(text);
}

/* A topic or group must not be able to move the cursor of an operator's terminal. */
Test(table, defuses_control_characters)
{
	struct table t;
	char *text;

	table_init(&t, (const char *const[]){"A", NULL});
	table_cell(&t, "x\033[2J\ny\x7f");
	text = printed(&t);
	cr_assert_str_eq(text, "A\nx?[2J?y?\n");
	free(text);
}

Test(table, numbers_read_well)
{
	char a[TEXT_MAX];
	json_t *v = json_pack("{s:I, s:n, s:s}", "n", (json_int_t)1536, "z", "s", "text");

	cr_assert_str_eq(text_bytes(0, a), "0 B");
	cr_assert_str_eq(text_bytes(1023, a), "1023 B");
	cr_assert_str_eq(text_size(v, "n", a), "1.5 KiB");
	cr_assert_str_eq(text_bytes(5.0 * 1024 * 1024 * 1024, a), "5.0 GiB");
	cr_assert_str_eq(text_size(v, "z", a), "-");
	cr_assert_str_eq(text_num(v, "n", a), "1536");
	cr_assert_str_eq(text_num(v, "absent", a), "-");
	cr_assert_str_eq(text_str(v, "s"), "text");
	cr_assert_str_eq(text_str(v, "n"), "-");
	cr_assert_str_eq(text_duration(0, a), "0 ms");
	cr_assert_str_eq(text_duration(999, a), "999 ms");
	cr_assert_str_eq(text_duration(61000, a), "1m 1s");
	cr_assert_str_eq(text_duration(3600000, a), "1h 0m");
	cr_assert_str_eq(text_duration(90000000, a), "1d 1h");
	cr_assert_str_eq(text_rate(0, a), "0");
	cr_assert_str_eq(text_rate(2.5, a), "2.5");
	cr_assert_str_eq(text_rate(12345, a), "12.3k");
	cr_assert_str_eq(text_rate(4560000, a), "4.56M");
	json_decref(v);
}
