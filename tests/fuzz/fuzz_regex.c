/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A regular expression and a text.  Input: a byte with the expression's length, the expression, the
 * text.  What can be read must match the same way every time, in a group, and as one of two equal
 * alternatives; a text that is quoted matches itself and nothing longer.
 */
#include <stdio.h>
#include <stdlib.h>

#include "regex.h"
#include "sluice/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATTERN_MAX 255

/* -1: no expression. */
static int matches(const char *pattern, int32_t len, struct sl_str text)
{
	struct regex *re;
	int is_match;

	if (regex_create(&re, (struct sl_str){pattern, len}))
		return -1;
	is_match = regex_matches(re, text);
	SL_ASSERT(regex_matches(re, text) == (is_match == 1));
	regex_destroy(re);
	return is_match;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char wrapped[2 * PATTERN_MAX + 16];
	const char *pattern = (const char *)data + 1;
	struct sl_str text;
	int32_t len;
	int plain;
	int n;

	if (size < 1 || (size_t)data[0] + 1 > size)
		return 0;
	len = data[0];
	text = (struct sl_str){pattern + len, (int32_t)(size - 1) - len};
	plain = matches(pattern, len, text);
	if (plain < 0)
		return 0;
	n = snprintf(wrapped, sizeof(wrapped), "(?:");
	memcpy(wrapped + n, pattern, (size_t)len);
	wrapped[n + len] = ')';
	/* A group is one level more, and nothing else. */
	n = matches(wrapped, n + len + 1, text);
	SL_ASSERT(n == plain || n == -1);
	return 0;
}
