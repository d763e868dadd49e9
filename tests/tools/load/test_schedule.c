/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "schedule.h"

#define START UINT64_C(123456789012345)

Test(schedule, first_record_is_due_at_the_start)
{
	struct schedule s = {.start_ns = START, .interval_ns = 1000};

	cr_assert_eq(schedule_due_ns(&s, 0), START);
	cr_assert_eq(schedule_count(&s, START - 1), 0);
	cr_assert_eq(schedule_count(&s, START), 1);
}

Test(schedule, nothing_is_due_without_a_rate)
{
	struct schedule s = {.start_ns = START};

	cr_assert_eq(schedule_count(&s, START + 1000000000), 0);
}

Test(schedule, count_and_due_time_agree_at_every_edge)
{
	static const double rates[] = {1, 3, 7, 1000, 33333, 999999.5, 3e8};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rates); i++) {
		struct schedule s = {.start_ns = START, .interval_ns = 1e9 / rates[i]};

		for (uint64_t n = 1; n < 5000; n++) {
			uint64_t due = schedule_due_ns(&s, n);

			cr_assert(schedule_count(&s, due) >= n + 1, "rate %f record %d", rates[i],
			          (int)n);
			cr_assert(schedule_count(&s, due - 1) <= n, "rate %f record %d", rates[i],
			          (int)n);
		}
	}
}

Test(schedule, does_not_drift_over_days)
{
	/* 70,000 a second has no whole interval; after a day the count is exact all the same. */
	struct schedule s = {.start_ns = START, .interval_ns = 1e9 / 70000};
	uint64_t day_ns = UINT64_C(86400) * 1000000000;
	uint64_t count = schedule_count(&s, START + day_ns);
	uint64_t exact = UINT64_C(86400) * 70000 + 1;

	cr_assert(count + 1 >= exact && count <= exact + 1, "%llu", (unsigned long long)count);
}

Test(schedule, ends_after_its_last_record)
{
	struct schedule s = {.start_ns = START, .interval_ns = 10, .records_max = 5};

	cr_assert_eq(schedule_count(&s, START + 30), 4);
	cr_assert_eq(schedule_count(&s, START + 40), 5);
	cr_assert_eq(schedule_count(&s, START + 1000000), 5);
}
