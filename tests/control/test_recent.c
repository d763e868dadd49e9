/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "recent.h"

static struct recent r;

/* -1: nothing. */
static int64_t quantile(int64_t now_ms, double q)
{
	uint64_t value;

	return recent_quantile(&r, now_ms, q, &value) ? (int64_t)value : -1;
}

Test(recent, knows_what_was_added)
{
	cr_assert_eq(quantile(0, 0.5), -1);
	for (int i = 1; i <= 100; i++)
		recent_add(&r, 1000, (uint64_t)i);
	cr_assert_eq(quantile(1000, 0.5), 50);
	cr_assert_eq(quantile(1000, 0.99), 99);
	cr_assert_eq(quantile(1000, 1.0), 100);
	cr_assert_eq(r.count, 100);
}

Test(recent, forgets_after_half_a_minute_at_least_and_a_minute_at_most)
{
	recent_add(&r, 1000, 100);
	cr_assert_eq(quantile(1000 + 2 * RECENT_SPAN_MS - 1, 1.0), 100);
	cr_assert_eq(quantile(1000 + 2 * RECENT_SPAN_MS, 1.0), -1);
	recent_add(&r, 1000 + RECENT_SPAN_MS, 50);
	cr_assert_eq(quantile(1000 + RECENT_SPAN_MS, 1.0), 100);
	cr_assert_eq(quantile(1000 + 2 * RECENT_SPAN_MS - 1, 1.0), 100);
	cr_assert_eq(quantile(1000 + 2 * RECENT_SPAN_MS, 1.0), 50);
	recent_add(&r, 1000 + 2 * RECENT_SPAN_MS, 20);
	cr_assert_eq(quantile(1000 + 2 * RECENT_SPAN_MS, 1.0), 50);
	/* After a long pause neither half is of use. */
	recent_add(&r, 1000 + 9 * RECENT_SPAN_MS, 7);
	cr_assert_eq(quantile(1000 + 9 * RECENT_SPAN_MS, 1.0), 7);
	cr_assert_eq(quantile(1000 + 9 * RECENT_SPAN_MS, 0.0), 7);
	cr_assert_eq(r.count, 4);
}
