/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "rng.h"
#include "sluice/base/hist.h"

static struct sl_hist h;
static struct sl_hist other;

Test(hist, empty_has_quantile_zero)
{
	cr_assert(sl_hist_quantile(&h, 0.5) == 0);
	cr_assert(sl_hist_quantile(&h, 1.0) == 0);
}

Test(hist, small_values_are_exact)
{
	for (uint64_t v = 1; v <= 100; v++)
		sl_hist_add(&h, v);
	cr_assert(h.count == 100 && h.sum == 5050 && h.max == 100);
	for (uint64_t p = 1; p <= 100; p++)
		cr_assert(sl_hist_quantile(&h, (double)p / 100) == p, "p%d", (int)p);
	cr_assert(sl_hist_quantile(&h, 0) == 1);
}

/* Two values far apart: the lower quantile is the upper bound of the lower one's bucket. */
static void expect_within_error(uint64_t v)
{
	uint64_t bound;

	memset(&h, 0, sizeof(h));
	sl_hist_add(&h, v);
	sl_hist_add(&h, UINT64_MAX);
	bound = sl_hist_quantile(&h, 0.5);
	cr_assert(bound >= v, "value %llu bound %llu", (unsigned long long)v,
	          (unsigned long long)bound);
	cr_assert(bound - v <= v / 128, "value %llu bound %llu", (unsigned long long)v,
	          (unsigned long long)bound);
}

Test(hist, every_magnitude_stays_within_the_error)
{
	uint64_t rng = 4;

	for (int bit = 0; bit < 64; bit++) {
		uint64_t v = (uint64_t)1 << bit;

		expect_within_error(v);
		expect_within_error(v - 1);
		expect_within_error(v + 1);
		for (int i = 0; i < 20; i++)
			expect_within_error(v | (rng_next(&rng) & (v - 1)));
	}
	expect_within_error(UINT64_MAX);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

Test(hist, quantiles_follow_the_sorted_values)
{
	enum {
		COUNT = 10000
	};
	static const double qs[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1.0};
	static uint64_t values[COUNT];
	uint64_t rng = 5;

	for (int i = 0; i < COUNT; i++) {
		values[i] = rng_next(&rng) >> (rng_next(&rng) % 60);
		sl_hist_add(&h, values[i]);
	}
	qsort(values, COUNT, sizeof(values[0]), compare);
	for (size_t i = 0; i < SL_ARRAY_SIZE(qs); i++) {
		uint64_t exact = values[(size_t)(qs[i] * COUNT + 0.5) - 1];
		uint64_t got = sl_hist_quantile(&h, qs[i]);

		cr_assert(got >= exact && got - exact <= exact / 64, "quantile %f", qs[i]);
	}
	cr_assert(sl_hist_quantile(&h, 1.0) == values[COUNT - 1]);
}

Test(hist, merge_equals_adding_to_one)
{
	static struct sl_hist both;
	uint64_t rng = 6;

	for (int i = 0; i < 1000; i++) {
		uint64_t v = rng_next(&rng) >> 20;

		sl_hist_add(i % 3 ? &h : &other, v);
		sl_hist_add(&both, v);
	}
	sl_hist_merge(&h, &other);
	cr_assert(memcmp(&h, &both, sizeof(h)) == 0);
}
