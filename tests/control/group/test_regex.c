/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions: what RE2 would say, and no time to lose. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "regex.h"

static int matches(const char *pattern, const char *text)
{
	struct regex *re;
	int rc = regex_create(&re, sl_str_from(pattern));
	int is_match;

	if (rc)
		return rc;
	is_match = regex_matches(re, sl_str_from(text));
	/* Nothing of one match is left for the next. */
	cr_assert_eq(regex_matches(re, sl_str_from(text)), is_match);
	regex_destroy(re);
	return is_match;
}

Test(group_regex, matches_whole_texts_as_re2_does)
{
	static const struct {
		const char *pattern;
		const char *text;
		int expected;
	} rows[] = {
		{"orders", "orders", 1},
		{"orders", "orders2", 0},
		{"order", "orders", 0},
		{"orders-.*", "orders-eu", 1},
		{"orders-.*", "orders", 0},
		{".*", "", 1},
		{"a|b|cd", "cd", 1},
		{"a|b|cd", "c", 0},
		{"(a|b)*c", "abbac", 1},
		{"(a|b)*c", "abxc", 0},
		{"[a-c]+", "abcabc", 1},
		{"[^a-c]+", "abc", 0},
		{"[^a-c]+", "xyz", 1},
		{"[]a]+", "]a]", 1},
		{"[a-]+", "-a-", 1},
		{"[[:alpha:]]+[[:digit:]]", "abc4", 1},
		{"[[:^digit:]]+", "ab1", 0},
		{"\\d{2,3}", "1", 0},
		{"\\d{2,3}", "12", 1},
		{"\\d{2,3}", "1234", 0},
		{"\\w+\\.\\w+", "a_b.c9", 1},
		{"\\w+\\.\\w+", "a-b.c", 0},
		{"\\S+", "a b", 0},
		{"a{3}", "aaa", 1},
		{"a{3}", "aa", 0},
		{"a{2,}", "aaaaa", 1},
		{"a{,2}", "a{,2}", 1},
		{"(?i)ORDERS", "orders", 1},
		{"(?i:O)rders", "orders", 1},
		{"(?i:O)rders", "oRders", 0},
		{"(?i)[a-c]x", "BX", 1},
		{"(?-i)a", "A", 0},
		{"^orders$", "orders", 1},
		{"\\Aorders\\z", "orders", 1},
		{"a^b", "ab", 0},
		{"\\bfoo\\b", "foo", 1},
		{"foo\\B", "foo", 0},
		{"(?P<name>a)b", "ab", 1},
		{"(?<name>a)b", "ab", 1},
		{"(?:a|b)c", "bc", 1},
		{"\\Qa.b\\E.", "a.bx", 1},
		{"\\Qa.b\\E.", "axbx", 0},
		{"\\x41\\x{42}", "AB", 1},
		{"a??b+?", "abb", 1},
		{"()", "", 1},
		{"a||b", "", 1},
		{"(a*)*", "aaa", 1},
		{"(a*)*b", "aaac", 0},
		{".", "\n", 0},
		{"(?s).", "\n", 1},
		{"(?m)a$\n^b", "a\nb", 1},
		{"((((){1000}){1000}){1000}){1000}x", "x", 1},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		cr_assert_eq(matches(rows[i].pattern, rows[i].text), rows[i].expected,
		             "%s against %s: %d", rows[i].pattern, rows[i].text,
		             matches(rows[i].pattern, rows[i].text));
}

Test(group_regex, refuses_what_is_no_expression)
{
	static const char *const patterns[] = {
		"",
		"(",
		")",
		"a)",
		"(a",
		"[",
		"[a",
		"[b-a]",
		"*",
		"+a",
		"?",
		"a**",
		"a+*",
		"a{2}{3}",
		"a{1001}",
		"a{3,2}",
		"\\",
		"\\1",
		"\\y",
		"(?=a)",
		"(?!a)",
		"(?<=a)",
		"(?z)",
		"(?P<>a)",
		"(?P=n)",
		"\\pL",
		"[[:nope:]]",
		"\\x4",
		"\\x{110000}",
		"\\C\\",
		"\xc3\xa4",
		"(?i",
		"(?--i)a",
		"(a{1000}){1000}",
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(patterns); i++)
		cr_assert_eq(matches(patterns[i], "a"), -22, "%s", patterns[i]);
}

Test(group_regex, bounds_depth_length_and_size)
{
	char text[REGEX_BYTES_MAX + 2];

	memset(text, '(', 2 * REGEX_DEPTH_MAX);
	memset(text + REGEX_DEPTH_MAX, ')', REGEX_DEPTH_MAX);
	text[2 * REGEX_DEPTH_MAX] = '\0';
	cr_assert_eq(matches(text, ""), 1);
	memset(text, '(', REGEX_DEPTH_MAX + 1);
	memset(text + REGEX_DEPTH_MAX + 1, ')', REGEX_DEPTH_MAX + 1);
	text[2 * (REGEX_DEPTH_MAX + 1)] = '\0';
	cr_assert_eq(matches(text, ""), -22);
	memset(text, 'a', sizeof(text));
	text[REGEX_BYTES_MAX] = '\0';
	cr_assert_eq(matches(text, text), 1);
	text[REGEX_BYTES_MAX] = 'a';
	text[REGEX_BYTES_MAX + 1] = '\0';
	cr_assert_eq(matches(text, "a"), -22);
}

/* A machine that tries one path after the other would need 2^100 steps. */
Test(group_regex, takes_time_by_the_length_of_the_text)
{
	char text[4096];

	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	cr_assert_eq(matches("(a?){100}a{100}", text), 0);
	cr_assert_eq(matches("(a*)*(a*)*(a*)*b", text), 0);
	cr_assert_eq(matches("(((a|aa)+)+)+", text), 1);
}
